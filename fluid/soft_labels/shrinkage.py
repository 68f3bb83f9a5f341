"""How much wider the truth is than a mean of teachers: worked out where labels are pooled."""

from __future__ import annotations

import numpy as np

from fluid.soft_labels.teacher_sample import TeacherSample

WIDEST = 2.0


def centred_disagreement(
    sample: TeacherSample, told: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """How far what teachers say is from what they say together, offsets aside.

    A teacher that says more than the others of every compound tells of its partner's collection
    and not of any compound, so that each is taken about its own mean.

    Parameters
    ----------
    sample
        Of m compounds, k teachers and o outputs.
    told
        What they said, or a function of it, shape (k, m, o).
    weights
        Of the compounds, shape (m,).

    Returns
    -------
    numpy.ndarray
        Distances times the root of each teacher's share in the label, shape (k, m, o).
    """
    counted = np.where(sample.known, weights, 0.0)
    total = counted.sum(axis=1, keepdims=True)
    mean = np.einsum("km,kmo->ko", counted / np.where(total > 0.0, total, 1.0), told)
    free = np.where(sample.known[:, :, None], told - mean[:, None, :], 0.0)
    together = (sample.share[:, :, None] * free).sum(axis=0)
    return np.asarray(np.sqrt(sample.share)[:, :, None] * (free - together))


def slope_of(sample: TeacherSample | None) -> float:
    """The slope with which the truth regresses on the pooled label, in [1, 2].

    A mean of several calibrated teachers varies less than what it predicts. If each teacher is
    calibrated, so that its covariance with the truth is its own variance, the truth regresses
    on the weighted mean with the slope ``1 + E[disagreement^2] / Var[mean]``; no measured label
    is needed to know it (the regression counterpart of what Gneiting and Ranjan 2013, arXiv
    1106.1638, show of probabilities). Six decimals: files do not depend on a processor's last
    bits.

    Parameters
    ----------
    sample
        What teachers said; None, or one without compounds, gives 1.
    """
    if sample is None or not len(sample.rows):
        return 1.0
    used, weights = sample.used()
    label = used.label()
    between = float(
        weights @ (centred_disagreement(used, used.told, weights) ** 2).sum(axis=(0, 2))
    )
    variance = float(weights @ ((label - weights @ label) ** 2).sum(axis=1))
    # What is left of equal numbers after subtraction is no variance.
    variance = max(variance, 1e-9 * float(weights @ (label**2).sum(axis=1)), 1e-200)
    return round(min(1.0 + between / variance, WIDEST), 6)


def widening(label: np.ndarray, disagreement: np.ndarray) -> float:
    """The same slope from pooled labels alone, every compound counting the same.

    Parameters
    ----------
    label, disagreement
        Pooled labels and the standard deviation between teachers, shape (n, n_outputs); without
        missing values. Squares are summed over the outputs.
    """
    if not len(label):
        return 1.0
    between = float((disagreement.astype(np.float64) ** 2).mean(axis=0).sum())
    variance = float(label.astype(np.float64).var(axis=0).sum())
    return min(1.0 + between / max(variance, 1e-12), WIDEST)
