"""How much wider the truth is than a mean of teachers: worked out where labels are pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fluid.learn.task import Task

if TYPE_CHECKING:
    from fluid.exchange.federated_set import PooledTask

WIDEST = 2.0


@dataclass(frozen=True)
class Moments:
    """Sums over public compounds, from which the slope of the truth on the pooled label follows.

    Each compound counts by the squared reliability of its most reliable teacher. Of k teachers and
    outputs o, with the share s of a teacher in a label and its distance d from the label:

    Attributes
    ----------
    weight
        Sum of what compounds count.
    label, squares
        Sums of labels, shape (o,), and of their squares over all outputs.
    between
        Sum of s d^2 over teachers and outputs.
    share, distance
        Sums of s, shape (k,), and of s d, shape (k, o).
    shares
        Sums of products of two teachers' shares, shape (k, k).
    known, told
        By teacher, sums over the compounds that it labels: of what these count, shape (k,), and of
        its predictions, shape (k, o).
    """

    weight: float
    label: np.ndarray
    squares: float
    between: float
    share: np.ndarray
    distance: np.ndarray
    shares: np.ndarray
    known: np.ndarray
    told: np.ndarray

    @classmethod
    def total(cls, parts: Sequence[Moments]) -> Moments:
        """Those of several parts of a public set with the same teachers."""
        return sum(parts[1:], parts[0])

    @classmethod
    def of(
        cls, share: np.ndarray, predictions: np.ndarray, known: np.ndarray, reliability: np.ndarray
    ) -> Moments:
        """Those of n compounds.

        Parameters
        ----------
        share
            Of each teacher in the label, shape (k, n); 0 where it gives none.
        predictions
            Shape (k, n, o), finite.
        known
            Where each teacher labels, bool of shape (k, n).
        reliability
            The highest of any teacher, shape (n,).
        """
        counts = np.where(known.any(axis=0), reliability, 0.0) ** 2
        label = (share[:, :, None] * predictions).sum(axis=0)
        away = predictions - label
        heard = share * counts
        return cls(
            float(counts.sum()),
            counts @ label,
            float((counts @ label**2).sum()),
            float((heard[:, :, None] * away**2).sum()),
            heard.sum(axis=1),
            np.einsum("kn,kno->ko", heard, away),
            heard @ share.T,
            known @ counts,
            np.einsum("kn,kno->ko", known * counts, predictions),
        )

    def __add__(self, other: Moments) -> Moments:
        """Those of other compounds with the same teachers added."""
        return Moments(
            self.weight + other.weight, self.label + other.label, self.squares + other.squares,
            self.between + other.between, self.share + other.share,
            self.distance + other.distance, self.shares + other.shares, self.known + other.known,
            self.told + other.told,
        )  # fmt: skip

    def slope(self) -> float:
        """The slope with which the truth regresses on the pooled label, in [1, 2].

        A mean of several calibrated teachers varies less than what it predicts. If each teacher is
        calibrated, so that its covariance with the truth is its own variance, the truth regresses
        on the weighted mean with the slope ``1 + E[disagreement^2] / Var[mean]``; no measured label
        is needed to know it (the regression counterpart of what Gneiting and Ranjan 2013, arXiv
        1106.1638, show of probabilities). Disagreement is taken about each teacher's own mean: a
        teacher that says more than the others of every compound tells of its partner's collection
        and not of any compound. Six decimals: files do not depend on a processor's last bits.
        """
        if self.weight <= 0.0:
            return 1.0
        mean = self.told / np.where(self.known > 0.0, self.known, 1.0)[:, None]
        between = (
            self.between
            - 2.0 * float((self.distance * mean).sum())
            + float((self.share[:, None] * mean**2).sum())
            - float(((self.shares @ mean) * mean).sum())
        )
        variance = self.squares - float((self.label**2).sum()) / self.weight
        # What is left of equal numbers after subtraction is no variance.
        variance = max(variance, 1e-9 * self.squares, 1e-12)
        return round(min(1.0 + max(between, 0.0) / variance, WIDEST), 6)


def widening(label: np.ndarray, disagreement: np.ndarray) -> float:
    """The same slope from pooled labels alone, every compound counting the same.

    Parameters
    ----------
    label, disagreement
        Pooled labels and the standard deviation between teachers, shape (n, n_outputs); without
        missing values. Squares are summed over the outputs.
    """
    if not len(label):
        return 1.0
    between = float((disagreement.astype(np.float64) ** 2).mean(axis=0).sum())
    variance = float(label.astype(np.float64).var(axis=0).sum())
    return min(1.0 + between / max(variance, 1e-12), WIDEST)


def widen(task: Task, pooled: PooledTask, rows: np.ndarray) -> np.ndarray:
    """Pooled labels to learn from, of these compounds; numbers are spread out as truth would be.

    Numbers move away from their mean, in which a compound counts by its squared reliability, by
    the slope of the pooled labels (`Moments.slope`). Probabilities are left as they are: a ranking
    does not change.

    Parameters
    ----------
    task
        What is predicted.
    pooled
        Pooled labels.
    rows
        Compounds with a label.

    Returns
    -------
    numpy.ndarray
        float64 of shape (len(rows), n_outputs).
    """
    label = pooled.label[rows].astype(np.float64)
    if task.is_classification or not len(rows):
        return label
    counts = pooled.reliability[rows].astype(np.float64) ** 2
    centre = np.average(label, axis=0, weights=counts if counts.sum() > 0.0 else None)
    return np.clip(centre + pooled.slope * (label - centre), task.low, task.high)
