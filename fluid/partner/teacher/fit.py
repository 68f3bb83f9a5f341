"""Fit a teacher: cross-fit every task of a table, with what is measured out of fold."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from fluid.base.errors import FluidError, TrainingError
from fluid.base.jobs import count_jobs
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.exchange.federation import Federation
from fluid.learn.crossfit import CrossFitted, TaskData, cross_fit
from fluid.learn.domain import fit_domains
from fluid.learn.estimators import AUTO, LEARNERS
from fluid.learn.folds import (
    BY_COMPOUND,
    BY_FRAMEWORK,
    FOLDS_BY,
    check_cross_fitting,
    fold_keys,
    looser,
)
from fluid.learn.measured import Measured
from fluid.learn.metrics import compute_metrics
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.own_fold import folds_of_repeats
from fluid.learn.predictions import measured_calls
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, ReliabilityMap
from fluid.learn.task import Task
from fluid.learn.thresholds import prevalence_threshold
from fluid.partner.table import LabelledCompounds

logger = logging.getLogger(__name__)
# Steps of rounding beyond these, in standard deviations of the labels, are warned of.
_COARSEST_STEP, _FINEST_STEP = 1 / 3, 1 / 3000


@dataclass(frozen=True)
class TrainingOptions:
    """How a partner trains; its own choice within what is agreed.

    Attributes
    ----------
    learner
        Key of `fluid.learn.estimators.LEARNERS`, or ``"auto"``.
    folds, repeats
        Of cross-fitting: 3 to 20 and 1 to 20.
    seed
        Of the learners. The folds depend on the partner's secret alone.
    folds_by
        What shares a fold, ``"compound"`` or ``"framework"``, at least as strict as the
        federation's policy; empty for what that says.
    """

    learner: str = AUTO
    folds: int = 5
    repeats: int = 3
    seed: int = 0
    folds_by: str = ""

    def __post_init__(self) -> None:
        if self.folds_by and self.folds_by not in FOLDS_BY:
            raise FluidError(f"folds_by '{self.folds_by}': allowed are {', '.join(FOLDS_BY)}")
        if self.learner != AUTO and self.learner not in LEARNERS:
            allowed = ", ".join([AUTO, *LEARNERS])
            raise FluidError(f"learner '{self.learner}': allowed are {allowed}")
        check_cross_fitting(self.folds, self.repeats, self.seed)

    def folds_agreed(self, federation: Federation) -> str:
        """What shares a fold under a contract.

        Raises
        ------
        FluidError
            If these options are looser than the federation's policy.
        """
        agreed = federation.policy.folds_by
        own = self.folds_by or agreed
        if looser(own, agreed):
            raise FluidError(
                f"folds_by '{own}' is looser than the policy of federation '{federation.name}'; "
                f"allowed is {agreed}"
            )
        return own


@dataclass(frozen=True)
class FittedTeacher:
    """A model, and what it says of the compounds it was trained on.

    Attributes
    ----------
    model
        The model.
    skipped
        Tasks that have none, and why.
    out_of_fold
        By task: predictions for the labelled compounds by models that have not seen them, shape
        (n, n_outputs), in the order of ``table.labels.column``; NaN where no fold model exists.
    measured
        The same beside what was measured, and how near the compounds were.
    """

    model: TrainedModel
    skipped: dict[str, str]
    out_of_fold: dict[str, np.ndarray]
    measured: dict[str, Measured]


def fit_model(
    table: LabelledCompounds,
    federation: Federation,
    kind: str,
    name: str,
    source: str,
    options: TrainingOptions,
    secret: bytes,
    jobs: int | None,
) -> FittedTeacher:
    """Cross-fit every task of a table.

    Raises
    ------
    TrainingError
        If no task has labels enough.
    """
    library = table.compounds
    # A reference annotates nothing: nobody's policy is for it.
    folds_by = options.folds_by or BY_COMPOUND
    if kind == "teacher":
        folds_by = options.folds_agreed(federation)
    folds = folds_of_repeats(library, secret, options.repeats, options.folds, folds_by)
    models: list[TaskModel] = []
    skipped: dict[str, str] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    counts: dict[str, dict[str, int]] = {}
    told: dict[str, np.ndarray] = {}
    measured: dict[str, Measured] = {}
    for index, task in enumerate(federation.tasks):
        rows, values = table.labels.column(index)
        fitted = cross_fit(
            TaskData(task, library, rows, values),
            folds,
            options.folds,
            options.learner,
            options.seed,
            count_jobs(jobs),
        )
        if not np.isfinite(fitted.predictions).any():
            skipped[task.name] = too_few_labels(task, values)
            if fitted.models and folds_by == BY_FRAMEWORK:
                n_frameworks = len(set(fold_keys(library.take(rows), BY_FRAMEWORK)))
                skipped[task.name] = (
                    f"{len(rows)} labelled compounds of {n_frameworks} frameworks, folds by "
                    "framework need more of these"
                )
            logger.warning("%s: task %s: %s; no model", source, task.name, skipped[task.name])
            continue
        if folds_by == BY_FRAMEWORK:
            _warn_of_one_series(library.take(rows), task, source)
        if kind == "teacher" and not task.is_classification:
            _warn_of_step(federation.policy.value_step, values, task, source)
        similarity = _own_fold_similarity(library.fingerprints[rows], folds[:, rows])
        model = _task_model(library, task, fitted, values, similarity)
        models.append(model)
        told[task.name] = fitted.predictions
        measured[task.name] = Measured(fitted.predictions, values, similarity)
        metrics[task.name] = out_of_fold_metrics(task, fitted.predictions, values, model.threshold)
        counts[task.name] = count_labels(task, values)
    if not models:
        reasons = "; ".join(f"task {name}: {reason}" for name, reason in skipped.items())
        raise TrainingError(f"{source}: no task can be trained ({reasons})")
    training = {
        "learner": options.learner,
        "folds": options.folds,
        "folds_by": folds_by,
        "repeats": options.repeats,
        "seed": options.seed,
        "compounds": len(library),
        "labels": counts,
    }
    card = Card(
        kind, name, federation.name, federation.round, federation.protocol, training, metrics,
        software_versions(),
    )  # fmt: skip
    trained = TrainedModel(card, federation.chemistry, library, models)
    return FittedTeacher(trained, skipped, told, measured)


def _warn_of_step(step: float, values: np.ndarray, task: Task, source: str) -> None:
    """Say so if the rounding of exports does not suit the unit of the labels."""
    spread = float(values.std())
    if step > _COARSEST_STEP * spread:
        what = "so coarse that little of what is predicted is left"
    elif step < _FINEST_STEP * spread:
        what = "finer than any prediction is good for"
    else:
        return
    logger.warning(
        "%s: task %s: labels have a standard deviation of %.3g, and the policy's value_step rounds "
        "predictions to multiples of %g, %s; agree on about a hundredth of the deviation, or on a "
        "logarithmic unit",
        source, task.name, spread, step, what,
    )  # fmt: skip


def _warn_of_one_series(labelled: Compounds, task: Task, source: str) -> None:
    _, counts = np.unique(fold_keys(labelled, BY_FRAMEWORK), return_counts=True)
    if 2 * counts.max() > len(labelled):
        logger.warning(
            "%s: task %s: %d of %d labelled compounds have one framework; with folds by framework "
            "its labels are learned from the others alone",
            source, task.name, counts.max(), len(labelled),
        )  # fmt: skip


def too_few_labels(task: Task, values: np.ndarray) -> str:
    """Why these labels do not suffice, with their number."""
    if not task.is_classification:
        return f"{len(values)} labelled compounds, about 20 or more are needed"
    n_classes = max(2, len(task.classes))
    counts = np.bincount(values.astype(np.int64), minlength=n_classes)
    shown = " + ".join(str(count) for count in counts)
    if np.sum(counts > 0) == 1:
        return f"one class only ({shown} compounds), about 10 or more of each are needed"
    return f"{shown} compounds by class, about 10 or more of each are needed"


def count_labels(task: Task, values: np.ndarray) -> dict[str, int]:
    """Number of labelled compounds, and of each class."""
    counts = {"compounds": len(values)}
    if task.is_classification:
        names = task.classes or ("0", "1")
        by_class = np.bincount(values.astype(np.int64), minlength=len(names))
        counts |= {label: int(count) for label, count in zip(names, by_class, strict=True)}
    return counts


def _task_model(
    library: Compounds, task: Task, fitted: CrossFitted, values: np.ndarray, similarity: np.ndarray
) -> TaskModel:
    threshold = 0.5
    if task.kind == "binary":
        known = np.isfinite(fitted.predictions[:, 0])
        threshold = prevalence_threshold(fitted.predictions[known, 0], float(values[known].mean()))
    slope = float(np.mean([member.reliability.slope for member in fitted.models]))
    # A domain judges at home and is never exported, so that all out-of-fold predictions may serve.
    held_out = measured_calls(task, fitted.predictions, threshold, similarity, values)
    domains = fit_domains(library, fitted.rows, ReliabilityMap(slope), held_out)
    return TaskModel(task, fitted.models, False, fitted.rows, domains, threshold)


def _own_fold_similarity(fingerprints: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Similarity to the nearest compounds of other folds, mean over repeats, shape (n,)."""

    def similarity(row: np.ndarray) -> np.ndarray:
        found = np.zeros(len(row))
        for fold in np.unique(row):
            mine = row == fold
            found[mine] = neighbour_similarity(
                fingerprints[mine], fingerprints[~mine], DOMAIN_NEIGHBOURS
            )
        return found

    return np.asarray(np.mean([similarity(row) for row in folds], axis=0))


def out_of_fold_metrics(
    task: Task, predicted: np.ndarray, values: np.ndarray, threshold: float
) -> dict[str, float | None]:
    """Metrics of predictions for compounds that the predicting models have not seen.

    Parameters
    ----------
    task
        What is predicted.
    predicted
        Shape (n, n_outputs); rows with NaN are left out.
    values
        Labels of shape (n,).
    threshold
        Decision threshold of a binary task.
    """
    known = np.isfinite(predicted).all(axis=1)
    predictions = predicted[known]
    if task.kind == "multiclass":
        called = predictions.argmax(axis=1)
    else:
        called = (predictions[:, 0] >= threshold).astype(np.int64)
    found = compute_metrics(task, values[known], predictions, called)
    return {name: None if np.isnan(value) else round(value, 4) for name, value in found.items()}
