"""Units of measurement as exports spell them, and numbers on a task's scale.

A unit is a product of powers of known words, such as ``nmol/L``, ``10^-6 cm/s`` or
``uL/min/10^6 cells``, or a logarithm of one. A library of all units (pint) does not earn its place:
of 28 spellings that exports use it reads 14, knows neither cells nor logarithms of a quantity, and
takes body weight and microsomal protein for the same dimension; importing it takes half a second.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice, product

from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.plain import plain
from fluid.learn.task import LabelError, Task

Dimensions = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Unit:
    """What a unit measures.

    Attributes
    ----------
    dimensions
        Powers of mol, g, dm, s, cell and others; what stands below the line by weight (kg of body,
        mg of protein, g of tissue) are dimensions of their own.
    factor
        Value of the unit in these.
    slope
        Of a logarithm: number = `slope` * log10(quantity); 1 for log10, -1 for p. 0 if linear.
    own
        Of a logarithm: it does not say of what unit, so that it must be the task's own.
    """

    dimensions: Dimensions
    factor: Fraction
    slope: float = 0.0
    own: bool = False


# --- words ----------------------------------------------------------------------------------------

_PREFIXES = {
    "k": 3,
    "d": -1,
    "c": -2,
    "m": -3,
    "u": -6,
    "μ": -6,
    "mc": -6,
    "n": -9,
    "p": -12,
    "f": -15,
}
_LONG_PREFIXES = {
    "kilo": 3,
    "deci": -1,
    "centi": -2,
    "milli": -3,
    "micro": -6,
    "nano": -9,
    "pico": -12,
    "femto": -15,
}
_DM = ("dm", 1)
_LITRE = (("dm", 3),)
_MOLAR = (("dm", -3), ("mol", 1))
# Symbol, its prefixes, its dimensions, its value without a prefix.
_SYMBOLS: list[tuple[str, str, Dimensions, Fraction]] = [
    ("M", "m u μ mc n p f", _MOLAR, Fraction(1)),
    ("molar", "m u μ n p f", _MOLAR, Fraction(1)),
    ("mol", "k m u μ mc n p f", (("mol", 1),), Fraction(1)),
    ("g", "k m u μ mc n p f", (("g", 1),), Fraction(1)),
    ("L", "d c m u μ mc n p", _LITRE, Fraction(1)),
    ("l", "d c m u μ mc n p", _LITRE, Fraction(1)),
    ("m", "d c m u μ n", (_DM,), Fraction(10)),
    ("s", "m u μ n", (("s", 1),), Fraction(1)),
]
# Word, its long prefixes, as above.
_LONG: list[tuple[str, str, Dimensions, Fraction]] = [
    ("molar", "milli micro nano pico femto", _MOLAR, Fraction(1)),
    ("M", "milli micro nano pico femto", _MOLAR, Fraction(1)),
    ("mol", "kilo milli micro nano pico femto", (("mol", 1),), Fraction(1)),
    ("mole", "kilo milli micro nano pico femto", (("mol", 1),), Fraction(1)),
    ("gram", "kilo milli micro nano pico", (("g", 1),), Fraction(1)),
    ("gramme", "kilo milli micro nano pico", (("g", 1),), Fraction(1)),
    ("liter", "deci milli micro nano", _LITRE, Fraction(1)),
    ("litre", "deci milli micro nano", _LITRE, Fraction(1)),
    ("meter", "deci centi milli micro nano", (_DM,), Fraction(10)),
    ("metre", "deci centi milli micro nano", (_DM,), Fraction(10)),
    ("second", "milli micro nano", (("s", 1),), Fraction(1)),
]
_OTHERS: list[tuple[str, Dimensions, Fraction]] = [
    ("sec secs msec", (("s", 1),), Fraction(1)),
    ("min mins minute minutes", (("s", 1),), Fraction(60)),
    ("h hr hrs hour hours", (("s", 1),), Fraction(3600)),
    ("d day days", (("s", 1),), Fraction(86400)),
    ("wk week weeks", (("s", 1),), Fraction(604800)),
    ("cc", _LITRE, Fraction(1, 1000)),
    ("gm", (("g", 1),), Fraction(1)),
    ("cell cells hepatocyte hepatocytes", (("cell", 1),), Fraction(1)),
    ("IU", (("IU", 1),), Fraction(1)),
    ("U", (("U", 1),), Fraction(1)),
    ("% percent pct", (), Fraction(1, 100)),
    ("‰", (), Fraction(1, 1000)),
    ("fraction ratio unitless dimensionless", (), Fraction(1)),
    # As ChEMBL writes 10^-6 cm.
    ("ucm", (_DM,), Fraction(1, 10**7)),
]


def _symbols() -> dict[str, tuple[Dimensions, Fraction]]:
    found = {}
    for symbol, prefixes, dimensions, value in _SYMBOLS:
        found[symbol] = (dimensions, value)
        for prefix in prefixes.split():
            found[prefix + symbol] = (dimensions, value * Fraction(10) ** _PREFIXES[prefix])
    for word, prefixes, dimensions, value in _LONG:
        for prefix in ["", *prefixes.split()]:
            size = Fraction(10) ** _LONG_PREFIXES.get(prefix, 0)
            found[prefix + word] = (dimensions, value * size)
            found[prefix + word + "s"] = (dimensions, value * size)
    for words, dimensions, value in _OTHERS:
        found |= dict.fromkeys(words.split(), (dimensions, value))
    found["msec"] = (("s", 1),), Fraction(1, 1000)
    del found["Ms"]
    return found


_TABLE = _symbols()
_FOLDED: dict[str, list[str]] = {}
for _word in _TABLE:
    # M alone may be a molar or a metre, and is neither in small letters.
    if _word not in ("M", "m"):
        _FOLDED.setdefault(_word.casefold(), []).append(_word)

_TOKEN = re.compile(
    r"""
    (?P<power>(?:[x*]\s*)?10(?:'|\^|\*\*)\(?(?P<ten>[+-]?\d+)\)?
        | (?:[x*]\s*)?10(?=[+-]\d)(?P<lost>[+-]\d+)
        | 1(?:\.0+)?[eE](?P<exponent>[+-]?\d+))
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<word>[^\W\d_]+|%|‰) (?:\^?\(?(?P<up>[+-]?\d+)\)?)?
    | (?P<open>\() | (?P<close>\)(?:\^?\(?(?P<outer>[+-]?\d+)\)?)?)
    | (?P<over>/) | (?P<times>[.*])
    """,
    re.VERBOSE,
)
_BLANK = re.compile(r"\s+")
_NOUNS = re.compile(r"(?<=g)\s+(?:(?:liver\s+)?microsomal\s+)?prot(?:ein)?\b", re.IGNORECASE)
_OF_BODY = re.compile(r"(?<=kg)\s+(?:of\s+)?(?:bw|b\.w\.?|body\s?(?:weight|wt))$", re.IGNORECASE)
_MANY = 60
_HIGHEST_POWER = 30
# What stands below the line by weight, and its unit.
_REFERENCES = {
    Fraction(1000): ("kg of body weight", Fraction(1000)),
    Fraction(1): ("g of tissue", Fraction(1)),
}
_TISSUES = ("liver", "tissue", "brain")


class _Unknown(Exception):
    """A text is not a unit."""


class _Parser:
    """A unit's text, read from left to right."""

    def __init__(self, text: str, words: dict[str, str]) -> None:
        self.words = words
        self.tokens: list[re.Match[str]] = []
        position = 0
        while position < len(text):
            blank = _BLANK.match(text, position)
            if blank:
                position = blank.end()
                continue
            token = _TOKEN.match(text, position)
            if token is None:
                raise _Unknown
            self.tokens.append(token)
            position = token.end()
        self.at = 0
        self.seen: set[str] = set()

    def product(self, under: bool = False) -> tuple[dict[str, int], Fraction]:
        """Powers and factor of what follows; `under` if it stands below a line."""
        powers: dict[str, int] = {}
        factor = Fraction(1)
        over = divided = False
        first = True
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token["close"] is not None:
                break
            if token["over"] is not None or token["times"] is not None:
                # Of what stands after a product after a stroke nobody knows on which side it is.
                if first or self.at + 1 == len(self.tokens) or (token["times"] and divided):
                    raise _Unknown
                over = token["over"] is not None
                divided |= over
                self.at += 1
                if self._joins():
                    raise _Unknown
            elif divided:
                # A blank after a stroke: only between what makes one factor.
                raise _Unknown
            more, size = self._factor(over != under)
            sign = -1 if over else 1
            for name, power in more.items():
                powers[name] = powers.get(name, 0) + sign * power
            factor *= size**sign
            over = first = False
        if first:
            raise _Unknown
        return powers, factor

    def _joins(self) -> bool:
        token = self.tokens[self.at]
        return token["over"] is not None or token["times"] is not None

    def _factor(self, under: bool) -> tuple[dict[str, int], Fraction]:
        """The next factor; `under` if it stands below the line."""
        token = self.tokens[self.at]
        self.at += 1
        if token["open"] is not None:
            powers, factor = self.product(under)
            if self.at == len(self.tokens):
                raise _Unknown
            close = self.tokens[self.at]
            self.at += 1
            outer = int(close["outer"] or 1)
            return {name: power * outer for name, power in powers.items()}, factor**outer
        if token["power"] is not None:
            ten = int(token["ten"] or token["lost"] or token["exponent"])
            if abs(ten) > _HIGHEST_POWER:
                raise _Unknown
            return self._with_unit(under, Fraction(10) ** ten)
        if token["number"] is not None:
            one = token["number"] == "1"
            if not Fraction(token["number"]):
                raise _Unknown
            if not (under or (one and self.at < len(self.tokens) and self._joins())):
                raise _Unknown
            return self._with_unit(under, Fraction(token["number"]))
        if token["word"] is None:
            raise _Unknown
        if token["word"].lower() == "million":
            return self._with_unit(under, Fraction(10**6))
        return self._word(token, under)

    def _with_unit(self, under: bool, number: Fraction) -> tuple[dict[str, int], Fraction]:
        """A number, and below the line the unit that it counts."""
        if under and self.at < len(self.tokens) and self.tokens[self.at]["word"] is not None:
            powers, factor = self._factor(under)
            return powers, factor * number
        return {}, number

    def _word(self, token: re.Match[str], under: bool) -> tuple[dict[str, int], Fraction]:
        word = self.words.get(token["word"], token["word"])
        if word not in _TABLE:
            raise _Unknown
        if token["word"] in self.seen:
            raise _Unknown
        self.seen.add(token["word"])
        up = int(token["up"] or 1)
        if abs(up) > _HIGHEST_POWER or up == 0:
            raise _Unknown
        dimensions, size = _TABLE[word]
        if dimensions == (("g", 1),) and (up < 0) != under:
            # Per kg is of body weight, per mg of protein, per g of a tissue: no kind is another.
            kind, reference = _REFERENCES.get(size, ("mg of protein", Fraction(1, 1000)))
            after = self.tokens[self.at] if self.at < len(self.tokens) else None
            if after is not None and after["word"] in _TISSUES:
                self.at += 1
                kind, reference = f"g of {after['word']}", Fraction(1)
            dimensions = ((kind, 1),)
            size /= reference
        return {name: power * up for name, power in dimensions}, size**up


