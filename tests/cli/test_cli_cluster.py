"""`--scheduler`: the bytes of a local run, whatever becomes of the workers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import dask
import pytest

import fluid.base.resume
import fluid.exchange.sealed
import fluid.public.prepare
import fluid.report.predict
from fluid.exchange.sealed import open_sealed
from tests.cli.cli_site import Site, done, refused, run
from tests.local_cluster import LocalCluster, local_cluster

GROUP = 36


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks of few compounds."""
    monkeypatch.setattr(fluid.exchange.sealed, "ROW_GROUP", GROUP)
    monkeypatch.setattr(fluid.public.prepare, "BATCH", GROUP)
    monkeypatch.setattr(fluid.report.predict, "BATCH", GROUP)


def prepare(site: Site, folder: Path) -> list[object]:
    return site.prepare(folder / "public.parquet")


def annotate(site: Site, folder: Path) -> list[object]:
    public = folder.parent / "in_groups.parquet"
    if not public.exists():
        done(*site.prepare(public))
        assert len(open_sealed(public, "fluid.public/1").group_sizes()) > 3
    arguments = site.annotate(folder / "annotation.parquet")
    arguments[arguments.index(site.public)] = public
    return arguments


def predict(site: Site, folder: Path) -> list[object]:
    return site.predict(folder / "said.csv")


def predict_parquet(site: Site, folder: Path) -> list[object]:
    return ["predict", site.hybrid("aurora"), site.external, "-o", folder / "said.parquet"]


COMMANDS = {
    "prepare-public": prepare,
    "annotate": annotate,
    "predict": predict,
    "predict to Parquet": predict_parquet,
}
Command = Callable[[Site, Path], list[object]]


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def local(site: Site, folder: Path, command: Command) -> dict[str, bytes]:
    folder.mkdir()
    done(*command(site, folder), "--jobs", 1)
    return visible(folder)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "name",
    [
        "prepare-public",
        "annotate",
        *(pytest.param(name, marks=pytest.mark.long) for name in COMMANDS if "predict" in name),
    ],
)
def test_the_bytes_are_those_of_a_local_run(
    site: Site, dask_site: LocalCluster, tmp_path: Path, name: str
) -> None:
    expected = local(site, tmp_path / "local", COMMANDS[name])
    there = tmp_path / "cluster"
    there.mkdir()
    outcome = done(*COMMANDS[name](site, there), "--scheduler", dask_site.address)
    assert visible(there) == expected
    assert "error" not in outcome.stderr


@pytest.mark.long
@pytest.mark.usefixtures("small_chunks")
def test_a_selection_and_sets_too(site: Site, dask_site: LocalCluster, tmp_path: Path) -> None:
    selecting = lambda place: [*site.prepare(place / "p.parquet"), "--select", 60]  # noqa: E731
    judging = lambda place: [  # noqa: E731
        "predict", site.teacher("aurora"), site.external, "--conformal", 0.2,
        "-o", place / "said.csv",
    ]  # fmt: skip
    here, there = tmp_path / "local", tmp_path / "cluster"
    for place, more in ((here, ()), (there, ("--scheduler", dask_site.address))):
        place.mkdir()
        done(*selecting(place), *more)
        done(*judging(place), *more)
    assert visible(here) == visible(there)


@pytest.mark.long
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_worker_killed_in_a_chunk_costs_the_chunk_alone(
    site: Site, tmp_path: Path, name: str
) -> None:
    expected = local(site, tmp_path / "local", COMMANDS[name])
    there = tmp_path / "cluster"
    there.mkdir()
    with local_cluster(tmp_path / "dask", "one") as cluster, cluster.victim() as killed:
        done(*COMMANDS[name](site, there), "--scheduler", cluster.address)
        assert killed.wait(60)
    assert visible(there) == expected


@pytest.mark.long
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_lost_scheduler_is_one_line_and_the_next_run_goes_on(
    site: Site, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = local(site, tmp_path / "local", COMMANDS[name])
    there = tmp_path / "new"
    there.mkdir()
    arguments = COMMANDS[name](site, there)
    patience = {"distributed.comm.timeouts.connect": "1s"}
    with dask.config.set(patience), local_cluster(tmp_path / "dask", "one") as cluster:
        kept = fluid.base.resume.Unfinished.keep

        def lose(unfinished, payload):  # type: ignore[no-untyped-def]
            kept(unfinished, payload)
            if unfinished.path.stat().st_size and "scheduler" in cluster.processes:
                cluster.kill("scheduler")

        monkeypatch.setattr(fluid.base.resume.Unfinished, "keep", lose)
        told = refused(*arguments, "--scheduler", cluster.address)
        monkeypatch.setattr(fluid.base.resume.Unfinished, "keep", kept)
    assert "the scheduler was lost; run the command again" in told
    assert [path.name for path in there.iterdir()] == [
        f".{Path(str(arguments[arguments.index('-o') + 1])).name}.unfinished"
    ]
    with local_cluster(tmp_path / "again", "one") as cluster:
        outcome = done(*arguments, "--scheduler", cluster.address)
    assert "continuing after" in outcome.stderr
    assert visible(there) == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "host:8786",
            "scheduler 'host:8786': is not an address; allowed are such as tcp://host:8786",
        ),
        ("tcp://127.0.0.1:9", "scheduler tcp://127.0.0.1:9: cannot be reached"),
    ],
)
def test_a_scheduler_that_is_not_there_is_refused(
    site: Site, tmp_path: Path, address: str, message: str
) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}):
        told = refused(*predict(site, tmp_path), "--scheduler", address)
    assert message in told
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    told = refused(*prepare(site, tmp_path), "--scheduler", "tcp://127.0.0.1:8786")
    assert told.endswith("install it with pip install 'fluid-federated[cluster]'")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["prepare-public", "annotate", "predict"])
def test_help_shows_an_example(name: str) -> None:
    shown = run(name, "--help")
    assert shown.code == 0
    assert "--scheduler t" in shown.stdout
