"""The interface of learners, and their state: plain numbers and text, never code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from fluid.chem.compounds import Compounds


@dataclass
class State:
    """An estimator as plain values, as written to disk.

    Attributes
    ----------
    kind
        Key in the registry of learners.
    params
        JSON values.
    arrays
        Numeric arrays; no object arrays.
    texts
        LightGBM models in LightGBM's own text format.
    parts
        States of the members of an ensemble.
    """

    kind: str
    params: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    parts: dict[str, State] = field(default_factory=dict)


class Estimator(Protocol):
    """One fitted learner for one output: a class against the rest, or a number.

    Estimators do not copy the compounds they were trained on. They remember positions in the
    *library* of their model, and get that library again when they predict.
    """

    kind: str

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """Log-odds (classification) or predicted values (regression), float64 of shape (n,)."""
        ...

    def to_state(self) -> State:
        """The estimator as plain values."""
        ...


class Learner(Estimator, Protocol):
    """An estimator that can be fitted."""

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        target: np.ndarray,
        classification: bool,
        seed: int,
    ) -> Self:
        """Train on ``library[rows]``.

        Parameters
        ----------
        library
            Compounds of the model.
        rows
            int64 of shape (n,): positions in the library.
        target
            float64 of shape (n,): 0 or 1 (classification), or a number.
        classification
            Whether targets are classes or numbers.
        seed
            Fixes everything random.
        """
        ...


def logit(probability: np.ndarray, margin: float = 1e-6) -> np.ndarray:
    """Log-odds of probabilities, which are first clipped to [margin, 1 - margin]."""
    clipped = np.clip(probability, margin, 1.0 - margin)
    return np.log(clipped) - np.log1p(-clipped)


def sigmoid(score: np.ndarray) -> np.ndarray:
    """Inverse of `logit`, without overflow."""
    from scipy.special import expit

    return expit(np.asarray(score, dtype=np.float64))
