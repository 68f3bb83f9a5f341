"""Learners against scikit-learn and closed forms, and as plain values."""

import lightgbm
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, r2_score
from sklearn.svm import SVC, SVR

from fluid.base.errors import FileFormatError
from fluid.chem.counts import count_fingerprints
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.similarity import tanimoto
from fluid.learn import estimators as module
from fluid.learn.estimators import (
    AUTO,
    LEARNERS,
    Mixture,
    State,
    choose_learner,
    kernel,
    revive,
    sigmoid,
)
from fluid.learn.estimators.kernel import KernelRidge, KernelSVM, MixedKernel
from fluid.learn.estimators.linear import Linear
from tests.learn.learners import installed

EVERY = installed() | {"kernel-ridge": KernelRidge}
ROWS = np.arange(0, 160, 2)
HELD = np.arange(1, 160, 2)


def states(state):
    """A state and the states of its parts."""
    return [state, *(below for part in state.parts.values() for below in states(part))]


def mixed_kernel(left, right, training):
    """The kernel in double precision, one pair at a time."""
    mean = training.descriptors.astype(float).mean(axis=0)
    spread = training.descriptors.astype(float).std(axis=0)
    spread[spread <= 1e-9] = 1.0
    a, b = (np.clip((part.descriptors - mean) / spread, -5, 5) for part in (left, right))
    gaussian = np.exp(-((a[:, None, :] - b[None, :, :]) ** 2).mean(axis=2))
    return (tanimoto(count_fingerprints(left), count_fingerprints(right)) + gaussian) / 2


@pytest.fixture(scope="module")
def fitted(library, problems):
    """Each learner by name, kind of task and whether it has been stored and revived."""
    made = {}
    for name, make in EVERY.items():
        for kind in ("binary", "regression"):
            values = problems[kind][1]
            model = make().fit(library, ROWS, values[ROWS], kind == "binary", 11)
            made[name, kind] = model
    return made


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("name", EVERY)
def test_every_learner_learns(fitted, library, problems, name, kind):
    score = fitted[name, kind].score(library.take(HELD), library)
    truth = problems[kind][1][HELD]
    assert score.shape == truth.shape
    assert score.dtype == np.float64
    assert np.corrcoef(score, truth)[0, 1] > 0.6
    if kind == "regression":
        assert r2_score(truth, score) > 0.4
    elif name in LEARNERS:
        # Margins are in logit units: as probabilities they are better than the base rate.
        assert log_loss(truth, sigmoid(score)) < 0.55


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("name", EVERY)
def test_a_revived_learner_predicts_the_same(fitted, library, name, kind):
    model = fitted[name, kind]
    state = model.to_state()
    again = revive(state)
    assert state.kind == name
    assert again.kind == name
    assert np.array_equal(again.score(library, library), model.score(library, library))
    for one in states(state):
        assert all(array.dtype.kind in "fiu" for array in one.arrays.values())


@pytest.mark.parametrize("name", EVERY)
def test_the_seed_fixes_everything(fitted, library, problems, name):
    target = problems["binary"][1][ROWS]
    again = EVERY[name]().fit(library, ROWS, target, True, 11)
    assert np.array_equal(
        again.score(library, library), fitted[name, "binary"].score(library, library)
    )


@pytest.mark.parametrize("name", EVERY)
def test_no_queries_no_scores(fitted, library, name):
    nothing = library.take(np.zeros(0, dtype=np.int64))
    assert fitted[name, "binary"].score(nothing, library).shape == (0,)


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("name", ["lightgbm", "random-forest"])
def test_scores_are_those_of_lightgbm_to_the_last_bit(library, problems, name, kind):
    target = problems[kind][1][ROWS]
    model = LEARNERS[name]().fit(library, ROWS, target, kind == "binary", 5)
    params = {
        "objective": kind, "seed": 5, "num_threads": 1, "deterministic": True, "max_bin": 63,
        "force_row_wise": True, "feature_pre_filter": False, "verbosity": -1, **model.params,
    }  # fmt: skip
    matrix = library.take(ROWS).feature_matrix(counts=True)
    data = lightgbm.Dataset(matrix, target, params=params)
    booster = lightgbm.train(params, data, model.n_trees)
    raw = booster.predict(library.feature_matrix(counts=True), raw_score=True, num_threads=1)
    # LightGBM gives a forest's sum as its raw score.
    expected = raw / model.n_trees if name == "random-forest" else raw
    assert np.array_equal(model.score(library, library), expected)
    # Nothing depends on the compounds that are scored together.
    few = model.score(library.take(np.arange(3, 14)), library)
    assert np.array_equal(few, expected[3:14])


