"""Compounds as Arrow record batches: the columns they have in every Parquet file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from fluid.base.errors import FileFormatError
from fluid.chem.compounds import Compounds

COLUMNS = (
    "id", "smiles", "inchikey", "fingerprint", "environments", "counts", "descriptors"
)  # fmt: skip


def compounds_schema(bits: int, n_descriptors: int) -> pa.Schema:
    """Arrow schema of compounds with folded fingerprints of `bits` bits."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("smiles", pa.string(), nullable=False),
            pa.field("inchikey", pa.string(), nullable=False),
            pa.field("fingerprint", pa.binary(bits // 8), nullable=False),
            pa.field("environments", pa.list_(pa.uint32()), nullable=False),
            pa.field("counts", pa.list_(pa.uint8()), nullable=False),
            pa.field("descriptors", pa.list_(pa.float32(), n_descriptors), nullable=False),
        ]
    )


def compounds_to_arrays(compounds: Compounds) -> list[pa.Array]:
    """One Arrow array per column of `compounds_schema`."""
    n = len(compounds)
    width = compounds.fingerprints.shape[1]
    packed = np.ascontiguousarray(compounds.fingerprints)
    fingerprints = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), n, [None, pa.py_buffer(packed)]
    )
    offsets = pa.array(compounds.offsets.astype(np.int32))
    descriptors = np.ascontiguousarray(compounds.descriptors, dtype=np.float32)
    return [
        pa.array(compounds.ids, type=pa.string()),
        pa.array(compounds.smiles, type=pa.string()),
        pa.array(compounds.inchikeys, type=pa.string()),
        fingerprints,
        pa.ListArray.from_arrays(offsets, pa.array(compounds.environments, type=pa.uint32())),
        pa.ListArray.from_arrays(offsets, pa.array(compounds.counts, type=pa.uint8())),
        pa.FixedSizeListArray.from_arrays(
            pa.array(descriptors.ravel()), type=pa.list_(pa.float32(), descriptors.shape[1])
        )
        if descriptors.shape[1]
        else pa.array([[]] * n, type=pa.list_(pa.float32(), 0)),
    ]


def compounds_to_batch(compounds: Compounds) -> pa.RecordBatch:
    """Compounds as one record batch."""
    schema = compounds_schema(compounds.bits, compounds.descriptors.shape[1])
    return pa.RecordBatch.from_arrays(compounds_to_arrays(compounds), schema=schema)


def _strings(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), dtype=object)


def compounds_from_batch(batch: pa.RecordBatch) -> Compounds:
    """The inverse of `compounds_to_batch`; other columns are left alone.

    Raises
    ------
    FileFormatError
        If a column is missing, of another type, or holds nulls.
    """
    for name in COLUMNS:
        if name not in batch.schema.names:
            raise FileFormatError(f"column '{name}' is missing")
        if batch.column(name).null_count:
            raise FileFormatError(f"column '{name}' holds nulls")
    n = batch.num_rows
    fingerprint = batch.column("fingerprint")
    if not pa.types.is_fixed_size_binary(fingerprint.type):
        raise FileFormatError("column 'fingerprint' is not of fixed size")
    width = fingerprint.type.byte_width
    packed = np.frombuffer(fingerprint.buffers()[1], dtype=np.uint8)
    packed = packed[fingerprint.offset * width : (fingerprint.offset + n) * width]
    environments, counts = batch.column("environments"), batch.column("counts")
    offsets = environments.offsets.to_numpy().astype(np.int64)
    count_offsets = counts.offsets.to_numpy().astype(np.int64)
    if not np.array_equal(offsets - offsets[0], count_offsets - count_offsets[0]):
        raise FileFormatError("columns 'environments' and 'counts' differ in length")
    descriptors = batch.column("descriptors")
    values = descriptors.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return Compounds(
        ids=_strings(batch, "id"),
        smiles=_strings(batch, "smiles"),
        inchikeys=_strings(batch, "inchikey"),
        fingerprints=packed.reshape(n, width),
        environments=environments.flatten().to_numpy(zero_copy_only=False).astype(np.uint32),
        counts=counts.flatten().to_numpy(zero_copy_only=False).astype(np.uint8),
        offsets=offsets - offsets[0],
        descriptors=values.reshape(n, descriptors.type.list_size),
    )


def concatenate_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One record batch from several of the same schema."""
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if table.num_rows else batches[0]
