"""How much a partner's own model weighs in its hybrid: chosen by what is right out of fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fluid.learn.calibration import fit_platt
from fluid.learn.crossfit import output_targets
from fluid.learn.estimators import logit
from fluid.learn.hybrid_model import BLEND_FACTORS, BlendWeight, blend, blend_share
from fluid.learn.task import Task

# Standard errors by which a larger weight of the own model must be better to be chosen.
_NOISE = 0.5
# A compound is elsewhere if it is as far from the partner's as the farthest twentieth of these are
# from one another, and at home if it is as near as half of them are.
_HOME = (0.05, 0.5)
# Shares of the model of private labels alone in a partner's own model; the first unless another one
# is better.
_SHARES = (0.5, 0.25, 0.75, 0.0, 1.0)


def choose_mixture(
    task: Task, alone: np.ndarray, joint: np.ndarray, values: np.ndarray, folds: np.ndarray
) -> tuple[float, np.ndarray]:
    """Choose what private labels alone and what they say together with others' make of a mixture.

    Parameters
    ----------
    task
        What is predicted.
    alone, joint
        Out-of-fold scores of both, log-odds or numbers, shape (n, n_outputs).
    values
        Measured labels, shape (n,).
    folds
        Fold of each compound, shape (n,).

    Returns
    -------
    tuple of float and numpy.ndarray
        The share of the first: of classes a half, for nothing was gained by choosing it; of
        numbers a half, unless another one loses less by more than half a standard error. And
        mixtures of shape (n, n_outputs), as `_choose` makes them.
    """
    shares = _SHARES[:1] if task.is_classification else _SHARES
    mixtures = [share * alone + (1.0 - share) * joint for share in shares]
    number, chosen = _choose(task, mixtures, values, folds)
    return shares[number], chosen


def choose_blend_weight(
    task: Task,
    own: np.ndarray,
    others: np.ndarray,
    near: np.ndarray,
    far: np.ndarray,
    values: np.ndarray,
    folds: np.ndarray,
    factors: Sequence[float] = BLEND_FACTORS,
) -> tuple[BlendWeight, np.ndarray]:
    """Choose how much the own model weighs by what is right out of fold.

    The student knows other chemistry better than the own model does, so that it keeps its say
    where the partner's own compounds do not speak against it.

    Parameters
    ----------
    task
        What is predicted.
    own, others
        Out-of-fold predictions of the own model, and what the other partners' labels alone say;
        shape (n, n_outputs).
    near, far
        Similarities to the partner's compounds and to the student's, shape (n,).
    values
        Measured labels, shape (n,).
    folds
        Fold of each compound, shape (n,).
    factors
        To choose from; the first is that of elsewhere.

    Returns
    -------
    tuple of BlendWeight and numpy.ndarray
        The weight whose loss over all compounds is least, or the first within half a standard
        error of it (squared error of numbers, log loss of classes); and blends of shape
        (n, n_outputs), as `_choose` makes them.
    """
    low, high = (float(each) for each in np.quantile(near, _HOME))
    weights = [BlendWeight(factor, low, high, factors[0]) for factor in factors]
    blends = [blend(task, own, others, blend_share(near, far, each)) for each in weights]
    number, chosen = _choose(task, blends, values, folds)
    return weights[number], chosen


def _choose(
    task: Task, candidates: list[np.ndarray], values: np.ndarray, folds: np.ndarray
) -> tuple[int, np.ndarray]:
    """The candidate that all compounds choose, and of each fold the one that the others choose.

    So the choice flatters no compound's prediction.
    """
    if len(candidates) == 1:
        return 0, candidates[0]
    losses = np.stack([_loss(task, each, values) for each in candidates])
    chosen = np.empty_like(candidates[0])
    for fold in np.unique(folds):
        mine = folds == fold
        rest = losses[:, ~mine] if not mine.all() else losses
        chosen[mine] = candidates[_least(rest)][mine]
    return _least(losses), chosen


def _least(losses: np.ndarray) -> int:
    """The first row that is as good as the best one, within half a standard error."""
    best = int(losses.mean(axis=1).argmin())
    worse = losses - losses[best]
    noise = worse.std(axis=1) / np.sqrt(losses.shape[1])
    return int(np.flatnonzero(worse.mean(axis=1) <= _NOISE * noise)[0])


def _loss(task: Task, said: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Loss of each compound, shape (n,)."""
    truth = output_targets(task, values)
    if not task.is_classification:
        return ((said - truth) ** 2).sum(axis=1)
    if task.kind == "binary":
        said = fit_platt(logit(said[:, 0]), values)(logit(said))
    bounded = np.clip(said, 1e-6, 1.0 - 1e-6)
    right = truth * np.log(bounded)
    if task.kind == "binary":
        right = right + (1.0 - truth) * np.log1p(-bounded)
    return -right.sum(axis=1)
