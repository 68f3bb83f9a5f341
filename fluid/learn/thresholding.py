"""Thresholds that make binary tasks of numbers: the rule of MELLODDY-TUNER.

Heyndrickx et al. 2024, J. Chem. Inf. Model. 64, 2331, doi 10.1021/acs.jcim.3c00799.

A threshold is part of the contract. It is chosen once, when the contract is made, and never by a
partner for itself: labels of two thresholds are labels of two tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.learn.labels import apply_threshold
from fluid.learn.task import Task

# On the scale p: 10 nM, 100 nM, 1, 10, 20 and 40 uM.
TRIED = (8.0, 7.0, 6.0, 5.0, 4.7, 4.4)
LEAST_ACTIVE = 0.2
QUORUM = 25
# Half an order of magnitude on either side.
AUXILIARY = 0.5
# Beyond so many thresholds of experts, none is added.
_MOST_SANDWICHED = 3
# A bound is taken as twice or half of what it states where the median is the threshold.
_BOUND = float(np.log10(2.0))


@dataclass(frozen=True)
class Threshold:
    """One threshold, and where it comes from.

    Attributes
    ----------
    value
        On the task's scale.
    origin
        ``"expert"``, ``"fixed"`` (the first of `TRIED` that serves), ``"median"`` or
        ``"auxiliary"``.
    positive, negative
        Number of values that it makes positive and negative.
    """

    value: float
    origin: str
    positive: int
    negative: int


def choose_thresholds(
    task: Task, values: np.ndarray, signs: np.ndarray, experts: Sequence[float] = ()
) -> list[Threshold]:
    """Thresholds for the numbers of a task.

    - Those of experts, if there are any.
    - Otherwise, on the scale p, the first of 8, 7, 6, 5, 4.7 and 4.4 at which at least 20% of the
      decided values are positive and 25 are of each class.
    - Otherwise the median, in which a bound counts as moved by log10(2) on a logarithmic scale.
    - On a logarithmic scale, unless there are more than three of experts, also the lowest less .5
      and the highest plus .5, if they leave values on both sides: auxiliary tasks, which tell a
      model more of the same numbers.

    Parameters
    ----------
    task
        Says scale, direction and range; auxiliary thresholds outside the range are left out.
    values, signs
        One number per compound on its scale, and -1, 0 or 1 for ``<``, none and ``>``.
    experts
        Thresholds that experts chose.

    Returns
    -------
    list of Threshold
        In ascending order; empty if there are neither experts nor values.
    """
    logarithmic = task.scale != "linear"
    chosen = {float(value): "expert" for value in experts}
    if not chosen and len(values):
        fixed = TRIED if task.scale == "p" else ()
        serves = (value for value in fixed if _serves(*_count(task, value, values, signs)))
        value = next(serves, None)
        if value is None:
            moved = values + signs * (_BOUND if logarithmic else 0.0)
            # Three digits: the contract is read by people.
            chosen[float(f"{np.median(moved):.3g}")] = "median"
        else:
            chosen[value] = "fixed"
    if chosen and logarithmic and len(chosen) <= _MOST_SANDWICHED:
        for value in (min(chosen) - AUXILIARY, max(chosen) + AUXILIARY):
            if task.low < value < task.high and min(_count(task, value, values, signs)):
                chosen[round(value, 6)] = "auxiliary"
    return [
        Threshold(value, chosen[value], *_count(task, value, values, signs))
        for value in sorted(chosen)
    ]


def _count(task: Task, value: float, values: np.ndarray, signs: np.ndarray) -> tuple[int, int]:
    """Number of positive and negative values at a threshold."""
    cut = Task(task.name, "binary", threshold=value, direction=task.direction)
    classes = apply_threshold(cut, values, signs)
    return int(np.sum(classes == 1.0)), int(np.sum(classes == 0.0))


def _serves(positive: int, negative: int) -> bool:
    enough = min(positive, negative) >= QUORUM
    return enough and positive >= LEAST_ACTIVE * (positive + negative)
