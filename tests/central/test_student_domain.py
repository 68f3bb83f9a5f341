"""The error rate that a student's domain states: an expectation under the teachers' labels."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.central.student import FEWEST_COMPOUNDS, HeldOutPredictions, _expected_calls
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.judgement import DomainInput, Neighbours
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledLabels
from fluid.soft_labels.shrinkage import shrinkage_slope
from fluid.soft_labels.teacher_sample import TeacherSample

BINARY = Task("bbb", "binary")
THREE = Task("kind", "multiclass", classes=("x", "y", "z"))


def _pooled(label: np.ndarray, disagreement: float, reliability: float = 0.5) -> PooledLabels:
    n = len(label)
    return PooledLabels(
        label.astype(np.float32),
        np.full(label.shape, disagreement, dtype=np.float32),
        np.full(n, reliability, dtype=np.float32),
        np.full(n, 2, dtype=np.uint16),
    )


def _held_out(rows: np.ndarray, values: np.ndarray) -> HeldOutPredictions:
    return HeldOutPredictions(rows, values, np.ones(len(rows)))


def test_a_call_is_right_with_the_pooled_probability_of_the_class_called() -> None:
    label = np.array([[0.9], [0.2], [0.6], [0.3]])
    values = np.array([[0.8], [0.7], [0.2], [0.39]])
    rows = np.arange(4)
    found = _expected_calls(BINARY, _pooled(label, 0.0), rows, _held_out(rows, values), 0.4, 1.0)
    assert found is not None
    # Teachers do not disagree: the odds of the class called.
    odds = np.array([9.0, 1 / 4, 2 / 3, 7 / 3])
    assert found.correct == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert found.weights.tolist() == pytest.approx([0.5] * 4)
    assert not found.measured


def test_the_slope_moves_the_log_odds_away_from_those_of_the_mean_label() -> None:
    label = np.array([[0.9], [0.1], [0.9], [0.1], [0.5]])
    rows, held = np.arange(5), np.array([0, 4])
    values = np.array([[0.9], [0.9]])
    # Slope 1.2 x 1.5 about log-odds 0.
    pooled = _pooled(label, 0.0)
    found = _expected_calls(BINARY, pooled, rows, _held_out(held, values), 0.5, 1.2)
    assert found is not None
    assert found.correct.tolist() == pytest.approx([9**1.8 / (1 + 9**1.8), 0.5], abs=1e-5)
    flat = _pooled(np.full((5, 1), 0.9), 0.4)
    found = _expected_calls(BINARY, flat, rows, _held_out(held, values), 0.5, 1.2)
    assert found is not None
    assert found.correct.tolist() == pytest.approx([0.9, 0.9], abs=1e-5)


def test_the_slope_recovers_the_truth_that_a_mean_of_calibrated_teachers_hides() -> None:
    """Two teachers that each know half of what decides: the mean of both is underconfident."""
    random = np.random.default_rng(0)
    each = random.choice([0.1, 0.9], size=(20_000, 2))
    odds = np.log(each / (1 - each)).sum(axis=1)
    truth = random.random(20_000) < 1 / (1 + np.exp(-odds))
    label = each.mean(axis=1, keepdims=True)
    pooled = PooledLabels(
        label, each.std(axis=1, keepdims=True), np.full(20_000, 0.3), np.full(20_000, 2)
    )
    rows = np.arange(20_000)
    sample = TeacherSample.draw(
        rows.astype(np.uint64),
        np.full((2, 20_000), 0.5),
        each.T[:, :, None],
        np.ones((2, 20_000), dtype=bool),
        np.full(20_000, 0.3),
    )
    slope = shrinkage_slope(sample)
    assert slope == pytest.approx(2.0, abs=0.05)
    found = _expected_calls(BINARY, pooled, rows, _held_out(rows, label), 0.5, slope)
    assert found is not None
    sure = label[:, 0] > 0.8
    observed = truth[sure].mean()
    assert observed == pytest.approx(81 / 82, abs=0.01)
    assert abs(found.correct[sure].mean() - observed) < 0.5 * (observed - 0.9)


def test_no_rate_is_stated_where_teachers_know_next_to_nothing() -> None:
    random = np.random.default_rng(2)
    label = np.where(random.random((400, 1)) < 0.5, 0.02, 0.98)
    rows, near = np.arange(400), np.full(400, 0.6)
    inside = {}
    for n_known in (FEWEST_COMPOUNDS - 1, FEWEST_COMPOUNDS):
        pooled = _pooled(label, 0.0, 0.1)
        pooled.reliability[:n_known] = 0.3
        found = _expected_calls(
            BINARY, pooled, rows, HeldOutPredictions(rows, label, near), 0.5, 1.0
        )
        assert found is not None
        domain = ReliabilityDomain().fit_calls(found)
        around = Neighbours(near, near, np.full(400, "", dtype=object))
        result = domain.assess(None, DomainInput(label, around, np.zeros(400)))  # type: ignore[arg-type]
        inside[n_known] = result.inside.mean()
        # There is a score in any case.
        assert result.score.min() > 0.9
    assert inside == {FEWEST_COMPOUNDS - 1: 0.0, FEWEST_COMPOUNDS: 1.0}


def test_several_classes_and_numbers() -> None:
    label = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    rows = np.arange(2)
    values = np.array([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3]])
    found = _expected_calls(THREE, _pooled(label, 0.0), rows, _held_out(rows, values), 0.5, 1.0)
    assert found is not None
    centre = np.array([0.4, 0.15, 0.45])
    odds = centre / (1 - centre) * (label / (1 - label) / (centre / (1 - centre))) ** 1.0
    shares = odds / (1 + odds)
    shares /= shares.sum(axis=1, keepdims=True)
    assert found.correct == pytest.approx([shares[0, 0], shares[1, 0]], abs=1e-5)
    number = Task("size", "regression", low=0, high=9)
    assert (
        _expected_calls(number, _pooled(label, 0.0), rows, _held_out(rows, values), 0.5, 1.0)
        is None
    )
