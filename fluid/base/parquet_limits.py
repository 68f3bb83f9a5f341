"""What a Parquet file would take in memory, found before any of it is decoded.

A file of a few kilobytes can decode to gigabytes: a dictionary of one long key that every row
repeats, pages of zeros, a list that a run of one byte makes a billion items long. The sizes in the
footer may be wrong, and Arrow does not bound them. So the headers of all pages of a row group are
read first, the way that Arrow reads them: whatever they say, it decodes no more than that.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# A file may unpack to so many times its size. Honest tables reach 20.
LARGEST_RATIO = 200
# Up to here the ratio does not matter.
_SMALL = 1 << 24
# The same of what its pages decode to, as it is estimated: the longest text stands for all.
_DECODED_RATIO = 50
# Decoded bytes that are held at once: rows that are read one by one, and a whole row group.
_LARGEST_BATCH = 1 << 26
_LARGEST_GROUP = 1 << 29
# All pages that are held at once. DuckDB writes pages of up to 100 MB.
_LARGEST_PAGES = 5 << 27
_LARGEST_FOOTER = 1 << 23
# Elements of a list in the footer: row groups, or columns.
_MOST_ELEMENTS = 100_000
_USUAL_HEADER = 512
# Structures and lists in one another: the footer's row groups' columns' statistics' lists.
_DEEPEST = 10
_LARGEST_HEADER = 1 << 16
# In a column of a row group.
_MOST_PAGES = 20_000
# What a value takes beside its bytes, in Arrow and then as an object.
_VALUE = 64
# Rows that a small file may hold, and rows per byte of a large one.
_FEW_ROWS = 100_000
_ROWS_PER_BYTE = 20

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
# Page types and encodings of the format.
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
# Which field of a page's header tells more about a page of this kind.
_ABOUT = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
_DICTIONARY_CODED = (2, 8)
_DELTA_LENGTH, _DELTA_BYTES = 6, 7
_U32 = struct.Struct("<I")
# Codecs of the format by their numbers, as Arrow names them; two of them nobody writes any more.
_CODECS = {0: "", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}


@dataclass(frozen=True)
class Cost:
    """What decoding a row group takes, at most.

    Attributes
    ----------
    pages
        Bytes of the pages that are held at once.
    row
        Bytes of one decoded row; of all rows where a column holds lists.
    all_rows
        Bytes of all decoded rows.
    unpacked
        Bytes of all pages, decompressed.
    """

    pages: int
    row: int
    all_rows: int
    unpacked: int


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file whose footer is of a size that can be decoded.

    Raises
    ------
    pyarrow.ArrowException, OSError
        If it is larger, or the file is not one that Arrow reads.
    """
    with path.open("rb") as raw:
        raw.seek(max(0, path.stat().st_size - 8))
        tail = raw.read(8)
    if len(tail) == 8 and tail[4:] == b"PAR1" and _U32.unpack(tail[:4])[0] > _LARGEST_FOOTER:
        raise pa.ArrowInvalid(
            f"a footer of {_U32.unpack(tail[:4])[0]:,} bytes; at most {_LARGEST_FOOTER:,} are "
            "allowed"
        )
    return pq.ParquetFile(
        path,
        page_checksum_verification=True,
        thrift_string_size_limit=_LARGEST_FOOTER,
        thrift_container_size_limit=_MOST_ELEMENTS,
    )