def test_the_mixed_kernel_is_half_min_max_half_gaussian(library):
    left, right = library.take(HELD[:30]), library.take(ROWS)
    kernel = MixedKernel().fit(right)
    prepared = kernel.prepare(right)
    found = kernel(kernel.prepare(left), prepared)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mixed_kernel(left, right, right), atol=2e-6)
    gram = kernel(prepared, prepared).astype(np.float64)
    np.testing.assert_allclose(np.diag(gram), 1.0, atol=1e-5)
    assert np.linalg.eigvalsh((gram + gram.T) / 2).min() > -1e-5


def test_without_descriptors_the_kernel_is_min_max(structures):
    bare = featurize(structures, [""] * 160, FeatureSpec(bits=512, descriptors="none"))
    kernel = MixedKernel().fit(bare)
    prepared, counts = kernel.prepare(bare), count_fingerprints(bare)
    assert np.array_equal(kernel(prepared, prepared), tanimoto(counts, counts))


def test_the_svm_is_that_of_scikit_learn(fitted, library, problems):
    training, held = library.take(ROWS), library.take(HELD)
    gram = mixed_kernel(training, training, training)
    cross = mixed_kernel(held, training, training)
    target = problems["binary"][1][ROWS]
    oracle = SVC(C=3.0, kernel="precomputed", tol=1e-6).fit(gram, target)
    score = fitted["svm", "binary"].score(held, library)
    np.testing.assert_allclose(score, oracle.decision_function(cross), atol=2e-3)
    target = problems["regression"][1][ROWS]
    scaled = (target - target.mean()) / target.std()
    oracle = SVR(C=3.0, epsilon=0.1, kernel="precomputed", tol=1e-6).fit(gram, scaled)
    expected = oracle.predict(cross) * target.std() + target.mean()
    score = fitted["svm", "regression"].score(held, library)
    np.testing.assert_allclose(score, expected, atol=5e-3 * target.std())


def test_kernel_ridge_of_few_compounds_is_the_closed_form(fitted, library, problems):
    training, held = library.take(ROWS), library.take(HELD)
    target = problems["regression"][1][ROWS]
    gram = mixed_kernel(training, training, training)
    dual = np.linalg.solve(gram + 0.03 * np.eye(len(ROWS)), target - target.mean())
    expected = mixed_kernel(held, training, training) @ dual + target.mean()
    found = fitted["kernel-ridge", "regression"].score(held, library)
    np.testing.assert_allclose(found, expected, atol=2e-2 * target.std())


def test_kernel_ridge_with_fewer_landmarks_is_the_subset_of_regressors(library, problems):
    target = problems["regression"][1][ROWS]
    model = KernelRidge(ridge=0.5, n_landmarks=25, most_exact=30).fit(
        library, ROWS, target, False, 3
    )
    assert len(model.rows_) == 25
    assert set(model.rows_) <= set(ROWS)
    training, landmarks = library.take(ROWS), library.take(model.rows_)
    cross = mixed_kernel(training, landmarks, training)
    normal = cross.T @ cross + 0.5 * mixed_kernel(landmarks, landmarks, training)
    normal += 1e-6 * len(ROWS) * np.eye(25)
    weights = np.linalg.solve(normal, cross.T @ (target - target.mean()))
    held = library.take(HELD)
    expected = mixed_kernel(held, landmarks, training) @ weights + target.mean()
    np.testing.assert_allclose(model.score(held, library), expected, atol=1e-2 * target.std())


