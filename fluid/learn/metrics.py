"""Metrics from scores, with bootstrap intervals.

Ranking and calibration are measured on the predicted probabilities. Only MCC, balanced accuracy,
sensitivity and specificity need a decision, which is the model's own threshold.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from fluid.learn.censored import one_sided
from fluid.learn.task import Task

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

BINARY_METRICS = (
    "roc_auc",
    "pr_auc",
    "pr_auc_calibrated",
    "mcc",
    "kappa",
    "f1_max",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "brier",
    "ece",
)
MULTICLASS_METRICS = ("roc_auc", "mcc", "kappa", "balanced_accuracy", "brier")
REGRESSION_METRICS = ("rmse", "mae", "r2", "spearman")
# Beside those of a regression task, if some of its values are bounds.
CENSORED_METRIC = "censored_rmse"
ECE_BINS = 10


def metric_names(task: Task) -> tuple[str, ...]:
    """Metrics of a task, the leading one first."""
    if task.kind == "regression":
        return REGRESSION_METRICS
    if task.kind == "multiclass":
        return MULTICLASS_METRICS
    return BINARY_METRICS


def higher_is_better(metric: str) -> bool:
    """Direction of a metric."""
    return metric not in ("rmse", "mae", CENSORED_METRIC, "brier", "ece")


def compute_metrics(
    task: Task,
    truth: np.ndarray,
    values: np.ndarray,
    called: np.ndarray,
    signs: np.ndarray | None = None,
) -> dict[str, float]:
    """All metrics of a task.

    Parameters
    ----------
    task
        What is predicted.
    truth
        Class indices or numbers, shape (n,).
    values
        Predictions, finite, shape (n, n_outputs).
    called
        Predicted class indices, shape (n,); not used for regression.
    signs
        Of a regression task: -1 or 1 where the truth is an upper or lower bound, 0 where it was
        measured, shape (n,); None if there are no bounds. The usual metrics are then those of the
        exact values, and ``censored_rmse`` is the root mean square over all compounds, where the
        error of a bound is by how much the prediction violates it (0 if it does not).

    Returns
    -------
    dict
        NaN for a metric that is not defined on these compounds, for example with one class only.
    """
    if signs is not None:
        exact = signs == 0
        found = compute_metrics(task, truth[exact], values[exact], called[exact])
        errors = one_sided(truth, values[:, 0], signs)
        root = float(np.sqrt(np.mean(errors**2))) if len(errors) else float("nan")
        return found | {CENSORED_METRIC: root}
    if not len(truth):
        return dict.fromkeys(metric_names(task), float("nan"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task.kind == "regression":
            return _regression_metrics(truth, values[:, 0])
        if task.kind == "multiclass":
            return _multiclass_metrics(truth.astype(np.int64), values, called)
        return _binary_metrics(truth, values[:, 0], called)


def _binary_metrics(truth: np.ndarray, score: np.ndarray, called: np.ndarray) -> dict[str, float]:
    positive, negative = truth == 1, truth == 0
    both = bool(positive.any() and negative.any())
    hits = called == 1
    sensitivity = float(hits[positive].mean()) if positive.any() else float("nan")
    specificity = float((~hits)[negative].mean()) if negative.any() else float("nan")
    return {
        "roc_auc": roc_auc(positive, score) if both else float("nan"),
        "pr_auc": average_precision(positive, score) if positive.any() else float("nan"),
        "pr_auc_calibrated": calibrated_precision(positive, score) if both else float("nan"),
        "mcc": mcc(positive, hits) if both else float("nan"),
        "kappa": kappa(positive, hits) if both else float("nan"),
        "f1_max": f1_max(positive, score) if positive.any() else float("nan"),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "brier": float(np.mean((score - truth) ** 2)),
        "ece": expected_calibration_error(positive, score),
    }


def roc_auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve as a rank sum (Mann and Whitney 1947); ties count half.

    Parameters
    ----------
    positive
        bool of shape (n,), with both values present.
    score
        float of shape (n,), higher for positive.
    """
    from scipy.stats import rankdata

    ranks = rankdata(score)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    excess = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(excess / (n_positive * n_negative))


