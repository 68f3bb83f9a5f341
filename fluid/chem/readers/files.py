"""Files as bytes: plain or gzipped, and never more than a multiple of their size."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fluid.base.errors import TableError
from fluid.base.parquet_limits import LARGEST_RATIO

_GZIP_MAGIC = b"\x1f\x8b"
# Bytes that a packed file may unpack to whatever its size.
_SMALL = 1 << 22


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what can go wrong while a file is read into one clear error."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TableError(f"{path}: the compressed file is damaged or truncated") from error
    except csv.Error as error:
        raise TableError(f"{path}: is not a readable table ({error})") from error
    except UnicodeError as error:
        encoding = getattr(error, "encoding", "its encoding")
        raise TableError(
            f"{path}: is not text in {encoding} throughout; name its encoding with --encoding"
        ) from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error})") from error


class _Unpacking(gzip.GzipFile):
    """A gzipped file that refuses to unpack to too many times its size."""

    def read1(self, size: int = -1) -> bytes:
        """The next bytes, as `io.BufferedIOBase.read1` gives them."""
        found = super().read1(size)
        packed = self.fileobj.tell()  # type: ignore[union-attr]
        if self.tell() > most_unpacked(packed):
            raise TableError(
                f"{self.name}: unpacks to more than {LARGEST_RATIO} times its size; unpack it, and "
                "give the unpacked file"
            )
        return found


def most_unpacked(size: int) -> int:
    """Bytes that a packed file of this size may unpack to."""
    return max(_SMALL, LARGEST_RATIO * size)


def is_gzipped(path: Path) -> bool:
    """Whether the file is gzipped, whatever its name."""
    with path.open("rb") as probe:
        return probe.read(2) == _GZIP_MAGIC


def open_bytes(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked if it is gzipped."""
    if not is_gzipped(path):
        return path.open("rb")
    # A whole file states at its end what it unpacks to. If that is too much, it is tried before
    # any row is used; one that states less than the truth is found out later.
    with path.open("rb") as end:
        size = end.seek(0, io.SEEK_END)
        end.seek(max(0, size - 4))
        stated = int.from_bytes(end.read(4), "little")
    if stated > most_unpacked(size):
        with _Unpacking(path) as trial, suppress(EOFError, gzip.BadGzipFile, zlib.error):
            while trial.read1(1 << 20):
                pass
    return _Unpacking(path)  # type: ignore[return-value]


def pieces(raw: IO[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of an open file, piece by piece."""
    while piece := raw.read1(size):  # type: ignore[attr-defined]
        yield piece


@contextmanager
def plain_file(path: Path) -> Iterator[Path]:
    """The file itself, or an unpacked copy for as long as it is needed."""
    if not is_gzipped(path):
        yield path
        return
    with tempfile.NamedTemporaryFile() as copy:
        with reading(path), open_bytes(path) as raw:
            for piece in pieces(raw):
                copy.write(piece)
        copy.flush()
        yield Path(copy.name)