def _parse_linear(text: str, words: dict[str, str]) -> Unit | None:
    if len(text) > 2 * _MANY:
        return None
    text = text.replace("·", ".").replace("⋅", ".").replace("∙", ".").replace("×", "x")
    text = re.sub(r"\s+per\s+", "/", text)
    text = _OF_BODY.sub("", _NOUNS.sub("", text)).rstrip(". ")
    if not text or len(text) > _MANY:
        return None
    try:
        parser = _Parser(text, words)
        powers, factor = parser.product()
    except (_Unknown, ValueError, OverflowError):
        return None
    if parser.at < len(parser.tokens):
        return None
    return Unit(tuple(sorted((k, v) for k, v in powers.items() if v)), factor)


# --- logarithms -----------------------------------------------------------------------------------

_POTENCY = (
    r"(?:[IEAXGCLTD]C_?\s?(?:50|90)|GI_?50|MIC(?:90)?|Ki|Kd|Kb|K_i|K_d|A2|CHEMBL(?:[\s_.]?VALUE)?)"
)
_P_NAME = re.compile(rf"p[\s_-]?{_POTENCY}|p", re.IGNORECASE)
_LOG = re.compile(
    r"(?P<sign>[-+]|neg(?:ative)?[\s_]*|minus[\s_]*)?\s*"
    rf"(?P<name>log[\s_]?10|log[\s_]?2|log|lg|ln)(?:(?![a-z0-9])|(?={_POTENCY})|(?=(?-i:[mun]?M)\b))"
    r"[\s_]*(?P<rest>.*)",
    re.IGNORECASE,
)
_OF_QUANTITY = re.compile(rf"{_POTENCY}\s*(?:$|[/,]\s*|\s+in\s+|\s+|(?=[\[(]))", re.IGNORECASE)
_SLOPES = {"2": math.log2(10), "n": math.log(10)}
_P = Unit(_MOLAR, Fraction(1), -1.0)


