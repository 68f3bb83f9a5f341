"""Marks that say that there is no value."""

from __future__ import annotations

from fluid.learn.cells.plain import plain

# Spreadsheets, R, pandas, databases, statistics packages.
_PROGRAMS = """
    #n/a #na #n/a! #nv #null #null! #n/v n/a na <na> nan -nan <nan> nat <nat> none <none> null (null)
    <null> nil \\n nd n.d. n/d n.d
"""
# The rest is what people write; English, German, French, Spanish, Italian, Portuguese, Dutch,
# Japanese, Chinese.
_WORDS = (
    "n.a. n.a n.t. n.t nt n/t n.m. n/m n.v. n.b. k.a. k.d. s/d tbd t.b.d. unknown unk missing "
    "blank empty pending untested unmeasured"
).split() + [
    "no data",
    "no value",
    "no result",
    "no results",
    "not available",
    "not applicable",
    "not assayed",
    "not determined",
    "not done",
    "not measured",
    "not reported",
    "not run",
    "not tested",
    "to be determined",
    "keine angabe",
    "keine daten",
    "nicht bestimmt",
    "nicht gemessen",
    "nicht getestet",
    "nicht verfügbar",
    "non determine",
    "non déterminé",
    "non disponible",
    "non mesuré",
    "non testé",
    "no determinado",
    "no disponible",
    "sin datos",
    "non determinato",
    "non disponibile",
    "não determinado",
    "não disponível",
    "sem dados",
    "niet bepaald",
    "niet getest",
    "未測定",
    "未测定",
    "無",
    "データなし",
    "该数据缺失",
    "нет данных",
]
_WORDS = [word for word in _WORDS if word not in ("無", "该数据缺失")]
_SIGNS = ["", ".", "..", "...", "-", "--", "---", "?", "??", "*", "/", "\\", "_", "()"]
MISSING_MARKS = frozenset([*_PROGRAMS.split(), *_WORDS, *_SIGNS])
_LONGEST = max(map(len, MISSING_MARKS))


def is_missing(text: str) -> bool:
    """Whether a cell says that there is no value: ``""``, ``#N/A``, ``n.d.``, ``not tested``, ``-``.

    Case, dashes and blanks at both ends do not matter. In columns of classes some marks have a
    meaning, which `fluid.learn.cells.classes` knows.

    Examples
    --------
    >>> is_missing("#N/A"), is_missing(" — "), is_missing("0")
    (True, True, False)
    """
    if not text:
        return True
    # Nearly all cells are numbers.
    if text[-1] in "0123456789" or len(text) > 4 * _LONGEST:
        return False
    return " ".join(plain(text).casefold().replace("_", " ").split()) in MISSING_MARKS or (
        plain(text) == "_"
    )
