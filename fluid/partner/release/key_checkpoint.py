"""What a key has signed for: the state of each ledger, kept apart from the teachers' folders.

It detects a teacher's folder that was restored from a backup, or a ledger that was written anew,
and adds up the releases of all folders that one key signed for. The file is named by the public
key, so another file name of the key changes nothing. It lies beside the key and in the user's
state folder. Each place makes up for what the other lacks, so neither a copy of the key nor a lost
file begins anew. It does not detect folder, key and state restored together: the coordinator sees
that by release numbers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluid.base.errors import FluidError, LedgerError
from fluid.base.files import PRIVATE, dump_json, read_json, sha256_hex, write_text
from fluid.base.state import state_folder
from fluid.exchange.federation import Federation
from fluid.exchange.release import Release
from fluid.exchange.signing import encode_public_key, load_private_key
from fluid.partner.dp.accounting import BudgetError, Cost, compose
from fluid.partner.release.ledger import Ledger
from fluid.partner.release.ledger_file import APPROVED

logger = logging.getLogger(__name__)

SCHEMA = "fluid.checkpoint/1"
# Earlier versions named the file by the key's file name.
_OLD_SCHEMA = "fluid.anchor/1"
_OLD_KEYS = {"federation": str, "entry": int, "hash": str, "releases": int, "queries": int}
_KEYS = {
    "federations": list,
    "tasks": list,
    "hashes": list,
    "releases": int,
    "queries": int,
    "costs": list,
}
_DIGITS = 16
# What rounding adds to an epsilon that is composed in another order.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class LedgerState:
    """The state of one ledger when a key signed last.

    Attributes
    ----------
    federations, tasks
        Names of all federations that it was used in, and of their tasks in lower case.
    hashes
        Of all entries up to the last charge or approval; empty text where one is not known.
    releases, queries, costs
        Charged until then, with the cost of each release.
    path
        The file that states it.
    """

    federations: tuple[str, ...]
    tasks: tuple[str, ...]
    hashes: tuple[str, ...]
    releases: int
    queries: int
    costs: tuple[Mapping[str, Any], ...]
    path: Path = field(compare=False)

    def shares_data(self, federation: Federation) -> bool:
        """Whether releases of this ledger count in a federation.

        Its name alone does not identify it: the coordinator can change it.
        """
        known = federation.name in self.federations
        return known or not set(self.tasks).isdisjoint(_tasks(federation))

    def to_dict(self) -> dict[str, Any]:
        """The state as in the file."""
        return {name: getattr(self, name) for name in _KEYS}


@dataclass(frozen=True)
class KeyCheckpoint:
    """The state of ledgers when a key signed last.

    Attributes
    ----------
    key
        The public key.
    paths
        The files: beside the key, and in the state folder if there is one.
    ledgers
        States by name of the ledger.
    """

    key: str
    paths: tuple[Path, ...]
    ledgers: dict[str, LedgerState]

    def check(self, ledger: Ledger) -> None:
        """Make sure that a ledger continues from its state when this key signed last.

        Raises
        ------
        LedgerError
            If it does not.
        """
        last = self.ledgers.get(ledger.name)
        if last is None:
            return
        hashes = [entry.hash for entry in ledger.entries]
        if len(hashes) < len(last.hashes) or not _agree(last.hashes, hashes):
            raise LedgerError(
                f"{ledger.path}: has {len(hashes)} entries and not the one that was number "
                f"{len(last.hashes) - 1} when this key signed last ({last.path}); the teacher's "
                "folder was restored from a backup or is a copy, or its ledger was changed: use "
                "the folder that has it, or train a teacher in a new folder with a new secret"
            )

    def check_budget(self, ledger: Ledger, release: Release, federation: Federation) -> None:
        """Make sure that releases of all teachers' folders together are within the policy.

        Raises
        ------
        LedgerError
            If they are not: a new folder brings no budget.
        """
        others = self.others(release.ledger, federation)
        total = Release(
            release.ledger,
            release.number + sum(last.releases for last in others),
            release.queries + sum(last.queries for last in others),
        )
        over = total.over_budget(federation.in_force)
        if over:
            raise LedgerError(
                f"{ledger.path}: with the {len(others)} other teachers' folders that this key "
                f"signed for ({others[0].path if others else self.paths[0]}), this would be {over} "
                "of the policy in force"
            )

    def check_epsilon(self, ledger: Ledger, federation: Federation) -> None:
        """Make sure that the noise of all teachers' folders together is within the budget.

        Raises
        ------
        BudgetError
            If it is not, or no epsilon can be stated.
        """
        if not federation.mechanism.is_used:
            return
        others = self.costs_elsewhere(ledger.name, federation)
        try:
            spent = compose([*others, *cost_of_releases(ledger.costs())]).epsilon
        except ValueError as error:
            raise BudgetError(f"{ledger.path}: {error}") from error
        if spent > federation.mechanism.epsilon * (1 + _ROUNDING):
            raise BudgetError(
                f"{ledger.path}: with {len(others)} releases of other teachers' folders that this "
                f"key signed, this would be epsilon {spent:.4g}, but the federation's is "
                f"{federation.mechanism.epsilon:g}"
            )

    def costs_elsewhere(self, ledger: str, federation: Federation) -> list[Cost]:
        """Costs of the releases of other ledgers.

        Raises
        ------
        BudgetError
            If no epsilon can be stated after one of them.
        """
        costs = [cost for last in self.others(ledger, federation) for cost in last.costs]
        return cost_of_releases(costs, f"key {self.key} in other teachers' folders")

    def others(self, ledger: str, federation: Federation) -> list[LedgerState]:
        """States of other ledgers whose releases count in a federation."""
        return [
            last
            for name, last in self.ledgers.items()
            if name != ledger and last.shares_data(federation)
        ]

    def warn_of_elsewhere(self, federation: Federation) -> None:
        """Name the federations in which this key signed, and which are counted apart."""
        apart = [last for last in self.ledgers.values() if not last.shares_data(federation)]
        if apart:
            names = ", ".join(
                f"'{name}'" for name in sorted({n for last in apart for n in last.federations})
            )
            logger.warning(
                "this key also signed %d releases in %s, which share no task with '%s' and are "
                "counted apart; if they are of the same measurements, all of them left",
                sum(last.releases for last in apart),
                names,
                federation.name,
            )

    def keep(self, ledger: Ledger, federation: Federation) -> None:
        """Store the state of a ledger, in each place that can be written.

        Raises
        ------
        LedgerError
            If none can be.
        """
        # What follows the last charge or approval released nothing. A copy of the folder in which
        # a query was only repeated must not stop the folder itself.
        entries = list(ledger.entries)
        while entries and not (entries[-1].kind == APPROVED or entries[-1].values.get("charged")):
            entries.pop()
        before = self.ledgers.get(ledger.name)
        asked = {str(entry.values["federation"]) for entry in ledger.charged()}
        here = LedgerState(
            tuple(sorted(asked)),
            tuple(sorted({*_tasks(federation), *(before.tasks if before else ())})),
            tuple(entry.hash for entry in entries),
            ledger.releases,
            ledger.queries,
            tuple(ledger.costs()),
            self.paths[0],
        )
        states = self.ledgers | {ledger.name: here}
        value = {
            "schema": SCHEMA,
            "key": self.key,
            "ledgers": {name: state.to_dict() for name, state in states.items()},
        }
        problems = []
        for path in self.paths:
            try:
                write_text(path, dump_json(value) + "\n", PRIVATE)
            except (OSError, FluidError) as error:
                problems.append(f"{path}: cannot be written ({_reason(error)})")
        if len(problems) == len(self.paths):
            raise LedgerError(
                f"{'; '.join(problems)}; the state of the ledger is kept beside the key"
            )
        for problem in problems:
            logger.warning("%s; the state of the ledger is kept in one place only", problem)


def checkpoint_paths(key_path: Path) -> tuple[Path, ...]:
    """The files of a key: beside it, such as ``0f3a5c7e9b1d2468.ledger.json``, and in the state.

    Raises
    ------
    SignatureError
        If the private key cannot be read.
    """
    return _paths(key_path, _public(key_path))


def checkpoint_folders(key_path: Path) -> tuple[Path, ...]:
    """The folders to lock while a key's checkpoint is in use; made if needed."""
    return tuple(path.parent for path in checkpoint_paths(key_path))


