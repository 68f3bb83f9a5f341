"""From cells to a tidy table, and to the comparisons that answer the questions of a study."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.files import atomic_file
from fluid.base.show import csv_cell
from fluid.learn.metrics import (
    bootstrap_rows,
    compute_metrics,
    higher_is_better,
    interval,
    metric_names,
)
from fluid.learn.task import Task
from fluid.simulation.cell_result import (
    CEILING,
    CEILING_NAME,
    HYBRID,
    MEAN,
    MEAN_NAME,
    PAPER,
    PAPER_NAME,
    REFERENCE,
    STUDENT,
    TEACHER,
    CellResult,
    ModelResult,
)
from fluid.simulation.predictions import LabelledPrediction
from fluid.simulation.statistics import (
    Comparison,
    NothingToCompareError,
    ScoredCell,
    Side,
    aurc,
    paired_difference,
    share_not_worse,
    signed_rank_p,
)

COLUMNS = (
    "cell",
    "partition",
    "seed",
    "test",
    "task",
    "model",
    "kind",
    "partner",
    "compounds",
    "metric",
    "value",
)
# Tests of partners' models: their own compounds, and the test compounds nearest to these.
OUT_OF_FOLD, OWN_CHEMISTRY = "own data, out of fold", "own chemistry"
# A hybrid that loses less than this against its teacher counts as not worse.
MARGIN = 0.005
# Hybrids and teachers are compared on this many compounds or more.
_FEWEST = 20


def _in_test(
    cell: CellResult, model: ModelResult, task: Task, test: str
) -> LabelledPrediction | None:
    """A model's predictions in a test.

    None if the model does not predict the task, or the test has no label for it.
    """
    if test == OUT_OF_FOLD:
        own = model.out_of_fold.get(task.name)
        return None if own is None else own.predicted()
    prediction = model.predictions.get(task.name)
    if prediction is None:
        return None
    if test == OWN_CHEMISTRY:
        rows, truth = cell.near_partner(task.name, model.partner)
    else:
        rows, truth = cell.in_test(task.name, test)
    return prediction.labelled(rows, truth) if len(rows) else None


def tidy(cells: Iterable[CellResult], tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
    """One row per cell, model, task, test and metric; a metric that is not defined has no row.

    Tests are the held-out ones; for models of a partner also its own compounds out of fold, and
    the test compounds whose nearest neighbours are with that partner.
    """
    for cell in cells:
        for model in cell.models:
            own = [OWN_CHEMISTRY, OUT_OF_FOLD] if model.partner else []
            for task in tasks:
                for test in [*cell.test_names, *own]:
                    found = _in_test(cell, model, task, test)
                    if found is None or not len(found.rows):
                        continue
                    for metric, value in found.metrics(task).items():
                        if np.isfinite(value):
                            yield {
                                "cell": cell.name,
                                "partition": cell.partition,
                                "seed": cell.seed,
                                "test": test,
                                "task": task.name,
                                "model": model.name,
                                "kind": model.kind,
                                "partner": model.partner,
                                "compounds": len(found.rows),
                                "metric": metric,
                                "value": round(value, 6),
                            }


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write rows with these columns as CSV."""
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as handle,
    ):
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: csv_cell(v) if isinstance(v, str) else v for k, v in row.items()})


def _scored(
    cells: Sequence[CellResult], task: Task, test: str, kinds: Sequence[str]
) -> list[ScoredCell]:
    """Cells with their models of some kinds, as `paired_difference` takes them."""
    scored = []
    for cell in cells:
        values: dict[str, np.ndarray] = {}
        called: dict[str, np.ndarray] = {}
        truth = np.zeros(0)
        for model in cell.models:
            found = _in_test(cell, model, task, test) if model.kind in kinds else None
            if found is not None and np.isfinite(found.values).all():
                truth = found.truth
                values[model.name], called[model.name] = found.values[:, 0], found.called(task)
        if values:
            scored.append(ScoredCell(cell.name, test, task, truth, values, called))
    return scored


def _teachers(cell: ScoredCell) -> list[str]:
    return [name for name in cell.values if name.startswith("teacher of ")]


