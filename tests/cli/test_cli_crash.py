"""Killed in the middle, or two at once: an output is whole, or it is not there."""

from __future__ import annotations

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
from tests.cli.cli_site import FLUID, Outcome, Site, done, refused, run, snapshot

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


def secret_file(folder: Path) -> Path:
    path = folder / "secret"
    path.write_text(SECRET)
    return path


def train(site: Site, folder: Path) -> list[object]:
    return site.train(folder / "out", None, "--secret", secret_file(folder))


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


class Trial:
    """One command, what it makes, and what an earlier run of it had made."""

    def __init__(self, site: Site, folder: Path, name: str) -> None:
        now, before = COMMANDS[name]
        self.site, self.now, self.before, self.folder = site, now, before, folder
        self.whole = self.result(folder / "whole", now)
        self.earlier = self.result(folder / "earlier", before)
        assert self.whole != self.earlier

    def result(self, folder: Path, command: Command) -> dict[str, str]:
        folder.mkdir()
        done(*command(self.site, folder))
        return look(folder)

    def check(self, number: str, earlier: bool, kill: Callable[[list[object], Path], bool]) -> bool:
        """Kill a run; True if it was killed. Whatever lies there, a second run makes it whole."""
        folder = self.folder / number
        folder.mkdir()
        if earlier:
            done(*self.before(self.site, folder))
        arguments = self.now(self.site, folder)
        killed = kill(arguments, folder)
        output = output_of(arguments)
        found = look(folder)
        main = {name: digest for name, digest in found.items() if ".rejects." not in name}
        if main and (output.is_dir() or output.suffix):
            old = {name: self.earlier[name] for name in self.earlier if ".rejects." not in name}
            new = {name: self.whole[name] for name in self.whole if ".rejects." not in name}
            assert main in (old, new) if earlier else main == new
            done("inspect", output)
        elif earlier:
            # Killed between two renames: the earlier folder is kept aside, and comes back with
            # the next run, even one that fails.
            broken = [self.site.external if a in self.inputs() else a for a in arguments]
            refused(*broken)
            assert look(folder) == self.earlier
        done(*arguments)
        assert look(folder) == self.whole
        shutil.rmtree(folder)
        return killed

    def inputs(self) -> list[Path]:
        return [self.site.federation, self.site.public]


def killing(step: int, events: str) -> Callable[[list[object], Path], bool]:
    """Kill a command before it does one more thing to the names in its folder."""

    def kill(arguments: list[object], folder: Path) -> bool:
        command = [sys.executable, "-c", KILLER, str(folder), str(step), events]
        ended = subprocess.run([*command, *map(str, arguments)], capture_output=True, timeout=120)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        return ended.returncode != 0

    return kill


def count_kills(trial: Trial, earlier: bool, events: str) -> int:
    """Kill before the first step, before the second, and so on until a run gets through."""
    step = 0
    while trial.check(f"{step}-{earlier}", earlier, killing(step, events)):
        step += 1
    return step


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_before_it_renames_anything(site: Site, tmp_path: Path, name: str) -> None:
    assert count_kills(Trial(site, tmp_path, name), True, "os.rename") >= 1


@pytest.mark.long
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "again"])
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_every_change_of_a_name(
    site: Site, tmp_path: Path, name: str, earlier: bool
) -> None:
    events = "os.rename,os.remove,os.rmdir,os.mkdir,os.chmod,open"
    assert count_kills(Trial(site, tmp_path, name), earlier, events) >= 3


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
def test_killed_at_any_time(site: Site, tmp_path: Path, name: str, earlier: bool) -> None:
    trial = Trial(site, tmp_path, name)
    start = time.monotonic()
    assert not trial.check("timed", earlier, after(100))
    duration = time.monotonic() - start
    chance = random.Random(name)
    delays = [duration * chance.uniform(0.1, 0.8) for _ in range(8)]
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


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_while_it_writes(site: Site, tmp_path: Path, name: str) -> None:
    trial = Trial(site, tmp_path, name)
    for earlier in (False, True):
        assert trial.check(f"{earlier}", earlier, when_it_writes)


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
            signal.pidfd_send_signal(signal_fd(worker), signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=60)
    outcome = Outcome(process.returncode, stdout, stderr)
    assert outcome.code == 1, stderr
    assert "a worker process was killed" in outcome.error
    assert not (tmp_path / "new").exists()


def signal_fd(pid: int) -> int:
    import os

    return os.pidfd_open(pid)


def is_worker(pid: int) -> bool:
    return b"loky" in Path(f"/proc/{pid}/cmdline").read_bytes()


# Two at once


def both(folder: Path, output: Path, first: list[object], second: list[object]) -> list[Outcome]:
    """Run two commands that come to their output at the same moment."""
    meeting = folder / ".meeting"
    meeting.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, str(meeting), str(output), *names, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for names, arguments in ((("a", "b"), first), (("b", "a"), second))
    ]  # fmt: skip
    outcomes = []
    for process in processes:
        stdout, stderr = process.communicate(timeout=120)
        outcomes.append(Outcome(process.returncode, stdout, stderr))
    shutil.rmtree(meeting)
    return outcomes


@pytest.mark.parametrize("earlier", [False, True], ids=["new", "again"])
@pytest.mark.parametrize("name", ["train-teacher", "annotate", "prepare-public"])
def test_two_runs_into_one_output(site: Site, tmp_path: Path, name: str, earlier: bool) -> None:
    trial = Trial(site, tmp_path, name)
    folder = tmp_path / "both"
    folder.mkdir()
    if earlier:
        done(*trial.before(site, folder))
    first, second = trial.before(site, folder), trial.now(site, folder)
    outcomes = both(folder, output_of(first), first, second)
    assert sorted(outcome.code for outcome in outcomes) in ([0, 0], [0, 1])
    for outcome in outcomes:
        if outcome.code:
            assert "another run wrote this folder at the same moment" in outcome.error
    output = output_of(first)
    done("inspect", output)
    main = {name: value for name, value in look(folder).items() if ".rejects." not in name}
    for wanted in (trial.whole, trial.earlier):
        if main == {name: value for name, value in wanted.items() if ".rejects." not in name}:
            break
    else:
        pytest.fail("the output is of neither run")
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_two_keygens_of_one_name_make_one_pair(site: Site, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    arguments: list[object] = ["keygen", "nova", "-o", keys]
    outcomes = both(tmp_path, keys / "nova.key", arguments, arguments)
    assert sorted(outcome.code for outcome in outcomes) == [0, 1]
    assert "a key is never overwritten" in max(outcomes, key=lambda each: each.code).error
    digest = bytes(32)
    signature = sign_digest(load_private_key(keys / "nova.key"), digest)
    assert verify_digest((keys / "nova.pub").read_text(), digest, signature)
    assert sorted(path.name for path in keys.iterdir()) == ["nova.key", "nova.pub"]


def test_partners_that_register_at_once_are_all_registered(site: Site, tmp_path: Path) -> None:
    federation = Path(shutil.copy(site.federation, tmp_path / "federation.toml"))
    names = [f"nova{n}" for n in range(6)]
    processes = [
        subprocess.Popen([*FLUID, "keygen", name, "-o", tmp_path / "keys", "-f", federation])
        for name in names
    ]
    assert [process.wait(60) for process in processes] == [0] * len(names)
    assert set(names) <= set(load_federation(federation).partners)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["federation.toml", "keys"]
    assert run("inspect", federation).code == 0
