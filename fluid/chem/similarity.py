"""Tanimoto similarity on packed fingerprints."""

from __future__ import annotations

import numpy as np

from fluid.chem.popcount import kernels, prepare, words


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
    run = kernels()
    left, right = words(queries), words(references)
    found = np.empty((len(left), len(right)), dtype=np.float32)
    run.tanimoto(left, right, run.count(left), run.count(right), found)
    return found


def neighbour_similarity(queries: np.ndarray, references: np.ndarray, k: int) -> np.ndarray:
    """Mean Tanimoto similarity of each query to its k most similar references.

    Parameters
    ----------
    queries, references
        Packed fingerprints, uint8 of shape (n, bytes) and (m, bytes).
    k
        Number of neighbours; if there are fewer references, the missing ones count as 0.

    Returns
    -------
    numpy.ndarray
        float32 of shape (n,) in [0, 1]. Memory grows with n + m, not with their product.
    """
    best, _ = nearest_references(queries, references, k)
    return best.sum(axis=1) / np.float32(k)


def nearest_references(
    queries: np.ndarray, references: np.ndarray, k: int, left_out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar references of each query, the nearest last.

    Parameters
    ----------
    queries, references
        Packed fingerprints, uint8 of shape (n, bytes) and (m, bytes).
    k
        Number of neighbours, 1 or more.
    left_out
        int64 of shape (n,): a reference that does not count for the query, such as the query
        itself; by default all count.

    Returns
    -------
    tuple of numpy.ndarray
        Similarities, float32 of shape (n, k), and positions among the references, int64 of the
        same shape. Of equally similar references the first are taken, and the first is the
        nearest. If fewer than k references share a bit with the query, the first entries are
        similarity 0 at position -1.
    """
    best = np.zeros((len(queries), k), dtype=np.float32)
    where = np.full((len(queries), k), -1, dtype=np.int64)
    if left_out is None:
        left_out = np.full(len(queries), -1, dtype=np.int64)
    kernels().nearest(prepare(queries), prepare(references).as_references(), left_out, best, where)
    return best, where


def similarity_apart(
    queries: np.ndarray,
    references: np.ndarray,
    query_groups: np.ndarray,
    reference_groups: np.ndarray,
    k: int,
) -> np.ndarray:
    """Mean similarity of each query to its k most similar references of other groups.

    Takes several divisions into groups at once, at little more than the cost of one.

    Parameters
    ----------
    queries, references
        Packed fingerprints, uint8 of shape (n, bytes) and (m, bytes).
    query_groups, reference_groups
        Group in each division, uint8 of shape (n_divisions, n) and (n_divisions, m).
    k
        Number of neighbours; if there are fewer references, the missing ones count as 0.

    Returns
    -------
    numpy.ndarray
        float32 of shape (n_divisions, n) in [0, 1]: row by row what `neighbour_similarity` gives
        for the references of the other groups.
    """
    left, right = prepare(queries), prepare(references).as_references()
    best = np.zeros((len(query_groups), len(queries), k), dtype=np.float32)
    kernels().nearest_in_other_groups(
        left,
        right,
        np.ascontiguousarray(query_groups.T),
        np.ascontiguousarray(reference_groups.T[right.order]),
        best,
    )
    return best.sum(axis=2) / np.float32(k)
