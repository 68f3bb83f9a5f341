"""Delimited text: which mark stands between the fields, and the rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import IO

from fluid.base.show import shown
from fluid.chem.readers.encodings import open_text
from fluid.chem.readers.layout import (
    Body,
    Layout,
    Record,
    find_layout,
    finish_layout,
    has_row_names,
)
from fluid.chem.readers.table import (
    LONGEST_LINE,
    LONGEST_RECORD,
    Row,
    Source,
    bounded,
    clean,
)

# In the order in which they are taken if a table can be read with either: a mark that is in every
# row and the header as often is one; commas also stand in numbers and names.
_DELIMITERS = "\t;|,"
# Two blanks or more, and one or more.
_WIDE, _NARROW = "  ", " "
# A line after the last one: if it does not come back as a row of its own, a quote is still open.
_END = "\x00end of table"
# Lines by which the delimiter and the header are chosen; fewer if they are long, but some.
_SAMPLE = 500
_SAMPLE_CHARACTERS = 1 << 20
_SOME = 6
_SEP = re.compile(r'"?sep=(.|\\t)"?[,;\t]*\s*', re.IGNORECASE)
_FIRST_OF_SPOTFIRE = "\\! filetype=Spotfire"
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_FORMULA = re.compile(r'\A="([^"]*)"\Z')
_BOX = frozenset("┌┏╔╭│┃║")


@dataclass(frozen=True)
class Dialect:
    """How the fields of a line are told apart.

    Attributes
    ----------
    delimiter
        The mark between two fields; blanks stand for runs of them.
    quote
        What stands around a field that holds one.
    is_escaped
        Whether a quote in a field has a backslash before it.
    is_wrapped
        Whether each line as a whole stands in quotes.
    """

    delimiter: str
    quote: str = '"'
    is_escaped: bool = False
    is_wrapped: bool = False


# A record as it is read: its line, its fields, and whether it may be too long.
_Raw = tuple[int, list[str], bool]


def read_text(source: Source, preferred: str) -> Iterator[Row]:
    """The names of the columns, and then the rows.

    Parameters
    ----------
    preferred
        The delimiter that fits the file's name, if the text leaves a choice.
    """
    with open_text(source) as text:
        sample, is_whole = take_sample(source, text)
        text.seek(0)
        found = find_dialect(source, sample, is_whole, preferred)
        if found is None:
            return
        yield from read_rows(source, text, *found)


def read_rows(source: Source, text: IO[str], dialect: Dialect, layout: Layout) -> Iterator[Row]:
    """The names of the columns, and then the rows of a text whose layout is known."""
    yield Row(layout.header, layout.columns)
    body = Body(source, layout)
    last = layout.last
    for line, fields, is_long in _records(source, text, dialect):
        if line <= last:
            continue
        values = [field.strip() for field in fields]
        joined = "".join(values)
        if not joined:
            continue
        if '="' in joined:  # how Excel is kept from making a number of a text
            values = [_FORMULA.sub(r"\1", value) for value in values]
        if not (joined.isascii() and joined.isprintable()):
            values = list(map(clean, values))
            if not any(values):
                continue
        row = body.row(line, values)
        if row is not None:
            yield bounded(row) if is_long else row
    body.finish()


def take_sample(source: Source, text: IO[str]) -> tuple[list[str], bool]:
    """The first lines of a text, and whether these are all."""
    sample: list[str] = []
    held = 0
    for line in _lines(source, text):
        sample.append(line)
        held += len(line)
        if len(sample) >= _SAMPLE or (held > _SAMPLE_CHARACTERS and len(sample) >= _SOME):
            return sample, False
    return sample, True


def _lines(source: Source, text: IO[str]) -> Iterator[str]:
    """The lines of a text, with their ends."""
    for number, line in enumerate(iter(partial(text.readline, LONGEST_LINE), ""), start=1):
        if len(line) == LONGEST_LINE:
            raise source.fail(f"line {number}: it has {LONGEST_LINE:,} characters or more")
        yield line


def find_dialect(
    source: Source, sample: list[str], is_whole: bool, preferred: str
) -> tuple[Dialect, Layout] | None:
    """How a text is written, by its first lines; None if they hold nothing.

    Raises
    ------
    TableError
        If its header cannot be told from its rows.
    """
    first = next((at for at, line in enumerate(sample) if clean(line)), None)
    if first is None:
        return None
    start = clean(sample[first])
    if start[0] in _BOX:
        raise source.fail(
            "is a table drawn with lines, as consoles of databases show it; export it as CSV"
        )
    skipped = 0
    delimiters = _given(source) or list(_DELIMITERS)
    if stated := _SEP.fullmatch(sample[first].strip("\r\n \ufeff")):
        mark = "\t" if stated[1] == "\\t" else stated[1]
        source.note(f"line {first + 1}: '{shown(start, 20)}' states the delimiter")
        delimiters = _given(source) or [mark]
        skipped = first + 1
    elif start.startswith(_FIRST_OF_SPOTFIRE):
        source.note(f"line {first + 1}: '{shown(start, 40)}' is passed over")
        delimiters = _given(source) or [";"]
        skipped = first + 1
    found = _best(source, sample, is_whole, skipped, delimiters, preferred)
    if found is None and '"' in start:
        raise source.fail(f"line {first + 1}: a quote is opened and never closed")
    if found is None:
        return None
    dialect, layout, records = found
    return dialect, finish_layout(source, layout, records)


def _given(source: Source) -> list[str] | None:
    return [source.options.delimiter] if source.options.delimiter else None


def _best(
    source: Source,
    sample: list[str],
    is_whole: bool,
    skipped: int,
    delimiters: list[str],
    preferred: str,
) -> tuple[Dialect, Layout, list[Record]] | None:
    """The dialect whose rows fit its header best."""
    found = []
    for place, delimiter in enumerate(delimiters):
        plain = Dialect(delimiter, is_escaped=_is_escaped(sample, delimiter))
        for dialect in (plain, replace(plain, quote="'")):
            if dialect.quote == "'" and not _has_single_quotes(sample[skipped:], delimiter):
                continue
            tried = _try(source, sample, is_whole, skipped, dialect)
            if tried is None:
                return None
            layout, records = tried
            if len(layout.columns) > 1 or layout.fit == 1:
                rank = (
                    layout.fit,
                    layout.is_named,
                    round(layout.share, 1),
                    dialect.quote == "'",
                    -place,
                )
                found.append((rank, dialect, layout, records))
    if found and not (len(delimiters) > 1 and max(found)[0][0] == 0):
        return max(found, key=lambda entry: entry[0])[1:]
    if len(delimiters) == 1:
        best = Dialect(delimiters[0])
    else:
        best = _without_mark(source, sample, is_whole, skipped) or (
            max(found, key=lambda entry: (entry[2].share, entry[0]))[1]
            if found
            else Dialect(preferred)
        )
    tried = _try(source, sample, is_whole, skipped, best)
    return None if tried is None else (best, *tried)


def _without_mark(
    source: Source, sample: list[str], is_whole: bool, skipped: int
) -> Dialect | None:
    """The dialect of lines whose fields have blanks between them, or quotes around them all."""
    lines = [line.strip() for line in sample[skipped:] if line.strip()]
    if len(lines) > 1 and all(len(line) > 2 and line[0] == line[-1] == '"' for line in lines):
        inner = [_unwrap(line) for line in lines]
        for mark in _DELIMITERS:
            counts = {line.count(mark) for line in inner}
            if len(counts) == 1 and counts != {0}:
                source.note("each line stands in quotes as a whole, which are left out")
                return Dialect(mark, is_wrapped=True)
    for blanks in (_WIDE, _NARROW):
        dialect = Dialect(blanks)
        tried = _try(source, sample, is_whole, skipped, dialect)
        if tried is None:
            return None
        layout, records = tried
        names = layout.columns
        is_sure = layout.share == 1 and len(lines) > 1 and len(names) + (layout.fit == 1) > 1
        if blanks == _NARROW and not any(name.lower() == "smiles" for name in names):
            is_sure = False
        if is_sure and (layout.fit == 3 or (layout.fit == 1 and has_row_names(layout, records))):
            source.note("the fields are taken to have blanks between them")
            return dialect
    return None


def _try(
    source: Source, sample: list[str], is_whole: bool, skipped: int, dialect: Dialect
) -> tuple[Layout, list[Record]] | None:
    lines = [""] * skipped + sample[skipped:]
    records = []
    try:
        for line, fields, _ in _parse(iter(line or "\n" for line in lines), dialect):
            records.append(Record(line, fields))
    except (_LongRecordError, _OpenQuoteError):
        pass  # an open quote: it is met again, and reported, where rows are read
    if not is_whole and len(records) > 1:
        records.pop()
    layout = find_layout(source, records)
    return None if layout is None else (layout, records)


def _is_escaped(sample: Iterable[str], delimiter: str) -> bool:
    """Whether quotes in quotes have a backslash; one may also stand before a field's last quote."""
    inside = re.compile(rf'\\"(?!\s*({re.escape(delimiter)}|$))')
    return any('\\"' in line and inside.search(line) for line in sample)


