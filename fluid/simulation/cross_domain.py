"""How good each teacher is on other partners' compounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fluid.base.errors import TrainingError
from fluid.learn.task import Task
from fluid.simulation.consortium import Consortium
from fluid.simulation.predictions import TeacherResult


@dataclass(frozen=True)
class CrossDomain:
    """How each teacher does on each partner's compounds.

    Attributes
    ----------
    teachers, partners
        Names of rows and columns.
    values
        ROC-AUC or RMSE, shape (n_teachers, n_partners); NaN where it is not defined. A teacher's
        own compounds are predicted out of fold.
    counts
        Number of compounds behind each value, int64 of the same shape.
    """

    teachers: list[str]
    partners: list[str]
    values: np.ndarray
    counts: np.ndarray


def cross_domain(
    consortium: Consortium, teachers: Mapping[str, TeacherResult], task: Task
) -> CrossDomain:
    """Every teacher on every partner's labelled compounds.

    Compounds that a teacher was trained on do not count for it at another partner.

    Parameters
    ----------
    consortium
        Its queries must include the compounds of all partners.
    teachers
        Its teachers by partner.
    task
        Binary or regression.

    Raises
    ------
    TrainingError
        If the task is multiclass, or a partner's compound is not among the queries.
    """
    if task.kind == "multiclass":
        raise TrainingError(f"task '{task.name}' is multiclass; allowed are binary, regression")
    position = {key: row for row, key in enumerate(consortium.queries.connectivities)}
    number = consortium.federation.task_index(task.name)
    names = [name for name in sorted(teachers) if task.name in teachers[name].predictions]
    partners = consortium.partners
    values = np.full((len(names), len(partners)), np.nan)
    counts = np.zeros(values.shape, dtype=np.int64)
    for i, teacher in enumerate(names):
        own = consortium.tables[teacher].compounds.connectivities
        for j, partner in enumerate(partners):
            if partner == teacher:
                found = teachers[teacher].out_of_fold[task.name]
            else:
                table = consortium.tables[partner]
                rows, truth = table.labels.column(number)
                keys = table.compounds.connectivities[rows]
                unseen = ~np.isin(keys, own)
                try:
                    queries = np.array([position[key] for key in keys[unseen]], dtype=np.int64)
                except KeyError as error:
                    raise TrainingError(
                        f"partner '{partner}': compound {error} is not among the queries"
                    ) from error
                found = teachers[teacher].predictions[task.name].labelled(queries, truth[unseen])
            found = found.predicted()
            values[i, j] = found.leading_metric(task)
            counts[i, j] = len(found.rows)
    return CrossDomain(names, partners, values, counts)
