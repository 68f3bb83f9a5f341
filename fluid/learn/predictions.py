"""Predictions of one model for a batch of compounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.learn.judgement import DomainResult, HeldOut
from fluid.learn.task import Task


@dataclass(frozen=True)
class TaskPrediction:
    """Predictions of one task for n compounds.

    Attributes
    ----------
    values
        float64 of shape (n, n_outputs): probability of the positive class, or of each class, or
        the value in the task's unit. NaN without a prediction.
    uncertainty
        float64 of the same shape: standard deviation over the model's members; NaN where there
        are fewer than two.
    reliability
        float64 of shape (n,) in [0, 1]: expected share of variance explained; NaN if unknown.
    domain
        Where the predictions can be trusted; None if no domain was asked for.
    threshold
        Of a binary task: the probability from which a compound is called positive.
    similarity
        float64 of shape (n,) in [0, 1]: mean Tanimoto similarity to the five nearest reference
        compounds; in a hybrid the higher of both parts; None if unknown.
    """

    values: np.ndarray
    uncertainty: np.ndarray
    reliability: np.ndarray
    domain: DomainResult | None = None
    threshold: float = 0.5
    similarity: np.ndarray | None = None

    def classes(self, task: Task) -> np.ndarray:
        """Predicted class index, int64 of shape (n,); -1 where there is no prediction."""
        return called_classes(task, self.values, self.threshold)


@dataclass(frozen=True)
class Predictions:
    """Predictions by task name, for the tasks that the model knows."""

    tasks: Sequence[Task]
    by_task: dict[str, TaskPrediction]


def called_classes(task: Task, values: np.ndarray, threshold: float) -> np.ndarray:
    """Class index of each row of probabilities, int64 of shape (n,); -1 where one is NaN."""
    known = np.isfinite(values).all(axis=1)
    if task.kind == "multiclass":
        called = np.where(known[:, None], values, -1.0).argmax(axis=1)
    else:
        called = (values[:, 0] >= threshold).astype(np.int64)
    return np.where(known, called, -1)


def measured_calls(
    task: Task, values: np.ndarray, threshold: float, similarity: np.ndarray, truth: np.ndarray
) -> HeldOut | None:
    """Out-of-fold calls beside measured classes, to fit a domain on; None for regression.

    Parameters
    ----------
    task
        What is predicted.
    values, threshold
        Probabilities of shape (n, n_outputs) and what decides; rows with NaN do not count.
    similarity
        To the five nearest compounds of the other folds, shape (n,).
    truth
        Measured class index, shape (n,).
    """
    if not task.is_classification:
        return None
    right = (called_classes(task, values, threshold) == truth).astype(np.float64)
    return HeldOut(values, threshold, similarity, right, np.ones(len(truth)), measured=True)


def class_label(task: Task, index: int) -> str:
    """Name of a class; 1 and 0 in binary tasks without names."""
    return task.classes[index] if task.classes else str(index)
