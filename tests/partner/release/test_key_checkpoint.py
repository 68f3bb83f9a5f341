"""What a key signed for is known wherever the key lies and whatever its file is called."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fluid.base.errors import FluidError, LedgerError
from fluid.base.files import sha256_file
from fluid.chem.features import FeatureSpec
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.noise_mechanism import Mechanism
from fluid.exchange.template import federation_text, init_federation, parse_task_option
from fluid.partner.annotate import annotate
from fluid.partner.dp.accounting import BudgetError, Event, price
from fluid.partner.release.approve import approve
from fluid.partner.release.key_checkpoint import (
    KeyCheckpoint,
    LedgerState,
    checkpoint_paths,
    open_checkpoint,
)
from fluid.partner.release.ledger import Ledger, read_ledger
from fluid.partner.release.ledger_file import APPROVED, LEDGER_FILE
from fluid.public.prepare import prepare_public
from tests.partner.release.partner_home import Home

# Ends the process the hard way before its Nth change of a ledger, a checkpoint or an output.
KILLER = """
import os, signal, sys
folder, steps = sys.argv[1], int(sys.argv[2])
def hook(event, args):
    global steps
    writes = event == "open" and str(args[0]).endswith("ledger.jsonl") and args[2] & os.O_APPEND
    moves = event in ("os.rename", "os.remove") and str(args[0]).startswith(folder)
    if writes or moves:
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps -= 1
sys.addaudithook(hook)
from fluid import annotate
from fluid.base.run import Run
teacher, public, output, key = sys.argv[3:]
annotate(teacher, public, output, key=key, run=Run(jobs=1))
"""


def copied(home: Home, place: str) -> Path:
    """The key alone, elsewhere or under another name."""
    target = home.folder / place
    target.parent.mkdir(exist_ok=True)
    if place.startswith("link"):
        target.symlink_to(home.key)
    else:
        shutil.copy2(home.key, target)
    return target


PLACES = ["aurora2.key", "keys/other.key", "usb/aurora.key", "usb/other.pem", "link.key"]


@pytest.mark.parametrize("place", PLACES)
def test_a_restored_folder_is_recognised_whatever_the_key_is_called(home: Home, place: str) -> None:
    before = home.folder / "backup"
    shutil.copytree(home.teacher, before)
    approve(home.draft(0), home.teacher, home.key)
    key = copied(home, place)
    draft = home.draft(1, before)
    with pytest.raises(LedgerError, match="restored from a backup or is a copy"):
        approve(draft, before, key)
    with pytest.raises(LedgerError, match="restored from a backup"):
        home.annotate(home.folder / "x.parquet", 1, key, before)
    assert not (home.folder / "x.parquet").exists()
    # The folder that went on goes on, by this copy of the key too.
    approve(home.draft(1), home.teacher, key)
    open_checkpoint(home.key).check(read_ledger(home.teacher))


@pytest.mark.parametrize("place", PLACES)
def test_a_new_folder_is_no_new_budget_whatever_the_key_is_called(home: Home, place: str) -> None:
    for number in range(2):
        approve(home.draft(number), home.teacher, home.key)
    other = home.folder / "other"
    home.train(other)
    with pytest.raises(LedgerError, match=r"with the 1 other teachers' folders .* release 3"):
        approve(home.draft(0, other), other, copied(home, place))


def test_either_place_makes_up_for_the_other(home: Home) -> None:
    approve(home.draft(0), home.teacher, home.key)
    beside, state = checkpoint_paths(home.key)
    assert beside.parent == home.key.parent
    assert beside.name == state.name
    assert os.environ["XDG_STATE_HOME"] in str(state)
    for path in (beside, state):
        assert path.stat().st_mode & 0o777 == 0o600
    assert state.parent.stat().st_mode & 0o777 == 0o700
    first = beside.read_bytes()
    assert state.read_bytes() == first
    beside.unlink()
    approve(home.draft(1), home.teacher, home.key)
    second = state.read_bytes()
    assert beside.read_bytes() == second
    assert second != first
    # An older copy of one of them does not bring it back.
    beside.write_bytes(first)
    assert len(open_checkpoint(home.key).ledgers) == 1
    assert next(iter(open_checkpoint(home.key).ledgers.values())).releases == 2
    state.unlink()
    beside.write_bytes(second)
    open_checkpoint(home.key).check(read_ledger(home.teacher))


def test_two_machines_with_copies_of_one_folder_are_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither knows of the other until what they noted comes together."""
    other = home.folder / "other"
    shutil.copytree(home.teacher, other)
    approve(home.draft(0), home.teacher, home.key)
    key = copied(home, "usb/aurora.key")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_STATE_HOME", str(home.folder / "elsewhere"))
        approve(home.draft(1, other), other, key)
    with pytest.raises(LedgerError, match="hold two histories of ledger"):
        approve(home.draft(0), home.teacher, key)
    approve(home.draft(0), home.teacher, home.key)


