"""Numbers as people and programs write them, and the decimal and thousands marks of a column.

Understood: a qualifier before the number (``<``, ``≥``, ``~``, "less than"), exponents, the
typographic minus, a unit behind it, ``(n=3)``. Refused with a reason: means with errors, ranges,
lists, dates, error codes of spreadsheets, and all else that is not one number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.plain import plain
from fluid.learn.cells.units import is_unit, parse_unit
from fluid.learn.task import LabelError

DECIMALS = (".", ",")
THOUSANDS = ("", ",", ".", " ", "'")


@dataclass(frozen=True)
class NumberFormat:
    """How a column writes numbers.

    Attributes
    ----------
    decimal
        ``"."`` or ``","``.
    thousands
        Mark between groups of digits: ``""`` (none), ``","``, ``"."``, ``" "`` or ``"'"``.
    why
        What in the column says so.
    doubtful
        A number such as ``1.234`` that has a decimal mark only because no other number of the
        column contradicts; empty if the column shows its decimal mark.
    """

    decimal: str = "."
    thousands: str = ""
    why: str = field(default="", compare=False)
    doubtful: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        # A typographic apostrophe or a narrow blank; a blank alone must stay.
        marks = plain(f"|{self.thousands}|")[1:-1]
        object.__setattr__(self, "thousands", marks)
        if self.decimal not in DECIMALS:
            raise LabelError(f"decimal mark '{self.decimal}' is not one of '.', ','")
        if marks not in THOUSANDS:
            raise LabelError(
                f"thousands mark '{self.thousands}' is not one of ',', '.', ' ', \"'\", ''"
            )
        if self.decimal == marks:
            raise LabelError(f"'{marks}' cannot be both the decimal and the thousands mark")


class Reading(NamedTuple):
    """A number of a table.

    Attributes
    ----------
    value
        The number.
    sign
        -1 for "less than", 1 for "more than", 0 for neither.
    unit
        As the cell states it; empty if it does not.
    """

    value: float
    sign: int
    unit: str


# --- qualifiers -----------------------------------------------------------------------------------

_SIGN_WORDS = {
    0: "eq|equal|equals|equal to|exact|ca|ca.|c.|circa|approx|approx.|approximately|about|around"
    "|etwa|environ",
    1: "gt|ge|gte|greater|more|above|over|higher|exceeds|greater than|more than|higher than"
    "|larger than|at least|greater than or equal|greater than or equal to|mehr als|über|größer als"
    "|supérieur à|plus de|mayor que|más de",
    -1: "lt|le|lte|less|below|under|lower|less than|lower than|smaller than|fewer than|at most"
    "|less than or equal|less than or equal to|weniger als|unter|kleiner als|inférieur à|moins de"
    "|menor que|menos de",
}
_SIGN_MARKS = {
    0: ["", "=", "==", "~", "~=", "=~", "~~", "≈", "≃", "≅", "∼", "≒"],
    1: [">", ">=", "=>", ">>", ">>>", ">~", "~>", "≥", "⩾", "≧", "≫", ">/=", "≳"],
    -1: ["<", "<=", "=<", "<<", "<<<", "<~", "~<", "≤", "⩽", "≦", "≪", "</=", "≲"],
}
_WORDS = {word: sign for sign, words in _SIGN_WORDS.items() for word in words.split("|")}
_QUALIFIERS = {mark: sign for sign, marks in _SIGN_MARKS.items() for mark in marks}
_SIGNS = "<>=~≈≃≅∼≒≥⩾≧≫≳≤⩽≦≪≲"
_SIGN_PATTERN = "|".join(map(re.escape, sorted(_WORDS, key=len, reverse=True)))
_QUALIFIER = re.compile(
    rf"\s*(?:(?P<signs>[{_SIGNS}](?:\s*[/{_SIGNS}])*)"
    rf"|(?P<word>{_SIGN_PATTERN})(?=[\s\d.,+-]))\s*",
    re.IGNORECASE,
)


@lru_cache(maxsize=1024)
def read_qualifier(text: str) -> int:
    """-1 for "less than" (or equal), 1 for "more than", 0 for "equal", "about" and empty cells.

    Signs may be in quotes, as ChEMBL exports them.

    Raises
    ------
    LabelError
        If the text is none of the usual signs and words.

    Examples
    --------
    >>> read_qualifier("'>='"), read_qualifier("less than"), read_qualifier("~")
    (1, -1, 0)
    """
    bare = plain(text).strip("\"' ")
    sign = _QUALIFIERS.get(re.sub(r"\s+", "", bare))
    if sign is None:
        sign = _WORDS.get(" ".join(bare.casefold().replace("_", " ").split()))
    if sign is None and is_missing(bare):
        sign = 0
    if sign is None:
        raise LabelError(f"qualifier '{text}' is not one of =, <, <=, >, >=, ~")
    return sign


# --- numbers --------------------------------------------------------------------------------------

_MONTH_NAMES = """
    jan feb fév mar mär mrz mrt apr avr abr may mai maj mei mag jun juin giu jul juil lug aug aou
    aoû ago sep set oct okt out ott nov dec dez déc dic gen ene
