"""NumPy arrays of files that somebody sent: numbers only, and never larger than their file says.

NumPy's own reader evaluates a header as Python, allocates what it states, and unpacks whatever an
archive holds. Here every size is compared with the bytes that are there before memory is taken.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from fluid.base.errors import FileFormatError, one_line

# Of all arrays of a file; beside them a library of compounds must fit in 1.5 GB.
MOST_BYTES = 512 << 20
# Unpacked over packed: what fluid writes is below 30, but a small file may hold zeros only.
_MOST_RATIO, _SMALL = 100, 1 << 20
_MOST_DIRECTORY = 16 << 20
_END = 22
_TYPES = ("<f8", "<f4", "<i8", "<i4", "<u8", "<u4", "|u1")
_HEADER = re.compile(
    rb"\{'descr': '(...)', 'fortran_order': (False|True), "
    rb"'shape': \(([0-9]{1,12}),(?: ([0-9]{1,12}))?\), \} *\n"
)
_DAMAGED = (
    OSError,
    ValueError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def read_array(path: Path) -> np.ndarray:
    """An array of one or two dimensions that `numpy.save` wrote.

    Raises
    ------
    FileFormatError
        If the file is missing, or holds anything but the numbers that its header states.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES >> 20} MB")
        with path.open("rb") as handle:
            return _decode(handle, size)
    except _DAMAGED as error:
        raise FileFormatError(f"{path}: cannot be decoded ({one_line(error)})") from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name, as `numpy.savez_compressed` wrote them.

    Raises
    ------
    FileFormatError
        If the file is missing, holds anything else, or unpacks to more than 512 MB or a
        hundred times its size.
    """
    found: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as handle:
            _check_directory(handle)
            with zipfile.ZipFile(handle) as archive:
                members = archive.infolist()
                most = min(MOST_BYTES, max(_MOST_RATIO * path.stat().st_size, _SMALL))
                if sum(member.file_size for member in members) > most:
                    raise ValueError(f"it unpacks to more than {most:,} bytes")
                for member in members:
                    name = member.filename.removesuffix(".npy")
                    kind = member.compress_type
                    plain = kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                    if name == member.filename or name in found or not plain:
                        raise ValueError(f"'{name[:80]}' is not an array, or occurs twice")
                    with archive.open(member) as packed:
                        found[name] = _decode(packed, member.file_size)
    except _DAMAGED as error:
        raise FileFormatError(f"{path}: cannot be decoded ({one_line(error)})") from error
    return found


def _check_directory(handle: IO[bytes]) -> None:
    """Refuse an archive whose list of members would take more memory than the members."""
    size = handle.seek(0, 2)
    handle.seek(max(0, size - _END - 20))
    tail = handle.read()
    end = tail[-_END:]
    if size < _END or end[:4] != b"PK\x05\x06" or end[-2:] != b"\0\0":
        raise ValueError("it is not an archive of arrays")
    if tail.startswith(b"PK\x06\x07") or int.from_bytes(end[12:16], "little") > _MOST_DIRECTORY:
        raise ValueError("it lists too many arrays")


def _decode(handle: IO[bytes], size: int) -> np.ndarray:
    start = handle.read(10)
    length = int.from_bytes(start[8:], "little")
    header = _HEADER.fullmatch(handle.read(length))
    if start[:8] != b"\x93NUMPY\x01\x00" or header is None or header[1].decode() not in _TYPES:
        raise ValueError("an array must hold numbers, in one or two dimensions")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(item) for item in header.groups()[2:] if item is not None)
    n_bytes = dtype.itemsize
    for side in shape:
        n_bytes *= side
    if n_bytes != size - len(start) - length:
        raise ValueError(f"an array of shape {shape} is not of {size - length - 10:,} bytes")
    # One byte more: the checksum is compared at the end.
    content = handle.read(n_bytes + 1)
    if len(content) != n_bytes:
        raise ValueError("an array is cut short")
    numbers = np.frombuffer(bytearray(content), dtype)
    return numbers.reshape(shape[::-1]).T if header[2] == b"True" else numbers.reshape(shape)
