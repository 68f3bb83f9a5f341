"""A hybrid: a partner's own model and the student, blended by whose compounds are nearer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fluid.base.jobs import single_threaded_blas
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.learn.calibration import Platt
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.estimators import logit, sigmoid
from fluid.learn.judgement import DomainInput, DomainResult, Neighbours
from fluid.learn.model import Card, TaskModel, TrainedModel, check_domain, check_finite
from fluid.learn.predictions import Predictions, TaskPrediction
from fluid.learn.reliability import DOMAIN_NEIGHBOURS
from fluid.learn.task import Task

BLEND_POWER = 6.0
# A measured label counts more than a pooled one at the same similarity. How much more differs
# between partners: each chooses one of these by its out-of-fold predictions.
BLEND_FACTORS = (4.0, 16.0, 64.0, 256.0)
# The student of a later round has learned residuals of all partners' measured values.
CORRECTED_FACTORS = (0.25, 1.0, *BLEND_FACTORS)
# Lowest similarity that counts, so that both sides always have some weight.
_FLOOR = 0.02


@dataclass(frozen=True)
class BlendWeight:
    """How much more a measured label counts than a pooled one, at home and elsewhere.

    Attributes
    ----------
    factor
        In the partner's own chemistry.
    low, high
        Similarities to the partner's compounds: a compound is elsewhere up to `low` and at home
        from `high` on; in between the logarithm of the factor changes linearly.
    elsewhere
        In other chemistry.
    """

    factor: float = BLEND_FACTORS[0]
    low: float = 0.0
    high: float = 0.0
    elsewhere: float = BLEND_FACTORS[0]

    def __call__(self, own: np.ndarray) -> np.ndarray:
        """The factor at similarities to the partner's compounds, float64 of shape (n,)."""
        span = max(self.high - self.low, 1e-6)
        home = np.clip((own.astype(np.float64) - self.low) / span, 0.0, 1.0)
        return self.elsewhere * (self.factor / self.elsewhere) ** home


def blend_share(
    own: np.ndarray, other: np.ndarray, weight: BlendWeight | None = None
) -> np.ndarray:
    """Weight of the own model: f s_own^6 / (f s_own^6 + s_student^6), s the similarities.

    Parameters
    ----------
    own, other
        Similarities in [0, 1] to the partner's compounds and to the student's, shape (n,).
    weight
        The factor f by which a measured label counts more than a pooled one; by default 4.

    Returns
    -------
    numpy.ndarray
        float64 of shape (n,) in [0, 1]; f / (1 + f) where both are equal.
    """
    factor = (weight or BlendWeight())(own)
    a = factor * np.maximum(own.astype(np.float64), _FLOOR) ** BLEND_POWER
    b = np.maximum(other.astype(np.float64), _FLOOR) ** BLEND_POWER
    return a / (a + b)


