"""Audit noise mechanisms: a lower bound on epsilon from runs, held against the accounted one.

A mechanism is run many times on two neighbouring inputs. Whoever can tell the runs apart better
than epsilon allows proves that epsilon wrong: every test of (epsilon, delta)-private output has
TPR <= e^epsilon FPR + delta (Kairouz, Oh and Viswanath 2015, arXiv 1311.0776). The rates are
bounded by Clopper-Pearson intervals, and the threshold is chosen on other runs than those that are
counted. A mechanism that passes is not proved private; one that fails is proved not to be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluid.base.errors import FluidError
from fluid.exchange.noise_mechanism import Mechanism
from fluid.learn.task import Task
from fluid.partner.audit.statistics import clopper_pearson
from fluid.partner.dp.accounting import epsilon_of
from fluid.partner.dp.budget import events_of
from fluid.partner.dp.pate_labeler import averaged, voted

_MOST_QUERIES = 16
_TELLING = 1.5
# An audit that raises a false alarm once in a hundred is no use at a partner.
_SURE = 0.999

# Runs in one world, as scores: the higher, the likelier the first world.
Scores = Callable[[bool], np.ndarray]


@dataclass(frozen=True)
class NoiseAudit:
    """What an audit found.

    Attributes
    ----------
    lower
        Lower bound on epsilon at `delta`, right with `confidence`; 0 if the worlds look alike.
    accounted
        Epsilon that is claimed at the same delta.
    delta, confidence, runs
        Of the bound; runs in each world.
    """

    lower: float
    accounted: float
    delta: float
    confidence: float
    runs: int

    @property
    def holds(self) -> bool:
        """Whether what is claimed was not refuted."""
        return self.lower <= self.accounted


def epsilon_from_rates(
    hits: int, false_alarms: int, runs: int, delta: float, confidence: float = 0.95
) -> float:
    """Lower bound on epsilon from one test of runs in two worlds: ``ln((TPR - delta) / FPR)``.

    Parameters
    ----------
    hits, false_alarms
        How often the test chose the first world, in the first and in the second.
    runs
        In each world.
    delta
        Of the guarantee that is audited.
    confidence
        Of the bound; each rate's is half the error away.
    """
    # Two bounds of one side each, half the error on either: two ends of intervals at that level.
    low = clopper_pearson(hits, runs, confidence).low
    high = clopper_pearson(false_alarms, runs, confidence).high
    return math.log((low - delta) / high) if low - delta > high else 0.0


def two_world_epsilon(
    first: np.ndarray, second: np.ndarray, delta: float, confidence: float = 0.95
) -> float:
    """Lower bound on epsilon from scores in two worlds.

    The first half of the runs chooses the threshold and the direction, the second half is counted.

    Parameters
    ----------
    first, second
        Scores of n runs in each world.
    delta, confidence
        See `epsilon_from_rates`.
    """
    half = len(first) // 2
    best, chosen = 0.0, (0.0, 1.0)
    points = np.unique(np.quantile(np.concatenate([first[:half], second[:half]]), _LEVELS))
    for sign in (1.0, -1.0):
        one, two = (first, second) if sign > 0 else (-second, -first)
        for threshold in sign * points:
            found = epsilon_from_rates(
                int((one[:half] >= threshold).sum()),
                int((two[:half] >= threshold).sum()),
                half,
                delta,
                confidence,
            )
            if found > best:
                best, chosen = found, (float(threshold), sign)
    threshold, sign = chosen
    one, two = (first, second) if sign > 0 else (-second, -first)
    rest = len(first) - half
    return epsilon_from_rates(
        int((one[half:] >= threshold).sum()),
        int((two[half:] >= threshold).sum()),
        rest,
        delta,
        confidence,
    )


_LEVELS = np.concatenate(
    [[0.001, 0.002, 0.005], np.linspace(0.01, 0.99, 99), [0.995, 0.998, 0.999]]
)


def one_run_epsilon(
    canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95
) -> float:
    """Lower bound on epsilon from one run with canaries that were in or out by coin flips.

    Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846), theorem 5.2: under (epsilon, delta) the
    number of correct guesses is hardly more than binomial with ``e^epsilon / (1 + e^epsilon)``.

    Parameters
    ----------
    canaries
        How many there were.
    guesses, correct
        For how many a guess was made, and how many were right.
    delta, confidence
        Of the guarantee, and of the bound.

    Returns
    -------
    float
        0 if the guesses are no better than chance allows.

    Raises
    ------
    FluidError
        If the numbers do not go together.
    """
    if not 0 <= correct <= guesses <= canaries or canaries == 0:
        raise FluidError(
            f"{correct} correct of {guesses} guesses of {canaries} canaries: each may be at most "
            "the next, and there must be canaries"
        )
    error = 1.0 - confidence

    def refuted(epsilon: float) -> bool:
        return _one_run_p(canaries, guesses, correct, epsilon, delta) < error

    low, high = 0.0, 1.0
    if not refuted(low):
        return 0.0
    while refuted(high):
        low, high = high, high * 2.0
        if high > 1000.0:
            return low
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _one_run_p(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Probability of so many correct guesses or more under (epsilon, delta), at most."""
    from scipy.stats import binom

    rate = 1.0 / (1.0 + math.exp(-epsilon))
    tail = float(binom.sf(correct - 1, guesses, rate))
    if delta == 0.0 or correct == 0:
        return min(tail, 1.0)
    # Just below: P[correct > W >= correct - i] over i, for i from 1.
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, rate))
    most = float((below / np.arange(1, correct + 1)).max())
    return min(tail + 2.0 * canaries * delta * most, 1.0)


