"""Measurements of tables while they are read, as arrays: there may be millions."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from fluid.chem.readers import Row
from fluid.chem.tables import Entry, EntryTable, Reject
from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.numbers import read_number, read_qualifier
from fluid.learn.cells.units import same_unit
from fluid.learn.task import LabelError, Task
from fluid.partner.table.layout import Layout, Source

# Characters of a measurement that are kept for messages.
_KEPT = 200


class Collected:
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
class Measured:
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
