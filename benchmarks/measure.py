"""Measure a function in a process of its own: CPU and wall seconds, peak memory.

What a function returns is a number or a table of numbers: CPU seconds of its core, say, without
imports. CPU time is what is compared: it hardly depends on what else a machine does.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measured:
    """What a process took, its workers included.

    Attributes
    ----------
    value
        What the function returned.
    wall, cpu
        Seconds.
    peak
        Largest resident memory of one process, in MB.
    """

    value: Any
    wall: float
    cpu: float
    peak: float


def in_new_process(function: Callable[..., Any], *arguments: object) -> Measured:
    """Run a function of a module with plain arguments in a new process."""
    module = sys.modules[function.__module__]
    # The module that was started as a program has its name in its specification only.
    name = module.__spec__.name if module.__spec__ else module.__name__
    code = [sys.executable, "-m", "benchmarks.measure", name, function.__name__]
    started = time.monotonic()
    process = subprocess.Popen([*code, json.dumps(arguments)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{name}.{function.__name__}{arguments} ended with {status}")
    found = json.loads(printed.splitlines()[-1])
    return Measured(found["value"], wall, used.ru_utime + used.ru_stime, found["peak"])


def _peak() -> float:
    """Largest resident memory so far of this process or one that it has waited for, in MB."""
    scale = 1e6 if sys.platform == "darwin" else 1e3
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / scale
    status = Path("/proc/self/status")
    if not status.is_file():
        return max(children, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale)
    # What the system counts for a process begins with the size of the one that started it.
    line = next(row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
    return max(children, int(line.split()[1]) / 1e3)


def cpu_seconds(function: Callable[[], object], times: int = 1) -> float:
    """The least CPU seconds that this process spends in a function."""
    least = float("inf")
    for _ in range(times):
        started = time.process_time()
        function()
        least = min(least, time.process_time() - started)
    return least


if __name__ == "__main__":
    called = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    returned = called(*json.loads(sys.argv[3]))
    print(json.dumps({"value": returned, "peak": _peak()}))
