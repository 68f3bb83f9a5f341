"""SMILES files: a structure a line, and behind it a name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fluid.chem.readers.encodings import open_text
from fluid.chem.readers.layout import is_smiles, names_structure
from fluid.chem.readers.table import LONGEST_RECORD, Row, Source, bounded, clean
from fluid.chem.readers.text import find_dialect, read_rows, read_text, take_sample

# A SMILES, CXSMILES features in bars if there are any, and the name.
_MARKS = (",", ";")


def read_smiles(source: Source) -> Iterator[Row]:
    """The names of the columns, and then the rows; a SMILES file with a table's header is one."""
    with open_text(source, may_be_unknown=True) as text:
        sample, is_whole = take_sample(source, text)
        text.seek(0)
        header = next((clean(line) for line in sample if clean(line)), "")
        if source.options.delimiter or _is_table(header, sample):
            found = find_dialect(source, sample, is_whole, ",")
            if found is not None:
                yield from read_rows(source, text, *found)
            return
        yield Row(0, ["smiles", "id"])
        mark = _mark([clean(line) for line in sample if clean(line)])
        started = False
        comments = 0
        for number, line in enumerate(iter(lambda: text.readline(LONGEST_RECORD << 2), ""), 1):
            if len(line) >= LONGEST_RECORD << 2:
                raise source.fail(f"line {number}: it has {len(line):,} characters or more")
            bare = clean(line)
            if not bare:
                continue
            if bare[0] == "#":
                comments += 1
                started = started or _is_header(bare.lstrip("# "))
                continue
            if not started:
                started = True
                if _is_header(bare):
                    continue
            row = Row(number, _split(bare, mark))
            yield bounded(row) if len(line) > LONGEST_RECORD else row
        if comments:
            source.note(f"lines that begin with '#' are passed over ({comments:,})")


def read_list(source: Source) -> Iterator[Row]:
    """A text whose lines begin with a SMILES each, the first too, or else a delimited table."""
    with open_text(source, may_be_unknown=True) as text:
        sample, _ = take_sample(source, text)
    lines = [clean(line) for line in sample if clean(line)][:20]
    is_list = bool(lines) and all(map(is_smiles, lines)) and not source.options.delimiter
    yield from read_smiles(source) if is_list else read_text(source, "\t")


def _is_header(line: str) -> bool:
    words = re.split(r"[\s,;]+", line, maxsplit=1)
    return names_structure(words[0].lstrip("#")) and words[0].lower() != "mol"


def _split(line: str, mark: str | None) -> list[str]:
    """The SMILES of a line, with its CXSMILES features, and its name."""
    if mark is None:
        words = line.split(None, 1)
        if len(words) == 1:
            return [line, ""]
        smiles, name = words
    else:
        smiles, _, name = line.partition(mark)
        name = name.strip().strip('"')
    if name.startswith("|") and (end := name.find("|", 1)) > 0:
        smiles, name = f"{smiles} {name[: end + 1]}", name[end + 1 :].lstrip(f" \t{mark or ''}")
    return [smiles.strip(), name]


def _mark(lines: list[str]) -> str | None:
    """The mark behind every SMILES, which holds neither comma nor semicolon."""
    rows = [line for line in lines if line[0] != "#" and not _is_header(line)]
    for mark in _MARKS:
        if rows and all(mark in line.split(None, 1)[0] for line in rows):
            return mark
    return None


def _is_table(header: str, sample: list[str]) -> bool:
    """Whether the first line of a SMILES file heads a table: exports of databases often do."""
    header = header.lstrip("#")
    for mark in (",", ";", "\t", None):
        names = [name.strip().strip('"') for name in header.split(mark)]
        if len(names) < 2 or not any(map(names_structure, names)):
            continue
        # A SMILES has neither comma nor semicolon; "smiles<tab>id" reads the same either way.
        if mark in (",", ";") or (mark == "\t" and not names_structure(names[0])):
            return True
        rows = [line.strip().split(mark) for line in sample if line.strip()][1:]
        if len(names) > 2 and rows and all(len(row) == len(names) for row in rows):
            return True
    return False
