"""What a hybrid learns of the others' labels: near the private compounds what a student learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluid.chem.compounds import Compounds
from fluid.exchange.federated_set import open_federated
from fluid.learn.estimators import KernelRidge
from fluid.learn.estimators.twicing import Step, Twicing
from fluid.partner.hybrid.peer_targets import peer_targets, student_twicing
from fluid.soft_labels.pooled import PooledLabels
from fluid.soft_labels.targets import sample_weights, soft_targets, undo_shrinkage
from tests.conftest import Consortium

SHARP = Twicing(0.9, (Step(0.01, 0.3), Step(0.001, 0.8)))


@pytest.fixture(scope="module")
def federated(consortium: Consortium) -> tuple[Compounds, dict[str, PooledLabels]]:
    return open_federated(consortium.folder / "round1" / "federated.parquet").load()


@pytest.mark.parametrize("index", [0, 1])
def test_of_all_compounds_it_is_what_a_student_learns(
    consortium: Consortium, federated: tuple[Compounds, dict[str, PooledLabels]], index: int
) -> None:
    public, pooled = federated
    task = consortium.federation.tasks[index]
    labels = replace(pooled[task.name], slope=1.0 if index == 0 else 1.3)
    known = np.flatnonzero(np.isfinite(labels.label).all(axis=1))
    found = peer_targets(public, task, labels, known, SHARP)
    # A student's own ridge regression is all but interpolation at a tiny penalty.
    wanted = soft_targets(task, undo_shrinkage(task, labels, known))
    weights = sample_weights(labels, known)
    student = KernelRidge(1e-6, twicing=SHARP)
    student.fit(public, known, wanted[:, 0], False, 0, weights)
    bound = np.log(99.0) if index == 0 else np.inf
    learned = np.clip(student.score(public.take(known), public), -bound, bound)
    assert found[:, 0] == pytest.approx(learned, abs=1e-3)
    assert np.abs(found - wanted).max() > 0.05


def test_without_sharpening_labels_are_widened_only(
    consortium: Consortium, federated: tuple[Compounds, dict[str, PooledLabels]]
) -> None:
    public, pooled = federated
    task = consortium.federation.tasks[1]
    labels = replace(pooled[task.name], slope=1.3)
    known = np.flatnonzero(np.isfinite(labels.label).all(axis=1))
    near = known[::7]
    found = peer_targets(public, task, labels, near, None)
    assert found == pytest.approx(undo_shrinkage(task, labels, known)[::7])
    assert peer_targets(public, task, labels, near[:0], SHARP).shape == (0, 1)


def test_numbers_stay_in_the_range_of_the_task(
    consortium: Consortium, federated: tuple[Compounds, dict[str, PooledLabels]]
) -> None:
    public, pooled = federated
    labels = pooled["logbb"]
    known = np.flatnonzero(np.isfinite(labels.label).all(axis=1))[:60]
    middle = float(np.median(labels.label[known]))
    task = replace(consortium.federation.tasks[1], low=middle - 0.01, high=middle + 0.01)
    found = peer_targets(public, task, labels, known, SHARP)
    assert found.min() >= task.low
    assert found.max() <= task.high


def test_what_one_other_partner_says_is_learned_as_it_is(
    consortium: Consortium, federated: tuple[Compounds, dict[str, PooledLabels]]
) -> None:
    public, pooled = federated
    task = consortium.federation.tasks[0]
    labels = replace(pooled[task.name], disagreement_share=0.0)
    known = np.flatnonzero(np.isfinite(labels.label).all(axis=1))
    found = peer_targets(public, task, labels, known, SHARP)
    assert np.array_equal(found, soft_targets(task, undo_shrinkage(task, labels, known)))


def test_the_student_says_how_it_was_sharpened(consortium: Consortium) -> None:
    student = consortium.round.student
    stated = student_twicing(student)
    report = consortium.round.report["tasks"]
    assert {name: one.to_dict() for name, one in stated.items()} == {
        name: found["twicing"] for name, found in report.items() if found["twicing"]
    }
    assert stated
    training = {k: v for k, v in student.card.training.items() if k != "twicing"}
    older = replace(student, card=replace(student.card, training=training))
    assert student_twicing(older) == {}


@pytest.mark.parametrize(
    "stated",
    [
        [],
        {"bbb": 3},
        {"bbb": {"base": 1.0}},
        {"bbb": {"base": -1.0, "steps": []}},
        {"bbb": {"base": 1.0, "steps": [{"ridge": 0.1}]}},
        {"bbb": {"base": 1.0, "steps": [{"ridge": 0.1, "gain": float("nan")}]}},
        {"bbb": {"base": "x", "steps": []}},
        {"bbb": {"base": 10**400, "steps": []}},
        {"bbb": {"base": 1.0, "steps": {}}},
        {"bbb": {"base": 1.0, "steps": [{"ridge": 0.1, "gain": 1.0}] * 4}},
    ],
)
def test_what_is_no_sharpening_is_refused(consortium: Consortium, stated: object) -> None:
    student = consortium.round.student
    training = student.card.training | {"twicing": stated}
    broken = replace(student, card=replace(student.card, training=training))
    with pytest.raises(ValueError, match="twicing"):
        student_twicing(broken)
