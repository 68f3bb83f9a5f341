"""A trained model: the form that a teacher, a student and the own part of a hybrid share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fluid.base.errors import FileFormatError, FluidError
from fluid.base.jobs import single_threaded_blas
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.learn.crossfit import FoldModel, predict_members
from fluid.learn.domain import DEFAULT_DOMAIN, DOMAINS
from fluid.learn.estimators import logit, sigmoid
from fluid.learn.folds import BY_COMPOUND, FOLDS_BY
from fluid.learn.judgement import Domain, DomainInput, find_neighbours
from fluid.learn.predictions import Predictions, TaskPrediction
from fluid.learn.task import Task

KINDS = ("teacher", "student", "hybrid", "own", "reference")


@dataclass(frozen=True)
class Card:
    """What a model is: kind, contract, training, metrics and software.

    Attributes
    ----------
    kind
        One of `KINDS`; ``"own"`` is the private part of a hybrid.
    name
        The partner, or the federation for a student.
    federation, round, protocol
        The contract it was made under.
    training
        How it was trained, in plain values.
    metrics
        By task and metric: out-of-fold estimates, where there are measured labels.
    software
        Versions of what made it.
    """

    kind: str
    name: str
    federation: str
    round: int
    protocol: str
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)

    @property
    def folds_by(self) -> str:
        """What shared a fold in training, see `fluid.learn.folds.fold_keys`.

        Raises
        ------
        FileFormatError
            If the card states an unknown choice.
        """
        # A student has no folds.
        found = self.training.get("folds_by", BY_COMPOUND)
        if found not in FOLDS_BY:
            raise FileFormatError(
                f"model of '{self.name}': folds_by = {found!r}; allowed are {', '.join(FOLDS_BY)}"
            )
        return str(found)


class Predictor(Protocol):
    """Anything that predicts the tasks of a federation."""

    @property
    def card(self) -> Card:
        """What the model is."""
        ...

    @property
    def chemistry(self) -> Chemistry:
        """What its features are."""
        ...

    @property
    def tasks(self) -> list[Task]:
        """The tasks that this model predicts."""
        ...

    def predict(self, compounds: Compounds, domain: str | None = DEFAULT_DOMAIN) -> Predictions:
        """Predict compounds.

        Parameters
        ----------
        compounds
            n compounds with the features of the model's federation.
        domain
            Applicability domain to judge by: a key of `fluid.learn.domain.DOMAINS`, or None.
        """
        ...


@dataclass(frozen=True)
class TaskModel:
    """What predicts one task.

    Attributes
    ----------
    task
        The endpoint.
    members
        Fitted models whose predictions are averaged.
    in_logits
        Whether log-odds are averaged (student) or probabilities (teacher).
    rows
        Positions in the library of the compounds that reliability and domain refer to.
    domains
        By method.
    threshold
        Probability from which a compound is called positive.
    """

    task: Task
    members: list[FoldModel]
    in_logits: bool
    rows: np.ndarray
    domains: dict[str, Domain]
    threshold: float = 0.5

    def predict(self, queries: Compounds, library: Compounds, domain: str | None) -> TaskPrediction:
        """Predict one task; see `TaskPrediction`."""
        if not self.members:
            raise FluidError(f"task '{self.task.name}' has no members to predict it")
        members = [(self.task, member) for member in self.members]
        return self.judge(predict_members(members, queries, library), queries, library, domain)

    def judge(
        self,
        predicted: Sequence[np.ndarray],
        queries: Compounds,
        library: Compounds,
        domain: str | None,
    ) -> TaskPrediction:
        """The same from what each member predicts."""
        each = np.stack(predicted)
        if self.in_logits and self.task.is_classification:
            values = sigmoid(logit(each).mean(axis=0))
            if self.task.kind == "multiclass":
                values /= values.sum(axis=1, keepdims=True)
        else:
            values = each.mean(axis=0)
        spread = each.std(axis=0) if len(each) > 1 else np.full(values.shape, np.nan)
        near = find_neighbours(queries, library, self.rows)
        reliability = np.mean([m.reliability(near.similarity) for m in self.members], axis=0)
        judged = None
        if domain is not None:
            given = DomainInput(values, near, reliability, self.threshold)
            judged = self.domains[domain].assess(queries, given)
        return TaskPrediction(values, spread, reliability, judged, self.threshold, near.similarity)


@dataclass(frozen=True)
class TrainedModel:
    """A teacher, a student or a reference: one library, and a `TaskModel` for each task.

    Attributes
    ----------
    card
        What it is.
    chemistry
        What its features are.
    library
        Compounds that its members and domains refer to.
    task_models
        In the federation's order.
    trained_on
        Digests of the compounds that a student learned from: the first 8 bytes of the SHA-256 of
        each connectivity, ascending, uint64. None if the library holds all of them.
    """

    card: Card
    chemistry: Chemistry
    library: Compounds
    task_models: list[TaskModel]
    trained_on: np.ndarray | None = None

    @property
    def tasks(self) -> list[Task]:
        """See `Predictor.tasks`."""
        return [task_model.task for task_model in self.task_models]

    @single_threaded_blas()
    def predict(self, compounds: Compounds, domain: str | None = DEFAULT_DOMAIN) -> Predictions:
        """See `Predictor.predict`."""
        check_domain(domain)
        # Numbers that overflow end in an error of their own.
        with np.errstate(over="ignore", invalid="ignore"):
            members = [(one.task, member) for one in self.task_models for member in one.members]
            each = iter(predict_members(members, compounds.with_cache(), self.library.with_cache()))
            made = {}
            for one in self.task_models:
                if not one.members:
                    raise FluidError(f"task '{one.task.name}' has no members to predict it")
                predicted = [next(each) for _ in one.members]
                made[one.task.name] = one.judge(predicted, compounds, self.library, domain)
        return check_finite(Predictions(self.tasks, made), self.card)


def check_finite(predictions: Predictions, card: Card) -> Predictions:
    """Predictions as given; FluidError if one is not finite, as a forged model's may be."""
    for name, found in predictions.by_task.items():
        if not np.isfinite(found.values).all():
            raise FluidError(
                f"model of '{card.name}': its prediction of task '{name}' is not finite"
            )
    return predictions


def check_domain(domain: str | None) -> None:
    """Raise `FluidError` unless this is None or the name of an applicability domain."""
    if domain is not None and domain not in DOMAINS:
        raise FluidError(f"domain '{domain}': allowed are {', '.join(DOMAINS)}")
