"""Numbers as people and programs write them; what a column's cells say of its marks."""

import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluid.learn.cells.numbers import NumberFormat, detect_format, read_number, read_qualifier
from fluid.learn.task import LabelError

FORMATS = [
    NumberFormat(decimal, thousands)
    for decimal in ".,"
    for thousands in ("", ",", ".", " ", "'")
    if decimal != thousands
]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("5.23", 5.23),
        (" 6.0 ", 6),
        ("+7", 7),
        ("-3.5", -3.5),
        ("0", 0),
        ("-0.0", 0),
        ("00", 0),
        (".5", 0.5),
        ("5.", 5),
        ("1e1", 10),
        (".5e1", 5),
        ("1.2E-05", 1.2e-5),
        ("5e-8", 5e-8),
        ("5 e3", 5000),
        ("1.2 x 10^-5", 1.2e-5),
        ("1.2×10⁻⁵", 1.2e-5),
        ("1.2·10⁻⁵", 1.2e-5),
        ("1.2 * 10**-5", 1.2e-5),
        ("1.2 x 10-5", 1.2e-5),
        ("3x10^4", 3e4),
        ("10^-5", 1e-5),
        ("10⁻⁵", 1e-5),
        ("−4.0", -4),
        ("–4.0", -4),
        ("－４．５", -4.5),
        ("１２", 12),
        ("\u200b5.1", 5.1),
        ("5.1\xa0", 5.1),
        ("'5.2", 5.2),
        ('="5.2"', 5.2),
        ('"5.2"', 5.2),
        ("5 (n=3)", 5),
        ("5.1 (N = 12)", 5.1),
        ("43952", 43952),
        ("12345678", 12345678),
    ],
)
def test_plain_numbers(text, value):
    assert read_number(text) == (value, 0, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=5", (5, 0, "")),
        ("~5", (5, 0, "")),
        ("≈ 5", (5, 0, "")),
        ("ca. 5", (5, 0, "")),
        ("approx 5", (5, 0, "")),
        ("about 5", (5, 0, "")),
        (">9.3", (9.3, 1, "")),
        (">= 9.3", (9.3, 1, "")),
        ("> = 9.3", (9.3, 1, "")),
        (">>9", (9, 1, "")),
        ("≥9", (9, 1, "")),
        ("⩾9", (9, 1, "")),
        ("＞9", (9, 1, "")),
        ("=>9", (9, 1, "")),
        (">/=9", (9, 1, "")),
        ("> 0", (0, 1, "")),
        ("greater than 9", (9, 1, "")),
        ("GT 9", (9, 1, "")),
        ("at least 9", (9, 1, "")),
        ("<4", (4, -1, "")),
        (" <= 4 ", (4, -1, "")),
        ("<<4", (4, -1, "")),
        ("≤4.21", (4.21, -1, "")),
        ("⩽4", (4, -1, "")),
        ("=<4", (4, -1, "")),
        ("less than 4", (4, -1, "")),
        ("lt 4", (4, -1, "")),
        ("<-4", (-4, -1, "")),
        ("<−4", (-4, -1, "")),
        ("<~4", (4, -1, "")),
    ],
)
def test_qualifiers_in_cells(text, expected):
    assert read_number(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 nM", (5, 0, "nM")),
        ("5nM", (5, 0, "nM")),
        ("0.3µM", (0.3, 0, "µM")),
        ("0.3 μM", (0.3, 0, "μM")),
        (">10 uM", (10, 1, "uM")),
        ("< 5%", (5, -1, "%")),
        ("85 %", (85, 0, "%")),
        ("5 min", (5, 0, "min")),
        ("12 uL/min/mg", (12, 0, "uL/min/mg")),
        ("5 10^-6 cm/s", (5, 0, "10^-6 cm/s")),
        ("1.2E-05 cm/s", (1.2e-5, 0, "cm/s")),
        ("5 nM (n=3)", (5, 0, "nM")),
        ("3.5 log10(uM)", (3.5, 0, "log10(uM)")),
        ("0.5 [mg/mL]", (0.5, 0, "[mg/mL]")),
        ("5 NM", (5, 0, "NM")),
        ("5e3 nM", (5000, 0, "nM")),
    ],
)
def test_units_in_cells(text, expected):
    assert read_number(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4.07 ± 0.2", "with its error"),
        ("4.07+/-0.2", "with its error"),
        ("5 nM ± 1 nM", "with its error"),
        ("5 +- 1", "with its error"),
        ("5.2 (±0.3)", "with its error"),
        ("5-10", "a range"),
        ("5–10", "a range"),
        ("5 - 10", "a range"),
        (">5 and <10", "a range"),
        ("5 to 10", "a range"),
        ("5 nM to 10 nM", "a range"),
        ("5 bis 10", "a range"),
        ("5..10", "a range"),
        ("5<10", "a range"),
        ("1.5-2.5", "a range"),
        ("5;6", "several values"),
        ("5/6", "several values"),
        ("5 | 6", "several values"),
        ("5, 6", "several values"),
        ("5; >6", "several values"),
        ("5 nM; 6 nM", "several values"),
        ("01-May", "a date"),
        ("May-05", "a date"),
        ("5.Mai", "a date"),
        ("5. Mai", "a date"),
        ("01-mai-24", "a date"),
        ("2024-05-01", "a date"),
        ("2024-05-01 10:00", "a date"),
        ("01.05.2024", "a date"),
        ("1/5/24", "a date"),
        ("12:30", "a date or time"),
        ("05-déc", "a date"),
        ("#DIV/0!", "error of a spreadsheet"),
        ("#VALUE!", "error of a spreadsheet"),
        ("#REF!", "error of a spreadsheet"),
        ("#NUM!", "error of a spreadsheet"),
        ("#WERT!", "error of a spreadsheet"),
        ("#NOM?", "error of a spreadsheet"),
        ("#####", "error of a spreadsheet"),
        ("Err:502", "error of a spreadsheet"),
        ("$5", "money"),
        ("5 €", "money"),
        ("EUR 5", "money"),
        ("5.00 USD", "money"),
        ("inf", "not a finite number"),
        ("-Infinity", "not a finite number"),
        ("∞", "not a finite number"),
        ("1e400", "too large"),
        ("1e-400", "too small"),
        ("NaN", "is not a number"),
        ("nan", "is not a number"),
        ("0x10", "is not a number"),
        ("1_000", "is not a number"),
        ("1.2.3", "two decimal marks"),
        ("5+", "is not a number"),
        ("(5)", "is not a number"),
        ("5*", "is not a number"),
        ("5†", "is not a number"),
        ("5 foo", "'foo' is not a unit"),
        ("5k", "'k' is not a unit"),
        ("5 p", "is not a unit"),
        ("5 log", "is not a unit"),
        ("1x105", "is not a unit"),
        ("5,3", "decimal mark is '.'"),
        (">5,3", "decimal mark is '.'"),
        ("1,234,567", "decimal mark is '.'"),
        ("1 234", "decimal mark is '.'"),
        ("1'234", "decimal mark is '.'"),
        ("5 6", "is not a number"),
        ("<LOQ", "a limit without its number"),
        ("BLQ", "a limit without its number"),
        ("below LLOQ", "a limit"),
        ("insoluble", "is not a number"),
        ("active", "is not a number"),
        (">", "is not a number"),
        ("", "is empty"),
        ("<>5", "qualifier '<>' is not one of"),
        ("><5", "qualifier '><' is not one of"),
        ("٥", None),
        ("5e", "is not a unit"),
        ("4²", "is not a number"),
        ("5-", "is not a number"),
        ("--5", "is not a number"),
        ("+-5", "is not a number"),
    ],
)
def test_what_is_not_one_number_says_why(text, message):
    if message is None:  # digits of another script are digits
        assert read_number(text) == (5, 0, "")
        return
    with pytest.raises(LabelError) as raised:
        read_number(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("marks", "text", "value"),
    [
        ((",", ""), "5,23", 5.23),
        ((",", ""), "-0,5", -0.5),
        ((",", ""), "1,2E-5", 1.2e-5),
        ((",", ""), ",5", 0.5),
        ((",", ""), "12", 12),
        ((",", ""), "1,2 x 10^-5", 1.2e-5),
        ((",", "."), "1.234,5", 1234.5),
        ((",", "."), "1.234.567,89", 1234567.89),
        ((",", "."), "1.234", 1234),
        ((",", "."), "1234,5", 1234.5),
        ((".", ","), "1,234.5", 1234.5),
        ((".", ","), "12,34,567.8", 1234567.8),
        ((".", ","), "1,234,567", 1234567),
        ((",", " "), "1 234,5", 1234.5),
        ((",", " "), "1\u202f234,5", 1234.5),
        ((",", " "), "1\xa0234\xa0567", 1234567),
        ((".", "'"), "1'234.5", 1234.5),
        ((".", "'"), "1’234", 1234),
        ((".", " "), "12 345.6", 12345.6),
    ],
)
def test_marks_of_the_column(marks, text, value):
    assert read_number(text, NumberFormat(*marks)) == (value, 0, "")
    assert read_number(f"<{text} nM", NumberFormat(*marks)) == (value, -1, "nM")


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        ((",", ""), "5.2"),
        ((",", "."), "5.2"),
        ((",", "."), "1.23"),
        ((",", "."), "1.2345"),
        ((".", ","), "1,23"),
        ((".", ","), "1,2345"),
        ((".", ","), ",5"),
        ((".", ","), "0,234"),
        ((",", " "), "1 23"),
        ((",", " "), "5 6"),
        ((".", "'"), "1'23"),
        ((",", "."), "1.234.56"),
        ((",", ""), "1,2,3"),
        ((".", ","), "1234,567"),
    ],
)
def test_a_mark_in_the_wrong_place_is_refused(marks, text):
    with pytest.raises(LabelError, match="is not a number"):
        read_number(text, NumberFormat(*marks))


