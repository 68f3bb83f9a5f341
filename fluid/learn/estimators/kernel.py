"""Kernel learners: support vector machine and ridge regression."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.censored import best_constant, censored_weights, minimise
from fluid.learn.estimators.base import State, check_positions, check_scaling
from fluid.learn.estimators.conjugate import solve_ridge
from fluid.learn.estimators.landmarks import NormalEquations, choose_landmarks
from fluid.learn.estimators.mixed_kernel import MixedKernel, Prepared
from fluid.learn.estimators.twicing import Twicing

_BLOCK = 2048
# Rows of a kernel matrix that one thread finds at once: fixed, so no value depends on threads.
_ROWS = 512
# Half width of the tube of support vector regression, in standard deviations of the values.
_TUBE = 0.1
# Refits of support vector regression until no bound is violated that is not fitted.
_MOST_REFITS = 20
# Above this many compounds conjugate gradients are faster than a Cholesky factor, and smaller.
MOST_FACTORED = 4000


class KernelMachine:
    """What kernel learners share: prediction is a weighted sum of kernels to kept compounds."""

    kind = "kernel"

    def __init__(self) -> None:
        self.kernel_ = MixedKernel()
        self.rows_ = np.zeros(0, dtype=np.int64)
        self.weights_ = np.zeros(0)
        self.intercept_ = 0.0

    def score(self, queries: Compounds, library: Compounds) -> np.ndarray:
        """See `Estimator.score`."""
        kept = self.kernel_.prepare(library.take(self.rows_))
        result = np.full(len(queries), self.intercept_)
        for start in range(0, len(queries), _BLOCK):
            part = slice(start, min(start + _BLOCK, len(queries)))
            block = queries.take(np.arange(part.start, part.stop))
            kernel = self.kernel_(self.kernel_.prepare(block), kept)
            result[part] += kernel.astype(np.float64) @ self.weights_
        return result

    def score_kernel(self, kernel: np.ndarray) -> np.ndarray:
        """Scores from the kernel to the kept compounds, (n, n_kept); shape (n,)."""
        return kernel.astype(np.float64) @ self.weights_ + self.intercept_

    def renumber(self, positions: np.ndarray) -> None:
        """Refer to another library, in which compound i of this one is at ``positions[i]``."""
        self.rows_ = positions[self.rows_]

    def to_state(self) -> State:
        """See `Estimator.to_state`."""
        arrays = {
            "rows": self.rows_,
            "weights": self.weights_,
            "mean": self.kernel_.mean_,
            "scale": self.kernel_.scale_,
        }
        return State(self.kind, {"intercept": self.intercept_}, arrays)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The inverse of `to_state`."""
        state.has_only(["intercept"], ["rows", "weights", "mean", "scale"])
        made = cls()
        made.rows_ = state.array("rows", np.int64)
        made.weights_ = state.array("weights", np.float64)
        made.kernel_.mean_ = state.array("mean", np.float64)
        made.kernel_.scale_ = state.array("scale", np.float64)
        made.intercept_ = state.number("intercept")
        return made

    def check(self, library: Compounds) -> None:
        """See `Estimator.check`."""
        check_positions(self.rows_, len(library))
        if self.weights_.shape != self.rows_.shape:
            raise ValueError("'rows' and 'weights' differ in length")
        check_scaling(self.kernel_.mean_, self.kernel_.scale_, library)


