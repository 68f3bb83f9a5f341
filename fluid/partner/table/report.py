"""What was read of labelled tables: columns, values, what was rejected, and what may be wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fluid.learn.labels import LabelMatrix, Merged
from fluid.learn.task import Task
from fluid.partner.table.layout import ColumnUse

# Beyond this share of rejected values the report shows which values they are.
MANY = 0.2
_PARTS = 4
# An unflagged limit of an assay: a share of the exact values, and a number of them, at the lowest
# or highest of many distinct values, and so many times as at the value next to it.
_AT_LIMIT, _FEWEST_AT_LIMIT, _DISTINCT, _TIMES_NEXT = 0.05, 10, 20, 3.0
# Numbers that programs write for a missing one.
_CODES = tuple(sign * (10.0**n - 1) for n in range(2, 7) for sign in (-1, 1))
# Replicates that disagree like different compounds: this share of the compounds measured twice.
_DISAGREE = 0.1
# What reasons of one kind differ by: what they quote, and the compound.
_QUOTED = re.compile(r"'[^']*'|\([A-Z]{14}\)")
_NUMBER = re.compile(r"(?<![\w'])[-+]?\d[\d.,]*(?:e[-+]?\d+)?")


@dataclass
class Reason:
    """Why values or rows were rejected.

    Attributes
    ----------
    count
        How many.
    example
        The whole reason of one of them.
    value
        What its cell holds.
    where
        Its file and line.
    """

    count: int
    example: str
    value: str
    where: str


@dataclass
class Reasons:
    """Reasons that differ only by what they quote are one."""

    found: dict[str, Reason] = field(default_factory=dict)

    def add(self, reason: str, value: str, where: str) -> None:
        """Count one."""
        key = _NUMBER.sub("#", _QUOTED.sub("'...'", reason))
        if key in self.found:
            self.found[key].count += 1
        else:
            self.found[key] = Reason(1, reason, value, where)

    @property
    def total(self) -> int:
        """Number of all."""
        return sum(one.count for one in self.found.values())

    def ordered(self) -> list[Reason]:
        """The reasons, the most frequent first."""
        return sorted(self.found.values(), key=lambda one: (-one.count, one.example))

    def line(self, most: int = 3) -> str:
        """The most frequent reasons with their examples, for one line."""
        reasons = self.ordered()
        shown = [f"{one.example} ({one.count:,}, such as {one.where})" for one in reasons[:most]]
        more = f"; and {len(reasons) - most:,} more reasons" if len(reasons) > most else ""
        return "; ".join(shown) + more


@dataclass
class TaskReport:
    """What was read of one task.

    Attributes
    ----------
    task, kind
        Its name and kind.
    unit
        Unit of its numbers, and the scale; empty for classes.
    reads_numbers
        Whether its values are numbers.
    values
        Cells that are not empty and not marked as missing.
    exact, below, above
        Values that were read: exact, "<", ">", on the task's scale.
    units
        By unit, as stated, how many values; "" for those that state none.
    rejected
        Values that give no label, by reason.
    compounds
        Compounds with a label.
    censored
        Labels that are bounds.
    classes
        Labels by class.
    replicated
        Compounds with two or more values.
    median_spread, spread_95
        Of their values, on the task's scale; None for classes or if there are none.
    apart
        Replicated compounds whose values differ by more than those of different compounds: than the
        standard deviation of labels.
    quantiles
        0, 25, 50, 75 and 100% of the labels that are numbers.
    bias
        Share of rejected values by range of values, or by class; empty if few are rejected.
    doubts
        What may be wrong.
    """

    task: str
    kind: str
    unit: str = ""
    reads_numbers: bool = False
    values: int = 0
    exact: int = 0
    below: int = 0
    above: int = 0
    units: dict[str, int] = field(default_factory=dict)
    rejected: list[Reason] = field(default_factory=list)
    compounds: int = 0
    censored: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    replicated: int = 0
    median_spread: float | None = None
    spread_95: float | None = None
    apart: int = 0
    quantiles: list[float] = field(default_factory=list)
    bias: dict[str, float] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    @property
    def n_rejected(self) -> int:
        """Number of rejected values."""
        return sum(reason.count for reason in self.rejected)

    @property
    def is_lost(self) -> bool:
        """Whether there were values and no label is left."""
        return self.values > 0 and not self.compounds

    def line(self) -> str:
        """One line for people."""
        parts = [f"{self.values:,} values"]
        if self.below or self.above:
            bounds = [f"{n:,} {s}" for n, s in ((self.below, "<"), (self.above, ">")) if n]
            parts[0] += f" ({self.exact:,} exact, {', '.join(bounds)})"
        parts.append(f"{self.compounds:,} compounds")
        if self.classes:
            parts[-1] += f" ({', '.join(f'{n:,} {name}' for name, n in self.classes.items())})"
        if self.n_rejected:
            parts.append(f"{self.n_rejected:,} values rejected")
        return f"{self.task}: " + ", ".join(parts)


@dataclass
class TableReport:
    """What was read of labelled tables.

    Attributes
    ----------
    files
        Their names.
    rows
        Rows read.
    structures
        Rows with a usable structure.
    rejected_rows
        Rows that were rejected as such, by reason.
    compounds
        Compounds with a label.
    columns
        The columns that are read, and why.
    tasks
        By task.
    notes
        What was found and how it was understood.
    doubts
        What may be wrong, beside the doubts of each task.
    faults
        What cannot be repaired: no command that reads these tables goes on.
    """

    files: list[str]
    rows: int = 0
    structures: int = 0
    rejected_rows: list[Reason] = field(default_factory=list)
    compounds: int = 0
    columns: list[ColumnUse] = field(default_factory=list)
    tasks: list[TaskReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def all_doubts(self) -> list[str]:
        """All doubts, those of tasks with their name."""
        of_tasks = [f"task {one.task}: {doubt}" for one in self.tasks for doubt in one.doubts]
        return [*self.doubts, *of_tasks]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values; what is not finite is None."""
        return asdict(self)

    def column_list(self) -> list[dict[str, str]]:
        """The columns as plain values, for a model's card."""
        return [asdict(use) for use in self.columns]


