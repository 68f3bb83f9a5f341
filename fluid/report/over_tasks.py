"""An evaluation of many tasks in a few numbers: what models do over the tasks that can tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fluid.learn.metrics import bootstrap_rows, interval

# A task counts with so many compounds of each class, or so many exact numbers.
FEWEST_OF_CLASS, FEWEST_EXACT = 5, 10
_METRICS = {
    "binary": ("roc_auc", "pr_auc", "pr_auc_calibrated", "mcc", "kappa", "f1_max", "brier"),
    "multiclass": ("roc_auc", "mcc", "kappa", "balanced_accuracy"),
    "regression": ("rmse", "r2", "spearman"),
}
_DRAWS = 1000
# Of a normal distribution, for 95%.
_Z = 1.96


def counts_in_summary(task: Mapping[str, Any]) -> bool:
    """Whether a task has enough compounds of each class, or exact numbers, to count."""
    if "classes" in task:
        classes = task["classes"]
        return len(classes) > 1 and min(classes) >= FEWEST_OF_CLASS
    return int(task["compounds"]) - int(task.get("censored", 0)) >= FEWEST_EXACT


def summarise(tasks: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """Aggregates over tasks, by kind.

    Parameters
    ----------
    tasks
        Of an `Evaluation`, by name.
    seed
        Of the bootstrap over tasks.

    Returns
    -------
    dict
        By kind of task: ``tasks`` that count and ``left_out``; by model and metric the ``mean``
        with a 95% interval over tasks, ``median``, ``low_quartile`` and ``high_quartile``; and for
        pairs of models the mean difference and the share of tasks in which the first is better,
        with intervals (of the share: Wilson 1927, doi 10.1080/01621459.1927.10502953).
    """
    result: dict[str, Any] = {}
    for kind, metrics in _METRICS.items():
        here = {name: task for name, task in tasks.items() if task["kind"] == kind}
        counted = [task for task in here.values() if counts_in_summary(task)]
        if not here:
            continue
        models: dict[str, dict[str, Any]] = {}
        for model, metric, values in _values(counted, metrics):
            models.setdefault(model, {})[metric] = _spread(values, seed)
        result[kind] = {
            "tasks": len(counted),
            "left_out": len(here) - len(counted),
            "models": models,
            "differences": _differences(counted, seed),
        }
    return result


def _values(
    tasks: list[Mapping[str, Any]], metrics: tuple[str, ...]
) -> Iterator[tuple[str, str, np.ndarray]]:
    names = dict.fromkeys(model["name"] for task in tasks for model in task["models"])
    for name in names:
        mine = [one for task in tasks for one in task["models"] if one["name"] == name]
        for metric in metrics:
            values = [one["metrics"][metric]["value"] for one in mine]
            yield name, metric, np.array([value for value in values if value is not None])


def _spread(values: np.ndarray, seed: int) -> dict[str, Any]:
    if not len(values):
        return {"tasks": 0}
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {
        "tasks": len(values),
        **_mean(values, seed),
        "median": round(float(middle), 4),
        "low_quartile": round(float(low), 4),
        "high_quartile": round(float(high), 4),
    }


def _mean(values: np.ndarray, seed: int) -> dict[str, float | None]:
    """Mean and its interval over tasks; no interval of fewer than ten."""
    found: dict[str, float | None] = {"mean": round(float(values.mean()), 4)}
    low = high = float("nan")
    if len(values) >= FEWEST_EXACT:
        low, high = interval(values[bootstrap_rows(len(values), _DRAWS, seed)].mean(axis=1))
    for name, value in (("low", low), ("high", high)):
        found[name] = round(value, 4) if np.isfinite(value) else None
    return found


def _differences(tasks: list[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    pairs: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for task in tasks:
        for one in task["differences"]:
            if one["difference"] is not None:
                key = one["model"], one["against"], one["metric"]
                pairs.setdefault(key, []).append(one)
    made = []
    for (model, against, metric), found in pairs.items():
        values = np.array([one["difference"] for one in found])
        sign = 1.0 if found[0]["higher_is_better"] else -1.0
        # A tie is half a task.
        better = float(np.sum(sign * values > 0) + 0.5 * np.sum(values == 0))
        low, high = wilson(better, len(values))
        made.append(
            {
                "model": model,
                "against": against,
                "metric": metric,
                "higher_is_better": found[0]["higher_is_better"],
                "tasks": len(values),
                "difference": _mean(values, seed),
                "share_better": round(better / len(values), 4),
                "share_low": round(low, 4),
                "share_high": round(high, 4),
            }
        )
    return made


def wilson(hits: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    share, z = hits / n, _Z
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def task_rows(tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """A table with a row for each task: counts, then each model's metrics; a header first.

    The leading metric of each model has its interval beside it.
    """
    models = list(dict.fromkeys(one["name"] for task in tasks.values() for one in task["models"]))
    metrics = list(
        dict.fromkeys(
            metric for task in tasks.values() for one in task["models"] for metric in one["metrics"]
        )
    )
    leading = {next(iter(task["models"][0]["metrics"])) for task in tasks.values()}
    columns = []
    for model in models:
        for metric in metrics:
            parts = ("value", "low", "high") if metric in leading else ("value",)
            columns += [(model, metric, part) for part in parts]
    head = [f"{m} {k}" + ("" if part == "value" else f" {part}") for m, k, part in columns]
    yield ["task", "kind", "compounds", "classes", "censored", "in_summary", *head]
    for name, task in tasks.items():
        found = {one["name"]: one["metrics"] for one in task["models"]}
        cells = [found.get(m, {}).get(k, {}).get(part) for m, k, part in columns]
        yield [
            name,
            task["kind"],
            str(task["compounds"]),
            "/".join(map(str, task.get("classes", []))),
            str(task.get("censored", "")),
            str(int(counts_in_summary(task))),
            *("" if cell is None else str(cell) for cell in cells),
        ]
