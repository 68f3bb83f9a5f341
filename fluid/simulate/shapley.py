"""What each partner brings: Shapley and leave-one-out values of any game of partners."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fluid.learn.metrics import interval

MOST_EXACT = 10

Coalition = tuple[str, ...]
# The values of coalitions (each a tuple of names, ascending): float64 of shape (1 + draws, k),
# the first row of all test compounds, the others of bootstrap samples of them.
Utility = Callable[[Sequence[Coalition]], np.ndarray]


@dataclass(frozen=True)
class Contribution:
    """What one partner brings, in units of the value; positive is good.

    Attributes
    ----------
    shapley, low, high
        Shapley value: the partner's mean gain over all orders in which partners could join; and
        its 95% bootstrap interval over test compounds.
    error
        Standard error from sampling orders; 0 if all coalitions were tried.
    leave_one_out, leave_one_out_low, leave_one_out_high
        Value of everybody less that of everybody else, and its interval.
    """

    shapley: float
    low: float
    high: float
    error: float
    leave_one_out: float
    leave_one_out_low: float
    leave_one_out_high: float


@dataclass(frozen=True)
class Contributions:
    """What all partners bring.

    Attributes
    ----------
    by_partner
        Shapley values sum to `everybody` - `nobody`.
    everybody, nobody
        Values of all partners together, and of none.
    values
        The value of every coalition that was tried.
    exact
        Whether these are all there are.
    """

    by_partner: dict[str, Contribution]
    everybody: float
    nobody: float
    values: dict[Coalition, float]
    exact: bool


def contributions(
    partners: Sequence[str],
    utility: Utility,
    permutations: int = 200,
    seed: int = 0,
    most_exact: int = MOST_EXACT,
) -> Contributions:
    """Shapley values (1953, doi 10.1515/9781400881970-018) and leave-one-out values.

    Up to `most_exact` partners all coalitions are tried. Beyond that, gains are averaged over
    random orders (Castro et al. 2009, doi 10.1016/j.cor.2008.04.004): the values still sum to
    what all bring together, and each has a standard error.

    Parameters
    ----------
    partners
        Names, two or more orders of which do not matter.
    utility
        Values of coalitions; called once, with each coalition once.
    permutations
        Orders that are sampled, 2 or more.
    seed
        Of the orders, not negative.
    most_exact
        Largest number of partners for which all coalitions are tried.
    """
    names = sorted(partners)
    n = len(names)
    exact = n <= most_exact
    orders = np.zeros((0, n), dtype=np.int64)
    if exact:
        wanted = [one for size in range(n + 1) for one in combinations(names, size)]
    else:
        rng = np.random.default_rng(seed)
        orders = np.stack([rng.permutation(n) for _ in range(permutations)])
        prefixes = {_members(names, order[:k]) for order in orders for k in range(n + 1)}
        without = {_members(names, np.delete(np.arange(n), k)) for k in range(n)}
        wanted = sorted(prefixes | without, key=lambda one: (len(one), one))
    values = utility(wanted)
    place = {one: number for number, one in enumerate(wanted)}
    everybody = values[:, place[tuple(names)]]
    gains = [
        everybody - values[:, place[_members(names, np.delete(np.arange(n), k))]] for k in range(n)
    ]
    if exact:
        shapley = values @ _shapley_matrix(names, wanted)
        errors = np.zeros(n)
    else:
        shapley, errors = _sampled(names, orders, values, place)
    by_partner = {}
    for k, name in enumerate(names):
        by_partner[name] = Contribution(
            float(shapley[0, k]), *_interval(shapley[1:, k]), float(errors[k]),
            float(gains[k][0]), *_interval(gains[k][1:]),
        )  # fmt: skip
    return Contributions(
        by_partner, float(everybody[0]), float(values[0, place[()]]),
        {one: float(values[0, number]) for one, number in place.items()}, exact,
    )  # fmt: skip


def _interval(samples: np.ndarray) -> tuple[float, float]:
    return interval(samples) if len(samples) else (float("nan"), float("nan"))


def _members(names: Sequence[str], chosen: np.ndarray) -> Coalition:
    return tuple(names[k] for k in np.sort(chosen))


def _shapley_matrix(names: Sequence[str], coalitions: Sequence[Coalition]) -> np.ndarray:
    """The Shapley value as a linear map of all coalitions' values, shape (2^n, n)."""
    n = len(names)
    matrix = np.zeros((len(coalitions), n))
    for row, members in enumerate(coalitions):
        size = len(members)
        for column, name in enumerate(names):
            others = size - 1 if name in members else size
            weight = 1.0 / (n * math.comb(n - 1, others)) if others < n else 0.0
            matrix[row, column] = weight if name in members else -weight
    return matrix


def _sampled(
    names: Sequence[str], orders: np.ndarray, values: np.ndarray, place: Mapping[Coalition, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean gains over orders, shape (1 + draws, n), and the standard errors of the first row."""
    n = len(names)
    total = np.zeros((len(values), n))
    first = np.zeros((len(orders), n))
    for number, order in enumerate(orders):
        steps = values[:, [place[_members(names, order[:k])] for k in range(n + 1)]]
        gained = np.diff(steps, axis=1)
        total[:, order] += gained
        first[number, order] = gained[0]
    spread = first.std(axis=0, ddof=1) if len(orders) > 1 else np.full(n, np.nan)
    return total / len(orders), spread / np.sqrt(len(orders))
