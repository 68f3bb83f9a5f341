"""Paired comparisons of models over many simulated consortia."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fluid.learn.metrics import bootstrap_rows, higher_is_better, interval
from fluid.learn.task import Task

_FEWEST_CELLS = 5
_EXACT_UP_TO = 50


class NothingToCompareError(ValueError):
    """No cell has both sides of a comparison and a defined metric."""


@dataclass(frozen=True)
class ScoredCell:
    """Predictions of several models for the test compounds of one simulated consortium, a cell.

    Attributes
    ----------
    cell
        Name of the cell; no two are alike.
    group
        Name of the test table. Cells of one group and task are tested on the same compounds in
        the same order: they divide the same private data in different ways.
    task
        Binary or regression.
    truth
        Class index or number, finite, shape (n,).
    values
        By model: probabilities of class 1 or numbers, finite, shape (n,).
    called
        By model: predicted class indices, shape (n,); needed for MCC only.
    """

    cell: str
    group: str
    task: Task
    truth: np.ndarray
    values: Mapping[str, np.ndarray]
    called: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if self.task.kind == "multiclass":
            raise ValueError(f"cell '{self.cell}': task '{self.task.name}' is multiclass")
        if not np.isfinite(self.truth).all():
            raise ValueError(f"cell '{self.cell}': the truth of some compounds is missing")
        for name, values in self.values.items():
            if values.shape != self.truth.shape or not np.isfinite(values).all():
                raise ValueError(
                    f"cell '{self.cell}', model '{name}': values of shape {values.shape}, perhaps "
                    f"with NaN; finite values of shape {self.truth.shape} are needed"
                )


# Models of a cell whose metrics are averaged: one by name, or those that a function names.
Side = str | Callable[[ScoredCell], Sequence[str]]


@dataclass(frozen=True)
class Comparison:
    """How two models, or two groups of models, differ over cells.

    Attributes
    ----------
    difference, low, high
        Mean over cells of left - right, in units of the metric, and its 95% interval.
    ratio, ratio_low, ratio_high
        The same for left / right; NaN for MCC, which may be 0 or negative.
    n_cells
        Cells that have both models and where the metric is defined.
    better
        Share of these where left is better; a tie counts half. For RMSE lower is better.
    p_value
        Of the paired test; see `paired_difference`.
    cells, differences
        Names of the cells, ascending by group and name, and left - right in each.
    """

    difference: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    n_cells: int
    better: float
    p_value: float
    cells: tuple[str, ...]
    differences: tuple[float, ...]


def weighted_roc_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of many weighted samples at once, ties counted half.

    With whole numbers as weights it is `fluid.learn.metrics.roc_auc` of compounds repeated that
    many times: a bootstrap that sorts once.

    Parameters
    ----------
    positive
        bool of shape (n,).
    score
        Finite, shape (n,), higher for positive.
    weights
        Not negative, shape (draws, n).

    Returns
    -------
    numpy.ndarray
        float64 of shape (draws,); NaN for a draw without one of the classes.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    first_of_tie = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sorted_weights = weights[:, order].astype(np.float64)
    here = positive[order]
    above = np.add.reduceat(sorted_weights * here, first_of_tie, axis=1)
    below = np.add.reduceat(sorted_weights * ~here, first_of_tie, axis=1)
    wins = above * (np.cumsum(below, axis=1) - below / 2)
    return _divide(wins.sum(axis=1), above.sum(axis=1) * below.sum(axis=1))


def weighted_mcc(positive: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Matthews correlation of many weighted samples; see `weighted_roc_auc`.

    0 for a draw where only one class is called, NaN where only one class is present.
    """
    confusion = np.stack(
        [positive & called, ~positive & ~called, ~positive & called, positive & ~called], axis=1
    )
    tp, tn, fp, fn = (weights.astype(np.float64) @ confusion.astype(np.float64)).T
    present = (tp + fn) * (tn + fp)
    norm = np.sqrt((tp + fp) * (tn + fn) * present)
    found = (tp * tn - fp * fn) / np.where(norm > 0, norm, 1.0)
    return np.where(present > 0, found, np.nan)


