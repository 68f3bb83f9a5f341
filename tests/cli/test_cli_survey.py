"""The commands clusters, survey and prepare-public --select: what they do and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fluid.base.files import canonical_json, dump_json, sha256_hex
from fluid.exchange.signing import load_private_key, sign_digest
from tests.cli.cli_site import DATA, done, first_lines, refused, run, snapshot


@dataclass(frozen=True)
class Place:
    """A federation that shares coverage, a pool, its clusters, and two partners' reports."""

    folder: Path

    @property
    def federation(self) -> Path:
        return self.folder / "federation.toml"

    @property
    def pool(self) -> Path:
        return self.folder / "pool.csv"

    @property
    def clusters(self) -> Path:
        return self.folder / "clusters.parquet"

    def table(self, partner: str) -> Path:
        return self.folder / f"{partner}.csv"

    def key(self, partner: str) -> Path:
        return self.folder / "keys" / f"{partner}.key"

    def report(self, partner: str) -> Path:
        return self.folder / f"{partner}.json"

    # The commands with everything in order; what is given comes last and wins.

    def cluster(self, output: Path, *more: object) -> list[object]:
        return [
            "clusters", self.pool, "--federation", self.federation, "--number", 6, "-o", output,
            "--jobs", 1, *more,
        ]  # fmt: skip

    def survey(self, output: Path, *more: object, table: Path | None = None) -> list[object]:
        return [
            "survey", table or self.table("aurora"), "--clusters", self.clusters,
            "--federation", self.federation, "--partner", "aurora", "--key", self.key("aurora"),
            "-o", output, "--jobs", 1, *more,
        ]  # fmt: skip

    def select(self, output: Path, *more: object) -> list[object]:
        return [
            "prepare-public", self.pool, "--federation", self.federation, "-o", output,
            "--jobs", 1, *more,
        ]  # fmt: skip

    def told(self, output: Path, *reports: Path, clusters: Path | None = None) -> list[object]:
        coverage = [part for report in reports for part in ("--coverage", report)]
        return self.select(
            output, "--select", 30, "--clusters", clusters or self.clusters, *coverage
        )

    def forge(
        self, path: Path, changes: dict[str, Any], signer: str | None = "aurora", seal: bool = True
    ) -> Path:
        """Aurora's report with other statements, with a right digest and signed all the same."""
        values = json.loads(self.report("aurora").read_text()) | changes
        values = {key: value for key, value in values.items() if value != "REMOVE"}
        if seal:
            said = {k: v for k, v in values.items() if k not in ("digest", "signature")}
            values["digest"] = sha256_hex(canonical_json(said))
            digest = bytes.fromhex(values["digest"])
            key = load_private_key(self.key(signer)) if signer else None
            values["signature"] = sign_digest(key, digest).hex() if key else None
        path.write_text(dump_json(values) + "\n")
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("coverage"))
    done(
        "init-federation", "--name", "trial", "--task", "bbb:binary", "--descriptors", "none",
        "-o", place.federation,
    )  # fmt: skip
    text = place.federation.read_text()
    place.federation.write_text(text.replace("share = []", 'share = ["coverage"]'))
    for partner in ("aurora", "draco"):
        done("keygen", partner, "-o", place.folder / "keys", "--federation", place.federation)
        first_lines(DATA / "partners" / f"{partner}.csv", place.table(partner), 100)
    first_lines(DATA / "public.csv", place.pool, 120)
    done(*place.cluster(place.clusters))
    done(*place.survey(place.report("aurora")))
    draco = ("--partner", "draco", "--key", place.key("draco"))
    done(*place.survey(place.report("draco"), *draco, table=place.table("draco")))
    return place


def refuse(arguments: list[object], folder: Path) -> str:
    """A command must say one clear line and leave nothing behind."""
    before = snapshot(folder)
    error = refused(*arguments)
    assert snapshot(folder) == before
    return error


# In order


