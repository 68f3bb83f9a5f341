"""What a further round costs: `annotate` and `distill` with the student that is corrected."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from benchmarks.material import FOLDER, PARTNERS, federation, public_set, teacher
from benchmarks.measure import Measured, in_new_process
from benchmarks.table import Row

COMPOUNDS, SIZE, KIND = 10_000, 1000, "regression"
_FEW = 500
_FIRST, _NEXT = FOLDER / "round-numbers", FOLDER / "round-numbers-corrected"


def labelled(folder: str, number: int, student: str) -> float:
    """CPU seconds of annotating so many compounds, without imports."""
    from fluid.base.run import Run
    from fluid.partner.annotate import annotate

    path = Path(student) if student else None
    key = FOLDER / "keys" / f"{PARTNERS[0]}.key"

    def run(count: int) -> None:
        annotate(
            folder,
            public_set(count, kind=KIND),
            _target(count, student),
            key=key,
            student=path,
            run=Run(jobs=1),
        )

    run(_FEW)
    started = time.process_time()
    run(number)
    return time.process_time() - started


def distilled(number: int, student: str) -> float:
    """CPU seconds of pooling these labels and distilling them."""
    from fluid.base.run import Run
    from fluid.central.distill import EarlierRounds, distill

    target = _NEXT if student else _FIRST
    shutil.rmtree(target, ignore_errors=True)
    _, contract = federation(kind=KIND)
    started = time.process_time()
    distill(
        [_target(number, student)],
        public_set(number, kind=KIND),
        contract,
        target,
        earlier=EarlierRounds(student=student or None),
        run=Run(jobs=1),
    )
    return time.process_time() - started


def _target(number: int, student: str) -> Path:
    return FOLDER / f"annotation-numbers-{number}{'-corrected' if student else ''}.parquet"


def rows() -> list[Row]:
    """Both steps of a further round beside those of the first."""
    folder = str(teacher(SIZE, "svm", kind=KIND))
    for number in (_FEW, COMPOUNDS):
        public_set(number, kind=KIND)
    student = str(_FIRST / "student")
    first = (
        in_new_process(labelled, folder, COMPOUNDS, ""),
        in_new_process(distilled, COMPOUNDS, ""),
    )
    more = (
        in_new_process(labelled, folder, COMPOUNDS, student),
        in_new_process(distilled, COMPOUNDS, student),
    )
    titles = (
        f"`annotate --student`, svm teacher of {SIZE:,}, {COMPOUNDS:,} compounds, as many the "
        "student's",
        f"`distill --student`, {COMPOUNDS:,} compounds",
    )
    return [_row(*each) for each in zip(titles, more, first, strict=True)]


def _row(title: str, more: Measured, first: Measured) -> Row:
    return Row(
        title,
        f"{more.value:.1f} s of CPU, {more.peak:.0f} MB at most",
        f"{more.value / first.value:.1f} x the first round ({first.value:.1f} s)",
    )
