"""What an applicability domain is given, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.similarity import nearest_references
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, ReliabilityMap

# A threshold that no compound reaches: the model was of no use anywhere.
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
        Its name, object; empty if there are no reference compounds.
    """

    similarity: np.ndarray
    nearest: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class DomainInput:
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
        Whether an error rate may be concluded from it; otherwise nothing is inside, and the score
        remains.
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

    def assess(self, queries: Compounds, said: DomainInput) -> DomainResult:
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
    best, where = nearest_references(
        queries.fingerprints, library.fingerprints[rows], DOMAIN_NEIGHBOURS
    )
    names = np.full(len(queries), "", dtype=object)
    found = where[:, -1] >= 0
    names[found] = library.ids[rows[where[found, -1]]]
    similarity = best.sum(axis=1) / np.float32(DOMAIN_NEIGHBOURS)
    return Neighbours(similarity.astype(np.float64), best[:, -1].astype(np.float64), names)
