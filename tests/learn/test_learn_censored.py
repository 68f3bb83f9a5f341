"""Values and bounds: the loss, its minimum in every learner, calibration and metrics."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.svm import SVR

from fluid.learn.calibration import fit_line
from fluid.learn.censored import (
    CENSORED_SHARE,
    best_constant,
    censored_weights,
    is_active,
    minimise,
    one_sided,
    signs_among,
)
from fluid.learn.estimators import LEARNERS, KernelRidge, KernelSVM, kernel, revive, trees
from fluid.learn.estimators.trees import boosted_trees, random_forest
from fluid.learn.measured import Measured
from fluid.learn.metrics import compute_metrics
from fluid.learn.task import Task

TASK = Task("pic50", "regression", low=0, high=15)


def made(seed, n=60, share=0.4):
    """A kernel matrix of random points, values or bounds, and signs."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 5))
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    gram = np.exp(-squared / rng.uniform(2.0, 20.0))
    truth = points[:, 0] + np.sin(2 * points[:, 1]) + rng.normal(0, 0.3, n)
    signs = np.where(rng.random(n) < share, rng.choice([-1, 1], n), 0).astype(np.int8)
    return gram, truth - signs * rng.exponential(1.0, n), signs


# --- the loss ---------------------------------------------------------------------------------


def test_a_bound_is_wrong_on_one_side_only():
    # ">5", ">5", "<5", "<5" and 5 itself; the predictions violate the first and the last bound.
    target, signs = np.full(5, 5.0), np.array([1, 1, -1, -1, 0])
    predicted = np.array([4.0, 6.0, 4.0, 6.5, 6.0])
    assert is_active(target, predicted, signs).tolist() == [True, False, False, True, True]
    assert one_sided(target, predicted, signs).tolist() == [1.0, 0.0, 0.0, -1.5, -1.0]
    assert one_sided(target, predicted, None).tolist() == (target - predicted).tolist()


def test_many_bounds_weigh_no_more_than_their_share():
    signs = np.array([0] * 20 + [1] * 50 + [-1] * 10)
    weights = censored_weights(signs)
    # b (1 - f) / (f (1 - b)) by hand, with f = 60 / 80.
    b, f = CENSORED_SHARE, 0.75
    assert weights[:20].tolist() == [1.0] * 20
    assert weights[20:] == pytest.approx(b * (1 - f) / (f * (1 - b)))
    assert weights[20:].sum() / weights.sum() == pytest.approx(b)
    assert censored_weights(np.array([0, 0, 1])).tolist() == [1.0, 1.0, 1.0]
    assert censored_weights(np.array([1, -1])).tolist() == [1.0, 1.0]
    assert censored_weights(np.zeros(0, np.int8)).tolist() == []


