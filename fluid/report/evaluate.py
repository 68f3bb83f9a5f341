"""Evaluate models on a labelled table, side by side, with paired bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, MismatchError
from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.chem.tables import Reject
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.metrics import (
    bootstrap_rows,
    compute_metrics,
    higher_is_better,
    interval,
    metric_names,
)
from fluid.learn.model import Model, TrainedModel, check_domain
from fluid.learn.predictions import TaskPrediction
from fluid.learn.storage import load_model
from fluid.learn.task import Task
from fluid.partner.table import Columns, LabelledCompounds, read_labelled

MEAN_OF_TEACHERS = "mean of teachers"


@dataclass(frozen=True)
class _Candidate:
    """One line of the comparison: predictions for the labelled compounds of one task."""

    name: str
    kind: str
    partner: str
    values: np.ndarray
    called: np.ndarray
    inside: np.ndarray
    n_seen: int
    threshold: float


@single_threaded_blas()
def evaluate(
    folders: Sequence[Path],
    data: Sequence[Path],
    columns: Columns | None = None,
    draws: int = 1000,
    seed: int = 0,
    domain: str = DEFAULT_DOMAIN,
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    set_aside: Callable[[Sequence[Reject]], None] = lambda rejects: None,
) -> dict[str, Any]:
    """Compute the metrics of several models on the same compounds.

    Besides the models, the plain mean of all teachers given is evaluated, which no consortium
    can compute (teachers do not travel) but which tells what distillation adds. Differences are
    stated for pairs that belong together: the student against that mean, against the mean
    teacher and against each reference; each hybrid against the teacher of the same partner.

    Parameters
    ----------
    folders
        Model folders, all of one protocol.
    data
        Labelled tables, merged by connectivity.
    columns
        Column names, where the usual ones do not fit.
    draws, seed
        Of the bootstrap; the same compounds are drawn for every model.
    domain
        Applicability domain of the stated coverage.
    jobs
        Worker processes for reading.
    progress
        Called with the name of each stage.
    set_aside
        Called with the rows and labels that cannot be used.

    Returns
    -------
    dict
        By task: number of compounds, and per model every metric with a 95% interval, how many of
        the compounds it was trained on with a measured label, and the share inside its domain;
        and the differences. None stands for "not defined".

    Raises
    ------
    FluidError
        If models do not belong together, or no label can be read.
    """
    if draws < 100:
        raise FluidError(f"draws = {draws}: at least 100 are needed for an interval")
    models = [(folder, load_model(folder)) for folder in folders]
    if not models:
        raise FluidError("no model was given")
    _check_alike(models)
    check_domain(domain)
    names = _short_names(folders)
    first = models[0][1]
    first.chemistry.check(str(models[0][0]))
    tasks = _all_tasks([model for _, model in models])
    progress("reading compounds")
    table = read_labelled(data, tasks, first.chemistry, columns, jobs)
    set_aside(table.rejects)
    predictions = []
    for (_, model), name in zip(models, names, strict=True):
        progress(f"predicting with {name}")
        predictions.append(model.predict(table.compounds, domain).by_task)
    result: dict[str, Any] = {
        "data": [path.name for path in data],
        "compounds": len(table.compounds),
        "rejected": len(table.rejects),
        "protocol": first.card.protocol,
        "draws": draws,
        "tasks": {},
    }
    for index, task in enumerate(tasks):
        candidates = _candidates(task, index, table, models, names, predictions)
        if candidates:
            progress(f"bootstrap of {task.name}")
            _, truth = table.labels.column(index)
            result["tasks"][task.name] = _compare(task, truth, candidates, draws, seed)
    if not result["tasks"]:
        raise FluidError(
            f"{', '.join(map(str, data))}: none of the models predicts a task that the table has "
            f"labels of; they predict {', '.join(task.name for task in tasks)}"
        )
    return result


def _check_alike(models: Sequence[tuple[Path, Model]]) -> None:
    first_folder, first = models[0]
    for folder, model in models[1:]:
        if model.card.protocol != first.card.protocol:
            raise MismatchError(
                f"{folder}: was made under protocol {model.card.protocol[:12]}, but "
                f"{first_folder} under {first.card.protocol[:12]}; they cannot be compared"
            )


def _all_tasks(models: Sequence[Model]) -> list[Task]:
    found: dict[str, Task] = {}
    for model in models:
        for task in model.tasks:
            found.setdefault(task.name, task)
    return list(found.values())


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Folder names, with their parents where one name occurs twice."""
    resolved = [folder.resolve() for folder in folders]
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    twice = next(n for n, path in enumerate(resolved) if resolved.count(path) > 1)
    raise FluidError(f"{folders[twice]}: the same model folder was given twice")