class KernelSVM(KernelMachine):
    """Support vector machine (classification) or regression; cost grows with n squared.

    Parameters
    ----------
    cost
        The penalty C.
    """

    kind = "svm"

    def __init__(self, cost: float = 3.0) -> None:
        super().__init__()
        self.cost = cost

    @classmethod
    def on(cls, kernel: MixedKernel) -> Self:
        """A machine to be fitted with `fit_gram`, on a kernel that is scaled already."""
        made = cls()
        made.kernel_ = kernel
        return made

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        target: np.ndarray,
        classification: bool,
        seed: int,
        signs: np.ndarray | None = None,
    ) -> Self:
        """See `Learner.fit`."""
        training = library.take(rows)
        self.kernel_.fit(training)
        prepared = self.kernel_.prepare(training)
        gram = self.kernel_(prepared, prepared).astype(np.float64)
        return self.fit_gram(gram, rows, target, classification, signs)

    def fit_gram(
        self,
        gram: np.ndarray,
        rows: np.ndarray,
        target: np.ndarray,
        classification: bool,
        signs: np.ndarray | None = None,
    ) -> Self:
        """Train on compounds whose kernel matrix is known; see `Learner.fit`."""
        from sklearn.svm import SVC, SVR

        if classification:
            machine = SVC(C=self.cost, kernel="precomputed", tol=1e-4).fit(gram, target)
            shift, scale = 0.0, 1.0
        else:
            measured = target if signs is None or not np.any(signs == 0) else target[signs == 0]
            shift, scale = float(measured.mean()), float(measured.std()) or 1.0
            machine = SVR(C=self.cost, epsilon=_TUBE, kernel="precomputed", tol=1e-4)
            standard = (target - shift) / scale
            if signs is None:
                machine.fit(gram, standard)
            else:
                machine, fitted = _fit_bounds(machine, gram, standard, signs)
                rows = rows[fitted]
        self.rows_ = rows[machine.support_]
        self.weights_ = machine.dual_coef_.ravel() * scale
        self.intercept_ = float(machine.intercept_[0]) * scale + shift
        return self


