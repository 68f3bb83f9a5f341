"""A second copy of a ledger's last hash, beside the partner's signing key.

It detects a teacher's folder that was restored from a backup, or a ledger that was written anew. It
does not detect a folder and a key restored together: the coordinator sees that by release numbers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluid.base.errors import FluidError, LedgerError
from fluid.base.files import dump_json, read_json, write_text
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.release import Release
from fluid.partner.release.ledger import Ledger

SCHEMA = "fluid.anchor/1"
_KEYS = {"federation": str, "entry": int, "hash": str, "releases": int, "queries": int}


@dataclass(frozen=True)
class KeyCheckpoint:
    """The state of ledgers when a key signed last.

    Attributes
    ----------
    path
        The file beside the key.
    ledgers
        By name of the ledger: federation, index and hash of the last entry, releases and queries.
    """

    path: Path
    ledgers: dict[str, dict[str, Any]]

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
        entries, index = ledger.entries, last["entry"]
        if index >= len(entries) or entries[index].hash != last["hash"]:
            raise LedgerError(
                f"{ledger.path}: has {len(entries)} entries and not the one that was number "
                f"{index} when this key signed last ({self.path}); the teacher's folder was "
                "restored from a backup, or its ledger was changed"
            )

    def check_budget(
        self, ledger: Ledger, release: Release, federation: str, policy: DisclosurePolicy
    ) -> None:
        """Make sure that releases of all teachers' folders together are within the policy.

        Raises
        ------
        LedgerError
            If they are not: a new folder brings no budget.
        """
        others = [
            last
            for name, last in self.ledgers.items()
            if name != release.ledger and last["federation"] == federation
        ]
        total = Release(
            release.ledger,
            release.number + sum(last["releases"] for last in others),
            release.queries + sum(last["queries"] for last in others),
        )
        over = total.over_budget(policy)
        if over:
            raise LedgerError(
                f"{ledger.path}: with the {len(others)} other teachers' folders that this key "
                f"signed for ({self.path}), this would be {over} of the policy in force"
            )

    def keep(self, ledger: Ledger, federation: str) -> None:
        """Store the state of a ledger.

        Raises
        ------
        LedgerError
            If the file cannot be written.
        """
        here = {
            "federation": federation,
            "entry": len(ledger.entries) - 1,
            "hash": ledger.head,
            "releases": ledger.releases,
            "queries": ledger.queries,
        }
        value = {"schema": SCHEMA, "ledgers": self.ledgers | {ledger.name: here}}
        try:
            write_text(self.path, dump_json(value) + "\n", mode=0o600)
        except (OSError, FluidError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LedgerError(
                f"{self.path}: cannot be written ({reason}); the last entry of the ledger is kept "
                "beside the key"
            ) from error


def checkpoint_path(key_path: Path) -> Path:
    """The file beside a key, such as ``aurora.ledger.json``."""
    return key_path.with_name(key_path.stem + ".ledger.json")


def open_checkpoint(key_path: Path) -> KeyCheckpoint:
    """The state of ledgers when a key signed last; empty if it never did.

    Raises
    ------
    FluidError
        If the file is damaged.
    """
    path = checkpoint_path(key_path)
    if not os.path.lexists(path):
        return KeyCheckpoint(path, {})
    values = read_json(path)
    ledgers = values.get("ledgers") if isinstance(values, dict) else None
    if not isinstance(ledgers, dict) or values.get("schema") != SCHEMA:
        raise LedgerError(f"{path}: is not a '{SCHEMA}' file; it was damaged or changed")
    for name, last in ledgers.items():
        good = isinstance(last, dict) and all(
            type(last.get(key)) is wanted and (wanted is str or last[key] >= 0)
            for key, wanted in _KEYS.items()
        )
        if not good:
            raise LedgerError(
                f"{path}: ledger '{name[:40]}' lacks a value; it was damaged or changed"
            )
    return KeyCheckpoint(path, ledgers)
