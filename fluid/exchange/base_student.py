"""The student that a residual round starts from: loading and checking it, and its predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import FileFormatError, FluidError, MismatchError
from fluid.base.files import sha256_file
from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.exchange.coordinator import check_student_folder
from fluid.exchange.federation import Federation
from fluid.learn.model import TrainedModel
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.storage import load_trained
from fluid.learn.task import Task


@dataclass(frozen=True)
class BaseStudent:
    """The student that a residual round starts from, and the digest of its ``model.json``."""

    student: TrainedModel
    digest: str


def load_base_student(path: Path, federation: Federation, named: str | None = None) -> BaseStudent:
    """Load the student whose residuals partners fit.

    Parameters
    ----------
    path, federation
        Its folder, and the federation that it must belong to.
    named
        The digest that its ``model.json`` must have, if it is known.

    Raises
    ------
    FluidError
        If it is not a student of this federation, predicts no regression task, is damaged or
        cannot predict, or the federation has a noise mechanism.
    """
    if federation.mechanism.is_used:
        raise FluidError(
            f"federation '{federation.name}' has a noise mechanism, which residuals of a student "
            "cannot pass: annotate without a student"
        )
    student = load_student(path, federation)
    digest = sha256_file(path / MODEL_FILE)
    if named is not None and digest != named:
        raise MismatchError(f"{path}: expected student '{named[:12]}...', found '{digest[:12]}...'")
    for task in student.tasks:
        if task not in federation.tasks:
            raise MismatchError(
                f"{path}: task '{task.name}' is defined otherwise in federation '{federation.name}'"
            )
    if all(task.is_classification for task in student.tasks):
        raise FluidError(
            f"{path}: predicts no regression task, and residuals are fitted only of these: "
            "annotate without a student"
        )
    # Its landmarks are used repeatedly.
    student = replace(student, library=student.library.with_cache())
    for task in student.tasks:
        if not task.is_classification:
            _try(student, task, path)
    return BaseStudent(student, digest)


def load_student(path: Path, federation: Federation) -> TrainedModel:
    """Load a student that was distilled in this federation, in any round.

    Raises
    ------
    FluidError
        If it is not one.
    """
    check_student_folder(path, federation)
    student = load_trained(path, "student")
    for what, stated, wanted in (
        ("federation", student.card.federation, federation.name),
        ("protocol", student.card.protocol[:12], federation.protocol[:12]),
    ):
        if stated != wanted:
            raise MismatchError(
                f"{path}: was distilled in {what} {stated}, but {wanted} is expected"
            )
    return student


def _try(student: TrainedModel, task: Task, path: Path) -> None:
    """Check that a student predicts finite numbers: its folder came from outside."""
    try:
        predictions = _stated(student, task, student.library.take(np.arange(1)))
    except (ValueError, IndexError, FloatingPointError) as error:
        raise FileFormatError(f"{path}: cannot predict task '{task.name}' ({error})") from error
    if predictions.shape != (1, 1) or not np.isfinite(predictions).all():
        raise FileFormatError(f"{path}: its prediction of task '{task.name}' is not finite")


@single_threaded_blas()
def student_numbers(student: TrainedModel, task: Task, compounds: Compounds) -> np.ndarray:
    """A student's predictions of a regression task, float64 of shape (n, 1), finite.

    A student comes from outside. One that predicts no number for some compound would spoil every
    label that the residual of this compound has a part in, and so tell that it is private; it is
    taken to predict the middle of the range.
    """
    found = _stated(student, task, compounds)
    return np.where(np.isfinite(found), found, (task.low + task.high) / 2.0)


def _stated(student: TrainedModel, task: Task, compounds: Compounds) -> np.ndarray:
    (model,) = [model for model in student.task_models if model.task.name == task.name]
    each = [member.predict(task, compounds, student.library) for member in model.members]
    return np.asarray(np.mean(each, axis=0))
