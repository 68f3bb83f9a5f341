"""What marks a missing value, and what does not."""

import pytest

from fluid.learn.cells.missing import MISSING_MARKS, is_missing
from fluid.learn.cells.plain import plain


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t",
        "\xa0",
        "#N/A",
        "#NA",
        "#NULL!",
        "N/A",
        "n/a",
        "NA",
        "<NA>",
        "NaN",
        "nan",
        "-nan",
        "None",
        "null",
        "NULL",
        "(null)",
        "\\N",
        "NIL",
        "NaT",
        ".",
        "-",
        "--",
        "---",
        "—",
        "–",
        "−",
        "...",
        "…",
        "?",
        "n.d.",
        "N.D.",
        "ND",
        "n.a.",
        "NT",
        "n.t.",
        "k.A.",
        "TBD",
        "not determined",
        "Not Tested",
        "not_tested",
        "not  tested",
        " no data ",
        "missing",
        "Nicht bestimmt",
        "nicht  getestet",
        "non déterminé",
        "não determinado",
        "未測定",
        "нет данных",
        "\ufeff",
        "\u200b",
    ],
)
def test_marks_of_programs_and_people(text):
    assert is_missing(text)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "5.2",
        "+",
        "no",
        "inactive",
        "insoluble",
        "#DIV/0!",
        "#REF!",
        "<LOQ",
        "inf",
        "Na",
        "nM",
        "none of these",
        "+/-",
        "n",
        "x",
        "nan5",
        "5 n.d.",
    ],
)
def test_what_says_something(text):
    assert is_missing(text) is (text == "Na")  # sodium is no value of an assay


def test_every_mark_is_known_in_any_case():
    for mark in MISSING_MARKS:
        assert is_missing(mark)
        assert is_missing(f" {mark.upper()} ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("−4", "-4"),
        ("４．２", "4.2"),
        ("10⁻⁶", "10^-6"),
        ("µM", "μM"),
        ("1\u202f234", "1 234"),
        ("1’234", "1'234"),
        ("“5”", '"5"'),
        ("\ufeff5\u200b", "5"),
        ("log₁₀", "log10"),
        ("㎍", "μg"),
    ],
)
def test_one_spelling_of_characters(text, expected):
    assert plain(text) == expected
