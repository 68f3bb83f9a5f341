"""A study: many virtual consortia from one labelled table, and what each model predicts there."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, MismatchError, TrainingError
from fluid.base.jobs import count_jobs, map_processes, single_threaded_blas
from fluid.central.student import FEWEST_COMPOUNDS
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.similarity import neighbour_similarity
from fluid.exchange.federation import Federation
from fluid.learn.labels import LabelMatrix
from fluid.learn.reliability import DOMAIN_NEIGHBOURS
from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds
from fluid.simulate.baselines import plain_mean, reference
from fluid.simulate.cache import Arrays, Cache
from fluid.simulate.consortium import Consortium
from fluid.simulate.holdout import hold_out
from fluid.simulate.paper import paper_features, run_paper_recipe
from fluid.simulate.partition import divide
from fluid.simulate.partition_spec import PartitionSpec
from fluid.simulate.predictions import TaskScores, TeacherResult
from fluid.simulate.rounds import corrections
from fluid.simulate.study_spec import (
    CEILING,
    EXTERNAL,
    HYBRID,
    MEAN,
    PAPER,
    RANDOM,
    REFERENCE,
    SCAFFOLD,
    STUDENT,
    TEACHER,
    CellResult,
    Model,
    StudySpec,
    partition_name,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Division:
    """A table divided into private data and tests."""

    private: LabelledCompounds
    queries: LabelledCompounds
    tests: np.ndarray


class Study:
    """A labelled table, a public set, and what to do with them.

    Parameters
    ----------
    table
        Everybody's data, merged by connectivity.
    public
        Public compounds. Those that are in a test are left out.
    federation
        Tasks, chemistry and policy.
    spec
        What to run.
    external
        A test table beside the held-out ones. Its compounds are taken out of `table`.
    cache
        Folder of results to resume from; None keeps nothing.
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
        self.division = self._divide(table, external)

    def _divide(self, table: LabelledCompounds, external: LabelledCompounds | None) -> _Division:
        parts: list[LabelledCompounds] = []
        names: list[str] = []
        if external is None and not (self.spec.share_scaffold or self.spec.share_random):
            raise FluidError("a study needs a test: an external table or a share to hold out")
        if external is not None:
            known = set(external.compounds.connectivities)
            kept = [key not in known for key in table.compounds.connectivities]
            table = table.take(np.flatnonzero(kept))
            if not any(kept):
                raise MismatchError(
                    "nothing is left to train: every compound of the tables is an external one"
                )
            if not self.spec.validation:
                parts.append(external)
                names.append(EXTERNAL)
        rounds = 2 if self.spec.validation else 1
        for number in range(rounds):
            found = hold_out(
                table.compounds, self.spec.share_scaffold, self.spec.share_random, number
            )
            if number == rounds - 1:
                for name, rows in ((SCAFFOLD, found.scaffold), (RANDOM, found.random)):
                    if len(rows):
                        parts.append(table.take(rows))
                        names.append(name)
            table = table.take(found.rest)
        if not parts:
            raise FluidError(
                "a study needs a test: of shares held out there is not one compound"
                if not self.spec.validation
                else "a validation needs shares to hold out; the external table is not used in one"
            )
        tests = np.concatenate(
            [np.full(len(p.compounds), n, object) for p, n in zip(parts, names, strict=True)]
        )
        return _Division(table, _join(parts), tests)

    def cells(self) -> list[tuple[PartitionSpec, int]]:
        """Partitions and seeds, one pair a cell."""
        return [(spec, seed) for spec in self.spec.partitions for seed in self.spec.seeds]

    def run(
        self, jobs: int | None = None, progress: Callable[[str], None] = lambda stage: None
    ) -> list[CellResult]:
        """Run all cells, side by side if several; the result does not depend on `jobs`.

        Every partition is drawn once before anything is trained, so that one that is not possible
        is said at once.
        """
        workers = count_jobs(jobs)
        cells = self.cells()
        for spec in self.spec.partitions:
            self._tables(spec, self.spec.seeds[0])
        results: list[CellResult] = []
        inner = max(1, workers // len(cells))
        stream = map_processes(_CellRunner(self, inner), cells, min(workers, len(cells)))
        for found in stream:
            progress(f"{found.name} done, {len(results) + 1} of {len(cells)}")
            results.append(found)
        return results

    def consortium(self, spec: PartitionSpec, seed: int, jobs: int = 1) -> Consortium:
        """The consortium of a cell, before anything is trained."""
        tables = self._tables(spec, seed)
        return Consortium(
            tables, self._public(tables, seed), self.division.queries.compounds, self.federation,
            Cache(self.cache), self.spec.options, self.spec.hybrid_options,
            self.spec.recipes[0][1], seed, jobs,
        )  # fmt: skip

    def _tables(self, spec: PartitionSpec, seed: int) -> dict[str, LabelledCompounds]:
        """What each partner holds."""
        private = self.division.private
        parts = divide(
            private.compounds, spec, seed, private.labels, private.groups, self.federation.tasks
        )
        return {part.name: private.take(part.rows) for part in parts}

    def _untested(self) -> Compounds:
        """The public compounds that are in no test."""
        tested = set(self.division.queries.compounds.connectivities)
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
    def run_cell(self, spec: PartitionSpec, seed: int, jobs: int = 1) -> CellResult:
        """Run one cell."""
        one = self.consortium(spec, seed, jobs)
        models = list(self._models(one))
        queries = self.division.queries
        labels = {
            task.name: queries.labels.column(number)
            for number, task in enumerate(self.federation.tasks)
        }
        near = np.stack(
            [
                neighbour_similarity(
                    queries.compounds.fingerprints, table.compounds.fingerprints, DOMAIN_NEIGHBOURS
                )
                for _, table in sorted(one.tables.items())
            ]
        )
        return CellResult(
            f"{partition_name(spec)}, seed {seed}", partition_name(spec), seed,
            {name: len(table.compounds) for name, table in sorted(one.tables.items())},
            self.division.tests, labels, np.array(one.partners, dtype=object)[near.argmax(axis=0)],
            models,
        )  # fmt: skip

    def _models(self, one: Consortium) -> Iterator[Model]:
        teachers = _check_teachers(one)
        for name, made in teachers.items():
            yield Model(f"teacher of {name}", TEACHER, name, made.told, made.out_of_fold)
        yield Model(MEAN, "mean", "", plain_mean(one))
        for name, options in self.spec.recipes:
            yield Model(name, STUDENT, "", one.student(options))
        for learner in self.spec.references:
            told = reference(one, self.division.private, learner)
            yield Model(f"pooled data, {learner}", REFERENCE, "", told)
        for number, later in enumerate(corrections(one, self.spec.rounds), start=2):
            # Only numbers are corrected.
            numbers = [task.name for task in one.tasks if not task.is_classification]
            told = {name: each for name, each in later.student().items() if name in numbers}
            yield Model(f"{STUDENT}, round {number}", STUDENT, "", told)
            one.latest = later
        if self.spec.references:
            alone = one.with_tables({"everybody": self.division.private})
            yield Model(CEILING, "ceiling", "", alone.student(self.spec.recipes[0][1]))
        if self.spec.hybrids:
            for name in one.partners:
                hybrid = one.hybrid(name)
                if hybrid is not None:
                    yield Model(f"hybrid of {name}", HYBRID, name, hybrid.told, hybrid.out_of_fold)
        if self.spec.paper:
            yield from self._paper(one)

    def _paper(self, one: Consortium) -> Iterator[Model]:
        """The paper's recipe, on the public set of the first round."""
        tasks = [task for task in self.federation.tasks if task.kind != "multiclass"]
        public = self._public(one.tables, one.seed)
        students: dict[str, TaskScores] = {}
        for task in tasks:
            arrays = one.cache.fetch(
                "paper",
                one.inputs() | {"task": task.to_dict(), "seed": one.seed},
                partial(_run_paper, one, public, task),
                ("base", "chem", "learn", "simulate/paper.py", "simulate/study.py"),
            )
            if arrays:
                nothing = np.full(len(one.queries), np.nan)
                students[task.name] = TaskScores(arrays["student"][:, None], 0.5, nothing)
        yield Model(PAPER, "paper", "", students)


def _check_teachers(one: Consortium) -> dict[str, TeacherResult]:
    """The teachers of a consortium; an error if there is none."""
    teachers = one.teachers()
    if not teachers:
        raise TrainingError(
            "no partner has labels enough for a teacher; fewer partners or another partition"
        )
    return teachers


def _run_paper(one: Consortium, public: Compounds, task: Task) -> Arrays:
    parts = []
    number = one.federation.task_index(task.name)
    for name in one.partners:
        rows, values = one.tables[name].labels.column(number)
        if len(rows) < 10 or (task.is_classification and len(np.unique(values)) < 2):
            continue
        parts.append((paper_features(one.tables[name].compounds.take(rows)), values))
    if not parts:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run_paper_recipe(
            task, parts, paper_features(public), paper_features(one.queries), one.seed, one.jobs
        )
    return {"student": found.student, "sample": found.sample, "teachers": found.teachers}


@dataclass(frozen=True)
class _CellRunner:
    """Runs a cell in a worker process."""

    study: Study
    jobs: int

    def __call__(self, cell: tuple[PartitionSpec, int]) -> CellResult:
        return self.study.run_cell(cell[0], cell[1], self.jobs)


def _join(tables: Sequence[LabelledCompounds]) -> LabelledCompounds:
    """Tables with different compounds below one another."""
    shifts = np.cumsum([0, *(len(table.compounds) for table in tables)])
    parts: dict[str, list[np.ndarray]] = {}
    for table, shift in zip(tables, shifts, strict=False):
        for name in ("tasks", "values", "qualifiers", "weights"):
            parts.setdefault(name, []).append(getattr(table.labels, name))
        parts.setdefault("rows", []).append(table.labels.rows + shift)
    joined: dict[str, Any] = {name: np.concatenate(each) for name, each in parts.items()}
    order = np.lexsort((joined["rows"], joined["tasks"]))
    labels = LabelMatrix(
        **{name: values[order] for name, values in joined.items()},
        shape=(int(shifts[-1]), tables[0].labels.shape[1]),
    )
    compounds = concatenate([table.compounds for table in tables])
    return LabelledCompounds(compounds, labels, [], len(compounds))
