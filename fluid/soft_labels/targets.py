"""What a student learns from pooled labels, and how much each compound counts."""

from __future__ import annotations

import numpy as np

from fluid.learn.estimators import logit
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledLabels

CLIP = 0.01
# In units of the mean weight. Ridge regression divides the penalty by a weight, so none is 0.
_LEAST_WEIGHT = 0.02


def soft_targets(task: Task, label: np.ndarray) -> np.ndarray:
    """What the student learns: log-odds of pooled probabilities, or pooled numbers.

    Probabilities are clipped to [0.01, 0.99]. Labels are never rounded to classes: on the data
    measured, that alone costs more than pooling gains.
    """
    values = label.astype(np.float64)
    return logit(values, CLIP) if task.is_classification else values


def undo_shrinkage(task: Task, pooled: PooledLabels, rows: np.ndarray) -> np.ndarray:
    """Pooled labels of some compounds with their shrinkage undone.

    Labels of a regression task move away from their mean by the shrinkage slope; a compound counts
    in the mean by its squared reliability. Probabilities stay as they are: a ranking does not
    change.

    Parameters
    ----------
    task
        What is predicted.
    pooled
        Pooled labels.
    rows
        Compounds with a label.

    Returns
    -------
    numpy.ndarray
        float64 of shape (len(rows), n_outputs), within the range of the task.
    """
    label = pooled.label[rows].astype(np.float64)
    if task.is_classification or not len(rows):
        return label
    counts = pooled.reliability[rows].astype(np.float64) ** 2
    centre = np.average(label, axis=0, weights=counts if counts.sum() > 0.0 else None)
    return np.clip(centre + pooled.slope * (label - centre), task.low, task.high)


def sample_weights(pooled: PooledLabels, rows: np.ndarray) -> np.ndarray | None:
    """Weight of each compound's squared error: the squared reliability of its best teacher.

    Parameters
    ----------
    pooled
        Pooled labels.
    rows
        The n compounds with a label.

    Returns
    -------
    numpy.ndarray or None
        float64 of shape (n,) and mean 1; None if no teacher is reliable anywhere, so that all
        compounds weigh the same.
    """
    squared = pooled.reliability[rows].astype(np.float64) ** 2
    mean = float(squared.mean())
    if mean <= 0.0:
        return None
    bounded = np.maximum(squared / mean, _LEAST_WEIGHT)
    return bounded / bounded.mean()
