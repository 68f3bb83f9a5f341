"""The disclosure policy: how precisely labels are released, and what is shared with them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fluid.learn.folds import BY_COMPOUND, FOLDS_BY
from fluid.learn.reliability import DOMAIN_NEIGHBOURS

SHAREABLE = ("training-size", "coverage", "metrics", "prevalence")
# Shared metrics and prevalences are multiples of this.
SHARED_STEP = 0.05

# The finest step of each. With more than 101 levels, reliability would reveal the similarity.
_FINEST = {"probability_step": 1e-4, "uncertainty_step": 1e-4, "reliability_step": 0.01}
_RANGES: dict[str, tuple[float, float]] = {
    "probability_clip": (0.0, 0.45),
    "value_step": (1e-9, 1e9),
    "neighbourhood": (DOMAIN_NEIGHBOURS, 100),
    "abstain_below": (0.0, 0.95),
    "coverage_step": (2, 1_000_000),
    "coverage_minimum": (2, 1_000_000),
    "max_releases": (1, 1_000_000),
    "max_queries": (1, 10**12),
    "audit_max_auc": (0.5, 1.0),
    "audit_max_neighbour_auc": (0.5, 1.0),
}


@dataclass(frozen=True)
class DisclosurePolicy:
    """What leaves a partner, agreed by all.

    Attributes
    ----------
    folds_by
        What no label is learned from: the ``"compound"`` itself, or any compound with its
        ``"framework"``, the skeleton of rings and linkers. The row of a compound is then the same
        whether or not such compounds are in the private data.
    probability_step
        Probabilities are rounded to multiples of this.
    probability_clip
        Probabilities are clipped to [clip, 1 - clip], or to one step from 0 and 1 if that is
        further inside.
    value_step
        Regression predictions are rounded to multiples of this, in the task's unit.
    uncertainty_step, reliability_step
        The same for uncertainty and reliability. Reliability has ``1 / step + 1`` levels.
    neighbourhood
        Every similarity is a mean over this many training compounds, equally weighted; 5 or more.
    abstain_below
        A compound whose rounded reliability is lower is not labelled in that task; 0 labels all.
    share
        What may be shared with the labels: ``"training-size"``, rounded to a power of two,
        ``"metrics"``, out-of-fold metrics, and ``"prevalence"``, shares of classes, both rounded
        to 0.05, and ``"coverage"``, how many private compounds lie near each cluster of public
        ones. Nothing by default.
    coverage_step, coverage_minimum
        Counts of a coverage report are rounded to multiples of the step; counts below the minimum
        are reported as 0.
    max_releases, max_queries
        How often a teacher may label a public set, and how many compounds over all releases. Its
        ledger counts them.
    audit_max_auc
        ``fluid audit`` fails if some membership attack on a compound's own row, or on the columns
        beside the prediction, ranks members with a higher ROC-AUC than this.
    audit_max_neighbour_auc
        The same for attacks on the rows of a compound's analogues and on differences between
        releases, which cross-fitting does not prevent. 1 only reports them.

    Notes
    -----
    No setting depends on whether a public compound is also in the private data, and none may be
    added: skipping such compounds, or abstaining on them, would reveal them.
    """

    folds_by: str = BY_COMPOUND
    probability_step: float = 0.01
    probability_clip: float = 0.01
    value_step: float = 0.01
    uncertainty_step: float = 0.01
    reliability_step: float = 0.02
    neighbourhood: int = DOMAIN_NEIGHBOURS
    abstain_below: float = 0.0
    share: tuple[str, ...] = ()
    coverage_step: int = 10
    coverage_minimum: int = 10
    max_releases: int = 10
    max_queries: int = 10_000_000
    audit_max_auc: float = 0.6
    audit_max_neighbour_auc: float = 1.0

    def __post_init__(self) -> None:
        if self.folds_by not in FOLDS_BY:
            raise ValueError(
                f"policy folds_by = {self.folds_by!r}: allowed are {', '.join(FOLDS_BY)}"
            )
        for name, finest in _FINEST.items():
            value = getattr(self, name)
            if not finest <= value <= 0.25:
                raise ValueError(f"policy {name} = {value}: allowed are {finest:g} to 0.25")
            parts = 1.0 / value
            if abs(parts - round(parts)) > 1e-6:
                raise ValueError(
                    f"policy {name} = {value}: a whole number of steps must make 1, "
                    "as with 0.01, 0.02, 0.05 or 0.1"
                )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"policy {name} = {value}: allowed are {low:g} to {high:.15g}")
        low, high = self.probability_bounds
        if low > high + 1e-9:
            raise ValueError(
                f"policy probability_clip = {self.probability_clip}: no multiple of "
                f"probability_step = {self.probability_step} is left"
            )
        unknown = [item for item in self.share if item not in SHAREABLE]
        if unknown:
            raise ValueError(f"policy share: {unknown[0]!r} is not one of {SHAREABLE}")

    def to_dict(self) -> dict[str, Any]:
        """The policy as plain values, with the limits of coverage only if coverage is shared.

        So the protocol digest of a federation that shares no coverage does not depend on them.
        """
        values = asdict(self) | {"share": list(self.share)}
        if "coverage" not in self.share:
            del values["coverage_step"], values["coverage_minimum"]
        return values

    @property
    def probability_bounds(self) -> tuple[float, float]:
        """The lowest and the highest probability that may be released; both are on the step."""
        step = self.probability_step
        low = max(1, math.ceil(self.probability_clip / step - 1e-9)) * step
        return low, 1.0 - low

    @property
    def reliability_levels(self) -> int:
        """How many different values the reliability may have."""
        return round(1.0 / self.reliability_step) + 1

    def prediction_step(self, is_classification: bool) -> float:
        """Step of the prediction column."""
        return self.probability_step if is_classification else self.value_step


def round_to_step(values: np.ndarray, step: float) -> np.ndarray:
    """Round to multiples of `step`; float32, NaN stays NaN."""
    return (np.round(values / step) * step).astype(np.float32)


def range_on_step(low: float, high: float, step: float) -> tuple[float, float]:
    """The lowest and the highest multiple of `step` within a range."""
    return math.ceil(low / step - 1e-9) * step, math.floor(high / step + 1e-9) * step


def is_on_step(values: np.ndarray, step: float) -> np.ndarray:
    """Whether float32 values are, bit for bit, what `round_to_step` gives of some numbers.

    Examples
    --------
    >>> is_on_step(np.array([0.12, 0.1200001, -0.0], dtype=np.float32), 0.01).tolist()
    [True, False, False]
    """
    steps = np.round(values.astype(np.float64) / step)
    good = np.zeros(values.shape, dtype=bool)
    # Where float32 is coarser than the step, the multiple next to it may be the one.
    for near in (steps, steps - 1.0, steps + 1.0):
        rounded = (near * step).astype(np.float32) + np.float32(0.0)
        good |= rounded.view(np.uint32) == values.view(np.uint32)
    return good
