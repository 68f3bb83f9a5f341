"""Decision trees as arrays: checked once, walked by a loop of our own.

LightGBM trusts its own text: a child that points outside its tree, or back up it, makes it read
foreign memory or never return, and no check can be sure to read a text as LightGBM does. So no text
is kept: trees are taken from it when they were just trained, and the sums over them are the same to
the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import scipy.sparse

# Bits of LightGBM's decision type: the split is categorical, or sends missing numbers its own way.
_SPECIAL = 1 | 4 | 8


@dataclass(frozen=True)
class TreeArrays:
    """Trees of one output, their splits and their leaves end to end.

    Attributes
    ----------
    offsets
        int64 of shape (n_trees + 1,): tree t owns splits ``offsets[t]`` to ``offsets[t + 1]``. It
        has a leaf more than splits: leaves begin at ``offsets[t] + t``.
    feature
        int32 of shape (n_splits,): the column that a split looks at.
    threshold
        float64 of shape (n_splits,): up to it a compound goes left.
    children
        int32 of shape (n_splits, 2): where left and right lead, counted within the tree; split s is
        s, leaf l is ``~l``.
    leaves
        float64 of shape (n_splits + n_trees,): the score that a leaf adds.
    """

    offsets: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    children: np.ndarray
    leaves: np.ndarray

    TYPES: ClassVar[dict[str, tuple[type[np.generic], int]]] = {
        "offsets": (np.int64, 1),
        "feature": (np.int32, 1),
        "threshold": (np.float64, 1),
        "children": (np.int32, 2),
        "leaves": (np.float64, 1),
    }

    @classmethod
    def from_lightgbm(cls, text: str) -> TreeArrays:
        """The trees of a model that LightGBM has just written."""
        trees = [
            dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            for block in text.partition("\nend of trees")[0].split("\nTree=")[1:]
        ]

        def every(key: str, kind: type) -> np.ndarray:
            # A tree of one leaf states no splits.
            return np.array([item for tree in trees for item in tree.get(key, "").split()], kind)

        if np.any(every("decision_type", np.int64) & _SPECIAL):
            raise ValueError("only trees with numeric splits, no missing values, are supported")
        sizes = np.array([int(tree["num_leaves"]) - 1 for tree in trees], dtype=np.int64)
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            every("split_feature", np.int32),
            every("threshold", np.float64),
            np.stack([every("left_child", np.int32), every("right_child", np.int32)], axis=1),
            every("leaf_value", np.float64),
        )

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.offsets) - 1

    def raised(self, by: float) -> TreeArrays:
        """The same trees with a number added to every leaf of the first, and so to every sum."""
        leaves = self.leaves.copy()
        leaves[: self.offsets[1] + 1] += by
        return replace(self, leaves=leaves)

    def check(self, n_features: int) -> None:
        """Make sure that every walk stays inside its tree and ends in a leaf.

        Parameters
        ----------
        n_features
            Columns of the matrix that the trees are given.

        Raises
        ------
        ValueError
            If the arrays do not fit one another, a split looks at a feature that does not exist,
            or a split or leaf is not reached exactly once, from a split before it.
        """
        n_splits, sizes = len(self.feature), np.diff(self.offsets)
        if (
            self.n_trees < 1
            or self.offsets[0] != 0
            or self.offsets[-1] != n_splits
            # Not by their difference, which may overflow.
            or np.any(self.offsets[1:] < self.offsets[:-1])
            or self.threshold.shape != (n_splits,)
            or self.children.shape != (n_splits, 2)
            or self.leaves.shape != (n_splits + self.n_trees,)
        ):
            raise ValueError("arrays of trees differ in length")
        if n_splits and not 0 <= self.feature.min() <= self.feature.max() < n_features:
            raise ValueError(f"a split looks at none of the {n_features} features")
        tree = np.repeat(np.arange(self.n_trees), sizes)
        first, size = self.offsets[tree][:, None], sizes[tree][:, None]
        parent = np.arange(n_splits)[:, None] - first
        child = self.children.astype(np.int64)
        inner = child >= 0
        if np.any(np.where(inner, (child <= parent) | (child >= size), ~child > size)):
            raise ValueError("a child is outside its tree, or does not come after its parent")
        place = first + np.where(inner, child, n_splits + tree[:, None] + ~child)
        reached = np.bincount(place.ravel(), minlength=n_splits + len(self.leaves))
        # The root of a tree without splits is its leaf.
        leaf = n_splits + np.arange(self.n_trees)
        reached[self.offsets[:-1] + np.where(sizes > 0, 0, leaf)] += 1
        if np.any(reached != 1):
            raise ValueError("a split or leaf is not reached exactly once")

    def sum(self, matrix: scipy.sparse.csr_matrix) -> np.ndarray:
        """The sum over all trees for each row, float64 of shape (n,).

        Raises
        ------
        ValueError
            If a split looks at a feature that the matrix does not have.
        """
        from fluid.learn.estimators.tree_walk import walk

        width = matrix.shape[1]
        if len(self.feature) and self.feature.max() >= width:
            raise ValueError(f"a split looks at none of the {width} features")
        # Of one type each: the loop is compiled once.
        return np.asarray(
            walk(
                np.ascontiguousarray(matrix.indptr, dtype=np.int32),
                np.ascontiguousarray(matrix.indices, dtype=np.int32),
                np.ascontiguousarray(matrix.data, dtype=np.float32),
                np.ascontiguousarray(self.offsets, dtype=np.int64),
                np.ascontiguousarray(self.feature, dtype=np.int32),
                np.ascontiguousarray(self.threshold, dtype=np.float64),
                np.ascontiguousarray(self.children, dtype=np.int32),
                np.ascontiguousarray(self.leaves, dtype=np.float64),
                width,
            )
        )
