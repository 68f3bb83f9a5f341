"""Censored values: what is learned from a number of which only a bound is known.

A lower bound (">30", sign 1) is wrong about a prediction only if the prediction lies below it, an
upper bound (sign -1) only if it lies above. The loss of a compound with target y is r^2 with
r = y - prediction, and max(0, c r)^2 with c = 1 for a lower and -1 for an upper bound. Where more
than a share b of the compounds is censored, each of them weighs b (1 - f) / (f (1 - b)), with f
their share, so that together they weigh b. This is the loss of SparseChem (Arany et al. 2022,
arXiv 2203.04676), whose b is 0.05.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Share of the total weight that censored values have at most. With SparseChem's 0.05, kernel
# machines and trees predicted real bounds, and values beyond one limit, worse than if bounds were
# taken as exact; with 0.2 nearly as well, with 0.5 as well or better (docs/results.md).
CENSORED_SHARE = 0.5
_MOST_STEPS = 50
_HALVINGS = 60


def measured_exactly(signs: np.ndarray | None, n: int) -> np.ndarray:
    """Which of n values are no bounds, bool of shape (n,); all if there are no signs."""
    return np.ones(n, dtype=bool) if signs is None else signs == 0


def signs_among(signs: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """Signs of the compounds at these positions (integers or a mask); None if none is a bound.

    Learners go other ways with signs than without. Which way the model of a fold goes must not
    depend on whether there are bounds in the fold itself.
    """
    if signs is None:
        return None
    chosen = signs[rows]
    return chosen if np.any(chosen != 0) else None


def censored_weights(signs: np.ndarray) -> np.ndarray:
    """Weight of each compound's loss, float64 of shape (n,): 1 if its value is exact.

    Examples
    --------
    >>> censored_weights(np.array([0, 0, 0, 1])).tolist()
    [1.0, 1.0, 1.0, 1.0]
    >>> censored_weights(np.array([0, 1, -1, 1])).round(3).tolist()
    [1.0, 0.333, 0.333, 0.333]
    """
    share = float(np.mean(signs != 0)) if len(signs) else 0.0
    # If all are censored, there is nothing that they could outweigh.
    if not CENSORED_SHARE < share < 1.0:
        return np.ones(len(signs))
    weight = CENSORED_SHARE * (1.0 - share) / (share * (1.0 - CENSORED_SHARE))
    return np.where(signs == 0, 1.0, weight)


def is_active(target: np.ndarray, predicted: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Whose loss pulls at the prediction: exact values, and bounds that it violates.

    Parameters
    ----------
    target, predicted, signs
        Values or bounds, predictions, and -1, 0 or 1, shape (n,).
    """
    return (signs == 0) | (signs * (target - predicted) > 0.0)


def one_sided(target: np.ndarray, predicted: np.ndarray, signs: np.ndarray | None) -> np.ndarray:
    """Target minus prediction; 0 where the target is a bound that the prediction keeps.

    Examples
    --------
    >>> bounds, signs = np.array([5.0, 5.0, 5.0, 5.0]), np.array([1, 1, -1, 0])
    >>> one_sided(bounds, np.array([4.0, 7.0, 7.0, 7.0]), signs).tolist()
    [1.0, 0.0, -2.0, -2.0]
    """
    if signs is None:
        return target - predicted
    return np.where(is_active(target, predicted, signs), target - predicted, 0.0)


Solve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def minimise(
    solve: Solve, target: np.ndarray, signs: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Minimise a sum of weighted one-sided squares plus a quadratic penalty, by an active set.

    Each step fits the compounds that count at present as if all of them were exact. This is
    Newton's method for the loss, which is convex and quadratic in pieces; where a whole step goes
    too far, the best part of it is taken (exact line search), so that the loss always falls. It
    ends when the compounds that were fitted are those that count.

    Parameters
    ----------
    solve
        Given who is fitted (bool of shape (n,)), the parameters of least weighted squares plus
        penalty, and their predictions for all n compounds. Predictions must be an affine function
        of the parameters, and the penalty the same for every set.
    target, signs
        Values or bounds, and -1, 0 or 1, shape (n,).
    weights
        Of the losses, above 0, shape (n,); those that `solve` applies.

    Returns
    -------
    numpy.ndarray
        The parameters.
    """
    active = signs == 0 if np.any(signs == 0) else np.ones(len(signs), dtype=bool)
    params, values = solve(active)
    pull = np.where(active, weights * (target - values), 0.0)
    close = 1e-9 * max(float(np.ptp(target)), 1e-12)
    for _ in range(_MOST_STEPS):
        wanted = is_active(target, values, signs)
        if np.array_equal(wanted, active):
            break
        found, reached = solve(wanted)
        pull_there = np.where(wanted, weights * (target - reached), 0.0)
        move = reached - values

        def slope(
            step: float,
            values: np.ndarray = values,
            move: np.ndarray = move,
            pull: np.ndarray = pull,
            rise: np.ndarray = pull_there - pull,
        ) -> float:
            # Half the derivative of loss plus penalty along the way. The penalty's is known from
            # the pulls, since a solution's penalty is in balance with its own pulls.
            here = values + step * move
            lost = np.where(is_active(target, here, signs), weights * (target - here), 0.0)
            return float((pull + step * rise - lost) @ move)

        step = 1.0
        if slope(1.0) > 0.0:
            low, high = 0.0, 1.0
            for _ in range(_HALVINGS):
                step = (low + high) / 2.0
                low, high = (low, step) if slope(step) > 0.0 else (step, high)
        params, values = params + step * (found - params), values + step * move
        pull = pull + step * (pull_there - pull)
        active = wanted if step == 1.0 else np.zeros(len(signs), dtype=bool)
        if float(np.abs(move).max()) <= close:
            break
    return params


def best_constant(target: np.ndarray, signs: np.ndarray, weights: np.ndarray) -> float:
    """The number that predicts values and bounds best: their weighted mean if all are exact.

    Examples
    --------
    >>> target, signs = np.array([1.0, 3.0, 1.5, 5.0]), np.array([0, 0, 1, 1])
    >>> best_constant(target, signs, np.ones(4))
    3.0
    """

    lowest = target[signs > 0].max(initial=-np.inf)
    highest = target[signs < 0].min(initial=np.inf)
    if np.all(signs != 0) and lowest <= highest:
        # No bound needs to be violated.
        ends = [end for end in (lowest, highest) if np.isfinite(end)]
        return float(np.mean(ends))

    def solve(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.average(target[active], weights=weights[active])
        return np.array([mean]), np.full(len(target), mean)

    return float(minimise(solve, target, signs, weights)[0])
