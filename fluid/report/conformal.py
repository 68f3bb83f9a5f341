"""Prediction sets and intervals for the compounds of a table, calibrated on measured compounds.

See `fluid.learn.conformal` for what they promise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError
from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.chem.featurizer import Featurized
from fluid.chem.tables import Reject
from fluid.learn.conformal import (
    DIFFICULTIES,
    ClassSets,
    Weights,
    check_alpha,
    class_sets,
    effective_size,
    intervals,
    load_crepes,
    needed_size,
)
from fluid.learn.model import Model
from fluid.learn.predictions import Predictions, class_label
from fluid.learn.shift import FEWEST, Features, describe, estimate_shift
from fluid.learn.task import Task
from fluid.partner.table import Columns
from fluid.report.calibration_sets import sets_of_folder, sets_of_tables, similarity_of

logger = logging.getLogger(__name__)

# Bounds are rounded outwards to as many decimals as predictions are shown with.
_SCALE = 1e4

Columned = dict[str, np.ndarray]


@dataclass(frozen=True)
class ConformalOptions:
    """What is asked of prediction sets.

    Attributes
    ----------
    alpha
        Error rate in (0, 0.5].
    calibration
        Tables of measured labels to calibrate with; empty for the model's own out-of-fold
        predictions.
    columns
        How to read those tables.
    shift
        Whether calibration compounds are weighed by how like the queries they are.
    difficulty
        Key of `fluid.learn.conformal.DIFFICULTIES`.
    """

    alpha: float
    calibration: Sequence[Path] = ()
    columns: Columns = field(default_factory=Columns)
    shift: bool = True
    difficulty: str = "similarity"

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.difficulty not in DIFFICULTIES:
            allowed = ", ".join(DIFFICULTIES)
            raise FluidError(f"difficulty '{self.difficulty}': allowed are {allowed}")


def conformal_columns(task: Task) -> list[str]:
    """Columns that `judge` adds for a task."""
    parts = ("set",) if task.is_classification else ("low", "high")
    return [f"{task.name}.{part}" for part in parts]


class Conformer:
    """Calibration sets of a model, and what is told of the sets made with them.

    Parameters
    ----------
    folder, model
        A model folder, and what was loaded from it.
    options
        What is asked.
    jobs
        Worker processes for reading the calibration table.

    Raises
    ------
    FluidError
        If there is nothing to calibrate with, or the library crepes is not installed.
    """

    def __init__(self, folder: Path, model: Model, options: ConformalOptions, jobs: int) -> None:
        load_crepes()
        self.folder = folder
        self.options = options
        self.tasks = model.tasks
        self.rejects: list[Reject] = []
        for task in self.tasks:
            if set(conformal_columns(task)) & set(task.outputs):
                raise FluidError(
                    f"task '{task.name}': a class named 'set' allows no sets beside it"
                )
        if options.calibration:
            self.sets, self.rejects = sets_of_tables(
                folder, model, options.calibration, options.columns, jobs
            )
        else:
            self.sets = sets_of_folder(folder, model)
        self.told: dict[str, dict[str, Any]] = {}
        for task in self.tasks:
            if task.name not in self.sets:
                logger.warning(
                    "%s: task %s has no measured compounds to calibrate with; its sets stay empty",
                    folder, task.name,
                )  # fmt: skip

    def judge(self, queries: Sequence[Compounds], said: Sequence[Predictions]) -> list[Columned]:
        """Columns with sets and intervals for batches of compounds, weighed as one.

        Parameters
        ----------
        queries, said
            The batches, and what the model says of them.

        Returns
        -------
        list of dict
            By batch, the columns of `conformal_columns` of each task: sets as text, None where
            there is no prediction or no calibration; bounds as float64, NaN likewise.
        """
        ends = np.cumsum([len(batch) for batch in queries])
        joined: Columned = {}
        for task in self.tasks:
            parts = [one.by_task[task.name] for one in said]
            values = np.concatenate([part.values for part in parts])
            near = np.concatenate([similarity_of(part) for part in parts])
            if task.name not in self.sets:
                joined |= _nothing(task, len(values))
                continue
            weights, told = self._weigh(task, queries, near)
            joined |= self._task_columns(task, values, near, weights, told)
        return [
            {name: column[end - len(batch) : end] for name, column in joined.items()}
            for batch, end in zip(queries, ends, strict=True)
        ]

    def _weigh(
        self, task: Task, queries: Sequence[Compounds], near: np.ndarray
    ) -> tuple[Weights | None, dict[str, Any]]:
        """Weights of one task if they are asked for and can be had, and what to tell of them."""
        one = self.sets[task.name]
        told: dict[str, Any] = {"compounds": len(one.measured), "left_out": one.left_out}
        if not self.options.shift:
            return None, told | {"weighted": False}
        described = [describe(batch, np.zeros(len(batch))) for batch in queries]
        asked = Features(
            near,
            np.concatenate([part.table for part in described]),
            np.concatenate([part.connectivities for part in described]),
        )
        shift = estimate_shift(one.features, asked)
        if shift is None:
            logger.warning(
                "%s: task %s: no weights, for %d calibration compounds and %d to predict do not "
                "tell how they differ (%d of each are needed); sets hold for compounds like the "
                "calibration compounds",
                self.folder, task.name, len(one.measured), len(near), FEWEST,
            )  # fmt: skip
            return None, told | {"weighted": False}
        effective = round(effective_size(shift.weights.calibration), 1)
        told |= {"weighted": True, "separation": round(shift.separation, 4)}
        logger.info(
            "%s: task %s: %d calibration compounds, %.1f effective after weighing; ROC-AUC %.3f "
            "of telling them from those to predict",
            self.folder, task.name, len(one.measured), effective, shift.separation,
        )  # fmt: skip
        return shift.weights, told

    def _task_columns(
        self,
        task: Task,
        values: np.ndarray,
        near: np.ndarray,
        weights: Weights | None,
        told: dict[str, Any],
    ) -> Columned:
        measured, alpha = self.sets[task.name].measured, self.options.alpha
        known = np.isfinite(values).all(axis=1)
        if task.is_classification:
            sets = class_sets(task, measured, values, alpha, weights)
            labels = [class_label(task, index) for index in range(sets.inside.shape[1])]
            told["effective"] = {
                label: round(float(size), 1)
                for label, size in zip(labels, sets.effective, strict=True)
            }
            sizes = sets.inside[known].sum(axis=1)
            self._tell(task, told, {
                "empty": int((sizes == 0).sum()),
                "single": int((sizes == 1).sum()),
                "several": int((sizes > 1).sum()),
            }, _scarce(sets, labels))  # fmt: skip
            column = np.full(len(values), None, dtype=object)
            for row in np.flatnonzero(known):
                column[row] = "|".join(np.array(labels, dtype=object)[sets.inside[row]])
            return {f"{task.name}.set": column}
        found = intervals(
            task, measured, values, near, alpha, weights, self.options.difficulty
        )  # fmt: skip
        low = np.clip(np.floor(found.low * _SCALE) / _SCALE, task.low, task.high)
        high = np.clip(np.ceil(found.high * _SCALE) / _SCALE, task.low, task.high)
        told["effective"] = round(found.effective, 1)
        self._tell(task, told, {
            "whole_range": int(found.unbounded.sum()),
            "bounded": int((known & ~found.unbounded).sum()),
        }, {} if found.enough else {"": found.effective})  # fmt: skip
        return {f"{task.name}.low": low, f"{task.name}.high": high}

    def _tell(
        self,
        task: Task,
        told: dict[str, Any],
        counts: dict[str, int],
        scarce: dict[str, float],
    ) -> None:
        """Add a batch to what is told of a task; the first one says if there is too little."""
        before = self.told.get(task.name)
        if before is not None:
            for name, count in counts.items():
                before["sets"][name] += count
            return
        self.told[task.name] = told | {"enough": not scarce, "sets": counts}
        if not scarce:
            return
        sizes = ", ".join(
            f"{size:.1f}{f' of class {label}' if label else ''}" for label, size in scarce.items()
        )
        means = (
            "every set holds that class" if task.is_classification
            else "every interval is the whole range"
        )  # fmt: skip
        logger.warning(
            "%s: task %s: effective calibration compounds are %s, but an error rate of %g needs "
            "%g: %s",
            self.folder, task.name, sizes, self.options.alpha,
            float(np.ceil(round(needed_size(self.options.alpha), 9))), means,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """What was asked and found, as plain values."""
        sources = [path.name for path in self.options.calibration]
        return {
            "error_rate": self.options.alpha,
            "calibration": sources or "out of fold",
            "set_aside": len(self.rejects),
            "shift": self.options.shift,
            "difficulty": self.options.difficulty,
            "tasks": self.told,
        }


def with_sets(
    predicted: Iterable[tuple[Featurized, Predictions]], conformer: Conformer | None
) -> Iterator[tuple[Featurized, Predictions, Columned]]:
    """Predictions of batches with their sets and intervals.

    Without a shift they come as they go. With one, nothing comes before the last batch is there:
    weights are estimated from all compounds, of which about 7 kB each are held.
    """
    if conformer is None or not conformer.options.shift:
        for batch, said in predicted:
            added = conformer.judge([batch.compounds], [said])[0] if conformer else {}
            yield batch, said, added
        return
    held = list(predicted)
    if held:
        compounds = [batch.compounds for batch, _ in held]
        with single_threaded_blas():
            columns = conformer.judge(compounds, [said for _, said in held])
        for (batch, said), added in zip(held, columns, strict=True):
            yield batch, said, added


def _nothing(task: Task, count: int) -> Columned:
    if task.is_classification:
        return {f"{task.name}.set": np.full(count, None, dtype=object)}
    return {name: np.full(count, np.nan) for name in conformal_columns(task)}


def _scarce(sets: ClassSets, labels: Sequence[str]) -> dict[str, float]:
    """Effective number of calibration compounds of classes that have too few."""
    rows = zip(labels, sets.effective, sets.enough, strict=True)
    return {label: float(size) for label, size, enough in rows if not enough}
