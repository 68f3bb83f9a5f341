"""The noise mechanism of a federation: what noise labels get, and for which guarantee."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from fluid.base.values import convert_value
from fluid.learn.task import HIGHEST, LOWEST, Task

NONE, PATE = "none", "pate"
KINDS = (NONE, PATE)
MEASUREMENT, COMPOUND = "measurement", "compound"
UNITS = (MEASUREMENT, COMPOUND)
MOST_SUB_TEACHERS = 250

_RANGES: dict[str, tuple[float, float]] = {
    "epsilon": (0.0, 1000.0),
    "delta": (1e-15, 0.1),
    "sigma": (0.1, 10_000.0),
    "sub_teachers": (2, MOST_SUB_TEACHERS),
    "check_sigma": (0.1, 10_000.0),
    "threshold": (0.0, 1.0),
    "checks_per_answer": (1.0, 100.0),
    "confidence": (0.5, 0.99),
    "reliability": (0.05, 0.95),
}


@dataclass(frozen=True)
class Mechanism:
    """The noise on labels, agreed by all; part of the protocol if there is any.

    Attributes
    ----------
    kind
        ``"none"``, or ``"pate"``: noisy votes of sub-teachers that were trained on disjoint parts
        of the private data.
    unit
        What epsilon protects: one ``"measurement"`` (of one compound in one task), or one
        ``"compound"`` with all its measurements.
    epsilon, delta
        The budget of one teacher's folder, over all its releases.
    sigma
        Standard deviation of the noise, in votes.
    sub_teachers
        Number of sub-teachers, 2 to 250.
    check_sigma, threshold, checks_per_answer
        In classification a query is answered if the largest number of votes, with noise of
        ``check_sigma`` votes, reaches ``threshold`` times the number of votes. At most
        ``checks_per_answer`` times as many compounds are asked as may be answered. With a
        threshold of 0 all are answered and no check is paid for.
    confidence
        Probability that the label gives an answered class.
    reliability
        Reliability of every label; a reliability of the data would have to be paid for.
    clip
        By task: the range that regression predictions are clipped to before noise is added, by
        default that of the task. The noise is proportional to its width.
    """

    kind: str = NONE
    unit: str = COMPOUND
    epsilon: float = 0.0
    delta: float = 1e-6
    sigma: float = 5.0
    sub_teachers: int = 20
    check_sigma: float = 10.0
    threshold: float = 0.6
    checks_per_answer: float = 2.0
    confidence: float = 0.9
    reliability: float = 0.5
    clip: tuple[tuple[str, float, float], ...] = field(default=())

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"mechanism kind {self.kind!r}: allowed are {', '.join(KINDS)}")
        if self.unit not in UNITS:
            raise ValueError(f"mechanism unit {self.unit!r}: allowed are {', '.join(UNITS)}")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"mechanism {name} = {value}: allowed are {low:g} to {high:g}")
        if self.is_used and self.epsilon == 0.0:
            raise ValueError("mechanism epsilon: pate needs a budget above 0")
        for name, low, high in self.clip:
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"mechanism clip '{name}': low must be a number below high")

    @property
    def is_used(self) -> bool:
        """Whether anything is done to labels."""
        return self.kind != NONE

    def to_dict(self) -> dict[str, Any]:
        """The mechanism as plain values; empty if there is none."""
        if not self.is_used:
            return {}
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {"clip": {name: [low, high] for name, low, high in self.clip}}

    def bounds(self, task: Task) -> tuple[float, float]:
        """The range that predictions of a task are clipped to before noise is added."""
        for name, low, high in self.clip:
            if name == task.name:
                return low, high
        return task.bounds

    def check_tasks(self, tasks: Sequence[Task]) -> None:
        """Make sure that the mechanism can be used for these tasks.

        Raises
        ------
        ValueError
            If a clip range names something other than a regression task, or reaches outside the
            task's range; or if one is missing where the task's own range is the widest possible.
        """
        if not self.is_used:
            return
        numeric = {task.name: task for task in tasks if not task.is_classification}
        for name, low, high in self.clip:
            if name not in numeric:
                raise ValueError(f"mechanism clip: '{name}' is not a regression task")
            task = numeric[name]
            if low < task.low or high > task.high:
                raise ValueError(
                    f"mechanism clip '{name}': {low:g} to {high:g} is not within the task's range "
                    f"{task.low:g} to {task.high:g}"
                )
        for task in numeric.values():
            if self.bounds(task) == (LOWEST, HIGHEST):
                raise ValueError(
                    f"mechanism '{self.kind}' adds noise in proportion to the range of a task, and "
                    f"task '{task.name}' has none; give [mechanism.clip] {task.name} = [low, high]"
                )


def mechanism_from_dict(values: Mapping[str, Any]) -> Mechanism:
    """Read the table ``[mechanism]`` of a federation file.

    Raises
    ------
    ValueError
        If a key is unknown or not used by this kind, a value of another type, or not allowed.
    """
    kind = values.get("kind", NONE)
    if kind not in KINDS:
        raise ValueError(f"mechanism kind {str(kind)[:40]!r}: allowed are {', '.join(KINDS)}")
    allowed = {"kind"} if kind == NONE else {item.name for item in fields(Mechanism)}
    unknown = sorted(set(values) - allowed)
    if unknown:
        shown = ", ".join(sorted(allowed))
        raise ValueError(f"mechanism '{kind}': unknown key '{unknown[0]}'; allowed are {shown}")
    kinds = {item.name: type(item.default) for item in fields(Mechanism)}
    given: dict[str, Any] = {
        name: (
            _clip(value)
            if name == "clip"
            else convert_value(value, kinds[name], f"mechanism {name}")
        )
        for name, value in values.items()
    }
    return Mechanism(**given)


def _clip(value: Any) -> tuple[tuple[str, float, float], ...]:
    if not isinstance(value, dict):
        raise ValueError("mechanism clip: must be a table [mechanism.clip] of task = [low, high]")
    found = []
    for name, pair in sorted(value.items()):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"mechanism clip '{name}': [low, high] is needed")
        low, high = (convert_value(bound, float, f"mechanism clip '{name}'") for bound in pair)
        found.append((name, low, high))
    return tuple(found)
