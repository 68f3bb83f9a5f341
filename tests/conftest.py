"""What many tests need: parts of a small consortium on real data."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from fluid.central.distill import Round
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.exchange.signing import generate_keys
from fluid.exchange.template import init_federation, parse_task_option, register_partner
from fluid.partner.teacher.fit import TrainingOptions

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
