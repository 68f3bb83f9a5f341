"""Labels as people write them, and tasks that make sense."""

import pytest

from fluid.learn.task import LabelError, Task, parse_label, parse_qualifier

PLAIN = Task("active", "binary")
NAMED = Task("bbb", "binary", classes=("BBB-", "BBB+"))
THREE = Task("tox", "multiclass", classes=("None", "Mild", "Severe"))
PIC50 = Task("pic50", "regression", unit="-log10(M)", low=2.0, high=12.0)


@pytest.mark.parametrize(
    "text",
    ["1", "1.0", "true", "TRUE", "Yes", "y", "positive", "POS", "active", "Active", " + ", "+"],
)
def test_positive_labels(text):
    assert parse_label(PLAIN, text) == (1.0, 0)
    assert parse_label(NAMED, text) == (1.0, 0)


@pytest.mark.parametrize(
    "text", ["0", "0.0", "false", "False", "no", "N", "negative", "neg", "inactive", "-"]
)
def test_negative_labels(text):
    assert parse_label(PLAIN, text) == (0.0, 0)
    assert parse_label(NAMED, text) == (0.0, 0)


@pytest.mark.parametrize(
    ("text", "value"), [("BBB+", 1.0), ("bbb-", 0.0), (" BBB+ ", 1.0), ("Bbb-", 0.0)]
)
def test_named_classes(text, value):
    assert parse_label(NAMED, text) == (value, 0)


def test_a_class_name_goes_before_the_usual_words():
    turned = Task("t", "binary", classes=("yes", "no"))
    assert parse_label(turned, "yes") == (0.0, 0)
    assert parse_label(turned, "no") == (1.0, 0)
    assert parse_label(turned, "1") == (1.0, 0)


@pytest.mark.parametrize(("text", "value"), [("none", 0.0), ("MILD", 1.0), (" severe", 2.0)])
def test_multiclass_labels(text, value):
    assert parse_label(THREE, text) == (value, 0)


@pytest.mark.parametrize("text", ["2", "0.5", "maybe", "1,0", ">1", "10", "BBB", "", "nan"])
def test_what_is_no_class_is_refused_with_what_is_allowed(text):
    with pytest.raises(LabelError, match="allowed are 1 or 0, yes or no"):
        parse_label(PLAIN, text)
    with pytest.raises(LabelError, match=r"allowed are BBB\+ or BBB-"):
        parse_label(NAMED, text)
    with pytest.raises(LabelError, match="allowed are None, Mild, Severe"):
        parse_label(THREE, text)


def test_multiclass_labels_are_names_not_numbers():
    with pytest.raises(LabelError, match="'1' is not a class"):
        parse_label(THREE, "1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", (5.0, 0)),
        ("5.25", (5.25, 0)),
        (" 6.0 ", (6.0, 0)),
        ("+7", (7.0, 0)),
        ("1e1", (10.0, 0)),
        (".5e1", (5.0, 0)),
        ("=5", (5.0, 0)),
        ("~5", (5.0, 0)),
        (">9.3", (9.3, 1)),
        (">= 9.3", (9.3, 1)),
        (">>9", (9.0, 1)),
        ("<4", (4.0, -1)),
        (" <= 4 ", (4.0, -1)),
        ("<<4", (4.0, -1)),
        ("2", (2.0, 0)),
        ("12", (12.0, 0)),
    ],
)
def test_numbers_and_their_qualifiers(text, expected):
    assert parse_label(PIC50, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5,3", r"'5,3' is not a number \(decimal comma\?\)"),
        (">5,3", r"'>5,3' is not a number \(decimal comma\?\)"),
        ("1,234,567", "'1,234,567' is not a number$"),
        ("5_3", "'5_3' is not a number$"),
        ("5 uM", "'5 uM' is not a number$"),
        ("5-6", "is not a number"),
        ("", "is not a number"),
        (">", "is not a number"),
        ("active", "is not a number"),
        ("nan", "is not a finite number"),
        ("inf", "is not a finite number"),
        ("1e999", "is not a finite number"),
        ("=>5", "qualifier '=>' is not one of"),
        ("<>5", "qualifier '<>' is not one of"),
        ("1.9", r"1\.9 is outside the task's range 2 to 12 -log10\(M\) \(another unit\?\)"),
        ("50", r"50 is outside the task's range 2 to 12 -log10\(M\) \(another unit\?\)"),
        (">-3", "-3 is outside the task's range"),
    ],
)
def test_what_is_no_number_of_this_task_says_why(text, message):
    with pytest.raises(LabelError, match=message):
        parse_label(PIC50, text)