def _unbracketed(text: str) -> str:
    text = text.strip()
    while len(text) > 1 and text[0] + text[-1] in ("()", "[]", "{}", "<>"):
        inner = text[1:-1]
        depth = 0
        for character in inner:
            depth += (character in "([{<") - (character in ")]}>")
            if depth < 0:
                return text
        text = inner.strip()
    return text


def _parse(text: str, words: dict[str, str]) -> Unit | None:
    text = _unbracketed(text)
    if _P_NAME.fullmatch(text):
        return _P
    log = _LOG.fullmatch(text)
    if log is None:
        return _parse_linear(text, words)
    name = log["name"].lower()
    slope = _SLOPES.get(name[-1], 1.0)
    if log["sign"] not in (None, "+"):
        slope = -slope
    inner = _unbracketed(log["rest"])
    quantity = _OF_QUANTITY.match(inner)
    if quantity:
        inner = _unbracketed(inner[quantity.end() :])
    if not inner or inner.lower() in ("unit", "units"):
        return Unit((), Fraction(1), slope, own=True)
    # "log D", "log P" and "log S" are no logarithms of days, picos or seconds.
    if len(inner) == 1 and inner != "M":
        return None
    unit = _parse_linear(inner, words)
    return None if unit is None else Unit(unit.dimensions, unit.factor, slope)


