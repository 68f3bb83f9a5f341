"""The guard by hand: what is rounded, what is silent, and whose policy comes first."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.exchange.policy import DisclosurePolicy, is_on_step
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.task import Task
from fluid.partner.disclosure_guard import disclose

TASK = Task("bbb", "binary")


def found(prediction: list[float], reliability: list[float]) -> OwnFoldLabels:
    column = np.array(prediction)[:, None]
    return OwnFoldLabels(column, np.full(column.shape, 0.1), np.array(reliability), np.zeros(0))


def test_a_compound_at_the_bound_of_abstention_is_labelled() -> None:
    """The rounded reliability decides, and a bound is a bound whatever float32 makes of it."""
    for bound in (0.1, 0.3, 0.7):
        policy = DisclosurePolicy(abstain_below=bound)
        labels = disclose(
            TASK, policy, found([0.6, 0.6, 0.6], [bound, bound - 0.009, bound - 0.02])
        )
        silent = [False, False, True]
        for column in (labels.prediction[:, 0], labels.uncertainty[:, 0], labels.reliability):
            assert np.isnan(column).tolist() == silent


def test_a_stricter_policy_rounds_what_the_agreed_one_would_have_released() -> None:
    """0.2549 is released as 0.25, so that a step of 0.1 makes 0.2 of it and not 0.3."""
    agreed, own = DisclosurePolicy(), DisclosurePolicy(probability_step=0.1)
    value = found([0.2549], [0.5])
    assert disclose(TASK, own, value).prediction[0, 0] == pytest.approx(0.3)
    assert disclose(TASK, own, value, agreed).prediction[0, 0] == pytest.approx(0.2)


def test_a_value_between_two_steps_is_noticed() -> None:
    values = np.array([0.25, 0.2505, 0.255, 0.26, 7.01], dtype=np.float32)
    assert is_on_step(values, 0.01).tolist() == [True, False, False, True, True]
