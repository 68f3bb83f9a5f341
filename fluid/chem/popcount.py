"""Compiled loops over packed fingerprints and features, ready to be called."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

_FOLDED = 4


class Kernels(NamedTuple):
    """Compiled functions; they release Python's lock, so that threads run side by side."""

    count: Any
    tanimoto: Any
    nearest: Any
    nearest_in_other_groups: Any
    feature_rows: Any


def words(packed: np.ndarray) -> np.ndarray:
    """Packed fingerprints as uint64 of shape (n, bytes / 8), padded with zeros if needed."""
    missing = -packed.shape[1] % 8
    if missing:
        packed = np.pad(packed, ((0, 0), (0, missing)))
    return np.ascontiguousarray(packed).view(np.uint64)


def fold(whole: np.ndarray) -> np.ndarray:
    """Words joined by "or" into four (256 bits), by which the loops rule out most pairs."""
    folded = np.zeros((len(whole), _FOLDED), np.uint64)
    for start in range(0, whole.shape[1], _FOLDED):
        part = whole[:, start : start + _FOLDED]
        folded[:, : part.shape[1]] |= part
    return folded


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """Compile the loops, or load what an earlier process compiled."""
    # numba takes half a second to import, and most commands do not need it.
    from fluid.chem import compiled

    made = Kernels(
        compiled.count,
        compiled.tanimoto,
        compiled.nearest,
        compiled.nearest_in_other_groups,
        compiled.feature_rows,
    )
    # Compiled here by one thread, so that several never compile at once.
    empty, none = np.zeros((0, 1), np.uint64), np.zeros(0, np.int64)
    short = np.zeros((_FOLDED, 0), np.uint64)
    best, where = np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int64)
    made.count(empty)
    made.tanimoto(empty, empty, none, none, best)
    nobody = Prepared(empty, empty, none, none, none)
    nothing = Prepared(empty, short, none, none, none)
    made.nearest(nobody, nothing, none, best, where)
    groups = np.zeros((0, 1), np.uint8)
    made.nearest_in_other_groups(nobody, nothing, groups, groups, best[None])
    features, counts, offsets = np.zeros(0, np.uint32), np.zeros(0, np.uint8), np.zeros(1, np.int64)
    indices, data = np.zeros(0, np.int32), np.zeros(0, np.float32)
    made.feature_rows(
        features, counts, offsets, np.int64(8), False, best, offsets.copy(), indices, data
    )
    return made


class Prepared(NamedTuple):
    """Packed fingerprints as the compiled loops take them.

    Attributes
    ----------
    whole
        Words, uint64 of shape (n, words).
    folded
        The same folded, uint64 of shape (n, 4); of references a row per word, (4, n).
    sizes, slack
        Number of bits, and how many of these folding hides; int64 of shape (n,).
    order
        Positions among the fingerprints as given, int64 of shape (n,).
    """

    whole: np.ndarray
    folded: np.ndarray
    sizes: np.ndarray
    slack: np.ndarray
    order: np.ndarray

    def as_references(self) -> Prepared:
        """Sorted by number of bits, as references must be."""
        order = np.argsort(self.sizes, kind="stable")
        folded = np.ascontiguousarray(self.folded[order].T)
        return Prepared(self.whole[order], folded, self.sizes[order], self.slack[order], order)


def prepare(packed: np.ndarray) -> Prepared:
    """Prepare packed fingerprints, uint8 of shape (n, bytes)."""
    whole = words(packed)
    folded = fold(whole)
    run = kernels()
    sizes = run.count(whole)
    return Prepared(whole, folded, sizes, sizes - run.count(folded), np.arange(len(whole)))
