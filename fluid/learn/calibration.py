"""From margins to probabilities (Platt 1999, Advances in Large Margin Classifiers, MIT Press)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluid.learn.estimators import sigmoid

_FEWEST = 8


@dataclass(frozen=True)
class Platt:
    """Probability = sigmoid(slope * score + intercept).

    Attributes
    ----------
    slope
        Not negative: calibration never turns a ranking around. 0 if the scores carry nothing.
    intercept
        In logit units.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Probabilities in (0, 1) of the same shape."""
        return sigmoid(self.slope * score + self.intercept)


def fit_platt(score: np.ndarray, target: np.ndarray) -> Platt:
    """Fit on out-of-fold margins.

    Parameters
    ----------
    score
        float64 of shape (n,), margins of compounds the model has not seen.
    target
        0 or 1, shape (n,).

    Returns
    -------
    Platt
        The identity if there are fewer than eight compounds or one class only.
    """
    if len(score) < _FEWEST or len(np.unique(target)) < 2:
        return Platt()
    from sklearn.linear_model import LogisticRegression

    spread = float(score.std()) or 1.0
    model = LogisticRegression(C=100.0).fit((score / spread)[:, None], target)
    slope = float(model.coef_[0, 0]) / spread
    if slope > 0:
        return Platt(slope, float(model.intercept_[0]))
    prevalence = float(np.clip(target.mean(), 1e-3, 1 - 1e-3))
    return Platt(0.0, float(np.log(prevalence / (1 - prevalence))))
