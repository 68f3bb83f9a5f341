"""A table as rows of text, whatever file it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fluid.base.errors import TableError
from fluid.base.show import printable


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
    """

    path: Path
    columns: list[str]
    rows: Iterator[Row]
    notes: list[str] = field(default_factory=list)

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


def short_name(name: str) -> str:
    """A column's name for a message: printable, at most 40 characters."""
    shown = printable(name[:41])
    return shown if len(name) <= 40 else shown[:37] + "..."