class Limits:
    """Checks the row groups of a file one by one, as they are about to be read.

    Parameters
    ----------
    path, file
        A file, and what `open_parquet` made of it.

    Raises
    ------
    pyarrow.ArrowInvalid
        If the file states far more rows than its bytes can tell apart.
    """

    def __init__(self, path: Path, file: pq.ParquetFile) -> None:
        self._path, self._file = path, file
        self._size = path.stat().st_size
        self._unpacked = self._decoded = 0
        self._groups = read_chunks(path)
        metadata = file.metadata
        rows = sum(metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        most = max(_FEW_ROWS, _ROWS_PER_BYTE * self._size)
        if max(rows, metadata.num_rows) > most:
            raise pa.ArrowInvalid(
                f"{rows:,} rows in {self._size:,} bytes; at most {most:,} are allowed"
            )

    def batch_size(self, group: int, columns: Sequence[int], most: int) -> int:
        """How many rows of a row group can be decoded at once.

        Parameters
        ----------
        group
            Number of the row group.
        columns
            Numbers of the columns to be read, which hold no lists.
        most
            The largest answer.

        Raises
        ------
        pyarrow.ArrowInvalid
            If its pages are damaged or too large, if one row takes too much, or if the file
            unpacks to too many times its size.
        """
        row = self._check(group, columns).row
        if row > _LARGEST_BATCH:
            raise pa.ArrowInvalid(
                f"row group {group + 1}: a row takes up to {row:,} bytes; at most "
                f"{_LARGEST_BATCH:,} are allowed"
            )
        return min(most, max(1, _LARGEST_BATCH // max(1, row)))

    def check_whole(self, group: int, largest: int = _LARGEST_GROUP) -> None:
        """Check a row group that is decoded as a whole.

        Parameters
        ----------
        group
            Its number.
        largest
            Bytes that it may decode to.

        Raises
        ------
        pyarrow.ArrowInvalid
            If its pages are damaged or too large, or if it or the file decodes to too much.
        """
        found = self._check(group, range(self._file.metadata.num_columns)).all_rows
        if found > largest:
            raise pa.ArrowInvalid(
                f"row group {group + 1} decodes to up to {found:,} bytes; at most {largest:,} are "
                "allowed"
            )
        self._add(found, _DECODED_RATIO)

    def add(self, decoded: int) -> None:
        """Note how many bytes a batch was decoded to.

        Raises
        ------
        pyarrow.ArrowInvalid
            If all batches together are too many times the size of the file.
        """
        self._add(decoded, LARGEST_RATIO)

    def _add(self, decoded: int, ratio: int) -> None:
        self._decoded += decoded
        if self._decoded > max(_LARGEST_GROUP, ratio * self._size):
            raise pa.ArrowInvalid(
                f"decodes to more than {ratio} times its size of {self._size:,} bytes"
            )

    def _check(self, group: int, columns: Sequence[int]) -> Cost:
        chunks, rows = self._groups[group], self._file.metadata.row_group(group).num_rows
        if len(chunks) != self._file.metadata.num_columns:
            raise pa.ArrowInvalid(f"row group {group + 1} has not the columns of the schema")
        with self._path.open("rb", buffering=0) as raw:
            costs = [Cost(0, 0, 0, 0)]
            costs += [
                self._column(raw, chunks[n], self._file.schema.column(n), rows) for n in columns
            ]
        pages, row, all_rows, unpacked = (
            sum(part) for part in zip(*map(astuple, costs), strict=True)
        )
        if pages > _LARGEST_PAGES:
            raise pa.ArrowInvalid(
                f"row group {group + 1}: pages of {pages:,} bytes; at most {_LARGEST_PAGES:,} "
                "are allowed"
            )
        self._unpacked += unpacked
        if self._unpacked > max(_SMALL, LARGEST_RATIO * self._size):
            raise pa.ArrowInvalid(
                f"unpacks to more than {LARGEST_RATIO} times its size of {self._size:,} bytes"
            )
        return Cost(pages, row, all_rows, unpacked)

    def _column(self, raw: IO[bytes], chunk: Chunk, column: Any, rows: int) -> Cost:
        where = f"column '{column.path[:40]}'"
        try:
            pages = list(_pages(raw, chunk, self._size))
            longest = max([_longest(raw, page, chunk, column) for page in pages], default=0.0)
        except (IndexError, struct.error) as error:
            raise pa.ArrowInvalid(f"{where}: a page is damaged") from error
        data = [page for page in pages if page.kind != _DICTIONARY]
        values = sum(page.values for page in data)
        if values != rows and not column.max_repetition_level:
            raise pa.ArrowInvalid(f"{where} holds {values:,} values for {rows:,} rows")
        if column.max_repetition_level > 1:
            raise pa.ArrowInvalid(f"{where} holds lists of lists")
        width = _WIDTHS.get(column.physical_type, column.length)
        total = values * width
        if column.physical_type == "BYTE_ARRAY":
            total = sum(int(page.values * longest) if page.repeats else page.room for page in data)
            width = int(longest)
        # Where each value starts, or how deep it is in a list.
        total += 4 * values
        keys = sum(page.room for page in pages if page.kind == _DICTIONARY)
        return Cost(
            # A page, what it is unpacked from, and its values.
            keys + max([2 * page.room + page.packed for page in data], default=0),
            total if column.max_repetition_level else width + _VALUE,
            total,
            sum(page.room for page in pages),
        )


@dataclass(frozen=True)
class Chunk:
    """A column of a row group, as the footer states it.

    Attributes
    ----------
    values
        Number of values.
    codec
        How pages are packed.
    start, size
        Where its first page begins in the file, and bytes of all its pages.
    is_plain
        Whether it lies in this file and has no metadata of its own.
    """

    values: int
    codec: int
    start: int
    size: int
    is_plain: bool


def read_chunks(path: Path) -> list[list[Chunk]]:
    """The columns of each row group.

    pyarrow has them too, but it aborts the process where a footer states what cannot be.

    Raises
    ------
    pyarrow.ArrowInvalid
        If the footer is not one that a writer of Parquet makes.
    """
    with path.open("rb") as raw:
        size = raw.seek(-8, os.SEEK_END)
        length = _U32.unpack(raw.read(4))[0]
        raw.seek(size - length)
        footer = raw.read(length)
    try:
        groups = _fields(footer, 0)[0].get(4) or []
        return [[_chunk(column) for column in group[1]] for group in groups]
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise pa.ArrowInvalid("the footer is damaged") from error


def _chunk(column: dict[int, Any]) -> Chunk:
    values, codec, start, size = _numbers(column[3], 5, 4, 9, 7)
    dictionary = column[3].get(11)
    if dictionary is not None and 0 < dictionary < start:
        start = dictionary
    return Chunk(values, codec, start, size, 1 not in column and 8 not in column[3])


@dataclass(frozen=True)
class _Page:
    """A page: what its header states, and where its content is in the file.

    Attributes
    ----------
    levels
        Bytes before the values that are never packed; None if a length stands before each part.
    is_packed
        Whether the rest is.
    """

    kind: int
    encoding: int
    values: int
    size: int
    start: int
    packed: int
    levels: int | None
    is_packed: bool

    @property
    def room(self) -> int:
        """Bytes that it takes while it is decoded."""
        return max(self.size, self.packed)

    @property
    def repeats(self) -> bool:
        """Whether a value may take more bytes than the page has for it."""
        return self.encoding in (*_DICTIONARY_CODED, _DELTA_BYTES)


def _pages(raw: IO[bytes], chunk: Chunk, end: int) -> Iterator[_Page]:
    """The pages of a column chunk, as far as Arrow reads them: until all its values are there."""
    position = chunk.start
    seen = count = 0
    while seen < chunk.values:
        count += 1
        if not 0 < position < end or count > _MOST_PAGES:
            raise IndexError(position)
        raw.seek(position)
        header, length = _read_header(raw)
        kind, size, packed = _numbers(header, 1, 2, 3)
        start = position + length
        position = start + packed
        if min(size, packed) < 0 or position > end:
            raise IndexError(position)
        # Arrow passes over pages of other kinds.
        if kind not in _ABOUT:
            continue
        about = header.get(_ABOUT[kind])
        if not isinstance(about, dict):
            raise IndexError(position)
        levels = None
        if kind == _DATA_V2:
            values, encoding, *lengths = _numbers(about, 1, 4, 5, 6)
            levels = sum(lengths)
        else:
            values, encoding = _numbers(about, 1, 2)
        if min(values, levels or 0) < 0:
            raise IndexError(position)
        seen += values if kind != _DICTIONARY else 0
        yield _Page(
            kind,
            encoding,
            values,
            size,
            start,
            packed,
            levels,
            chunk.codec != 0 and about.get(7, True),
        )


def _read_header(raw: IO[bytes]) -> tuple[dict[int, Any], int]:
    """The header of a page, and its length; statistics in it may be long."""
    start = raw.read(_USUAL_HEADER)
    try:
        header, length = _fields(start, 0)
    except IndexError:
        header, length = _fields(start + raw.read(_LARGEST_HEADER), 0)
    return header, length


def _numbers(fields: dict[int, Any], *wanted: int) -> list[int]:
    """The whole numbers of these fields.

    Raises
    ------
    IndexError
        If one is missing or something else.
    """
    found = [fields.get(number) for number in wanted]
    if not all(type(value) is int for value in found):
        raise IndexError(wanted)
    return cast(list[int], found)


def _fields(data: bytes, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """A structure in Thrift's compact protocol: its numbers, truth values, structures and lists.

    Returns
    -------
    dict, int
        By number of the field; None for fields of other types. And where the structure ends.

    Raises
    ------
    IndexError
        If it does not end in `data`, or no writer of Parquet makes it.
    """
    found: dict[int, Any] = {}
    number = 0
    while data[at]:
        kind, step = data[at] & 15, data[at] >> 4
        at += 1
        before = number
        if step:
            number += step
        else:
            number, at = _zigzag(data, at)
        value: Any = None
        if kind in (1, 2):
            value = kind == 1
        else:
            value, at = _value(data, at, kind, depth)
        # A field that occurs twice could mean one thing here and another to Arrow.
        if number <= before:
            raise IndexError(at)
        found[number] = value
    return found, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """A value of a type of the protocol; None for text and numbers with a fraction."""
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 8:
        length, at = _varint(data, at)
        return None, at + length
    if kind in (3, 7):
        return None, at + (1 if kind == 3 else 8)
    if kind == 12 and depth < _DEEPEST:
        return _fields(data, at, depth + 1)
    if kind == 9 and depth < _DEEPEST:
        count, inner = data[at] >> 4, data[at] & 15
        at += 1
        if count == 15:
            count, at = _varint(data, at)
        if count > len(data) - at:
            raise IndexError(at)
        if inner in (1, 2):
            return None, at + count
        items = []
        for _ in range(count):
            item, at = _value(data, at, inner, depth + 1)
            items.append(item)
        return items, at
    raise IndexError(at)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError(at)


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _longest(raw: IO[bytes], page: _Page, chunk: Chunk, column: Any) -> float:
    """Bytes of a text in a page: of the longest, or the mean if the page holds each in full."""
    if column.physical_type != "BYTE_ARRAY":
        if page.encoding in (_DELTA_LENGTH, _DELTA_BYTES):
            raise IndexError(page.start)
        return 0.0
    if page.kind == _DICTIONARY:
        content = _unpack(raw, page, chunk.codec, 0)
        return page.room if content is None else _longest_key(content)
    if page.encoding in _DICTIONARY_CODED:
        return 0.0
    if page.encoding in (_DELTA_LENGTH, _DELTA_BYTES):
        _check_lengths(raw, page, chunk, column)
    return page.room if page.repeats else page.room / max(1, page.values)


def _unpack(raw: IO[bytes], page: _Page, codec: int, levels: int) -> bytes | None:
    """The content of a page behind its levels; None if it cannot be unpacked here.

    Raises
    ------
    IndexError
        If the content does not fit its header.
    """
    if page.room > _LARGEST_PAGES // 4 or levels > page.packed:
        raise IndexError(page.start)
    raw.seek(page.start + levels)
    content = raw.read(page.packed - levels)
    if not page.is_packed:
        return content
    if codec not in _CODECS:
        return None
    try:
        return pa.decompress(content, page.size - levels, _CODECS[codec], asbytes=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IndexError(page.start) from error


def _longest_key(content: bytes) -> int:
    """The length of the longest text, each behind its length in four bytes."""
    if len(content) < 4:
        return 0
    # Three bytes of a length below 256 are 0. If no others are, all lengths are found at once.
    found = np.frombuffer(content, np.uint8)
    zeros = np.flatnonzero((found[1:-2] | found[2:-1] | found[3:]) == 0)
    if len(zeros):
        sizes = found[zeros].astype(np.int64)
        if zeros[0] == 0 and np.array_equal(zeros + 4 + sizes, np.append(zeros[1:], len(found))):
            return int(sizes.max())
    read, at, end, longest = _U32.unpack_from, 0, len(content) - 3, 0
    while at < end:
        (length,) = read(content, at)
        if length > longest:
            longest = length
        at += 4 + length
    return longest


def _check_lengths(raw: IO[bytes], page: _Page, chunk: Chunk, column: Any) -> None:
    """Check how many lengths stand at the start of a page: Arrow makes room for all of them."""
    content = _unpack(raw, page, chunk.codec, page.levels or 0)
    if content is None or column.max_repetition_level:
        raise IndexError(page.start)
    at = 0
    if page.levels is None and column.max_definition_level:
        at = 4 + _U32.unpack_from(content)[0]
    _, at = _varint(content, at)
    _, at = _varint(content, at)
    count, at = _varint(content, at)
    if count > page.values:
        raise IndexError(page.start)
