"""The last phase of a virtual consortium: every partner trains a hybrid."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.run import Run
from fluid.learn.own_fold import empty_labels, label_own_fold
from fluid.partner.disclosure_guard import disclose
from fluid.partner.hybrid.fit import FittedHybrid, fit_hybrid
from fluid.partner.hybrid.peer_targets import peer_labels
from fluid.partner.hybrid.private_model import HybridOptions, hybrid_folds
from fluid.simulation.cache import Arrays
from fluid.simulation.consortium import Consortium
from fluid.simulation.digests import digest_labels
from fluid.simulation.predictions import (
    HybridResult,
    LabelledPrediction,
    pack_out_of_fold,
    pack_predictions,
    predict_queries,
    unpack_out_of_fold,
    unpack_predictions,
)
from fluid.simulation.rounds import SimulatedRound
from fluid.soft_labels.teacher_labels import TeacherLabels


def train_hybrids(
    first: SimulatedRound, later: SimulatedRound | None = None
) -> dict[str, HybridResult]:
    """Train the hybrid of every partner.

    Parameters
    ----------
    first
        The round whose pooled labels the hybrids learn from.
    later
        A later round, whose student answers in place of the first one's.

    Returns
    -------
    dict
        By partner. A partner whose labels do not suffice is missing.
    """
    consortium = first.consortium
    found = {}
    for partner in consortium.partners:
        own = first.trusted_labels(partner)
        folds_by = consortium.teacher_options.folds_agreed(consortium.federation)
        inputs = first.inputs() | {
            "table": consortium.table_digests[partner],
            "own labels": digest_labels(own) if own else "",
            "options": repr((consortium.hybrid_options, folds_by)),
            "later": later.pooled_digest if later is not None else "",
            "secret": consortium.secret(partner).hex(),
        }
        arrays = consortium.cache.fetch("hybrid", inputs, partial(_train, first, partner, later))
        if arrays:
            found[partner] = HybridResult(
                unpack_predictions(arrays, consortium.tasks),
                unpack_out_of_fold(arrays, consortium.tasks),
            )
    return found


def label_with_hybrid(current: SimulatedRound, partner: str) -> dict[str, TeacherLabels]:
    """Labels of the public set by a partner's hybrid, each by the member of its own fold."""
    consortium = current.consortium
    options = _hybrid_options(consortium, partner)
    private_model = _fit(current, partner).model.own
    library = private_model.library
    n_private = len(consortium.tables[partner].compounds)
    private_folds = hybrid_folds(library.take(np.arange(n_private)), options)
    # Public compounds that were learned from belong to no fold.
    public_rows = (len(private_folds), len(library) - n_private)
    no_fold = np.full(public_rows, options.folds, np.uint8)
    library_folds = np.concatenate([private_folds, no_fold], axis=1)
    public_folds = hybrid_folds(consortium.public, options)
    models = {model.task.name: model for model in private_model.task_models}
    policy = consortium.federation.policy
    labels = {}
    for task in consortium.tasks:
        found = empty_labels(len(consortium.public), len(task.outputs))
        if task.name in models:
            found = label_own_fold(
                models[task.name],
                library,
                library_folds,
                consortium.public,
                public_folds,
                consortium.run.cores,
                policy.neighbourhood,
            )
        labels[task.name] = disclose(task, policy, found)
    return labels


def _hybrid_options(consortium: Consortium, partner: str) -> HybridOptions:
    """A hybrid is trained in the folds of its partner's teacher."""
    folds_by = consortium.teacher_options.folds_agreed(consortium.federation)
    secret = consortium.secret(partner)
    return replace(consortium.hybrid_options, secret=secret, folds_by=folds_by)


def _fit(first: SimulatedRound, partner: str, later: SimulatedRound | None = None) -> FittedHybrid:
    """Fit a partner's hybrid to its table and the labels of the other partners.

    Raises
    ------
    TrainingError
        If the labels do not suffice.
    """
    consortium = first.consortium
    pooled = peer_labels(first.pooled, first.trusted_labels(partner))
    return fit_hybrid(
        consortium.tables[partner],
        pooled,
        first.student,
        consortium.federation,
        partner,
        options=_hybrid_options(consortium, partner),
        later_student=later.student if later is not None else None,
        # The seed of a study draws partitions and folds; a hybrid's own is that of the command.
        run=Run(jobs=consortium.run.jobs),
    )


def _train(first: SimulatedRound, partner: str, later: SimulatedRound | None) -> Arrays:
    """Everything of a `HybridResult` as arrays; empty if the labels do not suffice."""
    consortium = first.consortium
    try:
        fitted = _fit(first, partner, later)
    except TrainingError:
        return {}
    out_of_fold = {}
    rows = {model.task.name: model.rows for model in fitted.model.own.task_models}
    for name, one in fitted.measured.items():
        threshold = fitted.model.decisions[name].threshold
        out_of_fold[name] = LabelledPrediction(
            rows[name], one.truth, one.values, threshold, one.signs
        )
    predictions = predict_queries(fitted.model, consortium.queries)
    return pack_predictions(predictions) | pack_out_of_fold(out_of_fold)
