"""Calibration sets of a model: its own out-of-fold predictions, or a table of measured labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluid.base.errors import FluidError
from fluid.chem.compounds import Compounds
from fluid.chem.tables import Reject
from fluid.learn.censored import measured_exactly
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.measured import Measured
from fluid.learn.model import Predictor, TrainedModel
from fluid.learn.predictions import TaskPrediction
from fluid.learn.shift import Features, describe
from fluid.learn.storage import load_measured
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.partner.table import Columns, read_labelled


@dataclass(frozen=True)
class CalibrationSet:
    """Measured compounds of one task.

    Attributes
    ----------
    measured
        Predictions for n compounds and the measured labels; without NaN.
    features
        Features of the same compounds, for the estimate of a shift.
    left_out
        How many compounds of the user's table were left out, because the model was trained on
        them.
    """

    measured: Measured
    features: Features
    left_out: int = 0


def sets_of_folder(folder: Path, model: Predictor) -> dict[str, CalibrationSet]:
    """Calibration sets by task, from a partner's own out-of-fold predictions.

    Raises
    ------
    FluidError
        If the model is a student, which has no measured labels, or was made by an older version.
    """
    if model.card.kind == "student":
        raise FluidError(
            f"{folder}: is a student and has no measured labels to calibrate with; give a table of "
            "measured labels with --calibration"
        )
    measured = load_measured(folder, model)
    trained = model.own if isinstance(model, HybridModel) else model
    if not measured or not isinstance(trained, TrainedModel):
        raise FluidError(
            f"{folder}: holds no out-of-fold predictions, because it was made by an older version; "
            "train it again, or give a table of measured labels with --calibration"
        )
    found = {}
    for task_model in trained.task_models:
        if task_model.task.name in measured:
            compounds = trained.library.take(task_model.rows)
            found[task_model.task.name] = _calibration_set(
                measured[task_model.task.name], compounds
            )
    return found


def sets_of_tables(
    folder: Path, model: Predictor, sources: Sequence[Path], columns: Columns, jobs: int
) -> tuple[dict[str, CalibrationSet], list[Reject]]:
    """Calibration sets by task, from tables of measured labels.

    Compounds that the model was trained on for the task are left out and counted.

    Parameters
    ----------
    folder, model
        A model folder, and what was loaded from it.
    sources, columns
        Tables, read as one, and how to read them.
    jobs
        Worker processes.

    Returns
    -------
    tuple of dict and list of Reject
        By task with a label left; and rejected rows and labels.

    Raises
    ------
    FluidError
        If a table cannot be read, or no label can be used.
    """
    table = read_labelled(sources, model.tasks, model.chemistry, columns, jobs)
    predictions = model.predict(table.compounds, None).by_task
    found, labelled = {}, 0
    for index, task in enumerate(model.tasks):
        rows, truth = table.labels.column(index)
        labelled += len(rows)
        seen = _were_trained_on(model, task, table.compounds)[rows]
        kept, one = rows[~seen], predictions[task.name]
        measured = Measured(one.values[kept], truth[~seen], similarity_of(one)[kept])
        if len(kept):
            compounds = table.compounds.take(kept)
            found[task.name] = _calibration_set(measured, compounds, int(seen.sum()))
    if not found:
        raise FluidError(
            f"{', '.join(map(str, sources))}: none of its {labelled} measured labels can calibrate "
            f"{folder}, which was trained on these compounds; give other compounds"
        )
    return found, table.rejects


def _calibration_set(measured: Measured, compounds: Compounds, left_out: int = 0) -> CalibrationSet:
    # A bound does not say how large an error is.
    known = np.isfinite(measured.values).all(axis=1) & measured_exactly(
        measured.signs, len(measured)
    )
    kept = measured.take(known)
    return CalibrationSet(kept, describe(compounds.take(known), kept.similarity), left_out)


def _were_trained_on(model: Predictor, task: Task, compounds: Compounds) -> np.ndarray:
    """Which compounds the model was trained on for a task, bool of shape (n,).

    For a student, and for the student in a hybrid, these are all public compounds. Their pooled
    labels are not measured, but a prediction for them is not one for an unseen compound.
    """
    parts = [model.own, model.student] if isinstance(model, HybridModel) else [model]
    seen = np.zeros(len(compounds), dtype=bool)
    for part in parts:
        assert isinstance(part, TrainedModel)
        if part.trained_on is not None:
            seen |= np.isin(digest_connectivities(compounds), part.trained_on)
        known = [one.rows for one in part.task_models if one.task.name == task.name]
        learned = [part.library] if part.card.kind == "student" else map(part.library.take, known)
        for one in learned:
            seen |= np.isin(compounds.connectivities, one.connectivities)
    return seen


def similarity_of(prediction: TaskPrediction) -> np.ndarray:
    """Similarity to the reference compounds, shape (n,); 0 where it is unknown."""
    if prediction.similarity is None:
        return np.zeros(len(prediction.values))
    return prediction.similarity
