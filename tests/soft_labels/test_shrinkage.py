"""A mean of calibrated teachers varies too little: by how much, worked by hand and simulated."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.central.pooling import pool_task
from fluid.learn.task import Task
from fluid.soft_labels import teacher_sample
from fluid.soft_labels.pooled import PooledLabels, PooledParts
from fluid.soft_labels.shrinkage import shrinkage_slope
from fluid.soft_labels.targets import undo_shrinkage
from fluid.soft_labels.teacher_labels import TeacherLabels
from fluid.soft_labels.teacher_sample import TeacherSample

NUMBER = Task("logd", "regression", low=-4.0, high=10.0)


FREE = Task("logd", "regression")


def _pooled(label: np.ndarray, slope: float) -> PooledLabels:
    n = len(label)
    return PooledLabels(
        label.astype(np.float32),
        np.full(label.shape, 0.5, dtype=np.float32),
        np.full(n, 0.3, dtype=np.float32),
        np.full(n, 2, dtype=np.uint16),
        slope=slope,
    )


def _labels(predictions: np.ndarray, reliability: np.ndarray) -> dict[str, TeacherLabels]:
    nothing = np.zeros((predictions.shape[1], 1), dtype=np.float32)
    return {
        f"p{number}": TeacherLabels(each[:, None].astype(np.float32), nothing, trust)
        for number, (each, trust) in enumerate(
            zip(predictions, reliability.astype(np.float32), strict=True)
        )
    }


def _slope(
    share: np.ndarray, predictions: np.ndarray, known: np.ndarray, reliability: np.ndarray
) -> float:
    digests = np.arange(share.shape[1], dtype=np.uint64)
    return shrinkage_slope(TeacherSample.draw(digests, share, predictions, known, reliability))


def test_the_slope_is_at_most_two_and_one_where_nobody_disagrees() -> None:
    shares, known = np.full((2, 2), 0.5), np.ones((2, 2), dtype=bool)
    alike = np.array([[1.0, 5.0], [1.0, 5.0]])[:, :, None]
    opposed = np.array([[1.0, 5.0], [5.0, 1.2]])[:, :, None]
    assert _slope(shares, alike, known, np.full(2, 0.4)) == 1.0
    assert _slope(shares, opposed, known, np.full(2, 0.4)) == 2.0
    assert shrinkage_slope(None) == 1.0


@pytest.mark.parametrize("share", [(1 / 3, 1 / 3, 1 / 3), (0.7, 0.2, 0.1)])
def test_the_truth_regresses_on_the_mean_with_this_slope(
    share: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three calibrated teachers, each of which knows a part of the truth and what all know."""
    monkeypatch.setattr(teacher_sample, "MOST_SAMPLED", 200_000)
    random = np.random.default_rng(0)
    n = 200_000
    common, rest = random.normal(3.0, 1.0, n), random.normal(0.0, 0.5, n)
    own = random.normal(size=(3, n)) * np.sqrt([[0.9], [0.4], [0.2]])
    truth = common + own.sum(axis=0) + rest
    each = common + own
    for teacher in each:
        assert np.polyfit(teacher, truth, 1)[0] == pytest.approx(1.0, abs=0.01)
    label = np.average(each, axis=0, weights=share)
    slope = np.polyfit(label, truth, 1)[0]
    assert 1.05 < slope < 1.9
    # With it undone, the labels are calibrated again.
    shares = np.repeat(np.array(share)[:, None], n, axis=1)
    alike = _slope(shares, each[:, :, None], np.ones((3, n), dtype=bool), np.full(n, 0.3))
    assert alike == pytest.approx(slope, abs=0.01)
    undone = undo_shrinkage(FREE, _pooled(label[:, None], alike), np.arange(n))[:, 0]
    assert np.polyfit(undone, truth, 1)[0] == pytest.approx(1.0, abs=0.01)
    assert undone.mean() == pytest.approx(truth.mean(), abs=0.01)
    # A teacher that predicts more for every compound, or hardly varies, does not add to the slope.
    shifted = each + np.array([[2.0], [0.0], [-5.0]])
    centred = _slope(shares, shifted[:, :, None], np.ones((3, n), dtype=bool), np.full(n, 0.3))
    assert centred == pytest.approx(alike, abs=1e-3)


