"""From cells to a tidy table and to the comparisons that answer the questions of a study."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.files import atomic_file
from fluid.learn.metrics import compute_metrics, higher_is_better, interval, metric_names
from fluid.learn.predictions import TaskPrediction
from fluid.learn.task import Task
from fluid.simulate.statistics import (
    Comparison,
    Scored,
    aurc,
    error_inside,
    paired_difference,
    share_not_worse,
    signed_rank_p,
)
from fluid.simulate.study_spec import (
    CEILING,
    HYBRID,
    MEAN,
    PAPER,
    REFERENCE,
    STUDENT,
    TEACHER,
    CellResult,
    Model,
)

COLUMNS = (
    "cell", "partition", "seed", "test", "task", "model", "kind", "partner", "compounds",
    "metric", "value",
)  # fmt: skip
OUT_OF_FOLD, OWN = "own data, out of fold", "own chemistry"
MARGIN = 0.005
_FEWEST = 20


@dataclass(frozen=True)
class _View:
    """Predictions of one model for the compounds of one test that have a label."""

    truth: np.ndarray
    values: np.ndarray
    called: np.ndarray
    rows: np.ndarray


def _called(task: Task, values: np.ndarray, threshold: float) -> np.ndarray:
    nothing = np.full(len(values), np.nan)
    return TaskPrediction(values, values, nothing, None, threshold).classes(task)


def _tests(cell: CellResult) -> list[str]:
    return list(dict.fromkeys(str(name) for name in cell.tests))


def _view(cell: CellResult, model: Model, task: Task, test: str) -> _View | None:
    """None if the model does not predict the task, or the test has no label of it."""
    if test == OUT_OF_FOLD:
        found = model.out_of_fold.get(task.name)
        if found is None:
            return None
        known = np.isfinite(found.values).all(axis=1)
        values = found.values[known]
        called = _called(task, values, found.threshold)
        return _View(found.truth[known], values, called, found.rows[known])
    told = model.told.get(task.name)
    if told is None:
        return None
    rows, truth = cell.labels[task.name]
    if test == OWN:
        chosen = cell.nearest[rows] == model.partner
    else:
        chosen = cell.tests[rows] == test
    if not chosen.any():
        return None
    rows = rows[chosen]
    values = told.values[rows]
    return _View(truth[chosen], values, _called(task, values, told.threshold), rows)


def tidy(cells: Iterable[CellResult], tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
    """One row per cell, test, task, model and metric; a metric that is not defined has no row.

    Tests are the held-out ones; for models of a partner also its own compounds out of fold, and
    the test compounds whose nearest neighbours are with that partner.
    """
    for cell in cells:
        for model in cell.models:
            tests = _tests(cell)
            if model.partner:
                tests += [OWN, OUT_OF_FOLD]
            for task in tasks:
                for test in tests:
                    view = _view(cell, model, task, test)
                    if view is None or not len(view.truth):
                        continue
                    found = compute_metrics(task, view.truth, view.values, view.called)
                    for metric in metric_names(task):
                        if np.isfinite(found[metric]):
                            yield {
                                "cell": cell.name, "partition": cell.partition,
                                "seed": cell.seed, "test": test, "task": task.name,
                                "model": model.name, "kind": model.kind,
                                "partner": model.partner, "compounds": len(view.truth),
                                "metric": metric, "value": round(found[metric], 6),
                            }  # fmt: skip


def write_tidy(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write the tidy table as CSV; returns the number of rows."""
    count = 0
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as handle,
    ):
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            count += 1
    return count


def _scored(
    cells: Sequence[CellResult], task: Task, test: str, kinds: Sequence[str]
) -> list[Scored]:
    """Cells as `paired_difference` takes them."""
    found = []
    for cell in cells:
        values: dict[str, np.ndarray] = {}
        called: dict[str, np.ndarray] = {}
        truth = np.zeros(0)
        for model in cell.models:
            view = _view(cell, model, task, test) if model.kind in kinds else None
            if view is not None and np.isfinite(view.values).all():
                truth = view.truth
                values[model.name], called[model.name] = view.values[:, 0], view.called
        if values:
            found.append(Scored(cell.name, test, task, truth, values, called))
    return found


