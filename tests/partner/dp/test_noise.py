"""The samplers against exact distributions. They cannot be seeded: limits are wide enough that a
right sampler fails once in a million runs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import chisquare

from fluid.partner.dp.noise import (
    bernoulli_exp,
    discrete_gaussian,
    discrete_laplace,
    exact,
    from_grid,
    gaussian_noise,
    to_grid,
)

RARE = 1e-6


def _fits(draws: list[int], weight: Callable[[int], float], support: range) -> bool:
    """Chi-square of draws with a distribution; values of less than ten expected are joined."""
    mass = np.array([weight(value) for value in support])
    expected = mass / mass.sum() * len(draws)
    counts = Counter(draws)
    seen = np.array([counts[value] for value in support], dtype=float)
    assert seen.sum() == len(draws)
    common = expected >= 10
    if not common.all():
        seen = np.append(seen[common], seen[~common].sum())
        expected = np.append(expected[common], expected[~common].sum())
    return float(chisquare(seen, expected).pvalue) > RARE


@pytest.mark.parametrize("sigma", ["1/2", "37/10"])
def test_discrete_gaussian_has_its_distribution(sigma: str) -> None:
    width = float(Fraction(sigma))
    draws = [discrete_gaussian(Fraction(sigma)) for _ in range(5000)]

    def weight(value: int) -> float:
        return float(np.exp(-(value**2) / (2 * width**2)))

    assert _fits(draws, weight, range(-60, 61))
    if width > 1:
        # A quarter less of the noise would be seen.
        assert not _fits([round(0.75 * draw) for draw in draws], weight, range(-60, 61))


def test_discrete_laplace_has_its_distribution() -> None:
    draws = [discrete_laplace(3) for _ in range(4000)]
    assert _fits(draws, lambda value: float(np.exp(-abs(value) / 3)), range(-100, 101))


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 3), (1, 1), (5, 2)])
def test_bernoulli_exp_has_its_probability(numerator: int, denominator: int) -> None:
    draws = [int(bernoulli_exp(numerator, denominator)) for _ in range(4000)]
    rate = float(np.exp(-numerator / denominator))
    if rate == 1.0:
        assert all(draws)
    else:
        assert _fits(draws, lambda value: rate if value else 1 - rate, range(2))


def test_no_seed_repeats_the_noise() -> None:
    drawn = []
    for _ in range(2):
        np.random.seed(1)
        random.seed(1)
        drawn.append(gaussian_noise((20,), Fraction(1000)))
    assert (drawn[0] != drawn[1]).any()


def test_settings_are_taken_as_they_were_written() -> None:
    assert exact(0.1) == Fraction(1, 10)
    assert exact(1e-6) == Fraction(1, 1_000_000)


def test_the_grid_has_both_ends_and_clips() -> None:
    points = to_grid(np.array([-9.0, -2.0, 0.0, 1.0, 9.0]), -2.0, 2.0, 4)
    assert points.tolist() == [0, 0, 2, 3, 4]
    assert from_grid(np.array([-3, 0, 3, 99]), -2.0, 2.0, 4).tolist() == [-2.0, -2.0, 1.0, 2.0]
