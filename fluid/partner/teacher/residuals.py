"""Fit a partner's residuals from a student, and label by the student plus these residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError
from fluid.base.jobs import map_threads
from fluid.chem.compounds import Compounds
from fluid.exchange.base_student import student_numbers
from fluid.exchange.federation import Federation
from fluid.learn.calibration import Platt
from fluid.learn.censored import measured_exactly, signs_among
from fluid.learn.crossfit import FoldModel, LabelledTask
from fluid.learn.estimators import KernelRidge
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.measured import MEASURED_FILE
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.own_fold import FoldPredictions, OwnFoldLabels
from fluid.learn.storage import load_measured
from fluid.learn.task import Task
from fluid.partner.teacher.labeler import TeacherLabeler

_RIDGE = 0.1
_MOST_EXACT = 12_000
# Residuals are clipped to so many standard deviations of the measured values. A student comes from
# outside: one that was made to be far off at one compound must not single it out.
_FARTHEST = 2.0


@dataclass(frozen=True)
class MeasuredLabels:
    """The labels that a teacher was trained on in one task, in the order of its ``rows``.

    Attributes
    ----------
    values
        Class indices, numbers, or bounds of numbers, shape (n,).
    signs
        Which are bounds, see `fluid.learn.measured.Measured`.
    """

    values: np.ndarray
    signs: np.ndarray | None = None


class ResidualLabeler(TeacherLabeler):
    """A student's predictions plus what the teacher learned from the student's residuals.

    A classification task, or one that the student does not predict, is labelled by the teacher
    itself.

    Parameters
    ----------
    model, secret, federation
        See `TeacherLabeler`.
    student
        The student whose residuals were fitted.
    residuals
        By task: fold models of the residuals, see `fit_residuals`.
    """

    def __init__(
        self,
        model: TrainedModel,
        secret: bytes,
        federation: Federation,
        student: TrainedModel,
        residuals: Mapping[str, TaskModel],
    ) -> None:
        super().__init__(model, secret, federation)
        self.student = student
        self.residuals = residuals

    @classmethod
    def fit(
        cls,
        teacher: TeacherLabeler,
        measured: Mapping[str, MeasuredLabels],
        student: TrainedModel,
        jobs: int = 1,
    ) -> ResidualLabeler:
        """Fit a teacher's residuals from a student; for the parameters see `fit_residuals`."""
        residuals = fit_residuals(teacher.model, measured, teacher.library_folds, student, jobs)
        return cls(teacher.model, teacher.secret, teacher.federation, student, residuals)

    def __reduce__(self) -> tuple[Any, ...]:
        """See `TeacherLabeler.__reduce__`."""
        return type(self), (
            self.model,
            self.secret,
            self.federation,
            self.student,
            self.residuals,
        )

    def label_task(
        self,
        model: TaskModel,
        compounds: Compounds,
        folds: np.ndarray,
        jobs: int,
        predicted: FoldPredictions | None = None,
    ) -> OwnFoldLabels:
        """See `TeacherLabeler.label_task`."""
        if model.task.name not in self.residuals:
            return super().label_task(model, compounds, folds, jobs, predicted)
        residuals = super().label_task(self.residuals[model.task.name], compounds, folds, jobs)
        return add_residuals(
            model.task, student_numbers(self.student, model.task, compounds), residuals
        )


def add_residuals(task: Task, predictions: np.ndarray, residuals: OwnFoldLabels) -> OwnFoldLabels:
    """A student's predictions plus fitted residuals, clipped to the task's range.

    Parameters
    ----------
    task
        What is predicted.
    predictions
        The student's, float64 of shape (n, 1).
    residuals
        Of the same n compounds; NaN where no fold model exists.
    """
    total = np.clip(predictions + residuals.prediction, task.low, task.high)
    return replace(residuals, prediction=total)


def measured_labels(folder: Path, model: TrainedModel) -> dict[str, MeasuredLabels]:
    """The labels that a teacher was trained on, from its folder, by task.

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
    return {name: MeasuredLabels(one.truth, one.signs) for name, one in measured.items()}


def residual_learner(student: TrainedModel, task: Task) -> KernelRidge:
    """A learner of residuals, in the kernel of the student's own ridge regression, if any."""
    (model,) = [model for model in student.task_models if model.task.name == task.name]
    kernel: MixedKernel | None = None
    for learner in (learner for member in model.members for learner in member.estimators):
        if isinstance(learner, KernelRidge):
            kernel = learner.kernel_
    return KernelRidge(_RIDGE, most_exact=_MOST_EXACT, kernel=kernel)