@lru_cache(maxsize=4096)
def parse_unit(text: str) -> Unit | None:
    """A unit as it is spelled, capitals and small letters included; None if it is not known.

    Examples
    --------
    >>> parse_unit("nmol·L⁻¹") == parse_unit("nM")
    True
    """
    return _parse(plain(text), {})


@lru_cache(maxsize=4096)
def _variants(text: str) -> tuple[Unit, ...]:
    """What a unit may be if its capitals are not those of the field: NM, UG/ML, um."""
    text = plain(text)
    words = sorted({token["word"] for token in _TOKEN.finditer(text) if token["word"]})
    options = [[(word, known) for known in _FOLDED.get(word.casefold(), [word])] for word in words]
    choices: Iterator[tuple[tuple[str, str], ...]] = product(*options)
    found = (_parse(text, dict(choice)) for choice in islice(choices, _MANY))
    return tuple(dict.fromkeys(unit for unit in found if unit is not None))


def is_unit(text: str) -> bool:
    """Whether a text is a unit that is known, in the field's or in other capitals."""
    # Nothing longer is kept in the caches.
    return len(text) <= 2 * _MANY and (parse_unit(text) is not None or bool(_variants(text)))


def _normal(text: str) -> str:
    text = plain(text).casefold().replace("μ", "u")
    return re.sub(r"[\s\[\](){}]+", "", text)


def same_unit(first: str, second: str) -> bool:
    """Whether two texts name one unit.

    Units that are not known are the same if their texts are, but for case, blanks and brackets.

    Examples
    --------
    >>> same_unit("µM", "umol/L"), same_unit("nM", "mM")
    (True, False)
    """
    one, other = _resolve(first), _resolve(second)
    if one is not None and other is not None:
        return one == other
    return _normal(first) == _normal(second)


def _resolve(text: str) -> Unit | None:
    """The unit as it is spelled, or the one that it is in other capitals."""
    unit = parse_unit(text)
    variants = _variants(text) if unit is None else ()
    return variants[0] if len(variants) == 1 else unit


