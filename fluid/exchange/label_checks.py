"""Values of an annotation: none but those that its policy's own rounding gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluid.base.errors import FileFormatError
from fluid.exchange.policy import DisclosurePolicy, is_on_step, range_on_step
from fluid.learn.task import Task
from fluid.soft_labels.teacher_labels import TeacherLabels


def check_labels(
    path: Path, task: Task, policy: DisclosurePolicy, labels: TeacherLabels, start: int
) -> None:
    """Refuse labels of one task that the disclosure guard could not have released.

    Parameters
    ----------
    path, start
        The file, and the position of its row that the labels begin at, for messages.
    task, policy
        What is labelled, and the policy that the annotation states.
    labels
        NaN where the file has null.

    Raises
    ------
    FileFormatError
        If a value is out of range or off its step, or given where it cannot be; the message names
        file, row and column.
    """
    low, high = policy.probability_bounds if task.is_classification else task.bounds
    step = policy.prediction_step(task.is_classification)
    predictions = [
        _Column(f"{output}.prediction", values, *range_on_step(low, high, step), step)
        for output, values in zip(task.outputs, labels.prediction.T, strict=True)
    ]
    step = policy.uncertainty_step
    # A standard deviation is at most half of the range of the values.
    _, widest = range_on_step(0.0, (task.bounds[1] - task.bounds[0]) / 2.0, step)
    uncertainties = [
        _Column(f"{output}.uncertainty", values, 0.0, widest, step)
        for output, values in zip(task.outputs, labels.uncertainty.T, strict=True)
    ]
    step = policy.reliability_step
    # As the guard abstains: by the lowest multiple that is not below the bound.
    least, _ = range_on_step(max(0.0, policy.abstain_below - 1e-6), 1.0, step)
    reliability = _Column(f"{task.name}.reliability", labels.reliability, least, 1.0, step)
    for column in [*predictions, *uncertainties, reliability]:
        column.check(path, start)
    missing = np.isnan(reliability.values)
    for column in predictions:
        half = np.isnan(column.values) != missing
        reliability.refuse(
            path, half, start, "prediction and reliability must be given or missing together"
        )
    for column in uncertainties:
        stray = missing & ~np.isnan(column.values)
        column.refuse(path, stray, start, "nothing may be given where the prediction is missing")
    if task.kind == "multiclass":
        _check_sums(path, task, policy, labels, start)


def _check_sums(
    path: Path, task: Task, policy: DisclosurePolicy, labels: TeacherLabels, start: int
) -> None:
    """Class probabilities add up to 1, apart from clipping and rounding by two policies."""
    slack = 2.0 * policy.probability_bounds[0] + policy.probability_step
    sums = labels.prediction.astype(np.float64).sum(axis=1)
    wrong = np.abs(sums - 1.0) > len(task.outputs) * slack
    total = _Column(f"{task.name}.*.prediction", sums, 0.0, 1.0, 1.0)
    total.refuse(path, wrong, start, "the probabilities of the classes must add up to 1")


@dataclass(frozen=True)
class _Column:
    """A column of an annotation, the range of its values, and the step that they are rounded to."""

    name: str
    values: np.ndarray
    low: float
    high: float
    step: float

    def check(self, path: Path, start: int) -> None:
        """Refuse values out of range or off the step; NaN stands for a missing label."""
        low, high = np.float32(self.low), np.float32(self.high)
        outside = (self.values < low) | (self.values > high)
        self.refuse(path, outside, start, f"allowed are {self.low:g} to {self.high:g}")
        # The guard clips to the highest value, which may lie a little below the last step.
        on = is_on_step(self.values, self.step) | (self.values == high)
        off = ~np.isnan(self.values) & ~on
        self.refuse(
            path,
            off,
            start,
            f"allowed are multiples of {self.step:g}, as the nearest 32-bit numbers",
        )

    def refuse(self, path: Path, wrong: np.ndarray, start: int, rule: str) -> None:
        """Raise for the first wrong row, if there is one; the values begin at row `start`."""
        found = np.flatnonzero(wrong)
        if len(found):
            row = found[0]
            # As few digits as tell the value from others: 0.12 is not 0.120000005.
            shown = np.format_float_positional(self.values[row], trim="-")
            raise FileFormatError(
                f"{path}: row {start + row + 1}, column '{self.name}': {shown}; {rule}"
            )
