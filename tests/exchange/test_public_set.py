"""The public set: prepared once, the same whatever the number of workers, checked on arrival."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import fluid.exchange.sealed
from fluid.base.errors import MismatchError
from fluid.base.run import Run
from fluid.chem.arrow import compounds_schema, compounds_to_batch
from fluid.chem.compounds import Compounds, concatenate
from fluid.exchange.public_set import open_public_set
from fluid.exchange.sealed import write_sealed
from fluid.public.prepare import prepare_public
from tests.conftest import Consortium, public_rows, write_public


def test_workers_do_not_change_the_file(consortium: Consortium, tmp_path: Path) -> None:
    source = write_public(tmp_path / "public.csv", public_rows(600))
    for jobs in (1, 2):
        prepare_public(
            [source], consortium.federation, tmp_path / f"{jobs}.parquet", run=Run(jobs=jobs)
        )
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_repeats_are_dropped_and_order_is_kept(consortium: Consortium, tmp_path: Path) -> None:
    rows = public_rows(30)
    source = write_public(tmp_path / "public.csv", [*rows, *rows[::-1]])
    summary = prepare_public(
        [source], consortium.federation, tmp_path / "p.parquet", run=Run(jobs=1)
    )
    compounds = concatenate(list(open_public_set(tmp_path / "p.parquet").chunks()))
    assert summary.n_compounds + summary.n_rejected // 2 == 30
    assert summary.n_duplicates == summary.n_compounds
    named = [row["id"] for row in rows]
    assert [name for name in named if name in set(compounds.ids)] == list(compounds.ids)


def _rewrite(consortium: Consortium, path: Path, compounds: Compounds) -> Path:
    manifest = dict(consortium.public.sealed.manifest)
    features = consortium.federation.chemistry.features
    write_sealed(
        path,
        compounds_schema(features.bits, features.n_descriptors),
        iter([compounds_to_batch(compounds)]),
        lambda rows: manifest | {"n_compounds": rows},
    )
    return path


@pytest.mark.parametrize("field", ["inchikeys", "descriptors", "fingerprints", "counts"])
def test_a_site_that_computes_anything_else_refuses_the_set(
    consortium: Consortium, tmp_path: Path, field: str
) -> None:
    compounds = concatenate(list(consortium.public.chunks()))
    same = _rewrite(consortium, tmp_path / "same.parquet", compounds)
    open_public_set(same).check(consortium.federation)
    values = getattr(compounds, field).copy()
    if field == "inchikeys":
        values = np.roll(values, 1)
    else:
        values += 1
    changed = dataclasses.replace(compounds, **{field: values})
    path = _rewrite(consortium, tmp_path / "other.parquet", changed)
    with pytest.raises(MismatchError, match=r"row \d+ .*(gives|is not standard)"):
        open_public_set(path).check(consortium.federation)


def test_rows_of_many_groups_are_named_by_their_place_in_the_file(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fluid.exchange.sealed, "ROW_GROUP", 4)
    compounds = concatenate(list(consortium.public.chunks()))
    same = open_public_set(_rewrite(consortium, tmp_path / "same.parquet", compounds))
    assert len(same.sealed.group_sizes()) > 8
    same.check(consortium.federation)
    # Every row is wrong, and is named as what it is.
    changed = dataclasses.replace(compounds, descriptors=compounds.descriptors + 1)
    other = open_public_set(_rewrite(consortium, tmp_path / "other.parquet", changed))
    with pytest.raises(MismatchError) as caught:
        other.check(consortium.federation)
    found = re.search(r"row (\d+) \(([^)]*)\)", str(caught.value))
    assert found is not None
    assert compounds.ids[int(found[1]) - 1] == found[2].strip("'")
