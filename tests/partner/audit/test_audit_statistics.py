"""Statistics of attacks, against oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fluid.partner.audit.statistics import (
    clopper_pearson,
    epsilon_lower_bound,
    holm,
    rank_members,
    true_positives_at,
)


@given(
    scores=st.lists(st.integers(0, 6), min_size=4, max_size=60),
    seed=st.integers(0, 2**31 - 1),
)
def test_auc_is_scikit_learns_with_ties(scores: list[int], seed: int) -> None:
    values = np.array(scores, dtype=float)
    member = np.random.default_rng(seed).random(len(values)) < 0.5
    member[:2] = [True, False]
    found = rank_members(values, member, np.arange(len(values)))
    assert found.auc == pytest.approx(roc_auc_score(member, values))


def test_error_is_delongs_where_nothing_repeats() -> None:
    random = np.random.default_rng(0)
    member = random.random(200) < 0.4
    scores = random.normal(size=200) + member
    inside, outside = scores[member], scores[~member]
    above = (inside[:, None] > outside[None, :]).astype(float)
    delong = above.mean(1).var(ddof=1) / len(inside) + above.mean(0).var(ddof=1) / len(outside)
    found = rank_members(scores, member, np.arange(200))
    assert found.error == pytest.approx(math.sqrt(delong), rel=0.01)


def test_error_does_not_shrink_when_every_compound_is_only_repeated() -> None:
    random = np.random.default_rng(1)
    member = random.random(100) < 0.5
    scores = random.normal(size=100) + member
    once = rank_members(scores, member, np.arange(100))
    often = rank_members(np.tile(scores, 9), np.tile(member, 9), np.tile(np.arange(100), 9))
    assert often.auc == pytest.approx(once.auc)
    assert often.error == pytest.approx(once.error, rel=0.02)


def test_intervals_hold_what_they_say() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        member = random.random((8, 30)) < 0.5
        # Compounds differ, membership says nothing: the truth is 1/2.
        scores = random.normal(size=(8, 30)) + random.normal(size=30)
        cluster = np.broadcast_to(np.arange(30), scores.shape)
        bounds = rank_members(scores.ravel(), member.ravel(), cluster.ravel()).interval()
        covered += bounds.low <= 0.5 <= bounds.high
    assert 0.91 <= covered / 300 <= 0.99


def test_perfect_ranking_keeps_doubt() -> None:
    scores, member = np.arange(20.0), np.arange(20) >= 10
    bounds = rank_members(scores, member, np.arange(20)).interval()
    assert bounds.value == 1.0
    assert 0.5 < bounds.low < 1.0


def test_nobody_to_attack_is_not_defined() -> None:
    found = rank_members(np.ones(3), np.ones(3, dtype=bool), np.arange(3))
    assert math.isnan(found.auc)
    assert math.isnan(found.p_value)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.3085), (3, 10, 0.0667, 0.6525), (10, 10, 0.6915, 1.0)],
)
def test_clopper_pearson(count: int, total: int, low: float, high: float) -> None:
    found = clopper_pearson(count, total)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_true_positives_by_hand() -> None:
    # 100 non-members 0 to 99: 1% of them is one, so the threshold is 98.
    scores = np.concatenate([np.arange(100.0), [98.5, 99.5, 97.0, 98.0]])
    member = np.arange(104) >= 100
    point = true_positives_at(scores, member, 0.01)
    assert point.tpr.value == 0.5
    assert point.fpr.value == 0.01
    assert not math.isfinite(true_positives_at(scores, member, 0.001).tpr.value)


def test_chance_is_told_from_success() -> None:
    random = np.random.default_rng(3)
    member = random.random(20_000) < 0.5
    noise = random.normal(size=20_000)
    assert true_positives_at(noise, member, 0.001).is_chance
    assert not true_positives_at(noise + 2.0 * member, member, 0.001).is_chance


@settings(max_examples=20, deadline=None)
@given(epsilon=st.floats(0.1, 4.0), seed=st.integers(0, 2**31 - 1))
def test_epsilon_of_randomised_response_is_below_the_truth(epsilon: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    member = random.random(20_000) < 0.5
    honest = random.random(20_000) < math.exp(epsilon) / (1.0 + math.exp(epsilon))
    shown = epsilon_lower_bound(np.where(honest, member, ~member).astype(float), member)
    # Wrong in at most one case of twenty, and then by little.
    assert shown <= epsilon + 0.1
    assert shown >= 0.5 * epsilon - 0.15


def test_epsilon_of_noise_is_zero() -> None:
    random = np.random.default_rng(4)
    assert epsilon_lower_bound(random.normal(size=5000), random.random(5000) < 0.5) == 0.0


def test_delta_takes_from_the_bound() -> None:
    member = np.arange(2000) < 1000
    scores = np.where(member & (np.arange(2000) % 10 == 0), 1.0, 0.0)
    without_partner, with_delta = (
        epsilon_lower_bound(scores, member, delta) for delta in (0.0, 0.05)
    )
    assert 0.0 < with_delta < without_partner


def test_holm_passes_over_what_is_not_defined() -> None:
    assert holm([0.01, math.nan, 0.04])[:1] == [0.02]
    assert math.isnan(holm([0.01, math.nan, 0.04])[1])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
