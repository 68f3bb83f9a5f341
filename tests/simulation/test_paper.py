"""The paper's recipe, step by step and against an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from fluid.base.errors import TrainingError
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.learn.task import Task
from fluid.simulation import paper as module
from fluid.simulation.paper import paper_features, run_paper_recipe

BINARY = Task("active", "binary")
NUMBER = Task("logd", "regression")
SMILES = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CCO",
    "C",
    "OCC(N)C(=O)NCc1ccncc1",
)


def make_bits(seed: int, n: int, first: int, width: int = 64) -> np.ndarray:
    """Binary features, mostly among 24 bits from `first` on."""
    rng = np.random.default_rng(seed)
    bits = rng.random((n, width)) < 0.05
    bits[:, first : first + 24] |= rng.random((n, 24)) < 0.5
    bits[:, first] = True
    return bits.astype(np.uint8)


PARTS = [
    (make_bits(1, 50, 0), make_bits(1, 50, 0)[:, 3]),
    (make_bits(2, 40, 20), make_bits(2, 40, 20)[:, 25]),
    (make_bits(3, 5, 40), np.array([0, 1, 0, 1, 1])),
]
PUBLIC = np.concatenate([make_bits(4, 60, 0), make_bits(5, 40, 20), make_bits(6, 10, 40)])
QUERIES = np.concatenate([make_bits(7, 15, 0), make_bits(8, 15, 20)])


def brute_distance(query: np.ndarray, training: np.ndarray) -> float:
    """Mean of the eight smallest Tanimoto distances, by sets of bit positions."""
    own = set(np.flatnonzero(query))
    found = []
    for row in training:
        other = set(np.flatnonzero(row))
        found.append(1 - len(own & other) / len(own | other))
    return float(np.mean(sorted(found)[:8]))


# --- features ---------------------------------------------------------------------------------


def test_features_are_folded_fcfp4() -> None:
    structures = [standardize(smiles, StandardizerSpec()) for smiles in SMILES]
    spec = FeatureSpec(fingerprint="fcfp", radius=2, bits=2048, descriptors="none")
    compounds = featurize(structures, SMILES, spec)
    found = paper_features(compounds)
    assert found.dtype == np.uint8
    assert found.shape == (5, 2048)
    assert np.array_equal(found, np.unpackbits(compounds.fingerprints, axis=1))
    plain = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    assert not np.array_equal(found[0], plain.GetFingerprintAsNumPy(structures[0].mol))


def test_features_come_from_the_standard_smiles_alone() -> None:
    structures = [standardize(smiles, StandardizerSpec()) for smiles in SMILES]
    other = featurize(structures, SMILES, FeatureSpec(bits=64, descriptors="none"))
    order = np.array([3, 0, 2])
    assert np.array_equal(paper_features(other.take(order)), paper_features(other)[order])
    # To a pharmacophore fingerprint, ring carbons of benzene are all alike.
    assert Chem.MolFromSmiles(SMILES[3]).GetNumAtoms() == 1
    assert paper_features(other)[3].sum() == 1


# --- weights, pooling, sample -----------------------------------------------------------------


def test_distance_weights_are_scaled_over_compounds_and_teachers() -> None:
    distances = np.array([[0.2, 0.4, 0.6], [0.6, 0.3, 0.7]])
    np.testing.assert_allclose(
        module._weights(distances), [[1.0, 0.6, 0.2], [0.2, 0.8, 0.0]], atol=1e-12
    )
    assert module._weights(np.full((2, 3), 0.4)).tolist() == [[1.0] * 3] * 2


def test_pooled_labels_are_weighted_means() -> None:
    labels = np.array([[0.9, 0.1, 0.2], [0.3, 0.5, 0.6]])
    weights = np.array([[1.0, 0.5, 0.0], [0.5, 0.0, 0.0]])
    np.testing.assert_allclose(module._pool(labels, weights), [0.7, 0.1, 0.4])


def test_distance_is_the_mean_of_the_eight_nearest() -> None:
    found = module._distances(PUBLIC, PARTS[0][0])
    assert found.dtype == np.float64
    expected = [brute_distance(query, PARTS[0][0]) for query in PUBLIC]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_teacher_with_few_compounds_is_as_far_as_all_of_them() -> None:
    found = module._distances(PUBLIC, PARTS[2][0])
    expected = [brute_distance(query, PARTS[2][0]) for query in PUBLIC]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("n_positive", "n_negative", "each"), [(7000, 9000, 5000), (40, 9000, 40), (30, 20, 20)]
)
def test_the_sample_is_balanced(n_positive: int, n_negative: int, each: int) -> None:
    # One half counts as positive.
    pooled = np.concatenate([np.linspace(0.5, 1, n_positive), np.linspace(0, 0.4999, n_negative)])
    rows = module._draw_sample(pooled, True, np.random.default_rng(0))
    assert np.all(np.diff(rows) > 0)
    assert np.sum(rows < n_positive) == each
    assert np.sum(rows >= n_positive) == each


def test_of_a_single_class_everything_is_taken() -> None:
    rng = np.random.default_rng(0)
    assert module._draw_sample(np.full(7, 0.2), True, rng).tolist() == list(range(7))
    assert module._draw_sample(np.full(12_000, 0.8), True, rng).tolist() == list(range(12_000))


def test_numbers_are_sampled_without_balance() -> None:
    rng = np.random.default_rng(0)
    assert module._draw_sample(np.zeros(50), False, rng).tolist() == list(range(50))
    rows = module._draw_sample(np.zeros(12_000), False, rng)
    assert len(rows) == 10_000
    assert np.all(np.diff(rows) > 0)
    assert rows[-1] > 11_900


# --- the whole --------------------------------------------------------------------------------


def follow_paper(
    classes: bool, labels: list[np.ndarray], seed: int, found: np.ndarray
) -> list[np.ndarray]:
    """The recipe once more, plainly: teachers on queries, sample, student.

    The pooled labels found must be the same but for rounding; from there on they are used, for a
    split between equal values of a bit may go either way by the last digit.
    """
    rng = np.random.default_rng(seed)
    seeds = [int(number) for number in rng.integers(2**31, size=len(PARTS) + 1)]
    if classes:

        def forest(features, target, number):
            fitted = RandomForestClassifier(
                150, max_depth=15, max_features="sqrt", random_state=number
            ).fit(features, target)
            return lambda rows: fitted.predict_proba(rows)[:, 1]
    else:

        def forest(features, target, number):
            return (
                RandomForestRegressor(150, max_depth=15, max_features=1 / 3, random_state=number)
                .fit(features, target)
                .predict
            )

    models = [
        forest(features, y, number)
        for (features, _), y, number in zip(PARTS, labels, seeds, strict=False)
    ]
    far = np.array([[brute_distance(query, features) for query in PUBLIC] for features, _ in PARTS])
    weights = 1 - (far - far.min()) / (far.max() - far.min())
    predictions = np.array([model(PUBLIC) for model in models])
    np.testing.assert_allclose(found, np.average(predictions, axis=0, weights=weights), atol=1e-6)
    pooled = found
    if classes:
        no, yes = np.flatnonzero(pooled < 0.5), np.flatnonzero(pooled >= 0.5)
        count = min(len(no), len(yes))
        sample = np.sort(
            np.concatenate([rng.choice(no, count, False), rng.choice(yes, count, False)])
        )
        student = forest(PUBLIC[sample], (pooled[sample] >= 0.5).astype(int), seeds[-1])
    else:
        sample = np.sort(rng.choice(len(PUBLIC), len(PUBLIC), False))
        student = forest(PUBLIC, pooled, seeds[-1])
    return [np.array([model(QUERIES) for model in models]), sample, student(QUERIES)]


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_round_is_the_recipe(kind: str) -> None:
    classes = kind == "binary"
    labels = [y if classes else y * 2.5 + x[:, 5] - 7.0 for x, y in PARTS]
    parts = [(x, y) for (x, _), y in zip(PARTS, labels, strict=True)]
    found = run_paper_recipe(BINARY if classes else NUMBER, parts, PUBLIC, QUERIES, 9, 1)
    teachers, sample, student = follow_paper(classes, labels, 9, found.pooled)
    np.testing.assert_allclose(found.teachers, teachers, atol=1e-9)
    assert found.sample.tolist() == sample.tolist()
    np.testing.assert_allclose(found.student, student, atol=1e-9)
    assert found.teachers.dtype == found.pooled.dtype == found.student.dtype == np.float64
    if classes:
        assert 0 < len(found.sample) < len(PUBLIC)
    else:
        assert found.student.max() < 0


def test_the_nearer_teacher_is_believed() -> None:
    near, far = make_bits(1, 60, 0), make_bits(2, 60, 40)
    parts = [(near, np.ones(60)), (far, np.zeros(60))]
    public = np.concatenate([make_bits(3, 20, 0), make_bits(4, 20, 40)])
    found = run_paper_recipe(BINARY, parts, public, public, 0, 1)
    # Each teacher knows a single class and predicts it for every compound.
    assert found.teachers.tolist() == [[1.0] * 40, [0.0] * 40]
    assert np.all(found.pooled[:20] > 0.5)
    assert np.all(found.pooled[20:] < 0.5)
    assert found.sample.tolist() == list(range(40))
    assert np.all((found.student > 0.5) == (np.arange(40) < 20))


@pytest.mark.parametrize("task", [BINARY, NUMBER])
def test_threads_and_blocks_change_nothing(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TREES", 30)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    one = run_paper_recipe(task, PARTS, PUBLIC, QUERIES, 3, 1)
    assert np.array_equal(before, np.random.get_state()[1])
    monkeypatch.setattr(module, "_BLOCK", 40)
    two = run_paper_recipe(task, PARTS, PUBLIC, QUERIES, 3, 2)
    other = run_paper_recipe(task, PARTS, PUBLIC, QUERIES, 4, 1)
    for name in ("teachers", "pooled", "sample", "student"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert one.teachers.tobytes() != other.teachers.tobytes()
    assert one.student.tobytes() != other.student.tobytes()


@pytest.mark.parametrize("forest", [RandomForestClassifier, RandomForestRegressor])
def test_trees_are_summed_in_order(forest: type, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "predict_proba" if forest is RandomForestClassifier else "predict"
    plain = getattr(forest, name)
    seen = []

    def watched(self, rows):
        seen.append(self.n_jobs)
        return plain(self, rows)

    monkeypatch.setattr(forest, name, watched)
    monkeypatch.setattr(module, "TREES", 5)
    task = BINARY if forest is RandomForestClassifier else NUMBER
    run_paper_recipe(task, PARTS, PUBLIC, QUERIES, 0, 2)
    # Several threads would add them as they finish, and the last digit would be up to chance.
    assert set(seen) == {1}


def test_no_queries_no_answers() -> None:
    found = run_paper_recipe(BINARY, PARTS[:2], PUBLIC, QUERIES[:0], 0)
    assert found.teachers.shape == (2, 0)
    assert found.student.shape == (0,)
    assert found.pooled.shape == (110,)


@pytest.mark.parametrize(
    ("task", "parts", "public", "message"),
    [
        (
            Task("type", "multiclass", classes=("a", "b", "c")), PARTS, PUBLIC,
            r"task 'type' is multiclass; allowed are binary and regression",
        ),
        (BINARY, [PARTS[0], (QUERIES[:0], np.zeros(0))], PUBLIC, r"partner 2 of 2 has no label"),
        (BINARY, [], PUBLIC, r"no partners; at least one is needed"),
        (BINARY, PARTS, PUBLIC[:0], r"no public compounds; at least one is needed"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_one_clear_line(task, parts, public, message) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        run_paper_recipe(task, parts, public, QUERIES, 0)
    assert "\n" not in str(caught.value)
