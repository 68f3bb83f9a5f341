"""Which encoding a text is in.

ASCII and UTF-8 are known as such. Other files are read in each of the encodings that exports use:
the one in which marks stand where people write them, and words hold letters of one script and
case, is taken if it is clearly ahead of every other one that reads differently.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import IO

from fluid.chem.readers.files import open_bytes, pieces, reading
from fluid.chem.readers.table import Source

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
# Python's name, what people call it, and how much better it must read than the first.
_CANDIDATES = (
    ("cp1252", "Windows-1252", 0.0),
    ("mac_roman", "Mac Roman", 0.2),
    ("cp850", "DOS 850", 0.2),
    ("cp437", "DOS 437", 0.25),
    ("cp1250", "Windows-1250", 0.1),
    ("cp1251", "Windows-1251", 0.1),
    ("cp1253", "Windows-1253", 0.1),
    ("cp1254", "Windows-1254", 0.12),
    ("koi8_r", "KOI8-R", 0.1),
    ("gb18030", "GB18030", 0.05),
    ("cp932", "Shift-JIS", 0.05),
    ("euc_jp", "EUC-JP", 0.05),
    ("cp949", "EUC-KR", 0.05),
    ("big5", "Big5", 0.05),
)
# Penalty per character: a text that reads worse is none, and a lead that is smaller no lead.
_WORST = 0.5
_LEAD = 0.12
# Fields that are not ASCII and are looked at; of longer ones, the words.
_MOST_FIELDS = 600
_LONGEST_FIELD = 200
_EDGES = re.compile(rb'[,;\t\r\n"]+')
# Not text: of the codecs that Python calls text encodings, those for something else.
# Share of lines that may be damaged in a table whose other lines are ASCII.
_FEW = 0.1
_NO_TEXT = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf_7"}


@contextmanager
def open_text(source: Source, may_be_unknown: bool = False) -> Iterator[IO[str]]:
    """Text of a file; stray bytes that are not of its encoding come as lone surrogates.

    Parameters
    ----------
    may_be_unknown
        Whether a text whose encoding cannot be told is read all the same, with bytes that are not
        ASCII as lone surrogates, as where these cannot matter.

    Raises
    ------
    TableError
        If the encoding cannot be told, or is not the one that the options name.
    """
    with reading(source.path):
        encoding = source.options.encoding
        errors = "strict"
        if encoding is None:
            encoding = find_encoding(source, may_be_unknown)
            errors = "surrogateescape"
        elif codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"
        with open_bytes(source.path) as raw:
            yield io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")


def check_encoding(name: str) -> str | None:
    """What is wrong with the name of a text encoding, or None."""
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        return f"encoding '{name[:40]}' is unknown; examples are utf-8, cp1252, mac_roman, cp932"
    if not found._is_text_encoding or found.name.replace("-", "_") in _NO_TEXT:
        return f"'{name[:40]}' is not an encoding of text"
    return None


def find_encoding(source: Source, may_be_unknown: bool = False) -> str:
    """The encoding of a text, as Python knows it.

    Raises
    ------
    TableError
        If it cannot be told.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_first = True
    try:
        with open_bytes(source.path) as raw:
            for piece in pieces(raw):
                if is_first:
                    is_first = False
                    if (marked := _marked(piece)) and marked != "utf-8":
                        return marked
                if not piece.isascii() or decoder.getstate()[0]:
                    decoder.decode(piece)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return _judge(source, may_be_unknown)
    except (EOFError, OSError, zlib.error):
        pass  # damaged: whoever reads it will say so
    return "utf-8-sig"