class KernelRidge(KernelMachine):
    """Kernel ridge regression: exact up to `most_exact` compounds, on landmarks (Nystroem) above.

    The exact solution takes a Cholesky factor up to 4,000 compounds and conjugate gradients
    (`solve_ridge`) above, which cost some hundred n^2 operations and 4 n^2 bytes. On landmarks it
    is the subset-of-regressors solution of Williams and Seeger 2000 (NIPS 13), whose time grows
    with n.

    Parameters
    ----------
    ridge
        Penalty on the function's norm, in units of the noise variance.
    n_landmarks
        Landmarks, drawn at random without replacement; with weights, three quarters of them are
        the compounds of the highest weight.
    most_exact
        Up to this many compounds every compound is a landmark.
    jobs
        Threads; the result does not depend on it.
    twicing
        Applied to the targets before they are learned; None takes them as they are.
    kernel
        With descriptor scaling already fitted; by default it is fitted to the training compounds.
    """

    kind = "kernel-ridge"

    def __init__(
        self,
        ridge: float = 0.03,
        n_landmarks: int = 6000,
        most_exact: int = 30_000,
        jobs: int = 1,
        twicing: Twicing | None = None,
        kernel: MixedKernel | None = None,
    ) -> None:
        super().__init__()
        self._given = kernel
        self.ridge = ridge
        self.n_landmarks = n_landmarks
        self.most_exact = most_exact
        self.jobs = jobs
        self.twicing = twicing

    def fit(
        self,
        library: Compounds,
        rows: np.ndarray,
        target: np.ndarray,
        classification: bool,
        seed: int,
        weights: np.ndarray | None = None,
        plain: np.ndarray | None = None,
        signs: np.ndarray | None = None,
    ) -> Self:
        """See `Learner.fit`; targets are numbers in any case.

        Parameters
        ----------
        library, rows, target, classification, seed, signs
            See `Learner.fit`.
        weights
            Of each compound's squared error, at least 0, shape (n,), of mean 1; equal by default.
        plain
            The part of the target that is not sharpened, shape (n,); none by default.
        """
        each = np.ones(len(rows)) if weights is None else weights
        training = library.take(rows)
        self.kernel_ = self._given or self.kernel_.fit(training)
        if signs is not None:
            if self.twicing is not None or plain is not None:
                raise ValueError("bounds are measured values, which are not sharpened")
            return self._fit_bounds(training, rows, target, signs, each, seed)
        self.intercept_ = float(np.average(target, weights=each))
        if plain is None:
            columns, centre = target[:, None], np.array([self.intercept_])
        else:
            columns = np.stack([target, plain], axis=1)
            centre = np.array([self.intercept_, float(np.average(plain, weights=each))])
        if len(rows) <= self.most_exact:
            counted = each > 0
            self.rows_ = rows[counted]
            prepared = self.kernel_.prepare(training.take(counted))
            centred, *plain_part = (columns[counted] - centre).T
            self.weights_ = self._solve(prepared, centred, each[counted], seed, *plain_part)
        else:
            chosen = choose_landmarks(len(rows), self.n_landmarks, weights, seed)
            self.rows_ = rows[chosen]
            n_plain = columns.shape[1] - 1
            equations = NormalEquations(self.kernel_, training.take(chosen), 1 + n_plain)
            equations.add(CompoundStream.of(training), np.arange(len(rows)), columns, each)
            found = equations.solve(self.ridge, centre, None, self.twicing, n_plain)
            self.weights_ = found[:, 0]
        return self

    def _fit_bounds(
        self,
        training: Compounds,
        rows: np.ndarray,
        target: np.ndarray,
        signs: np.ndarray,
        each: np.ndarray,
        seed: int,
    ) -> Self:
        """Fit values and bounds about the number that predicts them best."""
        counted = each > 0
        training, rows, target = training.take(counted), rows[counted], target[counted]
        signs = signs[counted]
        weights = each[counted] * censored_weights(signs)
        self.intercept_ = best_constant(target, signs, weights)
        centred = target - self.intercept_
        prepared = self.kernel_.prepare(training)
        if len(rows) <= self.most_exact:
            chosen = np.arange(len(rows))
            gram = self.gram(prepared)

            def solve(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                found = np.zeros(len(active))
                part = gram if active.all() else gram[np.ix_(active, active)]
                found[active] = self._coefficients(
                    part, centred[active], weights[active], self.ridge, seed
                )
                return found, _product(gram, found)

        else:
            chosen = choose_landmarks(len(rows), self.n_landmarks, each[counted], seed)
            landmarks = Prepared(*(values[chosen] for values in prepared))

            def solve(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                equations = NormalEquations(self.kernel_, training.take(chosen), 1)
                equations.add(
                    CompoundStream.of(training),
                    np.arange(len(rows)),
                    centred[:, None],
                    np.where(active, weights, 0.0),
                    self.jobs,
                )
                found = equations.solve(self.ridge, np.zeros(1))[:, 0]
                reached = np.empty(len(active))
                for start in range(0, len(active), _BLOCK):
                    block = slice(start, start + _BLOCK)
                    queries = Prepared(*(values[block] for values in prepared))
                    reached[block] = self.kernel_(queries, landmarks).astype(np.float64) @ found
                return found, reached

        self.rows_ = rows[chosen]
        self.weights_ = minimise(solve, centred, signs, weights)
        return self

    @classmethod
    def of(
        cls, kernel: MixedKernel, rows: np.ndarray, weights: np.ndarray, intercept: float
    ) -> KernelRidge:
        """What `NormalEquations.solve` found for landmarks at these positions of the library."""
        made = cls()
        made.kernel_, made.rows_, made.weights_ = kernel, rows, weights
        made.intercept_ = float(intercept)
        return made

    def _solve(
        self,
        prepared: Prepared,
        centred: np.ndarray,
        each: np.ndarray,
        seed: int,
        plain: np.ndarray | None = None,
    ) -> np.ndarray:
        gram = self.gram(prepared)
        sharpened = centred if plain is None else centred - plain
        sharpened = self._with_twicing(gram, sharpened, each, float(each.sum()), seed)
        labels = sharpened if plain is None else sharpened + plain
        return self._coefficients(gram, labels, each, self.ridge, seed)

    def apply_twicing(
        self, compounds: Compounds, labels: np.ndarray, weights: np.ndarray, n: float, seed: int = 0
    ) -> np.ndarray:
        """Labels as they are learned, with the kernel's scaling as it is.

        Parameters
        ----------
        compounds
            m compounds: all that have labels, or those of one region.
        labels
            Their labels, centred on the mean of all, shape (m, n_outputs).
        weights
            Of the compounds, above 0, of mean 1 over all, shape (m,).
        n
            Number of compounds in all.
        seed
            Only the time depends on it.
        """
        gram = self.gram(self.kernel_.prepare(compounds))
        columns = [self._with_twicing(gram, column, weights, n, seed) for column in labels.T]
        return np.stack(columns, axis=1)

    def _with_twicing(
        self, gram: np.ndarray, labels: np.ndarray, each: np.ndarray, n: float, seed: int
    ) -> np.ndarray:
        if self.twicing is None:
            return labels

        def residual(ridge: float) -> np.ndarray:
            return ridge / each * self._coefficients(gram, labels, each, ridge, seed)

        return self.twicing.apply(labels, n, residual)

    def _coefficients(
        self, gram: np.ndarray, labels: np.ndarray, each: np.ndarray, ridge: float, seed: int
    ) -> np.ndarray:
        import scipy.linalg

        if len(labels) > MOST_FACTORED:
            return solve_ridge(gram, labels, each, ridge, seed, self.jobs)
        # In Fortran's order, so that LAPACK works in place instead of on a copy.
        factored = gram.astype(np.float64, order="F")
        factored[np.diag_indices(len(labels))] += ridge / each + 1e-8
        return np.asarray(
            scipy.linalg.solve(
                factored, labels, assume_a="pos", overwrite_a=True, check_finite=False
            )
        )

    def gram(self, prepared: Prepared) -> np.ndarray:
        """Kernel matrix, float32; found above the diagonal and mirrored."""
        count = len(prepared.counts)
        gram = np.empty((count, count), dtype=np.float32)

        def fill(start: int) -> None:
            stop = min(start + _ROWS, count)
            rows, rest = slice(start, stop), slice(start, count)
            left, right = (Prepared(*(each[part] for each in prepared)) for part in (rows, rest))
            gram[rows, rest] = self.kernel_(left, right)
            gram[stop:, rows] = gram[rows, stop:].T

        with ThreadPoolExecutor(max_workers=max(1, self.jobs)) as pool:
            for _ in pool.map(fill, range(0, count, _ROWS)):
                pass
        return gram


def _product(gram: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """A kernel matrix in single precision times coefficients, in double."""
    found = np.empty(len(gram))
    for start in range(0, len(gram), _BLOCK):
        part = slice(start, start + _BLOCK)
        found[part] = gram[part].astype(np.float64) @ coefficients
    return found


def _fit_bounds(
    machine: Any, gram: np.ndarray, target: np.ndarray, signs: np.ndarray
) -> tuple[Any, np.ndarray]:
    """Support vector regression of values and bounds, by an active set.

    The loss of a bound is that of the tube, on the side where it is violated. A bound joins when it
    is violated by more than the tube's half width, and leaves when it pulls the prediction the
    wrong way, back to the bound. When nobody joins or leaves, the machine minimises the convex
    one-sided problem. Should that not come about, the best machine found serves.

    Parameters
    ----------
    machine
        An SVR with a precomputed kernel.
    gram, target, signs
        Kernel matrix, values or bounds in units of the tube, and -1, 0 or 1, of n compounds.

    Returns
    -------
    tuple
        The fitted machine, and positions of the compounds that it was fitted on.
    """
    from sklearn.base import clone

    weights = censored_weights(signs)
    active = signs == 0 if np.any(signs == 0) else np.ones(len(signs), dtype=bool)
    best: tuple[float, Any, np.ndarray] | None = None
    for _ in range(_MOST_REFITS):
        fitted = np.flatnonzero(active)
        found = clone(machine).fit(
            gram[np.ix_(fitted, fitted)], target[fitted], sample_weight=weights[fitted]
        )
        support, dual = fitted[found.support_], found.dual_coef_.ravel()
        predicted = gram[:, support] @ dual + found.intercept_[0]
        residual = target - predicted
        short = np.where(signs == 0, np.abs(residual), signs * residual)
        loss = weights @ np.maximum(short - machine.epsilon, 0.0)
        total = 0.5 * dual @ (predicted[support] - found.intercept_[0]) + machine.C * loss
        if best is None or total < best[0]:
            best = (float(total), found, fitted)
        # Within the solver's tolerance a compound may seem to be on either side.
        slack = 2.0 * machine.tol
        joins = ~active & (short > machine.epsilon + slack)
        leaves = np.zeros(len(active), dtype=bool)
        leaves[support] = signs[support] * dual < 0.0
        if not (joins.any() or leaves.any()):
            return found, fitted
        active = (active | joins) & ~leaves
    assert best is not None
    return best[1], best[2]
