"""SD files: a mol block and properties a record.

A record ends at a line ``$$$$``, or where the next mol block begins: what stands behind it is never
taken for a property of the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

from fluid.base.show import shown
from fluid.chem.readers.encodings import open_text
from fluid.chem.readers.table import (
    KEPT,
    LONGEST_LINE,
    LONGEST_RECORD,
    MOST_COLUMNS,
    Row,
    Source,
    clean,
    short_name,
)

# Lines of a mol block: 1,000 heavy atoms, their hydrogens and bonds take 4,000.
_MOST_LINES = 5_000
_COUNTS = re.compile(r"\s*\d[\d\s]*.*V[23]000\s*", re.IGNORECASE)
_END = re.compile(r"M\s+END\b")
_NAMED = re.compile(r">[^<>]*<(.*)>[^<>]*")
# A property may be named without brackets, as in "> DT12", where no value can stand.
_BARE = re.compile(r">\s*([A-Za-z][\w .%/()\[\]-]*)")
# Where the counts line is, behind title, program and comment; vendors leave one out or add one.
_COUNTS_LINE = 3
# Properties that hold the structure of their own record as SMILES.
_SMILES = frozenset(
    {"smiles", "canonical_smiles", "isomeric_smiles", "can_smiles", "pubchem_smiles"}
)
_POLYMERS = frozenset({"SRU", "MON", "MER", "COP", "CRO", "MOD", "GRA", "ANY", "MIX"})


@dataclass
class _Record:
    """The lines of a record without their ends, and where its mol blocks have their marks."""

    number: int
    lines: list[str] = field(default_factory=list)
    length: int = 0
    counts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    @property
    def problem(self) -> str | None:
        if self.length > LONGEST_RECORD:
            return (
                f"record has {self.length:,} characters, at most {LONGEST_RECORD:,} are allowed; "
                "is there a line '$$$$' missing?"
            )
        if len(self.ends) > 1:
            return f"record has {len(self.ends):,} mol blocks; is there a line '$$$$' missing?"
        return None

    def split(self) -> _Record | None:
        """Cut off what belongs to a second mol block, whose counts line comes next."""
        behind = self.ends[0] if self.ends else self.counts[0]
        start = max(len(self.lines) - _COUNTS_LINE, behind + 1)
        if start > 0 and _NAMED.fullmatch(self.lines[start - 1]):
            return None  # a mol block as the value of a property
        later = _Record(self.number + 1, self.lines[start:])
        later.length = sum(map(len, later.lines))
        del self.lines[start:]
        self.length = sum(map(len, self.lines))
        return later


def read_sdf(source: Source) -> Iterator[Row]:
    """The names of the columns, and then the rows.

    Two passes: one to find the names of the properties, one for the records.
    """
    names = _names(source)
    columns = {key: place for place, key in enumerate(names, start=2)}
    yield Row(0, ["smiles", "id", *names.values()])
    from_property = 0
    with open_text(source, may_be_unknown=True) as text:
        for record in _records(source, text, is_last=True):
            properties, problem = _properties(record)
            problem = record.problem or problem
            title, mol_lines = _mol_block(record)
            own_id = next((v for name, v in properties.items() if name.lower() == "id"), "")
            values = ["", own_id or title, *[""] * len(names)]
            for name, value in properties.items():
                place = columns.get(name, columns.get(name.lower()))
                if place is not None:
                    values[place] = value
            if problem is None:
                values[0], problem, is_other = _structure(record, mol_lines, properties)
                from_property += is_other
            values = [clean(value) if value else "" for value in values]
            values = [value[:KEPT] for value in values] if problem else values
            yield Row(record.number, values, problem)
    if from_property:
        source.note(
            f"records without atoms are read from their SMILES property ({from_property:,})"
        )


def _names(source: Source) -> dict[str, str]:
    """Names of the properties by key: the name itself, or the name in lower case for all of them.

    Names that differ in case only are one column, unless a record holds both.
    """
    names: dict[str, None] = {}
    apart: set[str] = set()
    with open_text(source, may_be_unknown=True) as text:
        for record in _records(source, text):
            found = _properties(record)[0]
            names.update(dict.fromkeys(found))
            if len(names) > MOST_COLUMNS:
                raise source.fail(
                    f"more than {MOST_COLUMNS:,} different properties, which are not allowed"
                )
            lowered = [name.lower() for name in found]
            if len(set(lowered)) < len(lowered):
                apart.update(name for name in lowered if lowered.count(name) > 1)
    columns: dict[str, str] = {}
    for name in names:
        if name.lower() in ("smiles", "id"):
            continue
        key = name if name.lower() in apart else name.lower()
        if key in columns:
            source.note(
                f"properties '{short_name(columns[key])}' and '{short_name(name)}' are one column"
            )
        columns.setdefault(key, name)
    return columns


def _records(source: Source, text: IO[str], is_last: bool = False) -> Iterator[_Record]:
    """The records of a text; `is_last` to note what was unusual."""
    record = _Record(1)
    unended = 0
    for number, line in enumerate(iter(partial(text.readline, LONGEST_LINE), ""), start=1):
        if len(line) == LONGEST_LINE:
            raise source.fail(f"line {number}: it has {LONGEST_LINE:,} characters or more")
        if line.startswith("$$$$"):
            yield record
            record = _Record(record.number + 1)
            continue
        record.length += len(line)
        if record.length > LONGEST_RECORD:
            continue
        line = line.rstrip("\r\n")
        if ("V" in line or "v" in line) and len(line) < KEPT and _COUNTS.fullmatch(line):
            if record.counts and (later := record.split()) is not None:
                unended += 1
                yield record
                record = later
            record.counts.append(len(record.lines))
        elif line.startswith("M") and _END.match(line):
            record.ends.append(len(record.lines))
        record.lines.append(line)
    if any(line.strip() for line in record.lines):
        yield record
    if is_last and unended:
        source.note(
            f"records without '$$$$' behind them end where the next mol block begins ({unended:,})"
        )


def _mol_block(record: _Record) -> tuple[str, list[str]]:
    """The title of a record, and the lines of its mol block with no title in it."""
    lines = record.lines
    at = record.counts[0] if record.counts else min(_COUNTS_LINE, len(lines))
    if at > 2 * _COUNTS_LINE:
        at = _COUNTS_LINE
    before = lines[:at]
    while len(before) > _COUNTS_LINE and not before[0].strip():
        before = before[1:]
    title = before[0].strip() if before else ""
    # The program's line says whether the atoms have two or three dimensions.
    program = before[-2] if len(before) > 2 else ""
    end = record.ends[0] if record.ends else len(lines)
    counts = "".join(lines[at : at + 1]).rstrip().upper()
    if not record.counts:
        counts = f"{counts[:33]:<33} V2000"  # files from before there were versions
    block = ["", program, "", counts, *lines[at + 1 : end], "M  END"]
    return title, block


def _properties(record: _Record) -> tuple[dict[str, str], str | None]:
    """The properties of a record by name, and what is wrong with them.

    A value ends at a blank line. One behind the name, and lines behind the one that ends a value,
    are deviations; they still belong to the property before them.
    """
    found: dict[str, str] = {}
    problem = None
    name = ""
    value: list[str] = []
    is_open = False
    start = record.ends[0] + 1 if record.ends else 0

    def close() -> None:
        nonlocal problem
        text = "\n".join(value).strip()
        is_there = name and (value or not is_open)
        if is_there and found.setdefault(name, text) != text:
            problem = f"property '{short_name(name)}' occurs twice, with different values"

    for line in record.lines[start:]:
        if line.startswith(">"):
            header = _NAMED.fullmatch(line.rstrip())
            if header is None and not (is_open or (name and not value)):
                header = _BARE.fullmatch(line.rstrip())
            if header is not None:
                close()
                name, value, is_open = header[1].strip(), [], True
                continue
        if line and not line.isspace():
            value.append(line.strip())
            is_open = True
        else:
            is_open = False
    close()
    return found, problem


def _structure(
    record: _Record, lines: list[str], properties: dict[str, str]
) -> tuple[str, str | None, bool]:
    """SMILES of a record, what is wrong with it, and whether it is from a property."""
    stated = {
        name: value
        for name, value in properties.items()
        if "smiles" in name.lower() and value and "\n" not in value
    }
    if not record.ends:
        return "", "mol block has no 'M  END' line", False
    if len(lines) > _MOST_LINES + 4:
        count = len(lines) - 1
        return "", f"mol block has {count:,} lines, at most {_MOST_LINES:,} are allowed", False
    mol, problem = _parse(lines)
    if mol is None or problem:
        return "", problem, False
    if not mol.GetNumAtoms():
        return _from_property(stated)
    from rdkit import Chem

    smiles = Chem.MolToSmiles(mol)
    if "~" in smiles and any(bond.HasQuery() for bond in mol.GetBonds()):
        return "", "mol block has query bonds, which stand for more than one compound", False
    for name, value in stated.items():
        if name.lower().replace(" ", "_") in _SMILES and _differs(mol, value):
            problem = (
                f"mol block and property '{short_name(name)}' are different compounds: "
                f"{shown(smiles, 60)} and {shown(value, 60)}"
            )
            return "", problem, False
    return smiles, None, False


def _from_property(stated: dict[str, str]) -> tuple[str, str | None, bool]:
    """The SMILES of a record without atoms."""
    exact = {value for name, value in stated.items() if name.lower() == "smiles"}
    found = exact or set(stated.values())
    if len(found) == 1:
        return found.pop(), None, True
    if found:
        names = ", ".join(f"'{short_name(name)}'" for name in list(stated)[:5])
        return "", f"mol block has no atoms, and the properties {names} differ", False
    return "", "mol block has no atoms", False


def _parse(lines: list[str]) -> tuple[Any, str | None]:
    """The molecule of a mol block, or what is wrong with it."""
    from rdkit import Chem, rdBase

    from fluid.chem.standardize import FEW, StructureError, refuse_rings

    with rdBase.BlockLogs():
        try:
            if len(lines) > FEW:
                refuse_rings(_count_rings(lines))
            text = "\n".join(lines) + "\n"
            mol = Chem.MolFromMolBlock(text.encode("ascii", "replace").decode())
        except StructureError as error:
            return None, str(error)
        except (RuntimeError, ValueError):
            mol = None
    if mol is None:
        return None, "mol block cannot be parsed"
    atoms = map(mol.GetAtomWithIdx, range(mol.GetNumAtoms()))
    if any(atom.HasQuery() and atom.GetAtomicNum() for atom in atoms):
        return None, "mol block has query atoms, which stand for more than one compound"
    kinds = {group.GetProp("TYPE") for group in Chem.GetMolSubstanceGroups(mol)}
    if kinds & _POLYMERS:
        return None, "mol block is of a polymer or a mixture"
    return mol, None


def _differs(mol: Any, smiles: str) -> bool:
    """Whether a SMILES has another largest skeleton than a molecule, whatever bonds and charges."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdMolHash

    from fluid.chem.standardize import FEW

    if len(smiles) > FEW:
        return False
    graphs = []
    with rdBase.BlockLogs():
        other = Chem.MolFromSmiles(smiles)
        if other is None:
            return False
        for one in (mol, other):
            flat = Chem.RWMol(one)
            Chem.RemoveStereochemistry(flat)
            graph = rdMolHash.MolHash(flat, rdMolHash.HashFunction.ElementGraph)
            graphs.append(max(graph.split("."), key=lambda part: (len(part), part)))
    return graphs[0] != graphs[1]


def _count_rings(block: list[str]) -> int:
    """Rings of a mol block, from its bonds alone: RDKit may crash where there are too many."""
    if any(line.startswith("M  V30") for line in block):
        parts = [line.split() for line in block if line.startswith("M  V30") and len(line) < 200]
        pairs = [(words[4], words[5]) for words in parts if len(words) > 5 and words[3].isdigit()]
    else:
        counts = block[3] if len(block) > 3 else ""
        atoms = int(counts[:3]) if counts[:3].strip().isdigit() else 0
        pairs = [(line[:3], line[3:6]) for line in block[4 + atoms :] if line[:1] in " 0123456789"]
    above: dict[str, str] = {}

    def root(atom: str) -> str:
        while (over := above.setdefault(atom, atom)) != atom:
            above[atom] = above[over]
            atom = over
        return atom

    rings = 0
    for one, other in pairs:
        first, second = root(one), root(other)
        rings += first == second
        above[first] = second
    return rings
