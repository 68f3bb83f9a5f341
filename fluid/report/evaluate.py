"""Evaluate models on a labelled table, side by side, with paired bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, MismatchError
from fluid.base.jobs import single_threaded_blas
from fluid.base.run import Run
from fluid.chem.compounds import Compounds
from fluid.chem.tables import Reject
from fluid.learn.bootstrap import binary_metrics_of_samples, count_draws
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.metrics import (
    CENSORED_METRIC,
    bootstrap_rows,
    compute_metrics,
    higher_is_better,
    interval,
    metric_names,
)
from fluid.learn.model import Predictor, TrainedModel, check_domain
from fluid.learn.predictions import TaskPrediction, called_classes
from fluid.learn.storage import load_model
from fluid.learn.task import Task
from fluid.partner.table import Columns, LabelledCompounds, read_labelled
from fluid.report.over_tasks import summarise

# The mean of the teachers' metrics, and the metric of the mean of their predictions.
MEAN_TEACHER, MEAN_OF_TEACHERS = "mean teacher", "mean of teachers"
# Draws that the ends of a 95% interval need: of 100, two or three lie outside each end.
FEWEST_DRAWS = 100
# Resampled, fewer compounds give intervals that are too narrow, down to a width of zero.
FEWEST_FOR_INTERVAL = 10
# With more tasks, aggregates over tasks are stated as well.
MOST_SHOWN = 8
_BETWEEN_STAGES = 50


@dataclass(frozen=True)
class Evaluation:
    """Metrics of several models on the same compounds.

    Attributes
    ----------
    data
        Names of the labelled tables.
    n_compounds
        Compounds that were read from them.
    protocol
        Digest of the contract that all models were made under.
    draws
        Bootstrap samples behind each interval.
    tasks
        By task: number of compounds, and per model every metric with a 95% interval, how many of
        the compounds it was trained on with a measured label, and the share inside its domain; and
        the differences between models. None stands for "not defined".
    rejects
        Rows and labels of the tables that could not be used.
    summary
        Of more than `MOST_SHOWN` tasks: aggregates over them by kind, see
        `fluid.report.over_tasks.summarise`.
    """

    data: list[str]
    n_compounds: int
    protocol: str
    draws: int
    tasks: dict[str, dict[str, Any]]
    rejects: list[Reject]
    summary: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as plain values; the rejects are counted."""
        return {
            "data": self.data,
            "compounds": self.n_compounds,
            "rejected": len(self.rejects),
            "protocol": self.protocol,
            "draws": self.draws,
            "tasks": self.tasks,
        } | ({"summary": self.summary} if self.summary else {})


@dataclass(frozen=True)
class _Loaded:
    """A model, where it was loaded from, and what it is called in the result."""

    folder: Path
    name: str
    model: Predictor


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
    models: Sequence[Path | str],
    data: Sequence[Path | str],
    *,
    columns: Columns | None = None,
    draws: int = 1000,
    domain: str = DEFAULT_DOMAIN,
    run: Run | None = None,
) -> Evaluation:
    """Compute the metrics of several models on the same compounds.

    The plain mean of all teachers given is evaluated as well. No consortium can compute it, since
    teachers do not travel, but it shows what distillation adds. Differences are stated for pairs
    that belong together: the student against that mean, against the mean teacher and against each
    reference; each hybrid against the teacher of the same partner.

    Parameters
    ----------
    models
        Model folders, all of one protocol.
    data
        Labelled tables, merged by connectivity.
    columns
        Column names, where the usual ones do not fit.
    draws
        Bootstrap samples, 100 or more. The same compounds are drawn for every model.
    domain
        Applicability domain of the stated coverage.
    run
        Its seed fixes the bootstrap.

    Raises
    ------
    FluidError
        If models do not belong together, or no label can be read.

    Examples
    --------
    >>> from fluid import evaluate
    >>> found = evaluate(["round1/student", "draco/teacher"], ["draco/private.csv"], draws=100)
    >>> sorted(found.tasks)
    ['bbb', 'logbb']
    """
    run = run or Run()
    if draws < FEWEST_DRAWS:
        raise FluidError(f"draws = {draws}: at least {FEWEST_DRAWS} are needed for an interval")
    if not models:
        raise FluidError("no model was given")
    folders, sources = [Path(model) for model in models], [Path(source) for source in data]
    loaded = [
        _Loaded(folder, name, load_model(folder))
        for folder, name in zip(folders, _short_names(folders), strict=True)
    ]
    _check_alike(loaded)
    check_domain(domain)
    first = loaded[0].model
    first.chemistry.check(str(folders[0]))
    tasks = _all_tasks(loaded)
    run.stage("reading compounds")
    table = read_labelled(
        sources, tasks, first.chemistry, columns, run.jobs, run.progress, run.stage
    )
    predictions = []
    for each in loaded:
        run.stage(f"predicting with {each.name}")
        predictions.append(each.model.predict(table.compounds, domain).by_task)
    compared: dict[str, dict[str, Any]] = {}
    for index, task in enumerate(tasks):
        candidates = _candidates(task, index, table, loaded, predictions)
        if candidates:
            if len(tasks) <= MOST_SHOWN or index % _BETWEEN_STAGES == 0:
                run.stage(f"bootstrap of {task.name}, task {index + 1} of {len(tasks)}")
            _, truth, signs = table.labels.column_with_signs(index)
            compared[task.name] = _compare(task, _Truth(truth, signs), candidates, draws, run.seed)
    if not compared:
        raise FluidError(
            f"{', '.join(map(str, sources))}: no label of a task that the models predict; they "
            f"predict {', '.join(task.name for task in tasks)}"
        )
    return Evaluation(
        [path.name for path in sources],
        len(table.compounds),
        first.card.protocol,
        draws,
        compared,
        table.rejects,
        summarise(compared, run.seed) if len(compared) > MOST_SHOWN else {},
    )


