"""Fit a teacher: cross-fit every task of a table, and evaluate it out of fold."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from fluid.base.errors import FluidError, TrainingError
from fluid.base.run import Run
from fluid.base.software import software_versions
from fluid.exchange.federation import Federation
from fluid.learn.crossfit import (
    CrossFitted,
    CrossFitting,
    LabelledTask,
    cross_fit_all,
    similarity_to_other_folds,
)
from fluid.learn.domain import fit_domains
from fluid.learn.estimators import AUTO, DROPS_CENSORED, LEARNERS
from fluid.learn.estimators.multitask.head import Head
from fluid.learn.estimators.multitask.training import import_torch
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
from fluid.learn.quorum import too_few_labels
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.task import Task
from fluid.learn.thresholds import prevalence_threshold
from fluid.partner.table import LabelledCompounds

logger = logging.getLogger(__name__)
LEARN_CENSORED, DROP_CENSORED = "learn", "drop"
CENSORED = (LEARN_CENSORED, DROP_CENSORED)
# Warn of rounding steps beyond these, in standard deviations of the labels.
_COARSEST_STEP, _FINEST_STEP = 1 / 3, 1 / 3000


@dataclass(frozen=True)
class TrainingOptions:
    """How a partner trains; its own choice within the contract.

    Attributes
    ----------
    learner
        Key of `fluid.learn.estimators.LEARNERS`, or ``"auto"``.
    folds, repeats
        Folds and repeats of cross-fitting: 3 to 20 and 1 to 20.
    seed
        Seed of the learners. The folds depend on the partner's secret alone.
    folds_by
        What shares a fold, ``"compound"`` or ``"framework"``, at least as strict as the
        federation's policy; empty takes the policy's.
    censored
        What to do with numbers of which only a bound is known: ``"learn"`` or ``"drop"``.
    """

    learner: str = AUTO
    folds: int = 5
    repeats: int = 3
    seed: int = 0
    folds_by: str = ""
    censored: str = LEARN_CENSORED

    def __post_init__(self) -> None:
        check_censored(self.censored)
        if self.folds_by and self.folds_by not in FOLDS_BY:
            raise FluidError(f"folds_by '{self.folds_by}': allowed are {', '.join(FOLDS_BY)}")
        if self.learner != AUTO and self.learner not in LEARNERS:
            allowed = ", ".join([AUTO, *LEARNERS])
            raise FluidError(f"learner '{self.learner}': allowed are {allowed}")
        if self.learner == Head.kind:
            # Before a table is read.
            import_torch()
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
    """A model, and its predictions for the compounds it was trained on.

    Attributes
    ----------
    model
        The model.
    skipped
        Tasks without a model, and why.
    measured
        By task, for the labelled compounds in the order of ``table.labels.column``: measured
        values, predictions of models that have not seen the compound, and similarities.
    """

    model: TrainedModel
    skipped: dict[str, str]
    measured: dict[str, Measured]

    @property
    def out_of_fold(self) -> dict[str, np.ndarray]:
        """Predictions by models that have not seen the compound, shape (n, n_outputs), by task.

        NaN where no fold model exists.
        """
        return {name: one.values for name, one in self.measured.items()}


def fit_model(
    table: LabelledCompounds,
    federation: Federation,
    partner: str,
    secret: bytes,
    *,
    options: TrainingOptions | None = None,
    reference: bool = False,
    run: Run | None = None,
) -> FittedTeacher:
    """Cross-fit every task of a table.

    Parameters
    ----------
    table
        Private compounds and labels.
    federation
        The contract: tasks, chemistry and policy.
    partner
        Name of the model.
    secret
        The secret of the folds.
    options
        How to train; they hold the seed.
    reference
        Train a model outside the federation, to which no policy applies.
    run
        The cores to use; the result does not depend on it.

    Raises
    ------
    TrainingError
        If no task has enough labels.
    """
    options, run = options or TrainingOptions(), run or Run()
    table = used_labels(table, options.censored)
    source = table.source or partner
    # A reference annotates nothing, so no policy applies to it.
    folds_by = (options.folds_by or BY_COMPOUND) if reference else options.folds_agreed(federation)
    folds = folds_of_repeats(table.compounds, secret, options.repeats, options.folds, folds_by)
    settings = CrossFitting(options.folds, options.learner, options.seed)
    models: list[TaskModel] = []
    skipped: dict[str, str] = {}
    measured: dict[str, Measured] = {}
    labelled_tasks = [
        LabelledTask(table.compounds, task, *table.labels.column_with_signs(index))
        for index, task in enumerate(federation.tasks)
    ]
    fitted_tasks = cross_fit_all(labelled_tasks, folds, settings, run.cores, run.stage)
    for labelled, fitted in zip(labelled_tasks, fitted_tasks, strict=True):
        task = labelled.task
        # Whether there are fold models, not whether they have compounds to predict: one compound,
        # alone in its fold, would otherwise decide if its own row is labelled.
        if not fitted.models:
            skipped[task.name] = too_few_labels(task, labelled.values, labelled.signs)
            logger.warning("%s: task %s: %s; no model", source, task.name, skipped[task.name])
            continue
        if labelled.signs is not None and options.learner in DROPS_CENSORED:
            _warn_of_dropped_bounds(labelled, options.learner, source)
        if not np.isfinite(fitted.predictions).any():
            _warn_of_no_prediction(labelled, folds_by, source)
        elif folds_by == BY_FRAMEWORK:
            _warn_of_one_series(labelled, source)
        if not reference and not task.is_classification:
            _warn_of_step(federation.policy.value_step, labelled, source)
        fingerprints = table.compounds.fingerprints[labelled.rows]
        similarity = similarity_to_other_folds(fingerprints, folds[:, labelled.rows])
        measured[task.name] = Measured(
            fitted.predictions, labelled.values, similarity, labelled.signs
        )
        models.append(_task_model(labelled, fitted, similarity))
    if not models:
        reasons = "; ".join(f"task {name}: {reason}" for name, reason in skipped.items())
        raise TrainingError(f"{source}: no task can be trained ({reasons})")
    tasks = {model.task.name: model.task for model in models}
    card = Card(
        "reference" if reference else "teacher",
        partner,
        federation.name,
        federation.round,
        federation.protocol,
        {
            "learner": options.learner,
            "folds": options.folds,
            "folds_by": folds_by,
            "repeats": options.repeats,
            "seed": options.seed,
            "compounds": len(table.compounds),
            "labels": {
                name: count_labels(tasks[name], one.truth, one.signs)
                for name, one in measured.items()
            },
        },
        {
            model.task.name: out_of_fold_metrics(
                model.task, measured[model.task.name], model.threshold
            )
            for model in models
        },
        software_versions(),
    )
    trained = TrainedModel(card, federation.chemistry, table.compounds, models)
    return FittedTeacher(trained, skipped, measured)


def used_labels(table: LabelledCompounds, censored: str) -> LabelledCompounds:
    """A table with the labels that are learned: all, or those that are no bounds."""
    if censored == LEARN_CENSORED:
        return table
    return replace(table, labels=table.labels.exact())


def check_censored(censored: str) -> None:
    """Raise FluidError unless this is a way of treating censored values."""
    if censored not in CENSORED:
        raise FluidError(f"censored '{censored}': allowed are {', '.join(CENSORED)}")


def _warn_of_dropped_bounds(labelled: LabelledTask, learner: str, source: str) -> None:
    assert labelled.signs is not None
    logger.warning(
        "%s: task %s: %d of %d compounds have only values with < or >, from which learner '%s' "
        "cannot learn; svm and lightgbm can",
        source,
        labelled.task.name,
        int(np.sum(labelled.signs != 0)),
        len(labelled.signs),
        learner,
    )


def _warn_of_no_prediction(labelled: LabelledTask, folds_by: str, source: str) -> None:
    """Warn if every labelled compound lies in a fold whose model the other folds cannot train."""
    of_frameworks = ""
    if folds_by == BY_FRAMEWORK:
        frameworks = set(fold_keys(labelled.library.take(labelled.rows), BY_FRAMEWORK))
        of_frameworks = f" of {len(frameworks)} frameworks"
    logger.warning(
        "%s: task %s: %d labelled compounds%s, none of which the other folds can predict; how well "
        "the task is predicted is not known",
        source,
        labelled.task.name,
        len(labelled.rows),
        of_frameworks,
    )


def _warn_of_step(step: float, labelled: LabelledTask, source: str) -> None:
    """Warn if the rounding of exports does not suit the unit of the labels."""
    spread = float(labelled.values.std())
    if step > _COARSEST_STEP * spread:
        what = "so coarse that predictions lose most of their information"
    elif step < _FINEST_STEP * spread:
        what = "finer than any prediction is accurate"
    else:
        return
    logger.warning(
        "%s: task %s: labels have a standard deviation of %.3g, and the policy's value_step rounds "
        "predictions to multiples of %g, %s; agree on about a hundredth of the deviation, or on a "
        "logarithmic unit",
        source,
        labelled.task.name,
        spread,
        step,
        what,
    )


def _warn_of_one_series(labelled: LabelledTask, source: str) -> None:
    compounds = labelled.library.take(labelled.rows)
    _, counts = np.unique(fold_keys(compounds, BY_FRAMEWORK), return_counts=True)
    if 2 * counts.max() > len(compounds):
        logger.warning(
            "%s: task %s: %d of %d labelled compounds have one framework; with folds by framework "
            "its labels are learned from the others alone",
            source,
            labelled.task.name,
            counts.max(),
            len(compounds),
        )


def count_labels(task: Task, values: np.ndarray, signs: np.ndarray | None = None) -> dict[str, int]:
    """Number of labelled compounds, of bounds among them, and of each class."""
    counts = {"compounds": len(values)}
    if signs is not None:
        counts["censored"] = int(np.sum(signs != 0))
    if task.is_classification:
        names = task.classes or ("0", "1")
        by_class = np.bincount(values.astype(np.int64), minlength=len(names))
        counts |= {label: int(count) for label, count in zip(names, by_class, strict=True)}
    return counts


def _task_model(labelled: LabelledTask, fitted: CrossFitted, similarity: np.ndarray) -> TaskModel:
    task, values = labelled.task, labelled.values
    threshold = 0.5
    if task.kind == "binary":
        known = np.isfinite(fitted.predictions[:, 0])
        prevalence = float(values[known].mean()) if known.any() else 0.5
        threshold = prevalence_threshold(fitted.predictions[known, 0], prevalence)
    slope = float(np.mean([member.reliability.slope for member in fitted.models]))
    # A domain judges at home and is never exported, so that all out-of-fold predictions may serve.
    held_out = measured_calls(task, fitted.predictions, threshold, similarity, values)
    domains = fit_domains(labelled.library, fitted.rows, ReliabilityMap(slope), held_out)
    return TaskModel(task, fitted.models, False, fitted.rows, domains, threshold)


def out_of_fold_metrics(
    task: Task, measured: Measured, threshold: float
) -> dict[str, float | None]:
    """Metrics of predictions for compounds that the predicting models have not seen.

    Parameters
    ----------
    task
        What is predicted.
    measured
        Predictions beside labels; compounds without a prediction are left out.
    threshold
        Decision threshold of a binary task.
    """
    known = np.isfinite(measured.values).all(axis=1)
    predictions = measured.values[known]
    if task.kind == "multiclass":
        called = predictions.argmax(axis=1)
    else:
        called = (predictions[:, 0] >= threshold).astype(np.int64)
    signs = None if measured.signs is None else measured.signs[known]
    found = compute_metrics(task, measured.truth[known], predictions, called, signs)
    return {name: None if np.isnan(value) else round(value, 4) for name, value in found.items()}