@pytest.mark.parametrize(
    ("texts", "decimal", "thousands"),
    [
        ([], ".", ""),
        (["4", "5"], ".", ""),
        (["5.2"], ".", ""),
        (["4", "4,1", "4"], ",", ""),
        (["<1,5", "5 nM"], ",", ""),
        (["0,123"], ",", ""),
        (["-0,123", "12"], ",", ""),
        ([",5"], ",", ""),
        (["1,2E-5"], ",", ""),
        (["1,234E-5"], ",", ""),
        (["1,234 x 10^5"], ",", ""),
        (["12345,678"], ",", ""),
        (["1,234", "5,2"], ",", ""),
        (["1.234,5"], ",", "."),
        (["1.234.567"], ",", "."),
        (["1.234.567", "1,234"], ",", "."),
        (["1,234.5", "5"], ".", ","),
        (["1,234,567"], ".", ","),
        (["1,234", "5.2"], ".", ","),
        (["12,34,567"], ".", ","),
        (["1 234", "5,5"], ",", " "),
        (["1\u202f234,5"], ",", " "),
        (["1’234.5"], ".", "'"),
        (["1'234"], ".", "'"),
        (["1 234 567"], ".", " "),
        (["7.123", "6.456"], ".", ""),
        (["0.123", "12"], ".", ""),
        (["1.234", "12345"], ".", ""),
        (["n.d.", "1,5", "#N/A"], ",", ""),
        (["01.05.2024", "5"], ".", ""),
        (["5, 6"], ".", ""),
        (["5;6", "5"], ".", ""),
        (["compound 1,234", "5"], ".", ""),
        (["1.5", "5-10"], ".", ""),
        (["< 1,5"], ",", ""),
        (["less than 1,5"], ",", ""),
    ],
)
def test_the_column_tells_its_marks(texts, decimal, thousands):
    assert detect_format(texts) == NumberFormat(decimal, thousands)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["1,234"], "'1,234' may be 1234 or 1.234, .* --decimal and --thousands"),
        (["1,234", "12,500", "250"], "may be .* --decimal"),
        (["1.234", "250"], "'1.234' may be 1234 or 1.234"),
        (["1,234 nM"], "may be 1234 nM or 1.234 nM"),
        (["1.5", "1,5"], "decimal point and '1,5' a decimal comma"),
        (["1.234,5", "1,234.5"], "a decimal point and .* a decimal comma"),
        (["1,234", "1.234"], "cannot be told"),
        (["1,5", "1,234,567"], "'1,234,567' a ',' separates thousands, but in '1,5'"),
        (["1,234", "5.2", "12345"], "'1,234' beside '12345'"),
        (["1 234", "1'234"], "in two ways"),
    ],
)
def test_a_column_of_two_readings_is_refused(texts, message):
    for order in (texts, texts[::-1]):
        with pytest.raises(LabelError, match=message):
            detect_format(order)


