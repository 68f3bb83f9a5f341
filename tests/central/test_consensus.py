"""Who lies is left out, who overstates is brought down, and honest partners are let alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fluid.central.consensus import Agreement, Consensus, apply_trust, compare, find_support
from fluid.learn.estimators import sigmoid
from fluid.learn.task import Task
from fluid.soft_labels.teacher_labels import TeacherLabels

BINARY = Task("active", "binary")
NUMBER = Task("logd", "regression")
THREE = Task("class", "multiclass", classes=("low", "middle", "high"))
N_BLOCKS, EACH = 40, 60
N = N_BLOCKS * EACH


def make_fingerprints() -> np.ndarray:
    """40 series of 60 compounds, one after another: a compound of each, then again."""
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


def agreement(
    task: Task, labels: dict[str, TeacherLabels], fingerprints: np.ndarray = FINGERPRINTS
) -> dict[str, Agreement]:
    return compare(task, labels, fingerprints).partners


def flagged(found: dict[str, Agreement]) -> list[str]:
    return [name for name, one in found.items() if one.flagged]


def left_out(found: dict[str, Agreement]) -> list[str]:
    return [name for name, one in found.items() if one.trust == 0.0]


# --- support ----------------------------------------------------------------------------------


def exact(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of teachers with such support, known almost exactly."""
    support = np.array(values)
    return np.outer(support, support), np.full((len(support), len(support)), 1e-4)


def test_support_is_found_from_the_pairs_alone() -> None:
    values = [0.9, 0.6, 0.3, 0.8]
    found, error = find_support(*exact(values))
    assert found == pytest.approx(values, abs=1e-3)
    assert (error < 1e-3).all()


@pytest.mark.parametrize("liars", [1, 2])
def test_the_sign_is_that_of_the_majority(liars: int) -> None:
    values = [-0.9] * liars + [0.5, 0.6, 0.4, 0.5]
    found, _ = find_support(*exact(values))
    assert found == pytest.approx(values, abs=1e-3)


def test_two_camps_are_told_apart_from_any_start() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.uniform(0.2, 0.9, 7)
        values[:3] *= -1.0
        found, _ = find_support(*exact(values.tolist()))
        assert found == pytest.approx(values, abs=5e-3)


def test_what_nobody_knows_has_no_support() -> None:
    correlation = np.full((3, 3), np.nan)
    found, error = find_support(correlation, correlation)
    assert found == pytest.approx(np.zeros(3))
    assert error == pytest.approx(np.ones(3))


# --- the numbers ------------------------------------------------------------------------------


def test_support_is_near_the_correlation_with_the_truth() -> None:
    truth, margins = honest(1, n=6)
    found = agreement(BINARY, annotate(margins))
    for name, one in found.items():
        expected = np.corrcoef(truth, margins[name])[0, 1]
        assert one.support == pytest.approx(expected, abs=0.15)
        assert one.stated == pytest.approx(0.3)
        assert one.trust == 1.0


@pytest.mark.parametrize("task", [BINARY, NUMBER])
def test_streaming_equals_whole(task: Task) -> None:
    _, margins = honest(3)
    if task is NUMBER:
        margins = {name: 1e6 + margin for name, margin in margins.items()}
    labels = annotate(margins, task)
    labels["p1"].prediction[5] = labels["p1"].reliability[5] = np.nan
    results = []
    for cuts in ([0, N], [0, 100, 101, 101, 700, N]):
        accumulator = Consensus([task], leaders=FINGERPRINTS[:N_BLOCKS])
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
        results.append(accumulator.result()[task.name].partners)
    whole, pieces = results
    for name, one in whole.items():
        other = pieces[name]
        assert (one.flagged, one.trust) == (other.flagged, other.trust)
        for figure in ("support", "error", "stated", "allowed", "offset"):
            assert getattr(other, figure) == pytest.approx(getattr(one, figure), abs=1e-6)


def corrected(labels: dict[str, np.ndarray]) -> dict[str, Agreement]:
    """Verdicts of a residual round; all partners state the same reliability."""
    accumulator = Consensus([NUMBER], alike=[NUMBER.name])
    given = {name: {NUMBER.name: one} for name, one in annotate(labels, NUMBER).items()}
    accumulator.add(given, FINGERPRINTS)
    return accumulator.result()[NUMBER.name].partners


