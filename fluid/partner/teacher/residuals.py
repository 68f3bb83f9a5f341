"""A second word: what a partner's measured numbers leave of a student, learned and added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import FluidError
from fluid.base.jobs import map_threads
from fluid.chem.compounds import Compounds
from fluid.exchange.base_student import student_numbers
from fluid.learn.calibration import Platt
from fluid.learn.crossfit import FoldModel
from fluid.learn.estimators import KernelRidge
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.measured import MEASURED_FILE
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.storage import load_measured
from fluid.learn.task import Task

_RIDGE = 0.1
_MOST_EXACT = 12_000
# What is left counts up to so many standard deviations of the measured numbers: a student comes
# from outside, and one that is made to be far off at one compound must not single it out.
_FARTHEST = 2.0


@dataclass(frozen=True)
class ResidualModels:
    """What one partner adds to a student's numbers.

    Attributes
    ----------
    student
        The student.
    models
        By task: fold models of what is left, with the reliabilities of the teacher's own.
    """

    student: TrainedModel
    models: Mapping[str, TaskModel]

    def asked(self, known: TaskModel) -> TaskModel:
        """What labels compounds in place of a teacher's task, or the task itself."""
        return self.models.get(known.task.name, known)

    def added(
        self,
        task: Task,
        compounds: Compounds,
        found: OwnFoldLabels,
        said: np.ndarray | None = None,
    ) -> OwnFoldLabels:
        """Labels of a corrected task with the student's numbers under them, in the task's range.

        `said` are these numbers, if they are known.
        """
        if task.name not in self.models:
            return found
        said = student_numbers(self.student, task, compounds) if said is None else said
        return replace(found, prediction=np.clip(said + found.prediction, task.low, task.high))


def measured_labels(folder: Path, model: TrainedModel) -> dict[str, np.ndarray]:
    """The labels that a teacher was trained on, from its folder, by task and as in its ``rows``.

    Raises
    ------
    FluidError
        If the folder holds no labels.
    """
    measured = load_measured(folder, model)
    for task_model in model.task_models:
        name = task_model.task.name
        if name not in measured:
            raise FluidError(
                f"{folder}: {MEASURED_FILE} holds no labels of task '{name}'; "
                "train the teacher again"
            )
    return {name: one.truth for name, one in measured.items()}


def residual_learner(student: TrainedModel, task: Task) -> KernelRidge:
    """What learns a correction: in the kernel of the student's own ridge regression, if any."""
    (model,) = [model for model in student.task_models if model.task.name == task.name]
    kernel: MixedKernel | None = None
    for learner in (learner for member in model.members for learner in member.estimators):
        if isinstance(learner, KernelRidge):
            kernel = learner.kernel_
    return KernelRidge(_RIDGE, most_exact=_MOST_EXACT, kernel=kernel)


def student_residuals(
    student: TrainedModel, task: Task, compounds: Compounds, values: np.ndarray
) -> np.ndarray:
    """What a student leaves of measured numbers, bounded, float64 of shape (n,)."""
    return _bounded(values - student_numbers(student, task, compounds)[:, 0], values)


def _bounded(left: np.ndarray, values: np.ndarray) -> np.ndarray:
    farthest = _FARTHEST * float(values.std())
    return np.clip(left, -farthest, farthest)


def fit_residuals(
    teacher: TrainedModel,
    measured: Mapping[str, np.ndarray],
    folds: np.ndarray,
    student: TrainedModel,
    jobs: int = 1,
) -> ResidualModels:
    """Learn what is left of a partner's measured numbers when a student's are taken away.

    A mean of teachers that each know a few compounds is smoother than the truth, and what it
    misses a partner sees in its own compounds. Every fold of the teacher has a kernel ridge
    regression of the measured numbers less the student's, of the compounds of the other folds, in
    the student's own kernel; it and the student's numbers together are what the partner says. The
    mean of what partners say, pooled like first labels, is a step of functional gradient descent
    on everybody's squared error (Friedman 2001, doi 10.1214/aos/1013203451; among parties that
    keep their data, Diao, Ding and Tarokh 2022, arXiv 2106.01425).

    What is left of a compound counts up to twice the standard deviation of the measured numbers.
    Nothing else shrinks it: the student has learned from labels that knew these compounds, so that
    out of fold what is left of them looks smaller than what is left elsewhere. Reliability is the
    teacher's own, for the same reason: it says where a partner has compounds. Classes are not
    corrected; nothing was gained by it.

    Parameters
    ----------
    teacher
        A cross-fitted teacher.
    measured
        By task: measured labels in the order of the task's ``rows``.
    folds
        Of the teacher's library, uint8 of shape (n_repeats, len(library)).
    student
        What the round before has brought.
    jobs
        Threads; the result does not depend on it.
    """
    known = {model.task.name for model in student.task_models}
    models = {
        model.task.name: fit_task_residuals(
            model.task, teacher.library, model.rows, measured[model.task.name], folds,
            model.members, student, jobs,
        )
        for model in teacher.task_models
        if not model.task.is_classification and model.task.name in known
    }  # fmt: skip
    return ResidualModels(student, models)


def fit_task_residuals(
    task: Task,
    library: Compounds,
    rows: np.ndarray,
    values: np.ndarray,
    folds: np.ndarray,
    members: Sequence[FoldModel],
    student: TrainedModel,
    jobs: int = 1,
) -> TaskModel:
    """One task of `fit_residuals`.

    Parameters
    ----------
    task
        What is predicted.
    library, rows, values
        Compounds, positions of the measured ones, and their labels.
    folds
        See `fit_residuals`.
    members
        The teacher's, whose folds and reliabilities are taken over.
    student, jobs
        See `fit_residuals`.

    Returns
    -------
    TaskModel
        Of differences, for `fluid.learn.own_fold.label_own_fold`; it has no domains.
    """
    # One fold at a time, as in `fluid.learn.crossfit`: in its last bits what the student says of a
    # compound depends on what is asked beside it, and nothing of a fold may reach its own model.
    left = np.empty((len(folds), len(rows)))
    for repeat, fold in np.ndindex(len(folds), int(folds.max(initial=0)) + 1):
        mine = folds[repeat][rows] == fold
        if mine.any():
            told = student_numbers(student, task, library.take(rows[mine]))[:, 0]
            left[repeat, mine] = values[mine] - told
    span = task.high - task.low
    difference = replace(task, low=-span, high=span)

    def fit(member: FoldModel) -> FoldModel:
        inside = np.flatnonzero(folds[member.repeat][rows] != member.fold)
        ridge = residual_learner(student, task)
        ridge.fit(
            library, rows[inside], _bounded(left[member.repeat, inside], values[inside]), False, 0
        )
        return FoldModel(member.repeat, member.fold, [ridge], [Platt()], member.reliability)

    return TaskModel(difference, map_threads(fit, members, jobs), False, rows, {})
