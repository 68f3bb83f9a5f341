"""What each teacher is good for at other partners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluid.base.errors import TrainingError
from fluid.learn.task import Task
from fluid.simulate.contribution import Members
from fluid.simulate.statistics import weighted_rmse, weighted_roc_auc


@dataclass(frozen=True)
class CrossDomain:
    """How each teacher does on each partner's compounds.

    Attributes
    ----------
    teachers, partners
        Names of rows and columns.
    values
        ROC-AUC or RMSE, shape (n_teachers, n_partners); NaN where it is not defined. On a
        teacher's own compounds it is of predictions out of fold.
    counts
        int64, same shape: compounds it was measured on.
    """

    teachers: list[str]
    partners: list[str]
    values: np.ndarray
    counts: np.ndarray


def cross_domain(consortium: Members, task: Task) -> CrossDomain:
    """Every teacher on every partner's labelled compounds.

    Compounds that a teacher was trained on do not count for it at another partner.

    Parameters
    ----------
    consortium
        Its queries must be, or include, all partners' compounds: made with
        ``queries=concatenate([table.compounds for table in tables.values()])``.
    task
        Binary or regression.

    Raises
    ------
    TrainingError
        If the task has several classes, or a partner's compound is not among the queries.
    """
    if task.kind == "multiclass":
        raise TrainingError(f"task '{task.name}' is multiclass; allowed are binary, regression")
    position = {key: row for row, key in enumerate(consortium.queries.connectivities)}
    index = [one.name for one in consortium.tasks].index(task.name)
    made = consortium.teachers()
    names = [name for name in sorted(made) if task.name in made[name].told]
    partners = consortium.partners
    values = np.full((len(names), len(partners)), np.nan)
    counts = np.zeros(values.shape, dtype=np.int64)
    for i, teacher in enumerate(names):
        own = consortium.tables[teacher].compounds.connectivities
        for j, partner in enumerate(partners):
            if partner == teacher:
                found = made[teacher].out_of_fold[task.name]
                truth, told = found.truth, found.values[:, 0]
            else:
                table = consortium.tables[partner]
                rows, truth = table.labels.column(index)
                keys = table.compounds.connectivities[rows]
                unseen = ~np.isin(keys, own)
                truth = truth[unseen]
                try:
                    where = [position[key] for key in keys[unseen]]
                except KeyError as error:
                    raise TrainingError(
                        f"partner '{partner}': compound {error} is not among the queries"
                    ) from error
                told = made[teacher].told[task.name].values[where, 0]
            known = np.isfinite(told)
            values[i, j] = _score(task, truth[known], told[known])
            counts[i, j] = known.sum()
    return CrossDomain(names, partners, values, counts)


def _score(task: Task, truth: np.ndarray, told: np.ndarray) -> float:
    if not len(truth):
        return float("nan")
    everything = np.ones((1, len(truth)))
    if task.is_classification:
        return float(weighted_roc_auc(truth == 1, told, everything)[0])
    return float(weighted_rmse(truth, told, everything)[0])
