"""Taking one partner out of pooled labels is pooling the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.central.pooling import pool_task
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledLabels, pooling_weight, without_partner
from fluid.soft_labels.teacher_labels import TeacherLabels

BINARY = Task("bbb", "binary")
THREE = Task("kind", "multiclass", classes=("a", "b", "c"))


def random_labels(
    random: np.random.Generator, n: int, outputs: int, missing: float
) -> TeacherLabels:
    prediction = np.round(random.uniform(0.01, 0.99, (n, outputs)), 2).astype(np.float32)
    reliability = np.round(random.uniform(0.0, 1.0, n), 2).astype(np.float32)
    quiet = random.random(n) < missing
    prediction[quiet], reliability[quiet] = np.nan, np.nan
    return TeacherLabels(prediction, prediction * 0, reliability)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.sampled_from([BINARY, THREE]))
def test_it_equals_pooling_the_others(seed: int, partners: int, task: Task) -> None:
    random = np.random.default_rng(seed)
    names = [f"p{number}" for number in range(partners)]
    labels = {name: random_labels(random, 30, len(task.outputs), 0.2) for name in names}
    others = {name: one for name, one in labels.items() if name != "p0"}
    found = without_partner(pool_task(task, labels, 30).labels, labels["p0"])
    expected = pool_task(task, others, 30).labels
    known = np.isfinite(found.label).all(axis=1)
    assert np.allclose(found.label[known], expected.label[known], atol=2e-3)
    assert np.array_equal(found.teachers, expected.teachers)
    # A label is lost only where the others hardly weigh.
    mine = pooling_weight(labels["p0"].reliability)
    assert expected.weight is not None
    lost = ~known & np.isfinite(expected.label).all(axis=1)
    assert (expected.weight[lost] < 2e-3 * mine[lost]).all()
    assert not (known & ~np.isfinite(expected.label).all(axis=1)).any()


def test_worked_by_hand() -> None:
    """Odds 1 and 4 to the power of 2.5 weigh 1 and 32: (32 * 0.2 + 1 * 0.86) / 33 = 0.22."""
    own = TeacherLabels(np.array([[0.86]]), np.array([[0.0]]), np.array([0.5]))
    pooled = PooledLabels(
        np.array([[0.22]]),
        np.array([[0.1]]),
        np.array([0.8]),
        np.array([2], np.uint16),
        np.array([33.0]),
    )
    found = without_partner(pooled, own)
    assert found.label[0, 0] == pytest.approx(0.2, abs=1e-6)
    assert found.teachers.tolist() == [1]
    assert found.weight is not None
    assert found.weight[0] == pytest.approx(32.0, abs=1e-5)


def test_nothing_is_left_where_only_this_partner_has_a_label() -> None:
    own = TeacherLabels(np.array([[0.9]]), np.array([[0.0]]), np.array([0.5]))
    alone = pool_task(BINARY, {"p0": own}, 1).labels
    found = without_partner(alone, own)
    assert np.isnan(found.label).all()
    assert found.reliability.tolist() == [0.0]


def test_weights_must_be_known() -> None:
    own = TeacherLabels(np.array([[0.9]]), np.array([[0.0]]), np.array([0.5]))
    nameless = PooledLabels(
        np.array([[0.9]]), np.array([[0.0]]), np.array([0.5]), np.array([1], np.uint16)
    )
    with pytest.raises(ValueError, match="weights"):
        without_partner(nameless, own)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_fewer_teachers_disagree_less(count: int) -> None:
    """The variance between k teachers goes with 1 - 1 / k; one teacher's labels are not shrunk."""
    random = np.random.default_rng(3)
    task = Task("logd", "regression")
    labels = {
        f"p{number}": TeacherLabels(
            random.normal(size=(40, 1)).astype(np.float32), np.zeros((40, 1)), np.full(40, 0.3)
        )
        for number in range(count)
    }
    pooled = pool_task(task, labels, 40, np.arange(40, dtype=np.uint64)).labels
    assert pooled.disagreement_share == 1.0
    assert pooled.slope > 1.0
    found = without_partner(pooled, labels["p0"])
    left = (1.0 - 1.0 / (count - 1)) / (1.0 - 1.0 / count)
    assert found.disagreement_share == pytest.approx(left)
    assert found.slope == pytest.approx(1.0 + left * (pooled.slope - 1.0))
    # Taking out a partner without labels changes nothing.
    missing = TeacherLabels(
        np.full((40, 1), np.nan, dtype=np.float32), np.zeros((40, 1)), np.full(40, np.nan)
    )
    same = without_partner(pooled, missing)
    assert same.disagreement_share == 1.0
    assert same.slope == pooled.slope
