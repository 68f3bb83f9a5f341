"""Gradient-boosted trees and random forests, both by LightGBM."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from fluid.base.errors import FileFormatError
from fluid.chem.compounds import Compounds
from fluid.learn.estimators.base import State

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
        self.counts = True
        self.text_ = ""
        self._booster: Any = None

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        target: np.ndarray,
        classification: bool,
        seed: int,
    ) -> Self:
        """See `Learner.fit`."""
        import lightgbm

        matrix = library.take(rows).feature_matrix(self.counts)
        objective = "binary" if classification else "regression"
        params = _COMMON | self.params | {"seed": seed % (2**31), "objective": objective}
        data = lightgbm.Dataset(matrix, target, params=params, free_raw_data=True)
        booster = lightgbm.train(params, data, num_boost_round=self.n_trees)
        # The parameter dump at the end is not needed to predict.
        self.text_ = booster.model_to_string().split("\nparameters:\n", 1)[0] + "\n"
        self._booster = None
        return self

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """See `Estimator.score`."""
        if not len(queries):
            return np.zeros(0)
        matrix = queries.feature_matrix(self.counts)
        model = self.booster()
        raw = np.asarray(model.predict(matrix, raw_score=True, num_threads=1), dtype=np.float64)
        # LightGBM gives a forest's sum over trees, and marks it in the header of its text.
        averaged = "\naverage_output\n" in self.text_.split("\nTree=0\n", 1)[0]
        return raw / model.num_trees() if averaged else raw

    def booster(self) -> Any:
        """LightGBM's own model, read from the text once."""
        if self._booster is None:
            import lightgbm

            try:
                self._booster = lightgbm.Booster(model_str=self.text_)
            except lightgbm.basic.LightGBMError as error:
                raise FileFormatError(f"the text of the trees is damaged ({error})") from error
        return self._booster

    def to_state(self) -> State:
        """See `Estimator.to_state`."""
        return State(self.kind, {"counts": self.counts}, texts={"trees": self.text_})

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `to_state`."""
        made = cls(state.kind, {}, 0)
        made.counts = bool(state.params["counts"])
        made.text_ = state.texts["trees"]
        return made


def boosted_trees() -> Trees:
    """LightGBM as a teacher uses it: 200 small trees."""
    return Trees("lightgbm", _TEACHER, 200)


def random_forest() -> Trees:
    """A random forest (LightGBM's), 150 trees of depth 15 as in the paper."""
    return Trees("random-forest", _FOREST, 150)
