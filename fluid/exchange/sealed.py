"""Sealed Parquet files: every byte is covered by a digest, and the digest may be signed.

A sealed file is an ordinary Parquet file whose footer carries two key-value entries: a manifest
(JSON) and a seal of fixed length. The digest is the SHA-256 of the whole file with the seal
zeroed; the signature is Ed25519 over that digest. So a change of any byte is noticed before any of
the content is interpreted.

A good digest does not make a file harmless: whoever writes it seals what he likes. So its footer
may hold nothing but what `write_sealed` puts there, and its manifest what its kind declares.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fluid.base.errors import FileFormatError
from fluid.base.files import atomic_file, canonical_json
from fluid.base.parquet_limits import Limits, open_parquet, read_chunks
from fluid.base.schemas import schema_problem
from fluid.base.strict_json import parse_json
from fluid.exchange.manifests import MANIFESTS, check_manifest

MANIFEST_KEY = "fluid.manifest"
SEAL_KEY = "fluid.seal"
ROW_GROUP = 16_384

_MARK = b"FLUIDSEAL1:"
_DIGEST_LENGTH = 64
_SIGNATURE_LENGTH = 128
_BLANK = b"0" * (_DIGEST_LENGTH + 1 + _SIGNATURE_LENGTH)
_MAGIC = b"PAR1"
_LARGEST_FOOTER = 1 << 28
_CHUNK = 1 << 20
_ARROW_KEY = "ARROW:schema"
_FOOTER_KEYS = (_ARROW_KEY, MANIFEST_KEY, SEAL_KEY)
_WRITER = re.compile(r"parquet-cpp-arrow version [0-9A-Za-z.+-]{1,40}")

Signer = Callable[[bytes], bytes]


@dataclass(frozen=True)
class SealedFile:
    """A sealed file whose digest has been verified.

    Attributes
    ----------
    path
        Where it lies.
    manifest
        What the file states of itself.
    digest
        SHA-256 of the file with its seal zeroed, 64 hexadecimal digits.
    signature
        Ed25519 signature of the digest, 64 bytes, unverified; None if the file is unsigned.
    n_rows
        Number of rows.
    schema
        Arrow schema of the columns.
    """

    path: Path
    manifest: dict[str, Any]
    digest: str
    signature: bytes | None
    n_rows: int
    schema: pa.Schema

    def check_count(self, key: str) -> None:
        """Check that the manifest states the number of rows under this key.

        Raises
        ------
        FileFormatError
            If it does not.
        """
        if self.manifest[key] != self.n_rows:
            raise FileFormatError(
                f"{self.path}: states {key} = {self.manifest[key]}, but has {self.n_rows} rows"
            )

    def group_sizes(self) -> list[int]:
        """Rows of each row group."""
        with open_parquet(self.path) as file:
            metadata = file.metadata
            return [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]

    def batches(self, groups: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in order, one row group's worth at a time.

        Parameters
        ----------
        groups
            Row groups to read, ascending; by default all.

        Raises
        ------
        FileFormatError
            If the content cannot be decoded.
        """
        try:
            with open_parquet(self.path) as file:
                limits = Limits(self.path, file)
                wanted = range(file.num_row_groups) if groups is None else groups
                for group in wanted:
                    limits.check_whole(group)
                    # One reader per row group, for a reader keeps what it has decoded. In this
                    # thread: others cost memory that the system clears each time, and CPU.
                    for batch in file.iter_batches(
                        batch_size=ROW_GROUP, row_groups=[group], use_threads=False
                    ):
                        # Content can be wrong under a right digest: text that is not UTF-8.
                        batch.validate(full=True)
                        # Without the footer's entries, which a batch has as metadata.
                        yield batch.replace_schema_metadata(None)
        except (pa.ArrowException, OSError) as error:
            raise FileFormatError(f"{self.path}: cannot be decoded ({_first(error)})") from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def write_sealed(
    path: Path,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    make_manifest: Callable[[int], dict[str, Any]],
    sign: Signer | None = None,
    mode: int = 0o666,
) -> str:
    """Write a sealed file, whole or not at all.

    Parameters
    ----------
    path
        The file to appear.
    schema
        Arrow schema of the batches.
    batches
        The rows; one row group is in memory at a time.
    make_manifest
        Makes the manifest, given the number of rows; ``schema`` must be a key.
    sign
        Signs a digest of 32 bytes; None leaves the file unsigned.
    mode
        Permission bits, reduced by the umask.

    Returns
    -------
    str
        The digest.
    """
    with atomic_file(path, mode) as temporary:
        count = 0
        with pq.ParquetWriter(temporary, schema, compression="zstd", store_schema=True) as writer:
            for group in _row_groups(schema, batches):
                writer.write_table(group, row_group_size=ROW_GROUP)
                count += group.num_rows
            writer.add_key_value_metadata(
                {
                    MANIFEST_KEY: canonical_json(make_manifest(count)).decode(),
                    SEAL_KEY: (_MARK + _BLANK).decode(),
                }
            )
        digest, position = _measure(temporary)
        signature = sign(bytes.fromhex(digest)).hex() if sign else "0" * _SIGNATURE_LENGTH
        with temporary.open("r+b") as handle:
            handle.seek(position)
            handle.write(f"{digest}:{signature}".encode())
    return digest


