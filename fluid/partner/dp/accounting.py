"""What noisy releases cost: epsilon at a delta, by privacy loss distributions.

The accountant is `dp-accounting` (an optional extra). A privacy loss distribution composes exactly
up to a discretisation that is rounded to the safe side (Koskela, Jälkö and Honkela 2020, arXiv
1906.03049; Doroshenko et al. 2022, arXiv 2207.04380).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from fluid.base.errors import FluidError
from fluid.exchange.noise_mechanism import COMPOUND

ACCOUNTANT = "privacy loss distribution, dp-accounting"
# How ledgers and manifests name the noise.
_DRAW = "gaussian"
# Step of discretised losses.
_FINEST = 1e-3
# Losses up to here are discretised finely; beyond, a release protects nothing and 2% do not matter.
_SMALL = 50.0


class BudgetError(FluidError):
    """A release would spend more than the federation's budget."""


@dataclass(frozen=True)
class Event:
    """Draws of discrete Gaussian noise, each added to a whole number.

    Attributes
    ----------
    count
        Number of draws.
    sigma
        Standard deviation of the noise, in steps of the number.
    sensitivity
        How far one record can move the number, in steps.
    """

    count: int
    sigma: float
    sensitivity: int = 1


@dataclass(frozen=True)
class Cost:
    """The privacy cost of a release, or of several together.

    Attributes
    ----------
    mechanism, unit
        As in `fluid.exchange.noise_mechanism.Mechanism`.
    epsilon, delta
        The guarantee for one unit.
    queries
        Number of compounds that may be asked, over all tasks.
    events
        Draws by task, from which costs are composed.
    """

    mechanism: str
    unit: str
    epsilon: float
    delta: float
    queries: int
    events: Mapping[str, tuple[Event, ...]]

    def to_dict(self) -> dict[str, Any]:
        """The cost as plain values, as a ledger and a manifest hold it."""
        events = {
            name: [{"kind": _DRAW} | asdict(event) for event in found]
            for name, found in sorted(self.events.items())
        }
        return {
            "mechanism": self.mechanism,
            "unit": self.unit,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "queries": self.queries,
            "accountant": ACCOUNTANT,
            "events": events,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cost:
        """The inverse of `to_dict`.

        Raises
        ------
        ValueError
            If something is missing or of another type, or the noise of another kind.
        """
        try:
            events = {
                str(name): tuple(_read_event(one) for one in found)
                for name, found in values["events"].items()
            }
            return cls(
                str(values["mechanism"]),
                str(values["unit"]),
                float(values["epsilon"]),
                float(values["delta"]),
                int(values["queries"]),
                events,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the cost of a release is incomplete ({error})") from error


def _read_event(values: Mapping[str, Any]) -> Event:
    given = dict(values)
    kind = given.pop("kind")
    if kind != _DRAW:
        raise ValueError(f"noise of kind {str(kind)[:40]!r}: this version accounts for {_DRAW!r}")
    return Event(**given)


def price(
    mechanism: str, unit: str, delta: float, queries: int, events: Mapping[str, Sequence[Event]]
) -> Cost:
    """The cost of some draws.

    A compound may be measured in every task, so the draws of all tasks compose. One measurement is
    in one task, so the most expensive task decides.

    Parameters
    ----------
    mechanism, unit, delta, queries
        See `Cost`.
    events
        Draws by task.

    Returns
    -------
    Cost
    """
    if unit == COMPOUND:
        spent = epsilon_of([event for found in events.values() for event in found], delta)
    else:
        spent = max((epsilon_of(found, delta) for found in events.values()), default=0.0)
    return Cost(
        mechanism, unit, spent, delta, queries, {name: merge(e) for name, e in events.items()}
    )


def compose(costs: Sequence[Cost]) -> Cost:
    """The cost of several releases of the same private data together.

    Whoever averages two noisy releases has seen the draws of both, so both are paid for.

    Raises
    ------
    ValueError
        If there are none, or they have different units or deltas.
    """
    if not costs:
        raise ValueError("no costs to compose")
    first = costs[0]
    if any((cost.unit, cost.delta) != (first.unit, first.delta) for cost in costs):
        raise ValueError("costs of different units or deltas cannot be composed")
    events: dict[str, list[Event]] = {}
    for cost in costs:
        for name, found in cost.events.items():
            events.setdefault(name, []).extend(found)
    names = sorted({cost.mechanism for cost in costs})
    queries = sum(cost.queries for cost in costs)
    return price("+".join(names), first.unit, first.delta, queries, events)


def compose_dicts(costs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`compose` for costs as a ledger holds them."""
    return compose([Cost.from_dict(cost) for cost in costs]).to_dict()


def merge(events: Iterable[Event]) -> tuple[Event, ...]:
    """The same draws with equal ones counted together."""
    counts: dict[Event, int] = {}
    for event in events:
        one = replace(event, count=1)
        counts[one] = counts.get(one, 0) + event.count
    return tuple(replace(one, count=count) for one, count in counts.items() if count)


def epsilon_of(events: Iterable[Event], delta: float) -> float:
    """The smallest epsilon at which draws together are (epsilon, delta)-private.

    Each draw may be chosen by the outcome of those before, as long as there are no more of each
    kind than stated: for every order the divergence is at most that of all of them together, by
    induction over the draws.

    Parameters
    ----------
    events
        The draws.
    delta
        In (0, 1).

    Returns
    -------
    float
        0 if nothing is drawn.

    Raises
    ------
    FluidError
        If the accountant is not installed.
    """
    merged = merge(events)
    return _epsilon(merged, delta) if merged else 0.0


@lru_cache(maxsize=512)
def _epsilon(events: tuple[Event, ...], delta: float) -> float:
    library = _library()
    step = _FINEST * max(1.0, rough_epsilon(events, delta) / _SMALL)
    whole = None
    for event in events:
        one = library.from_discrete_gaussian_mechanism(
            event.sigma,
            sensitivity=event.sensitivity,
            value_discretization_interval=step,
            use_connect_dots=True,
        )
        composed = one.self_compose(event.count)
        whole = composed if whole is None else whole.compose(composed)
    assert whole is not None
    return float(whole.get_epsilon_for_delta(delta))


def rough_epsilon(events: Iterable[Event], delta: float) -> float:
    """Epsilon within a factor of about two, without the accountant: where to start a search."""
    rho = sum(_zcdp(event) * event.count for event in events)
    return rho + 2.0 * math.sqrt(rho * math.log(1.0 / delta))


def _zcdp(event: Event) -> float:
    """rho of zero-concentrated privacy, Bun and Steinke 2016 (arXiv 1605.02065), of one draw."""
    return (event.sensitivity / event.sigma) ** 2 / 2.0


def _library() -> Any:
    try:
        from dp_accounting.pld import privacy_loss_distribution
    except ImportError as error:
        raise FluidError(
            "noise mechanisms need the accountant of dp-accounting: "
            "pip install 'fluid-federated[dp]'"
        ) from error
    return privacy_loss_distribution


def gaussian_delta(mu: float, epsilon: float) -> float:
    """delta of a Gaussian mechanism of noise multiplier ``1 / mu``, in closed form.

    Balle and Wang 2018 (arXiv 1805.06530), theorem 8. Draws compose to ``mu^2 = sum of mu_i^2``, so
    continuous Gaussian noise needs no accountant; tests compare the accountant with it.
    """
    from scipy.stats import norm

    upper = norm.cdf(-epsilon / mu + mu / 2.0)
    lower = epsilon + norm.logcdf(-epsilon / mu - mu / 2.0)
    return float(upper - math.exp(lower))
