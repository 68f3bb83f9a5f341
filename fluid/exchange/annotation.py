"""The annotation, the only file that leaves a partner: its columns, writing and reading it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fluid.base.errors import FileFormatError
from fluid.base.files import PRIVATE
from fluid.base.software import software_versions
from fluid.exchange.federation import Federation
from fluid.exchange.label_checks import check_labels
from fluid.exchange.manifests import ANNOTATION
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.release import Release
from fluid.exchange.sealed import SealedFile, check_columns, open_sealed, write_sealed
from fluid.exchange.strictness import policy_from_dict
from fluid.learn.task import Task
from fluid.soft_labels.teacher_labels import TeacherLabels

SCHEMA = ANNOTATION


def annotation_schema(tasks: Sequence[Task]) -> pa.Schema:
    """Arrow schema: the compound's key, then the columns of each task."""
    columns = [pa.field("inchikey", pa.string(), nullable=False)]
    for task in tasks:
        for output in task.outputs:
            columns.append(pa.field(f"{output}.prediction", pa.float32()))
            columns.append(pa.field(f"{output}.uncertainty", pa.float32()))
        columns.append(pa.field(f"{task.name}.reliability", pa.float32()))
    return pa.schema(columns)


def column_meanings(tasks: Sequence[Task], base_student: str | None = None) -> dict[str, str]:
    """One sentence per column, for the person who has to agree to an export.

    Parameters
    ----------
    tasks
        Those of the annotation.
    base_student
        Digest of the student whose residuals were fitted; None without one.
    """
    meanings = {"inchikey": "key of the public compound, copied from the public set"}
    for task in tasks:
        unit = f" in {task.unit}" if task.unit else ""
        for number, output in enumerate(task.outputs):
            if task.kind == "regression":
                what = f"predicted {task.name}{unit}"
            else:
                label = task.classes[number if task.kind == "multiclass" else -1 :][:1]
                what = f"predicted probability of {label[0] if label else 'the positive class'}"
            if base_student and task.kind == "regression":
                what += ": the student's prediction plus a correction"
            meanings[f"{output}.prediction"] = f"{what}, by models that never saw the compound"
            meanings[f"{output}.uncertainty"] = "standard deviation of that over the repeats"
        meanings[f"{task.name}.reliability"] = (
            "expected share of the labels' variance explained, 0 to 1"
        )
    return meanings


@dataclass(frozen=True)
class AnnotationHeader:
    """What an annotation states of itself.

    Attributes
    ----------
    federation
        The contract, whose tasks are labelled.
    public_digest
        Digest of the public set that is labelled.
    partner
        Who labels it.
    policy
        The policy in force: the federation's or a stricter one.
    release
        Its place in the ledger of the partner's teacher.
    shared
        Statistics that the policy allows to share with the labels.
    noise
        The mechanism that the labels passed through and what that cost; None without one.
    base_student
        SHA-256 of the ``model.json`` of the student whose residuals were fitted; None without one.
    """

    federation: Federation
    public_digest: str
    partner: str
    policy: DisclosurePolicy
    release: Release
    shared: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, Any] | None = None
    base_student: str | None = None

    def manifest(self, n_compounds: int) -> dict[str, Any]:
        """The manifest of an annotation with so many rows."""
        values = {
            "schema": SCHEMA,
            "federation": self.federation.name,
            "round": self.federation.round,
            "protocol": self.federation.protocol,
            "public_set": self.public_digest,
            "n_compounds": n_compounds,
            "partner": self.partner,
            "tasks": [task.to_dict() for task in self.federation.tasks],
            "policy": self.policy.to_dict(),
            "ledger": self.release.to_dict(),
            "shared": self.shared,
            "software": software_versions(),
        }
        if self.noise:
            values["noise"] = self.noise
        if self.base_student:
            values["base_student"] = self.base_student
        return values