def average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the precision-recall curve: mean precision at each positive, ties as one.

    The same number as scikit-learn's `average_precision_score`, without its checks of the input,
    which a bootstrap would repeat a thousand times.

    Parameters
    ----------
    positive
        bool of shape (n,), with at least one True.
    score
        float of shape (n,), higher for positive.
    """
    true, false = _above(positive, score)
    return _precision_area(true, false)


def calibrated_precision(positive: np.ndarray, score: np.ndarray, prevalence: float = 0.5) -> float:
    """Area under the precision-recall curve if positives had another share.

    False positives count by ``pi (1 - p) / (p (1 - pi))``, with pi the share of positives and p the
    prevalence wanted, so that tasks of unequal shares can be compared and averaged (Siblini et al.
    2020, doi 10.1007/978-3-030-44584-3_36); SparseChem's calibrated AUC-PR.

    Parameters
    ----------
    positive, score
        See `roc_auc`.
    prevalence
        Share of positives to calibrate to, in (0, 1); with it a random ranking scores as much.
    """
    share = float(positive.mean())
    true, false = _above(positive, score)
    factor = share * (1.0 - prevalence) / (prevalence * (1.0 - share))
    return _precision_area(true, factor * false)


def _above(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each threshold, falling; ties as one."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    true = np.cumsum(positive[order])[last_of_tie]
    return true, np.flatnonzero(last_of_tie) + 1 - true


def _precision_area(true: np.ndarray, false: np.ndarray) -> float:
    more = np.diff(true, prepend=0)
    gained = more > 0
    return float(np.sum(more[gained] * true[gained] / (true + false)[gained]) / true[-1])


def f1_max(positive: np.ndarray, score: np.ndarray) -> float:
    """The largest F1 of any threshold: 2 TP / (2 TP + FP + FN).

    Parameters
    ----------
    positive, score
        See `average_precision`.
    """
    true, false = _above(positive, score)
    return float((2.0 * true / (true + false + true[-1])).max())


def kappa(positive: np.ndarray, called: np.ndarray) -> float:
    """Cohen's kappa in [-1, 1]: agreement beyond chance (Cohen 1960).

    doi 10.1177/001316446002000104. Both are bool of shape (n,), `positive` with both values.
    """
    n = len(positive)
    agreed = float(np.mean(positive == called))
    yes, said = float(positive.sum()), float(called.sum())
    chance = (yes * said + (n - yes) * (n - said)) / n**2
    return (agreed - chance) / (1.0 - chance)


def mcc(positive: np.ndarray, called: np.ndarray) -> float:
    """Matthews correlation coefficient in [-1, 1]; 0 if only one class is called."""
    tp = float(np.sum(positive & called))
    tn = float(np.sum(~positive & ~called))
    fp = float(np.sum(~positive & called))
    fn = float(np.sum(positive & ~called))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / float(np.sqrt(product)) if product else 0.0


def expected_calibration_error(positive: np.ndarray, score: np.ndarray) -> float:
    """Mean gap between predicted and observed frequency over ten bins of equal width.

    Naeini et al. 2015, doi 10.1609/aaai.v29i1.9602. NaN if there are no compounds.
    """
    if not len(score):
        return float("nan")
    bins = np.minimum((score * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    counts = np.bincount(bins, minlength=ECE_BINS)
    gap = np.bincount(bins, weights=score - positive, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / counts.sum())


def _multiclass_metrics(
    truth: np.ndarray, values: np.ndarray, called: np.ndarray
) -> dict[str, float]:
    from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, matthews_corrcoef

    n_classes = values.shape[1]
    present = [index for index in range(n_classes) if 0 < np.sum(truth == index) < len(truth)]
    areas = [roc_auc(truth == index, values[:, index]) for index in present]
    indicator = truth[:, None] == np.arange(n_classes)[None, :]
    return {
        "roc_auc": float(np.mean(areas)) if areas else float("nan"),
        "mcc": float(matthews_corrcoef(truth, called)),
        "kappa": float(cohen_kappa_score(truth, called)),
        "balanced_accuracy": float(balanced_accuracy_score(truth, called)),
        "brier": float(np.mean(((values - indicator) ** 2).sum(axis=1))),
    }


def _regression_metrics(truth: np.ndarray, value: np.ndarray) -> dict[str, float]:
    from scipy.stats import spearmanr

    error = value - truth
    total = float(np.sum((truth - truth.mean()) ** 2))
    ordered = len(truth) > 2 and np.ptp(truth) > 0 and np.ptp(value) > 0
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "r2": 1.0 - float(np.sum(error**2)) / total if total > 0 else float("nan"),
        "spearman": float(spearmanr(truth, value).statistic) if ordered else float("nan"),
    }


def bootstrap_rows(n: int, draws: int, seed: int) -> np.ndarray:
    """Row positions of `draws` bootstrap samples, int64 of shape (draws, n).

    The same rows serve all models in a comparison, so that differences are paired.
    """
    return np.random.default_rng(seed).integers(0, n, size=(draws, n))


def interval(samples: Sequence[float] | np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval; NaN twice if fewer than half the samples are defined."""
    values = np.asarray(samples, dtype=np.float64)
    known = values[np.isfinite(values)]
    if len(known) < max(1, len(values) / 2):
        return float("nan"), float("nan")
    tail = (1.0 - level) / 2
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return float(low), float(high)