def test_signs_are_given_only_where_there_are_bounds():
    signs = np.array([0, 1, 0], dtype=np.int8)
    assert signs_among(signs, np.array([0, 2])) is None
    assert signs_among(None, np.array([0])) is None
    assert signs_among(signs, np.array([2, 1])).tolist() == [0, 1]
    assert signs_among(signs, np.array([False, True, False])).tolist() == [1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_the_best_constant_is_the_one_of_least_loss(seed, share):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    target = rng.normal(size=n)
    signs = np.where(rng.random(n) < share, rng.choice([-1, 1], n), 0)
    weights = rng.uniform(0.1, 2.0, n)

    def loss(constant):
        return float(weights @ one_sided(target, np.full(n, constant), signs) ** 2)

    found = best_constant(target, signs, weights)
    grid = np.linspace(target.min() - 1, target.max() + 1, 2001)
    assert loss(found) <= min(map(loss, grid)) + 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_the_active_set_finds_the_minimum(seed):
    gram, target, signs = made(seed, share=[0.1, 0.4, 0.8][seed % 3])
    weights = np.random.default_rng(seed).uniform(0.2, 2.0, len(target))
    ridge = 0.3

    def solve(active):
        found = np.zeros(len(target))
        system = gram[np.ix_(active, active)] + np.diag(ridge / weights[active])
        found[active] = np.linalg.solve(system, target[active])
        return found, gram @ found

    found = minimise(solve, target, signs, weights)
    # The oracle knows the loss alone; in a basis in which the penalty is a sum of squares.
    values, vectors = np.linalg.eigh(gram)
    root = vectors * np.sqrt(np.maximum(values, 0.0))

    def objective(at):
        errors = one_sided(target, root @ at, signs)
        gradient = -2.0 * root.T @ (weights * errors) + 2.0 * ridge * at
        return float(weights @ errors**2 + ridge * at @ at), gradient

    oracle = scipy.optimize.minimize(
        objective, np.zeros(len(target)), jac=True, method="BFGS", options={"gtol": 1e-9}
    )
    errors = one_sided(target, gram @ found, signs)
    mine = float(weights @ errors**2 + ridge * found @ gram @ found)
    assert mine <= oracle.fun + 1e-9
    assert gram @ found == pytest.approx(root @ oracle.x, abs=1e-4)


def test_a_step_that_goes_too_far_is_shortened():
    """Few compounds and a small penalty: predictions swing across bounds."""
    penalty = 1e-3
    rng = np.random.default_rng(5)
    for _ in range(300):
        n = int(rng.integers(3, 12))
        matrix = rng.normal(size=(n, 3)) * rng.exponential(3.0, (n, 1))
        target, signs = rng.normal(size=n), rng.integers(-1, 2, n)
        weights = rng.exponential(1.0, n) + 1e-3

        def solve(active, matrix=matrix, target=target, weights=weights):
            part = matrix[active] * np.sqrt(weights[active])[:, None]
            right = part.T @ (target[active] * np.sqrt(weights[active]))
            found = np.linalg.solve(part.T @ part + penalty * np.eye(3), right)
            return found, matrix @ found

        found = minimise(solve, target, signs, weights)
        errors = one_sided(target, matrix @ found, signs)
        gradient = -matrix.T @ (weights * errors) + penalty * found
        assert np.abs(gradient).max() < 1e-6 * max(1.0, float(weights.max()))


# --- learners -----------------------------------------------------------------------------------


@pytest.fixture
def bounded(problems, library):
    """A third of the values are cut: sizes above 12 are known as such."""
    _, values = problems["regression"]
    limit = np.quantile(values, 0.67)
    signs = (values > limit).astype(np.int8)
    return np.arange(len(library)), np.minimum(values, limit), signs, values


def test_kernel_ridge_regression_minimises_the_loss(library, bounded):
    rows, target, signs, _ = bounded
    ridge = KernelRidge(0.15).fit(library, rows, target, False, 0, signs=signs)
    predicted = ridge.score(library, library)
    weights = censored_weights(signs)
    # In balance: a compound's coefficient is its weighted error over the penalty.
    coefficients = np.zeros(len(rows))
    coefficients[ridge.rows_] = ridge.weights_
    pull = weights * one_sided(target, predicted, signs) / 0.15
    assert coefficients == pytest.approx(pull, abs=1e-4)
    assert np.any((signs == 1) & (predicted > target + 0.1))


def test_kernel_ridge_regression_on_landmarks_does_so_too(library, bounded):
    rows, target, signs, _ = bounded
    whole = KernelRidge(0.15).fit(library, rows, target, False, 0, signs=signs)
    few = KernelRidge(0.15, n_landmarks=160, most_exact=10)
    few.fit(library, rows, target, False, 0, signs=signs)
    # All compounds are landmarks: the same function but for the ridge on the coefficients.
    assert few.score(library, library) == pytest.approx(whole.score(library, library), abs=0.05)
    with pytest.raises(ValueError, match="not sharpened"):
        few.fit(library, rows, target, False, 0, plain=target, signs=signs)


def test_weights_of_kernel_ridge_regression_apply_to_bounds(library, bounded):
    rows, target, signs, _ = bounded
    counted = np.ones(len(rows))
    counted[::4] = 0.0
    found = KernelRidge(0.15).fit(library, rows, target, False, 0, counted, signs=signs)
    kept = counted > 0
    kernel_of_all = found.kernel_
    again = KernelRidge(0.15, kernel=kernel_of_all)
    again.fit(library, rows[kept], target[kept], False, 0, signs=signs[kept])
    assert found.score(library, library) == pytest.approx(again.score(library, library), abs=1e-9)


def dual_oracle(gram, target, signs, cost, tube):
    """Predictions of one-sided support vector regression, from its dual by a generic solver."""
    n = len(target)
    upper = np.where(signs >= 0, cost, 0.0), np.where(signs <= 0, cost, 0.0)

    def objective(both):
        up, down = both[:n], both[n:]
        pull = up - down
        image = gram @ pull
        value = 0.5 * pull @ image - target @ pull + tube * both.sum()
        return value, np.concatenate([image - target + tube, -image + target + tube])

    ones = np.concatenate([np.ones(n), -np.ones(n)])
    found = scipy.optimize.minimize(
        objective,
        np.zeros(2 * n),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, high) for high in np.concatenate(upper)],
        constraints={"type": "eq", "fun": lambda both: ones @ both, "jac": lambda _: ones},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.success
    return -found.fun, gram @ (found.x[:n] - found.x[n:])


