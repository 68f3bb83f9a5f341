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
from fluid.learn.model import Predictor
from fluid.learn.predictions import Predictions, class_label
from fluid.learn.shift import FEWEST, Features, describe, estimate_shift
from fluid.learn.task import Task
from fluid.partner.table import Columns
from fluid.report.calibration_sets import sets_of_folder, sets_of_tables, similarity_of

logger = logging.getLogger(__name__)

# Bounds are rounded outwards to the four decimals that predictions are written with.
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
        Whether calibration compounds are weighted by how similar to the queries they are.
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
    """Makes prediction sets with a model's calibration sets, and counts what it makes.

    Parameters
    ----------
    folder, model
        A model folder, and the model loaded from it.
    options
        What is asked of the sets.
    jobs
        Worker processes for reading the calibration table.

    Raises
    ------
    FluidError
        If there is nothing to calibrate with, or the library crepes is not installed.
    """

    def __init__(
        self, folder: Path, model: Predictor, options: ConformalOptions, jobs: int
    ) -> None:
        load_crepes()
        self.folder = folder
        self.options = options
        self.tasks = model.tasks
        self.rejects: list[Reject] = []
        for task in self.tasks:
            if set(conformal_columns(task)) & set(task.outputs):
                raise FluidError(
                    f"task '{task.name}': its class 'set' has the name of the column of prediction "
                    "sets; predict without sets"
                )
        if options.calibration:
            self.sets, self.rejects = sets_of_tables(
                folder, model, options.calibration, options.columns, jobs
            )
        else:
            self.sets = sets_of_folder(folder, model)
        # By task: the calibration, and how large the sets of all batches so far are.
        self.counted: dict[str, dict[str, Any]] = {}
        for task in self.tasks:
            if task.name not in self.sets:
                logger.warning(
                    "%s: task %s has no measured compounds to calibrate with; its sets stay empty",
                    folder,
                    task.name,
                )

    def judge(
        self, queries: Sequence[Compounds], predictions: Sequence[Predictions]
    ) -> list[Columned]:
        """Columns with sets and intervals for batches of compounds, weighted as one.

        Parameters
        ----------
        queries, predictions
            The batches, and the model's predictions for them.

        Returns
        -------
        list of dict
            By batch, the columns of `conformal_columns` of each task: sets as text, None where
            there is no prediction or no calibration; bounds as float64, NaN likewise.
        """
        ends = np.cumsum([len(batch) for batch in queries])
        joined: Columned = {}
        for task in self.tasks:
            parts = [one.by_task[task.name] for one in predictions]
            values = np.concatenate([part.values for part in parts])
            near = np.concatenate([similarity_of(part) for part in parts])
            if task.name not in self.sets:
                joined |= _empty_columns(task, len(values))
                continue
            weights, calibration = self._weigh(task, queries, near)
            make = self._class_columns if task.is_classification else self._interval_columns
            joined |= make(task, values, near, weights, calibration)
        return [
            {name: column[end - len(batch) : end] for name, column in joined.items()}
            for batch, end in zip(queries, ends, strict=True)
        ]

    def _weigh(
        self, task: Task, queries: Sequence[Compounds], near: np.ndarray
    ) -> tuple[Weights | None, dict[str, Any]]:
        """Weights of one task, None for none, and what to report of the calibration."""
        one = self.sets[task.name]
        calibration: dict[str, Any] = {"compounds": len(one.measured), "left_out": one.left_out}
        if not self.options.shift:
            return None, calibration | {"weighted": False}
        described = [describe(batch, np.zeros(len(batch))) for batch in queries]
        asked = Features(
            near,
            np.concatenate([part.table for part in described]),
            np.concatenate([part.connectivities for part in described]),
        )
        shift = estimate_shift(one.features, asked)
        if shift is None:
            logger.warning(
                "%s: task %s: no weights, because %d of each are needed to see how the %d "
                "calibration compounds differ from the %d to predict; sets hold for compounds "
                "like the calibration compounds",
                self.folder,
                task.name,
                FEWEST,
                len(one.measured),
                len(near),
            )
            return None, calibration | {"weighted": False}
        effective = round(effective_size(shift.weights.calibration), 1)
        logger.info(
            "%s: task %s: %d calibration compounds, %.1f effective after weighting; ROC-AUC %.3f "
            "in telling them from those to predict",
            self.folder,
            task.name,
            len(one.measured),
            effective,
            shift.separation,
        )
        weighted = {"weighted": True, "separation": round(shift.separation, 4)}
        return shift.weights, calibration | weighted

    def _class_columns(
        self,
        task: Task,
        values: np.ndarray,
        near: np.ndarray,
        weights: Weights | None,
        calibration: dict[str, Any],
    ) -> Columned:
        known = np.isfinite(values).all(axis=1)
        measured = self.sets[task.name].measured
        sets = class_sets(task, measured, values, self.options.alpha, weights)
        labels = [class_label(task, index) for index in range(sets.inside.shape[1])]
        calibration["effective"] = {
            label: round(float(size), 1) for label, size in zip(labels, sets.effective, strict=True)
        }
        sizes = sets.inside[known].sum(axis=1)
        counts = {
            "empty": int((sizes == 0).sum()),
            "single": int((sizes == 1).sum()),
            "several": int((sizes > 1).sum()),
        }
        self._count(task, calibration, counts, _scarce(sets, labels))
        column = np.full(len(values), None, dtype=object)
        for row in np.flatnonzero(known):
            column[row] = "|".join(np.array(labels, dtype=object)[sets.inside[row]])
        return {f"{task.name}.set": column}

    def _interval_columns(
        self,
        task: Task,
        values: np.ndarray,
        near: np.ndarray,
        weights: Weights | None,
        calibration: dict[str, Any],
    ) -> Columned:
        measured, options = self.sets[task.name].measured, self.options
        found = intervals(task, measured, values, near, options.alpha, weights, options.difficulty)
        low = np.clip(np.floor(found.low * _SCALE) / _SCALE, task.low, task.high)
        high = np.clip(np.ceil(found.high * _SCALE) / _SCALE, task.low, task.high)
        calibration["effective"] = round(found.effective, 1)
        known = np.isfinite(values).all(axis=1)
        counts = {
            "whole_range": int(found.unbounded.sum()),
            "bounded": int((known & ~found.unbounded).sum()),
        }
        self._count(task, calibration, counts, {} if found.enough else {"": found.effective})
        return {f"{task.name}.low": low, f"{task.name}.high": high}

    def _count(
        self,
        task: Task,
        calibration: dict[str, Any],
        counts: dict[str, int],
        scarce: dict[str, float],
    ) -> None:
        """Add the counts of a batch; with the first one, warn if there is too little."""
        before = self.counted.get(task.name)
        if before is not None:
            for name, count in counts.items():
                before["sets"][name] += count
            return
        self.counted[task.name] = calibration | {"enough": not scarce, "sets": counts}
        if not scarce:
            return
        sizes = ", ".join(
            f"{size:.1f}{f' of class {label}' if label else ''}" for label, size in scarce.items()
        )
        logger.warning(
            "%s: task %s: effective calibration compounds are %s, but an error rate of %g needs "
            "%g: %s",
            self.folder,
            task.name,
            sizes,
            self.options.alpha,
            float(np.ceil(round(needed_size(self.options.alpha), 9))),
            "every set holds that class"
            if task.is_classification
            else "every interval is the whole range",
        )

    def to_dict(self) -> dict[str, Any]:
        """What was asked and found, as plain values."""
        sources = [path.name for path in self.options.calibration]
        return {
            "error_rate": self.options.alpha,
            "calibration": sources or "out of fold",
            "rejected": len(self.rejects),
            "shift": self.options.shift,
            "difficulty": self.options.difficulty,
            "tasks": self.counted,
        }


