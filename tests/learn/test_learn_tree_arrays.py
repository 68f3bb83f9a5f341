"""Trees as arrays: the sums are LightGBM's, and what could make a walk go astray is refused."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.learn.estimators.tree_arrays import TreeArrays

N_FEATURES = 6


def _data(n: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(size=(n, N_FEATURES)) * 10.0 ** random.integers(-30, 30, N_FEATURES)
    return np.where(random.random(values.shape) < 0.5, 0.0, values).astype(np.float32)


def _train(**params: Any) -> tuple[lightgbm.Booster, TreeArrays]:
    x = _data(300)
    y = (x[:, 0] > 0).astype(float) + (x[:, 1] > 0)
    chosen = {"verbosity": -1, "num_leaves": 7, "min_data_in_leaf": 5, "num_threads": 1} | params
    if chosen.get("objective") == "binary":
        y = (y > 0).astype(float)
    booster = lightgbm.train(chosen, lightgbm.Dataset(x, y), num_boost_round=6)
    return booster, TreeArrays.from_lightgbm(booster.model_to_string())


FOREST = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}


@pytest.mark.parametrize("objective", ["binary", "regression"])
@pytest.mark.parametrize(
    "params",
    [{}, FOREST, {"num_leaves": 63, "min_data_in_leaf": 1}, {"min_gain_to_split": 1e9}],
    ids=["boosted", "forest", "large", "without splits"],
)
def test_sums_are_those_of_lightgbm_to_the_last_bit(objective: str, params: Any) -> None:
    booster, trees = _train(objective=objective, **params)
    trees.check(N_FEATURES)
    for n in (1, 7, 8, 9, 300):
        x = scipy.sparse.csr_matrix(_data(n, seed=n))
        raw = booster.predict(x, raw_score=True, num_threads=1)
        assert np.array_equal(trees.sum(x), raw)


def test_a_split_of_classes_is_refused() -> None:
    x = np.random.default_rng(0).integers(0, 5, (300, 2)).astype(float)
    data = lightgbm.Dataset(x, x[:, 0] % 2, categorical_feature=[0])
    params = {"verbosity": -1, "min_data_per_group": 1, "cat_smooth": 0.0}
    booster = lightgbm.train(params, data, num_boost_round=2)
    with pytest.raises(ValueError, match="numeric splits, no missing values"):
        TreeArrays.from_lightgbm(booster.model_to_string())


TREES = _train(objective="binary")[1]


def _changed(key: str, place: Any, value: int) -> TreeArrays:
    changed = getattr(TREES, key).copy()
    changed[place] = value
    return replace(TREES, **{key: changed})


@pytest.mark.parametrize(
    "hostile",
    [
        _changed("children", (0, 0), 2_000_000_000),
        _changed("children", (0, 0), 0),
        _changed("children", (1, 1), 0),
        _changed("children", (2, 0), -100),
        _changed("children", (0, 0), -(2**31)),
        _changed("feature", 0, N_FEATURES),
        _changed("feature", 0, -1),
        _changed("offsets", 1, TREES.offsets[1] - 1),
        _changed("offsets", 1, TREES.offsets[2] + 1),
        _changed("offsets", 1, -(2**63)),
        _changed("offsets", 0, 1),
        _changed("offsets", -1, 2**62),
        replace(TREES, offsets=TREES.offsets[:0]),
        replace(TREES, offsets=TREES.offsets[:1]),
        replace(TREES, offsets=TREES.offsets[:-1]),
        replace(TREES, leaves=TREES.leaves[:-1]),
        replace(TREES, threshold=TREES.threshold[:-1]),
        replace(TREES, feature=TREES.feature[:-1]),
        replace(TREES, children=TREES.children[:, :1]),
        replace(TREES, children=TREES.children[:-1]),
        replace(TREES, children=TREES.children[:, [0, 0]]),
    ],
)
def test_hostile_arrays_are_refused(hostile: TreeArrays) -> None:
    TREES.check(N_FEATURES)
    with pytest.raises(ValueError, match=r"trees|feature|child|reached"):
        hostile.check(N_FEATURES)


def test_a_matrix_that_lacks_a_feature_is_refused() -> None:
    with pytest.raises(ValueError, match="looks at none of the 0 features"):
        TREES.sum(scipy.sparse.csr_matrix((3, 0), dtype=np.float32))


def _walk(trees: TreeArrays, row: np.ndarray) -> float:
    """The walk in plain Python, where an index outside raises."""
    total = 0.0
    for tree, first in enumerate(trees.offsets[:-1].tolist()):
        node = 0 if trees.offsets[tree + 1] > first else -1
        for _ in range(len(trees.feature) + 1):
            if node < 0:
                break
            assert node < trees.offsets[tree + 1] - first
            right = bool(row[trees.feature[first + node]] > trees.threshold[first + node])
            node = int(trees.children[first + node, int(right)])
        assert node < 0 <= first + tree + ~node
        total += float(trees.leaves[first + tree + ~node])
    return total


@settings(max_examples=300)
@given(st.data())
def test_whatever_passes_the_check_is_walked_safely(data: st.DataObject) -> None:
    n_trees = data.draw(st.integers(0, 3))
    small = st.integers(-5, 4)
    offsets = np.cumsum([0, *data.draw(st.lists(st.integers(0, 3), max_size=n_trees))])
    n = int(offsets[-1])
    number = st.floats(-2, 2, width=32)

    def draw(values: Any, count: int) -> list[Any]:
        return list(data.draw(st.lists(values, min_size=count, max_size=count)))

    trees = TreeArrays(
        offsets.astype(np.int64),
        np.array(draw(st.integers(0, 2), n), np.int32),
        np.array(draw(number, n), np.float64),
        np.array(draw(small, 2 * n), np.int32).reshape(n, 2),
        np.array(draw(number, n + len(offsets) - 1), np.float64),
    )
    with suppress(ValueError):
        trees.check(3)
        x = np.array(draw(number, 9), np.float32).reshape(3, 3)
        expected = [_walk(trees, row) for row in x]
        assert np.array_equal(trees.sum(scipy.sparse.csr_matrix(x)), expected)
