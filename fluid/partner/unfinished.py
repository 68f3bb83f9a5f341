"""What an interrupted annotation had finished: a file beside the target, a record a chunk.

The digest of a record covers all before it and, first of all, what the labels depend on. So a
record that was torn, changed, or made from anything else is not taken, nor is any after it.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from fluid.base.files import canonical_json
from fluid.exchange.annotation import TaskAnnotation
from fluid.learn.task import Task

_LENGTH = struct.Struct(">Q")
_DIGEST = 32


class Unfinished:
    """Labels of the first chunks of a public set, kept until the annotation is whole.

    Within a ``with`` block. At its end the file is removed, unless the run was interrupted.

    Parameters
    ----------
    output
        The annotation to be written; the file lies beside it and only its owner can read it.
    basis
        What the labels depend on, in plain values.
    tasks
        The tasks that every chunk is labelled for.
    """

    def __init__(self, output: Path, basis: dict[str, Any], tasks: Sequence[Task]) -> None:
        self.path = output.with_name(f".{output.name}.unfinished")
        self._names = [task.name for task in tasks]
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
        if kind is None or issubclass(kind, Exception):
            self.path.unlink(missing_ok=True)
        self._file.close()

    def __len__(self) -> int:
        """How many chunks an earlier run has finished."""
        return len(self._starts)

    def recall(self, chunk: int) -> dict[str, TaskAnnotation]:
        """The labels of a chunk that an earlier run has finished."""
        assert self._file is not None
        self._file.seek(self._starts[chunk])
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        self._file.seek(_DIGEST, os.SEEK_CUR)
        with np.load(io.BytesIO(self._file.read(length)), allow_pickle=False) as arrays:
            return {
                name: TaskAnnotation(
                    arrays[f"{number}.prediction"],
                    arrays[f"{number}.uncertainty"],
                    arrays[f"{number}.reliability"],
                )
                for number, name in enumerate(self._names)
            }

    def keep(self, labels: dict[str, TaskAnnotation]) -> None:
        """Add the labels of the next chunk."""
        if self._file is None:
            return
        arrays = {
            f"{number}.{field}": getattr(labels[name], field)
            for number, name in enumerate(self._names)
            for field in ("prediction", "uncertainty", "reliability")
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        payload = buffer.getvalue()
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
            # Where nothing can be written the annotation itself says so.
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