def test_weighted_kernel_ridge_of_few_compounds_is_the_closed_form(library, problems):
    training, held = library.take(ROWS), library.take(HELD)
    target = problems["regression"][1][ROWS]
    weights = np.random.default_rng(4).exponential(size=len(ROWS)) + 0.05
    weights /= weights.mean()
    model = KernelRidge(ridge=0.5).fit(library, ROWS, target, False, 3, weights)
    # A weight is as much less noise: the dual solution has ridge / weight on the diagonal.
    gram = mixed_kernel(training, training, training)
    centre = np.average(target, weights=weights)
    dual = np.linalg.solve(gram + 0.5 * np.diag(1 / weights), target - centre)
    expected = mixed_kernel(held, training, training) @ dual + centre
    np.testing.assert_allclose(model.score(held, library), expected, atol=1e-2 * target.std())


def test_many_compounds_are_solved_like_few(library, problems, monkeypatch):
    target = problems["regression"][1][ROWS]
    weights = np.random.default_rng(4).exponential(size=len(ROWS)) + 0.05
    few = KernelRidge().fit(library, ROWS, target, False, 3, weights)
    monkeypatch.setattr(kernel, "MOST_FACTORED", 10)
    monkeypatch.setattr(kernel, "_ROWS", 7)
    many = [KernelRidge(jobs=jobs).fit(library, ROWS, target, False, 3, weights) for jobs in (1, 3)]
    np.testing.assert_allclose(many[0].weights_, few.weights_, rtol=1e-4, atol=1e-5)
    assert np.array_equal(many[0].weights_, many[1].weights_)
    # Only compounds with a weight above 0 count, whichever way is taken.
    weights[::3] = 0.0
    assert len(KernelRidge().fit(library, ROWS, target, False, 3, weights).rows_) < len(ROWS)


def test_equal_weights_are_no_weights(library, problems):
    target, ones = problems["regression"][1][ROWS], np.ones(len(ROWS))
    each = [KernelRidge().fit(library, ROWS, target, False, 3, weights) for weights in (None, ones)]
    unweighted, equal = (model.score(library, library) for model in each)
    np.testing.assert_allclose(equal, unweighted, rtol=1e-9)


def test_compounds_without_weight_are_left_out_of_kernel_ridge(structures, problems):
    # Descriptors are scaled by all compounds, so here are none.
    bare = featurize(structures, [""] * 160, FeatureSpec(bits=512, descriptors="none"))
    target = problems["regression"][1]
    weights = np.ones(len(ROWS))
    weights[::4] = 0.0
    with_zeros = KernelRidge().fit(bare, ROWS, target[ROWS], False, 3, weights)
    kept = ROWS[weights > 0]
    left_out = KernelRidge().fit(bare, kept, target[kept], False, 3)
    assert with_zeros.intercept_ == pytest.approx(left_out.intercept_)
    found, expected = (model.score(bare, bare) for model in (with_zeros, left_out))
    np.testing.assert_allclose(found, expected, atol=1e-2 * target.std())


def test_three_quarters_of_the_landmarks_are_the_compounds_of_highest_weight(library, problems):
    target = problems["regression"][1][ROWS]
    weights = np.random.default_rng(6).permutation(len(ROWS)) + 0.5
    model = KernelRidge(n_landmarks=20, most_exact=30).fit(library, ROWS, target, False, 3, weights)
    assert len(set(model.rows_)) == 20
    heaviest = ROWS[np.argsort(-weights)[:15]]
    assert set(heaviest) <= set(model.rows_) <= set(ROWS)
    # The others are drawn from all the rest.
    assert np.isin(weights.argsort()[:40], np.searchsorted(ROWS, model.rows_)).any()


def test_linear_models_are_those_of_scikit_learn(library, problems):
    def matrix(rows):
        training, part = library.take(ROWS).descriptors.astype(float), library.take(rows)
        spread = training.std(axis=0)
        spread[spread <= 1e-9] = 1.0
        scaled = np.clip((part.descriptors - training.mean(axis=0)) / spread, -5, 5)
        return np.hstack([np.unpackbits(part.fingerprints, axis=1), scaled])

    target = problems["binary"][1][ROWS]
    oracle = LogisticRegression(C=0.05, max_iter=5000, tol=1e-8).fit(matrix(ROWS), target)
    found = Linear().fit(library, ROWS, target, True, 0).score(library.take(HELD), library)
    np.testing.assert_allclose(found, oracle.decision_function(matrix(HELD)), atol=1e-2)
    target = problems["regression"][1][ROWS]
    oracle = Ridge(alpha=20.0).fit(matrix(ROWS), target)
    found = Linear().fit(library, ROWS, target, False, 0).score(library.take(HELD), library)
    np.testing.assert_allclose(found, oracle.predict(matrix(HELD)), atol=1e-6)


