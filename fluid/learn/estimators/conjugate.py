"""Kernel ridge regression by conjugate gradients: exact where a Cholesky factor costs too much."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fluid.base.errors import TrainingError

# Rows that one thread multiplies at once: fixed, so that no sum depends on the number of threads.
_BLOCK = 1024
# Compounds that the preconditioner is made from, and at most this share of all.
_MOST_LANDMARKS, _LANDMARK_SHARE = 1000, 0.25
# Squared residual, relative to that of zero, at which a solution counts as exact; the factor that
# one run in single precision must gain; and the most products and runs.
_EXACT, _GAIN, _PRODUCTS, _RUNS = 1e-12, 1e-6, 1000, 20
_LEAST = 1e-8


def solve_ridge(
    gram: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    ridge: float,
    seed: int = 0,
    jobs: int = 1,
) -> np.ndarray:
    """Coefficients of weighted kernel ridge regression, ``(K + ridge / W)^-1 y``.

    A Cholesky factor takes n^3 / 3 operations; here each product with K takes n^2, and some hundred
    of them do. Weights are moved to both sides, ``(S K S + ridge I) z = S y`` with S the root of
    W, and the system is preconditioned with a Nyström approximation of S K S on landmarks
    (Frangella, Tropp and Udell 2023, doi 10.1137/21M1466244). Products are in single precision,
    in which K is given; residuals between runs are in double, so that the result is as exact
    as if all were (iterative refinement).

    Parameters
    ----------
    gram
        Kernel matrix K, symmetric and positive semidefinite, float32 of shape (n, n).
    targets
        y, float64 of shape (n,).
    weights
        Of each squared error, above 0, float64 of shape (n,).
    ridge
        Penalty on the function's norm, above 0.
    seed
        Of the draw of landmarks. Only the time depends on it.
    jobs
        Threads; the result does not depend on it.

    Returns
    -------
    numpy.ndarray
        float64 of shape (n,).

    Raises
    ------
    TrainingError
        If it does not converge, for example because a number is not finite.

    Examples
    --------
    >>> gram = np.array([[1.0, 0.5], [0.5, 1.0]], dtype=np.float32)
    >>> solve_ridge(gram, np.array([3.0, 0.0]), np.ones(2), 1.0).round(6).tolist()
    [1.6, -0.4]
    """
    root = np.sqrt(weights)
    wanted = root * targets
    goal = _EXACT * float(wanted @ wanted)
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:

        def spread(function: Callable[[int], None], starts: range) -> None:
            for _ in pool.map(function, starts):
                pass

        precondition = _nystroem(gram, root, ridge, seed)

        def product(vector: np.ndarray, kind: type) -> np.ndarray:
            right = (root * vector).astype(kind)
            found = np.empty(len(root))

            def fill(start: int) -> None:
                part = slice(start, start + _BLOCK)
                found[part] = gram[part].astype(kind, copy=False) @ right

            spread(fill, range(0, len(root), _BLOCK))
            return root * found + ridge * vector

        solution = np.zeros(len(root))
        residual = wanted
        for _ in range(_RUNS):
            if float(residual @ residual) <= goal:
                return root * solution
            solution = solution + _conjugate_gradients(
                lambda vector: product(vector, np.float32), precondition, residual
            )
            residual = wanted - product(solution, np.float64)
    if float(residual @ residual) <= goal:
        return root * solution
    raise TrainingError(
        f"kernel ridge regression of {len(root)} compounds does not converge (ridge {ridge:g})"
    )


def _conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray],
    precondition: Callable[[np.ndarray], np.ndarray],
    residual: np.ndarray,
) -> np.ndarray:
    """Lower the squared residual by `_GAIN`, starting from zero."""
    solution = np.zeros(len(residual))
    goal = _GAIN * float(residual @ residual)
    direction = turned = precondition(residual)
    energy = float(residual @ turned)
    for _ in range(_PRODUCTS):
        moved = product(direction)
        step = energy / float(direction @ moved)
        solution = solution + step * direction
        residual = residual - step * moved
        if not float(residual @ residual) > goal:
            break
        turned = precondition(residual)
        before, energy = energy, float(residual @ turned)
        direction = turned + energy / before * direction
    return solution


def _nystroem(
    gram: np.ndarray, root: np.ndarray, ridge: float, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    """The inverse of ``B B' + noise I``, where B B' approximates the kernel between root weights.

    `noise` is the ridge plus the mean of what the diagonal has beyond the approximation.
    """
    import scipy.linalg

    n = len(root)
    count = max(1, min(_MOST_LANDMARKS, int(_LANDMARK_SHARE * n)))
    chosen = np.sort(np.random.default_rng(seed).choice(n, count, replace=False))
    columns = gram[:, chosen].astype(np.float64) * root[:, None] * root[chosen]
    core = columns[chosen]
    core[np.diag_indices(count)] += _LEAST * float(np.trace(core)) + np.finfo(float).tiny
    lower = scipy.linalg.cholesky(core, lower=True, overwrite_a=True, check_finite=False)
    basis = scipy.linalg.solve_triangular(
        lower, columns.T, lower=True, overwrite_b=True, check_finite=False
    ).T
    left = root**2 * gram.diagonal() - (basis**2).sum(axis=1)
    noise = ridge + max(0.0, float(left.mean()))
    inner = basis.T @ basis
    inner[np.diag_indices(count)] += noise
    factor = scipy.linalg.cho_factor(inner, lower=True, overwrite_a=True, check_finite=False)

    def apply(vector: np.ndarray) -> np.ndarray:
        inside = scipy.linalg.cho_solve(factor, basis.T @ vector, check_finite=False)
        return np.asarray((vector - basis @ inside) / noise)

    return apply
