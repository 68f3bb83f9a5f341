"""Finished chunks of an interrupted run: a file beside its output with one record per chunk.

The digest of a record covers all records before it and, first of all, everything that the results
depend on. So a record that was torn, changed, or made from other inputs is not used, nor is any
record after it.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import numpy as np

from fluid.base.errors import ClusterError
from fluid.base.files import canonical_json

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_LENGTH = struct.Struct(">Q")
_DIGEST = 32


class Unfinished:
    """Results of the first chunks of a long run, kept until its output is whole.

    A context manager. At its end the file is removed, unless the run was interrupted or lost its
    cluster.

    Parameters
    ----------
    output
        The file to be written. The records lie beside it, and only their owner can read them.
    basis
        Everything that the results depend on, in plain values.
    """

    def __init__(self, output: Path, basis: dict[str, Any]) -> None:
        self.path = output.with_name(f".{output.name}.unfinished")
        self._chain = hashlib.sha256(canonical_json(basis)).digest()
        self._file: IO[bytes] | None = None
        self._starts: list[int] = []

    def __enter__(self) -> Self:
        self._file = self._open()
        if self._file is not None:
            end = 0
            while (payload := self._read(end)) is not None:
                self._starts.append(end)
                end = self._file.tell()
                self._chain = self._link(payload)
            self._file.truncate(end)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        # Neither success nor an error leaves anything to resume.
        over = kind is None or (issubclass(kind, Exception) and not issubclass(kind, ClusterError))
        if over or not os.fstat(self._file.fileno()).st_size:
            self.path.unlink(missing_ok=True)
        self._file.close()

    def __len__(self) -> int:
        """How many chunks an earlier run has finished."""
        return len(self._starts)

    def results(
        self,
        items: Iterable[Item],
        work: Callable[[Iterable[Item]], Iterator[Result]],
        encode: Callable[[Result], bytes],
        decode: Callable[[bytes], Result],
    ) -> Iterator[Result]:
        """Results of all items in order: the first from an earlier run, the others from `work`.

        Parameters
        ----------
        items
            The chunks; those that are finished are drawn and skipped.
        work
            From chunks to as many results, in order.
        encode, decode
            From a result to bytes, and back.
        """
        if len(self):
            logger.warning("continuing after %d chunks of an interrupted run", len(self))
        stream = iter(items)
        for number, _ in enumerate(islice(stream, len(self))):
            yield decode(self.recall(number))
        for result in work(stream):
            self.keep(encode(result))
            yield result

    def recall(self, chunk: int) -> bytes:
        """The bytes of a chunk that an earlier run has finished."""
        assert self._file is not None
        self._file.seek(self._starts[chunk])
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        self._file.seek(_DIGEST, os.SEEK_CUR)
        return self._file.read(length)

    def keep(self, payload: bytes) -> None:
        """Add the bytes of the next chunk."""
        if self._file is None:
            return
        self._chain = self._link(payload)
        self._file.seek(0, os.SEEK_END)
        self._file.write(_LENGTH.pack(len(payload)) + self._chain + payload)
        self._file.flush()

    def _open(self) -> IO[bytes] | None:
        """The file; None if it cannot be written or another run holds it: then nothing is kept."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            # Writing the output will fail with a message.
            return None
        file = os.fdopen(handle, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
        return file

    def _link(self, payload: bytes) -> bytes:
        return hashlib.sha256(self._chain + payload).digest()

    def _read(self, start: int) -> bytes | None:
        """The record that starts there, or None if it is not whole or does not follow."""
        assert self._file is not None
        self._file.seek(start)
        head = self._file.read(_LENGTH.size + _DIGEST)
        if len(head) < _LENGTH.size + _DIGEST:
            return None
        (length,) = _LENGTH.unpack(head[: _LENGTH.size])
        if length > os.fstat(self._file.fileno()).st_size:
            return None
        payload = self._file.read(length)
        whole = len(payload) == length and self._link(payload) == head[_LENGTH.size :]
        return payload if whole else None


def pack_arrays(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays of numbers as bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack_arrays(payload: bytes) -> dict[str, np.ndarray]:
    """The inverse of `pack_arrays`."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
