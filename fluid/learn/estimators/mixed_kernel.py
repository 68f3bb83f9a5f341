"""The kernel of kernel learners: half min-max of counts, half Gaussian of the descriptors."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.counts import count_fingerprints
from fluid.chem.similarity import tanimoto
from fluid.chem.stream import CompoundStream

_CLIP = 5.0
_BLOCK = 2048


class Prepared(NamedTuple):
    """n compounds as the kernel sees them.

    Attributes
    ----------
    counts
        Packed fingerprints of counts, uint8 of shape (n, bytes).
    descriptors
        Scaled descriptors, float32 of shape (n, n_descriptors).
    """

    counts: np.ndarray
    descriptors: np.ndarray


class MixedKernel:
    """The kernel (min-max of Morgan counts + Gaussian of scaled descriptors) / 2.

    The min-max kernel is the Tanimoto similarity of counts: the sum of the smaller over the sum of
    the larger counts. Without descriptors it stands alone. Both parts are positive definite
    (Ralaivola et al. 2005, doi 10.1016/j.neunet.2005.07.009), and so is their mean.
    """

    def fit(self, compounds: Compounds) -> Self:
        """Find the scaling of the descriptors: mean and standard deviation of each."""
        values = compounds.descriptors.astype(np.float64)
        return self._scale(values.mean(axis=0), values.std(axis=0))

    def fit_stream(self, library: CompoundStream, rows: np.ndarray) -> Self:
        """The same for compounds at ascending positions of a stream; one pass."""
        count, centre, total, squares = len(rows), None, 0.0, 0.0
        for _, block in library.blocks(rows, _BLOCK):
            values = block.descriptors.astype(np.float64)
            # Squares lose their last digits if values are far from 0.
            centre = values.mean(axis=0) if centre is None else centre
            total = total + (values - centre).sum(axis=0)
            squares = squares + ((values - centre) ** 2).sum(axis=0)
        assert centre is not None
        shift = total / count
        return self._scale(centre + shift, np.sqrt(np.maximum(squares / count - shift**2, 0.0)))

    def fit_nothing(self, n_descriptors: int) -> Self:
        """Take descriptors as they are: there are no compounds to scale by."""
        return self._scale(np.zeros(n_descriptors), np.ones(n_descriptors))

    def _scale(self, mean: np.ndarray, spread: np.ndarray) -> Self:
        self.mean_ = mean
        self.scale_ = np.where(spread > 1e-9, spread, 1.0)
        return self

    def prepare(self, compounds: Compounds) -> Prepared:
        """What the kernel needs of compounds."""
        scaled = (compounds.descriptors.astype(np.float64) - self.mean_) / self.scale_
        return Prepared(
            count_fingerprints(compounds), np.clip(scaled, -_CLIP, _CLIP).astype(np.float32)
        )

    def __call__(self, left: Prepared, right: Prepared) -> np.ndarray:
        """Kernel matrix, float32 of shape (len(left), len(right))."""
        shared = tanimoto(left.counts, right.counts)
        return self.add_descriptors(shared, left.descriptors, right.descriptors)

    def add_descriptors(self, shared: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The kernel from its min-max part, which is overwritten, and scaled descriptors."""
        if not len(self.mean_):
            return shared
        # In place: a temporary of this size costs more than the arithmetic on it.
        product = a @ b.T
        product *= 2.0
        gaussian = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :]
        gaussian -= product
        np.maximum(gaussian, 0.0, out=gaussian)
        gaussian /= -len(self.mean_)
        np.exp(gaussian, out=gaussian)
        gaussian *= 0.5
        shared *= 0.5
        shared += gaussian
        return shared
