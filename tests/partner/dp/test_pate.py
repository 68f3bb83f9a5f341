"""Sub-teachers are disjoint to the bit, and one record moves one vote."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.run import Run
from fluid.chem.scaffolds import framework_keys
from fluid.exchange.federation import Federation
from fluid.exchange.noise_mechanism import Mechanism
from fluid.learn.model import TrainedModel
from fluid.learn.task import Task
from fluid.partner.dp.pate import (
    ABSTAINS,
    GRID,
    SubTeachers,
    confident_gnmax,
    count_votes,
    fit_sub_teachers,
    noisy_means,
    sub_teacher_of,
)
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.partner.teacher.fit import TrainingOptions, fit_model
from tests.conftest import SECRET, Consortium

KEY = bytes.fromhex(SECRET)
NUMBER = 4
BBB = Task("bbb", "binary")
KIND = Task("kind", "multiclass", classes=("a", "b", "c"))
# So little noise that it is none.
SILENT = Mechanism("pate", epsilon=1.0, sub_teachers=10, sigma=0.1, check_sigma=0.1, threshold=0.6)


@pytest.fixture(scope="module")
def table(consortium: Consortium) -> LabelledCompounds:
    federation = consortium.federation
    return read_labelled(
        [consortium.table("aurora")], federation.tasks, federation.chemistry, jobs=1
    )


def _train(table: LabelledCompounds, federation: Federation, home: TrainedModel) -> TrainedModel:
    mechanism = replace(SILENT, sub_teachers=NUMBER, clip=(("logbb", -4.0, 4.0),))
    return fit_sub_teachers(table, home, replace(federation, mechanism=mechanism), KEY)


def test_a_record_moves_the_vote_of_one_sub_teacher_and_none_of_its_own(
    consortium: Consortium, table: LabelledCompounds
) -> None:
    federation = consortium.federation
    options = TrainingOptions("svm", folds=3, repeats=1)
    home = fit_model(table, federation, "aurora", KEY, options=options, run=Run(jobs=1)).model
    labels = table.labels
    # The label of one compound is turned round.
    place = int(np.flatnonzero(labels.tasks == 0)[5])
    row = int(labels.rows[place])
    values = labels.values.copy()
    values[place] = 1.0 - values[place]
    changed = replace(table, labels=replace(labels, values=values))
    public = next(iter(consortium.public.chunks()))
    queries = public.take(np.arange(60))
    own = sub_teacher_of(table.compounds, KEY, NUMBER)
    owner = sub_teacher_of(queries, KEY, NUMBER)
    predictions = []
    for one in (table, changed):
        model = _train(one, federation, home)
        bbb = model.task_models[0]
        assert {member.fold for member in bbb.members} <= set(range(NUMBER))
        for member in bbb.members:
            # Every compound that a sub-teacher knows is its own.
            assert (own[member.estimators[0].rows_] == member.fold).all()  # type: ignore[attr-defined]
        predictions.append(SubTeachers(model, KEY).predict(queries)["bbb"])
    one, other = predictions
    differs = ~((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=(0, 2))
    assert np.flatnonzero(differs).tolist() == [int(own[row])]
    # Nothing at all changes for compounds of its own sub-teacher.
    assert np.isnan(predictions[0][np.arange(60), owner]).all()
    moved = count_votes(bbb.task, predictions[0]) - count_votes(bbb.task, predictions[1])
    assert np.abs(moved).max() <= 1


def test_the_division_does_not_depend_on_the_other_compounds(table: LabelledCompounds) -> None:
    whole = sub_teacher_of(table.compounds, KEY, NUMBER)
    part = sub_teacher_of(table.compounds.take(np.arange(0, 100, 3)), KEY, NUMBER)
    assert (whole[:100:3] == part).all()
    assert set(whole.tolist()) == set(range(NUMBER))
    assert (sub_teacher_of(table.compounds, bytes(32), NUMBER) != whole).any()


def test_by_framework_a_series_votes_together_and_not_on_itself(
    consortium: Consortium, table: LabelledCompounds
) -> None:
    federation = consortium.federation
    options = TrainingOptions("logistic", folds=3, repeats=1, folds_by="framework")
    keys = framework_keys(table.compounds)
    series = Counter(keys.tolist()).most_common(1)[0][0]
    less = table.take(np.flatnonzero(keys != series))
    assert len(less.compounds) < len(table.compounds) - 5
    queries = table.compounds.take(np.flatnonzero(keys == series))
    predictions = []
    for one in (table, less):
        home = fit_model(one, federation, "aurora", KEY, options=options, run=Run(jobs=1)).model
        voters = SubTeachers(_train(one, federation, home), KEY)
        assert voters.model.card.folds_by == "framework"
        predictions.append(voters.predict(queries)["bbb"])
    assert len(set(sub_teacher_of(queries, KEY, NUMBER, "framework").tolist())) == 1
    assert np.isfinite(predictions[0]).any()
    np.testing.assert_array_equal(predictions[0], predictions[1])


@given(st.lists(st.integers(0, 3), min_size=4, max_size=12), st.integers(0, 11), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_one_vote_moves_two_counts_by_one_at_most(votes: list[int], who: int, other: int) -> None:
    def predictions(choices: list[int]) -> np.ndarray:
        rows = np.full((1, len(choices), 3), np.nan)
        for position, choice in enumerate(choices):
            if choice < 3:
                rows[0, position] = np.eye(3)[choice]
        return rows

    changed = list(votes)
    changed[who % len(votes)] = other
    before, after = count_votes(KIND, predictions(votes)), count_votes(KIND, predictions(changed))
    assert np.abs(before - after).max() <= 1
    assert np.abs(before - after).sum() <= 2
    assert abs(int(before.max()) - int(after.max())) <= 1


def test_votes_are_counted_by_class() -> None:
    predictions = np.array([[[0.2], [0.5], [0.9], [np.nan]], [[np.nan]] * 4])
    assert count_votes(BBB, predictions).tolist() == [[1, 2], [0, 0]]


def test_answers_are_those_of_the_majority_if_it_is_large_enough() -> None:
    votes = np.array([[9, 0], [1, 8], [5, 4], [0, 9], [9, 0]])
    assert confident_gnmax(votes, 9, SILENT, 5).tolist() == [0, 1, ABSTAINS, 1, 0]
    assert confident_gnmax(votes, 9, SILENT, 2).tolist() == [0, 1] + [ABSTAINS] * 3
    every = replace(SILENT, threshold=0.0)
    assert confident_gnmax(votes, 9, every, 5).tolist() == [0, 1, 0, 1, 0]
    assert confident_gnmax(votes, 9, every, 0).tolist() == [ABSTAINS] * 5


def test_noisy_means_have_the_noise_that_is_paid_for() -> None:
    totals = np.full(3000, 10 * GRID)
    means = noisy_means(totals, 20, Fraction(4))
    assert means.mean() == pytest.approx(GRID / 2, abs=4 * GRID / 20 / 3000**0.5 * 5)
    assert means.std() == pytest.approx(4 * GRID / 20, rel=0.08)
