"""Compiled loops over packed fingerprints and features, ready to be called."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

_FOLDED = 4


class Kernels(NamedTuple):
    """Compiled functions; they hold no lock, so that threads run side by side."""

    count: Any
    tanimoto: Any
    nearest: Any
    distances: Any
    feature_rows: Any


def words(packed: np.ndarray) -> np.ndarray:
    """Packed fingerprints as uint64 of shape (n, bytes / 8), padded with zeros if need be."""
    missing = -packed.shape[1] % 8
    if missing:
        packed = np.pad(packed, ((0, 0), (0, missing)))
    return np.ascontiguousarray(packed).view(np.uint64)


def fold(whole: np.ndarray) -> np.ndarray:
    """Words joined by "or" into four, 256 bits: the loops rule out most pairs by these."""
    folded = np.zeros((len(whole), _FOLDED), np.uint64)
    for start in range(0, whole.shape[1], _FOLDED):
        part = whole[:, start : start + _FOLDED]
        folded[:, : part.shape[1]] |= part
    return folded


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """Compile the loops, or load what an earlier process compiled."""
    # numba takes half a second to import, and most commands never come here.
    from fluid.chem import compiled

    made = Kernels(
        compiled.count,
        compiled.tanimoto,
        compiled.nearest,
        compiled.distances,
        compiled.feature_rows,
    )
    # Compiled here, by one thread, rather than at the first use by several at once.
    empty, none = np.zeros((0, 1), np.uint64), np.zeros(0, np.int64)
    short = np.zeros((_FOLDED, 0), np.uint64)
    best, where = np.zeros((0, 1), np.float32), np.zeros((0, 1), np.int64)
    made.count(empty)
    made.tanimoto(empty, empty, none, none, best)
    made.nearest(empty, empty, empty, short, none, none, none, none, none, none, best, where)
    groups = np.zeros((0, 1), np.uint8)
    made.distances(
        empty, empty, empty, short, none, none, none, none, groups, groups, best[None]
    )  # fmt: skip
    bytes_, features = np.zeros(0, np.uint8), np.zeros(0, np.uint32)
    made.feature_rows(
        features, bytes_, np.zeros(1, np.int64), np.int64(8), False, best, np.zeros(1, np.int64),
        np.zeros(0, np.int32), np.zeros(0, np.float32),
    )  # fmt: skip
    return made
