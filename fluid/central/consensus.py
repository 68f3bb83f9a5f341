"""Does a partner agree with the others? Labels that are shuffled or inverted are flagged.

A partner's predictions are compared with the pooled labels of all others for the same public
compounds. Teachers of random labels still predict smooth functions of chemistry, which correlate by
chance far more than independent numbers would. So chance is judged as if each block of neighbouring
compounds were one compound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fluid.central.pooling import pool_task
from fluid.chem.similarity import tanimoto
from fluid.learn.task import Task
from fluid.soft_labels.targets import soft_targets
from fluid.soft_labels.teacher_labels import TeacherLabels

BLOCKS = 64
_FEWEST_COMPOUNDS = 50
# Effective blocks that a comparison needs, and one that clearly agrees or disagrees.
_FEWEST_BLOCKS, _FEWEST_BLOCKS_IF_CLEAR = 12.0, 4.0
_LEAST_OVERLAP = 0.25
# Half the step that reliabilities are rounded to by default.
_NO_RELIABILITY = 0.01
# One-sided 5% of a normal distribution.
_CLEAR = 1.645
# A partner may differ in skill by a tenth for no fault.
_LEAST_SPREAD = 0.1
_FAR = 4.0
# Median absolute deviation to standard deviation, of a normal distribution.
_MAD = 1.4826
# Similar to the square root of the weights in pooling, and like them steeper than reliability.
_WEIGHT_EXPONENT = 1.5
_HIGHEST_RELIABILITY = 0.98


@dataclass(frozen=True)
class Agreement:
    """How one partner's predictions of one task agree with the others'.

    Attributes
    ----------
    correlation
        Pearson correlation in [-1, 1] of log-odds (classification) or numbers (regression) with the
        pooled label of all others, weighted by both reliabilities; NaN if there is no overlap.
    chance
        Standard deviation of that correlation by chance alone; NaN if unknown.
    n
        Compounds that the partner and somebody else label, both with some reliability.
    reliability
        Root mean square of the partner's own stated reliability, in [0, 1].
    overlap
        Cosine of the partner's reliabilities with those of the others, in [0, 1]: whether they
        know the same chemistry.
    offset
        Weighted mean difference from the others in units of their standard deviation; NaN for
        several classes. It reveals a wrong unit, which a correlation does not. Nothing is flagged
        by it.
    flagged
        Whether somebody should ask the partner before its labels are used.
    reason
        One sentence.
    """

    correlation: float
    chance: float
    n: int
    reliability: float
    overlap: float
    offset: float
    flagged: bool
    reason: str


@dataclass
class _Sums:
    """Running sums of one partner and task. Nothing here grows with the public set."""

    moments: np.ndarray
    blocks: np.ndarray
    n: int = 0
    labelled: int = 0
    own: float = 0.0
    others: float = 0.0
    common: float = 0.0

    def add(
        self,
        own: np.ndarray,
        others: np.ndarray,
        reliability: np.ndarray,
        weight: np.ndarray,
        block: np.ndarray,
    ) -> None:
        """Add n compounds.

        `own` and `others` are centred, of shape (n, n_outputs); `reliability` is that of both, of
        shape (2, n); `weight` (n,) is 0 where one is missing.
        """
        bounded = np.minimum(reliability, _HIGHEST_RELIABILITY)
        known = (bounded / (1.0 - bounded)).prod(axis=0) ** _WEIGHT_EXPONENT * (weight > 0)
        parts = (np.ones_like(own), own, others, own**2, others**2, own * others)
        self.moments += np.stack([weight @ part for part in parts])
        self.blocks += np.bincount(block, known, minlength=len(self.blocks))
        self.n += int((weight > 0).sum())
        self.own += float((reliability[0] ** 2).sum())
        self.others += float((reliability[1] ** 2).sum())
        self.common += float((reliability[0] * reliability[1]).sum())


@dataclass
class Consensus:
    """Compares every partner with the others, chunk by chunk.

    Parameters
    ----------
    tasks
        The tasks to compare.
    sizes
        Training-set sizes by partner and task, where they are shared; see `pool_task`.
    leaders
        Packed fingerprints around which compounds make a block; by default up to 64 of the first
        chunk, evenly spaced.

    Notes
    -----
    A partner is flagged in a task if

    - it states next to no reliability itself (its labels then hardly count, but the partner should
      know: they are too few, or wrong); or
    - its correlation with the others is less than one standard deviation of chance; or
    - it is not clearly above chance (one-sided 5%), and more than four robust standard deviations
      (1.4826 x median absolute deviation, at least 0.1) below the median of the others.

    The last two apply only if at least two other partners clearly agree with the rest: if two
    partners contradict each other, and often if three do, it is open who is wrong. A partner that
    shares too little knowledge with others is not judged: fewer than 50 compounds, an overlap below
    0.25, or fewer than 12 blocks (4, if it clearly agrees or clearly contradicts).

    Each block counts as one independent compound, blocks weighing unequally by Kish's effective
    number, ``(sum w)^2 / sum w^2`` (Kish 1965, Survey Sampling, ISBN 978-0471489009). There, w is
    the product of the signal-to-noise ratios r / (1 - r) to the power of 1.5, so a partner that
    knows one corner of chemistry is not blamed for its labels elsewhere.

    The limits were set on 16 divisions of the demonstration data. A partner with wrong labels and
    high stated reliability lowers the others' correlations as well: after it is left out, the
    others should be judged anew. A majority that is wrong together is not seen.
    """

    tasks: Sequence[Task]
    sizes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    leaders: np.ndarray | None = None

    def __post_init__(self) -> None:
        self._sums: dict[str, dict[str, _Sums]] = {task.name: {} for task in self.tasks}
        self._centres: dict[str, np.ndarray] = {}

    def add(
        self, labels: Mapping[str, Mapping[str, TeacherLabels]], fingerprints: np.ndarray
    ) -> None:
        """Add a chunk.

        Parameters
        ----------
        labels
            By partner and task, of n public compounds.
        fingerprints
            Their packed fingerprints, uint8 of shape (n, bytes).
        """
        n = len(fingerprints)
        if not n:
            return
        if self.leaders is None:
            chosen = np.linspace(0, n - 1, min(n, BLOCKS)).astype(np.int64)
            self.leaders = fingerprints[chosen]
        block = tanimoto(fingerprints, self.leaders).argmax(axis=1)
        for task in self.tasks:
            here = {name: by[task.name] for name, by in labels.items() if task.name in by}
            size = {name: by[task.name] for name, by in self.sizes.items() if task.name in by}
            for partner in sorted(here):
                self._add(task, partner, here, size, block)

    def _add(
        self,
        task: Task,
        partner: str,
        labels: Mapping[str, TeacherLabels],
        sizes: Mapping[str, float],
        block: np.ndarray,
    ) -> None:
        assert self.leaders is not None
        own = labels[partner]
        others = {name: one for name, one in labels.items() if name != partner}
        n_outputs = len(task.outputs)
        sums = self._sums[task.name].setdefault(
            partner, _Sums(np.zeros((6, n_outputs)), np.zeros(len(self.leaders)))
        )
        pooled = pool_task(task, others, sizes, len(block)).labels
        mine, theirs = soft_targets(task, own.prediction), soft_targets(task, pooled.label)
        both = np.isfinite(mine).all(axis=1) & np.isfinite(theirs).all(axis=1)
        if task.name not in self._centres and both.any():
            # Sums of squares of numbers far from 0 would lose their digits.
            self._centres[task.name] = theirs[both].mean(axis=0)
        centre = self._centres.get(task.name, np.zeros(n_outputs))
        reliability = np.stack([np.nan_to_num(own.reliability), pooled.reliability])
        reliability = reliability.astype(np.float64)
        sums.labelled += int(np.isfinite(own.reliability).sum())
        mine = np.where(both[:, None], mine - centre, 0.0)
        theirs = np.where(both[:, None], theirs - centre, 0.0)
        sums.add(mine, theirs, reliability, reliability.prod(axis=0) * both, block)

    def result(self) -> dict[str, dict[str, Agreement]]:
        """By task and partner. Partners that label nothing in a task are left out."""
        return {
            name: _judge({p: sums for p, sums in by_partner.items() if sums.labelled})
            for name, by_partner in self._sums.items()
        }


def agreement(
    task: Task, labels: Mapping[str, TeacherLabels], fingerprints: np.ndarray
) -> dict[str, Agreement]:
    """Compare every partner with the others on a public set that is in memory.

    Parameters
    ----------
    task
        The task to compare.
    labels
        By partner, of n public compounds.
    fingerprints
        Their packed fingerprints, uint8 of shape (n, bytes).

    Returns
    -------
    dict
        By partner; see `Consensus`.
    """
    consensus = Consensus([task])
    consensus.add({name: {task.name: one} for name, one in labels.items()}, fingerprints)
    return consensus.result()[task.name]


@dataclass(frozen=True)
class _Measured:
    """Figures of one partner, before partners are compared; see `Agreement`."""

    correlation: float
    chance: float
    n: int
    reliability: float
    overlap: float
    offset: float

    def _enough(self, blocks: float) -> bool:
        return (
            self.reliability >= _NO_RELIABILITY
            and self.n >= _FEWEST_COMPOUNDS
            and self.overlap >= _LEAST_OVERLAP
            and self.chance <= (blocks - 1.0) ** -0.5
            and bool(np.isfinite(self.correlation))
        )

    @property
    def agrees(self) -> bool:
        return self._enough(_FEWEST_BLOCKS_IF_CLEAR) and self.correlation >= _CLEAR * self.chance

    @property
    def comparable(self) -> bool:
        opposed = self._enough(_FEWEST_BLOCKS_IF_CLEAR) and self.correlation < -_CLEAR * self.chance
        return self.agrees or opposed or self._enough(_FEWEST_BLOCKS)


def _measure(sums: _Sums) -> _Measured:
    weight, own, others, own_square, others_square, product = sums.moments
    total = np.where(weight > 0, weight, 1.0)
    spread = np.maximum(own_square - own**2 / total, 0.0).sum()
    others_spread = np.maximum(others_square - others**2 / total, 0.0).sum()
    norm = float(np.sqrt(spread * others_spread))
    correlation, offset = float("nan"), float("nan")
    if norm > 1e-9 * float(np.sqrt(own_square.sum() * others_square.sum())):
        correlation = float(np.clip((product - own * others / total).sum() / norm, -1.0, 1.0))
        if len(weight) == 1:
            offset = float((own - others)[0] / np.sqrt(weight[0] * others_spread))
    blocks = float(sums.blocks.sum() ** 2 / max((sums.blocks**2).sum(), 1e-300))
    chance = float((blocks - 1.0) ** -0.5) if blocks > 1.0 else float("nan")
    reliability = float(np.sqrt(sums.own / sums.labelled))
    overlap = sums.common / max(float(np.sqrt(sums.own * sums.others)), 1e-300)
    return _Measured(correlation, chance, sums.n, reliability, min(overlap, 1.0), offset)


def _judge(sums: Mapping[str, _Sums]) -> dict[str, Agreement]:
    measured = {name: _measure(one) for name, one in sorted(sums.items())}
    found = {}
    for name, one in measured.items():
        others = [other for key, other in measured.items() if key != name and other.comparable]
        flagged, reason = _verdict(one, others)
        found[name] = Agreement(
            one.correlation,
            one.chance,
            one.n,
            one.reliability,
            one.overlap,
            one.offset,
            flagged,
            reason,
        )
    return found


def _verdict(one: _Measured, others: Sequence[_Measured]) -> tuple[bool, str]:
    if one.reliability < _NO_RELIABILITY:
        return True, "states next to no reliability: its labels are too few, or wrong"
    if not one.comparable:
        what = "the chemistry that it shares with others is too narrow to compare them by"
        if one.n < _FEWEST_COMPOUNDS or one.overlap < _LEAST_OVERLAP:
            what = "knows too few compounds that others know"
        elif not np.isfinite(one.correlation):
            what = "its labels, or those of all others, are the same for every compound"
        return False, f"cannot be judged: {what}"
    correlations = np.array([other.correlation for other in others])
    usual = float(np.median(correlations)) if others else float("nan")
    numbers = f"correlation {one.correlation:.2f} with the others"
    if one.correlation >= one.chance:
        spread = _MAD * float(np.median(np.abs(correlations - usual))) if others else 0.0
        far = one.correlation < usual - _FAR * max(spread, _LEAST_SPREAD)
        if one.agrees or not far:
            return False, f"agrees: {numbers}" if one.agrees else f"agrees weakly: {numbers}"
    if sum(other.agrees for other in others) < 2:
        return False, f"disagrees, {numbers}, but no two others agree: who is wrong is open"
    return True, f"disagrees: {numbers}, whose own have a median of {usual:.2f}"
