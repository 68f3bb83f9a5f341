"""Calibration: from margins to probabilities, and from predicted numbers to measured ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluid.learn.estimators import sigmoid

_FEWEST = 8
# A line's slope is drawn towards 1 with the weight of this many compounds.
_PRIOR_COMPOUNDS = 10
_STEEPEST_LINE = 2.0


@dataclass(frozen=True)
class Platt:
    """Probability = sigmoid(slope * score + intercept).

    Platt 1999, Advances in Large Margin Classifiers, MIT Press.

    Attributes
    ----------
    slope
        Not negative, so that calibration never reverses a ranking. 0 if the scores carry nothing.
    intercept
        In logit units.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """Probabilities in (0, 1) of the same shape."""
        return sigmoid(self.line(score))

    def line(self, score: np.ndarray) -> np.ndarray:
        """``slope * score + intercept``: of regression scores, or log-odds of margins."""
        return self.slope * score + self.intercept


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
    prevalence = float(target.mean())
    return Platt(0.0, float(np.log(prevalence / (1 - prevalence))))


def fit_line(score: np.ndarray, target: np.ndarray) -> Platt:
    """Fit a line on out-of-fold numbers: models of few compounds predict too narrow a range.

    Parameters
    ----------
    score
        float64 of shape (n,), predictions for compounds the model has not seen.
    target
        Measured numbers, shape (n,).

    Returns
    -------
    Platt
        For use with `Platt.line`. The slope lies in [0, 2] and is drawn towards 1 when compounds
        are few. The identity if there are fewer than eight compounds.
    """
    if len(score) < _FEWEST:
        return Platt()
    centre, mean = float(score.mean()), float(target.mean())
    spread = score - centre
    rest = (target - mean) - spread
    # Least squares for the slope's excess over 1, drawn towards 0.
    norm = float(spread @ spread) * (1.0 + _PRIOR_COMPOUNDS / len(score))
    slope = 1.0 + (float(spread @ rest) / norm if norm > 0 else 0.0)
    slope = float(np.clip(slope, 0.0, _STEEPEST_LINE))
    return Platt(slope, mean - slope * centre)
