"""Gradient-boosted trees trained by all workers of a cluster, each on its rows (lightgbm.dask).

The trees are not those of one machine, nor can they be: bins are found from each worker's own
rows, bagging draws within them, and sums of gradients are added up in another order. With the
same workers, rows and seed they repeat.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse

from fluid.base.cluster import Cluster, quiet
from fluid.base.cluster_worker import Packed, pack, unpack
from fluid.base.errors import ClusterError
from fluid.chem.compounds import Compounds, concatenate
from fluid.learn.estimators.trees import Trees

logger = logging.getLogger(__name__)

# Rows that travel at once, at most and at least; blocks that each worker should get.
_PART, _FEWEST, _BLOCKS = 16_384, 16, 4
# Seconds between two looks at who is there.
_LOOK = 2.0


def fit_on_cluster(
    trees: Trees,
    cluster: Cluster,
    chunks: Iterable[Compounds],
    rows: np.ndarray,
    target: np.ndarray,
    seed: int,
    weights: np.ndarray | None = None,
) -> Trees:
    """Fit trees to numbers on the workers of a cluster.

    Compounds go to the workers block by block, and features are made there: this process holds
    neither the training matrix nor more than a few chunks of a stream. All workers train together,
    so one that is lost ends the run.

    Parameters
    ----------
    trees
        What to fit; LightGBM's parameters but for the number of threads are its own.
    cluster
        Whose workers train. They open connections to one another, which LightGBM does not encrypt.
    chunks
        All compounds in order, in pieces of any size; read once.
    rows
        Ascending positions of the n to learn from.
    target, seed, weights
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
            return _fit(trees, cluster, workers, chunks, rows, target, seed, weights)

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
    chunks: Iterable[Compounds],
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
    features: list[Any] = []
    targets: list[Any] = []
    each: list[Any] = []
    places: list[str] = []
    under_way: deque[Any] = deque()
    size = _block_size(len(rows), len(workers))
    for number, (first, compounds) in enumerate(_blocks(chunks, rows, size)):
        places.append(workers[number % len(workers)])
        put = partial(
            cluster.client.submit, workers=places[-1:], allow_other_workers=False, pure=False
        )
        shape = (len(compounds), compounds.bits + compounds.descriptors.shape[1])
        empty = scipy.sparse.csr_matrix((0, shape[1]), dtype=np.float32)
        made = put(_features, pack(compounds), trees.counts)
        features.append(da.from_delayed(made, shape, dtype=np.float32, meta=empty))
        for values, into in ((target, targets), (weights, each)):
            if values is not None:
                numbers = put(unpack, pack(values[first : first + len(compounds)]))
                into.append(da.from_delayed(numbers, shape[:1], dtype=np.float64))
        # No more is sent than two blocks a worker.
        under_way.append(made)
        if len(under_way) > 2 * len(workers):
            under_way.popleft().result()
    params = trees.parameters(seed, False)
    # As many as a worker has.
    del params["num_threads"]
    client: Any = _Ordered(cluster.client, places)
    model = DaskLGBMRegressor(client=client, n_estimators=trees.n_trees, **params)
    model.fit(
        da.concatenate(features), da.concatenate(targets),
        sample_weight=da.concatenate(each) if each else None,
    )  # fmt: skip
    return str(model.booster_.model_to_string())


class _Ordered:
    """A Dask client that says where parts are in their order, by which LightGBM ranks workers."""

    def __init__(self, client: Any, places: list[str]) -> None:
        self._client = client
        self._places = places

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def who_has(self, futures: list[Any]) -> dict[str, Any]:
        """See ``distributed.Client.who_has``, which has them in any order."""
        found = self._client.who_has(futures)
        meant = zip(futures, self._places, strict=True)
        if any(found[future.key] != (place,) for future, place in meant):
            logger.error("rows were moved between workers; the trees do not repeat exactly")
        return {future.key: found[future.key] for future in futures}


def _block_size(n_rows: int, n_workers: int) -> int:
    """Rows of a block: each worker gets some from all parts of the set, if there are enough."""
    return max(_FEWEST, min(_PART, n_rows // (_BLOCKS * n_workers)))


def _blocks(
    chunks: Iterable[Compounds], rows: np.ndarray, size: int
) -> Iterator[tuple[int, Compounds]]:
    """The compounds at `rows`, so many at a time; with each block where in `rows` it starts."""
    held: list[Compounds] = []
    start = first = last = 0
    for chunk in chunks:
        start_row, last = np.searchsorted(rows, [start, start + len(chunk)]).tolist()
        held.append(chunk.take(rows[start_row:last] - start))
        start += len(chunk)
        if last - first < size:
            continue
        whole = concatenate(held)
        start_row = first
        while last - first >= size:
            yield first, whole.take(np.arange(first, first + size) - start_row)
            first += size
        held = [whole.take(np.arange(first, last) - start_row)]
    if last > first:
        yield first, concatenate(held)


def _features(packed: Packed, counts: bool) -> scipy.sparse.csr_matrix:
    compounds: Compounds = unpack(packed)
    return compounds.feature_matrix(counts)
