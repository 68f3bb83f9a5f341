"""Expand the public set: series of analogues where teachers know the chemistry and labels change.

What a student learns depends on the public compounds near the partners' chemistry. The first round
tells which these are. Analogues grown around those on which teachers disagree, or where the pooled
label changes between near neighbours, give the next round contrast where there is knowledge. Only
public structures and pooled labels go in.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError
from fluid.base.files import atomic_file
from fluid.base.jobs import count_jobs, map_processes
from fluid.central.seeds import Seed, choose_seeds, neighbours_of
from fluid.chem.analogues import (
    METHODS,
    Substituents,
    count_substituents,
    iter_analogues,
    rank_substituents,
)
from fluid.chem.compounds import Compounds
from fluid.chem.standardize import StandardizerSpec, StructureError, connectivity, standardize
from fluid.exchange.federated_set import FederatedSet, PooledTask
from fluid.exchange.federation import Federation
from fluid.learn.reliability import TRUSTED
from fluid.learn.task import Task

logger = logging.getLogger(__name__)


HEADER = ("id", "smiles", "parent", "rule")


MOST_COMPOUNDS = 10_000_000


MOST_SEEDS = 1_000_000


_LENDERS = 8


_MOST_HARVESTED = 5000


# No seed gives more than this many times its even share, however little the others give.
_MOST_SHARES = 2


_SEEDS_A_BATCH, _HARVEST_A_BATCH = 8, 250


@dataclass(frozen=True)
class ExpandedCompound:
    """A new structure.

    Attributes
    ----------
    id
        ``ANA-`` and its connectivity, so that names are the same in every round.
    smiles
        Standard SMILES.
    parent
        Name of the seed in the public set.
    rule
        What was changed, such as ``"mutation: aryl CH to N"``.
    """

    id: str
    smiles: str
    parent: str
    rule: str


@dataclass(frozen=True)
class Expansion:
    """New structures, ordered by seed, and where they come from.

    Attributes
    ----------
    compounds
        The new structures; none shares its connectivity with the public set or another.
    seeds
        The seeds, best first, tasks in turn.
    asked
        How many structures were asked for.
    """

    compounds: list[ExpandedCompound]
    seeds: list[Seed]
    asked: int

    def to_dict(self) -> dict[str, Any]:
        """Counts as plain values."""
        methods = Counter(compound.rule.partition(":")[0] for compound in self.compounds)
        return {
            "asked": self.asked,
            "compounds": len(self.compounds),
            "parents": len({compound.parent for compound in self.compounds}),
            "seeds": dict(Counter(seed.task for seed in self.seeds)),
            "methods": dict(sorted(methods.items())),
        }


@dataclass(frozen=True)
class _Order:
    """What a worker needs to grow the first `wanted` analogues of a seed."""

    row: int
    smiles: str
    neighbours: tuple[str, ...]
    wanted: int


# Standard SMILES, connectivity, rule.
_Candidate = tuple[str, str, str]


def _grow_batch(
    orders: Sequence[_Order],
    seed: int,
    methods: Sequence[str],
    substituents: Substituents,
    standardizer: StandardizerSpec,
) -> list[list[_Candidate]]:
    def grow(order: _Order) -> Iterator[_Candidate]:
        # A generator for each seed: what it gives depends on no other seed and no worker.
        rng = np.random.default_rng([seed, order.row])
        seen = set()
        for smiles, rule in iter_analogues(
            order.smiles, rng, methods, substituents, order.neighbours
        ):
            try:
                structure = standardize(smiles, standardizer)
            except (StructureError, RuntimeError, ArithmeticError, LookupError, TypeError):
                continue
            key = connectivity(structure.inchikey)
            if key not in seen:
                seen.add(key)
                yield structure.smiles, key, rule

    return [list(islice(grow(order), order.wanted)) for order in orders]


def _batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _harvest(compounds: Compounds, jobs: int) -> Substituents:
    """Substituents of the public set, or of compounds spread evenly over a large one."""
    n = len(compounds)
    rows = np.unique(np.linspace(0, n - 1, min(n, _MOST_HARVESTED)).round().astype(np.int64))
    parts = _batches(list(compounds.smiles[rows]), _HARVEST_A_BATCH)
    return rank_substituents(map_processes(count_substituents, parts, jobs))


def _deal(
    found: Sequence[Sequence[_Candidate]], public: set[str], n: int, most: int
) -> list[list[_Candidate]]:
    """One new structure of each seed in turn, until there are n or each seed has given `most`."""
    taken: set[str] = set()
    dealt: list[list[_Candidate]] = [[] for _ in found]
    turns = [(number, iter(candidates)) for number, candidates in enumerate(found)]
    for _ in range(most):
        left = []
        for number, candidates in turns:
            if len(taken) == n:
                return dealt
            for candidate in candidates:
                if candidate[1] not in public and candidate[1] not in taken:
                    taken.add(candidate[1])
                    dealt[number].append(candidate)
                    left.append((number, candidates))
                    break
        turns = left
    return dealt


def _check_options(n: int, n_seeds: int, methods: Sequence[str]) -> None:
    if not 1 <= n <= MOST_COMPOUNDS:
        raise FluidError(f"number = {n}: allowed are 1 to {MOST_COMPOUNDS:,}")
    if not 1 <= n_seeds <= MOST_SEEDS:
        raise FluidError(f"seeds = {n_seeds}: allowed are 1 to {MOST_SEEDS:,}")
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise FluidError(
            f"methods: '{unknown[0] if unknown else ''}' is not a method; allowed are "
            f"{', '.join(METHODS)}"
        )


def expand(
    federated: FederatedSet,
    federation: Federation,
    n: int,
    seed: int = 0,
    n_seeds: int = 500,
    methods: Sequence[str] = METHODS,
    balance: bool = True,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Expansion:
    """Grow analogues of well-chosen public compounds for the next round.

    Parameters
    ----------
    federated
        The federated set of the round that is over.
    federation
        Its contract.
    n
        New structures in total, 1 to 10,000,000. Each seed gives an even share, and up to twice as
        many where others give less; if that does not suffice there are fewer, with a warning.
    seed
        Fixes everything random.
    n_seeds
        Public compounds to grow analogues of; no more than n are used.
    methods
        Some of `fluid.chem.analogues.METHODS`.
    balance
        See `choose_seeds`.
    jobs
        Worker processes; the result does not depend on it.
    progress
        Called with the number of structures grown so far.

    Raises
    ------
    FluidError
        If an option is not allowed, or no public compound lies in the domain of any teacher.
    MismatchError, FileFormatError
        If the set is not of this federation.
    """
    _check_options(n, n_seeds, methods)
    federation.chemistry.check(f"federation '{federation.name}'")
    federated.check(federation)
    compounds, pooled = federated.load()
    found = grow_public(
        compounds, pooled, federated.tasks, federation.chemistry.standardizer, n, seed, n_seeds,
        methods, balance, jobs, progress,
    )  # fmt: skip
    if not found.seeds:
        raise FluidError(
            f"{federated.sealed.path}: none of its {len(compounds)} public compounds lies in the "
            f"domain of a teacher (reliability {TRUSTED:g} or more), so there is nothing to expand"
        )
    return found


def grow_public(
    compounds: Compounds,
    pooled: Mapping[str, PooledTask],
    tasks: Sequence[Task],
    standardizer: StandardizerSpec,
    n: int,
    seed: int = 0,
    n_seeds: int = 500,
    methods: Sequence[str] = METHODS,
    balance: bool = True,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Expansion:
    """Grow analogues in memory; see `expand`.

    Parameters
    ----------
    compounds, pooled, tasks
        The public compounds, their pooled labels by task, and the tasks.
    standardizer
        The federation's.
    n, seed, n_seeds, methods, balance, jobs, progress
        See `expand`.

    Returns
    -------
    Expansion
        Without seeds if no compound lies in the domain of any teacher.
    """
    workers = count_jobs(jobs)
    seeds = choose_seeds(compounds, pooled, min(n, n_seeds), tasks, balance, workers)
    if not seeds:
        return Expansion([], [], n)
    logger.info("%d seeds among %d public compounds", len(seeds), len(compounds))
    orders = _orders(compounds, seeds, methods, workers)
    substituents = _harvest(compounds, workers) if "pairs" in methods else {}
    work = partial(
        _grow_batch,
        seed=seed,
        methods=tuple(methods),
        substituents=substituents,
        standardizer=standardizer,
    )
    dealt = _fill(work, orders, set(compounds.connectivities), n, workers, progress)
    new = [
        ExpandedCompound(f"ANA-{key}", smiles, str(compounds.ids[parent.row]), rule)
        for parent, candidates in zip(seeds, dealt, strict=True)
        for smiles, key, rule in candidates
    ]
    if len(new) < n:
        logger.warning(
            "%d new structures, not %d: %d seeds gave no more; give more seeds or methods",
            len(new), n, len(seeds),
        )  # fmt: skip
    return Expansion(new, seeds, n)


def _orders(
    compounds: Compounds, seeds: Sequence[Seed], methods: Sequence[str], jobs: int
) -> list[_Order]:
    rows = np.array([seed.row for seed in seeds])
    lenders: list[tuple[str, ...]] = [()] * len(rows)
    if "brics" in methods:
        packed = compounds.fingerprints
        near, similarity = neighbours_of(packed[rows], packed, rows, _LENDERS, jobs)
        lenders = [
            tuple(compounds.smiles[where[value > 0]])
            for where, value in zip(near, similarity, strict=True)
        ]
    return [
        _Order(int(row), str(compounds.smiles[row]), lent, 0)
        for row, lent in zip(rows, lenders, strict=True)
    ]


def _fill(
    work: Callable[[Sequence[_Order]], list[list[_Candidate]]],
    orders: Sequence[_Order],
    public: set[str],
    n: int,
    jobs: int,
    progress: Callable[[int], None],
) -> list[list[_Candidate]]:
    """Grow until n structures are new, asking seeds for more as long as they have more."""
    share = -(-n // len(orders))
    most = _MOST_SHARES * share
    # A fifth is spare, for structures that are public or that another seed has given already.
    wanted = share + share // 5 + 5
    found: list[list[_Candidate]] = [[] for _ in orders]
    todo = list(range(len(orders)))
    while True:
        batches = _batches(todo, _SEEDS_A_BATCH)
        asked = (
            [_Order(orders[i].row, orders[i].smiles, orders[i].neighbours, wanted) for i in batch]
            for batch in batches
        )
        for batch, grown in zip(batches, map_processes(work, asked, jobs), strict=True):
            for number, candidates in zip(batch, grown, strict=True):
                found[number] = candidates
            progress(sum(map(len, found)))
        dealt = _deal(found, public, n, most)
        todo = [number for number in todo if len(found[number]) == wanted]
        if sum(map(len, dealt)) == n or not todo or wanted > 4 * most:
            return dealt
        # A seed asked again gives the same beginning, so that nothing hangs on how often.
        wanted *= 2


def write_expansion(expansion: Expansion, output: Path) -> None:
    """Write new structures as a table that ``prepare-public`` reads beside the former one.

    Parameters
    ----------
    expansion
        From `expand`.
    output
        The CSV file to appear: id, SMILES, name of the parent, and rule.

    Raises
    ------
    FluidError
        If the file cannot be written.
    """
    with (
        atomic_file(output) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as handle,
    ):
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(
            (compound.id, compound.smiles, compound.parent, compound.rule)
            for compound in expansion.compounds
        )
