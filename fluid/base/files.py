"""Files and folders that appear whole or not at all, and digests of what they hold."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fluid.base.errors import FileFormatError, FluidError
from fluid.base.show import shown_json
from fluid.base.strict_json import MOST_BYTES, parse_json

# Permission bits of what only its owner may read, such as private structures.
PRIVATE = 0o600
# Where the folders of models list rejected rows.
REJECTS_FILE = "rejects.csv"
_CHUNK = 1 << 20
# Leftovers of a killed run are removed after an hour: until then their maker may be about to lock
# them, or run on another machine, whose locks not every file system shows.
_LEFT_SECONDS = 3600.0


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spare blanks: equal values give equal bytes.

    Raises
    ------
    ValueError
        If a number is NaN or infinite.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Ask the system to put a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FluidError(f"{path.parent}: cannot make this folder ({error.strerror})") from error


@contextmanager
def _held(temporary: Path) -> Iterator[None]:
    """Hold a lock on a temporary file or folder; it ends with the process, however that ends."""
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _clear_left(path: Path) -> None:
    """Remove what killed runs left beside `path`, but nothing that a running one holds."""
    ours = re.compile(re.escape(f".{path.name}.") + r"[a-z0-9_]{8}\.part")
    with suppress(OSError):
        for item in [item for item in path.parent.iterdir() if ours.fullmatch(item.name)]:
            if time.time() - item.lstat().st_mtime > _LEFT_SECONDS:
                _remove_unheld(item)


def _remove_unheld(item: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(item, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if item.is_dir():
                shutil.rmtree(item, ignore_errors=True)
            else:
                item.unlink()
        finally:
            os.close(descriptor)


@contextmanager
def atomic_file(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    The temporary name is unique, so two runs at once never write into the same file; the later one
    wins. If the block raises, nothing is left behind; the next run removes what a killed one left.

    Parameters
    ----------
    path
        The file to appear. Its folder is made if needed.
    mode
        Permission bits, reduced by the process's umask; `PRIVATE` for what only its owner may
        read. Until the file appears nobody else can.
    """
    _make_parent(path)
    if path.is_dir():
        raise FluidError(f"{path}: is a folder, a file name is needed")
    _clear_left(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise FluidError(f"{path.parent}: cannot write here ({error.strerror})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        with _held(temporary):
            yield temporary
            temporary.chmod(mode & ~_umask())
            sync(temporary)
            temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a text file, whole or not at all."""
    with atomic_file(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any, mode: int = 0o666) -> None:
    """Write a JSON file for people and programs: sorted keys, indented, whole or not at all."""
    write_text(path, dump_json(value) + "\n", mode)


def dump_json(value: Any) -> str:
    """JSON for people: sorted keys, two blanks of indentation, NaN refused, nothing invisible."""
    return shown_json(
        json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    )


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """Read a JSON file that somebody may have sent; see `fluid.base.strict_json.parse_json`.

    Raises
    ------
    FileFormatError
        If it is missing, larger than `most_bytes`, or not strictly JSON.
    """
    return parse_json(read_bounded(path, most_bytes), str(path), most_bytes)


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The content of a file, of which at most one byte too many is read.

    Raises
    ------
    FileFormatError
        If the file is missing or cannot be read.
    """
    if not path.is_file():
        hint = ", it is a folder" if path.is_dir() else ""
        raise FileFormatError(f"{path}: no such file{hint}")
    try:
        with path.open("rb") as handle:
            return handle.read(most_bytes + 1)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from error


def _previous(path: Path) -> Path:
    return path.with_name(f".{path.name}.previous")


def recover_folder(path: Path) -> None:
    """Bring back the former folder if a run was killed between taking it away and replacing it."""
    if not path.exists() and _previous(path).is_dir():
        _previous(path).replace(path)


def check_folder(path: Path, marker: str) -> None:
    """Refuse an output folder that is not ours to replace; see `atomic_folder`.

    Called before long work, so that a mistyped ``-o`` fails at once.

    Raises
    ------
    FluidError
        If `path` is a file, or a folder without `marker` that is not empty.
    """
    recover_folder(path)
    if path.exists() and not path.is_dir():
        raise FluidError(f"{path}: is a file, a folder name is needed")
    held = {item.name for item in path.iterdir()} if path.is_dir() else set()
    # A run that found no usable row leaves a list of them behind.
    if held - {REJECTS_FILE} and not (path / marker).is_file():
        raise FluidError(
            f"{path}: exists and holds no {marker}; name a new folder or one made by this command"
        )


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@contextmanager
def atomic_folder(path: Path, marker: str, private: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes the place of `path` if the block succeeds.

    A folder that is already there is replaced only if it holds a file named `marker`, so that a
    mistyped ``-o`` never removes somebody's files. A link is followed, not replaced. With `private`
    only the owner may read the folder and anything in it, whatever the umask. Until the folder
    appears nobody else can.

    Raises
    ------
    FluidError
        See `check_folder`.
    """
    if path.is_symlink():
        path = path.resolve()
    _make_parent(path)
    check_folder(path, marker)
    _clear_left(path)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise FluidError(f"{path.parent}: cannot write here ({error.strerror})") from error
    try:
        with _held(temporary):
            yield temporary
            for item in temporary.rglob("*"):
                if private:
                    item.chmod(0o700 if item.is_dir() else PRIVATE)
                sync(item)
            temporary.chmod(0o700 if private else 0o777 & ~_umask())
            if path.exists():
                shutil.rmtree(_previous(path), ignore_errors=True)
                path.replace(_previous(path))
            temporary.replace(path)
        sync(path.parent)
        shutil.rmtree(_previous(path), ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        recover_folder(path)
