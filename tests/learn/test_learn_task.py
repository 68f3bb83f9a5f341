"""Tasks that make sense."""

import pytest

from fluid.learn.task import Task

PLAIN = Task("active", "binary")
NAMED = Task("bbb", "binary", classes=("BBB-", "BBB+"))
THREE = Task("tox", "multiclass", classes=("None", "Mild", "Severe"))
PIC50 = Task("pic50", "regression", unit="-log10(M)", low=2.0, high=12.0)


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
            "replicates 'majority': for numbers, allowed are median, mean, max, min",
        ),
        ({**_CUT, "replicates": "majority"}, "replicates 'majority': for numbers, allowed are"),
        ({**_CLASS, "replicates": "max"}, "replicates 'max': for classes, allowed are majority"),
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
