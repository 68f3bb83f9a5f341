"""Parquet files: a row a record, nested columns left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fluid.base.errors import TableError
from fluid.base.parquet_limits import Limits, open_parquet
from fluid.chem.readers.files import plain_file
from fluid.chem.readers.table import LONGEST_RECORD, Row, Source, bounded, clean, short_name


def read_parquet(source: Source) -> Iterator[Row]:
    """The names of the columns, and then the rows."""
    import pyarrow as pa

    path = source.path
    try:
        with plain_file(path) as plain, open_parquet(plain) as file:
            limits = Limits(plain, file)
            names, columns = _scalar_columns(file)
            nested = len(file.schema_arrow) - len(names)
            if nested:
                source.note(f"columns of lists or structures are left out ({nested:,})")
            wanted = None if len(columns) == file.metadata.num_columns else names
            yield Row(0, names)
            number = 1
            for group in range(file.num_row_groups):
                size = limits.batch_size(group, columns, most=4096)
                for batch in file.iter_batches(size, row_groups=[group], columns=wanted):
                    limits.add(batch.nbytes)
                    is_small = batch.nbytes < LONGEST_RECORD and not any(
                        pa.types.is_dictionary(column.type) for column in batch.columns
                    )
                    columns_read = batch.columns if is_small else map(_cut, batch.columns)
                    texts = [_texts(column) for column in columns_read]
                    for values in zip(*texts, strict=True):
                        row = Row(number, list(values))
                        yield row if is_small else bounded(row)
                        number += 1
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TableError(f"{path}: is not a readable Parquet file ({reason})") from error


def _scalar_columns(file: Any) -> tuple[list[str], list[int]]:
    """Names of the columns that hold no lists or structures, and their numbers in the file.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a name could also mean one of the others.
    """
    import pyarrow as pa

    names: list[str] = []
    columns: list[int] = []
    nested: list[int] = []
    number = 0
    for field in file.schema_arrow:
        leaves = range(number, number + _count_leaves(field.type))
        number = leaves.stop
        if pa.types.is_nested(field.type):
            nested += leaves
        else:
            names.append(field.name)
            columns += leaves
    known = set(names)
    if nested and len(known) < len(names):
        raise pa.ArrowInvalid("a column occurs twice, beside nested ones")
    for leaf in nested:
        parts = file.schema.column(leaf).path.split(".")
        if any(".".join(parts[:end]) in known for end in range(1, len(parts) + 1)):
            raise pa.ArrowInvalid(f"column '{short_name(parts[0])}' occurs twice")
    if number != file.metadata.num_columns:
        raise pa.ArrowInvalid("its columns are not those of its schema")
    return names, columns


def _count_leaves(kind: Any) -> int:
    """How many columns of a Parquet file hold the values of a column of this Arrow type."""
    children = [kind.field(place).type for place in range(kind.num_fields)]
    return sum(map(_count_leaves, children)) or 1


def _cut(column: Any) -> Any:
    """An Arrow column whose texts end where a record is too long."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_large = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    if not is_large and not pa.types.is_string(kind) and not pa.types.is_binary(kind):
        return column
    if (pc.max(pc.binary_length(column)).as_py() or 0) <= LONGEST_RECORD:
        return column
    bare = column.cast(pa.large_binary() if is_large else pa.binary())
    return pc.binary_slice(bare, 0, LONGEST_RECORD + 1)


def _texts(column: Any) -> list[str]:
    return [_as_text(value) for value in _values(column)]


def _values(column: Any) -> list[object]:
    """Values of an Arrow column; one that Python cannot hold comes as its bytes, or as missing."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()
    except (ValueError, OverflowError):
        return str(scalar.type)


def _as_text(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bytes):
        return clean(value.decode("utf-8", errors="surrogateescape"))
    return clean(str(value))
