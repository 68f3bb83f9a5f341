"""`distill --scheduler`: the student of one machine to the byte, or one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from fluid.base import cluster as cluster_module
from fluid.central import fit_student
from fluid.learn.estimators import landmarks
from tests.cli.cli_site import Site, done, refused
from tests.local_cluster import LocalCluster, local_cluster

# Set at the workers too, by a script that they run before they join.
_CHUNK, _BLOCK = 50, 20
PRELOAD = f"""
import fluid.learn.estimators.landmarks as landmarks
landmarks._CHUNK, landmarks._BLOCK = {_CHUNK}, {_BLOCK}
"""


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that the small site exceeds, so that its student is streamed in several chunks."""
    limits: list[tuple[ModuleType, str, int]] = [
        (fit_student, "MOST_HELD", 60),
        (fit_student, "LANDMARKS", 40),
        (landmarks, "_CHUNK", _CHUNK),
        (landmarks, "_BLOCK", _BLOCK),
    ]
    for module, name, value in limits:
        monkeypatch.setattr(module, name, value)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.usefixtures("streamed")
def test_the_student_is_that_of_one_machine_to_the_byte(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(*site.distill(tmp_path / "here"))
    sent = []
    whole = cluster_module.Cluster.map

    def counted(self, function, items):  # type: ignore[no-untyped-def]
        sent.append(function)
        return whole(self, function, items)

    monkeypatch.setattr(cluster_module.Cluster, "map", counted)
    with local_cluster(tmp_path / "dask") as cluster:
        for name in ("one", "two"):
            cluster.worker(name, preload=PRELOAD)
        cluster.wait_for_workers(2)
        outcome = done(*site.distill(tmp_path / "there"), "--scheduler", cluster.address, "--json")
        json.loads(outcome.stdout)
    # Two tasks, and for each the compounds inside and those held out.
    assert len(sent) == 4
    assert content(tmp_path / "here") == content(tmp_path / "there")


@pytest.mark.usefixtures("streamed")
def test_a_lost_worker_changes_no_bit(site: Site, tmp_path: Path) -> None:
    done(*site.distill(tmp_path / "here"))
    with local_cluster(tmp_path / "dask") as cluster:
        cluster.worker("one", preload=PRELOAD)
        cluster.wait_for_workers(1)
        with cluster.victim() as killed:
            done(*site.distill(tmp_path / "there"), "--scheduler", cluster.address)
        assert killed.is_set()
    assert content(tmp_path / "here") == content(tmp_path / "there")


def test_a_small_student_is_fitted_here(
    site: Site, dask_site: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module.Cluster, "map", None)
    done(*site.distill(tmp_path / "there"), "--scheduler", dask_site.address)
    done(*site.distill(tmp_path / "here"))
    assert content(tmp_path / "here") == content(tmp_path / "there")


def test_a_scheduler_that_cannot_be_reached_is_one_line(site: Site, tmp_path: Path) -> None:
    error = refused(*site.distill(tmp_path / "round"), "--scheduler", "host:8786")
    assert "scheduler 'host:8786'" in error
    assert not (tmp_path / "round").exists()
