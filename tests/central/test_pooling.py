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


def _said(prediction: list[float], reliability: list[float]) -> TeacherLabels:
    values = np.array(prediction, dtype=np.float32)[:, None]
    return TeacherLabels(values, np.zeros_like(values), np.array(reliability, dtype=np.float32))


def test_worked_by_hand() -> None:
    said = {"a": _said([0.9, 0.2], [0.8, 0.0]), "b": _said([0.24, 0.4], [0.5, 0.0])}
    pooled = pool_task(BINARY, said, {}, 2)
    # Signal to noise 4 and 1, weights 4**2.5 = 32 and 1: (32 * 0.9 + 0.24) / 33 = 0.88.
    assert pooled.label[0, 0] == pytest.approx(0.88, abs=1e-5)
    # sqrt((32 * 0.02**2 + 0.64**2) / 33) = 0.11314.
    assert pooled.disagreement[0, 0] == pytest.approx(0.11314, abs=1e-5)
    # Nobody knows the second compound: the plain mean.
    assert pooled.label[1, 0] == pytest.approx(0.3, abs=1e-5)
    assert pooled.reliability.tolist() == pytest.approx([0.8, 0.0])
    assert pooled.teachers.tolist() == [2, 2]


def test_corrections_are_pooled_beside_what_they_correct() -> None:
    """The label is the same; what is known of single teachers is what they add to the base."""
    number = Task("logbb", "regression")
    said = {"a": _said([2.0, 5.0], [0.8, 0.5]), "b": _said([1.34, 3.0], [0.5, 0.5])}
    base = np.array([[1.0], [4.0]])
    digests = np.arange(1, 3, dtype=np.uint64)
    plain = pool_task(number, said, {}, 2, digests)
    pooled = pool_task(number, said, {}, 2, digests, base)
    # (32 * 2 + 1.34) / 33 = 1.98.
    assert pooled.label[:, 0] == pytest.approx([1.98, 4.0])
    assert pooled.label == pytest.approx(plain.label)
    assert pooled.disagreement == pytest.approx(plain.disagreement)
    assert plain.sample is not None
    assert pooled.sample is not None
    order = np.argsort(pooled.sample.rows)
    added = pooled.sample.told[:, order, 0]
    assert added == pytest.approx(np.array([[1.0, 1.0], [0.34, -1.0]]), abs=1e-6)
    assert pooled.slope == 1.0
    assert plain.slope > 1.0
    assert pooled.base == pytest.approx(base)


def test_parts_of_corrections_are_joined() -> None:
    """As if all compounds had come at once, those that nobody labelled among them."""
    number, nan = Task("logbb", "regression"), float("nan")
    said = {
        "a": _said([2.0, nan, 5.0], [0.8, nan, 0.5]),
        "b": _said([1.0, nan, nan], [0.5, nan, nan]),
    }
    base, digests = np.array([[1.0], [7.0], [4.0]]), np.arange(1, 4, dtype=np.uint64)
    whole = pool_task(number, said, {}, 3, digests, base)
    parts = PooledParts(number)
    for rows in (slice(0, 2), slice(2, 3)):
        each = {
            name: TeacherLabels(one.prediction[rows], one.uncertainty[rows], one.reliability[rows])
            for name, one in said.items()
        }
        count = len(digests[rows])
        parts.add(pool_task(number, each, {}, count, digests[rows], base[rows]))
    joined = parts.joined()
    assert np.isnan(joined.label[1, 0])
    assert np.array_equal(joined.label, whole.label, equal_nan=True)
    assert np.array_equal(joined.base, base)
    assert joined.slope == whole.slope == 1.0
    assert joined.sample is not None
    assert whole.sample is not None
    assert np.array_equal(joined.sample.told, whole.sample.told)


def test_shared_sizes_count_by_their_square_root_if_everybody_shares() -> None:
    said = {"a": _said([1.0], [0.5]), "b": _said([0.0], [0.5])}
    assert pool_task(BINARY, said, {"a": 64.0, "b": 16.0}, 1).label[0, 0] == pytest.approx(2 / 3)
    assert pool_task(BINARY, said, {"a": 64.0}, 1).label[0, 0] == pytest.approx(0.5)


def test_who_abstains_has_no_say() -> None:
    nan = float("nan")
    said = {"a": _said([0.9, nan], [0.1, nan]), "b": _said([nan, nan], [nan, nan])}
    pooled = pool_task(BINARY, said, {}, 2)
    assert pooled.label[0, 0] == pytest.approx(0.9)
    assert np.isnan(pooled.label[1, 0])
    assert pooled.teachers.tolist() == [1, 0]
    assert pooled.reliability.tolist() == pytest.approx([0.1, 0.0])


def test_nobody_is_so_sure_that_others_are_not_heard() -> None:
    said = {"a": _said([1.0], [1.0]), "b": _said([0.0], [0.5])}
    # Reliability counts up to 0.98, which is signal to noise 49.
    assert pool_task(BINARY, said, {}, 1).label[0, 0] == pytest.approx(49**2.5 / (49**2.5 + 1))
    # Without any reliability a teacher has a say only where nobody knows better.
    said["b"] = _said([0.0], [0.0])
    assert pool_task(BINARY, said, {}, 1).label[0, 0] == pytest.approx(1.0, abs=1e-6)


def test_every_task_is_pooled_from_the_partners_that_have_it() -> None:
    number = Task("logd", "regression")
    first, second = _said([0.9], [0.5]), _said([0.3], [0.5])
    said = {"a": {"bbb": first, "logd": second}, "b": {"bbb": second}, "c": {}}
    sizes = {"a": {"bbb": 64.0}, "b": {"bbb": 16.0, "logd": 9.0}}
    pooled = pool_labels(
        [BINARY, number, Task("other", "binary")], said, sizes, np.zeros(1, np.uint64)
    )
    assert list(pooled) == ["bbb", "logd", "other"]
    assert pooled["bbb"].label[0, 0] == pytest.approx(0.7)
    assert pooled["logd"].label[0, 0] == pytest.approx(0.3)
    assert pooled["logd"].teachers.tolist() == [1]
    assert np.isnan(pooled["other"].label).all()


def test_no_teacher_at_all() -> None:
    pooled = pool_task(BINARY, {}, {}, 3)
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
    said = {
        f"p{number}": _said([v for v, _ in rows], [r for _, r in rows])
        for number, rows in enumerate(teachers)
    }
    pooled = pool_task(BINARY, said, {}, 4)
    each = np.stack([one.prediction[:, 0] for one in said.values()])
    assert np.all(pooled.label[:, 0] >= each.min(axis=0) - 1e-5)
    assert np.all(pooled.label[:, 0] <= each.max(axis=0) + 1e-5)
    # The order of partners does not matter, to the bit.
    turned = pool_task(BINARY, dict(reversed(said.items())), {}, 4)
    assert np.array_equal(turned.label, pooled.label)
    # A compound's label does not depend on its neighbours in the file.
    for row in range(4):
        alone = {
            name: TeacherLabels(
                one.prediction[[row]], one.uncertainty[[row]], one.reliability[[row]]
            )
            for name, one in said.items()
        }
        assert np.array_equal(pool_task(BINARY, alone, {}, 1).label[0], pooled.label[row])
