"""Studies: nothing leaks, everything resumes, and consortia do what the commands do."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from fluid.base.errors import FluidError, MismatchError, TrainingError
from fluid.central.distill import distill
from fluid.central.student import StudentOptions
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federated_set import open_federated
from fluid.exchange.federation import load_federation
from fluid.exchange.prepare import prepare_public
from fluid.exchange.public_set import open_public_set
from fluid.learn.storage import load_trained
from fluid.partner.annotate import annotate
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher import train_teacher
from fluid.simulate.cache import Cache
from fluid.simulate.consortium import Consortium
from fluid.simulate.partition_spec import PartitionError, PartitionSpec
from fluid.simulate.results import tidy
from fluid.simulate.run import simulate
from fluid.simulate.studies import COLUMNS, STUDIES, run_named, write_named
from fluid.simulate.study_spec import CEILING, STUDENT, StudySpec, partition_name
from tests.conftest import make_federation
from tests.simulate.small_study import BARE, FILES, OTHER, PARTITION, SPEC, Small


def keys(*tables: LabelledCompounds) -> list[str]:
    return [key for table in tables for key in table.compounds.connectivities]


# --- what is held by whom ---------------------------------------------------------------------


def test_partners_share_nothing_and_hold_all_that_is_not_tested(small: Small) -> None:
    study = small.study()
    for spec in (PARTITION, OTHER):
        held = keys(*study.consortium(spec, 0).tables.values())
        assert len(held) == len(set(held))
        assert set(held) == set(study.division.private.compounds.connectivities)
        tested = study.division.queries.compounds.connectivities
        assert set(held) | set(tested) == set(small.table.compounds.connectivities)
        assert len(held) + len(tested) == len(small.table.compounds)


def test_no_test_compound_is_private_or_public(small: Small) -> None:
    # A public set that holds every compound of the table.
    public = small.table.compounds
    for validation in (False, True):
        study = small.study(replace(BARE, validation=validation))
        study.public = public
        one = study.consortium(PARTITION, 0)
        tested = set(one.queries.connectivities)
        assert len(tested) == len(one.queries) == len(study.division.tests)
        assert tested <= set(public.connectivities)
        assert not tested & set(one.public.connectivities)
        assert not tested & set(keys(*one.tables.values()))
        assert len(one.public) == len(public) - len(tested)


def test_a_validation_never_sees_the_tests(small: Small) -> None:
    real = small.study().division
    trial = small.study(replace(SPEC, validation=True)).division
    tests = set(keys(real.queries))
    assert not tests & set(keys(trial.queries))
    assert not tests & set(keys(trial.private))
    assert set(keys(trial.queries)) | set(keys(trial.private)) == set(keys(real.private))
    assert set(real.tests) == set(trial.tests) == {"scaffold", "random"}


def test_labels_stay_with_their_compounds(small: Small) -> None:
    division = small.study().division
    whole = {key: row for row, key in enumerate(small.table.compounds.connectivities)}
    for number in range(len(small.federation.tasks)):
        truth = dict(zip(*small.table.labels.column(number), strict=True))
        seen = 0
        for part in (division.private, division.queries):
            for row, value in zip(*part.labels.column(number), strict=True):
                assert truth[whole[part.compounds.connectivities[row]]] == value
                seen += 1
        assert seen == len(truth)


def test_an_external_table_is_a_test_and_nothing_else(small: Small) -> None:
    external = small.study().division.queries
    study = small.study(BARE, external=external)
    assert not set(keys(external)) & set(keys(study.division.private))
    named = study.division.tests
    assert (named == "external").sum() == len(external.compounds)
    assert set(named) == {"external", "scaffold", "random"}
    trial = small.study(replace(BARE, validation=True), external=external).division
    assert not set(keys(external)) & set(keys(trial.private, trial.queries))
    assert set(trial.tests) == {"scaffold", "random"}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_partners_donate_structures_of_theirs(small: Small, share: float) -> None:
    overlapping = replace(PARTITION, overlap=0.2)
    study = small.study(replace(BARE, donate=share))
    one = study.consortium(overlapping, 0)
    before = study._untested()
    public = one.public.connectivities
    assert len(set(public)) == len(public)
    assert list(public[: len(before)]) == list(before.connectivities)
    added = set(public[len(before) :])
    new = set(keys(*one.tables.values())) - set(before.connectivities)
    assert added <= new
    # One of two owners is enough to donate a compound.
    assert share * len(new) * 0.8 <= len(added) <= len(new) * min(1.0, 1.4 * share)
    assert not set(public) & set(one.queries.connectivities)


def test_everybodys_data_distilled_on_the_same_public_set(small: Small) -> None:
    study = small.study()
    one = study.consortium(PARTITION, 0)
    alone = one.with_tables({"everybody": study.division.private})
    found = next(model for model in small.cell.models if model.name == CEILING)
    for name, told in alone.student().items():
        np.testing.assert_array_equal(told.values, found.told[name].values)
    assert len(alone.public) == len(one.public)


def test_studies_that_are_not_possible(small: Small) -> None:
    nothing = replace(BARE, share_scaffold=0.0, share_random=0.0)
    with pytest.raises(FluidError, match="a study needs a test"):
        small.study(nothing)
    with pytest.raises(FluidError, match="a validation needs shares to hold out"):
        small.study(replace(nothing, validation=True), external=small.study().division.queries)
    with pytest.raises(MismatchError, match="nothing is left to train: every compound"):
        small.study(BARE, external=small.table)
    study = small.study(BARE)
    study.public = small.public.take(np.arange(30))
    with pytest.raises(MismatchError, match=r"the public set has .* 50 or more are needed"):
        study.run(1)
    many = replace(BARE, partitions=(PartitionSpec("random", partners=30, minimum=5),))
    with pytest.raises(TrainingError, match="no partner has labels enough for a teacher"):
        small.study(many).run(1)
    with pytest.raises(TrainingError, match="no partner has labels enough for a teacher"):
        small.study(replace(many, expand=10)).run(1)


def test_a_partition_that_is_not_possible_is_said_before_anything_is_trained(
    small: Small, tmp_path: Path
) -> None:
    specs = (PARTITION, PartitionSpec("random", partners=3, minimum=200))
    study = small.study(replace(BARE, partitions=specs), tmp_path / "cache")
    with pytest.raises(PartitionError, match="do not suffice for 3 partners of 200"):
        study.run(1)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"partitions": ()}, "at least one partition and one seed"),
        ({"seeds": ()}, "at least one partition and one seed"),
        ({"seeds": (1, 1)}, "seed '1' is given twice"),
        ({"partitions": (PARTITION, PARTITION)}, r"partition 'random \(partners 3\)' is given"),
        ({"references": ("auto", "auto")}, "reference 'auto' is given twice"),
        ({"recipes": ()}, "at least one student"),
        ({"recipes": ((STUDENT, StudentOptions()),) * 2}, "student 'student' is given twice"),
        ({"recipes": (("a", StudentOptions()), ("b", StudentOptions()))}, "weighting .* twice"),
        ({"share_random": 0.6}, "share_random = 0.6: allowed are 0 to 0.5"),
        ({"share_scaffold": float("nan")}, "share_scaffold = nan"),
        ({"donate": 1.1}, "donate = 1.1: allowed are 0 to 1"),
        ({"expand": -1}, "expand = -1: allowed are 0 to 1,000,000"),
    ],
)
def test_settings_that_are_not_allowed(change: dict[str, object], message: str) -> None:
    with pytest.raises(FluidError, match=message):
        replace(SPEC, **change)  # type: ignore[arg-type]


def test_no_two_partitions_have_one_name() -> None:
    specs = [
        PartitionSpec("kmeans"), PartitionSpec("kmeans", partners=4),
        PartitionSpec("kmeans", overlap=0.1), PartitionSpec("scaffold", alpha=0.1),
        PartitionSpec("scaffold"), PartitionSpec("label"), PartitionSpec("size"),
        PartitionSpec("column", column="site"), PartitionSpec("column", column="year"),
        PartitionSpec("kmeans", minimum=5), PartitionSpec("kmeans", mixing=0.0),
    ]  # fmt: skip
    assert len({partition_name(spec) for spec in specs}) == len(specs)
    assert StudySpec(tuple(specs)).partitions == tuple(specs)


# --- resuming ---------------------------------------------------------------------------------


def models(study: Small, spec: StudySpec, cache: Path) -> tuple[Cache, list[object]]:
    """Everything of the cell, and the cache it was taken from."""
    made = study.study(spec, cache)
    one = made.consortium(spec.partitions[0], 0)
    return one.cache, [(model.name, repr(model)) for model in made._models(one)]


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

    for name in ("fit_model", "fit_hybrid", "train_student"):
        monkeypatch.setattr(f"fluid.simulate.consortium.{name}", refuse)
    monkeypatch.setattr("fluid.simulate.study.run_paper_recipe", refuse)
    output = Path(shutil.copytree(small.output, tmp_path / "again"))
    for name in FILES:
        (output / name).unlink()
    (output / "studies.csv").write_text("of a former run")
    summary = simulate(small.sources, SPEC, output, draws=100, jobs=2)
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
    weighed = replace(SPEC, recipes=((STUDENT, StudentOptions("none")),))
    made = models(small, weighed, copy)[0]
    new = set(files(copy)) - whole
    # Hybrids blend with the student.
    assert sorted(path.parent.name for path in new) == ["hybrid"] * 3 + ["student"] * 2
    assert made.made == len(new)
    folds = replace(SPEC, hybrid_options=replace(SPEC.hybrid_options, folds=4))
    assert models(small, folds, copy)[0].made == 3


@pytest.mark.long
def test_another_round_of_teachers(small: Small, copy: Path) -> None:
    whole = set(files(copy))
    other = replace(SPEC, options=replace(SPEC.options, seed=1))
    models(small, other, copy)
    stages = [path.parent.name for path in set(files(copy)) - whole]
    # With everybody's data as those of one.
    assert stages.count("teacher") == 4
    assert stages.count("paper") == 0


@pytest.mark.long
def test_results_do_not_depend_on_the_jobs(small: Small) -> None:
    spec = replace(BARE, partitions=(PARTITION, OTHER))
    study = small.study(spec)
    one, two = (list(tidy(study.run(jobs), small.federation.tasks)) for jobs in (1, 2))
    assert one == two
    assert {row["cell"] for row in one} == {
        "random (partners 3), seed 0",
        "k-means (partners 3), seed 0",
    }


def test_a_second_round_has_analogues_of_no_test_compound(
    small: Small, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study = small.study(replace(BARE, expand=40), small.output / "cache")
    monkeypatch.setattr("fluid.central.seeds.TRUSTED", 1.01)
    assert len(study.consortium(PARTITION, 0).public) == len(study._untested())
    assert "no analogue was grown" in caplog.text
    monkeypatch.setattr("fluid.central.seeds.TRUSTED", 0.05)
    study = small.study(replace(BARE, expand=41), small.output / "cache")
    one = study.consortium(PARTITION, 0)
    first = study._untested()
    added = one.public.ids[len(first) :]
    assert one.public.ids[: len(first)].tolist() == first.ids.tolist()
    assert 0 < len(added) <= 41
    assert all(name.startswith("ANA-") for name in added)
    assert not set(one.queries.connectivities) & set(one.public.connectivities)
    assert len(set(one.public.connectivities)) == len(one.public)


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


def test_a_consortium_says_what_the_commands_say(small: Small, tmp_path: Path) -> None:
    study = small.study(BARE, small.output / "cache")
    one = study.consortium(PARTITION, 0)
    path = make_federation(tmp_path, tuple(one.partners))
    federation = load_federation(path)
    assert federation.protocol == small.federation.protocol
    source = tmp_path / "public.csv"
    with source.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "smiles"])
        writer.writerows(zip(one.public.ids, one.public.smiles, strict=True))
    prepare_public([source], federation, tmp_path / "public.parquet", jobs=1)
    public = open_public_set(tmp_path / "public.parquet")
    annotations = []
    for partner in one.partners:
        home = tmp_path / partner
        home.mkdir()
        (home / "secret").write_text(one._secret(partner).hex())
        table = write_table(home / "private.csv", small, one.tables[partner])
        train_teacher(
            [table], federation, path, partner, home / "teacher", SPEC.options,
            secret_path=home / "secret", jobs=1,
        )  # fmt: skip
        annotations.append(home / "annotation.parquet")
        annotate(
            home / "teacher", public, annotations[-1], tmp_path / "keys" / f"{partner}.key", jobs=1
        )
        parts = list(open_annotation(annotations[-1]).chunks())
        made = one.teacher(partner)
        assert made is not None
        assert np.concatenate([keys for keys, _ in parts]).tolist() == list(one.public.inchikeys)
        for task, said in made.said.items():
            for name in ("prediction", "uncertainty", "reliability"):
                found = np.concatenate([getattr(each[task], name) for _, each in parts])
                assert np.array_equal(found, getattr(said, name), equal_nan=True), (partner, task)
        told = load_trained(home / "teacher", "teacher").predict(one.queries).by_task
        for task, said in made.told.items():
            assert np.array_equal(told[task].values, said.values)
            assert told[task].threshold == said.threshold
    outcome = distill(annotations, public, federation, tmp_path / "round", one.seed, jobs=1)
    assert outcome is not None
    _, pooled = open_federated(tmp_path / "round" / "federated.parquet").load()
    for task, found in one.pool().items():
        assert np.array_equal(pooled[task].label, found.label, equal_nan=True)
        assert np.array_equal(pooled[task].reliability, found.reliability)
    student = load_trained(tmp_path / "round" / "student", "student").predict(one.queries).by_task
    for task, said in one.student().items():
        assert np.array_equal(student[task].values, said.values), task
        assert student[task].threshold == said.threshold


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
    rows = run_named(name, study, [small.cell], 1)
    assert rows
    for row in rows:
        assert tuple(row) == COLUMNS
        assert (row["study"], row["cell"]) == (name, small.cell.name)
        assert np.isfinite(row["value"]) or row["metric"] == "correlation"
        assert (row["low"] == "") == (row["high"] == "")
        assert row["low"] == "" or row["low"] <= row["value"] + 1e-9 <= row["high"] + 2e-9
    write_named(tmp_path / "studies.csv", rows)
    with (tmp_path / "studies.csv").open(encoding="utf-8", newline="") as handle:
        assert len(list(csv.DictReader(handle))) == len(rows)


def test_the_studies_say_what_they_are_asked(small: Small) -> None:
    study = small.study(SPEC, small.output / "cache")
    one: Consortium = study.consortium(PARTITION, 0)
    settings = [row["setting"] for row in run_named("teachers", study, [small.cell], 1)]
    assert list(dict.fromkeys(settings)) == ["1 teacher", "2 teachers", "3 teachers"]
    crossed = run_named("cross-domain", study, [small.cell], 1)
    assert {row["setting"] for row in crossed} == {f"teacher of {name}" for name in one.partners}
    brought = run_named("domain", study, [small.cell], 1)
    assert {row["setting"] for row in brought} >= {STUDENT, "hybrid of partner-1"}
    assert all(0.0 <= row["value"] <= 1.0 for row in brought)
