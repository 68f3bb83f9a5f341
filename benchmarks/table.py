"""Rows of the table that `make bench` prints."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import NamedTuple

from fluid.base.software import software_versions


class Row(NamedTuple):
    """One line: what was measured, what it was, and what it is compared with."""

    what: str
    measured: str
    compared: str = ""


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | measured | beside |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def machine() -> str:
    """Cores, processor and versions in one paragraph."""
    versions = ", ".join(f"{name} {version}" for name, version in software_versions().items())
    return f"{os.cpu_count()} cores, {_processor()}; Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            named = (line.partition(":")[2].strip() for line in lines if "model name" in line)
            return next(named, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()