def _unescape(line: str) -> str:
    """A line in which quotes in quotes are doubled; no SMILES holds two backslashes in a row."""
    return re.sub(r'\\(["\\])', lambda found: '""' if found[1] == '"' else "\\", line)


def _has_single_quotes(sample: Iterable[str], delimiter: str) -> bool:
    first = next((line.strip() for line in sample if line.strip()), "")
    fields = first.split(delimiter)
    return all(len(name) > 1 and name.strip()[:1] == name.strip()[-1:] == "'" for name in fields)


def _unwrap(line: str) -> str:
    return line.strip()[1:-1].replace('""', '"')


def _records(source: Source, text: IO[str], dialect: Dialect) -> Iterator[_Raw]:
    """The records of a text.

    Raises
    ------
    TableError
        If a quote is never closed, or a line is too long.
    """
    lines = iter(partial(text.readline, LONGEST_LINE), "")
    try:
        yield from _parse(lines, dialect)
    except _OpenQuoteError as error:
        raise source.fail(f"line {error.line}: a quote is opened and never closed") from error
    except _LongRecordError as error:
        cause = "a quote is opened and never closed, or it" if error.is_open else "it"
        raise source.fail(
            f"line {error.line}: {cause} has {LONGEST_LINE:,} characters or more"
        ) from error


