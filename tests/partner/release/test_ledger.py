"""The ledger: a query is charged before it is answered, once, and no entry can be changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluid.base.errors import LedgerError
from fluid.base.files import canonical_json, sha256_hex
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.release import Release
from fluid.partner.release.ledger import (
    Query,
    carry_over,
    charge,
    finish,
    name_ledger,
    open_ledger,
    read_ledger,
)
from fluid.partner.release.ledger_file import APPROVED, FINISHED, LEDGER_FILE, QUERY, TRAINED

SECRET = b"s" * 32
POLICY = DisclosurePolicy(max_releases=3, max_queries=100)
QUESTION = Query("1" * 64, "aurora", "trial", 1, "2" * 64, "3" * 64, {"share": []}, 30, {})
CHARGED_AND_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.partner.release.test_ledger import ask
ask(Path(sys.argv[1]), sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def ask(
    teacher: Path,
    request: str,
    compounds: int = 30,
    noisy: bool = False,
    at_hand: bool = False,
    total: float = 0.0,
) -> Release:
    cost = {"release": {"queries": compounds}, "total": {"epsilon": total, "delta": 1e-6}}
    query = replace(
        QUESTION, request=request, compounds=compounds, cost=cost if noisy else {}, exact=not noisy
    )
    with open_ledger(teacher) as ledger:
        return charge(ledger, query, POLICY, SECRET, at_hand)


def answer(teacher: Path, release: Release, digest: str = "d" * 64) -> None:
    with open_ledger(teacher) as ledger:
        finish(ledger, release, digest)


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    folder = tmp_path / "aurora" / "teacher"
    folder.mkdir(parents=True)
    return folder


def test_releases_and_compounds_are_counted_until_either_is_used_up(teacher: Path) -> None:
    assert ask(teacher, "a") == Release(name_ledger(SECRET), 1, 30)
    assert ask(teacher, "b", 40) == Release(name_ledger(SECRET), 2, 70)
    with pytest.raises(LedgerError, match="101 compounds labelled, but max_queries = 100"):
        ask(teacher, "c", 31)
    assert ask(teacher, "c", 30).number == 3
    with pytest.raises(LedgerError, match="release 4, but max_releases = 3"):
        ask(teacher, "d", 0)
    ledger = read_ledger(teacher)
    assert (ledger.releases, ledger.queries) == (3, 100)
    assert [entry.kind for entry in ledger.entries] == ["opened", QUERY, QUERY, QUERY]
    assert stat.S_IMODE((teacher / LEDGER_FILE).stat().st_mode) == 0o600


def test_the_same_question_is_charged_once_but_entered_every_time(teacher: Path) -> None:
    first = ask(teacher, "a")
    ask(teacher, "b")
    answer(teacher, first)
    for _ in range(5):
        assert ask(teacher, "a") == first
    ledger = read_ledger(teacher)
    assert (ledger.releases, len(ledger.of(QUERY))) == (2, 7)
    answer(teacher, first)
    with pytest.raises(LedgerError, match=r"release 1 came out as eeeeeeeeeeee\.\.\., but was ddd"):
        answer(teacher, first, "e" * 64)


def test_with_noise_a_repeat_is_charged_unless_what_was_drawn_is_at_hand(teacher: Path) -> None:
    first = ask(teacher, "a", noisy=True, total=0.5)
    # Killed in the middle: the labels drawn so far are taken, and nothing is charged.
    assert ask(teacher, "a", noisy=True, at_hand=True, total=0.5) == first
    # They are gone: new noise would be a second draw.
    second = ask(teacher, "a", noisy=True, total=0.9)
    assert second.number == 2
    answer(teacher, second)
    # Finished: what lies about afterwards is no reason to draw again for nothing.
    assert ask(teacher, "a", noisy=True, at_hand=True, total=1.2).number == 3
    ledger = read_ledger(teacher)
    assert ledger.cost() == {"epsilon": 1.2, "delta": 1e-6}
    assert [cost["total"]["epsilon"] for cost in ledger.costs()] == [0.5, 0.9, 1.2]
    assert len(ledger.costs(before=ledger.charged()[1])) == 1
    with pytest.raises(LedgerError, match="max_releases = 3"):
        ask(teacher, "a", noisy=True)


def test_a_charge_stands_after_a_kill(teacher: Path) -> None:
    for request in ("a", "b", "c"):
        killed = subprocess.run(
            [sys.executable, "-c", CHARGED_AND_KILLED, str(teacher), request], check=False
        )
        assert killed.returncode == -signal.SIGKILL
    assert read_ledger(teacher).releases == 3
    with pytest.raises(LedgerError, match="max_releases = 3"):
        ask(teacher, "d")
    # What was cut off may be asked again.
    assert ask(teacher, "b").number == 2


def test_of_many_at_once_no_more_than_the_budget_get_an_answer(teacher: Path) -> None:
    def one(request: int) -> int:
        try:
            return ask(teacher, str(request)).number
        except LedgerError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(one, range(16)))
    assert sorted(number for number in numbers if number) == [1, 2, 3]
    assert read_ledger(teacher).releases == 3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "teacher"
    folder.mkdir()
    for request in ("a", "b"):
        answer(folder, ask(folder, request))
    with open_ledger(folder) as ledger:
        ledger.append(APPROVED, release=1, digest="d" * 64, key="k", signature="s")
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_a_change_of_any_byte_is_found(written: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = (written / LEDGER_FILE).read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
    (tmp_path / LEDGER_FILE).write_bytes(
        content[:position] + bytes([value]) + content[position + 1 :]
    )
    with pytest.raises(LedgerError, match="line"):
        read_ledger(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_lines_removed_doubled_or_moved_are_found(
    written: Path, tmp_path: Path, data: st.DataObject
) -> None:
    lines = (written / LEDGER_FILE).read_bytes().splitlines(keepends=True)
    order = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=8))
    # A shorter beginning is a good ledger by itself: that is what the anchor is for.
    if order == list(range(len(order))):
        return
    (tmp_path / LEDGER_FILE).write_bytes(b"".join(lines[number] for number in order))
    with pytest.raises(LedgerError):
        read_ledger(tmp_path)


def test_an_entry_with_another_value_and_a_hash_of_it_is_found(
    written: Path, tmp_path: Path
) -> None:
    lines = (written / LEDGER_FILE).read_bytes().splitlines()
    entry = json.loads(lines[1])
    entry["compounds"] = 3
    del entry["hash"]
    entry["hash"] = sha256_hex(canonical_json(entry))
    lines[1] = canonical_json(entry)
    (tmp_path / LEDGER_FILE).write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(LedgerError, match="line 3: does not follow the line before"):
        read_ledger(tmp_path)


def test_a_torn_last_line_is_told_and_mended_by_the_next_query(teacher: Path) -> None:
    ask(teacher, "a")
    path = teacher / LEDGER_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"index":2,"kin')
    with pytest.raises(LedgerError, match="line 3 is not whole"):
        read_ledger(teacher)
    assert ask(teacher, "b").number == 2
    assert path.read_bytes().startswith(whole)
    assert read_ledger(teacher).releases == 2


def test_damage_stops_queries(teacher: Path) -> None:
    ask(teacher, "a")
    path = teacher / LEDGER_FILE
    path.write_bytes(path.read_bytes().replace(b'"compounds":30', b'"compounds":10'))
    with pytest.raises(LedgerError, match="line 2: its hash is not that of its content"):
        ask(teacher, "b")
    path.write_bytes(b"")
    with pytest.raises(LedgerError, match="never asked"):
        read_ledger(teacher)


def test_a_teacher_trained_again_keeps_its_ledger(teacher: Path, tmp_path: Path) -> None:
    ask(teacher, "a")
    before = (teacher / LEDGER_FILE).read_bytes()
    new = tmp_path / "new"
    new.mkdir()
    (new / "model.json").write_text("{}")
    carry_over(teacher, new, new / "model.json")
    assert (new / LEDGER_FILE).read_bytes().startswith(before)
    assert read_ledger(new).entries[-1].kind == TRAINED
    assert stat.S_IMODE((new / LEDGER_FILE).stat().st_mode) == 0o600
    shutil.rmtree(teacher)
    new.rename(teacher)
    assert ask(teacher, "b").number == 2


def test_a_ledger_that_cannot_be_written_stops_the_query(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(teacher, "a")
    content = (teacher / LEDGER_FILE).read_bytes()
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(LedgerError, match="cannot be written"):
        ask(teacher, "b")
    assert (teacher / LEDGER_FILE).read_bytes() == content
    (teacher / LEDGER_FILE).unlink()
    (teacher / LEDGER_FILE).symlink_to(teacher / "elsewhere")
    with pytest.raises(LedgerError, match="cannot be written"):
        ask(teacher, "b")
    assert not (teacher / "elsewhere").exists()


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.integers(1, 40), st.booleans(), st.booleans()),
        max_size=12,
    )
)
def test_whatever_is_asked_charges_never_exceed_the_caps(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[str, int, bool, bool]],
) -> None:
    teacher = tmp_path_factory.mktemp("teacher") / "t"
    teacher.mkdir()
    numbers = []
    for request, compounds, noisy, done in asked:
        try:
            # A digest stands for the compounds too.
            release = ask(teacher, f"{request}{compounds}{noisy}", compounds, noisy)
        except LedgerError:
            continue
        numbers.append(release.number)
        if done:
            answer(teacher, release, sha256_hex(f"{request}{compounds}{release}".encode()))
    if asked:
        ledger = read_ledger(teacher)
        assert 1 <= ledger.releases <= 3
        assert ledger.queries <= 100
        assert max(numbers) == ledger.releases
        assert len(ledger.of(FINISHED)) <= len(ledger.of(QUERY))
