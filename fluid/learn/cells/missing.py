"""Marks of missing values."""

from __future__ import annotations

import re

from fluid.learn.cells.plain import plain

_PROGRAMS = r"""
    #n/a #na #n/a! #n/v #nv #null #null! n/a na <na> nan -nan <nan> nat <nat> none <none> null
    (null) <null> nil \n
"""
_ABBREVIATIONS = """
    n.a. n.a nd n.d. n.d n/d n.t. n.t nt n/t n.m. n/m n.v. n.b. k.a. k.d. s/d tbd t.b.d. unk
"""
_SIGNS = r". .. ... … - -- --- ? ?? * / \ _ ()"
# English, German, French, Spanish, Italian, Portuguese, Dutch, Russian, Japanese, Chinese.
_WORDS = """
    unknown|missing|blank|empty|pending|untested|unmeasured|no data|no value|no result|no results
    not available|not applicable|not assayed|not determined|not done|not measured|not reported
    not run|not tested|to be determined|data not available
    keine angabe|keine daten|nicht bestimmt|nicht gemessen|nicht getestet|nicht verfügbar
    non déterminé|non determine|non disponible|non mesuré|non testé|pas de données
    no determinado|no disponible|sin datos|non determinato|non disponibile|nessun dato
    não determinado|não disponível|sem dados|niet bepaald|niet getest|geen gegevens
    нет данных|не определено|未測定|データなし|未测定|无数据
"""
MISSING_MARKS = frozenset(
    ["", *_PROGRAMS.split(), *_ABBREVIATIONS.split(), *_SIGNS.split()]
    + [word.strip() for word in re.split(r"[|\n]", _WORDS.strip())]
)
_LONGEST = 2 * max(map(len, MISSING_MARKS))


def is_missing(text: str) -> bool:
    r"""Whether a cell marks a missing value: empty, ``#N/A``, ``n.d.``, "not tested", ``-``.

    Case, blanks and the kind of dash do not matter. In a column of classes some marks have a
    meaning, which `fluid.learn.cells.classes` knows.

    Examples
    --------
    >>> is_missing("#N/A"), is_missing(" — "), is_missing("Not  tested"), is_missing("0")
    (True, True, True, False)
    """
    if not text:
        return True
    # Nearly all cells are numbers.
    if text[-1] in "0123456789" or len(text) > _LONGEST:
        return False
    folded = " ".join(plain(text).casefold().split())
    return folded in MISSING_MARKS or folded.replace("_", " ") in MISSING_MARKS