def write_annotation(
    path: Path,
    header: AnnotationHeader,
    chunks: Iterator[tuple[np.ndarray, dict[str, TeacherLabels]]],
) -> str:
    """Write an annotation as an unsigned draft, whole or not at all, for its owner alone.

    Parameters
    ----------
    path
        The file to appear.
    header
        What it states of itself.
    chunks
        InChIKeys and their labels by task, already within the disclosure policy.

    Returns
    -------
    str
        The digest.
    """
    tasks = header.federation.tasks
    schema = annotation_schema(tasks)
    batches = (_to_batch(schema, tasks, keys, labels) for keys, labels in chunks)
    return write_sealed(path, schema, batches, header.manifest, mode=PRIVATE)


def _to_batch(
    schema: pa.Schema, tasks: Sequence[Task], keys: np.ndarray, labels: dict[str, TeacherLabels]
) -> pa.RecordBatch:
    arrays = [pa.array(keys, type=pa.string())]
    for task in tasks:
        by_teacher = labels[task.name]
        for number in range(len(task.outputs)):
            arrays.append(_nullable(by_teacher.prediction[:, number]))
            arrays.append(_nullable(by_teacher.uncertainty[:, number]))
        arrays.append(_nullable(by_teacher.reliability))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _nullable(values: np.ndarray) -> pa.Array:
    # Adding zero turns -0.0 into 0.0, so that equal labels are equal bytes.
    return pa.array(values.astype(np.float32) + np.float32(0.0), mask=np.isnan(values))


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation whose digest has been verified; intake checks its signature and content.

    Attributes
    ----------
    sealed
        The file.
    partner
        The partner that the manifest names.
    tasks
        The tasks it labels.
    policy
        The disclosure policy that the manifest states.
    release
        The release of the partner's ledger that the manifest states.
    base_student
        SHA-256 of the ``model.json`` of the student whose residuals were fitted; None without one.
    """

    sealed: SealedFile
    partner: str
    tasks: list[Task]
    policy: DisclosurePolicy
    release: Release
    base_student: str | None = None

    def chunks(self) -> Iterator[tuple[np.ndarray, dict[str, TeacherLabels]]]:
        """InChIKeys and labels in order, one row group at a time; NaN where null: not labelled.

        Raises
        ------
        FileFormatError
            If a value in the file is not one that its policy allows.
        """
        start = 0
        for batch in self.sealed.batches():
            keys = np.asarray(batch.column("inchikey").to_numpy(zero_copy_only=False), object)
            labels = {task.name: self._task(batch, task, start) for task in self.tasks}
            for task in self.tasks:
                check_labels(self.sealed.path, task, self.policy, labels[task.name], start)
            yield keys, labels
            start += batch.num_rows

    def _task(self, batch: pa.RecordBatch, task: Task, start: int) -> TeacherLabels:
        def column(name: str) -> np.ndarray:
            array = batch.column(name)
            values = array.to_numpy(zero_copy_only=False).astype(np.float32)
            known = array.is_valid().to_numpy(zero_copy_only=False)
            bad = np.flatnonzero(known & ~np.isfinite(values))
            if len(bad):
                raise FileFormatError(
                    f"{self.sealed.path}: row {start + bad[0] + 1}, column '{name}': "
                    f"{values[bad[0]]} is not a finite number"
                )
            return values

        outputs = task.outputs
        return TeacherLabels(
            np.stack([column(f"{output}.prediction") for output in outputs], axis=1),
            np.stack([column(f"{output}.uncertainty") for output in outputs], axis=1),
            column(f"{task.name}.reliability"),
        )


def open_annotation(path: Path) -> AnnotationFile:
    """Open an annotation and check that its manifest and columns fit together.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, changed, not an annotation, or its columns are not those
        of its tasks.
    """
    sealed = open_sealed(path, SCHEMA)
    manifest = sealed.manifest
    tasks = [Task.from_dict(values) for values in manifest["tasks"]]
    check_columns(path, sealed.schema, annotation_schema(tasks))
    return AnnotationFile(
        sealed,
        manifest["partner"],
        tasks,
        policy_from_dict(manifest["policy"]),
        Release.from_dict(manifest["ledger"]),
        manifest.get("base_student"),
    )