def open_checkpoint(key_path: Path) -> KeyCheckpoint:
    """The state of ledgers when a key signed last; empty if it never did.

    Raises
    ------
    FluidError
        If the key cannot be read, a file is damaged, or two files contradict each other.
    """
    key = _public(key_path)
    paths = _paths(key_path, key)
    old = key_path.with_name(key_path.stem + ".ledger.json")
    ledgers: dict[str, LedgerState] = {}
    for path in dict.fromkeys((*paths, old)):
        if not os.path.lexists(path):
            continue
        for name, found in _read(path, key).items():
            ledgers[name] = _further(name, ledgers.get(name, found), found)
    return KeyCheckpoint(key, paths, ledgers)


def cost_of_releases(
    costs: Sequence[Mapping[str, Any]], what: str = "this teacher's folder"
) -> list[Cost]:
    """Costs of earlier releases, as a ledger holds them.

    Raises
    ------
    BudgetError
        If no epsilon can be stated after one of them: it had no noise, or noise that this version
        does not account for. `what` says whose releases they are.
    """
    found = []
    for number, cost in enumerate(costs, start=1):
        if not cost:
            raise BudgetError(
                f"release {number} of {what} had no noise; no epsilon can be stated for its "
                "private data any more"
            )
        try:
            found.append(Cost.from_dict(cost["release"]))
        except (KeyError, ValueError) as error:
            raise BudgetError(
                f"release {number} of {what}: {error}; no epsilon can be stated for its private "
                "data any more"
            ) from error
    return found


