"""How a student weighs public compounds and what it averages, as options."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.base.errors import FluidError
from fluid.central.pooling import pool_task
from fluid.central.student import (
    FEWEST_COMPOUNDS,
    WEIGHTINGS,
    StudentOptions,
    distill_task,
    sample_weights,
    soft_targets,
)
from fluid.exchange.federated_set import FederatedSet, open_federated
from fluid.learn.estimators import STUDENT_LEARNERS
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledTask
from fluid.soft_labels.teacher_labels import TeacherLabels
from tests.conftest import Consortium

BINARY = Task("bbb", "binary")
NUMBER = Task("logbb", "regression", low=-4.0, high=4.0)
THREE = Task("kind", "multiclass", classes=("x", "y", "z"))


def _pool(task: Task, reliability: list[float], *labels: np.ndarray) -> PooledTask:
    """What teachers of the same reliability say together."""
    trust = np.array(reliability, dtype=np.float32)
    said = {
        f"p{number}": TeacherLabels(
            label.astype(np.float32).reshape(len(trust), -1), np.zeros(len(trust)), trust
        )
        for number, label in enumerate(labels)
    }
    return pool_task(task, said, {}, len(trust))


def _weights(task: Task, pooled: PooledTask, weighting: str) -> np.ndarray:
    found = sample_weights(task, pooled, np.arange(len(pooled.label)), weighting)
    assert found is not None
    return found


def test_a_compound_weighs_the_square_of_the_best_reliability() -> None:
    pooled = _pool(BINARY, [0.1, 0.2, 0.3, 0.4], np.full(4, 0.5))
    # Squares 1, 4, 9 and 16, of mean 7.5.
    expected = np.array([1, 4, 9, 16]) / 7.5
    assert _weights(BINARY, pooled, "reliability") == pytest.approx(expected, rel=1e-5)
    # Of some of the compounds the mean is 1 again.
    some = sample_weights(BINARY, pooled, np.array([1, 3]), "reliability")
    assert some == pytest.approx(np.array([4, 16]) / 10, rel=1e-5)


def test_no_compound_is_left_out_and_none_counts_for_all() -> None:
    pooled = _pool(BINARY, [0.0] * 99 + [1.0], np.full(100, 0.5))
    # A hundred times the mean is cut to 20 times, nothing is raised to a fiftieth.
    found = _weights(BINARY, pooled, "reliability")
    assert found.mean() == pytest.approx(1.0)
    assert found[99] / found[0] == pytest.approx(20.0 / 0.02)
    nobody = _pool(BINARY, [0.0] * 5, np.full(5, 0.5))
    assert sample_weights(BINARY, nobody, np.arange(5), "reliability") is None


def test_uncertain_compounds_weigh_more_if_asked() -> None:
    first, second = np.array([0.5, 0.9, 0.6]), np.array([0.5, 0.9, 0.0])
    pooled = _pool(BINARY, [0.3] * 3, first, second)
    # Of the class itself 0.5, 0.3 and, at a mean of 0.3, sqrt(0.21); between teachers 0, 0, 0.3.
    raw = np.array([0.5, 0.3, np.sqrt(0.21) + 0.3])
    assert _weights(BINARY, pooled, "uncertain") == pytest.approx(raw / raw.mean(), rel=1e-4)
    # Numbers are only as uncertain as teachers differ: 1, 3 and 2.
    numbers = _pool(NUMBER, [0.3] * 3, np.array([-1.0, -3.0, 0.0]), np.array([1.0, 3.0, 4.0]))
    assert _weights(NUMBER, numbers, "uncertain") == pytest.approx([0.5, 1.5, 1.0], rel=1e-4)
    same = _pool(NUMBER, [0.3] * 3, np.arange(3.0))
    assert sample_weights(NUMBER, same, np.arange(3), "uncertain") is None


def test_several_classes_are_uncertain_on_average() -> None:
    label = np.array([[0.5, 0.5, 0.0], [0.8, 0.1, 0.1]])
    raw = np.array([1.0, 0.4 + 2 * 0.3]) / 3
    found = _weights(THREE, _pool(THREE, [0.3] * 2, label), "uncertain")
    assert found == pytest.approx(raw / raw.mean(), rel=1e-4)


def test_all_weigh_the_same_if_asked() -> None:
    pooled = _pool(BINARY, [0.1, 0.9], np.array([0.5, 0.9]))
    assert sample_weights(BINARY, pooled, np.arange(2), "none") is None


def test_by_default_reliability_and_kernel_ridge() -> None:
    assert StudentOptions() == StudentOptions(WEIGHTINGS[0], ("kernel-ridge",))
    assert WEIGHTINGS[0] == "reliability"
    for weighting in WEIGHTINGS:
        for name in STUDENT_LEARNERS:
            assert StudentOptions(weighting, (name,)).learners == (name,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"weighting": "entropy"},
            "weighting 'entropy': allowed are reliability, none, uncertain",
        ),
        ({"weighting": ""}, "weighting '': allowed are reliability, none, uncertain"),
        (
            {"learners": ("kernel-ridge", "svm")},
            "student's learners 'kernel-ridge,svm': allowed are kernel-ridge, lightgbm-student",
        ),
        ({"learners": ()}, "student's learners '': allowed are kernel-ridge, lightgbm-student"),
    ],
)
def test_what_is_not_offered_is_one_clear_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(FluidError) as raised:
        StudentOptions(**values)  # type: ignore[arg-type]
    assert str(raised.value) == message


# On a real round


@pytest.fixture(scope="module")
def federated(consortium: Consortium) -> FederatedSet:
    return open_federated(consortium.folder / "round1" / "federated.parquet")


def test_a_student_is_the_learners_that_were_asked_for(federated: FederatedSet) -> None:
    compounds, pooled = federated.load()
    task = federated.tasks[0]
    made = {}
    for name in STUDENT_LEARNERS:
        options = StudentOptions(learners=(name,))
        found = distill_task(compounds, task, pooled[task.name], 3, options=options)
        kinds = [estimator.kind for model in found.model.members for estimator in model.estimators]
        assert kinds == [name]
        made[name] = found.model.members[0].estimators[0].score(compounds, compounds)
    both = distill_task(
        compounds, task, pooled[task.name], 3,
        options=StudentOptions(learners=tuple(STUDENT_LEARNERS)),
    )  # fmt: skip
    assert both.n_labelled >= FEWEST_COMPOUNDS
    for member, (name, alone) in zip(both.model.members, made.items(), strict=True):
        (estimator,) = member.estimators
        assert estimator.kind == name
        assert np.array_equal(estimator.score(compounds, compounds), alone)


def test_a_student_follows_the_labels_that_weigh_most(federated: FederatedSet) -> None:
    compounds, pooled = federated.load()
    task = federated.tasks[0]
    said = pooled[task.name]
    weight = sample_weights(task, said, np.arange(len(compounds)), "reliability")
    assert weight is not None
    truth = soft_targets(task, said.label)[:, 0]
    squared = {}
    for weighting in ("reliability", "none"):
        options = StudentOptions(weighting, ("kernel-ridge",))
        model = distill_task(compounds, task, said, 0, options=options).model
        found = model.members[0].estimators[0].score(compounds, compounds)
        squared[weighting] = (found - truth) ** 2
    # Each minimises its own sum of squares and the same penalty, from which this follows.
    gain = (weight - 1.0) @ (squared["reliability"] - squared["none"])
    assert gain < 0.0


@pytest.mark.parametrize(("task", "factor"), [(BINARY, 1.0), (NUMBER, 2.0)])
def test_of_numbers_a_student_states_twice_what_teachers_do(
    consortium: Consortium, task: Task, factor: float
) -> None:
    public = next(iter(consortium.public.chunks()))
    n = len(public)
    trust = np.linspace(0.1, 0.4, n)
    label = np.clip(public.descriptors[:, 0] / 100.0, 0.05, 0.95)
    for most in (trust, np.full(n, 0.22), np.full(n, 0.4), np.full(n, 0.9)):
        pooled = _pool(task, list(most), label)
        model = distill_task(public, task, pooled, 0).model
        known = float(pooled.reliability[pooled.reliability >= 0.2].mean())
        # Not beyond a half, unless teachers themselves state more.
        wanted = max(min(factor * known, 0.5), known)
        (ceiling,) = {member.reliability.ceiling for member in model.members}
        assert ceiling == pytest.approx(wanted, rel=1e-4)