def test_an_average_is_the_mean_of_probabilities_or_numbers(fitted, library):
    members = fitted["average", "binary"].members_
    assert set(members) == {"lightgbm", "random-forest", "svm"}
    each = np.mean([sigmoid(one.score(library, library)) for one in members.values()], axis=0)
    found = sigmoid(fitted["average", "binary"].score(library, library))
    np.testing.assert_allclose(found, np.clip(each, 1e-6, 1 - 1e-6), rtol=1e-9)
    members = fitted["average", "regression"].members_
    each = np.mean([one.score(library, library) for one in members.values()], axis=0)
    found = fitted["average", "regression"].score(library, library)
    np.testing.assert_allclose(found, each, rtol=1e-12)


def test_a_mixture_is_a_weighted_sum_of_scores_and_survives_being_stored(fitted, library):
    members = {"own": fitted["svm", "binary"], "joint": fitted["kernel-ridge", "binary"]}
    mixture = Mixture(members, {"own": 0.7, "joint": 0.5}, -0.2)
    own, joint = (member.score(library, library) for member in members.values())
    found = mixture.score(library, library)
    np.testing.assert_allclose(found, 0.7 * own + 0.5 * joint - 0.2, rtol=1e-9, atol=1e-12)
    assert np.array_equal(revive(mixture.to_state()).score(library, library), found)
    with pytest.raises(FileFormatError, match="estimator 'mixture' is incomplete"):
        revive(State("mixture", {"intercept": 0.0}, parts={"own": members["own"].to_state()}))


def test_constant_labels_are_predicted_for_regression(library):
    target = np.full(len(ROWS), 4.5)
    for name in ("svm", "logistic", "lightgbm", "kernel-ridge"):
        model = EVERY[name]().fit(library, ROWS, target, False, 0)
        np.testing.assert_allclose(model.score(library, library), 4.5, atol=0.11, err_msg=name)


def test_auto_is_a_kernel_machine_for_few_compounds_and_trees_for_many():
    assert choose_learner(AUTO, module.KERNEL_LIMIT) == "svm"
    assert choose_learner(AUTO, module.KERNEL_LIMIT + 1) == "lightgbm"
    for name in LEARNERS:
        assert LEARNERS[choose_learner(name, 10)]().kind == name
    with pytest.raises(KeyError):
        LEARNERS[choose_learner("oracle", 10)]()


def test_every_learner_can_be_revived():
    # A mixture is made of fitted learners, and chosen by nobody.
    assert set(EVERY) | {"mixture", "multitask"} == set(module._REVIVE)


def test_an_unknown_or_incomplete_state_is_refused():
    with pytest.raises(FileFormatError, match=r"unknown kind of estimator 'os\.system'"):
        revive(State("os.system", {"command": "true"}))
    for name in EVERY:
        if name != "average":
            with pytest.raises(FileFormatError, match=f"estimator '{name}' is incomplete"):
                revive(State(name))
    with pytest.raises(FileFormatError, match="estimator 'average' is incomplete"):
        revive(State("average", {}))
    with pytest.raises(FileFormatError, match="unknown kind of estimator 'x'"):
        revive(State("average", {"classification": True}, parts={"a": State("x")}))


def test_kernel_machines_remember_positions_not_compounds(fitted, library):
    state = fitted["svm", "binary"].to_state()
    assert isinstance(fitted["svm", "binary"], KernelSVM)
    assert set(state.arrays) == {"rows", "weights", "mean", "scale"}
    assert set(state.arrays["rows"].tolist()) <= set(ROWS.tolist())
    assert len(state.arrays["rows"]) == len(state.arrays["weights"])
