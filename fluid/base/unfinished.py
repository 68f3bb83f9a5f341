"""What an interrupted run had finished: a file beside its output, a record a chunk.

The digest of a record covers all before it and, first of all, what the results depend on. So a
record that was torn, changed, or made from anything else is not taken, nor is any after it.
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

    Within a ``with`` block. At its end the file is removed, unless the run was interrupted or
    lost its cluster.

    Parameters
    ----------
    output
        The file to be written; what is kept lies beside it and only its owner can read it.
    basis
        What the results depend on, in plain values.
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
        # After an error as after success there is nothing to go on with.
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
            The chunks; those that are finished are drawn and passed over.
        work
            From chunks to as many results, in order.
        encode, decode
            From a result to what is kept of it, and back.
        """
        if len(self):
            logger.warning("going on after %d chunks of an interrupted run", len(self))
        stream = iter(items)
        for number, _ in enumerate(islice(stream, len(self))):
            yield decode(self.recall(number))
        for result in work(stream):
            self.keep(encode(result))
            yield result

    def recall(self, chunk: int) -> bytes:
        """What was kept of a chunk that an earlier run has finished."""
        assert self._file is not None
        self._file.seek(self._starts[chunk])
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        self._file.seek(_DIGEST, os.SEEK_CUR)
        return self._file.read(length)

    def keep(self, payload: bytes) -> None:
        """Add what is kept of the next chunk."""
        if self._file is None:
            return
        self._chain = self._link(payload)
        self._file.seek(0, os.SEEK_END)
        self._file.write(_LENGTH.pack(len(payload)) + self._chain + payload)
        self._file.flush()

    def _open(self) -> IO[bytes] | None:
        """The file; None, and a run that cannot be resumed, if another run or nobody writes it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:
            # Where nothing can be written the output itself says so.
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
    """Arrays of numbers as bytes, to be kept."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack_arrays(payload: bytes) -> dict[str, np.ndarray]:
    """The inverse of `pack_arrays`."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