def test_in_a_residual_round_who_turns_the_student_round_is_left_out() -> None:
    rng = np.random.default_rng(6)
    base = smooth(np.random.default_rng(5))
    labels = {f"p{number}": base + 0.05 * smooth(rng) for number in range(6)}
    assert not flagged(corrected(labels))
    # Two, each in its own way. That the others say nearly the same does not make them copies.
    labels["p0"], labels["p1"] = -base + 0.5 * smooth(rng), -base + 0.5 * smooth(rng)
    assert left_out(corrected(labels)) == ["p0", "p1"]


def test_residuals_themselves_are_let_alone() -> None:
    """Honest ones may contradict each other, be next to nothing, or nothing."""
    rng = np.random.default_rng(6)
    base = smooth(np.random.default_rng(5))
    residual = 0.3 * smooth(rng)
    labels = {"p0": base + residual, "p1": base - residual, "p2": base, "p3": base + residual}
    labels["p4"] = base + 0.01 * rng.integers(-1, 2, N)
    assert not flagged(corrected(labels))


def test_in_a_residual_round_reliability_is_compared_with_what_others_state() -> None:
    rng = np.random.default_rng(6)
    base = smooth(np.random.default_rng(5))
    margins = {f"p{number}": base + 0.05 * smooth(rng) for number in range(6)}
    labels = annotate(margins, NUMBER)
    labels["p0"] = teacher_labels(margins["p0"], 0.98, NUMBER)
    accumulator = Consensus([NUMBER], alike=[NUMBER.name])
    accumulator.add({name: {NUMBER.name: one} for name, one in labels.items()}, FINGERPRINTS)
    assert left_out(accumulator.result()[NUMBER.name].partners) == ["p0"]


def test_order_of_partners_does_not_matter() -> None:
    _, margins = honest(15)
    labels = annotate(margins)
    turned = dict(reversed(labels.items()))
    assert agreement(BINARY, turned) == agreement(BINARY, labels)


# --- who lies ---------------------------------------------------------------------------------


def lie(kind: str, labels: dict[str, TeacherLabels], task: Task, seed: int) -> TeacherLabels:
    """What `p0` says instead."""
    rng = np.random.default_rng(seed)
    own = labels["p0"]
    values, trust = own.prediction.copy(), own.reliability.copy()
    if "labels" in kind:
        turned = 1.0 - values if task.is_classification else -values
        values = {
            "labels turned round": turned,
            "labels shuffled": values[rng.permutation(N)],
            "labels constant": np.full_like(values, values.max()),
            "labels of noise": rng.permuted(np.abs(values), axis=0),
            "labels of another series": np.roll(values, 7, axis=0),
        }[kind.split(",")[0]]
    if "overstated" in kind:
        trust[:] = 0.98
    elif "all 1" in kind:
        trust[:] = 1.0
    elif "targeted" in kind:
        series = np.arange(N) % N_BLOCKS < 4
        trust[series] = 0.98
        values[series] = (1.0 - values if task.is_classification else -values)[series]
    elif "another's" in kind:
        trust = labels["p1"].reliability.copy()
    return TeacherLabels(values, own.uncertainty, trust)


LIES = [
    "labels turned round",
    "labels turned round, overstated",
    "labels turned round, another's",
    "labels shuffled",
    "labels shuffled, overstated",
    "labels constant",
    "labels constant, overstated",
    "labels of noise",
    "labels of noise, overstated",
    "labels of another series, overstated",
    "overstated",
    "all 1",
    "targeted",
]


@pytest.mark.parametrize("task", [BINARY, NUMBER])
@pytest.mark.parametrize("kind", LIES)
def test_a_liar_of_any_kind_is_left_out(kind: str, task: Task) -> None:
    for seed in range(5):
        rng = np.random.default_rng(50 + seed)
        _, margins = honest(seed)
        # Each knows some series better than others.
        labels = {
            name: teacher_labels(
                margin,
                np.where(rng.random(N_BLOCKS) < 0.5, 0.4, 0.1)[np.arange(N) % N_BLOCKS],
                task,
            )
            for name, margin in margins.items()
        }
        assert not flagged(agreement(task, labels))
        labels["p0"] = lie(kind, labels, task, seed)
        found = agreement(task, labels)
        assert flagged(found) == ["p0"], found["p0"].reason
        assert left_out(found) == ["p0"]


