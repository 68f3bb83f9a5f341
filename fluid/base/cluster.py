"""Spread the chunks of a command over a Dask cluster; results are those of a local run.

The client talks to the scheduler alone, and workers need no file of it. What all chunks share (such
as a teacher) travels once as a task of its own, so a lost copy is made again. A chunk travels with
its task and is computed again if its worker is lost. Dask is an optional extra.
"""

from __future__ import annotations

import logging
import platform
import re
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from fluid.base.cluster_worker import Reply, forget, hold, pack, processor, work
from fluid.base.errors import ClusterError, FluidError, MismatchError
from fluid.base.software import software_versions

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
# Chunks under way for each worker: one that it works at, one that waits there, one that is done
# and waits for its turn.
_AHEAD = 3
# As many at least, so that a cluster that starts workers when there is work starts some.
_LEAST_AHEAD = 16
_RECOUNT = 1.0
_RETRIES = 2
_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
# Versions that must be the same everywhere: of libraries that can change a number, and of those
# that carry functions and data from one process to another.
_PACKAGES = (
    "rdkit",
    "lightgbm",
    "scikit-learn",
    "numpy",
    "scipy",
    "pyarrow",
    "numba",
    "dask",
    "distributed",
    "cloudpickle",
)
_DISTRIBUTION = "fluid-federated"


@contextmanager
def open_cluster(address: str | None) -> Iterator[Cluster | None]:
    """Connect to a Dask scheduler for the time of a ``with`` block; None if there is no address.

    Security, timeouts and the like come from Dask's own configuration.

    Parameters
    ----------
    address
        Such as ``"tcp://host:8786"``, or ``"tls://host:8786"`` with keys and certificates from
        Dask's configuration.

    Raises
    ------
    ClusterError
        If the address is malformed, the extra is not installed, or the scheduler not reached.
    MismatchError
        If scheduler or workers have other versions.
    """
    if address is None:
        yield None
        return
    client = _connect(address)
    try:
        cluster = Cluster(client, address)
        cluster.check()
        yield cluster
    finally:
        with quiet():
            client.close(timeout=5)


def _connect(address: str) -> Any:
    found = _ADDRESS.fullmatch(address)
    if not found or not 0 < int(found[3]) < 65536:
        raise ClusterError(
            f"scheduler '{address}': is not an address; allowed are such as tcp://host:8786 and "
            "tls://host:8786"
        )
    try:
        import distributed
    except ImportError as error:
        raise ClusterError(
            "a cluster needs the library distributed; install it with "
            "pip install 'fluid-federated[cluster]'"
        ) from error
    _hush()
    try:
        with quiet():
            make: Any = distributed.Client
            return make(address, name="fluid", set_as_default=False)
    except (OSError, TimeoutError, ValueError, RuntimeError, TypeError) as error:
        raise ClusterError(
            f"scheduler {address}: cannot be reached ({_one_line(error)})"
        ) from error


