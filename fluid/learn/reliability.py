"""Reliability: the share of the labels' variance that a model explains at a given similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Similarity to reference compounds is a mean over this many, the fewest that a policy allows.
DOMAIN_NEIGHBOURS = 5
# A model that explains a fifth of the variance counts as knowing a compound's chemistry.
TRUSTED = 0.2
_STEEPEST = 20.0
# The slope that a fit is drawn towards, and how strongly.
_USUAL = 2.0
_STRENGTH = 60.0
_STEPS = 201


@dataclass(frozen=True)
class ReliabilityMap:
    """Reliability as a function of similarity s: ceiling x slope s^2 / (1 + slope s^2).

    ``slope s^2`` is the signal-to-noise ratio that the nearest training compounds give.

    Attributes
    ----------
    slope
        At least 0; with 0 the model predicts no better than the mean of its labels.
    ceiling
        In [0, 1]; below 1 in a student, whose teachers are themselves of limited reliability.
    """

    slope: float = 0.0
    ceiling: float = 1.0

    def __call__(self, similarity: np.ndarray) -> np.ndarray:
        """Reliability of shape (n,) from mean similarities to the nearest compounds, in [0, 1]."""
        ratio = self.slope * similarity.astype(np.float64) ** 2
        return self.ceiling * ratio / (1.0 + ratio)

    def similarity_at(self, reliability: float) -> float:
        """The similarity that gives a reliability; infinite if none does."""
        if self.slope <= 0.0 or reliability >= self.ceiling:
            return float("inf")
        return float(np.sqrt(reliability / (self.ceiling - reliability) / self.slope))


def fit_reliability(similarity: np.ndarray, error: np.ndarray, baseline: float) -> ReliabilityMap:
    """Fit the map on compounds that the model has not seen.

    The expected squared error at similarity s is modelled as ``baseline / (1 + slope s^2)``. The
    slope is found by least squares and drawn towards a usual slope, more strongly the fewer
    compounds there are: a slope fitted on 200 compounds alone is uncertain by half, and pooling
    teachers by it ranked external compounds worse than pooling by similarity.

    The slope is then multiplied by the probability that the model has any skill. This is the
    logistic function of the gain in log-likelihood over slope 0, where errors over the baseline are
    normal with the residual variance of the fit. A model without skill ends near 0 if there are
    enough compounds to tell; without evidence for either, half the usual slope remains.

    Parameters
    ----------
    similarity
        Mean Tanimoto similarity to the nearest training compounds, shape (n,), in [0, 1].
    error
        Squared error of the prediction, shape (n,).
    baseline
        Mean squared error of predicting the mean label; positive.

    Returns
    -------
    ReliabilityMap
        Slope 0 if there is nothing to fit.
    """
    square = similarity.astype(np.float64) ** 2
    if baseline <= 0.0 or not np.any(square > 0.0):
        return ReliabilityMap()
    stretched = np.linspace(0.0, np.log1p(_STEEPEST), _STEPS)
    slopes = np.expm1(stretched)
    expected = 1.0 / (1.0 + slopes[:, None] * square[None, :])
    misfit = ((error / baseline - expected) ** 2).sum(axis=1)
    misfit += _STRENGTH * (stretched - np.log1p(_USUAL)) ** 2
    best = int(misfit.argmin())
    ratio = error / baseline
    noise = max(float(np.mean((ratio - expected[best]) ** 2)), 1e-9)
    evidence = float(((ratio - 1.0) ** 2 - (ratio - expected[best]) ** 2).sum()) / (2.0 * noise)
    skill = 1.0 / (1.0 + np.exp(-np.clip(evidence, -50.0, 50.0)))
    return ReliabilityMap(float(slopes[best]) * float(skill))