def describe(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values; None where one is not defined."""
    return {
        "difference": _rounded(comparison.difference),
        "low": _rounded(comparison.low),
        "high": _rounded(comparison.high),
        "ratio": _rounded(comparison.ratio),
        "ratio_low": _rounded(comparison.ratio_low),
        "ratio_high": _rounded(comparison.ratio_high),
        "cells": comparison.n_cells,
        "better": _rounded(comparison.better),
        "p": _rounded(comparison.p_value),
    }


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _mean(values: Iterable[float]) -> float | None:
    """Mean of the finite values; None without any."""
    finite = [value for value in values if np.isfinite(value)]
    return _rounded(float(np.mean(finite))) if finite else None


def compare_students(
    cells: Sequence[CellResult], task: Task, draws: int = 1000
) -> list[dict[str, Any]]:
    """Each student against references, means of teachers and the paper's, on each test."""
    if task.kind == "multiclass":
        return []
    rows = []
    metrics = ("roc_auc", "mcc") if task.is_classification else ("rmse",)
    kinds = (STUDENT, REFERENCE, TEACHER, MEAN, PAPER, CEILING)
    students = [model.name for model in (*cells[0].of_kind(STUDENT), *cells[0].of_kind(CEILING))]
    references = [model.name for model in cells[0].of_kind(REFERENCE)]
    for test in cells[0].test_names:
        scored = _scored(cells, task, test, kinds)
        for metric in metrics:
            for student in students:
                for name, side in _opponents(student, references).items():
                    try:
                        found = paired_difference(scored, student, side, metric, draws)
                    except NothingToCompareError:
                        continue
                    rows.append(
                        {"test": test, "metric": metric, "model": student, "against": name}
                        | describe(found)
                        | {"mean": _mean_metric(scored, student, metric)}
                    )
    return rows


def _opponents(student: str, references: Sequence[str]) -> dict[str, Side]:
    """The models that a student is compared with, by the name that is shown."""
    opponents: dict[str, Side] = {name: name for name in references}
    if student == CEILING_NAME:
        return opponents
    opponents |= {CEILING_NAME: CEILING_NAME, "mean teacher": _teachers}
    return opponents | {name: name for name in (MEAN_NAME, PAPER_NAME, STUDENT) if name != student}


def _mean_metric(scored: Sequence[ScoredCell], model: str, metric: str) -> float | None:
    """Mean over the cells where the metric is defined."""
    values = [
        compute_metrics(cell.task, cell.truth, cell.values[model][:, None], cell.called[model])[
            metric
        ]
        for cell in scored
        if model in cell.values
    ]
    return _mean(values)


def compare_hybrids(
    cells: Sequence[CellResult], task: Task, draws: int = 1000
) -> list[dict[str, Any]]:
    """Each hybrid against the teacher of its partner; one partner of one cell is one case."""
    if task.kind == "multiclass":
        return []
    metric = metric_names(task)[0]
    rows = []
    for test in [*cells[0].test_names, OWN_CHEMISTRY, OUT_OF_FOLD]:
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
        except NothingToCompareError:
            continue
        gains = np.array(found.differences) * (1 if higher_is_better(metric) else -1)
        rows.append(
            {"test": test, "metric": metric}
            | describe(found)
            | {"not_worse": round(share_not_worse(gains, MARGIN), 4)}
        )
    return rows


def _hybrid_case(
    cell: CellResult, hybrid: ModelResult, teacher: ModelResult | None, task: Task, test: str
) -> ScoredCell | None:
    """A hybrid and its teacher on the compounds that both predict; None for too few of them."""
    if teacher is None:
        return None
    of_hybrid, of_teacher = (_in_test(cell, model, task, test) for model in (hybrid, teacher))
    if of_hybrid is None or of_teacher is None:
        return None
    # Out of fold a teacher may have no prediction, where the other folds had too few labels.
    shared, a, b = np.intersect1d(of_hybrid.rows, of_teacher.rows, return_indices=True)
    of_hybrid, of_teacher = of_hybrid.take(a), of_teacher.take(b)
    one_class = task.is_classification and len(np.unique(of_hybrid.truth)) < 2
    if len(shared) < _FEWEST or one_class:
        return None
    case = f"{cell.name}, {hybrid.partner}"
    return ScoredCell(
        case,
        case if test in (OWN_CHEMISTRY, OUT_OF_FOLD) else test,
        task,
        of_hybrid.truth,
        {HYBRID: of_hybrid.values[:, 0], TEACHER: of_teacher.values[:, 0]},
        {HYBRID: of_hybrid.called(task), TEACHER: of_teacher.called(task)},
    )


def compare_domains(cells: Sequence[CellResult], task: Task) -> list[dict[str, Any]]:
    """Risk and coverage of each applicability domain, by kind of model and test.

    The area under the risk-coverage curve is the mean error over all coverages; lower is better.
    Binary tasks only.
    """
    if task.kind != "binary":
        return []
    rows = []
    for kind in (STUDENT, HYBRID, TEACHER):
        for test in cells[0].test_names:
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
            found = _in_test(cell, model, task, test)
            if found is None or (kind == STUDENT and model.name != STUDENT):
                continue
            correct = found.called(task) == found.truth
            for method, (score, inside) in model.predictions[task.name].domains.items():
                here = inside[found.rows]
                areas.setdefault(method, []).append(aurc(correct, score[found.rows]))
                coverage.setdefault(method, []).append(float(here.mean()))
                if here.any():
                    errors.setdefault(method, []).append(float((~correct[here]).mean()))
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
                "model": kind,
                "test": test,
                "domain": method,
                "aurc": _mean(values),
                "default_lower_by": _mean(gains) if other else None,
                "low": _rounded(low),
                "high": _rounded(high),
                "cells": len(values),
                "coverage": _mean(coverage[method]),
                "error_inside": _mean(errors.get(method, [])),
                "p": _rounded(signed_rank_p(gains)) if several else None,
            }
        )
    return rows


def _interval_of_mean(values: np.ndarray, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95% interval of a mean over cells, by drawing cells."""
    return interval(values[bootstrap_rows(len(values), draws, seed)].mean(axis=1))


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
