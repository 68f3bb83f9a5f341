"""The disclosure guard: the last thing that touches a label before it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fluid.exchange.policy import SHARED_STEP, DisclosurePolicy, range_on_step, round_to_step
from fluid.exchange.shared_statistics import SHARED_METRICS
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.task import Task
from fluid.soft_labels.teacher_labels import TeacherLabels


def disclose(
    task: Task,
    policy: DisclosurePolicy,
    labels: OwnFoldLabels,
    agreed: DisclosurePolicy | None = None,
) -> TeacherLabels:
    """Clip and round one teacher's labels of n compounds, and abstain where they are unreliable.

    Parameters
    ----------
    task
        What is predicted.
    policy
        The policy in force.
    labels
        Labels by models of the compounds' own folds. Similarity is not used, and stays behind.
    agreed
        The federation's policy, if the partner's is stricter. It is applied first, so that the
        output under a stricter policy is a function of the output under the agreed one, and tells
        nothing more. (`neighbourhood` alone is applied earlier, where similarity is counted.)

    Returns
    -------
    TeacherLabels
        Probabilities within the policy's bounds, regression predictions within the task's range,
        all on the steps of the policy. A compound without a prediction, or less reliable than
        ``abstain_below``, is NaN throughout.
    """
    disclosed = TeacherLabels(labels.prediction, labels.uncertainty, labels.reliability)
    if agreed is not None and agreed != policy:
        disclosed = _apply(task, agreed, disclosed)
    return _apply(task, policy, disclosed)


def _apply(task: Task, policy: DisclosurePolicy, labels: TeacherLabels) -> TeacherLabels:
    step = policy.prediction_step(task.is_classification)
    on_step = range_on_step(task.low, task.high, step)
    bounds = policy.probability_bounds if task.is_classification else on_step
    prediction = round_to_step(np.clip(labels.prediction.astype(np.float64), *bounds), step)
    # Fitted residuals may vary by more than the range allows, which intake refuses.
    half = (task.bounds[1] - task.bounds[0]) / 2.0
    widest = range_on_step(0.0, half, policy.uncertainty_step)[1]
    spread = np.minimum(labels.uncertainty.astype(np.float64), widest)
    uncertainty = round_to_step(spread, policy.uncertainty_step)
    reliability = round_to_step(labels.reliability.astype(np.float64), policy.reliability_step)
    # Five steps of 0.20000003, which a policy may have, are a little more than 1.
    reliability = np.minimum(reliability, np.float32(1.0))
    abstained = ~np.isfinite(prediction).all(axis=1)
    # By the rounded reliability: which rows abstain must not be finer than the column is.
    abstained |= ~(reliability >= np.float32(policy.abstain_below - 1e-6))
    for column in (prediction, uncertainty, reliability):
        column[abstained] = np.nan
    return TeacherLabels(prediction, uncertainty, reliability)


def disclose_statistics(
    policy: DisclosurePolicy,
    sizes: Mapping[str, int],
    metrics: Mapping[str, Mapping[str, float | None]],
    classes: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """Statistics that the policy shares beside the labels; none by default.

    Parameters
    ----------
    policy
        The policy in force.
    sizes
        Training compounds by task.
    metrics
        Out-of-fold metrics by task; only those without a unit are ever shared.
    classes
        By classification task: number of training compounds of each class.
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
