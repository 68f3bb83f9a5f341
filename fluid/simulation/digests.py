"""Digests of tables, compounds and labels, by which a cache knows what a result was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.partner.table import LabelledCompounds
from fluid.soft_labels.pooled import PoolingResult
from fluid.soft_labels.teacher_labels import TeacherLabels


def digest_arrays(*arrays: np.ndarray) -> str:
    """SHA-256 of shapes, types and contents; object arrays must hold text."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        if array.dtype == object:
            digest.update("\n".join(map(str, array)).encode())
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def digest_compounds(compounds: Compounds) -> str:
    """SHA-256 of the structures and features of some compounds, in their order."""
    return digest_arrays(
        compounds.inchikeys, compounds.environments, compounds.counts, compounds.descriptors
    )


def digest_table(table: LabelledCompounds) -> str:
    """SHA-256 of the compounds and labels of a table."""
    labels = table.labels
    return digest_compounds(table.compounds) + digest_arrays(
        labels.rows, labels.tasks, labels.values, labels.qualifiers
    )


def digest_labels(labels: Mapping[str, PoolingResult] | Mapping[str, TeacherLabels]) -> str:
    """SHA-256 of pooled labels, or of one teacher's labels, by task."""
    return digest_arrays(
        *(array for name in sorted(labels) for array in (np.array(name), *_arrays(labels[name])))
    )


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """The fields of a dataclass as arrays, also those of dataclasses inside it."""
    if is_dataclass(value):
        for item in fields(value):
            yield from _arrays(getattr(value, item.name))
    else:
        # None and an empty array must differ.
        yield np.array("none") if value is None else np.asarray(value)
