"""A partner fits a student's residuals, and labels by the student plus these residuals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fluid.base.errors import FluidError, MismatchError
from fluid.base.run import Run
from fluid.central.distill import EarlierRounds, distill
from fluid.chem.compounds import Compounds
from fluid.chem.standardize import StandardizerSpec, StructureError, connectivity, standardize
from fluid.exchange import base_student
from fluid.exchange.annotation import open_annotation
from fluid.exchange.base_student import load_base_student, student_numbers
from fluid.exchange.federation import Federation, load_federation
from fluid.learn.crossfit import LabelledTask
from fluid.learn.estimators import KernelRidge
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import empty_labels, folds_of_repeats
from fluid.learn.storage import load_trained, save_model
from fluid.learn.task import Task
from fluid.partner.annotate import annotate
from fluid.partner.table import read_labelled
from fluid.partner.teacher import residuals
from fluid.partner.teacher.folder import read_secret
from fluid.partner.teacher.residuals import (
    add_residuals,
    fit_residuals,
    fit_task_residuals,
    measured_labels,
)
from fluid.partner.teacher.train import train_teacher
from fluid.report.inspect import inspect_path
from fluid.report.page import web_page
from fluid.report.sections import annotation_sections
from tests.conftest import DATA, OPTIONS, PARTNERS, SECRET, Consortium


@pytest.fixture(scope="module")
def corrected(consortium: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second round: every partner fits the residuals of the first round's student."""
    folder = tmp_path_factory.mktemp("corrected")
    paths = []
    for partner in PARTNERS:
        paths.append(folder / f"{partner}.parquet")
        annotate(
            consortium.folder / partner / "teacher",
            consortium.public,
            paths[-1],
            key=consortium.folder / "keys" / f"{partner}.key",
            student=consortium.folder / "round1" / "student",
            run=Run(jobs=2),
        )
    distill(
        paths,
        consortium.public,
        consortium.federation,
        folder / "round2",
        run=Run(jobs=2),
        earlier=EarlierRounds(student=consortium.folder / "round1" / "student"),
    )
    return folder


def student_of(consortium: Consortium) -> TrainedModel:
    return load_trained(consortium.folder / "round1" / "student", "student")


def teacher_of(consortium: Consortium, partner: str = "aurora") -> tuple[TrainedModel, np.ndarray]:
    """A teacher and the folds of its library."""
    folder = consortium.folder / partner / "teacher"
    model = load_trained(folder, "teacher")
    secret = read_secret(folder / "fold.key")
    return model, folds_of_repeats(model.library, secret, OPTIONS.repeats, OPTIONS.folds)


def test_residuals_are_fitted_by_ridge_regression(consortium: Consortium) -> None:
    model, folds = teacher_of(consortium)
    student = student_of(consortium)
    measured = measured_labels(consortium.folder / "aurora" / "teacher", model)
    made = fit_residuals(model, measured, folds, student, jobs=2)["logbb"]
    (own,) = [one for one in model.task_models if one.task.name == "logbb"]
    task, rows = own.task, own.rows
    compounds = model.library.take(rows)
    left = measured["logbb"].values - student_numbers(student, task, compounds)[:, 0]
    asked = next(iter(consortium.public.chunks())).take(np.arange(30))
    (theirs,) = [one for one in student.task_models if one.task.name == "logbb"]
    (learner,) = theirs.members[0].estimators
    assert isinstance(learner, KernelRidge)
    for member, original in zip(made.members, own.members, strict=True):
        assert (member.repeat, member.fold) == (original.repeat, original.fold)
        assert member.reliability == original.reliability
        inside = np.flatnonzero(folds[member.repeat][rows] != member.fold)
        seen = compounds.take(inside)
        kernel = learner.kernel_
        gram = kernel(kernel.prepare(seen), kernel.prepare(seen)).astype(float)
        gram += residuals._RIDGE * np.eye(len(inside))
        farthest = 2.0 * measured["logbb"].values[inside].std()
        wanted_left = np.clip(left[inside], -farthest, farthest)
        mean = wanted_left.mean()
        weights = np.linalg.solve(gram, wanted_left - mean)
        wanted = mean + kernel(kernel.prepare(asked), kernel.prepare(seen)).astype(float) @ weights
        found = member.predict(made.task, asked, model.library)[:, 0]
        assert np.allclose(found, wanted, atol=1e-4)


def test_residuals_may_leave_the_range_of_the_task_and_labels_may_not(
    consortium: Consortium,
) -> None:
    model, folds = teacher_of(consortium)
    student = student_of(consortium)
    measured = measured_labels(consortium.folder / "aurora" / "teacher", model)
    (own,) = [one for one in model.task_models if one.task.name == "logbb"]
    narrow = replace(own.task, low=-0.5, high=0.5)
    # The student is too high everywhere, by more than the task is wide.
    made = fit_task_residuals(
        LabelledTask(model.library, narrow, own.rows, measured["logbb"].values - 6.0),
        folds,
        own.members,
        student,
    )
    asked = next(iter(consortium.public.chunks())).take(np.arange(30))
    said = made.members[0].predict(made.task, asked, model.library)
    assert said.min() == -1.0
    found = replace(empty_labels(30, 1), prediction=said)
    predictions = student_numbers(student, narrow, asked)
    added = add_residuals(narrow, predictions, found)
    assert added.prediction.min() == -0.5