def student_residuals(
    student: TrainedModel, task: Task, compounds: Compounds, measured: MeasuredLabels
) -> np.ndarray:
    """Measured values minus a student's predictions, clipped, float64 of shape (n,).

    That of a bound is a bound of the residual, with the same sign.
    """
    residuals = measured.values - student_numbers(student, task, compounds)[:, 0]
    return _clipped(residuals, measured)


def _clipped(residuals: np.ndarray, measured: MeasuredLabels) -> np.ndarray:
    exact = measured_exactly(measured.signs, len(residuals))
    farthest = _FARTHEST * float(measured.values[exact].std())
    clipped = np.clip(residuals, -farthest, farthest)
    if measured.signs is None:
        return clipped
    # A bound that the student keeps pulls at nothing; clipped, it would say more than was measured.
    return np.where(measured.signs * residuals < 0.0, residuals, clipped)


def fit_residuals(
    teacher: TrainedModel,
    measured: Mapping[str, MeasuredLabels],
    folds: np.ndarray,
    student: TrainedModel,
    jobs: int = 1,
) -> dict[str, TaskModel]:
    """Fit what a partner's measured values leave over a student's predictions.

    A mean of teachers that each know a few compounds is smoother than the truth; a partner sees in
    its own compounds what the mean misses. Every fold of the teacher gets a kernel ridge
    regression of the residuals (measured value minus the student's prediction) of the compounds of
    the other folds, in the student's own kernel. The partner labels with the student's prediction
    plus this regression. The mean of such labels over partners, pooled like those of the first
    round, is a step of functional gradient descent on the squared error over all private data
    (Friedman 2001, doi 10.1214/aos/1013203451; among parties that keep their data, Diao, Ding and
    Tarokh 2022, arXiv 2106.01425).

    Residuals are clipped to twice the standard deviation of the measured values. Nothing else
    shrinks them: the student learned from labels that knew these compounds, so their out-of-fold
    residuals look smaller than residuals elsewhere. Reliability is the teacher's own for the same
    reason: it says where a partner has compounds. A compound of which only a bound is known counts
    where student and residual together violate it. Classification tasks have no residuals; fitting
    them gained nothing.

    Parameters
    ----------
    teacher
        A cross-fitted teacher.
    measured
        By task: see `measured_labels`.
    folds
        Folds of the teacher's library, uint8 of shape (n_repeats, len(library)).
    student
        The student of the round before.
    jobs
        Threads; the result does not depend on it.

    Returns
    -------
    dict of str to TaskModel
        Fold models of the residuals, for each regression task that the student predicts.
    """
    known = {model.task.name for model in student.task_models}
    return {
        model.task.name: fit_task_residuals(
            LabelledTask(
                teacher.library,
                model.task,
                model.rows,
                measured[model.task.name].values,
                measured[model.task.name].signs,
            ),
            folds,
            model.members,
            student,
            jobs,
        )
        for model in teacher.task_models
        if not model.task.is_classification and model.task.name in known
    }


def fit_task_residuals(
    labelled: LabelledTask,
    folds: np.ndarray,
    members: Sequence[FoldModel],
    student: TrainedModel,
    jobs: int = 1,
) -> TaskModel:
    """Fit the residuals of one regression task; see `fit_residuals`.

    Parameters
    ----------
    labelled
        The task, and the partner's measured values.
    folds
        Folds of the library, uint8 of shape (n_repeats, len(library)).
    members
        The teacher's fold models; the result has their folds and reliabilities.
    student, jobs
        See `fit_residuals`.

    Returns
    -------
    TaskModel
        A model of residuals, for `fluid.learn.own_fold.label_own_fold`; it has no domains.
    """
    library, task, rows, values = labelled.library, labelled.task, labelled.rows, labelled.values
    # One fold at a time, as in `fluid.learn.crossfit`: in its last bits a prediction depends on
    # the compounds predicted with it, and nothing of a fold may reach the fold's own model.
    residuals = np.empty((len(folds), len(rows)))
    for repeat, fold in np.ndindex(len(folds), int(folds.max(initial=0)) + 1):
        mine = folds[repeat][rows] == fold
        if mine.any():
            predictions = student_numbers(student, task, library.take(rows[mine]))[:, 0]
            residuals[repeat, mine] = values[mine] - predictions
    span = task.high - task.low
    difference = replace(task, low=-span, high=span)

    def fit(member: FoldModel) -> FoldModel:
        inside = np.flatnonzero(folds[member.repeat][rows] != member.fold)
        signs = signs_among(labelled.signs, inside)
        targets = _clipped(residuals[member.repeat, inside], MeasuredLabels(values[inside], signs))
        ridge = residual_learner(student, task)
        ridge.fit(library, rows[inside], targets, False, 0, signs=signs)
        return FoldModel(member.repeat, member.fold, [ridge], [Platt()], member.reliability)

    return TaskModel(difference, map_threads(fit, members, jobs), False, rows, {})
