"""Attacks find what leaks, and find nothing where nothing leaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from scipy.stats import norm

from fluid.learn.task import Task
from fluid.partner.audit.attacks import SIGNAL_ATTACKS, learned, lira_joint, lira_online, rmia
from fluid.partner.audit.channels import (
    metadata_attacks,
    neighbour_attacks,
    neighbour_metadata_attacks,
    own_row_attacks,
)
from fluid.partner.audit.exports import ACTUAL, BOTH, UNPROTECTED, Exports
from fluid.partner.audit.results import (
    FAIL,
    METADATA,
    NEIGHBOUR_ROWS,
    OWN_ROW,
    PASS,
    UNDECIDED,
    AttackCase,
    AuditReport,
    Thresholds,
    classes_of,
    judge,
)
from fluid.partner.audit.signals import (
    agreement,
    fill,
    log_odds,
    metadata_signals,
    neighbour_signals,
    pull,
)
from fluid.partner.audit.statistics import Ranking, rank_members

S, N = 24, 120
BINARY = Task("bbb", "binary")


def _game(seed: int = 0) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Coins, and a signal that differs between compounds but knows nothing of the coins."""
    random = np.random.default_rng(seed)
    inside = random.random((S, N)) < 0.5
    return random, inside, random.normal(0.0, 3.0, N) + random.normal(size=(S, N))


def _rank(scores: np.ndarray, inside: np.ndarray) -> Ranking:
    cluster = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return rank_members(scores.ravel(), inside.ravel(), cluster.ravel())


def _joint(signal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return lira_joint(np.stack([signal, signal**2], axis=2), inside)


def _learned(signal: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return learned(np.stack([signal, np.sin(signal)], axis=2), inside)


ATTACKS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    **SIGNAL_ATTACKS,
    "joint": _joint,
    "learned": _learned,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_at_chance_where_nothing_leaks(name: str) -> None:
    for seed in range(4):
        _, inside, signal = _game(seed)
        found = _rank(ATTACKS[name](signal, inside), inside)
        assert abs(found.auc - 0.5) < 4.0 * found.error


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "threshold"])
def test_finds_members_by_a_shift_that_compounds_hide(name: str) -> None:
    _, inside, signal = _game()
    # Compounds differ three times as much as membership does: a threshold alone finds little.
    shifted = signal + 2.5 * inside
    assert _rank(ATTACKS[name](shifted, inside), inside).auc > 0.85
    assert _rank(shifted, inside).auc < 0.75


def test_signal_that_is_membership_is_found_by_a_threshold() -> None:
    _, inside, _ = _game()
    assert _rank(inside.astype(float), inside).auc == 1.0


def test_lira_is_what_two_normal_densities_say() -> None:
    random = np.random.default_rng(8)
    inside = random.random((9, 5)) < 0.5
    signal = random.normal(size=(9, 5)) + inside
    scores = lira_online(signal, inside)
    groups = {
        (t, x): [[signal[s, x] for s in range(9) if s != t and inside[s, x] == m] for m in (1, 0)]
        for t in range(9)
        for x in range(5)
    }
    squares = {key: sum(np.var(g) * len(g) for g in both if g) for key, both in groups.items()}
    usual = sum(squares.values()) / (len(groups) * (8 - 2))
    for (t, x), both in groups.items():
        if min(len(group) for group in both) < 2:
            assert scores[t, x] == 0.0
            continue
        sd = np.sqrt((squares[t, x] + 8 * usual) / (8 - 2 + 8))
        with_x, without_partner = (norm.logpdf(signal[t, x], np.mean(group), sd) for group in both)
        assert scores[t, x] == pytest.approx(with_x - without_partner)


