"""The disclosure guard on figures worked out by hand: rounding, clipping, abstaining, order."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.exchange.policy import DisclosurePolicy
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.task import Task
from fluid.partner.disclosure_guard import disclose, disclose_size, disclose_statistics
from fluid.soft_labels.teacher_labels import TeacherLabels

BINARY = Task("act", "binary")
# Neither bound is a multiple of 0.5 or 1.
NUMBER = Task("pic", "regression", low=-2.8, high=9.7)


def labels(
    prediction: list[float], reliability: list[float] | None = None, uncertainty: float = 0.1234
) -> OwnFoldLabels:
    """Labels of one output."""
    column = np.array(prediction)[:, None]
    trust = np.full(len(prediction), 0.5) if reliability is None else np.array(reliability)
    return OwnFoldLabels(column, np.full(column.shape, uncertainty), trust, trust)


def predicted(found: TeacherLabels) -> list[float]:
    return [round(float(value), 6) for value in found.prediction[:, 0]]


def test_every_column_is_rounded_to_its_own_step() -> None:
    policy = DisclosurePolicy(probability_step=0.05, uncertainty_step=0.1, reliability_step=0.25)
    found = disclose(BINARY, policy, labels([0.52, 0.53], [0.37, 0.38]))
    assert predicted(found) == [0.5, 0.55]
    assert found.uncertainty[:, 0].tolist() == pytest.approx([0.1, 0.1])
    assert found.reliability.tolist() == [0.25, 0.5]
    found = disclose(NUMBER, DisclosurePolicy(value_step=0.5), labels([1.24, 1.26]))
    assert predicted(found) == [1.0, 1.5]
    assert found.prediction.dtype == found.uncertainty.dtype == found.reliability.dtype == "float32"


def test_a_probability_is_never_0_or_1_and_keeps_to_the_clip() -> None:
    found = disclose(BINARY, DisclosurePolicy(probability_clip=0.0), labels([0.0, 0.004, 1.0]))
    assert predicted(found) == [0.01, 0.01, 0.99]
    found = disclose(BINARY, DisclosurePolicy(probability_clip=0.12), labels([0.0, 0.13, 0.9]))
    assert predicted(found) == [0.12, 0.13, 0.88]
    # A clip between two steps is rounded to the inside.
    policy = DisclosurePolicy(probability_clip=0.12, probability_step=0.05)
    assert predicted(disclose(BINARY, policy, labels([0.0, 1.0]))) == [0.15, 0.85]


@pytest.mark.parametrize(("step", "low", "high"), [(1.0, -2.0, 9.0), (0.5, -2.5, 9.5)])
def test_rounding_does_not_leave_the_range_of_a_task(step: float, low: float, high: float) -> None:
    policy = DisclosurePolicy(value_step=step)
    found = disclose(NUMBER, policy, labels([-2.8, 9.7, -50.0, 50.0]))
    assert predicted(found) == [low, high, low, high]


def test_reliability_is_at_most_1_even_if_the_steps_make_more() -> None:
    policy = DisclosurePolicy(reliability_step=0.20000003)
    found = disclose(BINARY, policy, labels([0.5], [0.99]))
    assert found.reliability.tolist() == [1.0]


def test_a_compound_below_the_rounded_limit_is_nan_throughout() -> None:
    policy = DisclosurePolicy(reliability_step=0.1, abstain_below=0.3)
    # 0.26 is rounded to 0.3 and 0.24 to 0.2: the limit is on the rounded figure.
    found = disclose(BINARY, policy, labels([0.5, 0.5, 0.5], [0.26, 0.24, 0.9]))
    for column in (found.prediction[:, 0], found.uncertainty[:, 0], found.reliability):
        assert np.isnan(column).tolist() == [False, True, False]


def test_without_a_prediction_nothing_is_disclosed() -> None:
    found = disclose(BINARY, DisclosurePolicy(), labels([np.nan, 0.5], [0.9, 0.9]))
    for column in (found.prediction[:, 0], found.uncertainty[:, 0], found.reliability):
        assert np.isnan(column).tolist() == [True, False]
    several = Task("kind", "multiclass", classes=("a", "b", "c"))
    half = OwnFoldLabels(
        np.array([[0.2, np.nan, 0.8]]), np.zeros((1, 3)), np.array([0.9]), np.array([0.9])
    )
    assert np.isnan(disclose(several, DisclosurePolicy(), half).prediction).all()
    # A missing uncertainty hides nothing else.
    found = disclose(BINARY, DisclosurePolicy(), labels([0.5], uncertainty=np.nan))
    assert np.isfinite(found.prediction).all()
    assert np.isnan(found.uncertainty).all()


def test_the_agreed_policy_is_applied_before_the_partners_own() -> None:
    agreed = DisclosurePolicy(probability_step=0.02, reliability_step=0.02)
    own = DisclosurePolicy(probability_step=0.04, reliability_step=0.04)
    raw = labels([0.135], [0.135])
    # 0.135 is 0.14 in steps of 0.02, then 0.16 in steps of 0.04; at once it would be 0.12.
    found = disclose(BINARY, own, raw, agreed)
    assert predicted(found) == [0.16]
    assert found.reliability.tolist() == pytest.approx([0.16])
    assert predicted(disclose(BINARY, own, raw)) == [0.12]
    assert predicted(disclose(BINARY, agreed, raw, agreed)) == [0.14]
    # A compound that the agreed policy leaves out stays out.
    agreed = DisclosurePolicy(abstain_below=0.4)
    assert np.isnan(disclose(BINARY, DisclosurePolicy(), labels([0.5], [0.3]), agreed).reliability)


def test_only_shared_statistics_are_disclosed_and_they_are_rounded() -> None:
    arguments = (
        {"act": 100},
        {"act": {"roc_auc": 0.7321, "rmse": 1.0, "r2": -7.5, "mcc": None}},
        {"act": {"no": 33, "yes": 67}},
    )
    assert disclose_statistics(DisclosurePolicy(), *arguments) == {}
    policy = DisclosurePolicy(share=("training-size", "metrics", "prevalence"))
    found = disclose_statistics(policy, *arguments)
    assert found["training_size"] == {"act": 64}
    assert found["metrics"]["act"] == {"roc_auc": 0.75, "r2": -1.0, "mcc": None}
    assert found["prevalence"] == {"act": {"no": 0.35, "yes": 0.65}}
    assert [disclose_size(n) for n in (0, 1, 2, 3, 1023, 1024)] == [1, 1, 2, 2, 512, 1024]
