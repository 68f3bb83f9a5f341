"""Is a partner as good as it says? What each states is judged by what the others say.

Teachers that learned something of the same property agree with each other as far as each of them
is right. So the correlations between all pairs reveal how good each is, without one measured
label (Dawid and Skene 1979, doi 10.2307/2346806; Jaffe, Nadler and Kluger 2015, arXiv 1407.7644). A
partner that contradicts the others, or states far more reliability than its agreement with them
supports, is left out of the pool. What nobody else knows cannot be judged.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from fluid.base.jobs import single_threaded_blas
from fluid.central.pair_sums import Pairs, PairSums
from fluid.chem.similarity import tanimoto
from fluid.learn.task import Task
from fluid.soft_labels.teacher_labels import TeacherLabels

BLOCKS = 64
# Of so few partners nobody can say who is wrong.
_FEWEST_PARTNERS, _FEWEST_WITNESSES = 3, 2
_FEWEST_COMPOUNDS = 50
# Half the step that reliabilities are rounded to by default.
_NO_RELIABILITY = 0.01
# One-sided 5%, 2.3% and 1% of a normal distribution.
_SUPPORTED, _OPPOSED, _CONTRADICTS = 1.645, 2.0, 2.33
# Support below one standard error of chance.
_UNSUPPORTED = 1.0
# A partner may state so many times what support like its own is worth at the median partner.
_ALLOWED = 2.5
# It overstates from so many times that on, if it states this much more than the median partner.
_FAR, _MORE_THAN_OTHERS = 1.2, 1.25
# Where its own labels weigh most, few compounds and weak witnesses make a partner's support unsure.
_FAR_AT_HOME = 8.0
# Without two witnesses: so many times what the most reliable of the others states.
_ALLOWED_UNSEEN = 4.0
# Numbers so far from the others', or spread so much more or less, are in another unit.
_OTHER_SCALE, _OTHER_SPREAD = 3.0, 8.0
# Labels that spread less than this, in units of the others' spread, say nothing.
_CONSTANT = 0.01
# Correlations of honest partners reach .81; copies lie beyond.
_COPY = 0.95


@dataclass(frozen=True)
class Agreement:
    """How one partner's labels of one task agree with the others', and what follows.

    Attributes
    ----------
    support
        Correlation in [-1, 1] with what all teachers have in common, as the pairs reveal it; NaN
        if it is not known.
    error
        Standard error of it by chance alone; NaN likewise.
    stated
        Mean reliability in [0, 1] that the partner states where others know something as well.
    allowed
        What its support is worth: the mean reliability that the partner may state there; NaN if
        that is not known.
    offset
        Median difference of its mean label from the others', in their standard deviations; NaN for
        several classes, or if it is not known.
    trust
        Factor in [0, 1] on its stated reliability. With 0 its labels are left out.
    flagged
        Whether somebody should ask the partner before its labels are used.
    reason
        One sentence.
    """

    support: float
    error: float
    stated: float
    allowed: float
    offset: float
    trust: float
    flagged: bool
    reason: str


@dataclass(frozen=True)
class Verdicts:
    """What the comparison of all partners in one task came to.

    Attributes
    ----------
    partners
        By partner, of those that label something.
    copies
        Pairs of partners whose labels or reliabilities are nearly the same.
    opposed
        Pairs of partners that clearly contradict each other while it is open who is wrong.
    """

    partners: dict[str, Agreement] = field(default_factory=dict)
    copies: list[tuple[str, str]] = field(default_factory=list)
    opposed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def trust(self) -> dict[str, float]:
        """The factors below 1, by partner."""
        return {name: one.trust for name, one in self.partners.items() if one.trust < 1.0}


@dataclass
class Consensus:
    """Compares every partner with the others, chunk by chunk.

    Parameters
    ----------
    tasks
        The tasks to compare.
    leaders
        Packed fingerprints around which compounds make a block; by default up to 64 of the first
        chunk, evenly spaced.
    noisy
        Whether labels passed through a noise mechanism. They may then vary at random.
    alike
        Names of tasks in which all partners label the residuals of the same student.

    Notes
    -----
    A compound counts for a pair of partners by the product of their reliabilities, so two partners
    are compared where both claim to know. Teachers of wrong labels still predict smooth functions
    of chemistry, which correlate by chance far more than independent numbers would. So chance is
    judged as if each block of neighbouring compounds were one compound, unequal blocks by Kish's
    effective number, ``(sum w)^2 / sum w^2`` (Kish 1965, ISBN 978-0471489009).

    If teachers err independently, the correlation of two is the product of what each has in common
    with the truth. These factors, the *support*, are found by least squares, with the sign of the
    majority (`find_support`). A partner is left out of a task if

    - its support is clearly negative (one-sided 1%): it contradicts the others; or
    - it states more than three times the signal-to-noise ratio r / (1 - r) that the upper end of
      its support (one-sided 5%) is worth at the median partner, and a quarter more reliability
      than the median partner: it overstates. From 2.5 times on it is brought down to that; or
    - it states more than twenty times that where its own labels weigh most, as in a lie about one
      series; or
    - its numbers are off by three of the others' standard deviations, or spread eight times more
      or less: they are in another unit; or
    - its labels are the same for all compounds, or no more alike for neighbours than for others.

    All this but the last needs two others with clear support. Without these, a partner that states
    more than four times the signal-to-noise ratio of any other is left out. What a partner says
    where nobody else knows anything is not judged, and neither is a majority that lies together.
    """

    tasks: Sequence[Task]
    leaders: np.ndarray | None = None
    noisy: bool = False
    alike: Container[str] = ()

    def __post_init__(self) -> None:
        self._sums: dict[str, PairSums] = {}

    @single_threaded_blas()
    def add(
        self,
        labels: Mapping[str, Mapping[str, TeacherLabels]],
        fingerprints: np.ndarray,
    ) -> None:
        """Add a chunk.

        Parameters
        ----------
        labels
            By partner and task, of n public compounds; the same partners in every chunk.
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
            if not here:
                continue
            if task.name not in self._sums:
                self._sums[task.name] = PairSums(task, sorted(here), len(self.leaders))
            self._sums[task.name].add(here, block)

    def result(self) -> dict[str, Verdicts]:
        """By task."""
        return {
            task.name: _judge(self._sums[task.name], self.noisy, task.name in self.alike)
            if task.name in self._sums
            else Verdicts()
            for task in self.tasks
        }