# --- conversion -----------------------------------------------------------------------------------


def _swap(dimensions: Dimensions, old: str, new: str) -> Dimensions:
    """The dimensions with one `old` above the line replaced by `new`."""
    powers = dict(dimensions)
    powers[old] = powers.get(old, 0) - 1
    powers[new] = powers.get(new, 0) + 1
    return tuple(sorted((name, power) for name, power in powers.items() if power))


def _mass_power(source: Dimensions, target: Dimensions) -> int | None:
    """Power of the molar mass (g/mol) by which a conversion multiplies; None if there is none."""
    if source == target:
        return 0
    if dict(source).get("g") == 1 and _swap(source, "g", "mol") == target:
        return -1
    if dict(source).get("mol") == 1 and _swap(source, "mol", "g") == target:
        return 1
    return None


@dataclass(frozen=True)
class _Plan:
    """How numbers of one unit become numbers on a task's scale."""

    ratio: Fraction
    source: float
    target: float
    mass_power: int

    def apply(self, value: float, mass: float | None) -> float:
        if self.mass_power and (mass is None or not mass > 0):
            raise LabelError("mass per volume needs the compound's molar mass, which is not known")
        size = 0.0 if not self.mass_power else self.mass_power * math.log10(mass or 1)
        if self.source == self.target and self.ratio == 1 and not size:
            return value
        if not self.source and not self.target:
            return value * float(self.ratio) * (mass or 1.0) ** self.mass_power
        size += math.log10(self.ratio.numerator) - math.log10(self.ratio.denominator)
        if self.source:
            exponent = value / self.source
        elif value > 0:
            exponent = math.log10(value)
        else:
            raise LabelError(f"{value:g} has no logarithm; the task's scale is logarithmic")
        exponent += size
        if self.target:
            return self.target * exponent
        if abs(exponent) > 300:
            raise LabelError(f"{value:g} is no logarithm of a quantity")
        return 10.0**exponent


_AS_IS = _Plan(Fraction(1), 1.0, 1.0, 0)
_LOG_SLOPES = {"log10": 1.0, "p": -1.0}


@lru_cache(maxsize=4096)
def _plan(text: str, unit: str, scale: str) -> _Plan | str:
    """How numbers of the unit `text` become labels, or why they cannot."""
    unit = "" if is_missing(unit) else unit
    own = parse_unit(unit)
    logarithmic = own is not None and own.slope != 0
    # What the labels are; None if it is not known.
    target = own
    if scale == "p" and not logarithmic:
        target = _P
    elif scale == "log10" and own is not None and not logarithmic:
        target = Unit(own.dimensions, own.factor, 1.0)
    if is_missing(text) or (unit and same_unit(text, unit)):
        if scale == "linear" or logarithmic:
            return _AS_IS
        if scale == "log10":
            return _Plan(Fraction(1), 0.0, 1.0, 0)
        if own is None:
            stated = f"unit '{unit}' is not known" if unit else "no unit is stated"
            return f"{stated}, and a label on the scale 'p' is made of mol/L"
        return _between(own, target, unit, unit)
    source = parse_unit(text)
    if source is not None and source.own:
        return _unknown_logarithm(source, target, text, unit, scale)
    if target is None or target.own:
        slope = _LOG_SLOPES.get(scale, 0.0) if target is None else target.slope
        return _without_unit(source, slope, text, unit)
    if source is not None and _mass_power(source.dimensions, target.dimensions) is not None:
        return _between(source, target, text, unit)
    fitting = [
        other
        for other in _variants(text)
        if _mass_power(other.dimensions, target.dimensions) is not None
    ]
    if len(fitting) == 1:
        return _between(fitting[0], target, text, unit)
    if len(fitting) > 1:
        why = "which may be several units in these capitals"
    elif source is None and not _variants(text):
        why = "which is not known"
    else:
        why = "which measures something else"
    return f"unit '{text}', {why}; the task's is {_named(unit, scale)}"


def _named(unit: str, scale: str) -> str:
    return f"'{unit}'" if unit else "none" if scale != "p" else "mol/L"


