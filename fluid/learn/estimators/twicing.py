"""Twicing: labels that are smoother than the truth get back part of what smoothing took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_MOST, _MOST_STEPS = 1e3, 3


@dataclass(frozen=True)
class Step:
    """The residual of a ridge regression of the labels is added `gain` times.

    Attributes
    ----------
    ridge
        Its penalty over the number of compounds, above 0.
    gain
        Above 0.
    """

    ridge: float
    gain: float


@dataclass(frozen=True)
class Twicing:
    """Factors for the labels' components by smoothness: the less smooth, the larger.

    With R(c) = c (K + c I)^-1 the residual of kernel ridge regression of n compounds, labels y
    centred on their mean become ``base y + sum of gain R(ridge n) y``. A component of eigenvalue v
    is multiplied by ``base + sum of gain c / (v + c)``. With one step this is twicing (Tukey 1977,
    Exploratory Data Analysis).

    Attributes
    ----------
    base
        Of the smoothest part, above 0.
    steps
        With falling ridges.
    """

    base: float
    steps: tuple[Step, ...]

    def apply(
        self, labels: np.ndarray, n: float, residual: Callable[[float], np.ndarray]
    ) -> np.ndarray:
        """Sharpened labels, or any linear function of them.

        Parameters
        ----------
        labels
            The centred labels, or the same function of them.
        n
            Number of compounds, or the sum of their weights.
        residual
            Gives the same function of the residual of ridge regression with a given penalty.
        """
        found = self.base * labels
        for step in self.steps:
            found = found + step.gain * residual(step.ridge * n)
        return found

    @classmethod
    def from_dict(cls, values: Any) -> Twicing:
        """The inverse of `to_dict`.

        Raises
        ------
        ValueError
            If a value is missing, or out of its range.
        """
        try:
            stated = values["steps"]
            pairs = [(one["ridge"], one["gain"]) for one in stated]
            base = values["base"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"twicing is incomplete ({error})") from error
        if not isinstance(stated, list) or len(stated) > _MOST_STEPS:
            raise ValueError(f"a twicing has a list of at most {_MOST_STEPS} steps")
        for value in (base, *(value for pair in pairs for value in pair)):
            if not isinstance(value, int | float) or not 0 < value < _MOST:
                raise ValueError(f"a number of a twicing is not between 0 and {_MOST:g}")
        return cls(float(base), tuple(Step(float(one), float(two)) for one, two in pairs))

    def of_fewer(self, disagreement_share: float, slope: float) -> Twicing | None:
        """The twicing for labels of fewer teachers, which disagree less.

        Parameters
        ----------
        disagreement_share
            Share of the disagreement between all teachers that remains, in [0, 1].
        slope
            Shrinkage slope that was applied to these labels, 1 or more.

        Returns
        -------
        Twicing or None
            The excess of every slope over 1 is `disagreement_share` times that of all teachers.
            None if nobody remains to disagree.
        """
        if disagreement_share <= 0.0:
            return None
        before = 1.0 + (slope - 1.0) / disagreement_share
        base = (1.0 + disagreement_share * (self.base * before - 1.0)) / slope
        scale = disagreement_share * before / slope
        return Twicing(base, tuple(Step(one.ridge, scale * one.gain) for one in self.steps))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        steps = [{"ridge": step.ridge, "gain": step.gain} for step in self.steps]
        return {"base": self.base, "steps": steps}
