"""Counts of Morgan features as bits, so that their similarity costs as little as that of bits."""

from __future__ import annotations

import numpy as np

from fluid.chem.compounds import Compounds

COUNT_BITS = 4096
# Higher counts are cut to this.
HIGHEST = 16
_BLOCK = 4096


def count_fingerprints(compounds: Compounds) -> np.ndarray:
    """A bit for the first occurrence of a feature, another for the second, and so on.

    The number of bits that two compounds share is then the sum of the smaller of their counts, and
    their Tanimoto similarity is the min-max similarity of counts (Ralaivola et al. 2005,
    doi 10.1016/j.neunet.2005.07.009), except where features collide on one of the 4,096 bits.

    Parameters
    ----------
    compounds
        n compounds. Without counts in the federation's features every count is 1.

    Returns
    -------
    numpy.ndarray
        Packed bits, uint8 of shape (n, 512).
    """
    found: np.ndarray = compounds.derive("count fingerprints", _pack)
    return found


def _pack(compounds: Compounds) -> np.ndarray:
    packed = np.zeros((len(compounds), COUNT_BITS // 8), dtype=np.uint8)
    for start in range(0, len(compounds), _BLOCK):
        stop = min(start + _BLOCK, len(compounds))
        offsets = compounds.offsets[start : stop + 1]
        part = slice(offsets[0], offsets[-1])
        features, counts = compounds.environments[part], compounds.counts[part]
        rows = np.repeat(np.arange(stop - start), np.diff(offsets))
        bits = np.zeros((stop - start, COUNT_BITS), dtype=np.uint8)
        for level in range(1, min(int(counts.max(initial=0)), HIGHEST) + 1):
            reached = counts >= level
            bits[rows[reached], _positions(features[reached], level)] = 1
        packed[start:stop] = np.packbits(bits, axis=1)
    return packed


def _positions(features: np.ndarray, level: int) -> np.ndarray:
    """Bits of occurrences of features: the highest bits of a multiplicative hash."""
    mixed = (features.astype(np.uint64) + np.uint64(level * 0x9E3779B9)) & np.uint64(0xFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint64(15))) * np.uint64(0x85EBCA6B) & np.uint64(0xFFFFFFFF)
    return (mixed >> np.uint64(20)).astype(np.int64)
