"""A fitted multi-task network: its arrays, and its forward pass in NumPy."""

from __future__ import annotations

from typing import Self

import numpy as np
import scipy.sparse

from fluid.chem.compounds import Compounds
from fluid.learn.estimators.base import State, check_scaling

# Scaled descriptors are clipped to this many standard deviations.
CLIP = 5.0
_BLOCK = 2048


class Network:
    """One hidden layer that all tasks share, and a linear output for each column of labels.

    Attributes
    ----------
    mean_, scale_
        Of the descriptors, float64 of shape (n_descriptors,).
    trunk_, trunk_bias_
        Of the hidden layer, float32 of shape (bits + n_descriptors, n_hidden) and (n_hidden,).
    heads_, heads_bias_
        Of the outputs, float32 of shape (n_hidden, n_columns) and (n_columns,).
    """

    kind = "network"

    def __init__(
        self,
        scaling: tuple[np.ndarray, np.ndarray],
        trunk: tuple[np.ndarray, np.ndarray],
        heads: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self.mean_, self.scale_ = scaling
        self.trunk_, self.trunk_bias_ = trunk
        self.heads_, self.heads_bias_ = heads

    def scores(self, compounds: Compounds) -> np.ndarray:
        """Value of each column, float64 of shape (n, n_columns).

        Log-odds, numbers or class logits. In their last bits they depend on
        what is scored together.
        """
        found = np.empty((len(compounds), len(self.heads_bias_)))
        for start in range(0, len(compounds), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(compounds)))
            inputs = network_input(compounds.take(rows), self.mean_, self.scale_)
            hidden = np.maximum(inputs @ self.trunk_ + self.trunk_bias_, 0.0)
            found[rows] = hidden @ self.heads_ + self.heads_bias_
        return found

    def to_state(self) -> State:
        """The network as plain values."""
        arrays = {
            "mean": self.mean_,
            "scale": self.scale_,
            "trunk": self.trunk_,
            "trunk_bias": self.trunk_bias_,
            "heads": self.heads_,
            "heads_bias": self.heads_bias_,
        }
        return State(self.kind, {}, arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `to_state`."""
        state.has_only([], ["mean", "scale", "trunk", "trunk_bias", "heads", "heads_bias"])
        return cls(
            (state.array("mean", np.float64), state.array("scale", np.float64)),
            (state.array("trunk", np.float32, 2), state.array("trunk_bias", np.float32)),
            (state.array("heads", np.float32, 2), state.array("heads_bias", np.float32)),
        )

    def check(self, library: Compounds) -> None:
        """See `Estimator.check`."""
        check_scaling(self.mean_, self.scale_, library)
        n_hidden, n_columns = len(self.trunk_bias_), len(self.heads_bias_)
        n_inputs = library.bits + library.descriptors.shape[1]
        if self.trunk_.shape != (n_inputs, n_hidden) or self.heads_.shape != (n_hidden, n_columns):
            raise ValueError("the layers of a network do not fit one another")


def network_input(
    compounds: Compounds, mean: np.ndarray, scale: np.ndarray
) -> scipy.sparse.csr_matrix:
    """What the hidden layer sees: log(1 + count) of folded features, and scaled descriptors.

    Returns
    -------
    scipy.sparse.csr_matrix
        float32 of shape (n, bits + n_descriptors).
    """
    folded = compounds.feature_matrix(counts=True)[:, : compounds.bits]
    folded.data = np.log1p(folded.data)
    scaled = (compounds.descriptors.astype(np.float64) - mean) / scale
    scaled = np.clip(scaled, -CLIP, CLIP).astype(np.float32)
    return scipy.sparse.hstack([folded, scipy.sparse.csr_matrix(scaled)], format="csr")
