"""Kernel ridge regression on landmarks (Nystroem), from sums over chunks of compounds.

Nothing here grows with the number of compounds, so a public set of any size can be learned from.
Chunks may be summed by the workers of a cluster: the result is the same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fluid.base.jobs import Workers
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.estimators.mixed_kernel import MixedKernel, Prepared
from fluid.learn.estimators.twicing import Twicing

# Compounds of one chunk, whose sums are found on their own and added to those of the chunks before;
# compounds of which the kernel is held at once; those of which one thread finds the kernel; and
# landmarks of which one thread adds the products. All are fixed, so no sum depends on the number of
# threads or workers. A worker sends back m^2 / 2 numbers for a chunk: small chunks would cost more
# to send than to compute.
_CHUNK, _BLOCK, _TILE, _PANEL = 16_384, 2048, 256, 1024
_LEAST = 1e-6

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class _Basis:
    """The landmarks, and the kernel to them."""

    kernel: MixedKernel
    landmarks: Prepared

    def __len__(self) -> int:
        return len(self.landmarks.counts)

    def to_landmarks(self, compounds: Compounds, root: np.ndarray, spread: Mapper) -> np.ndarray:
        """Kernel to the landmarks, each row times the root of its weight, as float64."""
        prepared = self.kernel.prepare(compounds)
        scaled = np.empty((len(compounds), len(self)))

        def fill(start: int) -> None:
            part = slice(start, start + _TILE)
            tile = Prepared(prepared.counts[part], prepared.descriptors[part])
            np.multiply(self.kernel(tile, self.landmarks), root[part, None], out=scaled[part])

        for _ in spread(fill, range(0, len(compounds), _TILE)):
            pass
        return scaled


@dataclass(frozen=True)
class _Chunk:
    """n compounds, their targets (n, n_targets), and the roots of their weights (n,)."""

    compounds: Compounds
    targets: np.ndarray
    root: np.ndarray


@dataclass
class _Sums:
    """Sums over n compounds: K' W K by panels of its lower triangle, K' W y, and K' W 1."""

    panels: list[np.ndarray]
    right: np.ndarray
    ones: np.ndarray
    n: int = 0

    @classmethod
    def zero(cls, m: int, n_targets: int) -> _Sums:
        panels = [np.zeros((m - at, min(_PANEL, m - at))) for at in range(0, m, _PANEL)]
        return cls(panels, np.zeros((m, n_targets)), np.zeros(m))

    def add(self, other: _Sums) -> None:
        """Add the sums over other compounds."""
        for mine, theirs in zip(self.panels, other.panels, strict=True):
            mine += theirs
        self.right += other.right
        self.ones += other.ones
        self.n += other.n


def _sum_chunk(basis: _Basis, chunk: _Chunk, spread: Mapper = map) -> _Sums:
    """The sums over one chunk, added up block by block; a worker of a cluster may do this."""
    sums = _Sums.zero(len(basis), chunk.targets.shape[1])
    for start in range(0, len(chunk.compounds), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(chunk.compounds)))
        block = chunk.compounds.take(np.arange(part.start, part.stop))
        root = chunk.root[part]
        scaled = basis.to_landmarks(block, root, spread)
        sums.right += scaled.T @ (chunk.targets[part] * root[:, None])
        sums.ones += scaled.T @ root
        for _ in spread(partial(_add_panel, sums, scaled), range(0, len(basis), _PANEL)):
            pass
        sums.n += len(block)
    return sums


