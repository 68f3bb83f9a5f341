"""Thresholds are chosen as MELLODDY-TUNER chooses them; each rule worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluid.learn.task import Task
from fluid.learn.thresholding import choose_thresholds

POTENCY = Task("herg", "regression", unit="nM", scale="p", low=2.0, high=12.0)


def choose(values, signs=None, experts=(), task=POTENCY):
    values = np.array(values, dtype=np.float64)
    signs = np.zeros(len(values), dtype=np.int8) if signs is None else np.array(signs)
    found = choose_thresholds(task, values, signs, experts)
    return [(one.value, one.origin, one.positive, one.negative) for one in found]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # 30 of 100 lie at 8.2: 30% positive, and 25 of each.
        ([8.2] * 30 + [5.2] * 70, (8.0, "fixed", 30, 70)),
        # 24 do not make the quorum of 25, at 8, 7 or 6; at 5 all are positive. At 4.7 and 4.4 too.
        ([8.2] * 24 + [5.2] * 76, (5.2, "median", 100, 0)),
        # 19% are too few at 8; at 7 there are 20%.
        ([8.2] * 76 + [7.0] * 4 + [5.2] * 320, (7.0, "fixed", 80, 320)),
        ([4.8] * 40 + [4.0] * 60, (4.7, "fixed", 40, 60)),
        ([4.5] * 40 + [4.0] * 60, (4.4, "fixed", 40, 60)),
        ([4.3] * 40 + [4.0] * 61, (4.0, "median", 101, 0)),
    ],
)
def test_without_experts_the_first_that_serves(values, expected):
    assert expected in choose(values)
    assert [one[1] for one in choose(values)].count("auxiliary") <= 2


def test_half_an_order_of_magnitude_on_either_side():
    values = [8.2] * 30 + [7.6] * 20 + [5.2] * 50
    assert choose(values) == [
        (7.5, "auxiliary", 50, 50),
        (8.0, "fixed", 30, 70),
        # At 8.5 none is positive: no task.
    ]
    assert choose([*values, 9.0])[-1] == (8.5, "auxiliary", 1, 100)


def test_bounds_count_where_they_decide():
    """Of 100 values "<8" 40 are negative at 8, and at 7 nothing is known of them."""
    values, signs = [8.5] * 30 + [8.0] * 40 + [7.5] * 30, [0] * 30 + [-1] * 40 + [0] * 30
    assert (8.0, "fixed", 30, 70) in choose(values, signs)
    assert (7.5, "auxiliary", 60, 0) not in choose(values, signs)
    assert (8.0, "fixed", 30, 30) in choose([8.5] * 30 + [7.0] * 70, [0] * 30 + [0] * 30 + [1] * 40)


def test_a_bound_counts_as_twice_what_it_states_in_the_median():
    task = Task("x", "regression", scale="log10")
    assert choose([1.0, 1.0, 1.0], [1, 1, 0], task=task)[0][:2] == (1.3, "median")
    assert choose([1.0, 1.0, 1.0], [-1, -1, 0], task=task)[0][:2] == (0.699, "median")
    linear = Task("x", "regression")
    assert choose([1.0, 1.0, 4.0], [1, 1, 0], task=linear) == [(1.0, "median", 3, 0)]


def test_thresholds_of_experts():
    values = np.linspace(4, 9, 51)
    assert [one[:2] for one in choose(values, experts=[6.0])] == [
        (5.5, "auxiliary"), (6.0, "expert"), (6.5, "auxiliary"),
    ]  # fmt: skip
    assert [one[:2] for one in choose(values, experts=[7.0, 5.0])] == [
        (4.5, "auxiliary"), (5.0, "expert"), (7.0, "expert"), (7.5, "auxiliary"),
    ]  # fmt: skip
    four = [5.0, 6.0, 7.0, 8.0]
    assert [one[:2] for one in choose(values, experts=four)] == [(x, "expert") for x in four]
    # Half a micrometre per second is no order of magnitude.
    linear = Task("x", "regression", unit="10^-6 cm/s")
    assert [one[:2] for one in choose(values, experts=[6.0], task=linear)] == [(6.0, "expert")]


def test_an_auxiliary_threshold_lies_within_the_range():
    task = Task("x", "regression", scale="log10", low=0.0, high=2.2)
    assert [one[0] for one in choose(np.linspace(0.1, 2.1, 41), experts=[2.0], task=task)] == [
        1.5, 2.0,
    ]  # fmt: skip


def test_without_values_there_is_nothing_to_choose():
    assert choose([]) == []
    assert choose([], experts=[6.0]) == [(6.0, "expert", 0, 0)]


@given(st.lists(st.tuples(st.floats(3, 10), st.integers(-1, 1)), max_size=80), st.randoms())
def test_the_order_of_values_does_not_matter(measured, random):
    shuffled = list(measured)
    random.shuffle(shuffled)
    one = choose([value for value, _ in measured], [sign for _, sign in measured])
    other = choose([value for value, _ in shuffled], [sign for _, sign in shuffled])
    assert one == other