def blend(task: Task, own: np.ndarray, student: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Blend predictions: probabilities as log-odds, numbers as they are.

    Parameters
    ----------
    task
        What is predicted.
    own, student
        Predictions of shape (n, n_outputs).
    share
        Weight of the own model, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n, n_outputs).
    """
    weight = share[:, None]
    if not task.is_classification:
        return weight * own + (1.0 - weight) * student
    mixed = sigmoid(weight * logit(own) + (1.0 - weight) * logit(student))
    if task.kind == "multiclass":
        mixed /= mixed.sum(axis=1, keepdims=True)
    return mixed


@dataclass(frozen=True)
class Decision:
    """How the blend of one task decides; fitted on the partner's own labels out of fold.

    Attributes
    ----------
    calibration
        From the blend's log-odds to probabilities; for binary tasks.
    threshold
        Probability from which a compound is called positive.
    domain
        Judges blended predictions before calibration, in the scale of both parts. None if there is
        none; the domains of the parts are then merged.
    blend_weight
        How much the partner's own model weighs in the blend; see `blend_share`.
    """

    calibration: Platt = field(default_factory=Platt)
    threshold: float = 0.5
    domain: ReliabilityDomain | None = None
    blend_weight: BlendWeight = field(default_factory=BlendWeight)

    @property
    def uncalibrated_threshold(self) -> float:
        """The probability before calibration that calibration maps to the threshold."""
        if self.calibration.slope <= 0.0:
            return 0.5
        margin = logit(np.array([self.threshold]))[0] - self.calibration.intercept
        return float(sigmoid(np.array([margin / self.calibration.slope]))[0])


@dataclass(frozen=True)
class HybridModel:
    """A partner's own cross-fitted model beside the student it received.

    Attributes
    ----------
    card
        What it is.
    own
        Trained on the partner's private table.
    student
        As it came from the coordinator.
    decisions
        By task, for those that the partner has labels for.
    """

    card: Card
    own: TrainedModel
    student: TrainedModel
    decisions: dict[str, Decision]

    @property
    def chemistry(self) -> Chemistry:
        """That of both parts."""
        return self.own.chemistry

    @property
    def tasks(self) -> list[Task]:
        """Tasks of the student, then those that only the own model knows."""
        known = [task.name for task in self.student.tasks]
        return self.student.tasks + [task for task in self.own.tasks if task.name not in known]

    @single_threaded_blas()
    def predict(self, compounds: Compounds, domain: str | None = DEFAULT_DOMAIN) -> Predictions:
        """See `fluid.learn.model.Predictor.predict`.

        The default domain was fitted on the blend. By the other domains, a compound is inside if
        it is inside for one of the parts.
        """
        check_domain(domain)
        own_models = {model.task.name: model for model in self.own.task_models}
        student_models = {model.task.name: model for model in self.student.task_models}
        made = {}
        for task in self.tasks:
            own, student = own_models.get(task.name), student_models.get(task.name)
            decision = self.decisions.get(task.name, Decision())
            fitted = decision.domain if own and domain == ReliabilityDomain.kind else None
            by_parts = domain if fitted is None else None
            theirs = student and student.predict(compounds, self.student.library, by_parts)
            mine = own and own.predict(compounds, self.own.library, by_parts)
            if mine:
                made[task.name] = _merge(task, compounds, mine, theirs or mine, decision, fitted)
            elif theirs:
                made[task.name] = theirs
        return check_finite(Predictions(self.tasks, made), self.card)


def reference_similarity(model: TaskModel, library: Compounds, queries: Compounds) -> np.ndarray:
    """Mean similarity of queries to the nearest reference compounds of a task, shape (n,)."""
    references = library.fingerprints[model.rows]
    return neighbour_similarity(queries.fingerprints, references, DOMAIN_NEIGHBOURS)


def _merge(
    task: Task,
    compounds: Compounds,
    mine: TaskPrediction,
    theirs: TaskPrediction,
    decision: Decision,
    fitted: ReliabilityDomain | None,
) -> TaskPrediction:
    """Blend two parts, which are the same object if the student lacks the task."""
    near, far = _similarity(mine), _similarity(theirs)
    share = np.ones(len(near)) if mine is theirs else blend_share(near, far, decision.blend_weight)
    weight = share[:, None]
    values = blend(task, mine.values, theirs.values, share)
    similarity = np.maximum(near, far)
    reliability = np.maximum(mine.reliability, theirs.reliability)
    judged = _either(mine.domain, theirs.domain)
    if fitted is not None:
        nobody = np.full(len(compounds), "", dtype=object)
        neighbours = Neighbours(similarity, similarity, nobody)
        threshold = decision.uncalibrated_threshold
        given = DomainInput(values, neighbours, reliability, threshold)
        judged = fitted.assess(compounds, given)
    if task.kind == "binary":
        values = decision.calibration(logit(values))
    return TaskPrediction(
        values=values,
        uncertainty=weight * mine.uncertainty + (1.0 - weight) * theirs.uncertainty,
        reliability=reliability,
        domain=judged,
        threshold=decision.threshold,
        similarity=similarity,
    )


def _similarity(part: TaskPrediction) -> np.ndarray:
    return np.zeros(len(part.values)) if part.similarity is None else part.similarity


def _either(mine: DomainResult | None, theirs: DomainResult | None) -> DomainResult | None:
    if mine is None or theirs is None:
        return None
    reasons = [
        f"own: {a}" if inside or score >= other else f"student: {b}"
        for inside, score, other, a, b in zip(
            mine.inside, mine.score, theirs.score, mine.reasons, theirs.reasons, strict=True
        )
    ]
    return DomainResult(np.maximum(mine.score, theirs.score), mine.inside | theirs.inside, reasons)
