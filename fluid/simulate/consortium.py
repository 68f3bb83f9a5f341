"""One virtual consortium: partners' teachers, pooled labels, student, hybrids and baselines.

Everything is done by the functions that the commands call; nothing of the method is written here
a second time. What takes time is kept in a cache by what it was made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from fluid.base.errors import FluidError, TrainingError
from fluid.base.run import Run
from fluid.central.distill import train_student
from fluid.central.pooling import pool_labels
from fluid.central.student import StudentOptions
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.learn.model import TrainedModel
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.partner.hybrid.fit import FittedHybrid, fit_hybrid
from fluid.partner.hybrid.peer_targets import peer_labels
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions, fit_model
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.simulate.cache import PARTNER_ROOMS, Arrays, Cache, digest_arrays, digest_compounds
from fluid.simulate.digests import digest_pooled, digest_table, take_pooled, take_said
from fluid.simulate.predictions import (
    HybridResult,
    OutOfFold,
    TaskScores,
    TeacherResult,
    pack_out_of_fold,
    pack_predictions,
    predict_all,
    unpack_out_of_fold,
    unpack_predictions,
)
from fluid.soft_labels.pooled import PooledSet, PooledTask
from fluid.soft_labels.teacher_labels import TeacherLabels


class Consortium:
    """Partners, a public set, and compounds that nobody has, to be predicted.

    Parameters
    ----------
    tables
        Private tables by partner.
    public
        Public compounds.
    queries
        Test compounds.
    federation
        Tasks, chemistry and policy.
    options, hybrid_options, student_options
        How teachers, hybrids and the student are trained.
    cache
        Where results are kept.
    seed
        Of the folds' secrets.
    jobs
        Threads.
    """

    def __init__(
        self,
        tables: Mapping[str, LabelledCompounds],
        public: Compounds,
        queries: Compounds,
        federation: Federation,
        cache: Cache,
        options: TrainingOptions | None = None,
        hybrid_options: HybridOptions | None = None,
        student_options: StudentOptions | None = None,
        seed: int = 0,
        jobs: int = 1,
    ) -> None:
        if federation.mechanism.is_used:
            raise FluidError(
                f"federation '{federation.name}' has a noise mechanism, which a simulated round "
                "does not know; give a federation file without [mechanism]"
            )
        self.tables = dict(tables)
        self.public = public
        self.queries = queries
        self.federation = federation
        self.cache = cache
        self.options = options or TrainingOptions()
        self.hybrid_options = hybrid_options or HybridOptions()
        self.student_options = student_options or StudentOptions()
        self.seed = seed
        self.jobs = jobs
        self._given: dict[str, PooledTask] | None = None
        self._given_said: Mapping[str, Mapping[str, TeacherLabels]] = {}
        self.latest: Consortium | None = None  # Whose student answers in hybrids.
        self._teachers: dict[str, TeacherResult] = {}
        self._students: dict[str, TrainedModel] = {}

    def _like(
        self,
        tables: Mapping[str, LabelledCompounds] | None = None,
        public: Compounds | None = None,
        queries: Compounds | None = None,
    ) -> Consortium:
        return Consortium(
            self.tables if tables is None else tables,
            self.public if public is None else public,
            self.queries if queries is None else queries,
            self.federation, self.cache, self.options, self.hybrid_options, self.student_options,
            self.seed, self.jobs,
        )  # fmt: skip

    def with_public(self, public: Compounds) -> Consortium:
        """The same partners with another public set."""
        return self._like(public=public)

    def with_queries(self, queries: Compounds) -> Consortium:
        """The same consortium with other test compounds."""
        return self._like(queries=queries)

    def with_tables(self, tables: Mapping[str, LabelledCompounds]) -> Consortium:
        """Partners with other tables."""
        return self._like(tables=tables)

    def with_pooled(
        self,
        pooled: dict[str, PooledTask],
        said: Mapping[str, Mapping[str, TeacherLabels]] | None = None,
    ) -> Consortium:
        """The same partners when these labels are pooled, wherever they come from.

        Parameters
        ----------
        pooled
            By task.
        said
            What of them each partner said, if that is known: it is taken out for its hybrid.
        """
        made = self._like()
        made._given = pooled
        made._given_said = said or {}
        made._teachers = self._teachers
        return made

    def labels_of(self, partner: str) -> Mapping[str, TeacherLabels] | None:
        """What a partner said of the labels that are pooled; None if that is not known."""
        if self._given is not None:
            return self._given_said.get(partner)
        teacher = self.teacher(partner)
        return None if teacher is None else teacher.said

    @property
    def partners(self) -> list[str]:
        """Names, ascending."""
        return sorted(self.tables)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Those of the federation."""
        return self.federation.tasks

    @cached_property
    def base(self) -> dict[str, str]:
        """What every result here depends on: contract, public set, test compounds."""
        return {
            "protocol": self.federation.protocol,
            "public": digest_compounds(self.public),
            "queries": digest_compounds(self.queries),
        }

    def secret(self, partner: str) -> bytes:
        """That of a partner's folds."""
        return hashlib.sha256(f"simulated {self.seed} {partner}".encode()).digest()

    # --- teachers ---------------------------------------------------------------------------

    def teacher(self, partner: str) -> TeacherResult | None:
        """Train a partner's teacher and label the public set; None if its labels do not suffice."""
        if partner in self._teachers:
            return self._teachers[partner]
        table = self.tables[partner]
        inputs = self.base | {
            "table": digest_table(table),
            "secret": self.secret(partner).hex(),
            "options": repr(self.options),
        }
        arrays = self.cache.fetch(
            "teacher", inputs, lambda: self._make_teacher(partner), PARTNER_ROOMS
        )
        if not arrays:
            return None
        said = {
            task.name: TeacherLabels(
                arrays[f"{task.name}/said/prediction"], arrays[f"{task.name}/said/uncertainty"],
                arrays[f"{task.name}/said/reliability"],
            )
            for task in self.tasks
        }  # fmt: skip
        members = {
            task.name: arrays[f"{task.name}/members"]
            for task in self.tasks
            if f"{task.name}/members" in arrays
        }
        self._teachers[partner] = TeacherResult(
            said,
            unpack_predictions(arrays, self.tasks),
            unpack_out_of_fold(arrays, self.tasks),
            members,
        )
        return self._teachers[partner]

    def _make_teacher(self, partner: str) -> Arrays:
        table = self.tables[partner]
        try:
            fitted = fit_model(
                table, self.federation, "teacher", partner, partner, self.options,
                self.secret(partner), self.jobs,
            )  # fmt: skip
        except TrainingError:
            return {}
        arrays = pack_predictions(predict_all(fitted.model, self.queries))
        said = TeacherLabeler(fitted.model, self.secret(partner)).annotate(
            self.federation, self.public, self.jobs
        )
        for name, one in said.items():
            arrays[f"{name}/said/prediction"] = one.prediction
            arrays[f"{name}/said/uncertainty"] = one.uncertainty
            arrays[f"{name}/said/reliability"] = one.reliability
        found = {}
        for task_model in fitted.model.task_models:
            name = task_model.task.name
            rows, values = table.labels.column(self.federation.task_index(name))
            found[name] = OutOfFold(rows, values, fitted.out_of_fold[name], task_model.threshold)
            arrays[f"{name}/members"] = np.array(
                [
                    [one.repeat, one.fold, one.reliability.slope, one.reliability.ceiling]
                    for one in task_model.members
                ]
            )
        return arrays | pack_out_of_fold(found)

    def teachers(self, partners: Sequence[str] | None = None) -> dict[str, TeacherResult]:
        """The teachers of some partners, or of all that can train one."""
        found = {}
        for partner in self.partners if partners is None else partners:
            made = self.teacher(partner)
            if made is not None:
                found[partner] = made
        return found

    # --- the coordinator --------------------------------------------------------------------

    @cached_property
    def digests(self) -> np.ndarray:
        """Of the public compounds' connectivities, from which samples are drawn."""
        return digest_connectivities(self.public)

    def pool(
        self, partners: Sequence[str] | None = None, rows: np.ndarray | None = None
    ) -> dict[str, PooledTask]:
        """Pooled labels of the public set, or of some rows of it, by task."""
        if self._given is not None and partners is None:
            given = self._given
            if rows is None:
                return given
            return {name: take_pooled(one, rows) for name, one in given.items()}
        said = {name: made.said for name, made in self.teachers(partners).items()}
        if rows is None:
            return pool_labels(self.tasks, said, {}, self.digests)
        part = {
            name: {task: take_said(one, rows) for task, one in by.items()}
            for name, by in said.items()
        }
        return pool_labels(self.tasks, part, {}, self.digests[rows])

    def student(
        self,
        options: StudentOptions | None = None,
        partners: Sequence[str] | None = None,
        rows: np.ndarray | None = None,
    ) -> dict[str, TaskScores]:
        """Predictions of the student.

        Parameters
        ----------
        options
            How it is distilled.
        partners
            Whose annotations are pooled; by default everybody's.
        rows
            The part of the public set to use; by default all of it.
        """
        options = options or self.student_options
        pooled = self.pool(partners)
        inputs = self.base | {
            "pooled": digest_pooled(pooled),
            "rows": "" if rows is None else digest_arrays(rows),
            "options": repr(options),
            "seed": self.seed,
        }
        arrays = self.cache.fetch(
            "student",
            inputs,
            lambda: pack_predictions(
                predict_all(self.student_model(options, partners, rows), self.queries)
            ),
        )
        return unpack_predictions(arrays, self.tasks)

    def student_model(
        self,
        options: StudentOptions | None = None,
        partners: Sequence[str] | None = None,
        rows: np.ndarray | None = None,
    ) -> TrainedModel:
        """The student itself, trained once in this process; see `student`."""
        options = options or self.student_options
        names = None if partners is None else sorted(partners)
        key = repr((options, names, None if rows is None else digest_arrays(rows)))
        if key not in self._students:
            pooled = self.pool(names, rows)
            public = self.public if rows is None else self.public.take(rows)
            model, _ = train_student(
                public, self.tasks, pooled, self.federation, "", self.seed, self.jobs,
                options=options,
            )  # fmt: skip
            self._students[key] = model
        return self._students[key]

    def inputs(self) -> dict[str, str]:
        """What determines everything here: public set, test compounds, private tables."""
        tables = {name: digest_table(table) for name, table in sorted(self.tables.items())}
        return self.base | {"tables": repr(tables)}

    # --- back at the partners ---------------------------------------------------------------

    def hybrid(self, partner: str) -> HybridResult | None:
        """Train a partner's hybrid; None if its labels do not suffice."""
        pooled = self.pool()
        inputs = self.base | {
            "table": digest_table(self.tables[partner]),
            "pooled": digest_pooled(pooled),
            "said": self._digest_said(partner),
            "options": repr((self.hybrid_options, self.options.folds_agreed(self.federation))),
            "student": repr(self.student_options),
            "later": digest_pooled(self.latest.pool()) if self.latest else "",
            "seed": self.seed,
            "secret": self.secret(partner).hex(),
        }
        arrays = self.cache.fetch("hybrid", inputs, lambda: self._make_hybrid(partner))
        if not arrays:
            return None
        return HybridResult(
            unpack_predictions(arrays, self.tasks), unpack_out_of_fold(arrays, self.tasks)
        )

    def _digest_said(self, partner: str) -> str:
        """What is taken out of the pooled labels; empty if nothing is."""
        said = self.labels_of(partner)
        if said is None:
            return ""
        return digest_arrays(
            *(
                array
                for _, one in sorted(said.items())
                for array in (one.prediction, one.reliability)
            )
        )

    def hybrid_options_of(self, partner: str) -> HybridOptions:
        """How a partner's hybrid is trained: in the folds of its teacher."""
        folds_by = self.options.folds_agreed(self.federation)
        return replace(self.hybrid_options, secret=self.secret(partner), folds_by=folds_by)

    def fit_hybrid(self, partner: str) -> FittedHybrid:
        """The hybrid itself."""
        pooled = PooledSet(self.public, self.pool())
        own = self.labels_of(partner)
        return fit_hybrid(
            self.tables[partner],
            pooled if own is None else peer_labels(pooled, own),
            self.student_model(),
            self.federation,
            partner,
            options=self.hybrid_options_of(partner),
            later_student=self.latest.student_model() if self.latest else None,
            run=Run(jobs=self.jobs),
        )

    def _make_hybrid(self, partner: str) -> Arrays:
        try:
            fitted = self.fit_hybrid(partner)
        except TrainingError:
            return {}
        table = self.tables[partner]
        found = {}
        for name, values in fitted.out_of_fold.items():
            rows, truth = table.labels.column(self.federation.task_index(name))
            threshold = fitted.model.decisions[name].threshold
            found[name] = OutOfFold(rows, truth, values, threshold)
        return pack_predictions(predict_all(fitted.model, self.queries)) | pack_out_of_fold(found)
