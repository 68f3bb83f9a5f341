"""Applicability domain: where a model's predictions can be trusted, how far, and why.

Three methods behind one interface. Each is stored with the model and applied when it predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.similarity import tanimoto
from fluid.learn.reliability import NEIGHBOURS, TRUSTED, ReliabilityMap

# Share of wrong calls among held-out compounds that lie inside the reliability domain, at most.
STATED_ERROR = 0.10
# An error rate of fewer held-out compounds than these is not stated.
FEWEST_HELD_OUT = 30
# A measured rate is not claimed farther out than where this share of the held-out compounds lies.
FARTHEST_SHARE = 0.2
_BLOCK = 2048
# A threshold that no compound reaches: the model was of no use anywhere.
_NEVER = 1.01
_EDGE = 1e-3


@dataclass(frozen=True)
class Neighbours:
    """How near n compounds are to the reference compounds of a model.

    Attributes
    ----------
    similarity
        float64 in [0, 1]: mean Tanimoto similarity to the three nearest; missing ones count 0.
    nearest
        float64 in [0, 1]: similarity to the nearest.
    names
        Its name, object; empty if there are no reference compounds.
    """

    similarity: np.ndarray
    nearest: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class Said:
    """What a model says of n compounds, for a domain to judge.

    Attributes
    ----------
    values
        float64 of shape (n, n_outputs): probabilities, or a number. NaN if there is no answer.
    near
        How near the compounds are to the model's reference compounds.
    reliability
        float64 of shape (n,) in [0, 1].
    threshold
        Of a binary task: the probability from which a compound is called positive.
    """

    values: np.ndarray
    near: Neighbours
    reliability: np.ndarray
    threshold: float = 0.5


@dataclass(frozen=True)
class HeldOut:
    """What a model said of n compounds that it had not seen, and how right it was.

    Attributes
    ----------
    values, threshold
        See `Said`; of a classification task.
    similarity
        Mean similarity to the three nearest reference compounds, without their own fold, (n,).
    correct
        Probability in [0, 1] that the call is right; 0 or 1 where labels were measured.
    weights
        At least 0, (n,).
    measured
        Whether `correct` comes from measured labels.
    """

    values: np.ndarray
    threshold: float
    similarity: np.ndarray
    correct: np.ndarray
    weights: np.ndarray
    measured: bool


@dataclass(frozen=True)
class DomainResult:
    """What a domain says of n compounds.

    Attributes
    ----------
    score
        float64 in [0, 1]; higher is more trustworthy.
    inside
        bool.
    reasons
        One sentence each: what was found and what was asked.
    """

    score: np.ndarray
    inside: np.ndarray
    reasons: list[str]


class Domain(Protocol):
    """One method of deciding."""

    kind: str

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        reliability: ReliabilityMap,
        held_out: HeldOut | None = None,
    ) -> Self:
        """Learn from ``library[rows]``.

        Parameters
        ----------
        library
            Compounds of the model.
        rows
            Positions of the reference compounds.
        reliability
            What the model's predictions for held-out compounds were worth at which similarity.
        held_out
            Calls of compounds that the model had not seen; None for numbers.
        """
        ...

    def assess(self, queries: Compounds, said: Said) -> DomainResult:
        """Judge compounds by their features and by what the model says of them."""
        ...

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Numbers and arrays to be stored."""
        ...

    @classmethod
    def from_state(cls, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """The inverse of `to_state`; ValueError if the values cannot be those of a domain."""
        ...


def find_neighbours(queries: Compounds, library: Compounds, rows: np.ndarray) -> Neighbours:
    """The reference compounds ``library[rows]`` that are nearest to each query."""
    n = len(queries)
    similarity, nearest = np.zeros(n), np.zeros(n)
    names = np.full(n, "", dtype=object)
    references = library.fingerprints[rows]
    for start in range(0, n if len(references) else 0, _BLOCK):
        part = slice(start, min(start + _BLOCK, n))
        top = tanimoto(queries.fingerprints[part], references)
        names[part] = library.ids[rows[top.argmax(axis=1)]]
        if top.shape[1] > NEIGHBOURS:
            cut = top.shape[1] - NEIGHBOURS
            top = np.partition(top, cut, axis=1)[:, cut:]
        # Sorted, so that the sum does not depend on the order that partitioning happened to leave.
        top = np.sort(top, axis=1)
        similarity[part] = top.sum(axis=1) / NEIGHBOURS
        nearest[part] = top[:, -1]
    return Neighbours(similarity, nearest, names)


def sureness(values: np.ndarray, threshold: float, similarity: np.ndarray) -> np.ndarray:
    """How sure a call is: its margin times the square root of similarity.

    The margin is the distance from the decision threshold as a share of what is possible on that
    side; of several classes, the distance between the two most probable ones. Margin and
    similarity together tell right from wrong better than either does alone: a sure call far
    from everything known is no more to be trusted than a doubtful one nearby.

    Parameters
    ----------
    values
        Probabilities of shape (n, n_outputs).
    threshold
        Of a binary task.
    similarity
        Mean Tanimoto similarity to the three nearest reference compounds, (n,), in [0, 1].

    Returns
    -------
    numpy.ndarray
        float64 of shape (n,) in [0, 1]; NaN where there is no prediction.
    """
    if values.shape[1] > 1:
        top = np.sort(values, axis=1)
        margin = top[:, -1] - top[:, -2]
    else:
        cut = min(max(threshold, _EDGE), 1.0 - _EDGE)
        distance = values[:, 0] - cut
        margin = np.where(distance >= 0.0, distance / (1.0 - cut), -distance / cut)
    return np.clip(margin, 0.0, 1.0) * np.sqrt(similarity.astype(np.float64))


class ReliabilityDomain:
    """Expected correctness of each call; inside where at most a stated share of calls is wrong.

    The expectation is an isotonic function of `sureness`, fitted on compounds that were held out
    and interpolated between the centres of its blocks, which keeps it rising (Oron and Flournoy
    2017, Statistics in Biopharmaceutical Research 9, 258-267). Inside is every call so sure that,
    of all held-out calls as sure or surer, the expected share of wrong ones is at most the stated
    error. With measured labels one more wrong call, surer than all, is counted in: as in
    conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814), so that few compounds do
    not promise too much.

    What the stated rate means depends on who held compounds out:

    - Of a teacher or a reference it is measured, on its own compounds out of fold, and holds for
      compounds like these. It is not claimed for compounds farther from the reference compounds
      than four fifths of the held-out ones: outside they are, however sure the call.
    - Of a student nothing was measured. It is an expectation under the teachers' labels.
    - A hybrid satisfies both: see `stricter`.

    Numbers have no right and wrong: their score is the expected share of variance explained, they
    are inside from a fifth on, and no error rate is stated.
    """

    kind = "reliability"

    def __init__(self, stated_error: float = STATED_ERROR) -> None:
        self.stated_error = stated_error
        self.knots_ = np.zeros(0)
        self.correct_ = np.zeros(0)
        self.threshold_ = _NEVER
        self.least_similarity_ = 0.0

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        reliability: ReliabilityMap,
        held_out: HeldOut | None = None,
    ) -> Self:
        """See `Domain.fit`; reference compounds matter through similarity alone."""
        return self if held_out is None else self.fit_calls(held_out)

    def fit_calls(self, held_out: HeldOut) -> Self:
        """Learn how right calls are from those of held-out compounds."""
        from sklearn.isotonic import IsotonicRegression

        chance = 1.0 / max(2, held_out.values.shape[1])
        sure = sureness(held_out.values, held_out.threshold, held_out.similarity)
        known = np.isfinite(sure) & np.isfinite(held_out.correct) & (held_out.weights > 0.0)
        sure, correct = sure[known], held_out.correct[known].astype(np.float64)
        weights = held_out.weights[known].astype(np.float64)
        n = len(sure)
        self.knots_, self.correct_ = np.array([0.0, 1.0]), np.array([chance, chance])
        self.threshold_ = _NEVER
        if n < FEWEST_HELD_OUT:
            return self
        weights /= weights.mean()
        if held_out.measured:
            near = held_out.similarity[known].astype(np.float64)
            self.least_similarity_ = float(np.quantile(near, FARTHEST_SHARE, method="lower"))
            sure, correct = np.append(sure, 1.0), np.append(correct, 0.0)
            weights = np.append(weights, 1.0)
        isotonic = IsotonicRegression(y_min=0.0, y_max=1.0).fit(sure, correct, weights)
        fitted = np.round(isotonic.predict(sure), 12)
        self._set_knots(sure, fitted, weights, chance)
        order = np.argsort(-sure, kind="stable")
        wrong = np.cumsum((weights * (1.0 - fitted))[order]) / np.cumsum(weights[order])
        # A threshold falls between two different values, never among equal ones.
        last = np.append(sure[order][:-1] > sure[order][1:], True)
        enough = np.arange(1, len(sure) + 1) >= FEWEST_HELD_OUT + int(held_out.measured)
        allowed = np.flatnonzero(last & enough & (wrong <= self.stated_error + 1e-9))
        if len(allowed):
            everything = allowed[-1] == len(sure) - 1
            self.threshold_ = 0.0 if everything else float(sure[order][allowed[-1]])
        return self

    def _set_knots(
        self, sure: np.ndarray, fitted: np.ndarray, weights: np.ndarray, chance: float
    ) -> None:
        levels, block = np.unique(fitted, return_inverse=True)
        total = np.bincount(block, weights)
        centres = np.clip(np.bincount(block, weights * sure) / total, 0.0, 1.0)
        # A call without margin is a guess; one that is as sure as can be is taken to be right.
        if centres[0] > 0.0:
            centres, levels = np.append(0.0, centres), np.append(min(chance, levels[0]), levels)
        if centres[-1] < 1.0:
            centres, levels = np.append(centres, 1.0), np.append(levels, 1.0)
        self.knots_, self.correct_ = centres, levels

    def expected(self, sure: np.ndarray) -> np.ndarray:
        """Expected correctness in [0, 1] from sureness, shape (n,)."""
        return np.interp(sure, self.knots_, self.correct_)

    def stricter(self, other: ReliabilityDomain) -> ReliabilityDomain:
        """A domain that expects the less of two, and where both keep their stated rates.

        A hybrid's out-of-fold calls are favourable: a private label reaches its student through
        the labels that the partner's own teacher gave to public neighbours. What was held out when
        the student was distilled has no such help, but no measured label either. It reaches
        farther than the partner's compounds, so that no similarity is asked for.

        Parameters
        ----------
        other
            Of the same task; one that was not fitted on calls changes nothing.
        """
        if not len(other.knots_) or not len(self.knots_):
            return self
        made = ReliabilityDomain(min(self.stated_error, other.stated_error))
        made.knots_ = np.union1d(self.knots_, other.knots_)
        made.correct_ = np.minimum(self.expected(made.knots_), other.expected(made.knots_))
        made.threshold_ = max(self.threshold_, other.threshold_)
        return made

    def assess(self, queries: Compounds, said: Said) -> DomainResult:
        """See `Domain.assess`."""
        if not len(self.knots_):
            return self._assess_numbers(said)
        sure = sureness(said.values, said.threshold, said.near.similarity)
        known = np.isfinite(sure)
        sure = np.where(known, sure, 0.0)
        score = np.where(known, self.expected(sure), 0.0)
        sure_enough = known & (sure >= self.threshold_)
        inside = sure_enough & (said.near.similarity >= self.least_similarity_)
        if self.threshold_ > 1.0:
            asked = f"nowhere were at most {self.stated_error:.0%} wrong"
        elif self.threshold_ <= 0.0:
            asked = f"all are inside: at most {self.stated_error:.0%} wrong"
        else:
            bar = float(self.expected(np.array([self.threshold_]))[0])
            asked = f"inside from {bar:.2f}: at most {self.stated_error:.0%} wrong"
        reasons = [
            f"expected correct {value:.2f} ({asked})" if answered else "no prediction"
            for value, answered in zip(score, known, strict=True)
        ]
        for row in np.flatnonzero(sure_enough & ~inside):
            reasons[row] = (
                f"expected correct {score[row]:.2f}, but mean similarity to {NEIGHBOURS} nearest "
                f"{said.near.similarity[row]:.2f} < {self.least_similarity_:.2f}: too far for the "
                "stated error rate"
            )
        return DomainResult(score, inside, reasons)

    def _assess_numbers(self, said: Said) -> DomainResult:
        score = np.nan_to_num(said.reliability.astype(np.float64))
        reasons = [
            f"expected share of variance explained {value:.2f} (inside from {TRUSTED:.2f}; no "
            "error rate is stated)"
            for value in score
        ]
        return DomainResult(score, score >= TRUSTED, reasons)

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Domain.to_state`."""
        params = {
            "stated_error": self.stated_error,
            "threshold": self.threshold_,
            "least_similarity": self.least_similarity_,
        }
        return params, {"knots": self.knots_, "correct": self.correct_}

    @classmethod
    def from_state(cls, params: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """See `Domain.from_state`."""
        made = cls(float(params["stated_error"]))
        made.threshold_ = float(params["threshold"])
        made.least_similarity_ = float(params["least_similarity"])
        made.knots_ = arrays["knots"].astype(np.float64)
        made.correct_ = arrays["correct"].astype(np.float64)
        numbers_right = (
            0.0 < made.stated_error < 1.0
            and 0.0 <= made.threshold_ <= _NEVER
            and 0.0 <= made.least_similarity_ <= 1.0
        )
        if not numbers_right:
            raise ValueError("stated error or a threshold of a domain is out of range")
        both = np.concatenate([made.knots_, made.correct_]) if made.knots_.ndim == 1 else None
        if (
            both is None
            or made.knots_.shape != made.correct_.shape
            or not np.all((both >= 0.0) & (both <= 1.0))
            or np.any(np.diff(made.knots_) <= 0.0)
            or np.any(np.diff(made.correct_) < 0.0)
        ):
            raise ValueError("knots of a domain do not rise from 0 to 1")
        return made


class NeighbourDomain:
    """Mean Tanimoto similarity to the three nearest reference compounds, above a threshold.

    The threshold is the similarity from which on the model explained at least a fifth of the
    labels' variance, as fitted on compounds that were held out (`fluid.learn.reliability`).
    """

    kind = "neighbours"

    def __init__(self) -> None:
        self.threshold_ = _NEVER

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        reliability: ReliabilityMap,
        held_out: HeldOut | None = None,
    ) -> Self:
        """See `Domain.fit`."""
        self.threshold_ = min(reliability.similarity_at(TRUSTED), _NEVER)
        return self

    def assess(self, queries: Compounds, said: Said) -> DomainResult:
        """See `Domain.assess`."""
        score, near = said.near.similarity, said.near
        inside = score >= self.threshold_
        reasons = [
            f"mean similarity to {NEIGHBOURS} nearest {value:.2f} "
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
        made = cls()
        made.threshold_ = float(params["threshold"])
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

    def assess(self, queries: Compounds, said: Said) -> DomainResult:
        """See `Domain.assess`; what the model says does not matter."""
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
    "reliability": ReliabilityDomain,
    "neighbours": NeighbourDomain,
    "dictionary": DictionaryDomain,
}
_REVIVE: dict[str, Callable[[dict[str, Any], dict[str, np.ndarray]], Domain]] = {
    "reliability": ReliabilityDomain.from_state,
    "neighbours": NeighbourDomain.from_state,
    "dictionary": DictionaryDomain.from_state,
}
DEFAULT_DOMAIN = "reliability"


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
    """Rebuild a domain from what was stored; KeyError if the kind is unknown."""
    return _REVIVE[kind](params, arrays)
