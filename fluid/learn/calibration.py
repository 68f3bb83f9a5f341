"""Calibration: from margins to probabilities, and from predicted numbers to measured ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluid.learn.censored import best_constant, censored_weights, minimise
from fluid.learn.estimators import sigmoid

_FEWEST = 8
# Of Platt scaling: the loss counts so much more than the penalty; Newton's method ends after so
# many steps, with a step shorter than this, or if a step of this share gains nothing.
_COST, _MOST_STEPS, _CLOSE, _SHORTEST = 100.0, 100, 1e-9, 1e-6
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
    spread = float(score.std()) or 1.0
    slope, intercept = _logistic(score / spread, target.astype(np.float64))
    if slope > 0:
        return Platt(slope / spread, intercept)
    prevalence = float(target.mean())
    return Platt(0.0, float(np.log(prevalence / (1 - prevalence))))


def _logistic(score: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of least ``slope^2 / 2 + 100 x logistic loss``, by Newton's method.

    The minimum that scikit-learn's ``LogisticRegression(C=100)`` descends to, at a tenth of its
    cost: a teacher of hundreds of tasks is calibrated tens of thousands of times.
    """
    prevalence = float(target.mean())
    found = np.array([0.0, np.log(prevalence / (1 - prevalence))])

    def loss(at: np.ndarray) -> float:
        line = at[0] * score + at[1]
        return float(at[0] ** 2 / 2 + _COST * (np.logaddexp(0.0, line) - target * line).sum())

    current = loss(found)
    for _ in range(_MOST_STEPS):
        probability = sigmoid(found[0] * score + found[1])
        excess, weight = probability - target, probability * (1.0 - probability)
        gradient = _COST * np.array([score @ excess, excess.sum()])
        gradient[0] += found[0]
        cross = _COST * float(weight @ score)
        first, second = 1.0 + _COST * float(weight @ score**2), _COST * float(weight.sum())
        determinant = max(first * second - cross**2, 1e-12)
        step = np.array(
            [
                second * gradient[0] - cross * gradient[1],
                first * gradient[1] - cross * gradient[0],
            ]
        )
        step /= determinant
        # The loss is convex: a step that overshoots is halved until it does not.
        length, moved = 1.0, found - step
        while (after := loss(moved)) > current + 1e-12 * abs(current) and length > _SHORTEST:
            length /= 2.0
            moved = found - length * step
        if length <= _SHORTEST:
            break
        found, current = moved, after
        if float(np.abs(length * step).max()) < _CLOSE:
            break
    return float(found[0]), float(found[1])


def fit_line(score: np.ndarray, target: np.ndarray, signs: np.ndarray | None = None) -> Platt:
    """Fit a line on out-of-fold numbers: models of few compounds predict too narrow a range.

    Parameters
    ----------
    score
        float64 of shape (n,), predictions for compounds the model has not seen.
    target
        Measured numbers, shape (n,).
    signs
        Of targets that are bounds, see `Learner.fit`: a prediction that keeps one is not corrected.

    Returns
    -------
    Platt
        For use with `Platt.line`. The slope lies in [0, 2] and is drawn towards 1 when compounds
        are few. The identity if there are fewer than eight compounds.
    """
    if len(score) < _FEWEST:
        return Platt()
    if signs is not None:
        return _fit_line_to_bounds(score, target, signs)
    centre, mean = float(score.mean()), float(target.mean())
    spread = score - centre
    rest = (target - mean) - spread
    # Least squares for the slope's excess over 1, drawn towards 0.
    norm = float(spread @ spread) * (1.0 + _PRIOR_COMPOUNDS / len(score))
    slope = 1.0 + (float(spread @ rest) / norm if norm > 0 else 0.0)
    slope = float(np.clip(slope, 0.0, _STEEPEST_LINE))
    return Platt(slope, mean - slope * centre)


def _fit_line_to_bounds(score: np.ndarray, target: np.ndarray, signs: np.ndarray) -> Platt:
    weights = censored_weights(signs)
    total = weights.sum()
    centre = float(weights @ score) / total
    # As for exact values: the prior weighs as ten compounds of the spread of all.
    prior = _PRIOR_COMPOUNDS * float(weights @ (score - centre) ** 2) / total

    def solve(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        given = np.where(active, weights, 0.0)
        here, mean = (float(given @ each) / given.sum() for each in (score, target))
        spread = score - here
        norm = float(given @ spread**2) + prior
        slope = 1.0 + (float(given @ (spread * (target - mean - spread))) / norm if norm else 0.0)
        return np.array([slope, mean - slope * here]), slope * spread + mean

    slope, intercept = minimise(solve, target, signs, weights)
    kept = float(np.clip(slope, 0.0, _STEEPEST_LINE))
    if kept != slope:
        intercept = best_constant(target - kept * score, signs, weights)
    return Platt(kept, float(intercept))
