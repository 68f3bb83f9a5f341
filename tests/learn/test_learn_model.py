"""What a model says: means over members, spread, classes and the domain that was asked for."""

import numpy as np
import pytest

from fluid.base.errors import FluidError
from fluid.base.jobs import single_threaded_blas
from fluid.chem.similarity import neighbour_similarity
from fluid.learn.estimators import logit, sigmoid
from fluid.learn.model import TaskModel
from fluid.learn.predictions import TaskPrediction, class_label
from fluid.learn.reliability import DOMAIN_NEIGHBOURS


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_predictions_are_means_over_members(library, problems, train, kind):
    task, values = problems[kind]
    model = train(library, task, values, "svm")
    task_model = model.task_models[0]
    found = model.predict(library).by_task[task.name]
    with single_threaded_blas():
        each = np.stack([member.predict(task, library, library) for member in task_model.members])
    np.testing.assert_allclose(found.values, each.mean(axis=0))
    np.testing.assert_allclose(found.uncertainty, each.std(axis=0), atol=1e-12)
    near = neighbour_similarity(library.fingerprints, library.fingerprints, DOMAIN_NEIGHBOURS)
    slopes = [member.reliability(near) for member in task_model.members]
    np.testing.assert_allclose(found.reliability, np.mean(slopes, axis=0))
    np.testing.assert_allclose(found.similarity, near)
    assert found.threshold == 0.4
    assert [one.name for one in model.tasks] == [task.name]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_student_averages_log_odds(library, problems, train, kind):
    task, values = problems[kind]
    made = train(library, task, values, "svm").task_models[0]
    student = TaskModel(task, made.members, True, made.rows, made.domains)
    found = student.predict(library, library, None).values
    each = np.stack([member.predict(task, library, library) for member in made.members])
    if kind == "regression":
        expected = each.mean(axis=0)
    else:
        expected = sigmoid(logit(each).mean(axis=0))
    if kind == "multiclass":
        expected /= expected.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_allclose(found, expected)


def test_a_single_member_has_no_spread(library, problems, train):
    task, values = problems["binary"]
    made = train(library, task, values, "svm").task_models[0]
    alone = TaskModel(task, made.members[:1], False, made.rows, made.domains)
    assert np.isnan(alone.predict(library, library, None).uncertainty).all()


def test_the_domain_asked_for_is_the_one_that_judges(library, problems, train):
    task, values = problems["binary"]
    model = train(library, task, values, "svm")
    by_domain = {
        kind: model.predict(library, kind).by_task[task.name].domain
        for kind in ("reliability", "neighbours", "dictionary", None)
    }
    assert by_domain[None] is None
    assert by_domain["neighbours"].reasons[0].startswith("mean similarity to 5 nearest")
    assert by_domain["dictionary"].reasons[0] == "all Morgan features known"
    assert by_domain["reliability"].reasons[0].startswith("expected correct ")
    allowed = "allowed are reliability, neighbours, dictionary"
    with pytest.raises(FluidError, match=f"domain 'leverage': {allowed}"):
        model.predict(library, "leverage")


def test_classes_follow_the_threshold_or_the_largest_probability(problems):
    nothing = np.full((4, 1), np.nan)
    values = np.array([[0.39], [0.4], [np.nan], [0.9]])
    binary = TaskPrediction(values, nothing, nothing[:, 0], threshold=0.4)
    assert binary.classes(problems["binary"][0]).tolist() == [0, 1, -1, 1]
    values = np.array([[0.2, 0.5, 0.3], [np.nan] * 3, [0.4, 0.3, 0.3]])
    three = TaskPrediction(values, values, values[:, 0])
    assert three.classes(problems["multiclass"][0]).tolist() == [1, -1, 0]


def test_names_of_classes(problems):
    assert class_label(problems["binary"][0], 1) == "1"
    assert class_label(problems["multiclass"][0], 2) == "other"
