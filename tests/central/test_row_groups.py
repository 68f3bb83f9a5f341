"""A public set of many row groups gives the same labels as one of a single group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import fluid.exchange.sealed
from fluid.base.run import Run
from fluid.central.distill import distill
from fluid.exchange.federated_set import open_federated
from fluid.exchange.public_set import open_public_set
from fluid.partner.annotate import annotate
from fluid.public.prepare import prepare_public
from tests.conftest import PARTNERS, Consortium


def test_many_row_groups(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fluid.exchange.sealed, "ROW_GROUP", 64)
    path = tmp_path / "public.parquet"
    prepare_public([consortium.folder / "public.csv"], consortium.federation, path, run=Run(jobs=1))
    public = open_public_set(path)
    assert pq.ParquetFile(path).metadata.num_row_groups > 5
    assert len(list(public.chunks())) > 5
    annotations = []
    for partner in PARTNERS:
        annotations.append(tmp_path / f"{partner}.parquet")
        key = consortium.folder / "keys" / f"{partner}.key"
        annotate(
            consortium.folder / partner / "teacher",
            public,
            annotations[-1],
            key=key,
            run=Run(jobs=1),
        )
        here = pq.read_table(annotations[-1])
        assert here.equals(pq.read_table(consortium.annotation(partner)))
    distill(annotations, public, consortium.federation, tmp_path / "round", run=Run(jobs=2))
    _, many = open_federated(tmp_path / "round" / "federated.parquet").load()
    _, one = open_federated(consortium.folder / "round1" / "federated.parquet").load()
    for task in ("bbb", "logbb"):
        assert np.array_equal(many[task].label, one[task].label, equal_nan=True)
        assert np.array_equal(many[task].reliability, one[task].reliability)
