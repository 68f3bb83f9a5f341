"""The command check-data: what would be learned from a table, before anything is trained."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fluid.cli.console import Progress, command, emit, one_line, stage, table
from fluid.cli.options import FederationFile, Jobs, Json
from fluid.cli.outputs import REJECTS_HEADER, output_file, starts_with
from fluid.cli.table_options import reads_tables

if TYPE_CHECKING:
    from fluid.partner.table import Columns, TableReport, TaskReport
    from fluid.partner.table.report import Reason

_TASKS_HEADER = (
    "task", "kind", "unit", "values", "exact", "below", "above", "rejected", "compounds",
    "censored", "classes", "replicated", "median_spread", "spread_95", "apart", "lowest", "median",
    "highest", "first_reason", "doubts",
)  # fmt: skip
# Tasks that are shown one by one; of more, quantiles and the worst.
_FEW_TASKS = 20
_WORST = 10
_MOST_REASONS = 5
_MOST_LINES = 30
_MOST_COLUMNS = 40


@command
@reads_tables
def check_data(
    tables: Annotated[
        list[Path],
        typer.Argument(help="Labelled tables: CSV, TSV, SMI, SDF, Parquet or Excel, read as one."),
    ],
    federation: FederationFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write a CSV file with one row per task."),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Also list rejected rows and values, with reasons, in a CSV file."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Doubts are errors.")] = False,
    *,
    columns: Columns,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Check private tables: what would be learned of them, and why.

    Nothing is trained. Prints which column is read as what and why, the values of each task,
    replicates, what is rejected and why, and what may be wrong. The exit code is 1 if a command
    that trains on these tables would refuse them. The report shows private data: it is for their
    owner.

    \b
    Example:
        fluid check-data aurora.csv --federation federation.toml
    """
    from fluid.base.errors import TableError
    from fluid.chem.tables import write_rejects
    from fluid.exchange.federation import Federation
    from fluid.partner.table import examine

    contract = Federation.load(federation)
    contract.chemistry.check(f"federation '{contract.name}'")
    inputs = [*tables, federation]
    header = ",".join(_TASKS_HEADER).encode() + b"\n"
    guards = [
        output_file(path, inputs, what, starts_with(start))
        for path, what, start in (
            (output, "table of tasks", header),
            (rejects, "table of rejects", REJECTS_HEADER),
        )
        if path is not None
    ]
    with ExitStack() as stack:
        for guard in guards:
            stack.enter_context(guard)
        # No model is fitted, so that no descriptors are needed.
        features = replace(contract.chemistry.features, descriptors="none")
        chemistry = replace(contract.chemistry, features=features)
        _, report, listed = examine(
            tables, contract.tasks, chemistry, columns, jobs, Progress("rows")
        )
        if output is not None:
            _write_tasks(output, report.tasks)
        if rejects is not None:
            write_rejects(rejects, listed)
    doubts = report.all_doubts
    values = {**report.to_dict(), "all_doubts": doubts}
    emit(as_json, values, lambda: show_report(report))
    if report.faults:
        raise TableError("; ".join(report.faults[:3]))
    if strict and doubts:
        raise TableError(f"{len(doubts):,} doubts, which --strict makes errors: {doubts[0]}")
    if not as_json:
        stage(f"{len(doubts):,} doubts" if doubts else "no doubts")