def weighted_rmse(truth: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Root mean squared error of many weighted samples; see `weighted_roc_auc`."""
    weights = weights.astype(np.float64)
    return np.sqrt(_divide(weights @ (value - truth) ** 2, weights.sum(axis=1)))


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), np.nan)


def _roc_auc(cell: ScoredCell, model: str, weights: np.ndarray) -> np.ndarray:
    return weighted_roc_auc(cell.truth == 1, cell.values[model], weights)


def _mcc(cell: ScoredCell, model: str, weights: np.ndarray) -> np.ndarray:
    return weighted_mcc(cell.truth == 1, cell.called[model] == 1, weights)


def _rmse(cell: ScoredCell, model: str, weights: np.ndarray) -> np.ndarray:
    return weighted_rmse(cell.truth, cell.values[model], weights)


METRICS: dict[str, Callable[[ScoredCell, str, np.ndarray], np.ndarray]] = {
    "roc_auc": _roc_auc,
    "mcc": _mcc,
    "rmse": _rmse,
}


def draw_weights(n: int, draws: int, seed: int) -> np.ndarray:
    """How often each of n compounds is in each bootstrap sample, float64 of shape (draws, n)."""
    rows = bootstrap_rows(n, draws, seed) + n * np.arange(draws)[:, None]
    return np.bincount(rows.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)


def paired_difference(
    cells: Sequence[ScoredCell],
    left: Side,
    right: Side,
    metric: str,
    draws: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two models, or groups of models, in every cell.

    The interval is the percentile interval of a two-level bootstrap: cells are drawn with
    replacement, and compounds within test tables. Both sides see the same draw. So do all cells of
    one group and task, which otherwise would count one test table as several. The spread between
    cells already contains the chance of their compounds. To count it once, the differences of
    cells from their mean are shrunk to the part that compounds do not explain (Davison and
    Hinkley 1997, section 3.8, doi 10.1017/CBO9780511802843). Two limits remain: cells of one group
    share more than test compounds, and fewer than about ten cells say little about the spread
    between them.

    Parameters
    ----------
    cells
        In any order.
    left, right
        A model's name, or a function that names models of a cell, whose metrics are averaged
        (the mean teacher). Cells that lack one side are left out.
    metric
        Key of `METRICS`.
    draws
        Bootstrap samples.
    seed
        Of the bootstrap, not negative.

    Returns
    -------
    Comparison
        The p-value is that of Wilcoxon's signed-rank test (1945, doi 10.2307/3001968) of the
        differences of cells, two-sided, exact up to 50 cells. Differences of 0 are left out; the
        p-value is 1 if all are 0. The test assumes independent cells, and cells of one group are
        not quite independent. NaN for fewer than 5 cells: 4 cannot go below 0.125.

    Raises
    ------
    NothingToCompareError
        If no cell has both sides and a defined metric.
    ValueError
        If the metric is unknown or not for the task, two cells have the same name, or cells of a
        group differ in their truth.
    """
    if metric not in METRICS:
        raise ValueError(f"metric '{metric}': allowed are {', '.join(METRICS)}")
    for cell in cells:
        if cell.task.is_classification == (metric == "rmse"):
            raise ValueError(f"cell '{cell.cell}': {metric} is not for a {cell.task.kind} task")
    tables = _tables(cells)
    known: list[ScoredCell] = []
    points: list[np.ndarray] = []
    samples: list[np.ndarray] = []
    for number, members in enumerate(tables):
        n = len(members[0].truth)
        weights = np.vstack([np.ones(n), draw_weights(n, draws, _seed(seed, number))])
        for cell in members:
            sides = [_names(cell, side) for side in (left, right)]
            if not n or not all(sides):
                continue
            each = np.stack(
                [
                    np.mean([METRICS[metric](cell, name, weights) for name in names], axis=0)
                    for names in sides
                ]
            )
            if np.isfinite(each[:, 0]).all():
                known.append(cell)
                points.append(each[:, 0])
                samples.append(each[:, 1:])
    if not known:
        raise NothingToCompareError(f"no cell has both sides and a defined {metric}")
    point, drawn = np.array(points), np.array(samples)
    chosen = draw_weights(len(known), draws, _seed(seed, len(tables))).T
    differences = point[:, 0] - point[:, 1]
    low, high = interval(_two_level(differences, drawn[:, 0] - drawn[:, 1], chosen))
    ratio, ratio_low, ratio_high = float("nan"), float("nan"), float("nan")
    if metric != "mcc" and (point[:, 1] > 0).all():
        ratios = point[:, 0] / point[:, 1]
        ratio = float(ratios.mean())
        drawn_ratios = _divide(drawn[:, 0], drawn[:, 1])
        ratio_low, ratio_high = interval(_two_level(ratios, drawn_ratios, chosen))
    gain = differences if higher_is_better(metric) else -differences
    return Comparison(
        float(differences.mean()),
        low,
        high,
        ratio,
        ratio_low,
        ratio_high,
        len(known),
        float(np.mean(np.where(gain == 0, 0.5, gain > 0))),
        signed_rank_p(differences),
        tuple(cell.cell for cell in known),
        tuple(float(value) for value in differences),
    )


def _tables(cells: Sequence[ScoredCell]) -> list[list[ScoredCell]]:
    """Cells by group and task, each in order of its name."""
    found: dict[tuple[str, str], list[ScoredCell]] = {}
    for cell in sorted(cells, key=lambda one: one.cell):
        found.setdefault((cell.group, cell.task.name), []).append(cell)
    if len({cell.cell for cell in cells}) < len(cells):
        raise ValueError("two cells have the same name")
    for (group, task), members in found.items():
        for cell in members[1:]:
            if not np.array_equal(cell.truth, members[0].truth):
                raise ValueError(
                    f"cells '{members[0].cell}' and '{cell.cell}' of group '{group}' must have "
                    f"the same test table, but their truth of task '{task}' differs"
                )
    return [found[key] for key in sorted(found)]


def _names(cell: ScoredCell, side: Side) -> list[str]:
    names = [side] if isinstance(side, str) else list(side(cell))
    return [name for name in names if name in cell.values]


def _seed(seed: int, number: int) -> int:
    """A seed for each table, so that neighbouring seeds of the caller do not share streams."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _two_level(point: np.ndarray, drawn: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Bootstrap samples of a mean over cells, shape (draws,); see `paired_difference`.

    `point` (n_cells,) is the metric on all compounds, `drawn` (n_cells, draws) on drawn compounds;
    `chosen` (n_cells, draws) is how often a cell is drawn. Where a metric is not defined in a
    draw, the cell's value on all compounds is used.
    """
    noise = np.where(np.isfinite(drawn), drawn - point[:, None], 0.0)
    n_cells = len(point)
    if n_cells < 2:
        return point.mean() + noise.mean(axis=0)
    spread = float(point.var(ddof=1))
    explained = float(noise.var(axis=0, ddof=1).mean()) if noise.shape[1] else 0.0
    # The second factor corrects a bootstrap's variance, which divides by n instead of n - 1.
    kept = np.sqrt(max(spread - explained, 0.0) / spread) if spread > 0 else 0.0
    effects = kept * np.sqrt(n_cells / (n_cells - 1)) * (point - point.mean())
    return point.mean() + noise.mean(axis=0) + effects @ chosen / n_cells


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; see `paired_difference`."""
    from scipy.stats import wilcoxon

    if len(differences) < _FEWEST_CELLS:
        return float("nan")
    unequal = differences[differences != 0]
    if not len(unequal):
        return 1.0
    method = "exact" if len(unequal) <= _EXACT_UP_TO else "asymptotic"
    return float(wilcoxon(unequal, method=method).pvalue)


def share_not_worse(differences: Sequence[float] | np.ndarray, margin: float) -> float:
    """Share of differences that are -margin or more.

    Parameters
    ----------
    differences
        Positive where better, shape (n,); NaN is left out.
    margin
        Zero or more, in units of the differences.

    Returns
    -------
    float
        In [0, 1]; NaN without differences.
    """
    values = np.asarray(differences, dtype=np.float64)
    known = values[np.isfinite(values)]
    return float(np.mean(known >= -margin)) if len(known) else float("nan")


def aurc(correct: np.ndarray, score: np.ndarray) -> float:
    """Area under the risk-coverage curve, which is small if a score is low where the model errs.

    It is the mean, over all coverages k / n, of the error rate among the k compounds with the
    highest score (selective risk: Geifman and El-Yaniv 2017, arXiv 1705.08500; the area: Geifman
    et al. 2019, arXiv 1805.08206). Equal scores count as the mean over all their orders.

    Parameters
    ----------
    correct
        bool of shape (n,).
    score
        Finite, shape (n,), higher where the model is trusted more.

    Returns
    -------
    float
        In [0, 1], lower is better; the error rate for a constant score; NaN without compounds.
    """
    if not len(score):
        return float("nan")
    _, block, size = np.unique(-score, return_inverse=True, return_counts=True)
    errors = np.bincount(block, ~correct.astype(bool), minlength=len(size))
    # Averaged over its orders, a block has its errors evenly distributed.
    rate = np.repeat(errors / size, size)
    return float(np.mean(np.cumsum(rate) / np.arange(1, len(score) + 1)))
