"""How a labelled table is to be read, where what is found in it does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fluid.chem.readers import ReadOptions


@dataclass(frozen=True)
class Columns:
    """Column names and other settings, where what is found in a table does not fit.

    Attributes
    ----------
    smiles, id
        Structure and name.
    labels
        Label column by task, for wide tables.
    task, value
        Columns of a long table.
    group
        Origin of a row: site, source, year. Read only if it is named.
    qualifiers, units
        By task, the columns of the signs =, <, > and of the units.
    qualifier, unit
        The same columns of a long table.
    files
        Encoding, delimiter and sheet.
    decimal, thousands
        Marks in numbers; by default what a whole column shows.
    allow_empty
        Whether every value of a task may be rejected.
    """

    smiles: str | None = None
    id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    value: str | None = None
    group: str | None = None
    qualifiers: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    qualifier: str | None = None
    unit: str | None = None
    files: ReadOptions = field(default_factory=ReadOptions)
    decimal: str | None = None
    thousands: str | None = None
    allow_empty: bool = False
