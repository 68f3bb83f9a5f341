"""How smooth a student must be when labels passed through a noise mechanism."""

from __future__ import annotations

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.estimators.kernel import KernelRidge
from fluid.learn.estimators.mixed_kernel import MixedKernel

# Noise variance over that of the function: from the penalty without noise upwards.
_GRID = KernelRidge().ridge * np.geomspace(1.0, 1e4, 13)
_MOST_COMPOUNDS = 2000


def choose_ridge(
    library: Compounds | CompoundStream, rows: np.ndarray, targets: np.ndarray, seed: int
) -> float:
    """The penalty of kernel ridge regression, by leave-one-out error on the noisy labels.

    It is chosen from labels that were released already, so it costs no privacy. The leave-one-out
    residual of ridge regression is ``alpha_i / (K + ridge)^-1_ii`` (Cawley and Talbot 2003,
    doi 10.1016/S0031-3203(03)00136-5).

    Parameters
    ----------
    library
        The public compounds.
    rows, targets
        Positions of the compounds with a label, and the labels of shape (n, n_outputs). Up to 2,000
        of them, drawn at random, are used.
    seed
        Of the draw.

    Returns
    -------
    float
        Between 0.03, the penalty without noise, and 300.
    """
    import scipy.linalg

    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(len(rows), min(_MOST_COMPOUNDS, len(rows)), replace=False))
    compounds = library.take(rows[chosen])
    kernel = MixedKernel()
    kernel.fit(compounds)
    prepared = kernel.prepare(compounds)
    values, vectors = scipy.linalg.eigh(kernel(prepared, prepared).astype(np.float64))
    turned = vectors.T @ (targets[chosen] - targets[chosen].mean(axis=0))
    errors = []
    for ridge in _GRID:
        inverse = 1.0 / (np.maximum(values, 0.0) + ridge)
        alpha = vectors @ (inverse[:, None] * turned)
        diagonal = (vectors**2) @ inverse
        errors.append(float(((alpha / diagonal[:, None]) ** 2).sum()))
    return float(_GRID[int(np.argmin(errors))])