def _teachers(cell: Scored) -> list[str]:
    return [name for name in cell.values if name.startswith("teacher of ")]


def describe(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values; None for what is not defined."""

    def number(value: float) -> float | None:
        return round(value, 4) if np.isfinite(value) else None

    return {
        "difference": number(comparison.difference),
        "low": number(comparison.low),
        "high": number(comparison.high),
        "ratio": number(comparison.ratio),
        "ratio_low": number(comparison.ratio_low),
        "ratio_high": number(comparison.ratio_high),
        "cells": comparison.n_cells,
        "better": number(comparison.better),
        "p": number(comparison.p_value),
    }


def compare_students(
    cells: Sequence[CellResult], task: Task, draws: int = 1000
) -> list[dict[str, Any]]:
    """Each student against references, means of teachers and the paper's, on each test."""
    if task.kind == "multiclass":
        return []
    rows = []
    metrics = ("roc_auc", "mcc") if task.is_classification else ("rmse",)
    kinds = (STUDENT, REFERENCE, TEACHER, "mean", "paper", "ceiling")
    for test in _tests(cells[0]):
        scored = _scored(cells, task, test, kinds)
        students = [model.name for model in cells[0].of_kind(STUDENT)]
        references = [model.name for model in cells[0].of_kind(REFERENCE)]
        for metric in metrics:
            for student in [*students, *(model.name for model in cells[0].of_kind("ceiling"))]:
                others: list[tuple[str, Any]] = [(name, name) for name in references]
                if student != CEILING:
                    others += [(CEILING, CEILING), ("mean teacher", _teachers)]
                    others += [(name, name) for name in (MEAN, PAPER, STUDENT) if name != student]
                for name, side in others:
                    try:
                        found = paired_difference(scored, student, side, metric, draws)
                    except ValueError:
                        continue
                    rows.append(
                        {"test": test, "metric": metric, "model": student, "against": name}
                        | describe(found)
                        | {"mean": _mean_metric(scored, student, metric)}
                    )
    return rows


def _mean_metric(scored: Sequence[Scored], model: str, metric: str) -> float | None:
    values = [
        compute_metrics(cell.task, cell.truth, cell.values[model][:, None], cell.called[model])[
            metric
        ]
        for cell in scored
        if model in cell.values
    ]
    return round(float(np.mean(values)), 4) if values else None


def compare_hybrids(
    cells: Sequence[CellResult], task: Task, draws: int = 1000
) -> list[dict[str, Any]]:
    """Each hybrid against the teacher of its partner; one partner of one cell is one case."""
    if task.kind == "multiclass":
        return []
    metric = metric_names(task)[0]
    rows = []
    for test in [*_tests(cells[0]), OWN, OUT_OF_FOLD]:
        scored = []
        for cell in cells:
            teachers = {model.partner: model for model in cell.of_kind(TEACHER)}
            for hybrid in cell.of_kind(HYBRID):
                case = _hybrid_case(cell, hybrid, teachers.get(hybrid.partner), task, test)
                if case is not None:
                    scored.append(case)
        if not scored:
            continue
        try:
            found = paired_difference(scored, HYBRID, TEACHER, metric, draws)
        except ValueError:
            continue
        gains = np.array(found.differences) * (1 if higher_is_better(metric) else -1)
        rows.append(
            {"test": test, "metric": metric}
            | describe(found)
            | {"not_worse": round(share_not_worse(gains, MARGIN), 4)}
        )
    return rows


def _hybrid_case(
    cell: CellResult, hybrid: Model, teacher: Model | None, task: Task, test: str
) -> Scored | None:
    if teacher is None:
        return None
    mine, theirs = _view(cell, hybrid, task, test), _view(cell, teacher, task, test)
    if mine is None or theirs is None:
        return None
    # Out of fold a teacher may have no answer where too few labels were left.
    shared, a, b = np.intersect1d(mine.rows, theirs.rows, return_indices=True)
    truth = mine.truth[a]
    if len(shared) < _FEWEST or (task.is_classification and len(np.unique(truth)) < 2):
        return None
    own = f"{cell.name}, {hybrid.partner}"
    return Scored(
        own, own if test in (OWN, OUT_OF_FOLD) else test, task, truth,
        {HYBRID: mine.values[a, 0], TEACHER: theirs.values[b, 0]},
        {HYBRID: mine.called[a], TEACHER: theirs.called[b]},
    )  # fmt: skip


def compare_domains(cells: Sequence[CellResult], task: Task) -> list[dict[str, Any]]:
    """Risk and coverage of each applicability domain, by kind of model and test.

    The area under the risk-coverage curve is the mean error over all coverages; lower is better.
    Of a binary task only.
    """
    if task.kind != "binary":
        return []
    rows = []
    for kind in (STUDENT, HYBRID, TEACHER):
        for test in _tests(cells[0]):
            rows += _domain_rows(cells, task, kind, test)
    return rows


def _domain_rows(
    cells: Sequence[CellResult], task: Task, kind: str, test: str
) -> list[dict[str, Any]]:
    areas: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    coverage: dict[str, list[float]] = {}
    for cell in cells:
        for model in cell.of_kind(kind):
            view = _view(cell, model, task, test)
            if view is None or (kind == STUDENT and model.name != STUDENT):
                continue
            told = model.told[task.name]
            right = view.called == view.truth
            for method, (score, inside) in told.domains.items():
                areas.setdefault(method, []).append(aurc(right, score[view.rows]))
                here = inside[view.rows]
                coverage.setdefault(method, []).append(float(here.mean()))
                if here.any():
                    found = error_inside(right, here)
                    errors.setdefault(method, []).append(found.inside)
    if not areas:
        return []
    default = next(iter(areas))
    rows = []
    for method, values in areas.items():
        gains = np.array(values) - np.array(areas[default])
        other = method != default
        several = other and len(gains) > 1
        low, high = _interval_of_mean(gains) if several else (np.nan, np.nan)
        rows.append(
            {
                "model": kind, "test": test, "domain": method, "aurc": _mean(values),
                "default_lower_by": _mean(gains) if other else None,
                "low": _mean([low]), "high": _mean([high]), "cells": len(values),
                "coverage": _mean(coverage[method]),
                "error_inside": _mean(errors.get(method, [])),
                "p": _mean([signed_rank_p(gains)]) if several else None,
            }
        )  # fmt: skip
    return rows


def _mean(values: Iterable[float]) -> float | None:
    """The mean of what is defined; None of nothing."""
    known = [value for value in values if np.isfinite(value)]
    return round(float(np.mean(known)), 4) if known else None


def _interval_of_mean(values: np.ndarray, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95% interval of a mean over cells, by drawing cells."""
    rows = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    return interval(values[rows].mean(axis=1))


def summarise(
    cells: Sequence[CellResult], tasks: Sequence[Task], draws: int = 1000
) -> dict[str, Any]:
    """All comparisons of a study, in plain values."""
    return {
        "cells": [
            {"name": cell.name, "partners": cell.sizes, "tests": _count(cell.tests)}
            for cell in cells
        ],
        "tasks": {
            task.name: {
                "students": compare_students(cells, task, draws),
                "hybrids": compare_hybrids(cells, task, draws),
                "domains": compare_domains(cells, task),
            }
            for task in tasks
        },
    }


def _count(names: np.ndarray) -> dict[str, int]:
    found, counts = np.unique(names.astype(str), return_counts=True)
    return {str(name): int(count) for name, count in zip(found, counts, strict=True)}