def column_lines(columns: Sequence[ColumnUse]) -> list[str]:
    """One line a file: which column is read as what, and why."""
    lines = []
    for file in dict.fromkeys(use.file for use in columns):
        mine = [use for use in columns if use.file == file]
        parts = [
            f"'{use.column}' is {use.role}{f' of {use.task}' if use.task else ''} ({use.why})"
            for use in mine
            if use.role != "label"
        ]
        labels = [use for use in mine if use.role == "label"]
        if len(labels) <= _FEW:
            parts += [f"'{use.column}' is task {use.task} ({use.why})" for use in labels]
        else:
            parts.append(f"{len(labels):,} tasks have columns of their own")
        lines.append(f"{file}: " + "; ".join(parts[:_MOST_PARTS]))
        if len(parts) > _MOST_PARTS:
            lines[-1] += f"; and {len(parts) - _MOST_PARTS:,} more"
    return lines


_FEW = 5
_MOST_PARTS = 20


def summary_lines(report: TableReport) -> list[str]:
    """A few lines on what was read, however many tasks there are."""
    names = ", ".join(report.files)
    rejected = report.rows - report.structures
    lines = [
        f"{names}: {report.rows:,} rows, {report.compounds:,} compounds with a label"
        + (f", {rejected:,} rows rejected" if rejected else "")
    ]
    present = [one for one in report.tasks if one.values]
    if len(present) <= _FEW:
        return lines + [one.line() for one in present]
    counts = np.array([one.compounds for one in present])
    values = sum(one.values for one in present)
    low, middle, high = (int(n) for n in np.quantile(counts, [0, 0.5, 1]))
    n_rejected = sum(one.n_rejected for one in present)
    lines.append(
        f"{len(present):,} tasks with {values:,} values, {n_rejected:,} of them rejected; "
        f"compounds of a task: {low:,} to {high:,}, median {middle:,}"
    )
    return lines


@dataclass(frozen=True)
class Values:
    """The values of one task as they were read.

    Attributes
    ----------
    values
        float64 of shape (n,): numbers on the task's scale, or classes; NaN where a number could not
        be converted.
    signs
        int8 of shape (n,).
    rejected
        bool of shape (n,): which of them give no label.
    """

    values: np.ndarray
    signs: np.ndarray
    rejected: np.ndarray


def report_task(
    task: Task,
    index: int,
    read: Values,
    reasons: Reasons,
    merged: Merged | None,
    units: dict[str, int],
) -> TaskReport:
    """What was read of one task, with doubts.

    Parameters
    ----------
    task, index
        The task, and its position.
    read
        Its values that could be read as such.
    reasons
        Why values give no label, those that could not be read included.
    merged
        All labels; None if there are none.
    units
        Values by unit as stated.
    """
    found = TaskReport(task.name, task.kind, _unit(task), task.reads_numbers, units=units)
    found.rejected = reasons.ordered()
    unread = reasons.total - int(read.rejected.sum())
    found.values = len(read.values) + unread
    if task.reads_numbers:
        found.exact, found.below, found.above = (
            int((read.signs == sign).sum()) for sign in (0, -1, 1)
        )
    if merged is not None:
        _add_labels(found, task, index, merged.labels)
        _add_replicates(found, task, index, merged)
    if found.values and found.n_rejected > MANY * found.values:
        found.bias = _bias(task, read)
        unknown = int((~np.isfinite(read.values)).sum())
        found.doubts.append(_doubt_of_many(found, unread + unknown))
    if task.reads_numbers:
        found.doubts += _limits(read)
        known = read.values[np.isfinite(read.values)]
        if len(known) and np.isin(known, (0.0, 1.0)).all() and (task.scale == "linear"):
            found.doubts.append(
                "all values are 0 or 1, as of two classes, and are read as numbers"
                + (" and compared with the threshold" if task.is_classification else "")
            )
        found.doubts += _codes(task, read)
    return found