def _marked(start: bytes) -> str | None:
    """The encoding that a byte order mark tells, or zeros in every other byte."""
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    start = start[: min(len(start), 4096) // 4 * 4]
    if b"\x00" not in start or len(start) < 8:
        return None
    quarter = len(start) / 4
    zeros = [start[place::4].count(0) / quarter for place in range(4)]
    if min(zeros[1:]) > 0.9 > zeros[0]:
        return "utf-32-le"
    if min(zeros[:3]) > 0.9 > zeros[3]:
        return "utf-32-be"
    if min(zeros[1], zeros[3]) > 0.4 and max(zeros[0], zeros[2]) < 0.1:
        return "utf-16-le"
    if min(zeros[0], zeros[2]) > 0.4 and max(zeros[1], zeros[3]) < 0.1:
        return "utf-16-be"
    return None


def _judge(source: Source, may_be_unknown: bool) -> str:
    """The encoding of a text that is not UTF-8, or not all of it."""
    fields = _foreign_fields(source)
    whole = [field for field in fields if _decode(field, "utf-8") is not None]
    if 2 * len(whole) >= len(fields):
        source.note(
            "some bytes are not UTF-8, as the rest is; they are read as \\xNN, and whatever holds "
            "them is judged by itself"
        )
        return "utf-8-sig"
    ranking = _rank(fields)
    best, name, texts = ranking[0]
    others = [(cost, other) for cost, other, found in ranking[1:] if found != texts]
    called = {candidate: title for candidate, title, _ in _CANDIDATES}
    if best <= _WORST and others[0][0] - best >= _LEAD:
        example = min(texts, key=len)[:40]
        source.note(
            f"text is read as {called[name]}, such as '{example}'; --encoding names another"
        )
        return name
    if may_be_unknown or _is_rare(source):
        source.note(
            "bytes outside ASCII are in an unknown encoding and are read as \\xNN; a value that "
            "holds them is judged by itself; --encoding names it"
        )
        return "utf-8-sig"
    if best > _WORST + _LEAD:
        raise source.fail(
            "is neither UTF-8 text nor in another encoding that makes words of it; if it is a "
            "table, name its encoding with --encoding"
        )
    readings = [(name, texts), (others[0][1], dict((n, t) for _, n, t in ranking)[others[0][1]])]
    shown = " or ".join(
        f"{called[candidate]} ({candidate}), which makes '{min(text, key=len)[:40]}' of it"
        for candidate, text in readings
    )
    raise source.fail(
        f"its encoding cannot be told: it may be {shown}; choose with --encoding, or save it as "
        "UTF-8"
    )


def _is_rare(source: Source) -> bool:
    """Whether few lines hold bytes outside ASCII, and the header none: these may be damage."""
    lines = foreign = 0
    with open_bytes(source.path) as raw:
        for piece in pieces(raw):
            for line in piece.splitlines():
                lines += 1
                foreign += not line.isascii()
                if lines == 1 and foreign:
                    return False
    return foreign <= _FEW * lines


def _foreign_fields(source: Source) -> list[bytes]:
    """Distinct fields that are not ASCII, or words of them."""
    found: dict[bytes, None] = {}
    tail = b""
    with open_bytes(source.path) as raw:
        for piece in pieces(raw):
            whole, mark, tail = (tail + piece).rpartition(b"\n")
            if not mark and len(tail) > 1 << 22:
                whole, tail = tail, b""
            _add_fields(found, whole)
            if len(found) >= _MOST_FIELDS:
                break
        else:
            _add_fields(found, tail)
    return [field for field in found if not field.isascii()] or [b"\xff"]


def _add_fields(found: dict[bytes, None], text: bytes) -> None:
    for line in text.splitlines():
        if line.isascii():
            continue
        for field in _EDGES.split(line):
            if field.isascii():
                continue
            words = [field] if len(field) <= _LONGEST_FIELD else field.split(b" ")
            for word in words:
                if not word.isascii():
                    found[word.strip()[:_LONGEST_FIELD]] = None
            if len(found) >= _MOST_FIELDS:
                return


def _decode(field: bytes, encoding: str) -> str | None:
    try:
        return field.decode(encoding)
    except UnicodeDecodeError:
        return None


def _rank(fields: list[bytes]) -> list[tuple[float, str, list[str]]]:
    """The candidates with their penalties, and what they make of the fields; the best first."""
    ranking = []
    for name, _, handicap in _CANDIDATES:
        total = count = 0.0
        texts = []
        for field in fields:
            text = _decode(field, name)
            if text is None:
                texts.append(field.decode("ascii", "replace"))
                total += 2
                count += 1
                continue
            texts.append(text)
            padded = f"\n{text}\n"  # the field's edges
            for place, character in enumerate(padded):
                if not character.isascii():
                    total += _penalty(padded[place - 1], character, padded[place + 1], name)
                    count += 1
        ranking.append((total / max(count, 1) + handicap, name, texts))
    return sorted(ranking, key=lambda entry: entry[0])


# Letters of Western Europe; those of others are rarer.
_WESTERN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüßœ")
_CYRILLIC = frozenset("оеаинтсрвлкмдпуяыгзч")
_GREEK = frozenset("αοιετσνηυρπκμλςάίέόήώύ")
_CHINESE = frozenset(
    "的一是不了在人有我他这个中大来上国到说们为子和地出道也时年得就那要下以生会自着去之过家学对可里后小么心"
    "多天而能好都然没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长"
    "活性化合物名称分子式结构编号浓度抑制率单位备注样品数据结果测试靶点批次质量实验溶解酸碱钠钾氯氟溴碘值度"
    "醇胺酯酮苯甲乙丙丁"
)
_TAIWANESE = frozenset(
    "的一是不了在人有我他這個中大來上國到說們為子和地出道也時年得就那要下以生會自著去之過家學對可裡後小"
    "活性化合物名稱分子式結構編號濃度抑制率單位備註樣品數據結果測試靶點批次質量實驗溶解酸鹼鈉鉀氯氟溴碘值度"
)
_JAPANESE = frozenset(
    "日一国人年大十二本中長出三時行見月分後前生五間上東四今金九入学高円子外八六下来気小七山話女北午百書先"
    "名川千水半男西電校語土木聞食車何南万毎白天母火右読友左休父雨"
    "活性値化合物名称分子式構造番号濃度阻害率単位備考試料結果測定標的質量実験溶解度酸塩基酵素"
)
_KOREAN = frozenset(
    "이다는의에가을를은고하지도사한기로그어아나서리자대시인정해스수있과상라들보제게적장전부일원주조성구여만오안공"
    "신진동선문관생국세무연분비물화학활합명칭결농도저율단위실험시료값번호스피린카페산염소"
)
_FREQUENT = {
    "gb18030": _CHINESE,
    "big5": _TAIWANESE,
    "cp932": _JAPANESE,
    "euc_jp": _JAPANESE,
    "cp949": _KOREAN,
}
# Where the standard behind the encoding lists what is used often: leads of two bytes.
_LISTS = {
    "gb18030": ("gb2312", 0xB0, 0xD7),
    "big5": ("big5", 0xA4, 0xC6),
    "cp932": ("euc_jp", 0xB0, 0xCF),
    "euc_jp": ("euc_jp", 0xB0, 0xCF),
    "cp949": ("euc_kr", 0xB0, 0xC8),
}


@lru_cache(maxsize=1 << 14)
def _penalty(before: str, character: str, after: str, encoding: str) -> float:
    """How little a character fits between its neighbours: from -0.5, for a sign, to 2."""
    category = unicodedata.category(character)
    if category[0] == "C":
        return 2.0
    script = _script(character) if character != "μ" or not after.isascii() else "MICRO"
    if script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL"):
        return _eastern(before, character, after, encoding)
    if script in ("LATIN", "GREEK", "CYRILLIC"):
        return _letter(script, before, character, after)
    return _mark(before, character, after)


def _script(character: str) -> str:
    return unicodedata.name(character, "NONE").split()[0] if not character.isascii() else ""


def _eastern(before: str, character: str, after: str, encoding: str) -> float:
    enclosed = 1.0 if before.isascii() and after.isascii() and (before + after).isalpha() else 0.0
    if character in _FREQUENT.get(encoding, ()) or _script(character) in ("HIRAGANA", "KATAKANA"):
        return enclosed
    name, first, last = _LISTS.get(encoding, ("ascii", 0, 0))
    try:
        lead = character.encode(name)[0]
    except UnicodeEncodeError:
        return 1.0 + enclosed
    return (0.4 if first <= lead <= last else 0.9) + enclosed


def _letter(script: str, before: str, character: str, after: str) -> float:
    sides = [side for side in (before, after) if side.isalpha()]
    if script == "GREEK" and not (before + after).strip("\n -(),0123456789"):
        return -0.4 if character in "αβγδκ" else 0.6
    if any((side.isascii() or _script(side) == "LATIN") != (script == "LATIN") for side in sides):
        return 1.0
    cost = 0.0
    if character.isupper() and before.islower():
        cost += 1.0
    elif character.islower() and after.isupper():
        cost += 0.7
    if script == "LATIN":
        if character.isupper() and before.isupper() and after.islower():
            cost += 0.6
        if before.isdigit():
            cost += 0.5
        cost += 0.0 if character.lower() in _WESTERN else 0.25
        cost += 0.15 if character in "ìùø" else 0.0
        cost += 0.25 if character in "ðÐþÞýÝ" else 0.0
        if not before.isascii() and not after.isascii():
            cost += 0.5
        if not sides and character != "Å":
            cost += 0.8 if (before + after).strip() else 0.5
    else:
        known = _CYRILLIC if script == "CYRILLIC" else _GREEK
        cost += 0.0 if character.lower() in known else 0.4
        cost += 0.15 if character.isupper() and (before.isupper() or not sides) else 0.0
        cost += 0.7 if not sides else 0.0
    return cost


def _mark(before: str, character: str, after: str) -> float:
    in_word = before.isalpha() and after.isalpha()
    if ord(character) >= 0x3000:  # punctuation and wide letters of East Asia
        return 0.8 if _script(character) == "HALFWIDTH" else 0.1
    if character in "≤≥±≈":
        return -0.5 if (after.isdigit() or after in " .-") and not before.isalpha() else 1.0
    if character in "µμ":
        return -0.5 if after in "MmgGlLsSAVUNKP" and not before.isalpha() else 0.5
    if character in "¹²³":
        return 0.0 if (before.isalnum() or before in ")]") and not after.isalnum() else 1.0
    if character == "°":
        return -0.3 if after in "CFK" and not before.isalpha() else 0.3
    if character == "’":
        if before.isalpha() and after.isalpha():
            return 0.0 if after == "s" else 0.2
        return 0.0 if before.isdigit() else 0.3
    if character in "‘“„«‹¡¿":
        return 0.05 if not before.isalnum() and after.isalnum() else 1.0
    if character in "”»›":
        return 0.05 if before.isalnum() and not after.isalnum() else 1.0
    if character in "–—":
        return 0.0 if before.isalnum() == after.isalnum() else 0.5
    if character in "×÷":
        return (
            0.0 if not in_word and (before + after).strip() == "" else 0.2 if not in_word else 1.0
        )
    if character in "…•·†‡§©®™€£¥%‰\xa0":
        return 0.6 if in_word else 0.05
    if character in "½¼¾":
        return 1.0 if before.isalpha() or after.isalnum() else 0.3
    return 1.0
