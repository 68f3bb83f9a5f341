"""A hybrid blends a partner's own model and the student by whose chemistry is nearer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.learn.calibration import Platt
from fluid.learn.correctness import ReliabilityDomain, sureness
from fluid.learn.estimators import logit, sigmoid
from fluid.learn.hybrid_model import Decision, HybridModel, blend, blend_share, reference_similarity
from fluid.learn.model import Card, TrainedModel
from fluid.learn.task import Task

BINARY = Task("b", "binary")
NUMBER = Task("n", "regression")
THREE = Task("t", "multiclass", classes=("x", "y", "z"))
SIMILARITY = st.floats(0.0, 1.0)


@settings(deadline=None)
@given(SIMILARITY, SIMILARITY, SIMILARITY)
def test_the_nearer_the_own_compounds_the_larger_their_share(a, b, other):
    low, high = sorted((a, b))
    shares = blend_share(np.array([low, high]), np.array([other, other]))
    assert 0.0 < shares[0] <= shares[1] < 1.0
    shares = blend_share(np.array([other, other]), np.array([low, high]))
    assert shares[0] >= shares[1]


def test_only_the_ratio_of_similarities_counts():
    near = blend_share(np.array([0.8, 0.4]), np.array([0.4, 0.2]))
    assert near[0] == pytest.approx(near[1])
    assert near[0] > 0.95
    assert blend_share(np.array([0.2]), np.array([0.8]))[0] < 0.05


def test_blending_is_between_the_two():
    own, student = np.array([[0.9], [0.2]]), np.array([[0.1], [0.2]])
    assert blend(BINARY, own, student, np.ones(2)).ravel() == pytest.approx([0.9, 0.2])
    assert blend(BINARY, own, student, np.zeros(2)).ravel() == pytest.approx([0.1, 0.2])
    assert blend(BINARY, own, student, np.full(2, 0.5)).ravel() == pytest.approx([0.5, 0.2])
    quarter = blend(BINARY, own, student, np.full(2, 0.25))
    assert logit(quarter[0])[0] == pytest.approx(0.25 * np.log(9) - 0.75 * np.log(9))
    assert blend(NUMBER, own * 10, student * 10, np.full(2, 0.25)).ravel().tolist() == [3.0, 2.0]


def test_blended_classes_sum_to_one():
    own, student = np.array([[0.7, 0.2, 0.1]]), np.array([[0.1, 0.1, 0.8]])
    mixed = blend(THREE, own, student, np.array([0.5]))
    assert mixed.sum() == pytest.approx(1.0)
    assert mixed[0, 2] > mixed[0, 1]


@pytest.fixture(scope="module")
def parts(library, problems, train):
    """An own model of half the compounds and one task, a student of the others and two tasks."""
    rows = np.arange(0, 160, 2), np.arange(1, 160, 2)
    task, values = problems["binary"]
    own = train(library.take(rows[0]), task, values[rows[0]], "svm", kind="own")
    compounds = library.take(rows[1])
    student = train(compounds, task, values[rows[1]], "svm", kind="student")
    number, numbers = problems["regression"]
    other = train(compounds, number, numbers[rows[1]], "svm", kind="student")
    both = [*other.task_models, *student.task_models]
    return own, TrainedModel(student.card, student.chemistry, compounds, both)


def test_a_hybrid_blends_shared_tasks_and_leaves_the_others_to_the_student(parts, library):
    own, student = parts
    hybrid = HybridModel(Card("hybrid", "aurora", "demo", 1, "0" * 64), own, student, {})
    assert [task.name for task in hybrid.tasks] == ["size", "ringn"]
    found = hybrid.predict(library)
    mine, theirs = own.predict(library), student.predict(library)
    np.testing.assert_allclose(
        found.by_task["size"].values, theirs.by_task["size"].values, rtol=1e-13
    )
    share = blend_share(
        reference_similarity(own.task_models[0], own.library, library),
        reference_similarity(student.task_models[1], student.library, library),
    )
    task = hybrid.tasks[1]
    expected = blend(task, mine.by_task["ringn"].values, theirs.by_task["ringn"].values, share)
    np.testing.assert_allclose(found.by_task["ringn"].values, expected, rtol=1e-6)
    assert share[0] > 0.5 > share[1]


def test_a_compound_is_inside_if_it_is_so_for_a_part(parts, library):
    own, student = parts
    hybrid = HybridModel(Card("hybrid", "aurora", "demo", 1, "0" * 64), own, student, {})
    mine, theirs, both = (
        model.predict(library, "neighbours").by_task["ringn"].domain
        for model in (own, student, hybrid)
    )
    assert np.array_equal(both.inside, mine.inside | theirs.inside)
    assert np.array_equal(both.score, np.maximum(mine.score, theirs.score))
    assert {reason.split(":")[0] for reason in both.reasons} == {"own", "student"}
    assert hybrid.predict(library, None).by_task["ringn"].domain is None


def test_a_fitted_domain_judges_the_blend_before_it_is_calibrated(parts, library):
    own, student = parts
    fitted = ReliabilityDomain()
    fitted.knots_, fitted.correct_ = np.array([0.0, 1.0]), np.array([0.5, 1.0])
    fitted.threshold_ = 0.3
    card = Card("hybrid", "aurora", "demo", 1, "0" * 64)
    decision = Decision(Platt(1.7, -0.4), 0.35, fitted)
    bare, hybrid = (
        HybridModel(card, own, student, {"ringn": one}).predict(library).by_task["ringn"]
        for one in (Decision(), decision)
    )
    assert hybrid.domain.reasons[0].startswith("expected correct")
    before, cut = bare.values, decision.uncalibrated_threshold
    assert sigmoid(1.7 * logit(np.array([cut])) - 0.4)[0] == pytest.approx(0.35)
    near = np.maximum(
        reference_similarity(own.task_models[0], own.library, library),
        reference_similarity(student.task_models[1], student.library, library),
    )
    np.testing.assert_allclose(hybrid.similarity, near)
    sure = sureness(before, cut, near)
    np.testing.assert_allclose(hybrid.domain.score, 0.5 + 0.5 * sure)
    assert np.array_equal(hybrid.domain.inside, sure >= 0.3)
    assert np.array_equal(hybrid.values >= 0.35, before >= cut)
    assert Decision(Platt(0.0, 0.3), 0.6).uncalibrated_threshold == 0.5


def test_what_the_partner_alone_knows_is_judged_by_its_own_domain(parts, library):
    own, student = parts
    other = TrainedModel(student.card, student.chemistry, student.library, student.task_models[:1])
    fitted = own.task_models[0].domains["reliability"]
    card = Card("hybrid", "aurora", "demo", 1, "0" * 64)
    hybrid = HybridModel(card, own, other, {"ringn": Decision(domain=fitted)})
    both, mine = (model.predict(library).by_task["ringn"] for model in (hybrid, own))
    np.testing.assert_allclose(both.values, mine.values, atol=1e-9)
    assert np.array_equal(both.similarity, mine.similarity)
    assert hybrid.predict(library).by_task["size"].domain is not None


def test_similarities_next_to_nothing_count_alike():
    """Where neither side has anything near, both keep the weight of equal similarities."""
    nothing, little = np.array([0.0, 0.01, 0.02]), np.full(3, 0.02)
    assert blend_share(nothing, little) == pytest.approx([0.8] * 3)
    assert blend_share(np.array([0.04]), np.array([0.02])) == pytest.approx([256 / 257])
