"""A round at the coordinator of a virtual consortium: teachers' labels, pooled labels, student."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fluid.central.consensus import Consensus, Verdicts, apply_trust
from fluid.central.distill import train_student
from fluid.central.pooling import pool_labels
from fluid.central.student import StudentOptions
from fluid.learn.model import TrainedModel
from fluid.simulation.cache import Arrays
from fluid.simulation.consortium import Consortium
from fluid.simulation.digests import digest_labels
from fluid.simulation.predictions import (
    QueryPrediction,
    TeacherResult,
    pack_predictions,
    predict_queries,
    unpack_predictions,
)
from fluid.soft_labels.pooled import PooledSet
from fluid.soft_labels.teacher_labels import TeacherLabels


@dataclass(frozen=True, eq=False)
class SimulatedRound:
    """What partners released in a round, and what the coordinator makes of it.

    Attributes
    ----------
    consortium
        Whose round it is.
    labels
        Labels of the public set by partner and task, as they were released.
    pooled
        The public compounds with pooled labels by task.
    verdicts
        By task: how the partners' labels agree, and how far each partner is trusted.
    """

    consortium: Consortium
    labels: Mapping[str, Mapping[str, TeacherLabels]]
    pooled: PooledSet
    verdicts: Mapping[str, Verdicts]

    @classmethod
    def pool(
        cls,
        consortium: Consortium,
        labels: Mapping[str, Mapping[str, TeacherLabels]],
        bases: Mapping[str, np.ndarray] | None = None,
    ) -> SimulatedRound:
        """Pool labels of the consortium's public set.

        Parameters
        ----------
        consortium, labels
            See `SimulatedRound`.
        bases
            By task whose residuals were fitted: what the student before predicts for the public
            compounds, shape (n_public, n_outputs).
        """
        consensus = Consensus(consortium.tasks, alike=bases or ())
        consensus.add(labels, consortium.public.fingerprints)
        verdicts = consensus.result()
        trusted = apply_trust(labels, verdicts)
        pooled = pool_labels(consortium.tasks, trusted, consortium.connectivity_digests, bases)
        return cls(consortium, labels, PooledSet.of(consortium.public, pooled), verdicts)

    @classmethod
    def first(cls, consortium: Consortium, teachers: Mapping[str, TeacherResult]) -> SimulatedRound:
        """The first round: the labels of the teachers, pooled."""
        return cls.pool(consortium, {name: one.labels for name, one in teachers.items()})

    def trusted_labels(self, partner: str) -> dict[str, TeacherLabels]:
        """What a partner's labels weighed in the pool, which its hybrid takes out of it.

        Nothing of a partner without labels, or of one that was left out.
        """
        if partner not in self.labels:
            return {}
        return apply_trust({partner: self.labels[partner]}, self.verdicts)[partner]

    def of_partners(self, partners: Collection[str]) -> SimulatedRound:
        """The same round if only these partners had released labels."""
        labels = {name: one for name, one in self.labels.items() if name in partners}
        return SimulatedRound.pool(self.consortium, labels, self.pooled.bases)

    def of_public(self, rows: np.ndarray) -> SimulatedRound:
        """The same round with only these public compounds, by ascending position."""
        labels = {
            partner: {
                name: TeacherLabels(
                    one.prediction[rows], one.uncertainty[rows], one.reliability[rows]
                )
                for name, one in by_task.items()
            }
            for partner, by_task in self.labels.items()
        }
        consortium = replace(self.consortium, public=self.consortium.public.take(rows))
        bases = {name: base[rows] for name, base in self.pooled.bases.items()}
        return SimulatedRound.pool(consortium, labels, bases)

    @cached_property
    def pooled_digest(self) -> str:
        """Digest of the pooled labels."""
        return digest_labels({name: self.pooled.result(name) for name in self.pooled.labels})

    def inputs(self, options: StudentOptions | None = None) -> dict[str, object]:
        """What a cached result of this round's student depends on."""
        return self.consortium.inputs | {
            "pooled": self.pooled_digest,
            "student": repr(options or self.consortium.student_options),
            "seed": self.consortium.run.seed,
        }

    @cached_property
    def student(self) -> TrainedModel:
        """The student, trained when it is first asked for.

        Raises
        ------
        TrainingError
            If no task has labels enough.
        """
        student = self._train_student(self.consortium.student_options)
        # Partners ask for features of the same library again and again.
        return replace(student, library=student.library.with_cache())

    def _train_student(self, options: StudentOptions) -> TrainedModel:
        consortium = self.consortium
        student, _ = train_student(
            consortium.tasks,
            self.pooled,
            consortium.federation,
            options=options,
            run=consortium.run,
        )
        return student

    def student_predictions(
        self, options: StudentOptions | None = None
    ) -> dict[str, QueryPrediction]:
        """Predictions of the queries by the student, by task.

        Parameters
        ----------
        options
            How the student is trained; by default as the consortium says.

        Raises
        ------
        TrainingError
            If no task has labels enough.
        """
        consortium = self.consortium
        chosen = options or consortium.student_options

        def predict() -> Arrays:
            usual = chosen == consortium.student_options
            student = self.student if usual else self._train_student(chosen)
            return pack_predictions(predict_queries(student, consortium.queries))

        arrays = consortium.cache.fetch("student", self.inputs(chosen), predict)
        return unpack_predictions(arrays, consortium.tasks)
