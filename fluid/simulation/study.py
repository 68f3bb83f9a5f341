"""A study: many virtual consortia from one labelled table, and what each model predicts there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import MismatchError, TrainingError
from fluid.base.jobs import map_processes, single_threaded_blas
from fluid.base.run import Run
from fluid.central.student import FEWEST_COMPOUNDS
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.similarity import neighbour_similarity
from fluid.exchange.federation import Federation
from fluid.learn.reliability import DOMAIN_NEIGHBOURS
from fluid.partner.table import LabelledCompounds
from fluid.simulation.baselines import (
    mean_of_teachers,
    paper_student,
    pooled_data_student,
    reference,
)
from fluid.simulation.cache import Cache
from fluid.simulation.cell_result import (
    CEILING,
    CEILING_NAME,
    HYBRID,
    MEAN,
    MEAN_NAME,
    PAPER,
    PAPER_NAME,
    REFERENCE,
    STUDENT,
    TEACHER,
    CellResult,
    ModelResult,
)
from fluid.simulation.consortium import Consortium
from fluid.simulation.holdout import divide_table
from fluid.simulation.hybrids import train_hybrids
from fluid.simulation.partition import divide
from fluid.simulation.partition_spec import PartitionSpec
from fluid.simulation.residual_rounds import residual_rounds
from fluid.simulation.rounds import SimulatedRound
from fluid.simulation.study_spec import StudySpec, partition_name
from fluid.simulation.teachers import train_teachers


class Study:
    """A labelled table, a public set, and what to do with them.

    Parameters
    ----------
    table
        All labelled compounds, merged by connectivity.
    public
        Public compounds. Those that are in a test are left out.
    federation
        Tasks, chemistry and policy.
    spec
        What to run.
    external
        A test table beside the held-out tests. Its compounds are taken out of `table`.
    cache
        Folder of results to resume from; None keeps nothing.

    Attributes
    ----------
    tables
        The private data and the tests.
    """

    def __init__(
        self,
        table: LabelledCompounds,
        public: Compounds,
        federation: Federation,
        spec: StudySpec,
        external: LabelledCompounds | None = None,
        cache: Path | None = None,
    ) -> None:
        self.public = public
        self.federation = federation
        self.spec = spec
        self.cache = cache
        self.tables = divide_table(table, external, spec)

    @property
    def cells(self) -> list[tuple[PartitionSpec, int]]:
        """Partition and seed of each cell."""
        return [(partition, seed) for partition in self.spec.partitions for seed in self.spec.seeds]

    def run(self, run: Run | None = None) -> list[CellResult]:
        """Run all cells, side by side if there are several; results do not depend on the cores.

        Every partition is drawn once before anything is trained, so that an impossible one is
        reported at once.
        """
        run = run or Run()
        for partition in self.spec.partitions:
            self._private_tables(partition, self.spec.seeds[0])
        results: list[CellResult] = []
        runner = _CellRunner(self, max(1, run.cores // len(self.cells)))
        for found in map_processes(runner, self.cells, min(run.cores, len(self.cells))):
            run.stage(f"{found.name} done, {len(results) + 1} of {len(self.cells)}")
            results.append(found)
        return results

    def consortium(self, partition: PartitionSpec, seed: int, jobs: int = 1) -> Consortium:
        """The consortium of a cell, before anything is trained."""
        tables = self._private_tables(partition, seed)
        return Consortium(
            tables,
            self._public(tables, seed),
            self.tables.queries.compounds,
            self.federation,
            self.spec.teacher_options,
            self.spec.student_options,
            self.spec.hybrid_options,
            Cache(self.cache),
            Run(seed, jobs),
        )

    def _private_tables(self, partition: PartitionSpec, seed: int) -> dict[str, LabelledCompounds]:
        """Each partner's table."""
        private = self.tables.private
        parts = divide(
            private.compounds,
            partition,
            seed,
            private.labels,
            private.groups,
            self.federation.tasks,
        )
        return {part.name: replace(private.take(part.rows), source=part.name) for part in parts}

    def _untested(self) -> Compounds:
        """The public compounds that are in no test."""
        tested = set(self.tables.queries.compounds.connectivities)
        kept = [key not in tested for key in self.public.connectivities]
        if sum(kept) < FEWEST_COMPOUNDS:
            raise MismatchError(
                f"the public set has {sum(kept)} compounds that are in no test; "
                f"{FEWEST_COMPOUNDS} or more are needed"
            )
        return self.public.take(np.flatnonzero(kept))

    def _public(self, tables: dict[str, LabelledCompounds], seed: int) -> Compounds:
        """The public compounds that are in no test, and what partners donate."""
        public = self._untested()
        known = set(public.connectivities)
        parts = [public]
        random = np.random.default_rng([seed, 0xD0])
        for _, table in sorted(tables.items()):
            n = len(table.compounds)
            drawn = np.sort(random.choice(n, round(self.spec.donate * n), replace=False))
            keys = table.compounds.connectivities
            # A compound of two partners is donated once.
            new = [row for row in drawn if keys[row] not in known]
            known.update(keys[row] for row in new)
            parts.append(table.compounds.take(np.array(new, dtype=np.int64)))
        return concatenate(parts)

    @single_threaded_blas()
    def run_cell(self, partition: PartitionSpec, seed: int, jobs: int = 1) -> CellResult:
        """Run one cell."""
        consortium = self.consortium(partition, seed, jobs)
        models = list(self.train_models(consortium))
        queries = self.tables.queries
        labels = {
            task.name: queries.labels.column(number)
            for number, task in enumerate(self.federation.tasks)
        }
        tables = [consortium.tables[name] for name in consortium.partners]
        similarity = np.stack(
            [
                neighbour_similarity(
                    queries.compounds.fingerprints, table.compounds.fingerprints, DOMAIN_NEIGHBOURS
                )
                for table in tables
            ]
        )
        partners = np.array(consortium.partners, dtype=object)
        return CellResult(
            f"{partition_name(partition)}, seed {seed}",
            partition_name(partition),
            seed,
            {
                name: len(table.compounds)
                for name, table in zip(consortium.partners, tables, strict=True)
            },
            self.tables.tests,
            labels,
            partners[similarity.argmax(axis=0)],
            models,
        )

    def train_models(self, consortium: Consortium) -> Iterator[ModelResult]:
        """Train all models of a consortium, one after another.

        Raises
        ------
        TrainingError
            If no partner can train a teacher, or the labels do not suffice for a student.
        """
        private, tasks = self.tables.private, consortium.tasks
        teachers = train_teachers(consortium)
        if not teachers:
            raise TrainingError(
                "no partner has enough labels for a teacher; choose fewer partners or another "
                "partition"
            )
        for name, teacher in teachers.items():
            yield ModelResult(
                f"teacher of {name}", TEACHER, name, teacher.predictions, teacher.out_of_fold
            )
        yield ModelResult(MEAN_NAME, MEAN, "", mean_of_teachers(teachers, tasks))
        first = SimulatedRound.first(consortium, teachers)
        for name, options in self.spec.students.items():
            yield ModelResult(name, STUDENT, "", first.student_predictions(options))
        for learner in self.spec.references:
            predictions = reference(consortium, private, learner)
            yield ModelResult(f"pooled data, {learner}", REFERENCE, "", predictions)
        later: SimulatedRound | None = None
        regression = {task.name for task in tasks if not task.is_classification}
        for number, later in enumerate(residual_rounds(first, teachers, self.spec.rounds), start=2):
            # Residuals are fitted for regression tasks only.
            predictions = {
                name: one for name, one in later.student_predictions().items() if name in regression
            }
            yield ModelResult(f"{STUDENT}, round {number}", STUDENT, "", predictions)
        if self.spec.references:
            predictions = pooled_data_student(consortium, private)
            yield ModelResult(CEILING_NAME, CEILING, "", predictions)
        if self.spec.hybrids:
            for name, hybrid in train_hybrids(first, later).items():
                yield ModelResult(
                    f"hybrid of {name}", HYBRID, name, hybrid.predictions, hybrid.out_of_fold
                )
        if self.spec.paper:
            yield ModelResult(PAPER_NAME, PAPER, "", paper_student(consortium))


@dataclass(frozen=True)
class _CellRunner:
    """Runs a cell, perhaps in a worker process."""

    study: Study
    jobs: int

    def __call__(self, cell: tuple[PartitionSpec, int]) -> CellResult:
        return self.study.run_cell(*cell, self.jobs)
