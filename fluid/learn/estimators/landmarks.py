"""Kernel ridge regression on landmarks (Nystroem), summed up block by block.

Nothing here grows with the number of compounds, so that a public set of any size is learned from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.estimators.mixed_kernel import MixedKernel, Prepared
from fluid.learn.estimators.twicing import Twicing

# Compounds added at once, those of which one thread finds the kernel, and landmarks of which one
# thread adds the products: fixed, so that no sum depends on the number of threads.
_BLOCK, _TILE, _PANEL = 2048, 256, 1024
_LEAST = 1e-6

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class NormalEquations:
    """The sums that weighted kernel ridge regression on m landmarks is solved from.

    With K the kernel of n compounds to the landmarks, W their weights and L the kernel between
    landmarks, the coefficients of the subset-of-regressors solution (Williams and Seeger 2000,
    NIPS 13) are ``(K' W K + ridge L + 1e-6 n I)^-1 K' W y``. Held are about m^2 / 2 numbers, of
    the lower triangle, and one block of K.

    Parameters
    ----------
    kernel
        Fitted.
    landmarks
        m compounds.
    n_targets
        Columns of targets that are learned at once.
    """

    def __init__(self, kernel: MixedKernel, landmarks: Compounds, n_targets: int) -> None:
        self.kernel = kernel
        self.landmarks = kernel.prepare(landmarks)
        self.m = len(landmarks)
        self.n = 0
        starts = range(0, self.m, _PANEL)
        self._panels = [np.zeros((self.m - at, min(_PANEL, self.m - at))) for at in starts]
        self._right = np.zeros((self.m, n_targets))
        self._ones = np.zeros(self.m)

    def add(
        self,
        library: CompoundStream,
        rows: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        jobs: int = 1,
    ) -> None:
        """Add compounds.

        Parameters
        ----------
        library, rows
            The compounds, at ascending positions of shape (n,).
        targets
            float64 of shape (n, n_targets).
        weights
            Of their squared errors, float64 of shape (n,), at least 0.
        jobs
            Threads; the sums do not depend on it.
        """
        root = np.sqrt(weights)
        with _threads(jobs) as spread:
            for start, block in library.blocks(rows, _BLOCK):
                part = slice(start, start + len(block))
                scaled = self._kernel(block, root[part], spread)
                self._right += scaled.T @ (targets[part] * root[part, None])
                self._ones += scaled.T @ root[part]
                for _ in spread(lambda at, s=scaled: self._add_panel(s, at), self._places()):  # type: ignore[misc]
                    pass
                self.n += len(block)

    def _kernel(self, block: Compounds, root: np.ndarray, spread: Mapper) -> np.ndarray:
        """Kernel to the landmarks, each row times the root of its weight, as float64."""
        prepared = self.kernel.prepare(block)
        scaled = np.empty((len(block), self.m))

        def fill(start: int) -> None:
            part = slice(start, start + _TILE)
            tile = Prepared(prepared.counts[part], prepared.descriptors[part])
            np.multiply(self.kernel(tile, self.landmarks), root[part, None], out=scaled[part])

        for _ in spread(fill, range(0, len(block), _TILE)):
            pass
        return scaled

    def _places(self) -> range:
        return range(0, self.m, _PANEL)

    def _add_panel(self, scaled: np.ndarray, at: int) -> None:
        panel = self._panels[at // _PANEL]
        panel += scaled[:, at:].T @ scaled[:, at : at + _PANEL]

    def absorb(self, other: NormalEquations) -> None:
        """Add the sums of other compounds, on the same landmarks."""
        for mine, theirs in zip(self._panels, other._panels, strict=True):
            mine += theirs
        self._right += other._right
        self._ones += other._ones
        self.n += other.n

    def solve(
        self,
        ridge: float,
        centre: np.ndarray,
        left_out: np.ndarray | None = None,
        twicing: Twicing | None = None,
        n_plain: int = 0,
    ) -> np.ndarray:
        """Coefficients of the landmarks.

        Parameters
        ----------
        ridge
            Penalty on the function's norm.
        centre
            What is taken from each column beforehand, shape (n_targets,).
        left_out
            Landmarks to go without, bool of shape (m,): their coefficients are 0.
        twicing
            Of the targets, less their plain parts; no further pass over the compounds is needed
            for it.
        n_plain
            So many of the last columns are no targets, but the parts of the first so many that are
            not sharpened.

        Returns
        -------
        numpy.ndarray
            float64 of shape (m, n_targets - n_plain).
        """
        both = self._right - self._ones[:, None] * centre
        right, plain = np.split(both, [both.shape[1] - n_plain], axis=1)
        if twicing is not None:
            rest = right - plain if n_plain else right

            def left(penalty: float) -> np.ndarray:
                return rest - self._normal_times(self._solve(penalty, rest, left_out))

            sharp = twicing.apply(rest, float(self.n), left)
            right = sharp + plain if n_plain else sharp
        return self._solve(ridge, right, left_out)

    def _solve(self, ridge: float, right: np.ndarray, left_out: np.ndarray | None) -> np.ndarray:
        import scipy.linalg

        # In Fortran's order, so that LAPACK works in place; of the lower triangle alone.
        normal = np.zeros((self.m, self.m), order="F")
        for at, panel in zip(self._places(), self._panels, strict=True):
            columns = slice(at, at + _PANEL)
            normal[at:, columns] = panel
            here = Prepared(*(values[columns] for values in self.landmarks))
            for start in range(at, self.m, _BLOCK):
                part = slice(start, start + _BLOCK)
                tile = Prepared(*(values[part] for values in self.landmarks))
                normal[part, columns] += ridge * self.kernel(tile, here).astype(np.float64)
        diagonal = np.diag_indices(self.m)
        normal[diagonal] += _LEAST * self.n
        if left_out is not None:
            normal[left_out] = 0.0
            normal[:, left_out] = 0.0
            normal[left_out, left_out] = 1.0
            right = np.where(left_out[:, None], 0.0, right)
        factor = scipy.linalg.cho_factor(normal, lower=True, overwrite_a=True, check_finite=False)
        return np.asarray(scipy.linalg.cho_solve(factor, right, check_finite=False))

    def _normal_times(self, values: np.ndarray) -> np.ndarray:
        """``K' W K`` times values of shape (m, n_targets), of which the lower triangle is held."""
        found = np.zeros_like(values)
        for at, panel in zip(self._places(), self._panels, strict=True):
            columns = slice(at, at + _PANEL)
            found[at:] += panel @ values[columns]
            found[columns] += panel[panel.shape[1] :].T @ values[at + panel.shape[1] :]
        return found


@contextmanager
def _threads(jobs: int) -> Iterator[Mapper]:
    """A map over so many threads that stay for all blocks."""
    if jobs == 1:
        yield map
        return
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        yield pool.map


def choose_landmarks(n: int, most: int, weights: np.ndarray | None, seed: int) -> np.ndarray:
    """Positions of the landmarks, ascending.

    Parameters
    ----------
    n, most
        Compounds, and how many landmarks at most.
    weights
        Three quarters of the landmarks are the compounds of the highest weight, of shape (n,);
        with None all are drawn at random.
    seed
        Of the draw.
    """
    count = min(most, n)
    random = np.random.default_rng(seed)
    if weights is None or count == n:
        return np.sort(random.choice(n, size=count, replace=False))
    # The chemistry that weighs most is to be represented compound by compound; many weigh the
    # same, and among these the order of the file must not decide.
    shuffled = random.permutation(n)
    order = shuffled[np.argsort(-weights[shuffled], kind="stable")]
    best, rest = np.split(order, [3 * count // 4])
    drawn = random.choice(np.sort(rest), size=count - len(best), replace=False)
    return np.sort(np.concatenate([best, drawn]))