def _check_alike(loaded: Sequence[_Loaded]) -> None:
    first = loaded[0]
    for each in loaded[1:]:
        if each.model.card.protocol != first.model.card.protocol:
            raise MismatchError(
                f"{each.folder}: was made under protocol {each.model.card.protocol[:12]}, but "
                f"{first.folder} under {first.model.card.protocol[:12]}; they cannot be compared"
            )


def _all_tasks(loaded: Sequence[_Loaded]) -> list[Task]:
    found: dict[str, Task] = {}
    for each in loaded:
        for task in each.model.tasks:
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
    loaded: Sequence[_Loaded],
    predictions: Sequence[dict[str, TaskPrediction]],
) -> list[_Candidate]:
    rows, _, _ = table.labels.column_with_signs(index)
    if not len(rows):
        return []
    found = []
    for each, by_task in zip(loaded, predictions, strict=True):
        predicted = by_task.get(task.name)
        if predicted is None:
            continue
        domain = predicted.domain
        found.append(
            _Candidate(
                each.name,
                each.model.card.kind,
                each.model.card.name,
                predicted.values[rows],
                predicted.classes(task)[rows],
                domain.inside[rows] if domain else np.ones(len(rows), dtype=bool),
                _count_seen(each.model, task, table.compounds, rows),
                predicted.threshold,
            )
        )
    teachers = [candidate for candidate in found if candidate.kind == "teacher"]
    return [*found, _mean_of(task, teachers)] if len(teachers) > 1 else found


def _mean_of(task: Task, teachers: Sequence[_Candidate]) -> _Candidate:
    """The plain mean of several teachers."""
    mean = np.mean([teacher.values for teacher in teachers], axis=0)
    threshold = float(np.mean([teacher.threshold for teacher in teachers]))
    called = called_classes(task, mean, threshold)
    inside = np.any([teacher.inside for teacher in teachers], axis=0)
    seen = max(teacher.n_seen for teacher in teachers)
    return _Candidate(MEAN_OF_TEACHERS, "mean", "", mean, called, inside, seen, threshold)


def _count_seen(model: Predictor, task: Task, compounds: Compounds, rows: np.ndarray) -> int:
    """How many of the compounds the model was trained on with a measured label."""
    trained = model.own if isinstance(model, HybridModel) else model
    if not isinstance(trained, TrainedModel) or trained.card.kind == "student":
        return 0
    for task_model in trained.task_models:
        if task_model.task.name == task.name:
            known = trained.library.take(task_model.rows).connectivities
            return int(np.isin(compounds.connectivities[rows], known).sum())
    return 0


@dataclass(frozen=True)
class _Truth:
    """Labels of n compounds, and which are bounds; see `compute_metrics`."""

    values: np.ndarray
    signs: np.ndarray | None

    def metrics(self, task: Task, candidate: _Candidate, rows: Any = ...) -> dict[str, float]:
        """Metrics of a model on the compounds at these positions, on all by default."""
        signs = None if self.signs is None else self.signs[rows]
        return compute_metrics(
            task, self.values[rows], candidate.values[rows], candidate.called[rows], signs
        )


