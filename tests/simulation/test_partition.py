"""Who holds what: every compound a holder, every partner its minimum, and the skew asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.simulation import partition as module
from fluid.simulation.partition import divide
from fluid.simulation.partition_spec import PartitionError, PartitionSpec
from tests.simulation.made_parts import ALL_KINDS, MIXED, make_compounds, owners_of, run

# --- what holds for every kind ----------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["kmeans", "scaffold", "size", "random"]),
    st.integers(2, 8),
    st.sampled_from([0.05, 0.5, 5.0]),
    st.integers(1, 20),
    st.integers(0, 2**40),
)
def test_every_compound_has_one_holder_and_every_partner_its_minimum(
    kind: str, partners: int, alpha: float, minimum: int, seed: int
) -> None:
    spec = PartitionSpec(kind, partners, alpha, minimum=minimum)
    parts = run(spec, MIXED, seed)
    assert [part.name for part in parts] == [f"partner-{i + 1}" for i in range(partners)]
    for part in parts:
        assert part.rows.dtype == np.int64
        assert np.all(np.diff(part.rows) > 0)
        assert len(part.rows) >= minimum
    owners_of(parts, len(MIXED))


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(("size", "random", "scaffold", "column")),
    st.floats(0, 1),
    st.integers(0, 2**20),
)
def test_overlap_is_the_share_of_compounds_with_a_second_holder(
    kind: str, overlap: float, seed: int
) -> None:
    spec = PartitionSpec(kind, 4, minimum=10, overlap=overlap, column="site")
    parts = run(spec, MIXED, seed)
    held = np.bincount(np.concatenate([part.rows for part in parts]), minlength=len(MIXED))
    assert set(held.tolist()) <= {1, 2}
    assert np.sum(held == 2) == round(overlap * len(MIXED))
    for part in parts:
        assert np.all(np.diff(part.rows) > 0)
    # The first holders are those of the same division without overlap.
    alone = run(dataclasses.replace(spec, overlap=0.0), MIXED, seed)
    for part, before in zip(parts, alone, strict=True):
        assert np.isin(before.rows, part.rows).all()


def test_second_holders_are_drawn_from_all_partners() -> None:
    parts = divide(MIXED, PartitionSpec("random", 4, overlap=1.0), 5)
    sizes = [len(part.rows) for part in parts]
    assert sum(sizes) == 480
    # 60 of its own and a third of the other 180, give or take.
    assert min(sizes) > 95
    assert max(sizes) < 145


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_seed_alone_decides(kind: str) -> None:
    spec = PartitionSpec(kind, 4, overlap=0.2, minimum=5, column="site")
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = run(spec, MIXED, 11)
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    again = run(spec, MIXED, 11)
    other = run(spec, MIXED, 12)
    rows = [[part.rows.tolist() for part in parts] for parts in (first, again, other)]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


@pytest.mark.parametrize("kind", ["kmeans", "scaffold", "label", "size", "random"])
def test_too_few_compounds_are_refused(kind: str) -> None:
    with pytest.raises(PartitionError, match=r"240 compounds do not suffice for 8 .* at most 7 pa"):
        run(PartitionSpec(kind, minimum=31), MIXED, 0)


def test_names_of_ten_partners_sort_as_they_stand() -> None:
    names = [part.name for part in run(PartitionSpec("random", 10, minimum=1), MIXED, 0)]
    assert names[0] == "partner-01"
    assert names == sorted(names)


# --- random and size --------------------------------------------------------------------------


def test_random_parts_are_of_equal_size_and_not_in_the_order_of_rows() -> None:
    parts = divide(MIXED, PartitionSpec("random", 7), 3)
    assert sorted(len(part.rows) for part in parts) == [34] * 5 + [35] * 2
    assert all(np.ptp(part.rows) > 150 for part in parts)


def test_sizes_differ_more_with_a_small_alpha() -> None:
    def largest(alpha: float) -> float:
        spec = PartitionSpec("size", 6, alpha, minimum=5)
        return float(
            np.mean([max(len(p.rows) for p in divide(MIXED, spec, seed)) for seed in range(20)])
        )

    assert largest(0.1) > 1.5 * largest(1.0)
    assert largest(1e6) < 60 < largest(1.0)


# --- clusters ---------------------------------------------------------------------------------


def test_without_mixing_partners_are_the_clusters() -> None:
    groups = np.repeat(np.arange(4), [40, 50, 60, 70])
    compounds = make_compounds(groups)
    # One start only, so that not every seed finds all four; most do.
    found = [divide(compounds, PartitionSpec("kmeans", 4, mixing=0.0), seed) for seed in range(8)]
    whole = [
        parts
        for parts in found
        if sorted(groups[p.rows].tolist() for p in parts)
        == [[group] * count for group, count in enumerate((40, 50, 60, 70))]
    ]
    assert len(whole) >= 4


def test_the_seed_decides_where_clusters_start() -> None:
    bits = np.random.default_rng(0).integers(256, size=(240, 16), dtype=np.uint8)
    noise = dataclasses.replace(MIXED, fingerprints=bits)
    spec = PartitionSpec("kmeans", 4, mixing=0.0, minimum=1)
    found = [[part.rows.tolist() for part in divide(noise, spec, seed)] for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert sorted(found[0]) != sorted(found[2])


def test_mixing_is_the_share_that_goes_anywhere() -> None:
    groups = np.repeat(np.arange(4), 100)
    compounds = make_compounds(groups)

    def strangers(mixing: float) -> int:
        spec = PartitionSpec("kmeans", 4, mixing=mixing)
        parts = divide(compounds, spec, 3)
        return sum(len(p.rows) - np.bincount(groups[p.rows]).max() for p in parts)

    assert strangers(0.0) == 0
    # Three of four random partners are another one: 60 of 80, with four standard deviations.
    assert 44 <= strangers(0.2) <= 76
    assert strangers(1.0) > 250


def test_a_small_cluster_takes_the_nearest_from_those_who_can_spare() -> None:
    # Points on a line; cluster 1 is at 10 and is short of two, cluster 2 has just its minimum.
    line = np.array([[0], [1], [2], [6], [7], [10], [9], [9], [11]], dtype=np.float32)
    owners = np.array([0, 0, 0, 0, 0, 1, 2, 2, 2])
    found = module._top_up(owners, line, np.array([[1.0], [10.0], [9.5]]), 3)
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert owners.tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 2]


def test_topping_up_never_takes_from_a_partner_at_its_minimum() -> None:
    line = np.array([[9], [8], [7], [0], [1]], dtype=np.float32)
    found = module._top_up(np.array([0, 0, 0, 0, 0]), line, np.array([[0.0], [9.0]]), 2)
    assert found.tolist() == [1, 1, 0, 0, 0]
    line = np.array([[3], [3], [5], [6], [7], [8]], dtype=np.float32)
    centres = np.array([[4.0], [4.0], [7.0]])
    found = module._top_up(np.array([0, 0, 2, 2, 2, 2]), line, centres, 2)
    assert found.tolist() == [0, 0, 1, 1, 2, 2]


def test_the_smallest_cluster_is_topped_up_first() -> None:
    line = np.array([[0], [1], [2], [3], [4], [20]], dtype=np.float32)
    owners = np.array([2, 2, 2, 2, 2, 0])
    found = module._top_up(owners, line, np.array([[1.0], [1.0], [9.0]]), 2)
    # Cluster 1 has none: it takes the two nearest to 1, and cluster 0 the next.
    assert found.tolist() == [1, 1, 0, 2, 2, 0]


@pytest.mark.filterwarnings("error")
def test_alike_compounds_still_make_partners() -> None:
    compounds = make_compounds([0] * 60)
    alike = dataclasses.replace(compounds, fingerprints=compounds.fingerprints[[0] * 60])
    parts = divide(alike, PartitionSpec("kmeans", 4, mixing=0.0, minimum=10), 0)
    assert sorted(len(part.rows) for part in parts) == [10, 10, 10, 30]


def test_many_compounds_are_clustered_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.repeat(np.arange(3), 80)
    compounds = make_compounds(groups)
    monkeypatch.setattr(module, "_BATCH_ABOVE", 239)
    monkeypatch.setattr("sklearn.cluster.KMeans", None)
    spec = PartitionSpec("kmeans", 3, mixing=0.0)
    found = [divide(compounds, spec, seed) for seed in range(6)]
    pure = [all(len(set(groups[part.rows])) == 1 for part in parts) for parts in found]
    assert sum(pure) >= 3
    again = divide(compounds, spec, 0)
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(found[0], again, strict=True))
