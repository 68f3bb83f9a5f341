"""The ledger of a teacher's folder: every query, before it is answered, chained by hash.

One JSON object a line. Each entry holds the hash of the one before, so that no entry can be
changed, removed or put in between without all after it being made again; `fluid.partner.anchor`
keeps the last hash elsewhere, so that this and an older copy of the folder are seen too.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fluid.base.errors import FluidError, LedgerError
from fluid.base.files import canonical_json, sha256_hex, sync
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.release import Release
from fluid.exchange.signing import locked_folder

logger = logging.getLogger(__name__)

LEDGER_FILE = "ledger.jsonl"
SCHEMA = "fluid.ledger/1"
OPENED, QUERY, FINISHED, APPROVED, TRAINED = "opened", "query", "finished", "approved", "trained"
KINDS = (OPENED, QUERY, FINISHED, APPROVED, TRAINED)
_START = "0" * 64
_FRAME = ("index", "kind", "time", "previous", "hash")


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
        What it says.
    """

    index: int
    kind: str
    time: str
    previous: str
    hash: str
    values: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {name: getattr(self, name) for name in _FRAME} | self.values


@dataclass(frozen=True)
class Query:
    """What is asked of a teacher.

    Attributes
    ----------
    request
        Digest of everything that the answer depends on.
    partner, federation, round, protocol, public_set, policy
        Who is asked, under which contract, what, and within which policy.
    compounds
        How many are to be labelled.
    cost
        What a noise mechanism spends on it, such as epsilon and delta; empty if there is none.
    """

    request: str
    partner: str
    federation: str
    round: int
    protocol: str
    public_set: str
    policy: Mapping[str, Any]
    compounds: int
    cost: Mapping[str, float]


