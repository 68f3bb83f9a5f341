"""Tests share no compound with the rest, and the scaffold test shares no scaffold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.chem.compounds import Compounds
from fluid.chem.scaffolds import scaffold_keys
from fluid.simulation.holdout import hold_out
from fluid.simulation.partition_spec import PartitionError


def make_compounds(groups: list[int]) -> Compounds:
    """Compounds with a scaffold by group; a group below 0 is a chain without relatives."""
    n = len(groups)
    smiles = [
        "C" * (row + 1) if group < 0 else "C1CC1" + "C" * group + "C1CCC1"
        for row, group in enumerate(groups)
    ]
    return Compounds(
        ids=np.array([f"c{row}" for row in range(n)], dtype=object),
        smiles=np.array(smiles, dtype=object),
        inchikeys=np.array([f"{row:014d}-UHFFFAOYSA-N" for row in range(n)], dtype=object),
        fingerprints=np.zeros((n, 8), dtype=np.uint8),
        environments=np.zeros(0, dtype=np.uint32),
        counts=np.zeros(0, dtype=np.uint8),
        offsets=np.zeros(n + 1, dtype=np.int64),
        descriptors=np.zeros((n, 0), dtype=np.float32),
    )


# 20 of one scaffold, 10 chains, and 35 scaffolds with two each.
GROUPS = [0] * 20 + [-1] * 10 + [1 + row // 2 for row in range(70)]
COMPOUNDS = make_compounds(GROUPS)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 0.6), st.floats(0, 0.3), st.integers(0, 2**40))
def test_every_compound_is_in_one_place_and_shares_are_met(
    by_scaffold: float, by_chance: float, seed: int
) -> None:
    found = hold_out(COMPOUNDS, by_scaffold, by_chance, seed)
    parts = (found.scaffold, found.random, found.rest)
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    for rows in parts:
        assert rows.dtype == np.int64
        assert np.all(np.diff(rows) > 0)
    # The last scaffold is taken whole; the largest that may be drawn has two.
    assert 0 <= len(found.scaffold) - round(by_scaffold * 100) <= 1
    assert len(found.random) == round(by_chance * 100)
    keys = scaffold_keys(COMPOUNDS)
    assert not set(keys[found.scaffold]) & set(keys[np.concatenate(parts[1:])])
    # Twenty percent of the compounds are of the first scaffold: never drawn as a scaffold.
    assert np.all(found.scaffold >= 20)


def test_about_an_eighth_each_by_default() -> None:
    found = hold_out(COMPOUNDS, seed=1)
    assert len(found.scaffold) in (12, 13)
    assert len(found.random) == 12
    assert len(found.rest) == 100 - len(found.scaffold) - 12


def test_a_scaffold_of_three_percent_may_be_drawn_and_a_larger_one_not() -> None:
    # 100 compounds: a scaffold of three, one of four, and chains.
    compounds = make_compounds([0] * 3 + [1] * 4 + [-1] * 93)
    drawn = np.zeros(100)
    for seed in range(12):
        drawn[hold_out(compounds, 0.5, 0.0, seed).scaffold] += 1
    assert drawn[0] == drawn[1] == drawn[2] > 0
    assert drawn[3:7].tolist() == [0.0] * 4
    # All 96 that are eligible can be asked for, and no more.
    assert len(hold_out(compounds, 0.96, 0.0).scaffold) == 96
    with pytest.raises(PartitionError, match=r"97 of 100 .* at most 3% of the compounds have 96"):
        hold_out(compounds, 0.97, 0.0)


def test_scaffolds_are_drawn_with_equal_chances_and_any_compound_by_chance() -> None:
    by_scaffold, by_chance = np.zeros(100), np.zeros(100)
    for seed in range(80):
        found = hold_out(COMPOUNDS, 0.2, 0.2, seed)
        by_scaffold[found.scaffold] += 1
        by_chance[found.random] += 1
    # 20 of 80 compounds, whole scaffolds or chains: a quarter of the draws, five deviations.
    assert np.all(by_scaffold[20:] < 40)
    assert np.all(by_scaffold[20:] > 2)
    assert by_scaffold[20:30].mean() == pytest.approx(20, abs=4)
    # The frequent scaffold is in the random test in proportion to its size: 20 of 80.
    assert by_chance[:20].sum() / by_chance.sum() == pytest.approx(0.25, abs=0.04)


def test_small_tables_have_single_compounds_only() -> None:
    found = hold_out(make_compounds([0, 0, 0, 1, 1, 2, 3, 4, 5, 6]), 0.3, 0.2, 4)
    assert len(found.scaffold) == 3
    assert np.all(found.scaffold >= 5)


def test_nothing_is_held_out_if_nothing_is_asked_for() -> None:
    found = hold_out(COMPOUNDS, 0.0, 0.0)
    assert found.scaffold.dtype == found.random.dtype == np.int64
    assert len(found.scaffold) == len(found.random) == 0
    assert found.rest.tolist() == list(range(100))


def test_the_seed_alone_decides() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = hold_out(COMPOUNDS, seed=5)
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    again, other = hold_out(COMPOUNDS, seed=5), hold_out(COMPOUNDS, seed=6)
    assert first.scaffold.tolist() == again.scaffold.tolist()
    assert first.random.tolist() == again.random.tolist()
    assert first.scaffold.tolist() != other.scaffold.tolist()
    assert first.random.tolist() != other.random.tolist()


@pytest.mark.parametrize(
    ("by_scaffold", "by_chance", "message"),
    [
        (-0.1, 0.1, r"share_scaffold = -0.1: allowed are 0 to below 1"),
        (0.1, 1.0, r"share_random = 1: allowed are 0 to below 1"),
        (float("nan"), 0.1, r"share_scaffold = nan"),
        (0.5, 0.5, r"share_scaffold \+ share_random = 1: together they must be below 1"),
        (0.9, 0.05, r"90 of 100 compounds are asked for, but scaffolds .* have 80; lower"),
    ],
)
def test_impossible_shares_are_refused(by_scaffold: float, by_chance: float, message: str) -> None:
    with pytest.raises(PartitionError, match=message) as caught:
        hold_out(COMPOUNDS, by_scaffold, by_chance)
    assert "\n" not in str(caught.value)


def test_something_must_be_left() -> None:
    with pytest.raises(PartitionError, match=r"of 2 compounds 1 are left .* leave none"):
        hold_out(make_compounds([-1, -1]), 0.45, 0.54)