def with_sets(
    predicted: Iterable[tuple[Featurized, Predictions]], conformer: Conformer | None
) -> Iterator[tuple[Featurized, Predictions, Columned]]:
    """Predictions of batches with their sets and intervals.

    Without a shift, batches are passed on as they come. With one, weights are estimated from all
    compounds first: all batches are held in memory, about 7 kB a compound.
    """
    if conformer is None or not conformer.options.shift:
        for batch, predictions in predicted:
            added = conformer.judge([batch.compounds], [predictions])[0] if conformer else {}
            yield batch, predictions, added
        return
    held = list(predicted)
    if held:
        compounds = [batch.compounds for batch, _ in held]
        with single_threaded_blas():
            columns = conformer.judge(compounds, [predictions for _, predictions in held])
        for (batch, predictions), added in zip(held, columns, strict=True):
            yield batch, predictions, added


def _empty_columns(task: Task, count: int) -> Columned:
    if task.is_classification:
        return {f"{task.name}.set": np.full(count, None, dtype=object)}
    return {name: np.full(count, np.nan) for name in conformal_columns(task)}


def _scarce(sets: ClassSets, labels: Sequence[str]) -> dict[str, float]:
    """Effective number of calibration compounds of classes that have too few."""
    rows = zip(labels, sets.effective, sets.enough, strict=True)
    return {label: float(size) for label, size, enough in rows if not enough}
