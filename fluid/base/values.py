"""Plain values of a file, checked against the fields of a dataclass."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, fields
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

_WORDS: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    list: "a list",
    tuple: "a list of text",
    dict: "a table",
}
# Whole numbers below this are exact as floats.
_EXACT = 1 << 53
_DIGEST = re.compile("[0-9a-f]{64}")


def read_fields(kind: type[Any], where: str, values: Any) -> dict[str, Any]:
    """Check a table of plain values against the fields of a dataclass.

    Parameters
    ----------
    kind
        A dataclass with fields of type str, int, float, bool, list, dict or ``tuple[str, ...]``,
        each also with ``| None``: a file leaves such a field out, it never states None.
    where
        Dotted path of the table in its file, for messages; empty if the file is the table.
    values
        As JSON or TOML holds them.

    Returns
    -------
    dict
        The values by field. A whole number becomes a float and a list of text a tuple where the
        field needs one. Fields that the table leaves out and that have a default are left out.

    Raises
    ------
    ValueError
        If `values` is not a table, a key is unknown or missing, or a value has another type.

    Examples
    --------
    >>> from fluid.base.run import Run
    >>> read_fields(Run, "run", {"seed": "7"})
    Traceback (most recent call last):
    ValueError: run.seed = '7': a whole number is needed
    """
    if not isinstance(values, dict):
        raise ValueError(f"'{where}' must be a table")
    prefix = f"{where}." if where else ""
    known = {item.name: item for item in fields(kind)}
    for key in sorted(set(values) - set(known)):
        place = f"{where}: " if where else ""
        raise ValueError(f"{place}unknown key {key!r:.80}; allowed are {', '.join(sorted(known))}")
    for key, item in known.items():
        if key not in values and item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"'{prefix}{key}' is missing")
    types = _field_types(kind)  # type: ignore[arg-type]
    return {
        key: convert_value(value, types[key], f"{prefix}{key}") for key, value in values.items()
    }


@cache
def _field_types(kind: Any) -> dict[str, type]:
    return {key: _plain_type(hint) for key, hint in get_type_hints(kind).items()}


def _plain_type(hint: Any) -> type:
    """The type that a value must have: without parameters, and without ``| None``."""
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    return get_origin(hint) or hint


def convert_value(value: Any, wanted: type, where: str) -> Any:
    """A plain value as the type that is wanted: a whole number becomes a float, a list a tuple.

    Parameters
    ----------
    value, wanted
        The value, and one of the types of `read_fields`.
    where
        Dotted path of the value in its file, for messages.

    Raises
    ------
    ValueError
        If the value has another type, or is not finite.
    """
    if wanted is float and type(value) is int and abs(value) < _EXACT:
        return float(value)
    if wanted is tuple and type(value) is list and all(type(item) is str for item in value):
        return tuple(value)
    # A bool is an int to isinstance.
    if type(value) is not wanted or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{where} = {repr(value)[:80]}: {_WORDS[wanted]} is needed")
    return value


def check_digest(value: Any, where: str) -> None:
    """Check that a value is a SHA-256 digest in lower-case hexadecimal digits.

    Raises
    ------
    ValueError
        If it is not; `where` names it.
    """
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"{where} = {repr(value)[:80]}: 64 hexadecimal digits are needed")
