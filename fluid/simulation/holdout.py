"""Hold out compounds that no partner gets, to test on: whole scaffolds, and random compounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, MismatchError
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.scaffolds import scaffold_keys
from fluid.learn.labels import LabelMatrix
from fluid.partner.table import LabelledCompounds
from fluid.simulation.cell_result import EXTERNAL, RANDOM, SCAFFOLD
from fluid.simulation.partition_spec import PartitionError
from fluid.simulation.study_spec import StudySpec

# A scaffold with a larger share of the compounds is not held out: too much would be lost.
_LARGEST_SHARE = 0.03


@dataclass(frozen=True)
class Holdout:
    """Two tests and the rest; no compound is in two of them.

    All attributes are int64, ascending: positions in the compounds that were divided.

    Attributes
    ----------
    scaffold
        Compounds whose scaffolds are not in `random` or `rest`: a test on new chemistry.
    random
        Random compounds, relatives of those in `rest`.
    rest
        Compounds that partners may hold.
    """

    scaffold: np.ndarray
    random: np.ndarray
    rest: np.ndarray


def hold_out(
    compounds: Compounds, share_scaffold: float = 0.12, share_random: float = 0.12, seed: int = 0
) -> Holdout:
    """Hold out compounds for two tests.

    Whole scaffolds are drawn at random, each with the same chance whatever its size, until they
    have `share_scaffold` of the compounds or a little more (the last scaffold is not cut).
    Scaffolds with more than 3% of all compounds are not drawn, unless they have a single compound.
    A compound without ring counts as a scaffold of its own. Random compounds come from the
    remainder.

    Parameters
    ----------
    compounds
        n compounds, one row per connectivity.
    share_scaffold, share_random
        Shares of all compounds, 0 to 1, together below 1; 0 leaves a test empty.
    seed
        Not negative; the same seed gives the same tests.

    Raises
    ------
    PartitionError
        If a share is not allowed, small scaffolds have too few compounds, or nothing is left.
    """
    for name, share in (("share_scaffold", share_scaffold), ("share_random", share_random)):
        if not 0 <= share < 1:
            raise PartitionError(f"holdout {name} = {share:g}: allowed are 0 to below 1")
    if share_scaffold + share_random >= 1:
        raise PartitionError(
            f"holdout share_scaffold + share_random = {share_scaffold + share_random:g}: "
            "together they must be below 1, or nothing is left to learn from"
        )
    rng = np.random.default_rng(seed)
    n = len(compounds)
    by_scaffold = _draw_scaffolds(compounds, share_scaffold, rng)
    remainder = np.setdiff1d(np.arange(n), by_scaffold)
    wanted = round(share_random * n)
    if len(remainder) <= wanted:
        raise PartitionError(
            f"holdout share_random = {share_random:g}: of {n} compounds {len(remainder)} are left "
            f"after the scaffold test, and {wanted} random ones leave none to learn from"
        )
    by_chance = np.sort(rng.choice(remainder, wanted, replace=False))
    return Holdout(by_scaffold, by_chance, np.setdiff1d(remainder, by_chance))


def _draw_scaffolds(compounds: Compounds, share: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of random whole scaffolds with `share` of the compounds or a little more."""
    n = len(compounds)
    _, members, sizes = np.unique(scaffold_keys(compounds), return_inverse=True, return_counts=True)
    eligible = np.flatnonzero(sizes <= max(1, int(_LARGEST_SHARE * n)))
    wanted = round(share * n)
    available = int(sizes[eligible].sum())
    if available < wanted:
        raise PartitionError(
            f"holdout share_scaffold = {share:g}: {wanted} of {n} compounds are asked for, but "
            f"scaffolds with at most {_LARGEST_SHARE:.0%} of the compounds have {available}; "
            "lower the share"
        )
    order = rng.permutation(eligible)
    before = np.cumsum(sizes[order]) - sizes[order]
    return np.flatnonzero(np.isin(members, order[before < wanted]))


@dataclass(frozen=True)
class StudyTables:
    """A table divided into private data and tests.

    Attributes
    ----------
    private
        What partners may hold.
    queries
        The n test compounds and their labels.
    tests
        Name of the test of each test compound, shape (n,).
    """

    private: LabelledCompounds
    queries: LabelledCompounds
    tests: np.ndarray


def divide_table(
    table: LabelledCompounds, external: LabelledCompounds | None, spec: StudySpec
) -> StudyTables:
    """Divide a table into private data and tests.

    Parameters
    ----------
    table
        All labelled compounds.
    external
        A test table, whose compounds are taken out of `table`; None for none. A validation tests
        on shares of `table` only.
    spec
        Shares to hold out, and whether it is a validation.

    Raises
    ------
    FluidError
        If there is no test, or nothing is left to train.
    """
    parts: list[LabelledCompounds] = []
    names: list[str] = []
    if external is None and not (spec.share_scaffold or spec.share_random):
        raise FluidError("a study needs a test: an external table or a share to hold out")
    if external is not None:
        tested = set(external.compounds.connectivities)
        kept = [key not in tested for key in table.compounds.connectivities]
        table = table.take(np.flatnonzero(kept))
        if not any(kept):
            raise MismatchError(
                "nothing is left to train: every compound of the tables is in the external table"
            )
        if not spec.validation:
            parts.append(external)
            names.append(EXTERNAL)
    n_draws = 2 if spec.validation else 1
    for seed in range(n_draws):
        found = hold_out(table.compounds, spec.share_scaffold, spec.share_random, seed)
        if seed == n_draws - 1:
            for name, rows in ((SCAFFOLD, found.scaffold), (RANDOM, found.random)):
                if len(rows):
                    parts.append(table.take(rows))
                    names.append(name)
        table = table.take(found.rest)
    if not parts:
        raise FluidError(
            "a validation needs shares to hold out; it does not use the external table"
            if spec.validation
            else "a study needs a test: the shares held out have no compounds"
        )
    tests = np.concatenate(
        [
            np.full(len(part.compounds), name, object)
            for part, name in zip(parts, names, strict=True)
        ]
    )
    return StudyTables(table, _join(parts), tests)


def _join(tables: Sequence[LabelledCompounds]) -> LabelledCompounds:
    """Tables with different compounds below one another."""
    shifts = np.cumsum([0, *(len(table.compounds) for table in tables)])
    parts: dict[str, list[np.ndarray]] = {}
    for table, shift in zip(tables, shifts, strict=False):
        for name in ("tasks", "values", "qualifiers", "weights"):
            parts.setdefault(name, []).append(getattr(table.labels, name))
        parts.setdefault("rows", []).append(table.labels.rows + shift)
    joined: dict[str, Any] = {name: np.concatenate(each) for name, each in parts.items()}
    order = np.lexsort((joined["rows"], joined["tasks"]))
    labels = LabelMatrix(
        **{name: values[order] for name, values in joined.items()},
        shape=(int(shifts[-1]), tables[0].labels.shape[1]),
    )
    compounds = concatenate([table.compounds for table in tables])
    return LabelledCompounds(compounds, labels, [], len(compounds))