def test_the_commands_say_what_they_did(place: Place, tmp_path: Path) -> None:
    outcome = done(*place.cluster(tmp_path / "c.parquet"))
    assert str(tmp_path / "c.parquet") in outcome.stdout
    assert (tmp_path / "c.parquet").read_bytes() == place.clusters.read_bytes()
    value = json.loads(done(*place.cluster(tmp_path / "c.parquet", "--json")).stdout)
    assert (value["clusters"], value["rows"], value["sampled"]) == (6, 120, 60)
    outcome = done(*place.survey(tmp_path / "r.json"))
    assert str(tmp_path / "r.json") in outcome.stdout
    assert (tmp_path / "r.json").read_bytes() == place.report("aurora").read_bytes()
    value = json.loads(done(*place.survey(tmp_path / "r.json", "--json")).stdout)
    assert (value["partner"], value["signed"], value["rows"]) == ("aurora", True, 100)
    reports = (place.report("draco"), place.report("aurora"))
    outcome = done(*place.told(tmp_path / "p.parquet", *reports))
    assert re.search(r"coverage of +aurora, draco", outcome.stdout)
    value = json.loads(done(*place.told(tmp_path / "p.parquet", *reports), "--json").stdout)
    assert value["compounds"] == 30
    assert list(value["selection"]["coverage"]) == ["aurora", "draco"]


def test_without_select_nothing_changes(place: Place, tmp_path: Path) -> None:
    value = json.loads(done(*place.select(tmp_path / "p.parquet"), "--json").stdout)
    assert set(value) == {"path", "digest", "compounds", "rejected", "duplicates", "rejects"}
    assert value["compounds"] > 100


def test_donated_structures_are_kept(place: Place, tmp_path: Path) -> None:
    gift = tmp_path / "gift.smi"
    gift.write_text("FC(F)(F)c1ccc(CCCCCCBr)cc1 gift\n")
    given = ("--select", 5, "--donated", gift, "--json")
    value = json.loads(done(*place.select(tmp_path / "p.parquet", *given)).stdout)
    assert (value["compounds"], value["selection"]["n_donated"]) == (5, 1)


# Refused

