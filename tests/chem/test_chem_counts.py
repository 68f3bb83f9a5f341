"""Counts as bits: their Tanimoto similarity is the min-max similarity of counts."""

import numpy as np
import pytest

from fluid.chem import counts as module
from fluid.chem.counts import COUNT_BITS, HIGHEST, count_fingerprints
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.similarity import tanimoto
from fluid.chem.standardize import StandardizerSpec, standardize


def min_max(left: dict[int, int], right: dict[int, int]) -> float:
    keys = left.keys() | right.keys()
    smaller = sum(min(left.get(key, 0), right.get(key, 0)) for key in keys)
    larger = sum(max(left.get(key, 0), right.get(key, 0)) for key in keys)
    return smaller / larger if larger else 0.0


def as_dicts(compounds) -> list[dict[int, int]]:
    spans = zip(compounds.offsets[:-1], compounds.offsets[1:], strict=True)
    return [
        {
            int(feature): min(int(count), HIGHEST)
            for feature, count in zip(
                compounds.environments[a:b], compounds.counts[a:b], strict=True
            )
        }
        for a, b in spans
    ]


def test_it_is_the_min_max_similarity_but_for_collisions(compounds):
    found = tanimoto(count_fingerprints(compounds), count_fingerprints(compounds))
    each = as_dicts(compounds)
    expected = np.array([[min_max(a, b) for b in each] for a in each])
    off = np.abs(found - expected)
    assert np.diag(found) == pytest.approx(1.0)
    assert off.max() < 0.06
    assert off.mean() < 0.005


def test_two_hexanes_by_hand():
    # Butane and hexane at radius 0: two CH3 and two CH2 against two CH3 and four CH2.
    spec = FeatureSpec(radius=0, descriptors="none")
    structures = [standardize(one, StandardizerSpec()) for one in ("CCCC", "CCCCCC")]
    compounds = featurize(structures, ["butane", "hexane"], spec)
    packed = count_fingerprints(compounds)
    assert np.unpackbits(packed, axis=1).sum(axis=1).tolist() == [4, 6]
    assert tanimoto(packed[:1], packed[1:])[0, 0] == pytest.approx(4 / 6)


def test_without_counts_every_feature_is_one_bit(structures):
    bare = featurize(structures, [""] * len(structures), FeatureSpec(counts=False))
    bits = np.unpackbits(count_fingerprints(bare), axis=1).sum(axis=1)
    features = np.diff(bare.offsets)
    assert (bits <= features).all()
    assert bits.sum() > 0.97 * features.sum()


def test_blocks_change_nothing(compounds, monkeypatch):
    whole = count_fingerprints(compounds)
    assert whole.shape == (len(compounds), COUNT_BITS // 8)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert np.array_equal(whole, count_fingerprints(compounds))
    assert count_fingerprints(compounds.take(np.arange(0))).shape == (0, COUNT_BITS // 8)