"""
_MONTH = rf"(?:{'|'.join(_MONTH_NAMES.split())})[^\W\d_]*\.?"
_DATE = re.compile(
    rf"\d{{1,4}}[-./\s]{{1,2}}{_MONTH}(?:[-./\s]{{1,2}}\d{{1,4}})?"
    rf"|{_MONTH}[-./\s]{{1,2}}\d{{1,4}}(?:[,\s]+\d{{4}})?"
    r"|\d{4}[-./]\d{1,2}[-./]\d{1,2}(?:[T\s].*)?|\d{1,2}[-./]\d{1,2}[-./]\d{2}(?:\d\d)?(?:\s.*)?"
    r"|\d{1,2}:\d\d(?::\d\d)?",
    re.IGNORECASE | re.ASCII,
)
_ERRORS = re.compile(
    r"#+|#?(?:DIV/0|VALUE|REF|NUM|NAME|SPILL|CALC|GETTING_DATA|WERT|BEZUG|ZAHL|VALEUR|NOMBRE|NOM)"
    r"[!?]?|Err:\d+|#.*[!?]",
    re.IGNORECASE,
)
_REPEATS = re.compile(r"\s*[(\[]\s*n\s*=\s*\d+\s*[)\]]\s*$", re.IGNORECASE)
_SPREAD = re.compile(r"±|\+\s*/?\s*-\s*[\d.,]")
_LIMIT = re.compile(r"(?:[ul]{0,2}lo[qd]|bl[qd]|b[qd]l|al[qd]|aql)s?", re.IGNORECASE)
_RANGE = re.compile(
    r"(?:-+|\b(?:to|bis|and|und|à|a)\b|\.+|[<>≤≥])\s*[<>=≤≥~+-]*\s*[\d.,]", re.IGNORECASE
)
_LIST = re.compile(r"\s*[;/|&,]\s*[<>=~≤≥+-]*\s*\d")
_CURRENCY = re.compile(r"[$€£¥₹₽₩]|\b(?:USD|EUR|GBP|JPY|CHF)\b")
_EXPONENT = (
    r"(?:\s?[eE](?P<e>[+-]?\d{1,4})(?![\w.,])"
    r"|\s*[x×·*]\s*10\s*(?:(?:\^|\*\*)\s*\(?\s*(?P<ten>[+-]?\d{1,4})\)?|(?P<lost>[+-]\d{1,4}))(?![\w.,]))?"
)


@lru_cache(maxsize=32)
def _number(decimal: str, thousands: str) -> re.Pattern[str]:
    mark, group = re.escape(decimal), re.escape(thousands)
    whole = r"\d+"
    if thousands:
        # In groups of three, or as in India of two before the last three.
        threes = rf"[1-9]\d{{0,2}}(?:{group}\d{{3}})+(?!\d)"
        whole = rf"{threes}|[1-9]\d?(?:{group}\d\d)+{group}\d{{3}}(?!\d)|\d+"
    return re.compile(
        rf"(?P<minus>[+-]?)\s*(?:10\^\(?(?P<power>[+-]?\d{{1,4}})\)?"
        rf"|(?P<whole>{whole})(?:{mark}(?P<part>\d*))?{_EXPONENT}"
        rf"|{mark}(?P<only>\d+)(?:[eE](?P<e2>[+-]?\d{{1,4}}))?)",
        re.ASCII,
    )


_PLAIN_FORMAT = NumberFormat()
_LARGEST = 1e308
_ZEROS = frozenset({"0", "0.0", "0.00", "0.000", "0,0", "0,00", "0,000"})
_BOUNDS = {"<": -1, ">": 1}


def read_number(text: str, format: NumberFormat = _PLAIN_FORMAT) -> Reading:
    """Read the number in a cell.

    Parameters
    ----------
    text
        The cell. Missing marks are refused like all that is no number; ask `is_missing` first.
    format
        The column's decimal and thousands marks.

    Raises
    ------
    LabelError
        With the reason.

    Examples
    --------
    >>> read_number("> 5.2"), read_number("0.3 µM").unit
    (Reading(value=5.2, sign=1, unit=''), 'µM')
    >>> read_number("1.234,5", NumberFormat(",", ".")).value
    1234.5
    """
    # Nearly all cells: what Python reads, but for its 1_000, inf, nan and what it rounds to 0.
    sign = 0
    bare = text
    if text[:1] in _BOUNDS:
        sign = _BOUNDS[text[0]]
        bare = text[2:] if text[1:2] == "=" else text[1:]
    try:
        if format.decimal == ".":
            value = float(bare)
        else:
            value = float(bare.replace(".", "?").replace(",", "."))
        if -_LARGEST < value < _LARGEST and (value or bare in _ZEROS) and "_" not in bare:
            return Reading(value, sign, "")
    except ValueError:
        pass
    body = " ".join(plain(text).split())
    formula = re.fullmatch(r'="(.*)"|"(.*)"|\'(.*?)\'?', body)
    if formula:
        body = (formula[1] or formula[2] or formula[3] or "").strip()
    sign = 0
    qualifier = _QUALIFIER.match(body)
    if qualifier:
        sign = read_qualifier(qualifier[0])
        body = body[qualifier.end() :]
    found = _number(format.decimal, format.thousands).match(body)
    if found is None or _DATE.fullmatch(body):
        raise LabelError(_why_not(text, body, format))
    rest = body[found.end() :]
    unit = _REPEATS.sub("", rest).strip()
    if unit and not (_may_follow(rest) and is_unit(unit) and _is_stated(unit)):
        raise LabelError(_why_not(text, rest, format, after=True))
    if found["power"] is not None:
        digits = f"1e{found['power']}"
    elif found["only"] is not None:
        digits = f".{found['only']}e{found['e2'] or 0}"
    else:
        whole = found["whole"]
        if format.thousands:
            whole = whole.replace(format.thousands, "")
        exponent = found["e"] or found["ten"] or found["lost"] or "0"
        digits = f"{whole}.{found['part'] or ''}e{exponent}"
    value = _finite(float(f"{found['minus']}{digits}"), digits, text)
    return Reading(value, sign, _as_written(text, unit))


def _as_written(text: str, unit: str) -> str:
    """The unit as the cell has it, where that is at its end."""
    tail = text.strip()[-len(unit) :] if unit else ""
    return tail if plain(tail) == unit else unit


def _may_follow(rest: str) -> bool:
    """Whether a unit may begin like this: not with a digit or a sign, which belong to a number."""
    return not re.match(r"\d|[-+.,/*']|\s+[-+.,/*']", rest)


def _is_stated(unit: str) -> bool:
    """Whether a unit behind a number says all: "5 p" and "5 log" do not."""
    known = parse_unit(unit)
    return unit.lower() != "p" and (known is None or not known.own)


def _finite(value: float, digits: str, text: str) -> float:
    if not math.isfinite(value):
        raise LabelError(f"'{text}' is too large for a number")
    if value == 0 and re.search("[1-9]", digits.lower().split("e")[0]):
        raise LabelError(f"'{text}' is too small for a number")
    return value


def _why_not(text: str, body: str, format: NumberFormat, after: bool = False) -> str:
    """Why a cell is not a number: `body` is what could not be read, at or after the number."""
    whole = " ".join(plain(text).split())
    bare = _QUALIFIER.sub("", whole, count=1) if _QUALIFIER.match(whole) else whole
    if not bare:
        return f"'{text}' is not a number" if text else "the cell is empty"
    if is_missing(bare):
        return f"'{text}' is not a number"
    if _ERRORS.fullmatch(bare):
        return f"'{text}' is an error of a spreadsheet"
    if _DATE.fullmatch(bare):
        return f"'{text}' is a date or time, not a number"
    if re.fullmatch(r"[+-]?(inf|infinity|∞)", bare, re.IGNORECASE):
        return f"'{text}' is not a finite number"
    if _CURRENCY.search(bare):
        return f"'{text}' is money, not a measurement"
    if _LIMIT.fullmatch(bare) or _LIMIT.fullmatch(bare.split(" ")[-1]):
        return f"'{text}' is a limit without its number"
    if not after:
        return f"'{text}' is not a number"
    if _SPREAD.search(body):
        return f"'{text}' is a number with its error, not one number"
    if ".." not in bare and re.match(r"[.,' ]\d", body):
        return f"'{text}' is not a number{_mark_hint(body[0], format)}"
    if _LIST.search(body):
        return f"'{text}' is several values, not one number"
    if _RANGE.search(body):
        return f"'{text}' is a range, not one number"
    word = body.strip()
    if re.match(r"[^\W\d_]", word):
        return f"'{text}' is not a number: '{word}' is not a unit that is known"
    return f"'{text}' is not a number"


def _mark_hint(mark: str, format: NumberFormat) -> str:
    if mark == format.decimal:
        return ": two decimal marks"
    known = f"; the column's decimal mark is '{format.decimal}'"
    if format.thousands:
        known += f", its thousands mark '{format.thousands}'"
    return known


# --- the format of a column -----------------------------------------------------------------------

_CELL = re.compile(
    rf"\s*(?:[{_SIGNS}/\s]+|(?:{_SIGN_PATTERN})\s*)?[+-]?\s*"
    r"(?P<number>[.,]\d+|\d+(?:[.,' ]\d+)*)(?P<exponent>\s?[eE][+-]?\d|\s*[x×·*]\s*10)?",
    re.IGNORECASE,
)


class _Evidence:
    """What the cells of a column say about marks, with the first example by alphabet of each."""

    def __init__(self) -> None:
        self.decimals: dict[str, str] = {}
        self.thousands: dict[str, str] = {}
        # One mark before exactly three digits.
        self.either: dict[str, str] = {}
        # Numbers of up to three and of more digits before any mark, without a thousands mark.
        self.short_whole = ""
        self.long_whole = ""

    def add(self, text: str) -> None:
        bare = plain(text)
        cell = _CELL.match(bare)
        if cell is None or _DATE.fullmatch(bare):
            return
        number = cell["number"]
        if " " in number and not _grouped(re.split("[.,]", number)[0], " "):
            number = number.split(" ")[0]
        marks = [mark for mark in number if not mark.isdigit()]
        if not marks:
            self.whole(number, text)
            return
        last = marks[-1]
        if len(marks) == 1 and last in DECIMALS:
            if cell["exponent"] or not _grouped(number, last):
                _note(self.decimals, last, text)
                self.whole(number.split(last)[0], text, short=False)
            else:
                _note(self.either, last, text)
        elif len(set(marks)) == 1:
            if _grouped(number, last):
                _note(self.thousands, last, text)
        elif (
            len(set(marks)) == 2
            and marks.count(last) == 1
            and last in DECIMALS
            and _grouped(number.split(last)[0], marks[0])
        ):
            _note(self.thousands, marks[0], text)
            _note(self.decimals, last, text)

    def whole(self, digits: str, text: str, short: bool = True) -> None:
        if len(digits) > 3:
            self.long_whole = min(self.long_whole or text, text)
        elif short and digits:
            self.short_whole = min(self.short_whole or text, text)


def _note(examples: dict[str, str], mark: str, text: str) -> None:
    """Keep the example that is first by alphabet, so that the order of rows does not matter."""
    known = examples.get(mark)
    if known is None or text < known:
        examples[mark] = text


def _grouped(number: str, mark: str) -> bool:
    groups = number.split(mark)
    first, middle, last = groups[0], groups[1:-1], groups[-1]
    if len(groups) < 2 or len(last) != 3 or not first or first[0] == "0":
        return False
    if not all(group.isdigit() for group in groups):
        return False
    threes = len(first) <= 3 and all(len(group) == 3 for group in middle)
    return threes or (len(first) <= 2 and all(len(group) == 2 for group in middle))


# What needs no closer look: digits with at most one mark.
_EASY = re.compile(r"\s*[<>=~]*\s*[+-]?(\d*)(?:([.,])(\d*))?\s*", re.ASCII)
FORCE = "say which with --decimal and --thousands"


def detect_format(
    texts: Iterable[str], decimal: str | None = None, thousands: str | None = None
) -> NumberFormat:
    """The decimal and thousands marks of a column, from all its cells in any order.

    A mark is decimal if other than three digits follow it anywhere, or a leading zero or an
    exponent says so; it separates thousands if it occurs twice in a number, or before another mark.
    A comma that is followed by three digits wherever it occurs may be either, and is refused; so is
    such a point if there are whole numbers below 1000 without one.

    Parameters
    ----------
    texts
        The cells; what is no number is passed over.
    decimal, thousands
        Marks that are known.

    Raises
    ------
    LabelError
        If both readings are possible, or the column contradicts itself.

    Examples
    --------
    >>> found = detect_format(["1.234,5", "7"])
    >>> found.decimal, found.thousands
    (',', '.')
    """
    evidence = _Evidence()
    for text in texts:
        easy = _EASY.fullmatch(text)
        if easy is None:
            evidence.add(text)
            continue
        whole, mark, part = easy.groups()
        if not part:
            evidence.whole(whole, text)
        elif len(part) == 3 and 0 < len(whole) < 4 and whole[0] != "0":
            _note(evidence.either, mark, text)
        else:
            _note(evidence.decimals, mark, text)
            evidence.whole(whole, text, short=False)
    mark = _decimal_mark(evidence, decimal, thousands)
    groups = _thousands_mark(evidence, mark, thousands)
    told = evidence.decimals or evidence.thousands or decimal is not None or thousands is not None
    doubtful = "" if told else evidence.either.get(mark, "")
    return NumberFormat(mark, groups, _why(evidence, mark, groups), doubtful)


def either_reading(text: str, mark: str) -> str:
    """Say that a mark before three digits may separate thousands or be the decimal one."""
    return f"'{text}' may be {text.replace(mark, '')} or {text.replace(mark, '.')}"


def _decimal_mark(evidence: _Evidence, decimal: str | None, thousands: str | None) -> str:
    found = evidence.decimals
    if decimal is not None:
        other = next((text for mark, text in found.items() if mark != decimal), None)
        if other is not None:
            raise LabelError(f"'{other}' does not have the decimal mark '{decimal}'")
        return decimal
    if len(found) == 2:
        raise LabelError(
            f"'{found['.']}' has a decimal point and '{found[',']}' a decimal comma; write all "
            "numbers of a column in one way"
        )
    if found:
        return next(iter(found))
    groups = evidence.thousands
    open_marks = {m: t for m, t in evidence.either.items() if m not in groups and m != thousands}
    if len(open_marks) == 2:
        raise LabelError(
            f"'{open_marks['.']}' and '{open_marks[',']}': which mark is the decimal one, and "
            f"which separates thousands, cannot be told; {FORCE}"
        )
    if open_marks:
        mark, text = next(iter(open_marks.items()))
        # Machines write points, and leave them away only before no digits at all.
        told = bool(groups) or thousands is not None or (mark == "." and not evidence.short_whole)
        if not told:
            raise LabelError(
                f"{either_reading(text, mark)}, for three digits follow every '{mark}' of the "
                f"column; {FORCE}"
            )
        return mark
    return "," if "." in groups or thousands == "." else "."


def _thousands_mark(evidence: _Evidence, decimal: str, thousands: str | None) -> str:
    groups = evidence.thousands
    open_marks = {m: t for m, t in evidence.either.items() if m != decimal}
    if decimal in groups:
        decided = evidence.decimals.get(decimal)
        other = f", but in '{decided}' it is the decimal mark" if decided else ""
        raise LabelError(f"in '{groups[decimal]}' a '{decimal}' separates thousands{other}")
    marks = {**open_marks, **groups}
    if thousands is not None:
        strange = next((text for mark, text in marks.items() if mark != thousands), None)
        if strange is not None:
            wanted = f"has another thousands mark than '{thousands}'" if thousands else "has marks"
            raise LabelError(f"'{strange}' {wanted}")
        return thousands
    if len(marks) > 1:
        first, second = list(marks.values())[:2]
        raise LabelError(f"'{first}' and '{second}' separate thousands in two ways")
    if not marks:
        return ""
    mark, text = next(iter(marks.items()))
    if mark not in groups and evidence.long_whole:
        raise LabelError(
            f"'{text}' beside '{evidence.long_whole}': whether '{mark}' separates thousands cannot "
            f"be told; {FORCE}"
        )
    return mark


def _why(evidence: _Evidence, decimal: str, thousands: str) -> str:
    grouped = evidence.thousands.get(thousands) or evidence.either.get(thousands)
    comma = evidence.decimals.get(",") or evidence.either.get(",") if decimal == "," else None
    parts = [f"thousands as in '{grouped}'"] if grouped else []
    parts += [f"decimal comma as in '{comma}'"] if comma else []
    if grouped and comma == grouped:
        return f"thousands and decimal comma as in '{comma}'"
    return ", ".join(parts)