@pytest.mark.parametrize("seed", range(8))
def test_support_vector_regression_minimises_the_loss(seed):
    gram, target, signs = made(seed, n=30, share=[0.2, 0.5][seed % 2])
    weights = censored_weights(signs)
    machine = SVR(C=3.0, epsilon=0.1, kernel="precomputed", tol=1e-6)
    found, fitted = kernel._fit_bounds(machine, gram, target, signs)
    support, dual = fitted[found.support_], found.dual_coef_.ravel()
    without = gram[:, support] @ dual
    residual = target - without - found.intercept_[0]
    short = np.where(signs == 0, np.abs(residual), signs * residual)
    primal = 0.5 * dual @ without[support] + 3.0 * weights @ np.maximum(short - 0.1, 0.0)
    value, image = dual_oracle(gram, target, signs, 3.0 * weights, 0.1)
    # No dual value is above a primal one: they meet at the minimum.
    assert primal == pytest.approx(value, rel=1e-4)
    assert without - without.mean() == pytest.approx(image - image.mean(), abs=0.01)


def test_support_vector_regression_that_does_not_settle_gives_the_best(monkeypatch):
    gram, target, signs = made(1)
    machine = SVR(C=3.0, epsilon=0.1, kernel="precomputed", tol=1e-4)
    monkeypatch.setattr(kernel, "_MOST_REFITS", 1)
    _, fitted = kernel._fit_bounds(machine, gram, target, signs)
    assert fitted.tolist() == np.flatnonzero(signs == 0).tolist()


def test_gradients_of_trees_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    target, predicted = rng.normal(size=200), rng.normal(size=200)
    signs = rng.integers(-1, 2, 200)
    weights = censored_weights(signs)
    gradient, hessian = trees._one_sided_squares(target, signs, weights)(predicted, None)

    def loss(at):
        return weights * one_sided(target, at, signs) ** 2 / 2

    h = 1e-5
    assert gradient == pytest.approx((loss(predicted + h) - loss(predicted - h)) / (2 * h))
    curvature = (loss(predicted + h) - 2 * loss(predicted) + loss(predicted - h)) / h**2
    assert hessian == pytest.approx(curvature, abs=1e-4)


