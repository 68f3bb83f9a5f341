"""The guarantee: a compound's label is exactly the same whether or not it was trained on."""

import numpy as np
import pytest

from fluid.chem.compounds import concatenate
from fluid.learn.estimators import LEARNERS
from fluid.learn.folds import keyed_folds
from fluid.learn.own_fold import OwnFoldLabels, folds_of_repeats, label_own_fold
from fluid.learn.task import Task
from tests.learn.learners import marked

FOLDS = 3
REPEATS = 2
SECRET = bytes(range(32))
MEMBERS = (3, 77, 140)
FIELDS = ("prediction", "uncertainty", "reliability", "similarity")


def label(train, library, task, values, learner, queries, rows=None, jobs=1, repeats=REPEATS):
    """Train on the library and label the queries, as a partner does."""
    model = train(library, task, values, learner, repeats, rows, jobs).task_models[0]
    library_folds = folds_of_repeats(library, SECRET, repeats, FOLDS)
    query_folds = folds_of_repeats(queries, SECRET, repeats, FOLDS)
    return label_own_fold(model, library, library_folds, queries, query_folds, jobs)


def row_of(labels: OwnFoldLabels, row: int) -> list[list[float]]:
    return [np.atleast_1d(getattr(labels, field)[row]).tolist() for field in FIELDS]


def without_partner(library, values, member):
    keep = np.arange(len(library)) != member
    return library.take(keep), values[keep]


@pytest.fixture(scope="module")
def public(library):
    """Half of what is labelled is private too; the members of the tests are among it."""
    return library.take(np.union1d(np.arange(0, 160, 2), MEMBERS))


def where(public, library, member):
    return public.inchikeys.tolist().index(library.inchikeys[member])


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("learner", ["svm", "lightgbm"])
def test_the_label_of_a_compound_is_exactly_the_same_with_and_without_it(
    library, problems, train, public, kind, learner
):
    task, values = problems[kind]
    everything = label(train, library, task, values, learner, public)
    assert np.isfinite(everything.prediction).all()
    assert np.isfinite(everything.uncertainty).all()
    for member in MEMBERS:
        fewer, fewer_values = without_partner(library, values, member)
        deprived = label(train, fewer, task, fewer_values, learner, public)
        row = where(public, library, member)
        assert row_of(deprived, row) == row_of(everything, row)
        # The compound does have a say in the labels of others, or this would prove nothing.
        assert not np.array_equal(deprived.prediction, everything.prediction)


@pytest.mark.parametrize(
    "learner", marked(["logistic", "random-forest", "average", "multitask", "auto"])
)
def test_the_same_holds_for_every_other_learner(library, problems, train, public, learner):
    task, values = problems["binary"]
    everything = label(train, library, task, values, learner, public, repeats=1)
    (member, *_) = MEMBERS
    fewer, fewer_values = without_partner(library, values, member)
    deprived = label(train, fewer, task, fewer_values, learner, public, repeats=1)
    row = where(public, library, member)
    assert deprived.prediction[row].tolist() == everything.prediction[row].tolist()
    assert deprived.reliability[row] == everything.reliability[row]
    assert not np.array_equal(deprived.prediction, everything.prediction)
    assert learner in LEARNERS or learner == "auto"


def test_the_same_holds_for_three_classes(library, problems, train, public):
    task, values = problems["multiclass"]
    everything = label(train, library, task, values, "svm", public, repeats=1)
    for member in MEMBERS:
        fewer, fewer_values = without_partner(library, values, member)
        deprived = label(train, fewer, task, fewer_values, "svm", public, repeats=1)
        row = where(public, library, member)
        assert deprived.prediction[row].tolist() == everything.prediction[row].tolist()
        assert deprived.reliability[row] == everything.reliability[row]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("learner", ["svm", "logistic"])
def test_the_model_of_a_compounds_fold_is_the_same_to_the_last_bit(
    library, problems, train, kind, learner
):
    """What is exported is rounded and averaged; this looks at what it is computed from."""
    task, values = problems[kind]
    folds = keyed_folds(library.connectivities, SECRET, 0, FOLDS)
    everything = train(library, task, values, learner).task_models[0].members
    for member in range(0, 160, 32):
        fewer, fewer_values = without_partner(library, values, member)
        deprived = train(fewer, task, fewer_values, learner).task_models[0].members
        expected, found = (
            next(one for one in members if one.fold == folds[member])
            for members in (everything, deprived)
        )
        assert found.calibrations == expected.calibrations
        assert found.reliability == expected.reliability
        for left, right in zip(found.estimators, expected.estimators, strict=True):
            assert left.intercept_ == right.intercept_
            for name in ("weights", "coefficients", "mean", "scale"):
                arrays = (one.to_state().arrays.get(name, np.zeros(0)) for one in (left, right))
                assert np.array_equal(*arrays), name


