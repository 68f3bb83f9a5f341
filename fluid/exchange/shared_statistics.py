"""Statistics that an annotation shares with its labels, and whether its policy allows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fluid.base.errors import FluidError
from fluid.exchange.annotation import AnnotationFile
from fluid.exchange.policy import SHARED_STEP
from fluid.learn.task import Task

# Out-of-fold metrics without a unit; others are never shared.
SHARED_METRICS = ("roc_auc", "mcc", "r2", "spearman")


def check_shared_statistics(annotation: AnnotationFile) -> dict[str, Any]:
    """Return the statistics that an annotation shares, if its policy allows them.

    Raises
    ------
    FluidError
        If it shares anything that is not allowed, or anything finer than allowed.
    """
    path = annotation.sealed.path
    stated = annotation.sealed.manifest.get("shared")
    allowed = {item.replace("-", "_") for item in annotation.policy.share} - {"coverage"}
    if not isinstance(stated, dict) or not set(stated) <= allowed:
        raise FluidError(
            f"{path}: shares {str(stated)[:80]} with its labels, but the policy allows "
            f"{', '.join(sorted(allowed)) or 'nothing'}"
        )
    checks = {"training_size": _is_size, "metrics": _is_metrics, "prevalence": _is_prevalence}
    tasks = {task.name: task for task in annotation.tasks}
    for name, by_task in stated.items():
        good = isinstance(by_task, dict) and all(
            task in tasks and checks[name](tasks[task], value) for task, value in by_task.items()
        )
        if not good:
            raise FluidError(
                f"{path}: the shared '{name.replace('_', ' ')}' is not usable; allowed is for each "
                f"task {_ALLOWED[name]}"
            )
    return stated


_ALLOWED = {
    "training_size": "a whole number, a power of two",
    "metrics": f"{', '.join(SHARED_METRICS)} in multiples of {SHARED_STEP:g}",
    "prevalence": f"the share of each class in multiples of {SHARED_STEP:g}",
}


def _is_size(task: Task, value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 40 and value & (value - 1) == 0


def _is_metrics(task: Task, value: Any) -> bool:
    return _are_figures(value, SHARED_METRICS, -1.0, nothing=True)


def _is_prevalence(task: Task, value: Any) -> bool:
    return task.is_classification and _are_figures(value, task.classes or ("0", "1"), 0.0)


def _are_figures(value: Any, names: Sequence[str], lowest: float, nothing: bool = False) -> bool:
    return isinstance(value, dict) and all(
        name in names and ((figure is None and nothing) or _is_figure(figure, lowest))
        for name, figure in value.items()
    )


def _is_figure(value: Any, lowest: float) -> bool:
    if type(value) is not float or not lowest <= value <= 1.0:
        return False
    # As the guard rounds it, to the last digit.
    return repr(value) == repr(round(round(value / SHARED_STEP) * SHARED_STEP, 2) + 0.0)
