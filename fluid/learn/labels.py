"""Labels as a sparse compounds x tasks matrix: only measured values are stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from fluid.learn.censored import signs_among
from fluid.learn.task import NUMBER_RULES, Task


@dataclass(frozen=True)
class LabelMatrix:
    """Measurements in coordinate form, sorted by task, then compound.

    Attributes
    ----------
    rows, tasks
        int64 of shape (n_labels,): compound and task of each label.
    values
        float64: the value (regression) or class index.
    qualifiers
        int8: -1 "less than", 0 "equal", 1 "more than".
    weights
        float64, positive: how many measurements were merged into the label.
    shape
        (n_compounds, n_tasks).
    """

    rows: np.ndarray
    tasks: np.ndarray
    values: np.ndarray
    qualifiers: np.ndarray
    weights: np.ndarray
    shape: tuple[int, int]

    def take(self, rows: np.ndarray) -> LabelMatrix:
        """The labels of the compounds at these ascending positions, renumbered from 0."""
        position = np.full(self.shape[0], -1, dtype=np.int64)
        position[rows] = np.arange(len(rows))
        kept = position[self.rows] >= 0
        return LabelMatrix(
            rows=position[self.rows[kept]],
            tasks=self.tasks[kept],
            values=self.values[kept],
            qualifiers=self.qualifiers[kept],
            weights=self.weights[kept],
            shape=(len(rows), self.shape[1]),
        )

    def column(self, task: int, censored: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Compounds and values of one task.

        Parameters
        ----------
        task
            Position of the task.
        censored
            Whether labels with a qualifier ("more than 5") are included.

        Returns
        -------
        tuple of numpy.ndarray
            Row positions (int64, ascending) and values (float64).
        """
        chosen = self.tasks == task
        if not censored:
            chosen &= self.qualifiers == 0
        return self.rows[chosen], self.values[chosen]

    def exact(self) -> LabelMatrix:
        """Only the labels that are no bounds."""
        kept = self.qualifiers == 0
        return LabelMatrix(
            rows=self.rows[kept],
            tasks=self.tasks[kept],
            values=self.values[kept],
            qualifiers=self.qualifiers[kept],
            weights=self.weights[kept],
            shape=self.shape,
        )

    def column_with_signs(self, task: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Compounds, values or bounds, and signs of one task, as a learner takes them.

        Returns
        -------
        tuple
            Row positions (int64, ascending), values (float64), and signs (int8; -1 for an upper,
            1 for a lower bound), which are None if no value is a bound.
        """
        chosen = self.tasks == task
        signs = signs_among(self.qualifiers, chosen)
        return self.rows[chosen], self.values[chosen], signs


class Problem(IntEnum):
    """Why the measurements of a compound give no label of a task."""

    NONE = 0
    TIE = 1
    SPREAD = 2
    CONTRADICTION = 3
    INTERVAL = 4
    UNDECIDED = 5


@dataclass(frozen=True)
class Replicates:
    """How well repeated measurements of one task agree.

    Attributes
    ----------
    compounds
        Number of compounds with two or more measurements that are not bounds.
    median_spread, spread_95
        Median and 95% quantile of their spreads, on the task's scale; NaN for classes, or if no
        compound is measured twice.
    disagree
        Number of compounds without a label because their measurements differ by more than
        `Task.max_spread`, contradict each other, or are without majority.
    """

    compounds: int
    median_spread: float
    spread_95: float
    disagree: int


@dataclass(frozen=True)
class Merged:
    """Measurements merged into labels; a *group* is all measurements of a compound for a task.

    Attributes
    ----------
    labels
        One label per group that gives one.
    groups
        int64 of shape (n_measurements,): the group of each.
    rows, tasks, counts, exact
        int64 of shape (n_groups,): compound, task, number of measurements, and of those that are
        not bounds. Sorted by task, then compound.
    spreads
        float64 of shape (n_groups,): by how much the measurements differ at least, on the task's
        scale: largest minus smallest, and a bound differs from what it excludes. NaN for classes.
    problems
        int8 of shape (n_groups,): a `Problem`.
    """

    labels: LabelMatrix
    groups: np.ndarray
    rows: np.ndarray
    tasks: np.ndarray
    counts: np.ndarray
    exact: np.ndarray
    spreads: np.ndarray
    problems: np.ndarray

    def reason(self, tasks: Sequence[Task], group: int) -> str:
        """Why a group gives no label, for people; empty if it gives one."""
        task = tasks[int(self.tasks[group])]
        start = f"{self.counts[group]} measurements of this compound"
        problem = Problem(self.problems[group])
        if problem == Problem.TIE:
            return f"{start} disagree without majority"
        if problem == Problem.SPREAD:
            spread = f"{self.spreads[group]:.3g}"
            return f"{start} differ by {spread}, more than max_spread = {task.max_spread:g}"
        if problem == Problem.CONTRADICTION:
            return f"{start} contradict each other: one excludes, with < or >, what others say"
        if problem == Problem.INTERVAL:
            return f"{start} are bounds from both sides, which give no single label"
        if problem == Problem.UNDECIDED:
            return f"with < or >, on either side of the threshold {task.threshold:g}"
        return ""

    def replicates(self, task: int) -> Replicates:
        """How well repeated measurements of the task at this position agree."""
        mine = _part(self.tasks, task)
        spreads = self.spreads[mine][self.exact[mine] > 1]
        known = spreads[np.isfinite(spreads)]
        median, wide = np.quantile(known, [0.5, 0.95]) if len(known) else (np.nan, np.nan)
        disagree = np.isin(self.problems[mine], _DISAGREE).sum()
        return Replicates(len(spreads), float(median), float(wide), int(disagree))


_DISAGREE = (Problem.TIE, Problem.SPREAD, Problem.CONTRADICTION)
# Numbers that differ by less are the same: conversion of units rounds their last digits.
_SAME = 1e-9
# Groups that are merged at once; the memory for more than these goes to the measurements alone.
_BLOCK = 1 << 20


def merge_measurements(
    tasks: Sequence[Task],
    rows: np.ndarray,
    task_index: np.ndarray,
    values: np.ndarray,
    qualifiers: np.ndarray,
    n_compounds: int,
) -> Merged:
    """Merge repeated measurements of a compound into one label per task.

    *Classes* are merged by majority; a tie gives no label.

    *Numbers* are merged by the task's rule, by default the median of those that are not bounds.

    - Measurements that differ by more than `max_spread` give no label. What a bound excludes
      differs from it: "5" and ">7" differ by 2.
    - Bounds alone give the tightest: ">5" and ">8" give ">8". Bounds from both sides give none.
    - Median and mean: a bound that agrees with the label of the exact numbers adds nothing ("7" and
      ">5" give "7"). Bounds that exclude it are outvoted by more exact numbers ("5", "5.2" and ">7"
      give "5.1"); otherwise they contradict, and there is no label. A `max_spread` decides instead
      where there is one.
    - Max and min choose one measurement. Bounds count on their own side only: for max, "5" and ">7"
      give ">7", "5" and ">4" or "<4" give "5".

    A task with a threshold merges the numbers first, and the class is that of the merged number
    (`apply_threshold`), so that replicates on both sides of the threshold give one class.

    The result does not depend on the order of the measurements. 20 million take a minute, 3 GB.

    Parameters
    ----------
    tasks
        The federation's tasks.
    rows, task_index, values, qualifiers
        One element per measurement, see `LabelMatrix`; numbers are on the task's scale, also where
        a threshold makes classes of them.
    n_compounds
        Number of compounds.

    Examples
    --------
    >>> task = Task("pic50", "regression")
    >>> one = np.zeros(3, dtype=np.int64)
    >>> merged = merge_measurements(
    ...     [task], one, one, np.array([6.0, 7.0, 5.0]), np.array([0, 0, 1]), 1
    ... )
    >>> merged.labels.values, merged.labels.qualifiers
    (array([6.5]), array([0], dtype=int8))
    """
    reads_numbers = np.array([task.reads_numbers for task in tasks], dtype=bool)
    numeric = reads_numbers[task_index]
    signs = np.where(numeric, qualifiers, 0).astype(np.int8)
    # Adding zero makes -0 and 0 one number, whichever comes first.
    values = values + 0.0
    keys = task_index.astype(np.int64) * n_compounds + rows
    order = np.lexsort((values, signs, keys))
    keys, signs, values = keys[order], signs[order], values[order]
    new = np.diff(keys, prepend=-1) != 0
    starts, of = np.flatnonzero(new), np.cumsum(new) - 1
    groups = np.empty(len(order), dtype=np.int64)
    groups[order] = of
    group_rows, group_tasks = keys[starts] % n_compounds, keys[starts] // n_compounds
    sorted_ = _Sorted(of, starts, signs, values)
    parts = [
        _merge_groups(part, tasks, group_tasks[first : first + len(part.starts)])
        for first, part in sorted_.blocks()
    ]
    label, sign, spreads, problems = (np.concatenate(part) for part in zip(*parts, strict=True))
    for index, task in enumerate(tasks):
        if task.threshold is None:
            continue
        mine = _part(group_tasks, index)
        found = apply_threshold(task, label[mine], sign[mine])
        undecided = (problems[mine] == Problem.NONE) & np.isnan(found)
        label[mine], sign[mine] = found, 0
        problems[mine] = np.where(undecided, Problem.UNDECIDED, problems[mine])
    given = problems == Problem.NONE
    counts = sorted_.counts
    labels = LabelMatrix(
        rows=group_rows[given],
        tasks=group_tasks[given],
        values=label[given],
        qualifiers=sign[given],
        weights=counts[given].astype(np.float64),
        shape=(n_compounds, len(tasks)),
    )
    return Merged(
        labels=labels,
        groups=groups,
        rows=group_rows,
        tasks=group_tasks,
        counts=counts,
        exact=sorted_.count(0),
        spreads=spreads,
        problems=problems,
    )


def _part(tasks: np.ndarray, task: int) -> slice:
    """Where a task is among sorted ones."""
    return slice(*np.searchsorted(tasks, [task, task + 1]))


def apply_threshold(task: Task, values: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Cut numbers on the task's scale into classes.

    The threshold itself is positive. A bound decides if all that it allows lies on one side: with
    threshold 6, ">6" is positive, "<6" negative, ">5" missing. "<=" is read as "<", ">=" as ">".

    Parameters
    ----------
    task
        Its `threshold` and `direction` are used.
    values, signs
        Numbers on its scale, and -1 for "<", 1 for ">", 0 otherwise; shape (n,).

    Returns
    -------
    numpy.ndarray
        float64 of shape (n,): 1 for positive, 0 for negative, NaN if a bound decides nothing.

    Examples
    --------
    >>> task = Task("active", "binary", threshold=6.0)
    >>> apply_threshold(task, np.array([6.0, 5.9, 6.0, 6.0, 5.0]), np.array([0, 0, 1, -1, 1]))
    array([ 1.,  0.,  1.,  0., nan])
    """
    if task.threshold is None:
        raise ValueError(f"task '{task.name}' has no threshold")
    side = 1 if task.direction == "high" else -1
    above = (values - task.threshold) * side
    signs = signs * side
    classes = np.where(above >= -_SAME, 1.0, 0.0)
    classes[(signs < 0) & (above <= _SAME)] = 0.0
    classes[((signs < 0) & (above > _SAME)) | ((signs > 0) & (above < -_SAME))] = np.nan
    return classes


@dataclass(frozen=True)
class _Sorted:
    """Measurements sorted by group, sign and value: in each group "<", exact ones, then ">".

    Attributes
    ----------
    groups, signs, values
        Of each measurement.
    starts
        First measurement of each group.
    """

    groups: np.ndarray
    starts: np.ndarray
    signs: np.ndarray
    values: np.ndarray

    def blocks(self) -> Iterator[tuple[int, _Sorted]]:
        """Groups some at a time, each block with the number of its first group."""
        for first in range(0, max(1, len(self.starts)), _BLOCK):
            starts = self.starts[first : first + _BLOCK]
            begin = starts[0] if len(starts) else 0
            after = first + len(starts)
            end = self.starts[after] if after < len(self.starts) else len(self.groups)
            part = slice(begin, end)
            yield (
                first,
                _Sorted(
                    self.groups[part] - first, starts - begin, self.signs[part], self.values[part]
                ),
            )

    @property
    def counts(self) -> np.ndarray:
        """Number of measurements of each group."""
        return np.diff(self.starts, append=len(self.groups))

    def count(self, sign: int) -> np.ndarray:
        """Number of measurements with this sign of each group."""
        return np.bincount(self.groups[self.signs == sign], minlength=len(self.starts))

    def at(self, places: np.ndarray, there: np.ndarray, otherwise: float) -> np.ndarray:
        """Values at these positions where there is one."""
        found = np.full(len(places), otherwise)
        found[there] = self.values[places[there]]
        return found


def _merge_groups(
    sorted_: _Sorted, tasks: Sequence[Task], group_tasks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Label, sign, spread and problem of each group of measurements."""
    label, sign, spreads, problems = _merge_numbers(sorted_, tasks, group_tasks)
    classes = np.array([not task.reads_numbers for task in tasks], dtype=bool)[group_tasks]
    voted, tied = _merge_classes(sorted_)
    tied = np.where(tied, Problem.TIE, Problem.NONE)
    return (
        np.where(classes, voted, label),
        np.where(classes, 0, sign).astype(np.int8),
        np.where(classes, np.nan, spreads),
        np.where(classes, tied, problems).astype(np.int8),
    )


def _merge_numbers(
    sorted_: _Sorted, tasks: Sequence[Task], group_tasks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Label, sign, spread and problem of each group, read as numbers."""
    rules = np.array(
        [
            NUMBER_RULES.index(task.replicates or "median") if task.reads_numbers else 0
            for task in tasks
        ],
        dtype=np.int64,
    )[group_tasks]
    limits = np.array(
        [math.inf if task.max_spread is None else task.max_spread for task in tasks],
        dtype=np.float64,
    )[group_tasks]
    exact, starts = sorted_.count(0), sorted_.starts
    first = starts + sorted_.count(-1)
    known = exact > 0
    smallest = sorted_.at(first, known, math.inf)
    largest = sorted_.at(first + exact - 1, known, -math.inf)
    # The tightest bounds: the largest ">" and the smallest "<".
    above = sorted_.at(starts + sorted_.counts - 1, sorted_.count(1) > 0, -math.inf)
    below = sorted_.at(starts, sorted_.count(-1) > 0, math.inf)
    spreads = np.maximum(np.maximum(largest, above) - np.minimum(smallest, below), 0.0)
    middle = (
        sorted_.at(first + (exact - 1) // 2, known, math.nan)
        + sorted_.at(first + exact // 2, known, math.nan)
    ) / 2.0
    is_exact = sorted_.signs == 0
    sums = np.bincount(
        sorted_.groups[is_exact], weights=sorted_.values[is_exact], minlength=len(starts)
    )
    # A sum rounds: the mean of equal numbers is that number.
    mean = np.clip(sums / np.maximum(exact, 1), smallest, largest)
    label = np.select([rules == rule for rule in range(4)], [middle, mean, largest, smallest])
    by_max, by_min = rules == NUMBER_RULES.index("max"), rules == NUMBER_RULES.index("min")
    up, down = np.isfinite(above), np.isfinite(below)
    takes_above = up & (by_max & (above > label + _SAME) | ~known & ~(by_min & down))
    takes_below = down & (by_min & (below < label - _SAME) | ~known & ~up)
    sign = np.where(takes_above, 1, np.where(takes_below, -1, 0))
    label = np.where(takes_above, above, np.where(takes_below, below, label))
    chosen = by_max | by_min
    both = ~known & up & down
    beyond = sorted_.signs * (sorted_.values - label[sorted_.groups]) > _SAME
    excluding = np.bincount(sorted_.groups[beyond], minlength=len(starts))
    excluded = known & (excluding > 0) & (excluding >= exact)
    contradiction = np.isinf(limits) & (excluded | (both & (above > below + _SAME)))
    problems = np.select(
        [spreads > limits + _SAME, contradiction & ~chosen, both & ~chosen],
        [Problem.SPREAD, Problem.CONTRADICTION, Problem.INTERVAL],
        Problem.NONE,
    )
    return label, sign, spreads, problems


def _merge_classes(sorted_: _Sorted) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent value of each group, and whether several are."""
    groups, values = sorted_.groups, sorted_.values
    new = (np.diff(groups, prepend=-1) != 0) | (np.diff(values, prepend=np.nan) != 0)
    runs = np.flatnonzero(new)
    of, votes = groups[runs], np.diff(runs, append=len(groups))
    most = np.zeros(len(sorted_.starts), dtype=np.int64)
    np.maximum.at(most, of, votes)
    wins = votes == most[of]
    winners = np.bincount(of[wins], minlength=len(sorted_.starts))
    voted = np.zeros(len(sorted_.starts))
    voted[of[wins]] = values[runs[wins]]
    return voted, winners > 1
