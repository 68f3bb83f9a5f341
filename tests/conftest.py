"""A small consortium on real data, run once a session by the library's own functions."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fluid.central.distill import Round, distill
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.exchange.signing import generate_keys
from fluid.exchange.template import init_federation, parse_task_option, register_partner
from fluid.partner.annotate import annotate
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.hybrid.train import train_hybrid
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher
from fluid.public.prepare import prepare_public
from tests.local_cluster import LocalCluster, local_cluster

DATA = Path(__file__).parent.parent / "data"
PARTNERS = ("aurora", "borealis", "draco")
OPTIONS = TrainingOptions(folds=3, repeats=2)
SECRET = "5a" * 32


@dataclass(frozen=True)
class Consortium:
    """Where everything of a finished round lies."""

    folder: Path
    federation_path: Path
    federation: Federation
    public: PublicSet
    round: Round

    def annotation(self, partner: str) -> Path:
        return self.folder / partner / "annotation.parquet"

    def table(self, partner: str) -> Path:
        return self.folder / partner / "private.csv"


def cut_table(source: Path, target: Path, lines: int) -> Path:
    """The first lines of a table, header included."""
    target.parent.mkdir(parents=True, exist_ok=True)
    text = source.read_text(encoding="utf-8").splitlines()[: lines + 1]
    target.write_text("\n".join(text) + "\n", encoding="utf-8")
    return target


TASKS = ("bbb:binary:BBB-,BBB+", "logbb:regression:log10(brain/blood)")


def make_federation(
    folder: Path, partners: tuple[str, ...] = PARTNERS, tasks: tuple[str, ...] = TASKS
) -> Path:
    """A federation file with registered partners, keys in ``keys``; of two tasks by default."""
    path = folder / "federation.toml"
    init_federation(path, "trial", [parse_task_option(text) for text in tasks])
    for partner in partners:
        _, public_key = generate_keys(partner, folder / "keys")
        register_partner(path, partner, public_key)
    return path


def public_rows(n: int) -> list[dict[str, str]]:
    """Public structures, near ones and generic ones mixed."""
    with (DATA / "public.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    near = [row for row in rows if row["source"] == "b3db"]
    return near[: n // 2] + [row for row in rows if row["source"] != "b3db"][: n - n // 2]


def write_public(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["id", "smiles"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    """Three partners, 400 public compounds, one round with student and hybrids."""
    folder = tmp_path_factory.mktemp("consortium")
    path = make_federation(folder)
    federation = load_federation(path)
    public_path = folder / "public.parquet"
    prepare_public(
        [write_public(folder / "public.csv", public_rows(400))], federation, public_path, jobs=1
    )
    public = open_public_set(public_path)
    annotations = []
    for partner in PARTNERS:
        home = folder / partner
        table = cut_table(DATA / "partners" / f"{partner}.csv", home / "private.csv", 220)
        secret = home / "secret"
        secret.write_text(SECRET)
        train_teacher(
            [table], federation, path, partner, home / "teacher", OPTIONS, secret_path=secret,
            jobs=2,
        )  # fmt: skip
        annotations.append(home / "annotation.parquet")
        annotate(home / "teacher", public, annotations[-1], folder / "keys" / f"{partner}.key")
    outcome = distill(annotations, public, federation, folder / "round1", jobs=2)
    train_hybrid(
        [folder / "aurora" / "private.csv"],
        federation,
        "aurora",
        folder / "aurora" / "hybrid",
        federated=folder / "round1" / "federated.parquet",
        student=folder / "round1" / "student",
        options=HybridOptions(folds=3),
    )
    return Consortium(folder, path, federation, public, outcome)


@pytest.fixture(scope="session")
def dask_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A scheduler and two workers, "one" and "two"; nobody may kill these."""
    with local_cluster(tmp_path_factory.mktemp("dask"), "one", "two") as made:
        yield made
