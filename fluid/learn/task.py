"""Tasks: what is measured, and by which rules values become labels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any

from fluid.base.values import read_fields
from fluid.learn.quorum import FEWEST_EXACT, FEWEST_NUMBERS, FEWEST_PER_CLASS

KINDS = ("binary", "multiclass", "regression")
SCALES = ("linear", "log10", "p")
# Rules for repeated measurements: for numbers, and for classes.
NUMBER_RULES = ("median", "mean", "max", "min")
MAJORITY = "majority"
DIRECTIONS = ("high", "low")
LOWEST, HIGHEST = -1e9, 1e9
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


class LabelError(ValueError):
    """A label cannot be read; the message is the reason shown in the rejects table."""


@dataclass(frozen=True)
class Task:
    """One endpoint of a federation.

    Attributes
    ----------
    name
        Letters, digits, ``_`` and ``-``; names the columns of every file.
    kind
        ``"binary"``, ``"multiclass"`` or ``"regression"``.
    unit
        Unit of the numbers; empty if they have none. Measurements in another unit are converted, or
        rejected if they cannot be.
    classes
        Class labels; for a binary task (negative, positive). Labels such as 1/0, yes/no,
        active/inactive are understood too.
    low, high
        Credible range of the numbers, on the scale. Measurements outside are rejected, for they may
        be in another unit; predictions of a regression task are clipped to it.
    source
        What tables call the measured quantity: a column of a wide table, or a name in the task
        column of a long one. Several tasks may share one; empty for the task's own name.
    scale
        How numbers of unit `unit` become labels: ``"linear"`` (as they are), ``"log10"``, or
        ``"p"`` (minus log10 of mol/L).
    threshold
        Of a binary task that is made from numbers: on the scale, what separates the classes. The
        threshold itself is positive. None if the table states classes.
    direction
        Which side of the threshold is positive: ``"high"`` or ``"low"``.
    replicates
        Rule for repeated measurements of a compound: ``"median"``, ``"mean"``, ``"max"`` or
        ``"min"`` for numbers, ``"majority"`` for classes; empty for the median, or the majority.
        See `fluid.learn.labels.merge_measurements`.
    max_spread
        Repeated measurements that differ by more, on the scale, are rejected; None for no limit.
    quorum
        Fewest labels that a model of this task is fitted on: of each class, or numbers. 0 for the
        fewest that can be fitted. See `fluid.learn.quorum`.
    quorum_exact
        Of a regression task: fewest of them that are not censored.
    min_partners
        Public compounds with labels of fewer partners are not learned by the student.
    weight
        Of the task where several are fitted or averaged together; above 0.
    """

    name: str
    kind: str
    unit: str = ""
    classes: tuple[str, ...] = ()
    low: float = LOWEST
    high: float = HIGHEST
    source: str = ""
    scale: str = "linear"
    threshold: float | None = None
    direction: str = DIRECTIONS[0]
    replicates: str = ""
    max_spread: float | None = None
    quorum: int = 0
    quorum_exact: int = 0
    min_partners: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"task name '{self.name}': a letter, then letters, digits, '_' or '-', at most 63"
            )
        if self.kind not in KINDS:
            raise ValueError(f"task '{self.name}': kind '{self.kind}' is not one of {KINDS}")
        if self.kind == "binary" and len(self.classes) not in (0, 2):
            raise ValueError(f"task '{self.name}': classes must be [negative, positive]")
        if self.kind == "multiclass" and len(self.classes) < 3:
            raise ValueError(f"task '{self.name}': a multiclass task needs three or more classes")
        if self.kind == "regression" and self.classes:
            raise ValueError(f"task '{self.name}': a regression task has no classes")
        folded = [label.strip().lower() for label in self.classes]
        if len(set(folded)) != len(folded):
            raise ValueError(f"task '{self.name}': two classes have the same name")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"task '{self.name}': low must be a number below high")
        problem = _numbers_problem(self) or _rules_problem(self)
        if problem:
            raise ValueError(f"task '{self.name}': {problem}")

    @property
    def quantity(self) -> str:
        """What tables call the measured quantity: `source`, or the task's own name."""
        return self.source or self.name

    @property
    def reads_numbers(self) -> bool:
        """Whether tables state numbers: of a regression task, or one with a threshold."""
        return self.kind == "regression" or self.threshold is not None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the prediction columns: one, or one per class of a multiclass task."""
        if self.kind != "multiclass":
            return (self.name,)
        return tuple(f"{self.name}.{label}" for label in self.classes)

    @property
    def is_classification(self) -> bool:
        """Whether predictions are probabilities."""
        return self.kind != "regression"

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest prediction allowed: (0, 1) or the task's range."""
        return (0.0, 1.0) if self.is_classification else (self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """The task as plain values, with only what its kind uses."""
        values: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.kind == "regression":
            values |= {"unit": self.unit, "low": self.low, "high": self.high}
        elif self.classes:
            values["classes"] = list(self.classes)
        # Left out where they are the usual ones: a contract without them keeps its digest.
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name not in values and item.name != "classes" and value != item.default:
                values[item.name] = value
        return values

    @classmethod
    def from_dict(cls, values: Any) -> Task:
        """The inverse of `to_dict`.

        Raises
        ------
        ValueError
            If a key is unknown or missing, or a value not allowed.
        """
        name = values.get("name") if isinstance(values, dict) else None
        where = f"tasks.{name}" if isinstance(name, str) else "tasks"
        return cls(**read_fields(cls, where, values))


def _numbers_problem(task: Task) -> str:
    """What is wrong with the fields that say how numbers are read; empty if nothing is."""
    if task.threshold is not None and task.kind != "binary":
        return f"threshold = {task.threshold:g}: only a binary task is made from numbers by one"
    if task.scale not in SCALES:
        return f"scale '{task.scale}' is not one of {', '.join(SCALES)}"
    if task.direction not in DIRECTIONS:
        return f"direction '{task.direction}' is not one of {', '.join(DIRECTIONS)}"
    if task.threshold is None and task.direction != DIRECTIONS[0]:
        return "direction says which side of a threshold is positive, and there is no threshold"
    if not task.reads_numbers:
        # A setting without effect is a mistake.
        given = {
            "unit": task.unit != "",
            "scale": task.scale != "linear",
            "low": task.low != LOWEST,
            "high": task.high != HIGHEST,
            "max_spread": task.max_spread is not None,
        }
        unused = [name for name, there in given.items() if there]
        if unused:
            return f"{unused[0]} is for numbers; this {task.kind} task states classes"
    elif task.threshold is not None and not task.low < task.threshold < task.high:
        return (
            f"threshold = {task.threshold:g} is not within its range {task.low:g} to "
            f"{task.high:g}, so that all compounds are of one class"
        )
    return ""


def _rules_problem(task: Task) -> str:
    """What is wrong with the rules for replicates, quorums and weights; empty if nothing is."""
    rules = NUMBER_RULES if task.reads_numbers else (MAJORITY,)
    if task.replicates and task.replicates not in rules:
        of = "numbers" if task.reads_numbers else "classes"
        return f"replicates '{task.replicates}': for {of}, allowed are {', '.join(rules)}"
    if task.max_spread is not None and not 0 <= task.max_spread < math.inf:
        return f"max_spread = {task.max_spread:g}: allowed are 0 or more"
    fewest = FEWEST_PER_CLASS if task.is_classification else FEWEST_NUMBERS
    what = "of each class" if task.is_classification else "numbers"
    if task.quorum and task.quorum < fewest:
        return f"quorum = {task.quorum}: a model needs at least {fewest} {what}; 0 for no quorum"
    if task.quorum_exact and task.kind != "regression":
        return "quorum_exact is for regression tasks; classes are never censored"
    if task.quorum_exact and task.quorum_exact < FEWEST_EXACT:
        return (
            f"quorum_exact = {task.quorum_exact}: a model needs at least {FEWEST_EXACT} exact "
            "numbers; 0 for no quorum"
        )
    if task.quorum_exact > max(task.quorum, FEWEST_NUMBERS):
        return (
            f"quorum_exact = {task.quorum_exact} is more than the "
            f"{max(task.quorum, FEWEST_NUMBERS)} numbers of the quorum"
        )
    if task.min_partners < 1:
        return f"min_partners = {task.min_partners}: allowed are 1 or more"
    if not 0 < task.weight < math.inf:
        return f"weight = {task.weight:g}: allowed are numbers above 0"
    return ""
