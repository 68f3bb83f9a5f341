"""A coordinator that lies about a row of what it sends: every partner's command refuses it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fluid.base.files import atomic_folder
from fluid.chem.arrow import compounds_to_batch
from fluid.chem.compounds import concatenate
from fluid.exchange.federated_set import open_federated
from fluid.exchange.sealed import open_sealed, write_sealed
from fluid.learn.storage import load_trained, save_model
from tests.cli.cli_site import done, refused, snapshot
from tests.conftest import Consortium
from tests.partner.forged_rows import FORGERIES, forge_row, write_compounds

ROWS = 12


def _refuse(consortium: Consortium, folder: Path, tries: int, seed: int) -> None:
    """Forge one row in each of many small public sets; none is labelled, or charged for."""
    random = np.random.default_rng(seed)
    public = consortium.public
    compounds = concatenate(list(public.chunks()))
    private = load_trained(consortium.folder / "draco" / "teacher", "teacher").library
    teacher = shutil.copytree(consortium.folder / "draco" / "teacher", folder / "teacher")
    before = snapshot(teacher)
    path = folder / "public.parquet"
    names = list(FORGERIES)
    for attempt in range(tries):
        name = names[attempt % len(names)]
        few = compounds.take(random.choice(len(compounds), ROWS, replace=False))
        row = int(random.integers(ROWS))
        if name == "twice":
            other = few.take(np.array([(row + 1) % ROWS]))
        else:
            # Not a compound of these, or a forgery would be the compound itself.
            free = np.flatnonzero(~np.isin(private.connectivities, few.connectivities))
            other = private.take(random.choice(free, 1))
        write_compounds(path, forge_row(few, row, other, name, random), public.sealed.manifest)
        error = refused("annotate", teacher, path, "-o", folder / "out.parquet", "--jobs", "1")
        assert str(path) in error, (name, error)
        assert "row" in error, (name, error)
        assert snapshot(teacher) == before, name
        assert not (folder / "out.parquet").exists()


def test_forged_rows_are_refused(consortium: Consortium, tmp_path: Path) -> None:
    _refuse(consortium, tmp_path, 2 * len(FORGERIES), 0)


@pytest.mark.long
def test_a_thousand_forged_rows_are_refused(consortium: Consortium, tmp_path: Path) -> None:
    _refuse(consortium, tmp_path, 1000, 1)


def test_six_rows_of_a_whole_set_are_refused(consortium: Consortium, tmp_path: Path) -> None:
    """A sample that the coordinator can foresee would miss them."""
    public = consortium.public
    compounds = concatenate(list(public.chunks()))
    private = load_trained(consortium.folder / "draco" / "teacher", "teacher").library
    other = private.take(np.flatnonzero(~np.isin(private.inchikeys, compounds.inchikeys))[:1])
    random = np.random.default_rng(2)
    for row in random.choice(len(compounds), 6, replace=False):
        compounds = forge_row(compounds, int(row), other, "features of another", random)
    path = write_compounds(tmp_path / "public.parquet", compounds, public.sealed.manifest)
    teacher = shutil.copytree(consortium.folder / "draco" / "teacher", tmp_path / "teacher")
    refused("annotate", teacher, path, "-o", tmp_path / "out.parquet", "--jobs", "1")


def test_the_true_set_is_computed_once(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    teacher = shutil.copytree(consortium.folder / "draco" / "teacher", tmp_path / "teacher")
    for number in range(2):
        outcome = done(
            "annotate",
            teacher,
            consortium.public.sealed.path,
            "-o",
            tmp_path / f"{number}.parquet",
            "--jobs",
            "1",
        )
        assert ("once on this machine" in outcome.stderr) == (number == 0)
    assert (tmp_path / "0.parquet").read_bytes() == (tmp_path / "1.parquet").read_bytes()


def test_an_audit_refuses_it_too(consortium: Consortium, tmp_path: Path) -> None:
    public = consortium.public
    compounds = concatenate(list(public.chunks()))
    forged = forge_row(
        compounds, 3, compounds.take(np.arange(1)), "one bit", np.random.default_rng(0)
    )
    path = write_compounds(tmp_path / "public.parquet", forged, public.sealed.manifest)
    error = refused(
        "audit", consortium.folder / "draco" / "teacher", path, consortium.annotation("draco")
    )
    assert "row 4 " in error


@pytest.mark.parametrize("name", ["fingerprint of another", "a descriptor within 1e-4"])
def test_a_hybrid_refuses_a_federated_set_that_lies(
    consortium: Consortium, tmp_path: Path, name: str
) -> None:
    """With a student that was distilled from it."""
    sealed = open_sealed(consortium.folder / "round1" / "federated.parquet", None)
    table = pa.Table.from_batches(list(sealed.batches()))
    compounds, _ = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    random = np.random.default_rng(0)
    forged = compounds_to_batch(
        forge_row(compounds, 5, compounds.take(np.array([9])), name, random)
    )
    for column in forged.schema.names:
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(place), forged.column(column))
    path = tmp_path / "federated.parquet"
    digest = write_sealed(
        path, table.schema, iter(table.to_batches()), lambda rows: sealed.manifest
    )
    student = load_trained(consortium.folder / "round1" / "student", "student")
    training = dict(student.card.training) | {"federated_set": digest}
    with atomic_folder(tmp_path / "student", "model.json") as folder:
        save_model(replace(student, card=replace(student.card, training=training)), folder)
    error = refused(
        "train-hybrid", consortium.table("draco"), "--federated", path,
        "--student", tmp_path / "student", "--federation", consortium.federation_path,
        "--partner", "draco", "-o", tmp_path / "hybrid", "--folds", 3, "--jobs", 1,
    )  # fmt: skip
    assert f"{path}: row 6 " in error
    assert not (tmp_path / "hybrid").exists()
