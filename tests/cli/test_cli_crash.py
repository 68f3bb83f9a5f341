"""Killed in the middle, or two at once: an output is whole, or it is not there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fluid.exchange.federation import load_federation
from fluid.exchange.signing import load_private_key, sign_digest, verify_digest
from tests.cli.cli_site import FLUID, Outcome, Site, done, run, snapshot

SECRET = "5a" * 32
# Counts what the process does to names below a folder, and ends it the hard way before step N.
KILLER = """
import os, signal, sys
folder, steps, events = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
del sys.argv[1:4]
def hook(event, args):
    global steps
    if event in events and any(
        isinstance(arg, (str, bytes, os.PathLike)) and os.fsdecode(arg).startswith(folder)
        for arg in args
    ):
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps -= 1
sys.addaudithook(hook)
from fluid.cli.main import app
app()
"""
# Two processes meet before their first rename of the output: neither goes on without the other.
MEETING = """
import os, sys, time
folder, output, mine, other = sys.argv[1:5]
del sys.argv[1:5]
met = False
def hook(event, args):
    global met
    if event == "os.rename" and not met and output in map(os.fsdecode, args[:2]):
        met = True
        open(os.path.join(folder, mine), "w").close()
        end = time.monotonic() + 5
        while not os.path.exists(os.path.join(folder, other)) and time.monotonic() < end:
            time.sleep(0.0005)
