"""Further rounds of a virtual consortium: partners fit the residuals of the student before."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from fluid.exchange.base_student import student_numbers
from fluid.learn.crossfit import LabelledTask
from fluid.learn.own_fold import folds_of_repeats, label_own_fold
from fluid.learn.task import Task
from fluid.partner.disclosure_guard import disclose
from fluid.partner.teacher.residuals import add_residuals, fit_task_residuals
from fluid.simulation.cache import Arrays
from fluid.simulation.predictions import TeacherResult, pack_labels, unpack_labels
from fluid.simulation.rounds import SimulatedRound
from fluid.soft_labels.teacher_labels import TeacherLabels

logger = logging.getLogger(__name__)


def residual_rounds(
    first: SimulatedRound, teachers: Mapping[str, TeacherResult], rounds: int
) -> Iterator[SimulatedRound]:
    """Rounds 2 to `rounds`; without a regression task there are none, and a warning is logged.

    Parameters
    ----------
    first
        The first round.
    teachers
        The partners' teachers.
    rounds
        Number of rounds, the first included.
    """
    if rounds > 1 and all(task.is_classification for task in first.consortium.tasks):
        logger.warning(
            "%d rounds: the federation has no regression task, and residuals are fitted for "
            "these only",
            rounds,
        )
        return
    current = first
    for _ in range(1, rounds):
        current = residual_round(current, teachers)
        yield current


def residual_round(
    previous: SimulatedRound, teachers: Mapping[str, TeacherResult]
) -> SimulatedRound:
    """One more round, in which partners fit the residuals of the student of `previous`.

    Labels of classification tasks stay those of the teachers.
    """
    predicted = previous.student_predictions()
    bases = {
        task.name: _predict_public(previous, task)
        for task in previous.consortium.tasks
        if task.name in predicted and not task.is_classification
    }
    labels = {
        partner: teacher.labels | _residual_labels(previous, partner, teacher, bases)
        for partner, teacher in teachers.items()
    }
    return SimulatedRound.pool(previous.consortium, labels, bases)


def _predict_public(previous: SimulatedRound, task: Task) -> np.ndarray:
    """The student's predictions of the public compounds: the same for all partners."""
    public = previous.consortium.public
    arrays = previous.consortium.cache.fetch(
        "base",
        previous.inputs() | {"task": task.name},
        lambda: {"prediction": student_numbers(previous.student, task, public)},
    )
    return arrays["prediction"]


def _residual_labels(
    previous: SimulatedRound, partner: str, teacher: TeacherResult, bases: Mapping[str, np.ndarray]
) -> dict[str, TeacherLabels]:
    """A partner's labels of regression tasks: the student's predictions and its own residuals."""
    consortium = previous.consortium
    tasks = [
        task for task in consortium.tasks if task.name in bases.keys() & teacher.members.keys()
    ]
    if not tasks:
        return {}
    inputs = previous.inputs() | {
        "table": consortium.table_digests[partner],
        "secret": consortium.secret(partner).hex(),
        "options": repr(consortium.teacher_options),
        "tasks": [task.name for task in tasks],
    }

    def fit() -> Arrays:
        return _fit_residuals(
            previous, partner, teacher, {task: bases[task.name] for task in tasks}
        )

    return unpack_labels(consortium.cache.fetch("residuals", inputs, fit), tasks)


def _fit_residuals(
    previous: SimulatedRound, partner: str, teacher: TeacherResult, bases: Mapping[Task, np.ndarray]
) -> Arrays:
    """Fit the residuals of some tasks, and label the public set with them."""
    consortium, student = previous.consortium, previous.student
    options, policy = consortium.teacher_options, consortium.federation.policy
    library = consortium.tables[partner].compounds
    folds, public_folds = (
        folds_of_repeats(
            compounds,
            consortium.secret(partner),
            options.repeats,
            options.folds,
            options.folds_agreed(consortium.federation),
        )
        for compounds in (library, consortium.public)
    )
    labels = {}
    for task, base in bases.items():
        measured = teacher.out_of_fold[task.name]
        model = fit_task_residuals(
            LabelledTask(library, task, measured.rows, measured.truth, measured.signs),
            folds,
            teacher.fold_models(task.name),
            student,
            consortium.run.cores,
        )
        residuals = label_own_fold(
            model,
            library,
            folds,
            consortium.public,
            public_folds,
            consortium.run.cores,
            policy.neighbourhood,
        )
        labels[task.name] = disclose(task, policy, add_residuals(task, base, residuals))
    return pack_labels(labels)
