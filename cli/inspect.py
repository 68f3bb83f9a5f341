"""The command inspect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from fluid.cli.console import aligned, command, emit, pairs, table
from fluid.cli.options import Json
from fluid.cli.outputs import output_file, starts_with

from fluid.base.show import shown

# Characters of a cell of the first rows, so that a row fits a terminal.
_WIDEST = 40
# Characters of a text that the file states.
_LONGEST = 1000


@command
def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="An annotation, public set, federated set, file of clusters, coverage report, "
            "model folder, federation file or public key."
        ),
    ],
    federation: Annotated[
        Path | None,
        typer.Option(
            "--federation", "-f", help="Verify the signature with the key registered in this file."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Folder of the teacher that made the annotation. Shows its budget."),
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="Result of `fluid audit` for the annotation. Shows it.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write the description of the annotation as one web page."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show exactly what a file contains.

    Use it before a file leaves, and when one arrives. --teacher, --audit and --html are for
    annotations. The exit code is 1 if the signature is wrong, or the content not allowed.

    \b
    Examples:
        fluid inspect aurora/annotation.parquet
        fluid inspect aurora/annotation.parquet --teacher aurora/teacher \\
            --html disclosure.html
    """
    from fluid.base.errors import FluidError, SignatureError
    from fluid.report.inspect import inspect_path

    found = inspect_path(path, federation, teacher=teacher, audit=audit)
    if found["what"] != "annotation" and (teacher or audit or html):
        raise FluidError(
            f"{path}: is a {found['what']}; --teacher, --audit and --html are for annotations"
        )
    if html is not None:
        _write_page(html, [path, *(item for item in (federation, teacher, audit) if item)], found)
    emit(as_json, found, lambda: _describe(found))
    signature = str(found.get("signature", ""))
    if signature.startswith("WRONG: not of"):
        raise SignatureError(f"{path}: the signature is not of the registered key")
    if signature.startswith("WRONG"):
        raise SignatureError(signature.removeprefix("WRONG: "))
    if "problem" in found:
        raise FluidError(found["problem"])


def _write_page(output: Path, inputs: list[Path], found: dict[str, Any]) -> None:
    """Write the description of an annotation as a web page."""
    from fluid.base.files import write_text
    from fluid.report.page import web_page
    from fluid.report.sections import annotation_sections

    title = f"What leaves: {found['partner']}, {found['federation']}, round {found['round']}"
    with output_file(output, inputs, "web page of this command", starts_with(b"<!DOCTYPE html>")):
        write_text(output, web_page(title, annotation_sections(found)))


def show_disclosure(found: dict[str, Any]) -> str:
    """The description of an annotation as text."""
    from fluid.report.sections import annotation_sections

    parts = []
    for section in annotation_sections(found):
        lines = [shown(text, _LONGEST) for text in (section.title.upper(), section.note) if text]
        body = table(section.header, section.rows) if section.header else aligned(section.rows)
        parts.append("\n".join([*lines, body]))
    return "\n\n".join(parts)


def _describe(found: dict[str, Any]) -> str:
    """Everything in `found`, nested values as JSON, tables as tables."""
    if found["what"] == "annotation":
        return show_disclosure(found)
    plain = {
        name: value
        for name, value in found.items()
        if name not in ("columns", "first_rows", "manifest", "files", "entry")
    }
    parts = [pairs({name: _stated(value) for name, value in plain.items()}, limit=None)]
    if "manifest" in found:
        manifest: dict[str, object] = {
            f"  {name}": json.dumps(_shortened(value), ensure_ascii=False)
            for name, value in found["manifest"].items()
        }
        parts.append("Manifest of the file:\n" + pairs(manifest, limit=None))
    if "columns" in found:
        rows = [
            [
                column["name"],
                column["type"],
                _range(column),
                column.get("distinct", ""),
                column["missing"],
                column["meaning"],
            ]
            for column in found["columns"]
        ]
        parts.append(
            "All columns:\n"
            + table(["column", "type", "range", "distinct", "missing", "meaning"], rows)
        )
    if found.get("first_rows"):
        names = list(found["first_rows"][0])
        rows = [[_cell(row[name]) for name in names] for row in found["first_rows"]]
        parts.append("First rows:\n" + table(names, rows))
    return "\n\n".join(parts)


def _range(column: dict[str, Any]) -> str:
    return f"{column['min']:g} to {column['max']:g}" if "min" in column else ""


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _stated(value: object) -> object:
    if isinstance(value, (dict, list)):
        return json.dumps(_shortened(value), ensure_ascii=False)
    return _shortened(value)


def _shortened(value: object) -> object:
    """The same value with its long texts cut in the middle."""
    if isinstance(value, dict):
        return {shown(name, _LONGEST): _shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return shown(value, _LONGEST) if isinstance(value, str) else value