def _hush() -> None:
    """Silence Dask's logs: what matters in them becomes an error of ours."""
    for name in ("distributed", "distributed.client", "distributed.core", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def quiet() -> Iterator[None]:
    """Dask warns of versions and of large messages; versions are checked here, more strictly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Cluster:
    """The workers of a Dask scheduler, as `fluid.base.jobs.Workers`.

    Parameters
    ----------
    client
        A connected ``distributed.Client``.
    address
        Of the scheduler, for messages.
    """

    def __init__(self, client: Any, address: str) -> None:
        self.client = client
        self.address = address
        self._counted = 0.0
        self._places: list[str] = []

    def check(self) -> None:
        """Refuse a scheduler or a worker with other versions, and warn if there is no worker.

        Workers that come later are checked when they get their first chunk.

        Raises
        ------
        MismatchError
            If there is one.
        ClusterError
            If the scheduler does not answer.
        """
        packages = [_DISTRIBUTION, *_PACKAGES]
        with self.guard():
            found = self.client.get_versions(packages=packages)
            threads = self.client.nthreads()
        here = {name: _installed(name) for name in packages}
        here["python"] = ".".join(platform.python_version_tuple()[:2])
        asked = {"scheduler": found["scheduler"], **found["workers"]}
        for name, answer in asked.items():
            if not isinstance(answer, dict) or "packages" not in answer:
                continue
            who = "the scheduler" if name == "scheduler" else f"worker {name}"
            there = dict(answer["packages"])
            there["python"] = ".".join(str(there.get("python")).split(".")[:2])
            _compare(who, there, here)
        if not threads:
            logger.warning("%s: has no worker yet; waiting for one", self.address)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See `fluid.base.jobs.Workers.map`.

        A chunk whose worker is lost is computed by another. Beyond three chunks a worker nothing is
        sent, and results wait at the workers until they are taken.

        Raises
        ------
        ClusterError
            If the scheduler is lost, a chunk ends one worker after the other, or workers cannot
            run what is sent.
        MismatchError
            If a worker has other versions.
        """
        self._warn_of_threads()
        run = f"fluid-{uuid.uuid4().hex}"
        expected = software_versions()
        foreign: set[str] = set()
        # Each chunk under way, and the worker that it was meant for.
        waiting: deque[tuple[Any, str | None]] = deque()
        with self.guard(), quiet():
            shared = self.client.submit(hold, pack(function), key=f"{run}-shared", pure=False)

        def submit(number: int, item: Item) -> tuple[Any, str | None]:
            place = self._least_busy(waiting)
            with self.guard(), quiet():
                future = self.client.submit(
                    work,
                    shared,
                    run,
                    pack(item),
                    expected,
                    key=f"{run}-{number}",
                    retries=_RETRIES,
                    pure=False,
                    workers=place,
                    allow_other_workers=bool(place),
                )
            return future, place

        def take() -> Result:
            with self.guard():
                reply: Reply = waiting[0][0].result()
            waiting.popleft()[0].release()
            if reply.refusal is not None:
                raise reply.refusal
            self._look_at(reply, foreign)
            return reply.result

        try:
            for number, item in enumerate(items):
                waiting.append(submit(number, item))
                while len(waiting) >= self._most():
                    yield take()
            while waiting:
                yield take()
        finally:
            for future in (*(future for future, _ in waiting), shared):
                future.release()
            # What was sent may be private, so no worker keeps it.
            with suppress(Exception), quiet():
                self.client.run(forget, run, wait=False)

    def _warn_of_threads(self) -> None:
        with self.guard():
            threads = self.client.nthreads().values()
        if any(count > 1 for count in threads):
            logger.warning(
                "%s: has workers of several threads, of which one is used; start them with "
                "--nthreads 1 and as many --nworkers as there are cores",
                self.address,
            )

    def workers(self) -> list[str]:
        """Addresses of the workers, which come and go."""
        now = time.monotonic()
        if now - self._counted > _RECOUNT:
            with self.guard():
                self._places = sorted(self.client.nthreads())
            self._counted = now
        return self._places

    def _most(self) -> int:
        """How many chunks may be under way."""
        return max(_LEAST_AHEAD, _AHEAD * len(self.workers()))

    def _least_busy(self, waiting: Iterable[tuple[Any, str | None]]) -> str | None:
        """The worker for the next chunk; Dask itself would prefer whoever has the shared part."""
        busy = Counter(place for future, place in waiting if not future.done())
        return min(self.workers(), key=lambda place: busy[place], default=None)

    def _look_at(self, reply: Reply, foreign: set[str]) -> None:
        if reply.processor == processor() or reply.processor in foreign:
            return
        foreign.add(reply.processor)
        logger.warning(
            "%s: has workers whose processors (%s) are not like this machine's (%s); numbers may "
            "differ in their last bits",
            self.address,
            reply.processor,
            processor(),
        )

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what Dask raises into one line."""
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            yield
        except FluidError:
            raise
        except KilledWorker as error:
            raise ClusterError(
                f"{self.address}: a chunk was on several workers that were lost, one after the "
                "other, for want of memory perhaps"
            ) from error
        except (CommClosedError, CancelledError, TimeoutError) as error:
            raise ClusterError(
                f"{self.address}: the scheduler was lost; run the command again when there is one"
            ) from error
        except ImportError as error:
            raise ClusterError(
                f"{self.address}: a worker or the scheduler cannot import what is needed "
                f"({_one_line(error)}); it needs the same installation"
            ) from error


def _compare(who: str, there: dict[str, str | None], here: dict[str, str | None]) -> None:
    """Refuse versions that differ, all of them in one line."""
    if there.get(_DISTRIBUTION) is None and here[_DISTRIBUTION] is not None:
        raise MismatchError(f"{who}: has no {_DISTRIBUTION}; it needs the same installation")
    other = [name for name, mine in here.items() if there.get(name) != mine]
    if other:
        found = ", ".join(f"{name} {there.get(name)} (here {here[name]})" for name in other)
        raise MismatchError(f"{who}: has other versions: {found}; it needs the same installation")
