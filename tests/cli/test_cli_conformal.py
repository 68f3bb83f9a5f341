"""Prediction sets by the command: columns, refusals, and warnings."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.cli.cli_site import DATA, Site, done, first_lines, refused, run

MEASURED = "conformal.npz"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of measured labels that no teacher of the site has seen, with two bad rows."""
    path = tmp_path_factory.mktemp("measured") / "measured.csv"
    first_lines(DATA / "external.csv", path, 260)
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[0].split(",")
    bad = ["C1CC" if name == "smiles" else "BBB+" if name == "bbb" else "" for name in header]
    path.write_text("\n".join([lines[0], ",".join(bad), *lines[60:]]) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def conformal(model: Path, table: Path, output: Path, *more: object) -> list[object]:
    return ["predict", model, table, "-o", output, "--jobs", 1, "--conformal", 0.2, *more]


@pytest.mark.parametrize("kind", ["teacher", "hybrid"])
@pytest.mark.parametrize("shift", ["--shift", "--no-shift"])
def test_a_partner_gets_sets_and_intervals_out_of_fold(
    site: Site, tmp_path: Path, kind: str, shift: str
) -> None:
    model = site.teacher("aurora") if kind == "teacher" else site.hybrid("aurora")
    output = tmp_path / "p.csv"
    outcome = done(*conformal(model, site.external, output, shift, "--json"))
    sets = json.loads(outcome.stdout)["conformal"]
    assert sets["calibration"] == "out of fold"
    assert sets["error_rate"] == 0.2
    assert sets["tasks"]["bbb"]["weighted"] == (shift == "--shift")
    assert set(sets["tasks"]["bbb"]["effective"]) == {"BBB-", "BBB+"}
    rows = read(output)
    names = list(rows[0])
    assert names[names.index("bbb.set") - 1] == "bbb.reason"
    assert names[names.index("logbb.low") - 1 :][:3] == ["logbb.reason", "logbb.low", "logbb.high"]
    assert names[-1] == "problem"
    good = [row for row in rows if not row["problem"]]
    assert good
    sizes = {"empty": 0, "single": 0, "several": 0}
    for row in good:
        found = row["bbb.set"].split("|") if row["bbb.set"] else []
        assert set(found) <= {"BBB-", "BBB+"}
        sizes["empty" if not found else "single" if len(found) == 1 else "several"] += 1
        low, high = float(row["logbb.low"]), float(row["logbb.high"])
        assert -4.0 <= low <= float(row["logbb"]) <= high <= 4.0
    assert sizes == sets["tasks"]["bbb"]["sets"]


def test_the_other_columns_are_as_without(site: Site, tmp_path: Path) -> None:
    model = site.hybrid("aurora")
    done("predict", model, site.external, "-o", tmp_path / "plain.csv", "--jobs", 1)
    done(*conformal(model, site.external, tmp_path / "sets.csv"))
    plain, sets = pd.read_csv(tmp_path / "plain.csv"), pd.read_csv(tmp_path / "sets.csv")
    assert set(sets.columns) - set(plain.columns) == {"bbb.set", "logbb.low", "logbb.high"}
    pd.testing.assert_frame_equal(sets[list(plain.columns)], plain)


def test_parquet_has_numbers_and_text(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    names = site.external.read_text(encoding="utf-8").splitlines()[0].split(",")
    bad = ",".join("C1CC" if name == "smiles" else "" for name in names)
    table.write_text(f"{site.external.read_text(encoding='utf-8')}{bad}\n", encoding="utf-8")
    done(*conformal(site.hybrid("aurora"), table, tmp_path / "p.parquet"))
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert frame["logbb.low"].dtype == frame["logbb.high"].dtype == "float64"
    rejected = frame["problem"] != ""
    assert rejected.iloc[-1]
    assert frame.loc[rejected, "bbb.set"].isna().all()
    assert frame.loc[~rejected, "bbb.set"].notna().all()


def test_a_smaller_rate_gives_wider_ones(site: Site, tmp_path: Path) -> None:
    rows = {}
    for rate in (0.4, 0.15):
        output = tmp_path / f"{rate}.csv"
        done("predict", site.hybrid("aurora"), site.external, "-o", output, "--conformal", rate)
        rows[rate] = [row for row in read(output) if not row["problem"]]
    for narrow, wide in zip(rows[0.4], rows[0.15], strict=True):
        assert set(narrow["bbb.set"].split("|")) - {""} <= set(wide["bbb.set"].split("|"))
        assert float(wide["logbb.low"]) <= float(narrow["logbb.low"])
        assert float(narrow["logbb.high"]) <= float(wide["logbb.high"])


def test_a_student_without_measured_labels_is_refused(site: Site, tmp_path: Path) -> None:
    error = refused(*conformal(site.student, site.external, tmp_path / "p.csv"))
    assert "is a student and has no measured labels" in error
    assert "--calibration" in error
    assert list(tmp_path.iterdir()) == []


def test_a_student_takes_a_table_of_measured_labels(
    site: Site, measured: Path, tmp_path: Path
) -> None:
    output = tmp_path / "p.csv"
    outcome = done(
        *conformal(site.student, site.external, output, "--calibration", measured), "--json"
    )
    sets = json.loads(outcome.stdout)["conformal"]
    assert sets["calibration"] == ["measured.csv"]
    assert sets["tasks"]["bbb"]["compounds"] > 50
    rejects = read(tmp_path / "p.rejects.csv")
    assert sets["rejected"] == len(rejects)
    assert rejects[0]["value"] == "C1CC"
    text = done(*conformal(site.student, site.external, output, "--calibration", measured)).stdout
    assert "calibration, bbb" in text
    assert f"{len(rejects)} rows or labels of the calibration table" in text


def test_compounds_that_a_model_was_trained_on_do_not_calibrate_it(
    site: Site, measured: Path, tmp_path: Path
) -> None:
    output = tmp_path / "p.csv"
    own = site.table("aurora")
    for model in (site.teacher("aurora"), site.hybrid("aurora")):
        error = refused(*conformal(model, site.external, output, "--calibration", own))
        assert "none of its" in error
        assert "was trained on these compounds" in error
    both = ("--calibration", own, "--calibration", measured)
    outcome = done(*conformal(site.teacher("aurora"), site.external, output, *both))
    assert "left out: the model was trained on them" in outcome.stdout
    # Public compounds are what a student was trained on.
    public = tmp_path / "public.csv"
    rows = read(site.public_table)
    with public.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["smiles", "bbb"])
        writer.writerows([row["smiles"], "BBB+"] for row in rows)
    error = refused(*conformal(site.student, site.external, output, "--calibration", public))
    assert "was trained on these compounds" in error


def test_too_few_calibration_compounds_are_said_and_give_everything(
    site: Site, tmp_path: Path
) -> None:
    output = tmp_path / "p.csv"
    outcome = done(
        "predict",
        site.hybrid("aurora"),
        site.external,
        "-o",
        output,
        "--conformal",
        0.005,
        "--no-shift",
    )
    warnings = [line for line in outcome.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 2, outcome.stderr
    assert "an error rate of 0.005 needs 199" in warnings[0]
    assert "every set holds that class" in warnings[0]
    assert "every interval is the whole range" in warnings[1]
    for row in read(output):
        if not row["problem"]:
            assert row["bbb.set"] == "BBB-|BBB+"
            assert (float(row["logbb.low"]), float(row["logbb.high"])) == (-4.0, 4.0)


def test_too_few_queries_are_not_weighed_and_that_is_said(site: Site, tmp_path: Path) -> None:
    table = first_lines(site.external, tmp_path / "few.csv", 5)
    outcome = done(*conformal(site.hybrid("aurora"), table, tmp_path / "p.csv"))
    assert "task bbb: no weights" in outcome.stderr
    assert "50 of each are needed" in outcome.stderr


def test_a_task_without_calibration_stays_empty_and_that_is_said(
    site: Site, measured: Path, tmp_path: Path
) -> None:
    table = tmp_path / "bbb.csv"
    rows = [row for row in read(measured) if row["bbb"]]
    with table.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["smiles", "barrier"])
        writer.writerows([row["smiles"], row["bbb"]] for row in rows)
    outcome = done(
        *conformal(site.student, site.external, tmp_path / "p.csv", "--calibration", table),
        "--label",
        "bbb=barrier",
    )
    assert "task logbb has no measured compounds to calibrate with" in outcome.stderr
    found = read(tmp_path / "p.csv")
    assert {row["logbb.low"] for row in found} == {""}
    assert any(row["bbb.set"] for row in found)


def test_an_older_folder_is_refused_with_one_line_and_predicts_all_the_same(
    site: Site, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(site.hybrid("aurora"), tmp_path / "hybrid"))
    (old / MEASURED).unlink()
    values = json.loads((old / "model.json").read_text(encoding="utf-8"))
    del values["files"][MEASURED]
    (old / "model.json").write_text(json.dumps(values), encoding="utf-8")
    error = refused(*conformal(old, site.external, tmp_path / "p.csv"))
    assert "made by an older version" in error
    done("predict", old, site.external, "-o", tmp_path / "p.csv", "--jobs", 1)


def test_without_the_library_one_line_says_how_to_get_it(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "crepes", None)
    error = refused(*conformal(site.hybrid("aurora"), site.external, tmp_path / "p.csv"))
    assert "pip install 'fluid-federated[conformal]'" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--conformal", 0), "above 0 and at most 0.5"),
        (("--conformal", 0.6), "above 0 and at most 0.5"),
        (("--conformal", "nan"), "above 0 and at most 0.5"),
        (("--no-shift",), "need --conformal"),
        (("--shift",), "need --conformal"),
        (("--calibration", "x.csv"), "need --conformal"),
        (("--difficulty", "constant"), "need --conformal"),
        (("--conformal", 0.1, "--difficulty", "x"), "allowed are similarity, constant"),
        (("--conformal", 0.1, "--label", "bbb=y"), "how to read --calibration"),
    ],
)
def test_options_that_would_do_nothing_are_wrong_usage(
    site: Site, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    outcome = run("predict", site.student, site.external, "-o", tmp_path / "p.csv", *options)
    assert outcome.code == 2, outcome.stderr
    assert message in " ".join(outcome.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_what_travels_holds_no_measured_labels(site: Site) -> None:
    held = sorted(path.parent for path in site.folder.rglob(MEASURED))
    partners = [site.teacher(name) for name in ("aurora", "draco", "eridanus")]
    assert held == sorted([*partners, site.hybrid("aurora")])
