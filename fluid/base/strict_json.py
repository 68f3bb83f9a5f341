"""JSON and TOML of files that somebody sent: refused unless every value is small and plain."""

from __future__ import annotations

import json
import math
import tomllib
from itertools import pairwise
from typing import Any

from fluid.base.errors import FileFormatError, one_line

MOST_BYTES = 8 << 20
# A value takes up to 300 bytes and 4 us.
_MOST_VALUES = 500_000
MOST_DEPTH = 32
_LONGEST_NUMBER = 40
_LARGEST_INTEGER = 1 << 64
_SHOWN = 60


def parse_json(data: bytes | str, name: str, most_bytes: int = MOST_BYTES) -> Any:
    """Plain values of a JSON text, of which nothing is assumed.

    Parameters
    ----------
    data
        UTF-8, or text.
    name
        Of the file, for messages.
    most_bytes
        Longer data are refused before they are read.

    Returns
    -------
    Any
        None, bool, int below 2^64 in size, finite float, str without lone surrogates, and lists
        and dicts of them, nested at most `MOST_DEPTH` deep.

    Raises
    ------
    FileFormatError
        If it is not JSON, a key occurs twice in a table, or a value is none of these.

    Examples
    --------
    >>> parse_json('{"a": [1, 2.5]}', "a.json")
    {'a': [1, 2.5]}
    >>> parse_json('{"a": 1, "a": 2}', "a.json")
    Traceback (most recent call last):
    fluid.base.errors.FileFormatError: a.json: is not readable JSON (key 'a' occurs twice)
    """
    try:
        return json_values(data, most_bytes)
    except ValueError as error:
        raise FileFormatError(f"{name}: is not readable JSON ({error})") from error


def json_values(data: bytes | str, most_bytes: int = MOST_BYTES) -> Any:
    """As `parse_json`; ValueError with the reason, in one printable line."""
    try:
        values = json.loads(
            _decoded(data, most_bytes),
            object_pairs_hook=_table,
            parse_int=_integer,
            parse_float=_number,
        )
        _check(values)
    except (ValueError, RecursionError) as error:
        raise ValueError(_reason(error)) from error
    return values


def parse_toml(data: bytes | str, name: str, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """As `parse_json`, of a TOML text; a byte order mark at its beginning is ignored.

    Raises
    ------
    FileFormatError
        If it is not TOML, or a value is none of those that `parse_json` gives, such as a date.
    """
    try:
        text = _decoded(data, most_bytes).removeprefix("\ufeff")
        values = tomllib.loads(text, parse_float=_number)
        _check(values)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{name}: is not readable TOML ({_reason(error)})") from error
    return values


def _decoded(data: bytes | str, most_bytes: int) -> str:
    if len(data) > most_bytes:
        raise ValueError(f"it has {len(data):,} bytes; at most {most_bytes:,} are allowed")
    text = data if isinstance(data, str) else data.decode("utf-8")
    # Every value but the first follows one of these; text may hold them too.
    if sum(text.count(sign) for sign in ",[{") > _MOST_VALUES:
        raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"values are nested more than {MOST_DEPTH} deep"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return one_line(error)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = sorted(key for key, _ in pairs)
        twice = next(one for one, two in pairwise(keys) if one == two)
        raise ValueError(f"key {_short(twice)} occurs twice")
    return values


def _integer(text: str) -> int:
    # Python refuses integers of more than 4,300 digits with an error of its own.
    if len(text) > _LONGEST_NUMBER or abs(int(text)) >= _LARGEST_INTEGER:
        raise ValueError(f"a whole number of {len(text)} characters; below 2^64 are allowed")
    return int(text)


def _number(text: str) -> float:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} characters; at most {_LONGEST_NUMBER}")
    return float(text)


def _check(values: Any) -> None:
    """Depth, text and finiteness of all values; a stack, so that depth costs no recursion."""
    # With each value: how deep it is, and the keys that lead to it, last first.
    left: list[tuple[Any, int, Any]] = [(values, 0, None)]
    while left:
        value, depth, trail = left.pop()
        if depth > MOST_DEPTH:
            raise RecursionError
        if isinstance(value, dict):
            for key, item in value.items():
                _check_text(key)
                left.append((item, depth + 1, (key, trail)))
        elif isinstance(value, list):
            left += ((item, depth + 1, (place, trail)) for place, item in enumerate(value))
        elif isinstance(value, str):
            _check_text(value)
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"{_where(trail)}{value}: a finite number is needed")
        elif type(value) is int:
            # TOML also has these in hexadecimal digits.
            if abs(value) >= _LARGEST_INTEGER:
                raise ValueError(f"{_where(trail)}a whole number is 2^64 or larger")
        elif value is not None and type(value) is not bool:
            raise ValueError(f"{_where(trail)}{_short(value)} is a {type(value).__name__}")


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"text {_short(text)} holds half a character")


def _where(trail: Any) -> str:
    shown = ""
    while trail is not None:
        key, trail = trail
        shown = (f"[{key}]" if isinstance(key, int) else f".{key:.40}") + shown
    return f"{shown.removeprefix('.')} = " if shown else ""
