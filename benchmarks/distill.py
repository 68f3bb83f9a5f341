"""Pooling and distilling against the number of compounds, of partners and of tasks."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import FOLDER, PARTNERS, ROOT, federation, public_set
from benchmarks.measure import in_new_process
from benchmarks.table import Row

# Compounds, partners, tasks.
ROUNDS = (
    (2_500, 8, 1), (5_000, 8, 1), (10_000, 8, 1), (20_000, 8, 1), (30_000, 8, 1), (100_000, 8, 1),
    (1_000_000, 8, 1), (20_000, 2, 1), (20_000, 4, 1), (20_000, 8, 2), (20_000, 8, 4),
)  # fmt: skip
# What `benchmarks.plot` draws.
RESULTS = ROOT / "docs" / "distill.csv"
_FEW = 500


@dataclass(frozen=True)
class Spent:
    """One round: its size, CPU and wall seconds, megabytes at most."""

    compounds: int
    partners: int
    tasks: int
    cpu: float
    pooling: float
    wall: float
    peak: float


def annotated(number: int, partners: int, tasks: int) -> list[str]:
    """Annotations without a teacher, smooth functions of the descriptors, each made once.

    Partners differ, so labels are sharpened. Otherwise the cost of distilling does not depend on
    the labels.
    """
    from fluid.exchange.annotation import AnnotationHeader, write_annotation
    from fluid.exchange.release import Release
    from fluid.exchange.sealed import sign_sealed
    from fluid.exchange.signing import load_private_key, sign_digest
    from fluid.soft_labels.teacher_labels import TeacherLabels

    _, contract = federation(tasks)
    public = public_set(number, tasks)
    found = []
    for place, partner in enumerate(PARTNERS[:partners]):
        path = FOLDER / f"{partner}-{number}-{tasks}.parquet"
        found.append(str(path))
        if path.is_file():
            continue
        random = np.random.default_rng(place)
        shape = (public.sealed.schema.field("descriptors").type.list_size, 2 * tasks)
        slopes = random.normal(size=shape)

        def chunks(slopes: np.ndarray = slopes) -> Iterator[Any]:
            for chunk in public.chunks():
                values = np.tanh(np.log1p(np.abs(chunk.descriptors)) @ slopes / 10.0)
                labels = {}
                for n, task in enumerate(contract.tasks):
                    reliability = np.round(25 + 20 * values[:, n]) / 50
                    probability = np.round(50 + 45 * values[:, tasks + n])[:, None] / 100
                    labels[task.name] = TeacherLabels(
                        probability.astype(np.float32),
                        np.full((len(chunk), 1), 0.05, dtype=np.float32),
                        reliability.astype(np.float32),
                    )
                yield chunk.inchikeys, labels

        key = load_private_key(FOLDER / "keys" / f"{partner}.key")
        release = Release(f"{place:032x}", 1, len(public))
        draft = path.with_suffix(".draft")
        header = AnnotationHeader(contract, public.digest, partner, contract.policy, release)
        digest = write_annotation(draft, header, chunks())
        sign_sealed(draft, path, digest, partial(sign_digest, key))
        draft.unlink()
    return found


def ours(number: int, tasks: int, paths: list[str], first: list[str]) -> dict[str, float]:
    """CPU and wall seconds of pooling and distilling, without imports, and of pooling alone."""
    from fluid.base.run import Run
    from fluid.central.distill import distill

    _, contract = federation(tasks)
    reached: dict[str, float] = {}

    def run(count: int, files: list[str]) -> None:
        target = FOLDER / f"round-{count}-{len(files)}-{tasks}"
        shutil.rmtree(target, ignore_errors=True)
        distill(
            [Path(path) for path in files],
            public_set(count, tasks),
            contract,
            target,
            run=Run(jobs=1, stage=stage),
        )

    def stage(name: str) -> None:
        reached.setdefault(name.partition(" ")[0], time.process_time())

    # Imports happen in a small round before.
    run(_FEW, first)
    reached.clear()
    started, clock = time.process_time(), time.monotonic()
    run(number, paths)
    return {
        "cpu": time.process_time() - started,
        "wall": time.monotonic() - clock,
        "pooling": reached["distilling"] - reached["pooling"],
    }


def measure(number: int, partners: int, tasks: int) -> Spent:
    """One round in a process of its own."""
    first = annotated(_FEW, partners, tasks)
    spent = in_new_process(ours, number, tasks, annotated(number, partners, tasks), first)
    cpu, wall, pooling = (spent.value[name] for name in ("cpu", "wall", "pooling"))
    return Spent(number, partners, tasks, cpu, pooling, wall, spent.peak)


def rows() -> list[Row]:
    """Time and memory of each round; the numbers are kept for the plot."""
    found = []
    with RESULTS.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow([field.name for field in fields(Spent)])
        for size in ROUNDS:
            one = measure(*size)
            table.writerow([round(value, 2) for value in astuple(one)])
            out.flush()
            found.append(_row(one))
    return found


def _row(one: Spent) -> Row:
    tasks = f", {one.tasks} tasks" if one.tasks > 1 else ""
    return Row(
        f"`distill`, {one.partners} partners, {one.compounds:,} compounds{tasks}",
        f"{one.cpu:.1f} s of CPU, {one.peak:,.0f} MB",
        f"{one.cpu * 1e6 / one.compounds:,.0f} us a compound, "
        f"of which pooling {one.pooling * 1e6 / one.compounds:.0f} us",
    )
