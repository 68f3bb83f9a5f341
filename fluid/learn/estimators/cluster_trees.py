"""Gradient-boosted trees trained by all workers of a cluster, each on its rows (lightgbm.dask).

The trees are not those of one machine, nor can they be: bins are found from each worker's own
rows, bagging draws within them, and sums of gradients are added up in another order. With the
same workers, rows and seed they repeat.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse

from fluid.base.cluster import Cluster, quiet
from fluid.base.cluster_worker import Packed, pack, unpack
from fluid.base.errors import ClusterError
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.estimators.trees import Trees

logger = logging.getLogger(__name__)

# Rows that travel at once.
_PART = 16_384
# Blocks for each worker, at least, of a small set.
_TURNS = 4
# Seconds between two looks at who is there.
_LOOK = 2.0


def fit_on_cluster(
    trees: Trees,
    cluster: Cluster,
    library: CompoundStream,
    rows: np.ndarray,
    target: np.ndarray,
    seed: int,
    weights: np.ndarray | None = None,
) -> Trees:
    """Fit trees to numbers on the workers of a cluster.

    Rows go to the workers part by part, and features are made there: this process never holds
    the training matrix. All workers train together, so one that is lost ends the run.

    Parameters
    ----------
    trees
        What to fit; LightGBM's parameters but for the number of threads are its own.
    cluster
        Whose workers train. They open connections to one another, which LightGBM does not encrypt.
    library, rows, target, seed, weights
        See `fluid.learn.estimators.Learner.fit`.

    Raises
    ------
    ClusterError
        If there is no worker, traffic would have to be encrypted, or a worker is lost.
    """
    check_cluster(cluster)
    workers = cluster.workers()
    if not workers:
        raise ClusterError(f"{cluster.address}: has no worker to train on")

    def fit() -> str:
        with cluster.guard(), quiet(), cluster.client.as_current():
            return _fit(trees, cluster, workers, library, rows, target, seed, weights)

    return trees.take(_watch(cluster, workers, fit))


def _watch(cluster: Cluster, workers: list[str], fit: Callable[[], str]) -> str:
    """Run a fit for as long as all its workers are there: LightGBM waits for one that is lost."""
    import lightgbm

    pool = ThreadPoolExecutor(1)
    try:
        running = pool.submit(fit)
        while not wait([running], _LOOK).done:
            lost = set(workers) - set(cluster.workers())
            if lost:
                raise ClusterError(
                    f"{cluster.address}: worker {min(lost)} was lost while all trained together; "
                    "start the workers anew and run the command again"
                )
        return running.result()
    except lightgbm.basic.LightGBMError as error:
        raise ClusterError(
            f"{cluster.address}: LightGBM gave up training together ({error})"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def check_cluster(cluster: Cluster) -> None:
    """Refuse what LightGBM cannot train on.

    Raises
    ------
    ClusterError
        If traffic would have to be encrypted.
    """
    if cluster.address.startswith("tls:"):
        raise ClusterError(
            f"{cluster.address}: LightGBM's workers talk to one another without encryption; train "
            "the student without --scheduler, or on a tcp:// cluster in a network that you trust"
        )


def _fit(
    trees: Trees,
    cluster: Cluster,
    workers: list[str],
    library: CompoundStream,
    rows: np.ndarray,
    target: np.ndarray,
    seed: int,
    weights: np.ndarray | None,
) -> str:
    try:
        import dask.array
        import lightgbm
        from lightgbm.dask import DaskLGBMRegressor
    except ImportError as error:
        raise ClusterError(
            "training on a cluster needs dask's arrays and data frames; install them with "
            "pip install 'fluid-federated[cluster]'"
        ) from error
    da: Any = dask.array
    # It prints otherwise, of parameters that nobody gave.
    lightgbm.register_logger(logger)
    logger.setLevel(logging.ERROR)
    # Small blocks are dealt in turn, so that each worker has some, and sees all parts of the set.
    size = _block_size(len(rows), len(workers))
    features: list[Any] = []
    targets: list[Any] = []
    each: list[Any] = []
    for number, (start, block) in enumerate(library.blocks(rows, size)):
        place = workers[number % len(workers)]
        here = slice(start, start + len(block))
        put = partial(_put, cluster, place)
        matrix = put(_features, pack(block), trees.counts)
        width = block.bits + block.descriptors.shape[1]
        empty = scipy.sparse.csr_matrix((0, width), dtype=np.float32)
        shape = (len(block), width)
        features.append(da.from_delayed(matrix, shape, dtype=np.float32, meta=empty))
        for values, into in ((target, targets), (weights, each)):
            if values is not None:
                numbers = put(unpack, pack(values[here]))
                into.append(da.from_delayed(numbers, (len(block),), dtype=np.float64))
    params = trees.parameters(seed, False)
    # As many as a worker has.
    del params["num_threads"]
    model = DaskLGBMRegressor(client=cluster.client, n_estimators=trees.n_trees, **params)
    model.fit(
        da.concatenate(features), da.concatenate(targets),
        sample_weight=da.concatenate(each) if each else None,
    )  # fmt: skip
    return str(model.booster_.model_to_string())


def _block_size(n_rows: int, n_workers: int) -> int:
    return int(np.clip(n_rows // (_TURNS * n_workers), 1, _PART))


def _put(cluster: Cluster, place: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Have something made at a worker, and wait until it is there: no more than that is sent."""
    future = cluster.client.submit(
        function, *arguments, workers=[place], allow_other_workers=False, pure=False
    )
    future.result()
    return future


def _features(packed: Packed, counts: bool) -> scipy.sparse.csr_matrix:
    compounds: Compounds = unpack(packed)
    return compounds.feature_matrix(counts)
