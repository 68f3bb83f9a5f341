"""Propose tasks for a table: what is measured, in which unit and on which scale, and thresholds.

A proposal is read, edited and agreed on by people, and becomes a contract by
`fluid init-federation --tasks`. Values are read as the training commands read them
(`find_layout`), and merged by the text of the SMILES: nothing is standardised here.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import TableError
from fluid.chem.readers import Table, short_name
from fluid.chem.tables import (
    EntryTable,
    find_column,
    list_columns,
    normal_name,
    open_entries,
    similar_columns,
)
from fluid.learn.cells.classes import detect_classes
from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.units import convert, direction, is_unit, parse_unit
from fluid.learn.labels import merge_measurements
from fluid.learn.task import NAME, LabelError, Task
from fluid.learn.thresholding import Threshold, choose_thresholds
from fluid.partner.table.columns import Columns
from fluid.partner.table.layout import can_read, find_layout
from fluid.partner.table.measurements import Collected
from fluid.partner.table.names import TASK_COLUMNS, VALUE_COLUMNS
from fluid.partner.table.profile import ValueTexts, is_sign

# A column holds numbers if this share of its cells can be read as such.
_NEARLY_ALL = 0.9
# Potencies lie within: a picomolar, and ten millimolar.
_P_RANGE = (2.0, 12.0)
# Positive numbers that span two orders of magnitude are better learned as logarithms.
_SPAN = 100.0
_LONGEST_NAME = 63
_MOLAR = parse_unit("mol/L")


@dataclass(frozen=True)
class Proposal:
    """One proposed task.

    Attributes
    ----------
    task
        The task.
    column
        Where its values are, or its name in the column of tasks.
    values, exact, below, above
        Number of compounds with a label, and of those whose label is exact, ``<`` or ``>``.
    positive
        Number of positive compounds of a binary task; None for others.
    why
        What gave it its kind, scale or threshold.
    """

    task: Task
    column: str
    values: int
    exact: int
    below: int
    above: int
    positive: int | None
    why: str


@dataclass(frozen=True)
class Proposals:
    """Proposed tasks of a table.

    Attributes
    ----------
    found
        The proposals, in the order of the table's columns or of the names of its tasks.
    passed_over
        By column or name, why none is proposed for it.
    notes
        How the table was read.
    """

    found: list[Proposal]
    passed_over: Mapping[str, str]
    notes: list[str] = field(default_factory=list)


def propose_tasks(
    path: Path,
    columns: Columns | None = None,
    *,
    binary: bool = False,
    experts: Mapping[str, Sequence[float]] | None = None,
) -> Proposals:
    """Propose tasks for a wide or long table.

    Parameters
    ----------
    path
        A table with SMILES.
    columns
        Names of columns, where the usual ones do not fit.
    binary
        Whether binary tasks are made of all numbers as well, see `choose_thresholds`.
    experts
        Thresholds of experts by proposed name; binary tasks are made of these numbers in any case.

    Raises
    ------
    TableError
        If the table cannot be read, or no task can be proposed.
    """
    columns, experts = columns or Columns(), dict(experts or {})
    entries = open_entries(path, columns.smiles, columns.id, columns.files)
    scanned = _scan(entries, columns)
    tasks: list[Task] = []
    passed_over: dict[str, str] = {}
    names: set[str] = set()
    for quantity, texts in scanned.texts.items():
        kind, reason = _kind(texts)
        if not kind:
            passed_over[quantity] = reason
            continue
        name = _name(quantity, names)
        tasks.append(Task(name, kind, source="" if quantity == name else quantity))
    if not tasks:
        reasons = "; ".join(f"'{short_name(name)}' {why}" for name, why in passed_over.items())
        raise TableError(f"{path}: no column looks like a task ({reasons[:500] or 'no columns'})")
    unknown = [name for name in experts if name not in {task.name for task in tasks}]
    if unknown:
        shown = ", ".join(task.name for task in tasks[:20])
        raise TableError(f"{path}: --threshold {unknown[0]}: the tasks proposed are {shown}")
    columns = replace(columns, task=scanned.task_column, value=scanned.value_column)
    read = _read(path, tasks, columns)
    found = []
    for index, task in enumerate(tasks):
        try:
            found += _propose(task, read.part(index), binary, experts.get(task.name, ()), names)
        except ValueError as error:
            raise TableError(f"{path}: {error}") from error
    return Proposals(found, passed_over, [*scanned.notes, *read.notes])


@dataclass
class _Scanned:
    """Texts of each column, or of each name in a column of tasks."""

    texts: dict[str, ValueTexts]
    task_column: str | None = None
    value_column: str | None = None
    notes: list[str] = field(default_factory=list)


def _scan(entries: EntryTable, columns: Columns) -> _Scanned:
    table = entries.table
    task = find_column(table, columns.task, TASK_COLUMNS, "task")
    value = find_column(table, columns.value, VALUE_COLUMNS, "value")
    if task is not None and value is not None:
        return _scan_long(table, task, value)
    taken = {entries.smiles_index, entries.id_index}
    found = _Scanned({})
    places = {}
    for place, name in enumerate(table.columns):
        if place in taken or not name.strip() or len(similar_columns(table.columns, name)) > 1:
            continue
        places[place] = found.texts[name] = ValueTexts(numbers=True, classes=True)
    for row in table.rows:
        if row.problem is None:
            for place, texts in places.items():
                if row.values[place]:
                    texts.add(row.values[place])
    if not places:
        raise TableError(f"{table.path}: no columns but {list_columns(table)}")
    return found


def _scan_long(table: Table, task: int, value: int) -> _Scanned:
    names = table.columns
    note = f"long table: tasks are named in '{names[task]}', values are in '{names[value]}'"
    found = _Scanned({}, names[task], names[value], [note])
    for row in table.rows:
        if row.problem is None and row.values[task]:
            name = row.values[task]
            if name not in found.texts:
                found.texts[name] = ValueTexts(numbers=True, classes=True)
            found.texts[name].add(row.values[value])
    found.texts = dict(sorted(found.texts.items()))
    return found


def _kind(texts: ValueTexts) -> tuple[str, str]:
    """The kind of task that these texts are labels of; or none, and why."""
    counts = {text: n for text, n in texts.counts.items() if not is_missing(text)}
    if not counts:
        return "", "is empty"
    if all(is_sign(text) for text in counts) and not set(counts) <= {"+", "-"}:
        return "", "holds signs (<, >, =)"
    probe = Task("x", "binary")
    code = detect_classes(probe, counts)
    if not code.problems:
        return "binary", ""
    if all(is_unit(text) for text in counts):
        return "", "holds units"
    total = sum(counts.values())
    number = Task("x", "regression")
    numbers = sum(n for text, n in counts.items() if can_read(number, text))
    if numbers >= _NEARLY_ALL * total and len(counts) > 2:
        return "regression", ""
    if len(counts) <= 2:
        return "", f"holds {' and '.join(map(repr, sorted(counts)))}: which is positive?"
    shown = ", ".join(repr(short_name(text)) for text in sorted(counts)[:3])
    return "", f"holds neither numbers nor two classes: {shown}"


def _name(quantity: str, names: set[str]) -> str:
    """A name for a task that files can bear, and that no other has."""
    plain = unicodedata.normalize("NFKD", quantity.replace("µ", "u").replace("μ", "u"))
    plain = plain.replace("%", "pct").encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-") or "task"
    if not plain[0].isalpha():
        plain = f"t_{plain}"
    name, number = plain[:_LONGEST_NAME], 1
    while normal_name(name) in names:
        number += 1
        name = f"{plain[: _LONGEST_NAME - 5]}_{number}"
    assert NAME.fullmatch(name), name
    names.add(normal_name(name))
    return name


@dataclass(frozen=True)
class _Read:
    """Measurements sorted by task; rows are compounds, by the text of their SMILES."""

    tasks: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    signs: np.ndarray
    units: np.ndarray
    unit_texts: list[str]
    notes: list[str]

    def part(self, task: int) -> _Read:
        """The measurements of one task."""
        mine = slice(*np.searchsorted(self.tasks, [task, task + 1]))
        return replace(
            self,
            tasks=np.zeros_like(self.tasks[mine]),
            rows=self.rows[mine],
            values=self.values[mine],
            signs=self.signs[mine],
            units=self.units[mine],
        )


def _read(path: Path, tasks: Sequence[Task], columns: Columns) -> _Read:
    """All values of a table, not yet converted."""
    first = open_entries(path, columns.smiles, columns.id, columns.files)
    layout = find_layout(first, tasks, columns)
    collected = Collected(tasks)
    collected.open(open_entries(path, columns.smiles, columns.id, columns.files), layout)
    compounds: dict[str, int] = {}
    of = [compounds.setdefault(one.smiles, len(compounds)) for one in collected.entries()]
    source_task = np.array([source.task for _, source in collected.columns], dtype=np.int64)
    task = source_task[np.array(collected.sources, dtype=np.int64)]
    order = np.argsort(task, kind="stable")
    rows = np.array(of, dtype=np.int64)[np.array(collected.rows, dtype=np.int64)]
    return _Read(
        task[order],
        rows[order],
        np.array(collected.values, dtype=np.float64)[order],
        np.array(collected.signs, dtype=np.int8)[order],
        np.array(collected.units, dtype=np.int64)[order],
        [unit for unit, _ in collected.unit_texts],
        [*layout.notes, *layout.doubts],
    )


def _propose(
    task: Task, read: _Read, binary: bool, experts: Sequence[float], names: set[str]
) -> list[Proposal]:
    """A task with unit and scale, and binary tasks of its numbers."""
    if task.kind == "binary":
        _, values, signs = _merge(task, read)
        return [_proposal(task, task, values, signs, "two classes")]
    task, why = _scaled(task, read)
    _, values, signs = _merge(task, _converted(task, read))
    found = [_proposal(task, task, values, signs, why)]
    if not (binary or experts):
        return found
    chosen = choose_thresholds(task, values, signs, experts)
    # As MELLODY-TUNER has it: the tasks of one assay share its weight.
    weight = float(f"{1 / max(1, len(chosen)):.3g}")
    for one in chosen:
        cut = Task(
            _name_at(task.name, one.value, names),
            "binary",
            task.unit,
            low=task.low,
            high=task.high,
            source=task.quantity,
            scale=task.scale,
            threshold=one.value,
            weight=weight,
        )
        found.append(_proposal(cut, task, values, signs, f"{one.origin} threshold", one))
    return found


def _name_at(name: str, value: float, names: set[str]) -> str:
    """A task's name with its threshold: herg_6_5."""
    end = f"{value:g}".replace("-", "m").replace(".", "_").replace("+", "")
    return _name(f"{name[: _LONGEST_NAME - len(end) - 1]}_{end}", names)