def audit_mechanism(
    mechanism: Mechanism,
    task: Task,
    queries: int,
    runs: int,
    delta: float = 1e-2,
    confidence: float = 0.95,
    run: Mechanism | None = None,
) -> NoiseAudit:
    """Run a mechanism on the neighbouring inputs that are hardest for it.

    In one world a record makes every vote of its sub-teacher the highest; in the other the lowest.
    The other sub-teachers are tied, so that its vote decides; then, if there is a check
    before answering, they are at its threshold, and what is scored is how many are answered. All
    scores are of what is released, before the disclosure guard.

    Parameters
    ----------
    mechanism, task
        What is claimed.
    queries
        Public compounds that the record can change the labels of; all are answered.
    runs
        In each world.
    delta
        At which epsilons are compared: large enough for the number of runs to tell.
    confidence
        Of the lower bound.
    run
        What is run, if it differs from what is claimed: shows that the audit can fail.
    """
    played = mechanism if run is None else run
    checks = task.is_classification and mechanism.threshold > 0.0
    tries = (False, True) if checks else (False,)
    # Two tries are two chances to be wrong.
    each = 1.0 - (1.0 - confidence) / len(tries)

    def scores(high: bool, checked: bool) -> np.ndarray:
        released = _release(played, task, runs * queries, high, checked)
        values = np.isfinite(released) if checked else np.nan_to_num(released)
        return np.asarray(values.reshape(runs, queries).sum(axis=1), dtype=np.float64)

    lower = max(
        two_world_epsilon(scores(True, checked), scores(False, checked), delta, each)
        for checked in tries
    )
    _, events = events_of(mechanism, task, queries, queries)
    return NoiseAudit(lower, epsilon_of(events, delta), delta, confidence, runs)


def audit_federation(
    mechanism: Mechanism, tasks: Sequence[Task], runs: int = 2000, delta: float = 0.05
) -> dict[str, Any] | None:
    """Audit a federation's mechanism in every task, for the report of an audit.

    So many queries are made in each run that a record's labels cost about one epsilon together:
    a few thousand runs cannot tell more.

    Parameters
    ----------
    mechanism, tasks
        Of the federation.
    runs, delta
        See `audit_mechanism`.

    Returns
    -------
    dict or None
        Plain values: ``passed``, and for each task what was accounted and what was found; None if
        there is no mechanism.
    """
    if not mechanism.is_used:
        return None
    found = {}
    for task in tasks:
        queries = 1
        while queries < _MOST_QUERIES:
            _, events = events_of(mechanism, task, 2 * queries, 2 * queries)
            if epsilon_of(events, delta) > _TELLING:
                break
            queries *= 2
        one = audit_mechanism(mechanism, task, queries, runs, delta, _SURE)
        found[task.name] = {
            "queries": queries,
            "accounted": one.accounted,
            "lower_bound": one.lower,
            "passed": one.holds,
        }
    return {
        "passed": all(one["passed"] for one in found.values()),
        "mechanism": mechanism.kind,
        "delta": delta,
        "runs": runs,
        "confidence": _SURE,
        "tasks": found,
    }


def _release(mechanism: Mechanism, task: Task, n: int, high: bool, checked: bool) -> np.ndarray:
    """What is released of n labels in one world, of shape (n,): the first output."""
    low, top = mechanism.bounds(task)
    votes = np.full((n, mechanism.sub_teachers, len(task.outputs)), np.nan)
    # The last sub-teacher is that of the compound itself and has no vote.
    others = mechanism.sub_teachers - 2
    agreeing = round(mechanism.threshold * (others + 1)) if checked else (others + 1) // 2
    for position in range(others):
        votes[:, position] = _vote(task, low, top, position < agreeing)
    votes[:, mechanism.sub_teachers - 2] = _vote(task, low, top, high)
    if task.is_classification:
        return voted(task, mechanism, votes, n)[:, 0]
    return averaged(task, mechanism, votes)[:, 0]


def _vote(task: Task, low: float, top: float, high: bool) -> np.ndarray:
    """One sub-teacher's vote: the highest or the lowest; of several classes the first or last."""
    if task.kind != "multiclass":
        return np.array([top if high else low])
    vote = np.zeros(len(task.outputs))
    vote[0 if high else -1] = 1.0
    return vote
