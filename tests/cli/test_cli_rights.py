"""Who may read what a command writes: private things their owner alone, whatever the umask."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluid.base.files import PRIVATE, atomic_file, atomic_folder
from fluid.partner.release.key_checkpoint import checkpoint_paths
from tests.cli.cli_site import Site, done

# Ends an annotation in the middle.
KILLED = """
import os, signal, sys
import fluid.exchange.sealed
fluid.exchange.sealed.ROW_GROUP = 64
import fluid.base.resume as unfinished
from fluid import annotate
from fluid.base.run import Run
kept = unfinished.Unfinished.keep
def keep(self, payload):
    kept(self, payload)
    os.kill(os.getpid(), signal.SIGKILL)
unfinished.Unfinished.keep = keep
annotate(*sys.argv[1:4], run=Run(jobs=1))
"""


@pytest.fixture(params=[0o022, 0o077, 0o000], ids=["022", "077", "000"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_to_others(*paths: Path) -> list[str]:
    """Everything below some paths that anybody but the owner may read, write or enter."""
    items = [item for path in paths for item in [path, *path.rglob("*")]]
    assert items
    return [f"{item} {mode(item):o}" for item in items if mode(item) & 0o077]


def test_what_is_private_is_its_owners_alone(site: Site, tmp_path: Path, umask: int) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    key = shutil.copy2(site.key("aurora"), home / "aurora.key")
    done(*site.train(home / "teacher"))
    (home / "teacher" / "rejects.csv").stat()
    draft, signed = home / "draft.parquet", home / "signed.parquet"
    annotate = ["annotate", home / "teacher", site.public, "--jobs", 1]
    done(*annotate, "-o", draft)
    assert open_to_others(draft) == []
    done("approve", draft, "--teacher", home / "teacher", "--key", key, "--yes", "-o", signed)
    assert mode(signed) == 0o666 & ~umask
    done(*annotate, "-o", home / "again.parquet", "--key", key)
    assert mode(home / "again.parquet") == 0o666 & ~umask
    done(*site.blend(home / "hybrid"))
    table = home / "table.csv"
    table.write_text(f"{site.external.read_text()}x,C1CC,1,1\n")
    table.chmod(0o640)
    done("evaluate", home / "hybrid", "--data", table, "--draws", 100, "-o", home / "e.json")
    done("predict", home / "hybrid", table, "-o", home / "predictions.csv", "--jobs", 1)
    # As readable as the table whose structures they hold.
    assert mode(home / "predictions.csv") == 0o640 & ~umask
    private = [home / name for name in ("teacher", "hybrid", "draft.parquet", "e.rejects.csv")]
    assert open_to_others(*private, *checkpoint_paths(key)) == []
    assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []
    # Training again replaces a folder that an earlier version left open.
    (home / "teacher").chmod(0o755)
    (home / "teacher" / "library.parquet").chmod(0o644)
    done(*site.train(home / "teacher"))
    assert open_to_others(home / "teacher") == []
    # What is meant for others follows the umask.
    done("keygen", "nova", "-o", home / "keys")
    assert mode(home / "keys" / "nova.key") == 0o600
    assert mode(home / "keys" / "nova.pub") == 0o666 & ~umask
    done(*site.distill(home / "round"))
    shared = [item for item in (home / "round").rglob("*") if item.is_file()]
    assert {mode(item) for item in shared} == {0o666 & ~umask}
    assert {mode(item) for item in (home / "round").rglob("*") if item.is_dir()} == {0o777 & ~umask}


@pytest.mark.parametrize("private", [True, False])
def test_nobody_reads_a_folder_while_it_is_made(tmp_path: Path, umask: int, private: bool) -> None:
    path = tmp_path / "made"
    with atomic_folder(path, "x", private) as folder:
        assert mode(folder) == 0o700
        (folder / "x").write_text("x")
        (folder / "sub").mkdir()
        (folder / "sub" / "y").write_text("y")
    assert bool(open_to_others(path)) is (not private and umask != 0o077)
    with atomic_file(tmp_path / "f", PRIVATE) as file:
        assert mode(file) == 0o600
        file.write_text("x")
    assert mode(tmp_path / "f") == 0o600


def test_what_a_killed_run_leaves_is_private(
    site: Site, tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Smaller chunks than those that were computed before.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    teacher = tmp_path / "teacher"
    shutil.copytree(site.teacher("aurora"), teacher)
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, teacher, site.public, tmp_path / "out.parquet"],
        capture_output=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert any(path.name.endswith(".unfinished") for path in left)
    assert open_to_others(*left) == []


def test_the_finished_site_is_private_where_it_must_be(site: Site) -> None:
    for partner in ("aurora", "draco", "eridanus"):
        assert open_to_others(site.teacher(partner)) == []
    assert open_to_others(site.hybrid("aurora")) == []
    assert open_to_others(*site.folder.rglob("*rejects.csv")) == []
    assert open_to_others(*site.folder.rglob("*.ledger.json")) == []