def _write_tasks(path: Path, tasks: Sequence[TaskReport]) -> None:
    from fluid.base.files import PRIVATE, atomic_file
    from fluid.base.show import csv_cell

    with (
        atomic_file(path, PRIVATE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_TASKS_HEADER)
        for task in tasks:
            writer.writerow([csv_cell(str(cell)) for cell in _row(task)])


def _row(task: TaskReport) -> list[object]:
    low, middle, high = (
        (task.quantiles[place] for place in (0, 2, 4)) if task.quantiles else [""] * 3
    )
    return [
        task.task, task.kind, task.unit, task.values, task.exact, task.below, task.above,
        task.n_rejected, task.compounds, task.censored,
        " ".join(f"{name}:{n}" for name, n in task.classes.items()),
        task.replicated,
        "" if task.median_spread is None else f"{task.median_spread:g}",
        "" if task.spread_95 is None else f"{task.spread_95:g}",
        task.apart, low, middle, high,
        task.rejected[0].example if task.rejected else "",
        " | ".join(task.doubts),
    ]  # fmt: skip


def show_report(report: TableReport) -> str:
    """The report as text, for a chemist to read."""
    parts = [_show_rows(report), _show_columns(report)]
    present = [task for task in report.tasks if task.values]
    absent = [task.task for task in report.tasks if not task.values]
    if present:
        parts.append(_show_tasks(present) if len(present) <= _FEW_TASKS else _show_many(present))
    if absent:
        shown = ", ".join(absent[:_FEW_TASKS])
        more = f" and {len(absent) - _FEW_TASKS:,} more" if len(absent) > _FEW_TASKS else ""
        parts.append(f"No values of {shown}{more}.")
    reasons = _show_reasons(report, present)
    if reasons:
        parts.append(reasons)
    for title, lines in (
        ("Notes", report.notes),
        ("Doubts: look at these", report.all_doubts),
        ("Faults: these must be mended", report.faults),
    ):
        if lines:
            parts.append(_bullets(title, lines))
    return "\n\n".join(parts)


def _bullets(title: str, lines: Sequence[str]) -> str:
    shown = [f"- {one_line(line)}" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"- and {len(lines) - _MOST_LINES:,} more (--json lists all)")
    return "\n".join([title, *shown])


def _show_rows(report: TableReport) -> str:
    rejected = report.rows - report.structures
    return (
        f"{', '.join(report.files)}: {report.rows:,} rows, {rejected:,} of them rejected; "
        f"{report.compounds:,} compounds with a label"
    )


def _show_columns(report: TableReport) -> str:
    rows = [
        [use.column, use.role if not use.task else f"{use.role} of {use.task}", use.why]
        for use in report.columns
    ]
    header = ["column", "read as", "why"]
    if len(report.files) > 1:
        header.insert(0, "file")
        rows = [[use.file, *row] for use, row in zip(report.columns, rows, strict=True)]
    text = table(header, rows[:_MOST_COLUMNS])
    if len(rows) > _MOST_COLUMNS:
        text += f"\nand {len(rows) - _MOST_COLUMNS:,} more columns (--json lists all)"
    return text


def _show_tasks(tasks: Sequence[TaskReport]) -> str:
    rows = []
    for task in tasks:
        censored = f"{task.exact:,} / {task.below:,} / {task.above:,}" if task.reads_numbers else ""
        rows.append(
            [
                task.task, task.unit, f"{task.values:,}", censored, f"{task.n_rejected:,}",
                f"{task.compounds:,}", _content(task), _replicates(task),
            ]
        )  # fmt: skip
    header = [
        "task", "unit", "values", "exact / < / >", "rejected", "compounds", "labels",
        "compounds with several values",
    ]  # fmt: skip
    return table(header, rows)


def _content(task: TaskReport) -> str:
    if task.classes:
        return ", ".join(f"{n:,} {name}" for name, n in task.classes.items())
    if not task.quantiles:
        return ""
    low, _, middle, _, high = task.quantiles
    return f"{low:.4g} to {high:.4g}, median {middle:.4g}"


def _replicates(task: TaskReport) -> str:
    if not task.replicated:
        return "none"
    text = f"{task.replicated:,}"
    if task.median_spread is not None and task.spread_95 is not None:
        text += f", differing by {task.median_spread:.3g} (median), {task.spread_95:.3g} (95%)"
    return text


def _show_many(tasks: Sequence[TaskReport]) -> str:
    """Quantiles over tasks, and those of which most is rejected."""
    import numpy as np

    figures = {
        "values": [task.values for task in tasks],
        "compounds": [task.compounds for task in tasks],
        "values rejected": [task.n_rejected for task in tasks],
        "values with < or >": [task.below + task.above for task in tasks],
        "compounds with several values": [task.replicated for task in tasks],
    }
    rows = [
        [name, *(f"{int(q):,}" for q in np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]))]
        for name, numbers in figures.items()
    ]
    text = f"{len(tasks):,} tasks\n" + table(
        ["of a task", "lowest", "25%", "median", "75%", "highest"], rows
    )
    worst = sorted(tasks, key=lambda task: (-task.n_rejected / task.values, task.task))[:_WORST]
    worst = [task for task in worst if task.n_rejected]
    if worst:
        text += "\n\nTasks of which most is rejected\n" + _show_tasks(worst)
    return text + "\n-o FILE writes one row per task."


def _show_reasons(report: TableReport, tasks: Sequence[TaskReport]) -> str:
    """Why rows and values are rejected, with an example each and its line."""
    rows = [_reason("rows", reason) for reason in report.rejected_rows[:_MOST_REASONS]]
    counted = [(task.task, reason) for task in tasks for reason in task.rejected]
    if len(tasks) > _FEW_TASKS:
        counted.sort(key=lambda item: -item[1].count)
        counted = counted[:_FEW_TASKS]
    shown: dict[str, int] = {}
    for name, reason in counted:
        shown[name] = shown.get(name, 0) + 1
        if shown[name] <= _MOST_REASONS:
            rows.append(_reason(name, reason))
    if not rows:
        return ""
    return "Rejected\n" + table(["of", "number", "such as", "at", "why"], rows)


def _reason(name: str, reason: Reason) -> list[str]:
    return [name, f"{reason.count:,}", reason.value[:40], reason.where, reason.example[:200]]
