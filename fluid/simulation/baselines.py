"""Models to compare with: the mean of teachers, one model of all data, and the paper's recipe."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions
from fluid.simulation.cache import TEACHER_CODE, Arrays
from fluid.simulation.consortium import Consortium
from fluid.simulation.paper import paper_features, run_paper_recipe
from fluid.simulation.predictions import (
    QueryPrediction,
    TeacherResult,
    pack_predictions,
    predict_queries,
    unpack_predictions,
)
from fluid.simulation.rounds import SimulatedRound
from fluid.simulation.teachers import fit_table, train_teachers

# A reference is cross-fitted only to calibrate it, not to hide anything.
_REPEATS = 1
_PAPER_CODE = ("base", "chem", "learn", "simulation/paper.py", "simulation/baselines.py")
# The paper has no rule for what a teacher needs.
_FEWEST_FOR_PAPER = 10


def mean_of_teachers(
    teachers: Mapping[str, TeacherResult], tasks: Sequence[Task]
) -> dict[str, QueryPrediction]:
    """The plain mean of the teachers' predictions, by task: no student, no weights."""
    found = {}
    for task in tasks:
        each = [
            one.predictions[task.name] for one in teachers.values() if task.name in one.predictions
        ]
        if each:
            values = np.mean([one.values for one in each], axis=0)
            threshold = float(np.mean([one.threshold for one in each]))
            found[task.name] = _without_reliability(values, threshold)
    return found


def reference(
    consortium: Consortium, pooled: LabelledCompounds, learner: str
) -> dict[str, QueryPrediction]:
    """Predictions of one model trained on the data of all partners, by task.

    Parameters
    ----------
    consortium
        Its queries are predicted; its options and cache are used.
    pooled
        All private tables merged by connectivity.
    learner
        Key of `fluid.learn.estimators.LEARNERS`, or ``"auto"``.
    """
    usual = consortium.teacher_options
    options = TrainingOptions(learner, usual.folds, _REPEATS, usual.seed)
    table = replace(pooled, source="all private tables")
    (digest,) = _as_one_partner(consortium, table).table_digests.values()

    def train() -> Arrays:
        secret = hashlib.sha256(b"simulated reference").digest()
        fitted = fit_table(consortium, table, "pooled", secret, options, reference=True)
        return pack_predictions(predict_queries(fitted.model, consortium.queries))

    inputs = consortium.inputs | {"table": digest, "options": repr(options)}
    code = (*TEACHER_CODE, "simulation/baselines.py")
    arrays = consortium.cache.fetch("reference", inputs, train, code)
    return unpack_predictions(arrays, consortium.tasks)


def pooled_data_student(
    consortium: Consortium, pooled: LabelledCompounds
) -> dict[str, QueryPrediction]:
    """Predictions of a student whose only teacher has the data of all partners, by task.

    It shows what the public set can carry. Parameters are those of `reference`.
    """
    alone = _as_one_partner(consortium, pooled)
    return SimulatedRound.first(alone, train_teachers(alone)).student_predictions()


def _as_one_partner(consortium: Consortium, pooled: LabelledCompounds) -> Consortium:
    return replace(consortium, tables={"everybody": replace(pooled, source="everybody")})


def paper_student(consortium: Consortium) -> dict[str, QueryPrediction]:
    """Predictions of the student of the paper's own recipe, by task; no multiclass tasks."""
    found = {}
    for task in consortium.tasks:
        if task.kind == "multiclass":
            continue
        inputs = consortium.inputs | {
            "tables": consortium.table_digests,
            "task": task.to_dict(),
            "seed": consortium.run.seed,
        }
        arrays = consortium.cache.fetch(
            "paper", inputs, partial(_run_paper, consortium, task), _PAPER_CODE
        )
        if arrays:
            found[task.name] = _without_reliability(arrays["student"][:, None], 0.5)
    return found


def _run_paper(consortium: Consortium, task: Task) -> Arrays:
    """The paper's recipe for one task; empty if no partner has labels enough."""
    number = consortium.federation.task_index(task.name)
    parts = []
    for name in consortium.partners:
        table = consortium.tables[name]
        rows, values = table.labels.column(number)
        one_class = task.is_classification and len(np.unique(values)) < 2
        if len(rows) >= _FEWEST_FOR_PAPER and not one_class:
            parts.append((paper_features(table.compounds.take(rows)), values))
    if not parts:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run_paper_recipe(
            task,
            parts,
            paper_features(consortium.public),
            paper_features(consortium.queries),
            consortium.run.seed,
            consortium.run.cores,
        )
    return {"student": found.student}


def _without_reliability(values: np.ndarray, threshold: float) -> QueryPrediction:
    return QueryPrediction(values, threshold, np.full(len(values), np.nan))
