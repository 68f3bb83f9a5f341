"""The federated set: public compounds with pooled soft labels and weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fluid.base.errors import FileFormatError, MismatchError
from fluid.chem.arrow import (
    compounds_from_batch,
    compounds_schema,
    compounds_schema_like,
    compounds_to_arrays,
)
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.features import FeatureSpec
from fluid.exchange.coordinator import check_signed_by_coordinator
from fluid.exchange.federation import Federation
from fluid.exchange.manifests import FEDERATED
from fluid.exchange.sealed import SealedFile, Signer, check_columns, open_sealed, write_sealed
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledLabels, PooledParts, PoolingResult

SCHEMA = FEDERATED
# Of a compound in a task.
_HEAVIEST = 1e15


def federated_schema(features: FeatureSpec, tasks: Sequence[Task]) -> pa.Schema:
    """Arrow schema: the compounds, then the columns of each task."""
    return _with_labels(compounds_schema(features.bits, features.n_descriptors), tasks)


def _with_labels(compounds: pa.Schema, tasks: Sequence[Task]) -> pa.Schema:
    columns = list(compounds)
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
    chunks: Iterator[tuple[Compounds, dict[str, PoolingResult]]],
    manifest: dict[str, Any],
    sign: Signer | None = None,
) -> tuple[str, dict[str, PoolingResult]]:
    """Write a federated set; `sign` makes the coordinator's signature of its digest.

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
                parts[task.name].add(pooled[task.name])
                labels = pooled[task.name].labels
                for number in range(len(task.outputs)):
                    for values in (labels.label[:, number], labels.disagreement[:, number]):
                        arrays.append(pa.array(values.astype(np.float32), mask=np.isnan(values)))
                arrays.append(pa.array(labels.reliability.astype(np.float32)))
                arrays.append(pa.array(labels.teachers.astype(np.uint16)))
                weight = np.zeros(len(compounds)) if labels.weight is None else labels.weight
                arrays.append(pa.array(weight.astype(np.float32)))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    joined: dict[str, PoolingResult] = {}

    def describe(count: int) -> dict[str, Any]:
        joined.update({name: each.joined() for name, each in parts.items()} if count else {})
        slopes = {
            task.name: joined[task.name].labels.slope
            for task in tasks
            if task.name in joined and not task.is_classification
        }
        return {"schema": SCHEMA, "n_compounds": count, "slopes": slopes} | manifest

    return write_sealed(path, schema, batches(), describe, sign), joined


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
        By regression task: see `PooledLabels.slope`.
    trust
        By task and partner: the factor on the partner's stated reliability with which its labels
        were pooled, where it is below 1; with 0 they were left out.
    """

    sealed: SealedFile
    tasks: list[Task]
    slopes: dict[str, float]
    trust: dict[str, dict[str, float]]

    def check(self, federation: Federation) -> None:
        """Check that the set is of this federation and round, and has the columns of its tasks.

        Raises
        ------
        SignatureError
            If the signature is not the coordinator's.
        MismatchError
            If it belongs to another round or protocol.
        FileFormatError
            If tasks or columns are not those that the federation asks for.
        """
        check_signed_by_coordinator(self.sealed, federation)
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
        check_columns(self.sealed.path, self.sealed.schema, expected)

    def load(self) -> tuple[Compounds, dict[str, PooledLabels]]:
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
                pooled[task.name].add(PoolingResult(self._task(batch, task, start)))
            start += batch.num_rows
        if not compounds:
            raise FileFormatError(f"{self.sealed.path}: holds no compounds")
        labels = {name: parts.joined().labels for name, parts in pooled.items()}
        return concatenate(compounds), labels

    def _task(self, batch: pa.RecordBatch, task: Task, start: int) -> PooledLabels:
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
        return PooledLabels(
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
        If the file is missing, damaged, changed, or not a federated set.
    """
    sealed = open_sealed(path, SCHEMA)
    tasks = [Task.from_dict(values) for values in sealed.manifest["tasks"]]
    check_columns(path, sealed.schema, _with_labels(compounds_schema_like(sealed.schema), tasks))
    sealed.check_count("n_compounds")
    slopes = {name: float(slope) for name, slope in sealed.manifest["slopes"].items()}
    return FederatedSet(sealed, tasks, slopes, sealed.manifest.get("trust", {}))
