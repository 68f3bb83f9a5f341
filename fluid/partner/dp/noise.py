"""Noise from the operating system's generator, sampled exactly: whole numbers, no rounding error.

A textbook sampler of continuous noise in floating point leaks: which doubles can come out at all
depends on the number that the noise was added to (Mironov 2012, CCS, doi 10.1145/2382196.2382264).
Here labels are whole numbers or put on a grid first, the noise is a discrete Gaussian (Canonne,
Kamath and Steinke 2020, arXiv 2004.00010), and every decision of the sampler compares whole numbers
with ``secrets.randbelow``. There is no seed, and nothing repeats. The time that sampling takes
depends on the noise, which somebody who can time the run may use.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

import numpy as np

RandBelow = Callable[[int], int]


@lru_cache(maxsize=256)
def exact(value: float) -> Fraction:
    """The decimal number that a setting was written as, for exact arithmetic.

    Examples
    --------
    >>> exact(0.1)
    Fraction(1, 10)
    """
    return Fraction(repr(float(value)))


def bernoulli_exp(numerator: int, denominator: int, below: RandBelow = secrets.randbelow) -> bool:
    """True with probability ``exp(-numerator / denominator)``, exactly.

    Canonne, Kamath and Steinke 2020, algorithm 1.

    Parameters
    ----------
    numerator, denominator
        Not negative, and positive.
    below
        Draws from 0 to n - 1, each with the same probability.
    """
    while numerator > denominator:
        if not _bernoulli_exp_small(1, 1, below):
            return False
        numerator -= denominator
    return _bernoulli_exp_small(numerator, denominator, below)


def _bernoulli_exp_small(numerator: int, denominator: int, below: RandBelow) -> bool:
    """The same up to a ratio of 1: the length of a run of ever less probable successes is odd."""
    count = 1
    while below(denominator * count) < numerator:
        count += 1
    return count % 2 == 1


def discrete_laplace(scale: int, below: RandBelow = secrets.randbelow) -> int:
    """A whole number y with probability proportional to ``exp(-|y| / scale)``, exactly.

    Canonne, Kamath and Steinke 2020, algorithm 2, for a whole scale.
    """
    while True:
        low = below(scale)
        if not bernoulli_exp(low, scale, below):
            continue
        high = 0
        while bernoulli_exp(1, 1, below):
            high += 1
        size = low + scale * high
        negative = below(2) == 1
        if negative and size == 0:
            continue
        return -size if negative else size


def discrete_gaussian(sigma: Fraction, below: RandBelow = secrets.randbelow) -> int:
    """A whole number y with probability proportional to ``exp(-y^2 / (2 sigma^2))``, exactly.

    Canonne, Kamath and Steinke 2020, algorithm 3: discrete Laplace draws, kept with the right
    probability.

    Parameters
    ----------
    sigma
        Positive; the standard deviation is at most this, and very near it from 1 on.
    below
        Draws from 0 to n - 1, each with the same probability.
    """
    scale = int(sigma) + 1
    square = sigma * sigma
    # (|y| - square / scale)^2 / (2 square), in whole numbers.
    upper, lower = square.numerator, square.denominator
    denominator = 2 * upper * lower * scale * scale
    while True:
        value = discrete_laplace(scale, below)
        distance = abs(value) * scale * lower - upper
        if bernoulli_exp(distance * distance, denominator, below):
            return value


def gaussian_noise(shape: tuple[int, ...], sigma: Fraction) -> np.ndarray:
    """Independent draws of `discrete_gaussian`, int64 of a shape."""
    count = int(np.prod(shape))
    draws = [discrete_gaussian(sigma) for _ in range(count)]
    return np.array(draws, dtype=np.int64).reshape(shape)


def to_grid(values: np.ndarray, low: float, high: float, levels: int) -> np.ndarray:
    """Clip to a range and round to one of its points 0 to `levels`, int64; evenly spaced."""
    share = (np.clip(values, low, high) - low) / (high - low)
    return np.round(share * levels).astype(np.int64)


def from_grid(points: np.ndarray, low: float, high: float, levels: int) -> np.ndarray:
    """Values at points of a grid, with noise or without, clipped to its range."""
    return np.clip(low + points / levels * (high - low), low, high)
