"""simulate on the command line: what it writes, and what it refuses in one line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.cli.cli_site import PARTNERS, Site, done, refused, run, snapshot, spawn

FILES = {"results.csv", "summary.json", "summary.md", "cache"}
# Nothing but teachers and student.
BARE = ("--no-paper", "--no-hybrids", "--references", "")


def study(site: Site, output: Path, *more: object) -> list[object]:
    """The command with everything in order; what is given comes last and wins."""
    return [
        "simulate", *(site.table(partner) for partner in PARTNERS), "--public", site.public,
        "--federation", site.federation, "--draws", 100, "--jobs", 1, "-o", output, *more,
    ]  # fmt: skip


def in_three(site: Site, output: Path, *more: object) -> list[object]:
    return study(site, output, "--partition", "random:partners=3", *more)


@pytest.fixture(scope="module")
def finished(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("finished") / "new" / "study"
    done(*in_three(site, folder, "--study", "domain", *BARE))
    return folder


def test_files_and_a_summary(site: Site, finished: Path, tmp_path: Path) -> None:
    assert {item.name for item in finished.iterdir()} == FILES | {"studies.csv"}
    output = Path(shutil.copytree(finished, tmp_path / "study"))
    outcome = done(*in_three(site, output, "--study", "domain", *BARE, "--json"))
    value = json.loads(outcome.stdout)
    assert value.pop("path") == str(output)
    assert value == json.loads((output / "summary.json").read_text())
    assert value["seeds"] == [0]
    assert set(value["tasks"]) == {"bbb", "logbb"}
    assert [one["shown"] for one in value["partitions"]] == ["random (partners 3)"]
    assert "random (partners 3), seed 0 done, 1 of 1" in outcome.stderr
    for name in FILES - {"cache"}:
        assert (output / name).read_bytes() == (finished / name).read_bytes()
    text = done(*in_three(site, output, "--study", "domain", *BARE)).stdout
    assert text.startswith((output / "summary.md").read_text())
    assert str(output) in text.splitlines()[-1]
    with (output / "results.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["model"] for row in rows} >= {"student", "mean of teachers"}
    assert {row["kind"] for row in rows} == {"student", "mean", "teacher"}


def test_other_settings_in_the_same_folder(site: Site, finished: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(finished, tmp_path / "study"))
    teachers = snapshot(output / "cache" / "teacher")
    students = snapshot(output / "cache" / "student")
    done(*in_three(site, output, *BARE, "--without-twicing", "--seeds", 1))
    assert snapshot(output / "cache" / "teacher") == teachers
    assert snapshot(output / "cache" / "student").items() >= students.items()
    assert {item.name for item in output.iterdir()} == FILES
    said = json.loads((output / "summary.json").read_text())
    assert {row["model"] for row in said["tasks"]["bbb"]["students"]} == {
        "student", "student, without twicing",
    }  # fmt: skip


def test_a_column_of_groups_and_an_external_table_without_it(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "all.csv"
    sites = ("north | 1", "north | 2", "")
    with (
        site.table("aurora").open(encoding="utf-8", newline="") as source,
        table.open("w", encoding="utf-8", newline="") as target,
    ):
        writer = csv.writer(target)
        writer.writerow(["smiles", "bbb", "logbb", "site"])
        for number, row in enumerate(csv.DictReader(source)):
            cells = [row["smiles"], row["bbb"], row["logbb"]]
            writer.writerow([*cells, sites[min(number // 60, 2)]])
    output = tmp_path / "study"
    done(
        "simulate", table, "--public", site.public, "--federation", site.federation, "-o", output,
        "--partition", "column:name=site,minimum=25", "--external", site.external, "--draws", 100,
        "--jobs", 1, *BARE,
    )  # fmt: skip
    value = json.loads((output / "summary.json").read_text())
    assert set(value["cells"][0]["partners"]) == {"north-1", "north-2"}
    assert set(value["cells"][0]["tests"]) == {"external", "scaffold", "random"}
    assert value["external"] == ["external.csv"]


REFUSALS = {
    "unknown partition": (("--partition", "clusters"), "'clusters' is not a kind; allowed are km"),
    "unknown setting": (("--partition", "random:alpha=1"), "random has no setting 'alpha'; allow"),
    "bad setting": (("--partition", "scaffold:alpha=-1"), "partition alpha = -1: allowed are num"),
    "no number": (("--partition", "random:partners=few"), "partners = 'few' is not a whole number"),
    "no column": (("--partition", "column"), "partition column: no column is named"),
    "column not there": (("--partition", "column:name=site"), "no group column 'site'"),
    "partition twice": (("--partition", "random", "--partition", "random"),
                        "partition 'random' is given twice"),
    "many partners": (("--partition", "random:partners=3,minimum=500"),
                      "compounds do not suffice for 3 partners of 500 or more"),
    "later one": (("--partition", "random:partners=3", "--partition", "kmeans:partners=150"),
                  "compounds do not suffice for 150 partners of 30 or more"),
    "unknown study": (("--study", "weather"), "study 'weather': allowed are teachers, public-size"),
    "unknown reference": (("--references", "auto,oracle"), "learner 'oracle': allowed are auto,"),
    "reference twice": (("--references", "auto,auto"), "reference 'auto' is given twice"),
    "half a reference": (("--references", "auto,"), "learner '': allowed are auto,"),
    "unknown learner": (("--learner", "oracle"), "learner 'oracle': allowed are auto,"),
    "no test": (("--share-scaffold", 0, "--share-random", 0), "a study needs a test: an external"),
    "no such label": (("--label", "bbb=result"), "no label column 'result'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_settings_that_are_not_allowed(site: Site, tmp_path: Path, name: str) -> None:
    options, message = REFUSALS[name]
    more = options if "--partition" in options else ("--partition", "random:partners=3", *options)
    assert message in refused(*study(site, tmp_path / "new" / "study", *more))
    assert not any(tmp_path.iterdir())


def test_files_that_are_not_what_they_should_be(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    text = site.federation.read_text(encoding="utf-8")
    other.write_text(text.replace("value_step = 0.01", "value_step = 0.02"), encoding="utf-8")
    empty = tmp_path / "labels.csv"
    empty.write_text("id,smiles,melting\na,CCO,1\nb,CCN,2\n")
    few = tmp_path / "few.csv"
    few.write_text("id,smiles,bbb\n" + "".join(f"a,{'C' * n}O,{n % 2}\n" for n in range(1, 41)))
    before = snapshot(tmp_path)
    output = tmp_path / "new" / "study"
    tables = [site.table(partner) for partner in PARTNERS]
    everything = [part for path in tables for part in ("--external", path)]
    cases = [
        (("--federation", other), "public.parquet: was prepared for protocol"),
        (("--federation", tmp_path / "none.toml"), "none.toml: no such file"),
        (("--public", tmp_path / "none.parquet"), "none.parquet: no such file"),
        (("--public", site.public_table), "public.csv: is "),
        (("--public", site.federated), "federated.parquet: is "),
        (("--external", tmp_path / "none.csv"), "none.csv: no such file"),
        (("--external", empty), "labels.csv: no column for any task (bbb, logbb)"),
        (everything, "nothing is left to train: every compound of the tables is an external one"),
    ]
    for options, message in cases:
        assert message in refused(*in_three(site, output, *options)), options
        assert snapshot(tmp_path) == before
    for table, message in (
        (empty, "labels.csv: no column for any task (bbb, logbb)"),
        (tmp_path / "none.csv", "none.csv: no such file"),
        (few, "compounds do not suffice"),
    ):
        arguments = in_three(site, output)
        assert message in refused("simulate", table, *arguments[1 + len(PARTNERS) :])
        assert snapshot(tmp_path) == before


def test_named_studies_of_every_consortium(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "study"
    every = in_three(site, output, "--seeds", 2, "--every-cell", *BARE)
    assert "give --study as well" in run(*every).stderr
    assert not output.exists()
    text = done(*every, "--study", "domain").stdout
    assert "| task | setting | test | metric | mean | least and greatest | consortia |" in text
    with (output / "studies.csv").open(encoding="utf-8", newline="") as handle:
        cells = [row["cell"] for row in csv.DictReader(handle)]
    assert set(cells) == {f"random (partners 3), seed {seed}" for seed in (0, 1)}


def test_places_that_are_not_ours(site: Site, finished: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "cache").mkdir(parents=True)
    (theirs / "cache" / "thesis.tex").touch()
    (theirs / "summary.json").write_text('{"cells": 3}')
    (tmp_path / "file").touch()
    (tmp_path / "table.csv").write_bytes(site.table("aurora").read_bytes())
    before = snapshot(tmp_path)
    arguments = in_three(site, theirs, *BARE)
    assert "theirs: is not empty and holds no study; name another folder" in refused(*arguments)
    assert "file: is a file, a folder name is needed" in refused(*in_three(site, tmp_path / "file"))
    above = in_three(site, tmp_path / "file" / "study")
    assert "file is a file, a folder is needed" in refused(*above)
    assert "is not empty and holds no study" in refused(*in_three(site, site.teacher("aurora")))
    assert "is not empty and holds no study" in refused(*in_three(site, site.folder))
    assert snapshot(tmp_path) == before
    # What an interrupted run left, and an empty folder, are ours.
    left = tmp_path / "left"
    shutil.copytree(finished / "cache", left / "cache")
    empty = tmp_path / "empty"
    empty.mkdir()
    for output in (left, empty):
        done(*in_three(site, output, *BARE))
        assert {item.name for item in output.iterdir()} == FILES
        assert (output / "results.csv").read_bytes() == (finished / "results.csv").read_bytes()


def test_wrong_usage_and_help(site: Site, tmp_path: Path) -> None:
    for options in (("--seeds", 0), ("--draws", 5), ("--share-random", 0.9), ("--jobs", 0),
                    ("--partitions", "random"), ("--label", "bbb"),
                    ("--partition", "column:name=a", "--group", "b")):  # fmt: skip
        outcome = run(*study(site, tmp_path / "study", *options))
        assert (outcome.code, outcome.stdout) == (2, ""), options
        assert "Traceback" not in outcome.stderr
    assert run("simulate", "--public", site.public).code == 2
    shown = done("simulate", "--help").stdout
    assert "Example:" in shown
    assert "fluid simulate everything.csv --public public.parquet" in shown
    assert not any(tmp_path.iterdir())


def test_as_a_process(site: Site, tmp_path: Path) -> None:
    outcome = spawn(*study(site, tmp_path / "study", "--partition", "clusters"))
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.error.startswith("error: partition 'clusters': 'clusters' is not a kind")
    assert not any(tmp_path.iterdir())
