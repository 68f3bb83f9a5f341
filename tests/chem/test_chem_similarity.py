"""Similarity agrees with RDKit and with brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from fluid.chem import similarity as module
from fluid.chem.similarity import neighbour_similarity, tanimoto

PACKED = hnp.arrays(np.uint8, st.tuples(st.integers(1, 7), st.just(8)))


def brute(left, right):
    """Tanimoto by sets of bit positions."""
    a, b = (set(np.flatnonzero(np.unpackbits(one))) for one in (left, right))
    return len(a & b) / len(a | b) if a | b else 0.0


def test_similarity_is_that_of_rdkit(structures, compounds):
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    raw = [generator.GetFingerprint(structure.mol) for structure in structures]
    expected = [DataStructs.BulkTanimotoSimilarity(one, raw) for one in raw]
    found = tanimoto(compounds.fingerprints, compounds.fingerprints)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_three_of_five_bits_shared():
    left = np.array([[0b11110000]], dtype=np.uint8)
    right = np.array([[0b01111000], [0b00001111], [0b11110000], [0]], dtype=np.uint8)
    assert tanimoto(left, right).tolist() == [[pytest.approx(0.6), 0.0, 1.0, 0.0]]


def test_two_empty_fingerprints_have_similarity_zero():
    empty = np.zeros((1, 8), dtype=np.uint8)
    assert tanimoto(empty, empty).tolist() == [[0.0]]


@settings(deadline=None)
@given(PACKED, PACKED)
def test_similarity_is_symmetric_between_zero_and_one_and_that_of_sets(left, right):
    found = tanimoto(left, right)
    assert np.array_equal(found, tanimoto(right, left).T)
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    expected = [[brute(a, b) for b in right] for a in left]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@settings(deadline=None)
@given(PACKED)
def test_a_compound_is_like_itself(packed):
    itself = np.diag(tanimoto(packed, packed))
    assert itself.tolist() == [1.0 if row.any() else 0.0 for row in packed]


@settings(deadline=None)
@given(PACKED, PACKED, st.integers(1, 9))
def test_neighbours_are_those_of_brute_force(queries, references, k):
    expected = [
        sum(sorted((brute(query, one) for one in references), reverse=True)[:k]) / k
        for query in queries
    ]
    found = neighbour_similarity(queries, references, k)
    assert found.shape == (len(queries),)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@settings(deadline=None)
@given(PACKED, PACKED, st.integers(1, 4), st.randoms(use_true_random=False))
def test_neighbours_do_not_depend_on_the_order_of_references(queries, references, k, random):
    order = list(range(len(references)))
    random.shuffle(order)
    here = neighbour_similarity(queries, references, k)
    assert np.array_equal(here, neighbour_similarity(queries, references[order], k))


def test_only_allowed_references_count(compounds):
    packed = compounds.fingerprints
    n = len(packed)
    mask = np.random.default_rng(0).random((n, n)) < 0.4
    found = neighbour_similarity(packed, packed, 2, lambda part: mask[part])
    every = tanimoto(packed, packed)
    for row in range(n):
        best = sorted(every[row][mask[row]], reverse=True)[:2]
        assert found[row] == pytest.approx(sum(best) / 2, rel=1e-6)


def test_without_references_nothing_is_near(compounds):
    none = compounds.fingerprints[:0]
    assert neighbour_similarity(compounds.fingerprints, none, 3).tolist() == [0.0] * len(compounds)
    assert neighbour_similarity(none, compounds.fingerprints, 3).shape == (0,)


def test_block_size_changes_nothing(compounds, monkeypatch):
    packed = compounds.fingerprints
    mask = np.random.default_rng(1).random((len(packed), len(packed))) < 0.7
    whole = neighbour_similarity(packed, packed, 3, lambda part: mask[part])
    monkeypatch.setattr(module, "_BLOCK", 5)
    pieces = neighbour_similarity(packed, packed, 3, lambda part: mask[part])
    assert np.array_equal(whole, pieces)
