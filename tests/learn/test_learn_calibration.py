"""Calibration, thresholds and reliability maps: small enough to be worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from fluid.learn.calibration import Platt, fit_platt
from fluid.learn.estimators import logit, sigmoid
from fluid.learn.reliability import TRUSTED, ReliabilityMap, fit_reliability
from fluid.learn.thresholds import prevalence_threshold

# Platt scaling


def test_a_platt_map_is_a_logistic_curve():
    curve = Platt(2.0, -1.0)
    assert curve(np.array([0.5])).tolist() == [0.5]
    assert curve(np.array([1.0])) == pytest.approx(1 / (1 + np.exp(-1)))
    assert Platt()(np.array([0.0])).tolist() == [0.5]


def test_sigmoid_and_logit_are_inverse_and_do_not_overflow():
    score = np.linspace(-13, 13, 27)
    np.testing.assert_allclose(logit(sigmoid(score)), score, rtol=1e-6)
    assert sigmoid(np.array([-1e9, 1e9])).tolist() == [0.0, 1.0]
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    assert logit(np.array([0.0])) == pytest.approx(np.log(1e-6), rel=1e-6)


def test_scores_made_by_a_known_curve_give_that_curve_back():
    random = np.random.default_rng(0)
    score = random.normal(size=20_000)
    target = (random.random(20_000) < sigmoid(1.7 * score - 0.6)).astype(np.float64)
    found = fit_platt(score, target)
    assert found.slope == pytest.approx(1.7, abs=0.1)
    assert found.intercept == pytest.approx(-0.6, abs=0.1)


def test_the_fit_is_logistic_regression_on_standardised_scores():
    random = np.random.default_rng(1)
    score = 40 * random.normal(size=60) + 7
    target = (score + 30 * random.normal(size=60) > 0).astype(np.float64)
    model = LogisticRegression(C=100.0).fit(score[:, None] / score.std(), target)
    expected = model.predict_proba(score[:, None] / score.std())[:, 1]
    np.testing.assert_allclose(fit_platt(score, target)(score), expected, rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(-50, 50), st.booleans()), max_size=30))
def test_calibration_never_turns_a_ranking_around(pairs):
    score = np.array([value for value, _ in pairs], dtype=np.float64)
    target = np.array([positive for _, positive in pairs], dtype=np.float64)
    fitted = fit_platt(score, target)
    assert fitted.slope >= 0.0
    probability = fitted(np.sort(score))
    assert np.all(np.diff(probability) >= 0)
    assert np.all((probability >= 0) & (probability <= 1))


def test_scores_that_mislead_give_the_base_rate():
    score = np.arange(20.0)
    target = (score < 5).astype(np.float64)
    fitted = fit_platt(score, target)
    assert fitted.slope == 0.0
    assert fitted(np.array([-100.0, 100.0])) == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize(
    ("score", "target"),
    [
        (np.arange(7.0), np.arange(7) % 2.0),
        (np.arange(30.0), np.ones(30)),
        (np.zeros(0), np.zeros(0)),
    ],
    ids=["seven", "one-class", "none"],
)
def test_with_too_little_scores_are_taken_as_they_are(score, target):
    assert fit_platt(score, target) == Platt(1.0, 0.0)


def test_constant_scores_give_the_base_rate():
    fitted = fit_platt(np.full(40, 3.0), np.repeat([1.0, 0.0], [10, 30]))
    assert fitted(np.array([3.0])) == pytest.approx([0.25], abs=0.01)


# thresholds


@pytest.mark.parametrize(
    ("prevalence", "threshold", "positive"),
    [(0.1, 0.90, 1), (0.2, 0.80, 2), (0.3, 0.70, 3), (0.5, 0.50, 5), (0.7, 0.30, 7),
     (0.9, 0.10, 9), (1.0, 0.05, 10)],
)  # fmt: skip
def test_the_threshold_calls_as_many_positive_as_expected(prevalence, threshold, positive):
    # 0.05, 0.15, ... 0.95: the threshold for k positives lies half way between two of them.
    predictions = np.random.default_rng(0).permutation(np.arange(10) / 10 + 0.05)
    found = prevalence_threshold(predictions, prevalence)
    assert found == pytest.approx(threshold)
    assert np.sum(predictions >= found) == positive


@settings(deadline=None)
@given(st.data())
def test_any_number_of_positives_can_be_called(data):
    ranks = data.draw(st.lists(st.integers(0, 10_000), min_size=2, max_size=60, unique=True))
    predictions = 0.03 + 0.94 * np.array(ranks) / 10_000
    wanted = data.draw(st.integers(1, len(ranks)))
    found = prevalence_threshold(predictions, wanted / len(ranks))
    assert np.sum(predictions >= found) == wanted


def test_a_weight_counts_as_that_many_compounds():
    predictions = np.array([0.1, 0.4, 0.6, 0.9])
    weights = np.array([3.0, 1.0, 2.0, 2.0])
    for prevalence in (0.25, 0.5, 0.625, 1.0):
        repeated = prevalence_threshold(np.repeat(predictions, [3, 1, 2, 2]), prevalence)
        assert prevalence_threshold(predictions, prevalence, weights) == repeated


def test_thresholds_keep_away_from_the_ends_and_have_a_default():
    assert prevalence_threshold(np.full(5, 0.999), 0.5) == 0.98
    assert prevalence_threshold(np.zeros(5), 0.5) == 0.02
    assert prevalence_threshold(np.zeros(0), 0.3) == 0.5
    assert prevalence_threshold(np.array([0.9, 0.8]), 0.3, np.zeros(2)) == 0.5


# reliability


def test_reliability_grows_with_the_square_of_similarity_and_stops_at_one():
    found = ReliabilityMap(2.0)(np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert found.tolist() == [0.0, 0.125, 0.5, 1.0, 1.0]
    assert ReliabilityMap()(np.array([1.0])).tolist() == [0.0]


def test_the_similarity_of_a_reliability_is_the_inverse():
    curve = ReliabilityMap(0.8)
    assert curve.similarity_at(TRUSTED) == pytest.approx(0.5)
    assert curve(np.array([curve.similarity_at(0.6)])) == pytest.approx([0.6])
    assert ReliabilityMap(0.0).similarity_at(0.1) == float("inf")


def test_a_slope_by_hand():
    # Squares 0.25 and 1; explained shares 1 - 3/4 = 0.25 and 1 - 1/4 = 0.75.
    # Least squares through zero: (0.25 * 0.25 + 1 * 0.75) / (0.0625 + 1) = 0.8125 / 1.0625.
    found = fit_reliability(np.array([0.5, 1.0]), np.array([3.0, 1.0]), 4.0)
    assert found.slope == pytest.approx(0.8125 / 1.0625)


def test_the_slope_is_the_least_squares_one():
    random = np.random.default_rng(0)
    similarity = random.random(200)
    error = 2.0 * (1 - 0.7 * similarity**2) * random.exponential(size=200)

    def loss(slope):
        return np.sum((error - 2.0 * (1 - slope * similarity**2)) ** 2)

    best = minimize_scalar(loss, bounds=(0, 4), method="bounded", options={"xatol": 1e-9}).x
    assert fit_reliability(similarity, error, 2.0).slope == pytest.approx(best, abs=1e-5)


def test_errors_larger_than_the_baseline_give_no_reliability():
    assert fit_reliability(np.full(9, 0.6), np.full(9, 3.0), 1.0).slope == 0.0


def test_the_slope_is_limited():
    assert fit_reliability(np.full(9, 0.1), np.zeros(9), 1.0).slope == 4.0


@pytest.mark.parametrize(
    ("similarity", "error", "baseline"),
    [
        (np.zeros(0), np.zeros(0), 1.0),
        (np.zeros(3), np.ones(3), 1.0),
        (np.ones(3), np.ones(3), 0.0),
    ],
    ids=["no-compounds", "nothing-near", "constant-labels"],
)
def test_with_nothing_to_fit_there_is_no_reliability(similarity, error, baseline):
    assert fit_reliability(similarity, error, baseline) == ReliabilityMap(0.0)
