"""Tanimoto similarity on packed fingerprints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_BLOCK = 2048


def tanimoto(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Tanimoto similarity of every query to every reference.

    Parameters
    ----------
    queries, references
        Packed fingerprints, uint8 of shape (n, bytes) and (m, bytes).

    Returns
    -------
    numpy.ndarray
        float32 of shape (n, m) in [0, 1]; two empty fingerprints have similarity 0. Shared bits
        are counted exactly, so the result does not depend on threads or block sizes.
    """
    left = np.unpackbits(queries, axis=1).astype(np.float32)
    right = np.unpackbits(references, axis=1).astype(np.float32)
    shared = left @ right.T
    union = left.sum(axis=1)[:, None] + right.sum(axis=1)[None, :] - shared
    np.maximum(union, 1.0, out=union)
    return np.divide(shared, union, out=shared)


def neighbour_similarity(
    queries: np.ndarray,
    references: np.ndarray,
    k: int,
    allowed: Callable[[slice], np.ndarray] | None = None,
) -> np.ndarray:
    """Mean Tanimoto similarity of each query to its k most similar references.

    Parameters
    ----------
    queries, references
        Packed fingerprints, uint8 of shape (n, bytes) and (m, bytes).
    k
        Number of neighbours; if fewer references are allowed, the missing ones count as 0.
    allowed
        Given a slice of queries, a bool array of shape (len, m) that says which references count.

    Returns
    -------
    numpy.ndarray
        float32 of shape (n,) in [0, 1].
    """
    result = np.zeros(len(queries), dtype=np.float32)
    if not len(references):
        return result
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(queries)))
        similarity = tanimoto(queries[part], references)
        if allowed is not None:
            similarity[~allowed(part)] = 0.0
        if similarity.shape[1] > k:
            similarity = np.partition(similarity, similarity.shape[1] - k, axis=1)[:, -k:]
        # Sorted, so that the sum does not depend on the order that partitioning happened to leave.
        result[part] = np.sort(similarity, axis=1).sum(axis=1) / k
    return result
