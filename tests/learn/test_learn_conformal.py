"""Prediction sets: crepes and a brute force as oracles, coverage as a property."""

import sys

import numpy as np
import pytest
from crepes import ConformalClassifier, ConformalRegressor
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.errors import FluidError
from fluid.learn.conformal import (
    DIFFICULTIES,
    Weights,
    check_alpha,
    class_sets,
    effective_size,
    intervals,
    load_crepes,
    needed_size,
    weighted_p_values,
    weighted_quantiles,
)
from fluid.learn.measured import Measured
from fluid.learn.task import Task

BINARY = Task("b", "binary", classes=("low", "high"))
THREE = Task("t", "multiclass", classes=("x", "y", "z"))
NUMBER = Task("n", "regression", low=-10.0, high=10.0)
ALPHA = st.floats(0.01, 0.5)
SEED = st.integers(0, 2**31)


def draw_measured(task, n, seed, grid=None):
    """Predictions and truth that belong together; with a grid there are ties."""
    generator = np.random.default_rng(seed)
    if task.kind == "regression":
        values = generator.normal(size=(n, 1))
        truth = values[:, 0] + generator.normal(size=n)
    else:
        raw = generator.dirichlet(np.ones(3), n)
        values = raw[:, :1] if task.kind == "binary" else raw
        shares = np.cumsum(values, axis=1)
        if task.kind == "binary":
            truth = (generator.random(n) < values[:, 0]).astype(float)
        else:
            truth = (generator.random(n)[:, None] > shares[:, :-1]).sum(axis=1).astype(float)
    if grid:
        values = np.round(values * grid) / grid
    return Measured(values, truth, generator.uniform(0.1, 1.0, n))


def even(n, m):
    return Weights(np.ones(n), np.ones(m))


# crepes says the same


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 80), SEED, st.sampled_from([None, 5]))
def test_p_values_of_equal_weights_are_those_of_crepes_to_the_bit(n, seed, grid):
    generator = np.random.default_rng(seed)
    scores, asked = generator.random(n), generator.random(30)
    if grid:
        scores, asked = np.round(scores * grid) / grid, np.round(asked * grid) / grid
    expected = ConformalClassifier().fit(scores).predict_p(asked[:, None], smoothing=False)
    found = weighted_p_values(scores, np.ones(n), asked, np.ones(30))
    assert np.array_equal(found, expected[:, 0])


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 200), SEED, st.one_of(ALPHA, st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5])))
def test_intervals_of_equal_weights_are_those_of_crepes_to_the_bit(n, seed, alpha):
    task = Task("n", "regression")
    measured, asked = draw_measured(task, n, seed), draw_measured(task, 20, seed + 1)
    for difficulty in DIFFICULTIES:
        plain, weighted = (
            intervals(task, measured, asked.values, asked.similarity, alpha, weights, difficulty)
            for weights in (None, even(n, 20))
        )
        assert np.array_equal(plain.low, weighted.low)
        assert np.array_equal(plain.high, weighted.high)
        assert plain.enough == weighted.enough == (n >= needed_size(alpha) - 1e-9)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([BINARY, THREE]), st.integers(3, 120), SEED, ALPHA)
def test_sets_of_equal_weights_are_those_of_crepes_to_the_bit(task, n, seed, alpha):
    measured, asked = draw_measured(task, n, seed, 20), draw_measured(task, 20, seed + 1, 20)
    plain, weighted = (
        class_sets(task, measured, asked.values, alpha, weights) for weights in (None, even(n, 20))
    )
    assert np.array_equal(plain.p_values, weighted.p_values)
    assert np.array_equal(plain.inside, weighted.inside)
    assert np.array_equal(plain.effective, weighted.effective)


def test_sets_are_the_mondrian_ones_of_crepes():
    measured, asked = draw_measured(THREE, 200, 1), draw_measured(THREE, 40, 2)
    classifier = ConformalClassifier()
    own = measured.truth.astype(int)
    classifier.fit(1.0 - measured.values[np.arange(200), own], bins=own)
    found = class_sets(THREE, measured, asked.values, 0.1)
    for label in range(3):
        expected = classifier.predict_p(
            1.0 - asked.values, bins=np.full(40, label), smoothing=False
        )
        assert np.array_equal(found.p_values[:, label], expected[:, label])
    regressor = ConformalRegressor().fit(np.array([1.0, 2.0, 3.0, 4.0]))
    assert regressor.predict_int(np.zeros(1), confidence=0.6).tolist() == [[-3.0, 3.0]]


