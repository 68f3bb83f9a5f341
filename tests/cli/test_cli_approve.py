"""inspect, approve and ledger as a compliance officer meets them."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fluid.cli.main import app
from typer.testing import CliRunner

from fluid.exchange.annotation import SCHEMA as ANNOTATION
from fluid.exchange.annotation import open_annotation
from fluid.exchange.sealed import open_sealed, write_sealed
from tests.cli.cli_site import Site, done, refused


@pytest.fixture
def draft(site: Site, tmp_path: Path) -> Path:
    """An unsigned annotation, beside a teacher and a key of its own."""
    shutil.copytree(site.teacher("aurora"), tmp_path / "teacher")
    shutil.copy2(site.key("aurora"), tmp_path / "aurora.key")
    (tmp_path / "teacher" / "ledger.jsonl").unlink()
    output = tmp_path / "draft.parquet"
    done("annotate", tmp_path / "teacher", site.public, "-o", output, "--jobs", 1)
    return output


def approval(draft: Path, *more: object) -> list[object]:
    home = draft.parent
    return ["approve", draft, "--key", home / "aurora.key", "--teacher", home / "teacher", *more]


def test_the_coordinator_takes_approved_files_only(site: Site, draft: Path, tmp_path: Path) -> None:
    others = [site.annotation("draco"), site.annotation("eridanus")]
    error = refused(*site.distill(tmp_path / "round", [draft, *others]))
    assert "is an unsigned draft; partner 'aurora' must sign it" in error
    shown = json.loads(done(*approval(draft, "--yes", "--json")).stdout)
    assert shown["signed"]
    assert shown["release"] == 1
    done(*site.distill(tmp_path / "round", [draft, *others]))
    report = json.loads((tmp_path / "round" / "report.json").read_text())
    assert report["releases"]["aurora"]["number"] == 1
    # In a later round a number that was used is no new release.
    former = ("--former", tmp_path / "round" / "report.json")
    forged = site.forge(tmp_path / "forged.parquet", changes={"software": {}})
    error = refused(*site.distill(tmp_path / "later", [forged, *others]), *former)
    assert f"{forged}: is release 1 of partner 'aurora', but " in error
    assert "has release 1 already; the ledger was restored from a backup" in error
    broken = tmp_path / "broken.json"
    broken.write_text('{"schema": "fluid.report/2"}')
    error = refused(*site.distill(tmp_path / "x", [draft, *others]), "--former", broken)
    assert f"{broken}: is not the report of a round, or states no releases" in error


def test_approve_asks_and_nothing_is_signed_without_a_yes(draft: Path) -> None:
    before = draft.read_bytes()
    arguments = [str(argument) for argument in approval(draft)]
    for answer in ("n\n", "", "perhaps\n"):
        result = CliRunner().invoke(app, arguments, input=answer)
        assert result.exit_code == 1
        assert "not approved; nothing was signed" in result.stderr
        assert "WHAT IS WITHHELD, AND WHY" in result.stdout
        assert draft.read_bytes() == before
    result = CliRunner().invoke(app, arguments, input="y\n")
    assert result.exit_code == 0
    assert open_annotation(draft).sealed.signature is not None
    table = done("ledger", draft.parent / "teacher", "--key", draft.parent / "aurora.key").stdout
    assert re.search(r"approved +1 .* ed25519:", table)


def test_a_failed_audit_is_shown_and_refused_in_pipelines(draft: Path) -> None:
    audit = draft.parent / "audit.json"
    attack = {"name": "lira", "channel": "prediction", "class": "BBB-", "auc": 0.81}
    audit.write_text(json.dumps(
        {"schema": "fluid.audit/1", "verdict": "fail", "threshold": 0.6, "attacks": [attack],
         "annotation": open_annotation(draft).sealed.digest}
    ))  # fmt: skip
    error = CliRunner().invoke(
        app, [str(argument) for argument in approval(draft, "--yes", "--audit", audit)]
    )
    assert error.exit_code == 1
    assert "AUDIT: NOT PASSED" in error.stdout
    assert re.search(r"prediction +BBB- +lira +0\.810", error.stdout)
    assert "the audit did not pass; approve by hand, without --yes" in error.stderr
    result = CliRunner().invoke(
        app, [str(argument) for argument in approval(draft, "--audit", audit)], input="y\n"
    )
    assert result.exit_code == 0
    assert "The audit did NOT pass." in result.stderr
    entries = json.loads(done("ledger", draft.parent / "teacher", "--json").stdout)["entries"]
    assert entries[-1]["verdict"] == "fail"
    assert "audit fail" in done("ledger", draft.parent / "teacher").stdout


def test_tampering_is_found_by_ledger(draft: Path) -> None:
    done(*approval(draft, "--yes"))
    teacher, key = draft.parent / "teacher", draft.parent / "aurora.key"
    path = teacher / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    for number, line in enumerate(lines):
        changed = line.replace(b'"time":"2', b'"time":"1')
        assert changed != line
        path.write_bytes(b"".join([*lines[:number], changed, *lines[number + 1 :]]))
        assert f"{path}: line {number + 1}: " in refused("ledger", teacher)
    path.write_bytes(b"".join(lines[:-1]))
    done("ledger", teacher)
    assert "restored from a backup" in refused("ledger", teacher, "--key", key)
    path.write_bytes(b"".join(lines))
    done("ledger", teacher, "--key", key)


def test_a_looser_policy_of_a_partner_is_refused(site: Site, draft: Path) -> None:
    policy = draft.parent / "partner.toml"
    policy.write_text("[policy]\nreliability_step = 0.01\n")
    arguments = ["annotate", draft.parent / "teacher", site.public, "--policy", policy]
    error = refused(*arguments, "-o", draft.parent / "x.parquet")
    assert error == (
        f"error: {policy}: policy reliability_step = 0.01 is looser than the federation's 0.02; "
        "allowed is a whole multiple of 0.02"
    )
    assert not (draft.parent / "x.parquet").exists()


def test_a_stricter_policy_is_admitted_and_its_values_are_checked(
    site: Site, draft: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "partner.toml"
    policy.write_text("[policy]\nprobability_step = 0.1\nabstain_below = 0.04\n")
    output = tmp_path / "own.parquet"
    done("annotate", tmp_path / "teacher", site.public, "--policy", policy, "-o", output,
         "--key", tmp_path / "aurora.key", "--jobs", 1)  # fmt: skip
    others = [site.annotation("draco"), site.annotation("eridanus")]
    done(*site.distill(tmp_path / "round", [output, *others]))
    shown = done("inspect", output, "-f", site.federation).stdout
    assert re.search(r"abstain_below +0\.04 +0\.0 \(partner is stricter\)", shown)
    assert "reliability below 0.04" in shown
    manifest = open_sealed(output, ANNOTATION).manifest
    # The values of the plain annotation, said to be made under the stricter policy.
    forged = site.forge(tmp_path / "f.parquet", changes={"policy": manifest["policy"]})
    error = refused(*site.distill(tmp_path / "x", [forged, *others]))
    assert "allowed are" in error
    loose = site.forge(
        tmp_path / "l.parquet", changes={"policy": manifest["policy"] | {"reliability_step": 0.01}}
    )
    error = refused(*site.distill(tmp_path / "x", [loose, *others]))
    assert "disclosure policy: reliability_step = 0.01 is looser than the federation's" in error
    beyond = manifest["ledger"] | {"number": 11}
    over = site.forge(tmp_path / "o.parquet", changes={"ledger": beyond})
    error = refused(*site.distill(tmp_path / "x", [over, *others]))
    assert "is release 11, but max_releases = 10 of its disclosure policy" in error


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_one_file_and_hostile_names_are_shown_not_obeyed(
    draft: Path, tmp_path: Path
) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</td>"
    sealed = open_sealed(draft, ANNOTATION)
    manifest = sealed.manifest | {
        "tasks": [{**sealed.manifest["tasks"][0], "classes": [hostile, "x"]},
                  {**sealed.manifest["tasks"][1], "unit": hostile}],
    }  # fmt: skip
    path = tmp_path / "hostile.parquet"
    write_sealed(path, sealed.schema, sealed.batches(), lambda count: manifest)
    audit = tmp_path / "audit.json"
    audit.write_text(json.dumps(
        {"schema": "fluid.audit/1", "verdict": hostile, "attacks": [{hostile: hostile}],
         "annotation": open_annotation(path).sealed.digest}
    ))  # fmt: skip
    page = tmp_path / "page.html"
    shown = done("inspect", path, "--html", page, "--audit", audit).stdout
    assert hostile in shown
    content = page.read_text(encoding="utf-8")
    found = Page(content)
    assert found.tags <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "table", "thead",
        "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert found.attributes <= {"lang", "charset", "http-equiv", "content", "class", "scope"}
    assert sum(hostile in text for text in found.texts) >= 5
    assert not re.search(r"https?:|url\(|@import", content)
    assert "default-src 'none'" in content


def test_a_budget_is_that_of_the_annotations_own_teacher(
    site: Site, draft: Path, tmp_path: Path
) -> None:
    error = refused("inspect", draft, "--teacher", site.teacher("draco"))
    assert "draco/teacher: its ledger is '" in error
    assert "name the teacher that made it" in error


def test_the_page_says_what_the_text_says(draft: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done(*approval(draft, "--yes"))
    options = ("--teacher", tmp_path / "teacher", "--html", page)
    shown = done("inspect", draft, *options).stdout
    value = json.loads(done("inspect", draft, *options, "--json").stdout)
    texts = Page(page.read_text(encoding="utf-8")).texts
    digest = open_annotation(draft).sealed.digest
    assert digest in shown
    assert digest in texts
    assert value["digest"] == digest
    assert value["budget"]["releases_used"] == 1
    assert value["budget"]["entered"] is True
    assert len(value["budget"]["approved"]) == 1
    for column in value["columns"]:
        assert column["name"] in texts
        assert {"meaning", "unit", "allowed", "missing_share"} <= set(column)
    for item in value["withheld"]:
        assert item["what"] in texts
        assert item["why"] in shown
    assert {entry["setting"] for entry in value["policy"]} >= {"max_releases", "neighbourhood"}
    error = refused("inspect", draft, "--html", draft)
    assert "is an input of this command" in error
    (tmp_path / "mine.txt").write_text("mine")
    assert "is not a web page" in refused("inspect", draft, "--html", tmp_path / "mine.txt")
    error = refused("inspect", tmp_path / "teacher", "--html", tmp_path / "p.html")
    assert "--teacher, --audit and --html are for annotations" in error