sys.addaudithook(hook)
from fluid.cli.main import app
app()
"""

Command = Callable[[Site, Path], list[object]]


def train(site: Site, folder: Path) -> list[object]:
    """With a secret to start with; a teacher that is there already must keep its own."""
    secret = folder / "secret"
    if secret.exists():
        return site.train(folder / "out")
    secret.write_text(SECRET)
    return site.train(folder / "out", None, "--secret", secret)


def train_before(site: Site, folder: Path) -> list[object]:
    return [*train(site, folder), "--seed", 7]


def annotate(site: Site, folder: Path) -> list[object]:
    return site.annotate(folder / "out.parquet")


def annotate_before(site: Site, folder: Path) -> list[object]:
    return site.annotate(folder / "out.parquet", teacher=site.teacher("draco"))[:3] + [
        "-o", folder / "out.parquet", "--jobs", 1,
    ]  # fmt: skip


def prepare(site: Site, folder: Path) -> list[object]:
    return site.prepare(folder / "out.parquet", site.table("aurora"))


def prepare_before(site: Site, folder: Path) -> list[object]:
    return site.prepare(folder / "out.parquet", site.external)


def distill(site: Site, folder: Path) -> list[object]:
    return site.distill(folder / "out", site.annotations[:2])


def distill_before(site: Site, folder: Path) -> list[object]:
    return site.distill(folder / "out", site.annotations[1:])


COMMANDS: dict[str, tuple[Command, Command]] = {
    "train-teacher": (train, train_before),
    "annotate": (annotate, annotate_before),
    "prepare-public": (prepare, prepare_before),
    "distill": (distill, distill_before),
}


def output_of(arguments: list[object]) -> Path:
    return Path(str(arguments[arguments.index("-o") + 1]))


def look(folder: Path) -> dict[str, str]:
    """What a person sees in a folder: digests by name, hidden leftovers passed over."""
    return {
        str(Path(name).relative_to(folder)): digest
        for name, digest in snapshot(folder).items()
        if not any(part.startswith(".") for part in Path(name).relative_to(folder).parts)
        and Path(name) not in (folder, folder / "secret")
    }


def without_rejects(found: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in found.items() if ".rejects." not in name}


class Trial:
    """One command, what it makes, and what an earlier run of it had made."""

    def __init__(self, site: Site, folder: Path, name: str) -> None:
        self.site, self.folder = site, folder
        self.now, self.before = COMMANDS[name]
        self.whole = self.result(folder / "whole", self.now)
        self.earlier = self.result(folder / "earlier", self.before)
        assert self.whole != self.earlier

    def result(self, folder: Path, command: Command) -> dict[str, str]:
        folder.mkdir()
        done(*command(self.site, folder))
        return look(folder)

    def valid(self, output: Path) -> None:
        """What lies there is what a reader of it accepts."""
        done("inspect", output / "student" if (output / "student").is_dir() else output)

    def check(self, number: str, earlier: bool, kill: Callable[[list[object], Path], bool]) -> bool:
        """Kill a run; True if it was killed. Whatever lies there, a second run makes it whole."""
        folder = self.folder / number
        folder.mkdir()
        if earlier:
            done(*self.before(self.site, folder))
        arguments = self.now(self.site, folder)
        killed = kill(arguments, folder)
        output = output_of(arguments)
        if output.exists():
            old, new = without_rejects(self.earlier), without_rejects(self.whole)
            assert without_rejects(look(folder)) in ([old, new] if earlier else [new])
            self.valid(output)
        elif earlier:
            # Killed between two renames: the earlier folder is aside, and the next run finds it.
            aside = snapshot(folder / ".out.previous")
            assert set(self.earlier.values()) <= set(aside.values())
        done(*arguments)
        assert look(folder) == self.whole
        shutil.rmtree(folder)
        return killed


@pytest.fixture(scope="module")
def trials(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    """A trial of each command."""
    return {name: Trial(site, tmp_path_factory.mktemp(name), name) for name in COMMANDS}


def killing(step: int, events: str, of: str = "") -> Callable[[list[object], Path], bool]:
    """Kill a command before it does one more thing to the names in its folder."""

    def kill(arguments: list[object], folder: Path) -> bool:
        command = [sys.executable, "-c", KILLER, str(folder / of), str(step), events]
        ended = subprocess.run([*command, *map(str, arguments)], capture_output=True, timeout=120)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        return ended.returncode != 0

    return kill


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("train-teacher", marks=pytest.mark.long),
        "annotate",
        "prepare-public",
        pytest.param("distill", marks=pytest.mark.long),
    ],
)
def test_killed_before_its_output_gets_its_name(trials: dict[str, Trial], name: str) -> None:
    """An earlier file is replaced by one rename; an earlier folder goes aside by one before."""
    trial = trials[name]
    assert trial.check("first", True, killing(0, "os.rename", of="out"))
    if name != "annotate":
        trial.check("second", True, killing(1, "os.rename", of="out"))


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_every_change_of_a_name(trials: dict[str, Trial], name: str) -> None:
    """Before the first change, before the second, and so on until a run gets through."""
    trial = trials[name]
    step = 0
    while trial.check(f"{step}", True, killing(step, "os.rename,os.remove,os.rmdir")):
        step += 1
    assert step >= 1


def after(delay: float) -> Callable[[list[object], Path], bool]:
    """Kill a command after some time."""

    def kill(arguments: list[object], folder: Path) -> bool:
        with subprocess.Popen(
            [*FLUID, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.returncode != 0

    return kill


@pytest.mark.long
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "again"])
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_time(trials: dict[str, Trial], name: str, earlier: bool) -> None:
    trial = trials[name]
    start = time.monotonic()
    assert not trial.check("timed", earlier, after(100))
    duration = time.monotonic() - start
    chance = random.Random(name)
    delays = [duration * chance.uniform(0.1, 0.8) for _ in range(5)]
    assert any([trial.check(f"{n}", earlier, after(delay)) for n, delay in enumerate(delays)])


def when_it_writes(arguments: list[object], folder: Path) -> bool:
    """Kill a command as soon as something of its output lies on the disk."""
    with subprocess.Popen(
        [*FLUID, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and not list(folder.glob(".*.part")):
            time.sleep(0.001)
        process.kill()
    return process.returncode != 0


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.long if n == "train-teacher" else ()) for n in COMMANDS],
)
def test_killed_while_it_writes(trials: dict[str, Trial], name: str) -> None:
    assert trials[name].check("writes", False, when_it_writes)


def test_a_worker_that_is_killed_ends_the_run_in_one_line(site: Site, tmp_path: Path) -> None:
    """As the kernel does when memory runs out."""
    table = tmp_path / "many.csv"
    rows = "".join(f"{'C' * (n % 90 + 1)}N{'C' * (n // 90)}\n" for n in range(4000))
    table.write_text("smiles\n" + rows)
    arguments = [*site.prepare(tmp_path / "new" / "p.parquet", table)[:-1], 2]
    with subprocess.Popen(
        [*FLUID, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        end = time.monotonic() + 60
        workers: list[int] = []
        while not workers and time.monotonic() < end:
            time.sleep(0.02)
            workers = [int(pid) for pid in children.read_text().split() if is_worker(int(pid))]
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=60)
    outcome = Outcome(process.returncode, stdout, stderr)
    assert outcome.code == 1, stderr
    assert "a worker process was killed" in outcome.error
    assert not (tmp_path / "new").exists()


def is_worker(pid: int) -> bool:
    return b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes()


# Two at once


def both(folder: Path, output: Path, first: list[object], second: list[object]) -> list[Outcome]:
    """Run two commands that come to their output at the same moment."""
    meeting = folder / ".meeting"
    meeting.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, meeting, output, *names, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for names, arguments in ((("a", "b"), first), (("b", "a"), second))
    ]
    outcomes = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=120)
        outcomes.append(Outcome(process.returncode, stdout, stderr))
    shutil.rmtree(meeting)
    return outcomes


@pytest.mark.parametrize(
    ("name", "earlier"),
    [
        pytest.param("train-teacher", False, marks=pytest.mark.long),
        pytest.param("train-teacher", True, marks=pytest.mark.long),
        pytest.param("annotate", True, marks=pytest.mark.long),
        ("prepare-public", False),
    ],
)
def test_two_runs_into_one_output(
    site: Site, tmp_path: Path, trials: dict[str, Trial], name: str, earlier: bool
) -> None:
    trial = trials[name]
    folder = tmp_path / "both"
    folder.mkdir()
    if earlier:
        done(*trial.before(site, folder))
    first = trial.before(site, folder)
    if not earlier:
        (folder / "secret").unlink(missing_ok=True)  # both bring the same one
    second = trial.now(site, folder)
    outcomes = both(folder, output_of(first), first, second)
    assert sorted(outcome.code for outcome in outcomes) in ([0, 0], [0, 1])
    for outcome in outcomes:
        if outcome.code:
            assert "another run wrote this folder at the same moment" in outcome.error
    trial.valid(output_of(first))
    found = without_rejects(look(folder))
    assert found in (without_rejects(trial.whole), without_rejects(trial.earlier))
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_two_keygens_of_one_name_make_one_pair(site: Site, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    arguments: list[object] = ["keygen", "nova", "-o", keys]
    outcomes = both(tmp_path, tmp_path / "nothing", arguments, arguments)
    assert sorted(outcome.code for outcome in outcomes) == [0, 1]
    assert "a key is never overwritten" in max(outcomes, key=lambda each: each.code).error
    digest = bytes(32)
    signature = sign_digest(load_private_key(keys / "nova.key"), digest)
    assert verify_digest((keys / "nova.pub").read_text(), digest, signature)
    assert sorted(path.name for path in keys.iterdir()) == ["nova.key", "nova.pub"]


def test_partners_that_register_at_once_are_all_registered(site: Site, tmp_path: Path) -> None:
    federation = Path(shutil.copy(site.federation, tmp_path / "federation.toml"))
    names = [f"nova{n}" for n in range(4)]
    processes = [
        subprocess.Popen([*FLUID, "keygen", name, "-o", tmp_path / "keys", "-f", federation])
        for name in names
    ]
    assert [process.wait(60) for process in processes] == [0] * len(names)
    assert set(names) <= set(load_federation(federation).partners)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["federation.toml", "keys"]
    assert run("inspect", federation).code == 0
