"""How well an attack does, and with what certainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Shares of highest (and of lowest) scores at which a threshold is tried for the bound on epsilon.
# Few, since the level is divided among them, and from rare sure hits to a split in halves.
_SHARES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Interval:
    """An estimate and its bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Ranking:
    """Area under the ROC curve of an attack.

    Attributes
    ----------
    auc
        Probability that a member scores higher than a non-member, ties half; NaN if there are no
        members or no non-members.
    error
        Standard error; above 0 for a perfect ranking too.
    """

    auc: float
    error: float

    def interval(self, level: float = 0.95) -> Interval:
        """Normal interval at a level, cut at 0 and 1."""
        if not math.isfinite(self.auc):
            return Interval(math.nan, math.nan, math.nan)
        width = _normal_quantile(0.5 + level / 2.0) * self.error
        return Interval(self.auc, max(0.0, self.auc - width), min(1.0, self.auc + width))

    @property
    def p_value(self) -> float:
        """One-sided p-value of "no better than chance"."""
        from scipy.stats import norm

        return float(norm.sf((self.auc - 0.5) / self.error)) if self.error > 0 else math.nan


def rank_members(scores: np.ndarray, member: np.ndarray, cluster: np.ndarray) -> Ranking:
    """ROC-AUC of scores with a standard error that allows for repeated compounds.

    A compound is attacked in many shadow teachers, and its scores there are not independent. The
    variance is that of Obuchowski 1997 (doi 10.2307/2533958): DeLong's placement values, summed by
    compound.

    Parameters
    ----------
    scores
        Shape (n,); a higher one stands for "member".
    member
        Boolean of shape (n,).
    cluster
        The compound of each score, integers of shape (n,).

    Examples
    --------
    >>> rank_members(np.array([3.0, 2.0, 2.0, 1.0]), np.array([1, 1, 0, 0], bool), np.arange(4)).auc
    0.875
    """
    member = np.asarray(member, dtype=bool)
    inside, outside = scores[member], scores[~member]
    if not len(inside) or not len(outside):
        return Ranking(math.nan, math.nan)
    above = _placement(inside, outside)
    below = 1.0 - _placement(outside, inside)
    auc = float(above.mean())
    _, which = np.unique(cluster, return_inverse=True)
    n_clusters = int(which.max()) + 1
    first = np.bincount(which[member], above - auc, n_clusters) / len(inside)
    second = np.bincount(which[~member], below - auc, n_clusters) / len(outside)
    variance = float(((first + second) ** 2).sum()) * n_clusters / max(1, n_clusters - 1)
    # A perfect ranking has no spread; three compounds in n may still be otherwise (rule of three).
    smallest = 1.5 / n_clusters if auc in (0.0, 1.0) else 1e-12
    return Ranking(auc, max(math.sqrt(variance), smallest))


def _placement(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """By value, the share of the others below it; ties count half."""
    ordered = np.sort(others)
    lower = np.searchsorted(ordered, values, side="left")
    upper = np.searchsorted(ordered, values, side="right")
    return np.asarray((lower + upper) / 2.0 / len(ordered))


def clopper_pearson(count: int, total: int, level: float = 0.95) -> Interval:
    """Exact interval of a proportion (Clopper and Pearson 1934, doi 10.1093/biomet/26.4.404).

    For a fixed list of compounds it is wide enough even if some are found more easily than others:
    a sum of coin flips with different probabilities varies less than a binomial count.

    Examples
    --------
    >>> round(clopper_pearson(0, 10).high, 4)
    0.3085
    """
    from scipy.stats import beta

    if total == 0:
        return Interval(math.nan, math.nan, math.nan)
    tail = (1.0 - level) / 2.0
    low = float(beta.ppf(tail, count, total - count + 1)) if count else 0.0
    high = float(beta.isf(tail, count + 1, total - count)) if count < total else 1.0
    return Interval(count / total, low, high)


@dataclass(frozen=True)
class OperatingPoint:
    """True positive rate at a bounded false positive rate.

    Attributes
    ----------
    tpr
        Share of members found, with its Clopper-Pearson interval; NaN where there are too few
        non-members to bound the false positive rate at all.
    fpr
        Share of non-members taken for members, with the same interval.
    """

    tpr: Interval
    fpr: Interval

    @property
    def is_chance(self) -> bool:
        """Whether the intervals overlap, so that nothing was shown."""
        return not self.tpr.low > self.fpr.high


def true_positives_at(
    scores: np.ndarray, member: np.ndarray, fpr: float, level: float = 0.95
) -> OperatingPoint:
    """The attack at the lowest threshold that keeps its false positive rate at or below `fpr`."""
    inside, outside = scores[member], np.sort(scores[~member])[::-1]
    allowed = int(fpr * len(outside) + 1e-9)
    if not allowed or not len(inside):
        nothing = Interval(math.nan, math.nan, math.nan)
        return OperatingPoint(nothing, nothing)
    threshold = outside[allowed] if allowed < len(outside) else -np.inf
    found, wrong = int((inside > threshold).sum()), int((outside > threshold).sum())
    return OperatingPoint(
        clopper_pearson(found, len(inside), level), clopper_pearson(wrong, len(outside), level)
    )


def epsilon_lower_bound(
    scores: np.ndarray, member: np.ndarray, delta: float = 0.0, level: float = 0.95
) -> float:
    """The lowest epsilon that the observations allow, at a confidence level.

    An (epsilon, delta)-differentially private release has TPR <= exp(epsilon) FPR + delta for every
    attack (Kairouz et al. 2015, arXiv 1311.0776), so that epsilon >= ln((TPR - delta) / FPR). The
    same holds with non-members in the place of members. Exact bounds replace the rates, the lower
    one of TPR and the upper one of FPR. Thresholds are quantiles of all scores together, so that
    they do not depend on membership. The level is divided among them (Bonferroni).

    Returns
    -------
    float
        0 if the attack proves nothing.
    """
    from scipy.stats import beta

    n_in, n_out = int(member.sum()), int((~member).sum())
    if not n_in or not n_out:
        return 0.0
    thresholds = np.unique(np.quantile(scores, [1.0 - share for share in _SHARES] + list(_SHARES)))
    tail = (1.0 - level) / (4.0 * len(thresholds))
    best = 0.0
    for threshold in thresholds:
        for chosen in (scores > threshold, scores < threshold):
            hits, alarms = int(chosen[member].sum()), int(chosen[~member].sum())
            rates = ((hits, n_in, alarms, n_out), (alarms, n_out, hits, n_in))
            for right, of_right, wrong, of_wrong in rates:
                low = float(beta.ppf(tail, right, of_right - right + 1)) if right else 0.0
                high = float(beta.isf(tail, wrong + 1, of_wrong - wrong)) if wrong < of_wrong else 1
                if low > delta:
                    best = max(best, math.log((low - delta) / high))
    return best


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979); NaN stays NaN and is not counted.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if math.isfinite(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for place, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - place)))
        adjusted[index] = highest
    return adjusted


def _normal_quantile(share: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(share))
