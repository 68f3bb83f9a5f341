"""`fluid audit`: its file, its streams, its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fluid.partner.audit import AuditReport, Thresholds
from tests.cli.cli_site import Site, done, refused, run
from tests.local_cluster import LocalCluster

QUICK = ("--shadows", 4, "--overlap", 1)


def _command(site: Site, *more: object, draft: Path | None = None) -> list[object]:
    return [
        "audit",
        site.teacher("aurora"),
        site.public,
        draft or site.annotation("aurora"),
        *QUICK,
        *more,
    ]


def test_audit_writes_what_it_prints(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "audit.json"
    shown = done(*_command(site, "--jobs", 2, "-o", target, "--json"))
    assert target.stat().st_mode & 0o777 == 0o600
    assert "shadow teachers of half the compounds, 4" in shown.stderr
    assert "audited in " in shown.stderr
    written = json.loads(target.read_text(encoding="utf-8"))
    assert json.loads(shown.stdout) == written
    assert written["schema"] == "fluid.audit/1"
    assert written["partner"] == "aurora"
    assert written["verdict"] in ("pass", "undecided")
    assert (written["threshold"], written["threshold_neighbours"]) == (0.6, 1.0)
    inspected = json.loads(done("inspect", site.annotation("aurora"), "--json").stdout)
    assert written["annotation"] == inspected["digest"]
    wanted = {
        "task",
        "channel",
        "name",
        "export",
        "class",
        "n_in",
        "n_out",
        "auc",
        "auc_low",
        "auc_high",
        "tpr_at_1",
        "tpr_at_1_low",
        "tpr_at_1_high",
        "tpr_at_01",
        "epsilon_low",
        "p",
        "p_holm",
        "auc_low_all",
        "auc_high_all",
    }
    assert all(wanted <= set(found) for found in written["attacks"])
    assert {found["export"] for found in written["attacks"]} == {"actual", "unprotected"}


@pytest.mark.long
def test_cores_change_nothing(site: Site, tmp_path: Path) -> None:
    files = []
    for jobs in (1, 2):
        files.append(tmp_path / f"{jobs}.json")
        shown = done(*_command(site, "--jobs", jobs, "-o", files[-1]))
        assert "own row" in shown.stdout
        assert "verdict: " in shown.stdout
    assert files[0].read_bytes() == files[1].read_bytes()


def test_failure_is_exit_code_1(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = {"canaries": {"passed": False}}
    failed = AuditReport({}, {}, Thresholds(0.6, 1.0), [], {"tried": 0}, (), checks)
    monkeypatch.setattr("fluid.partner.audit.audit", lambda *arguments, **options: failed)
    outcome = run(*_command(site, "-o", tmp_path / "audit.json"))
    assert outcome.code == 1
    assert "verdict: FAIL: the check 'canaries' failed" in outcome.stdout
    # The file is for the person who has to approve, all the more so.
    assert json.loads((tmp_path / "audit.json").read_text())["verdict"] == "fail"


def test_refusals(site: Site, tmp_path: Path) -> None:
    assert "expected partner aurora, found draco" in refused(
        *_command(site, draft=site.annotation("draco"))
    )
    assert "shadows = 3: allowed are 4 to 1024" in refused(*_command(site), "--shadows", 3)
    table = site.content_with("bbb.prediction", 3, 0.5)
    forged = site.forge(tmp_path / "forged.parquet", table)
    message = refused(*_command(site, draft=forged))
    assert "these are not this teacher's labels" in message
    other = tmp_path / "notes.json"
    other.write_text("{}")
    assert "exists and is not an audit" in refused(*_command(site, "-o", other))
    assert other.read_text() == "{}"
    assert "is an input" in refused(*_command(site, "-o", site.annotation("aurora")))


@pytest.mark.long
def test_shadow_teachers_may_be_trained_on_a_cluster(
    site: Site, dask_site: LocalCluster, tmp_path: Path
) -> None:
    here, there = tmp_path / "here.json", tmp_path / "there.json"
    done(*_command(site, "-o", here))
    done(*_command(site, "-o", there, "--scheduler", dask_site.address))
    assert there.read_bytes() == here.read_bytes()