def _row_groups(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Regroup batches so that all row groups but the last have the same size."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        while rows >= ROW_GROUP:
            table = pa.Table.from_batches(held, schema)
            yield table.slice(0, ROW_GROUP)
            held = table.slice(ROW_GROUP).to_batches()
            rows -= ROW_GROUP
    if rows:
        yield pa.Table.from_batches(held, schema)


def open_sealed(path: Path, kind: str | None) -> SealedFile:
    """Open a sealed file and verify its digest.

    Parameters
    ----------
    path
        The file.
    kind
        Schema that its manifest must state, such as ``"fluid.annotation/2"``; None allows any.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, changed, or of another kind.
    """
    if path.is_dir():
        raise FileFormatError(f"{path}: no such file, it is a folder")
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file")
    digest, position = _measure(path)
    with path.open("rb") as handle:
        handle.seek(position)
        stated, _, signature = handle.read(len(_BLANK)).partition(b":")
    if stated != digest.encode():
        raise FileFormatError(
            f"{path}: the content does not match its digest; the file was changed or damaged"
        )
    manifest, n_rows, schema = _read_footer(path)
    found = manifest.get("schema")
    problem = None if kind is None else schema_problem(found, kind)
    if problem:
        raise FileFormatError(f"{path}: {problem}")
    if isinstance(found, str) and found in MANIFESTS:
        try:
            check_manifest(manifest)
        except ValueError as error:
            raise FileFormatError(f"{path}: the manifest: {error}") from error
    return SealedFile(path, manifest, digest, _signature(path, signature), n_rows, schema)


def check_columns(path: Path, found: pa.Schema, expected: pa.Schema) -> None:
    """Check that a file has the columns that it should have, in their order, and no others.

    Raises
    ------
    FileFormatError
        Naming the first column that differs.
    """
    # Asked once: each time, the names are made anew.
    names, wanted = found.names, expected.names
    there = set(names)
    unexpected = sorted(there - set(wanted))
    missing = [name for name in wanted if name not in there]
    if unexpected:
        problem = f"unexpected column '{unexpected[0][:80]}'"
    elif missing:
        problem = f"column '{missing[0]}' is missing"
    elif names != wanted:
        place = next(n for n, name in enumerate(wanted) if names[n] != name)
        problem = f"column {place + 1} is '{names[place]}', but '{wanted[place]}' is"
        problem += " expected there"
    else:
        for one, other in zip(found, expected, strict=True):
            # Whether nulls are allowed is checked where they are read.
            if not one.type.equals(other.type):
                raise FileFormatError(
                    f"{path}: column '{other.name}' is of type {one.type}, but {other.type} is "
                    "needed"
                )
        return
    raise FileFormatError(f"{path}: {problem}")


def sign_sealed(source: Path, target: Path, digest: str, sign: Signer) -> None:
    """Put a signature on a sealed file, whole or not at all; the digest stays as it is.

    Parameters
    ----------
    source, target
        The file, and where it is to appear signed; may be the same.
    digest
        The digest to sign.
    sign
        Signs a digest of 32 bytes.

    Raises
    ------
    FileFormatError
        If the file has another digest.
    """
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
        found, position = _measure(temporary)
        if found != digest:
            raise FileFormatError(f"{source}: was changed while it was being signed")
        with temporary.open("r+b") as handle:
            handle.seek(position)
            handle.write(f"{digest}:{sign(bytes.fromhex(digest)).hex()}".encode())


def stated_digest(path: Path) -> str:
    """The digest that a sealed file states, unverified.

    Raises
    ------
    FileFormatError
        If it is not a sealed file.
    """
    position = _find_seal(path)
    with path.open("rb") as handle:
        handle.seek(position)
        return handle.read(_DIGEST_LENGTH).decode("ascii", "replace")


def sealed_kind(path: Path) -> str | None:
    """The schema that a sealed file states, unverified; None if it is not a sealed file."""
    try:
        _find_seal(path)
        return str(_read_footer(path)[0].get("schema"))
    except FileFormatError:
        return None


def _signature(path: Path, text: bytes) -> bytes | None:
    try:
        value = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise FileFormatError(f"{path}: the seal is damaged") from None
    # A signature has one text: fromhex also takes blanks and capitals.
    if len(value) != _SIGNATURE_LENGTH // 2 or value.hex().encode() != text:
        raise FileFormatError(f"{path}: the seal is damaged")
    return value if any(value) else None


def _measure(path: Path) -> tuple[str, int]:
    """Digest of a file with its seal zeroed, and where in the file the seal's value starts."""
    position = _find_seal(path)
    with path.open("rb") as handle:
        return _digest_without_seal(handle, position), position


def _find_seal(path: Path) -> int:
    """Where in a file the seal's value starts."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(4)
        handle.seek(max(0, size - 8))
        tail = handle.read(8)
        if size < 12 or head != _MAGIC or tail[4:] != _MAGIC:
            raise FileFormatError(f"{path}: is not a Parquet file, or is truncated")
        length = struct.unpack("<I", tail[:4])[0]
        if not 0 < length <= min(size - 12, _LARGEST_FOOTER):
            raise FileFormatError(f"{path}: the footer is damaged")
        handle.seek(size - 8 - length)
        footer = handle.read(length)
        if footer.count(_MARK) != 1:
            raise FileFormatError(f"{path}: carries no seal; it was not written by fluid")
        position = size - 8 - length + footer.index(_MARK) + len(_MARK)
        if position + len(_BLANK) > size - 8:
            raise FileFormatError(f"{path}: the seal is damaged")
        return position


def _digest_without_seal(handle: Any, position: int) -> str:
    digest = hashlib.sha256()
    handle.seek(0)
    left = position
    while left:
        piece = handle.read(min(left, _CHUNK))
        digest.update(piece)
        left -= len(piece)
    digest.update(_BLANK)
    handle.seek(position + len(_BLANK))
    while piece := handle.read(_CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def _read_footer(path: Path) -> tuple[dict[str, Any], int, pa.Schema]:
    try:
        with open_parquet(path) as file:
            metadata, schema = file.metadata, file.schema_arrow
            extra = _extra_in_footer(path, metadata, schema)
            text = (metadata.metadata or {}).get(MANIFEST_KEY.encode())
            rows = metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileFormatError(f"{path}: cannot be decoded ({_first(error)})") from error
    if text is None:
        raise FileFormatError(f"{path}: carries no manifest")
    if extra:
        raise FileFormatError(f"{path}: {extra}, which fluid does not write")
    manifest = parse_json(text, f"{path}: the manifest")
    if not isinstance(manifest, dict):
        raise FileFormatError(f"{path}: the manifest is not a table of values")
    return manifest, rows, schema


def _extra_in_footer(path: Path, metadata: pq.FileMetaData, schema: pa.Schema) -> str | None:
    """Name something that the file holds beside its columns, manifest and seal."""
    keys = [key.decode("utf-8", "replace") for key in metadata.metadata or {}]
    unknown = sorted(set(keys) - set(_FOOTER_KEYS))
    if unknown:
        return f"the footer holds the key '{unknown[0][:80]}'"
    size = path.stat().st_size
    with path.open("rb") as handle:
        handle.seek(size - 8)
        start = size - 8 - int(struct.unpack("<I", handle.read(4))[0])
        handle.seek(start)
        footer = handle.read(size - 8 - start)
    for key in _FOOTER_KEYS:
        # Behind its length, as the footer's encoding has it; no JSON holds such a character.
        if footer.count(bytes([len(key)]) + key.encode()) > 1:
            return f"the footer holds the key '{key}' twice"
    if metadata.serialized_size != len(footer):
        return "the footer goes on behind its end"
    if not _WRITER.fullmatch(metadata.created_by or ""):
        return f"the footer names another writer, '{str(metadata.created_by)[:80]}'"
    named = next((field.name for field in schema if _has_metadata(field)), None)
    if schema.metadata or named is not None:
        return f"column '{(named or schema.names[0])[:80]}' has metadata"
    return _extra_in_columns(path, schema, start)


def _has_metadata(field: pa.Field) -> bool:
    inner = [field.type.field(n) for n in range(field.type.num_fields)]
    return bool(field.metadata) or any(_has_metadata(item) for item in inner)


def _extra_in_columns(path: Path, schema: pa.Schema, end: int) -> str | None:
    """The columns fill the file up to its footer, one behind the other."""
    place = len(_MAGIC)
    for group in read_chunks(path):
        for number, column in enumerate(group):
            name = f"'{schema.names[number][:80]}'" if number < len(schema.names) else str(number)
            if not column.is_plain:
                return f"column {name} has metadata"
            if column.start != place:
                return f"there are bytes before column {name}"
            place += column.size
    return None if place == end else "there are bytes before the footer"