def test_a_tree_takes_a_newton_step_from_the_best_constant(library, bounded):
    """One tree of one split at full rate: leaves are -G / (H + lambda), as worked out here."""
    rows, target, signs, _ = bounded
    learner = trees.Trees(
        "lightgbm",
        {"learning_rate": 1.0, "num_leaves": 2, "min_data_in_leaf": 5, "lambda_l2": 1.0},
        1,
    ).fit(library, rows, target, False, 0, signs)
    predicted = learner.score(library, library)
    weights = censored_weights(signs)
    start = best_constant(target, signs, weights)
    assert len(np.unique(predicted)) == 2
    for leaf in np.unique(predicted):
        here = predicted == leaf
        active = here & is_active(target, np.full(len(target), start), signs)
        step = weights[active] @ (target[active] - start) / (weights[active].sum() + 1.0)
        assert leaf == pytest.approx(start + step, abs=1e-4)


def test_trees_follow_bounds_as_exact_values_where_all_are_exact(library, bounded):
    rows, _, _, truth = bounded
    plain = boosted_trees().fit(library, rows, truth, False, 3)
    none_is_a_bound = np.zeros(len(rows), dtype=np.int8)
    given = boosted_trees().fit(library, rows, truth, False, 3, none_is_a_bound)
    assert given.score(library, library) == pytest.approx(plain.score(library, library), abs=0.05)


def test_trees_of_one_leaf_predict_the_best_constant(library):
    target, signs = np.array([3.0, 4.0, 5.0, 9.0]), np.array([0, 0, 0, 1], dtype=np.int8)
    found = boosted_trees().fit(library, np.arange(4), target, False, 0, signs)
    assert found.score(library, library) == pytest.approx(np.full(len(library), 5.25))


def test_a_forest_leaves_bounds_out(library, bounded):
    rows, target, signs, _ = bounded
    exact = signs == 0
    found = random_forest().fit(library, rows, target, False, 3, signs)
    other = random_forest().fit(library, rows[exact], target[exact], False, 3)
    assert found.score(library, library).tolist() == other.score(library, library).tolist()


def test_linear_regression_minimises_the_loss(library, bounded):
    rows, target, signs, _ = bounded
    linear = LEARNERS["logistic"]().fit(library, rows, target, False, 0, signs)
    matrix, weights = linear._matrix(library), censored_weights(signs)
    errors = weights * one_sided(target, linear.score(library, library), signs)
    # The gradient is 0: that of the intercept, and that of each coefficient with its penalty.
    assert errors.sum() == pytest.approx(0.0, abs=1e-6)
    assert matrix.T @ errors == pytest.approx(linear.coefficients_ / linear.cost, abs=1e-6)
    plain = Ridge(alpha=1.0 / linear.cost).fit(matrix, target)
    assert np.abs(plain.coef_ - linear.coefficients_).max() > 1e-3


@pytest.mark.parametrize("learner", ["svm", "lightgbm", "logistic", "average"])
def test_learners_find_what_lies_beyond_a_limit(library, problems, learner):
    """Held-out truth is nearer than with bounds dropped; fits repeat, and can be stored."""
    # A ring nitrogen adds 5, and most compounds that have one are beyond the limit.
    truth = 0.3 * problems["regression"][1] + 5.0 * problems["binary"][1]
    limit = np.quantile(truth, 0.6)
    rows, signs = np.arange(len(library)), (truth > limit).astype(np.int8)
    target = np.minimum(truth, limit)
    train, test = rows % 4 != 0, rows % 4 == 0
    exact = train & (signs == 0)
    found = LEARNERS[learner]()
    found.fit(library, rows[train], target[train], False, 5, signs[train])
    dropped = LEARNERS[learner]().fit(library, rows[exact], target[exact], False, 5)
    queries = library.take(rows[test])
    predicted = found.score(queries, library)
    error, of_dropped = (
        np.sqrt(np.mean((truth[test] - one) ** 2))
        for one in (predicted, dropped.score(queries, library))
    )
    assert error < of_dropped
    again = LEARNERS[learner]().fit(library, rows[train], target[train], False, 5, signs[train])
    assert again.score(queries, library).tobytes() == predicted.tobytes()
    restored = revive(found.to_state())
    restored.check(library)
    assert restored.score(queries, library).tobytes() == predicted.tobytes()


