"""The second pass over a table: structures, values, and one label per compound and task."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

import numpy as np

from fluid.base.errors import TableError
from fluid.base.jobs import count_jobs
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.featurizer import featurize_entries
from fluid.chem.mass import molar_masses
from fluid.chem.readers import Row, short_name
from fluid.chem.tables import Entry, EntryTable, Reject, open_entries, write_rejects
from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.numbers import read_number, read_qualifier
from fluid.learn.cells.units import convert, direction, same_unit
from fluid.learn.labels import LabelMatrix, Merged, merge_measurements
from fluid.learn.model import Card
from fluid.learn.task import HIGHEST, LOWEST, LabelError, Task
from fluid.partner.table.columns import Columns
from fluid.partner.table.layout import Layout, Source, find_layout
from fluid.partner.table.report import (
    Reasons,
    TableReport,
    Values,
    column_lines,
    report_task,
    summary_lines,
)

logger = logging.getLogger(__name__)

# Characters of a measurement that are kept for messages.
_KEPT = 200


class RejectedError(TableError):
    """Nothing that a table holds can be used, or all of a task's values were rejected.

    Attributes
    ----------
    rejects
        Rejected rows and measurements, with reasons.
    """

    def __init__(self, message: str, rejects: list[Reject]) -> None:
        super().__init__(message)
        self.rejects = rejects


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
    report
        What was read as what; None for a part of a table.
    """

    compounds: Compounds
    labels: LabelMatrix
    rejects: list[Reject]
    n_rows: int
    groups: list[frozenset[str]] = field(default_factory=list)
    source: str = ""
    report: TableReport | None = None

    def take(self, rows: np.ndarray) -> LabelledCompounds:
        """The part with the compounds at these ascending positions, without rejects."""
        groups = [self.groups[row] for row in rows] if self.groups else []
        labels = self.labels.take(rows)
        return LabelledCompounds(
            self.compounds.take(rows), labels, [], len(rows), groups, self.source
        )


def read_labelled(
    sources: Sequence[Path],
    tasks: Sequence[Task],
    chemistry: Chemistry,
    columns: Columns | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    stage: Callable[[str], None] = lambda line: None,
) -> LabelledCompounds:
    """Read tables of labelled compounds.

    Stereoisomers and salts of one compound share its connectivity and become one row, merged by
    `merge_measurements`. Rejected rows are listed with their reasons. The result does not depend on
    the order of the rows.

    Parameters
    ----------
    sources
        Tables of one owner; read as one.
    tasks
        The tasks to read; a table need not have all.
    chemistry
        How structures are standardised and featurised.
    columns
        Column names and other settings, where what is found does not fit.
    jobs
        Worker processes.
    progress
        Called with the number of rows read so far.
    stage
        Called with a line for people now and then: what is read as what.

    Raises
    ------
    TableError
        If a table cannot be read, lacks structures or labels, or cannot be understood without a
        guess.
    RejectedError
        If no labelled compound is left, or all values of a task were rejected and
        `columns.allow_empty` is not set.
    """
    found, report, rejects = examine(sources, tasks, chemistry, columns, jobs, progress, stage)
    for line in summary_lines(report):
        stage(line)
    names = ", ".join(map(str, sources))
    doubts = report.all_doubts
    for doubt in doubts[:_MOST_WARNINGS]:
        logger.warning("%s", doubt)
    if len(doubts) > _MOST_WARNINGS:
        more = len(doubts) - _MOST_WARNINGS
        logger.warning("%d more doubts, which fluid check-data lists", more)
    if report.faults:
        raise RejectedError(f"{names}: " + "; ".join(report.faults[:_MOST_FAULTS]), rejects)
    assert found is not None
    return found


_MOST_WARNINGS = 20
_MOST_FAULTS = 3


def state_columns(card: Card, table: LabelledCompounds) -> None:
    """State in the card of a model that stays at home which columns it was trained on, and why."""
    if table.report is not None:
        card.training["columns"] = table.report.column_list()


