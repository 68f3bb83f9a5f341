"""Which release of a partner's ledger an annotation is: what the coordinator sees of a budget."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from fluid.base.values import read_fields
from fluid.exchange.policy import DisclosurePolicy

_ID = re.compile(r"[0-9a-f]{32}")
# Whole numbers up to this survive any JSON reader.
_MOST = (1 << 53) - 1


@dataclass(frozen=True)
class Release:
    """Where an annotation stands in the ledger of the teacher that made it.

    Attributes
    ----------
    ledger
        Name of the ledger, 32 hexadecimal digits; another teacher's folder has another.
    number
        1 for the first release, and so on. A release that is made again keeps its number.
    queries
        Compounds labelled by this release and all before it.
    """

    ledger: str
    number: int
    queries: int

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.ledger):
            raise ValueError(
                f"ledger.ledger = {self.ledger[:40]!r}: 32 hexadecimal digits are needed"
            )
        for name in ("number", "queries"):
            value = getattr(self, name)
            if not 1 <= value <= _MOST:
                raise ValueError(f"ledger.{name} = {str(value)[:40]}: allowed are 1 to {_MOST}")

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Release:
        """The inverse of `to_dict`.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value not allowed.
        """
        return cls(**read_fields(cls, "ledger", values))

    def over_budget(self, policy: DisclosurePolicy) -> str | None:
        """Which cap of a policy this release exceeds; None if it keeps to all."""
        if self.number > policy.max_releases:
            return f"release {self.number}, but max_releases = {policy.max_releases}"
        if self.queries > policy.max_queries:
            return f"{self.queries} compounds labelled, but max_queries = {policy.max_queries}"
        return None