@pytest.mark.parametrize("make", [KernelSVM, KernelRidge, boosted_trees, LEARNERS["logistic"]])
def test_the_order_of_compounds_does_not_matter(library, bounded, make):
    rows, target, signs, _ = bounded
    order = np.random.default_rng(0).permutation(len(rows))
    one = make().fit(library, rows, target, False, 0, signs=signs)
    other = make().fit(library, rows[order], target[order], False, 0, signs=signs[order])
    # Trees draw samples by position.
    close = 2.0 if make is boosted_trees else 2e-3
    assert other.score(library, library) == pytest.approx(one.score(library, library), abs=close)


# --- calibration --------------------------------------------------------------------------------


def test_a_line_is_drawn_to_bounds_that_it_violates():
    """By hand: the exact values lie on the scores; the one violated bound pulls, the other not."""
    score = np.arange(10.0)
    target, signs = score.copy(), np.zeros(10, dtype=np.int8)
    target[9], signs[9] = 5.0, 1
    kept = fit_line(score, target, signs)
    assert (kept.slope, kept.intercept) == pytest.approx((1.0, 0.0), abs=1e-9)
    target[9] = 14.0
    pulled = fit_line(score, target, signs)
    as_exact = fit_line(score, target)
    assert (pulled.slope, pulled.intercept) == pytest.approx(
        (as_exact.slope, as_exact.intercept), abs=1e-9
    )
    assert pulled.slope > 1.1


@pytest.mark.parametrize("seed", range(6))
def test_a_line_to_bounds_has_the_least_loss(seed):
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, 50)
    target = 1.4 * score + rng.normal(0, 0.5, 50)
    signs = np.where(rng.random(50) < 0.6, rng.choice([-1, 1], 50), 0).astype(np.int8)
    target = target - signs * rng.exponential(1.0, 50)
    weights = censored_weights(signs)
    centre = np.average(score, weights=weights)
    prior = 10.0 * np.average((score - centre) ** 2, weights=weights)

    def loss(line):
        errors = one_sided(target, line[0] * score + line[1], signs)
        return float(weights @ errors**2 + prior * (line[0] - 1.0) ** 2)

    found = fit_line(score, target, signs)
    oracle = scipy.optimize.minimize(loss, [1.0, 0.0], method="Nelder-Mead", tol=1e-10)
    assert loss([found.slope, found.intercept]) <= oracle.fun + 1e-6
    # A slope is kept in its range.
    assert fit_line(score, -3.0 * target, -signs).slope == 0.0


# --- metrics and measured values ----------------------------------------------------------------


def test_metrics_of_values_and_bounds_by_hand():
    truth, signs = np.array([5.0, 6.0, 7.0, 4.0, 8.0]), np.array([0, 0, 0, -1, 1])
    values = np.array([[5.5], [6.0], [6.0], [5.0], [9.0]])
    called = np.zeros(5, dtype=np.int64)
    found = compute_metrics(TASK, truth, values, called, signs)
    exact = compute_metrics(TASK, truth[:3], values[:3], called[:3])
    # "<4" is violated by 1, ">8" is kept: (0.25 + 0 + 1 + 1 + 0) / 5.
    assert found.pop("censored_rmse") == pytest.approx(np.sqrt(2.25 / 5))
    assert found == exact
    nothing = compute_metrics(TASK, truth[:0], values[:0], called[:0], signs[:0])
    assert np.isnan(list(nothing.values())).all()
    bounds = compute_metrics(TASK, truth[3:], values[3:], called[3:], signs[3:])
    assert np.isnan(bounds["rmse"])
    assert bounds["censored_rmse"] == pytest.approx(np.sqrt(0.5))


def test_exact_ones_of_measured_values():
    measured = Measured(
        np.zeros((3, 1)), np.arange(3.0), np.zeros(3), np.array([0, 1, 0], dtype=np.int8)
    )
    exact = measured.exact()
    assert exact.truth.tolist() == [0.0, 2.0]
    assert exact.signs is None
    assert measured.take(np.array([1])).signs.tolist() == [1]