def test_scores_of_a_target_do_not_use_its_own_membership() -> None:
    random, inside, signal = _game()
    other = inside.copy()
    other[5] = random.random(N) < 0.5
    for name in ("lira-online", "lira-offline", "rmia"):
        attack = SIGNAL_ATTACKS[name]
        first, second = attack(signal, inside)[5], attack(signal, other)[5]
        # The usual spread is of all compounds and teachers; nothing else may differ.
        assert np.corrcoef(first, second)[0, 1] > 0.999


def test_rmia_ranks_against_other_compounds() -> None:
    signal = np.zeros((4, 3))
    signal[0] = [2.0, 0.0, -2.0]
    inside = np.zeros((4, 3), dtype=bool)
    assert rmia(signal, inside)[0].tolist() == pytest.approx([1.0, 2 / 3, 1 / 3])


def test_agreement_of_each_kind_of_task() -> None:
    binary = agreement(BINARY, np.array([[0.9], [0.9]]), np.array([1.0, 0.0]), 1.0)
    assert binary.tolist() == pytest.approx([np.log(9.0), -np.log(9.0)])
    three = Task("t", "multiclass", classes=("a", "b", "c"))
    chosen = agreement(three, np.array([[0.2, 0.5, 0.3]]), np.array([1.0]), 1.0)
    assert chosen.tolist() == pytest.approx([0.0])
    number = agreement(Task("x", "regression"), np.array([[3.0]]), np.array([1.0]), 2.0)
    assert number.tolist() == [-1.0]
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()


def test_fill_takes_what_other_teachers_say() -> None:
    found = fill(np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]]))
    assert found.tolist() == [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]


def test_pull_weighs_by_squared_similarity() -> None:
    signals = np.array([[[1.0, 0.0], [5.0, 7.0]]])
    found = pull(signals, np.array([[1.0, 0.5], [0.0, 0.0]]))
    assert found.tolist() == [[pytest.approx(0.8), 0.0]]


def _exports(seed: int, leak: bool) -> tuple[Exports, np.ndarray]:
    random, inside, signal = _game(seed)
    near = np.where(inside, 1.0, random.uniform(0.3, 0.8, (S, N))) if leak else None
    probability = 1.0 / (1.0 + np.exp(-signal))
    trust = np.clip(random.uniform(0.2, 0.6, (S, N)) + (0.3 * inside if leak else 0.0), 0, 1)
    return Exports(probability[:, :, None], random.random((S, N, 1)), trust, near), inside


def test_exported_similarity_of_one_gives_membership_away() -> None:
    exports, inside = _exports(0, leak=True)
    signals = metadata_signals(exports, np.arange(N))
    assert _rank(signals["similarity"], inside).auc > 0.99
    quiet, coins = _exports(0, leak=False)
    assert set(metadata_signals(quiet, np.arange(N))) == {"reliability", "uncertainty", "silence"}
    for signal in metadata_signals(quiet, np.arange(N)).values():
        found = _rank(signal, coins)
        assert abs(found.auc - 0.5) <= 4.0 * found.error + 1e-9


def test_silence_about_members_is_found() -> None:
    exports, inside = _exports(1, leak=False)
    trust = np.where(inside, np.nan, exports.reliability)
    hushed = Exports(exports.prediction, exports.uncertainty, trust)
    assert _rank(-metadata_signals(hushed, np.arange(N))["silence"], inside).auc == 1.0


def test_labels_that_follow_a_neighbour_are_found() -> None:
    random, inside, _ = _game()
    labels = (random.random(N) < 0.3).astype(float)
    near = (np.arange(N)[:, None] + np.arange(1, 4)) % N
    noise = random.normal(0.0, 0.3, (S, N))
    # The row of the next compound moves towards the label of a member.
    pulled = noise + np.roll(np.where(inside, 2.0 * labels - 1.0, 0.0), 1, axis=1)
    exports = Exports(1.0 / (1.0 + np.exp(-pulled))[:, :, None], noise[:, :, None], noise)
    signals = neighbour_signals(BINARY, exports, near, labels)
    mean = pull(signals, np.broadcast_to([0.9, 0.3, 0.3], (N, 3)))
    assert _rank(lira_online(mean, inside), inside).auc > 0.85
    assert _rank(learned(signals, inside), inside).auc > 0.85


