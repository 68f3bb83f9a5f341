"""Pooled labels: the labels of several teachers as one label per compound and task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.task import Task
from fluid.soft_labels.shrinkage import shrinkage_slope
from fluid.soft_labels.teacher_labels import TeacherLabels
from fluid.soft_labels.teacher_sample import TeacherSample

# Of the signal-to-noise ratio, in the weight of a teacher's label.
WEIGHT_EXPONENT = 2.5
# A teacher without any reliability still counts where nobody knows better.
_LEAST_WEIGHT = 1e-6
HIGHEST_RELIABILITY = 0.98
# Below this share of the total the weight of the other partners cannot be told from rounding.
_LEAST_SHARE_OF_OTHERS = 1e-3


@dataclass(frozen=True)
class PooledLabels:
    """Pooled labels of one task for n compounds, as the federated set holds them.

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
        uint16 of shape (n,): number of teachers that gave a label.
    weight
        float32 of shape (n,): sum of the teachers' weights, with which a partner takes its own
        labels out again (`without_partner`); None if it is not known.
    slope
        Shrinkage slope in [1, 2] (`fluid.soft_labels.shrinkage`); 1 for classification, and where
        teachers label the residuals of a base student.
    disagreement_share
        Share, in [0, 1], of the disagreement between all teachers that remains after
        `without_partner`: slope and twicing come from that disagreement.
    """

    label: np.ndarray
    disagreement: np.ndarray
    reliability: np.ndarray
    teachers: np.ndarray
    weight: np.ndarray | None = None
    slope: float = 1.0
    disagreement_share: float = 1.0


@dataclass(frozen=True)
class PoolingResult:
    """Pooled labels of one task, with what only the coordinator has and no file holds.

    Attributes
    ----------
    labels
        Of n compounds.
    sample
        Each teacher's predictions for some of the compounds, less the base where there is one;
        None if no sample was drawn.
    base
        float32 of shape (n, n_outputs): predictions of the base student whose residuals the
        teachers label. Only the difference from it is sharpened. None in a first round.
    """

    labels: PooledLabels
    sample: TeacherSample | None = None
    base: np.ndarray | None = None


def pooling_weight(reliability: np.ndarray) -> np.ndarray:
    """Weight of a teacher's label: ``(r / (1 - r)) ** 2.5`` of its reliability r, above 0.

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
    bounded = np.where(known, reliability, 0.0).astype(np.float64)
    bounded = np.clip(bounded, 0.0, HIGHEST_RELIABILITY)
    return np.where(known, (bounded / (1.0 - bounded)) ** WEIGHT_EXPONENT + _LEAST_WEIGHT, 0.0)


def without_partner(pooled: PooledLabels, own: TeacherLabels) -> PooledLabels:
    """Pooled labels of all other partners.

    A hybrid learns from these. Near a private compound the pooled labels contain this partner's own
    teacher, which knew that compound, so a model trained on them would look better out of fold than
    it is.

    Parameters
    ----------
    pooled
        Of all partners, with their weights.
    own
        This partner's labels of the same compounds, as they were released.

    Returns
    -------
    PooledLabels
        NaN where this partner has all, or nearly all, of the weight. Disagreement and reliability
        stay those of all partners. The slope is that of a mean of fewer teachers: the variance
        between k teachers goes with 1 - 1 / k, so with one teacher left the slope is 1.

    Raises
    ------
    ValueError
        If the weights of `pooled` are not known.
    """
    if pooled.weight is None:
        raise ValueError("the federated set does not state its weights")
    own_weight = pooling_weight(own.reliability)
    total = pooled.weight.astype(np.float64)
    others = total - own_weight
    labelled_here = own_weight > 0
    known = np.where(labelled_here, others > _LEAST_SHARE_OF_OTHERS * total, True)
    own_label = np.where(labelled_here[:, None], own.prediction, 0.0).astype(np.float64)
    divisor = np.where(known, others, 1.0)[:, None]
    label = (total[:, None] * pooled.label - own_weight[:, None] * own_label) / divisor
    label[~known] = np.nan
    teachers = pooled.teachers - labelled_here.astype(np.uint16)
    labelled = known & (pooled.teachers > 0)
    share = _disagreement_left(pooled.teachers[labelled], teachers[labelled])
    return PooledLabels(
        label.astype(np.float32),
        np.where(known[:, None], pooled.disagreement, np.nan).astype(np.float32),
        np.where(known, pooled.reliability, 0.0).astype(np.float32),
        teachers,
        np.where(known, others, 0.0).astype(np.float32),
        1.0 + share * (pooled.slope - 1.0),
        share * pooled.disagreement_share,
    )


