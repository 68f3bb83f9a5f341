"""Who disagrees with the others: shuffled labels are flagged, honest partners are not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fluid.central import consensus as module
from fluid.central.consensus import Agreement, Consensus, agreement
from fluid.central.pooling import pool_task
from fluid.learn.estimators import logit, sigmoid
from fluid.learn.task import Task
from fluid.soft_labels.teacher_labels import TeacherLabels

BINARY = Task("active", "binary")
NUMBER = Task("logd", "regression")
THREE = Task("class", "multiclass", classes=("low", "middle", "high"))
N_BLOCKS, EACH = 40, 30
N = N_BLOCKS * EACH


def make_fingerprints() -> np.ndarray:
    """40 series of 30 compounds, one after another: a compound of each, then again."""
    rng = np.random.default_rng(0)
    bits = np.zeros((N, N_BLOCKS * 16), dtype=np.uint8)
    for row in range(N):
        start = 16 * (row % N_BLOCKS)
        bits[row, start : start + 12] = 1
        bits[row, start + 12 : start + 16] = rng.random(4) < 0.5
    return np.packbits(bits, axis=1)


FINGERPRINTS = make_fingerprints()


def smooth(rng: np.random.Generator, spread: float = 1.0) -> np.ndarray:
    """A function of chemistry: one value for each series, shape (n,)."""
    return spread * rng.normal(size=N_BLOCKS)[np.arange(N) % N_BLOCKS]


def teacher_labels(
    margin: np.ndarray, reliability: np.ndarray | float = 0.3, task: Task = BINARY
) -> TeacherLabels:
    values = (sigmoid(margin) if task.is_classification else margin).astype(np.float32)
    if values.ndim == 1:
        values = values[:, None]
    trust = np.broadcast_to(np.asarray(reliability, dtype=np.float32), (len(values),)).copy()
    values[np.isnan(trust)] = np.nan
    return TeacherLabels(values, np.zeros_like(values), trust)


def honest(seed: int, n: int = 5, noise: float = 0.7) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A truth, and what partners make of it: a smooth error of their own each."""
    rng = np.random.default_rng(seed)
    truth = smooth(rng)
    return truth, {f"p{number}": truth + smooth(rng, noise) for number in range(n)}


def annotate(margins: dict[str, np.ndarray], task: Task = BINARY) -> dict[str, TeacherLabels]:
    return {name: teacher_labels(margin, 0.3, task) for name, margin in margins.items()}


def flagged(found: dict[str, Agreement]) -> list[str]:
    return [name for name, one in found.items() if one.flagged]


# --- the numbers ------------------------------------------------------------------------------


def test_correlation_is_the_weighted_one_with_the_pooled_label_of_the_others() -> None:
    _, margins = honest(1, n=3)
    rng = np.random.default_rng(2)
    labels = {name: teacher_labels(m, rng.uniform(0.05, 0.6, N)) for name, m in margins.items()}
    one = agreement(BINARY, labels, FINGERPRINTS)["p0"]
    others = pool_task(BINARY, {name: labels[name] for name in ("p1", "p2")}, {}, N).labels
    own = logit(labels["p0"].prediction[:, 0].astype(np.float64), 0.01)
    theirs = logit(others.label[:, 0].astype(np.float64), 0.01)
    weight = labels["p0"].reliability.astype(np.float64) * others.reliability
    covariance = np.cov(own, theirs, aweights=weight)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert one.correlation == pytest.approx(expected, abs=1e-6)
    assert one.n == N
    assert one.reliability == pytest.approx(
        float(np.sqrt(np.mean(labels["p0"].reliability.astype(np.float64) ** 2)))
    )


@pytest.mark.parametrize("task", [BINARY, NUMBER])
def test_streaming_equals_whole(task: Task) -> None:
    _, margins = honest(3)
    if task is NUMBER:
        margins = {name: 1e6 + margin for name, margin in margins.items()}
    labels = annotate(margins, task)
    labels["p1"].prediction[5] = labels["p1"].reliability[5] = np.nan
    leaders = FINGERPRINTS[:N_BLOCKS]
    results = []
    for cuts in ([0, N], [0, 100, 101, 101, 700, N]):
        accumulator = Consensus([task], leaders=leaders)
        for start, stop in pairwise(cuts):
            part = {
                name: {
                    task.name: TeacherLabels(
                        one.prediction[start:stop],
                        one.uncertainty[start:stop],
                        one.reliability[start:stop],
                    )
                }
                for name, one in labels.items()
            }
            accumulator.add(part, FINGERPRINTS[start:stop])
        results.append(accumulator.result()[task.name])
    whole, pieces = results
    for name, one in whole.items():
        other = pieces[name]
        assert (one.n, one.flagged, one.reason) == (other.n, other.flagged, other.reason)
        assert other.correlation == pytest.approx(one.correlation, abs=1e-6)
        assert other.chance == pytest.approx(one.chance)
        assert other.overlap == pytest.approx(one.overlap)
        assert other.offset == pytest.approx(one.offset, abs=1e-6)
    assert whole["p1"].n == N - 1


def test_a_wrong_unit_shows_as_an_offset_only() -> None:
    _, margins = honest(4)
    margins["p2"] = margins["p2"] + 3.0
    found = agreement(NUMBER, annotate(margins, NUMBER), FINGERPRINTS)
    assert found["p2"].offset > 2.0
    assert not flagged(found)


