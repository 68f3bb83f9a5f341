"""Each teacher's labels of a sample of public compounds, kept while labels are pooled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

MOST_SAMPLED = 2500
# An odd constant (2^64 over the golden ratio) mixes the bits of a digest, and 53 of them make a
# number in [0, 1). The first bits unmixed would not do: they also decide what a student holds out.
_MIX, _BITS = np.uint64(0x9E3779B97F4A7C15), np.uint64(53)


@dataclass(frozen=True)
class TeacherSample:
    """Compounds drawn in proportion to squared reliability, with each teacher's predictions.

    It is a priority sample (Duffield, Lund and Thorup 2007, doi 10.1145/1314690.1314696). Each
    compound has a priority, its squared reliability r^2 over a number u in (0, 1); the highest
    priorities are kept, and a compound then stands for max(r^2, t), where t is the highest priority
    that was not kept. The number u comes from the compound's connectivity, so the order of the
    public set and its division into parts do not matter. The sample exposes individual teachers,
    so it is never saved.

    Of m compounds, k teachers and o outputs:

    Attributes
    ----------
    rows
        Positions in the public set, int64 of shape (m,).
    priority, counts
        r^2 / u, descending, and r^2, shape (m,). One compound more than is used is kept.
    share
        Of each teacher in the pooled label, shape (k, m); 0 where it gives none.
    predictions
        Of each teacher, shape (k, m, o); 0 where it gives none.
    known
        Where it gives one, bool of shape (k, m).
    """

    rows: np.ndarray
    priority: np.ndarray
    counts: np.ndarray
    share: np.ndarray
    predictions: np.ndarray
    known: np.ndarray

    @classmethod
    def draw(
        cls,
        digests: np.ndarray,
        share: np.ndarray,
        predictions: np.ndarray,
        known: np.ndarray,
        reliability: np.ndarray,
    ) -> TeacherSample:
        """Draw a sample of n compounds.

        Parameters
        ----------
        digests
            From `fluid.learn.trained_on.digest_connectivities`, uint64 of shape (n,).
        share, predictions, known
            As above, of all n.
        reliability
            The highest of any teacher, 0 where there is no label, shape (n,). Of a sample that
            several tasks share it is that of all tasks: a task then may have no label of a
            compound.
        """
        counts = reliability.astype(np.float64) ** 2
        uniform = ((digests * _MIX) >> (np.uint64(64) - _BITS)).astype(np.float64)
        priority = counts / ((uniform + 0.5) / 2.0 ** int(_BITS))
        rows = np.flatnonzero(priority > 0.0)
        everything = cls(
            rows, priority[rows], counts[rows], share[:, rows], predictions[:, rows], known[:, rows]
        )
        return everything._best()

    @classmethod
    def of_parts(cls, parts: Iterable[tuple[TeacherSample | None, int]]) -> TeacherSample | None:
        """The sample of a public set that comes in parts: each part's sample and length.

        All parts have the same teachers. None if a part has no sample.
        """
        found: TeacherSample | None = None
        start = 0
        for part, length in parts:
            if part is None:
                return None
            moved = replace(part, rows=part.rows + start)
            found = moved if found is None else found._with(moved)
            start += length
        return found

    def _with(self, other: TeacherSample) -> TeacherSample:
        return TeacherSample(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.priority, other.priority]),
            np.concatenate([self.counts, other.counts]),
            np.concatenate([self.share, other.share], axis=1),
            np.concatenate([self.predictions, other.predictions], axis=1),
            np.concatenate([self.known, other.known], axis=1),
        )._best()

    def _best(self) -> TeacherSample:
        order = np.argsort(-self.priority, kind="stable")[: MOST_SAMPLED + 1]
        return self._take(order)

    def _take(self, chosen: np.ndarray) -> TeacherSample:
        return TeacherSample(
            self.rows[chosen],
            self.priority[chosen],
            self.counts[chosen],
            self.share[:, chosen],
            self.predictions[:, chosen],
            self.known[:, chosen],
        )

    def used(self) -> tuple[TeacherSample, np.ndarray]:
        """The compounds to use, by ascending position, and the weight of each.

        Returns
        -------
        TeacherSample, numpy.ndarray
            The sample without the compound whose priority is the bar t, and weights of sum 1,
            shape (m,).
        """
        bar = float(self.priority[-1]) if len(self.rows) > MOST_SAMPLED else 0.0
        kept = np.arange(min(len(self.rows), MOST_SAMPLED))
        found = self._take(kept[np.argsort(self.rows[kept], kind="stable")])
        weights = np.maximum(found.counts, bar)
        return found, weights / weights.sum() if len(weights) else weights

    def label(self) -> np.ndarray:
        """Pooled labels, shape (m, o)."""
        return np.asarray((self.share[:, :, None] * self.predictions).sum(axis=0))