@pytest.mark.parametrize(
    ("text", "sign"),
    [("", 0), ("=", 0), (" == ", 0), ("~", 0), ("'='", 0), (">", 1), (">=", 1), ("'>'", 1),
     ("<", -1), (" <= ", -1), ("<<", -1), ("'<'", -1)],
)  # fmt: skip
def test_qualifier_columns(text, sign):
    assert parse_qualifier(text) == sign


@pytest.mark.parametrize("text", ["?", "more", "=<", "≥"])
def test_unknown_qualifiers_are_refused(text):
    with pytest.raises(LabelError, match="is not one of =, <, <=, >, >=, ~"):
        parse_qualifier(text)


ACTIVE = Task(
    "herg_active", "binary", unit="nM", source="hERG IC50", scale="p", threshold=5.0, low=3.0,
    high=10.0, replicates="max", max_spread=1.0, quorum=25, min_partners=2, weight=0.5,
)  # fmt: skip
STABLE = Task("stable", "binary", unit="uL/min/mg", threshold=10.0, direction="low")
POTENCY = Task(
    "herg", "regression", unit="nM", scale="p", low=3.0, high=10.0, replicates="mean",
    max_spread=0.0, quorum=50, quorum_exact=25,
)  # fmt: skip
VOTED = Task("ames", "binary", replicates="majority", quorum=8)


@pytest.mark.parametrize(
    "task",
    [PLAIN, NAMED, THREE, PIC50, Task("x", "regression"), ACTIVE, STABLE, POTENCY, VOTED],
)
def test_a_task_survives_as_plain_values(task):
    assert Task.from_dict(task.to_dict()) == task


def test_a_task_of_usual_rules_is_written_as_before():
    """Protocol digests of contracts without these rules stay what they were."""
    assert PIC50.to_dict() == {
        "name": "pic50", "kind": "regression", "unit": "-log10(M)", "low": 2.0, "high": 12.0,
    }  # fmt: skip
    assert PLAIN.to_dict() == {"name": "active", "kind": "binary"}
    assert STABLE.to_dict() == {
        "name": "stable", "kind": "binary", "unit": "uL/min/mg", "threshold": 10.0,
        "direction": "low",
    }  # fmt: skip


def test_what_a_task_reads():
    assert [task.reads_numbers for task in (PLAIN, PIC50, ACTIVE)] == [False, True, True]
    assert [task.quantity for task in (PLAIN, ACTIVE)] == ["active", "hERG IC50"]
    assert ACTIVE.bounds == (0.0, 1.0)
    assert parse_label(ACTIVE, ">6") == (6.0, 1)


_CLASS = {"name": "x", "kind": "binary"}
_NUMBER = {"name": "x", "kind": "regression"}
_CUT = {"name": "x", "kind": "binary", "threshold": 6}


