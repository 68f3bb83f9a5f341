"""Which release of a partner's ledger an annotation is: what the coordinator sees of a budget."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from fluid.exchange.policy import DisclosurePolicy

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Release:
    """Where an annotation stands in the ledger of the teacher that made it.

    Attributes
    ----------
    ledger
        Name of the ledger, 32 hexadecimal digits; another teacher's folder has another.
    number
        1 for the first release, and so on. A release that was made again keeps its number.
    queries
        Compounds labelled by this release and all before it.
    """

    ledger: str
    number: int
    queries: int

    def __post_init__(self) -> None:
        if type(self.ledger) is not str or not _ID.fullmatch(self.ledger):
            raise ValueError("ledger: 32 hexadecimal digits are needed")
        for name in ("number", "queries"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value < 1 << 53:
                raise ValueError(f"ledger {name} = {str(value)[:40]}: a whole number is needed")

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Release:
        """The inverse of `to_dict`; ValueError if these are not the values of a release."""
        if not isinstance(values, dict) or set(values) != {"ledger", "number", "queries"}:
            raise ValueError("ledger: 'ledger', 'number' and 'queries' are needed")
        return cls(**values)

    def over_budget(self, policy: DisclosurePolicy) -> str | None:
        """Which cap of a policy this release is beyond; None if it is within all."""
        if self.number > policy.max_releases:
            return f"release {self.number}, but max_releases = {policy.max_releases}"
        if self.queries > policy.max_queries:
            return f"{self.queries} compounds labelled, but max_queries = {policy.max_queries}"
        return None
