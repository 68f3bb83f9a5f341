"""Pooled labels: what several teachers say of the public compounds, as one label a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.task import Task
from fluid.soft_labels.shrinkage import slope_of
from fluid.soft_labels.teacher_labels import TeacherLabels
from fluid.soft_labels.teacher_sample import TeacherSample

POWER = 2.5
# A teacher without any reliability still has a say where nobody knows better.
_FLOOR = 1e-6
_SUREST = 0.98
# What rounding leaves of the others' weight cannot be told from nothing below this share.
_LEAST_REST = 1e-3


@dataclass(frozen=True)
class PooledTask:
    """Pooled labels of one task for n compounds.

    Attributes
    ----------
    label
        float32 of shape (n, n_outputs): weighted mean of the teachers' predictions; NaN where no
        teacher gave one.
    disagreement
        float32 of the same shape: weighted standard deviation between teachers.
    reliability
        float32 of shape (n,) in [0, 1]: the highest of any teacher; 0 where there is no label.
    teachers
        uint16 of shape (n,): how many gave a label.
    weight
        float32 of shape (n,): sum of the teachers' weights, with which a partner takes its own
        part out again (`without_partner`); None if it is not known.
    slope
        With which the truth regresses on the label, in [1, 2] (`slope_of`); 1 for classes, and
        where there is a base.
    heard
        Of the disagreement behind the slope, and behind the student's twicing, the share that
        is left (`without_partner`), in [0, 1].
    sample
        What each teacher said of some compounds, while labels are being pooled; never in a file.
        Where there is a base it is their corrections, what they said less the base.
    base
        float32 of shape (n, n_outputs): in a further round what the student says that is
        corrected, while labels are being pooled. What is sharpened is then the label less the
        base, and nothing is widened; None in a first round.
    """

    label: np.ndarray
    disagreement: np.ndarray
    reliability: np.ndarray
    teachers: np.ndarray
    weight: np.ndarray | None = None
    slope: float = 1.0
    sample: TeacherSample | None = None
    disagreement_share: float = 1.0
    base: np.ndarray | None = None


def pooling_weight(reliability: np.ndarray) -> np.ndarray:
    """What a teacher's label weighs: ``(r / (1 - r)) ** 2.5``, and next to nothing at least.

    Parameters
    ----------
    reliability
        In [0, 1]; NaN where the teacher gives no label.

    Returns
    -------
    numpy.ndarray
        float64 of the same shape; 0 where there is no label.
    """
    known = np.isfinite(reliability)
    sure = np.clip(np.where(known, reliability, 0.0).astype(np.float64), 0.0, _SUREST)
    return np.where(known, (sure / (1.0 - sure)) ** POWER + _FLOOR, 0.0)


def without_partner(pooled: PooledTask, own: TeacherLabels) -> PooledTask:
    """Pooled labels of all other partners.

    A hybrid learns from these: in the pooled labels near a private compound there is what this
    partner's own teacher said, and it knew that compound, so that out of fold a model trained on
    them looks better than it is.

    Parameters
    ----------
    pooled
        Of all partners, with their weights.
    own
        What this partner said of the same compounds, as it was released.

    Returns
    -------
    PooledTask
        NaN where only this partner, or next to only it, gave a label. Disagreement and
        reliability stay those of all partners. The slope is that of a mean of fewer teachers, the
        variance between k of which goes with 1 - 1 / k: of one teacher's labels it is 1.

    Raises
    ------
    ValueError
        If the weights of `pooled` are not known.
    """
    if pooled.weight is None:
        raise ValueError("the federated set does not state its weights")
    mine = pooling_weight(own.reliability)
    total = pooled.weight.astype(np.float64)
    rest = total - mine
    spoke = mine > 0
    known = np.where(spoke, rest > _LEAST_REST * total, True)
    said = np.where(spoke[:, None], own.prediction, 0.0).astype(np.float64)
    label = (total[:, None] * pooled.label - mine[:, None] * said) / np.where(known, rest, 1.0)[
        :, None
    ]
    label[~known] = np.nan
    teachers = pooled.teachers - spoke.astype(np.uint16)
    labelled = known & (pooled.teachers > 0)
    disagreement_share = _disagreement_left(pooled.teachers[labelled], teachers[labelled])
    return PooledTask(
        label.astype(np.float32),
        np.where(known[:, None], pooled.disagreement, np.nan).astype(np.float32),
        np.where(known, pooled.reliability, 0.0).astype(np.float32),
        teachers,
        np.where(known, rest, 0.0).astype(np.float32),
        1.0 + disagreement_share * (pooled.slope - 1.0),
        disagreement_share=disagreement_share * pooled.disagreement_share,
    )


def _disagreement_left(before: np.ndarray, after: np.ndarray) -> float:
    """Of the variance between teachers, the share that those left have; 0 if one is left."""
    between, left = (float((1.0 - 1.0 / np.maximum(k, 1.0)).sum()) for k in (before, after))
    return left / between if between > 0.0 else 0.0


@dataclass(frozen=True)
class PooledSet:
    """The public compounds with pooled labels: the federated set in memory.

    Attributes
    ----------
    compounds
        The n public compounds, in memory or to be read several times.
    labels
        Pooled labels by task.
    digest
        SHA-256 of the federated set's file; empty if it was never written.
    """

    compounds: Compounds | CompoundStream
    labels: Mapping[str, PooledTask]
    digest: str = ""


class PooledParts:
    """Pooled labels of one task that come in parts, in the order of the public set."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._parts: list[PooledTask] = []
        self._length = 0
        self._sample: TeacherSample | None = None

    def add(self, part: PooledTask) -> None:
        """Add the next part; of samples no more is held than of one part."""
        both = [(self._sample, self._length), (part.sample, len(part.label))]
        self._sample = TeacherSample.of_parts(both[1:] if not self._parts else both)
        self._length += len(part.label)
        self._parts.append(replace(part, sample=None))

    def joined(self) -> PooledTask:
        """All parts as one; its slope is that of all together, where samples tell it."""
        parts, weights = self._parts, [one.weight for one in self._parts if one.weight is not None]
        bases = [one.base for one in self._parts if one.base is not None]
        as_stated = self._sample is None or self.task.is_classification or bool(bases)
        return PooledTask(
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.disagreement for part in parts]),
            np.concatenate([part.reliability for part in parts]),
            np.concatenate([part.teachers for part in parts]),
            np.concatenate(weights) if len(weights) == len(parts) else None,
            parts[0].slope if as_stated else slope_of(self._sample),
            self._sample,
            base=np.concatenate(bases) if len(bases) == len(parts) else None,
        )
