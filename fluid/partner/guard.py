"""The disclosure guard: the last thing that touches a label before it leaves."""

from __future__ import annotations

import numpy as np

from fluid.exchange.annotation import TaskAnnotation
from fluid.exchange.policy import DisclosurePolicy, round_to_step
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.task import Task


def disclose(
    task: Task,
    policy: DisclosurePolicy,
    found: OwnFoldLabels,
) -> TaskAnnotation:
    """Clip and round what one teacher says of n compounds.

    Parameters
    ----------
    task
        What is predicted.
    policy
        The federation's policy.
    found
        Labels by models of the compounds' own folds. Similarity is not used, and stays behind.

    Returns
    -------
    TaskAnnotation
        Probabilities within [step, 1 - step], numbers within the task's range, all on the steps
        of the policy. A compound without prediction has nothing else either.
    """
    step = policy.prediction_step(task.is_classification)
    prediction = found.prediction
    if task.is_classification:
        bounded = np.clip(prediction, step, 1.0 - step)
    else:
        inner = np.ceil(task.low / step - 1e-9) * step, np.floor(task.high / step + 1e-9) * step
        bounded = np.clip(prediction, *inner)
    silent = ~np.isfinite(prediction).all(axis=1)
    said = round_to_step(bounded, step)
    spread = round_to_step(np.clip(found.uncertainty, 0.0, None), policy.uncertainty_step)
    trusted = round_to_step(np.clip(found.reliability, 0.0, 1.0), policy.reliability_step)
    said[silent], spread[silent], trusted[silent] = np.nan, np.nan, np.nan
    return TaskAnnotation(said, spread, np.minimum(trusted, np.float32(1.0)))


def disclose_size(n_compounds: int) -> int:
    """A training-set size as a power of two, the nearest below or equal."""
    return 1 << max(0, n_compounds.bit_length() - 1)
