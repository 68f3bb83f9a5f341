"""Labels as a sparse compounds x tasks matrix: only measured values are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.learn.task import Task


@dataclass(frozen=True)
class LabelMatrix:
    """Measurements in coordinate form, sorted by task, then compound.

    Attributes
    ----------
    rows, tasks
        int64 of shape (n_labels,): compound and task of each label.
    values
        float64: the value (regression) or class index.
    qualifiers
        int8: -1 "less than", 0 "equal", 1 "more than".
    weights
        float64, positive: how many measurements were merged into the label.
    shape
        (n_compounds, n_tasks).
    """

    rows: np.ndarray
    tasks: np.ndarray
    values: np.ndarray
    qualifiers: np.ndarray
    weights: np.ndarray
    shape: tuple[int, int]

    def take(self, rows: np.ndarray) -> LabelMatrix:
        """The labels of the compounds at these ascending positions, renumbered from 0."""
        position = np.full(self.shape[0], -1, dtype=np.int64)
        position[rows] = np.arange(len(rows))
        kept = position[self.rows] >= 0
        return LabelMatrix(
            rows=position[self.rows[kept]],
            tasks=self.tasks[kept],
            values=self.values[kept],
            qualifiers=self.qualifiers[kept],
            weights=self.weights[kept],
            shape=(len(rows), self.shape[1]),
        )

    def column(self, task: int, censored: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Compounds and values of one task.

        Parameters
        ----------
        task
            Position of the task.
        censored
            Whether labels with a qualifier ("more than 5") are included.

        Returns
        -------
        tuple of numpy.ndarray
            Row positions (int64, ascending) and values (float64).
        """
        chosen = self.tasks == task
        if not censored:
            chosen &= self.qualifiers == 0
        return self.rows[chosen], self.values[chosen]


@dataclass(frozen=True)
class Conflict:
    """Measurements of one compound that contradict each other; they give no label."""

    row: int
    task: int
    values: tuple[float, ...]


def merge_measurements(
    tasks: Sequence[Task],
    rows: np.ndarray,
    task_index: np.ndarray,
    values: np.ndarray,
    qualifiers: np.ndarray,
    n_compounds: int,
) -> tuple[LabelMatrix, list[Conflict]]:
    """Merge repeated measurements of a compound into one label per task.

    Classes are merged by majority; a tie gives no label. Numbers are merged by the median of the
    uncensored ones, or of the censored ones if all are censored in the same direction.

    Parameters
    ----------
    tasks
        The federation's tasks.
    rows, task_index, values, qualifiers
        One element per measurement; see `LabelMatrix`.
    n_compounds
        Number of compounds.

    Returns
    -------
    tuple of LabelMatrix and list of Conflict
        Labels, and the compounds that have none because measurements contradict each other.
    """
    order = np.lexsort((rows, task_index))
    keys = task_index[order].astype(np.int64) * n_compounds + rows[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    ends = np.append(starts, len(keys))[1:]
    labels: list[tuple[int, int, float, int, float]] = []
    conflicts: list[Conflict] = []
    for start, end in zip(starts, ends, strict=True):
        group = order[start:end]
        row, task = int(rows[group[0]]), int(task_index[group[0]])
        merged = (_merge_numbers if tasks[task].kind == "regression" else _merge_classes)(
            values[group], qualifiers[group]
        )
        if merged is None:
            conflicts.append(Conflict(row, task, tuple(np.sort(values[group]).tolist())))
        else:
            labels.append((row, task, merged[0], merged[1], float(len(group))))
    table = np.array(labels, dtype=np.float64).reshape(-1, 5)
    matrix = LabelMatrix(
        rows=table[:, 0].astype(np.int64),
        tasks=table[:, 1].astype(np.int64),
        values=table[:, 2],
        qualifiers=table[:, 3].astype(np.int8),
        weights=table[:, 4],
        shape=(n_compounds, len(tasks)),
    )
    return matrix, conflicts


def _merge_classes(values: np.ndarray, qualifiers: np.ndarray) -> tuple[float, int] | None:
    found, counts = np.unique(values, return_counts=True)
    best = np.flatnonzero(counts == counts.max())
    return (float(found[best[0]]), 0) if len(best) == 1 else None


def _merge_numbers(values: np.ndarray, qualifiers: np.ndarray) -> tuple[float, int] | None:
    exact = values[qualifiers == 0]
    if len(exact):
        return float(np.median(exact)), 0
    signs = np.unique(qualifiers)
    return (float(np.median(values)), int(signs[0])) if len(signs) == 1 else None
