"""Fit the students of many tasks on one kernel matrix, whose factors serve all of them.

Kernel ridge regression weighs all compounds of a task the same, so the coefficients of tasks with
labels of the same compounds are ``(K + ridge I)^-1 Y``: one factor for all columns of Y. Compounds
without a label in a task, or held out, need no factor of their own. With B the inverse of
``K + ridge I`` and M the compounds to leave out, these are given the labels
``-(B_MM)^-1 (B y)_M``, for which their coefficients are 0: what is left solves the equations of
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.base.jobs import map_threads
from fluid.base.run import Run
from fluid.chem.compounds import Compounds
from fluid.learn.estimators import KernelRidge
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.estimators.twicing import Twicing

# A factor of so many compounds takes 1.2 GB.
MOST_FACTORED = 12_000
# From so many tasks on, a factor that all share costs less than conjugate gradients for each.
FEWEST_SHARING = 12
_LEAST = 1e-8
# Above this share of columns the whole inverse costs less time, and no memory of its own.
_MOSTLY = 1 / 3
_BLOCK = 512


@dataclass(frozen=True)
class Columns:
    """What is learned of n compounds, a column per output of each task.

    Attributes
    ----------
    targets, plain
        float64 of shape (n, n_columns): what is learned, and the part of it that is not sharpened.
    seen
        Which compounds have a label, bool of the same shape.
    twicings
        Of each column; None where labels are learned as they are.
    """

    targets: np.ndarray
    plain: np.ndarray
    seen: np.ndarray
    twicings: Sequence[Twicing | None]

    def without(self, held: np.ndarray) -> Columns:
        """The same without some compounds, bool of shape (n,)."""
        return Columns(self.targets, self.plain, self.seen & ~held[:, None], self.twicings)


@dataclass(frozen=True)
class Solved:
    """Coefficients of shape (n, n_columns), 0 where there is no label, and intercepts."""

    coefficients: np.ndarray
    intercepts: np.ndarray


class SharedRidge:
    """Kernel ridge regression of many columns on the same compounds.

    Parameters
    ----------
    compounds
        n compounds; descriptors are scaled by all of them.
    run
        Cores.
    """

    def __init__(self, compounds: Compounds, run: Run) -> None:
        self.kernel = MixedKernel().fit(compounds)
        self.run = run
        machine = KernelRidge(jobs=run.cores)
        machine.kernel_ = self.kernel
        self.gram = machine.gram(self.kernel.prepare(compounds))

    def solve(self, ridge: float, several: Sequence[Columns]) -> list[Solved]:
        """Fit all columns; those of several sets share each factor."""
        n = len(self.gram)
        means = [_means(one.targets, one.seen) for one in several]
        plain = [_centred(one.plain, one.seen) for one in several]
        labels = [
            _centred(one.targets, one.seen) - rest for one, rest in zip(several, plain, strict=True)
        ]
        sharp = [
            each * np.array([1.0 if found is None else found.base for found in one.twicings])
            for one, each in zip(several, labels, strict=True)
        ]
        ridges = sorted(
            {
                step.ridge
                for one in several
                for found in one.twicings
                if found
                for step in found.steps
            }
        )
        for each in ridges:
            residuals = self._coefficients(each * n, labels, several)
            for number, one in enumerate(several):
                gains = [_gain(found, each) for found in one.twicings]
                sharp[number] += each * n * np.array(gains) * residuals[number]
        learned = [one + rest for one, rest in zip(sharp, plain, strict=True)]
        found = self._coefficients(ridge, learned, several)
        return [Solved(one, mean) for one, mean in zip(found, means, strict=True)]

    def _coefficients(
        self, ridge: float, labels: Sequence[np.ndarray], several: Sequence[Columns]
    ) -> list[np.ndarray]:
        import scipy.linalg

        n = len(self.gram)
        # In Fortran's order, so that LAPACK works in place instead of on a copy.
        factored = self.gram.astype(np.float64, order="F")
        factored[np.diag_indices(n)] += ridge + _LEAST
        factor = scipy.linalg.cho_factor(factored, lower=True, overwrite_a=True, check_finite=False)
        missing = np.flatnonzero(~np.logical_and.reduce([one.seen.all(axis=1) for one in several]))
        made = [scipy.linalg.cho_solve(factor, each, check_finite=False) for each in labels]
        # Columns of the inverse, of every compound that is left out somewhere.
        if len(missing) > _MOSTLY * n:
            missing, inverse = np.arange(n), _invert(factor[0])
        else:
            unit = np.zeros((n, len(missing)), order="F")
            unit[missing, np.arange(len(missing))] = 1.0
            inverse = scipy.linalg.cho_solve(factor, unit, overwrite_b=True, check_finite=False)
        # Parts of the inverse are copied below, and the factor takes as much memory.
        del factor, factored
        for found, one in zip(made, several, strict=True):
            self._leave_out(found, one.seen, missing, inverse)
        return made

    def _leave_out(
        self, found: np.ndarray, seen: np.ndarray, missing: np.ndarray, inverse: np.ndarray
    ) -> None:
        """Change coefficients in place, so that those of compounds without a label are 0."""
        import scipy.linalg

        patterns: dict[bytes, list[int]] = {}
        for column in range(seen.shape[1]):
            patterns.setdefault(np.packbits(seen[:, column]).tobytes(), []).append(column)

        def mend(columns: list[int]) -> None:
            absent = np.flatnonzero(~seen[missing, columns[0]])
            if not len(absent):
                return
            rows = missing[absent]
            part = inverse[:, absent]
            factor = scipy.linalg.cho_factor(part[rows], lower=True, check_finite=False)
            places = np.ix_(rows, np.array(columns))
            given = scipy.linalg.cho_solve(factor, found[places], check_finite=False)
            found[:, columns] -= part @ given
            found[places] = 0.0

        # A block of columns at a time, for the product takes as much memory as these.
        map_threads(mend, list(patterns.values()), self.run.cores)


def _invert(factor: np.ndarray) -> np.ndarray:
    """The inverse of a matrix with this lower Cholesky factor, in the factor's memory."""
    from scipy.linalg.lapack import dpotri

    inverse, failed = dpotri(factor, lower=1, overwrite_c=1)
    assert not failed
    for start in range(0, len(inverse), _BLOCK):
        stop = start + _BLOCK
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        own = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = own + np.tril(own, -1).T
    return np.asarray(inverse)


def _means(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean of what is seen, by column."""
    return np.where(seen, values, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)


def _centred(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Values less their mean, 0 where they are not seen."""
    return np.where(seen, values - _means(values, seen), 0.0)


def _gain(twicing: Twicing | None, ridge: float) -> float:
    if twicing is None:
        return 0.0
    return sum(step.gain for step in twicing.steps if step.ridge == ridge)
