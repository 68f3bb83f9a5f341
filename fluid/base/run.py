"""How to run: settings of every function that takes long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from fluid.base.errors import FluidError
from fluid.base.jobs import Workers, count_jobs

# What every library takes that is given a seed.
_HIGHEST_SEED = 2**31 - 1


def _count_quietly(done: int) -> None:
    """Report nothing."""


def _stage_quietly(name: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Run:
    """How to run; of these settings, results depend only on the seed.

    Attributes
    ----------
    seed
        Fixes everything random, 0 to 2**31 - 1.
    jobs
        Cores to use; None uses all that this process may.
    workers
        What computes chunks in place of this machine's cores, such as a cluster; None for none.
    progress
        Called with the number of rows or compounds done so far.
    stage
        Called with the name of each stage as it begins.
    """

    seed: int = 0
    jobs: int | None = None
    workers: Workers | None = None
    progress: Callable[[int], None] = _count_quietly
    stage: Callable[[str], None] = _stage_quietly

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _HIGHEST_SEED:
            raise FluidError(f"seed = {self.seed}: allowed are 0 to {_HIGHEST_SEED}")

    @cached_property
    def cores(self) -> int:
        """`jobs`, or the number of cores that this process may use."""
        return count_jobs(self.jobs)
