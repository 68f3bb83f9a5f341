"""Repeated measurements become one label, by the rule of the task; each rule worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.learn.labels import LabelMatrix, Problem, apply_threshold, merge_measurements
from fluid.learn.task import Task

TASKS = (
    Task("class", "binary"),
    Task("number", "regression"),
    Task("three", "multiclass", classes=("a", "b", "c")),
)
MARKS = {"<": -1, ">": 1}


def merge(*measurements, n=10, tasks=TASKS):
    """Merge (row, task, value, sign) and give labels as such tuples with their weight."""
    columns = list(zip(*measurements, strict=True)) or [[], [], [], []]
    rows, index, values, signs = columns
    merged = merge_measurements(
        tasks,
        np.array(rows, dtype=np.int64),
        np.array(index, dtype=np.int64),
        np.array(values, dtype=np.float64),
        np.array(signs, dtype=np.int8),
        n,
    )
    matrix = merged.labels
    labels = zip(
        matrix.rows.tolist(), matrix.tasks.tolist(), matrix.values.tolist(),
        matrix.qualifiers.tolist(), matrix.weights.tolist(), strict=True,
    )  # fmt: skip
    return list(labels), merged


def numbers(texts, **rules):
    """Label and problem of one compound, measured as in "5 >7 <3"."""
    task = Task("x", "regression", **rules)
    read = [(float(text.lstrip("<>")), MARKS.get(text[0], 0)) for text in texts.split()]
    labels, merged = merge(*[(0, 0, value, sign) for value, sign in read], tasks=[task])
    if not labels:
        return None, Problem(merged.problems[0])
    (_, _, value, sign, weight) = labels[0]
    assert weight == len(read)
    return f"{'<' if sign < 0 else '>' if sign > 0 else ''}{value:g}", Problem(merged.problems[0])


def test_a_single_measurement_is_the_label():
    assert merge((3, 1, 4.5, 0))[0] == [(3, 1, 4.5, 0, 1.0)]


def test_classes_by_majority():
    labels, merged = merge((0, 0, 1, 0), (0, 0, 0, 0), (0, 0, 1, 0), (1, 2, 2, 0))
    assert labels == [(0, 0, 1.0, 0, 3.0), (1, 2, 2.0, 0, 1.0)]
    assert merged.problems.tolist() == [0, 0]


def test_a_tie_gives_no_label_but_a_reason():
    labels, merged = merge((5, 0, 1, 0), (5, 0, 0, 0), (6, 0, 1, 0))
    assert labels == [(6, 0, 1.0, 0, 1.0)]
    assert merged.problems.tolist() == [Problem.TIE, Problem.NONE]
    assert merged.groups.tolist() == [0, 0, 1]
    assert merged.reason(TASKS, 0) == "2 measurements of this compound disagree without majority"
    assert merged.reason(TASKS, 1) == ""


def test_the_largest_class_wins_without_half_of_the_votes():
    votes = [(0, 2, value, 0) for value in (0, 1, 1, 2, 2, 2)]
    assert merge(*votes)[0] == [(0, 2, 2.0, 0, 6.0)]
    assert merge(*votes[:5])[1].problems.tolist() == [Problem.TIE]


@pytest.mark.parametrize(
    ("measured", "median", "mean", "largest", "smallest"),
    [
        ("5", "5", "5", "5", "5"),
        ("5 6", "5.5", "5.5", "6", "5"),
        ("5 9 6", "6", "6.66667", "9", "5"),
        ("5 5 6 9", "5.5", "6.25", "9", "5"),
        # Bounds alone: the tightest.
        (">5", ">5", ">5", ">5", ">5"),
        (">5 >8", ">8", ">8", ">8", ">8"),
        ("<5 <8", "<5", "<5", "<5", "<5"),
        # A bound that agrees with the exact label adds nothing.
        ("7 >5", "7", "7", "7", "7"),
        ("7 >7", "7", "7", "7", "7"),
        ("7 <9", "7", "7", "7", "7"),
        ("7 >5 <9", "7", "7", "7", "7"),
        # One that excludes it: a contradiction, or the measurement that max and min choose.
        ("5 >7", None, None, ">7", "5"),
        ("5 <4", None, None, "5", "<4"),
        ("5 9 >7", "7", "7", "9", "5"),
        # Unless exact numbers are in the majority.
        ("5 5.2 >7", "5.1", "5.1", ">7", "5"),
        ("5 5.2 >7 >8", None, None, ">8", "5"),
        ("5 5.2 >7 <3", None, None, ">7", "<3"),
        ("5 5.2 >7 <9", "5.1", "5.1", ">7", "5"),
        ("5 8 >6", "6.5", "6.5", "8", "5"),
        # Bounds from both sides.
        ("<8 >5", None, None, ">5", "<8"),
        ("<5 >8", None, None, ">8", "<5"),
    ],
)
def test_numbers_by_each_rule(measured, median, mean, largest, smallest):
    rules = {"": median, "median": median, "mean": mean, "max": largest, "min": smallest}
    for rule, expected in rules.items():
        assert numbers(measured, replicates=rule)[0] == expected, rule


@pytest.mark.parametrize(
    ("measured", "label", "problem"),
    [
        ("5 5.5", "5.25", Problem.NONE),
        ("5 5.6", None, Problem.SPREAD),
        ("5 5.2 5.4 9", None, Problem.SPREAD),
        ("7.6 7.9 8.1", "7.9", Problem.NONE),
        # What a bound excludes differs from it, by .4 and by 2.
        ("5 >5.4", "5", Problem.NONE),
        ("5 >7", None, Problem.SPREAD),
        ("5 <4.6", "5", Problem.NONE),
        ("<5 >5.4", None, Problem.INTERVAL),
        ("<5 >7", None, Problem.SPREAD),
        # These do not differ: 9 is more than 5.
        ("9 >5", "9", Problem.NONE),
        (">5 >9", ">9", Problem.NONE),
        ("<9 >5", None, Problem.INTERVAL),
    ],
)
def test_replicates_further_apart_than_max_spread(measured, label, problem):
    assert numbers(measured, max_spread=0.5) == (label, problem)
    if problem == Problem.SPREAD:
        assert numbers(measured, max_spread=0.5, replicates="max") == (None, problem)


def test_without_max_spread_a_contradiction_is_still_one():
    assert numbers("5 >10") == (None, Problem.CONTRADICTION)
    assert numbers("<5 >10") == (None, Problem.CONTRADICTION)
    assert numbers("<10 >5") == (None, Problem.INTERVAL)
    assert numbers("5 10") == ("7.5", Problem.NONE)


def test_the_reasons_in_words():
    task = Task("x", "regression", max_spread=0.3)
    plain = Task("y", "regression")
    active = Task("z", "binary", threshold=6.0)
    tasks = [task, plain, active]
    merged = merge(
        (0, 0, 5.0, 0), (0, 0, 7.25, 0),
        (0, 1, 5.0, 0), (0, 1, 9.0, 1),
        (1, 1, 5.0, 1), (1, 1, 9.0, -1),
        (0, 2, 5.0, 1),
        tasks=tasks,
    )[1]  # fmt: skip
    assert [merged.reason(tasks, group) for group in range(4)] == [
        "2 measurements of this compound differ by 2.25, more than max_spread = 0.3",
        "2 measurements of this compound contradict each other: one excludes, with < or >, what "
        "others say",
        "2 measurements of this compound are bounds from both sides, which give no single label",
        "with < or >, on either side of the threshold 6",
    ]


def test_spread_by_hand():
    task = Task("x", "regression", max_spread=1.0)
    merged = merge(
        (0, 0, 5.0, 0), (0, 0, 5.2, 0),
        (1, 0, 6.0, 0), (1, 0, 6.4, 0), (1, 0, 6.1, 0),
        (2, 0, 4.0, 0), (2, 0, 7.0, 0),
        (3, 0, 8.0, 0),
        (4, 0, 8.0, 0), (4, 0, 3.0, 1),
        tasks=[task],
    )[1]  # fmt: skip
    found = merged.replicates(0)
    assert found.compounds == 3
    assert found.median_spread == pytest.approx(0.4)
    # Between .4 and 3, nine tenths of the way.
    assert found.spread_95 == pytest.approx(0.4 + 0.9 * 2.6)
    assert found.disagree == 1
    np.testing.assert_allclose(merged.spreads, [0.2, 0.4, 3.0, 0.0, 0.0])
    assert merged.exact.tolist() == [2, 3, 2, 1, 1]
    classes = merge((0, 0, 1, 0), (0, 0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0))[1].replicates(0)
    assert (classes.compounds, classes.disagree) == (2, 1)
    assert math.isnan(classes.median_spread)


@pytest.mark.parametrize(
    ("text", "high", "low"),
    [
        ("5.9", 0, 1), ("6", 1, 1), ("6.1", 1, 0),
        # Undecided unless all that the bound allows lies on one side.
        (">5", None, None), (">6", 1, 0), (">7", 1, 0),
        ("<5", 0, 1), ("<6", 0, 1), ("<7", None, None),
        # Rounding in the conversion of units: 1000 nM.
        ("5.9999999999", 1, 1), ("6.0000000001", 1, 1),
    ],
)  # fmt: skip
def test_classes_by_a_threshold(text, high, low):
    value, sign = np.array([float(text.lstrip("<>"))]), np.array([MARKS.get(text[0], 0)])
    for direction, expected in (("high", high), ("low", low)):
        task = Task("x", "binary", threshold=6.0, direction=direction)
        (found,) = apply_threshold(task, value, sign)
        assert (None if np.isnan(found) else int(found)) == expected, direction


def test_a_threshold_needs_one():
    with pytest.raises(ValueError, match="task 'class' has no threshold"):
        apply_threshold(TASKS[0], np.zeros(1), np.zeros(1))


def test_numbers_are_merged_before_the_threshold():
    """5 and 6.5 have the median 5.75: negative at 6, although one of two is positive."""
    measured = [(0, 5.0, 0), (0, 6.5, 0), (1, 6.0, 0), (2, 5.0, 1), (3, 7.0, 1), (4, 5.0, -1)]
    tasks = [
        Task("pic50", "regression"),
        Task("active", "binary", source="pic50", threshold=6.0),
        Task("very", "binary", source="pic50", threshold=6.5, replicates="max"),
    ]
    # One measurement feeds all tasks of its source.
    labels, merged = merge(
        *[(row, task, value, sign) for row, value, sign in measured for task in range(3)],
        tasks=tasks,
    )
    found = {
        task: {row: (value, sign) for row, index, value, sign, _ in labels if index == task}
        for task in range(3)
    }
    assert found[0] == {0: (5.75, 0), 1: (6, 0), 2: (5, 1), 3: (7, 1), 4: (5, -1)}
    assert found[1] == {0: (0, 0), 1: (1, 0), 3: (1, 0), 4: (0, 0)}
    assert found[2] == {0: (1, 0), 1: (0, 0), 3: (1, 0), 4: (0, 0)}
    assert [Problem(code) for code in merged.problems].count(Problem.UNDECIDED) == 2


def test_no_measurements_no_labels():
    labels, merged = merge(n=4)
    assert (labels, len(merged.groups)) == ([], 0)
    assert merged.labels.shape == (4, 3)
    assert [len(part) for part in merged.labels.column(0)] == [0, 0]
    assert merged.replicates(1).compounds == 0


def test_a_column_is_one_task_without_censored_values_unless_asked():
    matrix = merge((2, 1, 7.0, 1), (9, 1, 3.0, 0), (4, 0, 1, 0), (1, 1, 5.0, 0))[1].labels
    rows, values = matrix.column(1)
    assert (rows.tolist(), values.tolist()) == ([1, 9], [5.0, 3.0])
    rows, values = matrix.column(1, censored=True)
    assert (rows.tolist(), values.tolist()) == ([1, 2, 9], [5.0, 7.0, 3.0])
    assert matrix.column(0)[0].tolist() == [4]


EVERY = (
    *TASKS,
    Task("mean", "regression", replicates="mean", max_spread=1.0),
    Task("max", "regression", replicates="max"),
    Task("min", "regression", replicates="min", max_spread=0.0),
    Task("cut", "binary", threshold=1.0),
    Task("low", "binary", threshold=1.0, direction="low", max_spread=1.0),
)
some_measurements = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, len(EVERY) - 1),
        st.sampled_from([0, 1, 2, -0.0]),
        st.integers(-1, 1),
    ),
    max_size=24,
)


@settings(deadline=None)
@given(some_measurements, st.randoms(use_true_random=False))
def test_labels_do_not_depend_on_the_order_of_measurements(measurements, random):
    labels, merged = merge(*measurements, tasks=EVERY)
    order = list(range(len(measurements)))
    random.shuffle(order)
    other_labels, other = merge(*[measurements[place] for place in order], tasks=EVERY)
    assert repr(other_labels) == repr(labels)
    assert other.problems.tolist() == merged.problems.tolist()
    assert other.groups.tolist() == merged.groups[order].tolist()
    decided = {(row, task) for row, task, *_ in labels}
    undecided = {
        (int(row), int(task))
        for row, task, problem in zip(merged.rows, merged.tasks, merged.problems, strict=True)
        if problem
    }
    assert decided | undecided == {(row, task) for row, task, *_ in measurements}
    assert not decided & undecided
    assert labels == sorted(labels, key=lambda label: (label[1], label[0]))


@settings(deadline=None)
@given(some_measurements, st.integers(2, 4))
def test_measurements_stated_several_times_change_only_the_weight(measurements, times):
    labels, merged = merge(*measurements, tasks=EVERY)
    repeated, again = merge(*(measurements * times), tasks=EVERY)
    assert [label[:2] for label in repeated] == [label[:2] for label in labels]
    np.testing.assert_allclose([label[2:4] for label in repeated], [x[2:4] for x in labels])
    assert [label[4] for label in repeated] == [label[4] * times for label in labels]
    assert again.problems.tolist() == merged.problems.tolist()


@settings(deadline=None)
@given(some_measurements, st.integers(0, 4))
def test_a_label_depends_on_its_own_compound_only(measurements, row):
    """To the last bit: an annotation's row must not show who else is in the table."""
    alone = [one for one in measurements if one[0] == row]
    labels = [label for label in merge(*measurements, tasks=EVERY)[0] if label[0] == row]
    assert repr(merge(*alone, tasks=EVERY)[0]) == repr(labels)


