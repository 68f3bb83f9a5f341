"""JSON and TOML that somebody sent: read as the standard library reads it, or refused."""

from __future__ import annotations

import json
import math
import tomllib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.errors import FileFormatError
from fluid.base.strict_json import MOST_DEPTH, parse_json, parse_toml

_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64) + 1, (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
_HOSTILE = {
    "digits": "[" + "1" * 5000 + "]",
    "large": "[18446744073709551616]",
    "long": "[0." + "0" * 5000 + "1]",
    "infinity": '{"a": Infinity}',
    "minus": '{"a": -Infinity}',
    "nan": "NaN",
    "overflow": '{"a": [1e999]}',
    "surrogate": '{"a": "\\ud800"}',
    "surrogate key": '{"\\udfff": 1}',
    "twice": '{"a": 1, "a": 1}',
    "twice below": '[{"a": {"b": 1, "c": 2, "b": 3}}]',
    "deep lists": "[" * 300 + "]" * 300,
    "deeper lists": "[" * 200_000 + "]" * 200_000,
    "deep tables": '{"a":' * 300 + "1" + "}" * 300,
    "endless": "[" * 200_000,
    "mark": '\ufeff{"a": 1}',
    "rest": '{"a": 1} {"b": 2}',
    "empty": "",
    "many": "[" + "{}," * 300_000 + "{}]",
    "control": '{"a": "\n"}',
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_json_is_refused_in_one_short_line(name: str) -> None:
    for data in (_HOSTILE[name], _HOSTILE[name].encode()):
        with pytest.raises(FileFormatError) as caught:
            parse_json(data, "some.json")
        message = str(caught.value)
        assert message.startswith("some.json: ")
        assert message.isprintable()
        assert len(message) < 300


@pytest.mark.parametrize(
    "data",
    [b'{"a": "\xff"}', b'{"a": "\xed\xa0\x80"}', '{"a": 1}'.encode("utf-16"), b'{"a": "\xc0\x80"}'],
)
def test_bytes_other_than_utf8_are_refused(data: bytes) -> None:
    with pytest.raises(FileFormatError, match="is not UTF-8"):
        parse_json(data, "some.json")


def test_long_data_are_refused_before_they_are_read() -> None:
    with pytest.raises(FileFormatError, match=r"has 101 bytes; at most 100"):
        parse_json(b" " * 101, "some.json", 100)
    assert parse_json(b" " * 99 + b"1", "some.json", 100) == 1


def test_depth_is_allowed_up_to_its_bound() -> None:
    assert parse_json("[" * MOST_DEPTH + "1" + "]" * MOST_DEPTH, "some.json")
    with pytest.raises(FileFormatError, match=f"more than {MOST_DEPTH} deep"):
        parse_json("[" * (MOST_DEPTH + 1) + "1" + "]" * (MOST_DEPTH + 1), "some.json")


@given(_PLAIN)
def test_plain_values_come_back_as_they_were_written(values: Any) -> None:
    data = json.dumps(values, ensure_ascii=False)
    assert parse_json(data, "some.json") == values == parse_json(data.encode(), "some.json")
    assert parse_json(json.dumps(values), "some.json") == values


@settings(max_examples=300)
@given(st.text(alphabet='[]{}",:\\u d8019e-+.IntfyNaul\x9b\u202e', max_size=60))
def test_whatever_is_read_is_what_the_standard_library_reads(text: str) -> None:
    with suppress(FileFormatError):
        assert parse_json(text, "some.json") == json.loads(text)


def test_a_number_that_is_not_finite_is_named() -> None:
    with pytest.raises(FileFormatError, match=r"\(b\.c\[1\] = inf: a finite number is needed\)"):
        parse_json('{"a": 1, "b": {"c": [1.5, 1e999]}}', "some.json")


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "1" * 5000,
        "a = 0x" + "f" * 5000,
        "a = 18446744073709551616",
        "a = inf",
        "a = -nan",
        "a = 1e999",
        "a = " + "[" * 300 + "]" * 300,
        "a = " + "[" * 100_000,
        ".".join("a" * 300) + " = 1",
        "a = 1979-05-27",
        "a = 1\na = 2",
        'a = "\\ud800"',
        "a = '\x9b",
        "[" * 100_000,
    ],
)
def test_hostile_toml_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        parse_toml(text, "some.toml")
    assert str(caught.value).startswith("some.toml: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_plain_toml_is_read_as_by_the_standard_library() -> None:
    text = "a = 1\n[b]\nc = [1.5, true, 'text']\n"
    assert parse_toml(text, "some.toml") == tomllib.loads(text)
    assert parse_toml(("\ufeff" + text).encode(), "some.toml") == tomllib.loads(text)
    assert math.isfinite(parse_toml("a = 1e308", "some.toml")["a"])
