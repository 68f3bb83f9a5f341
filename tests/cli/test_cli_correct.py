"""A further round on the command line: partners correct a student, and use the next one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.cli_site import PARTNERS, Site, done, refused, snapshot


@pytest.fixture(scope="module")
def second(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the second round: annotations by partner, and ``round2``."""
    folder = tmp_path_factory.mktemp("second")
    for partner in PARTNERS:
        done(
            "annotate",
            site.teacher(partner),
            site.public,
            "--key",
            site.key(partner),
            "--student",
            site.student,
            "-o",
            folder / f"{partner}.parquet",
            "--jobs",
            1,
        )
    paths = [folder / f"{partner}.parquet" for partner in PARTNERS]
    done(*site.distill(folder / "round2", paths), "--student", site.student)
    return folder


def test_the_round_goes_on_from_the_first(site: Site, second: Path) -> None:
    shown = json.loads(done("inspect", second / "aurora.parquet", "--json").stdout)
    report = json.loads((second / "round2" / "report.json").read_text())
    assert shown["base_student"] == report["base_student"] == shown["manifest"]["base_student"]
    first = json.loads(done("inspect", site.annotation("aurora"), "--json").stdout)
    before, after = (one["manifest"]["ledger"] for one in (first, shown))
    assert after["ledger"] == before["ledger"]
    assert after["number"] > before["number"]
    assert "base_student" not in first["manifest"]
    text = done("inspect", second / "aurora.parquet").stdout
    assert "regression labels start from the student" in text
    assert "plus a correction" in text


def test_twicing_applies_to_residuals_only(site: Site, second: Path) -> None:
    card = json.loads((second / "round2" / "student" / "model.json").read_text())["card"]
    assert "logbb" not in card["training"].get("twicing", {})
    assert set(card["training"]["twicing_of_residuals"]) == {"logbb"}
    first = json.loads((site.student / "model.json").read_text())["card"]
    assert "twicing_of_residuals" not in first["training"]


def test_distill_asks_for_the_student_that_is_corrected(
    site: Site, second: Path, tmp_path: Path
) -> None:
    paths = [second / f"{partner}.parquet" for partner in PARTNERS]
    target = tmp_path / "round"
    assert "give it with --student" in refused(*site.distill(target, paths))
    other = ("--student", second / "round2" / "student")
    assert "expected student" in refused(*site.distill(target, paths), *other)
    assert "corrects no student" in refused(*site.distill(target), "--student", site.student)
    none = ("--student", tmp_path / "none")
    assert "no such model folder" in refused(*site.distill(target, paths), *none)
    broken = Path(shutil.copytree(site.student, tmp_path / "broken"))
    (broken / "arrays.npz").write_bytes(b"")
    assert "not match its digest" in refused(*site.distill(target, paths), "--student", broken)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_residuals_need_no_twicing(site: Site, second: Path, tmp_path: Path) -> None:
    paths = [second / f"{partner}.parquet" for partner in PARTNERS]
    done(*site.distill(tmp_path / "round", paths), "--student", site.student, "--no-twicing")
    report = json.loads((tmp_path / "round" / "report.json").read_text())
    assert report["tasks"]["logbb"]["twicing_of_residuals"] is None
    same = json.loads((second / "round2" / "report.json").read_text())
    assert same["tasks"]["logbb"]["twicing_of_residuals"]["base"] > 0.0
    assert "twicing" in same["tasks"]["bbb"]


def test_a_later_student_answers_in_a_hybrid(site: Site, second: Path, tmp_path: Path) -> None:
    later = ("--later-student", second / "round2" / "student")
    own = ("--annotation", site.annotation("aurora"), "--teacher", site.teacher("aurora"))
    done(*site.blend(tmp_path / "first", *own))
    done(*site.blend(tmp_path / "later", *own, *later))
    outputs = []
    for name in ("first", "later"):
        outputs.append(tmp_path / f"{name}.csv")
        done("predict", tmp_path / name, site.external, "-o", outputs[-1], "--jobs", 1)
    assert outputs[0].read_bytes() != outputs[1].read_bytes()
    inside = json.loads((tmp_path / "later" / "student" / "model.json").read_text())
    assert inside == json.loads((second / "round2" / "student" / "model.json").read_text())


