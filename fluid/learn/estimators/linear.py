"""Linear models: logistic regression and ridge regression."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.censored import censored_weights, minimise
from fluid.learn.estimators.base import State, check_scaling


class Linear:
    """A linear model on feature presence and scaled descriptors.

    Parameters
    ----------
    cost
        Inverse strength of the L2 penalty.
    """

    kind = "logistic"

    def __init__(self, cost: float = 0.05) -> None:
        self.cost = cost
        self.mean_ = np.zeros(0)
        self.scale_ = np.zeros(0)
        self.coefficients_ = np.zeros(0)
        self.intercept_ = 0.0

    def _matrix(self, compounds: Compounds) -> np.ndarray:
        bits = np.unpackbits(compounds.fingerprints, axis=1).astype(np.float64)
        scaled = (compounds.descriptors - self.mean_) / self.scale_
        return np.hstack([bits, np.clip(scaled, -5.0, 5.0)])

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
        from sklearn.linear_model import LogisticRegression, Ridge

        training = library.take(rows)
        self.mean_ = training.descriptors.astype(np.float64).mean(axis=0)
        spread = training.descriptors.astype(np.float64).std(axis=0)
        self.scale_ = np.where(spread > 1e-9, spread, 1.0)
        matrix = self._matrix(training)
        if classification:
            model = LogisticRegression(C=self.cost, max_iter=2000).fit(matrix, target)
            self.coefficients_, self.intercept_ = model.coef_[0], float(model.intercept_[0])
        else:
            ridge = Ridge(alpha=1.0 / self.cost)
            found = (
                _ridge_parameters(ridge.fit(matrix, target))
                if signs is None
                else _fit_bounds(ridge, matrix, target, signs)
            )
            self.coefficients_, self.intercept_ = found[:-1], float(found[-1])
        return self

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """See `Estimator.score`."""
        result = np.full(len(queries), self.intercept_)
        for start in range(0, len(queries), 2048):
            rows = np.arange(start, min(start + 2048, len(queries)))
            result[rows] += self._matrix(queries.take(rows)) @ self.coefficients_
        return result

    def to_state(self) -> State:
        """See `Estimator.to_state`."""
        arrays = {"mean": self.mean_, "scale": self.scale_, "coefficients": self.coefficients_}
        return State(self.kind, {"intercept": self.intercept_}, arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `to_state`."""
        state.has_only(["intercept"], ["mean", "scale", "coefficients"])
        made = cls()
        made.mean_, made.scale_ = state.array("mean", np.float64), state.array("scale", np.float64)
        made.coefficients_ = state.array("coefficients", np.float64)
        made.intercept_ = state.number("intercept")
        return made

    def check(self, library: Compounds) -> None:
        """See `Estimator.check`."""
        check_scaling(self.mean_, self.scale_, library)
        if len(self.coefficients_) != library.bits + len(self.mean_):
            raise ValueError("'coefficients' are not one for each feature")


def _ridge_parameters(ridge: Any) -> np.ndarray:
    return np.append(ridge.coef_, ridge.intercept_)


def _fit_bounds(
    ridge: Any, matrix: np.ndarray, target: np.ndarray, signs: np.ndarray
) -> np.ndarray:
    """Coefficients and intercept of ridge regression of values and bounds."""
    weights = censored_weights(signs)

    def solve(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ridge.fit(matrix[active], target[active], sample_weight=weights[active])
        return _ridge_parameters(ridge), ridge.predict(matrix)

    return minimise(solve, target, signs, weights)
