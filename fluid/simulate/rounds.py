"""Rounds of a virtual consortium in which partners correct the student of the round before."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fluid.central.pooling import pool_said
from fluid.exchange.annotation import TaskAnnotation
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import folds_of_repeats, label_own_fold
from fluid.partner.correction import Correction, fit_task_correction
from fluid.partner.guard import disclose
from fluid.simulate.cache import Arrays
from fluid.simulate.consortium import Consortium
from fluid.simulate.parts import digest_pooled, digest_table

_FIELDS = ("prediction", "uncertainty", "reliability")


def corrections(first: Consortium, rounds: int) -> Iterator[Consortium]:
    """The consortium after 2, 3, ... rounds, each correcting the student of the one before."""
    current = first
    for _ in range(1, rounds):
        current = corrected(current)
        yield current


def corrected(one: Consortium) -> Consortium:
    """The same partners after another round, in which they correct the student's numbers."""
    student = one.student_model()
    numbers = {task.name for task in student.tasks if not task.is_classification}
    said = {}
    for partner, made in one.teachers().items():
        names = numbers & made.members.keys()
        said[partner] = made.said | (_say(one, partner, student, names) if names else {})
    return one.with_pooled(pool_said(one.tasks, said, {}, one.digests), said)


def _say(
    one: Consortium, partner: str, student: TrainedModel, names: Collection[str]
) -> dict[str, TaskAnnotation]:
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
        name: TaskAnnotation(*(arrays[f"{name}/{field}"] for field in _FIELDS)) for name in names
    }


def _make(one: Consortium, partner: str, student: TrainedModel, names: Collection[str]) -> Arrays:
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
        model = fit_task_correction(
            task, library, own.rows, own.truth, folds, made.fold_models(task.name), student,
            one.jobs,
        )  # fmt: skip
        found = label_own_fold(
            model, library, folds, one.public, asked, one.jobs, policy.neighbourhood
        )
        found = Correction(student, {task.name: model}).added(task, one.public, found)
        said = disclose(task, policy, found)
        arrays |= {f"{task.name}/{field}": getattr(said, field) for field in _FIELDS}
    return arrays
