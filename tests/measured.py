"""Run a command as a process of its own, and measure what it takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# A process starts with the memory of the one that started it: a small one starts and measures it.
_LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as out:
    print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime, file=out)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""


@dataclass(frozen=True)
class Measured:
    """What a process left behind, and what it took: most bytes held at once, CPU seconds."""

    code: int
    stdout: str
    stderr: str
    memory: int
    seconds: float


def measure(command: Sequence[str], report: Path) -> Measured:
    """Run a command; `report` is a file to write."""
    launcher = [sys.executable, "-S", "-c", _LAUNCHER, str(report)]
    ended = subprocess.run([*launcher, *command], capture_output=True, text=True, timeout=300)
    memory, seconds = report.read_text().split()
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(
        ended.returncode, ended.stdout, ended.stderr, int(memory) * unit, float(seconds)
    )
