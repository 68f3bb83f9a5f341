"""The student that a further round corrects: loading and checking it, and what it predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import FileFormatError, FluidError, MismatchError
from fluid.base.files import sha256_file
from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.learn.model import TrainedModel
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.storage import load_trained
from fluid.learn.task import Task


@dataclass(frozen=True)
class BaseStudent:
    """The student that is corrected, and the digest of its ``model.json``."""

    student: TrainedModel
    digest: str


def load_base_student(path: Path, federation: Federation, named: str | None = None) -> BaseStudent:
    """The student to be corrected.

    Parameters
    ----------
    path, federation
        Its folder, and what it must belong to.
    named
        The digest that it must have, if it is known.

    Raises
    ------
    FluidError
        If it is no student of this federation, it predicts no numbers, something in it is not as
        it should be, or the federation has a noise mechanism.
    """
    if federation.mechanism.is_used:
        raise FluidError(
            f"federation '{federation.name}' has a noise mechanism, through which no student is "
            "corrected: annotate without one"
        )
    student = load_student(path, federation)
    digest = sha256_file(path / MODEL_FILE)
    if named is not None and digest != named:
        raise MismatchError(
            f"{path}: is the student '{digest[:12]}...', but '{named[:12]}...' is corrected"
        )
    for task in student.tasks:
        if task not in federation.tasks:
            raise MismatchError(
                f"{path}: task '{task.name}' is not defined so in federation '{federation.name}'"
            )
    if all(task.is_classification for task in student.tasks):
        raise FluidError(
            f"{path}: predicts no task of numbers, and only numbers are corrected: annotate "
            "without a student"
        )
    # Its landmarks are asked for again and again.
    student = replace(student, library=student.library.with_cache())
    for task in student.tasks:
        if not task.is_classification:
            _try(student, task, path)
    return BaseStudent(student, digest)


def load_student(path: Path, federation: Federation) -> TrainedModel:
    """A student that was distilled in this federation, in whatever round.

    Raises
    ------
    FluidError
        If it is none.
    """
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
    """Make sure that a student answers at all: its folder came from outside."""
    try:
        said = student_numbers(student, task, student.library.take(np.arange(1)))
    except (ValueError, IndexError, FloatingPointError) as error:
        raise FileFormatError(f"{path}: cannot predict task '{task.name}' ({error})") from error
    if said.shape != (1, 1) or not np.isfinite(said).all():
        raise FileFormatError(f"{path}: what it predicts of task '{task.name}' is no number")


@single_threaded_blas()
def student_numbers(student: TrainedModel, task: Task, compounds: Compounds) -> np.ndarray:
    """What a student says of a task of numbers, float64 of shape (n, 1)."""
    (model,) = [model for model in student.task_models if model.task.name == task.name]
    each = [member.predict(task, compounds, student.library) for member in model.members]
    return np.asarray(np.mean(each, axis=0))
