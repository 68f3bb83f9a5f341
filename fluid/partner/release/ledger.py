"""The ledger of a teacher's folder: every query, before it is answered, chained by hash.

One JSON object a line. Each entry holds the hash of the one before, so nobody can change, remove or
insert an entry without making all later ones again. `fluid.partner.release.key_checkpoint` keeps
the last hash elsewhere and so detects that too, and a folder restored from a backup.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fluid.base.errors import FluidError, LedgerError
from fluid.base.files import canonical_json, sha256_hex
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.release import Release
from fluid.exchange.signing import locked_folder
from fluid.partner.release.ledger_file import (
    FINISHED,
    LEDGER_FILE,
    OPENED,
    QUERY,
    SCHEMA,
    START,
    TRAINED,
    Entry,
    append_line,
    read_entries,
)


@dataclass(frozen=True)
class Query:
    """What a teacher is asked.

    Attributes
    ----------
    request
        Digest of everything that the answer depends on.
    partner, federation, round, protocol, public_set, policy
        The partner asked, the contract, the public set, and the policy in force.
    compounds
        Number of compounds to label.
    cost
        The cost of the noise: ``release``, a `fluid.partner.dp.accounting.Cost` as plain values,
        and ``total``, epsilon and delta together with all releases before. Empty without noise.
    exact
        Whether the answer is the same to the byte each time: no noise is drawn.
    """

    request: str
    partner: str
    federation: str
    round: int
    protocol: str
    public_set: str
    policy: Mapping[str, Any]
    compounds: int
    cost: Mapping[str, Any]
    exact: bool = True


class Ledger:
    """A ledger that was read and verified; made by `open_ledger` or `read_ledger`.

    Parameters
    ----------
    path
        The file; need not exist yet.
    entries
        Its entries.
    """

    def __init__(self, path: Path, entries: list[Entry]) -> None:
        self.path = path
        self.entries = entries

    @property
    def name(self) -> str:
        """Name of the ledger, 32 hexadecimal digits; empty before the first entry."""
        return str(self.entries[0].values["ledger"]) if self.entries else ""

    @property
    def head(self) -> str:
        """Hash of the last entry."""
        return self.entries[-1].hash if self.entries else START

    def charged(self) -> list[Entry]:
        """Queries that were charged."""
        return [entry for entry in self.of(QUERY) if entry.values["charged"]]

    @property
    def releases(self) -> int:
        """Number of queries that were charged."""
        return len(self.charged())

    @property
    def queries(self) -> int:
        """Number of compounds in all charged queries."""
        return sum(int(entry.values["compounds"]) for entry in self.charged())

    def costs(self, before: Entry | None = None) -> list[dict[str, Any]]:
        """Cost of each charged query in order; of those before an entry, or of all."""
        charged = self.charged()
        return [
            dict(entry.values["cost"])
            for entry in charged
            if before is None or entry.index < before.index
        ]

    def cost(self) -> dict[str, float]:
        """Epsilon and delta of all charged queries together; empty without a noise mechanism."""
        for cost in reversed(self.costs()):
            if cost:
                return {name: float(value) for name, value in cost["total"].items()}
        return {}

    def answered_by(self, query: Query, at_hand: bool = False) -> Entry | None:
        """The entry by which a query is charged already; None if it has to be charged.

        Parameters
        ----------
        query
            The query.
        at_hand
            Whether noise that an interrupted run has drawn for it is used again.
        """
        former = [entry for entry in self.charged() if entry.values["request"] == query.request]
        if not former:
            return None
        done = bool(self.of(FINISHED, release=former[-1].values["release"]))
        return former[-1] if query.exact or (at_hand and not done) else None

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
            "index": len(self.entries),
            "kind": kind,
            "time": time,
            "previous": self.head,
        }
        digest = sha256_hex(canonical_json(frame | values))
        entry = Entry(**frame, hash=digest, values=values)
        append_line(self.path, canonical_json(entry.to_dict()) + b"\n", new=not self.entries)
        self.entries.append(entry)
        return entry


@contextmanager
def open_ledger(teacher: Path, *others: Path) -> Iterator[Ledger]:
    """The ledger of a teacher's folder, locked for reading and adding entries.

    Parameters
    ----------
    teacher
        The folder.
    others
        Other folders to lock meanwhile.

    Raises
    ------
    LedgerError
        If the ledger was changed or damaged.
    """
    # Training a teacher again replaces its folder, so its parent is locked.
    folders = sorted({folder.resolve() for folder in (teacher.resolve().parent, *others)})
    with ExitStack() as locks:
        for folder in folders:
            locks.enter_context(locked_folder(folder))
        path = teacher / LEDGER_FILE
        yield Ledger(path, read_entries(path, mend=True))


def read_ledger(teacher: Path) -> Ledger:
    """The ledger of a teacher's folder, verified entry by entry.

    Raises
    ------
    LedgerError
        If there is none, or it was changed or damaged; the message says which line.
    """
    path = teacher / LEDGER_FILE
    entries = read_entries(path, mend=False)
    if not entries:
        raise LedgerError(f"{path}: no such file; this teacher was never asked to annotate")
    return Ledger(path, entries)


def charge(
    ledger: Ledger,
    query: Query,
    policy: DisclosurePolicy,
    secret: bytes,
    at_hand: bool = False,
    check: Callable[[Release], None] = lambda release: None,
) -> Release:
    """Enter a query, before it is answered.

    A query that was entered before is not charged again if the answer is the same to the byte:
    either no noise is drawn, or the noise drawn is at hand and the release was not finished. Any
    other query is charged, whether or not it is finished later.

    Parameters
    ----------
    ledger
        An open ledger.
    query, policy
        The query, and the policy in force.
    secret
        The secret of the teacher's folds, which names a new ledger.
    at_hand
        Whether noise that an interrupted run has drawn for this query is used again.
    check
        Called with a release before it is charged; raises if it must not be.

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
    former = ledger.answered_by(query, at_hand)
    if former is not None:
        last = former.values
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


def name_ledger(secret: bytes) -> str:
    """Name of the ledger of a new teacher's folder; it does not reveal the secret."""
    return hmac.digest(secret, b"fluid ledger", "sha256").hex()[:32]


def finish(ledger: Ledger, release: Release, digest: str) -> None:
    """Enter the result of a query.

    Raises
    ------
    LedgerError
        If the release was finished before with another result: it was charged once, and two
        answers tell more than one.
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
    entries = read_entries(teacher / LEDGER_FILE, mend=True)
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
    """Lock the ledger of a teacher's folder while the folder is replaced."""
    parent = teacher.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FluidError(f"{parent}: cannot make this folder ({error.strerror})") from error
    with locked_folder(parent):
        yield