@pytest.mark.parametrize("place", [0, 1], ids=["beside the key", "state folder"])
def test_a_damaged_checkpoint_is_named(home: Home, place: int) -> None:
    approve(home.draft(0), home.teacher, home.key)
    path = checkpoint_paths(home.key)[place]
    whole = json.loads(path.read_text())
    (name,) = whole["ledgers"]
    damaged: list[object] = [
        {}, [], {**whole, "schema": "fluid.checkpoint/2"}, {**whole, "key": "ed25519:AAAA"},
        {**whole, "ledgers": {name: {}}}, {**whole, "ledgers": [1]},
    ]  # fmt: skip
    for key, value in (
        ("releases", -1), ("releases", "2"), ("hashes", [3]), ("tasks", {}), ("costs", ["x"]),
    ):  # fmt: skip
        state = whole["ledgers"][name] | {key: value}
        damaged.append({**whole, "ledgers": {name: state}})
    for value in [*map(json.dumps, damaged), "[", '{"a":' * 2000]:
        path.write_text(str(value))
        with pytest.raises(FluidError, match=path.name):
            approve(home.draft(0), home.teacher, home.key)


def old_checkpoint(home: Home) -> Path:
    """What an earlier version noted in place of what this one does."""
    path = home.key.with_name("aurora.ledger.json")
    ledger = read_ledger(home.teacher)
    state = {
        "federation": "trial", "entry": len(ledger.entries) - 1, "hash": ledger.head,
        "releases": ledger.releases, "queries": ledger.queries,
    }  # fmt: skip
    path.write_text(json.dumps({"schema": "fluid.anchor/1", "ledgers": {ledger.name: state}}))
    for made in checkpoint_paths(home.key):
        made.unlink()
    return path


def test_a_checkpoint_of_an_earlier_version_goes_on(home: Home) -> None:
    before = home.folder / "backup"
    shutil.copytree(home.teacher, before)
    approve(home.draft(0), home.teacher, home.key)
    old_checkpoint(home)
    with pytest.raises(LedgerError, match="restored from a backup"):
        approve(home.draft(1, before), before, home.key)
    approve(home.draft(1), home.teacher, home.key)
    assert len(checkpoint_paths(home.key)) == 2
    other = home.folder / "other"
    home.train(other)
    with pytest.raises(LedgerError, match=r"with the 1 other .* release 3"):
        approve(home.draft(0, other), other, home.key)


def changed(home: Home, old: str, new: str) -> Path:
    path = home.folder / "changed.toml"
    text = home.federation.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_a_new_name_of_the_federation_is_no_new_budget(home: Home) -> None:
    for number in range(2):
        approve(home.draft(number), home.teacher, home.key)
    other = home.folder / "other"
    home.train(other, federation=changed(home, 'name = "trial"', 'name = "second"'))
    draft = home.draft(0, other)
    assert open_annotation(draft).sealed.manifest["federation"] == "second"
    with pytest.raises(LedgerError, match=r"with the 1 other .* release 3"):
        approve(draft, other, home.key)
    # Nor does the folder itself forget.
    with pytest.raises(LedgerError, match="max_releases = 2"):
        annotate(
            home.teacher,
            home.folder / "2.parquet",
            home.folder / "x.parquet",
            federation=changed(home, 'name = "trial"', 'name = "second"'),
        )