class Ledger:
    """A ledger that was read and verified; made by `open_ledger` or `read_ledger`.

    Parameters
    ----------
    path
        The file; need not exist yet.
    entries
        What is in it.
    """

    def __init__(self, path: Path, entries: list[Entry]) -> None:
        self.path = path
        self.entries = entries

    @property
    def name(self) -> str:
        """Which ledger it is, 32 hexadecimal digits; empty before the first entry."""
        return str(self.entries[0].values["ledger"]) if self.entries else ""

    @property
    def head(self) -> str:
        """Hash of the last entry."""
        return self.entries[-1].hash if self.entries else _START

    def charged(self) -> list[Entry]:
        """Queries that count."""
        return [entry for entry in self.of(QUERY) if entry.values["charged"]]

    @property
    def releases(self) -> int:
        """How many queries count."""
        return len(self.charged())

    @property
    def queries(self) -> int:
        """Compounds in all queries that count."""
        return sum(int(entry.values["compounds"]) for entry in self.charged())

    def cost(self) -> dict[str, float]:
        """What queries that count have spent, by name; added up, which is an upper bound."""
        spent: dict[str, float] = {}
        for entry in self.charged():
            for name, value in entry.values["cost"].items():
                spent[name] = spent.get(name, 0.0) + float(value)
        return spent

    def of(self, kind: str, **values: object) -> list[Entry]:
        """Entries of a kind with these values."""
        return [
            entry
            for entry in self.entries
            if entry.kind == kind
            and all(entry.values.get(name) == value for name, value in values.items())
        ]

    def append(self, kind: str, **values: Any) -> Entry:
        """Write an entry and wait until it is on the disk.

        Raises
        ------
        LedgerError
            If it cannot be written.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        frame: dict[str, Any] = {
            "index": len(self.entries), "kind": kind, "time": time, "previous": self.head
        }  # fmt: skip
        digest = sha256_hex(canonical_json(frame | values))
        entry = Entry(**frame, hash=digest, values=values)
        _write(self.path, canonical_json(entry.to_dict()) + b"\n", new=not self.entries)
        self.entries.append(entry)
        return entry


def _write(path: Path, line: bytes, new: bool) -> None:
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


@contextmanager
def open_ledger(teacher: Path, *besides: Path) -> Iterator[Ledger]:
    """The ledger of a teacher's folder, to be read and added to; nobody else does meanwhile.

    Parameters
    ----------
    teacher
        The folder.
    besides
        Other folders in which nobody else may change files of ours meanwhile.

    Raises
    ------
    LedgerError
        If the ledger was changed or damaged.
    """
    # The folder itself is replaced when a teacher is trained again: what is locked is its parent.
    folders = sorted({folder.resolve() for folder in (teacher.resolve().parent, *besides)})
    with ExitStack() as locks:
        for folder in folders:
            locks.enter_context(locked_folder(folder))
        path = teacher / LEDGER_FILE
        yield Ledger(path, _read(path, mend=True))


def read_ledger(teacher: Path) -> Ledger:
    """The ledger of a teacher's folder, verified entry by entry.

    Raises
    ------
    LedgerError
        If there is none, or it was changed or damaged; the message says which line.
    """
    path = teacher / LEDGER_FILE
    entries = _read(path, mend=False)
    if not entries:
        raise LedgerError(f"{path}: no such file; this teacher was never asked to annotate")
    return Ledger(path, entries)


def _read(path: Path, mend: bool) -> list[Entry]:
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
        # Nobody was told that this entry is written: the query it was for was not answered.
        logger.warning("%s: line %d is not whole and is removed", path, len(lines) + 1)
        with path.open("r+b") as handle:
            handle.truncate(len(content) - len(rest))
            os.fsync(handle.fileno())
    entries: list[Entry] = []
    for number, line in enumerate(lines):
        previous = entries[-1].hash if entries else _START
        problem, entry = _parse(line, number, previous)
        if entry is None:
            raise LedgerError(f"{path}: line {number + 1}: {problem}; the ledger was changed")
        entries.append(entry)
    if content and not entries and not mend:
        raise LedgerError(f"{path}: holds no entry; the ledger was changed")
    return entries


def _parse(line: bytes, number: int, previous: str) -> tuple[str, Entry | None]:
    """What is wrong with a line, or the entry it is."""
    try:
        values = json.loads(line)
        same = isinstance(values, dict) and canonical_json(values) == line
    except (ValueError, RecursionError):
        same = False
    if not same or not set(_FRAME) <= set(values):
        return "is no entry", None
    frame = {name: values.pop(name) for name in _FRAME}
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
        "request": str, "release": int, "charged": bool, "compounds": int, "queries": int,
        "cost": dict, "policy": dict, "federation": str, "round": int, "public_set": str,
    },
    FINISHED: {"release": int, "digest": str},
    APPROVED: {"release": int, "digest": str, "key": str, "signature": str},
    TRAINED: {"model": str},
}  # fmt: skip


def _is_complete(kind: str, values: Mapping[str, Any]) -> bool:
    return all(type(values.get(name)) is wanted for name, wanted in _NEEDED[kind].items())


def charge(
    ledger: Ledger,
    query: Query,
    policy: DisclosurePolicy,
    secret: bytes,
    repeats: bool,
    check: Callable[[Release], None] = lambda release: None,
) -> Release:
    """Enter a query, before it is answered.

    A query that was entered before is not charged again if the answer is the same to the byte: no
    noise is drawn, or what was drawn is at hand and the release was not finished. Any other is
    charged, whether or not it is finished later.

    Parameters
    ----------
    ledger
        Open.
    query, policy
        What is asked, and the policy in force.
    secret
        Of the teacher's folds; a new ledger is named by it.
    repeats
        Whether an answer to the same query is the same to the byte.
    check
        Called with a release that would be charged; raises if that must not be.

    Returns
    -------
    Release

    Raises
    ------
    LedgerError
        If the query is beyond the budget; nothing is entered then.
    """
    values = {
        "request": query.request,
        "partner": query.partner,
        "federation": query.federation,
        "round": query.round,
        "protocol": query.protocol,
        "public_set": query.public_set,
        "compounds": query.compounds,
        "policy": dict(query.policy),
        "cost": dict(query.cost),
    }
    former = [entry for entry in ledger.charged() if entry.values["request"] == query.request]
    if former and repeats and (policy.repeats_exactly or not _is_finished(ledger, former[-1])):
        last = former[-1].values
        ledger.append(
            QUERY, **values, charged=False, release=last["release"], queries=last["queries"]
        )
        return Release(ledger.name, last["release"], last["queries"])
    number, queries = ledger.releases + 1, ledger.queries + query.compounds
    release = Release(ledger.name or name_ledger(secret), number, queries)
    over = release.over_budget(policy)
    if over:
        raise LedgerError(
            f"{ledger.path}: this would be {over} of the policy in force; the budget of this "
            "teacher is used up (see fluid ledger)"
        )
    check(release)
    if not ledger.entries:
        ledger.append(OPENED, schema=SCHEMA, ledger=release.ledger, partner=query.partner)
    ledger.append(QUERY, **values, charged=True, release=number, queries=queries)
    return release


def _is_finished(ledger: Ledger, query: Entry) -> bool:
    return bool(ledger.of(FINISHED, release=query.values["release"]))


def name_ledger(secret: bytes) -> str:
    """Name of the ledger of a new teacher's folder; it tells nothing of the secret."""
    return hmac.digest(secret, b"fluid ledger", "sha256").hex()[:32]


def finish(ledger: Ledger, release: Release, digest: str) -> None:
    """Enter what came of a query.

    Raises
    ------
    LedgerError
        If the release was finished before with another result: it was charged once, and two
        answers would tell more than one.
    """
    for entry in ledger.of(FINISHED, release=release.number):
        if entry.values["digest"] != digest:
            raise LedgerError(
                f"{ledger.path}: release {release.number} came out as {digest[:12]}..., but was "
                f"{entry.values['digest'][:12]}... before; it is not entered and cannot be approved"
            )
    ledger.append(FINISHED, release=release.number, digest=digest)


def carry_over(teacher: Path, folder: Path, model_file: Path) -> None:
    """Take the ledger of a teacher that is trained again into its new folder.

    To be called while the parent folder is locked, see `kept_ledger`.
    """
    entries = _read(teacher / LEDGER_FILE, mend=True)
    if not entries:
        return
    content = (teacher / LEDGER_FILE).read_bytes()
    ledger = Ledger(folder / LEDGER_FILE, entries)
    handle = os.open(ledger.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    ledger.append(TRAINED, model=sha256_hex(model_file.read_bytes()))


@contextmanager
def kept_ledger(teacher: Path) -> Iterator[None]:
    """While a teacher's folder is replaced, nobody enters anything into its ledger."""
    parent = teacher.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FluidError(f"{parent}: cannot make this folder ({error.strerror})") from error
    with locked_folder(parent):
        yield
