"""Pool the labels of several teachers into one soft label per compound and task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fluid.central.shared_fit import FEWEST_SHARING
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledLabels, PoolingResult, pooling_weight
from fluid.soft_labels.shrinkage import shrinkage_slope
from fluid.soft_labels.teacher_labels import TeacherLabels
from fluid.soft_labels.teacher_sample import TeacherSample


def pool_task(
    task: Task,
    labels: Mapping[str, TeacherLabels],
    n_compounds: int,
    digests: np.ndarray | None = None,
    base: np.ndarray | None = None,
    sampled_by: np.ndarray | None = None,
) -> PoolingResult:
    """Weighted mean of the teachers' predictions.

    The weight of teacher j for a compound is ``(r_j / (1 - r_j)) ** 2.5`` of its reliability r_j.
    r / (1 - r) is the signal-to-noise ratio, which goes with the square of similarity. The weight
    depends on nothing but the compound and the teacher, and the order of teachers does not matter.
    Reliabilities are taken as they come: `fluid.central.consensus.apply_trust` first brings down
    what a partner states without support.

    Parameters
    ----------
    task
        What is predicted.
    labels
        By partner; partners without the task are left out.
    n_compounds
        Number of compounds n.
    digests
        From `fluid.learn.trained_on.digest_connectivities`, of shape (n,). Without them no sample
        is drawn, so neither shrinkage nor twicing can be estimated.
    base
        Predictions of the base student whose residuals the teachers label, shape (n, n_outputs);
        None in a first round. The sample then holds residuals: all teachers repeat the base, so
        their agreement on it says nothing.
    sampled_by
        Reliability that the sample is drawn by, shape (n,); by default the highest of any teacher.

    Returns
    -------
    PoolingResult
        Labels of shape (n, n_outputs), NaN where nobody labelled the compound.
    """
    partners = sorted(labels)
    if not partners:
        return PoolingResult(_no_labels(n_compounds, len(task.outputs)))
    predictions = np.stack([labels[name].prediction for name in partners]).astype(np.float64)
    reliability = np.stack([labels[name].reliability for name in partners]).astype(np.float64)
    known = np.isfinite(reliability)
    weights = pooling_weight(reliability)
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
    disagreement = np.sqrt(variance)
    disagreement[teachers == 0] = np.nan
    best = np.where(known, reliability, 0.0).max(axis=0)
    sample = None
    if digests is not None:
        drawn_by = best if sampled_by is None else sampled_by
        sample = TeacherSample.draw(digests, share, filled, known, drawn_by)
    has_slope = not task.is_classification and base is None
    pooled = PooledLabels(
        (label if base is None else label + base).astype(np.float32),
        disagreement.astype(np.float32),
        best.astype(np.float32),
        teachers.astype(np.uint16),
        total.astype(np.float32),
        shrinkage_slope(sample) if has_slope else 1.0,
    )
    return PoolingResult(pooled, sample, base)


def _no_labels(n: int, n_outputs: int) -> PooledLabels:
    nothing = np.full((n, n_outputs), np.nan, dtype=np.float32)
    zero = np.zeros(n, dtype=np.float32)
    return PooledLabels(nothing, nothing.copy(), zero, np.zeros(n, dtype=np.uint16), zero.copy())


def pool_labels(
    tasks: Sequence[Task],
    labels: Mapping[str, Mapping[str, TeacherLabels]],
    digests: np.ndarray,
    bases: Mapping[str, np.ndarray] | None = None,
    noisy: bool = False,
) -> dict[str, PoolingResult]:
    """Pool every task.

    Parameters
    ----------
    tasks
        What is pooled.
    labels
        By partner and task; see `pool_task`.
    digests
        Of the compounds' connectivities; see `pool_task`.
    bases
        Predictions of the base student, by task whose residuals are labelled; see `pool_task`.
    noisy
        Whether labels passed through a noise mechanism. Teachers then disagree because of the
        noise, so no sample is drawn.
    """
    bases = bases or {}
    pooled = {}
    together = _reliability_of_all(tasks, labels, len(digests))
    for task in tasks:
        by_partner = {name: by[task.name] for name, by in labels.items() if task.name in by}
        pooled[task.name] = pool_task(
            task,
            by_partner,
            len(digests),
            None if noisy else digests,
            bases.get(task.name),
            together,
        )
    return pooled


def _reliability_of_all(
    tasks: Sequence[Task], labels: Mapping[str, Mapping[str, TeacherLabels]], n: int
) -> np.ndarray | None:
    """Root mean square over many tasks of the highest reliability, shape (n,).

    A sample that all tasks share has components that are found once. None for few tasks, each of
    which has a sample of its own chemistry.
    """
    if len(tasks) < FEWEST_SHARING:
        return None
    total = np.zeros(n)
    for task in tasks:
        best = np.zeros(n)
        for by in labels.values():
            if task.name in by:
                best = np.maximum(best, np.nan_to_num(by[task.name].reliability))
        total += best**2
    return np.asarray(np.sqrt(total / len(tasks)))
