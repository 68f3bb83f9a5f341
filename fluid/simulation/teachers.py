"""The first phase of a virtual consortium: partners train teachers and label the public set."""

from __future__ import annotations

from functools import partial

import numpy as np

from fluid.base.errors import TrainingError
from fluid.learn.model import TrainedModel
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import FittedTeacher, TrainingOptions, fit_model
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.simulation.cache import TEACHER_CODE, Arrays
from fluid.simulation.consortium import Consortium
from fluid.simulation.predictions import (
    LabelledPrediction,
    TeacherResult,
    pack_labels,
    pack_out_of_fold,
    pack_predictions,
    predict_queries,
    unpack_labels,
    unpack_out_of_fold,
    unpack_predictions,
)
from fluid.soft_labels.teacher_labels import TeacherLabels


def train_teachers(consortium: Consortium) -> dict[str, TeacherResult]:
    """Train every partner's teacher, and label the public set with it.

    Returns
    -------
    dict
        By partner. A partner whose labels do not suffice for any task is missing.
    """
    found = {}
    for partner in consortium.partners:
        inputs = consortium.inputs | {
            "table": consortium.table_digests[partner],
            "secret": consortium.secret(partner).hex(),
            "options": repr(consortium.teacher_options),
        }
        arrays = consortium.cache.fetch(
            "teacher", inputs, partial(_train, consortium, partner), TEACHER_CODE
        )
        if arrays:
            found[partner] = _unpack(arrays, consortium)
    return found


def fit_table(
    consortium: Consortium,
    table: LabelledCompounds,
    name: str,
    secret: bytes,
    options: TrainingOptions,
    reference: bool = False,
) -> FittedTeacher:
    """Fit a teacher, or a reference, to a table.

    Raises
    ------
    TrainingError
        If no task has labels enough.
    """
    return fit_model(
        table,
        consortium.federation,
        name,
        secret,
        options=options,
        reference=reference,
        run=consortium.run,
    )


def _label_public(
    consortium: Consortium, teacher: TrainedModel, secret: bytes
) -> dict[str, TeacherLabels]:
    """A teacher's labels of the public set by task, as the disclosure guard releases them."""
    labeler = TeacherLabeler(teacher, secret, consortium.federation)
    return labeler.label(consortium.public, consortium.run.cores)


def _train(consortium: Consortium, partner: str) -> Arrays:
    """Everything of a `TeacherResult` as arrays; empty if the labels do not suffice."""
    table, secret = consortium.tables[partner], consortium.secret(partner)
    try:
        fitted = fit_table(consortium, table, partner, secret, consortium.teacher_options)
    except TrainingError:
        return {}
    out_of_fold, members = {}, {}
    for task_model in fitted.model.task_models:
        name = task_model.task.name
        measured = fitted.measured[name]
        out_of_fold[name] = LabelledPrediction(
            task_model.rows,
            measured.truth,
            measured.values,
            task_model.threshold,
            measured.signs,
        )
        members[f"{name}/members"] = np.array(
            [
                [one.repeat, one.fold, one.reliability.slope, one.reliability.ceiling]
                for one in task_model.members
            ]
        )
    return (
        pack_predictions(predict_queries(fitted.model, consortium.queries))
        | pack_labels(_label_public(consortium, fitted.model, secret))
        | pack_out_of_fold(out_of_fold)
        | members
    )


def _unpack(arrays: Arrays, consortium: Consortium) -> TeacherResult:
    tasks = consortium.tasks
    return TeacherResult(
        unpack_labels(arrays, tasks),
        unpack_predictions(arrays, tasks),
        unpack_out_of_fold(arrays, tasks),
        {
            task.name: arrays[f"{task.name}/members"]
            for task in tasks
            if f"{task.name}/members" in arrays
        },
    )
