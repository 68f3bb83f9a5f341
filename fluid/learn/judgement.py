"""The interface of applicability domains: what they are given, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.similarity import nearest_references
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, ReliabilityMap

# A threshold that no compound reaches.
NEVER = 1.01


@dataclass(frozen=True)
class Neighbours:
    """How near n compounds are to the reference compounds of a model.

    Attributes
    ----------
    similarity
        float64 in [0, 1]: mean Tanimoto similarity to the five nearest; missing ones count 0.
    nearest
        float64 in [0, 1]: similarity to the nearest.
    names
        Name of the nearest, object; empty if there are no reference compounds.
    """

    similarity: np.ndarray
    nearest: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class DomainInput:
    """Predictions of a model for n compounds, for a domain to judge.

    Attributes
    ----------
    values
        float64 of shape (n, n_outputs): probabilities, or a number; NaN without a prediction.
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
    """Calls of a model for n compounds that it had not seen, and how right they were.

    Attributes
    ----------
    values, threshold
        See `DomainInput`; of a classification task.
    similarity
        Mean similarity to the five nearest reference compounds, without their own fold, (n,).
    correct
        Probability in [0, 1] that the call is right; 0 or 1 where labels were measured.
    weights
        At least 0, (n,).
    measured
        Whether `correct` comes from measured labels.
    trusted
        Whether an error rate may be concluded from these calls. If not, nothing is inside and only
        the score is used.
    """

    values: np.ndarray
    threshold: float
    similarity: np.ndarray
    correct: np.ndarray
    weights: np.ndarray
    measured: bool
    trusted: bool = True


@dataclass(frozen=True)
class DomainResult:
    """The verdict of a domain on n compounds.

    Attributes
    ----------
    score
        float64 of shape (n,) in [0, 1]; higher is more trustworthy.
    inside
        bool of shape (n,).
    reasons
        One sentence each: what was found, and what is needed to be inside.
    """

    score: np.ndarray
    inside: np.ndarray
    reasons: list[str]


class Domain(Protocol):
    """One method of deciding which predictions to trust."""

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
            Reliability by similarity, fitted on held-out compounds.
        held_out
            Calls of compounds that the model had not seen; None for regression.
        """
        ...

    def assess(self, queries: Compounds, given: DomainInput) -> DomainResult:
        """Judge compounds by their features and the model's predictions."""
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
    best, where = nearest_references(
        queries.fingerprints, library.fingerprints[rows], DOMAIN_NEIGHBOURS
    )
    names = np.full(len(queries), "", dtype=object)
    found = where[:, -1] >= 0
    names[found] = library.ids[rows[where[found, -1]]]
    similarity = best.sum(axis=1) / np.float32(DOMAIN_NEIGHBOURS)
    return Neighbours(similarity.astype(np.float64), best[:, -1].astype(np.float64), names)
