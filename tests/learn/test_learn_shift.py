"""Density ratios: near one where nothing differs, near the truth where it is known."""

import numpy as np
import pytest

from fluid.learn.conformal import effective_size
from fluid.learn.shift import FEWEST, HIGHEST_RATIO, Features, describe, estimate_shift


def features(table, similarity=None, start=0):
    names = np.array([f"c{start + row}" for row in range(len(table))], dtype=object)
    near = np.full(len(table), 0.5) if similarity is None else similarity
    return Features(near, np.asarray(table, dtype=np.float32), names)


def test_without_a_shift_weights_are_even():
    generator = np.random.default_rng(1)
    found = estimate_shift(
        features(generator.normal(size=(400, 30))),
        features(generator.normal(size=(600, 30)), start=400),
    )
    assert found.separation == pytest.approx(0.5, abs=0.06)
    assert effective_size(found.weights.calibration) > 350
    assert np.median(found.weights.queries) == pytest.approx(1.0, abs=0.15)


def test_a_known_ratio_is_found():
    """Normal with mean 0 against mean 1: the ratio is exp(x - 1/2)."""
    generator = np.random.default_rng(2)
    left, right = generator.normal(size=(2000, 1)), 1.0 + generator.normal(size=(2000, 1))
    found = estimate_shift(features(left), features(right, start=2000))
    expected = np.clip(np.exp(left[:, 0] - 0.5), 1 / HIGHEST_RATIO, HIGHEST_RATIO)
    assert np.corrcoef(np.log(found.weights.calibration), np.log(expected))[0, 1] > 0.98
    assert np.mean(np.abs(np.log(found.weights.calibration / expected))) < 0.15
    # Area under the curve of two unit normals one apart: Phi(1 / sqrt 2).
    assert found.separation == pytest.approx(0.760, abs=0.02)


def test_what_hardly_overlaps_is_cut():
    generator = np.random.default_rng(3)
    left, right = generator.normal(size=(200, 5)), 8.0 + generator.normal(size=(200, 5))
    found = estimate_shift(features(left), features(right, start=200))
    assert found.separation > 0.99
    for weights in (found.weights.calibration, found.weights.queries):
        assert weights.min() >= 1 / HIGHEST_RATIO - 1e-12
        assert weights.max() <= HIGHEST_RATIO + 1e-12
    # So each query alone weighs as much as a hundred calibration compounds: nothing is claimed.
    assert np.median(found.weights.queries) / found.weights.calibration.sum() > 0.3


def test_similarity_alone_is_seen():
    generator = np.random.default_rng(4)
    table = np.zeros((300, 3))
    found = estimate_shift(
        features(table, generator.uniform(0.4, 0.9, 300)),
        features(table, generator.uniform(0.1, 0.6, 300), 300),
    )
    assert found.separation > 0.85


def test_the_order_of_the_table_has_no_say():
    generator = np.random.default_rng(5)
    left, right = features(generator.normal(size=(120, 8))), generator.normal(size=(150, 8)) + 0.3
    order = generator.permutation(150)
    one = estimate_shift(left, features(right, start=120))
    shuffled = Features(
        np.full(150, 0.5), right[order].astype(np.float32),
        np.array([f"c{120 + row}" for row in order], dtype=object),
    )  # fmt: skip
    other = estimate_shift(left, shuffled)
    np.testing.assert_allclose(other.weights.calibration, one.weights.calibration, rtol=1e-3)
    np.testing.assert_allclose(other.weights.queries, one.weights.queries[order], rtol=1e-3)


@pytest.mark.parametrize("sizes", [(FEWEST - 1, 500), (500, FEWEST - 1), (0, 100)])
def test_too_few_on_a_side_give_no_estimate(sizes):
    left, right = (np.zeros((size, 4)) for size in sizes)
    assert estimate_shift(features(left), features(right)) is None


def test_bad_descriptors_do_no_harm():
    generator = np.random.default_rng(6)
    left, right = generator.normal(size=(2, 100, 6))
    left[0, 0], right[3, 2], right[4, 2] = np.nan, np.inf, 1e30
    found = estimate_shift(features(left), features(right, start=100))
    assert np.isfinite(found.weights.calibration).all()
    assert np.isfinite(found.weights.queries).all()


def test_fingerprints_stand_in_for_descriptors(library):
    from dataclasses import replace

    bare = replace(library, descriptors=np.zeros((len(library), 0), dtype=np.float32))
    near = np.full(len(library), 0.5)
    made = describe(bare, near)
    bits = np.unpackbits(bare.fingerprints, axis=1)
    assert made.table.shape == (len(library), 256)
    assert np.array_equal(made.table, bits[:, :256] | bits[:, 256:])
    assert describe(library, near).table.shape[1] == library.descriptors.shape[1]
    rows = np.arange(len(library))
    chains = estimate_shift(
        describe(bare.take(rows[:80]), near[:80]), describe(bare.take(rows[80:]), near[80:])
    )
    assert chains is not None
