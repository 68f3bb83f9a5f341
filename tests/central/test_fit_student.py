"""A student of more compounds than are held: the sums are those of the whole, however it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fluid.base.jobs import Workers
from fluid.base.run import Run
from fluid.central import fit_student as module
from fluid.central.distill import train_student
from fluid.central.fit_student import FitOptions, StudentFit, StudentTask, fit_student
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.exchange.federated_set import open_federated
from fluid.learn.estimators import kernel, landmarks
from fluid.learn.estimators.kernel import KernelRidge
from fluid.learn.estimators.twicing import Step, Twicing
from fluid.learn.model import TrainedModel
from fluid.learn.storage import load_model, save_model
from fluid.learn.task import Task
from fluid.report.calibration_sets import _were_trained_on
from fluid.soft_labels.pooled import PooledLabels, PooledSet
from tests.conftest import Consortium

LANDMARKS, RIDGE = 60, KernelRidge().ridge
TWICING = Twicing(1.5, (Step(0.01, 2.0),))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that the small consortium exceeds."""
    monkeypatch.setattr(module, "MOST_HELD", 100)
    monkeypatch.setattr(module, "LANDMARKS", LANDMARKS)
    monkeypatch.setattr(module, "MOST_JUDGED", 20)


@pytest.fixture(scope="module")
def federated(consortium: Consortium) -> tuple[Compounds, dict[str, PooledLabels]]:
    return open_federated(consortium.folder / "round1" / "federated.parquet").load()


@pytest.fixture(scope="module")
def compounds(federated: tuple[Compounds, dict[str, PooledLabels]]) -> Compounds:
    return federated[0]


def cut(compounds: Compounds, size: int) -> CompoundStream:
    starts = range(0, len(compounds), size)
    parts = [compounds.take(np.arange(s, min(s + size, len(compounds)))) for s in starts]
    return CompoundStream(len(compounds), lambda: iter(parts))


def make_task(library: CompoundStream, n_outputs: int = 2) -> StudentTask:
    """Random targets and weights of 350 of the compounds, a tenth of them held out."""
    random = np.random.default_rng(5)
    rows = np.sort(random.choice(len(library), 350, replace=False))
    targets = random.normal(size=(350, n_outputs))
    weights = random.exponential(size=350) + 0.1
    inside = random.random(350) > 0.1
    return StudentTask(library, rows, targets, weights, inside, rows[:7])


def fit(library: CompoundStream, jobs: int = 1, workers: Workers | None = None) -> StudentFit:
    return fit_student(make_task(library), FitOptions(), Run(3, jobs, workers))


def assert_same_bytes(one: StudentFit, other: StudentFit) -> None:
    assert np.array_equal(one.positions, other.positions)
    assert np.array_equal(one.held, other.held)
    mine, theirs = (each.final + each.held_out_fit for each in (one, other))
    for a, b in zip(mine, theirs, strict=True):
        states = [estimator.to_state() for estimator in (a, b)]
        assert states[0].params == states[1].params
        for name, array in states[0].arrays.items():
            assert array.tobytes() == states[1].arrays[name].tobytes(), name


@pytest.mark.usefixtures("few")
def test_a_plain_part_is_not_sharpened_on_landmarks(compounds: Compounds) -> None:
    """If all of the targets is plain nothing is sharpened; if half of each is, the other half."""
    task = make_task(cut(compounds, 90))
    targets = task.targets

    def learned(plain: np.ndarray | None, twicing: Twicing | None) -> np.ndarray:
        part = StudentTask(
            task.library, task.rows, targets, np.ones(350), task.inside, task.references, plain
        )
        made = fit_student(part, FitOptions(twicing=twicing), Run(3, 1))
        both = [*made.final, *made.held_out_fit]
        assert len(both) == 4
        return np.stack([one.score(compounds, made.compounds) for one in both])

    as_they_are, sharpened = learned(None, None), learned(None, TWICING)
    assert np.abs(sharpened - as_they_are).max() > 0.1
    assert learned(targets, TWICING) == pytest.approx(as_they_are, abs=1e-6)
    half = learned(targets / 2.0, TWICING)
    assert half == pytest.approx((as_they_are + sharpened) / 2.0, abs=1e-6)


