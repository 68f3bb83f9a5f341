"""Tanimoto similarity on packed fingerprints."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fluid.chem.popcount import fold, kernels, words


class _Prepared(NamedTuple):
    """Packed fingerprints as words, the same folded, their bits, and how many folding hides."""

    whole: np.ndarray
    folded: np.ndarray
    sizes: np.ndarray
    slack: np.ndarray
    order: np.ndarray

    def in_order(self) -> _Prepared:
        """By ascending number of bits, a column of folded words each."""
        order = np.argsort(self.sizes, kind="stable")
        return _Prepared(
            self.whole[order], np.ascontiguousarray(self.folded[order].T), self.sizes[order],
            self.slack[order], order,
        )  # fmt: skip


def _prepared(packed: np.ndarray) -> _Prepared:
    whole = words(packed)
    folded = fold(whole)
    run = kernels()
    sizes = run.count(whole)
    return _Prepared(whole, folded, sizes, sizes - run.count(folded), np.arange(len(whole)))


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
        nearest. Where fewer references share a bit with the query, the rest, in front, is
        similarity 0 at position -1.
    """
    run = kernels()
    left, right = _prepared(queries), _prepared(references).in_order()
    best = np.zeros((len(queries), k), dtype=np.float32)
    where = np.full((len(queries), k), -1, dtype=np.int64)
    nobody = np.full(len(queries), -1, dtype=np.int64) if left_out is None else left_out
    run.nearest(
        left.whole, right.whole, left.folded, right.folded, left.sizes, right.sizes,
        left.slack, right.slack, right.order, nobody, best, where,
    )  # fmt: skip
    return best, where


def similarity_apart(
    queries: np.ndarray,
    references: np.ndarray,
    query_groups: np.ndarray,
    reference_groups: np.ndarray,
    k: int,
) -> np.ndarray:
    """Mean similarity of each query to its k most similar references of other groups.

    For several divisions into groups at once, which costs little more than one.

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
    run = kernels()
    left, right = _prepared(queries), _prepared(references).in_order()
    best = np.zeros((len(query_groups), len(queries), k), dtype=np.float32)
    run.distances(
        left.whole, right.whole, left.folded, right.folded, left.sizes, right.sizes,
        left.slack, right.slack, np.ascontiguousarray(query_groups.T),
        np.ascontiguousarray(reference_groups.T[right.order]), best,
    )  # fmt: skip
    return best.sum(axis=2) / np.float32(k)
