"""Read private tables: structures with labels, wide (a column a task) or long (a row a label)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fluid.base.errors import TableError
from fluid.base.jobs import count_jobs
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.featurizer import featurize_entries, list_rejects
from fluid.chem.readers import Row, Table, short_name
from fluid.chem.tables import (
    Entry,
    EntryTable,
    Reject,
    find_column,
    list_columns,
    normal_name,
    open_entries,
    shorten,
)
from fluid.learn.labels import LabelMatrix, Problem, merge_measurements
from fluid.learn.task import LabelError, Task, parse_label, parse_qualifier

logger = logging.getLogger(__name__)

TASK_COLUMNS = ("task", "endpoint", "assay", "property")
VALUE_COLUMNS = ("value", "label", "measurement", "result", "activity", "y")
QUALIFIER_COLUMNS = ("qualifier", "relation", "operator", "standard_relation")
UNIT_COLUMNS = ("unit", "units", "standard_units")
# Warn if more than this share of a task's values is rejected, beside listing them.
_MANY = 0.2
# Characters of a measurement that are kept for messages.
_KEPT = 200
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nd", "n.d.", "?"})


@dataclass(frozen=True)
class Columns:
    """Column names, where the usual ones do not fit.

    Attributes
    ----------
    smiles, id
        Structure and name.
    labels
        Label column by task, for wide tables.
    task, value
        Columns of a long table.
    group
        Origin of a row: site, source, year. Read only if it is named.
    """

    smiles: str | None = None
    id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    value: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class LabelledCompounds:
    """A private table, standardised and merged: one row per connectivity.

    Attributes
    ----------
    compounds
        n compounds in the order of their connectivities, whatever the table's order was.
    labels
        Sparse n x tasks matrix.
    rejects
        Rejected rows and measurements, with reasons.
    n_rows
        Number of rows read.
    groups
        For each compound the distinct values of the group column, without those of rows that gave
        no label; an empty set if all its cells are empty. An empty list if no group column is
        named.
    source
        The files it was read from, for messages.
    """

    compounds: Compounds
    labels: LabelMatrix
    rejects: list[Reject]
    n_rows: int
    groups: list[frozenset[str]] = field(default_factory=list)
    source: str = ""

    def take(self, rows: np.ndarray) -> LabelledCompounds:
        """The part with the compounds at these ascending positions, without rejects."""
        groups = [self.groups[row] for row in rows] if self.groups else []
        labels = self.labels.take(rows)
        return LabelledCompounds(
            self.compounds.take(rows), labels, [], len(rows), groups, self.source
        )


@dataclass(frozen=True)
class _Measurement:
    task: int
    value: float
    qualifier: int
    column: str
    text: str


@dataclass
class _Collected:
    """Measurements in the order of the table.

    Attributes
    ----------
    rows
        For each measurement, the row of its compound among those read so far.
    measurements
        The measurements.
    groups
        For each measurement, the group of its row; empty if it has none.
    rejected
        By task, the reasons why values were rejected.
    """

    rows: list[int] = field(default_factory=list)
    measurements: list[_Measurement] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    rejected: dict[int, list[str]] = field(default_factory=dict)


class _Layout:
    """Which columns of a table hold the labels."""

    def __init__(self, table: EntryTable, tasks: Sequence[Task], columns: Columns) -> None:
        self.tasks = tasks
        self.names = {normal_name(task.name): index for index, task in enumerate(tasks)}
        source = table.table
        header = [normal_name(name) for name in source.columns]
        self.wide: dict[int, int] = {}
        for name, column in columns.labels.items():
            if normal_name(name) not in self.names:
                raise TableError(f"--label {name}={column}: the federation has no task '{name}'")
            position = find_column(source, column, (), "label")
            self.wide[self.names[normal_name(name)]] = position if position is not None else 0
        self.task_column = find_column(source, columns.task, TASK_COLUMNS, "task")
        self.value_column = find_column(source, columns.value, VALUE_COLUMNS, "value")
        self.qualifier_column = find_column(source, None, QUALIFIER_COLUMNS, "qualifier")
        self.unit_column = find_column(source, None, UNIT_COLUMNS, "unit")
        self.group_column = find_column(source, columns.group, (), "group")
        if not self.wide and columns.task is None:
            self.wide = {
                index: self._only(source, header, name)
                for name, index in self.names.items()
                if name in header
            }
        self.long = not self.wide and self.task_column is not None and self.value_column is not None
        if not self.wide and not self.long:
            if len(tasks) == 1 and self.value_column is not None:
                self.wide = {0: self.value_column}
            else:
                raise TableError(
                    f"{source.path}: no column for any task ({', '.join(t.name for t in tasks)}) "
                    f"and no long layout; the columns are "
                    f"{list_columns(source)}. Name one with --label TASK=COLUMN"
                )
        self.columns = source.columns
        # In a wide table an "operator" is a person.
        known = [name for name in QUALIFIER_COLUMNS if name != "operator"]
        general = find_column(source, None, known, "qualifier")
        self.qualifiers = self._beside(header, QUALIFIER_COLUMNS, general)
        self.units = self._beside(header, UNIT_COLUMNS, self.unit_column)

    @staticmethod
    def _only(source: Table, header: list[str], name: str) -> int:
        """Position of the one column of this name.

        Columns of an SDF file are the properties of its records: were one taken of several that
        read alike, a single record could hide the labels of all others.
        """
        found = [position for position, other in enumerate(header) if other == name]
        if len(found) > 1:
            first, second = (short_name(source.columns[position]) for position in found[:2])
            raise TableError(
                f"{source.path}: columns '{first}' and '{second}' both read as task '{name}'; "
                f"rename one, or choose with --label {name}=COLUMN"
            )
        return found[0]

    def _beside(
        self, header: list[str], names: Sequence[str], general: int | None
    ) -> dict[int, int]:
        """By regression task of a wide table, the column named after it.

        A table with one such task may have a general column instead.
        """
        found = {}
        regression = [index for index in self.wide if not self.tasks[index].is_classification]
        for index in regression:
            task = normal_name(self.tasks[index].name)
            own = next((f"{task}_{name}" for name in names if f"{task}_{name}" in header), None)
            if own is not None:
                found[index] = header.index(own)
            elif general is not None and len(regression) == 1:
                found[index] = general
        return found

    def cells(self, values: list[str]) -> Iterator[tuple[int, str, str, str, str]]:
        """Task index, column name, label, qualifier and unit of each label in a row."""
        if self.long:
            task = self.names.get(normal_name(self._at(values, self.task_column)))
            if task is not None:
                yield (
                    task,
                    self._at(self.columns, self.value_column),
                    self._at(values, self.value_column),
                    self._at(values, self.qualifier_column),
                    self._at(values, self.unit_column),
                )
            return
        for task, position in self.wide.items():
            yield (
                task,
                self.columns[position],
                values[position],
                self._at(values, self.qualifiers.get(task)),
                self._at(values, self.units.get(task)),
            )

    def group(self, values: list[str]) -> str:
        """The group of a row; empty if it has none or none is asked for."""
        return self._at(values, self.group_column)

    @staticmethod
    def _at(values: list[str], position: int | None) -> str:
        return values[position] if position is not None else ""


def read_labelled(
    sources: Sequence[Path],
    tasks: Sequence[Task],
    chemistry: Chemistry,
    columns: Columns | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> LabelledCompounds:
    """Read tables of labelled compounds.

    Stereoisomers and salts of one compound share its connectivity and become one row: classes by
    majority, regression values by the median. Rejected rows are listed with their reasons.

    Parameters
    ----------
    sources
        Tables of one owner; read as one.
    tasks
        The tasks to read; a table need not have all.
    chemistry
        How structures are standardised and featurised.
    columns
        Column names, where the usual ones do not fit.
    jobs
        Worker processes.
    progress
        Called with the number of rows read so far.

    Raises
    ------
    TableError
        If a table cannot be read, lacks structures or labels, or no labelled compound is left.
    """
    columns = columns or Columns()
    parts: list[Compounds] = []
    collected = _Collected()
    origins: list[tuple[EntryTable, Entry]] = []
    rejects: list[Reject] = []
    n_rows = 0
    for path in sources:
        table = open_entries(path, columns.smiles, columns.id)
        layout = _Layout(table, tasks, columns)
        stream = featurize_entries(
            table, chemistry.standardizer, chemistry.features, count_jobs(jobs)
        )
        for batch in stream:
            rejects.extend(list_rejects(table, batch))
            for entry in batch.entries:
                rejects.extend(_collect(table, layout, entry, len(origins), collected))
                # Its values are read and may be long.
                origins.append((table, Entry(Row(entry.row.line, []), entry.id, "")))
            parts.append(batch.compounds)
            n_rows += len(batch.entries) + len(batch.rejects)
            progress(n_rows)
    names = ", ".join(str(path) for path in sources)
    if not n_rows:
        raise TableError(f"{names}: a header but no rows")
    if not origins:
        raise TableError(f"{names}: no usable structure among {n_rows} rows")
    if not collected.measurements:
        raise TableError(f"{names}: no usable label among {n_rows} rows")
    read = concatenate(parts)
    compounds, labels = _merge(read, tasks, collected, origins, rejects)
    _warn_of_unused(names, tasks, collected)
    groups: list[frozenset[str]] = []
    if columns.group is not None:
        groups = _gather_groups(read, collected, compounds)
    return LabelledCompounds(compounds, labels, rejects, n_rows, groups, names)


def _collect(
    table: EntryTable, layout: _Layout, entry: Entry, row: int, collected: _Collected
) -> list[Reject]:
    """Take the labels of one entry; returns the ones that cannot be read."""
    rejects = []
    for index, column, text, qualifier, unit in layout.cells(entry.row.values):
        task = layout.tasks[index]
        if _is_missing(task, text):
            continue
        try:
            collected.measurements.append(_measure(index, task, column, text, qualifier, unit))
            collected.rows.append(row)
            collected.groups.append(layout.group(entry.row.values))
        except LabelError as error:
            reason = shorten(str(error))
            collected.rejected.setdefault(index, []).append(reason)
            rejects.append(table.reject_value(entry, column, text, f"{task.name}: {reason}"))
    return rejects


def _is_missing(task: Task, text: str) -> bool:
    """Whether a cell holds no label; a class may well be called 'none'."""
    folded = text.lower()
    if folded in (label.strip().lower() for label in task.classes):
        return False
    return folded in _MISSING or (text == "-" and not task.is_classification)


def _measure(
    index: int, task: Task, column: str, text: str, qualifier: str, unit: str
) -> _Measurement:
    if task.kind == "regression" and unit and task.unit and unit.lower() != task.unit.lower():
        raise LabelError(f"unit '{unit}', but the task's is '{task.unit}'")
    value, sign = parse_label(task, text)
    if task.kind == "regression" and qualifier:
        sign = sign or parse_qualifier(qualifier)
    return _Measurement(index, value, sign, column, text[:_KEPT])


def _merge(
    compounds: Compounds,
    tasks: Sequence[Task],
    collected: _Collected,
    origins: list[tuple[EntryTable, Entry]],
    rejects: list[Reject],
) -> tuple[Compounds, LabelMatrix]:
    """One row per labelled connectivity, in alphabetical order."""
    labelled = np.unique(collected.rows)
    connectivities = compounds.connectivities
    # The alphabetically first SMILES stands for its connectivity, whatever the table's order.
    order = sorted(labelled, key=lambda row: (connectivities[row], compounds.smiles[row], row))
    position: dict[str, int] = {}
    chosen = []
    for row in order:
        if connectivities[row] not in position:
            position[connectivities[row]] = len(position)
            chosen.append(row)
    merged_rows = np.array([position[connectivities[row]] for row in collected.rows])
    merged = merge_measurements(
        tasks,
        merged_rows,
        np.array([one.task for one in collected.measurements]),
        np.array([one.value for one in collected.measurements]),
        np.array([one.qualifier for one in collected.measurements]),
        len(chosen),
    )
    problems = merged.problems[merged.groups]
    # What a bound does not decide is missing, no fault of the table.
    for number in np.flatnonzero((problems != Problem.NONE) & (problems != Problem.UNDECIDED)):
        row, one = collected.rows[number], collected.measurements[number]
        table, entry = origins[row]
        reason = merged.reason(tasks, int(merged.groups[number]))
        reason = reason.replace("this compound", f"this compound ({connectivities[row]})")
        reason = f"{tasks[one.task].name}: {reason}"
        rejects.append(table.reject_value(entry, one.column, one.text, reason))
    return compounds.take(np.array(chosen)), merged.labels


def _warn_of_unused(names: str, tasks: Sequence[Task], collected: _Collected) -> None:
    """Warn if many values of a task are rejected."""
    for index, task in enumerate(tasks):
        rejected = collected.rejected.get(index, [])
        n_values = sum(one.task == index for one in collected.measurements) + len(rejected)
        if len(rejected) > _MANY * n_values:
            logger.warning(
                "%s: task %s: %d of %d values are rejected, such as: %s",
                names,
                task.name,
                len(rejected),
                n_values,
                rejected[0],
            )


def _gather_groups(
    read: Compounds, collected: _Collected, merged: Compounds
) -> list[frozenset[str]]:
    """By compound of `merged`, the groups of the rows that gave it a label."""
    connectivities = read.connectivities
    found: dict[str, set[str]] = {}
    for row, group in zip(collected.rows, collected.groups, strict=True):
        if group:
            found.setdefault(connectivities[row], set()).add(group)
    return [frozenset(found.get(connectivity, ())) for connectivity in merged.connectivities]
