"""Pooled labels are shrunk towards their mean: by how much, as a slope that undoes it.

A mean of several calibrated teachers varies less than what it predicts (the regression counterpart
of what Gneiting and Ranjan 2013, arXiv 1106.1638, show of probabilities). If each teacher is
calibrated, so that its covariance with the truth is its own variance, the truth regresses on the
weighted mean with the slope ``1 + E[disagreement^2] / Var[mean]``. No measured label is needed.
"""

from __future__ import annotations

import numpy as np

from fluid.soft_labels.teacher_sample import TeacherSample

LARGEST_SLOPE = 2.0


def centred_disagreement(
    sample: TeacherSample, values: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Distance of each teacher from the pooled label, constant offsets between teachers removed.

    A teacher that predicts more than the others for every compound reflects its partner's
    collection and not any compound, so each teacher is centred on its own mean.

    Parameters
    ----------
    sample
        Of m compounds, k teachers and o outputs.
    values
        The teachers' predictions, or a function of them, shape (k, m, o).
    weights
        Of the compounds, shape (m,).

    Returns
    -------
    numpy.ndarray
        Distances times the root of each teacher's share in the label, shape (k, m, o).
    """
    counted = np.where(sample.known, weights, 0.0)
    total = counted.sum(axis=1, keepdims=True)
    mean = np.einsum("km,kmo->ko", counted / np.where(total > 0.0, total, 1.0), values)
    centred = np.where(sample.known[:, :, None], values - mean[:, None, :], 0.0)
    pooled = (sample.share[:, :, None] * centred).sum(axis=0)
    return np.asarray(np.sqrt(sample.share)[:, :, None] * (centred - pooled))


def shrinkage_slope(sample: TeacherSample | None) -> float:
    """The slope of the truth on the pooled label, in [1, 2], rounded to six decimals.

    Constant offsets between teachers do not count, and compounds count by squared reliability.
    The rounding keeps files independent of a processor's last bits.

    Parameters
    ----------
    sample
        The teachers' predictions; None, or a sample without compounds, gives 1.
    """
    if sample is None or not len(sample.rows):
        return 1.0
    used, weights = sample.used()
    # A sample that tasks share may hold compounds without a label in this one.
    weights = weights * used.known.any(axis=0)
    if not weights.any():
        return 1.0
    weights = weights / weights.sum()
    label = used.label()
    between = float(
        weights @ (centred_disagreement(used, used.predictions, weights) ** 2).sum(axis=(0, 2))
    )
    variance = float(weights @ ((label - weights @ label) ** 2).sum(axis=1))
    # Equal labels have a variance of 0; subtraction can leave a rounding error in its place.
    variance = max(variance, 1e-9 * float(weights @ (label**2).sum(axis=1)), 1e-200)
    return round(min(1.0 + between / variance, LARGEST_SLOPE), 6)
