"""What is kept from every partner, to test on: whole scaffolds, and random compounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.scaffolds import scaffold_keys
from fluid.simulate.partition_spec import PartitionError

# A scaffold with more of the compounds than this is too much of the data to be without.
_LARGEST_SHARE = 0.03


@dataclass(frozen=True)
class Holdout:
    """Two tests and what is left; no compound is in two of them.

    Attributes
    ----------
    scaffold
        Compounds of scaffolds of which none is in `random` or `rest`: is what was learned good
        for new chemistry?
    random
        Random compounds, relatives of those in `rest`.
    rest
        What partners may hold.

    All are int64, ascending: positions in the compounds that were divided.
    """

    scaffold: np.ndarray
    random: np.ndarray
    rest: np.ndarray


def hold_out(
    compounds: Compounds,
    share_scaffold: float = 0.12,
    share_random: float = 0.12,
    seed: int = 0,
) -> Holdout:
    """Set compounds aside for testing.

    Whole scaffolds are drawn at random, each with the same chance whatever its size, until they
    have `share_scaffold` of the compounds or a little more (the last scaffold is not cut).
    Scaffolds with more than 3% of all compounds are not drawn, unless they have one only. A
    compound without ring counts as a scaffold of its own. Random compounds come from the
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
            "together they must be below 1, so that something is left to learn from"
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
