"""Reliability: the share of the labels' variance that a model explains at a given similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 3
# A model that explains a fifth of the variance counts as knowing a compound's chemistry.
TRUSTED = 0.2
_STEEPEST = 4.0


@dataclass(frozen=True)
class ReliabilityMap:
    """Reliability = slope x similarity squared, in [0, 1].

    Attributes
    ----------
    slope
        At least 0; 0 says that the model predicts no better than the mean of its labels.
    """

    slope: float = 0.0

    def __call__(self, similarity: np.ndarray) -> np.ndarray:
        """Reliability of shape (n,) from mean similarities to the nearest compounds, in [0, 1]."""
        return np.clip(self.slope * similarity.astype(np.float64) ** 2, 0.0, 1.0)

    def similarity_at(self, reliability: float) -> float:
        """The similarity that gives a reliability; infinite if none does."""
        if self.slope <= 0.0:
            return float("inf")
        return float(np.sqrt(reliability / self.slope))


def fit_reliability(similarity: np.ndarray, error: np.ndarray, baseline: float) -> ReliabilityMap:
    """Fit the map on compounds that the model has not seen.

    The expected squared error at similarity s is modelled as ``baseline * (1 - slope * s**2)``
    and the slope found by least squares. One number is fitted, so that a partner with fifty
    compounds can do it; the square fits binary and regression labels alike, and its second power
    as pooling weight ranks external compounds as well as any power of similarity tried.

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
        Slope 0 if nothing was learned or there is nothing to fit.
    """
    square = similarity.astype(np.float64) ** 2
    norm = float(square @ square)
    if baseline <= 0.0 or norm <= 0.0:
        return ReliabilityMap()
    slope = float(square @ (1.0 - error / baseline)) / norm
    return ReliabilityMap(float(np.clip(slope, 0.0, _STEEPEST)))
