"""Epsilons against closed forms and figures worked out elsewhere."""

from __future__ import annotations

import sys

import pytest
from scipy.optimize import brentq

from fluid.base.errors import FluidError
from fluid.partner.dp import accounting
from fluid.partner.dp.accounting import (
    Cost,
    Event,
    compose,
    compose_dicts,
    epsilon_of,
    gaussian_delta,
    price,
)

DELTA = 1e-6


def _closed_form(mu: float, delta: float = DELTA) -> float:
    return float(brentq(lambda epsilon: gaussian_delta(mu, epsilon) - delta, 0.0, 1e4))


def test_noise_between_partners_cannot_give_a_credible_epsilon() -> None:
    # Sigma 40 on 10,000 queries, sensitivity sqrt 2: two counts move by one in each.
    spent = epsilon_of([Event(2 * 10_000, 40.0)], DELTA)
    assert spent == pytest.approx(22.4, abs=0.05)
    assert spent == pytest.approx(_closed_form(2**0.5 * 100 / 40), rel=1e-3)


@pytest.mark.parametrize(("count", "sigma", "sensitivity"), [(1, 2.0, 1), (60, 5.0, 1), (3, 20, 9)])
def test_discrete_noise_costs_what_continuous_noise_costs(
    count: int, sigma: float, sensitivity: int
) -> None:
    mu = sensitivity * count**0.5 / sigma
    spent = epsilon_of([Event(count, sigma, sensitivity)], DELTA)
    assert spent == pytest.approx(_closed_form(mu), rel=2e-2)


def test_what_draws_nothing_costs_nothing() -> None:
    assert epsilon_of([], DELTA) == 0.0


def test_averaging_two_releases_does_not_beat_one() -> None:
    # Two releases averaged are one of noise smaller by sqrt 2, and cost as much.
    cost = price("pate", "compound", DELTA, 50, {"bbb": [Event(50, 20.0)]})
    twice = compose([cost, cost])
    assert twice.queries == 100
    assert twice.epsilon == pytest.approx(epsilon_of([Event(50, 20.0 / 2**0.5)], DELTA), rel=1e-3)
    assert cost.epsilon < twice.epsilon < 2 * cost.epsilon


def test_tasks_share_a_compound_but_not_a_measurement() -> None:
    events = {"bbb": [Event(50, 20.0)], "logbb": [Event(30, 20.0)]}
    compound = price("pate", "compound", DELTA, 80, events)
    measurement = price("pate", "measurement", DELTA, 80, events)
    assert compound.epsilon == pytest.approx(epsilon_of([Event(80, 20.0)], DELTA))
    assert measurement.epsilon == pytest.approx(epsilon_of([Event(50, 20.0)], DELTA))


def test_a_cost_reads_back_and_says_what_it_is_of() -> None:
    events = {"bbb": [Event(40, 5.0), Event(40, 10.0), Event(2, 5.0)]}
    cost = price("pate", "measurement", DELTA, 40, events)
    values = cost.to_dict()
    assert values["events"]["bbb"][0] == {
        "kind": "gaussian",
        "count": 42,
        "sigma": 5.0,
        "sensitivity": 1,
    }
    assert set(values) >= {"mechanism", "epsilon", "delta", "unit", "queries", "accountant"}
    assert Cost.from_dict(values) == cost
    assert compose_dicts([values, values]) == compose([cost, cost]).to_dict()
    with pytest.raises(ValueError, match="incomplete"):
        Cost.from_dict({"mechanism": "pate"})
    values["events"]["bbb"][0]["kind"] = "response"
    with pytest.raises(ValueError, match="noise of kind 'response': this version accounts for"):
        Cost.from_dict(values)


def test_costs_of_different_units_do_not_compose() -> None:
    one = price("pate", "measurement", DELTA, 1, {"bbb": [Event(1, 5.0)]})
    other = price("pate", "compound", DELTA, 1, {"bbb": [Event(1, 5.0)]})
    with pytest.raises(ValueError, match="different units"):
        compose([one, other])


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    accounting._epsilon.cache_clear()
    with pytest.raises(FluidError, match=r"pip install 'fluid-federated\[dp\]'"):
        epsilon_of([Event(1, 5.0)], DELTA)
