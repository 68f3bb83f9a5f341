"""Sealed Parquet files: readable by anybody, and every byte counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluid.base.errors import FileFormatError
from fluid.exchange import sealed
from fluid.exchange.sealed import ROW_GROUP, open_sealed, write_sealed
from fluid.exchange.signing import (
    decode_public_key,
    encode_public_key,
    generate_keys,
    load_private_key,
    read_public_key,
    sign_digest,
    verify_digest,
)

_KEY = Ed25519PrivateKey.generate()
SCHEMA = pa.schema([("name", pa.string()), ("value", pa.float32())])


def _batches(n: int, size: int = 1000) -> list[pa.RecordBatch]:
    made = []
    for start in range(0, n, size):
        stop = min(start + size, n)
        names = pa.array([f"row {i}" for i in range(start, stop)])
        values = pa.array(np.arange(start, stop, dtype=np.float32))
        made.append(pa.RecordBatch.from_arrays([names, values], schema=SCHEMA))
    return made


def _write(path: Path, n: int = 300, size: int = 1000, sign=None) -> str:  # type: ignore[no-untyped-def]
    return write_sealed(
        path, SCHEMA, iter(_batches(n, size)), lambda rows: {"schema": "t/1", "rows": rows}, sign
    )


def test_any_parquet_reader_reads_it(tmp_path: Path) -> None:
    digest = _write(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.num_rows == 300
    opened = open_sealed(tmp_path / "a.parquet", "t/1")
    assert opened.digest == digest
    assert opened.signature is None
    assert opened.manifest == {"schema": "t/1", "rows": 300}
    assert sum(batch.num_rows for batch in opened.batches()) == 300


def test_bytes_do_not_depend_on_how_rows_were_batched(tmp_path: Path) -> None:
    n = ROW_GROUP + 77
    _write(tmp_path / "a.parquet", n, 1000)
    _write(tmp_path / "b.parquet", n, 5003)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups == 2


@pytest.fixture(scope="module")
def sealed_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sealed") / "a.parquet"
    _write(path)
    return path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_change_of_any_byte_is_refused(
    data: st.DataObject, sealed_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    position = data.draw(st.integers(0, len(sealed_bytes) - 1))
    change = data.draw(st.integers(1, 255))
    changed = bytearray(sealed_bytes)
    changed[position] ^= change
    path = tmp_path_factory.getbasetemp() / "changed.parquet"
    path.write_bytes(bytes(changed))
    # The signature's own bytes are outside the digest; `verify_digest` answers for them.
    try:
        opened = open_sealed(path, "t/1")
    except FileFormatError:
        return
    assert opened.signature is not None
    key = _KEY.public_key()
    digest = bytes.fromhex(opened.digest)
    assert not verify_digest(encode_public_key(key), digest, opened.signature)


def test_truncation_at_every_length_is_refused(sealed_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.parquet"
    for length in range(0, len(sealed_bytes) - 1, 97):
        path.write_bytes(sealed_bytes[:length])
        with pytest.raises(FileFormatError, match=r"cut\.parquet"):
            open_sealed(path, "t/1")


def test_signature_round_trip(tmp_path: Path) -> None:
    private, public = generate_keys("aurora", tmp_path)
    assert private.stat().st_mode & 0o777 == 0o600
    key = load_private_key(private)
    text = read_public_key(public)
    assert encode_public_key(decode_public_key(text)) == text
    _write(tmp_path / "a.parquet", sign=lambda digest: sign_digest(key, digest))
    opened = open_sealed(tmp_path / "a.parquet", "t/1")
    digest = bytes.fromhex(opened.digest)
    assert opened.signature is not None
    assert verify_digest(text, digest, opened.signature)
    assert not verify_digest(text, digest[::-1], opened.signature)
    assert not verify_digest(encode_public_key(_KEY.public_key()), digest, opened.signature)


def _seal(path: Path) -> None:
    """Give a file the digest that it now has, as anybody can."""
    digest, position = sealed._measure(path)
    with path.open("r+b") as handle:
        handle.seek(position)
        handle.write(f"{digest}:{'0' * 128}".encode())


def _hostile(path: Path, **changes: object) -> None:
    """A sealed file with something in it that `write_sealed` would not put there."""
    schema = changes.get("schema", SCHEMA)
    entries = {
        sealed.MANIFEST_KEY: '{"schema": "t/1"}',
        sealed.SEAL_KEY: sealed._MARK + sealed._BLANK,
    }
    with pq.ParquetWriter(path, schema, store_schema=True) as writer:
        table = pa.Table.from_batches(_batches(300))
        writer.write_table(table.cast(schema) if schema is not SCHEMA else table)
        writer.add_key_value_metadata(entries | changes.get("entries", {}))  # type: ignore[operator]
    _seal(path)


FIELD = pa.field("name", pa.string(), metadata={"secret": "structures"})
EXTRAS = {
    "footer key": ({"entries": {"secret": "structures"}}, "the footer holds the key 'secret'"),
    "empty key": ({"entries": {"": "structures"}}, "the footer holds the key ''"),
    "column metadata": (
        {"schema": pa.schema([FIELD, ("value", pa.float32())])}, "column 'name' has metadata",
    ),
    "schema metadata": (
        {"schema": SCHEMA.with_metadata({"secret": "structures"})}, "the footer holds the key 'sec",
    ),
    "as its own": (
        {"schema": SCHEMA.with_metadata({sealed.MANIFEST_KEY: "{}"})}, "has metadata",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTRAS)
def test_nothing_is_hidden_in_a_footer(tmp_path: Path, name: str) -> None:
    changes, message = EXTRAS[name]
    path = tmp_path / "a.parquet"
    _hostile(path)
    assert open_sealed(path, "t/1").n_rows == 300
    _hostile(path, **changes)
    for kind in ("t/1", None):
        with pytest.raises(FileFormatError, match=r"a\.parquet: ") as caught:
            open_sealed(path, kind)
        assert message in str(caught.value)


def _spliced(path: Path, place: int, more: bytes, footer: int) -> None:
    """Put bytes into a file, and say that its footer is longer by `footer` bytes."""
    content = path.read_bytes()
    content = content[:place] + more + content[place:]
    length = int.from_bytes(content[-8:-4], "little") + footer
    path.write_bytes(content[:-8] + length.to_bytes(4, "little") + content[-4:])
    _seal(path)


def test_nothing_is_hidden_between_columns_or_behind_the_footer(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    _write(path)
    size = path.stat().st_size
    length = int.from_bytes(path.read_bytes()[-8:-4], "little")
    _spliced(path, size - 8 - length, b"structures", 0)
    with pytest.raises(FileFormatError, match="there are bytes before the footer"):
        open_sealed(path, "t/1")
    _write(path)
    _spliced(path, size - 8, b"structures", len(b"structures"))
    with pytest.raises(FileFormatError, match="the footer goes on behind its end"):
        open_sealed(path, "t/1")


def test_another_writer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    _write(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"parquet-cpp-arrow", b"structures-go-her"))
    _seal(path)
    with pytest.raises(FileFormatError, match="names another writer, 'structures-go-her"):
        open_sealed(path, "t/1")


def test_rows_have_no_metadata(tmp_path: Path) -> None:
    """So that whoever writes them again does not write the old manifest beside the new one."""
    _write(tmp_path / "a.parquet")
    (batch,) = open_sealed(tmp_path / "a.parquet", "t/1").batches()
    assert batch.schema.metadata is None


def test_a_foreign_parquet_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_batches(_batches(5)), tmp_path / "plain.parquet")
    with pytest.raises(FileFormatError, match="no seal"):
        open_sealed(tmp_path / "plain.parquet", "t/1")


def test_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "a.parquet")
    with pytest.raises(FileFormatError, match="is a 't/1' file, but a 'u/1' file is needed"):
        open_sealed(tmp_path / "a.parquet", "u/1")


def test_a_failing_stream_leaves_nothing(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield from _batches(10)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_sealed(tmp_path / "a.parquet", SCHEMA, broken(), lambda rows: {"schema": "t/1"})
    assert list(tmp_path.iterdir()) == []
