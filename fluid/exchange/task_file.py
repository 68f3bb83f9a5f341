"""The task file: a table with a row a task, for federations of more than a few tasks.

It is where a contract comes from, and no part of it: `fluid init-federation --tasks` writes what it
says into the federation file, so that there is one file which every command takes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from fluid.base.errors import FederationError
from fluid.base.show import csv_cell
from fluid.chem.readers import ReadOptions, Row, Table, read_table, short_name
from fluid.chem.tables import normal_name
from fluid.learn.task import Task

COLUMNS = tuple(item.name for item in fields(Task))
# Names of the same thing elsewhere; input_assay_id and direction are MELLODDY-TUNER's.
_ALSO = {
    "name": ("task", "task_name", "endpoint", "assay", "input_assay_id"),
    "kind": ("type", "task_type"),
    "source": ("column",),
    "unit": ("units", "standard_units"),
    "low": ("min", "minimum"),
    "high": ("max", "maximum"),
    "threshold": ("expert_threshold", "cutoff"),
    "replicates": ("aggregation",),
    "weight": ("task_weight", "training_weight"),
}
_FIELDS = {also: name for name, others in _ALSO.items() for also in others}
_FIELDS |= {name: name for name in COLUMNS}
_KINDS = {"classification": "binary"}
_WHOLE = ("quorum", "quorum_exact", "min_partners")
_NUMBERS = ("low", "high", "threshold", "max_spread", "weight")
# Between classes: the first of these that a cell holds.
_BETWEEN = "|;,"
_TEXTS = (".csv", ".tsv", ".txt")
_DELIMITERS = ",;\t"


def read_task_file(path: Path) -> list[Task]:
    """Read a task file.

    Parameters
    ----------
    path
        A table of any kind that `read_table` reads. Its columns are the fields of a `Task`; only
        ``name`` and ``kind`` are needed, and an empty cell is the field's default. Classes are
        separated by ``|``.

    Raises
    ------
    TableError
        If the table cannot be read.
    FederationError
        If a column or value is not allowed; the message names file, line and task.
    """
    table = _open(path)
    columns = _columns(table)
    tasks: list[Task] = []
    seen: dict[str, int] = {}
    for row in table.rows:
        if row.problem is not None:
            raise FederationError(f"{path}, line {row.line}: {row.problem}")
        if not any(row.values):
            continue
        tasks.append(_task(path, columns, row))
        name = normal_name(tasks[-1].name)
        if name in seen:
            raise FederationError(
                f"{path}, line {row.line}: task '{tasks[-1].name}' stands in line {seen[name]} too"
            )
        seen[name] = row.line
    if not tasks:
        raise FederationError(f"{path}: a header but no tasks")
    return tasks


def _open(path: Path) -> Table:
    """The table; its delimiter is the one that makes a name and a kind of the first line.

    Classes and names of columns may hold more of another delimiter than the file of its own.
    """
    if path.suffix.lower() in _TEXTS:
        for delimiter in _DELIMITERS:
            table = read_table(path, ReadOptions(delimiter=delimiter))
            fields = {_FIELDS.get(normal_name(name)) for name in table.columns}
            if {"name", "kind"} <= fields:
                return table
    return read_table(path)


def _columns(table: Table) -> dict[int, str]:
    """The field of each column; columns without a name are passed over if they are empty."""
    found: dict[str, str] = {}
    columns = {}
    for position, name in enumerate(table.columns):
        if not name.strip():
            continue
        field = _FIELDS.get(normal_name(name))
        if field is None:
            raise FederationError(
                f"{table.path}: column '{short_name(name)}' is not a field of tasks; allowed are "
                f"{', '.join(COLUMNS)}"
            )
        if field in found:
            raise FederationError(
                f"{table.path}: columns '{short_name(found[field])}' and '{short_name(name)}' both "
                f"read as {field}; leave one out"
            )
        found[field] = name
        columns[position] = field
    for field in ("name", "kind"):
        if field not in found:
            raise FederationError(
                f"{table.path}: no column '{field}'; the columns are "
                f"{', '.join(short_name(name) for name in table.columns)}"
            )
    return columns


def _task(path: Path, columns: dict[int, str], row: Row) -> Task:
    cells = {field: row.values[position].strip() for position, field in columns.items()}
    where = f"{path}, line {row.line}"
    if cells["name"]:
        where += f", task '{short_name(cells['name'])}'"
    try:
        return Task(**{field: _value(field, text) for field, text in cells.items() if text})
    except TypeError:
        missing = "kind" if cells["name"] else "name"
        raise FederationError(f"{where}: the {missing} is missing") from None
    except ValueError as error:
        message = str(error).removeprefix(f"task '{cells['name']}': ")
        raise FederationError(f"{where}: {message}") from error


def _value(field: str, text: str) -> object:
    """The value of a cell that is not empty."""
    if field == "classes":
        between = next((mark for mark in _BETWEEN if mark in text), _BETWEEN[0])
        return tuple(label.strip() for label in text.split(between))
    if field == "kind":
        return _KINDS.get(text.lower(), text.lower())
    if field in ("scale", "direction", "replicates"):
        return text.lower()
    if field not in _WHOLE + _NUMBERS:
        return text
    try:
        # Python reads 1_000 as a number.
        number = float(text.replace("_", "?"))
    except ValueError:
        hint = " (decimal comma?)" if text.count(",") == 1 else ""
        raise ValueError(f"{field} = '{text}': a number is needed{hint}") from None
    if field in _NUMBERS:
        return number
    # Spreadsheets write 25 as 25.0.
    if not number.is_integer():
        raise ValueError(f"{field} = '{text}': a whole number is needed")
    return int(number)


def task_file_text(tasks: Sequence[Task]) -> str:
    """Tasks as the text of a CSV file that `read_task_file` reads back.

    Fields that no task sets are left out, and cells of a default are empty.

    Raises
    ------
    FederationError
        If a text would be read as something else.
    """
    values = [task.to_dict() for task in tasks]
    for task, one in zip(tasks, values, strict=True):
        for field in ("unit", "low", "high"):
            if one.get(field) == Task.__dataclass_fields__[field].default:
                del one[field]
        if any(_BETWEEN[0] in label for label in task.classes):
            raise FederationError(f"task '{task.name}': a class with '|' in its name")
        for text in (task.source, task.unit, *task.classes):
            if csv_cell(text) != text:
                raise FederationError(
                    f"task '{task.name}': '{text}' begins like a formula, which a spreadsheet "
                    "would run; let it begin with a letter or digit"
                )
    used = [field for field in COLUMNS if any(field in one for one in values)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(used)
    writer.writerows([_cell(one.get(field)) for field in used] for one in values)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return _BETWEEN[0].join(value)
    return str(value)
