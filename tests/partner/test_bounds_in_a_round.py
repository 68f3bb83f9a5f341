"""A table with bounds through teacher, residuals, audit, hybrid, evaluation and prediction sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluid import evaluate
from fluid.base.errors import FileFormatError
from fluid.base.run import Run
from fluid.exchange.base_student import student_numbers
from fluid.exchange.federated_set import open_federated
from fluid.learn.censored import one_sided
from fluid.learn.measured import read_measured, write_measured
from fluid.learn.own_fold import folds_of_repeats
from fluid.learn.storage import load_measured, load_model, load_trained, save_model
from fluid.partner.audit.run import private_table
from fluid.partner.hybrid.fit import fit_hybrid
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.partner.teacher.fit import FittedTeacher, TrainingOptions, fit_model
from fluid.partner.teacher.residuals import (
    MeasuredLabels,
    fit_residuals,
    measured_labels,
    residual_learner,
    student_residuals,
)
from fluid.report.calibration_sets import sets_of_folder
from fluid.simulation.predictions import LabelledPrediction, pack_out_of_fold, unpack_out_of_fold
from fluid.soft_labels.pooled import PooledSet
from tests.conftest import Consortium

OPTIONS = TrainingOptions("logistic", folds=3, repeats=1)
SECRET = bytes(32)
LOGBB = 1


@pytest.fixture(scope="module")
def table(consortium: Consortium) -> LabelledCompounds:
    """Numbers in the upper fifth are known as bounds, and some others are odd upper bounds."""
    federation = consortium.federation
    read = read_labelled([consortium.table("aurora")], federation.tasks, federation.chemistry)
    labels = read.labels
    numbers = labels.tasks == LOGBB
    limit = np.quantile(labels.values[numbers], 0.8)
    above = numbers & (labels.values > limit)
    below = numbers & (np.arange(len(numbers)) % 11 == 0) & ~above
    signs = (above.astype(np.int8) - below).astype(np.int8)
    values = np.where(above, limit, labels.values)
    return replace(read, labels=replace(labels, values=values, qualifiers=signs))


@pytest.fixture(scope="module")
def fitted(consortium: Consortium, table: LabelledCompounds) -> FittedTeacher:
    return fit_model(
        table, consortium.federation, "aurora", SECRET, options=OPTIONS, run=Run(jobs=1)
    )


@pytest.fixture(scope="module")
def folder(fitted: FittedTeacher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bounds") / "teacher"
    made.mkdir()
    save_model(fitted.model, made, fitted.measured)
    return made


def test_a_teacher_learns_bounds_and_says_how_many(
    consortium: Consortium, table: LabelledCompounds, fitted: FittedTeacher
) -> None:
    rows, _, signs = table.labels.column_with_signs(LOGBB)
    assert signs is not None
    (model,) = [one for one in fitted.model.task_models if one.task.name == "logbb"]
    assert model.rows.tolist() == rows.tolist()
    card = fitted.model.card
    assert card.training["labels"]["logbb"] == {
        "compounds": len(rows), "censored": int(np.sum(signs != 0)),
    }  # fmt: skip
    assert "censored" not in card.training["labels"]["bbb"]
    measured = fitted.measured["logbb"]
    error = one_sided(measured.truth, measured.values[:, 0], signs)
    metrics = card.metrics["logbb"]
    assert metrics["censored_rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), abs=1e-4)
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean(error[signs == 0] ** 2)), abs=1e-4)
    dropped = fit_model(
        table, consortium.federation, "aurora", SECRET,
        options=replace(OPTIONS, censored="drop"), run=Run(jobs=1),
    )  # fmt: skip
    assert dropped.measured["logbb"].signs is None
    assert len(dropped.measured["logbb"]) == int(np.sum(signs == 0))
    above = signs == 1
    assert measured.values[above].mean() > dropped.model.predict(
        table.compounds.take(rows[above])
    ).by_task["logbb"].values.mean() - 0.5  # fmt: skip


def test_a_folder_keeps_which_labels_are_bounds(
    consortium: Consortium, table: LabelledCompounds, fitted: FittedTeacher, folder: Path
) -> None:
    model = load_trained(folder, "teacher")
    kept, made = load_measured(folder, model)["logbb"], fitted.measured["logbb"]
    assert kept.signs is not None
    assert made.signs is not None
    assert kept.signs.dtype == np.int8
    assert kept.signs.tolist() == made.signs.tolist()
    again = private_table(folder, model, consortium.federation).labels
    assert again.qualifiers.tolist() == table.labels.qualifiers.tolist()
    assert again.values.tolist() == table.labels.values.tolist()
    # Prediction sets are calibrated on exact values.
    calibration = sets_of_folder(folder, load_model(folder))["logbb"].measured
    assert calibration.signs is None
    exact = made.exact()
    known = np.isfinite(exact.values[:, 0])
    assert calibration.truth.tolist() == exact.truth[known].tolist()


@pytest.mark.parametrize(
    "spoiled", [np.zeros(3), np.full(12, 2.0), np.full(12, np.nan), np.zeros(12, np.int64)]
)
def test_signs_that_cannot_be_are_refused(
    tmp_path: Path, fitted: FittedTeacher, spoiled: np.ndarray
) -> None:
    one = fitted.measured["logbb"].take(np.arange(12))
    write_measured(tmp_path / "good.npz", {"logbb": replace(one, signs=np.ones(12, np.int8))})
    task = next(model.task for model in fitted.model.task_models if model.task.name == "logbb")
    assert len(read_measured(tmp_path / "good.npz", {task: 12})["logbb"]) == 12
    parts = {"values": one.values, "truth": one.truth, "similarity": one.similarity}
    arrays = {f"logbb/{name}": each for name, each in parts.items()} | {"logbb/signs": spoiled}
    np.savez_compressed(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="does not fit"):
        read_measured(tmp_path / "bad.npz", {task: 12})


def test_bounds_that_the_student_keeps_are_no_residuals(
    consortium: Consortium, fitted: FittedTeacher, folder: Path
) -> None:
    student = load_trained(consortium.folder / "round1" / "student", "student")
    measured = measured_labels(folder, fitted.model)
    folds = folds_of_repeats(fitted.model.library, SECRET, 1, 3)
    (own,) = [one for one in fitted.model.task_models if one.task.name == "logbb"]
    labels = measured["logbb"]
    predictions = student_numbers(student, own.task, fitted.model.library.take(own.rows))[:, 0]
    kept = (labels.signs == 1) & (predictions > labels.values + 0.3)
    kept |= (labels.signs == -1) & (predictions < labels.values - 0.3)
    assert kept.any()
    moved = np.where(kept, labels.values - 0.2 * np.asarray(labels.signs), labels.values)
    asked = fitted.model.library
    found = []
    for values in (labels.values, moved):
        given = measured | {"logbb": MeasuredLabels(values, labels.signs)}
        made = fit_residuals(fitted.model, given, folds, student)["logbb"]
        found.append(np.stack([one.predict(made.task, asked, asked) for one in made.members]))
    # A looser bound that was kept before changes nothing, up to the bounds that residuals violate.
    assert np.abs(found[0] - found[1]).mean() < 0.1 * np.abs(found[0]).mean()
    # Residuals are clipped, but not those of bounds that are kept.
    left = student_residuals(student, own.task, asked.take(own.rows), labels)
    farthest = 2.0 * labels.values[np.asarray(labels.signs) == 0].std()
    assert left[~kept].max() <= farthest
    assert left[kept] == pytest.approx((labels.values - predictions)[kept])
    learner = residual_learner(student, own.task)
    learner.fit(asked, own.rows, left, False, 0, signs=labels.signs)
    assert np.isfinite(learner.score(asked, asked)).all()


def test_a_hybrid_learns_bounds(consortium: Consortium, table: LabelledCompounds) -> None:
    federated = open_federated(consortium.folder / "round1" / "federated.parquet")
    found = {}
    for censored in ("learn", "drop"):
        found[censored] = fit_hybrid(
            table,
            PooledSet(*federated.load()),
            consortium.round.student,
            consortium.federation,
            "aurora",
            options=HybridOptions(folds=3, repeats=1, censored=censored),
            run=Run(jobs=1),
        )
    measured = found["learn"].measured["logbb"]
    _, _, signs = table.labels.column_with_signs(LOGBB)
    assert measured.signs is not None
    assert signs is not None
    assert measured.signs.tolist() == signs.tolist()
    assert found["learn"].model.card.metrics["logbb"]["censored_rmse"] is not None
    assert found["drop"].measured["logbb"].signs is None
    above = table.compounds.take(table.labels.column_with_signs(LOGBB)[0][signs == 1])
    levels = {
        censored: one.model.predict(above).by_task["logbb"].values.mean()
        for censored, one in found.items()
    }
    assert levels["learn"] > levels["drop"]


def test_an_evaluation_judges_bounds_beside_exact_values(
    consortium: Consortium, table: LabelledCompounds, tmp_path: Path
) -> None:
    rows, values, signs = table.labels.column_with_signs(LOGBB)
    assert signs is not None
    marks = {0: "", 1: ">", -1: "<"}
    lines = [
        f"{smiles},{marks[int(sign)]}{value}"
        for smiles, value, sign in zip(table.compounds.smiles[rows], values, signs, strict=True)
    ]
    data = tmp_path / "test.csv"
    data.write_text("smiles,logbb\n" + "\n".join(lines) + "\n")
    found = evaluate([consortium.folder / "round1" / "student"], [data], draws=100).tasks["logbb"]
    student = consortium.round.student
    predicted = student.predict(table.compounds.take(rows)).by_task["logbb"].values[:, 0]
    error = one_sided(values, predicted, signs)
    metrics = found["models"][0]["metrics"]
    assert found["censored"] == int(np.sum(signs != 0))
    assert found["compounds"] == len(rows)
    wanted = {
        "rmse": np.sqrt(np.mean(error[signs == 0] ** 2)),
        "censored_rmse": np.sqrt(np.mean(error**2)),
    }
    for name, value in wanted.items():
        assert metrics[name]["value"] == pytest.approx(value, abs=2e-3)
        assert metrics[name]["low"] < metrics[name]["value"] < metrics[name]["high"]


def test_out_of_fold_predictions_of_a_study_keep_their_signs(fitted: FittedTeacher) -> None:
    one, task = fitted.measured["logbb"], fitted.model.task_models[LOGBB].task
    made = LabelledPrediction(np.arange(len(one)), one.truth, one.values, 0.5, one.signs)
    (found,) = unpack_out_of_fold(pack_out_of_fold({task.name: made}), [task]).values()
    assert found.signs is not None
    assert one.signs is not None
    assert found.signs.tolist() == one.signs.tolist()
    # Models of a study are compared on exact values.
    assert found.predicted().truth.tolist() == one.truth[(one.signs == 0)].tolist()
