"""The second pass over a table: structures, values, and one label per compound and task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fluid.base.errors import TableError
from fluid.base.jobs import count_jobs
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.featurizer import featurize_entries
from fluid.chem.tables import Reject, open_entries, write_rejects
from fluid.learn.labels import LabelMatrix, Merged, merge_measurements
from fluid.learn.model import Card
from fluid.learn.task import Task
from fluid.partner.table.columns import Columns
from fluid.partner.table.layout import Layout, find_layout
from fluid.partner.table.measurements import Collected, Measured
from fluid.partner.table.report import (
    Reasons,
    TableReport,
    Values,
    column_lines,
    report_task,
    summary_lines,
)
from fluid.partner.table.scales import convert_all

logger = logging.getLogger(__name__)


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
    collected = Collected(tasks)
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


def _conclude(
    collected: Collected, parts: Sequence[Compounds], report: TableReport, columns: Columns
) -> tuple[LabelledCompounds | None, TableReport, list[Reject]]:
    """Convert, merge and report what was collected."""
    names = ", ".join(str(table.table.path) for table in collected.tables)
    read = concatenate(parts) if parts else None
    of = np.array([source.task for _, source in collected.columns], dtype=np.int64)
    sources = np.array(collected.sources, dtype=np.int64)
    rows = np.array(collected.rows, dtype=np.int64)
    position = np.array(collected.position, dtype=np.int64)
    measured = Measured(
        rows,
        sources,
        of[sources] if len(sources) else sources,
        np.array(collected.values, dtype=np.float64),
        np.array(collected.signs, dtype=np.int8),
        np.array(collected.units, dtype=np.int64),
        position[rows] if len(rows) else rows,
    )
    units, mixed = convert_all(measured, collected, read, report)
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


def _merge(
    read: Compounds,
    measured: Measured,
    collected: Collected,
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
    merged_rows: np.ndarray, collected: Collected, chosen: np.ndarray, n: int
) -> list[frozenset[str]]:
    """By compound, the groups of the rows that gave it a label."""
    names = list(collected.group_names)
    found: list[set[str]] = [set() for _ in range(n)]
    for row, measurement in zip(merged_rows.tolist(), chosen.tolist(), strict=True):
        if name := names[collected.groups[measurement]]:
            found[row].add(name)
    return [frozenset(one) for one in found]


def _list_rejects(collected: Collected, measured: Measured) -> list[Reject]:
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
    collected: Collected,
    measured: Measured,
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
