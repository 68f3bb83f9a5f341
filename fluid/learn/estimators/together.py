"""Scores of many estimators at once: one kernel matrix serves all that share a scaling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from fluid.chem.compounds import Compounds
from fluid.learn.estimators.base import Estimator
from fluid.learn.estimators.kernel import KernelMachine

# Queries of which the kernel is held at once.
_BLOCK = 512


def score_together(
    estimators: Sequence[Estimator], queries: Compounds, library: Compounds
) -> list[np.ndarray]:
    """Scores of each estimator, float64 of shape (n,); see `Estimator.score`.

    Kernel machines with the same scaling of descriptors, such as those of all tasks in one fold,
    ask for the kernel to the compounds that any of them has kept, once.
    """
    found: list[np.ndarray] = [np.zeros(0)] * len(estimators)
    groups: dict[bytes, list[int]] = {}
    for number, estimator in enumerate(estimators):
        if isinstance(estimator, KernelMachine):
            kernel = estimator.kernel_
            groups.setdefault(kernel.mean_.tobytes() + kernel.scale_.tobytes(), []).append(number)
        else:
            found[number] = estimator.score(queries, library)
    for numbers in groups.values():
        machines = [
            one for one in (estimators[n] for n in numbers) if isinstance(one, KernelMachine)
        ]
        if len(machines) == 1:
            found[numbers[0]] = machines[0].score(queries, library)
            continue
        for number, scores in zip(
            numbers, _score_machines(machines, queries, library), strict=True
        ):
            found[number] = scores
    return found


def _score_machines(
    machines: Sequence[KernelMachine], queries: Compounds, library: Compounds
) -> np.ndarray:
    """Scores of kernel machines with one scaling, (n_machines, n)."""
    kernel = machines[0].kernel_
    kept = np.unique(np.concatenate([one.rows_ for one in machines]))
    ends = np.cumsum([0, *(len(one.rows_) for one in machines)])
    places = np.concatenate([np.searchsorted(kept, one.rows_) for one in machines])
    weights = np.concatenate([one.weights_ for one in machines])
    # A sparse product adds up each score by itself: none depends on what is beside it.
    sums = scipy.sparse.csr_matrix((weights, places, ends), shape=(len(machines), len(kept)))
    prepared = kernel.prepare(library.take(kept))
    result = np.empty((len(machines), len(queries)))
    for start in range(0, len(queries), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(queries)))
        asked = kernel.prepare(queries.take(block))
        result[:, block] = sums @ kernel(prepared, asked).astype(np.float64)
    result += np.array([one.intercept_ for one in machines])[:, None]
    return result
