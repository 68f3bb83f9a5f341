"""Fit a hybrid in memory: the partner's own part, and how it is blended with the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fluid.base.jobs import single_threaded_blas
from fluid.base.run import Run
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.learn.calibration import Platt, fit_platt
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.crossfit import calibrated
from fluid.learn.estimators import logit
from fluid.learn.hybrid_model import (
    BLEND_FACTORS,
    CORRECTED_FACTORS,
    BlendWeight,
    Decision,
    HybridModel,
    reference_similarity,
)
from fluid.learn.measured import Measured
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.predictions import measured_calls
from fluid.learn.thresholds import prevalence_threshold
from fluid.partner.hybrid.blend_weight import choose_blend_weight
from fluid.partner.hybrid.peer_targets import student_twicing
from fluid.partner.hybrid.private_model import HybridOptions, PrivateTask, fit_private_model
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import out_of_fold_metrics
from fluid.soft_labels.pooled import PooledSet


@dataclass(frozen=True)
class FittedHybrid:
    """A hybrid, and its predictions of the compounds it was trained on.

    Attributes
    ----------
    model
        The hybrid.
    skipped
        Tasks that only the student answers, and why.
    measured
        By task: calibrated predictions for the partner's labelled compounds, by members that have
        not seen them, in the order of ``table.labels.column``; with what was measured, and how near
        the compounds were.
    """

    model: HybridModel
    skipped: dict[str, str]
    measured: dict[str, Measured]

    @property
    def out_of_fold(self) -> dict[str, np.ndarray]:
        """The predictions in `measured`, shape (n, n_outputs)."""
        return {task: one.values for task, one in self.measured.items()}


@single_threaded_blas()
def fit_hybrid(
    table: LabelledCompounds,
    pooled: PooledSet,
    student: TrainedModel,
    federation: Federation,
    partner: str,
    *,
    options: HybridOptions | None = None,
    later_student: TrainedModel | None = None,
    run: Run | None = None,
) -> FittedHybrid:
    """Fit a hybrid in memory; see `train_hybrid`.

    Parameters
    ----------
    table
        The private compounds and labels.
    pooled
        The federated set, best without this partner's own labels (`peer_labels`).
    student
        Distilled from the federated set.
    federation, partner
        The contract, and whose hybrid it is.
    options
        How to train the private part.
    later_student
        The student of a later round, which answers in place of `student`. Everything is still
        chosen by the peers' labels of the first round: those of a later round rest on a student
        that has learned from this partner.
    run
        How to run.

    Raises
    ------
    TrainingError
        If no task has enough labels.
    """
    run = run or Run()
    twicing = student_twicing(student)
    private = fit_private_model(
        table, pooled, federation, partner, options or HybridOptions(), twicing, run
    )
    answering = later_student or student
    known = {model.task.name: model for model in answering.task_models}
    # A later student has learned the residuals of the first one's regression tasks.
    corrected = [t.name for t in student.tasks if later_student and not t.is_classification]
    decisions: dict[str, Decision] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    measured: dict[str, Measured] = {}
    for name, one in private.tasks.items():
        task = one.model.task
        decisions[name], measured[name] = _decide(
            one,
            private.model.library,
            known.get(name),
            answering.library,
            CORRECTED_FACTORS if name in corrected else BLEND_FACTORS,
        )
        threshold = decisions[name].threshold
        metrics[name] = out_of_fold_metrics(task, measured[name], threshold)
    card = Card(
        "hybrid",
        partner,
        federation.name,
        federation.round,
        federation.protocol,
        private.model.card.training,
        metrics,
        software_versions(),
    )
    model = HybridModel(card, private.model, answering, decisions)
    return FittedHybrid(model, private.skipped, measured)


def _decide(
    private: PrivateTask,
    library: Compounds,
    student: TaskModel | None,
    references: Compounds,
    factors: Sequence[float],
) -> tuple[Decision, Measured]:
    """Choose weight, calibration, threshold and domain of the blend of one task.

    Everything is fitted out of fold. The peers' labels alone stand in for the student: it has
    learned from public neighbours that this partner's teacher labelled, knowing the compound. If
    the pooled labels still hold the partner's own, all this is favourable. The domain is fitted
    before calibration and made as strict as the student's. All compounds choose the weight for the
    hybrid, and the other folds the weight for a compound's prediction.

    Parameters
    ----------
    private, library
        The private part, and the compounds it refers to.
    student, references
        The model that answers beside it and its library; None if the student lacks the task.
    factors
        Candidates of `choose_blend_weight`.

    Returns
    -------
    tuple of Decision and Measured
        The decision, and calibrated predictions of the labelled compounds.
    """
    task, values = private.model.task, private.labels.values
    identity = [Platt()] * len(task.outputs)
    raw = calibrated(task, list(private.scores.T), identity)
    similarity, weight = private.similarity, BlendWeight()
    if student is not None and private.peers is not None:
        peers = calibrated(task, list(private.peers.T), identity)
        near = reference_similarity(student, references, library.take(private.model.rows))
        weight, raw = choose_blend_weight(private.labels, raw, peers, similarity, near, factors)
        similarity = np.maximum(similarity, near)
    decision, predictions = Decision(blend_weight=weight), raw
    if task.kind == "binary":
        calibration = fit_platt(logit(raw[:, 0]), values)
        predictions = calibration(logit(raw))
        threshold = prevalence_threshold(predictions[:, 0], float(values.mean()))
        decision = replace(decision, calibration=calibration, threshold=threshold)
    calls = measured_calls(task, raw, decision.uncalibrated_threshold, similarity, values)
    domain = ReliabilityDomain() if calls is None else ReliabilityDomain().fit_calls(calls)
    held = None if student is None else student.domains[domain.kind]
    if isinstance(held, ReliabilityDomain):
        domain = domain.stricter(held)
    signs = private.labels.signs
    return replace(decision, domain=domain), Measured(predictions, values, similarity, signs)
