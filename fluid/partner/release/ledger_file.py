"""The file of a ledger: lines of JSON, each with the hash of the one before."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluid.base.errors import LedgerError
from fluid.base.files import canonical_json, sha256_hex, sync

logger = logging.getLogger(__name__)

LEDGER_FILE = "ledger.jsonl"
SCHEMA = "fluid.ledger/1"
OPENED, QUERY, FINISHED, APPROVED, TRAINED = "opened", "query", "finished", "approved", "trained"
KINDS = (OPENED, QUERY, FINISHED, APPROVED, TRAINED)
START = "0" * 64
FRAME = ("index", "kind", "time", "previous", "hash")


@dataclass(frozen=True)
class Entry:
    """One line of a ledger.

    Attributes
    ----------
    index
        From 0.
    kind
        One of `KINDS`.
    time
        UTC, ISO 8601.
    previous, hash
        Hash of the entry before, and of this one: SHA-256 of the canonical JSON of everything but
        the hash.
    values
        Its content.
    """

    index: int
    kind: str
    time: str
    previous: str
    hash: str
    values: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The entry as in the file."""
        return {name: getattr(self, name) for name in FRAME} | self.values


def append_line(path: Path, line: bytes, new: bool) -> None:
    """Add a line to a ledger and wait until it is on the disk.

    Parameters
    ----------
    path
        The file.
    line
        With its end.
    new
        Whether the file may be made.

    Raises
    ------
    LedgerError
        If it cannot be written; the file is unchanged then.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | (os.O_CREAT if new else 0)
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise LedgerError(
            f"{path}: cannot be written ({error.strerror}); a query is entered before it is "
            "answered"
        ) from error
    try:
        before = os.fstat(handle).st_size
        try:
            written = os.write(handle, line)
            if written != len(line):
                raise OSError(28, "No space left on device")
            os.fsync(handle)
        except OSError as error:
            # Half a line would look like damage later on.
            os.ftruncate(handle, before)
            raise LedgerError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        os.close(handle)
    if new:
        sync(path.parent)


def read_entries(path: Path, mend: bool) -> list[Entry]:
    """The entries of a ledger, each verified; none if there is no file.

    Parameters
    ----------
    path
        The file.
    mend
        Remove a last line that is not whole, instead of refusing it.

    Raises
    ------
    LedgerError
        If it was changed or damaged; the message says which line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read ({error.strerror})") from error
    *lines, rest = content.split(b"\n")
    if rest:
        if not mend:
            raise LedgerError(
                f"{path}: line {len(lines) + 1} is not whole; a run was cut off, or it was changed"
            )
        # The run stopped before it answered the query that this entry was for.
        logger.warning("%s: line %d is not whole and is removed", path, len(lines) + 1)
        with path.open("r+b") as handle:
            handle.truncate(len(content) - len(rest))
            os.fsync(handle.fileno())
    entries: list[Entry] = []
    for number, line in enumerate(lines):
        previous = entries[-1].hash if entries else START
        problem, entry = _parse(line, number, previous)
        if entry is None:
            raise LedgerError(f"{path}: line {number + 1}: {problem}; the ledger was changed")
        entries.append(entry)
    if content and not entries and not mend:
        raise LedgerError(f"{path}: holds no entry; the ledger was changed")
    return entries


def _parse(line: bytes, number: int, previous: str) -> tuple[str, Entry | None]:
    """The problem with a line, or its entry."""
    try:
        values = json.loads(line)
        same = isinstance(values, dict) and canonical_json(values) == line
    except (ValueError, RecursionError):
        same = False
    if not same or not set(FRAME) <= set(values):
        return "is not an entry", None
    frame = {name: values.pop(name) for name in FRAME}
    digest = frame.pop("hash")
    if digest != sha256_hex(canonical_json(frame | values)):
        return "its hash is not that of its content", None
    if frame["index"] != number or frame["previous"] != previous:
        return "does not follow the line before", None
    if frame["kind"] not in KINDS or (frame["kind"] == OPENED) != (number == 0):
        return f"'{str(frame['kind'])[:40]}' is not expected here", None
    if not _is_complete(frame["kind"], values):
        return "lacks a value", None
    return "", Entry(**frame, hash=digest, values=values)


_NEEDED: dict[str, dict[str, type]] = {
    OPENED: {"schema": str, "ledger": str, "partner": str},
    QUERY: {
        "request": str,
        "release": int,
        "charged": bool,
        "compounds": int,
        "queries": int,
        "cost": dict,
        "policy": dict,
        "federation": str,
        "round": int,
        "public_set": str,
    },
    FINISHED: {"release": int, "digest": str},
    APPROVED: {"release": int, "digest": str, "key": str, "signature": str},
    TRAINED: {"model": str},
}


def _is_complete(kind: str, values: Mapping[str, Any]) -> bool:
    return all(type(values.get(name)) is wanted for name, wanted in _NEEDED[kind].items())
