"""Running sums over public compounds that say how each pair of partners agrees in one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from fluid.learn.task import Task
from fluid.soft_labels.pooled import HIGHEST_RELIABILITY, pooling_weight
from fluid.soft_labels.targets import soft_targets
from fluid.soft_labels.teacher_labels import TeacherLabels

# A correlation is not known better than this, however many compounds it is taken over.
_LEAST_ERROR = 0.02
# Standard deviations below these are a constant: a fiftieth of the default steps.
_LEAST_SPREAD = 1e-3
# See `PairSums.is_random`.
_STANDARD_ERRORS, _FEWEST_IN_BLOCK = 4.0, 30


@dataclass(frozen=True)
class Pairs:
    """How k partners agree in pairs; NaN where a pair knows no compound in common.

    All of shape (k, k); a compound counts by the product of both reliabilities. In the figures of
    ``home`` it counts by the first's pooling weight instead of its reliability: there the first
    would decide the pooled label.

    Attributes
    ----------
    correlation
        Of labels: log-odds (classification) or numbers (regression), in [-1, 1]; 0 where one of the
        two says the same of all compounds.
    error
        Standard error of that by chance, if each block of neighbouring compounds were one compound.
    stated
        Mean reliability that the first states where both know something, in [0, 1].
    offset
        Mean label of the first less that of the second, in standard deviations of the second.
    spread
        Standard deviation of the first in units of the second's.
    same_labels, same_reliability
        Plain correlations of labels and of reliabilities, each compound counting the same.
    """

    correlation: np.ndarray
    error: np.ndarray
    stated: np.ndarray
    offset: np.ndarray
    spread: np.ndarray
    home_correlation: np.ndarray
    home_error: np.ndarray
    home_stated: np.ndarray
    same_labels: np.ndarray
    same_reliability: np.ndarray

    def of(self, partners: np.ndarray) -> Pairs:
        """The same of some partners alone, by position."""
        some = np.ix_(partners, partners)
        return Pairs(*(getattr(self, one.name)[some] for one in fields(self)))


class PairSums:
    """Sums over compounds that come in chunks; nothing here grows with the public set.

    Parameters
    ----------
    task
        The task.
    partners
        Names of the k partners, in order.
    blocks
        Number of blocks of neighbouring compounds.
    """

    def __init__(self, task: Task, partners: Sequence[str], blocks: int) -> None:
        k, outputs = len(partners), len(task.outputs)
        self.task, self.partners = task, list(partners)
        self.labelled = np.zeros(k, dtype=np.int64)
        self.squares = np.zeros(k)
        self._centre: np.ndarray | None = None
        self._common = _Moments(k, outputs, blocks)
        self._home = _Moments(k, outputs, blocks)
        # Of each partner's labels by block: n, z, z^2.
        self._by_block = np.zeros((3, blocks, k, outputs))
        # Plain moments of labels and of reliabilities where both give one: n, x_i, x_i^2, x_i x_j.
        self._plain_labels = np.zeros((4, k, k, outputs))
        self._plain_reliability = np.zeros((4, k, k, 1))

    def add(self, labels: Mapping[str, TeacherLabels], block: np.ndarray) -> None:
        """Add n compounds.

        Parameters
        ----------
        labels
            By partner, of all partners.
        block
            Which block each compound is in, int64 of shape (n,).
        """
        each = [labels[name] for name in self.partners]
        values = np.stack([soft_targets(self.task, one.prediction) for one in each])
        reliability = np.stack([one.reliability for one in each]).astype(np.float64)
        known = np.isfinite(reliability) & np.isfinite(values).all(axis=2)
        if self._centre is None and known.any():
            # Squares lose their last digits if values are far from 0.
            self._centre = values[known].mean(axis=0)
        centre = 0.0 if self._centre is None else self._centre
        values = np.where(known[:, :, None], values - centre, 0.0)
        trust = np.where(known, np.clip(reliability, 0.0, HIGHEST_RELIABILITY), 0.0)
        self.labelled += known.sum(axis=1)
        self.squares += (trust**2).sum(axis=1)
        self._common.add(trust, trust, values, block)
        weight = np.where(known, pooling_weight(trust), 0.0)
        self._home.add(weight, trust, values, block)
        for number in range(values.shape[2]):
            self._plain_labels[:, :, :, number] += _plain(values[:, :, number], known)
        self._plain_reliability[:, :, :, 0] += _plain(trust, known)
        for number in np.unique(block):
            inside = block == number
            inner = values[:, inside]
            self._by_block[0, number] += known[:, inside].sum(axis=1)[:, None]
            self._by_block[1, number] += inner.sum(axis=1)
            self._by_block[2, number] += (inner**2).sum(axis=1)

    def is_random(self) -> np.ndarray:
        """Whether labels are no more alike in a block than across blocks, bool of shape (k,).

        The F ratio, variance between blocks over variance within, is 1 by chance, and then
        exceeds four standard errors once in 10,000. Smaller blocks than 30 compounds on average are
        not compact enough: nobody's labels are called random there.
        """
        n, total, squares = self._by_block
        mean = total / np.maximum(n, 1.0)
        grand = total.sum(axis=0) / np.maximum(n.sum(axis=0), 1.0)
        between = (n * (mean - grand) ** 2).sum(axis=(0, 2))
        within = np.maximum(squares - n * mean**2, 0.0).sum(axis=(0, 2))
        filled = (n[:, :, 0] > 0).sum(axis=0)
        degrees = np.maximum(n[:, :, 0].sum(axis=0) - filled, 1.0)
        between_degrees = np.maximum(filled - 1, 1)
        ratio = between / between_degrees / np.maximum(within / degrees, 1e-12)
        chance = np.sqrt(2.0 / between_degrees + 2.0 / degrees)
        large = degrees >= _FEWEST_IN_BLOCK * filled
        return (ratio < 1.0 + _STANDARD_ERRORS * chance) & large & (filled > 1)

    def pairs(self) -> Pairs:
        """What the sums say."""
        common, home = self._common.figures(), self._home.figures()
        same = (_plain_correlation(one) for one in (self._plain_labels, self._plain_reliability))
        figures = (*common, *home[:3], *same)
        return Pairs(**{one.name: each for one, each in zip(fields(Pairs), figures, strict=True)})


class _Moments:
    """Weighted moments of labels by pair, with the weight a_i r_j of partners i and j.

    Here r is reliability, and a is reliability too or another measure of the first's weight.
    """

    def __init__(self, k: int, outputs: int, blocks: int) -> None:
        self.blocks = np.zeros((blocks, k, k))
        self.stated = np.zeros((k, k))
        # z_i, z_j, z_i^2, z_j^2, z_i z_j
        self.moments = np.zeros((5, k, k, outputs))

    def add(
        self, own: np.ndarray, trust: np.ndarray, values: np.ndarray, block: np.ndarray
    ) -> None:
        """Add n compounds: weights a and r of shape (k, n), labels (k, n, n_outputs)."""
        self.stated += (own * trust) @ trust.T
        for number in range(values.shape[2]):
            z = values[:, :, number]
            a, r = own * z, trust * z
            parts = (a @ trust.T, own @ r.T, (a * z) @ trust.T, own @ (r * z).T, a @ r.T)
            self.moments[:, :, :, number] += np.stack(parts)
        for number in np.unique(block):
            inside = block == number
            self.blocks[number] += own[:, inside] @ trust[:, inside].T

    def figures(self) -> tuple[np.ndarray, ...]:
        """Correlation, its error, mean reliability stated, offset and spread; see `Pairs`."""
        total = self.blocks.sum(axis=0)
        nothing = total <= 0.0
        weight = np.where(nothing, np.nan, total)
        first, second, first_square, second_square, product = self.moments / weight[:, :, None]
        own = np.maximum(first_square - first**2, 0.0).sum(axis=2)
        other = np.maximum(second_square - second**2, 0.0).sum(axis=2)
        covariance = (product - first * second).sum(axis=2)
        varies = (own > _LEAST_SPREAD**2) & (other > _LEAST_SPREAD**2)
        correlation = np.where(
            varies, covariance / np.sqrt(np.where(varies, own * other, 1.0)), 0.0
        )
        effective = total**2 / np.maximum((self.blocks**2).sum(axis=0), 1e-300)
        chance = np.maximum(1.0 / np.sqrt(np.maximum(effective - 1.0, 0.5)), _LEAST_ERROR)
        other = np.where(other > _LEAST_SPREAD**2, other, np.nan)
        return (
            np.where(nothing, np.nan, np.clip(correlation, -1.0, 1.0)),
            np.where(nothing, np.nan, chance),
            self.stated / weight,
            (first - second).sum(axis=2) / np.sqrt(other),
            np.sqrt(own / other),
        )


def _plain(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Sums where both give a value: how many, of the first, of its square, of the product."""
    there = known.astype(np.float64)
    values = np.where(known, values, 0.0)
    return np.stack([there @ there.T, values @ there.T, values**2 @ there.T, values @ values.T])


def _plain_correlation(sums: np.ndarray) -> np.ndarray:
    """Correlations from `_plain`, over all outputs; 0 where a value is the same everywhere."""
    n, first, second, cross = sums
    n = np.maximum(n, 1.0)
    variance = np.maximum(second / n - (first / n) ** 2, 0.0).sum(axis=2)
    covariance = (cross / n - first * first.transpose(1, 0, 2) / n**2).sum(axis=2)
    varies = (variance > _LEAST_SPREAD**2) & (variance.T > _LEAST_SPREAD**2)
    scale = np.sqrt(np.where(varies, variance * variance.T, 1.0))
    return np.where(varies, covariance / scale, 0.0)
