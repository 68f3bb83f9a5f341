"""What a student learns of pooled labels, and how much each compound counts."""

from __future__ import annotations

import numpy as np

from fluid.learn.estimators import logit
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledTask

CLIP = 0.01
WEIGHTINGS = ("reliability", "none", "uncertain")
# No compound is left out altogether, and none counts more than so many times the mean.
_LEAST, _MOST = 0.02, 20.0


def soft_targets(task: Task, label: np.ndarray) -> np.ndarray:
    """What the student learns: log-odds of pooled probabilities, or pooled numbers.

    Probabilities are clipped to [0.01, 0.99]. Labels are never rounded to classes: on the data
    measured, that alone costs more than pooling gains.
    """
    values = label.astype(np.float64)
    return logit(values, CLIP) if task.is_classification else values


def widen(task: Task, pooled: PooledTask, rows: np.ndarray) -> np.ndarray:
    """Pooled labels to learn from, of these compounds; numbers are spread out as truth would be.

    Numbers move away from their mean, in which a compound counts by its squared reliability, by
    the slope of the pooled labels (`slope_of`). Probabilities are left as they are: a ranking
    does not change.

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
        float64 of shape (len(rows), n_outputs).
    """
    label = pooled.label[rows].astype(np.float64)
    if task.is_classification or not len(rows):
        return label
    counts = pooled.reliability[rows].astype(np.float64) ** 2
    centre = np.average(label, axis=0, weights=counts if counts.sum() > 0.0 else None)
    return np.clip(centre + pooled.slope * (label - centre), task.low, task.high)


def sample_weights(
    task: Task, pooled: PooledTask, rows: np.ndarray, weighting: str
) -> np.ndarray | None:
    """Weight of each compound's squared error, of mean 1.

    Parameters
    ----------
    task, pooled
        The task and its pooled labels.
    rows
        The n compounds with a label.
    weighting
        See `StudentOptions`.

    Returns
    -------
    numpy.ndarray or None
        float64 of shape (n,); None if all weigh the same.
    """
    if weighting == "none":
        return None
    if weighting == "reliability":
        raw = pooled.reliability[rows].astype(np.float64) ** 2
    else:
        label = pooled.label[rows].astype(np.float64)
        spread = pooled.disagreement[rows].astype(np.float64).mean(axis=1)
        # The standard deviation of the class itself, and that between the teachers.
        own = np.sqrt(label * (1.0 - label)).mean(axis=1) if task.is_classification else 0.0
        raw = own + spread
    mean = float(raw.mean())
    if mean <= 0.0:
        return None
    bounded = np.clip(raw / mean, _LEAST, _MOST)
    return bounded / bounded.mean()
