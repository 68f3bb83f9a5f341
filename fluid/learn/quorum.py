"""Whether labels suffice to fit a model: the quorum of a task.

A quorum counts the labels that a model is fitted on. Of a fold model these are the labels of the
*other* folds only: were its own fold counted, a compound that is there could decide whether its own
row is labelled. With K folds alike in size, a table needs about K/(K - 1) times the quorum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fluid.learn.task import Task

# What a model needs where its task asks for no more.
FEWEST_PER_CLASS = 8
FEWEST_NUMBERS = 16
FEWEST_EXACT = 8


def enough_labels(
    task: Task, values: np.ndarray, share: float = 1.0, signs: np.ndarray | None = None
) -> bool:
    """Whether a model can be trained on these labels.

    Parameters
    ----------
    task
        Its `quorum` and `quorum_exact` are needed, and never less than a model can be fitted on.
    values
        Class indices or numbers of the compounds that the model is fitted on, shape (n,).
    share
        Lowers the numbers needed: inner models are fitted without two folds.
    signs
        int8 of shape (n,): 0 for exact numbers, -1 and 1 for bounds. None if all are exact.

    Examples
    --------
    >>> from fluid.learn.task import Task
    >>> values = np.repeat([0.0, 1.0], [300, 20])
    >>> enough_labels(Task("herg", "binary"), values)
    True
    >>> enough_labels(Task("herg", "binary", quorum=25), values)
    False
    """
    if not task.is_classification:
        n_exact = len(values) if signs is None else int(np.sum(signs == 0))
        return bool(
            len(values) >= max(task.quorum, FEWEST_NUMBERS) * share
            and n_exact >= max(task.quorum_exact, FEWEST_EXACT) * share
        )
    needed = max(2, max(task.quorum, FEWEST_PER_CLASS) * share)
    return bool(np.all(count_classes(task, values) >= needed))


def count_classes(task: Task, values: np.ndarray) -> np.ndarray:
    """Number of labels of each class, int64 of shape (n_classes,)."""
    return np.bincount(values.astype(np.int64), minlength=max(2, len(task.classes)))


def too_few_labels(task: Task, values: np.ndarray, signs: np.ndarray | None = None) -> str:
    """Why these labels do not suffice, with their number.

    Parameters
    ----------
    task, values, signs
        See `enough_labels`; the labels are those of all folds.
    """
    folds = " in the folds that a model is fitted on"
    if not task.is_classification:
        n_exact = len(values) if signs is None else int(np.sum(signs == 0))
        found = f"{len(values)} labelled compounds"
        if n_exact < len(values):
            found += f" ({n_exact} of them exact)"
        if not (task.quorum or task.quorum_exact):
            exact = f" ({FEWEST_EXACT * 5 // 4} exact)" if n_exact < len(values) else ""
            return f"{found}, about {FEWEST_NUMBERS * 5 // 4} or more{exact} are needed"
        asked = [
            f"{count}{what}"
            for count, what in ((task.quorum, ""), (task.quorum_exact, " exact ones"))
            if count
        ]
        return f"{found}; the quorum is {' and '.join(asked)}{folds}"
    counts = count_classes(task, values)
    shown = " + ".join(str(count) for count in counts)
    found = f"{shown} compounds by class"
    if np.sum(counts > 0) == 1:
        found = f"one class only ({shown} compounds)"
    if task.quorum:
        return f"{found}; the quorum is {task.quorum} of each{folds}"
    return f"{found}, about {FEWEST_PER_CLASS * 5 // 4} or more of each are needed"
