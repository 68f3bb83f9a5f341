"""What a student learns most from, and what its options change."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.base.run import Run
from fluid.central.pooling import pool_task
from fluid.central.student import FEWEST_COMPOUNDS, StudentOptions, distill_task
from fluid.exchange.federated_set import FederatedSet, open_federated
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PoolingResult
from fluid.soft_labels.targets import sample_weights, soft_targets
from fluid.soft_labels.teacher_labels import TeacherLabels
from tests.conftest import Consortium

BINARY = Task("bbb", "binary")
NUMBER = Task("logbb", "regression", low=-4.0, high=4.0)


def _pool(task: Task, reliability: list[float], *values: np.ndarray) -> PoolingResult:
    """Pooled labels of teachers of the same reliability."""
    trust = np.array(reliability, dtype=np.float32)
    labels = {
        f"p{number}": TeacherLabels(
            each.astype(np.float32).reshape(len(trust), -1), np.zeros(len(trust)), trust
        )
        for number, each in enumerate(values)
    }
    return pool_task(task, labels, len(trust))


def test_a_compound_weighs_the_square_of_the_best_reliability() -> None:
    pooled = _pool(BINARY, [0.1, 0.2, 0.3, 0.4], np.full(4, 0.5)).labels
    # Squares 1, 4, 9 and 16, of mean 7.5.
    expected = np.array([1, 4, 9, 16]) / 7.5
    assert sample_weights(pooled, np.arange(4)) == pytest.approx(expected, rel=1e-5)
    # For some of the compounds the mean is 1 again.
    some = sample_weights(pooled, np.array([1, 3]))
    assert some == pytest.approx(np.array([4, 16]) / 10, rel=1e-5)


def test_no_compound_weighs_nothing() -> None:
    pooled = _pool(BINARY, [0.0] * 99 + [1.0], np.full(100, 0.5)).labels
    # The last one weighs a hundred times the mean; of the others, nothing becomes a fiftieth.
    found = sample_weights(pooled, np.arange(100))
    assert found is not None
    assert found.mean() == pytest.approx(1.0)
    assert found[99] / found[0] == pytest.approx(100.0 / 0.02)


def test_all_compounds_weigh_the_same_where_no_teacher_is_reliable() -> None:
    pooled = _pool(BINARY, [0.0] * 5, np.full(5, 0.5)).labels
    assert sample_weights(pooled, np.arange(5)) is None


# On a real round


@pytest.fixture(scope="module")
def federated(consortium: Consortium) -> FederatedSet:
    return open_federated(consortium.folder / "round1" / "federated.parquet")


def test_a_student_is_one_kernel_ridge_regression(federated: FederatedSet) -> None:
    compounds, pooled = federated.load()
    task = federated.tasks[0]
    found = distill_task(compounds, task, PoolingResult(pooled[task.name]), run=Run(3))
    (member,) = found.model.members
    assert [estimator.kind for estimator in member.estimators] == ["kernel-ridge"]
    assert found.n_labelled >= FEWEST_COMPOUNDS


def test_without_twicing_labels_are_learned_as_they_are(consortium: Consortium) -> None:
    public = next(iter(consortium.public.chunks()))
    n, random = len(public), np.random.default_rng(3)
    values = np.clip(public.descriptors[:, 0] / 100.0 + random.normal(0, 0.1, (2, n)), 0.05, 0.95)
    labels = {
        f"p{number}": TeacherLabels(
            each[:, None].astype(np.float32), np.zeros((n, 1)), np.full(n, 0.4, dtype=np.float32)
        )
        for number, each in enumerate(values)
    }
    pooled = pool_task(BINARY, labels, n, np.arange(n, dtype=np.uint64) << np.uint64(40))
    assert distill_task(public, BINARY, pooled).twicing is not None
    assert distill_task(public, BINARY, pooled, options=StudentOptions(False)).twicing is None


def test_a_student_follows_the_labels_that_weigh_most(federated: FederatedSet) -> None:
    """Against a student to which all compounds weigh the same."""
    compounds, pooled = federated.load()
    task = federated.tasks[0]
    labels = pooled[task.name]
    weight = sample_weights(labels, np.arange(len(compounds)))
    assert weight is not None
    truth = soft_targets(task, labels.label)[:, 0]
    equal = _pool(task, [0.3] * len(compounds), labels.label)
    squared = []
    for each in (PoolingResult(labels), equal):
        model = distill_task(compounds, task, each).model
        found = model.members[0].estimators[0].score(compounds, compounds)
        squared.append((found - truth) ** 2)
    # Each minimises its own sum of squares and the same penalty, from which this follows.
    assert (weight - 1.0) @ (squared[0] - squared[1]) < 0.0


@pytest.mark.parametrize(("task", "factor"), [(BINARY, 1.0), (NUMBER, 2.0)])
def test_a_regression_student_states_twice_what_teachers_do(
    consortium: Consortium, task: Task, factor: float
) -> None:
    public = next(iter(consortium.public.chunks()))
    n = len(public)
    trust = np.linspace(0.1, 0.4, n)
    label = np.clip(public.descriptors[:, 0] / 100.0, 0.05, 0.95)
    for most in (trust, np.full(n, 0.22), np.full(n, 0.4), np.full(n, 0.9)):
        pooled = _pool(task, list(most), label)
        model = distill_task(public, task, pooled).model
        reliability = pooled.labels.reliability
        known = float(reliability[reliability >= 0.2].mean())
        # Not beyond a half, unless teachers themselves state more.
        wanted = max(min(factor * known, 0.5), known)
        (ceiling,) = {member.reliability.ceiling for member in model.members}
        assert ceiling == pytest.approx(wanted, rel=1e-4)
