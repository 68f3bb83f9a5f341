"""The interface of learners, and their state: plain numbers and text, never code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from fluid.base.values import convert_value
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
    parts
        States of the members of an ensemble.
    shared
        What the estimators of several tasks have in common; a folder holds it once.
    """

    kind: str
    params: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    parts: dict[str, State] = field(default_factory=dict)
    shared: Shared | None = None

    def number(self, key: str) -> float:
        """A number among the parameters; KeyError or ValueError if there is none."""
        return float(convert_value(self.params[key], float, key))

    def array(self, key: str, dtype: type[np.generic], ndim: int = 1) -> np.ndarray:
        """An array of one type; KeyError or ValueError if there is none.

        Numbers must be finite.
        """
        found = self.arrays[key]
        if found.dtype != dtype or found.ndim != ndim:
            raise ValueError(
                f"'{key}' is {found.dtype} of {found.ndim} dimensions; "
                f"{np.dtype(dtype)} of {ndim} is needed"
            )
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"'{key}' holds a number that is not finite")
        return found

    def has_only(self, params: Iterable[str] = (), arrays: Iterable[str] = ()) -> None:
        """Raise ValueError unless these are the names of the parameters and arrays."""
        for what, found, wanted in (
            ("parameters", self.params, params),
            ("arrays", self.arrays, arrays),
        ):
            if set(found) != set(wanted):
                named = ", ".join(wanted) or "none"
                raise ValueError(f"{what} are {sorted(found)!r:.80}; needed are {named}")


class Shared(Protocol):
    """What estimators of several tasks have in common, such as the hidden layer of a network."""

    def to_state(self) -> State:
        """What is shared, as plain values."""
        ...

    def check(self, library: Compounds) -> None:
        """As `Estimator.check`."""
        ...


def number_shared(state: State, shared: dict[int, Shared]) -> int:
    """Place of what a state shares with others among all that is shared; it joins them if new.

    Parameters
    ----------
    state
        Of an estimator that shares something.
    shared
        What was found so far, by its identity.
    """
    assert state.shared is not None
    shared.setdefault(id(state.shared), state.shared)
    return list(shared).index(id(state.shared))


class Estimator(Protocol):
    """One fitted learner for one output: a class against the rest, or a number.

    Estimators do not copy the compounds they were trained on. They remember positions in the
    *library* of their model, and get that library again when they predict.
    """

    kind: str

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """Log-odds (classification) or predicted values (regression), float64 of shape (n,)."""
        ...

    def check(self, library: Compounds) -> None:
        """Make sure that it can score compounds such as those of a library.

        Raises
        ------
        ValueError
            If its arrays do not fit one another, or the library.
        """
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
        signs: np.ndarray | None = None,
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
        signs
            int8 of shape (n,), in regression only: -1 if the target is an upper bound ("less
            than"), 1 if it is a lower one, 0 if it was measured. None if all were measured.
        """
        ...


def check_positions(rows: np.ndarray, n: int) -> None:
    """Raise ValueError unless all positions lie in a library of `n` compounds."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < n:
        raise ValueError("a position is outside the library")


def check_scaling(mean: np.ndarray, scale: np.ndarray, library: Compounds) -> None:
    """Raise ValueError unless every descriptor has a mean and a scale above 0."""
    wanted = (library.descriptors.shape[1],)
    if mean.shape != wanted or scale.shape != wanted or np.any(scale <= 0.0):
        raise ValueError("'mean' and 'scale' are not one for each descriptor, scales above 0")


def logit(probability: np.ndarray, margin: float = 1e-6) -> np.ndarray:
    """Log-odds of probabilities, which are first clipped to [margin, 1 - margin]."""
    clipped = np.clip(probability, margin, 1.0 - margin)
    return np.log(clipped) - np.log1p(-clipped)


def sigmoid(score: np.ndarray) -> np.ndarray:
    """Inverse of `logit`, without overflow."""
    from scipy.special import expit

    return expit(np.asarray(score, dtype=np.float64))
