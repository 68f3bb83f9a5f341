"""How long `fluid --help` takes: nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.table import Row

TIMES = 5


def rows() -> list[Row]:
    """The least of five wall times, beside that of an interpreter that does nothing."""
    program = str(Path(sys.executable).with_name("fluid"))
    ours, bare = (_least(call) for call in ([program, "--help"], [sys.executable, "-c", ""]))
    return [Row("`fluid --help`, wall", f"{ours:.2f} s", f"Python alone {bare:.2f} s")]


def _least(call: list[str]) -> float:
    found = []
    for _ in range(TIMES):
        started = time.monotonic()
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        found.append(time.monotonic() - started)
    return min(found)
