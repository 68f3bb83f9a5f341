"""Safetensors that somebody sent: read as the library safetensors reads them, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fluid.base import safetensors
from fluid.base.errors import FileFormatError, FluidError
from fluid.base.safetensors import read_tensors, write_tensors

ARRAYS = {
    "0.trunk": np.arange(6, dtype=np.float32).reshape(3, 2),
    "0.mean": np.array([1.5, -2.0]),
    "1.rows": np.zeros(0, dtype=np.int64),
}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    return set(left) == set(right) and all(
        np.array_equal(left[key], right[key]) and left[key].dtype == right[key].dtype
        for key in left
    )


def forge(path: Path, header: Any, content: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def entry(shape: list[int], end: int, start: int = 0, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", ARRAYS)
    assert same(read_tensors(tmp_path / "a"), ARRAYS)
    # The order in which they are given is not seen.
    write_tensors(tmp_path / "b", dict(reversed(ARRAYS.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_of_other_order_in_memory_come_back(tmp_path: Path) -> None:
    turned = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.arange(9.0)[::2]}
    write_tensors(tmp_path / "a", turned)
    assert same(read_tensors(tmp_path / "a"), turned)


def test_the_library_reads_it_and_is_read(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    write_tensors(tmp_path / "ours", ARRAYS)
    assert same(library.load_file(tmp_path / "ours"), ARRAYS)
    library.save_file(ARRAYS, tmp_path / "theirs", metadata={"made": "elsewhere"})
    assert same(read_tensors(tmp_path / "theirs"), ARRAYS)


@pytest.mark.parametrize(
    ("header", "content", "reason"),
    [
        (b"{", b"", "cannot be decoded"),
        ([], b"", "not a table"),
        ({"a": 1}, b"", "not described"),
        ({"a": {"dtype": "F32", "shape": [1]}}, b"1234", "not described"),
        ({"a": entry([1], 4, dtype="BF16")}, b"1234", "of type 'BF16'"),
        ({"a": entry([], 4)}, b"1234", "one or two dimensions"),
        ({"a": entry([1, 1, 1], 4)}, b"1234", "one or two dimensions"),
        ({"a": entry([-1, -1], 4)}, b"1234", "one or two dimensions"),
        ({"a": entry([True], 4)}, b"1234", "one or two dimensions"),
        ({"a": entry([2], 4)}, b"1234", "not of its bytes"),
        ({"a": entry([1 << 40, 1 << 40], 4)}, b"1234", "not of its bytes"),
        ({"a": entry([1], 4)}, b"12345678", "have 4 bytes, and the file 8"),
        ({"a": entry([1], 4)}, b"12", "have 4 bytes, and the file 2"),
        ({"a": entry([1], 4), "b": entry([1], 4)}, b"1234", "does not follow"),
        ({"a": entry([1], 8, 4)}, b"12345678", "does not follow"),
        (b'{"a": {}, "a": {}}', b"", "twice"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, header: Any, content: bytes, reason: str) -> None:
    with pytest.raises(FileFormatError, match=reason) as caught:
        read_tensors(forge(tmp_path / "a", header, content))
    assert str(tmp_path / "a") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"1234", (1 << 60).to_bytes(8, "little") + b"{}"])
def test_a_header_that_is_not_there_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FileFormatError, match="no header"):
        read_tensors(tmp_path / "a")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be decoded"):
        read_tensors(tmp_path / "none")


def test_more_than_a_model_holds_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors, "MOST_BYTES", 39)
    with pytest.raises(FluidError, match="a model holds"):
        write_tensors(tmp_path / "a", ARRAYS)
    assert not (tmp_path / "a").exists()
