"""Metrics agree with scikit-learn and with what can be counted by hand."""

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fluid.learn.metrics import (
    average_precision,
    bootstrap_rows,
    compute_metrics,
    expected_calibration_error,
    higher_is_better,
    interval,
    mcc,
    metric_names,
    roc_auc,
)
from fluid.learn.task import Task

BINARY = Task("b", "binary")
THREE = Task("t", "multiclass", classes=("x", "y", "z"))
NUMBER = Task("n", "regression")
# Few values, so that ties are frequent.
SCORES = st.sampled_from([0.0, 0.1, 0.3, 0.3, 0.5, 0.7, 0.9, 1.0])
PAIRS = st.lists(st.tuples(st.booleans(), SCORES, st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({positive for positive, *_ in pairs}) == 2
)


@settings(deadline=None, max_examples=30)
@given(PAIRS)
def test_binary_metrics_are_those_of_scikit_learn(pairs):
    positive, score, called = (np.array(column) for column in zip(*pairs, strict=True))
    truth = positive.astype(np.float64)
    assert roc_auc(positive, score) == pytest.approx(oracle.roc_auc_score(positive, score))
    expected = oracle.average_precision_score(positive, score)
    assert average_precision(positive, score) == pytest.approx(expected)
    assert mcc(positive, called) == pytest.approx(oracle.matthews_corrcoef(positive, called))
    found = compute_metrics(BINARY, truth, score[:, None], called.astype(np.int64))
    assert tuple(found) == metric_names(BINARY)
    assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(positive, score))
    assert found["pr_auc"] == pytest.approx(expected)
    assert found["mcc"] == pytest.approx(oracle.matthews_corrcoef(positive, called))
    assert found["brier"] == pytest.approx(oracle.brier_score_loss(positive, score))
    balanced = oracle.balanced_accuracy_score(positive, called)
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert found["sensitivity"] == pytest.approx(oracle.recall_score(positive, called))
    specificity = oracle.recall_score(positive, called, pos_label=False)
    assert found["specificity"] == pytest.approx(specificity)


def test_multiclass_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 60)
    values = random.dirichlet([1, 1, 1], 60)
    values[np.arange(60), truth] += 0.3
    values /= values.sum(axis=1, keepdims=True)
    called = values.argmax(axis=1)
    found = compute_metrics(THREE, truth.astype(np.float64), values, called)
    assert tuple(found) == metric_names(THREE)
    area = oracle.roc_auc_score(truth, values, multi_class="ovr", average="macro")
    assert found["roc_auc"] == pytest.approx(area)
    assert found["mcc"] == pytest.approx(oracle.matthews_corrcoef(truth, called))
    balanced = oracle.balanced_accuracy_score(truth, called)
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert found["brier"] == pytest.approx(((values - np.eye(3)[truth]) ** 2).sum(axis=1).mean())


def test_regression_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(1)
    truth = random.normal(size=50)
    value = truth + random.normal(size=50)
    found = compute_metrics(NUMBER, truth, value[:, None], np.zeros(50, dtype=np.int64))
    assert tuple(found) == metric_names(NUMBER)
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth, value))
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(truth, value))
    assert found["r2"] == pytest.approx(oracle.r2_score(truth, value))
    assert found["spearman"] == pytest.approx(spearmanr(truth, value).statistic)


def test_calibration_error_by_hand():
    # Bin 0.0-0.1: two compounds, predicted 0.05 each, one positive: gap |0.1 - 1| = 0.9.
    # Bin 0.9-1.0: predicted 0.9 and 1.0, both positive: gap |1.9 - 2| = 0.1. Sum over 4: 0.25.
    score = np.array([0.05, 0.05, 0.9, 1.0])
    positive = np.array([True, False, True, True])
    assert expected_calibration_error(positive, score) == pytest.approx(0.25)
    assert expected_calibration_error(positive, positive.astype(float)) == 0.0


def test_small_rankings_by_hand():
    # Three of the four pairs of a positive and a negative are in order.
    positive = np.array([True, False, True, False])
    assert roc_auc(positive, np.array([0.9, 0.8, 0.7, 0.1])) == 0.75
    assert roc_auc(positive, np.array([0.5, 0.5, 0.5, 0.5])) == 0.5
    # Precision 1 at the first positive and 2/3 at the second.
    found = average_precision(positive, np.array([0.9, 0.8, 0.7, 0.1]))
    assert found == pytest.approx((1 + 2 / 3) / 2)
    assert mcc(positive, np.array([True, True, True, True])) == 0.0
    assert mcc(positive, ~positive) == -1.0


def test_metrics_that_are_not_defined_are_nan():
    ones = np.ones(3)
    found = compute_metrics(BINARY, ones, np.array([[0.2], [0.9], [0.9]]), np.array([0, 1, 1]))
    undefined = {name for name, value in found.items() if np.isnan(value)}
    wanted = {"roc_auc", "pr_auc_calibrated", "mcc", "kappa", "balanced_accuracy", "specificity"}
    assert undefined == wanted
    assert found["sensitivity"] == pytest.approx(2 / 3)
    found = compute_metrics(NUMBER, ones, np.array([[1.0], [1.0], [2.0]]), np.zeros(3))
    assert {name for name, value in found.items() if np.isnan(value)} == {"r2", "spearman"}
    assert found["mae"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("task", [BINARY, NUMBER], ids=lambda task: task.kind)
def test_without_compounds_every_metric_is_nan(task):
    found = compute_metrics(task, np.zeros(0), np.zeros((0, 1)), np.zeros(0, dtype=np.int64))
    assert set(found) == set(metric_names(task))
    assert all(np.isnan(value) for value in found.values())


def test_directions():
    errors = {"rmse", "mae", "brier", "ece"}
    for task in (BINARY, THREE, NUMBER):
        for name in metric_names(task):
            assert higher_is_better(name) == (name not in errors)


def test_bootstrap_rows_are_fixed_by_the_seed():
    rows = bootstrap_rows(20, 50, seed=3)
    assert rows.shape == (50, 20)
    assert rows.min() >= 0
    assert rows.max() <= 19
    assert np.array_equal(rows, bootstrap_rows(20, 50, seed=3))
    assert not np.array_equal(rows, bootstrap_rows(20, 50, seed=4))


def test_intervals_leave_out_what_is_not_defined():
    assert interval(np.arange(101)) == (pytest.approx(2.5), pytest.approx(97.5))
    assert interval([0.0, 1.0, np.nan], level=0.5) == (pytest.approx(0.25), pytest.approx(0.75))
    assert all(np.isnan(interval([1.0, np.nan, np.nan])))
    assert all(np.isnan(interval([])))
