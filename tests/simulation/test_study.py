"""Studies: everything resumes, and consortia do what the commands do."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from fluid.base.errors import FluidError
from fluid.base.run import Run
from fluid.central.distill import EarlierRounds, distill
from fluid.central.student import StudentOptions
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federated_set import open_federated
from fluid.exchange.federation import load_federation
from fluid.exchange.public_set import open_public_set
from fluid.learn.storage import load_trained
from fluid.partner.annotate import annotate
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.train import train_teacher
from fluid.public.prepare import prepare_public
from fluid.simulation.cache import Cache
from fluid.simulation.cell_result import STUDENT
from fluid.simulation.consortium import Consortium
from fluid.simulation.residual_rounds import residual_round
from fluid.simulation.results import tidy, write_rows
from fluid.simulation.rounds import SimulatedRound
from fluid.simulation.run import Sources, simulate
from fluid.simulation.studies import COLUMNS, STUDIES, run_named
from fluid.simulation.study_spec import StudySpec
from fluid.simulation.teachers import train_teachers
from tests.conftest import make_federation
from tests.simulation.small_study import BARE, FILES, OTHER, PARTITION, SPEC, Small


def keys(*tables: LabelledCompounds) -> list[str]:
    return [key for table in tables for key in table.compounds.connectivities]


# --- resuming ---------------------------------------------------------------------------------


def models(study: Small, spec: StudySpec, cache: Path) -> tuple[Cache, list[object]]:
    """Everything of the cell, and the cache it was taken from."""
    made = study.study(spec, cache)
    one = made.consortium(spec.partitions[0], 0)
    return one.cache, [(model.name, repr(model)) for model in made.train_models(one)]


@pytest.fixture
def copy(small: Small, tmp_path: Path) -> Path:
    """The cache of the finished study, to be spoilt."""
    return Path(shutil.copytree(small.output / "cache", tmp_path / "cache"))


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*.npz"))}


def test_a_second_run_trains_nothing_and_writes_the_same_bytes(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("trained again")

    for name in ("teachers.fit_model", "hybrids.fit_hybrid", "rounds.train_student"):
        monkeypatch.setattr(f"fluid.simulation.{name}", refuse)
    monkeypatch.setattr("fluid.simulation.baselines.run_paper_recipe", refuse)
    output = Path(shutil.copytree(small.output, tmp_path / "again"))
    for name in FILES:
        (output / name).unlink()
    (output / "studies.csv").write_text("of an earlier run")
    summary = simulate(small.sources, SPEC, output, draws=100, run=Run(jobs=2))
    assert summary == small.summary
    for name in FILES:
        assert (output / name).read_bytes() == (small.output / name).read_bytes(), name
    assert files(output / "cache").keys() == {
        output / path.relative_to(small.output) for path in files(small.output / "cache")
    }
    assert not (output / "studies.csv").exists()


@pytest.mark.long
def test_what_was_lost_or_damaged_is_made_again(small: Small, copy: Path) -> None:
    whole = files(copy)
    finished, expected = models(small, SPEC, copy)
    assert (finished.made, finished.hits) == (0, len(whole))
    gone = list(whole)[::2]
    for path in gone:
        path.unlink()
    short = list(whole)[1]
    short.write_bytes(whole[short][: len(whole[short]) // 2])
    resumed, found = models(small, SPEC, copy)
    assert (resumed.made, resumed.hits) == (len(gone) + 1, len(whole) - len(gone) - 1)
    assert found == expected
    assert files(copy).keys() == whole.keys()
    assert models(small, SPEC, copy)[0].made == 0


@pytest.mark.long
def test_a_setting_makes_again_what_it_changes_and_no_more(small: Small, copy: Path) -> None:
    whole = set(files(copy))
    other = replace(SPEC, student_options=StudentOptions(twicing=False))
    made = models(small, other, copy)[0]
    new = set(files(copy)) - whole
    # Hybrids blend with the student.
    assert sorted(path.parent.name for path in new) == ["hybrid"] * 3 + ["student"] * 2
    assert made.made == len(new)
    folds = replace(SPEC, hybrid_options=replace(SPEC.hybrid_options, folds=4))
    assert models(small, folds, copy)[0].made == 3


@pytest.mark.long
def test_another_round_of_teachers(small: Small, copy: Path) -> None:
    whole = set(files(copy))
    other = replace(SPEC, teacher_options=replace(SPEC.teacher_options, seed=1))
    models(small, other, copy)
    stages = [path.parent.name for path in set(files(copy)) - whole]
    # One of them has the data of all partners.
    assert stages.count("teacher") == 4
    assert stages.count("paper") == 0


@pytest.mark.long
def test_results_do_not_depend_on_the_jobs(small: Small) -> None:
    spec = replace(BARE, partitions=(PARTITION, OTHER))
    study = small.study(spec)
    one, two = (list(tidy(study.run(Run(jobs=jobs)), small.federation.tasks)) for jobs in (1, 2))
    assert one == two
    assert {row["cell"] for row in one} == {
        "random (partners 3), seed 0",
        "k-means (partners 3), seed 0",
    }


# --- no second implementation -----------------------------------------------------------------


def write_table(path: Path, small: Small, table: LabelledCompounds) -> Path:
    """A partner's part of the table as a file."""
    tasks = [task.name for task in small.federation.tasks]
    values = np.full((len(table.compounds), len(tasks)), "", dtype=object)
    for number in range(len(tasks)):
        rows, found = table.labels.column(number)
        values[rows, number] = [repr(float(value)) for value in found]
        if small.federation.tasks[number].is_classification:
            values[rows, number] = [str(int(value)) for value in found]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "smiles", *tasks])
        for name, smiles, row in zip(table.compounds.ids, table.compounds.smiles, values,
                                     strict=True):  # fmt: skip
            writer.writerow([name, smiles, *row])
    return path


