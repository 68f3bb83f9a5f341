"""An interrupted `prepare-public` or `predict` goes on where it was, to the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fluid.public.prepare
import fluid.report.predict
from fluid.base.resume import Unfinished
from tests.cli.cli_site import Site, done, first_lines, run

GROUP = 16
# Ends itself the hard way when so many chunks are kept.
KILLED = """
import os, signal, sys
import fluid.base.resume as unfinished
import fluid.public.prepare, fluid.report.predict
fluid.public.prepare.BATCH = fluid.report.predict.BATCH = 16
left = int(sys.argv.pop(1))
kept = unfinished.Unfinished.keep
def keep(self, payload):
    global left
    kept(self, payload)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
unfinished.Unfinished.keep = keep
from fluid.cli.main import app
app()
"""


def prepare(site: Site, folder: Path) -> list[object]:
    table = folder.parent / "table.csv"
    if not table.exists():
        first_lines(site.public_table, table, 60)
        lines = table.read_text().splitlines()
        # Rejects and repeats in the first part as in the second.
        lines[3:3] = ["x1,no structure,b3db", lines[1]]
        lines[50:50] = ["x2,no structure,b3db", lines[2], lines[45]]
        table.write_text("\n".join(lines) + "\n")
    # Two tables: batches do not reach from one into the other.
    arguments = site.prepare(folder / "public.parquet", table)
    return [*arguments[:1], site.external, *arguments[1:]]


def predict(site: Site, folder: Path) -> list[object]:
    return site.predict(folder / "said.csv", site.table("eridanus"))


def predict_parquet(site: Site, folder: Path) -> list[object]:
    arguments = site.predict(folder / "said.parquet", site.table("eridanus"))
    arguments[1] = site.teacher("aurora")
    return arguments


COMMANDS = {
    "prepare-public": prepare,
    "predict": predict,
    "predict to Parquet": predict_parquet,
}
Command = Callable[[Site, Path], list[object]]


class Trial:
    """A command in a folder of its own, and how many chunks it kept."""

    def __init__(
        self, site: Site, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fluid.public.prepare, "BATCH", GROUP)
        monkeypatch.setattr(fluid.report.predict, "BATCH", GROUP)
        self.site, self.folder, self.command = site, folder / "new", COMMANDS[name]
        self.folder.mkdir()
        self.kept, self.stop = 0, 10**9
        keep = Unfinished.keep

        def counted(unfinished: Unfinished, payload: bytes) -> None:
            keep(unfinished, payload)
            self.kept += 1
            if self.kept >= self.stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(Unfinished, "keep", counted)

    @property
    def arguments(self) -> list[object]:
        return self.command(self.site, self.folder)

    def whole(self) -> dict[str, bytes]:
        """Run to the end; what lies there then, hidden files too."""
        self.kept, self.stop = 0, 10**9
        self.told = done(*self.arguments, "--json")
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}

    def interrupt(self, after: int) -> None:
        self.kept, self.stop = 0, after
        outcome = run(*self.arguments)
        assert outcome.code not in (0, 1)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


@pytest.fixture(
    params=[
        "prepare-public",
        "predict",
        pytest.param("predict to Parquet", marks=pytest.mark.long),
    ]
)
def trial(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Trial:
    return Trial(site, tmp_path, request.param, monkeypatch)


def test_an_interrupted_run_goes_on_to_the_same_bytes(trial: Trial) -> None:
    expected, chunks, told = trial.whole(), trial.kept, trial.told.stdout
    assert chunks > 4
    trial.clear()
    trial.interrupt(after=2)
    (kept,) = trial.names()
    assert kept.endswith(".unfinished")
    trial.interrupt(after=1)
    assert trial.whole() == expected
    assert trial.kept == chunks - 3
    assert trial.told.stdout == told
    assert "continuing after 3 chunks of an interrupted run" in trial.told.stderr


@pytest.mark.parametrize(
    "trial",
    [
        "prepare-public",
        *(pytest.param(name, marks=pytest.mark.long) for name in COMMANDS if "predict" in name),
    ],
    indirect=True,
)
def test_a_killed_run_goes_on_to_the_same_bytes(trial: Trial) -> None:
    expected, chunks = trial.whole(), trial.kept
    trial.clear()
    command = [sys.executable, "-c", KILLED, "3", *map(str, trial.arguments)]
    ended = subprocess.run(command, check=False, capture_output=True, timeout=120)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert all(name.startswith(".") for name in trial.names())
    found = trial.whole()
    assert trial.kept == chunks - 3
    assert {name: found[name] for name in found if not name.endswith(".part")} == expected


@pytest.mark.parametrize("change", [pytest.param("table", marks=pytest.mark.long), "domain"])
def test_of_other_inputs_nothing_is_taken(
    site: Site, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(site, tmp_path, "predict", monkeypatch)
    table = first_lines(site.table("draco"), tmp_path / "table.csv", 60)
    trial.command = lambda site, folder: site.predict(folder / "said.csv", table)
    trial.whole()
    chunks = trial.kept
    trial.clear()
    trial.interrupt(after=2)
    if change == "table":
        table.write_text(table.read_text() + "\n")
    else:
        trial.command = lambda site, folder: site.predict(
            folder / "said.csv", table, "--domain", "dictionary"
        )
    trial.whole()
    assert trial.kept == chunks