def _best(found: Iterable[tuple[str, np.ndarray]], inside: np.ndarray) -> float:
    return max(_rank(scores, inside).auc for _, scores in found)


def test_two_releases_tell_more_than_each() -> None:
    random, inside, _ = _game()
    labels = (random.random(N) < 0.3).astype(float)
    near = (np.arange(N)[:, None] + np.arange(1, 4)) % N
    weights = np.broadcast_to([0.9, 0.3, 0.3], (N, 3))
    pulled = np.roll(np.where(inside, 2.0 * labels - 1.0, 0.0), 1, axis=1)
    seen = np.roll(inside, 1, axis=1).astype(float)
    each = []
    for _ in range(2):
        noisy = pulled + random.normal(0.0, 1.5, (S, N))
        trust = np.clip(0.5 + 0.05 * seen + random.normal(0.0, 0.1, (S, N)), 0.0, 1.0)
        quiet = random.normal(size=(S, N, 1))
        each.append(Exports(1.0 / (1.0 + np.exp(-noisy))[:, :, None], quiet, trust))
    around = [
        _best(neighbour_attacks(BINARY, held, inside, labels, near, weights), inside)
        for held in ([each[0]], [each[1]], each)
    ]
    assert around[2] > max(around[:2]) + 0.03
    beside = [
        _best(neighbour_metadata_attacks(held, inside, near, weights), inside)
        for held in ([each[0]], [each[1]], each)
    ]
    assert beside[2] > max(beside[:2]) + 0.01
    # A compound's own rows say nothing of it, alone or side by side.
    rows = np.arange(N)
    for found in (
        own_row_attacks(BINARY, each, inside, rows, labels),
        metadata_attacks(each, inside, rows),
    ):
        names = {}
        for name, scores in found:
            names[name] = ranked = _rank(scores, inside)
            assert abs(ranked.auc - 0.5) <= 4.0 * ranked.error + 1e-9, name
        assert {"lira-joint", "learned"} < set(names)


def test_minority_is_the_rarest_class() -> None:
    labels = np.array([1.0, 1.0, 1.0, 0.0])
    found = classes_of(BINARY, labels)
    assert found["minority"].tolist() == [False, False, False, True]
    assert list(classes_of(Task("x", "regression"), labels)) == ["all"]


def _report(
    signal: np.ndarray, inside: np.ndarray, channel: str, bounds: Thresholds, export: str = ACTUAL
) -> str:
    case = AttackCase("bbb", channel, export, 0.5)
    bare = AttackCase("bbb", channel, UNPROTECTED, 0.5)
    everybody = {"all": np.ones(N, dtype=bool)}
    attacks = [
        *judge(case, "threshold", signal, inside, everybody, 0.0),
        *judge(bare, "threshold", inside.astype(float), inside, everybody, 0.0),
    ]
    return AuditReport({}, {}, bounds, attacks).verdict


def test_verdict() -> None:
    _, inside, signal = _game()
    leaky = signal + 9.0 * inside
    usual = Thresholds(0.6, 1.0)
    # The unprotected export, perfectly attacked here, has no say.
    assert _report(signal, inside, OWN_ROW, usual) == PASS
    assert _report(leaky, inside, OWN_ROW, usual) == FAIL
    assert _report(leaky, inside, METADATA, usual) == FAIL
    # What leaves with a correction is what has left before as well.
    assert _report(leaky, inside, OWN_ROW, usual, BOTH) == FAIL
    assert _report(leaky, inside, NEIGHBOUR_ROWS, usual) == PASS
    assert _report(leaky, inside, NEIGHBOUR_ROWS, Thresholds(0.6, 0.7)) == FAIL
    assert _report(signal, inside, OWN_ROW, Thresholds(0.5, 1.0)) == UNDECIDED