def _unknown_logarithm(
    source: Unit, target: Unit | None, text: str, unit: str, scale: str
) -> _Plan | str:
    """Of logarithms that do not say of what unit: only labels that are such ones themselves."""
    slope = _LOG_SLOPES.get(scale, 0.0) if target is None else target.slope
    log = _LOG_NAME.match(plain(unit))
    if slope == 0 and target is None and log is not None:
        slope = -1.0 if log["sign"] not in (None, "+") else 1.0
    bare = scale == "linear" and (not unit or target == Unit((), Fraction(1)))
    if bare or source.slope == slope:
        return _AS_IS
    return f"the numbers are logarithms ({text}), and the task's unit is {_named(unit, scale)}"


def _without_unit(source: Unit | None, slope: float, text: str, unit: str) -> _Plan | str:
    """Numbers with a unit for a task whose own is not known, or which has none."""
    # A task without a unit takes numbers without one, and those that are logarithms by name.
    bare = source is not None and (source.slope != 0 or source == Unit((), Fraction(1)))
    if not unit and slope == 0 and bare:
        return _AS_IS
    if not unit or slope:
        return f"unit '{text}', but the task states none"
    return f"unit '{text}', but the task's is '{unit}', which cannot be converted"


def _between(source: Unit, target: Unit | None, text: str, unit: str) -> _Plan | str:
    power = None if target is None else _mass_power(source.dimensions, target.dimensions)
    if target is None or power is None:
        # Of a task's own unit, it is the scale that does not fit.
        into = "mol/L, of which a label on the scale 'p' is made"
        return f"unit '{text}' cannot be converted to {into if text == unit else _named(unit, '')}"
    return _Plan(source.factor / target.factor, source.slope, target.slope, power)


def _plan_or_refuse(text: str, task: Task) -> _Plan:
    plan = _plan(text, task.unit, task.scale)
    if isinstance(plan, str):
        raise LabelError(plan)
    return plan


def convert(value: float, unit_text: str, task: Task, mass: float | None = None) -> float:
    """A number of a table on the scale of its task.

    Parameters
    ----------
    value
        The number.
    unit_text
        Its unit, as the cell, the unit column or the column's name states it; empty for the task's
        own. ``"p"`` and its like (see `unit_of_name`) are on a logarithmic scale already.
    task
        Says unit, scale and range.
    mass
        Molar mass of the compound in g/mol, for mass per volume.

    Returns
    -------
    float
        The label, within `task.low` and `task.high`.

    Raises
    ------
    LabelError
        If the unit is not known or of another kind, the number has no logarithm, or the label is
        outside the task's range.

    Examples
    --------
    >>> convert(10.0, "nM", Task("x", "regression", unit="uM", scale="p"))
    8.0
    """
    label = _plan_or_refuse(unit_text, task).apply(value, mass)
    if not task.low <= label <= task.high:
        stated = f" {task.unit}" if task.unit and task.scale == "linear" else ""
        raise LabelError(
            f"{label:g} is outside the task's range {task.low:g} to {task.high:g}{stated} "
            "(another unit?)"
        )
    return label


def direction(task: Task, unit_text: str) -> int:
    """1 if larger numbers of this unit are larger labels, -1 if smaller: ``>`` is then ``<``.

    Raises
    ------
    LabelError
        If the unit cannot be converted.

    Examples
    --------
    >>> direction(Task("x", "regression", unit="uM", scale="p"), "nM")
    -1
    """
    plan = _plan_or_refuse(unit_text, task)
    return 1 if (plan.source or 1.0) * (plan.target or 1.0) > 0 else -1


# --- names of columns -----------------------------------------------------------------------------