def test_a_consortium_predicts_what_the_commands_predict(small: Small, tmp_path: Path) -> None:
    study = small.study(BARE, small.output / "cache")
    one = study.consortium(PARTITION, 0)
    teachers = train_teachers(one)
    first = SimulatedRound.first(one, teachers)
    path = make_federation(tmp_path, tuple(one.partners))
    federation = load_federation(path)
    assert federation.protocol == small.federation.protocol
    source = tmp_path / "public.csv"
    with source.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "smiles"])
        writer.writerows(zip(one.public.ids, one.public.smiles, strict=True))
    prepare_public([source], federation, tmp_path / "public.parquet", run=Run(jobs=1))
    public = open_public_set(tmp_path / "public.parquet")
    annotations = []
    for partner in one.partners:
        home = tmp_path / partner
        home.mkdir()
        (home / "secret").write_text(one.secret(partner).hex())
        table = write_table(home / "private.csv", small, one.tables[partner])
        train_teacher(
            [table],
            path,
            partner,
            home / "teacher",
            options=SPEC.teacher_options,
            secret=home / "secret",
            run=Run(jobs=1),
        )
        annotations.append(home / "annotation.parquet")
        annotate(
            home / "teacher",
            public,
            annotations[-1],
            key=tmp_path / "keys" / f"{partner}.key",
            run=Run(jobs=1),
        )
        parts = list(open_annotation(annotations[-1]).chunks())
        assert np.concatenate([keys for keys, _ in parts]).tolist() == list(one.public.inchikeys)
        for task, labels in teachers[partner].labels.items():
            for name in ("prediction", "uncertainty", "reliability"):
                found = np.concatenate([getattr(each[task], name) for _, each in parts])
                assert np.array_equal(found, getattr(labels, name), equal_nan=True), (partner, task)
        by_task = load_trained(home / "teacher", "teacher").predict(one.queries).by_task
        for task, prediction in teachers[partner].predictions.items():
            assert np.array_equal(by_task[task].values, prediction.values)
            assert by_task[task].threshold == prediction.threshold
    run = Run(one.run.seed, jobs=1)
    outcome = distill(annotations, public, federation, tmp_path / "round", run=run)
    assert outcome is not None
    _, pooled = open_federated(tmp_path / "round" / "federated.parquet").load()
    for task, found in first.pooled.labels.items():
        assert np.array_equal(pooled[task].label, found.label, equal_nan=True)
        assert np.array_equal(pooled[task].reliability, found.reliability)
    student = load_trained(tmp_path / "round" / "student", "student").predict(one.queries).by_task
    for task, prediction in first.student_predictions().items():
        assert np.array_equal(student[task].values, prediction.values), task
        assert student[task].threshold == prediction.threshold
    # The same holds in a further round, in which partners fit the student's residuals.
    second, place = residual_round(first, teachers), tmp_path / "round" / "student"
    again = []
    for partner in one.partners:
        again.append(tmp_path / partner / "residuals.parquet")
        annotate(
            tmp_path / partner / "teacher",
            public,
            again[-1],
            key=tmp_path / "keys" / f"{partner}.key",
            student=place,
            run=Run(jobs=1),
        )
    distill(
        again,
        public,
        federation,
        tmp_path / "second",
        earlier=EarlierRounds(student=place),
        run=run,
    )
    _, pooled = open_federated(tmp_path / "second" / "federated.parquet").load()
    for task, found in second.pooled.labels.items():
        assert np.array_equal(pooled[task].label, found.label, equal_nan=True)
    student = load_trained(tmp_path / "second" / "student", "student").predict(one.queries).by_task
    for task, prediction in second.student_predictions().items():
        assert np.array_equal(student[task].values, prediction.values), task