def _add_panel(sums: _Sums, scaled: np.ndarray, at: int) -> None:
    panel = sums.panels[at // _PANEL]
    panel += scaled[:, at:].T @ scaled[:, at : at + _PANEL]


class NormalEquations:
    """The sums that weighted kernel ridge regression on m landmarks is solved from.

    With K the kernel of n compounds to the landmarks, W their weights and L the kernel between
    landmarks, the coefficients of the subset-of-regressors solution (Williams and Seeger 2000,
    NIPS 13) are ``(K' W K + ridge L + 1e-6 n I)^-1 K' W y``. Held are about m^2 / 2 numbers, of
    the lower triangle, as many again for the current chunk, and one block of K.

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
        self.basis = _Basis(kernel, kernel.prepare(landmarks))
        self.m = len(landmarks)
        self._sums = _Sums.zero(self.m, n_targets)

    def add(
        self,
        library: CompoundStream,
        rows: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        jobs: int = 1,
        workers: Workers | None = None,
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
            Threads of this process, used unless there are workers.
        workers
            Who sums the chunks in place of this process. The sums depend on neither.
        """
        root = np.sqrt(weights)

        def chunks() -> Iterator[_Chunk]:
            for start, compounds in library.blocks(rows, _CHUNK):
                part = slice(start, start + len(compounds))
                yield _Chunk(compounds, targets[part], root[part])

        if workers is not None:
            for sums in workers.map(partial(_sum_chunk, self.basis), chunks()):
                self._sums.add(sums)
            return
        with _threads(jobs) as spread:
            for chunk in chunks():
                self._sums.add(_sum_chunk(self.basis, chunk, spread))

    def absorb(self, other: NormalEquations) -> None:
        """Add the sums of other compounds, on the same landmarks."""
        self._sums.add(other._sums)

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
            Subtracted from each column beforehand, shape (n_targets,).
        left_out
            Landmarks to leave out, bool of shape (m,): their coefficients are 0.
        twicing
            Of the targets, less their plain parts. It needs no further pass over the compounds.
        n_plain
            Number of last columns that are not targets themselves but the parts of the first
            columns that are not sharpened.

        Returns
        -------
        numpy.ndarray
            float64 of shape (m, n_targets - n_plain).
        """
        both = self._sums.right - self._sums.ones[:, None] * centre
        right, plain = np.split(both, [both.shape[1] - n_plain], axis=1)
        if twicing is not None:
            sharpened = right - plain if n_plain else right

            def residual(penalty: float) -> np.ndarray:
                fitted = self._normal_times(self._solve(penalty, sharpened, left_out))
                return sharpened - fitted

            sharp = twicing.apply(sharpened, float(self._sums.n), residual)
            right = sharp + plain if n_plain else sharp
        return self._solve(ridge, right, left_out)

    def _starts(self) -> range:
        """The first landmark of each panel."""
        return range(0, self.m, _PANEL)

    def _solve(self, ridge: float, right: np.ndarray, left_out: np.ndarray | None) -> np.ndarray:
        import scipy.linalg

        # In Fortran's order, so that LAPACK works in place; of the lower triangle alone.
        normal = np.zeros((self.m, self.m), order="F")
        for at, panel in zip(self._starts(), self._sums.panels, strict=True):
            columns = slice(at, at + _PANEL)
            normal[at:, columns] = panel
            here = Prepared(*(values[columns] for values in self.basis.landmarks))
            for start in range(at, self.m, _BLOCK):
                part = slice(start, start + _BLOCK)
                tile = Prepared(*(values[part] for values in self.basis.landmarks))
                normal[part, columns] += ridge * self.basis.kernel(tile, here).astype(np.float64)
        diagonal = np.diag_indices(self.m)
        normal[diagonal] += _LEAST * self._sums.n
        if left_out is not None:
            normal[left_out] = 0.0
            normal[:, left_out] = 0.0
            normal[left_out, left_out] = 1.0
            right = np.where(left_out[:, None], 0.0, right)
        factor = scipy.linalg.cho_factor(normal, lower=True, overwrite_a=True, check_finite=False)
        return np.asarray(scipy.linalg.cho_solve(factor, right, check_finite=False))

    def _normal_times(self, values: np.ndarray) -> np.ndarray:
        """``K' W K``, of which the lower triangle is held, times values (m, n_targets)."""
        found = np.zeros_like(values)
        for at, panel in zip(self._starts(), self._sums.panels, strict=True):
            columns = slice(at, at + _PANEL)
            found[at:] += panel @ values[columns]
            found[columns] += panel[panel.shape[1] :].T @ values[at + panel.shape[1] :]
        return found


@contextmanager
def _threads(jobs: int) -> Iterator[Mapper]:
    """A map over this many threads, which stay for all blocks."""
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
    # The chemistry that weighs most is represented compound by compound. Many compounds weigh the
    # same, and the order of the file must not decide among them.
    shuffled = random.permutation(n)
    order = shuffled[np.argsort(-weights[shuffled], kind="stable")]
    best, rest = np.split(order, [3 * count // 4])
    drawn = random.choice(np.sort(rest), size=count - len(best), replace=False)
    return np.sort(np.concatenate([best, drawn]))
