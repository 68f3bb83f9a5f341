"""Conformal prediction: sets of classes and intervals of values with a stated error rate.

A prediction set holds the truth with probability 1 - alpha, averaged over compounds that are
exchangeable with the calibration compounds (Vovk, Gammerman and Shafer 2005,
doi 10.1007/b106715). For classification it holds within each class (Mondrian). Unweighted sets come
from the library crepes (Boström 2022, PMLR 179), an optional dependency that is imported when it
is needed. Weighted sets, for queries that differ from the calibration compounds in chemistry
alone, follow Tibshirani et al. 2019 (arXiv 1904.06019); they are as good as the density ratio.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluid.base.errors import FluidError
from fluid.learn.measured import Measured
from fluid.learn.task import Task

# Sums of weights that differ only by rounding count as equal.
_ROUNDING = 1e-12

# How hard a compound is to predict, from the similarity to the five nearest reference compounds.
# Fixed in advance: nothing is fitted on the calibration compounds, so that intervals stay valid.
DIFFICULTIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "similarity": lambda similarity: 1.5 - similarity,
    "constant": lambda similarity: np.ones(len(similarity)),
}


@dataclass(frozen=True)
class Weights:
    """Density ratios of queries to calibration compounds, on one scale; only ratios count.

    Attributes
    ----------
    calibration
        float64 of shape (n,), positive.
    queries
        float64 of shape (m,), positive.
    """

    calibration: np.ndarray
    queries: np.ndarray


@dataclass(frozen=True)
class ClassSets:
    """Prediction sets of m queries of a classification task.

    Attributes
    ----------
    p_values
        float64 of shape (m, n_classes) in (0, 1]; NaN where the model has no prediction.
    inside
        bool of the same shape: the classes in the set; all False without a prediction.
    effective
        float64 of shape (n_classes,): effective number of calibration compounds of each class.
    enough
        bool of shape (n_classes,): whether that suffices; if not, the class is in every set.
    """

    p_values: np.ndarray
    inside: np.ndarray
    effective: np.ndarray
    enough: np.ndarray


@dataclass(frozen=True)
class Intervals:
    """Prediction intervals of m queries of a regression task.

    Attributes
    ----------
    low, high
        float64 of shape (m,), clipped to the task's range; NaN where there is no prediction.
    effective
        Effective number of calibration compounds.
    enough
        Whether that suffices; if not, every interval is the task's range.
    unbounded
        bool of shape (m,): intervals that span the task's range because nothing narrower is
        known.
    """

    low: np.ndarray
    high: np.ndarray
    effective: float
    enough: bool
    unbounded: np.ndarray


def load_crepes() -> Any:
    """The library crepes.

    Raises
    ------
    FluidError
        If it is not installed.
    """
    try:
        # Importing it changes the filters of warnings.
        with warnings.catch_warnings():
            import crepes
    except ImportError as error:
        raise FluidError(
            "conformal prediction needs the library crepes, which is not installed: "
            "pip install 'fluid-federated[conformal]'"
        ) from error
    return crepes


def check_alpha(alpha: float) -> None:
    """Raise `FluidError` unless the error rate is above 0 and at most 0.5."""
    if not 0.0 < alpha <= 0.5:
        raise FluidError(f"conformal error rate {alpha:g}: allowed is above 0 and at most 0.5")


def effective_size(weights: np.ndarray) -> float:
    """Effective number of weighted compounds, (sum w)^2 / sum w^2 (Kish 1965); 0 without any.

    Examples
    --------
    >>> effective_size(np.array([2.0, 2.0, 2.0])), effective_size(np.array([1.0, 0.0]))
    (3.0, 1.0)
    """
    total = float(weights.sum())
    return total**2 / float((weights**2).sum()) if total > 0.0 else 0.0


def needed_size(alpha: float) -> float:
    """Fewest calibration compounds with which a set can keep a rate without holding everything.

    Examples
    --------
    >>> round(needed_size(0.1), 6)
    9.0
    """
    return 1.0 / alpha - 1.0


def _enough(effective: float, alpha: float) -> bool:
    return effective >= needed_size(alpha) * (1.0 - _ROUNDING)


def weighted_p_values(
    scores: np.ndarray, weights: np.ndarray, query_scores: np.ndarray, query_weights: np.ndarray
) -> np.ndarray:
    """Weighted share of compounds at least as strange as each query, the query among them.

    Tibshirani et al. 2019, arXiv 1904.06019, equation 7, not smoothed. With weights of 1 it is the
    usual p-value (k + 1) / (n + 1), to the last bit.

    Parameters
    ----------
    scores, weights
        Nonconformity scores (higher is stranger) and positive weights of the calibration
        compounds, shape (n,); n may be 0.
    query_scores, query_weights
        The same of the queries, shape (m,).

    Returns
    -------
    numpy.ndarray
        float64 of shape (m,) in (0, 1]; NaN where the query's score is NaN.

    Examples
    --------
    >>> calibration, one = np.array([0.1, 0.4, 0.8]), np.ones(3)
    >>> weighted_p_values(calibration, one, np.array([0.4, 0.9]), np.ones(2)).tolist()
    [0.75, 0.25]
    >>> weighted_p_values(calibration, np.array([1, 2, 4.0]), np.array([0.9]), np.ones(1)).tolist()
    [0.125]
    """
    order = np.argsort(-scores, kind="stable")
    above = np.concatenate([[0.0], np.cumsum(weights[order])])
    count = np.searchsorted(-scores[order], -query_scores, side="right")
    found = (above[count] + query_weights) / (above[-1] + query_weights)
    return np.where(np.isnan(query_scores), np.nan, np.minimum(found, 1.0))


def weighted_quantiles(
    scores: np.ndarray, weights: np.ndarray, query_weights: np.ndarray, alpha: float
) -> np.ndarray:
    """Smallest score that a query exceeds with a probability of at most alpha.

    The (1 - alpha)-quantile of the calibration scores and a point at infinity that has the
    query's weight (Tibshirani et al. 2019, arXiv 1904.06019, lemma 3). With equal weights it is
    the ceil((1 - alpha)(n + 1))-th smallest score.

    Parameters
    ----------
    scores, weights
        Nonconformity scores and positive weights of the calibration compounds, shape (n,).
    query_weights
        Shape (m,).
    alpha
        Error rate in (0, 1).

    Returns
    -------
    numpy.ndarray
        float64 of shape (m,); infinite where the calibration compounds weigh too little.

    Examples
    --------
    >>> scores = np.array([3.0, 1.0, 2.0, 4.0])
    >>> weighted_quantiles(scores, np.ones(4), np.array([1.0, 10.0]), 0.4).tolist()
    [3.0, inf]
    """
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    total = reached[-1] if len(reached) else 0.0
    needed = (1.0 - alpha) * (total + query_weights) * (1.0 - _ROUNDING)
    place = np.searchsorted(reached, needed, side="left")
    return np.append(scores[order], np.inf)[place]


def class_probabilities(task: Task, values: np.ndarray) -> np.ndarray:
    """Probability of every class, float64 of shape (n, n_classes); two for a binary task."""
    if task.kind == "multiclass":
        return values
    return np.stack([1.0 - values[:, 0], values[:, 0]], axis=1)


def class_sets(
    task: Task,
    measured: Measured,
    values: np.ndarray,
    alpha: float,
    weights: Weights | None = None,
) -> ClassSets:
    """Prediction sets of a classification task, valid within each class.

    A class is in the set if its p-value among the calibration compounds of that class is above
    alpha; the score is one minus the probability of the class. Under a shift of chemistry alone
    the density ratio within a class equals that over all classes up to a constant, so the same
    weights serve.

    Parameters
    ----------
    task
        Binary or multiclass.
    measured
        The calibration compounds; without NaN.
    values
        Predictions of the queries, shape (m, n_outputs); NaN where there is none.
    alpha
        Error rate in (0, 0.5].
    weights
        Density ratios, or None for queries like the calibration compounds.
    """
    scores = 1.0 - class_probabilities(task, measured.values)
    query_scores = 1.0 - class_probabilities(task, values)
    n_classes = query_scores.shape[1]
    known = np.asarray(np.isfinite(query_scores).all(axis=1))
    p_values = np.where(known[:, None], 1.0, np.full_like(query_scores, np.nan))
    effective, enough = np.zeros(n_classes), np.zeros(n_classes, dtype=bool)
    for label in range(n_classes):
        mine = measured.truth == label
        given = np.ones(int(mine.sum())) if weights is None else weights.calibration[mine]
        effective[label] = effective_size(given)
        enough[label] = _enough(effective[label], alpha)
        if not enough[label]:
            continue
        if weights is None:
            classifier = load_crepes().ConformalClassifier().fit(scores[mine, label])
            found = classifier.predict_p(query_scores[known, label], smoothing=False)
        else:
            found = weighted_p_values(
                scores[mine, label], given, query_scores[known, label], weights.queries[known]
            )
        p_values[known, label] = found
    return ClassSets(p_values, p_values > alpha, effective, enough)


def intervals(
    task: Task,
    measured: Measured,
    values: np.ndarray,
    similarity: np.ndarray,
    alpha: float,
    weights: Weights | None = None,
    difficulty: str = "similarity",
) -> Intervals:
    """Prediction intervals of a regression task from absolute residuals.

    Parameters
    ----------
    task
        A regression task; intervals are clipped to its range.
    measured
        The calibration compounds; without NaN.
    values
        Predictions of the queries, shape (m, 1); NaN where there is none.
    similarity
        Of the queries to the five nearest reference compounds, shape (m,) in [0, 1].
    alpha
        Error rate in (0, 0.5].
    weights
        Density ratios, or None for queries like the calibration compounds.
    difficulty
        Key of `DIFFICULTIES`: what residuals are divided by (Papadopoulos et al. 2011,
        doi 10.1613/jair.3198).
    """
    if difficulty not in DIFFICULTIES:
        raise FluidError(f"difficulty '{difficulty}': allowed are {', '.join(DIFFICULTIES)}")
    hard = DIFFICULTIES[difficulty]
    hard_measured, hard_queries = hard(measured.similarity), hard(similarity)
    residuals = measured.truth - measured.values[:, 0]
    predicted = values[:, 0]
    given = np.ones(len(measured)) if weights is None else weights.calibration
    effective = effective_size(given)
    enough = _enough(effective, alpha)
    if not enough:
        low, high = np.full(len(predicted), -np.inf), np.full(len(predicted), np.inf)
    elif weights is None:
        regressor = load_crepes().ConformalRegressor().fit(residuals, sigmas=hard_measured)
        # crepes cuts (1 - confidence)(n + 1) to an integer, so that 0.1 must not become 0.0999...
        confidence = float(np.nextafter(1.0 - alpha, 0.0))
        found = regressor.predict_int(predicted, sigmas=hard_queries, confidence=confidence)
        low, high = found[:, 0], found[:, 1]
    else:
        scores = np.abs(residuals) / hard_measured
        reach = weighted_quantiles(scores, given, weights.queries, alpha)
        low, high = predicted - reach * hard_queries, predicted + reach * hard_queries
    missing = np.isnan(predicted)
    low, high = (np.where(missing, np.nan, bound) for bound in (low, high))
    return Intervals(
        np.clip(low, task.low, task.high),
        np.clip(high, task.low, task.high),
        effective,
        enough,
        np.isinf(low) & np.isinf(high),
    )
