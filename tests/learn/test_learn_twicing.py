"""Twicing against the closed form, by every way of solving."""

from __future__ import annotations

import numpy as np
import pytest

from fluid.chem.compounds import Compounds
from fluid.exchange.federated_set import open_federated
from fluid.learn.estimators import kernel, landmarks
from fluid.learn.estimators.kernel import KernelRidge
from fluid.learn.estimators.twicing import Step, Twicing
from tests.conftest import Consortium

SHARP = Twicing(1.2, (Step(0.02, 0.4), Step(0.002, 0.9)))
RIDGE = 0.05


@pytest.fixture
def compounds(consortium: Consortium) -> Compounds:
    found, _ = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    return found.take(np.arange(0, len(found), 2))


def test_a_component_is_multiplied_as_the_steps_state() -> None:
    """Eigenvalues 1.5 and 0.5 of two compounds, by hand."""
    gram = np.array([[1.0, 0.5], [0.5, 1.0]])
    smooth, rough = np.array([1.0, 1.0]), np.array([1.0, -1.0])

    def sharp(labels: np.ndarray) -> np.ndarray:
        def residual(ridge: float) -> np.ndarray:
            return ridge * np.linalg.solve(gram + ridge * np.eye(2), labels)

        return Twicing(1.2, (Step(0.25, 0.8),)).apply(labels, 2.0, residual)

    # Ridge 0.5: residuals of a quarter and a half.
    assert sharp(smooth) == pytest.approx(1.4 * smooth)
    assert sharp(rough) == pytest.approx(1.6 * rough)
    assert sharp(3.0 * smooth - rough) == pytest.approx(4.2 * smooth - 1.6 * rough)


def expected(
    compounds: Compounds, targets: np.ndarray, weights: np.ndarray, twicing: Twicing
) -> np.ndarray:
    """A student's predictions for its own compounds, by eigenvectors."""
    made = KernelRidge().kernel_.fit(compounds)
    prepared = made.prepare(compounds)
    root = np.sqrt(weights)
    values, vectors = np.linalg.eigh(
        made(prepared, prepared).astype(np.float64) * root[:, None] * root
    )
    centre = np.average(targets, weights=weights)
    n = weights.sum()
    factor = twicing.base + sum(
        step.gain * step.ridge * n / (values + step.ridge * n) for step in twicing.steps
    )
    parts = vectors.T @ (root * (targets - centre))
    return np.asarray(centre + vectors @ (factor * values / (values + RIDGE) * parts) / root)


def some_weights(random: np.random.Generator, n: int) -> np.ndarray:
    weights = random.exponential(size=n) + 0.1
    return np.asarray(weights / weights.mean())


def solving(way: str, n: int, monkeypatch: pytest.MonkeyPatch) -> tuple[KernelRidge, float]:
    """A learner that takes this way with n compounds, and how near it comes."""
    learner = KernelRidge(RIDGE, twicing=SHARP)
    if way == "gradients":
        monkeypatch.setattr(kernel, "MOST_FACTORED", 50)
    if way == "landmarks":
        learner.most_exact, learner.n_landmarks = 50, n
        # What keeps the equations of landmarks solvable is a penalty more.
        monkeypatch.setattr(landmarks, "_LEAST", 1e-9)
    return learner, 2e-3 if way == "landmarks" else 2e-4


@pytest.mark.parametrize("way", ["factor", "gradients", "landmarks"])
def test_every_way_of_solving_learns_sharpened_labels(
    compounds: Compounds, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    n = len(compounds)
    targets = compounds.descriptors[:, 0] / 100.0 + random.normal(size=n)
    weights = some_weights(random, n)
    learner, near = solving(way, n, monkeypatch)
    learner.fit(compounds, np.arange(n), targets, False, 0, weights)
    found = learner.score(compounds, compounds)
    assert found == pytest.approx(expected(compounds, targets, weights, SHARP), abs=near)
    plain = expected(compounds, targets, weights, Twicing(1.0, ()))
    assert np.abs(found - plain).max() > 0.3


@pytest.mark.parametrize("way", ["factor", "gradients", "landmarks"])
def test_a_plain_part_is_learned_as_it_is(
    compounds: Compounds, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is learned is the sum of what is learned of both parts."""
    random = np.random.default_rng(1)
    n = len(compounds)
    plain, rest = compounds.descriptors[:, 0] / 100.0, random.normal(size=n) + 3.0
    weights = some_weights(random, n)
    learner, near = solving(way, n, monkeypatch)
    learner.fit(compounds, np.arange(n), plain + rest, False, 0, weights, plain)
    found = learner.score(compounds, compounds)
    both = expected(compounds, plain, weights, Twicing(1.0, ())) + expected(
        compounds, rest, weights, SHARP
    )
    assert found == pytest.approx(both, abs=near)


def test_labels_of_fewer_teachers_are_sharpened_less() -> None:
    """Bands of slopes 1.8, 2.4 and 3.75 of labels with a shrinkage slope of 1.5."""
    stated = Twicing(1.2, (Step(0.02, 0.4), Step(0.002, 0.9)))
    assert stated.of_fewer(1.0, 1.5) == stated
    half = stated.of_fewer(0.5, 1.25)
    assert half is not None
    # The slopes that remain are 1.4, 1.7 and 2.375.
    assert half.base * 1.25 == pytest.approx(1.4)
    assert half.steps[0].gain * 1.25 == pytest.approx(0.3)
    assert half.steps[1].gain * 1.25 == pytest.approx(0.675)
    assert [step.ridge for step in half.steps] == [0.02, 0.002]
    assert stated.of_fewer(0.0, 1.0) is None


def test_as_plain_values() -> None:
    assert SHARP.to_dict() == {
        "base": 1.2,
        "steps": [{"ridge": 0.02, "gain": 0.4}, {"ridge": 0.002, "gain": 0.9}],
    }
