"""A student of more compounds than are held: the sums are those of the whole, however it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fluid.central import fit_student as fits
from fluid.central.distill import train_student
from fluid.central.fit_student import FitOptions, FittedLearners, StudentTask, fit_learners
from fluid.central.student import StudentOptions
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.exchange.federated_set import open_federated
from fluid.learn.estimators import kernel
from fluid.learn.estimators.kernel import KernelRidge
from fluid.learn.estimators.twicing import Step, Twicing
from fluid.learn.model import TrainedModel
from fluid.learn.storage import load_model, save_model
from fluid.learn.task import Task
from fluid.report.calibration_sets import _were_trained_on
from tests.conftest import Consortium

LANDMARKS, RIDGE = 60, KernelRidge().ridge


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that the small consortium exceeds."""
    monkeypatch.setattr(fits, "MOST_HELD", 100)
    monkeypatch.setattr(fits, "LANDMARKS", LANDMARKS)
    monkeypatch.setattr(fits, "MOST_JUDGED", 20)
    monkeypatch.setattr(fits, "MOST_FOR_TREES", 150)


def cut(compounds: Compounds, size: int) -> CompoundStream:
    starts = range(0, len(compounds), size)
    parts = [compounds.take(np.arange(s, min(s + size, len(compounds)))) for s in starts]
    return CompoundStream(len(compounds), lambda: iter(parts))


def fit(library: CompoundStream, names: tuple[str, ...], jobs: int = 1) -> FittedLearners:
    random = np.random.default_rng(5)
    rows = np.sort(random.choice(len(library), 350, replace=False))
    targets = random.normal(size=(350, 2))
    weights = random.exponential(size=350) + 0.1
    inside = random.random(350) > 0.1
    student_task = StudentTask(library, rows, targets, weights, inside, rows[:7])
    return fit_learners(student_task, FitOptions(names, 3, jobs))


@pytest.mark.usefixtures("few")
def test_a_plain_part_is_not_sharpened_on_landmarks(consortium: Consortium) -> None:
    """Of targets that are plain altogether nothing is sharpened; of half of each, half."""
    compounds, _ = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    random = np.random.default_rng(5)
    rows = np.sort(random.choice(len(compounds), 350, replace=False))
    targets = random.normal(size=(350, 2))
    weights, inside = np.ones(350), random.random(350) > 0.1
    sharp = Twicing(1.5, (Step(0.01, 2.0),))

    def learned(plain: np.ndarray | None, twicing: Twicing | None) -> np.ndarray:
        student_task = StudentTask(
            cut(compounds, 90), rows, targets, weights, inside, rows[:7], plain=plain
        )
        made = fit_learners(student_task, FitOptions(("kernel-ridge",), 3, 1, twicing=twicing))
        both = [*made.final["kernel-ridge"], *made.tried["kernel-ridge"]]
        assert len(both) == 4
        return np.stack([one.score(compounds, made.compounds) for one in both])

    as_they_are, apply_twicing = learned(None, None), learned(None, sharp)
    assert np.abs(apply_twicing - as_they_are).max() > 0.1
    assert learned(targets, sharp) == pytest.approx(as_they_are, abs=1e-6)
    half = learned(targets / 2.0, sharp)
    assert half == pytest.approx((as_they_are + apply_twicing) / 2.0, abs=1e-6)


@pytest.mark.usefixtures("few")
def test_ridge_on_landmarks_is_the_closed_form(consortium: Consortium) -> None:
    compounds, _ = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    random = np.random.default_rng(5)
    rows = np.sort(random.choice(len(compounds), 350, replace=False))
    targets = random.normal(size=(350, 2))
    weights = random.exponential(size=350) + 0.1
    inside = random.random(350) > 0.1
    found = fit(cut(compounds, 90), ("kernel-ridge",))
    assert set(rows[:7]) <= set(found.positions)
    assert len(found.held) == 20
    assert set(found.positions[found.held]) <= set(rows[~inside])
    for learned, part in ((found.final, np.ones(350, dtype=bool)), (found.tried, inside)):
        for output, model in enumerate(learned["kernel-ridge"]):
            assert isinstance(model, KernelRidge)
            places = found.positions[model.rows_]
            assert len(places) == LANDMARKS
            unseen = np.isin(places, rows[~part])
            assert np.all(model.weights_[unseen] == 0.0)
            kernel = model.kernel_
            basis = kernel.prepare(compounds.take(places[~unseen]))
            cross = kernel(kernel.prepare(compounds.take(rows[part])), basis).astype(np.float64)
            each, wanted = weights[part], targets[part, output]
            normal = cross.T @ (cross * each[:, None])
            normal += RIDGE * kernel(basis, basis) + 1e-6 * part.sum() * np.eye(len(normal))
            centre = np.average(wanted, weights=each)
            expected = np.linalg.solve(normal, cross.T @ (each * (wanted - centre)))
            assert model.intercept_ == pytest.approx(centre)
            assert model.weights_[~unseen] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.usefixtures("few")
def test_neither_pieces_nor_threads_change_a_bit(consortium: Consortium) -> None:
    compounds, _ = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    names = ("kernel-ridge", "lightgbm-student")
    first = fit(CompoundStream.of(compounds), names)
    for size, jobs in ((37, 1), (400, 2)):
        other = fit(cut(compounds, size), names, jobs)
        assert np.array_equal(first.positions, other.positions)
        assert np.array_equal(first.held, other.held)
        for name in names:
            for one, two in zip(
                first.final[name] + first.tried[name], other.final[name] + other.tried[name],
                strict=True,
            ):  # fmt: skip
                scores = [e.score(compounds, first.compounds) for e in (one, two)]
                assert np.array_equal(*scores)


@pytest.mark.usefixtures("few")
def test_a_student_takes_along_what_it_refers_to(consortium: Consortium, tmp_path: Path) -> None:
    compounds, pooled = open_federated(
        consortium.folder / "round1" / "federated.parquet"
    ).load()  # fmt: skip
    options = StudentOptions(learners=("kernel-ridge", "lightgbm-student"))
    tasks = consortium.federation.tasks
    model, distilled = train_student(
        cut(compounds, 90), tasks, pooled, consortium.federation, "", 0, 1, options=options
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
    told, told_again = model.predict(queries), again.predict(queries)
    for task in tasks:
        one, two = told.by_task[task.name], told_again.by_task[task.name]
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
    consortium: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    compounds, _ = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    names = ("kernel-ridge", "lightgbm-student")
    small = fit(CompoundStream.of(compounds), names)
    for module in (fits, kernel):
        monkeypatch.setattr(module, "MOST_FACTORED", 100)
    one, two = (fit(CompoundStream.of(compounds), names, jobs) for jobs in (1, 2))
    for name in names:
        for found, other, exact in zip(
            *(each.final[name] + each.tried[name] for each in (one, two, small)), strict=True
        ):
            scores = [e.score(compounds, one.compounds) for e in (found, other, exact)]
            assert np.array_equal(scores[0], scores[1])
            assert scores[0] == pytest.approx(scores[2], abs=1e-3)