def _compare(
    task: Task, labels: _Truth, candidates: Sequence[_Candidate], draws: int, seed: int
) -> dict[str, Any]:
    truth, names = labels.values, metric_names(task)
    if labels.signs is not None:
        names = (*names, CENSORED_METRIC)
    samples = bootstrap_rows(len(truth), draws, seed)
    point: dict[str, dict[str, float]] = {}
    drawn: dict[str, dict[str, np.ndarray]] = {}
    for candidate in candidates:
        point[candidate.name] = labels.metrics(task, candidate)
        drawn[candidate.name] = _draw(task, labels, candidate, samples, names)
    models = []
    for candidate in candidates:
        models.append(
            {
                "name": candidate.name,
                "kind": candidate.kind,
                "partner": candidate.partner,
                "coverage": _number(float(candidate.inside.mean())),
                "inside_domain": _inside(task, labels, candidate, names),
                "trained_on": candidate.n_seen,
                "metrics": {
                    name: _estimate(point[candidate.name][name], drawn[candidate.name][name])
                    for name in names
                },
            }
        )
    result: dict[str, Any] = {"kind": task.kind, "compounds": len(truth), "models": models}
    if labels.signs is not None:
        result["censored"] = int(np.sum(labels.signs != 0))
    if task.is_classification:
        result["classes"] = np.bincount(truth.astype(np.int64)).tolist()
    result["differences"] = _differences(candidates, point, drawn, names[0])
    return result


def _draw(
    task: Task,
    labels: _Truth,
    candidate: _Candidate,
    samples: np.ndarray,
    names: Sequence[str],
) -> dict[str, np.ndarray]:
    """Metrics of each sample; NaN if the compounds are too few for an interval."""
    if len(labels.values) < FEWEST_FOR_INTERVAL:
        return {name: np.full(len(samples), np.nan) for name in names}
    if task.kind == "binary":
        score, called = candidate.values[:, 0], candidate.called
        return binary_metrics_of_samples(labels.values, score, called, count_draws(samples))
    each = [labels.metrics(task, candidate, rows) for rows in samples]
    return {name: np.array([one[name] for one in each]) for name in names}


def _inside(
    task: Task, labels: _Truth, candidate: _Candidate, names: Sequence[str]
) -> dict[str, float | None]:
    """Metrics on the compounds inside the model's own applicability domain."""
    rows = candidate.inside
    if not rows.any():
        return dict.fromkeys(names, None)
    found = labels.metrics(task, candidate, rows)
    return {name: _number(value) for name, value in found.items()}


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _estimate(value: float, samples: np.ndarray) -> dict[str, float | None]:
    low, high = interval(samples)
    return {"value": _number(value), "low": _number(low), "high": _number(high)}


def _differences(
    candidates: Sequence[_Candidate],
    point: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, Mapping[str, np.ndarray]],
    metric: str,
) -> list[dict[str, Any]]:
    """Differences of the leading metric between models that belong together."""
    values = {name: found[metric] for name, found in point.items()}
    samples = {name: found[metric] for name, found in drawn.items()}
    teachers = [one.name for one in candidates if one.kind == "teacher"]
    if len(teachers) > 1:
        values[MEAN_TEACHER] = float(np.mean([values[name] for name in teachers]))
        samples[MEAN_TEACHER] = np.mean([samples[name] for name in teachers], axis=0)
    references = {one.name for one in candidates if one.kind == "reference"}
    result = []
    for left, right in _pairs(candidates):
        nonzero = np.where(samples[right] == 0, np.nan, samples[right])
        low, high = interval(samples[left] - samples[right])
        ratio_low, ratio_high = interval(samples[left] / nonzero)
        ratio = values[left] / values[right] if values[right] else float("nan")
        result.append(
            {
                "model": left,
                "against": right,
                "metric": metric,
                "higher_is_better": higher_is_better(metric),
                "of_reference": right in references,
                "difference": _number(values[left] - values[right]),
                "low": _number(low),
                "high": _number(high),
                "ratio": _number(ratio),
                "ratio_low": _number(ratio_low),
                "ratio_high": _number(ratio_high),
            }
        )
    return result


def _pairs(candidates: Sequence[_Candidate]) -> Iterator[tuple[str, str]]:
    """Names of models that belong together: which one, and against which other."""
    teachers = [one for one in candidates if one.kind == "teacher"]
    for candidate in candidates:
        if candidate.kind == "student":
            if len(teachers) > 1:
                yield candidate.name, MEAN_TEACHER
                yield candidate.name, MEAN_OF_TEACHERS
            for other in candidates:
                if other.kind == "reference":
                    yield candidate.name, other.name
        if candidate.kind == "hybrid":
            for teacher in teachers:
                if teacher.partner == candidate.partner:
                    yield candidate.name, teacher.name