def test_what_is_forced_is_taken_or_contradicted():
    assert detect_format(["1,234"], decimal=",") == NumberFormat(",")
    assert detect_format(["1,234"], decimal=".") == NumberFormat(".", ",")
    assert detect_format(["1,234"], thousands=",") == NumberFormat(".", ",")
    assert detect_format(["1,234"], thousands="") == NumberFormat(",")
    assert detect_format(["1.234", "250"], thousands=".") == NumberFormat(",", ".")
    assert detect_format(["1.234", "250"], decimal=".") == NumberFormat(".")
    with pytest.raises(LabelError, match=r"'5\.2' does not have the decimal mark ','"):
        detect_format(["5.2"], decimal=",")
    with pytest.raises(LabelError, match=r"'1,234\.5' has"):
        detect_format(["1,234.5"], decimal=".", thousands=" ")


@pytest.mark.parametrize(
    ("decimal", "thousands", "message"),
    [
        (";", "", "decimal mark ';' is not one of"),
        (".", "-", "thousands mark '-' is not one of"),
        (",", ",", "both"),
    ],
)
def test_formats_that_make_no_sense(decimal, thousands, message):
    with pytest.raises(LabelError, match=message):
        NumberFormat(decimal, thousands)


def test_typographic_marks_are_the_usual_ones():
    assert NumberFormat(".", "’") == NumberFormat(".", "'")
    assert NumberFormat(",", "\u202f") == NumberFormat(",", " ")


