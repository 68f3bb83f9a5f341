"""Pooling and distilling against the number of public compounds."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.material import FOLDER, PARTNERS, federation, public_set, teacher
from benchmarks.measure import apart
from benchmarks.table import Row

SIZES = (2_500, 5_000, 10_000, 20_000)
_FEW = 500
_TEACHER = 500


def annotated(number: int) -> list[str]:
    """An annotation of every partner, made once."""
    from fluid.partner.annotate import annotate

    found = []
    for partner in PARTNERS:
        path = FOLDER / f"{partner}-{number}.parquet"
        if not path.is_file():
            folder = teacher(_TEACHER, "logistic", partner)
            annotate(folder, public_set(number), path, FOLDER / "keys" / f"{partner}.key")
        found.append(str(path))
    return found


def ours(number: int, paths: list[str], first: list[str]) -> dict[str, float]:
    """CPU seconds of pooling and distilling, without imports, and of pooling alone."""
    from fluid.central.distill import distill

    _, contract = federation()
    reached: dict[str, float] = {}

    def run(count: int, files: list[str]) -> None:
        target = FOLDER / f"round-{count}"
        shutil.rmtree(target, ignore_errors=True)
        distill([Path(path) for path in files], public_set(count), contract, target, jobs=1,
                progress=stage)  # fmt: skip

    def stage(name: str) -> None:
        reached[name.partition(" ")[0]] = time.process_time()

    # Imports happen in a small round before.
    run(_FEW, first)
    started = time.process_time()
    run(number, paths)
    ended = time.process_time()
    return {"all": ended - started, "pooling": reached["distilling"] - reached["pooling"]}


def rows() -> list[Row]:
    """Time and memory of each size."""
    found = []
    public_set(_FEW)
    for number in SIZES:
        public_set(number)
        spent = apart(ours, number, annotated(number), annotated(_FEW))
        found.append(
            Row(
                f"`distill`, {len(PARTNERS)} partners, {number:,} compounds",
                f"{spent.value['all']:.1f} s of CPU, {spent.peak:.0f} MB",
                f"pooling {spent.value['pooling'] * 1e6 / number:.0f} us a compound",
            )
        )
    return found