# --- named studies ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in ("shuffled", "rounds") else ())
        for name in STUDIES
    ],
)
def test_named_studies_have_finite_rows(small: Small, name: str, tmp_path: Path) -> None:
    study = small.study(SPEC, small.output / "cache")
    rows = run_named(name, study, [small.cell], Run(jobs=1))
    assert rows
    for row in rows:
        assert tuple(row) == COLUMNS
        assert (row["study"], row["cell"]) == (name, small.cell.name)
        assert np.isfinite(row["value"]) or row["metric"] == "correlation"
        assert (row["low"] == "") == (row["high"] == "")
        assert row["low"] == "" or row["low"] <= row["value"] + 1e-9 <= row["high"] + 2e-9
    write_rows(tmp_path / "studies.csv", COLUMNS, rows)
    with (tmp_path / "studies.csv").open(encoding="utf-8", newline="") as handle:
        assert len(list(csv.DictReader(handle))) == len(rows)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_consortium_has_its_own_study(small: Small, tmp_path: Path, jobs: int) -> None:
    study = small.study(replace(BARE, seeds=(0, 1)), tmp_path)
    cells = study.run(Run(jobs=1))
    rows = run_named("public-composition", study, cells, Run(jobs=jobs))
    assert list(dict.fromkeys(row["cell"] for row in rows)) == [cell.name for cell in cells]
    assert run_named("public-composition", study, cells[:1], Run(jobs=1)) == rows[: len(rows) // 2]
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    assert [row["value"] for row in halves[0]] != [row["value"] for row in halves[1]]


@pytest.mark.long
def test_a_shuffled_partner_has_a_rank(small: Small) -> None:
    study = small.study(SPEC, small.output / "cache")
    rows = run_named("shuffled", study, [small.cell], Run(jobs=1))
    for task in ("bbb", "logbb"):
        mine = [row for row in rows if row["task"] == task]
        for kind in ("Shapley value", "Banzhaf value"):
            values = {row["setting"]: row["value"] for row in mine if row["test"] == kind}
            last = values.pop("shuffled partner")
            shuffled = next(value for name, value in values.items() if name.endswith("(shuffled)"))
            assert last == float(shuffled == min(values.values()))
        for setting, honest in (("shuffled partner", False), ("honest partners", True)):
            share = next(row["value"] for row in mine if row["setting"] == setting
                         and row["metric"] == "flagged")  # fmt: skip
            flags = [row["test"] == "intake: flagged" for row in mine
                     if row["metric"] == "correlation"
                     and honest is not row["setting"].endswith("(shuffled)")]  # fmt: skip
            assert share == pytest.approx(np.mean(flags), abs=1e-5)


def test_the_studies_answer_their_questions(small: Small) -> None:
    study = small.study(SPEC, small.output / "cache")
    one: Consortium = study.consortium(PARTITION, 0)
    settings = [row["setting"] for row in run_named("teachers", study, [small.cell], Run(jobs=1))]
    assert list(dict.fromkeys(settings)) == ["1 teacher", "2 teachers", "3 teachers"]
    crossed = run_named("cross-domain", study, [small.cell], Run(jobs=1))
    assert {row["setting"] for row in crossed} == {f"teacher of {name}" for name in one.partners}
    brought = run_named("domain", study, [small.cell], Run(jobs=1))
    assert {row["setting"] for row in brought} >= {STUDENT, "hybrid of partner-1"}
    assert all(0.0 <= row["value"] <= 1.0 for row in brought)


def test_settings_without_effect_are_refused(small: Small, tmp_path: Path) -> None:
    class Elsewhere:
        map = None

    for run, message in (
        (Run(seed=3), "run.seed = 3: the seeds of a study are those of its spec"),
        (Run(workers=Elsewhere()), "run.workers: a study runs on the cores of this machine"),  # type: ignore[arg-type]
    ):
        with pytest.raises(FluidError, match=message):
            simulate(small.sources, SPEC, tmp_path / "study", run=run)
    assert not any(tmp_path.iterdir())


def test_sources_may_be_files(small: Small, tmp_path: Path) -> None:
    output = Path(shutil.copytree(small.output, tmp_path / "again"))
    paths = [str(path) for path in small.tables]
    public = str(small.folder / "public.parquet")
    sources = Sources(paths, public, str(small.federation_path))
    assert simulate(sources, SPEC, str(output), draws=100, run=Run(jobs=1)) == small.summary