def test_the_report_says_what_told():
    assert detect_format(["4", "4,1", "3,9"]).why == "decimal comma as in '3,9'"
    assert detect_format(["1,234.5"]).why == "thousands as in '1,234.5'"
    assert detect_format(["4", "4.1"]).why == ""


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("", 0),
        (" ", 0),
        ("=", 0),
        (" == ", 0),
        ("~", 0),
        ("≈", 0),
        ("'='", 0),
        ("'~'", 0),
        ('"="', 0),
        ("ca.", 0),
        ("equal to", 0),
        ("None", 0),
        ("nan", 0),
        ("-", 0),
        (">", 1),
        (">=", 1),
        ("> =", 1),
        (">>", 1),
        ("≥", 1),
        ("⩾", 1),
        ("'>'", 1),
        ("'>='", 1),
        ('">>"', 1),
        ("‘>’", 1),
        ("gt", 1),
        ("Greater Than", 1),
        ("greater_than", 1),
        (">~", 1),
        ("more than", 1),
        ("<", -1),
        (" <= ", -1),
        ("<<", -1),
        ("≤", -1),
        ("'<'", -1),
        ("'<='", -1),
        ("less than", -1),
        ("LT", -1),
        ("lte", -1),
        ("=<", -1),
        ("=>", 1),
        ("＜", -1),
    ],
)
def test_qualifier_columns(text, sign):
    assert read_qualifier(text) == sign


