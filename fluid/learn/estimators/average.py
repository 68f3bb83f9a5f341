"""An average of other learners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np

from fluid.base.values import convert_value
from fluid.chem.compounds import Compounds
from fluid.learn.estimators.base import Estimator, Learner, State, logit, sigmoid


class Average:
    """The mean of several learners: of probabilities (classification) or values (regression).

    Parameters
    ----------
    kind
        Name in the registry of learners.
    learners
        By name, not yet fitted; empty if the average is restored.
    """

    def __init__(self, kind: str, learners: dict[str, Learner] | None = None) -> None:
        self.kind = kind
        self.learners = learners or {}
        self.members_: dict[str, Estimator] = {}
        self.classification_ = False

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        target: np.ndarray,
        classification: bool,
        seed: int,
        signs: np.ndarray | None = None,
    ) -> Self:
        """See `Learner.fit`."""
        self.classification_ = classification
        self.members_ = {
            name: learner.fit(library, rows, target, classification, seed + number, signs)
            for number, (name, learner) in enumerate(self.learners.items())
        }
        return self

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """See `Estimator.score`."""
        scores = [member.score(queries, library) for member in self.members_.values()]
        if self.classification_:
            return logit(np.mean([sigmoid(score) for score in scores], axis=0))
        return np.mean(scores, axis=0)

    def to_state(self) -> State:
        """See `Estimator.to_state`."""
        params = {"classification": self.classification_}
        parts = {name: member.to_state() for name, member in self.members_.items()}
        return State(self.kind, params, parts=parts)

    @classmethod
    def restore(cls, state: State, revive: Callable[[State], Estimator]) -> Average:
        """Rebuild from a state; `revive` rebuilds each member."""
        state.has_only(["classification"])
        made = cls(state.kind)
        made.members_ = {name: revive(part) for name, part in sorted(state.parts.items())}
        made.classification_ = convert_value(state.params["classification"], bool, "classification")
        return made

    def check(self, library: Compounds) -> None:
        """See `Estimator.check`."""
        if not self.members_:
            raise ValueError("an average of nothing")
        for member in self.members_.values():
            member.check(library)