def _scaled(task: Task, read: _Read) -> tuple[Task, str]:
    """The task with the unit that most of its values have, and a scale that suits them."""
    counts = Counter(read.units.tolist())
    common = max(counts, key=lambda unit: (counts[unit], read.unit_texts[unit]), default=0)
    text = read.unit_texts[common] if counts else ""
    unit = parse_unit(text) if text else None
    low, high = _P_RANGE
    if unit is not None and _MOLAR is not None and unit.dimensions == _MOLAR.dimensions:
        if unit.slope == -1.0:
            return replace(task, scale="p", low=low, high=high), "the column's name says p"
        if not unit.slope:
            wide = replace(task, unit=text, scale="p", low=low, high=high)
            return wide, f"concentrations in {text}"
    logarithm = unit is not None and unit.slope
    positive = len(read.values) > 0 and float(read.values.min()) > 0
    if positive and not logarithm:
        span = float(read.values.max()) / float(read.values.min())
        if span >= _SPAN:
            return replace(task, unit=text, scale="log10"), f"they span a factor of {span:.3g}"
    # "LogD" is a logarithm, and has no unit that a value could be converted from.
    return replace(task, unit="" if unit is not None and unit.own else text), "numbers as they are"


def _converted(task: Task, read: _Read) -> _Read:
    """The values that can be converted, on the task's scale."""
    values, signs = read.values.copy(), read.signs.copy()
    for unit in np.unique(read.units):
        mine = np.flatnonzero(read.units == unit)
        text = read.unit_texts[unit]
        try:
            turn = direction(task, text)
        except LabelError:
            values[mine] = np.nan
            continue
        signs[mine] *= turn
        for place in mine.tolist():
            try:
                values[place] = convert(values[place], text, task)
            except LabelError:
                values[place] = np.nan
    known = np.isfinite(values)
    return replace(
        read,
        tasks=read.tasks[known],
        rows=read.rows[known],
        values=values[known],
        signs=signs[known],
        units=read.units[known],
    )


def _merge(task: Task, read: _Read) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One label a compound: rows, values and signs."""
    size = int(read.rows.max()) + 1 if len(read.rows) else 0
    labels = merge_measurements([task], read.rows, read.tasks, read.values, read.signs, size).labels
    return labels.rows, labels.values, labels.qualifiers


def _proposal(
    task: Task,
    of: Task,
    values: np.ndarray,
    signs: np.ndarray,
    why: str,
    threshold: Threshold | None = None,
) -> Proposal:
    positive = threshold.positive if threshold is not None else None
    if task.kind == "binary" and threshold is None:
        positive = int(values.sum())
    n = len(values) if threshold is None else threshold.positive + threshold.negative
    below, above = int(np.sum(signs < 0)), int(np.sum(signs > 0))
    return Proposal(task, of.quantity, n, len(values) - below - above, below, above, positive, why)
