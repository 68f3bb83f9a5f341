"""Text from elsewhere does no harm where it is shown, and nothing is lost."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluid.base.show import csv_cell, printable, shown, shown_json, shown_lines

ANY_TEXT = st.text(st.characters(exclude_categories=()))
HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
FORMULA = re.compile("[=+\\-@\t\r\n]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x9b31mred", r"\x9b31mred"), ("\x1b[2J", r"\x1b[2J"), ("gnp\u202exe", r"gnp\u202exe"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"), ("one\ntwo\r", r"one\ntwo\r"),
        ("a\u2028b", r"a\u2028b"), ("caf\udce9", r"caf\xe9"), ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"), ("1\xa0\u2009nM", "1  nM"), ("naïve 分子", "naïve 分子"),
        (None, "None"), (3, "3"), ("", ""),
    ],
)  # fmt: skip
def test_what_is_invisible_is_escaped(text: object, expected: str) -> None:
    assert shown(text) == expected


@given(ANY_TEXT, st.integers(5, 80))
def test_whatever_is_shown_is_one_short_visible_line(text: str, limit: int) -> None:
    for found in (shown(text), shown(text, limit)):
        assert not {unicodedata.category(character) for character in found} & set(HIDDEN)
        assert found.encode("utf-8").decode("utf-8") == found
        assert shown(found) == found
    assert len(shown(text, limit)) <= limit
    lines = shown_lines(text)
    assert lines.count("\n") == text.count("\n")
    assert lines.replace("\n", "").isprintable()


def test_a_long_text_is_cut_in_the_middle() -> None:
    assert shown("x" * 5000 + "end", 60) == "x" * 28 + "..." + "x" * 25 + "end"
    assert len(shown("\x9b" * 10**6, 60)) <= 60


@given(st.recursive(ANY_TEXT, lambda part: st.lists(part) | st.dictionaries(ANY_TEXT, part)))
def test_json_says_the_same_and_hides_nothing(value: object) -> None:
    text = shown_json(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(text) == json.loads(json.dumps(value))
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"), ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("'=1", "''=1"),
        ("\uff1d1+1", "'\uff1d1+1"), ("-e5", "'-e5"), ("--5", "'--5"),
        *((same, same) for same in (
            "", "CCO", "[Na+].[Cl-]", "-12", "+5", "-1.5e-3", "-.5", "+", "-", "--", "BBB-",
            "'quoted'", "1e5", "#N/A", "C=O", "12-05-2020",
        )),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(text: str, expected: str) -> None:
    assert csv_cell(text) == expected


@given(ANY_TEXT | st.from_regex("'*[=+\\-@\t].*", fullmatch=True))
def test_the_text_of_a_cell_can_be_got_back(text: str) -> None:
    cell = csv_cell(text)
    if FORMULA.match(cell):
        assert not cell.strip("+-") or float(cell) == float(cell)
    # One apostrophe less where any stand before a sign.
    back = cell[1:] if re.match("''*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", cell) else cell
    assert back == text
    out = io.StringIO()
    csv.writer(out).writerow([printable(cell)])
    (read,) = csv.reader([out.getvalue()])
    assert read == [printable(cell)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("caf\udce9", "caf\\xe9"), ("a\tb\nc\x07", "a b c "), ("naïve 分子", "naïve 分子"), ("", "")],
)
def test_names_can_be_written_anywhere(text: str, expected: str) -> None:
    assert printable(text) == expected
    printable(text).encode("utf-8")
