"""Applicability domain: where a model's predictions can be trusted, how far, and why.

Two methods behind one interface. Each is stored with the model and applied when it predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.similarity import tanimoto
from fluid.learn.reliability import NEIGHBOURS, TRUSTED, ReliabilityMap

_BLOCK = 2048
# A threshold that no compound reaches: the model was of no use at any similarity.
_NEVER = 1.01


@dataclass(frozen=True)
class DomainResult:
    """What a domain says of n compounds.

    Attributes
    ----------
    score
        float64 in [0, 1]; higher is nearer to the model's compounds.
    inside
        bool.
    reasons
        One sentence each: what was found and what was asked.
    """

    score: np.ndarray
    inside: np.ndarray
    reasons: list[str]


class Domain(Protocol):
    """One method of deciding; knows the positions of its reference compounds in the library."""

    kind: str

    def fit(self, library: Compounds, rows: np.ndarray, reliability: ReliabilityMap) -> Self:
        """Learn from ``library[rows]``.

        Parameters
        ----------
        library
            Compounds of the model.
        rows
            Positions of the reference compounds.
        reliability
            What the model's predictions for held-out compounds were worth at which similarity.
        """
        ...

    def assess(self, queries: Compounds, library: Compounds) -> DomainResult:
        """Judge compounds."""
        ...

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Numbers and arrays to be stored."""
        ...

    @classmethod
    def from_state(cls, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """The inverse of `to_state`."""
        ...


class NeighbourDomain:
    """Mean Tanimoto similarity to the k nearest reference compounds, above a threshold.

    The threshold is the similarity from which on the model explained at least a fifth of the
    labels' variance, as fitted on compounds that were held out (`fluid.learn.reliability`).
    """

    kind = "neighbours"

    def __init__(self, k: int = NEIGHBOURS) -> None:
        self.k = k
        self.rows_ = np.zeros(0, dtype=np.int64)
        self.threshold_ = _NEVER

    def fit(self, library: Compounds, rows: np.ndarray, reliability: ReliabilityMap) -> Self:
        """See `Domain.fit`."""
        self.rows_ = np.asarray(rows, dtype=np.int64)
        self.threshold_ = min(reliability.similarity_at(TRUSTED), _NEVER)
        return self

    def _nearest(self, similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The k highest similarities of each row, ascending, and the position of the highest."""
        best = similarity.argmax(axis=1)
        if similarity.shape[1] > self.k:
            cut = similarity.shape[1] - self.k
            similarity = np.partition(similarity, cut, axis=1)[:, cut:]
        return np.sort(similarity, axis=1), best

    def assess(self, queries: Compounds, library: Compounds) -> DomainResult:
        """See `Domain.assess`."""
        n = len(queries)
        score, nearest = np.zeros(n), np.zeros(n)
        names = np.full(n, "", dtype=object)
        references = library.fingerprints[self.rows_]
        for start in range(0, n if len(references) else 0, _BLOCK):
            part = slice(start, min(start + _BLOCK, n))
            top, best = self._nearest(tanimoto(queries.fingerprints[part], references))
            score[part] = top.sum(axis=1) / self.k
            nearest[part] = top[:, -1]
            names[part] = library.ids[self.rows_[best]]
        inside = score >= self.threshold_
        reasons = [
            f"mean similarity to {self.k} nearest {value:.2f} "
            f"{'>=' if good else '<'} {self.threshold_:.2f}; nearest {name} {one:.2f}"
            for value, good, name, one in zip(score, inside, names, nearest, strict=True)
        ]
        return DomainResult(score, inside, reasons)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Domain.to_state`."""
        return {"k": self.k, "threshold": self.threshold_}, {"rows": self.rows_}

    @classmethod
    def from_state(cls, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """See `Domain.from_state`."""
        made = cls(int(params["k"]))
        made.threshold_ = float(params["threshold"])
        made.rows_ = arrays["rows"].astype(np.int64)
        return made


class DictionaryDomain:
    """The strict Morgan feature dictionary of FLuID (doi 10.1038/s42256-025-00991-2).

    A compound is inside if every one of its unfolded Morgan features occurs in some reference
    compound; the score is the share of its distinct features that do.
    """

    kind = "dictionary"

    def __init__(self) -> None:
        self.known_ = np.zeros(0, dtype=np.uint32)

    def fit(self, library: Compounds, rows: np.ndarray, reliability: ReliabilityMap) -> Self:
        """See `Domain.fit`; there is no threshold to fit."""
        self.known_ = np.unique(library.take(rows).environments)
        return self

    def assess(self, queries: Compounds, library: Compounds) -> DomainResult:
        """See `Domain.assess`."""
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
        made = cls()
        made.known_ = arrays["known"].astype(np.uint32)
        return made


# The keys are the choices of `fluid predict --domain`; the first is the default.
DOMAINS: dict[str, Callable[[], Domain]] = {
    "neighbours": NeighbourDomain,
    "dictionary": DictionaryDomain,
}
_REVIVE: dict[str, Callable[[dict[str, Any], dict[str, np.ndarray]], Domain]] = {
    "neighbours": NeighbourDomain.from_state,
    "dictionary": DictionaryDomain.from_state,
}
DEFAULT_DOMAIN = "neighbours"


def fit_domains(
    library: Compounds, rows: np.ndarray, reliability: ReliabilityMap
) -> dict[str, Domain]:
    """Fit every method on the same reference compounds."""
    return {kind: make().fit(library, rows, reliability) for kind, make in DOMAINS.items()}


def revive_domain(kind: str, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Domain:
    """Rebuild a domain from what was stored; KeyError if the kind is unknown."""
    return _REVIVE[kind](params, arrays)