# weights


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), SEED, ALPHA)
def test_weighted_results_are_those_of_the_definition(n, seed, alpha):
    generator = np.random.default_rng(seed)
    scores = np.round(generator.random(n), 1)
    weights, asked = generator.uniform(0.1, 10.0, n), generator.uniform(0.1, 10.0, 15)
    queries = np.round(generator.random(15), 1)
    p_values = weighted_p_values(scores, weights, queries, asked)
    reach = weighted_quantiles(scores, weights, asked, alpha)
    for row in range(15):
        total = weights.sum() + asked[row]
        above = weights[scores >= queries[row]].sum() + asked[row]
        assert p_values[row] == pytest.approx(above / total)
        held = [s for s in scores if weights[scores <= s].sum() >= (1 - alpha) * total - 1e-9]
        assert reach[row] == min(held, default=np.inf)


def test_a_worked_example():
    """Scores .9 .5 .2 of weights 1 2 5; the query's score .5 weighs 2: (1 + 2 + 2) / (8 + 2)."""
    scores, weights = np.array([0.2, 0.9, 0.5]), np.array([5.0, 1.0, 2.0])
    found = weighted_p_values(scores, weights, np.array([0.5, 0.95, 0.0]), np.full(3, 2.0))
    assert found.tolist() == [0.5, 0.2, 1.0]
    # Of the total 10: 5 up to 0.2, 7 up to 0.5, 8 up to 0.9, and the query's 2 at infinity.
    for alpha, expected in ((0.5, 0.2), (0.3, 0.5), (0.2, 0.9), (0.19, np.inf)):
        assert weighted_quantiles(scores, weights, np.array([2.0]), alpha).tolist() == [expected]
    measured = Measured(np.zeros((9, 1)), np.arange(1.0, 10.0), np.full(9, 0.5))
    found = intervals(NUMBER, measured, np.array([[5.0]]), np.array([0.5]), 0.2)
    assert (found.low.tolist(), found.high.tolist()) == ([-3.0], [10.0])
    nine = intervals(NUMBER, measured, np.array([[0.0]]), np.array([0.5]), 0.1)
    assert nine.high.tolist() == [9.0]  # the ninth of nine: 0.1 * 10 is one compound, not none


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 100.0), SEED)
def test_only_ratios_of_weights_count(factor, seed):
    measured, asked = draw_measured(NUMBER, 60, seed), draw_measured(NUMBER, 20, seed + 1)
    given_, queries = np.random.default_rng(seed).uniform(0.5, 2.0, (2, 60))
    results = [
        intervals(NUMBER, measured, asked.values, asked.similarity, 0.2, weights)
        for weights in (
            Weights(given_, queries[:20]),
            Weights(given_ * factor, queries[:20] * factor),
        )
    ]
    assert np.array_equal(results[0].low, results[1].low)
    assert results[0].effective == pytest.approx(results[1].effective)


def test_the_scale_of_a_query_that_outweighs_all_gives_everything():
    measured = draw_measured(BINARY, 100, 3)
    weights = Weights(np.ones(100), np.array([1.0, 1000.0]))
    values = np.array([[0.999], [0.999]])
    found = class_sets(BINARY, measured, values, 0.1, weights)
    assert found.inside.tolist() == [[False, True], [True, True]]


# properties


@pytest.mark.parametrize("task", [BINARY, THREE, NUMBER], ids=lambda task: task.kind)
@settings(deadline=None, max_examples=10)
@given(seed=SEED, alpha=st.sampled_from([0.1, 0.2, 0.4]))
def test_coverage_holds_for_exchangeable_compounds(task, seed, alpha):
    """Mean over fresh calibration sets; a wide margin for chance, none for a wrong quantile."""
    covered, n = [], 0
    for turn in range(40):
        both = draw_measured(task, 240, seed + 1000 * turn)
        measured, asked = both.take(np.arange(120)), both.take(np.arange(120, 240))
        if task.kind == "regression":
            found = intervals(task, measured, asked.values, asked.similarity, alpha)
            hit = (found.low <= asked.truth) & (asked.truth <= found.high)
        else:
            inside = class_sets(task, measured, asked.values, alpha).inside
            hit = inside[np.arange(120), asked.truth.astype(int)]
        covered.append(hit.mean())
        n += 120
    # The standard error over 40 sets of 120 is about 0.008.
    assert 1.0 - alpha - 0.035 < np.mean(covered) < 1.0 - alpha + 0.07


