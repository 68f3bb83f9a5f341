"""Arrays that somebody sent: read as NumPy reads them, or refused before memory is taken."""

from __future__ import annotations

import io
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from fluid.base.arrays import read_array, read_arrays
from fluid.base.errors import FileFormatError

_TYPES = [np.float64, np.float32, np.int64, np.int32, np.uint64, np.uint32, np.uint8]


def _npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def _header(shape: str, descr: str = "'<f8'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@settings(deadline=None)
@given(data=st.data())
def test_what_numpy_wrote_comes_back(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder: Path = tmp_path_factory.mktemp("arrays")
    shapes = hn.array_shapes(max_dims=2, min_side=0, max_side=5)
    made = {
        f"task/{key}.part": data.draw(hn.arrays(data.draw(st.sampled_from(_TYPES)), shapes))
        for key in range(data.draw(st.integers(0, 3)))
    }
    made["turned"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    for save in (np.savez, np.savez_compressed):
        save(folder / "a.npz", **made)  # type: ignore[operator]
        found = read_arrays(folder / "a.npz")
        assert list(found) == list(made)
        for key, array in made.items():
            assert found[key].dtype == array.dtype
            np.testing.assert_array_equal(found[key], array)
            np.save(folder / "a.npy", array)
            np.testing.assert_array_equal(read_array(folder / "a.npy"), array)


_HOSTILE = {
    "huge": _npy(_header("(1000000000000000000000000000000,)"), bytes(8)),
    "large": _npy(_header("(1000000000,)"), bytes(8)),
    "product": _npy(_header("(4294967296, 4294967296)"), b""),
    "negative": _npy(_header("(-1,)"), bytes(8)),
    "short": _npy(_header("(2,)"), bytes(8)),
    "long": _npy(_header("(1,)"), bytes(16)),
    "object": _npy(_header("(1,)", "'|O'"), bytes(8)),
    "text": _npy(_header("(1,)", "'<U2'"), bytes(8)),
    "record": _npy(_header("(1,)", "[('a', '<f8')]"), bytes(8)),
    "big end": _npy(_header("(1,)", "'>f8'"), bytes(8)),
    "no dimension": _npy(_header("()"), bytes(8)),
    "three": _npy(_header("(1, 1, 1)"), bytes(8)),
    "code": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9**9**9,), }\n"),
    "nested": _npy("(" * 5000 + ")" * 5000 + "\n"),
    "version": b"\x93NUMPY\x02\x00" + _npy(_header("(1,)"), bytes(8))[8:],
    "magic": b"hello",
    "empty": b"",
}


def _archive(path: Path, *members: tuple[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as made:
        for name, content in members:
            made.writestr(name, content)
    return path


def _refused(path: Path, read: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FileFormatError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_arrays_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.npy").write_bytes(_HOSTILE[name])
    _refused(tmp_path / "a.npy", read_array)
    _refused(_archive(tmp_path / "a.npz", ("a.npy", _HOSTILE[name])), read_arrays)


def test_hostile_archives_are_refused(tmp_path: Path) -> None:
    zeros = io.BytesIO()
    np.save(zeros, np.zeros(40_000_000, dtype=np.uint8))
    good = _npy(_header("(1,)"), bytes(8))
    path = tmp_path / "a.npz"
    _refused(_archive(path, ("a.npy", zeros.getvalue())), read_arrays)
    _refused(
        _archive(path, *((f"{i}.npy", zeros.getvalue()[:900_000]) for i in range(3))), read_arrays
    )
    _refused(_archive(path, ("a.npy", good), compression=zipfile.ZIP_LZMA), read_arrays)
    _refused(_archive(path, ("a.npy", good), compression=zipfile.ZIP_BZIP2), read_arrays)
    _refused(_archive(path, ("a", good)), read_arrays)
    with pytest.warns(UserWarning, match="Duplicate name"):
        _archive(path, ("a.npy", good), ("a.npy", good))
    _refused(path, read_arrays)
    # A stated size that is not that of the content, and a wrong checksum.
    content = bytearray(_archive(path, ("a.npy", good)).read_bytes())
    for place in (content.rfind(b"PK\x01\x02") + 24, content.rfind(b"PK\x01\x02") + 16):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        _refused(path, read_arrays)
    path.write_bytes(content + b"more")
    _refused(path, read_arrays)
    for missing in (tmp_path / "none.npz", tmp_path):
        for read in (read_array, read_arrays):
            _refused(missing, read)