def test_chance_counts_blocks_not_compounds() -> None:
    _, margins = honest(5)
    labels = annotate(margins)

    def chance() -> float:
        accumulator = Consensus([BINARY], leaders=FINGERPRINTS[:N_BLOCKS])
        accumulator.add({name: {"active": one} for name, one in labels.items()}, FINGERPRINTS)
        return accumulator.result()["active"]["p0"].chance

    assert chance() == pytest.approx((N_BLOCKS - 1) ** -0.5)
    # What is hardly known adds hardly anything: ten series are left.
    labels["p0"] = teacher_labels(margins["p0"], np.where(np.arange(N) % N_BLOCKS < 10, 0.5, 0.02))
    assert chance() == pytest.approx(1 / 3, rel=0.02)


# --- the verdicts -----------------------------------------------------------------------------


def test_shuffled_flagged_honest_not() -> None:
    caught = alarms = 0
    for seed in range(20):
        _, margins = honest(seed)
        assert not flagged(agreement(BINARY, annotate(margins), FINGERPRINTS))
        # What a teacher of shuffled labels predicts is smooth, but not of the truth.
        margins["p3"] = smooth(np.random.default_rng(100 + seed))
        found = agreement(BINARY, annotate(margins), FINGERPRINTS)
        caught += found["p3"].flagged
        alarms += len([name for name in flagged(found) if name != "p3"])
    assert caught >= 18
    assert alarms == 0


@pytest.mark.parametrize("task", [BINARY, NUMBER])
def test_labels_turned_round_are_flagged(task: Task) -> None:
    _, margins = honest(7)
    margins["p1"] = -margins["p1"]
    found = agreement(task, annotate(margins, task), FINGERPRINTS)
    assert flagged(found) == ["p1"]
    assert found["p1"].correlation < -0.5
    assert "disagrees" in found["p1"].reason


def test_several_classes() -> None:
    truth, _ = honest(8)
    rng = np.random.default_rng(9)
    margins = {
        f"p{number}": np.stack([-2 * truth, smooth(rng, 0.5), 2 * truth], axis=1)
        for number in range(4)
    }
    margins["p2"] = margins["p2"][:, ::-1]
    found = agreement(
        THREE, {name: teacher_labels(m, 0.3, THREE) for name, m in margins.items()}, FINGERPRINTS
    )
    assert flagged(found) == ["p2"]
    assert np.isnan(found["p0"].offset)


def test_who_states_no_reliability_is_told_so() -> None:
    _, margins = honest(10)
    labels = annotate(margins)
    labels["p4"] = teacher_labels(margins["p4"], 0.0)
    found = agreement(BINARY, labels, FINGERPRINTS)
    assert flagged(found) == ["p4"]
    assert "next to no reliability" in found["p4"].reason
    assert np.isnan(found["p4"].correlation)


def test_disjoint_chemistry_is_not_judged() -> None:
    _, margins = honest(11)
    here = np.arange(N) % N_BLOCKS < 12
    labels = {name: teacher_labels(m, np.where(here, 0.0, 0.4)) for name, m in margins.items()}
    labels["p0"] = teacher_labels(smooth(np.random.default_rng(12)), np.where(here, 0.4, 0.0))
    found = agreement(BINARY, labels, FINGERPRINTS)
    assert not flagged(found)
    assert "cannot be judged" in found["p0"].reason
    # Nor if it states a little reliability where it extrapolates, and is wrong there.
    labels["p0"] = teacher_labels(smooth(np.random.default_rng(12)), np.where(here, 0.4, 0.02))
    found = agreement(BINARY, labels, FINGERPRINTS)
    assert "cannot be judged" in found["p0"].reason


def test_of_two_nobody_can_say_who_is_wrong() -> None:
    _, margins = honest(13, n=2)
    margins["p1"] = -margins["p1"]
    found = agreement(BINARY, annotate(margins), FINGERPRINTS)
    assert found["p0"].correlation == pytest.approx(found["p1"].correlation)
    assert not flagged(found)
    assert all("who is wrong is open" in one.reason for one in found.values())


def test_alone_or_silent() -> None:
    _, margins = honest(14, n=2)
    labels = annotate(margins)
    alone = agreement(BINARY, {"p0": labels["p0"]}, FINGERPRINTS)["p0"]
    assert not alone.flagged
    assert alone.n == 0
    assert "cannot be judged" in alone.reason
    # Who labels nothing is not there at all.
    labels["p1"] = teacher_labels(margins["p1"], np.full(N, np.nan))
    assert list(agreement(BINARY, labels, FINGERPRINTS)) == ["p0"]
    assert Consensus([BINARY]).result() == {"active": {}}


def test_order_of_partners_does_not_matter() -> None:
    _, margins = honest(15)
    labels = annotate(margins)
    turned = dict(reversed(labels.items()))
    assert agreement(BINARY, turned, FINGERPRINTS) == agreement(BINARY, labels, FINGERPRINTS)


def test_memory_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCKS", 8)
    _, margins = honest(16, n=3)
    accumulator = Consensus([BINARY])
    for _ in range(3):
        accumulator.add({k: {"active": v} for k, v in annotate(margins).items()}, FINGERPRINTS)
        sums = accumulator._sums["active"]["p0"]
        assert sums.moments.shape == (6, 1)
        assert sums.blocks.shape == (8,)
    assert sums.n == 3 * N
