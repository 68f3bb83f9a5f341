"""The probability from which a compound is called positive."""

from __future__ import annotations

import numpy as np


def prevalence_threshold(
    predictions: np.ndarray, prevalence: float, weights: np.ndarray | None = None
) -> float:
    """The threshold that calls as many compounds positive as are expected to be.

    It needs only the share of positives. It therefore serves pooled soft labels, which shrink to
    the base rate, as well as measured ones, and depends little on any single compound.

    Parameters
    ----------
    predictions
        Probabilities of shape (n,) of compounds the model has not seen.
    prevalence
        Expected share of positives, in [0, 1].
    weights
        Weight of each compound; equal by default.

    Returns
    -------
    float
        In [0.02, 0.98]; one half without predictions or weights.
    """
    if not len(predictions):
        return 0.5
    weights = np.ones(len(predictions)) if weights is None else weights.astype(np.float64)
    order = np.argsort(predictions)
    total = np.cumsum(weights[order])
    if total[-1] <= 0:
        return 0.5
    # The margin keeps rounding errors from moving a boundary that falls between two compounds.
    negative = (1.0 - prevalence + 1e-9) * total[-1]
    position = int(np.searchsorted(total, negative))
    below = predictions[order[max(0, position - 1)]]
    above = predictions[order[min(position, len(order) - 1)]]
    return float(np.clip((below + above) / 2, 0.02, 0.98))