@contextmanager
def rejects_kept(output: Path, name: str) -> Iterator[None]:
    """List the rejects of a table that cannot be used where those of the output would be.

    They are written to a file of this name in the folder `output`, or beside it if it holds a model
    already, which has rejects of its own.

    Raises
    ------
    TableError
        The error that says so, with the place of the list.
    """
    try:
        yield
    except RejectedError as error:
        if not error.rejects:
            raise
        place = output / name
        if output.exists() and {item.name for item in output.iterdir()} - {name}:
            place = output.with_name(f"{output.name}.{name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        write_rejects(place, error.rejects)
        raise TableError(f"{error} (all are listed in {place})") from error


def examine(
    sources: Sequence[Path],
    tasks: Sequence[Task],
    chemistry: Chemistry,
    columns: Columns | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    stage: Callable[[str], None] = lambda line: None,
) -> tuple[LabelledCompounds | None, TableReport, list[Reject]]:
    """Read tables as `read_labelled` does, and report on them even if nothing can be used.

    Returns
    -------
    tuple of LabelledCompounds or None, TableReport and list of Reject
        The labels (None if there are none), what was read as what, and what was rejected. The
        report's `faults` are what `read_labelled` raises.
    """
    columns = columns or Columns()
    report = TableReport([path.name for path in sources])
    collected = _Collected(tasks)
    layouts = [_prepare(path, tasks, columns, report, progress) for path in sources]
    for line in [*column_lines(report.columns), *report.notes]:
        stage(line)
    parts = []
    for path, layout in zip(sources, layouts, strict=True):
        table = open_entries(path, columns.smiles, columns.id, columns.files)
        collected.open(table, layout)
        stream = featurize_entries(
            collected.entries(), chemistry.standardizer, chemistry.features, count_jobs(jobs)
        )
        for batch in stream:
            parts.append(batch.compounds)
            collected.settle([entry.row.line for entry in batch.entries], batch.rejects)
            progress(len(collected.lines))
    return _conclude(collected, parts, report, columns)


def _prepare(
    path: Path,
    tasks: Sequence[Task],
    columns: Columns,
    report: TableReport,
    progress: Callable[[int], None],
) -> Layout:
    """The first pass over one table."""
    table = open_entries(path, columns.smiles, columns.id, columns.files)
    layout = find_layout(table, tasks, columns, progress)
    report.columns += layout.columns
    report.notes += [f"{path.name}: {note}" for note in [*table.table.notes, *layout.notes]]
    report.doubts += [f"{path.name}: {doubt}" for doubt in layout.doubts]
    return layout


class _Collected:
    """Measurements in the order of the tables, as arrays: there may be millions.

    Attributes
    ----------
    lines, files, ids
        Of each row, and `position`, its place among the compounds, -1 for none.
    rows, sources, values, signs, units, groups
        Of each measurement: its row, its column (a position in `columns`), its number or class, its
        sign, its unit (a position in `unit_texts`), the group of its row.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.tables: list[EntryTable] = []
        self.layout: Layout
        self.lines, self.files, self.position = array("q"), array("H"), array("q")
        self.ids: list[str] = []
        self.columns: list[tuple[int, Source]] = []
        self.rows, self.sources = array("q"), array("i")
        self.values, self.signs, self.units = array("d"), array("b"), array("i")
        self.groups = array("i")
        self.group_names: dict[str, int] = {}
        # Unit, and whether the cell itself states it.
        self.unit_texts: dict[tuple[str, bool], int] = {("", False): 0}
        self.texts, self.ends = bytearray(), array("q", [0])
        self.refused: list[tuple[int, int, str, str]] = []
        self.rejected_rows: list[tuple[int, Reject]] = []
        self.n_compounds = 0

    def open(self, table: EntryTable, layout: Layout) -> None:
        """Go on with another table."""
        self.tables.append(table)
        self.layout = layout
        self.wide = [self._column(source) for source in layout.wide]
        self.long = {
            name: [self._column(source) for source in sources]
            for name, sources in layout.long.items()
        }
        # Of the columns, those in which a row has a text are few where tasks are many.
        self.places = [source.value for _, source in self.wide]

    def _column(self, source: Source) -> tuple[int, Source]:
        self.columns.append((len(self.tables) - 1, source))
        return len(self.columns) - 1, source

    def entries(self) -> Iterator[Entry]:
        """The compounds of the table, numbered; their values are taken on the way."""
        for entry in self.tables[-1]:
            number = len(self.lines)
            self.lines.append(entry.row.line)
            self.files.append(len(self.tables) - 1)
            self.ids.append(entry.id)
            self.position.append(-1)
            if entry.row.problem is None:
                self._take(number, entry.row.values)
            yield Entry(Row(number, [], entry.row.problem), entry.id, entry.smiles)

    def _take(self, row: int, cells: list[str]) -> None:
        for column in compress(self.wide, [cells[place] for place in self.places]):
            self._measure(row, column, cells)
        if self.layout.task_column is not None:
            for column in self.long.get(cells[self.layout.task_column], ()):
                if cells[column[1].value]:
                    self._measure(row, column, cells)

    def _measure(self, row: int, column: tuple[int, Source], cells: list[str]) -> None:
        number, source = column
        text = cells[source.value]
        try:
            if source.classes is not None:
                code = source.classes.read(text)
                if code is None:
                    return
                value, sign, unit = float(code), 0, 0
            else:
                if is_missing(text):
                    return
                value, sign, unit = self._number(text, source, cells)
        except LabelError as error:
            self.refused.append((row, number, text[:_KEPT], str(error)))
            return
        self.rows.append(row)
        self.sources.append(number)
        self.values.append(value)
        self.signs.append(sign)
        self.units.append(unit)
        self.texts += text[:_KEPT].encode("utf-8", "surrogateescape")
        self.ends.append(len(self.texts))
        if self.layout.group is not None:
            group = cells[self.layout.group]
            self.groups.append(self.group_names.setdefault(group, len(self.group_names)))

    def _number(self, text: str, source: Source, cells: list[str]) -> tuple[float, int, int]:
        """Number, sign and unit of a cell with those beside it."""
        assert source.format is not None
        found = read_number(text, source.format)
        sign, unit, in_cell = found.sign, found.unit, bool(found.unit)
        if source.qualifier is not None and cells[source.qualifier]:
            beside = read_qualifier(cells[source.qualifier])
            if sign and beside and sign != beside:
                raise LabelError(
                    f"'{text}' has another sign than its qualifier '{cells[source.qualifier]}'"
                )
            sign = sign or beside
        if source.unit is not None and not is_missing(cells[source.unit]):
            stated = cells[source.unit]
            if unit and not same_unit(unit, stated):
                raise LabelError(f"'{text}' has another unit than its unit column, '{stated}'")
            unit, in_cell = stated, False
        key = (unit or source.unit_name, in_cell)
        return found.value, sign, self.unit_texts.setdefault(key, len(self.unit_texts))

    def settle(self, kept: Sequence[int], rejects: Sequence[tuple[Entry, str]]) -> None:
        """Note which rows became the next compounds, and which were rejected."""
        for row in kept:
            self.position[row] = self.n_compounds
            self.n_compounds += 1
        for entry, reason in rejects:
            row = entry.row.line
            original = Entry(Row(self.lines[row], [], None), entry.id, entry.smiles)
            self.rejected_rows.append((row, self.tables[-1].reject(original, reason)))

    def text(self, measurement: int) -> str:
        """What the cell of a measurement held."""
        part = self.texts[self.ends[measurement] : self.ends[measurement + 1]]
        return part.decode("utf-8", "surrogateescape")

    def reject(self, row: int, column: int, text: str, reason: str) -> Reject:
        """One rejected measurement."""
        file, source = self.columns[column]
        table = self.tables[file]
        entry = Entry(Row(self.lines[row], [], None), self.ids[row], "")
        task = self.tasks[source.task].name
        return table.reject_value(
            entry, table.table.columns[source.value], text, f"{task}: {reason}"
        )

    def where(self, row: int) -> str:
        """File and line of a row, for people."""
        return f"{self.tables[self.files[row]].table.path.name} line {self.lines[row]:,}"


@dataclass
class _Measured:
    """All measurements as NumPy arrays; those that are rejected later have a reason."""

    rows: np.ndarray
    columns: np.ndarray
    tasks: np.ndarray
    values: np.ndarray
    signs: np.ndarray
    units: np.ndarray
    position: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def rejected(self) -> np.ndarray:
        """Which have a reason, bool of shape (n,)."""
        found = np.zeros(len(self.rows), dtype=bool)
        found[list(self.reasons)] = True
        return found


def _conclude(
    collected: _Collected, parts: Sequence[Compounds], report: TableReport, columns: Columns
) -> tuple[LabelledCompounds | None, TableReport, list[Reject]]:
    """Convert, merge and report what was collected."""
    names = ", ".join(str(table.table.path) for table in collected.tables)
    read = concatenate(parts) if parts else None
    of = np.array([source.task for _, source in collected.columns], dtype=np.int64)
    sources = np.array(collected.sources, dtype=np.int64)
    rows = np.array(collected.rows, dtype=np.int64)
    position = np.array(collected.position, dtype=np.int64)
    measured = _Measured(
        rows,
        sources,
        of[sources] if len(sources) else sources,
        np.array(collected.values, dtype=np.float64),
        np.array(collected.signs, dtype=np.int8),
        np.array(collected.units, dtype=np.int64),
        position[rows] if len(rows) else rows,
    )
    units, mixed = _convert(measured, collected, read, report)
    merged: Merged | None = None
    compounds: Compounds | None = None
    groups: list[frozenset[str]] = []
    good = (measured.position >= 0) & ~measured.rejected
    if read is not None and good.any():
        merged, compounds, groups = _merge(read, measured, collected, good, columns)
    rejects = _list_rejects(collected, measured)
    _report(report, collected, measured, merged, units)
    report.compounds = 0 if merged is None else len(np.unique(merged.labels.rows))
    report.faults += mixed
    if not report.faults:
        report.faults += _faults(report, columns)
    labelled = None
    if merged is not None and compounds is not None and len(merged.labels.rows):
        labelled = LabelledCompounds(
            compounds, merged.labels, rejects, report.rows, groups, names, report
        )
    return labelled, report, rejects


# --- units ----------------------------------------------------------------------------------------


def _convert(
    measured: _Measured, collected: _Collected, read: Compounds | None, report: TableReport
) -> tuple[list[dict[str, int]], list[str]]:
    """Bring all numbers to the scale of their tasks; returns their units, and faults."""
    texts = list(collected.unit_texts)
    units: list[dict[str, int]] = [{} for _ in collected.tasks]
    faults: list[str] = []
    if not len(measured.rows):
        return units, faults
    order = np.lexsort((measured.units, measured.tasks))
    pair = measured.tasks[order] * len(texts) + measured.units[order]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    groups: dict[int, list[tuple[int, np.ndarray]]] = {}
    for group in np.split(order, starts[1:]):
        of, unit = int(measured.tasks[group[0]]), int(measured.units[group[0]])
        if collected.tasks[of].reads_numbers:
            groups.setdefault(of, []).append((unit, np.sort(group)))
    for index, parts in groups.items():
        task = collected.tasks[index]
        for unit, group in parts:
            units[index][texts[unit][0]] = units[index].get(texts[unit][0], 0) + len(group)
        states_none = not task.unit and task.scale == "linear"
        kinds = _kinds(units[index]) if states_none else []
        if len(kinds) > 1:
            faults.append(
                f"task {task.name}: values in {_shown_units(units[index])}, and the federation "
                "states no unit for the task, to which they could be converted; give it one"
            )
        _doubt_units(task, index, units[index], kinds, report)
        for unit, group in parts:
            text, in_cell = texts[unit]
            if states_none and not (in_cell and units[index].get("")):
                # All values are of the one unit that is stated.
                text = ""
            _convert_group(measured, group, task, text, read)
    return units, faults


def _kinds(units: dict[str, int]) -> list[str]:
    """The units that are stated, each once however it is spelt."""
    kinds: list[str] = []
    for unit in sorted(units):
        if unit and not any(same_unit(unit, other) for other in kinds):
            kinds.append(unit)
    return kinds


def _shown_units(units: dict[str, int]) -> str:
    found = sorted(units.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{short_name(unit) or 'no unit'} ({n:,})" for unit, n in found[:6])


def _doubt_units(
    task: Task, index: int, units: dict[str, int], kinds: list[str], report: TableReport
) -> None:
    """Doubt values without a unit beside values with one."""
    bare = units.get("", 0)
    other = [unit for unit in units if unit and not (task.unit and same_unit(unit, task.unit))]
    if len(kinds) == 1 and not bare:
        report.notes.append(
            f"task {task.name}: all values are in {kinds[0]}; the federation states no unit, and "
            "they are read as they are"
        )
    elif bare and other and (task.unit or task.scale != "linear"):
        report.doubts.append(
            f"task {task.name}: {bare:,} values state no unit and are read as "
            f"{task.unit or 'stated by the task'}, beside values in {_shown_units(units)}"
        )


def _convert_group(
    measured: _Measured, group: np.ndarray, task: Task, unit: str, read: Compounds | None
) -> None:
    """Convert values of one task and one unit in place."""
    try:
        turn = direction(task, unit)
        masses = _masses(measured, group, task, unit, read)
    except LabelError as error:
        measured.reasons.update(dict.fromkeys(group.tolist(), str(error)))
        measured.values[group] = np.nan
        return
    for place, mass in zip(group.tolist(), masses, strict=True):
        try:
            measured.values[place] = convert(measured.values[place], unit, task, mass)
        except LabelError as error:
            measured.reasons[place] = str(error)
            measured.values[place] = _unbounded(measured.values[place], unit, task, mass)
    measured.signs[group] *= turn


def _unbounded(value: float, unit: str, task: Task, mass: float | None) -> float:
    """A number on the task's scale though it is outside its range; NaN if it has none."""
    try:
        return convert(value, unit, replace(task, low=LOWEST, high=HIGHEST), mass)
    except (LabelError, ValueError):
        return float("nan")


def _masses(
    measured: _Measured, group: np.ndarray, task: Task, unit: str, read: Compounds | None
) -> Sequence[float | None]:
    """Molar masses of the compounds of these values, where the conversion needs them."""
    none: list[float | None] = [None] * len(group)
    if not unit or read is None:
        return none
    wide = replace(task, low=LOWEST, high=HIGHEST)
    try:
        if convert(1.0, unit, wide, 100.0) == convert(1.0, unit, wide, 200.0):
            return none
    except LabelError:
        return none
    of = measured.position[group]
    known = np.unique(of[of >= 0])
    mass = dict(zip(known.tolist(), molar_masses(read.smiles[known]).tolist(), strict=True))
    return [mass.get(place) for place in of.tolist()]


# --- compounds ------------------------------------------------------------------------------------


def _merge(
    read: Compounds,
    measured: _Measured,
    collected: _Collected,
    good: np.ndarray,
    columns: Columns,
) -> tuple[Merged, Compounds, list[frozenset[str]]]:
    """One row per labelled connectivity, in alphabetical order."""
    chosen = np.flatnonzero(good)
    connectivities = read.connectivities
    labelled = np.unique(measured.position[chosen])
    # What stands for a connectivity does not depend on the order of the table.
    order = sorted(labelled, key=lambda row: (connectivities[row], read.smiles[row], read.ids[row]))
    place: dict[str, int] = {}
    kept = []
    for row in order:
        if connectivities[row] not in place:
            place[connectivities[row]] = len(place)
            kept.append(row)
    merged_rows = np.array([place[connectivities[row]] for row in measured.position[chosen]])
    merged = merge_measurements(
        collected.tasks,
        merged_rows,
        measured.tasks[chosen],
        measured.values[chosen],
        measured.signs[chosen],
        len(kept),
    )
    lost = merged.problems[merged.groups] != 0
    reasons: dict[int, str] = {}
    for measurement, group in zip(chosen[lost].tolist(), merged.groups[lost].tolist(), strict=True):
        if group not in reasons:
            connectivity = connectivities[measured.position[measurement]]
            reason = merged.reason(collected.tasks, group)
            reasons[group] = reason.replace("this compound", f"this compound ({connectivity})", 1)
        measured.reasons[measurement] = reasons[group]
    groups: list[frozenset[str]] = []
    if columns.group is not None:
        groups = _gather_groups(merged_rows, collected, chosen, len(kept))
    return merged, read.take(np.array(kept)), groups


def _gather_groups(
    merged_rows: np.ndarray, collected: _Collected, chosen: np.ndarray, n: int
) -> list[frozenset[str]]:
    """By compound, the groups of the rows that gave it a label."""
    names = list(collected.group_names)
    found: list[set[str]] = [set() for _ in range(n)]
    for row, measurement in zip(merged_rows.tolist(), chosen.tolist(), strict=True):
        if name := names[collected.groups[measurement]]:
            found[row].add(name)
    return [frozenset(one) for one in found]


# --- what is told ---------------------------------------------------------------------------------


def _list_rejects(collected: _Collected, measured: _Measured) -> list[Reject]:
    """Rejected rows and measurements in the order of the tables."""
    found = list(collected.rejected_rows)
    for row, column, text, reason in collected.refused:
        if collected.position[row] >= 0:
            found.append((row, collected.reject(row, column, text, reason)))
    for measurement, reason in measured.reasons.items():
        row = int(measured.rows[measurement])
        if measured.position[measurement] >= 0:
            column, text = int(measured.columns[measurement]), collected.text(measurement)
            found.append((row, collected.reject(row, column, text, reason)))
    found.sort(key=lambda item: item[0])
    return [reject for _, reject in found]


def _report(
    report: TableReport,
    collected: _Collected,
    measured: _Measured,
    merged: Merged | None,
    units: list[dict[str, int]],
) -> None:
    """Fill in what was read of rows and tasks."""
    report.rows, report.structures = len(collected.lines), collected.n_compounds
    of_rows = Reasons()
    structure = {}
    for row, reject in collected.rejected_rows:
        of_rows.add(reject.reason, reject.value, collected.where(row))
        structure[row] = reject.reason
    report.rejected_rows = of_rows.ordered()
    reasons = [Reasons() for _ in collected.tasks]
    for row, column, text, reason in collected.refused:
        of = collected.columns[column][1].task
        reasons[of].add(structure.get(row, reason), text, collected.where(row))
    rejected = measured.rejected | (measured.position < 0)
    for measurement in np.flatnonzero(rejected).tolist():
        row = int(measured.rows[measurement])
        reason = structure.get(row) or measured.reasons[measurement]
        of = int(measured.tasks[measurement])
        reasons[of].add(reason, collected.text(measurement), collected.where(row))
    order = np.argsort(measured.tasks, kind="stable")
    bounds = np.searchsorted(measured.tasks[order], np.arange(len(collected.tasks) + 1))
    for index, task in enumerate(collected.tasks):
        mine = order[bounds[index] : bounds[index + 1]]
        read = Values(measured.values[mine], measured.signs[mine], rejected[mine])
        report.tasks.append(report_task(task, index, read, reasons[index], merged, units[index]))


def _faults(report: TableReport, columns: Columns) -> list[str]:
    """What cannot be repaired: that nothing is left."""
    if not report.rows:
        return ["a header but no rows"]
    if not report.structures:
        reasons = Reasons({str(n): one for n, one in enumerate(report.rejected_rows)})
        read = next((use.column for use in report.columns if use.role == "smiles"), "")
        return [
            f"no usable structure among {report.rows:,} rows, of which column '{read}' was read as "
            f"SMILES: {reasons.line()}"
        ]
    lost = [one for one in report.tasks if one.is_lost]
    if not report.compounds:
        faults = [f"no usable label among {report.rows:,} rows"]
        if lost:
            faults[0] += ": " + "; ".join(_lost(one.task, one.rejected) for one in lost[:3])
        return faults
    if lost and not columns.allow_empty:
        return [
            f"all values of task {_lost(one.task, one.rejected)}; --allow-empty goes on without it"
            for one in lost
        ]
    return []


def _lost(task: str, rejected: Sequence[object]) -> str:
    reasons = Reasons({str(n): one for n, one in enumerate(rejected)})  # type: ignore[misc]
    return f"{task}: {reasons.total:,} values are rejected: {reasons.line()}"
