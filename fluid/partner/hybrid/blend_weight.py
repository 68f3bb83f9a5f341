"""Who decides in a hybrid: the weight of the own model, chosen by what is right out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.learn.calibration import fit_platt
from fluid.learn.censored import censored_weights, one_sided
from fluid.learn.crossfit import output_targets
from fluid.learn.estimators import logit
from fluid.learn.hybrid_model import BLEND_FACTORS, BlendWeight, blend, blend_share
from fluid.learn.task import Task

# A later candidate must be better than an earlier one by this many standard errors.
_NOISE = 0.5
# Quantiles of the similarities among the partner's own compounds: a compound is elsewhere up to the
# first, and at home from the second on.
_HOME = (0.05, 0.5)
# Shares of the model of private labels alone; the first is taken unless another is better. In
# regression always taking the first cost 1.1% RMSE.
_SHARES = (0.5, 0.25, 0.75, 0.0, 1.0)


@dataclass(frozen=True)
class FoldedLabels:
    """Measured labels of one task, and the folds that they are judged in.

    Attributes
    ----------
    task
        What is predicted.
    values
        Measured labels, shape (n,).
    folds
        Fold of each compound, shape (n,).
    signs
        Which of the labels are bounds, shape (n,); None if none is.
    """

    task: Task
    values: np.ndarray
    folds: np.ndarray
    signs: np.ndarray | None = None


def choose_mixture(
    labels: FoldedLabels, alone: np.ndarray, joint: np.ndarray
) -> tuple[float, np.ndarray]:
    """Choose how much the model of private labels alone counts in the private model.

    Parameters
    ----------
    labels
        The measured labels.
    alone, joint
        Out-of-fold scores of the models of private labels alone, and of private and peers' labels
        together: log-odds or numbers, shape (n, n_outputs).

    Returns
    -------
    tuple of float and numpy.ndarray
        The share of `alone`: one half for classification, where choosing gained nothing; for
        regression one half unless another share is better by half a standard error. And the
        mixtures, shape (n, n_outputs), see `_choose`.
    """
    shares = _SHARES[:1] if labels.task.is_classification else _SHARES
    mixtures = [share * alone + (1.0 - share) * joint for share in shares]
    number, chosen = _choose(labels, mixtures)
    return shares[number], chosen


def choose_blend_weight(
    labels: FoldedLabels,
    own: np.ndarray,
    peers: np.ndarray,
    near: np.ndarray,
    far: np.ndarray,
    factors: Sequence[float] = BLEND_FACTORS,
) -> tuple[BlendWeight, np.ndarray]:
    """Choose how much the own model weighs in the blend.

    The student knows other chemistry better than the own model. It therefore keeps the larger
    weight, unless the partner's own compounds speak against it.

    Parameters
    ----------
    labels
        The measured labels.
    own, peers
        Out-of-fold predictions of the own model, and predictions of the peers' labels alone, shape
        (n, n_outputs).
    near, far
        Similarities to the partner's compounds and to the student's, shape (n,).
    factors
        The candidates; the first is used for compounds that are elsewhere.

    Returns
    -------
    tuple of BlendWeight and numpy.ndarray
        The first weight whose loss is within half a standard error of the least (squared error for
        regression, log loss for classification). And the blends, shape (n, n_outputs), see
        `_choose`.
    """
    low, high = (float(each) for each in np.quantile(near, _HOME))
    weights = [BlendWeight(factor, low, high, factors[0]) for factor in factors]
    blends = [blend(labels.task, own, peers, blend_share(near, far, each)) for each in weights]
    number, chosen = _choose(labels, blends)
    return weights[number], chosen


def _choose(labels: FoldedLabels, candidates: list[np.ndarray]) -> tuple[int, np.ndarray]:
    """The candidate chosen by all compounds, and predictions chosen fold by fold.

    In each fold the predictions are those of the candidate that the *other* folds choose, so that
    the choice flatters no compound's prediction.
    """
    if len(candidates) == 1:
        return 0, candidates[0]
    losses = np.stack([_loss(labels, each) for each in candidates])
    chosen = np.empty_like(candidates[0])
    for fold in np.unique(labels.folds):
        mine = labels.folds == fold
        rest = losses[:, ~mine] if not mine.all() else losses
        chosen[mine] = candidates[_least(rest)][mine]
    return _least(losses), chosen


def _least(losses: np.ndarray) -> int:
    """The first row that is as good as the best one, within half a standard error."""
    best = int(losses.mean(axis=1).argmin())
    worse = losses - losses[best]
    noise = worse.std(axis=1) / np.sqrt(losses.shape[1])
    return int(np.flatnonzero(worse.mean(axis=1) <= _NOISE * noise)[0])


def _loss(labels: FoldedLabels, predictions: np.ndarray) -> np.ndarray:
    """Loss of each compound, shape (n,)."""
    task, values = labels.task, labels.values
    truth = output_targets(task, values)
    if labels.signs is not None:
        errors = one_sided(values, predictions[:, 0], labels.signs)
        return np.asarray(censored_weights(labels.signs) * errors**2)
    if not task.is_classification:
        return ((predictions - truth) ** 2).sum(axis=1)
    if task.kind == "binary":
        predictions = fit_platt(logit(predictions[:, 0]), values)(logit(predictions))
    bounded = np.clip(predictions, 1e-6, 1.0 - 1e-6)
    right = truth * np.log(bounded)
    if task.kind == "binary":
        right = right + (1.0 - truth) * np.log1p(-bounded)
    return -right.sum(axis=1)
