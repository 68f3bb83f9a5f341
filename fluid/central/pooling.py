"""Pool what several teachers say into one soft label per compound and task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledTask, pooling_weight
from fluid.soft_labels.shrinkage import slope_of
from fluid.soft_labels.teacher_labels import TeacherLabels
from fluid.soft_labels.teacher_sample import TeacherSample


def pool_task(
    task: Task,
    said: Mapping[str, TeacherLabels],
    sizes: Mapping[str, float],
    n_compounds: int,
    digests: np.ndarray | None = None,
    base: np.ndarray | None = None,
) -> PooledTask:
    """Weighted mean of the teachers' predictions.

    The weight of teacher j for a compound is ``(r_j / (1 - r_j)) ** 2.5`` of its reliability r_j,
    times the square root of its training-set size if every teacher shared that. r / (1 - r) is
    the signal-to-noise ratio, which goes with the square of similarity. The weight depends on
    nothing but the compound and the teacher, and the order of teachers does not matter.

    Parameters
    ----------
    task
        What is predicted.
    said
        By partner; partners without the task are left out.
    sizes
        Training-set sizes by partner; used only if all partners that label anything are there.
    n_compounds
        Number of compounds n.
    digests
        What `fluid.learn.trained_on.digest_connectivities` finds of these, shape (n,). Without
        them no sample is drawn, so that it is not known how much labels are to be widened and
        sharpened.
    base
        What the student says that teachers correct, shape (n, n_outputs); None in a first round.
        What is to be sharpened is then their corrections: all teachers repeat the student, so that
        their agreement in it tells nothing.

    Returns
    -------
    PooledTask
        Labels of shape (n, n_outputs), NaN where nobody labelled the compound.
    """
    n_outputs = len(task.outputs)
    partners = sorted(said)
    if not partners:
        return PooledTask(
            np.full((n_compounds, n_outputs), np.nan, dtype=np.float32),
            np.full((n_compounds, n_outputs), np.nan, dtype=np.float32),
            np.zeros(n_compounds, dtype=np.float32),
            np.zeros(n_compounds, dtype=np.uint16),
            np.zeros(n_compounds, dtype=np.float32),
        )
    predictions = np.stack([said[name].prediction for name in partners]).astype(np.float64)
    reliability = np.stack([said[name].reliability for name in partners]).astype(np.float64)
    known = np.isfinite(reliability)
    weights = pooling_weight(reliability)
    speaking = [name for name, row in zip(partners, known, strict=True) if row.any()]
    if all(name in sizes for name in speaking):
        weights *= np.sqrt([sizes.get(name, 0.0) for name in partners])[:, None]
    total = weights.sum(axis=0)
    teachers = known.sum(axis=0)
    share = weights / np.where(total > 0, total, 1.0)
    if base is not None:
        base = base.astype(np.float32)
        predictions = predictions - base
    filled = np.where(known[:, :, None], predictions, 0.0)
    label = (share[:, :, None] * filled).sum(axis=0)
    variance = (share[:, :, None] * (filled - label) ** 2).sum(axis=0)
    label[teachers == 0] = np.nan
    spread = np.sqrt(variance)
    spread[teachers == 0] = np.nan
    best = np.where(known, reliability, 0.0).max(axis=0)
    sample = None
    if digests is not None:
        sample = TeacherSample.draw(digests, share, filled, known, best)
    as_it_is = task.is_classification or base is not None
    return PooledTask(
        (label if base is None else label + base).astype(np.float32),
        spread.astype(np.float32),
        best.astype(np.float32),
        teachers.astype(np.uint16),
        total.astype(np.float32),
        1.0 if as_it_is else slope_of(sample),
        sample,
        base=base,
    )


def pool_labels(
    tasks: Sequence[Task],
    said: Mapping[str, Mapping[str, TeacherLabels]],
    sizes: Mapping[str, Mapping[str, float]],
    digests: np.ndarray,
    bases: Mapping[str, np.ndarray] | None = None,
) -> dict[str, PooledTask]:
    """Pool every task.

    Parameters
    ----------
    tasks
        What is pooled.
    said
        By partner and task; see `pool_task`.
    sizes
        Training-set sizes by partner and task, where they are shared.
    digests
        Of the compounds' connectivities; see `pool_task`.
    bases
        By task that is corrected, what the student says; see `pool_task`.
    """
    bases = bases or {}
    pooled = {}
    for task in tasks:
        by_partner = {name: by[task.name] for name, by in said.items() if task.name in by}
        size = {
            name: sizes[name][task.name] for name in by_partner if task.name in sizes.get(name, {})
        }
        pooled[task.name] = pool_task(
            task, by_partner, size, len(digests), digests, bases.get(task.name)
        )
    return pooled