@settings(deadline=None)
@given(some_measurements, st.integers(1, 5))
def test_labels_do_not_depend_on_how_many_are_merged_at_once(measurements, block):
    labels, merged = merge(*measurements, tasks=EVERY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fluid.learn.labels._BLOCK", block)
        some, parts = merge(*measurements, tasks=EVERY)
    assert repr(some) == repr(labels)
    assert repr(parts) == repr(merged)


def _one_by_one(task, measured):
    """The label of one compound, from the words of `merge_measurements`, without NumPy."""
    exact = sorted(value for value, sign in measured if sign == 0)
    above = max((value for value, sign in measured if sign > 0), default=-math.inf)
    below = min((value for value, sign in measured if sign < 0), default=math.inf)
    highest, lowest = max([*exact, above]), min([*exact, below])
    if task.max_spread is not None and highest - lowest > task.max_spread:
        return None
    if task.replicates == "max" and (exact or above > -math.inf):
        return (above, 1) if not exact or above > exact[-1] else (exact[-1], 0)
    if task.replicates == "min" and (exact or below < math.inf):
        return (below, -1) if not exact or below < exact[0] else (exact[0], 0)
    if not exact:
        if above > -math.inf and below < math.inf:
            return None
        return (above, 1) if above > -math.inf else (below, -1)
    label = sum(exact) / len(exact) if task.replicates == "mean" else float(np.median(exact))
    beyond = sum(sign * (value - label) > 0 for value, sign in measured)
    if task.max_spread is None and beyond and beyond >= len(exact):
        return None
    return label, 0


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([task for task in EVERY if task.kind == "regression"]),
    st.lists(st.tuples(st.integers(0, 6).map(lambda x: x / 2), st.integers(-1, 1)), min_size=1,
             max_size=6),
)  # fmt: skip
def test_numbers_agree_with_the_rule_in_words(task, measured):
    labels, _ = merge(*[(0, 0, value, sign) for value, sign in measured], tasks=[task])
    found = labels[0][2:4] if labels else None
    expected = _one_by_one(task, measured)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found[0] == pytest.approx(expected[0])
        assert found[1] == expected[1]


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