OPTIONS: dict[str, tuple[tuple[object, ...], str]] = {
    "none": (("--select", 0), "select = 0: must be 1 or more"),
    "too many": (("--select", 5000), r"select = 5000: the tables hold 1\d\d usable compounds"),
    "weight": (
        ("--select", 5, "--coverage-weight", 2),
        r"coverage weight = 2\.0: allowed are 0 to",
    ),
    "no clusters": (("--select", 5, "--coverage", "a.json"), "a.json: a coverage report counts by"),
    "missing": (("--select", 5, "--clusters", "none.parquet"), "none.parquet: no such file"),
    "missing gift": (("--select", 5, "--donated", "none.csv"), "none.csv: no such file"),
    "no select": (("--coverage", "a.json"), "--coverage a.json: only with --select N"),
    "no select, gift": (("--donated", "a.csv"), "--donated a.csv: only with --select N"),
    "no select, weight": (("--coverage-weight", 0.2), r"--coverage-weight 0\.2: only with"),
    "no select, clusters": (("--clusters", "c.parquet"), "--clusters c.parquet: only with"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_make_no_sense(place: Place, tmp_path: Path, name: str) -> None:
    given, message = OPTIONS[name]
    error = refuse(place.select(tmp_path / "new" / "p.parquet", *given), tmp_path)
    assert re.search(message, error), error


def test_settings_of_clusters(place: Place, tmp_path: Path) -> None:
    for given, message in {
        ("--number", 0): "number = 0: allowed are 1 to 2000",
        ("--number", 2001): "number = 2001: allowed are 1 to 2000",
        ("--floor", 1.5): "floor = 1.5: allowed are 0 to 1",
        ("--floor", "nan"): "floor = nan: allowed are 0 to 1",
        ("--smiles-column", "x"): "no SMILES column 'x'",
    }.items():
        assert message in refuse(place.cluster(tmp_path / "new" / "c.parquet", *given), tmp_path)


STATEMENTS: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "unsigned": ({}, None, "is an unsigned draft; partner 'aurora' must sign it"),
    "another key": ({}, "draco", "not of the key registered for partner 'aurora'"),
    "another name": ({"partner": "draco"}, "aurora", "not of the key registered .* 'draco'"),
    "unknown": ({"partner": "zeta"}, "aurora", "'zeta' is not registered .*: aurora, draco"),
    "no name": ({"partner": 5}, "aurora", "'partner' is not text"),
    "federation": ({"federation": "other"}, "aurora", "federation is 'other', but 'trial' is exp"),
    "protocol": ({"protocol": "0" * 64}, "aurora", "protocol is '0+', but '.*' is expected"),
    "clusters": ({"clusters": "0" * 64}, "aurora", "digest of the clusters is '0+', but"),
    "step": ({"step": 1}, "aurora", "step is '1', but '10' is expected"),
    "minimum": ({"minimum": 1}, "aurora", "minimum is '1', but '10' is expected"),
    "exact": ({"counts": [10, 20, 7, 0, 0, 0]}, "aurora", "cluster 3: 7; allowed are multiples"),
    "exact rest": ({"elsewhere": 11}, "aurora", "elsewhere: 11; allowed are multiples of 10"),
    "negative": ({"counts": [-10, 0, 0, 0, 0, 0]}, "aurora", "cluster 1: -10; allowed are whole"),
    "fraction": ({"counts": [0, 10.0, 0, 0, 0, 0]}, "aurora", r"cluster 2: 10\.0; allowed are wh"),
    "true": ({"counts": [0, True, 0, 0, 0, 0]}, "aurora", "cluster 2: True; allowed are whole"),
    "huge": ({"elsewhere": 10**30}, "aurora", "a whole number of 31 characters"),
    "text": ({"counts": "10"}, "aurora", "'counts' is not a list of whole numbers"),
    "too few": ({"counts": [10, 0]}, "aurora", "counts 2 clusters, but .* has 6"),
    "schema": ({"schema": "fluid.coverage/2"}, "aurora", "has the newer format 'fluid.coverage/2'"),
    "extra": ({"mean_weight": 310}, "aurora", "key 'mean_weight' is not known"),
    "lacking": ({"elsewhere": "REMOVE"}, "aurora", "key 'elsewhere' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_false_statement_is_refused(place: Place, tmp_path: Path, name: str) -> None:
    changes, signer, message = STATEMENTS[name]
    path = place.forge(tmp_path / "a.json", changes, signer)
    arguments = place.told(tmp_path / "new" / "p.parquet", place.report("draco"), path)
    error = refuse(arguments, tmp_path)
    assert error.startswith(f"error: {path}: ")
    assert re.search(message, error), error


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda text: b"", "is not a readable coverage report"),
    "truncated": (lambda text: text[: len(text) // 2], "is not a readable coverage report"),
    "one byte short": (lambda text: text[:-1], "is not written as fluid writes it"),
    "one byte more": (lambda text: text + b"\n", "is not written as fluid writes it"),
    "compact": (lambda text: canonical_json(json.loads(text)), "is not written as fluid writes it"),
    "two of a key": (
        lambda text: text.replace(b'"partner"', b'"partner": "draco",\n  "partner"'),
        "key 'partner' occurs twice",
    ),
    "count": (
        lambda text: re.sub(rb'"elsewhere": \d+', b'"elsewhere": 990', text),
        "does not match its digest",
    ),
    "signature": (
        lambda text: re.sub(rb'"signature": "..', b'"signature": "zz', text),
        "the signature is damaged",
    ),
    "capitals": (
        lambda text: re.sub(rb'"signature": "\w+"', lambda m: m[0][:14] + m[0][14:].upper(), text),
        "the signature is damaged",
    ),
    "number": (lambda text: b"5\n", "is not a readable coverage report"),
    "not a number": (
        lambda text: re.sub(rb'"elsewhere": \d+', b'"elsewhere": NaN', text),
        "is not a readable coverage report",
    ),
    "not text": (lambda text: b"\xff\xfe" + text, "is not a readable coverage report"),
    "deep": (lambda text: b"[" * 100_000, "is not a readable coverage report"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_report_is_refused(place: Place, tmp_path: Path, name: str) -> None:
    change, message = DAMAGES[name]
    path = tmp_path / "a.json"
    path.write_bytes(change(place.report("aurora").read_bytes()))
    error = refuse(place.told(tmp_path / "p.parquet", path), tmp_path)
    assert error.startswith(f"error: {path}: ")
    assert message in error


def test_any_other_byte_is_noticed(place: Place, tmp_path: Path) -> None:
    content = place.report("aurora").read_bytes()
    path = tmp_path / "a.json"
    for position in range(0, len(content), 83):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(bytes(changed))
        assert str(path) in refuse(place.told(tmp_path / "p.parquet", path), tmp_path), position


def test_two_reports_of_one_partner(place: Place, tmp_path: Path) -> None:
    copy = Path(shutil.copy(place.report("aurora"), tmp_path / "copy.json"))
    error = refuse(place.told(tmp_path / "p.parquet", place.report("aurora"), copy), tmp_path)
    assert f"{copy}: partner 'aurora' has sent" in error


def test_reports_on_other_clusters(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    done(*place.cluster(other, "--seed", 1))
    arguments = place.told(tmp_path / "p.parquet", place.report("aurora"), clusters=other)
    assert "aurora.json: digest of the clusters is" in refuse(arguments, tmp_path)


@pytest.mark.parametrize("size", [0, 4, 200, -1, -300])
def test_truncated_clusters(place: Place, tmp_path: Path, size: int) -> None:
    path = tmp_path / "clusters.parquet"
    path.write_bytes(place.clusters.read_bytes()[:size])
    for arguments in (
        place.survey(tmp_path / "r.json", "--clusters", path),
        place.told(tmp_path / "p.parquet", place.report("aurora"), clusters=path),
    ):
        assert refuse(arguments, tmp_path).startswith(f"error: {path}: ")


def test_another_kind_of_file_in_the_place_of_clusters(place: Place, tmp_path: Path) -> None:
    public = tmp_path / "public.parquet"
    done(*place.select(public))
    error = refuse(place.survey(tmp_path / "r.json", "--clusters", public), tmp_path)
    assert "is a 'fluid.public/1' file, but a 'fluid.clusters/1' file is needed" in error


def test_a_policy_that_does_not_share_coverage(place: Place, tmp_path: Path) -> None:
    federation = tmp_path / "federation.toml"
    text = place.federation.read_text().replace('share = ["coverage"]', "share = []")
    federation.write_text(text)
    told = place.told(tmp_path / "p.parquet", place.report("aurora"))
    error = refuse([*told, "--federation", federation], tmp_path)
    assert "was made for protocol" in error
    clusters = tmp_path / "clusters.parquet"
    done(*place.cluster(clusters, "--federation", federation))
    for arguments in (
        place.survey(tmp_path / "r.json", "--federation", federation, "--clusters", clusters),
        [
            *place.told(tmp_path / "p.parquet", place.report("aurora"), clusters=clusters),
            "--federation", federation,
        ],
    ):  # fmt: skip
        error = refuse(arguments, tmp_path)
        assert "federation 'trial': policy share = [] does not allow coverage reports" in error


def test_whose_survey_it_is(place: Place, tmp_path: Path) -> None:
    for given, message in {
        ("--partner", "draco"): "aurora.key: is not the key that federation 'trial' has registered",
        ("--partner", "nova"): "partner 'nova' is not registered in federation 'trial'",
        ("--partner", "../x"): "partner name '../x'",
        ("--key", place.key("aurora").with_suffix(".pub")): "aurora.pub: holds no private key",
        ("--clusters", tmp_path / "none.parquet"): "none.parquet: no such file",
    }.items():
        assert message in refuse(place.survey(tmp_path / "new" / "r.json", *given), tmp_path)


def test_no_output_takes_the_place_of_another_file(place: Place, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(place.folder, tmp_path / "copy"))
    own = Place(copy)
    for arguments in (
        own.survey(own.table("aurora")), own.survey(own.clusters), own.survey(own.key("aurora")),
        own.cluster(own.pool), own.cluster(own.federation),
        own.told(own.report("aurora"), own.report("aurora")), own.told(own.clusters),
    ):  # fmt: skip
        assert "is an input of this command" in refuse(arguments, tmp_path)
    notes = copy / "notes.txt"
    notes.write_text("mine")
    assert "exists and is not a coverage report" in refuse(own.survey(notes), tmp_path)
    assert "exists and is not a file of clusters" in refuse(own.cluster(notes), tmp_path)
    done(*own.survey(own.report("aurora")))
    done(*own.cluster(own.clusters))


def test_help_shows_an_example() -> None:
    for name in ("clusters", "survey", "prepare-public"):
        outcome = run(name, "--help")
        assert outcome.code == 0
        assert f"fluid {name} " in outcome.stdout


def test_inspect_reads_what_a_survey_lets_out(place: Place, tmp_path: Path) -> None:
    report = place.report("aurora")
    found = json.loads(done("inspect", report, "-f", place.federation, "--json").stdout)
    values = json.loads(report.read_text())
    assert found["what"] == "coverage report"
    assert found["signature"] == "valid, of the registered key"
    assert found["counts"] == values["counts"]
    assert found["compounds_counted"] == sum(values["counts"])
    assert found["clusters_reported_empty"] == values["counts"].count(0)
    assert found["manifest"]["partner"] == "aurora"
    assert "clusters" in done("inspect", place.clusters).stdout
    stolen = place.forge(tmp_path / "stolen.json", {}, signer="draco")
    outcome = run("inspect", stolen, "-f", place.federation)
    assert outcome.code == 1
    assert "WRONG: not of the registered key" in outcome.stdout
    changed = place.forge(tmp_path / "changed.json", {"elsewhere": 5}, seal=False)
    assert "does not match its digest" in refused("inspect", changed)
