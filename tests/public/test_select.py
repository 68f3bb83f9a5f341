"""Selecting the public set: worked cases on small fingerprints, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.run import Run
from fluid.chem.similarity import tanimoto
from fluid.public import select as module
from fluid.public.select import (
    Candidates,
    ClusterShares,
    FingerprintStore,
    allot,
    assign,
    count_leaders,
    find_leaders,
    mix_shares,
    pick_spread,
    select_rows,
)


def packed(*compounds: set[int]) -> np.ndarray:
    """Fingerprints of 64 bits from the positions of their bits."""
    dense = np.zeros((len(compounds), 64), dtype=np.uint8)
    for row, bits in enumerate(compounds):
        dense[row, list(bits)] = 1
    return np.packbits(dense, axis=1)


def series(n: int, n_series: int, seed: int = 0) -> np.ndarray:
    """Fingerprints of 64 bits in series that share most of their bits; compound i is of i % n."""
    random = np.random.default_rng(seed)
    cores = random.random((n_series, 64)) < 0.25
    dense = cores[np.arange(n) % n_series] ^ (random.random((n, 64)) < 0.04)
    dense[:, 0] = True
    return np.packbits(dense, axis=1)


# Worked cases


def test_leaders_lie_as_far_apart_as_they_can() -> None:
    # The second is like the first (3 of 5 bits), the fourth like the third.
    sample = packed({0, 1, 2, 3}, {0, 1, 2, 4}, {10, 11, 12, 13}, {10, 11, 12, 14})
    assert find_leaders(sample, 1).tolist() == [0]
    assert find_leaders(sample, 2).tolist() == [0, 2]
    assert find_leaders(sample, 3).tolist() == [0, 1, 2]
    assert find_leaders(sample, 9).tolist() == [0, 1, 2, 3]


def test_a_repeated_fingerprint_leads_once() -> None:
    assert find_leaders(packed({1, 2}, {1, 2}, {3}), 3).tolist() == [0, 2]


def test_leaders_are_those_of_brute_force_at_the_lowest_threshold_that_gives_enough() -> None:
    sample = series(300, 20)
    similarity = tanimoto(sample, sample)

    def exclude(threshold: float) -> list[int]:
        leaders: list[int] = []
        for row in range(len(sample)):
            if all(similarity[row, leader] < threshold for leader in leaders):
                leaders.append(row)
        return leaders[:20]

    found = find_leaders(sample, 20)
    by_threshold = (exclude(step / 1024) for step in range(1025))
    assert found.tolist() == next(leaders for leaders in by_threshold if len(leaders) == 20)
    assert len(set(found % 20)) > 15


def test_the_first_of_equally_near_leaders_is_the_nearest() -> None:
    leaders = packed({0, 1}, {2, 3}, {0, 1, 2, 3})
    compounds = packed({2, 3}, {0, 2}, {9}, {0, 1, 2})
    nearest, similarity = assign([compounds[:2], compounds[2:]], leaders)
    assert nearest.tolist() == [1, 2, 0, 2]
    assert similarity.tolist() == [1.0, 0.5, 0.0, 0.75]


@pytest.mark.parametrize(
    ("shares", "least", "most", "number", "quotas"),
    [
        ([1, 1, 1], [0, 0, 0], [9, 9, 9], 10, [4, 3, 3]),
        ([0.5, 0.25, 0.25], [0, 0, 0], [9, 9, 9], 8, [4, 2, 2]),
        ([1, 1, 1], [0, 0, 0], [2, 10, 10], 8, [2, 3, 3]),
        ([3, 1, 1], [0, 0, 0], [2, 10, 10], 8, [2, 3, 3]),
        ([1, 1, 1], [5, 0, 0], [9, 9, 9], 9, [5, 2, 2]),
        ([1, 0, 0], [0, 0, 0], [2, 5, 5], 6, [2, 2, 2]),
        ([1, 0, 0], [0, 0, 1], [9, 5, 5], 6, [5, 0, 1]),
        ([1, 1], [0, 0], [0, 3], 3, [0, 3]),
        ([1, 1], [1, 1], [1, 1], 2, [1, 1]),
        ([0.6, 0.4], [0, 0], [99, 99], 99, [59, 40]),
    ],
)
def test_quotas(
    shares: list[float], least: list[int], most: list[int], number: int, quotas: list[int]
) -> None:
    found = allot(np.array(shares, float), np.array(least), np.array(most), number)
    assert found.tolist() == quotas


def test_partners_have_the_same_say_whatever_their_size() -> None:
    sizes = np.array([5, 5, 5, 0])
    reported = [np.array([100, 0, 0, 0]), np.array([0, 5, 0, 5]), np.array([0, 0, 0, 0])]
    even = np.array([1, 1, 1, 0]) / 3
    told = np.array([0.5, 0.25, 0.0, 0.25])
    assert mix_shares(sizes, reported, 0.5) == pytest.approx(0.5 * even + 0.5 * told)
    assert mix_shares(sizes, reported, 1.0) == pytest.approx(told)
    assert mix_shares(sizes, reported[2:], 1.0) == pytest.approx(even)
    assert mix_shares(sizes, [], 1.0) == pytest.approx(even)


def test_maxmin_takes_the_least_similar_each_time() -> None:
    candidates = packed({0, 1, 2, 3}, {0, 1, 2, 4}, {10, 11}, {0, 10}, {0, 1, 2, 3})
    assert pick_spread(candidates, 5, 0).tolist() == [0, 2, 3, 1, 4]
    assert pick_spread(candidates, 2, 3).tolist() == [3, 0]
    assert pick_spread(candidates, 2, 0, packed({0, 1, 2, 3})).tolist() == [2, 3]


def test_one_in_ten_leads_up_to_two_thousand() -> None:
    assert [count_leaders(n) for n in (1, 19, 20, 1000, 10**7)] == [1, 1, 2, 100, 2000]


# What must always hold


@settings(deadline=None)
@given(st.data(), st.integers(1, 8))
def test_quotas_have_the_sum_and_keep_the_bounds(data: st.DataObject, k: int) -> None:
    most = data.draw(st.lists(st.integers(0, 50), min_size=k, max_size=k))
    least = [data.draw(st.integers(0, high)) for high in most]
    shares = data.draw(st.lists(st.floats(0, 1).map(lambda x: round(x, 4)), min_size=k, max_size=k))
    number = data.draw(st.integers(sum(least), sum(most)))
    found = allot(np.array(shares), np.array(least), np.array(most), number)
    assert found.sum() == number
    assert (found >= least).all()
    assert (found <= most).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
def test_maxmin_is_that_of_brute_force(seed: int, n: int, with_present: bool) -> None:
    random = np.random.default_rng(seed)
    candidates = np.packbits(random.random((n, 64)) < 0.1, axis=1)
    present = np.packbits(random.random((2, 64)) < 0.1, axis=1) if with_present else None
    found = pick_spread(candidates, n, n - 1, present)
    assert sorted(found) == list(range(n))
    around = list(present) if present is not None else [candidates[n - 1]]
    left = list(range(n))
    if present is None:
        assert found[0] == left.pop()
    for row in found[n - len(left) :]:
        high = tanimoto(candidates[left], np.array(around)).max(axis=1)
        assert row == left[int(high.argmin())]
        left.remove(row)
        around.append(candidates[row])


def test_a_store_gives_back_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 4)
    prints = series(23, 5)
    store = FingerprintStore(8, [prints[:1], prints[1:11], prints[11:11], prints[11:]])
    assert len(store) == 23
    assert np.array_equal(np.concatenate(list(store.blocks())), prints)
    rows = np.array([22, 0, 7, 7, 4, 19])
    assert np.array_equal(store.take(rows), prints[rows])


def pool(
    prints: np.ndarray, rows: np.ndarray | None = None, kept: np.ndarray | None = None
) -> Candidates:
    rows = np.arange(len(prints)) if rows is None else rows
    kept = np.zeros(len(rows), dtype=bool) if kept is None else kept
    return Candidates(FingerprintStore(8, [prints]), rows, kept)


@pytest.mark.parametrize("number", [1, 2, 37, 400, 1999, 2000])
def test_exactly_as_many_as_asked_for_in_the_order_of_the_pool(number: int) -> None:
    prints = series(2000, 31)
    found = select_rows(pool(prints), number).rows
    assert len(found) == number
    assert (np.diff(found) > 0).all()
    assert np.array_equal(found, select_rows(pool(prints), number, run=Run(jobs=2)).rows)
    if number in (37, 400):
        assert not np.array_equal(found, select_rows(pool(prints), number, run=Run(seed=1)).rows)


def test_only_rows_that_may_be_selected_are_and_donated_ones_always() -> None:
    prints = series(1500, 31)
    rows = np.arange(0, 1500, 2)
    kept = np.zeros(len(rows), dtype=bool)
    kept[5:700:31] = True
    for number in (kept.sum(), kept.sum() + 1, 200, 749):
        found = select_rows(pool(prints, rows, kept), int(number)).rows
        assert len(found) == number
        assert set(rows[kept]) <= set(found) <= set(rows)


def test_a_large_quota_is_picked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 16)
    prints = series(900, 2)
    kept = np.arange(900) % 100 == 0
    found = select_rows(pool(prints, kept=kept), 700).rows
    assert len(set(found)) == 700
    assert set(np.flatnonzero(kept)) <= set(found)


def test_small_series_are_not_drowned_by_large_ones() -> None:
    # One series holds 1,900 of 2,000 compounds, the other ten hold 10 each.
    prints = np.concatenate([series(1900, 1), series(100, 10, seed=5)])
    shares = ClusterShares(prints[[0, *range(1900, 1910)]])
    found = select_rows(pool(prints), 100, shares).rows
    assert (found >= 1900).sum() > 80


def test_coverage_moves_the_quota_to_the_reported_cluster() -> None:
    prints = series(1000, 10)
    leaders = prints[:10]
    clusters, _ = assign([prints], leaders)
    counts = np.zeros(10, dtype=np.int64)
    counts[4] = 730
    shares = {}
    for weight in (0.0, 0.5, 1.0):
        picked = select_rows(pool(prints), 80, ClusterShares(leaders, [counts], weight))
        assert picked.quotas.sum() == 80
        assert np.array_equal(np.bincount(clusters[picked.rows], minlength=10), picked.quotas)
        shares[weight] = picked.quotas[4]
    assert shares == {0.0: 8, 0.5: 44, 1.0: 80}


def test_the_selection_is_more_diverse_than_a_random_one() -> None:
    prints = series(3000, 40)
    found = select_rows(pool(prints), 60).rows
    drawn = np.random.default_rng(0).choice(3000, 60, replace=False)

    def nearest(rows: np.ndarray) -> float:
        similarity = tanimoto(prints[rows], prints[rows])
        np.fill_diagonal(similarity, 0.0)
        return float(similarity.max(axis=1).mean())

    assert nearest(found) < nearest(drawn) - 0.05


# Files
