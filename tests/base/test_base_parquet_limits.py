"""What a Parquet file takes: honest files of any writer pass, lies are found before decoding."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fluid.base.parquet_limits import Limits, _longest_key, open_parquet
from tests import parquet_pages as pages
from tests.parquet_pages import Column, list_column, page, text_column, write_pages

ROWS = 5000
TABLE = pa.table(
    {
        "smiles": [f"{'C' * (row % 60)}O" for row in range(ROWS)],
        "missing": [None if row % 3 else f"a{row}" for row in range(ROWS)],
        "same": ["x" * 300] * ROWS,
        "long": ["y" * (300 if row % 2 else 0) for row in range(ROWS)],
        "raw": pa.array([b"\0\0\0\0" * (row % 5) for row in range(ROWS)]),
        "number": pa.array(range(ROWS), pa.int32()),
        "real": [row / 7 for row in range(ROWS)],
        "flag": [row % 2 == 0 for row in range(ROWS)],
        "fixed": pa.array([row.to_bytes(16, "big") for row in range(ROWS)], pa.binary(16)),
        "list": pa.array([list(range(row % 9)) for row in range(ROWS)], pa.list_(pa.uint32())),
    }
)
DELTA = {"smiles": "DELTA_BYTE_ARRAY", "missing": "DELTA_LENGTH_BYTE_ARRAY",
         "number": "DELTA_BINARY_PACKED", "real": "BYTE_STREAM_SPLIT"}  # fmt: skip
WRITERS: dict[str, dict[str, object]] = {
    "plain": {"use_dictionary": False, "compression": "none"},
    "dictionary": {"compression": "snappy"},
    "gzip": {"compression": "gzip"},
    "brotli": {"compression": "brotli"},
    "lz4": {"compression": "lz4"},
    "zstd": {"compression": "zstd", "data_page_size": 1000},
    "second version": {"data_page_version": "2.0"},
    "delta": {"use_dictionary": False, "column_encoding": DELTA},
    "delta, second version": {
        "use_dictionary": False, "column_encoding": DELTA, "data_page_version": "2.0",
    },
    "groups": {"row_group_size": 700},
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_an_honest_file_passes_and_takes_no_more_than_is_said(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(TABLE, path, **WRITERS[name])  # type: ignore[arg-type]
    with open_parquet(path) as file:
        limits = Limits(path, file)
        every = range(file.metadata.num_columns)
        for group in range(file.num_row_groups):
            limits.check_whole(group)
            assert limits.batch_size(group, every[:-1], most=4096) > 100
            cost = limits._check(group, every)
            batches = list(file.iter_batches(row_groups=[group]))
            assert sum(batch.nbytes for batch in batches) <= cost.all_rows + 1000


def text_page(content: bytes, values: int, encoding: int = pages.PLAIN, **more: object) -> Column:
    made = page(content, values, encoding, **more)  # type: ignore[arg-type]
    return Column("x", pages.TEXT, [made], values, packed="pack" in more)


LIES: dict[str, tuple[int, Callable[[], Column], str]] = {
    "rows": (10**9, lambda: text_column("x", 10**9), "1,000,000,000 rows in"),
    "rows, not values": (9, lambda: text_column("x", 10), "holds 10 values for 9 rows"),
    "values, not rows": (10, lambda: text_column("x", 9), "holds 9 values for 10 rows|damaged"),
    "key": (1000, lambda: text_column("x", 1000, 10_000_000), "decodes to|unpacks to"),
    "page": (
        9, lambda: text_page(pages.text(1), 9, pack=pages.zstd, size=2**31 - 1), "pages of 4,2",
    ),
    "negative page": (9, lambda: text_page(pages.text(1), 9, size=-5), "a page is damaged"),
    "negative values": (9, lambda: text_page(pages.text(1), -9), "damaged|holds 0 values"),
    "list": (1, lambda: list_column("x", 1 << 30), "decodes to|unpacks to"),
    "key that is none": (
        9, lambda: Column("x", pages.TEXT, [page(b"\0\x12", 9)], 9, pages.keys(b"\xff" * 20)),
        "decodes to|unpacks to",
    ),
    "key that is damaged": (
        9,
        lambda: Column(
            "x", pages.TEXT, [page(b"\0\x12", 9)], 9,
            page(b"\xff" * 20, 1, pages.PLAIN, pages.DICTIONARY_PAGE), packed=True,
        ),
        "a page is damaged",
    ),
}  # fmt: skip


def check(path: Path) -> None:
    with open_parquet(path) as file:
        limits = Limits(path, file)
        for group in range(file.num_row_groups):
            limits.check_whole(group)


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found_before_anything_is_decoded(tmp_path: Path, name: str) -> None:
    rows, make, message = LIES[name]
    path = write_pages(tmp_path / "t.parquet", [make()], rows)
    before = pa.total_allocated_bytes()
    with pytest.raises(pa.ArrowInvalid, match=message):
        check(path)
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_a_long_footer_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1" + bytes(100) + (1 << 25).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(pa.ArrowInvalid, match="a footer of 33,554,432 bytes; at most 8,388,608"):
        open_parquet(path)


def test_changed_bytes_of_a_file_raise_nothing_else(tmp_path: Path) -> None:
    """Whatever a page states, it is refused as damaged, too large, or what it was."""
    source, path = tmp_path / "s.parquet", tmp_path / "t.parquet"
    pq.write_table(TABLE.slice(0, 60), source, compression="zstd", version="2.6")
    content = source.read_bytes()
    dice = random.Random(0)
    for _ in range(800):
        changed = bytearray(content)
        for _ in range(dice.choice([1, 1, 3])):
            changed[dice.randrange(len(changed))] = dice.choice([0, 1, 127, 128, 255, 21, 25, 28])
        path.write_bytes(bytes(changed))
        with suppress(pa.ArrowException, OSError, UnicodeError):
            check(path)


@pytest.mark.parametrize(
    "texts",
    [[], [b""], [b"a"], [b"", b"", b""], [b"C" * 255, b"C"], [b"C" * 256], [b"\0" * 9, b"\0\0"],
     [b"\1\0\0\0x", b"y"], [b"ab"] * 1000, [b"x" * 70_000, b"y"]],
)  # fmt: skip
def test_the_longest_key_of_a_dictionary(texts: list[bytes]) -> None:
    content = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    assert _longest_key(content) == max(map(len, texts), default=0)


def test_a_key_hides_behind_no_zeros() -> None:
    """Three zeros inside a long key are no length."""
    inner = b"\1\0\0\0x" * 50_000
    content = len(inner).to_bytes(4, "little") + inner
    assert _longest_key(content) == len(inner)
