"""Fixtures that take long, made once a session: a finished round, and a small cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fluid.base.run import Run
from fluid.central.distill import distill
from fluid.exchange.federation import load_federation
from fluid.exchange.public_set import open_public_set
from fluid.partner.annotate import annotate
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.hybrid.train import RoundFiles, train_hybrid
from fluid.partner.teacher.train import train_teacher
from fluid.public.prepare import prepare_public
from tests.conftest import (
    DATA,
    OPTIONS,
    PARTNERS,
    SECRET,
    Consortium,
    cut_table,
    make_federation,
    public_rows,
    write_public,
)
from tests.local_cluster import LocalCluster, local_cluster


@pytest.fixture(scope="session")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """Three partners, 400 public compounds, one round with student and hybrids."""
    folder = tmp_path_factory.mktemp("consortium")
    path = make_federation(folder)
    federation = load_federation(path)
    public_path = folder / "public.parquet"
    prepare_public(
        [write_public(folder / "public.csv", public_rows(400))],
        federation,
        public_path,
        run=Run(jobs=1),
    )
    public = open_public_set(public_path)
    annotations = []
    for partner in PARTNERS:
        home = folder / partner
        table = cut_table(DATA / "partners" / f"{partner}.csv", home / "private.csv", 220)
        secret = home / "secret"
        secret.write_text(SECRET)
        train_teacher(
            [table],
            path,
            partner,
            home / "teacher",
            options=OPTIONS,
            secret=secret,
            run=Run(jobs=2),
        )
        annotations.append(home / "annotation.parquet")
        annotate(home / "teacher", public, annotations[-1], key=folder / "keys" / f"{partner}.key")
    outcome = distill(annotations, public, federation, folder / "round1", run=Run(jobs=2))
    train_hybrid(
        [folder / "aurora" / "private.csv"],
        federation,
        "aurora",
        folder / "aurora" / "hybrid",
        RoundFiles(folder / "round1" / "federated.parquet", folder / "round1" / "student"),
        options=HybridOptions(folds=3),
    )
    return Consortium(folder, path, federation, public, outcome)


@pytest.fixture(scope="session")
def dask_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A scheduler and two workers, "one" and "two"; nobody may kill these."""
    with local_cluster(tmp_path_factory.mktemp("dask"), "one", "two") as made:
        yield made
