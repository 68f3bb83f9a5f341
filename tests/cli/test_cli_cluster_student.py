"""`distill --scheduler`: nearly the student of one machine, the same again, or one clear line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from fluid.learn.estimators.cluster_trees import _block_size, _blocks

from fluid.chem.compounds import Compounds
from fluid.exchange.public_set import open_public_set
from fluid.learn.storage import load_trained
from tests.cli.cli_site import Site, done, refused
from tests.local_cluster import LocalCluster, local_cluster


def distill(site: Site, output: Path, *more: object) -> list[object]:
    arguments = site.distill(output)
    arguments[arguments.index("--learners") + 1] = "lightgbm-student"
    return [*arguments, *more]


def everything(site: Site) -> Compounds:
    (chunk,) = open_public_set(site.public).chunks()
    return chunk


@pytest.mark.parametrize("size", [1, 7, 16, 180, 1000])
@pytest.mark.parametrize("pieces", [(180,), (1, 0, 60, 119), (90, 90)])
def test_blocks_hold_every_row_once_in_order(
    site: Site, size: int, pieces: tuple[int, ...]
) -> None:
    compounds = everything(site)
    compounds = compounds.take(np.arange(len(compounds)))
    ends = np.minimum(np.cumsum(pieces), len(compounds))
    starts = np.concatenate([[0], ends[:-1]])
    chunks = [compounds.take(np.arange(a, b)) for a, b in zip(starts, ends, strict=True)]
    rows = np.flatnonzero(np.random.default_rng(0).random(ends[-1]) < 0.7)
    found = list(_blocks(iter(chunks), rows, size))
    assert [first for first, _ in found] == list(range(0, len(rows), size))
    assert all(len(block) == size for _, block in found[:-1])
    keys = np.concatenate([block.inchikeys for _, block in found])
    assert keys.tolist() == compounds.inchikeys[rows].tolist()


def test_every_worker_gets_several_blocks_if_there_are_enough_rows() -> None:
    assert [_block_size(n, 2) for n in (10, 180, 8000, 10**7)] == [16, 22, 1000, 16_384]


@pytest.mark.long
def test_the_student_is_nearly_that_of_one_machine_and_the_same_again(
    site: Site, tmp_path: Path
) -> None:
    done(*distill(site, tmp_path / "here"))
    there = []
    for name in ("there", "again"):
        with local_cluster(tmp_path / f"dask-{name}", "one", "two") as cluster:
            outcome = done(
                *distill(site, tmp_path / name, "--scheduler", cluster.address, "--json")
            )
            json.loads(outcome.stdout)
        there.append(tmp_path / name)
    federated = [folder / "federated.parquet" for folder in (tmp_path / "here", *there)]
    assert len({path.read_bytes() for path in federated}) == 1
    files = sorted(path.relative_to(there[0]) for path in there[0].rglob("*") if path.is_file())
    assert [p for p in files if (there[0] / p).read_bytes() != (there[1] / p).read_bytes()] == []

    here, cluster_made = (
        load_trained(f / "student", "student") for f in (tmp_path / "here", there[0])
    )
    assert cluster_made.card.training["workers"] == 2
    compounds = everything(site)
    mine, theirs = here.predict(compounds), cluster_made.predict(compounds)
    for task in mine.by_task:
        a, b = mine.by_task[task].values[:, 0], theirs.by_task[task].values[:, 0]
        assert not np.array_equal(a, b)
        assert np.corrcoef(a, b)[0, 1] > 0.95
        assert np.abs(a - b).mean() < 0.3 * a.std()


@pytest.mark.long
def test_a_worker_lost_in_training_is_one_line(site: Site, tmp_path: Path) -> None:
    with local_cluster(tmp_path / "dask", "one", "two") as cluster:

        def kill() -> None:
            end = time.monotonic() + 100
            while "[LightGBM]" not in cluster.log("two") and time.monotonic() < end:
                time.sleep(0.01)
            cluster.kill("two")

        killer = Thread(target=kill)
        killer.start()
        told = refused(*distill(site, tmp_path / "round", "--scheduler", cluster.address))
        killer.join()
    assert "was lost while all trained together" in told or "LightGBM gave up" in told
    assert not (tmp_path / "round").exists()


def test_what_does_not_train_on_a_cluster_is_refused(
    site: Site, dask_site: LocalCluster, tmp_path: Path
) -> None:
    arguments = site.distill(tmp_path / "round")
    arguments[arguments.index("--learners") + 1] = "kernel-ridge"
    told = refused(*arguments, "--scheduler", dask_site.address)
    assert "none of these trains on a cluster; only lightgbm-student does" in told
    assert not (tmp_path / "round").exists()