@pytest.mark.parametrize("member", MEMBERS)
def test_neither_its_own_label_nor_how_often_it_was_measured_matters(
    library, problems, train, public, member
):
    task, values = problems["binary"]
    row = where(public, library, member)
    expected = row_of(label(train, library, task, values, "svm", public), row)
    flipped = values.copy()
    flipped[member] = 1.0 - flipped[member]
    assert row_of(label(train, library, task, flipped, "svm", public), row) == expected
    # A twin of the same connectivity, as stereoisomers and salts are, shares its fold.
    twice = concatenate([library, library.take(np.array([member]))])
    twice_values = np.append(values, 1.0 - values[member])
    assert row_of(label(train, twice, task, twice_values, "svm", public), row) == expected


def test_a_label_for_another_task_does_not_matter(library, problems, train, public):
    """The compound stays in the library, but is not measured for this task."""
    task, values = problems["regression"]
    member = MEMBERS[1]
    row = where(public, library, member)
    expected = row_of(label(train, library, task, values, "svm", public), row)
    rows = np.delete(np.arange(len(library)), member)
    found = label(train, library, task, values[rows], "svm", public, rows=rows)
    assert row_of(found, row) == expected


def test_it_holds_where_the_compound_decides_whether_other_folds_have_a_model(
    library, train, public
):
    task = Task("rare", "binary")
    folds = keyed_folds(library.connectivities, SECRET, 0, FOLDS)
    values = np.zeros(len(library))
    for fold in range(FOLDS):
        values[np.flatnonzero(folds == fold)[:4]] = 1.0
    # Four positives a fold: every fold model sees eight, which is the least it needs.
    member = int(np.flatnonzero((folds == 0) & (values == 1.0))[0])
    queries = concatenate([public, library.take(np.array([member]))])
    row = len(queries) - 1
    everything = label(train, library, task, values, "svm", queries, repeats=1)
    fewer, fewer_values = without_partner(library, values, member)
    deprived = label(train, fewer, task, fewer_values, "svm", queries, repeats=1)
    assert np.isfinite(everything.prediction).all()
    query_folds = keyed_folds(queries.connectivities, SECRET, 0, FOLDS)
    assert np.array_equal(np.isfinite(deprived.prediction[:, 0]), query_folds == 0)
    assert np.array_equal(np.isfinite(deprived.reliability), query_folds == 0)
    assert deprived.prediction[row, 0] == everything.prediction[row, 0]
    assert deprived.reliability[row] == everything.reliability[row]
    assert deprived.similarity[row] == everything.similarity[row]


def test_predicting_with_all_models_has_no_such_guarantee(library, problems, train, public):
    task, values = problems["binary"]
    member = MEMBERS[1]
    fewer, fewer_values = without_partner(library, values, member)
    row = where(public, library, member)
    with_it, without_it = (
        train(compounds, task, labels, "svm", REPEATS).predict(public).by_task[task.name]
        for compounds, labels in ((library, values), (fewer, fewer_values))
    )
    assert with_it.values[row, 0] != without_it.values[row, 0]
    assert with_it.reliability[row] > without_it.reliability[row]


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("learner", ["svm", "lightgbm"])
def test_the_number_of_jobs_changes_no_label(library, problems, train, public, kind, learner):
    task, values = problems[kind]
    one = label(train, library, task, values, learner, public, jobs=1)
    two = label(train, library, task, values, learner, public, jobs=2)
    for field in FIELDS:
        assert np.array_equal(getattr(one, field), getattr(two, field)), field


def test_labels_are_means_and_spreads_over_repeats(library, problems, train, public):
    task, values = problems["binary"]
    model = train(library, task, values, "svm", REPEATS).task_models[0]
    library_folds = folds_of_repeats(library, SECRET, REPEATS, FOLDS)
    folds = folds_of_repeats(public, SECRET, REPEATS, FOLDS)
    found = label_own_fold(model, library, library_folds, public, folds)
    for row in range(0, len(public), 9):
        query = public.take(np.array([row]))
        own = [m for m in model.members if folds[m.repeat, row] == m.fold]
        assert [member.repeat for member in own] == [0, 1]
        each = [float(member.predict(task, query, library)[0, 0]) for member in own]
        assert found.prediction[row, 0] == pytest.approx(np.mean(each), rel=1e-5)
        assert found.uncertainty[row, 0] == pytest.approx(np.std(each), rel=1e-3, abs=1e-6)


def test_the_compound_itself_is_no_neighbour_of_its_own(library, problems, train, public):
    task, values = problems["binary"]
    found = label(train, library, task, values, "svm", public)
    assert found.similarity.max() < 1.0
    assert found.reliability.min() >= 0.0
    assert found.reliability.max() <= 1.0


def test_with_one_repeat_there_is_no_uncertainty(library, problems, train, public):
    task, values = problems["regression"]
    found = label(train, library, task, values, "svm", public, repeats=1)
    assert np.isfinite(found.prediction).all()
    assert np.isnan(found.uncertainty).all()


def test_nothing_to_label_gives_nothing(library, problems, train):
    task, values = problems["binary"]
    nothing = library.take(np.zeros(0, dtype=np.int64))
    found = label(train, library, task, values, "lightgbm", nothing, repeats=1)
    assert found.prediction.shape == (0, 1)
    assert found.reliability.shape == (0,)
