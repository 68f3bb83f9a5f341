"""A study of three partners, a few hundred compounds, and everything that it writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fluid.base.run import Run
from fluid.chem.compounds import Compounds, concatenate
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.partner.teacher.fit import TrainingOptions
from fluid.public.prepare import prepare_public
from fluid.simulation.cell_result import CellResult
from fluid.simulation.partition_spec import PartitionSpec
from fluid.simulation.run import Sources, simulate
from fluid.simulation.study import Study
from fluid.simulation.study_spec import StudySpec
from tests.conftest import DATA, cut_table, make_federation, public_rows, write_public

OWNERS = ("aurora", "draco", "eridanus")
PARTITION = PartitionSpec("random", partners=3)
OTHER = PartitionSpec("kmeans", partners=3)
SPEC = StudySpec(
    (PARTITION,),
    (0,),
    teacher_options=TrainingOptions(folds=3, repeats=1),
    hybrid_options=HybridOptions(folds=3, repeats=1),
)
# Only teachers and the student.
BARE = replace(SPEC, paper=False, hybrids=False, references=())
FILES = ("results.csv", "summary.json", "summary.md")


@dataclass(frozen=True)
class Small:
    """All files, and the result of the study's only cell."""

    folder: Path
    federation_path: Path
    federation: Federation
    public_set: PublicSet
    public: Compounds
    table: LabelledCompounds
    cell: CellResult
    summary: dict[str, Any]

    @property
    def output(self) -> Path:
        return self.folder / "study"

    @property
    def tables(self) -> list[Path]:
        return [self.folder / f"{owner}.csv" for owner in OWNERS]

    @property
    def sources(self) -> Sources:
        return Sources(self.tables, self.public_set, self.federation)

    def study(
        self,
        spec: StudySpec = SPEC,
        cache: Path | None = None,
        external: LabelledCompounds | None = None,
    ) -> Study:
        return Study(self.table, self.public, self.federation, spec, external, cache)


def build_small(folder: Path) -> Small:
    """Run the study once, by the function that the command calls."""
    path = make_federation(folder, ())
    federation = load_federation(path)
    for owner in OWNERS:
        cut_table(DATA / "partners" / f"{owner}.csv", folder / f"{owner}.csv", 110)
    public_path = folder / "public.parquet"
    source = write_public(folder / "public.csv", public_rows(260))
    prepare_public([source], federation, public_path, run=Run(jobs=1))
    public_set = open_public_set(public_path)
    tables = [folder / f"{owner}.csv" for owner in OWNERS]
    summary = simulate(
        Sources(tables, public_set, federation), SPEC, folder / "study", draws=100, run=Run(jobs=1)
    )
    table = read_labelled(tables, federation.tasks, federation.chemistry, jobs=1)
    public = concatenate(list(public_set.chunks()))
    study = Study(table, public, federation, SPEC, cache=folder / "study" / "cache")
    cell = study.run_cell(PARTITION, 0)
    return Small(folder, path, federation, public_set, public, table, cell, summary)
