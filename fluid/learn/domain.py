"""Applicability domain: where a model's predictions can be trusted, and why.

Three methods share one interface. Each is stored with the model and applied when it predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.estimators import State
from fluid.learn.judgement import NEVER, Domain, DomainInput, DomainResult, HeldOut
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, TRUSTED, ReliabilityMap


class NeighbourDomain:
    """Mean Tanimoto similarity to the five nearest reference compounds, above a threshold.

    The threshold is the similarity from which the model explained at least a fifth of the labels'
    variance, as fitted on held-out compounds (`fluid.learn.reliability`).
    """

    kind = "neighbours"

    def __init__(self) -> None:
        self.threshold_ = NEVER

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        reliability: ReliabilityMap,
        held_out: HeldOut | None = None,
    ) -> Self:
        """See `Domain.fit`."""
        self.threshold_ = min(reliability.similarity_at(TRUSTED), NEVER)
        return self

    def assess(self, queries: Compounds, given: DomainInput) -> DomainResult:
        """See `Domain.assess`."""
        score, near = given.near.similarity, given.near
        inside = score >= self.threshold_
        reasons = [
            f"mean similarity to {DOMAIN_NEIGHBOURS} nearest {value:.2f} "
            f"{'>=' if good else '<'} {self.threshold_:.2f}; nearest {name} {one:.2f}"
            for value, good, name, one in zip(score, inside, near.names, near.nearest, strict=True)
        ]
        return DomainResult(score, inside, reasons)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Domain.to_state`."""
        return {"threshold": self.threshold_}, {}

    @classmethod
    def from_state(cls, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """See `Domain.from_state`."""
        state = State(cls.kind, params, arrays)
        state.has_only(["threshold"])
        made = cls()
        made.threshold_ = state.number("threshold")
        if not 0.0 <= made.threshold_ <= NEVER:
            raise ValueError("threshold of a domain is out of range")
        return made


class DictionaryDomain:
    """The strict Morgan feature dictionary of FLuID (doi 10.1038/s42256-025-00991-2).

    A compound is inside if every one of its unfolded Morgan features occurs in some reference
    compound; the score is the share of its distinct features that do.
    """

    kind = "dictionary"

    def __init__(self) -> None:
        self.known_ = np.zeros(0, dtype=np.uint32)

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        reliability: ReliabilityMap,
        held_out: HeldOut | None = None,
    ) -> Self:
        """See `Domain.fit`; there is no threshold to fit."""
        self.known_ = np.unique(library.take(rows).environments)
        return self

    def assess(self, queries: Compounds, given: DomainInput) -> DomainResult:
        """See `Domain.assess`; predictions do not matter."""
        known = np.isin(queries.environments, self.known_)
        totals = np.diff(queries.offsets)
        owner = np.repeat(np.arange(len(queries)), totals)
        found = np.bincount(owner, weights=known, minlength=len(queries))
        score = found / np.maximum(totals, 1)
        inside = found == totals
        reasons = [
            "all Morgan features known"
            if good
            else f"{int(total - hit)} of {total} Morgan features unknown"
            for good, total, hit in zip(inside, totals, found, strict=True)
        ]
        return DomainResult(score, inside, reasons)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Domain.to_state`."""
        return {}, {"known": self.known_}

    @classmethod
    def from_state(cls, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """See `Domain.from_state`."""
        state = State(cls.kind, params, arrays)
        state.has_only(arrays=["known"])
        made = cls()
        made.known_ = state.array("known", np.uint32)
        return made


# The keys are the choices of `fluid predict --domain`; the first is the default.
DOMAINS: dict[str, Callable[[], Domain]] = {
    "reliability": ReliabilityDomain,
    "neighbours": NeighbourDomain,
    "dictionary": DictionaryDomain,
}
DEFAULT_DOMAIN = "reliability"

_REVIVE: dict[str, Callable[[dict[str, Any], dict[str, np.ndarray]], Domain]] = {
    "reliability": ReliabilityDomain.from_state,
    "neighbours": NeighbourDomain.from_state,
    "dictionary": DictionaryDomain.from_state,
}


def fit_domains(
    library: Compounds,
    rows: np.ndarray,
    reliability: ReliabilityMap,
    held_out: HeldOut | None = None,
) -> dict[str, Domain]:
    """Fit every method on the same reference compounds and held-out calls."""
    return {
        kind: make().fit(library, rows, reliability, held_out) for kind, make in DOMAINS.items()
    }


def revive_domain(kind: str, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Domain:
    """Rebuild a domain from its state; KeyError if the kind is unknown."""
    return _REVIVE[kind](params, arrays)
