"""One spelling for the characters that tables write in several ways."""

from __future__ import annotations

import html
import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_SUPERSCRIPT = re.compile(f"[{''.join(map(chr, _SUPERSCRIPTS))}]+")
_SAME = str.maketrans(
    dict.fromkeys("‐‑‒–—―−⁃", "-")
    | dict.fromkeys("‘’‛ʼ′`´", "'")
    | dict.fromkeys("“”„‟″", '"')
    # Zero-width characters, soft hyphens, byte-order and direction marks.
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", None)
    | dict.fromkeys("\u202a\u202b\u202c\u202d\u202e", None)
)


# UTF-8 that a program read as Windows-1252.
_TWICE = {
    "Âµ": "µ",
    "Î¼": "μ",
    "Â±": "±",
    "â‰¤": "≤",
    "â‰¥": "≥",
    "âˆ’": "-",
    "â€“": "-",
    "Â·": "·",
}
_MISREAD = re.compile("|".join(_TWICE))


def plain(text: str) -> str:
    """A text with usual dashes, quotes, blanks and digits, without invisible characters.

    Full-width characters become the usual ones, superscripts follow a ``^``, the micro sign becomes
    the Greek letter, ``&lt;`` its character, blanks at both ends go.

    Examples
    --------
    >>> plain(" １０⁻⁶\u202fcm/s "), plain("&gt; 5 ÂµM")
    ('10^-6 cm/s', '> 5 μM')
    """
    if "&" in text:
        text = html.unescape(text)
    if text.isascii():
        return text.strip()
    text = _MISREAD.sub(lambda found: _TWICE[found[0]], text)
    text = _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPTS), text)
    # Before normalising, for an acute accent alone would become a blank and a mark.
    text = unicodedata.normalize("NFKC", text.translate(_SAME)).translate(_SAME)
    return text.strip()
