"""Repeated measurements become one label: majority, median, or a conflict."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.learn.labels import Conflict, LabelMatrix, merge_measurements
from fluid.learn.task import Task

TASKS = (
    Task("class", "binary"),
    Task("number", "regression"),
    Task("three", "multiclass", classes=("a", "b", "c")),
)


def merge(*measurements, n=10):
    """Merge (row, task, value, qualifier) and give labels as such tuples with their weight."""
    columns = list(zip(*measurements, strict=True)) or [[], [], [], []]
    rows, tasks, values, signs = columns
    matrix, conflicts = merge_measurements(
        TASKS,
        np.array(rows, dtype=np.int64),
        np.array(tasks, dtype=np.int64),
        np.array(values, dtype=np.float64),
        np.array(signs, dtype=np.int8),
        n,
    )
    labels = zip(
        matrix.rows.tolist(), matrix.tasks.tolist(), matrix.values.tolist(),
        matrix.qualifiers.tolist(), matrix.weights.tolist(), strict=True,
    )  # fmt: skip
    return list(labels), conflicts, matrix


def test_a_single_measurement_is_the_label():
    assert merge((3, 1, 4.5, 0))[:2] == ([(3, 1, 4.5, 0, 1.0)], [])


def test_classes_by_majority():
    labels, conflicts, _ = merge((0, 0, 1, 0), (0, 0, 0, 0), (0, 0, 1, 0), (1, 2, 2, 0))
    assert labels == [(0, 0, 1.0, 0, 3.0), (1, 2, 2.0, 0, 1.0)]
    assert conflicts == []


def test_a_tie_gives_no_label_but_a_conflict():
    labels, conflicts, _ = merge((5, 0, 1, 0), (5, 0, 0, 0), (6, 0, 1, 0))
    assert labels == [(6, 0, 1.0, 0, 1.0)]
    assert conflicts == [Conflict(5, 0, (0.0, 1.0))]


def test_the_largest_class_wins_without_half_of_the_votes():
    votes = [(0, 2, value, 0) for value in (0, 1, 1, 2, 2, 2)]
    assert merge(*votes)[0] == [(0, 2, 2.0, 0, 6.0)]
    assert merge(*votes[:5])[1] == [Conflict(0, 2, (0.0, 1.0, 1.0, 2.0, 2.0))]


def test_numbers_by_the_median():
    assert merge((0, 1, 5.0, 0), (0, 1, 9.0, 0), (0, 1, 6.0, 0))[0] == [(0, 1, 6.0, 0, 3.0)]
    assert merge((0, 1, 5.0, 0), (0, 1, 6.0, 0))[0] == [(0, 1, 5.5, 0, 2.0)]


def test_exact_numbers_go_before_censored_ones():
    assert merge((0, 1, 5.0, 0), (0, 1, 9.0, 1), (0, 1, 2.0, -1))[0] == [(0, 1, 5.0, 0, 3.0)]


def test_censored_numbers_of_one_direction_keep_it():
    assert merge((0, 1, 5.0, 1), (0, 1, 7.0, 1))[0] == [(0, 1, 6.0, 1, 2.0)]
    assert merge((0, 1, 4.0, -1))[0] == [(0, 1, 4.0, -1, 1.0)]


def test_censored_numbers_of_both_directions_are_a_conflict():
    labels, conflicts, _ = merge((0, 1, 5.0, 1), (0, 1, 4.0, -1))
    assert labels == []
    assert conflicts == [Conflict(0, 1, (4.0, 5.0))]


def test_no_measurements_no_labels():
    labels, conflicts, matrix = merge(n=4)
    assert (labels, conflicts) == ([], [])
    assert matrix.shape == (4, 3)
    assert [len(part) for part in matrix.column(0)] == [0, 0]


def test_a_column_is_one_task_without_censored_values_unless_asked():
    _, _, matrix = merge((2, 1, 7.0, 1), (9, 1, 3.0, 0), (4, 0, 1, 0), (1, 1, 5.0, 0))
    rows, values = matrix.column(1)
    assert (rows.tolist(), values.tolist()) == ([1, 9], [5.0, 3.0])
    rows, values = matrix.column(1, censored=True)
    assert (rows.tolist(), values.tolist()) == ([1, 2, 9], [5.0, 7.0, 3.0])
    assert matrix.column(0)[0].tolist() == [4]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.integers(0, 2), st.sampled_from([0, 1, 2]), st.integers(-1, 1)
        ),
        max_size=20,
    ),
    st.randoms(use_true_random=False),
)
def test_labels_do_not_depend_on_the_order_of_measurements(measurements, random):
    labels, conflicts, _ = merge(*measurements)
    shuffled = list(measurements)
    random.shuffle(shuffled)
    assert merge(*shuffled)[:2] == (labels, conflicts)
    decided = {(row, task) for row, task, *_ in labels}
    undecided = {(conflict.row, conflict.task) for conflict in conflicts}
    assert decided | undecided == {(row, task) for row, task, *_ in measurements}
    assert not decided & undecided


def test_a_part_has_its_own_rows_and_every_task() -> None:
    whole = LabelMatrix(
        rows=np.array([0, 2, 1, 2]),
        tasks=np.array([0, 0, 1, 1]),
        values=np.array([1.0, 0.0, 5.0, 7.0]),
        qualifiers=np.array([0, 0, 0, 1]),
        weights=np.ones(4),
        shape=(3, 2),
    )
    part = whole.take(np.array([1, 2]))
    assert part.shape == (2, 2)
    assert [values.tolist() for values in part.column(0)] == [[1], [0.0]]
    assert [values.tolist() for values in part.column(1)] == [[0], [5.0]]
    assert [values.tolist() for values in part.column(1, censored=True)] == [[0, 1], [5.0, 7.0]]
    assert whole.take(np.zeros(0, dtype=np.int64)).shape == (0, 2)