def test_a_federation_of_other_measurements_has_a_budget_of_its_own(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(2):
        approve(home.draft(number), home.teacher, home.key)
    path = home.folder / "tox.toml"
    tasks = [parse_task_option("tox:binary:BBB-,BBB+")]
    init_federation(path, "tox", tasks, FeatureSpec(descriptors="none"))
    text = home.federation.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8") + text[text.index("[partners.") :])
    table = home.folder / "private.csv"
    table.write_text(table.read_text().replace("bbb", "tox", 1))
    other = home.folder / "other"
    home.train(other, federation=path)
    public = home.folder / "tox.parquet"
    prepare_public([home.folder / "0.csv"], load_federation(path), public)
    draft = home.folder / "tox-draft.parquet"
    annotate(other, public, draft)
    with caplog.at_level(logging.WARNING):
        approve(draft, other, home.key)
    assert "also signed 2 releases in 'trial', which share no task with 'tox'" in caplog.text
    # What a folder was asked about once counts, whatever it is trained for later.
    home.train(home.teacher, federation=path)
    annotate(home.teacher, public, draft)
    approve(draft, home.teacher, home.key)
    last = open_checkpoint(home.key).ledgers[read_ledger(home.teacher).name]
    assert (last.federations, last.tasks) == (("tox", "trial"), ("bbb", "logbb", "tox"))


def test_without_a_home_the_checkpoint_lies_beside_the_key(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (home.folder / "file").write_text("")
    before = home.folder / "backup"
    shutil.copytree(home.teacher, before)
    monkeypatch.setenv("XDG_STATE_HOME", str(home.folder / "file"))
    approve(home.draft(0), home.teacher, home.key)
    assert "set XDG_STATE_HOME" in caplog.text
    with pytest.raises(LedgerError, match="restored from a backup"):
        approve(home.draft(1, before), before, home.key)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert len(checkpoint_paths(home.key)) == 1
    approve(home.draft(1), home.teacher, home.key)


def test_a_relative_state_folder_is_not_followed(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert checkpoint_paths(home.key)[1].is_relative_to(tmp_path / "me" / ".local" / "state")


# Noise


def noisy(epsilon: float) -> Federation:
    from fluid.exchange.federation import parse_federation

    text = federation_text("trial", [parse_task_option("bbb:binary")])
    text += f'\n[mechanism]\nkind = "pate"\nepsilon = {epsilon}\n'
    return parse_federation(text)


def state(costs: tuple[dict[str, object], ...], name: str = "trial") -> LedgerState:
    return LedgerState((name,), ("bbb",), ("a" * 64,), len(costs), 10, costs, Path("k.ledger.json"))


def test_epsilon_of_all_folders_adds_up() -> None:
    pytest.importorskip("dp_accounting")
    mechanism = Mechanism("pate", epsilon=4.0)
    one = price("pate", mechanism.unit, mechanism.delta, 10, {"bbb": [Event(4, 5.0)]})
    cost = {"release": one.to_dict(), "total": {"epsilon": one.epsilon, "delta": one.delta}}
    empty = Ledger(Path("ledger.jsonl"), [])
    many = {f"{n}": state((cost,) * 9) for n in range(9)}
    KeyCheckpoint("k", (), {"1": state((cost,))}).check_epsilon(empty, noisy(4.0))
    full = KeyCheckpoint("k", (), many)
    with pytest.raises(BudgetError, match=r"with 81 releases .* but the federation's is 4"):
        full.check_epsilon(empty, noisy(4.0))
    full.check_epsilon(empty, noisy(1000.0))
    bare = KeyCheckpoint("k", (), {"1": state(({},))})
    with pytest.raises(BudgetError, match="had no noise; no epsilon can be stated"):
        bare.costs_elsewhere("2", noisy(4.0))
    assert bare.costs_elsewhere("1", noisy(4.0)) == []


# Charged once


def run_killed(home: Home, step: int, output: Path) -> bool:
    """Annotate and sign, killed before one change; True if it was."""
    command = [sys.executable, "-c", KILLER, str(home.folder), str(step), str(home.teacher)]
    ended = subprocess.run(
        [*command, str(home.folder / "0.parquet"), str(output), str(home.key)],
        capture_output=True,
        env={**os.environ, "XDG_STATE_HOME": str(home.folder / "state")},
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def check_charged_once(home: Home, output: Path, whole: str) -> None:
    home.annotate(output, 0, home.key)
    assert sha256_file(output) == whole
    ledger = read_ledger(home.teacher)
    assert ledger.releases == 1
    assert {entry.values["digest"] for entry in ledger.of(APPROVED)} == {
        open_annotation(output).sealed.digest
    }
    (last,) = open_checkpoint(home.key).ledgers.values()
    assert last.releases == 1
    assert last.hashes[-1] == ledger.of(APPROVED)[-1].hash


def kill_at(home: Home, made: Home, step: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Kill one run on a fresh home, go on, and look at what was charged."""
    monkeypatch.setenv("XDG_STATE_HOME", str(home.folder / "state"))
    output = home.folder / "out.parquet"
    killed = run_killed(home, step, output)
    if output.exists():
        assert open_annotation(output).sealed.signature is not None
    check_charged_once(home, output, whole_digest(made, home))
    return killed


def whole_digest(made: Home, home: Home) -> str:
    """The file that an undisturbed run makes."""
    clean = home.folder.parent / "clean"
    if not clean.exists():
        shutil.copytree(made.folder, clean)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(clean / "state"))
            Home(clean).annotate(clean / "out.parquet", 0, Home(clean).key)
    return sha256_file(clean / "out.parquet")


@pytest.mark.parametrize("step", [2, 4])
def test_a_killed_run_is_charged_once(
    home: Home, made: Home, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kill_at(home, made, step, monkeypatch)


@pytest.mark.long
def test_a_run_killed_at_any_change_is_charged_once(
    made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 0
    while True:
        folder = tmp_path / str(step)
        shutil.copytree(made.folder, folder)
        if not kill_at(Home(folder), made, step, monkeypatch):
            break
        step += 1
    assert step >= 6


def moved_teacher(home: Home) -> tuple[Path, Path, Path]:
    target = home.folder / "moved" / "renamed"
    target.parent.mkdir()
    home.teacher.rename(target)
    return target, home.folder / "0.parquet", home.folder / "again.parquet"


def moved_public(home: Home) -> tuple[Path, Path, Path]:
    target = home.folder / "renamed.parquet"
    (home.folder / "0.parquet").rename(target)
    return home.teacher, target, home.folder / "again.parquet"


def rewritten_federation(home: Home) -> tuple[Path, Path, Path]:
    """A comment, and a partner that joined: neither changes a label."""
    path = home.teacher / "federation.toml"
    path.write_text(path.read_text(encoding="utf-8") + "# looked through\n", encoding="utf-8")
    return home.teacher, home.folder / "0.parquet", home.folder / "again.parquet"


def copied_teacher(home: Home) -> tuple[Path, Path, Path]:
    target = home.folder / "copy"
    shutil.copytree(home.teacher, target)
    return target, home.folder / "0.parquet", home.folder / "again.parquet"


@pytest.mark.parametrize(
    "change", [moved_teacher, moved_public, rewritten_federation, copied_teacher]
)
def test_a_copy_or_another_name_is_charged_once(
    home: Home, change: Callable[[Home], tuple[Path, Path, Path]]
) -> None:
    output = home.folder / "out.parquet"
    home.annotate(output, 0, home.key)
    teacher, public, again = change(home)
    summary = annotate(teacher, public, again, key=home.key)
    assert again.read_bytes() == output.read_bytes()
    assert summary.release.number == 1
    assert read_ledger(teacher).releases == 1
    (last,) = open_checkpoint(home.key).ledgers.values()
    assert last.releases == 1
    # Nothing new left, so that the folder itself goes on.
    if home.teacher.exists():
        assert home.annotate(again, 1, home.key).release.number == 2


def test_of_two_copies_of_a_folder_only_one_goes_on(home: Home) -> None:
    approve(home.draft(0), home.teacher, home.key)
    copy = home.folder / "copy"
    shutil.copytree(home.teacher, copy)
    approve(home.draft(1), home.teacher, home.key)
    draft = home.draft(2, copy)
    with pytest.raises(LedgerError, match="restored from a backup or is a copy"):
        approve(draft, copy, home.key)
    approve(home.draft(1), home.teacher, home.key)
    # What the copy lacks may be brought back.
    shutil.copy2(home.teacher / LEDGER_FILE, copy / LEDGER_FILE)
    approve(home.draft(1, copy), copy, home.key)
