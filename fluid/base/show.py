"""Text from elsewhere, made harmless where it is shown: on terminals, web pages, spreadsheets."""

from __future__ import annotations

import re
import unicodedata

# What a spreadsheet takes for a formula, full-width signs included.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_HARMLESS = re.compile(r"[+-]*|[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def shown(value: object, limit: int | None = None) -> str:
    r"""A value as one line of visible characters, at most `limit` of them.

    Control and format characters, which can move a terminal's cursor or turn the order of a text
    round, are escaped as in Python; so are line ends, lone surrogates and undecodable bytes. A long
    text is cut in the middle.

    Parameters
    ----------
    value
        Anything; its ``str`` is shown.
    limit
        Number of characters; None for no limit.

    Examples
    --------
    >>> print(shown("a\x9b31m\u202eb\nc"))
    a\x9b31m\u202eb\nc
    >>> shown("abcdefghijklm", 9)
    'abc...klm'
    """
    text = str(value)
    if limit is not None and len(text) > limit:
        # Escapes lengthen a text, so that it may be cut once more below.
        text = text[:limit] + text[-limit:]
        text = _cut(_escape(text), limit)
    else:
        text = _escape(text)
    return text if limit is None else _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = max(1, (limit - 3) // 2)
    return f"{text[:half]}...{text[-half:]}"


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    if "\udc80" <= character <= "\udcff":
        # How Python reads a byte that is not UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def hides(text: str) -> bool:
    """Whether a text holds control or format characters.

    Blanks of any kind pass, and lone surrogates, which fail where they are written.

    Examples
    --------
    >>> hides("gnp\u202exe"), hides("1\u00a0nM")
    (True, False)
    """
    return any(not c.isprintable() and unicodedata.category(c) not in ("Zs", "Cs") for c in text)


def printable(text: str) -> str:
    r"""Text for a data file: undecodable bytes as ``\xNN``, what else is invisible as blanks."""
    if text.isprintable():
        return text
    try:
        raw = text.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        raw = text.encode("utf-8", errors="backslashreplace")
    shown = raw.decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else " " for character in shown)


def shown_lines(text: str) -> str:
    """The lines of a text, each as `shown` without a limit."""
    return "\n".join(map(_escape, text.split("\n")))


def shown_json(text: str) -> str:
    r"""JSON with the same content, in which invisible characters are escaped as ``\uNNNN``.

    Examples
    --------
    >>> print(shown_json('["\u202e"]'))
    ["\u202e"]
    """
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def csv_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: one that could be gets an apostrophe before it.

    Numbers and mere signs stay as they are. To get the text back, remove one apostrophe where one
    or more stand before any of ``= + - @``, a tab or a line end.

    Examples
    --------
    >>> csv_cell("=1+1"), csv_cell("-12.5"), csv_cell("'=x"), csv_cell("CCO"), csv_cell("+")
    ("'=1+1", '-12.5', "''=x", 'CCO', '+')
    """
    if _FORMULA.match(text) and not _HARMLESS.fullmatch(text):
        return "'" + text
    return text
