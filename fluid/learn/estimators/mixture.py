"""A fixed mixture of other learners."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fluid.base.values import convert_value
from fluid.chem.compounds import Compounds
from fluid.learn.estimators.base import Estimator, State


class Mixture:
    """``intercept + sum of coefficient x score`` over fitted learners.

    Parameters
    ----------
    members
        Fitted learners by name.
    coefficients
        By the same names.
    intercept
        In units of the scores.
    """

    kind = "mixture"

    def __init__(
        self, members: Mapping[str, Estimator], coefficients: Mapping[str, float], intercept: float
    ) -> None:
        self.members_ = dict(members)
        self.coefficients_ = {name: float(coefficients[name]) for name in self.members_}
        self.intercept_ = float(intercept)

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """See `Estimator.score`."""
        total = np.full(len(queries), self.intercept_)
        for name, member in sorted(self.members_.items()):
            total += self.coefficients_[name] * member.score(queries, library)
        return total

    def to_state(self) -> State:
        """See `Estimator.to_state`."""
        params = {"intercept": self.intercept_, "coefficients": self.coefficients_}
        parts = {name: member.to_state() for name, member in self.members_.items()}
        return State(self.kind, params, parts=parts)

    @classmethod
    def restore(cls, state: State, revive: Callable[[State], Estimator]) -> Mixture:
        """Rebuild from a state; `revive` rebuilds each member."""
        state.has_only(["intercept", "coefficients"])
        stated = convert_value(state.params["coefficients"], dict, "coefficients")
        if not stated or set(stated) != set(state.parts):
            raise ValueError("coefficients are not one for each part")
        coefficients = {name: convert_value(stated[name], float, name) for name in stated}
        members = {name: revive(part) for name, part in sorted(state.parts.items())}
        return cls(members, coefficients, state.number("intercept"))

    def check(self, library: Compounds) -> None:
        """See `Estimator.check`."""
        for member in self.members_.values():
            member.check(library)