@pytest.mark.usefixtures("few")
def test_ridge_on_landmarks_is_the_closed_form(compounds: Compounds) -> None:
    task = make_task(CompoundStream.of(compounds))
    rows, inside, weights = task.rows, task.inside, task.weights
    assert weights is not None
    found = fit(cut(compounds, 90))
    assert set(rows[:7]) <= set(found.positions)
    assert len(found.held) == 20
    assert set(found.positions[found.held]) <= set(rows[~inside])
    for models, part in ((found.final, np.ones(350, dtype=bool)), (found.held_out_fit, inside)):
        for output, model in enumerate(models):
            places = found.positions[model.rows_]
            assert len(places) == LANDMARKS
            unseen = np.isin(places, rows[~part])
            assert np.all(model.weights_[unseen] == 0.0)
            kernel = model.kernel_
            basis = kernel.prepare(compounds.take(places[~unseen]))
            cross = kernel(kernel.prepare(compounds.take(rows[part])), basis).astype(np.float64)
            each, wanted = weights[part], task.targets[part, output]
            normal = cross.T @ (cross * each[:, None])
            normal += RIDGE * kernel(basis, basis) + 1e-6 * part.sum() * np.eye(len(normal))
            centre = np.average(wanted, weights=each)
            expected = np.linalg.solve(normal, cross.T @ (each * (wanted - centre)))
            assert model.intercept_ == pytest.approx(centre)
            assert model.weights_[~unseen] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.usefixtures("few")
def test_neither_pieces_nor_threads_change_a_bit(compounds: Compounds) -> None:
    first = fit(CompoundStream.of(compounds))
    for size, jobs in ((37, 1), (400, 2)):
        assert_same_bytes(first, fit(cut(compounds, size), jobs))


class Recorder:
    """Workers of this process that count the chunks that they sum."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.sizes.append(len(item.compounds))
            yield function(item)


@pytest.mark.usefixtures("few")
def test_workers_sum_every_chunk_and_change_no_bit(
    compounds: Compounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landmarks, "_CHUNK", 64)
    monkeypatch.setattr(landmarks, "_BLOCK", 24)
    workers = Recorder()
    assert_same_bytes(fit(cut(compounds, 90)), fit(cut(compounds, 90), 1, workers))
    inside = int(make_task(CompoundStream.of(compounds)).inside.sum())
    last, rest = inside % 64, 350 - inside
    assert workers.sizes == [64] * (inside // 64) + [last, rest]


def test_a_small_student_needs_no_workers(compounds: Compounds) -> None:
    workers = Recorder()
    fit(CompoundStream.of(compounds), 1, workers)
    assert workers.sizes == []


@pytest.mark.usefixtures("few")
def test_a_student_takes_along_what_it_refers_to(
    consortium: Consortium, federated: tuple[Compounds, dict[str, PooledLabels]], tmp_path: Path
) -> None:
    compounds, pooled = federated
    tasks = consortium.federation.tasks
    model, distilled = train_student(
        tasks, PooledSet(cut(compounds, 90), pooled), consortium.federation, run=Run(jobs=1)
    )
    assert len(model.library) < len(compounds)
    queries = compounds.take(np.arange(40))
    for task_model in model.task_models:
        before = distilled[task_model.task.name].model
        assert np.array_equal(
            model.library.inchikeys[task_model.rows], compounds.inchikeys[before.rows]
        )
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, TrainedModel)
    predicted, predicted_again = model.predict(queries), again.predict(queries)
    for task in tasks:
        one, two = predicted.by_task[task.name], predicted_again.by_task[task.name]
        assert np.array_equal(one.values, two.values)
        # It follows the labels that it has learned from.
        known = np.isfinite(pooled[task.name].label[:40]).all(axis=1)
        truth = pooled[task.name].label[:40][known, 0]
        assert np.corrcoef(one.values[known, 0], truth)[0, 1] > 0.6
    strange = Task("none", "binary")
    assert np.all(_were_trained_on(again, strange, compounds))
    changed = compounds.take(np.arange(3))
    keys = np.array(["A" * 14 + "-UHFFFAOYSA-N"] * 3, dtype=object)
    object.__setattr__(changed, "inchikeys", keys)
    assert not np.any(_were_trained_on(again, strange, changed))


def test_large_students_do_not_depend_on_threads(
    compounds: Compounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = fit(CompoundStream.of(compounds))
    for place in (module, kernel):
        monkeypatch.setattr(place, "MOST_FACTORED", 100)
    one, two = (fit(CompoundStream.of(compounds), jobs) for jobs in (1, 2))
    assert_same_bytes(one, two)
    for found, exact in zip(
        one.final + one.held_out_fit, small.final + small.held_out_fit, strict=True
    ):
        scores = [estimator.score(compounds, one.compounds) for estimator in (found, exact)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)
