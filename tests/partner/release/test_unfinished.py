"""An interrupted annotation goes on where it was, to the same bytes; nothing else is taken."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fluid.exchange.sealed
from fluid.base.run import Run
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.partner.annotate import annotate
from fluid.partner.release.ledger import read_ledger
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.public.prepare import prepare_public
from tests.conftest import Consortium

GROUP = 64
KILLED = """
import os, signal, sys
from pathlib import Path
import fluid.exchange.sealed
from fluid.base.run import Run
from fluid.partner.annotate import annotate

def stop(done):
    if done >= 128:
        os.kill(os.getpid(), signal.SIGKILL)

fluid.exchange.sealed.ROW_GROUP = 64
teacher, public, output, key = map(Path, sys.argv[1:])
annotate(teacher, public, output, key=key, run=Run(jobs=1, progress=stop))
"""


@pytest.fixture
def public(consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublicSet:
    """A public set of several chunks."""
    monkeypatch.setattr(fluid.exchange.sealed, "ROW_GROUP", GROUP)
    path = tmp_path / "public.parquet"
    prepare_public([consortium.folder / "public.csv"], consortium.federation, path, run=Run(jobs=1))
    found = open_public_set(path)
    assert len(found) > 4 * GROUP
    return found


class Site:
    """A partner that annotates, and how many chunks it labelled."""

    def __init__(
        self, consortium: Consortium, public: PublicSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.teacher = consortium.folder / "aurora" / "teacher"
        self.keys = consortium.folder / "keys" / "aurora.key"
        self.key = public.sealed.path.with_name("aurora.key")
        shutil.copy2(self.keys, self.key)
        self.public = public
        self.output = public.sealed.path.with_name("annotation.parquet")
        self.unfinished = self.output.with_name(".annotation.parquet.unfinished")
        self.labelled = 0
        label = TeacherLabeler.label

        def counted(labeler, *arguments):  # type: ignore[no-untyped-def]
            self.labelled += 1
            return label(labeler, *arguments)

        monkeypatch.setattr(TeacherLabeler, "label", counted)

    def run(self, stop_after: int | None = None, error: type[BaseException] = KeyboardInterrupt):  # type: ignore[no-untyped-def]
        """Annotate; returns the bytes, or stops as by Ctrl-C after some chunks."""
        self.labelled = 0

        def progress(done: int) -> None:
            if stop_after is not None and done >= stop_after * GROUP:
                raise error

        if stop_after is None:
            annotate(self.teacher, self.public, self.output, key=self.key, run=Run(jobs=1))
            return self.output.read_bytes()
        with pytest.raises(error):
            annotate(
                self.teacher,
                self.public,
                self.output,
                key=self.key,
                run=Run(jobs=1, progress=progress),
            )
        return b""


@pytest.fixture
def site(consortium: Consortium, public: PublicSet, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(consortium, public, monkeypatch)


def test_an_interrupted_run_goes_on_to_the_same_bytes(site: Site) -> None:
    whole, chunks = site.run(), site.labelled
    assert not site.unfinished.exists()
    site.output.unlink()
    site.run(stop_after=2)
    assert not site.output.exists()
    assert site.unfinished.stat().st_mode & 0o777 == 0o600
    site.run(stop_after=3)
    assert site.labelled == 1
    assert site.run() == whole
    assert site.labelled == chunks - 3
    assert not site.unfinished.exists()


def test_a_killed_run_goes_on_to_the_same_bytes(site: Site) -> None:
    whole, chunks = site.run(), site.labelled
    charged = read_ledger(site.teacher).releases
    site.output.unlink()
    paths = [site.teacher, site.public.sealed.path, site.output, site.key]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, paths)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not site.output.exists()
    assert site.run() == whole
    assert site.labelled == chunks - 2
    assert read_ledger(site.teacher).releases == charged


@pytest.mark.parametrize("damage", ["torn", "changed", "lengthened", "no record"])
def test_only_whole_records_are_taken(site: Site, damage: str) -> None:
    whole, chunks = site.run(), site.labelled
    site.run(stop_after=3)
    kept = bytearray(site.unfinished.read_bytes())
    if damage == "torn":
        del kept[-9:]
    elif damage == "changed":
        kept[-9] ^= 1
    elif damage == "lengthened":
        kept += kept[-50:]
    else:
        kept[:] = b"no record of ours" * 9
    site.unfinished.write_bytes(kept)
    assert site.run() == whole
    assert (
        site.labelled == chunks - {"torn": 2, "changed": 2, "lengthened": 3, "no record": 0}[damage]
    )


def test_labels_of_another_teacher_public_set_or_policy_are_not_taken(
    site: Site, consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run()
    chunks = site.labelled

    other = tmp_path / "teacher"
    shutil.copytree(consortium.folder / "aurora" / "teacher", other)
    (other / "federation.toml").write_text(
        (other / "federation.toml").read_text(encoding="utf-8") + "# changed\n", encoding="utf-8"
    )
    secret = tmp_path / "secret"
    shutil.copytree(consortium.folder / "aurora" / "teacher", secret)
    (secret / "fold.key").write_text("a5" * 32 + "\n")
    for teacher in (other, secret):
        site.run(stop_after=2)
        before = site.teacher, site.key
        # A copy of a teacher's folder goes its own way on another machine.
        site.teacher, site.key = teacher, teacher / "aurora.key"
        shutil.copy2(site.keys, site.key)
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("XDG_STATE_HOME", str(teacher / "state"))
            site.run()
        assert site.labelled == chunks
        site.teacher, site.key = before

    site.run(stop_after=2)
    shorter = tmp_path / "shorter.parquet"
    lines = (consortium.folder / "public.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "shorter.csv").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    prepare_public([tmp_path / "shorter.csv"], consortium.federation, shorter, run=Run(jobs=1))
    site.public = open_public_set(shorter)
    site.run()
    assert site.labelled == chunks


def test_an_error_leaves_nothing_behind(site: Site) -> None:
    site.run(stop_after=2, error=RuntimeError)
    assert not site.unfinished.exists()
    assert not site.output.exists()


def test_of_two_runs_at_once_the_second_does_without(site: Site) -> None:
    whole, chunks = site.run(), site.labelled
    site.run(stop_after=2)
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'r+b'); fcntl.flock(f, fcntl.LOCK_EX)"
    code += "; print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(site.unfinished)], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        before = site.unfinished.read_bytes()
        assert site.run() == whole
        assert site.labelled == chunks
        assert site.unfinished.read_bytes() == before
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
