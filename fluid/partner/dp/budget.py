"""How many public compounds a noise mechanism can afford to label, and which."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluid.exchange.noise_mechanism import COMPOUND, Mechanism
from fluid.learn.task import Task
from fluid.partner.dp.accounting import (
    BudgetError,
    Cost,
    Event,
    compose,
    epsilon_of,
    price,
    rough_epsilon,
)
from fluid.partner.dp.pate import GRID


@dataclass(frozen=True)
class Plan:
    """What one release may ask; made without private data.

    Attributes
    ----------
    asked, answered
        By task: number of compounds asked about, and number that may be answered at most.
    cost
        Cost of the release, whether or not it is answered.
    total
        Its cost together with the releases before it.
    """

    asked: Mapping[str, int]
    answered: Mapping[str, int]
    cost: Cost
    total: Cost

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, with the cost of the release, as a ledger holds it."""
        return {
            "asked": dict(self.asked),
            "answered_at_most": dict(self.answered),
            "release": self.cost.to_dict(),
            "total": {"epsilon": self.total.epsilon, "delta": self.total.delta},
        }


def events_of(mechanism: Mechanism, task: Task, answers: int, most: int) -> tuple[int, list[Event]]:
    """Number of compounds to ask for some answers in one task, and the draws that they need.

    Parameters
    ----------
    mechanism, task
        The noise mechanism, and the task.
    answers
        Number of labels that may come out.
    most
        Number of public compounds.

    Returns
    -------
    tuple of int and list of Event
    """
    if not task.is_classification:
        return answers, [Event(answers, mechanism.sigma * GRID, GRID)]
    # A vote that moves changes the counts of two classes by one each.
    drawn = [Event(2 * answers, mechanism.sigma)]
    if not mechanism.threshold:
        return answers, drawn
    asked = min(most, math.ceil(mechanism.checks_per_answer * answers - 1e-9))
    return asked, [*drawn, Event(asked, mechanism.check_sigma)]


def plan_release(
    mechanism: Mechanism, tasks: Sequence[Task], n_public: int, spent: Sequence[Cost] = ()
) -> Plan:
    """Spread the remaining budget over as many queries as it affords.

    Parameters
    ----------
    mechanism
        The federation's mechanism, which draws noise.
    tasks
        Tasks that the partner takes part in. That it does is visible, and not protected.
    n_public
        Number of public compounds.
    spent
        Costs of the releases before.

    Returns
    -------
    Plan

    Raises
    ------
    BudgetError
        If the budget does not afford one query.
    """
    for cost in spent:
        if (cost.unit, cost.delta) != (mechanism.unit, mechanism.delta):
            raise BudgetError(
                f"earlier releases were accounted by {cost.unit} at delta {cost.delta:g}, the "
                f"federation asks for {mechanism.unit} at delta {mechanism.delta:g}"
            )
    # A compound is in all tasks, which share the budget; a measurement is in one.
    groups = [list(tasks)] if mechanism.unit == COMPOUND else [[task] for task in tasks]
    answered: dict[str, int] = {}
    for group in groups:
        most = _affordable(mechanism, group, n_public, spent)
        answered |= {task.name: most for task in group}
    made = {task.name: events_of(mechanism, task, answered[task.name], n_public) for task in tasks}
    asked = {name: number for name, (number, _) in made.items()}
    if not any(answered.values()):
        before = f"{compose(spent).epsilon:.3g} of it is spent" if spent else "nothing is spent yet"
        raise BudgetError(
            f"epsilon = {mechanism.epsilon:g} at delta {mechanism.delta:g} for one "
            f"{mechanism.unit} does not afford a single label ({before})"
        )
    cost = price(
        mechanism.kind,
        mechanism.unit,
        mechanism.delta,
        sum(asked.values()),
        {name: events for name, (_, events) in made.items()},
    )
    return Plan(asked, answered, cost, compose([*spent, cost]))


def _affordable(
    mechanism: Mechanism, tasks: Sequence[Task], n_public: int, spent: Sequence[Cost]
) -> int:
    """The largest number of answers in each of these tasks that keeps within the budget."""
    names = {task.name for task in tasks}
    before = [
        event
        for cost in spent
        for name, events in cost.events.items()
        if mechanism.unit == COMPOUND or name in names
        for event in events
    ]

    def drawn(answers: int) -> list[Event]:
        new = [e for task in tasks for e in events_of(mechanism, task, answers, n_public)[1]]
        return [*before, *new]

    def roughly(answers: int) -> bool:
        return rough_epsilon(drawn(answers), mechanism.delta) <= mechanism.epsilon

    def fits(answers: int) -> bool:
        return epsilon_of(drawn(answers), mechanism.delta) <= mechanism.epsilon

    guess = _last(roughly, 0, n_public + 1)
    width = max(1, guess // 8)
    low, high = 0, n_public + 1
    while high - low > 1 and low < guess < high:
        if fits(guess):
            low, guess = guess, guess + width
        else:
            high, guess = guess, guess - width
        width *= 2
    return _last(fits, low, high)


def _last(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number that fits, if `low` does and `high` does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def rank_queries(inchikeys: Sequence[str], salt: str) -> np.ndarray:
    """The order in which public compounds are asked about: by hash, whatever is known of them.

    Parameters
    ----------
    inchikeys
        Keys of all public compounds.
    salt
        Names the public set and the partner, so that partners ask about different compounds.

    Returns
    -------
    numpy.ndarray
        int64 of shape (n,): 0 for the compound that is asked about first.

    Examples
    --------
    >>> sorted(rank_queries(["A", "B", "C"], "salt").tolist())
    [0, 1, 2]
    """
    start = hashlib.sha256(salt.encode())
    hashes = []
    for key in inchikeys:
        one = start.copy()
        one.update(key.encode())
        hashes.append(int.from_bytes(one.digest()[:8], "big"))
    order = np.argsort(np.array(hashes, dtype=np.uint64), kind="stable")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks
