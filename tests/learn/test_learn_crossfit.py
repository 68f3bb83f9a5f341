"""Cross-fitting learns real chemistry, and no fold model has seen anything of its fold."""

import numpy as np
import pytest
import threadpoolctl
from sklearn.metrics import r2_score, roc_auc_score

from fluid.chem.similarity import neighbour_similarity
from fluid.learn import crossfit
from fluid.learn.calibration import Platt, fit_platt
from fluid.learn.crossfit import (
    CrossFitting,
    LabelledTask,
    calibrated,
    cross_fit,
    output_targets,
)
from fluid.learn.estimators import LEARNERS
from fluid.learn.own_fold import folds_of_repeats, label_own_fold
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, fit_reliability
from fluid.learn.task import Task
from tests.learn.learners import marked

FOLDS = 3
SECRET = bytes(range(32))


def run(library, task, values, learner, repeats=1, rows=None, n_folds=FOLDS, jobs=1):
    rows = np.arange(len(library)) if rows is None else rows
    folds = folds_of_repeats(library, SECRET, repeats, n_folds)
    labelled = LabelledTask(library, task, rows, values)
    return cross_fit(labelled, folds, CrossFitting(n_folds, learner, 7), jobs), folds


@pytest.mark.parametrize(
    "learner", marked(["svm", "lightgbm", "random-forest", "logistic", "multitask", "auto"])
)
def test_ring_nitrogen_is_learned_out_of_fold(library, problems, learner):
    task, values = problems["binary"]
    fitted, _ = run(library, task, values, learner, repeats=2)
    assert len(fitted.models) == 2 * FOLDS
    assert roc_auc_score(values, fitted.predictions[:, 0]) > 0.85
    assert np.mean((fitted.predictions[:, 0] - values) ** 2) < 0.18


@pytest.mark.parametrize("learner", ["svm", "lightgbm", "random-forest"])
def test_a_number_is_learned_out_of_fold(library, problems, learner):
    task, values = problems["regression"]
    fitted, _ = run(library, task, values, learner, repeats=2)
    assert r2_score(values, fitted.predictions[:, 0]) > 0.5


@pytest.mark.parametrize("learner", ["svm", "lightgbm"])
def test_three_classes_are_learned_out_of_fold(library, problems, learner):
    task, values = problems["multiclass"]
    fitted, _ = run(library, task, values, learner)
    assert fitted.predictions.shape == (len(library), 3)
    np.testing.assert_allclose(fitted.predictions.sum(axis=1), 1.0, atol=1e-9)
    for index in range(3):
        assert roc_auc_score(values == index, fitted.predictions[:, index]) > 0.85


def test_labels_at_random_are_not_learned(library):
    values = np.random.default_rng(5).permutation(np.repeat([0.0, 1.0], 80))
    fitted, _ = run(library, Task("noise", "binary"), values, "svm", repeats=2)
    assert 0.3 < roc_auc_score(values, fitted.predictions[:, 0]) < 0.7
    assert np.mean([model.reliability.slope for model in fitted.models]) < 0.7


def test_no_fold_model_holds_a_compound_of_its_fold(library, problems):
    task, values = problems["binary"]
    fitted, folds = run(library, task, values, "svm", repeats=2)
    for model in fitted.models:
        seen = model.estimators[0].rows_
        assert len(seen)
        assert not np.any(folds[model.repeat][seen] == model.fold)