class _OpenQuoteError(Exception):
    """A quote is opened and never closed."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _LongRecordError(Exception):
    """A record is too long to be one."""

    line = 0
    is_open = False


def _parse(lines: Iterator[str], dialect: Dialect) -> Iterator[_Raw]:
    delimiter = dialect.delimiter
    if delimiter in (_WIDE, _NARROW):
        yield from _split_at_blanks(lines, delimiter)
        return
    if dialect.is_wrapped:
        lines = (_unwrap(line) + "\n" for line in lines)
    if dialect.is_escaped:
        lines = (_unescape(line) if "\\" in line else line for line in lines)
    csv.field_size_limit(LONGEST_LINE)
    record: list[str] = []
    make: Callable[..., Iterator[list[str]]] = partial(
        csv.reader, delimiter=delimiter, quotechar=dialect.quote, skipinitialspace=True
    )
    reader = make(_noted(lines, record))
    line = 1
    try:
        for fields in reader:
            if fields == [_END]:
                return
            is_long = len(record) > 1
            if is_long and not _is_well_quoted(record, make):
                raise _OpenQuoteError(line)
            is_long = is_long or len(record[0]) > LONGEST_RECORD
            record.clear()
            if fields:
                yield line, fields, is_long
            line = reader.line_num + 1  # type: ignore[attr-defined]
    except _LongRecordError as error:
        error.line, error.is_open = line, bool(record)
        raise


def _split_at_blanks(lines: Iterator[str], blanks: str) -> Iterator[_Raw]:
    for number, line in enumerate(lines, start=1):
        if len(line) >= LONGEST_LINE:
            error = _LongRecordError()
            error.line = number
            raise error
        text = line.strip()
        if blanks == _WIDE:
            fields = re.split(r"\s{2,}|\t", text)
        elif '"' in text:
            fields = [quoted or bare for quoted, bare in _WORD.findall(text)]
        else:
            fields = text.split()
        if text:
            yield number, fields, len(line) > LONGEST_RECORD


def _noted(lines: Iterator[str], record: list[str]) -> Iterator[str]:
    """The lines of a text and a last one, each kept in `record` until its owner clears it.

    Raises
    ------
    _LongRecordError
        If the lines that are kept hold too much, as those behind an open quote do.
    """
    held = 0
    for line in lines:
        held = held + len(line) if record else len(line)
        if held >= LONGEST_LINE:
            raise _LongRecordError
        record.append(line)
        yield line
    record.append(_END)
    yield _END


def _is_well_quoted(lines: list[str], make: Callable[..., Iterator[list[str]]]) -> bool:
    """Whether lines that were read as one row are one.

    If not, a stray quote joined them: it met the table's end, or the next quote of another row.
    """
    try:
        list(make(lines, strict=True))
    except csv.Error:
        return False
    return True
