"""From rows of text to structures: which column is which, and which rows are rejected."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from fluid.base.errors import TableError
from fluid.base.files import PRIVATE, atomic_file
from fluid.base.show import csv_cell, printable
from fluid.chem.readers import Row, Table, read_table, short_name

SMILES_COLUMNS = (
    "smiles",
    "canonical_smiles",
    "standard_smiles",
    "std_smiles",
    "isomeric_smiles",
    "cxsmiles",
    "structure",
    "structure_smiles",
    "smi",
    "molecule",
    "mol",
)
ID_COLUMNS = (
    "id",
    "compound_id",
    "cmpd_id",
    "cmpd",
    "compound",
    "molecule_id",
    "mol_id",
    "molecule_chembl_id",
    "chembl_id",
    "drug_id",
    "identifier",
    "name",
    "molecule_name",
    "compound_name",
    "title",
)
_LONGEST = 200
# Characters of a name; chemical names are the longest that people use.
_LONGEST_ID = 1000
# Characters that are held at once in a batch, with those that a value takes by itself.
_LARGEST_BATCH = 1 << 23
_VALUE = 64


@dataclass(frozen=True)
class Reject:
    """A row, or one measurement of a row, that was rejected.

    Attributes
    ----------
    file, line
        Where it is; lines, or records in SDF and Parquet, count from 1.
    id
        The compound's name in the table.
    column, value
        What was wrong; a long value is cut at 200 characters.
    reason
        Why, and what is allowed.
    """

    file: str
    line: int
    id: str
    column: str
    value: str
    reason: str


def normal_name(name: str) -> str:
    """A column name without case, blanks and dashes.

    Examples
    --------
    >>> normal_name(" Canonical SMILES")
    'canonical_smiles'
    """
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def find_column(table: Table, given: str | None, known: Sequence[str], what: str) -> int | None:
    """Position of the column that `given` names, or else of the first known name that occurs.

    Raises
    ------
    TableError
        If `given` is not in the table.
    """
    names = [normal_name(name) for name in table.columns]
    if given is not None:
        if given in table.columns:
            return table.columns.index(given)
        if normal_name(given) not in names:
            raise TableError(
                f"{table.path}: no {what} column '{given}'; the columns are {list_columns(table)}"
            )
        return names.index(normal_name(given))
    return next((names.index(name) for name in known if name in names), None)


def smiles_column(table: Table, given: str | None) -> int:
    """Position of the SMILES column.

    Raises
    ------
    TableError
        If there is none.
    """
    found = find_column(table, given, SMILES_COLUMNS, "SMILES")
    if found is None:
        raise TableError(
            f"{table.path}: no SMILES column; the columns are {list_columns(table)}. "
            "Name it with --smiles-column, or call it 'smiles'"
        )
    return found


def list_columns(table: Table) -> str:
    """The first columns of a table, for a message."""
    more = f" and {len(table.columns) - 20:,} more" if len(table.columns) > 20 else ""
    return ", ".join(f"'{short_name(name)}'" for name in table.columns[:20]) + more


@dataclass(frozen=True)
class Entry:
    """A compound as a table names it: row, name and SMILES, and what is wrong with the row."""

    row: Row
    id: str
    smiles: str


@dataclass(frozen=True)
class EntryTable:
    """A table whose structure and name columns are known."""

    table: Table
    smiles_index: int
    id_index: int | None

    def __iter__(self) -> Iterator[Entry]:
        for row in self.table.rows:
            name = row.values[self.id_index] if self.id_index is not None else ""
            yield Entry(row, printable(name[:_LONGEST_ID]), row.values[self.smiles_index])

    def reject(self, entry: Entry, reason: str) -> Reject:
        """Reject this entry because of its structure or its row."""
        column = self.table.columns[self.smiles_index]
        return self.reject_value(entry, column, entry.smiles, reason)

    def reject_value(self, entry: Entry, column: str, value: str, reason: str) -> Reject:
        """Reject one value of this entry."""
        return Reject(
            printable(self.table.path.name),
            entry.row.line,
            entry.id,
            printable(column),
            printable(value[:_LONGEST])[:_LONGEST],
            printable(shorten(reason)),
        )


def open_entries(
    path: Path, smiles_name: str | None = None, id_name: str | None = None
) -> EntryTable:
    """Open a table and find its structure and name columns.

    Parameters
    ----------
    path
        See `read_table`.
    smiles_name, id_name
        Column names, where the usual ones do not fit.

    Raises
    ------
    TableError
        If the file cannot be read or a column is missing.
    """
    table = read_table(path)
    smiles_index = smiles_column(table, smiles_name)
    id_index = find_column(table, id_name, ID_COLUMNS, "id")
    return EntryTable(table, smiles_index, id_index)


def shorten(reason: str) -> str:
    """Cut the middle out of a long reason: it quotes a value, and ends with the rule."""
    if len(reason) <= 2 * _LONGEST:
        return reason
    return f"{reason[:_LONGEST]} ... {reason[-_LONGEST:]}"


def batched(items: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Lists of at most `size` items, in order; of fewer if these hold much text."""
    batch: list[Entry] = []
    held = 0
    for item in items:
        batch.append(item)
        held += _VALUE * len(item.row.values) + sum(map(len, item.row.values))
        if len(batch) == size or held > _LARGEST_BATCH:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def write_rejects(path: Path, rejects: Iterable[Reject]) -> int:
    """Write rejects as CSV for people; returns the number of rows.

    The file holds structures and measurements of a private table, so only its owner may read it.
    """
    count = 0
    with (
        atomic_file(path, PRIVATE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([field.name for field in fields(Reject)])
        for reject in rejects:
            writer.writerow([csv_cell(str(value)) for value in astuple(reject)])
            count += 1
    return count