@pytest.mark.parametrize("labelled", [10, 49, 60])
def test_a_lie_about_a_few_compounds_does_not_escape(labelled: int) -> None:
    _, margins = honest(6)
    labels = annotate(margins)
    here = np.arange(N) < labelled
    labels["p0"] = teacher_labels(-margins["p0"], np.where(here, 0.98, np.nan))
    found = agreement(BINARY, labels)
    assert left_out(found) == ["p0"]
    # Who abstains almost everywhere, and says what others say, is let alone.
    labels["p0"] = teacher_labels(margins["p0"], np.where(here, 0.3, np.nan))
    assert not flagged(agreement(BINARY, labels))


def test_who_overstates_a_little_is_brought_down_to_what_is_supported() -> None:
    _, margins = honest(6)
    labels = annotate(margins)
    labels["p0"] = teacher_labels(margins["p0"], 0.58)
    one = agreement(BINARY, labels)["p0"]
    assert 0.0 < one.trust < 1.0
    assert 0.58 * one.trust == pytest.approx(one.allowed, rel=1e-5)
    assert not one.flagged


@pytest.mark.parametrize(("colluding", "of"), [(2, 4), (2, 6), (2, 8), (3, 8)])
def test_who_lies_together_is_found_if_they_are_few(colluding: int, of: int) -> None:
    for seed in range(5):
        _, margins = honest(seed, n=of)
        names = [f"p{number}" for number in range(colluding)]
        margins |= dict.fromkeys(names, -margins["p0"])
        labels = annotate(margins)
        for name in names:
            labels[name] = teacher_labels(margins[name], 0.98)
        verdicts = compare(BINARY, labels, FINGERPRINTS)
        assert left_out(verdicts.partners) == names
        assert ("p0", "p1") in verdicts.copies


@pytest.mark.parametrize("part", ["labels", "reliability"])
def test_copies_are_named(part: str) -> None:
    rng = np.random.default_rng(8)
    _, margins = honest(7)
    labels = {
        name: teacher_labels(margin, rng.uniform(0.1, 0.5, N)) for name, margin in margins.items()
    }
    assert not compare(BINARY, labels, FINGERPRINTS).copies
    copied, own = labels["p3"], labels["p1"]
    # Not to the byte.
    jitter = rng.normal(0.0, 0.01, N).astype(np.float32)
    if part == "labels":
        values = (copied.prediction + jitter[:, None]).clip(0.01, 0.99)
        labels["p1"] = TeacherLabels(values, own.uncertainty, own.reliability)
    else:
        labels["p1"] = TeacherLabels(own.prediction, own.uncertainty, copied.reliability + jitter)
    assert compare(BINARY, labels, FINGERPRINTS).copies == [("p1", "p3")]


def test_smooth_labels_of_nothing_are_left_out_if_they_are_praised() -> None:
    caught = alarms = 0
    for seed in range(20):
        _, margins = honest(seed)
        # What a teacher of shuffled labels predicts is smooth, but not of the truth.
        margins["p3"] = smooth(np.random.default_rng(100 + seed))
        labels = annotate(margins)
        labels["p3"] = teacher_labels(margins["p3"], 0.9)
        found = agreement(BINARY, labels)
        caught += left_out(found) == ["p3"]
        alarms += len([name for name in flagged(found) if name != "p3"])
    assert caught >= 19
    assert alarms == 0


@pytest.mark.parametrize("error", [lambda x: x + 9.0, lambda x: 1000.0 * x, lambda x: x / 1000.0])
def test_another_unit_is_left_out(error: Any) -> None:
    _, margins = honest(4)
    margins["p2"] = error(margins["p2"])
    found = agreement(NUMBER, annotate(margins, NUMBER))
    assert left_out(found) == ["p2"]
    assert "unit" in found["p2"].reason or "same" in found["p2"].reason


