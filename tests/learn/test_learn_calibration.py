"""Calibration, thresholds and reliability maps: small enough to be worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from fluid.learn.calibration import Platt, fit_line, fit_platt
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
    model = LogisticRegression(C=100.0, tol=1e-12).fit(score[:, None] / score.std(), target)
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


# recalibrated numbers


def test_a_line_is_the_map_without_the_logistic_curve():
    line = Platt(2.0, -1.0)
    assert line.line(np.array([0.5, 3.0])).tolist() == [0.0, 5.0]
    assert Platt().line(np.array([7.5])).tolist() == [7.5]
    np.testing.assert_array_equal(line(np.array([0.3])), sigmoid(line.line(np.array([0.3]))))


@pytest.mark.parametrize("n", [8, 40, 4000])
def test_the_line_is_least_squares_drawn_towards_a_slope_of_one(n):
    random = np.random.default_rng(n)
    score = random.normal(5.0, 0.4, n)
    target = 1.4 * score + 2.0 + random.normal(0.0, 0.3, n)
    # Ten compounds' worth of scores that are right as they are, of the same variance.
    prior = score.mean() + score.std() * np.repeat([-1.0, 1.0], 5)
    centred = np.concatenate([target - target.mean(), prior - score.mean()])
    slope, _ = np.polyfit(np.concatenate([score, prior]), centred, 1)
    found = fit_line(score, target)
    assert found.slope == pytest.approx(slope)
    assert found.line(score).mean() == pytest.approx(target.mean())
    alone = np.polyfit(score, target, 1)[0]
    assert found.slope - 1.0 == pytest.approx((alone - 1.0) * n / (n + 10))


def test_a_line_by_hand():
    # Twice as steep, but ten compounds against ten say that it is right: half of that.
    score = np.tile([-1.0, 1.0], 5)
    assert fit_line(score, 2 * score + 3) == Platt(1.5, 3.0)


@pytest.mark.parametrize(("steepness", "slope"), [(10.0, 2.0), (-10.0, 0.0), (1.0, 1.0)])
def test_the_slope_of_a_line_is_limited(steepness, slope):
    score = np.arange(100.0)
    found = fit_line(score, steepness * score + 3.0)
    assert found.slope == pytest.approx(slope)
    assert found.line(score).mean() == pytest.approx(steepness * 49.5 + 3.0)


def test_with_few_numbers_they_are_taken_as_they_are():
    assert fit_line(np.arange(7.0), np.arange(7.0) ** 2) == Platt(1.0, 0.0)
    assert fit_line(np.zeros(0), np.zeros(0)) == Platt(1.0, 0.0)


def test_constant_numbers_are_moved_to_the_mean():
    assert fit_line(np.full(8, 3.0), np.arange(8.0)).line(np.array([3.0])).tolist() == [3.5]


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


def test_reliability_grows_with_the_square_of_similarity_and_stays_below_one():
    found = ReliabilityMap(2.0)(np.array([0.0, 0.5, 1.0]))
    assert found.tolist() == pytest.approx([0.0, 1 / 3, 2 / 3])
    assert ReliabilityMap(1e9)(np.array([1.0])) < 1.0
    assert ReliabilityMap()(np.array([1.0])).tolist() == [0.0]
    # A student is trusted no further than its teachers.
    assert ReliabilityMap(2.0, 0.6)(np.array([0.5, 1.0])).tolist() == pytest.approx([0.2, 0.4])


def test_the_similarity_of_a_reliability_is_the_inverse():
    curve = ReliabilityMap(1.0)
    assert curve.similarity_at(TRUSTED) == pytest.approx(0.5)
    assert curve(np.array([curve.similarity_at(0.4)])) == pytest.approx([0.4])
    limited = ReliabilityMap(1.0, 0.5)
    assert limited(np.array([limited.similarity_at(0.4)])) == pytest.approx([0.4])
    assert limited.similarity_at(0.5) == float("inf")
    assert ReliabilityMap(0.0).similarity_at(0.1) == float("inf")


def held_out(n, slope, seed=0):
    """Similarities, and squared errors of normal noise that goes down with their squares."""
    random = np.random.default_rng(seed)
    similarity = 0.7 * random.random(n)
    return similarity, 2.0 * random.chisquare(1, size=n) / (1 + slope * similarity**2)


@pytest.mark.parametrize(("n", "true"), [(20, 2.0), (200, 5.0), (3000, 2.0), (300, 0.0)])
def test_the_slope_is_the_penalised_one_times_the_probability_of_skill(n, true):
    similarity, error = held_out(n, true)

    def residual(slope):
        return error / 2.0 - 1 / (1 + slope * similarity**2)

    def loss(stretched):
        # As if 60 units of squared error said that the slope is 2.
        return np.sum(residual(np.expm1(stretched)) ** 2) + 60 * (stretched - np.log(3)) ** 2

    best = minimize_scalar(loss, bounds=(0, np.log(21)), method="bounded", options={"xatol": 1e-9})
    slope = np.expm1(best.x)
    noise = norm(scale=np.sqrt(np.mean(residual(slope) ** 2)))
    gain = noise.logpdf(residual(slope)).sum() - noise.logpdf(residual(0.0)).sum()
    # The slope lies on a grid, in steps of 1.5% of slope + 1.
    expected = slope * expit(gain)
    assert fit_reliability(similarity, error, 2.0).slope == pytest.approx(expected, rel=0.03)


def test_a_slope_is_found_again_from_many_compounds_and_is_the_usual_one_of_few():
    assert fit_reliability(*held_out(20_000, 6.0), 2.0).slope == pytest.approx(6.0, rel=0.1)
    few = [fit_reliability(*held_out(10, 18.0, seed), 2.0).slope for seed in range(20)]
    assert 0.5 < np.mean(few) < 3.0


def test_a_model_without_skill_has_a_slope_near_zero():
    slopes = [fit_reliability(*held_out(1000, 0.0, seed), 2.0).slope for seed in range(20)]
    assert np.mean(slopes) < 0.1
    assert fit_reliability(np.full(100, 0.6), np.full(100, 3.0), 1.0).slope < 1e-6


def test_where_nothing_speaks_for_either_half_the_usual_slope_is_left():
    found = fit_reliability(np.full(9, 1e-4), np.full(9, 0.7), 1.0)
    assert found.slope == pytest.approx(1.0, abs=0.02)
    assert found.ceiling == 1.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e6)), min_size=1, max_size=30),
    st.floats(1e-6, 1e6),
)
def test_the_slope_is_limited(pairs, baseline):
    similarity, error = (np.array(values) for values in zip(*pairs, strict=True))
    assert 0.0 <= fit_reliability(similarity, error, baseline).slope <= 20.0 + 1e-9


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


def test_overwhelming_evidence_of_skill_leaves_the_slope_as_it_is():
    similarity = np.linspace(0.3, 0.9, 400)
    found = fit_reliability(similarity, 1.0 / (1.0 + 2.0 * similarity**2), 1.0)
    assert found.slope == pytest.approx(2.0, abs=0.01)
