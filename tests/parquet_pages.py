"""Parquet files written page by page: what they state and what they hold may be anything."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

# Physical types, encodings and page types of the format.
INT32, INT64, FLOAT, TEXT, FIXED = 1, 2, 4, 6, 7
PLAIN, RLE, DELTA_LENGTH, DELTA_BYTES, DICTIONARY = 0, 3, 6, 7, 8
DATA_PAGE, DICTIONARY_PAGE = 0, 2
REQUIRED, OPTIONAL, REPEATED = 0, 1, 2
UTF8, LIST, UINT8, UINT32 = 0, 3, 11, 13
UNCOMPRESSED, ZSTD = 0, 6
# What a file of fluid carries until it is sealed.
WRITER = "parquet-cpp-arrow version 17.0.0"
BLANK_SEAL = "FLUIDSEAL1:" + "0" * 193


@dataclass(frozen=True)
class Small:
    """A whole number of 32 bits in Thrift; plain ones have 64."""

    value: int


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def zigzag(number: int) -> bytes:
    return varint((number << 1) ^ (number >> 63) if number < 0 else number << 1)


def _value(value: Any) -> tuple[int, bytes]:
    """Type and bytes of a value in Thrift's compact protocol."""
    if isinstance(value, Small):
        return 5, zigzag(value.value)
    if isinstance(value, int):
        return 6, zigzag(value)
    if isinstance(value, str):
        return 8, varint(len(value.encode())) + value.encode()
    if isinstance(value, dict):
        return 12, thrift(value)
    items = [_value(item) for item in value]
    kind = items[0][0]
    start = bytes([len(items) << 4 | kind]) if len(items) < 15 else b""
    start = start or bytes([0xF0 | kind]) + varint(len(items))
    return 9, start + b"".join(content for _, content in items)


def thrift(fields: dict[int, Any]) -> bytes:
    """A structure in Thrift's compact protocol, by number of its fields."""
    out, last = b"", 0
    for number, value in sorted(fields.items()):
        kind, content = _value(value)
        out += bytes([number - last << 4 | kind]) + content
        last = number
    return out + b"\0"


def run(value: int, count: int, width: int = 1) -> bytes:
    """A run of one value in the hybrid encoding of levels and dictionary indices."""
    return varint(count << 1) + value.to_bytes((width + 7) // 8, "little")


def levels(*runs: bytes) -> bytes:
    return struct.pack("<I", sum(map(len, runs))) + b"".join(runs)


def same_index(count: int) -> bytes:
    """Values of a page that all are the first of the dictionary."""
    return b"\0" + varint(count << 1)


def text(length: int) -> bytes:
    """A text of the letter C, as it is in a page."""
    return struct.pack("<I", length) + b"C" * length


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def page(
    content: bytes,
    values: int,
    encoding: int = DICTIONARY,
    kind: int = DATA_PAGE,
    pack: Callable[[bytes], bytes] | None = None,
    size: int | None = None,
) -> bytes:
    """A page with its header; `size` is what it states to unpack to."""
    packed = pack(content) if pack else content
    header: dict[int, Any] = {1: Small(kind), 3: Small(len(packed))}
    header[2] = Small(len(content) if size is None else size)
    if kind == DATA_PAGE:
        header[5] = {1: Small(values), 2: Small(encoding), 3: Small(RLE), 4: Small(RLE)}
    else:
        header[7] = {1: Small(values), 2: Small(encoding)}
    return thrift(header) + packed


def keys(content: bytes, values: int = 1, pack: Callable[[bytes], bytes] | None = None) -> bytes:
    """A dictionary page."""
    return page(content, values, PLAIN, DICTIONARY_PAGE, pack)


@dataclass
class Column:
    """A column: what the schema says of it, and its pages in the only row group.

    Attributes
    ----------
    levels
        Elements of the schema above it, from the top; empty if it is no list.
    """

    name: str
    kind: int
    pages: Sequence[bytes]
    values: int
    dictionary: bytes | None = None
    packed: bool = False
    repetition: int = REQUIRED
    converted: int | None = None
    length: int | None = None
    levels: list[dict[int, Any]] = field(default_factory=list)

    def schema(self) -> list[dict[int, Any]]:
        leaf: dict[int, Any] = {1: Small(self.kind), 3: Small(self.repetition), 4: self.name}
        if self.length is not None:
            leaf[2] = Small(self.length)
        if self.converted is not None:
            leaf[6] = Small(self.converted)
        return [*self.levels, leaf]


def group(name: str, repetition: int, children: int = 1, is_list: bool = False) -> dict[int, Any]:
    """An element of the schema that has others below it."""
    found: dict[int, Any] = {3: Small(repetition), 4: name, 5: Small(children)}
    return found | {6: Small(LIST)} if is_list else found


def list_column(name: str, values: int, kind: int = INT32, converted: int | None = None) -> Column:
    """A column with one row: a list of so many zeros, in a few bytes."""
    repeats = levels(run(0, 1), run(1, values - 1))
    content = repeats + levels(run(1, values)) + same_index(values)
    above = [group(name, REQUIRED, is_list=True), group("list", REPEATED)]
    return Column(
        "element", kind, [page(content, values)], values, keys(bytes(4)), converted=converted,
        levels=above,
    )  # fmt: skip


def text_column(name: str, rows: int, key: int = 1) -> Column:
    """A column that repeats one text of so many letters."""
    return Column(
        name, TEXT, [page(same_index(rows), rows, pack=zstd)], rows, keys(text(key), pack=zstd),
        packed=True, converted=UTF8,
    )  # fmt: skip


def float_column(name: str, rows: int) -> Column:
    """A column that holds 0 in all rows, as values that may be missing."""
    content = levels(run(1, rows)) + same_index(rows)
    return Column(name, FLOAT, [page(content, rows)], rows, keys(bytes(4)), repetition=OPTIONAL)


def write_pages(
    path: Path, columns: Sequence[Column], rows: int, metadata: dict[str, str] | None = None
) -> Path:
    """Write a file of one row group."""
    out, chunks = b"PAR1", []
    for column in columns:
        start = len(out)
        names = [element[4] for element in column.schema()]
        about: dict[int, Any] = {
            1: Small(column.kind),
            2: [Small(PLAIN), Small(RLE), Small(DICTIONARY)],
            3: names,
            4: Small(ZSTD if column.packed else UNCOMPRESSED),
            5: column.values,
        }
        if column.dictionary is not None:
            about[11] = start
            out += column.dictionary
        about[9] = len(out)
        out += b"".join(column.pages)
        about[6] = about[7] = len(out) - start
        chunks.append({2: start, 3: about})
    schema = [{4: "schema", 5: Small(len(columns))}]
    schema += [element for column in columns for element in column.schema()]
    footer: dict[int, Any] = {
        1: Small(1), 2: schema, 3: rows, 4: [{1: chunks, 2: len(out), 3: rows}], 6: WRITER,
    }  # fmt: skip
    if metadata:
        footer[5] = [{1: key, 2: value} for key, value in metadata.items()]
    content = thrift(footer)
    path.write_bytes(out + content + struct.pack("<I", len(content)) + b"PAR1")
    return path


def seal(path: Path, sign: Callable[[bytes], bytes] | None = None) -> Path:
    """Put digest and signature into a file that was written with a blank seal."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).digest()
    signature = sign(digest) if sign else bytes(64)
    blank = BLANK_SEAL[-193:].encode()
    assert content.count(blank) == 1
    path.write_bytes(content.replace(blank, f"{digest.hex()}:{signature.hex()}".encode()))
    return path
