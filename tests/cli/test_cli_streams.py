"""Results on stdout alone, everything else on stderr."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fluid.base.run import Run
from fluid.exchange.federation import load_federation
from fluid.public.clusters import make_clusters
from tests.cli.cli_site import FLUID, PARTNERS, Site, done, run, spawn

COMMANDS = (
    "init-federation", "keygen", "register", "clusters", "survey", "prepare-public",
    "train-teacher", "annotate", "inspect", "distill", "train-hybrid", "predict",
    "evaluate", "simulate",
)  # fmt: skip


def in_order(site: Site, folder: Path) -> dict[str, list[object]]:
    """Each command with everything in order, writing into a folder."""
    federation = Path(shutil.copy(site.federation, folder / "federation.toml"))
    # A new partner needs a key of its own.
    run("keygen", "orion", "-o", folder / "new")
    orion = folder / "new" / "orion.pub"
    sharing, clusters = folder / "sharing.toml", folder / "clusters.parquet"
    text = site.federation.read_text(encoding="utf-8")
    sharing.write_text(text.replace("share = []", 'share = ["coverage"]'), encoding="utf-8")
    number = ("--number", 5, "--jobs", 1)
    make_clusters([site.public_table], load_federation(sharing), clusters, 5, run=Run(jobs=1))
    return {
        "init-federation": [
            "init-federation", "--name", "x", "--task", "t:regression:µM:0:10",
            "-o", folder / "f.toml",
        ],
        "keygen": ["keygen", "nova", "-o", folder / "keys", "--federation", federation],
        "register": ["register", orion, "--partner", "orion", "--federation", federation],
        "clusters": [
            "clusters", site.public_table, "--federation", sharing, "-o", folder / "c.parquet",
            *number,
        ],
        "survey": [
            "survey", site.table("aurora"), "--clusters", clusters, "--federation", sharing,
            "--partner", "aurora", "-o", folder / "coverage.json", "--jobs", 1,
        ],
        "prepare-public": site.prepare(folder / "p.parquet", site.table("aurora")),
        "train-teacher": site.train(folder / "teacher"),
        "annotate": site.annotate(folder / "a.parquet"),
        "inspect": ["inspect", site.annotation("aurora"), "--federation", site.federation],
        "distill": site.distill(folder / "round", site.annotations[:2]),
        "train-hybrid": site.blend(folder / "hybrid"),
        "predict": site.predict(folder / "p.csv"),
        "evaluate": site.evaluate(None, "-o", folder / "e.json"),
        "simulate": [
            "simulate", *(site.table(partner) for partner in PARTNERS), "--public", site.public,
            "--federation", site.federation, "--partition", "random:partners=2", "--draws", 100,
            "--no-paper", "--no-hybrids", "--jobs", 1, "-o", folder / "study",
        ],
    }  # fmt: skip


def strict(text: str) -> Any:
    """JSON as the standard has it: no NaN, one value and nothing else."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_all_that_stdout_gets(site: Site, tmp_path: Path, command: str) -> None:
    outcome = done(*in_order(site, tmp_path)[command], "--json")
    value = strict(outcome.stdout)
    assert isinstance(value, dict)
    assert outcome.stdout.endswith("}\n")
    assert not re.search(r"[{}]", outcome.stderr)
    said = {
        "distill": "verifying annotations",
        "evaluate": "reading compounds",
        "simulate": "reading tables",
    }
    assert said.get(command, "") in outcome.stderr


@pytest.mark.parametrize("target", ["public.parquet", "round1/federated.parquet", "round1/student",
                                    "aurora/teacher", "aurora/hybrid", "federation.toml",
                                    "keys/aurora.pub"])  # fmt: skip
def test_everything_can_be_inspected(site: Site, target: str) -> None:
    path = site.folder / target
    assert strict(done("inspect", path, "--json").stdout)["path"] == str(path)
    assert str(path) in done("inspect", path).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_text_is_for_people_and_says_where_the_result_is(
    site: Site, tmp_path: Path, command: str
) -> None:
    arguments = in_order(site, tmp_path)[command]
    outcome = done(*arguments)
    assert outcome.stdout.strip()
    assert "{'" not in outcome.stdout
    if "-o" in arguments and command not in ("evaluate", "prepare-public"):
        assert str(arguments[arguments.index("-o") + 1]) in outcome.stdout


def test_a_real_process_keeps_its_streams_apart(site: Site, tmp_path: Path) -> None:
    arguments = in_order(site, tmp_path)
    ended = spawn("--verbose", *arguments["prepare-public"], "--json")
    assert ended.code == 0
    assert strict(ended.stdout)["compounds"] > 0
    assert "INFO: public set of" in ended.stderr
    ended = spawn(*site.predict(tmp_path / "x.csv", tmp_path / "none.csv"))
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.error == f"error: {tmp_path / 'none.csv'}: no such file"
    ended = spawn(*site.predict(tmp_path / "x.csv", None, "--colour"))
    assert (ended.code, ended.stdout) == (2, "")


def test_a_reader_that_leaves_early_is_no_error(site: Site) -> None:
    with subprocess.Popen(
        [*FLUID, "inspect", str(site.public)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 1)


def test_any_terminal_can_show_any_result(site: Site, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = in_order(site, tmp_path)["init-federation"]
    command[-1] = tmp_path / "größe µ 分子.toml"
    for form in ((), ("--json",)):
        command[-1].unlink(missing_ok=True)
        ended = subprocess.run(
            [*FLUID, *map(str, command), *form], capture_output=True, env=environment
        )
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert "größe".encode("ascii", "backslashreplace") in ended.stdout or form
        if form:
            assert strict(ended.stdout.decode("ascii"))["path"] == str(command[-1])


def test_a_file_name_that_is_not_utf8_is_shown(site: Site, tmp_path: Path) -> None:
    path = Path(shutil.copy(site.federation, tmp_path / "caf\udce9.toml"))
    for form, shown in (([b"--json"], b"caf\\udce9.toml"), ([], b"caf\\xe9.toml")):
        command = [*FLUID, b"inspect", os.fsencode(path), *form]
        ended = subprocess.run(command, capture_output=True)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert shown in ended.stdout


def test_nothing_a_file_holds_controls_the_terminal(site: Site, tmp_path: Path) -> None:
    path = site.forge(tmp_path / "a.parquet", changes={"software": {"x": "\x1b[31m\x9b31m\x07"}})
    outcome = run("inspect", path)
    assert outcome.code == 1
    assert "\x1b" not in outcome.stdout + outcome.error
    assert "\x9b" not in outcome.stdout + outcome.error
    outcome = run("inspect", tmp_path / "\x1b[31mred.parquet")
    assert "\x1b" not in outcome.error