def test_a_hybrid_of_corrections_is_told_to_be_favourable(
    site: Site, second: Path, tmp_path: Path
) -> None:
    outcome = done(
        *site.blend(
            tmp_path / "hybrid",
            "--federated",
            second / "round2" / "federated.parquet",
            "--student",
            second / "round2" / "student",
            "--annotation",
            second / "aurora.parquet",
        )
    )  # fmt: skip
    assert "are favourable" in outcome.stderr


def test_an_audit_asks_for_the_student(site: Site, second: Path, tmp_path: Path) -> None:
    command = [
        "audit",
        site.teacher("aurora"),
        site.public,
        second / "aurora.parquet",
        "--jobs",
        2,
        "--shadows",
        4,
        "--overlap",
        1,
    ]
    assert "name it with --student" in refused(*command)
    other = second / "round2" / "student"
    assert "expected student" in refused(*command, "--student", other)
    found = json.loads(done(*command, "--student", site.student, "--json").stdout)
    assert found["influence"]["rows_changed"] == 0
    assert {one["task"] for one in found["attacks"]} == {"bbb", "logbb"}
    # Classification is labelled as before: the first release adds nothing to it.
    both = {
        (one["task"], one["channel"])
        for one in found["attacks"]
        if one["export"] == "both releases"
    }
    assert {task for task, _ in both} == {"logbb"}
    assert {"own row", "neighbours"} < {channel for _, channel in both}
    # The columns beside the prediction are those of the first release: nothing new to attack.
    assert "metadata" not in {channel for _, channel in both}
    first = [*command[:3], site.annotation("aurora"), *command[4:]]
    assert "was made without a student" in refused(*first, "--student", site.student)


def test_refusals(site: Site, second: Path, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    target = tmp_path / "a.parquet"
    message = refused(*site.annotate(target), "--student", site.teacher("draco"))
    assert "holds a teacher, but a student is needed" in message
    message = refused(*site.annotate(target), "--student", tmp_path / "none")
    assert "no such model folder" in message
    mixed = [second / "aurora.parquet", *site.annotations[1:]]
    message = refused(*site.distill(tmp_path / "round", mixed))
    assert "all annotations must correct the same" in message
    message = refused(*site.blend(tmp_path / "hybrid"), "--later-student", site.teacher("aurora"))
    assert "holds a teacher, but a student is needed" in message
    message = refused(*site.blend(tmp_path / "hybrid"), "--later-student", site.student)
    assert "is not the student of a later round" in message
    broken = Path(shutil.copytree(site.student, tmp_path / "broken"))
    (broken / "arrays.npz").write_bytes(b"")
    assert "does not match its digest" in refused(*site.annotate(target), "--student", broken)
    forged = site.forge(tmp_path / "forged.parquet", changes={"base_student": 5})
    assert "the manifest: " in refused(*site.distill(tmp_path / "round", [forged]))
    shutil.rmtree(broken)
    forged.unlink()
    assert snapshot(tmp_path) == before


def test_simulate_has_a_student_of_each_round(site: Site, tmp_path: Path) -> None:
    done(
        "simulate",
        *(site.table(partner) for partner in PARTNERS),
        "--public",
        site.public,
        "--federation",
        site.federation,
        "--draws",
        100,
        "--jobs",
        1,
        "-o",
        tmp_path / "study",
        "--partition",
        "random:partners=2",
        "--no-paper",
        "--references",
        "",
        "--rounds",
        3,
    )
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    numbers = {row["model"] for row in summary["tasks"]["logbb"]["students"]}
    assert numbers == {"student", "student, round 2", "student, round 3"}
    assert {row["model"] for row in summary["tasks"]["bbb"]["students"]} == {"student"}
