"""Parts of tables and pooled labels, and digests of them."""

from __future__ import annotations

import numpy as np

from fluid.exchange.annotation import TaskAnnotation
from fluid.exchange.federated_set import PooledTask
from fluid.partner.table import LabelledCompounds
from fluid.simulate.cache import (
    digest_arrays,
    digest_compounds,
)


def digest_table(table: LabelledCompounds) -> str:
    """SHA-256 of the compounds and labels of a table."""
    labels = table.labels
    return digest_compounds(table.compounds) + digest_arrays(
        labels.rows, labels.tasks, labels.values, labels.qualifiers
    )


def take_said(said: TaskAnnotation, rows: np.ndarray) -> TaskAnnotation:
    """What a teacher said of some compounds."""
    return TaskAnnotation(said.prediction[rows], said.uncertainty[rows], said.reliability[rows])


def take_pooled(pooled: PooledTask, rows: np.ndarray) -> PooledTask:
    """Pooled labels of some compounds, without the sample of what each teacher said."""
    return PooledTask(
        pooled.label[rows], pooled.disagreement[rows], pooled.reliability[rows],
        pooled.teachers[rows], None if pooled.weight is None else pooled.weight[rows],
        pooled.slope,
    )  # fmt: skip