def _unit(task: Task) -> str:
    if not task.reads_numbers:
        return ""
    return {"p": f"-log10 M ({task.unit or 'as stated'})", "log10": f"log10 {task.unit}"}.get(
        task.scale, task.unit
    )


def _add_labels(found: TaskReport, task: Task, index: int, labels: LabelMatrix) -> None:
    mine = labels.tasks == index
    values = labels.values[mine]
    found.compounds = len(values)
    found.censored = int((labels.qualifiers[mine] != 0).sum())
    if task.is_classification:
        names = task.classes or ("negative", "positive")
        counts = np.bincount(values.astype(np.int64), minlength=len(names))
        found.classes = {name: int(n) for name, n in zip(names, counts, strict=True)}
    elif len(values):
        found.quantiles = [float(q) for q in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])]


def _add_replicates(found: TaskReport, task: Task, index: int, merged: Merged) -> None:
    mine = merged.tasks == index
    found.replicated = int((merged.counts[mine] > 1).sum())
    if not task.reads_numbers:
        return
    stated = merged.replicates(index)
    if math.isfinite(stated.median_spread):
        found.median_spread, found.spread_95 = stated.median_spread, stated.spread_95
    labels = merged.labels
    values = labels.values[(labels.tasks == index) & (labels.qualifiers == 0)]
    if task.is_classification or len(values) < _FEWEST_AT_LIMIT:
        return
    spread = merged.spreads[mine][merged.exact[mine] > 1]
    deviation = float(np.std(values))
    found.apart = int((spread > deviation).sum()) if deviation > 0 else 0
    if found.apart >= max(2, _DISAGREE * len(spread)):
        found.doubts.append(
            f"{found.apart:,} of {len(spread):,} compounds with several values have values that "
            f"differ by more than the standard deviation over compounds, {deviation:.3g}; median "
            f"difference {found.median_spread:.3g}. Set max_spread for the task to reject those "
            "that differ too much"
        )


def _bias(task: Task, read: Values) -> dict[str, float]:
    """Share of rejected values by quarter of the values, or by class."""
    known = np.isfinite(read.values)
    values, rejected = read.values[known], read.rejected[known]
    if not len(values):
        return {}
    if not task.reads_numbers:
        names = task.classes or ("negative", "positive")
        return {
            name: float(rejected[values == code].mean())
            for code, name in enumerate(names)
            if (values == code).any()
        }
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _PARTS + 1)))
    if len(edges) < 2:
        return {f"{edges[0]:.3g}": float(rejected.mean())}
    part = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return {
        f"{edges[place]:.3g} to {edges[place + 1]:.3g}": float(rejected[part == place].mean())
        for place in range(len(edges) - 1)
        if (part == place).any()
    }


def _doubt_of_many(found: TaskReport, unread: int) -> str:
    text = f"{found.n_rejected:,} of {found.values:,} values are rejected, such as: "
    text += found.rejected[0].example
    if any(found.bias.values()):
        shares = ", ".join(f"{share:.0%} of {name}" for name, share in found.bias.items())
        text += f"; rejected by value: {shares}"
    if unread and any(found.bias.values()):
        text += f"; {unread:,} more are no such values"
    return text


def _limits(read: Values) -> Iterable[str]:
    """Doubts about values that pile up at the lowest or highest, as at the limit of an assay."""
    exact = read.values[(read.signs == 0) & np.isfinite(read.values)]
    distinct, counts = np.unique(exact, return_counts=True)
    if len(distinct) < _DISTINCT:
        return
    for place, beside, word, sign in ((0, 1, "lowest", "<"), (-1, -2, "highest", ">")):
        n = int(counts[place])
        if n >= max(_FEWEST_AT_LIMIT, _AT_LIMIT * len(exact), _TIMES_NEXT * counts[beside]):
            yield (
                f"{n:,} of {len(exact):,} values ({n / len(exact):.0%}) are exactly "
                f"{distinct[place]:g}, the {word}: if this is a limit of the assay, they should "
                f"carry a '{sign}'"
            )


def _codes(task: Task, read: Values) -> Iterable[str]:
    """Doubts about numbers such as -999 that lie far from all others."""
    kept = read.values[~read.rejected & np.isfinite(read.values)]
    others = kept[~np.isin(kept, _CODES)]
    if task.scale != "linear" or len(others) < 2:
        return
    low, high = float(others.min()), float(others.max())
    for code in _CODES:
        n = int((kept == code).sum())
        if n and max(low - code, code - high) > high - low:
            yield (
                f"{n:,} values are {code:g}, far from all others: if this stands for a missing "
                "value, set the task's range, low and high, to reject it"
            )