def test_residuals_are_bounded_however_far_off_a_student_is(consortium: Consortium) -> None:
    model, folds = teacher_of(consortium)
    measured = measured_labels(consortium.folder / "aurora" / "teacher", model)["logbb"].values
    (own,) = [one for one in model.task_models if one.task.name == "logbb"]
    student = student_of(consortium)
    (theirs,) = [one for one in student.task_models if one.task.name == "logbb"]
    (learner,) = theirs.members[0].estimators
    assert isinstance(learner, KernelRidge)
    learner.intercept_ -= 50.0
    made = fit_task_residuals(
        LabelledTask(model.library, own.task, own.rows, measured), folds, own.members, student
    )
    said = made.members[0].predict(made.task, model.library.take(own.rows), model.library)
    inside = folds[0][own.rows] != 0
    assert said == pytest.approx(2.0 * measured[inside].std(), abs=1e-3)


@pytest.mark.parametrize("said", [np.nan, np.inf, -np.inf])
def test_a_student_without_a_number_for_one_compound_spoils_no_label(
    consortium: Consortium, monkeypatch: pytest.MonkeyPatch, said: float
) -> None:
    """Else the labels of all others would tell that this compound is private."""
    model, folds = teacher_of(consortium)
    measured = measured_labels(consortium.folder / "aurora" / "teacher", model)["logbb"].values
    (own,) = [one for one in model.task_models if one.task.name == "logbb"]
    single = model.library.inchikeys[own.rows[7]]
    stated = base_student._stated

    def spoiled(student: TrainedModel, task: Task, compounds: Compounds) -> np.ndarray:
        found = stated(student, task, compounds)
        found[compounds.inchikeys == single] = said
        return found

    monkeypatch.setattr(base_student, "_stated", spoiled)
    made = fit_task_residuals(
        LabelledTask(model.library, own.task, own.rows, measured),
        folds,
        own.members,
        student_of(consortium),
    )
    for member in made.members:
        assert np.isfinite(member.predict(made.task, model.library, model.library)).all()


@pytest.mark.parametrize(("name", "value"), [("scale", 0.0), ("scale", np.nan), ("mean", np.inf)])
def test_a_student_whose_kernel_singles_compounds_out_is_refused(
    consortium: Consortium, name: str, value: float
) -> None:
    """A scale of 0 makes of a compound with exactly the mean what is not a number."""
    (theirs,) = [one for one in student_of(consortium).task_models if one.task.name == "logbb"]
    state = theirs.members[0].estimators[0].to_state()
    state.arrays[name][3] = value
    with pytest.raises(ValueError, match=f"'{name}'"):
        KernelRidge.from_state(state).check(student_of(consortium).library)


def test_classification_labels_stay_as_before_and_regression_labels_change(
    consortium: Consortium, corrected: Path
) -> None:
    for partner in PARTNERS:
        first = pq.read_table(consortium.annotation(partner))
        second = pq.read_table(corrected / f"{partner}.parquet")
        assert first.schema.names == second.schema.names
        for name in first.schema.names:
            same = first[name].equals(second[name])
            # Reliability says where a partner has compounds, and stays; who has no numbers joins.
            changed = ("logbb.prediction", "logbb.uncertainty") if partner != "borealis" else ()
            assert same == (name not in changed), (partner, name)


def test_the_row_of_a_compound_is_the_same_with_and_without_it(
    consortium: Consortium, tmp_path: Path
) -> None:
    """Given the student, to the byte: no label depends on whether its compound is private."""
    federation, path = consortium.federation, consortium.federation_path
    table = consortium.table("aurora")
    held = read_labelled([table], federation.tasks, federation.chemistry, jobs=1)
    measured = set(held.compounds.take(held.labels.column(1)[0]).connectivities)
    public = np.concatenate([c.connectivities for c in consortium.public.chunks()])
    keys = np.concatenate([c.inchikeys for c in consortium.public.chunks()])
    shared = [(key, name) for key, name in zip(keys, public, strict=True) if name in measured]
    lines = table.read_text(encoding="utf-8").splitlines()
    spec = federation.chemistry.standardizer

    def export(name: str, private: Path) -> dict[str, object]:
        (tmp_path / "secret").write_text(SECRET)
        train_teacher(
            [private],
            path,
            "aurora",
            tmp_path / name,
            options=OPTIONS,
            secret=tmp_path / "secret",
            run=Run(jobs=1),
        )
        target = tmp_path / f"{name}.parquet"
        student = consortium.folder / "round1" / "student"
        annotate(tmp_path / name, consortium.public, target, student=student, run=Run(jobs=1))
        return {str(row["inchikey"]): row for row in pq.read_table(target).to_pylist()}

    everything = export("with", table)
    moved = 0
    assert shared
    for key, name in shared[:2]:
        kept = [line for line in lines[1:] if connectivity_of(line, spec) != name]
        assert len(kept) < len(lines) - 1
        less = tmp_path / f"{name}.csv"
        less.write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
        found = export(name, less)
        assert found[key] == everything[key]
        moved += sum(found[other] != everything[other] for other in everything)
    assert moved > 0


