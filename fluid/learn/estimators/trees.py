"""Gradient-boosted trees and random forests, both by LightGBM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.censored import best_constant, censored_weights, is_active
from fluid.learn.estimators.base import State
from fluid.learn.estimators.tree_arrays import TreeArrays

_COMMON: dict[str, Any] = {
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "max_bin": 63,
    "feature_pre_filter": False,
}

# Small and regularised: in a cross-fitted teacher larger trees rank no better.
_TEACHER = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 5,
    "feature_fraction": 0.2,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
}
_FOREST = {
    "boosting": "rf",
    "num_leaves": 255,
    "max_depth": 15,
    "min_data_in_leaf": 2,
    "feature_fraction": 0.2,
    "bagging_fraction": 0.632,
    "bagging_freq": 1,
}


class Trees:
    """LightGBM on folded counts and descriptors.

    Parameters
    ----------
    kind
        Name in the registry of learners.
    params
        LightGBM parameters in addition to the common ones (one thread, deterministic).
    n_trees
        Number of boosting rounds or forest trees.
    """

    def __init__(self, kind: str, params: dict[str, Any], n_trees: int) -> None:
        self.kind = kind
        self.params = params
        self.n_trees = n_trees
        self.averaged = params.get("boosting") == "rf"
        self.trees_: TreeArrays | None = None

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
        import lightgbm

        if signs is not None and self.averaged:
            # A tree of a forest is grown once: which bounds it will violate is not known before.
            exact = signs == 0
            rows, target, signs = rows[exact], target[exact], None
        matrix = library.take(rows).feature_matrix(counts=True)
        objective: Any = "binary" if classification else "regression"
        params = _COMMON | self.params | {"seed": seed % (2**31), "objective": objective}
        start = 0.0
        given: dict[str, Any] = {}
        if signs is not None:
            weights = censored_weights(signs)
            start = best_constant(target, signs, weights)
            # As LightGBM finds it itself for exact values.
            given["init_score"] = np.full(len(target), start)
            params["objective"] = _one_sided_squares(target, signs, weights)
            # Bounds that are kept, and light ones, support no leaf: it needs the weight of as many
            # exact values as it would need compounds otherwise.
            params["min_sum_hessian_in_leaf"] = float(params["min_data_in_leaf"])
        data = lightgbm.Dataset(matrix, target, params=params, free_raw_data=True, **given)
        booster = lightgbm.train(params, data, num_boost_round=self.n_trees)
        trees = TreeArrays.from_lightgbm(booster.model_to_string())
        self.trees_ = trees.raised(start) if start else trees
        return self

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """See `Estimator.score`."""
        if not len(queries):
            return np.zeros(0)
        trees = self._fitted()
        total = trees.sum(queries.feature_matrix(counts=True))
        return total / trees.n_trees if self.averaged else total

    def check(self, library: Compounds) -> None:
        """See `Estimator.check`."""
        self._fitted().check(library.bits + library.descriptors.shape[1])

    def to_state(self) -> State:
        """See `Estimator.to_state`."""
        trees = self._fitted()
        return State(self.kind, arrays={key: getattr(trees, key) for key in TreeArrays.TYPES})

    def _fitted(self) -> TreeArrays:
        assert self.trees_ is not None
        return self.trees_

    def restore(self, state: State) -> Self:
        """The inverse of `to_state`."""
        state.has_only(arrays=TreeArrays.TYPES)
        found = {key: state.array(key, *form) for key, form in TreeArrays.TYPES.items()}
        self.trees_ = TreeArrays(**found)
        return self


def _one_sided_squares(
    target: np.ndarray, signs: np.ndarray, weights: np.ndarray
) -> Callable[[np.ndarray, Any], tuple[np.ndarray, np.ndarray]]:
    """LightGBM's objective for values and bounds: gradient and hessian of half the squares."""

    def objective(predicted: np.ndarray, _: Any) -> tuple[np.ndarray, np.ndarray]:
        active = np.where(is_active(target, predicted, signs), weights, 0.0)
        return active * (predicted - target), active

    return objective


def boosted_trees() -> Trees:
    """LightGBM as a teacher uses it: 200 small trees."""
    return Trees("lightgbm", _TEACHER, 200)


def random_forest() -> Trees:
    """A random forest (LightGBM's), 150 trees of depth 15 as in the paper."""
    return Trees("random-forest", _FOREST, 150)
