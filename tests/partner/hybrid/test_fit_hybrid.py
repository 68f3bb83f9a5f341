"""A hybrid in memory: no compound judges itself, and the student's caution is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluid.base.run import Run
from fluid.exchange.federated_set import open_federated
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.estimators import Mixture
from fluid.learn.hybrid_model import BLEND_FACTORS, CORRECTED_FACTORS, reference_similarity
from fluid.learn.model import TrainedModel
from fluid.partner.hybrid.fit import FittedHybrid, fit_hybrid
from fluid.partner.hybrid.private_model import HybridOptions, hybrid_folds
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.soft_labels.pooled import PooledSet
from tests.conftest import Consortium

OPTIONS = HybridOptions(folds=3, repeats=1)


@pytest.fixture(scope="module")
def table(consortium: Consortium) -> LabelledCompounds:
    federation = consortium.federation
    return read_labelled([consortium.table("aurora")], federation.tasks, federation.chemistry)


@pytest.fixture(scope="module")
def pooled(consortium: Consortium) -> PooledSet:
    federated = open_federated(consortium.folder / "round1" / "federated.parquet")
    return PooledSet(*federated.load())


def fit(
    consortium: Consortium,
    table: LabelledCompounds,
    pooled: PooledSet,
    later: TrainedModel | None = None,
) -> FittedHybrid:
    return fit_hybrid(
        table,
        pooled,
        consortium.round.student,
        consortium.federation,
        "aurora",
        options=OPTIONS,
        later_student=later,
        run=Run(jobs=1),
    )


@pytest.fixture(scope="module")
def fitted(consortium: Consortium, table: LabelledCompounds, pooled: PooledSet) -> FittedHybrid:
    return fit(consortium, table, pooled)


def test_the_measured_values_of_a_fold_do_not_reach_its_own_members(
    consortium: Consortium, table: LabelledCompounds, pooled: PooledSet, fitted: FittedHybrid
) -> None:
    """In regression the peers' targets are put on a line, which the other folds alone decide."""
    task = next(task for task in fitted.model.own.tasks if not task.is_classification)
    index = consortium.federation.task_index(task.name)
    folds = hybrid_folds(table.compounds, OPTIONS)[0]
    labels = table.labels
    moved = (labels.tasks == index) & (folds[labels.rows] == 0)
    assert moved.any()
    values = np.where(moved, labels.values + 1.0, labels.values)
    changed = replace(table, labels=replace(labels, values=values))
    models = [
        next(model for model in one.model.own.task_models if model.task == task)
        for one in (fitted, fit(consortium, changed, pooled))
    ]
    library = fitted.model.own.library
    for fold in range(3):
        scores = []
        for model in models:
            (estimator,) = model.members[fold].estimators
            assert isinstance(estimator, Mixture)
            scores.append(estimator.members_["joint"].score(table.compounds, library))
        assert np.array_equal(*scores) == (fold == 0)


def test_a_hybrid_is_as_strict_as_its_student(
    consortium: Consortium, table: LabelledCompounds, pooled: PooledSet, fitted: FittedHybrid
) -> None:
    student = consortium.round.student
    (model,) = [model for model in student.task_models if model.task.name == "bbb"]
    cautious = ReliabilityDomain(0.02)
    cautious.threshold_ = 0.97
    cautious.knots_, cautious.correct_ = np.array([0.0, 1.0]), np.array([0.5, 0.6])
    strict = replace(model, domains=model.domains | {cautious.kind: cautious})
    others = [one for one in student.task_models if one.task.name != "bbb"]
    later = replace(student, task_models=[strict, *others])
    domain = fit(consortium, table, pooled, later).model.decisions["bbb"].domain
    assert domain is not None
    assert domain.threshold_ >= 0.97
    assert domain.stated_error == 0.02
    assert domain.expected(np.array([1.0])) <= 0.6
    assert fitted.model.decisions["bbb"].domain is not None


def test_similarity_is_that_to_the_nearer_side(
    consortium: Consortium, table: LabelledCompounds, fitted: FittedHybrid
) -> None:
    student = consortium.round.student
    for model in student.task_models:
        if model.task.name not in fitted.measured:
            continue
        rows, _ = table.labels.column(consortium.federation.task_index(model.task.name))
        near = reference_similarity(model, student.library, table.compounds.take(rows))
        found = fitted.measured[model.task.name].similarity
        assert (found >= near).all()
        assert (found > near).any()
        assert (found == near).any()


def test_only_the_residuals_of_a_later_student_give_it_more_weight_elsewhere(
    consortium: Consortium, table: LabelledCompounds, pooled: PooledSet, fitted: FittedHybrid
) -> None:
    later = fit(consortium, table, pooled, consortium.round.student)
    for task in fitted.model.own.tasks:
        first, second = (one.model.decisions[task.name].blend_weight for one in (fitted, later))
        assert first.elsewhere == BLEND_FACTORS[0]
        wanted = BLEND_FACTORS if task.is_classification else CORRECTED_FACTORS
        assert second.elsewhere == wanted[0]


def test_an_out_of_fold_prediction_is_calibrated_like_the_hybrid(fitted: FittedHybrid) -> None:
    measured, decision = fitted.measured["bbb"], fitted.model.decisions["bbb"]
    called = (measured.values[:, 0] >= decision.threshold).mean()
    assert called == pytest.approx(measured.truth.mean(), abs=0.03)
