"""Labels that are smoother than the truth, made sharper: what smooth fits leave of them, again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        steps = [{"ridge": step.ridge, "gain": step.gain} for step in self.steps]
        return {"base": self.base, "steps": steps}
