"""The disclosure policy: how finely an annotation may speak, and what it may say besides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SHAREABLE = ("training-size", "coverage")


@dataclass(frozen=True)
class DisclosurePolicy:
    """What leaves a partner, agreed by all.

    Attributes
    ----------
    probability_step
        Probabilities are rounded to multiples of this, and clipped to [step, 1 - step].
    value_step
        Regression predictions are rounded to multiples of this, in the task's unit.
    uncertainty_step, reliability_step
        The same for the columns beside the prediction.
    share
        What may be stated besides: ``"training-size"``, rounded to a power of two, and
        ``"coverage"``, how many private compounds lie near each cluster of public ones. Nothing
        by default.
    coverage_step, coverage_minimum
        Counts of a coverage report are rounded to multiples of the step; counts below the minimum
        are reported as 0.
    audit_max_auc
        ``fluid audit`` fails if some membership attack on a compound's own row, or on the columns
        beside the prediction, ranks members with a higher ROC-AUC than this.
    audit_max_neighbour_auc
        The same for attacks on the rows of a compound's analogues and on releases differenced;
        cross-fitting does not close these. 1 only reports them.
    """

    probability_step: float = 0.01
    value_step: float = 0.01
    uncertainty_step: float = 0.01
    reliability_step: float = 0.02
    share: tuple[str, ...] = ()
    coverage_step: int = 10
    coverage_minimum: int = 10
    audit_max_auc: float = 0.6
    audit_max_neighbour_auc: float = 1.0

    def __post_init__(self) -> None:
        for name in ("probability_step", "uncertainty_step", "reliability_step"):
            if not 1e-4 <= getattr(self, name) <= 0.25:
                raise ValueError(
                    f"policy {name} = {getattr(self, name)}: allowed are 0.0001 to 0.25"
                )
            parts = 1.0 / getattr(self, name)
            if abs(parts - round(parts)) > 1e-6:
                raise ValueError(
                    f"policy {name} = {getattr(self, name)}: a whole number of steps must make 1, "
                    "as with 0.01, 0.02, 0.05 or 0.1"
                )
        if not 1e-9 <= self.value_step <= 1e9:
            raise ValueError(f"policy value_step = {self.value_step}: allowed are 1e-9 to 1e9")
        for name in ("coverage_step", "coverage_minimum"):
            if not 2 <= getattr(self, name) <= 1_000_000:
                raise ValueError(f"policy {name} = {getattr(self, name)}: allowed are 2 to 1000000")
        for name in ("audit_max_auc", "audit_max_neighbour_auc"):
            if not 0.5 <= getattr(self, name) <= 1.0:
                raise ValueError(f"policy {name} = {getattr(self, name)}: allowed are 0.5 to 1")
        unknown = [item for item in self.share if item not in SHAREABLE]
        if unknown:
            raise ValueError(f"policy share: {unknown[0]!r} is not one of {SHAREABLE}")

    def to_dict(self) -> dict[str, Any]:
        """The policy as plain values; what limits coverage is part of it if coverage is shared.

        So the protocol digest of a federation that shares no coverage does not depend on it.
        """
        values = asdict(self) | {"share": list(self.share)}
        if "coverage" not in self.share:
            del values["coverage_step"], values["coverage_minimum"]
        return values

    def prediction_step(self, is_classification: bool) -> float:
        """Step of the prediction column."""
        return self.probability_step if is_classification else self.value_step


def round_to_step(values: np.ndarray, step: float) -> np.ndarray:
    """Round to multiples of `step`; float32, NaN stays NaN."""
    return (np.round(values / step) * step).astype(np.float32)


def is_on_step(values: np.ndarray, step: float) -> np.ndarray:
    """Whether values are multiples of `step` as far as float32 can tell."""
    ratio = values.astype(np.float64) / step
    tolerance = np.maximum(1e-3, np.abs(ratio) * 2e-7)
    return np.abs(ratio - np.round(ratio)) <= tolerance
