"""The command make-tasks: a task file to start from, made from a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fluid.cli.console import command, emit, one_line, stage, table
from fluid.cli.options import Json
from fluid.cli.outputs import tidy
from fluid.cli.table_options import reads_tables

if TYPE_CHECKING:
    from fluid.partner.table import Columns
    from fluid.partner.table.propose import Proposal, Proposals

_MOST_SHOWN = 40
_MOST_NOTES = 10


@command
@reads_tables
def make_tasks(
    source: Annotated[Path, typer.Argument(metavar="TABLE", help="A table with labels.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file to write.")],
    binary: Annotated[
        bool,
        typer.Option(
            "--binary",
            help="Also make binary tasks of all numbers: at the first of 8, 7, 6, 5, 4.7, 4.4 "
            "(-log10 M) with 20% positives and 25 of each class, else at the median; on "
            "logarithmic scales also .5 below and above.",
        ),
    ] = False,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=NUMBER",
            help="A threshold that experts chose, on the task's scale; makes binary tasks of it. "
            "Repeatable.",
        ),
    ] = None,
    *,
    columns: Columns,
    as_json: Json = False,
) -> None:
    """Propose tasks for a table, with scales and thresholds.

    The file is a start: delete the lines of columns that are not to be learned, correct the others,
    and make a contract of it with `fluid init-federation --tasks`.

    \b
    Example:
        fluid make-tasks assays.csv --binary -o tasks.csv
    """
    from fluid.base.errors import FluidError
    from fluid.base.files import write_text
    from fluid.exchange.task_file import task_file_text
    from fluid.partner.table.propose import propose_tasks

    if output.exists():
        raise FluidError(f"{output}: exists; a task file may have been edited, and is not replaced")
    experts = _experts(threshold or ())
    with tidy(output):
        proposals = propose_tasks(source, columns, binary=binary, experts=experts)
        write_text(output, task_file_text([one.task for one in proposals.found]))
    for note in proposals.notes[:_MOST_NOTES]:
        stage(one_line(note))
    if len(proposals.notes) > _MOST_NOTES:
        stage(f"and {len(proposals.notes) - _MOST_NOTES:,} more notes (--json shows all)")
    value = {
        "path": str(output),
        "tasks": [_described(one) for one in proposals.found],
        "passed_over": dict(proposals.passed_over),
        "notes": proposals.notes,
    }
    emit(as_json, value, lambda: _show(output, proposals))


def _experts(options: Sequence[str]) -> dict[str, list[float]]:
    from fluid.base.errors import FluidError

    found: dict[str, list[float]] = {}
    for text in options:
        name, _, number = text.rpartition("=")
        try:
            found.setdefault(name, []).append(float(number.replace("_", "?")))
        except ValueError:
            raise FluidError(f"--threshold {text}: the form is TASK=NUMBER") from None
    return found


def _described(one: Proposal) -> dict[str, object]:
    return {
        "task": one.task.to_dict(),
        "column": one.column,
        "values": one.values,
        "exact": one.exact,
        "below": one.below,
        "above": one.above,
        "positive": one.positive,
        "why": one.why,
    }


def _show(output: Path, proposals: Proposals) -> str:
    rows = [
        [
            one.task.name,
            one.task.kind,
            one.task.unit,
            one.task.scale if one.task.reads_numbers else "",
            "" if one.task.threshold is None else f"{one.task.threshold:g}",
            f"{one.values:,}",
            f"{one.below:,}" if one.below else "",
            f"{one.above:,}" if one.above else "",
            "" if one.positive is None else f"{one.positive:,}",
            one.why,
        ]
        for one in proposals.found[:_MOST_SHOWN]
    ]
    header = ["task", "kind", "unit", "scale", "threshold", "values", "<", ">", "positive", "why"]
    lines = [table(header, rows)]
    if len(proposals.found) > _MOST_SHOWN:
        lines.append(f"and {len(proposals.found) - _MOST_SHOWN:,} more")
    if proposals.passed_over:
        lines += ["", "Not proposed:"]
        lines += [
            one_line(f"  {name}: {why}") for name, why in list(proposals.passed_over.items())[:20]
        ]
    return "\n".join([*lines, "", f"{len(proposals.found):,} tasks written to {output}"])
