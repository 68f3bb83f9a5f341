"""A table as rows of text, whatever file it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fluid.base.errors import TableError
from fluid.base.show import printable

# Characters. Excel's longest cell has 32,767; a longer line or open quote is no row of a table.
LONGEST_LINE = 1 << 22
LONGEST_RECORD = 1 << 20
MOST_COLUMNS = 1 << 16
# What is kept of each value of a record that is too long.
KEPT = 200
# Characters that nobody sees: what exports leave around names and values.
_HIDDEN = "".join(
    map(chr, (*range(32), 127, 0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), 0xFEFF))
) + "".join(map(chr, range(0x2060, 0x2065)))
_INVISIBLE = re.compile(f"[{re.escape(_HIDDEN)}]")
_BLANKS = "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_EDGES = " " + _HIDDEN + _BLANKS


@dataclass(frozen=True)
class ReadOptions:
    """How to read a table, where what is found in it does not tell, or tells wrongly.

    Attributes
    ----------
    encoding
        Name of the text encoding, as Python knows it ("cp1252").
    delimiter
        The mark between fields: one character, or "tab".
    sheet
        Name of the sheet of a workbook.
    """

    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None


@dataclass(frozen=True)
class Row:
    """One record of a table.

    Attributes
    ----------
    line
        Where it starts: line of the file, row of the sheet, or number of the record in SDF and
        Parquet; from 1.
    values
        One text per column, blanks stripped, empty where missing.
    problem
        What is wrong with the record as such, or None.
    """

    line: int
    values: list[str]
    problem: str | None = None


@dataclass(frozen=True)
class Table:
    """The columns of a table and its rows, which are read as they are asked for.

    Attributes
    ----------
    path
        The file.
    columns
        Names, without blanks and invisible characters around them; empty for a column without a
        name. Two columns may bear the same name: see `position`.
    rows
        The rows, to be read once; `read_table` gives the same ones again.
    notes
        What was found around the table and how it was understood, one sentence each, for people.
        What is found behind the first rows is added as these are read.
    units
        By position, the unit that a line of units states for a column, as PubChem writes it.
    """

    path: Path
    columns: list[str]
    rows: Iterator[Row]
    notes: list[str] = field(default_factory=list)
    units: dict[int, str] = field(default_factory=dict)

    def position(self, name: str) -> int | None:
        """Position of the column of exactly this name, or None.

        Raises
        ------
        TableError
            If several columns bear it.
        """
        found = [place for place, column in enumerate(self.columns) if column == name]
        if len(found) > 1:
            places = " and ".join(str(place + 1) for place in found[:5])
            raise TableError(
                f"{self.path}: {len(found)} columns are called '{short_name(name)}', the columns "
                f"number {places}; rename them, so that one can be chosen"
            )
        return found[0] if found else None


@dataclass(frozen=True)
class Source:
    """A file to read, how to read it, and what is to be said of it."""

    path: Path
    options: ReadOptions
    notes: list[str]
    units: dict[int, str] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Say something of the file, once."""
        if text not in self.notes:
            self.notes.append(text)

    def fail(self, what: str) -> TableError:
        """An error of this file, to be raised."""
        return TableError(f"{self.path}: {what}")


def clean(value: str) -> str:
    """A cell without blanks and invisible characters around it."""
    value = value.strip()
    if value.isascii() and value.isprintable():
        return value
    return value.replace("\x00", "").strip(_EDGES)


def clean_name(name: str) -> str:
    """A column's name without invisible characters, and with single blanks."""
    return " ".join(_INVISIBLE.sub("", " ".join(name.split())).split())


def bounded(row: Row) -> Row:
    """The row; one that is too long with the start of each value, and a problem."""
    length = sum(map(len, row.values))
    if length <= LONGEST_RECORD:
        return row
    problem = f"row has more than {LONGEST_RECORD:,} characters"
    return Row(row.line, [value[:KEPT] for value in row.values], problem)


def short_name(name: str) -> str:
    """A column's name for a message: printable, at most 40 characters."""
    shown = printable(name[:41])
    return shown if len(name) <= 40 else shown[:37] + "..."
