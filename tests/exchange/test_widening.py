"""A mean of calibrated teachers varies too little: by how much, worked by hand and simulated."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.exchange.federated_set import PooledTask, widen, widening
from fluid.learn.task import Task

NUMBER = Task("logd", "regression", low=-4.0, high=10.0)


def _pooled(label: np.ndarray, disagreement: np.ndarray) -> PooledTask:
    n = len(label)
    return PooledTask(
        label.astype(np.float32), disagreement.astype(np.float32),
        np.full(n, 0.3, dtype=np.float32), np.full(n, 2, dtype=np.uint16),
    )  # fmt: skip


def test_the_slope_by_hand() -> None:
    # Variance 4, mean squared disagreement (0.5 + 1.5) / 2 = 1.
    label = np.array([[1.0], [5.0]])
    assert widening(label, np.sqrt([[0.5], [1.5]])) == pytest.approx(1.25)
    # Variances 4 and 1, squares 1 and 0.5: summed over classes.
    label = np.array([[1.0, 2.0], [5.0, 4.0]])
    assert widening(label, np.sqrt([[1.0, 0.5], [1.0, 0.5]])) == pytest.approx(1.3)


def test_the_slope_is_limited_and_one_where_nobody_disagrees() -> None:
    label = np.array([[1.0], [5.0]])
    assert widening(label, np.zeros((2, 1))) == 1.0
    assert widening(label, np.full((2, 1), 9.0)) == 2.0
    assert widening(np.full((2, 1), 3.0), np.full((2, 1), 0.1)) == 2.0
    assert widening(np.full((2, 1), 3.0), np.zeros((2, 1))) == 1.0
    assert widening(np.zeros((0, 1)), np.zeros((0, 1))) == 1.0


@pytest.mark.parametrize("share", [(1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1)])
def test_the_truth_regresses_on_the_mean_with_this_slope(share: tuple[float, ...]) -> None:
    """Three calibrated teachers, each of which knows a part of the truth and what all know."""
    random = np.random.default_rng(0)
    n = 200_000
    common, rest = random.normal(3.0, 1.0, n), random.normal(0.0, 0.5, n)
    own = random.normal(size=(3, n)) * np.sqrt([[0.9], [0.4], [0.2]])
    truth = common + own.sum(axis=0) + rest
    each = common + own
    for teacher in each:
        assert np.polyfit(teacher, truth, 1)[0] == pytest.approx(1.0, abs=0.01)
    label = np.average(each, axis=0, weights=share)
    spread = np.sqrt(np.average((each - label) ** 2, axis=0, weights=share))
    slope = np.polyfit(label, truth, 1)[0]
    assert 1.05 < slope < 1.9
    assert widening(label[:, None], spread[:, None]) == pytest.approx(slope, abs=0.01)
    # So that what is learned from is calibrated again.
    free = Task("logd", "regression")
    wide = widen(free, _pooled(label[:, None], spread[:, None]), np.arange(n))[:, 0]
    assert np.polyfit(wide, truth, 1)[0] == pytest.approx(1.0, abs=0.01)
    assert wide.mean() == pytest.approx(truth.mean(), abs=0.01)


def test_numbers_are_spread_about_their_mean_within_the_range_of_the_task() -> None:
    label = np.array([[np.nan], [1.0], [5.0], [9.5]])
    disagreement = np.array([[np.nan], [1.0], [1.0], [9.0]])
    pooled = _pooled(label, disagreement)
    # Mean 3, slope 1.25.
    found = widen(NUMBER, pooled, np.array([1, 2]))
    assert found.dtype == np.float64
    assert found.tolist() == [pytest.approx([0.5]), pytest.approx([5.5])]
    # Mean 5.1667, slope 2: 13.83 is more than the task allows.
    found = widen(NUMBER, pooled, np.arange(1, 4))
    assert found[:, 0].tolist() == pytest.approx([-3.1667, 4.8333, 10.0], abs=1e-4)
    assert widen(NUMBER, pooled, np.zeros(0, dtype=np.int64)).shape == (0, 1)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_probabilities_are_left_as_they_are(kind: str) -> None:
    classes = ("x", "y", "z") if kind == "multiclass" else ()
    task = Task("bbb", kind, classes=classes)
    label = np.array([[0.9] * len(task.outputs), [0.1] * len(task.outputs)], dtype=np.float32)
    pooled = _pooled(label, np.full(label.shape, 0.4))
    assert np.array_equal(widen(task, pooled, np.arange(2)), label.astype(np.float64))