def compare(task: Task, labels: Mapping[str, TeacherLabels], fingerprints: np.ndarray) -> Verdicts:
    """Compare every partner with the others on a public set that is in memory.

    Parameters
    ----------
    task
        The task to compare.
    labels
        By partner, of n public compounds.
    fingerprints
        Their packed fingerprints, uint8 of shape (n, bytes).
    """
    consensus = Consensus([task])
    consensus.add({name: {task.name: one} for name, one in labels.items()}, fingerprints)
    return consensus.result()[task.name]


def apply_trust(
    labels: Mapping[str, Mapping[str, TeacherLabels]], verdicts: Mapping[str, Verdicts]
) -> dict[str, dict[str, TeacherLabels]]:
    """Labels by partner and task with the reliability that each is trusted with.

    A partner that is left out of a task is missing there.
    """
    found: dict[str, dict[str, TeacherLabels]] = {}
    for partner, by_task in labels.items():
        found[partner] = {}
        for task, one in by_task.items():
            trust = verdicts[task].trust.get(partner, 1.0) if task in verdicts else 1.0
            if trust > 0.0:
                found[partner][task] = one.trusted(trust)
    return found


def find_support(
    correlation: np.ndarray, error: np.ndarray, votes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What k partners have in common with the truth, from how pairs of them agree.

    The products v_i v_j are fitted to the correlations of pairs by least squares, one v_i after
    another, each pair counting by its squared error; a prior of mean 0 and variance 1 keeps what
    is not known at 0. The sign is that of the majority.

    Parameters
    ----------
    correlation, error
        Of shape (k, k); see `Pairs`.
    votes
        How much each partner counts in the majority, shape (k,); by default all the same.

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        v in [-1, 1] and its standard error, shape (k,).
    """
    weight = np.where(np.isnan(error), 0.0, error) ** 2
    weight = np.where(weight > 0.0, 1.0 / np.where(weight > 0.0, weight, 1.0), 0.0)
    np.fill_diagonal(weight, 0.0)
    weighted = weight * np.nan_to_num(correlation)
    # Descent can stop at a mixture of two camps; the first eigenvector knows them apart.
    camps = np.sign(np.linalg.eigh(weighted)[1][:, -1])
    fits = [_descend(weight, weighted, start) for start in (np.ones(len(weight)), camps)]
    losses = [
        float((weight * np.outer(v, v) ** 2 - 2.0 * weighted * np.outer(v, v)).sum()) for v in fits
    ]
    support = fits[int(losses[1] < losses[0] - 1e-6)]
    deviation = 1.0 / np.sqrt(weight @ support**2 + 1.0)
    clear = np.abs(support) > deviation
    counted = np.sign(support) if votes is None else np.sign(support) * votes
    # Rounded, for thirds do not add up to 1.
    majority = round(float(counted[clear].sum()), 6)
    if majority < 0.0 or (majority == 0.0 and support.sum() < 0.0):
        support = -support
    return support, deviation


def _descend(weight: np.ndarray, weighted: np.ndarray, start: np.ndarray) -> np.ndarray:
    support = 0.5 * start
    for _ in range(100):
        for one in range(len(support)):
            found = weighted[one] @ support / (weight[one] @ support**2 + 1.0)
            support[one] = np.clip(found, -1.0, 1.0)
    return support


def _to_signal(share: Any) -> Any:
    """Signal-to-noise ratio of a reliability, by which labels are weighed."""
    return share / (1.0 - share)


def _to_share(signal: float) -> float:
    """The inverse of `_to_signal`."""
    return signal / (1.0 + signal)


def _judge(sums: PairSums, noisy: bool, alike: bool) -> Verdicts:
    labelling = np.flatnonzero(sums.labelled)
    names = [sums.partners[one] for one in labelling]
    if not names:
        return Verdicts()
    pairs = sums.pairs().of(labelling)
    known = np.sqrt(sums.squares[labelling] / sums.labelled[labelling]) >= _NO_RELIABILITY
    random = sums.is_random()[labelling] & (not noisy)
    comparison = _Comparison(pairs, sums.labelled[labelling], known, random, sums.task, alike)
    found = {name: comparison.verdict(number) for number, name in enumerate(names)}
    both = list(combinations(range(len(names)), 2))
    copies = [(i, j) for i, j in both if comparison.copies[i, j]]
    opposed = [
        (i, j)
        for i, j in both
        if pairs.correlation[i, j] < -_OPPOSED * pairs.error[i, j]
        and not (found[names[i]].flagged or found[names[j]].flagged)
    ]
    # Many honest pairs contradict each other by chance. It matters if there is no majority.
    if len(comparison.witnesses) >= _FEWEST_PARTNERS:
        opposed = []
    return Verdicts(
        found,
        [(names[i], names[j]) for i, j in copies],
        [(names[i], names[j]) for i, j in opposed],
    )


class _Comparison:
    """The k partners that label something in a task, compared."""

    def __init__(
        self,
        pairs: Pairs,
        labelled: np.ndarray,
        known: np.ndarray,
        random: np.ndarray,
        task: Task,
        alike: bool,
    ) -> None:
        self.pairs, self.known, self.labelled = pairs, known, labelled
        self.random = random
        self.single = len(task.outputs) == 1
        self.numbers = not task.is_classification
        self.alike = alike
        # Partners that say the same have one voice.
        labels = np.zeros_like(pairs.same_labels) if alike else pairs.same_labels
        same = np.maximum(labels, pairs.same_reliability) > _COPY
        enough = labelled >= _FEWEST_COMPOUNDS
        self.copies = same & enough & enough[:, None] & ~np.eye(len(labelled), dtype=bool)
        votes = 1.0 / (1.0 + self.copies.sum(axis=1))
        self.support, self.error = find_support(pairs.correlation, pairs.error, votes)
        weight = np.nan_to_num(1.0 / pairs.error**2)
        np.fill_diagonal(weight, 0.0)
        total = weight.sum(axis=1)
        self.compared = total > 0.0
        counted = (weight * np.nan_to_num(pairs.stated)).sum(axis=1)
        self.stated = counted / np.where(self.compared, total, 1.0)
        self.supported = self.support > _SUPPORTED * self.error
        self.home_support, self.home_error, self.home_stated = self._at_home()

    def _at_home(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each partner's support and mean reliability where its own labels weigh most.

        The others' support is taken as known.
        """
        weight = np.nan_to_num(1.0 / self.pairs.home_error**2)
        np.fill_diagonal(weight, 0.0)
        known = np.maximum(self.support, 0.0)
        information = weight @ known**2
        found = (weight * np.nan_to_num(self.pairs.home_correlation)) @ known
        support = np.clip(found / np.maximum(information, 1e-9), -1.0, 1.0)
        total = np.maximum(weight.sum(axis=1), 1e-9)
        stated = (weight * np.nan_to_num(self.pairs.home_stated)).sum(axis=1) / total
        return support, 1.0 / np.sqrt(np.maximum(information, 1e-9)), stated

    @property
    def witnesses(self) -> np.ndarray:
        """Partners whose support is clear."""
        return np.flatnonzero(self.supported)

    def verdict(self, one: int) -> Agreement:
        """How a partner is judged."""
        others = np.flatnonzero((np.arange(len(self.support)) != one) & self.compared)
        witnesses = self.witnesses[self.witnesses != one]
        offset, spread = self._scale(one, witnesses)

        def say(
            trust: float, flagged: bool, reason: str, allowed: float = float("nan")
        ) -> Agreement:
            unknown = not self.compared[one]
            return Agreement(
                float("nan") if unknown else float(self.support[one]),
                float("nan") if unknown else float(self.error[one]),
                float(self.stated[one]),
                allowed,
                offset,
                round(trust, 6),
                flagged,
                reason,
            )

        if not self.known[one]:
            return say(1.0, True, "states next to no reliability: its labels are too few, or wrong")
        if self.random[one]:
            what = "vary from compound to compound as if drawn at random"
            return say(0.0, True, f"its labels {what}", 0.0)
        if not self.compared[one]:
            return say(1.0, False, "cannot be judged: it knows too few compounds that others know")
        if len(self.support) < _FEWEST_PARTNERS:
            return say(1.0, False, "cannot be judged: of two partners nobody can say who is wrong")
        stated, support, error = self.stated[one], self.support[one], self.error[one]

        def say_unsupported(why: str) -> Agreement:
            """Without support, what others state is all there is to compare with."""
            most = float(self.stated[others[~self.copies[one, others]]].max(initial=0.0))
            allowed = _to_share(_ALLOWED_UNSEEN * _to_signal(most))
            if stated <= allowed:
                return say(1.0, False, f"cannot be judged: {why}", allowed)
            what = f"states a mean reliability of {stated:.2f}, others {most:.2f} at most"
            return say(0.0, True, f"overstates: {what}, and {why}", allowed)

        # Who labels few compounds could be right by chance.
        if self.labelled[one] < _FEWEST_COMPOUNDS:
            return say_unsupported("it labels too few compounds to be confirmed")
        if len(witnesses) < _FEWEST_WITNESSES:
            return say_unsupported("no two others agree clearly to confirm it")
        numbers = f"support {support:+.2f} by the others' labels, give or take {error:.2f}"
        if spread < _CONSTANT:
            return say(0.0, True, "says the same of every compound", 0.0)
        if support < -_CONTRADICTS * error:
            return say(0.0, True, f"contradicts the others: {numbers}", 0.0)
        if self.numbers and (
            abs(offset) > _OTHER_SCALE or not 1 / _OTHER_SPREAD < spread < _OTHER_SPREAD
        ):
            what = f"mean off by {offset:+.1f} standard deviations, spread {spread:.2g} times"
            return say(0.0, True, f"is in another unit or scale than the others: {what}", 0.0)
        if self.alike:
            return say_unsupported("all start from the same student, which confirms nobody")
        allowed, limit = self._allowed(self.stated, support + _SUPPORTED * error, witnesses)
        usual = _MORE_THAN_OTHERS * float(np.median(self.stated[others]))
        what = f"states a mean reliability of {stated:.2f}, {allowed:.2f} is supported; {numbers}"
        if stated > max(limit, usual):
            return say(0.0, True, f"overstates: {what}", allowed)
        upper = self.home_support[one] + _SUPPORTED * self.home_error[one]
        most, home_limit = self._allowed(self.home_stated, upper, witnesses, _FAR_AT_HOME)
        home = self.home_stated[one]
        if home > max(home_limit, _MORE_THAN_OTHERS * float(np.median(self.home_stated[others]))):
            what = f"states {home:.2f} where it states most, {most:.2f} is supported there"
            return say(0.0, True, f"overstates: {what}", allowed)
        if support < _UNSUPPORTED * error and stated > limit:
            return say(1.0, False, f"agrees with nobody: {numbers}", allowed)
        if stated > max(allowed, usual):
            return say(max(allowed, usual) / stated, False, f"brought down: {what}", allowed)
        return say(1.0, False, f"agrees: {numbers}", allowed)

    def _allowed(
        self, stated: np.ndarray, support: float, witnesses: np.ndarray, far: float = _FAR
    ) -> tuple[float, float]:
        """The mean reliability that support is worth, and the one from which it is overstated."""
        worth = float(np.median(_to_signal(stated[witnesses]) / self.support[witnesses]))
        signal = _ALLOWED * worth * max(support, 0.0)
        return _to_share(signal), _to_share(far * signal)

    def _scale(self, one: int, witnesses: np.ndarray) -> tuple[float, float]:
        """Median offset and spread of a partner's labels against the witnesses'."""
        offsets, spreads = self.pairs.offset[one, witnesses], self.pairs.spread[one, witnesses]
        there = np.isfinite(spreads)
        if not there.any():
            return float("nan"), 1.0
        offset = float(np.median(offsets[there])) if self.single else float("nan")
        return offset, float(np.median(spreads[there]))