def connectivity_of(line: str, spec: StandardizerSpec) -> str:
    try:
        return connectivity(standardize(line.split(",")[1], spec).inchikey)
    except StructureError:
        return ""


def test_the_second_student_is_nearer_to_what_is_measured_elsewhere(
    consortium: Consortium, corrected: Path
) -> None:
    federation = consortium.federation
    external = read_labelled(
        [DATA / "external.csv"], federation.tasks, federation.chemistry, jobs=2
    )
    rows, truth = external.labels.column(1)
    queries = external.compounds.take(rows)
    error = []
    for place in (consortium.folder / "round1", corrected / "round2"):
        said = load_trained(place / "student", "student").predict(queries).by_task["logbb"].values
        error.append(float(np.sqrt(np.mean((said[:, 0] - truth) ** 2))))
    assert error[1] < error[0]


def test_the_files_say_what_they_correct(consortium: Consortium, corrected: Path) -> None:
    base_student = load_base_student(
        consortium.folder / "round1" / "student", consortium.federation
    )
    for partner in PARTNERS:
        assert open_annotation(corrected / f"{partner}.parquet").base_student == base_student.digest
        assert open_annotation(consortium.annotation(partner)).base_student is None
    shown = inspect_path(corrected / "aurora.parquet")
    meanings = {column["name"]: column["meaning"] for column in shown["columns"]}
    assert "the student's prediction plus a correction" in meanings["logbb.prediction"]
    assert "correction" not in meanings["bbb.prediction"]
    assert base_student.digest in web_page("a", annotation_sections(shown))
    report = (corrected / "round2" / "report.json").read_text(encoding="utf-8")
    assert f'"base_student": "{base_student.digest}"' in report


def test_labels_over_different_students_are_not_pooled(
    consortium: Consortium, corrected: Path, tmp_path: Path
) -> None:
    paths = [corrected / "aurora.parquet", consortium.annotation("draco")]
    with pytest.raises(MismatchError, match=r"corrects no student, but .* must correct the same"):
        distill(paths, consortium.public, consortium.federation, tmp_path / "round")
    assert not (tmp_path / "round").exists()


def test_an_unusable_student_is_refused_before_anything_is_charged(
    consortium: Consortium, tmp_path: Path
) -> None:
    teacher = consortium.folder / "aurora" / "teacher"
    student = consortium.folder / "round1" / "student"
    before = (teacher / "ledger.jsonl").read_bytes()
    target = tmp_path / "a.parquet"
    with pytest.raises(FluidError, match="holds a teacher, but a student is needed"):
        annotate(teacher, consortium.public, target, student=teacher)
    text = consortium.federation_path.read_text(encoding="utf-8")
    noisy = tmp_path / "noisy.toml"
    noisy.write_text(
        text + '\n[mechanism]\nkind = "pate"\nepsilon = 1.0\ndelta = 1e-6\n', encoding="utf-8"
    )
    with pytest.raises(FluidError):
        load_base_student(student, load_federation(noisy))
    other = replace_protocol(consortium.federation)
    with pytest.raises(MismatchError, match="was distilled in protocol"):
        load_base_student(student, other)
    with pytest.raises(MismatchError, match="was distilled in federation trial, but another"):
        load_base_student(student, replace(consortium.federation, name="another"))
    first = load_trained(student, "student")
    classes = [one for one in first.task_models if one.task.is_classification]
    (tmp_path / "classes").mkdir()
    save_model(replace(first, task_models=classes), tmp_path / "classes")
    with pytest.raises(FluidError, match="predicts no regression task"):
        annotate(teacher, consortium.public, target, student=tmp_path / "classes")
    # A student that answers with no number is one that was tampered with.
    (theirs,) = [one for one in first.task_models if one.task.name == "logbb"]
    (learner,) = theirs.members[0].estimators
    assert isinstance(learner, KernelRidge)
    learner.weights_ = np.full_like(learner.weights_, np.nan)
    (tmp_path / "nan").mkdir()
    save_model(first, tmp_path / "nan")
    with pytest.raises(FluidError, match="not finite"):
        annotate(teacher, consortium.public, target, student=tmp_path / "nan")
    assert not target.exists()
    assert (teacher / "ledger.jsonl").read_bytes() == before


def replace_protocol(federation: Federation) -> Federation:
    """The same contract with another range of numbers."""
    tasks = tuple(
        one if one.is_classification else replace(one, high=one.high - 1.0)
        for one in federation.tasks
    )
    return replace(federation, tasks=tasks)
