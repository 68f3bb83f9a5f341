"""Names of columns: which belong to a column of values, and which hold values, tasks or signs."""

from __future__ import annotations

import re

from fluid.chem.tables import squeezed_name
from fluid.learn.cells.plain import plain
from fluid.learn.cells.units import unit_of_name

# Words by which exports call the columns of signs and of units. "Standard Relation" of ChEMBL,
# "PREFIX" of ActivityBase, "Modifier" of CDD Vault, "Operator" of Dotmatics.
QUALIFIER_WORDS = frozenset(
    [
        "qualifier",
        "qualifiers",
        "qual",
        "relation",
        "relations",
        "rel",
        "relationship",
        "operator",
        "op",
        "modifier",
        "mod",
        "prefix",
        "sign",
        "signs",
        "symbol",
        "inequality",
        "comparator",
        "censor",
        "censored",
        "censoring",
        "censorship",
        "limit",
        "relationoperator",
        "arithmeticsymbol",
        "flag",
    ]
)
# Words that mean other things as well: only a column of signs by this name is one.
UNIT_WORDS = frozenset(["unit", "units", "uom", "unitofmeasure", "unitofmeasurement", "dimension"])
TASK_COLUMNS = (
    "task",
    "task_name",
    "task_id",
    "endpoint",
    "endpoint_name",
    "assay",
    "assay_name",
    "assay_id",
    "input_assay_id",
    "assay_chembl_id",
    "aid",
    "property",
    "parameter",
    "readout",
    "standard_type",
    "activity_type",
    "result_type",
    "measurement_type",
    "published_type",
    "type",
    "protocol",
    "protocol_name",
    "test",
    "experiment",
    "variable",
)
# Columns that hold values in long tables, in families: a family's units and relations are its own.
VALUE_COLUMNS = (
    "standard_value",
    "value",
    "label",
    "measurement",
    "measured_value",
    "result",
    "result_value",
    "numeric_result",
    "activity",
    "activity_value",
    "y",
)
# A column of these names may hold anything.
_VAGUE = frozenset({"result", "activity", "label", "y"})
# What an endpoint is often called: a rival of a column that is called "value".
_ENDPOINT = re.compile(
    r"^(p|log)?(ic|ec|ac|gi|ld|lc|cc|ed|tc|mic)\d{2}|^p?k[idb]\b|^p?k[idb]($|_|\()|^(clog|log)[pds]"
    r"|^pka|clearance|clint|solubility|permeability|papp|potency|inhibition|activity|pchembl"
    r"|half.?life|efflux|bioavailability|emax|hill$"
)


def is_vague(name: str) -> bool:
    """Whether a column called so need not hold the one value of a table."""
    return squeezed_name(name) in _VAGUE


def is_endpoint(name: str) -> bool:
    """Whether a column is called like something that is measured."""
    return _ENDPOINT.search(name.strip().lower()) is not None


def bare_name(name: str) -> str:
    """A column's name without the unit in it, squeezed.

    Examples
    --------
    >>> bare_name("IC50 (nM)")
    'ic50'
    >>> bare_name("ic50_um"), bare_name("IC50 in µM"), bare_name("IC50..uM.")
    ('ic50', 'ic50', 'ic50')
    """
    unit = unit_of_name(name)
    if unit and unit != "p":
        name = plain(name)
        place = name.replace("μ", "u").lower().rfind(unit.lower())
        if place < 0:
            return squeezed_name(re.sub(r"[\[(].*[\])]", "", name))
        name = name[:place] + name[place + len(unit) :]
        name = re.sub(r"[\[({]\s*[\])}]", "", name).strip(" .,;/_-[](){}")
        name = re.sub(r"[\s_.]+in$", "", name, flags=re.IGNORECASE)
    return squeezed_name(name)


def belongs(name: str, bases: frozenset[str], words: frozenset[str]) -> bool:
    """Whether a column is called after another one and one of some words.

    Examples
    --------
    >>> belongs("IC50_qualifier", frozenset({"ic50"}), QUALIFIER_WORDS)
    True
    >>> belongs("Operator (IC50)", frozenset({"ic50"}), QUALIFIER_WORDS)
    True
    >>> belongs("IC50_ref", frozenset({"ic50"}), QUALIFIER_WORDS)
    False
    """
    own = re.sub(r"[^a-z0-9%µ]", "", squeezed_name(name))
    for base in bases:
        plain = re.sub(r"[^a-z0-9%µ]", "", base)
        if not plain or plain not in own:
            continue
        if own.removeprefix(plain) in words or own.removesuffix(plain) in words:
            return True
        before, _, after = own.partition(plain)
        if before + after in words:
            return True
    return False


def is_general(name: str, words: frozenset[str]) -> bool:
    """Whether a column's name is one of some words, and names no column of values."""
    return re.sub(r"[^a-z0-9]", "", squeezed_name(name)) in words


def is_strong(name: str, words: frozenset[str]) -> bool:
    """Whether a column's name ends, or begins, with one of some words."""
    parts = re.findall(r"[a-z]+", unspaced(name))
    return bool(parts) and (parts[0] in words or parts[-1] in words)


def unspaced(name: str) -> str:
    """A column's name in small letters with a blank between its words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


def family(name: str) -> str:
    """What stands before "value" in a column's name, "standard" of "Standard Value"; else empty.

    Examples
    --------
    >>> family("Standard Value"), family("pChEMBL Value"), family("value"), family("IC50")
    ('standard', 'pchembl', '', '')
    """
    plain = re.sub(r"[^a-z0-9]", "", squeezed_name(name))
    for word in ("value", "values", "result", "measurement", "type"):
        if plain.endswith(word) and len(plain) > len(word):
            return plain.removesuffix(word)
    return ""


# Families of columns that exports know: their relations and units go with their value alone.
FAMILIES = (
    "standard",
    "published",
    "activity",
    "result",
    "measurement",
    "original",
    "reported",
    "ac",
)