def _public(key_path: Path) -> str:
    return encode_public_key(load_private_key(key_path).public_key())


def _paths(key_path: Path, key: str) -> tuple[Path, ...]:
    name = f"{sha256_hex(key.encode())[:_DIGITS]}.ledger.json"
    # The key itself may be a link: then its checkpoint lies beside what it links to.
    beside, state = key_path.resolve().with_name(name), state_folder("keys")
    return (beside,) if state is None else (beside, state / name)


def _tasks(federation: Federation) -> tuple[str, ...]:
    return tuple(sorted(task.name.lower() for task in federation.tasks))


def _agree(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two ledgers have the same entries, as far as both go and are known."""
    return all(a == b for a, b in zip(one, other, strict=False) if a and b)


def _further(name: str, one: LedgerState, other: LedgerState) -> LedgerState:
    """The later of two states of a ledger."""
    if not _agree(one.hashes, other.hashes):
        raise LedgerError(
            f"{one.path} and {other.path}: hold two histories of ledger {name[:40]}; a copy of the "
            "teacher's folder was used elsewhere with this key. Remove the file of the copy whose "
            "releases never left"
        )
    return max(one, other, key=lambda state: (len(state.hashes), len(state.tasks)))


def _read(path: Path, key: str) -> dict[str, LedgerState]:
    """The states in a file of this or an earlier version."""
    values = read_json(path)
    schema = values.get("schema") if isinstance(values, dict) else None
    states = values.get("ledgers") if isinstance(values, dict) else None
    if not isinstance(states, dict) or schema not in (SCHEMA, _OLD_SCHEMA):
        raise LedgerError(f"{path}: is not a '{SCHEMA}' file; it was damaged or changed")
    if schema == SCHEMA and values.get("key") != key:
        raise LedgerError(f"{path}: is of another key; it was renamed or changed")
    keys = _KEYS if schema == SCHEMA else _OLD_KEYS
    found = {}
    for name, state in states.items():
        if not isinstance(state, dict) or not _is_complete(state, keys):
            raise LedgerError(
                f"{path}: ledger '{name[:40]}' lacks a value; it was damaged or changed"
            )
        found[name] = _state(state, path) if schema == SCHEMA else _old_state(state, path)
    return found


def _is_complete(state: Mapping[str, Any], keys: Mapping[str, type]) -> bool:
    items = {"federations": str, "tasks": str, "hashes": str, "costs": dict}
    return all(
        type(state.get(key)) is wanted
        and (wanted is not int or state[key] >= 0)
        and (wanted is not list or all(type(item) is items[key] for item in state[key]))
        for key, wanted in keys.items()
    )


def _state(values: Mapping[str, Any], path: Path) -> LedgerState:
    return LedgerState(
        tuple(values["federations"]),
        tuple(values["tasks"]),
        tuple(values["hashes"]),
        values["releases"],
        values["queries"],
        tuple(values["costs"]),
        path,
    )


def _old_state(values: Mapping[str, Any], path: Path) -> LedgerState:
    # An entry's number in a damaged file could be anything; a ledger has some ten entries.
    if values["entry"] > 1_000_000:
        raise LedgerError(f"{path}: entry {values['entry']}; it was damaged or changed")
    hashes = ("",) * values["entry"] + (values["hash"],)
    costs: tuple[dict[str, Any], ...] = ({},) * min(values["releases"], 1)
    return LedgerState(
        (values["federation"],), (), hashes, values["releases"], values["queries"], costs, path
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
