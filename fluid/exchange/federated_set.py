"""The federated set: public compounds with pooled soft labels and weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fluid.base.errors import FileFormatError, MismatchError
from fluid.chem.arrow import compounds_from_batch, compounds_schema, compounds_to_arrays
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.features import FeatureSpec
from fluid.exchange.annotation import TaskAnnotation
from fluid.exchange.federation import Federation
from fluid.exchange.sealed import SealedFile, open_sealed, write_sealed
from fluid.exchange.teacher_sample import TeacherSample
from fluid.exchange.widening import WIDEST, slope_of
from fluid.learn.task import Task

SCHEMA = "fluid.federated/1"
POWER = 2.5
# A teacher without any reliability still has a say where nobody knows better.
_FLOOR = 1e-6
_SUREST = 0.98
# What rounding leaves of the others' weight cannot be told from nothing below this share.
_LEAST_REST = 1e-3
_HEAVIEST = 1e15


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
        part out again (`without`); None if it is not known.
    slope
        With which the truth regresses on the label, in [1, 2] (`slope_of`); 1 for classes, and
        where there is a base.
    heard
        Of the disagreement behind the slope, and behind the student's sharpening, the share that
        is left (`without`), in [0, 1].
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
    heard: float = 1.0
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


def without(pooled: PooledTask, own: TaskAnnotation) -> PooledTask:
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
    heard = _still_heard(pooled.teachers[labelled], teachers[labelled])
    return PooledTask(
        label.astype(np.float32),
        np.where(known[:, None], pooled.disagreement, np.nan).astype(np.float32),
        np.where(known, pooled.reliability, 0.0).astype(np.float32),
        teachers,
        np.where(known, rest, 0.0).astype(np.float32),
        1.0 + heard * (pooled.slope - 1.0),
        heard=heard * pooled.heard,
    )


def _still_heard(before: np.ndarray, after: np.ndarray) -> float:
    """Of the variance between teachers, the share that those left have; 0 if one is left."""
    between, left = (float((1.0 - 1.0 / np.maximum(k, 1.0)).sum()) for k in (before, after))
    return left / between if between > 0.0 else 0.0


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


def federated_schema(features: FeatureSpec, tasks: Sequence[Task]) -> pa.Schema:
    """Arrow schema: the compounds, then the columns of each task."""
    columns = list(compounds_schema(features.bits, features.n_descriptors))
    for task in tasks:
        for output in task.outputs:
            columns.append(pa.field(f"{output}.label", pa.float32()))
            columns.append(pa.field(f"{output}.disagreement", pa.float32()))
        columns.append(pa.field(f"{task.name}.reliability", pa.float32(), nullable=False))
        columns.append(pa.field(f"{task.name}.teachers", pa.uint16(), nullable=False))
        columns.append(pa.field(f"{task.name}.weight", pa.float32(), nullable=False))
    return pa.schema(columns)


def write_federated(
    path: Path,
    features: FeatureSpec,
    tasks: Sequence[Task],
    chunks: Iterator[tuple[Compounds, dict[str, PooledTask]]],
    manifest: dict[str, Any],
) -> tuple[str, dict[str, PooledTask]]:
    """Write a federated set.

    Returns
    -------
    str, dict
        Its digest, and the pooled labels of all chunks by task, with samples if the chunks have
        them.
    """
    parts = {task.name: PooledParts(task) for task in tasks}
    schema = federated_schema(features, tasks)

    def batches() -> Iterator[pa.RecordBatch]:
        for compounds, pooled in chunks:
            arrays = compounds_to_arrays(compounds)
            for task in tasks:
                said = pooled[task.name]
                parts[task.name].add(said)
                for number in range(len(task.outputs)):
                    for values in (said.label[:, number], said.disagreement[:, number]):
                        arrays.append(pa.array(values.astype(np.float32), mask=np.isnan(values)))
                arrays.append(pa.array(said.reliability.astype(np.float32)))
                arrays.append(pa.array(said.teachers.astype(np.uint16)))
                weight = np.zeros(len(compounds)) if said.weight is None else said.weight
                arrays.append(pa.array(weight.astype(np.float32)))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    joined: dict[str, PooledTask] = {}

    def describe(count: int) -> dict[str, Any]:
        joined.update({name: each.joined() for name, each in parts.items()} if count else {})
        slopes = {
            task.name: joined[task.name].slope
            for task in tasks
            if task.name in joined and not task.is_classification
        }
        return {"schema": SCHEMA, "n_compounds": count, "slopes": slopes} | manifest

    return write_sealed(path, schema, batches(), describe), joined


@dataclass(frozen=True)
class FederatedSet:
    """A federated set whose digest has been verified.

    Attributes
    ----------
    sealed
        The file.
    tasks
        The tasks it holds labels of.
    slopes
        By task of numbers: see `PooledTask.slope`.
    """

    sealed: SealedFile
    tasks: list[Task]
    slopes: dict[str, float]

    def check(self, federation: Federation) -> None:
        """Make sure that the set is of this federation and round, and has the columns of its tasks.

        Raises
        ------
        MismatchError
            If it is of another round or protocol.
        FileFormatError
            If tasks or columns are not those that the federation asks for.
        """
        for key, wanted in (("federation", federation.name), ("round", federation.round)):
            found = self.sealed.manifest.get(key)
            if found != wanted:
                raise MismatchError(
                    f"{self.sealed.path}: {key} is '{found}', but '{wanted}' is expected"
                )
        protocol = str(self.sealed.manifest.get("protocol"))
        if protocol != federation.protocol:
            raise MismatchError(
                f"{self.sealed.path}: was made under protocol {protocol[:12]}, but the "
                f"federation's is {federation.protocol[:12]}"
            )
        names = [task.name for task in self.tasks]
        agreed = [task for task in federation.tasks if task.name in names]
        if not agreed or agreed != self.tasks:
            raise FileFormatError(
                f"{self.sealed.path}: its tasks ({', '.join(names) or 'none'}) are not those of "
                f"federation '{federation.name}'"
            )
        expected = federated_schema(federation.chemistry.features, agreed)
        found_types = dict(zip(self.sealed.schema.names, self.sealed.schema.types, strict=True))
        for field in expected:
            if found_types.get(field.name) != field.type:
                raise FileFormatError(
                    f"{self.sealed.path}: column '{field.name}' is of type "
                    f"{found_types.get(field.name, 'none')}, but {field.type} is needed"
                )

    def load(self) -> tuple[Compounds, dict[str, PooledTask]]:
        """All compounds and labels."""
        compounds: list[Compounds] = []
        pooled = {task.name: PooledParts(task) for task in self.tasks}
        start = 0
        for batch in self.sealed.batches():
            try:
                compounds.append(compounds_from_batch(batch))
            except FileFormatError as error:
                raise FileFormatError(f"{self.sealed.path}: {error}") from error
            for task in self.tasks:
                pooled[task.name].add(self._task(batch, task, start))
            start += batch.num_rows
        if not compounds:
            raise FileFormatError(f"{self.sealed.path}: holds no compounds")
        return concatenate(compounds), {name: parts.joined() for name, parts in pooled.items()}

    def _task(self, batch: pa.RecordBatch, task: Task, start: int) -> PooledTask:
        def column(name: str, low: float, high: float, may_miss: bool) -> np.ndarray:
            array = batch.column(name)
            values = array.to_numpy(zero_copy_only=False).astype(np.float32)
            tolerance = 1e-6 * max(1.0, abs(low), abs(high))
            good = (values >= low - tolerance) & (values <= high + tolerance)
            if may_miss:
                good |= array.is_null().to_numpy(zero_copy_only=False)
            if not good.all():
                row = int(np.flatnonzero(~good)[0])
                raise FileFormatError(
                    f"{self.sealed.path}: row {start + row + 1}, column '{name}': "
                    f"{values[row]:g}; allowed are {low:g} to {high:g}"
                )
            return values

        def stacked(kind: str, low: float, high: float) -> np.ndarray:
            columns = [column(f"{output}.{kind}", low, high, True) for output in task.outputs]
            return np.stack(columns, axis=1)

        low, high = task.bounds
        return PooledTask(
            stacked("label", low, high),
            stacked("disagreement", 0.0, high - low),
            column(f"{task.name}.reliability", 0.0, 1.0, False),
            column(f"{task.name}.teachers", 0.0, 65535.0, False).astype(np.uint16),
            column(f"{task.name}.weight", 0.0, _HEAVIEST, False),
            self.slopes.get(task.name, 1.0),
        )


def open_federated(path: Path) -> FederatedSet:
    """Open a federated set.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, changed, or no federated set.
    """
    sealed = open_sealed(path, SCHEMA)
    try:
        tasks = [Task.from_dict(values) for values in sealed.manifest["tasks"]]
        wanted = federated_schema(FeatureSpec(descriptors="none"), tasks).names
        missing = [name for name in wanted if name not in sealed.schema.names]
        if missing:
            raise ValueError(f"column '{missing[0]}' is missing")
        slopes = {str(name): float(slope) for name, slope in sealed.manifest["slopes"].items()}
        for name, slope in slopes.items():
            if not 1.0 <= slope <= WIDEST:
                raise ValueError(f"slope of '{name}' is {slope:g}; allowed are 1 to {WIDEST:g}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FileFormatError(f"{path}: is incomplete ({error})") from error
    return FederatedSet(sealed, tasks, slopes)