def test_several_classes() -> None:
    truth, _ = honest(8)
    rng = np.random.default_rng(9)
    margins = {
        f"p{number}": np.stack([-2 * truth, smooth(rng, 0.5), 2 * truth], axis=1)
        for number in range(4)
    }
    margins["p2"] = margins["p2"][:, ::-1]
    labels = {name: teacher_labels(m, 0.3, THREE) for name, m in margins.items()}
    found = agreement(THREE, labels)
    assert left_out(found) == ["p2"]
    assert np.isnan(found["p0"].offset)


# --- who is let alone -------------------------------------------------------------------------


def test_who_states_no_reliability_is_told_so() -> None:
    _, margins = honest(10)
    labels = annotate(margins)
    labels["p4"] = teacher_labels(margins["p4"], 0.0)
    found = agreement(BINARY, labels)
    assert flagged(found) == ["p4"]
    assert not left_out(found)
    assert "next to no reliability" in found["p4"].reason
    assert np.isnan(found["p4"].support)


def test_disjoint_chemistry_is_not_judged() -> None:
    _, margins = honest(11)
    here = np.arange(N) % N_BLOCKS < 12
    labels = {name: teacher_labels(m, np.where(here, 0.0, 0.4)) for name, m in margins.items()}
    labels["p0"] = teacher_labels(smooth(np.random.default_rng(12)), np.where(here, 0.4, 0.0))
    found = agreement(BINARY, labels)
    assert not flagged(found)
    assert "cannot be judged" in found["p0"].reason
    # Nor if it states a little reliability where it extrapolates, and is wrong there.
    labels["p0"] = teacher_labels(smooth(np.random.default_rng(12)), np.where(here, 0.4, 0.02))
    assert not left_out(agreement(BINARY, labels))


def test_of_two_nobody_can_say_who_is_wrong() -> None:
    _, margins = honest(13, n=2)
    margins["p1"] = -margins["p1"]
    verdicts = compare(BINARY, annotate(margins), FINGERPRINTS)
    assert not flagged(verdicts.partners)
    assert verdicts.opposed == [("p0", "p1")]
    assert not verdicts.trust


def test_two_camps_of_equal_size_are_named_and_nobody_is_left_out() -> None:
    _, margins = honest(13, n=4)
    margins["p1"], margins["p2"] = -margins["p1"], -margins["p2"]
    verdicts = compare(BINARY, annotate(margins), FINGERPRINTS)
    assert flagged(verdicts.partners) or verdicts.opposed


def test_alone_or_silent() -> None:
    _, margins = honest(14, n=2)
    labels = annotate(margins)
    alone = agreement(BINARY, {"p0": labels["p0"]})["p0"]
    assert not alone.flagged
    assert "cannot be judged" in alone.reason
    # Who labels nothing is not there at all.
    labels["p1"] = teacher_labels(margins["p1"], np.full(N, np.nan))
    assert list(agreement(BINARY, labels)) == ["p0"]
    assert Consensus([BINARY]).result()["active"].partners == {}


def test_noise_of_a_mechanism_is_no_lie() -> None:
    _, margins = honest(17)
    rng = np.random.default_rng(18)
    labels = annotate({name: m + rng.normal(0.0, 3.0, N) for name, m in margins.items()})
    labels["p4"] = teacher_labels(rng.normal(0.0, 3.0, N))
    given = {name: {BINARY.name: one} for name, one in labels.items()}
    results = []
    for noisy in (False, True):
        accumulator = Consensus([BINARY], noisy=noisy)
        accumulator.add(given, FINGERPRINTS)
        results.append(left_out(accumulator.result()[BINARY.name].partners))
    assert results == [["p4"], []]


def test_trust_scales_reliability_and_leaves_labels_out() -> None:
    _, margins = honest(6)
    labels = annotate(margins)
    labels["p0"] = teacher_labels(margins["p0"], 0.58)
    labels["p1"] = teacher_labels(-margins["p1"], 0.3)
    verdicts = compare(BINARY, labels, FINGERPRINTS)
    given = {name: {BINARY.name: one} for name, one in labels.items()}
    found = apply_trust(given, {BINARY.name: verdicts})
    trust = verdicts.trust["p0"]
    assert found["p0"][BINARY.name].reliability == pytest.approx(np.full(N, 0.58 * trust), rel=1e-5)
    assert found["p1"] == {}
    assert found["p2"][BINARY.name] is labels["p2"]
