"""What a hybrid learns of the other partners' labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.estimators import KernelRidge, logit
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.estimators.twicing import Twicing
from fluid.learn.model import TrainedModel
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledLabels
from fluid.soft_labels.targets import CLIP, sample_weights, soft_targets, undo_shrinkage


def student_twicing(student: TrainedModel) -> dict[str, Twicing]:
    """How the labels that a student learned from were sharpened, by task.

    Raises
    ------
    ValueError
        If the student does not state it as it should.
    """
    stated: Any = student.card.training.get("twicing", {})
    if not isinstance(stated, dict):
        raise ValueError("twicing is no table")
    return {str(name): Twicing.from_dict(values) for name, values in stated.items()}


def peer_targets(
    public: Compounds,
    task: Task,
    pooled: PooledLabels,
    near: np.ndarray,
    twicing: Twicing | None,
    jobs: int = 1,
) -> np.ndarray:
    """Log-odds or numbers to learn of some public compounds: widened and sharpened pooled labels.

    What a student does with all public compounds is done here with those that are near the
    private ones, about the mean of all and with the student's penalties: what changes fast from
    compound to compound depends on what is near. Compounds weigh by squared reliability, as in a
    student by default.

    Parameters
    ----------
    public, pooled
        The public compounds and the pooled labels of the task.
    task
        What is predicted.
    near
        Ascending positions of m compounds with a label.
    twicing
        The student's, of the labels of all partners; None takes labels as they are.
    jobs
        Threads; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        float64 of shape (m, n_outputs); numbers lie in the range of the task, log-odds within
        those of 0.01 and 0.99.
    """
    known = np.flatnonzero(np.isfinite(pooled.label).all(axis=1))
    targets = soft_targets(task, undo_shrinkage(task, pooled, known))
    here = np.searchsorted(known, near)
    found = targets[here]
    if twicing is not None:
        twicing = twicing.of_fewer(pooled.disagreement_share, pooled.slope)
    if twicing is not None and len(near):
        stated = sample_weights(pooled, known)
        weights = np.ones(len(known)) if stated is None else stated
        centre = np.average(targets, axis=0, weights=weights)
        ridge = KernelRidge(jobs=jobs, twicing=twicing)
        ridge.kernel_ = MixedKernel().fit(public.take(known))
        about = targets[here] - centre
        found = centre + ridge.apply_twicing(public.take(near), about, weights[here], len(known))
    bound = float(logit(np.array([1.0 - CLIP]), CLIP)[0])
    low, high = (-bound, bound) if task.is_classification else task.bounds
    return np.clip(found, low, high)