def test_weights_restore_coverage_under_a_known_shift():
    """Errors grow with x; calibration has x uniform, queries mostly large x."""
    generator = np.random.default_rng(0)
    plain, weighted = [], []
    for _ in range(60):
        x, asked = generator.random(400), np.sqrt(generator.random(400))
        truth, told = generator.normal(size=400) * (0.2 + x), np.zeros((400, 1))
        fresh = generator.normal(size=400) * (0.2 + asked)
        measured = Measured(told, truth, np.full(400, 0.5))
        for weights, found in ((None, plain), (Weights(2 * x + 1e-9, 2 * asked), weighted)):
            made = intervals(NUMBER, measured, told, np.full(400, 0.5), 0.2, weights)
            found.append(np.mean((made.low <= fresh) & (fresh <= made.high)))
    assert np.mean(plain) < 0.765
    assert np.mean(weighted) == pytest.approx(0.8, abs=0.015)


@settings(deadline=None, max_examples=40)
@given(ALPHA, ALPHA, SEED, st.booleans(), st.sampled_from([BINARY, THREE, NUMBER]))
def test_a_larger_rate_gives_a_subset(one, other, seed, with_weights, task):
    small, large = sorted((one, other))
    measured, asked = draw_measured(task, 90, seed), draw_measured(task, 30, seed + 1)
    generator = np.random.default_rng(seed)
    weights = Weights(*generator.uniform(0.2, 5.0, (2, 90))) if with_weights else None
    if weights is not None:
        weights = Weights(weights.calibration, weights.queries[:30])
    if task.kind == "regression":
        wide, narrow = (
            intervals(task, measured, asked.values, asked.similarity, alpha, weights)
            for alpha in (small, large)
        )
        assert np.all(wide.low <= narrow.low)
        assert np.all(narrow.high <= wide.high)
    else:
        wide, narrow = (
            class_sets(task, measured, asked.values, alpha, weights) for alpha in (small, large)
        )
        assert not np.any(narrow.inside & ~wide.inside)


# too little, nothing, and what is not allowed


def test_too_few_calibration_compounds_give_everything():
    measured = draw_measured(BINARY, 60, 5)
    few = np.concatenate([np.flatnonzero(measured.truth == 0)[:8], np.flatnonzero(measured.truth)])
    found = class_sets(BINARY, measured.take(few), np.array([[0.999], [np.nan]]), 0.1)
    assert found.enough.tolist() == [False, True]
    assert found.effective[0] == 8.0
    assert found.inside.tolist() == [[True, True], [False, False]]
    assert np.isnan(found.p_values[1]).all()
    numbers = draw_measured(NUMBER, 8, 5)
    for weights in (None, even(8, 2)):
        made = intervals(NUMBER, numbers, np.array([[0.0], [np.nan]]), np.ones(2), 0.1, weights)
        assert not made.enough
        assert made.low[0] == -10.0
        assert made.high[0] == 10.0
        assert np.isnan(made.low[1])
        assert made.unbounded.tolist() == [True, False]


def test_uneven_weights_count_as_fewer_compounds():
    weights = Weights(np.where(np.arange(100) < 5, 100.0, 0.01), np.ones(1))
    assert effective_size(weights.calibration) < 5.1
    measured = draw_measured(NUMBER, 100, 1)
    found = intervals(NUMBER, measured, np.zeros((1, 1)), np.ones(1), 0.1, weights)
    assert not found.enough
    assert found.unbounded.all()
    assert effective_size(np.zeros(0)) == 0.0


def test_intervals_widen_with_distance_unless_asked_not_to():
    measured = draw_measured(NUMBER, 100, 2)
    near = np.array([0.9, 0.2])
    values = np.zeros((2, 1))
    wide = intervals(NUMBER, measured, values, near, 0.2)
    same = intervals(NUMBER, measured, values, near, 0.2, None, "constant")
    assert wide.high[1] > wide.high[0]
    assert same.high[1] == same.high[0]
    with pytest.raises(FluidError, match=r"difficulty 'x': allowed are similarity, constant"):
        intervals(NUMBER, measured, values, near, 0.2, None, "x")


@pytest.mark.parametrize("alpha", [0.0, -0.1, 0.51, float("nan")])
def test_other_rates_are_refused(alpha):
    with pytest.raises(FluidError, match=r"above 0 and at most 0\.5"):
        check_alpha(alpha)


def test_without_crepes_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "crepes", None)
    with pytest.raises(FluidError, match=r"pip install 'fluid-federated\[conformal\]'"):
        load_crepes()
