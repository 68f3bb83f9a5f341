"""LightGBM's trees walked by eight compounds at once, to the bit what LightGBM predicts.

A walk has a fixed number of steps, leaves lead to themselves, and what a processor waits for are
then no branches but loads that do not wait for one another. It takes a third of LightGBM's time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

_ARRAYS = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value")
# Bits of the decision type that say how a missing value is treated; 0 is not at all.
_MISSING = 0b1100


class Walk(NamedTuple):
    """All trees of a model; splits come first, then leaves.

    Attributes
    ----------
    roots, depths
        First node of each tree and steps to its deepest leaf, int32 and int64.
    features, thresholds
        Of each node: a compound goes left if its value is at most the threshold.
    children
        Left and right, int32 of shape (n_nodes, 2); a leaf leads to itself.
    values
        Of the leaves, float64; 0 for splits.
    n_features
        Columns of the matrix that the trees were made for.
    """

    roots: np.ndarray
    depths: np.ndarray
    features: np.ndarray
    thresholds: np.ndarray
    children: np.ndarray
    values: np.ndarray
    n_features: int


def read_walk(text: str) -> Walk | None:
    """The trees of a model text that is known to be whole (`check_tree_text`).

    Returns None if they treat missing values in a way of their own; then LightGBM has to predict.
    """
    single = ("num_leaves", "max_feature_idx")
    lines: dict[str, list[str]] = {name: [] for name in (*single, *_ARRAYS)}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name in lines:
            lines[name].append(value)
    read = {name: np.array(" ".join(lines[name]).split(), dtype=np.float64) for name in _ARRAYS}
    if np.any(read["decision_type"].astype(np.int64) & _MISSING):
        return None
    n_leaves = np.array(lines["num_leaves"], dtype=np.int64)
    n_splits = n_leaves - 1
    first_leaf = n_splits.sum() + np.cumsum(n_leaves) - n_leaves
    first_split = np.cumsum(n_splits) - n_splits
    children = np.stack([read["left_child"], read["right_child"]], axis=1).astype(np.int64)
    # A child is a split of the same tree, or the complement of one of its leaves.
    own_split, own_leaf = (
        np.repeat(first, n_splits)[:, None] for first in (first_split, first_leaf)
    )
    children = np.where(children >= 0, children + own_split, ~children + own_leaf)
    leaves = np.arange(n_splits.sum(), n_splits.sum() + n_leaves.sum())
    children = np.concatenate([children, np.stack([leaves, leaves], axis=1)]).astype(np.int32)
    roots = np.where(n_splits > 0, first_split, first_leaf)
    none = np.zeros(len(leaves))
    return Walk(
        roots.astype(np.int32),
        _depths(roots, children, int(n_splits.sum())),
        np.concatenate([read["split_feature"], none]).astype(np.int32),
        np.concatenate([read["threshold"], none]),
        children,
        np.concatenate([np.zeros(n_splits.sum()), read["leaf_value"]]),
        int(lines["max_feature_idx"][0]) + 1,
    )


def _depths(roots: np.ndarray, children: np.ndarray, n_splits: int) -> np.ndarray:
    depths = np.zeros(len(roots), dtype=np.int64)
    trees, nodes = np.arange(len(roots)), roots
    level = 0
    while len(nodes):
        depths[trees] = level
        inner = nodes < n_splits
        trees, nodes = np.repeat(trees[inner], 2), children[nodes[inner]].ravel()
        level += 1
    return depths


def predict(walk: Walk, matrix: scipy.sparse.csr_matrix) -> np.ndarray:
    """Sum of the trees' values for each row of float32 features, float64 of shape (n,).

    Raises
    ------
    ValueError
        If the trees were made for another number of features.
    """
    if matrix.shape[1] != walk.n_features:
        raise ValueError(f"{matrix.shape[1]} features, but the trees need {walk.n_features}")
    found = np.zeros(matrix.shape[0])
    _walker()(matrix.indptr, matrix.indices, matrix.data, *walk, found)
    return found


@lru_cache(maxsize=1)
def _walker() -> Any:
    try:
        return _compile(cache=True)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written.
        return _compile(cache=False)


def _compile(cache: bool) -> Any:
    import numba

    @numba.njit(nogil=True, cache=cache)
    def run(  # type: ignore[no-untyped-def]
        starts, columns, data, roots, depths, features, thresholds, children, values, n_features,
        found,
    ):  # fmt: skip
        side = 8
        dense = np.zeros((n_features, side), np.float32)
        nodes = np.zeros(side, np.int32)
        for first in range(0, len(found), side):
            count = min(side, len(found) - first)
            for row in range(count):
                for place in range(starts[first + row], starts[first + row + 1]):
                    dense[columns[place], row] = data[place]
            for tree in range(len(roots)):
                nodes[:] = roots[tree]
                for _ in range(depths[tree]):
                    for row in range(side):
                        node = nodes[row]
                        right = np.float64(dense[features[node], row]) > thresholds[node]
                        nodes[row] = children[node, np.int64(right)]
                for row in range(count):
                    found[first + row] += values[nodes[row]]
            for row in range(count):
                for place in range(starts[first + row], starts[first + row + 1]):
                    dense[columns[place], row] = np.float32(0.0)

    return run
