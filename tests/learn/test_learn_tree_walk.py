"""Trees that are walked say to the bit what LightGBM says."""

import numpy as np
import pytest
import scipy.sparse

from fluid.learn.estimators import trees
from fluid.learn.estimators.tree_walk import predict, read_walk

MAKERS = {
    "lightgbm": trees.boosted_trees,
    "student": trees.student_trees,
    "forest": trees.random_forest,
}


@pytest.fixture(scope="module", params=MAKERS)
def fitted(request, library, problems):
    made = {}
    for kind in ("binary", "regression"):
        _, values = problems[kind]
        rows = np.arange(0, len(library), 2)
        learner = MAKERS[request.param]()
        made[kind] = learner.fit(library, rows, values[rows], kind == "binary", 3)
    return made


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("n", [160, 1, 7, 8, 9])
def test_the_sum_is_that_of_lightgbm_to_the_last_bit(fitted, library, kind, n):
    matrix = library.take(np.arange(n)).feature_matrix(True)
    walk = read_walk(fitted[kind].text_)
    expected = fitted[kind].booster().predict(matrix, raw_score=True, num_threads=1)
    assert predict(walk, matrix).tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_score_does_not_depend_on_how_many_are_scored(fitted, library, kind, monkeypatch):
    few = fitted[kind].score(library, library)
    monkeypatch.setattr(trees, "_MANY", 1)
    assert fitted[kind].score(library, library).tolist() == few.tolist()


def test_values_at_thresholds_and_numbers_of_any_sign(fitted):
    """A compound goes left at the threshold itself."""
    walk = read_walk(fitted["regression"].text_)
    random = np.random.default_rng(0)
    values = np.zeros((300, walk.n_features), np.float32)
    for row in values:
        chosen = random.integers(0, len(walk.features), 40)
        row[walk.features[chosen]] = walk.thresholds[chosen] * random.choice([1.0, 1.001, -1.0], 40)
    matrix = scipy.sparse.csr_matrix(values)
    expected = fitted["regression"].booster().predict(matrix, raw_score=True, num_threads=1)
    assert predict(walk, matrix).tolist() == expected.tolist()


def test_a_tree_of_one_leaf(library):
    rows = np.arange(20)
    learner = trees.boosted_trees().fit(library, rows, np.ones(20), False, 0)
    walk = read_walk(learner.text_)
    assert walk.depths.max() == 0
    matrix = library.feature_matrix(True)
    expected = learner.booster().predict(matrix, raw_score=True)
    assert predict(walk, matrix).tolist() == expected.tolist()


def test_trees_that_treat_missing_values_their_own_way_are_left_to_lightgbm(fitted):
    text = fitted["binary"].text_
    assert read_walk(text) is not None
    assert read_walk(text.replace("decision_type=2", "decision_type=10", 1)) is None


def test_another_number_of_features_is_refused(fitted, library):
    walk = read_walk(fitted["binary"].text_)
    with pytest.raises(ValueError, match="features, but the trees need"):
        predict(walk, library.feature_matrix(True)[:, :-1])
