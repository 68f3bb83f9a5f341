"""The disclosure guard: the last thing that touches a label before it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fluid.exchange.policy import SHARED_STEP, DisclosurePolicy, round_to_step
from fluid.exchange.shared_statistics import SHARED_METRICS
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.task import Task
from fluid.soft_labels.teacher_labels import TeacherLabels


def disclose(
    task: Task,
    policy: DisclosurePolicy,
    found: OwnFoldLabels,
    agreed: DisclosurePolicy | None = None,
) -> TeacherLabels:
    """Clip, round and silence what one teacher says of n compounds.

    Parameters
    ----------
    task
        What is predicted.
    policy
        The policy in force.
    found
        Labels by models of the compounds' own folds. Similarity is not used, and stays behind.
    agreed
        The federation's policy, if the partner's is stricter: it is applied first, so that what a
        stricter policy lets out is a function of what the agreed one would have let out, and tells
        nothing more (`neighbourhood` alone is applied before, where similarity is counted).

    Returns
    -------
    TeacherLabels
        Probabilities within the policy's bounds, numbers within the task's range, all on the steps
        of the policy. A compound without prediction, or less reliable than ``abstain_below``, has
        nothing else either.
    """
    said = TeacherLabels(found.prediction, found.uncertainty, found.reliability)
    for applied in (agreed, policy) if agreed not in (None, policy) else (policy,):
        assert applied is not None
        said = _apply(task, applied, said)
    return said


def _apply(task: Task, policy: DisclosurePolicy, told: TeacherLabels) -> TeacherLabels:
    step = policy.prediction_step(task.is_classification)
    if task.is_classification:
        inner = policy.probability_bounds
    else:
        inner = math.ceil(task.low / step - 1e-9) * step, math.floor(task.high / step + 1e-9) * step
    said = round_to_step(np.clip(told.prediction.astype(np.float64), *inner), step)
    spread = _bounded(told.uncertainty, policy.uncertainty_step, math.inf)
    trusted = _bounded(told.reliability, policy.reliability_step, 1.0)
    silent = ~np.isfinite(said).all(axis=1)
    # By the rounded figure, so that which rows are silent says nothing finer than the column does.
    silent |= ~(trusted >= np.float32(policy.abstain_below - 1e-6))
    said[silent], spread[silent], trusted[silent] = np.nan, np.nan, np.nan
    return TeacherLabels(said, spread, trusted)


def _bounded(values: np.ndarray, step: float, highest: float) -> np.ndarray:
    rounded = round_to_step(np.clip(values.astype(np.float64), 0.0, highest), step)
    return np.minimum(rounded, np.float32(highest))


def disclose_statistics(
    policy: DisclosurePolicy,
    sizes: Mapping[str, int],
    metrics: Mapping[str, Mapping[str, float | None]],
    classes: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """What is stated besides the labels: nothing, unless the policy shares it.

    Parameters
    ----------
    policy
        The policy in force.
    sizes
        Training compounds by task.
    metrics
        Out-of-fold metrics by task; only those without a unit are ever stated.
    classes
        By classification task, how many training compounds each class has.
    """
    shared: dict[str, Any] = {}
    if "training-size" in policy.share:
        shared["training_size"] = {task: disclose_size(count) for task, count in sizes.items()}
    if "metrics" in policy.share:
        shared["metrics"] = {
            task: {name: _rounded(found[name]) for name in SHARED_METRICS if name in found}
            for task, found in metrics.items()
        }
    if "prevalence" in policy.share:
        shared["prevalence"] = {
            task: {name: _rounded(n / max(1, sum(counts.values()))) for name, n in counts.items()}
            for task, counts in classes.items()
        }
    return shared


def disclose_size(n_compounds: int) -> int:
    """A training-set size as a power of two, the nearest below or equal."""
    return 1 << max(0, n_compounds.bit_length() - 1)


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    return round(round(max(value, -1.0) / SHARED_STEP) * SHARED_STEP, 2) + 0.0