_HAS_POTENCY = re.compile(rf"(?<![a-z]){_POTENCY}(?![a-z])|conc|potency|affinity", re.IGNORECASE)
_HAS_TIME = re.compile(r"half|t_?1/?2|thalf|time|mrt|tmax", re.IGNORECASE)
_P_WORD = re.compile(rf"(?<![A-Za-z])p[\s_-]?{_POTENCY}(?![A-Za-z])", re.IGNORECASE)
# "log IC50", "LogS", "logbb", "-log10(Ki)", "ln_CL"; "login" and "logistic" are none.
_LOG_NAME = re.compile(
    r"(?:^|(?<=[\s_(/]))(?P<sign>-\s*|(?:neg(?:ative)?|minus)[\s_]*)?"
    r"(?:(?P<log>log(?:_?10)?|lg)|(?P<log2>log_?2)|(?P<ln>ln))"
    rf"(?:$|[\s_(\[-]|{_POTENCY}|(?-i:[A-Z])|(?:p|d|s|k|bb|ps|kow|papp|hl|cl)(?![a-z]))",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\(((?:[^()]|\([^()]*\))*)\)|\[([^\[\]]*)\]")
_LOWER_MOLAR = {"nm": "nM", "um": "uM", "pm": "pM", "mm": "mM", "fm": "fM"}
_LONGEST_NAME = 200
_MASS_PER_VOLUME = (("dm", -3), ("g", 1))
_SPEED = (("dm", 1), ("s", -1))
_TIME = (("s", 1),)
_NUMERATORS = (_LITRE, (("mol", 1),), (("g", 1),), (_DM,))
_NUMBER_BEFORE = re.compile(r"(?<![\w.])[\d.]+$")
_MANGLED = re.compile(r"\.+(?!\d)|(?<!\d)\.+")
_SEPARATORS = r"[\s_,;/]+|(?<![a-z])(?:in|per)(?![a-z])"
_RANGE = re.compile(r"\d+-\d")
_HALF_LIFE = re.compile(r"(?<![a-z])t[\s_]?1\s?[/⁄]\s?2(?!\d)", re.IGNORECASE)
_POTENCY_UNIT = re.compile(rf"{_POTENCY}([munp]M)", re.IGNORECASE)
_JOINED = re.compile(rf"({_POTENCY})((?-i:[munp]M))(?![a-z])", re.IGNORECASE)
_TEN = re.compile(
    r"(?:[x×*]\s?)?(?<![0-9.])10"
    r"(?P<e>\s?(?:\^|\*\*|e|exp)\s?(?:\([+-]?\d{1,2}\)|[+-]?\d{1,2})|[+-]\d)(?![0-9.])",
    re.IGNORECASE,
)


def unit_of_name(column_name: str) -> str:
    """The unit that a column's name states, for `convert`; empty if it states none.

    Of logarithms it is ``"p"``, ``"log10(nM)"`` and the like, or ``"log10"`` if the name does not
    say of what. A concentration at which something else was measured is not the unit of the column.

    Examples
    --------
    >>> [unit_of_name(name) for name in ("IC50 (µM)", "IC50_nM", "pChEMBL Value", "logS")]
    ['uM', 'nM', 'p', 'log10']
    >>> unit_of_name("% inhibition at 10 uM")
    '%'
    """
    name = plain(column_name[:_LONGEST_NAME]).replace("μ", "u")
    # "t1/2" is no fraction, and the blank of "IC50nM" is only forgotten.
    name = _JOINED.sub(r"\1 \2", _HALF_LIFE.sub("thalf ", name))
    if _P_WORD.search(name):
        return "p"
    log = _LOG_NAME.search(name)
    potent = log is not None or _HAS_POTENCY.search(name) is not None
    unit = _bracketed_unit(name, potent) or _trailing_unit(name, potent)
    if not unit and " " not in name:
        # R writes points for what is no letter: "IC50..uM.".
        unit = _trailing_unit(_MANGLED.sub("_", name).strip("_"), potent)
    unit = _with_power(name, unit, potent)
    if _RANGE.match(unit):
        # "10-20 uM" is where something else was measured; as a power of ten it has a speed.
        spanned = parse_unit(unit)
        unit = unit if spanned is not None and spanned.dimensions == _SPEED else ""
    if not unit and re.match(r"(%|(percent|pct|perc)(?![a-z]))", name, re.IGNORECASE):
        unit = "%"
    if not unit and re.match(r"fraction(?![a-z])", name, re.IGNORECASE):
        unit = "fraction"
    known = parse_unit(unit)
    if log is None or (known is not None and known.slope):
        return unit
    base = "ln" if log["ln"] else "log2" if log["log2"] else "log10"
    return f"{'-' if log['sign'] else ''}{base}{f'({unit})' if unit else ''}"


def _with_power(name: str, unit: str, potent: bool) -> str:
    """The unit with a power of ten that stands elsewhere in a name: "cm/s x 10^-6".

    Where that power may as well have multiplied the numbers ("Papp x 10^6, cm/s"), or be another
    one (10E-6), the text is not read as a unit, so that the numbers are refused.
    """
    power = _TEN.search(name)
    if power is None or (power[0] in unit and power[0] != unit):
        return unit
    rest = f"{name[: power.start()]} {name[power.end() :]}"
    found = _bracketed_unit(rest, potent) or _trailing_unit(rest, potent)
    known = parse_unit(found)
    if known is None or known.dimensions != _SPEED:
        return unit
    ten = power["e"].strip()
    exponent = re.sub(r"[\s()^*]", "", ten)
    if re.fullmatch(r"-\d+", exponent):
        return f"10^{exponent} {found}"
    return f"{found} x 10{ten}"


def _as_unit(text: str, potent: bool) -> str:
    """The text if it is a unit, in the capitals that a potency needs."""
    text = text.strip()
    quantity = _OF_QUANTITY.match(text)
    text = _unbracketed(text[quantity.end() :] if quantity else text)
    if potent and text.lower() in _LOWER_MOLAR:
        known = parse_unit(text)
        return (
            text if known is not None and known.dimensions == _MOLAR else _LOWER_MOLAR[text.lower()]
        )
    if re.match(r"%\s*[^\W\d]", text):
        return "%"
    if len(text) == 1 and text not in "Mhsd%":
        return ""
    return text if _resolve(text) is not None else ""


def _bracketed_unit(name: str, potent: bool) -> str:
    for found in reversed(list(_BRACKETS.finditer(name))):
        inside = (found[1] or found[2] or "").strip()
        if inside in ("s", "d") and name[: found.start()][-1:].isalnum():
            continue  # "replicate(s)"
        units = [_as_unit(part, potent) for part in [inside, *re.split("[,;]", inside)]]
        if any(units):
            return next(filter(None, units))
    return ""


def _trailing_unit(name: str, potent: bool) -> str:
    # As it stands: "CLint uL/min/10^6 cells".
    for gap in re.finditer(r"[\s,;]+", name):
        tail = name[gap.end() :]
        unit = _resolve(tail) if len(tail) > 2 else None
        if unit is not None and not unit.slope and len(unit.dimensions) > 1:
            # "at 10 ug/mL" says at what something else was measured.
            return "" if _NUMBER_BEFORE.search(name[: gap.start()]) else tail
    # With other signs between: "clint_ul_min_mg".
    parts = [part for part in re.split(_SEPARATORS, name, flags=re.IGNORECASE) if part]
    for size in (3, 2):
        first = parse_unit(parts[-size]) if len(parts) > size else None
        tail = "/".join(parts[-size:])
        unit = _resolve(tail) if first is not None and first.dimensions in _NUMERATORS else None
        if unit is not None and len(unit.dimensions) > 1:
            return tail
    return _last_unit(name, parts, potent)


def _last_unit(name: str, parts: list[str], potent: bool) -> str:
    """A unit of one word at the end of a name, or a concentration anywhere in it."""
    for place in range(len(parts) - 1, 0, -1):
        if parts[place] in ("nM", "uM", "mM", "pM"):
            return "" if _NUMBER_BEFORE.search(parts[place - 1]) else parts[place]
    joined = _POTENCY_UNIT.fullmatch(parts[-1]) if parts else None
    if joined is not None:
        return _LOWER_MOLAR[joined[1].lower()]
    if len(parts) < 2 or _NUMBER_BEFORE.search(parts[-2]):
        return ""
    last = parts[-1]
    if last.lower() in ("%", "percent", "pct"):
        return "%"
    if potent and (last.lower() in _LOWER_MOLAR or last == "M"):
        return _as_unit(last, potent)
    unit = parse_unit(last)
    if unit is None:
        return ""
    if unit.dimensions == _TIME:
        return last if _HAS_TIME.search(name) else ""
    known = unit.dimensions in (_MOLAR, _MASS_PER_VOLUME, _SPEED) or last.lower() in ("nm", "um")
    return last if known and len(last) > 1 else ""
