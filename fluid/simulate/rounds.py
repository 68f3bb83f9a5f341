"""Rounds of a virtual consortium in which partners correct the student of the round before."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fluid.central.pooling import pool_labels
from fluid.exchange.base_student import student_numbers
from fluid.learn.crossfit import LabelledTask
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import folds_of_repeats, label_own_fold
from fluid.learn.task import Task
from fluid.partner.guard import disclose
from fluid.partner.teacher.residuals import add_residuals, fit_task_residuals
from fluid.simulate.cache import Arrays
from fluid.simulate.consortium import Consortium
from fluid.simulate.digests import digest_pooled, digest_table
from fluid.soft_labels.teacher_labels import TeacherLabels

logger = logging.getLogger(__name__)
_FIELDS = ("prediction", "uncertainty", "reliability")


def corrections(first: Consortium, rounds: int) -> Iterator[Consortium]:
    """The consortium after 2, 3, ... rounds, each correcting the student of the one before.

    None, with a warning, if there are no numbers to correct.
    """
    if rounds > 1 and all(task.is_classification for task in first.tasks):
        logger.warning("%d rounds: no task is of numbers, and only numbers are corrected", rounds)
        return
    current = first
    for _ in range(1, rounds):
        current = corrected(current)
        yield current


def corrected(one: Consortium) -> Consortium:
    """The same partners after another round, in which they correct the student's numbers."""
    kinds = {task.name: task.is_classification for task in one.tasks}
    numbers = {name for name in one.student() if not kinds[name]}
    student = _Student(one)
    bases = {task.name: student.numbers(task) for task in one.tasks if task.name in numbers}
    said = {}
    for partner, made in one.teachers().items():
        names = numbers & made.members.keys()
        said[partner] = made.said | (_say(one, partner, student, names) if names else {})
    return one.with_pooled(pool_labels(one.tasks, said, {}, one.digests, bases), said)


@dataclass
class _Student:
    """The student of a consortium, trained when it is first asked, and its numbers."""

    one: Consortium
    _numbers: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def model(self) -> TrainedModel:
        made = self.one.student_model()
        return replace(made, library=made.library.with_cache())

    def numbers(self, task: Task) -> np.ndarray:
        """What it says of the public set: the same for all partners."""
        if task.name not in self._numbers:
            inputs = self.one.base | {
                "options": repr(self.one.student_options),
                "pooled": digest_pooled(self.one.pool()),
                "seed": self.one.seed,
                "task": task.name,
            }
            arrays = self.one.cache.fetch("numbers", inputs, lambda: self._tell(task))
            self._numbers[task.name] = arrays["numbers"]
        return self._numbers[task.name]

    def _tell(self, task: Task) -> Arrays:
        return {"numbers": student_numbers(self.model, task, self.one.public)}


def _say(
    one: Consortium, partner: str, student: _Student, names: Collection[str]
) -> dict[str, TeacherLabels]:
    """What a partner says of tasks of numbers."""
    inputs = one.base | {
        "table": digest_table(one.tables[partner]),
        "secret": one.secret(partner).hex(),
        "options": repr((one.options, one.student_options)),
        "pooled": digest_pooled(one.pool()),
        "seed": one.seed,
        "tasks": sorted(names),
    }
    arrays = one.cache.fetch("correction", inputs, lambda: _make(one, partner, student, names))
    return {
        name: TeacherLabels(*(arrays[f"{name}/{field}"] for field in _FIELDS)) for name in names
    }


def _make(one: Consortium, partner: str, student: _Student, names: Collection[str]) -> Arrays:
    made, library = one.teacher(partner), one.tables[partner].compounds
    assert made is not None
    settings = one.options.repeats, one.options.folds, one.options.folds_agreed(one.federation)
    folds, asked = (
        folds_of_repeats(each, one.secret(partner), *settings) for each in (library, one.public)
    )
    policy = one.federation.policy
    arrays: Arrays = {}
    for task in one.tasks:
        if task.name not in names:
            continue
        own = made.out_of_fold[task.name]
        model = fit_task_residuals(
            LabelledTask(library, task, own.rows, own.truth),
            folds,
            made.fold_models(task.name),
            student.model,
            one.jobs,
        )
        found = label_own_fold(
            model, library, folds, one.public, asked, one.jobs, policy.neighbourhood
        )
        found = add_residuals(task, student.numbers(task), found)
        said = disclose(task, policy, found)
        arrays |= {f"{task.name}/{field}": getattr(said, field) for field in _FIELDS}
    return arrays
