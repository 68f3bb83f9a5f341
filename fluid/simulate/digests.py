"""Parts of tables and pooled labels, and digests of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fluid.partner.table import LabelledCompounds
from fluid.simulate.cache import (
    digest_arrays,
    digest_compounds,
)
from fluid.soft_labels.pooled import PooledTask
from fluid.soft_labels.teacher_labels import TeacherLabels


def digest_table(table: LabelledCompounds) -> str:
    """SHA-256 of the compounds and labels of a table."""
    labels = table.labels
    return digest_compounds(table.compounds) + digest_arrays(
        labels.rows, labels.tasks, labels.values, labels.qualifiers
    )


def take_said(said: TeacherLabels, rows: np.ndarray) -> TeacherLabels:
    """What a teacher said of some compounds."""
    return TeacherLabels(said.prediction[rows], said.uncertainty[rows], said.reliability[rows])


def take_pooled(pooled: PooledTask, rows: np.ndarray) -> PooledTask:
    """Pooled labels of some compounds, without the sample of what each teacher said."""
    return PooledTask(
        pooled.label[rows], pooled.disagreement[rows], pooled.reliability[rows],
        pooled.teachers[rows], None if pooled.weight is None else pooled.weight[rows],
        pooled.slope, base=None if pooled.base is None else pooled.base[rows],
    )  # fmt: skip


def digest_pooled(pooled: Mapping[str, PooledTask]) -> str:
    """SHA-256 of pooled labels."""
    parts = [
        array
        for name in sorted(pooled)
        for array in (pooled[name].label, pooled[name].disagreement, pooled[name].reliability)
    ] + [one.weight for _, one in sorted(pooled.items()) if one.weight is not None]
    slopes = np.array([one.slope for _, one in sorted(pooled.items())])
    samples = [one.sample for _, one in sorted(pooled.items()) if one.sample is not None]
    told = [array for one in samples for array in (one.rows, one.priority, one.share, one.told)]
    bases = [one.base for _, one in sorted(pooled.items()) if one.base is not None]
    return digest_arrays(*parts, slopes, *told, *bases)
