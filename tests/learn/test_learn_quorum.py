"""How many labels a model is fitted on: the defaults, and quorums by hand."""

import numpy as np
import pytest

from fluid.learn.quorum import enough_labels, too_few_labels
from fluid.learn.task import Task

TASKS = {
    "binary": Task("class", "binary"),
    "multiclass": Task("three", "multiclass", classes=("a", "b", "c")),
    "regression": Task("number", "regression"),
}


@pytest.mark.parametrize(
    ("kind", "values", "share", "enough"),
    [
        ("binary", [0] * 8 + [1] * 8, 1.0, True),
        ("binary", [0] * 90 + [1] * 7, 1.0, False),
        ("binary", [0] * 4 + [1] * 4, 0.5, True),
        ("binary", [0] * 4 + [1] * 3, 0.5, False),
        ("binary", [1] * 50, 1.0, False),
        ("multiclass", [0] * 8 + [1] * 8 + [2] * 8, 1.0, True),
        ("multiclass", [0] * 8 + [1] * 8, 1.0, False),
        ("regression", [1.5] * 16, 1.0, True),
        ("regression", [1.5] * 15, 1.0, False),
        ("regression", [1.5] * 8, 0.5, True),
        ("binary", [], 1.0, False),
    ],
)
def test_how_many_labels_are_enough(kind, values, share, enough):
    task = TASKS[kind]
    assert enough_labels(task, np.array(values, dtype=np.float64), share) == enough


ACTIVE = Task("herg", "binary", quorum=25)
POTENCY = Task("pic50", "regression", quorum=50, quorum_exact=25)


@pytest.mark.parametrize(
    ("negative", "positive", "share", "enough"),
    [
        (25, 25, 1.0, True),
        (24, 500, 1.0, False),
        (500, 24, 1.0, False),
        # Inner models lack two folds: half of 25, so 13.
        (13, 13, 0.5, True),
        (12, 13, 0.5, False),
    ],
)
def test_a_quorum_of_each_class(negative, positive, share, enough):
    values = np.repeat([0.0, 1.0], [negative, positive])
    assert enough_labels(ACTIVE, values, share) == enough


@pytest.mark.parametrize(
    ("exact", "below", "above", "share", "enough"),
    [
        (25, 20, 5, 1.0, True),
        (50, 0, 0, 1.0, True),
        (49, 0, 0, 1.0, False),
        (24, 26, 30, 1.0, False),
        (13, 12, 0, 0.5, True),
        (12, 20, 0, 0.5, False),
    ],
)
def test_a_quorum_of_numbers_of_which_some_are_exact(exact, below, above, share, enough):
    signs = np.repeat([0, -1, 1], [exact, below, above]).astype(np.int8)
    assert enough_labels(POTENCY, np.full(len(signs), 6.0), share, signs) == enough


def test_bounds_alone_are_never_enough():
    values, signs = np.full(500, 5.0), np.ones(500, dtype=np.int8)
    assert not enough_labels(TASKS["regression"], values, 1.0, signs)
    signs[:8] = 0
    assert enough_labels(TASKS["regression"], values, 1.0, signs)


def test_what_is_missing_is_said():
    few = np.repeat([0.0, 1.0], [60, 7])
    assert too_few_labels(TASKS["binary"], few) == (
        "60 + 7 compounds by class, about 10 or more of each are needed"
    )
    assert too_few_labels(ACTIVE, few) == (
        "60 + 7 compounds by class; the quorum is 25 of each in the folds that a model is fitted on"
    )
    signs = np.repeat([0, 1], [9, 3]).astype(np.int8)
    assert too_few_labels(POTENCY, np.zeros(12), signs) == (
        "12 labelled compounds (9 of them exact); the quorum is 50 and 25 exact ones in the folds "
        "that a model is fitted on"
    )
    assert too_few_labels(TASKS["regression"], np.zeros(12), signs) == (
        "12 labelled compounds (9 of them exact), about 20 or more (10 exact) are needed"
    )
    assert "one class only (5 + 0 compounds)" in too_few_labels(ACTIVE, np.zeros(5))
