"""One place that decides how many workers run, and runs them.

Every fit uses one thread and one BLAS thread; speed comes from running independent fits side by
side. So the number of jobs never changes a result, and libraries do not fight over cores.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import chain, islice
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items under way per worker: enough that no worker waits for the first of them.
_AHEAD = 4
_LOOK_SECONDS = 1.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def count_jobs(jobs: int | None) -> int:
    """Number of workers: `jobs`, or every core this process may use (affinity and cgroup)."""
    if jobs is not None:
        return max(1, jobs)
    import joblib

    return int(joblib.cpu_count())


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep BLAS and OpenMP to one thread: results then do not depend on the number of cores."""
    # Each brings a BLAS of its own, and only what is loaded can be limited.
    import numpy as np  # noqa: F401
    import scipy.linalg  # noqa: F401
    import threadpoolctl

    with threadpoolctl.threadpool_limits(limits=1):
        yield


def map_threads(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> list[Result]:
    """Apply `function` to `items` in threads, results in order; for work that releases the GIL."""
    todo = list(items)
    with single_threaded_blas():
        if jobs == 1 or len(todo) < 2:
            return [function(item) for item in todo]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=jobs) as pool:
            return list(pool.map(function, todo))


def map_processes(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    """Apply `function` to `items` in worker processes, results in order as they come.

    Items are drawn as results are taken, a few ahead of them, so neither a long stream nor the
    results for a slow reader are held as a whole.
    """
    stream = iter(items)
    first = list(islice(stream, 2))
    if jobs == 1 or len(first) < 2:
        yield from (function(item) for item in chain(first, stream))
        return
    from joblib.externals.loky import get_reusable_executor

    # A worker is one of the jobs: its libraries get one thread.
    pool = get_reusable_executor(
        max_workers=jobs,
        env=dict.fromkeys(_THREADS, "1"),
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for item in chain(first, stream):
            waiting.append(pool.submit(function, item))
            if len(waiting) >= _AHEAD * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _end_with(parent: int) -> None:
    """End this worker when its parent ends: a killed parent cannot stop its workers.

    They would work on for minutes, on the cores that the next run needs.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Workers(Protocol):
    """What computes the chunks of a command: processes of this machine, or a cluster."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply `function` to `items`, results in order as they come.

        Parameters
        ----------
        function
            Must be importable by workers or a partial of such; its arguments are sent to each
            worker once. Its result may depend on nothing but the item.
        items
            Drawn as results are taken, a few ahead of them.
        """
        ...


class Processes:
    """Worker processes of this machine; see `map_processes`."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See `Workers.map`."""
        return map_processes(function, items, self.jobs)
