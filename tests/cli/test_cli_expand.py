"""expand-public on the command line: what it writes, and what it refuses in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.cli_site import Site, done, refused, run, snapshot, spawn

HEADER = "id,smiles,parent,rule"


def grow(site: Site, output: Path, *more: object) -> list[object]:
    """The command with everything in order; what is given comes last and wins."""
    return [
        "expand-public", site.federated, "--federation", site.federation, "-o", output,
        "--number", 30, "--seeds", 6, "--jobs", 1, *more,
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's small teachers know next to no public compound well enough to grow from."""
    monkeypatch.setattr("fluid.central.seeds.TRUSTED", 0.02)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_table_and_a_summary(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "new" / "analogues.csv"
    outcome = done(*grow(site, output, "--json"))
    value = json.loads(outcome.stdout)
    assert value["path"] == str(output)
    assert value["asked"] == value["compounds"] == 30
    assert sum(value["seeds"].values()) == 6
    assert sum(value["methods"].values()) == 30
    rows = rows_of(output)
    assert output.read_text().splitlines()[0] == HEADER
    assert len(rows) == 30
    assert {row["parent"] for row in rows} <= {row["id"] for row in rows_of(site.public_table)}
    assert sorted(tmp_path.rglob("*")) == [output.parent, output]
    text = done(*grow(site, output)).stdout
    assert str(output) in text
    assert "30 of 30" in text


@pytest.mark.long
def test_the_same_bytes_whatever_the_jobs_and_replaced_by_the_next_run(
    site: Site, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    done(*grow(site, one))
    done(*grow(site, two, "--jobs", 2))
    assert one.read_bytes() == two.read_bytes()
    done(*grow(site, two, "--seed", 1))
    assert one.read_bytes() != two.read_bytes()


def test_methods_can_be_chosen(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "a.csv"
    done(*grow(site, output, "--methods", "pairs, mutations", "--no-balance"))
    assert {row["rule"].split(":")[0] for row in rows_of(output)} == {"pair", "mutation"}


def test_the_next_round_reads_it(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "a.csv"
    done(*grow(site, output))
    before = json.loads(done(*site.prepare(tmp_path / "p.parquet"), "--json").stdout)
    both = site.prepare(tmp_path / "q.parquet")
    both.insert(2, output)
    after = json.loads(done(*both, "--json").stdout)
    assert after["compounds"] == before["compounds"] + 30
    assert after["rejected"] == before["rejected"]


REFUSALS = {
    "nothing asked": (("--number", 0), "number = 0: allowed are 1 to 10,000,000"),
    "too many": (("--number", 10_000_001), "number = 10000001: allowed are 1 to 10,000,000"),
    "negative": (("--number", -5), "number = -5: allowed are 1 to 10,000,000"),
    "no seeds": (("--seeds", 0), "seeds = 0: allowed are 1 to 1,000,000"),
    "unknown method": (("--methods", "pairs,magic"),
                       "methods: 'magic' is not a method; allowed are mutations, pairs, brics"),
    "no method": (("--methods", ""), "methods: '' is not a method; allowed are mutations, pairs,"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_options_that_are_not_allowed(site: Site, tmp_path: Path, name: str) -> None:
    options, message = REFUSALS[name]
    error = refused(*grow(site, tmp_path / "new" / "a.csv", *options))
    assert error.startswith(f"error: {message}")
    assert not any(tmp_path.iterdir())


def test_files_that_are_not_what_they_should_be(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "new" / "a.csv"
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(site.federated.read_bytes()[:-100])
    other = tmp_path / "other.toml"
    text = site.federation.read_text(encoding="utf-8")
    other.write_text(text.replace('"trial"', '"another"'), encoding="utf-8")
    changed = tmp_path / "changed.toml"
    changed.write_text(text.replace("value_step = 0.01", "value_step = 0.02"), encoding="utf-8")
    assert changed.read_text() != text != other.read_text()
    cases = [
        (tmp_path / "none.parquet", site.federation, "none.parquet: no such file"),
        (site.public, site.federation, "public.parquet: is "),
        (site.public_table, site.federation, "public.csv: is "),
        (damaged, site.federation, "damaged.parquet: is "),
        (site.federated, tmp_path / "none.toml", "none.toml: no such file"),
        (site.federated, other, "federation is 'trial', but 'another' is expected"),
        (site.federated, changed, "was made under protocol"),
    ]
    before = snapshot(tmp_path)
    for federated, federation, message in cases:
        error = refused(
            "expand-public", federated, "--federation", federation, "-o", output, "--number", 5
        )
        assert message in error
        assert snapshot(tmp_path) == before


def test_where_no_teacher_is_in_its_domain(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("seeds", "expand"):
        monkeypatch.setattr(f"fluid.central.{room}.TRUSTED", 1.01)
    error = refused(*grow(site, tmp_path / "new" / "a.csv"))
    assert "public compounds lies in the domain of a teacher (reliability 1.01 or more)" in error
    assert not any(tmp_path.iterdir())


def test_places_that_are_not_ours(site: Site, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.csv"
    theirs.write_text("id,smiles,source\na,CCO,me\n")
    ours = tmp_path / "ours.csv"
    ours.write_text(HEADER + "\n")
    before = snapshot(tmp_path)
    assert "theirs.csv: exists and is no table of analogues" in refused(*grow(site, theirs))
    assert "a.txt: the output must end in .csv" in refused(*grow(site, tmp_path / "a.txt"))
    assert "is a file, a folder is needed" in refused(*grow(site, theirs / "a.csv"))
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    assert "folder.csv: is a folder" in refused(*grow(site, folder))
    folder.rmdir()
    assert snapshot(tmp_path) == before
    done(*grow(site, ours))
    assert len(rows_of(ours)) == 30


def test_wrong_usage_and_help(site: Site, tmp_path: Path) -> None:
    for options in (("--number", "many"), ("--jobs", 0), ("--seed", -1), ("--sedes", 3)):
        outcome = run(*grow(site, tmp_path / "a.csv", *options))
        assert outcome.code == 2, options
        assert "Traceback" not in outcome.stderr
    shown = done("expand-public", "--help").stdout
    assert "Example:" in shown
    assert "fluid expand-public round1/federated.parquet" in shown
    assert not any(tmp_path.iterdir())


def test_as_a_process(site: Site, tmp_path: Path) -> None:
    outcome = spawn(*grow(site, tmp_path / "a.csv", "--number", 10**9))
    assert outcome.code == 1
    assert outcome.stdout == ""
    assert outcome.error == "error: number = 1000000000: allowed are 1 to 10,000,000"
    assert not any(tmp_path.iterdir())