def test_outputs_and_bounds_follow_the_kind():
    assert NAMED.outputs == ("bbb",)
    assert THREE.outputs == ("tox.None", "tox.Mild", "tox.Severe")
    assert NAMED.bounds == THREE.bounds == (0.0, 1.0)
    assert PIC50.bounds == (2.0, 12.0)
    assert (PIC50.is_classification, THREE.is_classification) == (False, True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "1x", "kind": "binary"}, "task name '1x'"),
        ({"name": "a b", "kind": "binary"}, "task name 'a b'"),
        ({"name": "x" * 64, "kind": "binary"}, "at most 63"),
        ({"name": "x", "kind": "ordinal"}, "kind 'ordinal' is not one of"),
        ({"name": "x", "kind": "binary", "classes": ["a"]}, r"must be \[negative, positive\]"),
        ({"name": "x", "kind": "multiclass", "classes": ["a", "b"]}, "three or more"),
        ({"name": "x", "kind": "regression", "classes": ["a", "b"]}, "has no classes"),
        ({"name": "x", "kind": "binary", "classes": ["A", " a"]}, "the same name"),
        ({"name": "x", "kind": "regression", "low": 3, "high": 3}, "low must be a number below"),
        (
            {"name": "x", "kind": "regression", "low": float("nan")},
            "low = nan: a finite number is needed",
        ),
        (
            {"name": "x", "kind": "regression", "low": "1"},
            "tasks.x.low = '1': a finite number is needed",
        ),
        (
            {"name": "x", "kind": "regression", "high": True},
            "high = True: a finite number is needed",
        ),
        ({"name": "x", "kind": "regression", "unit": 3}, "unit = 3: text is needed"),
        (
            {"name": "x", "kind": "binary", "classes": "ab"},
            "classes = 'ab': a list of text is needed",
        ),
        (
            {"name": "x", "kind": "binary", "clases": []},
            "tasks.x: unknown key 'clases'; allowed are classes",
        ),
        ({"name": "x"}, "'tasks.x.kind' is missing"),
        ({**_NUMBER, "threshold": 5}, "threshold = 5: only a binary task is made from numbers"),
        ({**_CUT, "threshold": float("nan")}, "threshold = nan: a finite number is needed"),
        ({**_CUT, "threshold": "6"}, "threshold = '6': a finite number is needed"),
        (
            {**_CUT, "low": 3, "high": 6},
            "threshold = 6 is not within its range 3 to 6, so that all",
        ),
        ({**_CUT, "high": 5}, "threshold = 6 is not within its range"),
        ({**_NUMBER, "scale": "ln"}, "scale 'ln' is not one of linear, log10, p"),
        ({**_CUT, "direction": "up"}, "direction 'up' is not one of high, low"),
        ({**_NUMBER, "direction": "low"}, "direction says .* and there is no threshold"),
        ({**_CLASS, "scale": "p"}, "scale is for numbers; this binary task states classes"),
        ({**_CLASS, "unit": "nM"}, "unit is for numbers; this binary task states classes"),
        ({**_CLASS, "low": 0}, "low is for numbers"),
        ({**_CLASS, "high": 1}, "high is for numbers"),
        ({**_CLASS, "max_spread": 1}, "max_spread is for numbers"),
        ({**_NUMBER, "max_spread": -0.1}, "max_spread = -0.1: allowed are 0 or more"),
        (
            {**_NUMBER, "replicates": "majority"},
            "replicates 'majority': of numbers, allowed are median, mean, max, min",
        ),
        ({**_CUT, "replicates": "majority"}, "replicates 'majority': of numbers, allowed are"),
        ({**_CLASS, "replicates": "max"}, "replicates 'max': of classes, allowed are majority"),
        ({**_CLASS, "quorum": 7}, "quorum = 7: a model needs at least 8 of each class; 0 for no"),
        ({**_CLASS, "quorum": -1}, "quorum = -1: a model needs at least 8"),
        ({**_NUMBER, "quorum": 15}, "quorum = 15: a model needs at least 16 numbers"),
        ({**_NUMBER, "quorum": 20.5}, "quorum = 20.5: a whole number is needed"),
        ({**_CLASS, "quorum_exact": 9}, "quorum_exact is for regression tasks"),
        ({**_CUT, "quorum_exact": 9}, "quorum_exact is for regression tasks"),
        ({**_NUMBER, "quorum_exact": 7}, "quorum_exact = 7: a model needs at least 8 exact"),
        ({**_NUMBER, "quorum_exact": 17}, "quorum_exact = 17 is more than the 16 numbers"),
        (
            {**_NUMBER, "quorum": 50, "quorum_exact": 51},
            "quorum_exact = 51 is more than the 50 numbers of the quorum",
        ),
        ({**_CLASS, "min_partners": 0}, "min_partners = 0: allowed are 1 or more"),
        ({**_CLASS, "weight": 0}, "weight = 0: allowed are numbers above 0"),
        ({**_CLASS, "weight": -1}, "weight = -1: allowed are numbers above 0"),
        ({**_CLASS, "source": 3}, "source = 3: text is needed"),
        ({"kind": "binary"}, "'tasks.name' is missing"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Task.from_dict(values)
