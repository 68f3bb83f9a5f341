"""Parts of tables and pooled labels, and digests of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fluid.partner.table import LabelledCompounds
from fluid.simulate.cache import (
    digest_arrays,
    digest_compounds,
)
from fluid.soft_labels.pooled import PooledLabels, PoolingResult
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


def take_pooled(pooled: PoolingResult, rows: np.ndarray) -> PoolingResult:
    """Pooled labels of some compounds, without the sample of each teacher's predictions."""
    labels = pooled.labels
    part = PooledLabels(
        labels.label[rows],
        labels.disagreement[rows],
        labels.reliability[rows],
        labels.teachers[rows],
        None if labels.weight is None else labels.weight[rows],
        labels.slope,
    )
    return PoolingResult(part, base=None if pooled.base is None else pooled.base[rows])


def digest_pooled(pooled: Mapping[str, PoolingResult]) -> str:
    """SHA-256 of pooled labels."""
    results = [one for _, one in sorted(pooled.items())]
    labels = [one.labels for one in results]
    arrays = [a for one in labels for a in (one.label, one.disagreement, one.reliability)]
    arrays += [one.weight for one in labels if one.weight is not None]
    arrays.append(np.array([one.slope for one in labels]))
    samples = [one.sample for one in results if one.sample is not None]
    arrays += [a for one in samples for a in (one.rows, one.priority, one.share, one.predictions)]
    arrays += [one.base for one in results if one.base is not None]
    return digest_arrays(*arrays)
