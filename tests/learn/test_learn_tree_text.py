"""LightGBM text that somebody sent: only whole, plain trees reach LightGBM."""

from __future__ import annotations

import re

import lightgbm
import numpy as np
import pytest

from fluid.learn.estimators.tree_text import check_tree_text

N_FEATURES = 6


def _train(**params: object) -> str:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, N_FEATURES))
    y = (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(float)
    settings = {"verbosity": -1, "num_leaves": 7, "min_data_in_leaf": 5, "num_threads": 1}
    data = lightgbm.Dataset(x, y)
    return lightgbm.train(settings | params, data, num_boost_round=4).model_to_string()


TEXT = _train(objective="binary")


@pytest.mark.parametrize("objective", ["binary", "regression"])
def test_what_lightgbm_writes_is_welcome(objective: str) -> None:
    check_tree_text(_train(objective=objective), N_FEATURES)
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
    check_tree_text(_train(objective=objective, **forest), N_FEATURES)
    check_tree_text(_train(objective=objective, min_gain_to_split=1e9), N_FEATURES)


def _edit(key: str, position: int, value: str) -> str:
    """Change one number of the first tree, the stated size of that tree with it."""
    start = TEXT.index("Tree=0\n")
    found = re.compile(rf"^{key}=(.*)$", re.M).search(TEXT, start)
    assert found is not None
    numbers = found.group(1).split()
    numbers[position] = value
    line = f"{key}={' '.join(numbers)}"
    text = TEXT[: found.start()] + line + TEXT[found.end() :]
    change = len(line) - (found.end() - found.start())
    return re.sub(
        r"tree_sizes=(\d+)", lambda m: f"tree_sizes={int(m.group(1)) + change}", text, count=1
    )


@pytest.mark.parametrize(
    ("key", "position", "value"),
    [
        ("left_child", 0, "2000000000"),
        ("left_child", 0, "0"),
        ("right_child", 1, "0"),
        ("left_child", 2, "-100"),
        ("right_child", 0, "1.5"),
        ("split_feature", 0, "6"),
        ("split_feature", 0, "-1"),
        ("decision_type", 0, "1"),
        ("threshold", 0, "nan"),
        ("leaf_value", 0, "inf"),
        ("num_leaves", 0, "4000000"),
        ("num_leaves", 0, "0"),
        ("num_cat", 0, "1"),
        ("is_linear", 0, "1"),
    ],
)
def test_hostile_numbers_are_refused(key: str, position: int, value: str) -> None:
    with pytest.raises(ValueError, match="tree 0"):
        check_tree_text(_edit(key, position, value), N_FEATURES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        TEXT[: len(TEXT) // 2],
        TEXT.replace("tree_sizes=", "tree_sizes=1 "),
        re.sub(r"tree_sizes=.*\n", "", TEXT),
        TEXT.replace("num_class=1", "num_class=3"),
        TEXT.replace("Tree=1\n", "Tree=7\n"),
        TEXT.replace("version=v4", "version=v4\nsurprise=1"),
        TEXT.replace("max_feature_idx=5", "max_feature_idx=9"),
    ],
)
def test_hostile_structure_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"tree|before"):
        check_tree_text(text, N_FEATURES)