@pytest.mark.parametrize("text", ["maybe", "<>", "5", ">5", "±", "!", "yes", "><"])
def test_unknown_qualifiers_are_refused(text):
    with pytest.raises(LabelError, match="is not one of =, <, <=, >, >=, ~"):
        read_qualifier(text)


def test_the_case_of_decorated_values():
    """What the sign and the minus say is read; an error is refused, a unit left to the task."""
    assert read_number("−4.0") == (-4.0, 0, "")
    assert read_number("≤4.21") == (4.21, -1, "")
    assert read_number("4.14 nM") == (4.14, 0, "nM")
    with pytest.raises(LabelError, match=r"'4\.07 ± 0\.2' is a number with its error"):
        read_number("4.07 ± 0.2")


# --- properties -----------------------------------------------------------------------------------

NUMBERS = st.floats(-1e12, 1e12).map(lambda value: round(value, 6))


def written(value: float, form: NumberFormat, exponent: bool = False, grouped: bool = True) -> str:
    """A number in a format, as a spreadsheet writes it."""
    if exponent:
        return f"{value:.17e}".replace(".", form.decimal)
    text = f"{value:,.6f}" if grouped else f"{value:.6f}"
    swap = {",": form.thousands, ".": form.decimal}
    return "".join(swap.get(character, character) for character in text)


@given(
    NUMBERS,
    st.sampled_from(FORMATS),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "<", ">", "≥ "]),
)
def test_written_and_read_is_the_same(value, form, exponent, grouped, mark):
    found = read_number(mark + written(value, form, exponent, grouped), form)
    assert found.value == value
    assert found.sign == {"": 0, "<": -1}.get(mark, 1)


@given(st.lists(NUMBERS, min_size=1), st.sampled_from(FORMATS), st.randoms())
def test_a_column_is_read_as_it_was_written(values, form, order):
    """Six decimals tell the decimal mark, and a grouped number the thousands mark."""
    texts = [written(value, form) for value in [*values, 1234567.5]]
    order.shuffle(texts)
    assert detect_format(texts) == form
    assert detect_format(texts).why == detect_format(sorted(texts)).why


@given(st.lists(st.text("0123456789.,' -<>=eE~%", max_size=12), max_size=12), st.randoms())
def test_the_order_of_rows_does_not_matter(texts, order):
    def outcome(cells):
        try:
            found = detect_format(cells)
        except LabelError as error:
            return str(error)
        return found, found.why

    shuffled = list(texts)
    order.shuffle(shuffled)
    assert outcome(texts) == outcome(shuffled)


@given(st.text(max_size=30))
def test_any_text_is_a_finite_number_or_refused(text):
    for form in FORMATS:
        try:
            found = read_number(text, form)
        except LabelError:
            continue
        assert math.isfinite(found.value)
        assert found.sign in (-1, 0, 1)


@given(st.lists(st.text("0123456789., ", min_size=1, max_size=9), min_size=1, max_size=6))
def test_what_is_read_is_what_the_digits_say(texts):
    """No mark is dropped or turned: the digits of the number are those of the cell."""
    try:
        form = detect_format(texts)
    except LabelError:
        return
    for text in texts:
        try:
            value = read_number(text, form).value
        except LabelError:
            continue
        digits = text.strip().replace(form.thousands, "") if form.thousands else text.strip()
        assert value == float(digits.replace(form.decimal, "."))


def test_plain_cells_cost_next_to_nothing():
    rng = random.Random(0)
    texts = [f"{10 * rng.random():.2f}" for _ in range(20_000)]

    def fastest(function):
        times = []
        for _ in range(5):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
        return min(times)

    floats = fastest(lambda: [float(text) for text in texts])
    # 9 times what Python needs for the number alone leave room for a busy machine.
    assert fastest(lambda: [read_number(text) for text in texts]) < 9 * floats + 0.02
    assert fastest(lambda: detect_format(texts)) < 20 * floats + 0.05
