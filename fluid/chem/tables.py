"""From rows of text to structures: which column is which, and which rows are rejected."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from fluid.base.errors import TableError
from fluid.base.files import PRIVATE, atomic_file
from fluid.base.show import csv_cell, printable
from fluid.chem.readers import ReadOptions, Row, Table, read_table, short_name

# Columns that may hold SMILES though their names do not say so, best first.
_STRUCTURE_COLUMNS = ("smi", "structure", "chemical_structure", "molecule", "mol")
# What a name may say of its SMILES besides "smiles", best first; any other word comes after these.
_SMILES_KINDS = (
    frozenset({"string", "strings", "code", "structure", "notation", "formula"}),
    frozenset({"isomeric", "iso", "absolute"}),
    frozenset({"canonical", "can", "cano"}),
    frozenset({"standard", "std", "standardized", "standardised"}),
    frozenset({"cx"}),
)
_OTHER_KIND = len(_SMILES_KINDS)
# SMILES of something other than the compound: taken only if there is nothing else.
_PARTS = frozenset(
    [
        "scaffold",
        "murcko",
        "framework",
        "fragment",
        "core",
        "rgroup",
        "reactant",
        "reactants",
        "product",
        "reaction",
        "metabolite",
        "target",
        "protein",
        "counterion",
        "salt",
        "solvent",
        "connectivity",
        "flat",
        "nostereo",
    ]
)
# Columns about SMILES.
_NOT_SMILES = frozenset(
    [
        "has",
        "is",
        "valid",
        "source",
        "length",
        "len",
        "error",
        "errors",
        "count",
        "number",
        "n",
        "num",
        "type",
        "comment",
        "origin",
        "hash",
        "check",
        "status",
        "flag",
        "inchikey",
        "id",
        "index",
    ]
)
# Names of compounds, best first.
ID_COLUMNS = (
    "id",
    "compound_id",
    "cmpd_id",
    "cmpd",
    "compound",
    "corporate_id",
    "molecule_id",
    "mol_id",
    "molecule_chembl_id",
    "compound_chembl_id",
    "chembl_id",
    "molregno",
    "pubchem_cid",
    "cid",
    "pubchem_compound_cid",
    "pubchem_sid",
    "sid",
    "bindingdb_monomerid",
    "monomerid",
    "ligand_id",
    "drug_id",
    "drugbank_id",
    "dtxsid",
    "dsstox_substance_id",
    "substance_id",
    "sample_id",
    "catalog_id",
    "catalog_number",
    "catalogue_number",
    "catalog_no",
    "idnumber",
    "id_number",
    "formatted_id",
    "compound_number",
    "compound_no",
    "cmpd_number",
    "registry_number",
    "reg_number",
    "entry_id",
    "identifier",
    "name",
    "molecule_name",
    "compound_name",
    "bindingdb_ligand_name",
    "ligand_name",
    "substance_name",
    "chemical_name",
    "preferred_name",
    "drug_name",
    "drug",
    "title",
    "casrn",
    "cas",
    "cas_number",
    "batch_id",
    "batch",
    "mol_molhash_id",
    "molecule",
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
    return unicodedata.normalize("NFKC", name).strip().lower().replace(" ", "_").replace("-", "_")


def squeezed_name(name: str) -> str:
    """A column name without marks between its letters and digits.

    A sign at its end stays: "BBB-" is not "BBB".

    Examples
    --------
    >>> squeezed_name("Log D (pH 7.4)")
    'logd(ph74)'
    >>> squeezed_name("BBB-")
    'bbb-'
    """
    folded = unicodedata.normalize("NFKC", name).strip().lower()
    return re.sub(r"(?<=[^\W_])[\s_.\-]+(?=[^\W_])|\s+", "", folded)


# From the exact name to names that only read alike.
_LIKENESSES: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: name.strip().lower(),
    normal_name,
    squeezed_name,
)


def similar_columns(columns: Sequence[str], name: str) -> list[int]:
    """Positions of the columns that are most like a name; none if none is alike.

    Those of exactly this name come before those that differ by case, these before those that
    differ by blanks and dashes, and these before those that differ by other marks.

    Examples
    --------
    >>> similar_columns(["log P", "log-P", "LogP"], "log-P")
    [1]
    >>> similar_columns(["log P", "log-P", "LogP"], "log_p")
    [0, 1]
    """
    for likeness in _LIKENESSES:
        wanted = likeness(name)
        found = [place for place, column in enumerate(columns) if likeness(column) == wanted]
        if found:
            return found
    return []


def named_column(table: Table, name: str, what: str, option: str = "") -> int:
    """Position of the column that somebody named.

    Raises
    ------
    TableError
        If there is none, or two read alike.
    """
    found = similar_columns(table.columns, name)
    if not found:
        raise TableError(
            f"{table.path}: no {what} column '{name}'; the columns are {list_columns(table)}"
        )
    if len(found) > 1:
        raise TableError(
            f"{table.path}: {_both(table, found)} both read as the {what} column '{name}'; "
            f"{option or 'rename one, or give the exact name'}"
        )
    return found[0]


def _both(table: Table, found: Sequence[int]) -> str:
    first, second = (short_name(table.columns[place]) for place in found[:2])
    if first == second:
        return f"columns {found[0] + 1} and {found[1] + 1}, called '{first}',"
    return f"columns '{first}' and '{second}'"


def find_column(table: Table, given: str | None, known: Sequence[str], what: str) -> int | None:
    """Position of the column that `given` names, or else of the first known name that occurs.

    Raises
    ------
    TableError
        If `given` is not in the table.
    """
    if given is not None:
        return named_column(table, given, what)
    return known_column(table.columns, known)


def known_column(columns: Sequence[str], known: Iterable[str]) -> int | None:
    """Position of the first known name that occurs, or None."""
    names = [squeezed_name(name) for name in columns]
    wanted = (squeezed_name(name) for name in known)
    return next((names.index(name) for name in wanted if name in names), None)


def _smiles_rank(name: str) -> int | None:
    """How well a column's name promises SMILES, 0 best; None if it does not."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = re.findall(r"[a-z]+", spaced.lower())
    if not any("smiles" in word for word in words):
        # "MySMILESColumn" in one case or another.
        words = re.findall(r"[a-z]+", name.lower())
        if not any("smiles" in word for word in words):
            return None
    rest = {part for word in words for part in word.split("smiles") if part}
    if rest & _NOT_SMILES:
        return None
    if rest & _PARTS:
        return _OTHER_KIND + 1
    for rank, kind in enumerate(_SMILES_KINDS):
        if rest <= kind or (rank and rest & kind):
            return rank
    return _OTHER_KIND


