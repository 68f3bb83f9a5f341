"""Similarity agrees with RDKit and with brute force."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rdkit import DataStructs
from rdkit.Chem import rdFingerprintGenerator

from fluid.chem import compiled, popcount
from fluid.chem.similarity import (
    nearest_references,
    neighbour_similarity,
    similarity_apart,
    tanimoto,
)

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


def test_without_references_nothing_is_near(compounds):
    none = compounds.fingerprints[:0]
    assert neighbour_similarity(compounds.fingerprints, none, 3).tolist() == [0.0] * len(compounds)
    assert neighbour_similarity(none, compounds.fingerprints, 3).shape == (0,)


@settings(deadline=None)
@given(PACKED, PACKED, st.integers(1, 9), st.data())
def test_nearest_are_those_of_a_full_sort(queries, references, k, data):
    left_out = np.array(
        [data.draw(st.integers(-1, len(references) - 1)) for _ in queries], dtype=np.int64
    )
    best, where = nearest_references(queries, references, k, left_out)
    every = tanimoto(queries, references)
    for row, column in enumerate(left_out):
        if column >= 0:
            every[row, column] = 0.0
        # The most similar first, of equals the first; what shares nothing is no neighbour.
        order = [j for j in np.argsort(-every[row], kind="stable") if every[row, j] > 0][:k]
        expected = [-1] * (k - len(order)) + order[::-1]
        assert where[row].tolist() == expected
        assert best[row].tolist() == [every[row, j] if j >= 0 else 0.0 for j in expected]


@settings(deadline=None)
@given(PACKED, PACKED, st.integers(1, 4), st.randoms(use_true_random=False))
def test_neighbours_of_other_groups_are_those_of_each_division_alone(
    queries, references, k, random
):
    asked, held = (
        np.array([[random.randrange(3) for _ in rows] for _ in range(2)], dtype=np.uint8)
        for rows in (queries, references)
    )
    found = similarity_apart(queries, references, asked, held, k)
    for division, row in enumerate(found):
        for query, similarity in enumerate(row):
            others = references[held[division] != asked[division, query]]
            assert similarity == neighbour_similarity(queries[query : query + 1], others, k)[0]


def test_many_references_are_searched_to_the_same_end(compounds):
    packed = np.concatenate([np.roll(compounds.fingerprints, shift, axis=1) for shift in range(9)])
    groups = np.arange(len(packed), dtype=np.uint8)[None] % 5
    found = similarity_apart(packed[::7], packed, groups[:, ::7], groups, 3)
    for fold in range(5):
        rows = groups[0, ::7] == fold
        others = packed[groups[0] != fold]
        expected = neighbour_similarity(packed[::7][rows], others, 3)
        assert found[0, rows].tolist() == expected.tolist()


@pytest.mark.parametrize("width", [8, 40, 256])
@pytest.mark.parametrize("density", [0.01, 0.03, 0.3])
def test_no_pair_is_ruled_out_that_is_among_the_nearest(width, density):
    rng = np.random.default_rng(width)
    packed = np.packbits(rng.random((400, 8 * width)) < density, axis=1)
    # Analogues, equal ones among them, so that there is somebody near, and ties.
    flips = np.packbits(rng.random((200, 8 * width)) < density / 20, axis=1)
    queries, references = packed[:50], np.concatenate([packed, packed[:200] ^ flips])
    every = tanimoto(queries, references)
    best, where = nearest_references(queries, references, 5)
    for row, similarities in enumerate(every):
        order = [j for j in np.argsort(-similarities, kind="stable")[:5] if similarities[j] > 0]
        assert where[row].tolist() == [-1] * (5 - len(order)) + order[::-1]
        assert best[row, 5 - len(order) :].tolist() == similarities[order[::-1]].tolist()
    groups = rng.integers(0, 4, (3, len(references)), dtype=np.uint8)
    found = similarity_apart(queries, references, groups[:, :50], groups, 5)
    for division, own in enumerate(groups):
        others = np.where(own[None] != own[:50, None], every, np.float32(0.0))
        expected = np.sort(others, axis=1)[:, -5:].sum(axis=1) / np.float32(5)
        np.testing.assert_allclose(found[division], expected, rtol=1e-6)


@pytest.mark.parametrize("width", [1, 3, 8, 13, 256])
def test_any_width_of_fingerprints(width):
    rng = np.random.default_rng(width)
    packed = rng.integers(0, 256, size=(5, width), dtype=np.uint8)
    expected = [[brute(a, b) for b in packed] for a in packed]
    np.testing.assert_allclose(tanimoto(packed, packed), expected, rtol=1e-6)


def test_without_a_folder_to_cache_in_it_is_compiled_anew(monkeypatch):
    made = []

    def refuse(nogil, cache=False):
        made.append(cache)

        def decorate(function):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return "compiled"

        return decorate

    monkeypatch.setattr(compiled.numba, "njit", refuse)
    assert compiled.compile_loop(len) == "compiled"
    assert made == [True, False]


def test_what_an_earlier_process_compiled_is_found_again():
    program = (
        "from fluid.chem.popcount import kernels\n"
        "print([sum(one.stats.cache_hits.values()) for one in kernels()])"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([1] * len(popcount.Kernels._fields))
