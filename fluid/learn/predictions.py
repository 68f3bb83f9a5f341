"""Predictions of one model for a batch of compounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.learn.domain import DomainResult
from fluid.learn.task import Task


@dataclass(frozen=True)
class TaskPrediction:
    """Predictions of one task for n compounds.

    Attributes
    ----------
    values
        float64 of shape (n, n_outputs): probability of the positive class, or of each class, or
        the value in the task's unit. NaN where the model has no answer.
    uncertainty
        float64 of the same shape: standard deviation over the model's members; NaN where there
        are fewer than two.
    reliability
        float64 of shape (n,) in [0, 1]: expected share of variance explained; NaN if unknown.
    domain
        Whether, how far and why, or None if it was not asked for.
    threshold
        Of a binary task: the probability from which a compound is called positive.
    """

    values: np.ndarray
    uncertainty: np.ndarray
    reliability: np.ndarray
    domain: DomainResult | None = None
    threshold: float = 0.5

    def classes(self, task: Task) -> np.ndarray:
        """Predicted class index, int64 of shape (n,); -1 where there is no prediction."""
        known = np.isfinite(self.values).all(axis=1)
        if task.kind == "multiclass":
            called = np.where(known[:, None], self.values, -1.0).argmax(axis=1)
        else:
            called = (self.values[:, 0] >= self.threshold).astype(np.int64)
        return np.where(known, called, -1)


@dataclass(frozen=True)
class Predictions:
    """Predictions by task name, for the tasks that the model knows."""

    tasks: Sequence[Task]
    by_task: dict[str, TaskPrediction]


def class_label(task: Task, index: int) -> str:
    """Name of a class; binary tasks without names say 1 and 0."""
    return task.classes[index] if task.classes else str(index)