def _candidates(
    task: Task,
    index: int,
    table: LabelledCompounds,
    models: Sequence[tuple[Path, Model]],
    names: Sequence[str],
    predictions: Sequence[dict[str, TaskPrediction]],
) -> list[_Candidate]:
    rows, _ = table.labels.column(index)
    if not len(rows):
        return []
    found = []
    for (_, model), name, by_task in zip(models, names, predictions, strict=True):
        said = by_task.get(task.name)
        if said is None:
            continue
        inside = said.domain.inside[rows] if said.domain else np.ones(len(rows), dtype=bool)
        found.append(
            _Candidate(
                name, model.card.kind, model.card.name, said.values[rows],
                said.classes(task)[rows], inside,
                _count_seen(model, task, table.compounds, rows), said.threshold,
            )
        )  # fmt: skip
    teachers = [candidate for candidate in found if candidate.kind == "teacher"]
    if len(teachers) > 1:
        mean = np.mean([teacher.values for teacher in teachers], axis=0)
        threshold = float(np.mean([teacher.threshold for teacher in teachers]))
        called = TaskPrediction(mean, mean, mean[:, 0], None, threshold).classes(task)
        inside = np.any([teacher.inside for teacher in teachers], axis=0)
        seen = max(teacher.n_seen for teacher in teachers)
        found.append(
            _Candidate(MEAN_OF_TEACHERS, "mean", "", mean, called, inside, seen, threshold)
        )
    return found


def _count_seen(model: Model, task: Task, compounds: Compounds, rows: np.ndarray) -> int:
    """How many of the compounds the model has measured labels of: those are no external test."""
    trained = model.own if isinstance(model, HybridModel) else model
    if not isinstance(trained, TrainedModel) or trained.card.kind == "student":
        return 0
    for task_model in trained.task_models:
        if task_model.task.name == task.name:
            known = trained.library.take(task_model.rows).connectivities
            return int(np.isin(compounds.connectivities[rows], known).sum())
    return 0


def _compare(
    task: Task, truth: np.ndarray, candidates: Sequence[_Candidate], draws: int, seed: int
) -> dict[str, Any]:
    names = metric_names(task)
    samples = bootstrap_rows(len(truth), draws, seed)
    point: dict[str, dict[str, float]] = {}
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for candidate in candidates:
        point[candidate.name] = compute_metrics(task, truth, candidate.values, candidate.called)
        each = [
            compute_metrics(task, truth[rows], candidate.values[rows], candidate.called[rows])
            for rows in samples
        ]
        drawn[candidate.name] = {name: np.array([one[name] for one in each]) for name in names}
    models = []
    for candidate in candidates:
        models.append(
            {
                "name": candidate.name,
                "kind": candidate.kind,
                "partner": candidate.partner,
                "coverage": _number(float(candidate.inside.mean())),
                "inside_domain": _inside(task, truth, candidate),
                "trained_on": candidate.n_seen,
                "metrics": {
                    name: _estimate(point[candidate.name][name], drawn[candidate.name][name])
                    for name in names
                },
            }
        )
    result: dict[str, Any] = {"kind": task.kind, "compounds": len(truth), "models": models}
    if task.is_classification:
        result["classes"] = np.bincount(truth.astype(np.int64)).tolist()
    result["differences"] = _differences(candidates, point, drawn, names[0])
    return result


def _inside(task: Task, truth: np.ndarray, candidate: _Candidate) -> dict[str, float | None]:
    """Metrics on the compounds inside the model's own applicability domain."""
    rows = candidate.inside
    if not rows.any():
        return dict.fromkeys(metric_names(task), None)
    found = compute_metrics(task, truth[rows], candidate.values[rows], candidate.called[rows])
    return {name: _number(value) for name, value in found.items()}


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _estimate(value: float, samples: np.ndarray) -> dict[str, float | None]:
    low, high = interval(samples)
    return {"value": _number(value), "low": _number(low), "high": _number(high)}


def _differences(
    candidates: Sequence[_Candidate],
    point: dict[str, dict[str, float]],
    drawn: dict[str, dict[str, np.ndarray]],
    metric: str,
) -> list[dict[str, Any]]:
    """Differences of the leading metric between models that belong together."""
    result = []

    kinds = {candidate.name: candidate.kind for candidate in candidates}

    def add(left: str, right: str, right_point: float, right_drawn: np.ndarray) -> None:
        low, high = interval(drawn[left][metric] - right_drawn)
        safe = np.where(right_drawn == 0, np.nan, right_drawn)
        ratio_low, ratio_high = interval(drawn[left][metric] / safe)
        ratio = point[left][metric] / right_point if right_point else float("nan")
        result.append(
            {
                "model": left,
                "against": right,
                "metric": metric,
                "higher_is_better": higher_is_better(metric),
                "of_reference": kinds.get(right) == "reference",
                "difference": _number(point[left][metric] - right_point),
                "low": _number(low),
                "high": _number(high),
                "ratio": _number(ratio),
                "ratio_low": _number(ratio_low),
                "ratio_high": _number(ratio_high),
            }
        )

    def pair(left: str, right: str) -> None:
        add(left, right, point[right][metric], drawn[right][metric])

    teachers = [c for c in candidates if c.kind == "teacher"]
    for candidate in candidates:
        if candidate.kind == "student":
            if len(teachers) > 1:
                mean_point = float(np.mean([point[t.name][metric] for t in teachers]))
                mean_drawn = np.mean([drawn[t.name][metric] for t in teachers], axis=0)
                add(candidate.name, "mean teacher", mean_point, mean_drawn)
                pair(candidate.name, MEAN_OF_TEACHERS)
            for other in candidates:
                if other.kind == "reference":
                    pair(candidate.name, other.name)
        if candidate.kind == "hybrid":
            for teacher in teachers:
                if teacher.partner == candidate.partner:
                    pair(candidate.name, teacher.name)
    return result
