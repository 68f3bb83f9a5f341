"""Pooling: worked by hand, and properties that must hold for any teachers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.central.pooling import pool_labels, pool_task
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledParts
from fluid.soft_labels.teacher_labels import TeacherLabels

BINARY = Task("bbb", "binary")


def _teacher(prediction: list[float], reliability: list[float]) -> TeacherLabels:
    values = np.array(prediction, dtype=np.float32)[:, None]
    return TeacherLabels(values, np.zeros_like(values), np.array(reliability, dtype=np.float32))


def test_worked_by_hand() -> None:
    labels = {"a": _teacher([0.9, 0.2], [0.8, 0.0]), "b": _teacher([0.24, 0.4], [0.5, 0.0])}
    pooled = pool_task(BINARY, labels, 2).labels
    # Signal to noise 4 and 1, weights 4**2.5 = 32 and 1: (32 * 0.9 + 0.24) / 33 = 0.88.
    assert pooled.label[0, 0] == pytest.approx(0.88, abs=1e-5)
    # sqrt((32 * 0.02**2 + 0.64**2) / 33) = 0.11314.
    assert pooled.disagreement[0, 0] == pytest.approx(0.11314, abs=1e-5)
    # Nobody knows the second compound: the plain mean.
    assert pooled.label[1, 0] == pytest.approx(0.3, abs=1e-5)
    assert pooled.reliability.tolist() == pytest.approx([0.8, 0.0])
    assert pooled.teachers.tolist() == [2, 2]


def test_residuals_are_pooled_with_their_base() -> None:
    """The label is the same; the sample holds what each teacher adds to the base."""
    number = Task("logbb", "regression")
    labels = {"a": _teacher([2.0, 5.0], [0.8, 0.5]), "b": _teacher([1.34, 3.0], [0.5, 0.5])}
    base = np.array([[1.0], [4.0]])
    digests = np.arange(1, 3, dtype=np.uint64)
    plain = pool_task(number, labels, 2, digests)
    pooled = pool_task(number, labels, 2, digests, base)
    # (32 * 2 + 1.34) / 33 = 1.98.
    assert pooled.labels.label[:, 0] == pytest.approx([1.98, 4.0])
    assert pooled.labels.label == pytest.approx(plain.labels.label)
    assert pooled.labels.disagreement == pytest.approx(plain.labels.disagreement)
    assert plain.sample is not None
    assert pooled.sample is not None
    order = np.argsort(pooled.sample.rows)
    added = pooled.sample.predictions[:, order, 0]
    assert added == pytest.approx(np.array([[1.0, 1.0], [0.34, -1.0]]), abs=1e-6)
    assert pooled.labels.slope == 1.0
    assert plain.labels.slope > 1.0
    assert pooled.base == pytest.approx(base)


def test_parts_with_a_base_are_joined() -> None:
    """As if all compounds had come at once, those that nobody labelled among them."""
    number, nan = Task("logbb", "regression"), float("nan")
    labels = {
        "a": _teacher([2.0, nan, 5.0], [0.8, nan, 0.5]),
        "b": _teacher([1.0, nan, nan], [0.5, nan, nan]),
    }
    base, digests = np.array([[1.0], [7.0], [4.0]]), np.arange(1, 4, dtype=np.uint64)
    whole = pool_task(number, labels, 3, digests, base)
    parts = PooledParts(number)
    for rows in (slice(0, 2), slice(2, 3)):
        each = {
            name: TeacherLabels(one.prediction[rows], one.uncertainty[rows], one.reliability[rows])
            for name, one in labels.items()
        }
        count = len(digests[rows])
        parts.add(pool_task(number, each, count, digests[rows], base[rows]))
    joined = parts.joined()
    assert np.isnan(joined.labels.label[1, 0])
    assert np.array_equal(joined.labels.label, whole.labels.label, equal_nan=True)
    assert np.array_equal(joined.base, base)
    assert joined.labels.slope == whole.labels.slope == 1.0
    assert joined.sample is not None
    assert whole.sample is not None
    assert np.array_equal(joined.sample.predictions, whole.sample.predictions)


def test_who_abstains_does_not_count() -> None:
    nan = float("nan")
    labels = {"a": _teacher([0.9, nan], [0.1, nan]), "b": _teacher([nan, nan], [nan, nan])}
    pooled = pool_task(BINARY, labels, 2).labels
    assert pooled.label[0, 0] == pytest.approx(0.9)
    assert np.isnan(pooled.label[1, 0])
    assert pooled.teachers.tolist() == [1, 0]
    assert pooled.reliability.tolist() == pytest.approx([0.1, 0.0])


def test_no_reliability_silences_the_others() -> None:
    labels = {"a": _teacher([1.0], [1.0]), "b": _teacher([0.0], [0.5])}
    # Reliability counts up to 0.98, which is signal to noise 49.
    assert pool_task(BINARY, labels, 1).labels.label[0, 0] == pytest.approx(49**2.5 / (49**2.5 + 1))
    # A teacher without any reliability counts only where nobody knows better.
    labels["b"] = _teacher([0.0], [0.0])
    assert pool_task(BINARY, labels, 1).labels.label[0, 0] == pytest.approx(1.0, abs=1e-6)


def test_every_task_is_pooled_from_the_partners_that_have_it() -> None:
    number = Task("logd", "regression")
    first, second = _teacher([0.9], [0.5]), _teacher([0.3], [0.5])
    labels = {"a": {"bbb": first, "logd": second}, "b": {"bbb": second}, "c": {}}
    tasks = [BINARY, number, Task("other", "binary")]
    pooled = pool_labels(tasks, labels, np.zeros(1, np.uint64))
    assert list(pooled) == ["bbb", "logd", "other"]
    assert pooled["bbb"].labels.label[0, 0] == pytest.approx(0.6)
    assert pooled["logd"].labels.label[0, 0] == pytest.approx(0.3)
    assert pooled["logd"].labels.teachers.tolist() == [1]
    assert np.isnan(pooled["other"].labels.label).all()


def test_no_teacher_at_all() -> None:
    pooled = pool_task(BINARY, {}, 3).labels
    assert np.isnan(pooled.label).all()
    assert pooled.teachers.tolist() == [0, 0, 0]


_value = st.integers(1, 99).map(lambda i: i / 100)
_trust = st.integers(0, 50).map(lambda i: i / 50)
_rows = st.lists(st.tuples(_value, _trust), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(_value, _trust), min_size=4, max_size=4), min_size=1, max_size=6)
)
def test_properties(teachers: list[list[tuple[float, float]]]) -> None:
    labels = {
        f"p{number}": _teacher([v for v, _ in rows], [r for _, r in rows])
        for number, rows in enumerate(teachers)
    }
    pooled = pool_task(BINARY, labels, 4).labels
    each = np.stack([one.prediction[:, 0] for one in labels.values()])
    assert np.all(pooled.label[:, 0] >= each.min(axis=0) - 1e-5)
    assert np.all(pooled.label[:, 0] <= each.max(axis=0) + 1e-5)
    # The order of partners does not matter, to the bit.
    turned = pool_task(BINARY, dict(reversed(labels.items())), 4).labels
    assert np.array_equal(turned.label, pooled.label)
    # A compound's label does not depend on its neighbours in the file.
    for row in range(4):
        alone = {
            name: TeacherLabels(
                one.prediction[[row]], one.uncertainty[[row]], one.reliability[[row]]
            )
            for name, one in labels.items()
        }
        assert np.array_equal(pool_task(BINARY, alone, 1).labels.label[0], pooled.label[row])
