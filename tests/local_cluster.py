"""A Dask scheduler and workers, each a process of its own on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from distributed import Client

ROOT = Path(__file__).parents[1]
_PATIENCE = 60.0
# A worker that hangs in its first chunk: it says so in a file, and waits to be killed.
VICTIM = """
import os, time
from pathlib import Path
import fluid.base.cluster_worker as worker

def hang(run, shared):
    Path({marker!r}).write_text(str(os.getpid()))
    time.sleep(600)

worker._recall = hang
"""


@dataclass
class LocalCluster:
    """What runs, and where.

    Attributes
    ----------
    folder
        For files of the scheduler and the workers.
    address
        Of the scheduler.
    environment
        What processes are started with besides the environment of the tests.
    processes
        By name.
    """

    folder: Path
    address: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process with the environment of the tests."""
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
            )  # fmt: skip
        return self.processes[name]

    def scheduler(self, *options: str) -> None:
        """Start the scheduler on a port that the system chooses."""
        file = self.folder / "scheduler.json"
        self.start(
            "scheduler", "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port",
            "0", "--no-dashboard", "--no-show", "--scheduler-file", str(file), *options,
        )  # fmt: skip
        self.wait_for(file, "scheduler")
        self.address = json.loads(file.read_text())["address"]

    def worker(self, name: str, *options: str, preload: str | None = None) -> None:
        """Start a worker of one thread without a nanny, after a script of its own perhaps."""
        if preload is not None:
            script = self.folder / f"preload_{name}.py"
            script.write_text(preload)
            options = (*options, "--preload", str(script))
        place = self.folder / name
        place.mkdir(exist_ok=True)
        self.start(
            name, "-m", "distributed.cli.dask_worker", self.address, "--no-nanny", "--name", name,
            "--nthreads", "1", "--memory-limit", "0", "--host", "127.0.0.1", "--no-dashboard",
            "--local-directory", str(place), "--death-timeout", "60", *options,
        )  # fmt: skip

    def wait_for(self, file: Path, name: str) -> str:
        """Wait until a process has written a file; returns what is in it."""
        end = time.monotonic() + _PATIENCE
        while not (file.exists() and file.read_text()):
            assert self.processes[name].poll() is None, self.log(name)
            assert time.monotonic() < end, self.log(name)
            time.sleep(0.02)
        return file.read_text()

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers have joined."""
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=_PATIENCE)

    @contextmanager
    def victim(self) -> Iterator[Event]:
        """A worker that hangs in its first chunk and is then killed, which sets the event."""
        marker = self.folder / "victim.marker"
        marker.unlink(missing_ok=True)
        with Client(self.address, set_as_default=False) as client:
            others = len(client.nthreads())
        self.worker("victim", preload=VICTIM.format(marker=str(marker)))
        self.wait_for_workers(others + 1)
        killed = Event()

        def kill() -> None:
            self.wait_for(marker, "victim")
            self.kill("victim")
            killed.set()

        killer = Thread(target=kill)
        killer.start()
        try:
            yield killed
        finally:
            if not killed.is_set():
                marker.write_text("in vain")
            killer.join()

    def kill(self, name: str) -> None:
        """End a process the hard way."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(_PATIENCE)

    def log(self, name: str) -> str:
        """What a process has said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """End whatever still runs, workers first."""
        for name in list(self.processes)[::-1]:
            self.kill(name)


@contextmanager
def local_cluster(folder: Path, *workers: str, **environment: str) -> Iterator[LocalCluster]:
    """A scheduler and some workers, for the time of a ``with`` block."""
    folder.mkdir(exist_ok=True)
    cluster = LocalCluster(folder, environment=environment)
    try:
        cluster.scheduler()
        for name in workers:
            cluster.worker(name)
        if workers:
            cluster.wait_for_workers(len(workers))
        yield cluster
    finally:
        cluster.close()
