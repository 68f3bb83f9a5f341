"""Kernels of a library without some of its folds, found once for all tasks.

What a model without fold f is fitted on must not depend on a compound of fold f in any bit, and the
last bits of a matrix product depend on its shape. So a kernel matrix is put together from blocks,
one for each pair of folds: a block depends on the compounds of two folds and on the scaling of
descriptors, which is fitted without the folds that are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.counts import count_fingerprints
from fluid.chem.similarity import tanimoto
from fluid.learn.estimators.kernel import KernelMachine
from fluid.learn.estimators.mixed_kernel import MixedKernel

# A shared matrix of so many compounds takes 256 MB. Larger libraries have kernels task by task.
MOST_SHARED = 8000


@dataclass(frozen=True)
class KernelWithout:
    """The kernel of a library, its descriptors scaled without some folds.

    Attributes
    ----------
    kernel
        Fitted to all labelled compounds outside the folds that are left out.
    library
        The compounds, with a cache.
    position
        Row of each compound in the matrix, int64 of shape (n,).
    matrix
        float32 of shape (n_outside, n_labelled): of the labelled compounds outside, which come
        first in both, and all labelled ones. None if kernels are found task by task.
    """

    kernel: MixedKernel
    library: Compounds
    position: np.ndarray
    matrix: np.ndarray | None

    def among(self, rows: np.ndarray) -> np.ndarray:
        """Kernel matrix of some compounds outside, float64 of shape (m, m)."""
        if self.matrix is None:
            part = self.kernel.prepare(self.library.take(rows))
            return self.kernel(part, part).astype(np.float64)
        places = self.position[rows]
        return self.matrix[np.ix_(places, places)].astype(np.float64)

    def between(self, rows: np.ndarray, machine: KernelMachine) -> np.ndarray:
        """Kernel of compounds of one fold that is left out to those that a machine has kept."""
        if self.matrix is None:
            kept = self.kernel.prepare(self.library.take(machine.rows_))
            return self.kernel(self.kernel.prepare(self.library.take(rows)), kept)
        return self.matrix[np.ix_(self.position[machine.rows_], self.position[rows])].T


class SharedKernels:
    """Makes the kernels of a library; the part that no scaling changes is found once.

    Parameters
    ----------
    library
        n compounds.
    rows
        Of each task: which of them have a label.
    """

    def __init__(self, library: Compounds, rows: Sequence[np.ndarray]) -> None:
        self.library = library
        self.rows = rows
        # A compound without any label takes no part.
        self.labelled = np.unique(np.concatenate(rows))
        self._counts: np.ndarray | None = None

    def divide(self, folds: np.ndarray, n_folds: int) -> DividedKernels:
        """The kernels of one division into folds, uint8 of shape (n,)."""
        return DividedKernels(self, folds, n_folds)

    def counts(self) -> np.ndarray:
        """The part of the kernel that depends on no scaling, float32 of shape (n, n).

        Shared bits are counted exactly, so no entry depends on another compound.
        """
        if self._counts is None:
            packed = count_fingerprints(self.library)
            self._counts = tanimoto(packed, packed)
        return self._counts


class DividedKernels:
    """See `SharedKernels.divide`."""

    def __init__(self, shared: SharedKernels, folds: np.ndarray, n_folds: int) -> None:
        self.shared, self.folds = shared, folds
        self.members = [shared.labelled[folds[shared.labelled] == fold] for fold in range(n_folds)]
        # Labels of each task by fold.
        self.labelled = np.stack(
            [np.bincount(folds[rows], minlength=n_folds) for rows in shared.rows]
        )
        if any(self._is_shared((fold,)) for fold in range(n_folds)):
            # Before threads ask for it.
            shared.counts()

    def _is_shared(self, left_out: tuple[int, ...]) -> bool:
        """Whether one matrix costs less than one per task; the folds left out have no say."""
        outside = [fold for fold in range(len(self.members)) if fold not in left_out]
        size = sum(len(self.members[fold]) for fold in outside)
        each = self.labelled[:, outside].sum(axis=1).astype(np.float64)
        return size <= MOST_SHARED and float((each**2).sum()) >= float(size) ** 2

    def without(self, left_out: tuple[int, ...]) -> KernelWithout:
        """The kernel without the folds `left_out`."""
        library = self.shared.library
        outside = [fold for fold in range(len(self.members)) if fold not in left_out]
        training = np.sort(np.concatenate([self.members[fold] for fold in outside]))
        kernel = MixedKernel()
        if len(training):
            kernel.fit(library.take(training))
        else:
            kernel.fit_nothing(library.descriptors.shape[1])
        position = np.zeros(len(library), dtype=np.int64)
        order = [*outside, *left_out]
        starts = np.cumsum([0, *(len(self.members[fold]) for fold in order)])
        for fold, start in zip(order, starts, strict=False):
            position[self.members[fold]] = np.arange(start, start + len(self.members[fold]))
        if not self._is_shared(left_out):
            return KernelWithout(kernel, library, position, None)
        matrix = np.empty((len(training), starts[-1]), dtype=np.float32)
        counts, prepared = self.shared.counts(), kernel.prepare(library)
        places = {
            fold: slice(start, start + len(self.members[fold]))
            for fold, start in zip(order, starts, strict=False)
        }
        pairs = [*combinations_with_replacement(outside, 2)]
        pairs += [(one, other) for one in outside for other in left_out]
        for one, other in pairs:
            left, right = self.members[one], self.members[other]
            block = kernel.add_descriptors(
                counts[np.ix_(left, right)],
                prepared.descriptors[left],
                prepared.descriptors[right],
            )
            matrix[places[one], places[other]] = block
            if one != other and other in outside:
                matrix[places[other], places[one]] = block.T
        return KernelWithout(kernel, library, position, matrix)
