"""A cluster against as many local workers: wall time, and CPU of client and scheduler."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import annotate, distill, prepare
from benchmarks.material import FOLDER, PARTNERS, federation, public_set, structure_table, teacher
from benchmarks.measure import in_new_process
from benchmarks.table import Row
from fluid.base.run import Run

WORKERS = 2
STRUCTURES = 10_000
COMPOUNDS = 100_000


@contextmanager
def cluster() -> Iterator[tuple[str, list[int]]]:
    """A scheduler and workers of one thread on this machine: address, and process ids in order."""
    file = FOLDER / "scheduler.json"
    FOLDER.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    running: list[subprocess.Popen[bytes]] = []

    def start(program: str, *options: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *options]
        local = ["--host", "127.0.0.1", "--no-dashboard"]
        running.append(subprocess.Popen([*command, *local], stderr=subprocess.DEVNULL))

    try:
        start("dask_scheduler", "--port", "0", "--scheduler-file", str(file))
        while not (file.is_file() and file.read_text()):
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for _ in range(WORKERS):
            start(
                "dask_worker",
                address,
                "--nthreads",
                "1",
                "--no-nanny",
                "--memory-limit",
                "0",
                "--local-directory",
                str(FOLDER),
            )
        yield address, [process.pid for process in running]
    finally:
        for process in running[::-1]:
            process.kill()
            process.wait()


def cpu(pid: int) -> float:
    """CPU seconds that a process has spent."""
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def preparing(table: str, address: str) -> dict[str, float]:
    """CPU of this process and wall seconds of `prepare-public` on a cluster."""
    from fluid.base.cluster import open_cluster
    from fluid.public.prepare import prepare_public

    _, contract = federation()
    with open_cluster(address) as workers:
        started, clock = time.process_time(), time.monotonic()
        target = FOLDER / "prepared-cluster.parquet"
        prepare_public([Path(table)], contract, target, run=Run(workers=workers))
        return {"cpu": time.process_time() - started, "wall": time.monotonic() - clock}


def annotating(folder: str, number: int, address: str | None) -> dict[str, float]:
    """The same of `annotate`; without an address by as many threads here."""
    from fluid.base.cluster import open_cluster
    from fluid.base.run import Run
    from fluid.partner.annotate import annotate as label

    key = FOLDER / "keys" / f"{PARTNERS[0]}.key"
    public = public_set(number)
    with open_cluster(address) as workers:
        started, clock = time.process_time(), time.monotonic()
        target = FOLDER / "annotation.parquet"
        label(folder, public, target, key=key, run=Run(jobs=WORKERS, workers=workers))
        return {"cpu": time.process_time() - started, "wall": time.monotonic() - clock}


def distilling(number: int, address: str | None) -> dict[str, float]:
    """CPU of this process and wall seconds of `distill`; without an address by threads here."""
    from fluid.base.cluster import open_cluster
    from fluid.base.run import Run
    from fluid.central.distill import distill as run_round

    _, contract = federation()
    paths = [Path(path) for path in distill.annotated(number, 2, 1)]
    target = FOLDER / f"round-{'here' if address is None else 'there'}"
    shutil.rmtree(target, ignore_errors=True)
    with open_cluster(address) as workers:
        started, clock = time.process_time(), time.monotonic()
        run = Run(jobs=WORKERS, workers=workers)
        run_round(paths, public_set(number), contract, target, run=run)
        return {"cpu": time.process_time() - started, "wall": time.monotonic() - clock}


def rows() -> list[Row]:
    """All commands beside the same number of local workers."""
    table, few = str(structure_table(STRUCTURES)), str(structure_table(1000))
    learner, size = annotate.TEACHERS[0]
    folder = str(teacher(size, learner))
    for number in (1000, COMPOUNDS):
        public_set(number)
        distill.annotated(number, 2, 1)
    prepared = in_new_process(prepare.ours, table, WORKERS).value
    labelled = in_new_process(annotating, folder, COMPOUNDS, None).value
    distilled = in_new_process(distilling, COMPOUNDS, None).value
    with cluster() as (address, pids):
        scheduler = pids[0]
        # Workers import before the clock runs.
        in_new_process(preparing, few, address)
        in_new_process(annotating, folder, 1000, address)
        steps = [
            Step("`prepare-public`", STRUCTURES, "processes", prepared, preparing, (table,)),
            Step(
                f"`annotate`, {learner} teacher of {size:,}",
                COMPOUNDS,
                "threads",
                labelled,
                annotating,
                (folder, COMPOUNDS),
            ),
            Step("`distill`", COMPOUNDS, "threads", distilled, distilling, (COMPOUNDS,)),
        ]
        return [row for step in steps for row in step.rows(address, scheduler)]


@dataclass(frozen=True)
class Step:
    """A command, its number of compounds, what it took here, and the function to run it."""

    name: str
    number: int
    kind: str
    here: dict[str, float]
    function: Callable[..., dict[str, float]]
    arguments: tuple[object, ...]

    def rows(self, address: str, scheduler: int) -> list[Row]:
        """Wall time on the cluster, and CPU of the processes that only pass on."""
        before = cpu(scheduler)
        there = in_new_process(self.function, *self.arguments, address).value
        passing = cpu(scheduler) - before
        each = 1e6 / self.number
        local = self.here["wall"]
        return [
            Row(
                f"{self.name}, {self.number:,} compounds, {WORKERS} cluster workers, wall",
                f"{there['wall']:.1f} s",
                f"{there['wall'] / local:.2f} x {WORKERS} local {self.kind} ({local:.1f} s)",
            ),
            Row(
                "CPU of client and scheduler",
                f"{there['cpu'] * each:.0f} us and {passing * each:.0f} us a compound",
            ),
        ]
