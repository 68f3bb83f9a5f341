"""Arrays as safetensors: a JSON header with names, types and shapes, then the bytes of each.

The format holds numbers only, so that a file of somebody else runs nothing. Here every size is
compared with the bytes that are there before memory is taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.arrays import MOST_BYTES
from fluid.base.errors import FileFormatError, FluidError, one_line
from fluid.base.strict_json import json_values

_TYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
_MOST_HEADER = 16 << 20
_ALIGNED = 8


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of one or two dimensions, in the order of their names.

    Raises
    ------
    FluidError
        If they are more than `read_tensors` would read.
    """
    header: dict[str, Any] = {}
    end = 0
    named = sorted(arrays.items())
    for name, array in named:
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    if end > MOST_BYTES:
        raise FluidError(
            f"{path}: {end >> 20:,} MB of arrays; a model holds {MOST_BYTES >> 20} MB at most"
        )
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    with path.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        for _, array in named:
            handle.write(np.ascontiguousarray(array).tobytes())


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name, as `write_tensors` or the library safetensors wrote them.

    Raises
    ------
    FileFormatError
        If the file is missing, holds more than 512 MB, or anything but the numbers that its header
        states.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES + _MOST_HEADER:
            raise ValueError(f"it has more than {MOST_BYTES >> 20} MB")
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if not 2 <= length <= min(_MOST_HEADER, size - 8):
                raise ValueError("it has no header of its size")
            header = json_values(handle.read(length), _MOST_HEADER)
            places = _places(header, size - 8 - length)
            return {name: _read(handle, *place) for name, place in places}
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{path}: cannot be decoded ({one_line(error)})") from error


def _places(header: Any, size: int) -> list[tuple[str, tuple[np.dtype[Any], tuple[int, ...]]]]:
    """Type and shape of each array by its name, in the order of their bytes."""
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    found = []
    for name, values in header.items():
        if name == "__metadata__":
            continue
        if not isinstance(values, dict) or set(values) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"array '{name[:80]}' is not described")
        kind, shape, offsets = values["dtype"], values["shape"], values["data_offsets"]
        if not isinstance(kind, str) or kind not in _TYPES:
            raise ValueError(f"array '{name[:80]}' is of type {kind!r:.80}")
        if not (_whole(shape) and 1 <= len(shape) <= 2 and _whole(offsets) and len(offsets) == 2):
            raise ValueError(f"array '{name[:80]}' must have one or two dimensions")
        dtype = np.dtype(_TYPES[kind])
        n_bytes = dtype.itemsize
        for side in shape:
            n_bytes *= side
        if offsets[1] - offsets[0] != n_bytes:
            raise ValueError(f"array '{name[:80]}' of shape {shape} is not of its bytes")
        found.append((offsets, name, (dtype, tuple(shape))))
    end = 0
    found.sort(key=lambda one: one[0])
    for (start, stop), name, _ in found:
        if start != end:
            raise ValueError(f"array '{name[:80]}' does not follow the one before")
        end = stop
    if end != size:
        raise ValueError(f"its arrays have {end:,} bytes, and the file {size:,}")
    return [(name, place) for _, name, place in found]


def _whole(values: Any) -> bool:
    return isinstance(values, list) and all(type(one) is int and one >= 0 for one in values)


def _read(handle: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape, dtype=object))
    content = handle.read(count * dtype.itemsize)
    return np.frombuffer(bytearray(content), dtype).reshape(shape)
