"""Audited lower bounds stay below the accounted epsilon, and half the noise is caught."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from fluid.base.errors import FluidError
from fluid.exchange.noise_mechanism import Mechanism
from fluid.learn.task import Task
from fluid.partner.audit.noise import (
    audit_federation,
    audit_mechanism,
    epsilon_from_rates,
    one_run_epsilon,
    two_world_epsilon,
)
from fluid.partner.dp import pate

BBB = Task("bbb", "binary")
LOGBB = Task("logbb", "regression", low=-2.0, high=2.0)
KIND = Task("kind", "multiclass", classes=("a", "b", "c"))
# One chance in 10,000 that a right mechanism is accused.
SURE = 0.9999

VOTES = Mechanism("pate", epsilon=1.0, sigma=2.0, threshold=0.0)
MEANS = replace(VOTES, sigma=1.0)
CHECKS = replace(VOTES, sigma=20.0, threshold=0.6, check_sigma=1.5)


def _halved(mechanism: Mechanism) -> Mechanism:
    return replace(mechanism, sigma=mechanism.sigma / 2, check_sigma=mechanism.check_sigma / 2)


CASES = [
    (VOTES, BBB, 2, 2000, 0.1),
    (MEANS, LOGBB, 1, 2000, 0.05),
    (CHECKS, BBB, 2, 2000, 0.1),
]


@pytest.mark.parametrize(("mechanism", "task", "queries", "runs", "delta"), CASES)
def test_half_the_noise_is_caught(
    mechanism: Mechanism, task: Task, queries: int, runs: int, delta: float
) -> None:
    found = audit_mechanism(mechanism, task, queries, runs, delta, SURE)
    assert found.holds
    broken = audit_mechanism(mechanism, task, queries, runs, delta, run=_halved(mechanism))
    assert not broken.holds
    assert broken.accounted == found.accounted


def test_a_federation_is_audited_task_by_task(monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit_federation(Mechanism(), [BBB]) is None
    found = audit_federation(replace(VOTES, sigma=4.0), [BBB, LOGBB], runs=500)
    assert found is not None
    assert found["passed"]
    assert set(found["tasks"]) == {"bbb", "logbb"}
    assert found["tasks"]["bbb"]["queries"] == 4
    assert 0.5 < found["tasks"]["bbb"]["accounted"] < 1.5
    # A sampler that draws no noise is detected.
    monkeypatch.setattr(pate, "gaussian_noise", lambda shape, sigma: np.zeros(shape, dtype=int))
    broken = audit_federation(replace(VOTES, sigma=4.0), [BBB], runs=500)
    assert broken is not None
    assert not broken["passed"]


@pytest.mark.long
@pytest.mark.parametrize("delta", [1e-2, 0.05])
@pytest.mark.parametrize(
    ("mechanism", "task", "queries"),
    [
        (MEANS, LOGBB, 2),
        (replace(VOTES, sigma=4.0), BBB, 8),
        (replace(VOTES, sigma=4.0), KIND, 8),
        (replace(CHECKS, check_sigma=3.0), BBB, 8),
    ],
)
def test_no_lower_bound_is_above_what_is_accounted(
    mechanism: Mechanism, task: Task, queries: int, delta: float
) -> None:
    found = audit_mechanism(mechanism, task, queries, 10_000, delta, SURE)
    assert 0.0 < found.lower <= found.accounted


def test_epsilon_of_rates() -> None:
    assert epsilon_from_rates(500, 500, 1000, 0.0) == 0.0
    # TPR 1, FPR 0 of 1000: nothing above the logarithm of about 1000 / 3.7 can be said.
    assert epsilon_from_rates(1000, 0, 1000, 0.0) == pytest.approx(math.log(1000 / 3.7), abs=0.05)
    assert epsilon_from_rates(900, 100, 1000, 0.5) < epsilon_from_rates(900, 100, 1000, 0.0)


def test_two_worlds_are_told_apart_whichever_is_higher() -> None:
    random = np.random.default_rng(0)
    low, high = random.normal(0, 1, 4000), random.normal(2, 1, 4000)
    assert two_world_epsilon(high, low, 1e-5) > 1.0
    assert two_world_epsilon(low, high, 1e-5) == 0.0
    # A rare event of the second world is found by looking the other way round.
    rare = np.where(np.arange(4000) % 5 == 0, -1.0, 0.0)
    assert two_world_epsilon(np.zeros(4000), rare, 1e-5) > 1.0


def test_one_run_of_randomised_response() -> None:
    # 1,000 canaries by a response of epsilon 1: 731 right is what is expected.
    found = one_run_epsilon(1000, 1000, 731, 0.0)
    assert 0.8 < found < 1.0
    assert one_run_epsilon(1000, 1000, 500, 0.0) == 0.0
    assert one_run_epsilon(1000, 1000, 731, 1e-5) <= found
    # Right with 95%: the bound is where so many or more have probability 5%.
    rate = 1 / (1 + math.exp(-found))
    assert binom.sf(730, 1000, rate) == pytest.approx(0.05, rel=1e-3)
    with pytest.raises(FluidError, match="11 correct of 10 guesses"):
        one_run_epsilon(20, 10, 11, 0.0)
