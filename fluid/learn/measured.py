"""Out-of-fold predictions beside measured labels, and their file in a model folder.

`conformal.npz` is in the folder of a teacher, reference or hybrid. It holds measured labels, so a
student's folder, which travels, never has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.arrays import read_arrays
from fluid.base.errors import FileFormatError
from fluid.learn.censored import measured_exactly, signs_among
from fluid.learn.task import Task

MEASURED_FILE = "conformal.npz"
_PARTS = ("values", "truth", "similarity")


@dataclass(frozen=True)
class Measured:
    """Predictions of one task for n measured compounds, beside their labels.

    Attributes
    ----------
    values
        float64 of shape (n, n_outputs): calibrated probabilities, or a number in the task's range,
        by models that have not seen the compound. NaN without a prediction.
    truth
        float64 of shape (n,): class index, or the measured number, or a bound of it.
    similarity
        float64 of shape (n,) in [0, 1]: mean Tanimoto similarity to the five nearest reference
        compounds among those that the predicting models have seen.
    signs
        int8 of shape (n,): -1 where the truth lies below `truth`, 1 where it lies above, 0 where it
        was measured. None if all were.
    """

    values: np.ndarray
    truth: np.ndarray
    similarity: np.ndarray
    signs: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: np.ndarray) -> Measured:
        """The compounds at these positions (integers or a mask)."""
        signs = signs_among(self.signs, rows)
        return Measured(self.values[rows], self.truth[rows], self.similarity[rows], signs)

    def exact(self) -> Measured:
        """The compounds whose value is no bound."""
        return self.take(measured_exactly(self.signs, len(self)))


def write_measured(path: Path, measured: Mapping[str, Measured]) -> None:
    """Write one array file: ``<task>/values``, ``<task>/truth`` and ``<task>/similarity``.

    Where there are bounds, ``<task>/signs`` stands beside them.
    """
    arrays = {
        f"{name}/{part}": np.asarray(getattr(one, part), dtype=np.float64)
        for name, one in sorted(measured.items())
        for part in _PARTS
    }
    for name, one in sorted(measured.items()):
        if one.signs is not None:
            arrays[f"{name}/signs"] = one.signs.astype(np.float64)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def read_measured(path: Path, sizes: Mapping[Task, int]) -> dict[str, Measured]:
    """Read what `write_measured` wrote.

    Parameters
    ----------
    path
        The file.
    sizes
        Tasks of the model and how many labelled compounds each has.

    Returns
    -------
    dict
        By name of the task, for the tasks in the file.

    Raises
    ------
    FileFormatError
        If it cannot be decoded, or does not fit the model.
    """
    arrays = read_arrays(path)
    found = {}
    for task, size in sizes.items():
        parts = [arrays.get(f"{task.name}/{part}") for part in _PARTS]
        if all(part is None for part in parts):
            continue
        values, truth, similarity = parts
        if values is None or truth is None or similarity is None:
            raise FileFormatError(f"{path}: task '{task.name}' is incomplete")
        signs = arrays.get(f"{task.name}/signs")
        one = Measured(values, truth, similarity, signs)
        if not _fits(task, one, size):
            raise FileFormatError(f"{path}: task '{task.name}' does not fit the model")
        found[task.name] = one if signs is None else replace(one, signs=signs.astype(np.int8))
    return found


def _fits(task: Task, one: Measured, size: int) -> bool:
    shapes = [(size, len(task.outputs)), (size,), (size,)]
    arrays = (one.values, one.truth, one.similarity)
    if [array.shape for array in arrays] != shapes or any(a.dtype != np.float64 for a in arrays):
        return False
    if one.signs is not None and (
        task.is_classification
        or one.signs.shape != (size,)
        or one.signs.dtype != np.float64
        or not np.isin(one.signs, (-1, 0, 1)).all()
    ):
        return False
    near = (one.similarity >= 0.0) & (one.similarity <= 1.0)
    inside = ~np.isinf(one.values)
    if task.is_classification:
        inside &= ~((one.values < 0.0) | (one.values > 1.0))
        known = np.isin(one.truth, np.arange(max(2, len(task.classes))))
    else:
        known = (one.truth >= task.low) & (one.truth <= task.high)
    return bool(inside.all() and near.all() and known.all())