def smiles_claims(columns: Sequence[str]) -> list[int]:
    """Positions of the columns that promise SMILES best; several if they have equal claims.

    Examples
    --------
    >>> smiles_claims(["Molecule", "CanonicalSMILES", "MOL_smiles"])
    [1]
    """
    ranks = {place: _smiles_rank(name) for place, name in enumerate(columns)}
    claims = {place: rank for place, rank in ranks.items() if rank is not None}
    if not claims:
        known = [squeezed_name(name) for name in _STRUCTURE_COLUMNS]
        names = [squeezed_name(name) for name in columns]
        claims = {place: known.index(name) for place, name in enumerate(names) if name in known}
    return [place for place, rank in claims.items() if rank == min(claims.values())]


def smiles_column(table: Table, given: str | None) -> int:
    """Position of the SMILES column.

    The column whose name says no more than "SMILES" comes first, then isomeric, canonical and
    standardised SMILES, then any other name that holds the word. Only without these is a column
    called "structure" or "molecule" read.

    Raises
    ------
    TableError
        If there is none, or two have equal claims.
    """
    if given is not None:
        return named_column(table, given, "SMILES")
    best = smiles_claims(table.columns)
    if not best:
        raise TableError(
            f"{table.path}: no SMILES column; the columns are {list_columns(table)}. "
            "Name it with --smiles-column, or call it 'smiles'"
        )
    if len(best) > 1:
        raise TableError(
            f"{table.path}: {_both(table, best)} may both hold the SMILES; choose with "
            "--smiles-column"
        )
    return best[0]


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
    path: Path,
    smiles_name: str | None = None,
    id_name: str | None = None,
    options: ReadOptions | None = None,
) -> EntryTable:
    """Open a table and find its structure and name columns.

    Parameters
    ----------
    path
        See `read_table`.
    smiles_name, id_name
        Column names, where the usual ones do not fit.
    options
        How the file is read, where it does not tell.

    Raises
    ------
    TableError
        If the file cannot be read, or a column is missing or has a rival.
    """
    table = read_table(path, options)
    smiles_index = smiles_column(table, smiles_name)
    id_index = find_column(table, id_name, ID_COLUMNS, "id")
    if id_name is None and id_index == smiles_index:
        id_index = None
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
