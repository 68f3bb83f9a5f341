"""Bootstrap of a binary task: compounds are ranked once, samples are counts of each compound."""

from __future__ import annotations

import numpy as np

from fluid.learn.metrics import ECE_BINS

# Counts held at once.
_MOST = 1 << 20


def count_draws(rows: np.ndarray) -> np.ndarray:
    """How often each of n compounds is in each sample, float64 (draws, n).

    Parameters
    ----------
    rows
        From `fluid.learn.metrics.bootstrap_rows`, of shape (draws, n).
    """
    draws, n = rows.shape
    flat = (rows + n * np.arange(draws)[:, None]).ravel()
    return np.bincount(flat, minlength=draws * n).reshape(draws, n).astype(np.float64)


def binary_metrics_of_samples(
    truth: np.ndarray, score: np.ndarray, called: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """The metrics of a binary task in each sample, as `compute_metrics` would give them.

    Parameters
    ----------
    truth, score, called
        Labels 0 or 1, probabilities, and predicted classes of n compounds.
    counts
        From `count_draws`, (draws, n).

    Returns
    -------
    dict
        float64 of shape (draws,) by metric; NaN where it is not defined.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    step = max(1, _MOST // max(1, len(truth)))
    parts = [
        _part(
            truth[order] == 1, score[order], called[order] == 1, counts[at : at + step, order], last
        )
        for at in range(0, len(counts), step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _part(
    positive: np.ndarray, score: np.ndarray, hit: np.ndarray, counts: np.ndarray, last: np.ndarray
) -> dict[str, np.ndarray]:
    """Of compounds by falling score; `last` are the last ones of equal scores."""
    with np.errstate(divide="ignore", invalid="ignore"):
        true = np.cumsum(counts * positive, axis=1)[:, last]
        false = np.cumsum(counts * ~positive, axis=1)[:, last]
        n_true, n_false = true[:, -1], false[:, -1]
        n = n_true + n_false
        none, both = n_true == 0, (n_true > 0) & (n_false > 0)
        more = np.diff(true, axis=1, prepend=0.0)
        above = true - more / 2.0
        area = (np.diff(false, axis=1, prepend=0.0) * above).sum(axis=1) / (n_true * n_false)
        odds = np.where(n_false > 0, n_true / n_false, np.nan)[:, None]

        def precision_area(factor: np.ndarray | float) -> np.ndarray:
            each = np.where(more > 0, more * true / (true + factor * false), 0.0)
            return np.asarray(each.sum(axis=1) / n_true)

        tp, fp = counts @ (positive & hit), counts @ (~positive & hit)
        fn, tn = n_true - tp, n_false - fp
        sensitivity, specificity = tp / n_true, tn / n_false
        product = (tp + fp) * n_true * n_false * (tn + fn)
        agreed = (tp + tn) / n
        chance = ((tp + fp) * n_true + (tn + fn) * n_false) / n**2
        bins = np.minimum((score * ECE_BINS).astype(np.int64), ECE_BINS - 1)
        gap = (counts * (score - positive)) @ (bins[:, None] == np.arange(ECE_BINS))
        return {
            "roc_auc": np.where(both, area, np.nan),
            "pr_auc": np.where(none, np.nan, precision_area(1.0)),
            "pr_auc_calibrated": np.where(both, precision_area(odds), np.nan),
            "mcc": np.where(
                both, np.where(product > 0, (tp * tn - fp * fn) / np.sqrt(product), 0.0), np.nan
            ),
            "kappa": np.where(both, (agreed - chance) / (1.0 - chance), np.nan),
            "f1_max": np.where(
                none, np.nan, (2.0 * true / (true + false + n_true[:, None])).max(axis=1)
            ),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "brier": counts @ (score - positive) ** 2 / n,
            "ece": np.abs(gap).sum(axis=1) / n,
        }
