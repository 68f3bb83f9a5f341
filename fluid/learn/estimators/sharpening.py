"""Labels that are smoother than the truth, made sharper: what smooth fits leave of them, again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_MOST = 1e3


@dataclass(frozen=True)
class Step:
    """What a ridge regression leaves of the labels is added `gain` times.

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
class Sharpening:
    """The labels' parts by smoothness, each times a factor that grows as they get less smooth.

    With R(c) = c (K + c I)^-1 the residual of kernel ridge regression of n compounds, labels y
    about their mean become ``base y + sum of gain R(ridge n) y``. A component of eigenvalue v is
    multiplied by ``base + sum of gain c / (v + c)``. With one step this is twicing (Tukey 1977,
    Exploratory Data Analysis), which undoes a part of what smoothing has taken.

    Attributes
    ----------
    base
        Of the smoothest part, above 0.
    steps
        Of ever smaller ridges.
    """

    base: float
    steps: tuple[Step, ...]

    def apply(
        self, wanted: np.ndarray, n: float, left: Callable[[float], np.ndarray]
    ) -> np.ndarray:
        """Sharpened labels, or any linear function of them.

        Parameters
        ----------
        wanted
            The same function of the labels about their mean.
        n
            Number of compounds, or the sum of their weights.
        left
            The same function of what ridge regression of a given penalty leaves of them.
        """
        found = self.base * wanted
        for step in self.steps:
            found = found + step.gain * left(step.ridge * n)
        return found

    @classmethod
    def from_dict(cls, values: Any) -> Sharpening:
        """The inverse of `to_dict`.

        Raises
        ------
        ValueError
            If a value is missing, or out of its range.
        """
        try:
            steps = tuple(Step(float(one["ridge"]), float(one["gain"])) for one in values["steps"])
            made = cls(float(values["base"]), steps)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"sharpening is incomplete ({error})") from error
        numbers = [made.base, *(value for step in steps for value in (step.ridge, step.gain))]
        if not all(0.0 < value < _MOST for value in numbers):
            raise ValueError(f"a number of a sharpening is not between 0 and {_MOST:g}")
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        steps = [{"ridge": step.ridge, "gain": step.gain} for step in self.steps]
        return {"base": self.base, "steps": steps}
