"""What each partner adds to a coalition: Shapley, Banzhaf and leave-one-out values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fluid.learn.metrics import interval

MOST_EXACT = 10

Coalition = tuple[str, ...]
# Values of k coalitions (each a tuple of names, ascending): float64 of shape (1 + draws, k). The
# first row is on all test compounds, the others on bootstrap samples of them.
Utility = Callable[[Sequence[Coalition]], np.ndarray]


@dataclass(frozen=True)
class Gain:
    """What a partner adds to the value, in its units; positive is good.

    Attributes
    ----------
    value
        On all test compounds.
    low, high
        Its 95% bootstrap interval over test compounds; NaN without bootstrap samples.
    error
        Standard error from sampling orders; 0 if all coalitions were tried, NaN for one order.
    """

    value: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Contribution:
    """What one partner adds to the partners that are there already, in three ways.

    Attributes
    ----------
    shapley
        Mean gain over all orders in which partners could join: every size of coalition counts the
        same.
    banzhaf
        Mean gain over all coalitions of the others: about half of the others are there. Of all
        semivalues its ranks suffer least from uncertain values (Wang and Jia 2023, doi
        10.48550/arXiv.2205.15466).
    leave_one_out
        Value of all partners minus the value of all others.
    """

    shapley: Gain
    banzhaf: Gain
    leave_one_out: Gain


_NO_GAIN = Gain(0.0, 0.0, 0.0, 0.0)
NO_CONTRIBUTION = Contribution(_NO_GAIN, _NO_GAIN, _NO_GAIN)


@dataclass(frozen=True)
class Contributions:
    """What all partners add.

    Attributes
    ----------
    by_partner
        Contribution of each partner. Shapley values sum to `everybody` - `nobody`; the other
        values need not.
    everybody, nobody
        Values of all partners together, and of none.
    values
        The value of every coalition that was tried.
    exact
        Whether all coalitions were tried.
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
    """What each partner adds: semivalues of a game (Dubey et al. 1981, doi 10.1287/moor.6.1.122).

    The semivalues are Shapley's (1953, doi 10.1515/9781400881970-018) and Banzhaf's (1965,
    "Weighted voting doesn't work", Rutgers Law Review 19, 317). Up to `most_exact` partners all
    coalitions are tried. Beyond that, gains are averaged over random orders (Castro et al. 2009,
    doi 10.1016/j.cor.2008.04.004). For Banzhaf's value a gain is weighted by the number of
    coalitions of the size that the partner joins. Shapley values then still sum to
    `everybody` - `nobody`.

    Parameters
    ----------
    partners
        Names, in any order.
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
        shortened = {_members(names, np.delete(np.arange(n), k)) for k in range(n)}
        wanted = sorted(prefixes | shortened, key=lambda one: (len(one), one))
    values = utility(wanted)
    place = {one: number for number, one in enumerate(wanted)}
    everybody = values[:, place[tuple(names)]]
    others = [place[_members(names, np.delete(np.arange(n), k))] for k in range(n)]
    left_out = _gains(everybody[:, None] - values[:, others], np.zeros(n))
    found = []
    for sizes in (np.full(n, 1.0 / max(n, 1)), _banzhaf_sizes(n)):
        if exact:
            found.append(_gains(values @ _semivalue_matrix(names, wanted, sizes), np.zeros(n)))
        else:
            found.append(_gains(*_sampled(names, orders, values, place, sizes)))
    return Contributions(
        {name: Contribution(*three) for name, *three in zip(names, *found, left_out, strict=True)},
        float(everybody[0]),
        float(values[0, place[()]]),
        {one: float(values[0, number]) for one, number in place.items()},
        exact,
    )


def _gains(values: np.ndarray, errors: np.ndarray) -> list[Gain]:
    """One for each column of values, shape (1 + draws, n)."""
    unknown = float("nan"), float("nan")
    return [
        Gain(float(one[0]), *(interval(one[1:]) if len(one) > 1 else unknown), float(error))
        for one, error in zip(values.T, errors, strict=True)
    ]


def _members(names: Sequence[str], chosen: np.ndarray) -> Coalition:
    return tuple(names[k] for k in np.sort(chosen))


def _banzhaf_sizes(n: int) -> np.ndarray:
    """Share of the coalitions of n - 1 others that have 0, 1, ... n - 1 members."""
    return np.array([math.comb(n - 1, size) / 2 ** (n - 1) for size in range(n)])


def _semivalue_matrix(
    names: Sequence[str], coalitions: Sequence[Coalition], sizes: np.ndarray
) -> np.ndarray:
    """A semivalue as a linear map of all coalitions' values, shape (2^n, n).

    `sizes` are the weights of the gains upon coalitions of 0, 1, ... n - 1 others; their sum is 1.
    """
    n = len(names)
    matrix = np.zeros((len(coalitions), n))
    for row, members in enumerate(coalitions):
        size = len(members)
        for column, name in enumerate(names):
            others = size - 1 if name in members else size
            weight = sizes[others] / math.comb(n - 1, others) if others < n else 0.0
            matrix[row, column] = weight if name in members else -weight
    return matrix


def _sampled(
    names: Sequence[str],
    orders: np.ndarray,
    values: np.ndarray,
    place: Mapping[Coalition, int],
    sizes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean gains over orders, shape (1 + draws, n), and the standard errors of the first row.

    A partner joins each number of others equally often; for `sizes` see `_semivalue_matrix`.
    """
    n = len(names)
    total, weight = np.zeros((len(values), n)), np.zeros(n)
    first, weights = np.zeros((len(orders), n)), np.zeros((len(orders), n))
    for number, order in enumerate(orders):
        steps = values[:, [place[_members(names, order[:k])] for k in range(n + 1)]]
        gained = np.diff(steps, axis=1)
        total[:, order] += sizes * gained
        weight[order] += sizes
        first[number, order] = gained[0]
        weights[number, order] = sizes
    mean = total / weight
    if len(orders) < 2:
        return mean, np.full(n, np.nan)
    spread = ((weights * (first - mean[0])) ** 2).sum(axis=0) * len(orders) / (len(orders) - 1)
    return mean, np.sqrt(spread) / weight