def _disagreement_left(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the variance between teachers that remains; 0 if one teacher remains."""
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
    samples, bases
        By task: see `PoolingResult`. Empty for a set that was read from a file.
    """

    compounds: Compounds | CompoundStream
    labels: Mapping[str, PooledLabels]
    digest: str = ""
    samples: Mapping[str, TeacherSample] = field(default_factory=dict)
    bases: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        compounds: Compounds | CompoundStream,
        results: Mapping[str, PoolingResult],
        digest: str = "",
    ) -> PooledSet:
        """The set of what pooling found by task."""
        return cls(
            compounds,
            {name: one.labels for name, one in results.items()},
            digest,
            {name: one.sample for name, one in results.items() if one.sample is not None},
            {name: one.base for name, one in results.items() if one.base is not None},
        )

    def result(self, name: str) -> PoolingResult:
        """What pooling found of one task; without sample and base if these are not known."""
        return PoolingResult(self.labels[name], self.samples.get(name), self.bases.get(name))

    def of_enough_partners(self, tasks: Iterable[Task]) -> tuple[PooledSet, dict[str, int]]:
        """The set without labels of fewer partners than `Task.min_partners`.

        Returns
        -------
        tuple of PooledSet and dict
            The set, with NaN for such labels, and their number by task where the rule applies.
        """
        labels, left_out = dict(self.labels), {}
        for task in tasks:
            if task.min_partners > 1:
                one = labels[task.name]
                few = (one.teachers > 0) & (one.teachers < task.min_partners)
                left_out[task.name] = int(few.sum())
                kept = np.where(few[:, None], np.float32(np.nan), one.label)
                labels[task.name] = replace(one, label=kept)
        return replace(self, labels=labels), left_out


class PooledParts:
    """Pooled labels of one task that come in parts, in the order of the public set."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._labels: list[PooledLabels] = []
        self._bases: list[np.ndarray] = []
        self._length = 0
        self._sample: TeacherSample | None = None

    def add(self, part: PoolingResult) -> None:
        """Add the next part. The joint sample never grows beyond the size of one part's."""
        length = len(part.labels.label)
        both = [(self._sample, self._length), (part.sample, length)]
        self._sample = TeacherSample.of_parts(both if self._labels else both[1:])
        self._length += length
        self._labels.append(part.labels)
        if part.base is not None:
            self._bases.append(part.base)

    def joined(self) -> PoolingResult:
        """All parts as one. The slope is found anew from the joint sample if there is one."""
        parts = self._labels
        weights = [one.weight for one in parts if one.weight is not None]
        keep_slope = self._sample is None or self.task.is_classification or bool(self._bases)
        labels = PooledLabels(
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.disagreement for part in parts]),
            np.concatenate([part.reliability for part in parts]),
            np.concatenate([part.teachers for part in parts]),
            np.concatenate(weights) if len(weights) == len(parts) else None,
            parts[0].slope if keep_slope else shrinkage_slope(self._sample),
        )
        base = np.concatenate(self._bases) if len(self._bases) == len(parts) else None
        return PoolingResult(labels, self._sample, base)