def test_the_slope_of_a_sample_by_hand() -> None:
    # Two teachers with means 2 and 4; without these they predict -1, 1 and -2, 2, the pooled label
    # is half of each: 1.5, 4.5 with variance 2.25. About it they differ by 0.5: squares 0.25.
    predictions = np.array([[1.0, 3.0], [2.0, 6.0]])[:, :, None]
    shares, known = np.full((2, 2), 0.5), np.ones((2, 2), dtype=bool)
    assert _slope(shares, predictions, known, np.array([0.4, 0.4])) == pytest.approx(1 + 1 / 9)
    # A compound that nobody knows does not count.
    more = np.concatenate([predictions, np.array([[[90.0]], [[0.0]]])], axis=1)
    shares, known = np.full((2, 3), 0.5), np.ones((2, 3), dtype=bool)
    assert _slope(shares, more, known, np.array([0.4, 0.4, 0.0])) == pytest.approx(1 + 1 / 9)
    assert _slope(shares, more, known, np.zeros(3)) == 1.0
    # Compounds count by squared reliability: 4 to 1.
    weighed = _slope(shares, more, known, np.array([0.4, 0.2, 0.0]))
    means = np.array([1.4, 2.8])
    free = more[:, :2, 0] - means[:, None]
    between = np.average((0.5 * (free - free.mean(axis=0)) ** 2).sum(axis=0), weights=[4, 1])
    assert weighed == pytest.approx(1.0 + between / (0.8 * 0.2 * 9.0), abs=1e-6)
    # Where one teacher gives no label, only the other one's mean is of all compounds.
    known[1, 2], shares[:, 2], more[1, 2] = False, (1.0, 0.0), 0.0
    means = np.array([94.0 / 3, 4.0])
    free = np.where(known[:, :, None], more - means[:, None, None], 0.0)
    label = (shares[:, :, None] * free).sum(axis=0)
    between = (shares[:, :, None] * (free - label) ** 2).sum() / 3
    variance = np.array([1.5, 4.5, 90.0]).var()
    assert _slope(shares, more, known, np.full(3, 0.5)) == pytest.approx(1 + between / variance)


@pytest.mark.parametrize("cut", [1, 40, 99])
def test_the_slope_does_not_depend_on_how_the_public_set_is_cut(cut: int) -> None:
    random = np.random.default_rng(3)
    predictions, reliability = random.normal(2.0, 1.0, (3, 100)), random.random((3, 100))
    reliability[0, 20:50] = np.nan
    predictions[0, 20:50] = np.nan
    digests = random.integers(0, 2**63, 100).astype(np.uint64)
    whole = pool_task(FREE, _labels(predictions, reliability), 100, digests)
    parts = PooledParts(FREE)
    for part in (slice(0, cut), slice(cut, 100)):
        labels = _labels(predictions[:, part], reliability[:, part])
        parts.add(pool_task(FREE, labels, len(digests[part]), digests[part]))
    assert 1.0 < whole.labels.slope < 2.0
    joined = parts.joined()
    assert joined.labels.slope == whole.labels.slope
    assert joined.sample is not None
    assert whole.sample is not None
    for name, values in vars(whole.sample).items():
        assert np.array_equal(getattr(joined.sample, name), values), name
    assert np.array_equal(joined.labels.label, whole.labels.label, equal_nan=True)


def test_a_teacher_without_labels_changes_no_slope() -> None:
    random = np.random.default_rng(4)
    predictions, reliability = random.normal(2.0, 1.0, (3, 50)), random.random((3, 50))
    digests = np.arange(50, dtype=np.uint64)
    two = pool_task(FREE, _labels(predictions[:2], reliability[:2]), 50, digests)
    reliability[2], predictions[2] = np.nan, np.nan
    three = pool_task(FREE, _labels(predictions, reliability), 50, digests)
    assert two.labels.slope > 1.0
    assert three.labels.slope == pytest.approx(two.labels.slope)


def test_labels_of_regression_move_away_from_their_mean_within_the_range_of_the_task() -> None:
    label = np.array([[np.nan], [1.0], [5.0], [9.5]])
    pooled = _pooled(label, 1.25)
    # Mean 3.
    found = undo_shrinkage(NUMBER, pooled, np.array([1, 2]))
    assert found.dtype == np.float64
    assert found.tolist() == [pytest.approx([0.5]), pytest.approx([5.5])]
    # Mean 5.1667, slope 2: 13.83 is more than the task allows.
    found = undo_shrinkage(NUMBER, _pooled(label, 2.0), np.arange(1, 4))
    assert found[:, 0].tolist() == pytest.approx([-3.1667, 4.8333, 10.0], abs=1e-4)
    assert undo_shrinkage(NUMBER, pooled, np.zeros(0, dtype=np.int64)).shape == (0, 1)
    # A compound counts in the mean as it is known: here 1.4.
    pooled.reliability[1:3] = 0.6, 0.2
    found = undo_shrinkage(NUMBER, pooled, np.array([1, 2]))
    assert found.tolist() == [pytest.approx([0.9]), pytest.approx([5.9])]


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_probabilities_are_left_as_they_are(kind: str) -> None:
    classes = ("x", "y", "z") if kind == "multiclass" else ()
    task = Task("bbb", kind, classes=classes)
    label = np.array([[0.9] * len(task.outputs), [0.1] * len(task.outputs)], dtype=np.float32)
    pooled = _pooled(label, 1.7)
    assert np.array_equal(undo_shrinkage(task, pooled, np.arange(2)), label.astype(np.float64))


def test_what_rounding_leaves_of_equal_labels_is_no_variance() -> None:
    """Teachers that say one number of every compound: nothing is known of how wide the truth is."""
    random = np.random.default_rng(2)
    predictions = 0.3 + 1e-9 * random.normal(size=(3, 40, 1))
    shares, known = np.full((3, 40), 1 / 3), np.ones((3, 40), dtype=bool)
    assert _slope(shares, predictions, known, np.full(40, 0.4)) == pytest.approx(1.0, abs=1e-5)
