"""Compounds as Arrow record batches: the columns they have in every Parquet file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from fluid.base.errors import FileFormatError
from fluid.chem.compounds import Compounds

COLUMNS = ("id", "smiles", "inchikey", "fingerprint", "environments", "counts", "descriptors")


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
            pa.field("descriptors", _descriptors_type(n_descriptors), nullable=False),
        ]
    )


def _descriptors_type(n_descriptors: int) -> pa.DataType:
    # Parquet cannot read lists of the fixed size 0 back.
    return pa.list_(pa.float32(), n_descriptors if n_descriptors else -1)


def compounds_schema_like(schema: pa.Schema) -> pa.Schema:
    """`compounds_schema` with the fingerprint's and descriptors' lengths of another schema.

    Lengths of columns that are missing or of another type are the usual ones.
    """
    types = dict(zip(schema.names, schema.types, strict=True))
    fingerprint, descriptors = types.get("fingerprint"), types.get("descriptors")
    bits, n_descriptors = 2048, 0
    if fingerprint is not None and pa.types.is_fixed_size_binary(fingerprint):
        bits = fingerprint.byte_width * 8
    if descriptors is not None and pa.types.is_fixed_size_list(descriptors):
        n_descriptors = descriptors.list_size
    return compounds_schema(bits, n_descriptors)


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
        else pa.array([[]] * n, type=_descriptors_type(0)),
    ]


def compounds_to_batch(compounds: Compounds) -> pa.RecordBatch:
    """Compounds as one record batch."""
    schema = compounds_schema(compounds.bits, compounds.descriptors.shape[1])
    return pa.RecordBatch.from_arrays(compounds_to_arrays(compounds), schema=schema)


def _is_list_of(item: pa.DataType) -> Callable[[pa.DataType], bool]:
    return lambda found: pa.types.is_list(found) and found.value_type == item


def _is_descriptors(found: pa.DataType) -> bool:
    listed = pa.types.is_fixed_size_list(found) or pa.types.is_list(found)
    return listed and found.value_type == pa.float32()


_TYPES: dict[str, Callable[[pa.DataType], bool]] = {
    "id": pa.types.is_string,
    "smiles": pa.types.is_string,
    "inchikey": pa.types.is_string,
    "fingerprint": pa.types.is_fixed_size_binary,
    "environments": _is_list_of(pa.uint32()),
    "counts": _is_list_of(pa.uint8()),
    "descriptors": _is_descriptors,
}


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
    for name, fits in _TYPES.items():
        if not fits(batch.column(name).type):
            raise FileFormatError(f"column '{name}' is of type {batch.column(name).type}")
    for name in ("environments", "counts", "descriptors"):
        if batch.column(name).flatten().null_count:
            raise FileFormatError(f"column '{name}' holds nulls")
    n = batch.num_rows
    fingerprint = batch.column("fingerprint")
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
    fixed = pa.types.is_fixed_size_list(descriptors.type)
    n_descriptors = descriptors.type.list_size if fixed else 0
    if len(values) != n * n_descriptors:
        raise FileFormatError("column 'descriptors' is not of fixed size")
    return Compounds(
        ids=_strings(batch, "id"),
        smiles=_strings(batch, "smiles"),
        inchikeys=_strings(batch, "inchikey"),
        fingerprints=packed.reshape(n, width),
        environments=environments.flatten().to_numpy(zero_copy_only=False).astype(np.uint32),
        counts=counts.flatten().to_numpy(zero_copy_only=False).astype(np.uint8),
        offsets=offsets - offsets[0],
        descriptors=values.reshape(n, n_descriptors),
    )


def concatenate_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One record batch from several of the same schema."""
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if table.num_rows else batches[0]
