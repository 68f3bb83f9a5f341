"""Conjugate gradients against the solution of the linear system."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.errors import TrainingError
from fluid.learn.estimators import conjugate
from fluid.learn.estimators.conjugate import solve_ridge


def gaussian(n: int, width: float, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(n, 3))
    distance = ((points[:, None] - points) ** 2).sum(axis=2)
    return np.exp(-distance / width).astype(np.float32)


@given(
    n=st.integers(1, 60),
    width=st.floats(0.01, 10.0),
    ridge=st.floats(0.01, 100.0),
    spread=st.floats(0.0, 3.0),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_the_solution_is_that_of_the_system(
    n: int, width: float, ridge: float, spread: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    gram = gaussian(n, width, seed)
    weights = np.exp(spread * random.normal(size=n))
    targets = random.normal(size=n) * 10.0 ** random.integers(-3, 4)
    found = solve_ridge(gram, targets, weights, ridge)
    full = gram.astype(np.float64) + np.diag(ridge / weights)
    expected = np.linalg.solve(full, targets)
    # What counts is what is predicted: how well each coefficient is known depends on the system.
    scale = np.abs(targets).max()
    np.testing.assert_allclose(gram @ found, gram @ expected, atol=1e-4 * scale)
    # As it promises: the residual, each row times the root of its weight.
    root = np.sqrt(weights)
    left = root * (full @ found - targets)
    assert np.linalg.norm(left) <= 2e-6 * np.linalg.norm(root * targets)


def test_neither_threads_nor_landmarks_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    gram, targets = gaussian(300, 0.5, 1), random.normal(size=300)
    weights = random.exponential(size=300) + 0.02
    monkeypatch.setattr(conjugate, "_BLOCK", 64)
    one, two = (solve_ridge(gram, targets, weights, 0.03, jobs=jobs) for jobs in (1, 2))
    assert np.array_equal(one, two)
    other = solve_ridge(gram, targets, weights, 0.03, seed=9)
    np.testing.assert_allclose(gram @ other, gram @ one, atol=1e-4)


def test_targets_of_zero_have_coefficients_of_zero() -> None:
    assert np.all(solve_ridge(gaussian(20, 1.0, 0), np.zeros(20), np.ones(20), 0.1) == 0.0)


def test_identical_compounds_share_their_coefficient() -> None:
    # Singular without the ridge: the landmarks' kernel has rank 1.
    found = solve_ridge(np.ones((40, 40), dtype=np.float32), np.ones(40), np.ones(40), 2.0)
    np.testing.assert_allclose(found, 1.0 / 42.0, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_numbers_that_are_not_finite_are_refused() -> None:
    targets = np.ones(8)
    targets[3] = np.nan
    with pytest.raises(TrainingError, match="8 compounds does not converge"):
        solve_ridge(gaussian(8, 1.0, 0), targets, np.ones(8), 0.1)