def test_a_fold_model_is_fitted_on_the_other_folds_and_calibrated_by_inner_models(
    library, problems
):
    """The whole of one fold model done again by hand, the slow way."""
    task, values = problems["binary"]
    fitted, folds = run(library, task, values, "logistic")
    model = next(model for model in fitted.models if model.fold == 1)
    others = np.flatnonzero(folds[0] != 1)
    outer = LEARNERS["logistic"]().fit(library, others, values[others], True, 0)
    np.testing.assert_allclose(
        model.estimators[0].score(library, library), outer.score(library, library), atol=1e-9
    )
    score, near = np.full(len(library), np.nan), np.full(len(library), np.nan)
    for left_out, kept in ((0, 2), (2, 0)):
        held, inside = np.flatnonzero(folds[0] == left_out), np.flatnonzero(folds[0] == kept)
        inner = LEARNERS["logistic"]().fit(library, inside, values[inside], True, 0)
        score[held] = inner.score(library.take(held), library)
        packed = library.fingerprints
        near[held] = neighbour_similarity(packed[held], packed[inside], DOMAIN_NEIGHBOURS)
    platt = fit_platt(score[others], values[others])
    assert model.calibrations[0].slope == pytest.approx(platt.slope, rel=1e-6)
    assert model.calibrations[0].intercept == pytest.approx(platt.intercept, abs=1e-6)
    error = (platt(score[others]) - values[others]) ** 2
    expected = fit_reliability(near[others], error, float(values[others].var()))
    assert model.reliability.slope == pytest.approx(expected.slope, rel=1e-6)
    mine = folds[0] == 1
    by_hand = platt(outer.score(library.take(mine), library))
    np.testing.assert_allclose(fitted.predictions[mine, 0], by_hand, atol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_out_of_fold_predictions_are_the_own_fold_labels_of_members(library, problems, train, kind):
    task, values = problems[kind]
    model = train(library, task, values, "svm", repeats=2)
    fitted, folds = run(library, task, values, "svm", repeats=2)
    labels = label_own_fold(model.task_models[0], library, folds, library, folds)
    np.testing.assert_allclose(labels.prediction, fitted.predictions, rtol=1e-9)


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("learner", ["svm", "lightgbm"])
def test_the_number_of_jobs_changes_nothing(library, problems, kind, learner):
    task, values = problems[kind]
    one, _ = run(library, task, values, learner, jobs=1)
    two, _ = run(library, task, values, learner, jobs=2)
    assert np.array_equal(one.predictions, two.predictions)
    for left, right in zip(one.models, two.models, strict=True):
        assert (left.repeat, left.fold) == (right.repeat, right.fold)
        assert left.calibrations == right.calibrations
        assert left.reliability == right.reliability


def test_calibration_uses_one_blas_thread_whatever_the_number_of_cores(
    library, problems, monkeypatch
):
    """With two, the last bits of a sum over many compounds would be others."""
    task, values = problems["binary"]
    found = []

    def watched(score, target):
        found.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info())
        return fit_platt(score, target)

    monkeypatch.setattr(crossfit, "fit_platt", watched)
    with threadpoolctl.threadpool_limits(limits=2):
        run(library, task, values, "svm")
    assert set(found) == {1}


def test_compounds_without_a_label_take_no_part(library, problems):
    task, values = problems["binary"]
    labelled = np.flatnonzero(np.arange(len(library)) % 4)
    fitted, _ = run(library, task, values[labelled], "svm", rows=labelled)
    assert np.array_equal(fitted.rows, labelled)
    assert fitted.predictions.shape == (len(labelled), 1)
    for model in fitted.models:
        assert set(model.estimators[0].rows_) <= set(labelled)
    alone = library.take(labelled)
    by_itself, _ = run(alone, task, values[labelled], "svm")
    assert np.array_equal(by_itself.predictions, fitted.predictions)


def test_regression_is_clipped_to_the_range_of_the_task(library, problems):
    _, values = problems["regression"]
    task = Task("size", "regression", low=8.0, high=10.0)
    fitted, _ = run(library, task, np.clip(values, 8, 10), "svm")
    assert fitted.predictions.min() >= 8.0
    assert fitted.predictions.max() <= 10.0


def test_folds_that_the_others_cannot_serve_have_no_model_and_no_prediction(library):
    """Eight positives in the other folds are needed: fold 0 keeps nine, fold 1 and 2 have fewer."""
    folds = folds_of_repeats(library, SECRET, 1, FOLDS)[0]
    values = np.zeros(len(library))
    for fold, positives in ((0, 4), (1, 5), (2, 4)):
        values[np.flatnonzero(folds == fold)[:positives]] = 1.0
    for fewer in range(2):
        values[np.flatnonzero(folds == 2)[fewer]] = 0.0
    # Positives by fold are now 4, 5, 2: the others of folds 0, 1, 2 hold 7, 6 and 9.
    fitted, _ = run(library, Task("rare", "binary"), values, "svm")
    assert [model.fold for model in fitted.models] == [2]
    assert np.array_equal(np.isfinite(fitted.predictions[:, 0]), folds == 2)


def test_too_few_labels_give_no_model(library):
    task = Task("few", "binary")
    few = np.arange(10)
    fitted, _ = run(library, task, np.arange(10) % 2.0, "svm", rows=few)
    assert fitted.models == []
    assert np.isnan(fitted.predictions).all()
    constant, _ = run(library, task, np.ones(len(library)), "svm")
    assert constant.models == []


def test_targets_and_calibrated_outputs_by_hand(problems):
    task = problems["multiclass"][0]
    assert output_targets(task, np.array([2.0, 0.0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert output_targets(problems["binary"][0], np.array([1.0])).tolist() == [[1.0]]

    def double(score):
        return score * 2

    scores = [np.array([0.1]), np.array([0.2]), np.array([0.1])]
    found = calibrated(task, scores, [double] * 3)
    np.testing.assert_allclose(found, [[0.25, 0.5, 0.25]])


def test_with_few_labels_a_fold_model_is_still_calibrated(library):
    """Inner models leave out two folds, and half the labels suffice for them."""
    folds = folds_of_repeats(library, SECRET, 1, FOLDS)
    active = np.concatenate([np.flatnonzero(folds[0] == fold)[:4] for fold in range(FOLDS)])
    values = np.zeros(len(library))
    values[active] = 1.0
    fitted, _ = run(library, Task("rare", "binary"), values, "logistic")
    assert len(fitted.models) == FOLDS
    assert all(model.calibrations != [Platt()] for model in fitted.models)
