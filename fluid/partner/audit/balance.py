"""Label-distribution inference: what an export gives away of the balance of the private labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fluid.base.run import Run
from fluid.learn.quorum import enough_labels
from fluid.learn.task import Task
from fluid.partner.audit.arena import Arena
from fluid.partner.audit.exports import ACTUAL, UNPROTECTED, Export, TeacherRecipe
from fluid.partner.audit.game import shadow_secret
from fluid.partner.audit.shadows import export_shadows
from fluid.partner.audit.signals import log_odds

# Bootstrap samples: the ends of an interval then differ by about 2% of its width between seeds.
_DRAWS = 2000
# Teachers that a regression with three coefficients needs: twice as many as coefficients.
_FEWEST_TEACHERS = 6


def infer_balance(
    arena: Arena, recipe: TeacherRecipe, shadows: int, run: Run
) -> Iterator[dict[str, Any]]:
    """How well an export predicts the share of the positive class, or the mean of the labels.

    Shadow teachers are trained on parts of the table with balances drawn between 0.1 and 0.9 (in
    regression: tilted towards low or high labels). An attacker who has such teachers of its own
    regresses the balance on two means of the exported column (of the prediction, and of its
    log-odds or square), and predicts it for a teacher left out. A naive guess is the mean balance.
    That distillation on public data gives the label distribution away is shown in arXiv 2502.08001.

    Parameters
    ----------
    arena
        The compounds.
    recipe
        How the partner trains.
    shadows
        Shadow teachers of each task.
    run
        Its seed fixes parts and secrets; its progress counts the teachers of a task.

    Yields
    ------
    dict
        By task and export: ``error`` (mean absolute), ``naive_error``, their ``ratio`` with a 95%
        bootstrap interval over teachers, and ``shadows``.
    """
    random = np.random.default_rng([run.seed, 2])
    for index, task in enumerate(recipe.federation.tasks):
        rows, labels = arena.table.labels.column(index)
        if task.kind == "multiclass" or not enough_labels(task, labels):
            continue
        features: dict[str, list[np.ndarray]] = {ACTUAL: [], UNPROTECTED: []}
        truth: list[float] = []
        chosen = [_tilt(task, labels, random) for _ in range(shadows)]
        plans = [
            (np.sort(rows[part]), shadow_secret("balance", run.seed, number))
            for number, part in enumerate(chosen)
        ]
        exports = export_shadows(arena, recipe, plans, (UNPROTECTED,), run)
        for number, found in enumerate(exports):
            run.progress(number + 1)
            if found is None or task.name not in found[ACTUAL]:
                continue
            truth.append(float(labels[chosen[number]].mean()))
            for kind, by_task in found.items():
                features[kind].append(_summary(task, by_task[task.name]))
        if len(truth) < _FEWEST_TEACHERS:
            continue
        for kind, each in features.items():
            yield {"task": task.name, "export": kind, "shadows": len(truth)} | _errors(
                np.stack(each), np.array(truth), random
            )


def _tilt(task: Task, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Positions of a part of the labels with another balance."""
    if task.is_classification:
        wanted = random.uniform(0.1, 0.9)
        groups = [np.flatnonzero(labels == 0), np.flatnonzero(labels != 0)]
        total = min(len(groups[0]) / (1.0 - wanted), len(groups[1]) / wanted)
        sizes = [max(1, int(total * (1.0 - wanted))), max(1, int(total * wanted))]
        parts = [random.permutation(g)[:size] for g, size in zip(groups, sizes, strict=True)]
        return np.concatenate(parts)
    z = (labels - labels.mean()) / max(float(labels.std()), 1e-9)
    weight = np.exp(np.clip(random.uniform(-1.5, 1.5) * z, -8.0, 8.0))
    size = max(1, len(labels) // 2)
    return random.choice(len(labels), size, replace=False, p=weight / weight.sum())


def _summary(task: Task, export: Export) -> np.ndarray:
    """Two means of an exported column, shape (2,); zeros if nothing is exported."""
    values = export.prediction[:, 0]
    values = values[np.isfinite(values)]
    if not len(values):
        return np.zeros(2)
    other = log_odds(values) if task.is_classification else values**2
    return np.array([values.mean(), other.mean()])


def _errors(
    features: np.ndarray, truth: np.ndarray, random: np.random.Generator
) -> dict[str, float]:
    """Errors of a linear regression on teachers left out one at a time."""
    n = len(truth)
    scale = np.maximum(features.std(axis=0), 1e-9)
    matrix = np.column_stack([np.ones(n), (features - features.mean(axis=0)) / scale])
    errors, naive = np.zeros(n), np.zeros(n)
    for out in range(n):
        rest = np.arange(n) != out
        inner = matrix[rest].T @ matrix[rest] + np.diag([0.0, 0.1, 0.1])
        weights = np.linalg.solve(inner, matrix[rest].T @ truth[rest])
        errors[out] = abs(matrix[out] @ weights - truth[out])
        naive[out] = abs(truth[rest].mean() - truth[out])
    drawn = random.integers(0, n, (_DRAWS, n))
    ratios = errors[drawn].mean(axis=1) / np.maximum(naive[drawn].mean(axis=1), 1e-12)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return {
        "error": round(float(errors.mean()), 4),
        "naive_error": round(float(naive.mean()), 4),
        "ratio": round(float(errors.mean() / max(naive.mean(), 1e-12)), 4),
        "ratio_low": round(float(low), 4),
        "ratio_high": round(float(high), 4),
    }
