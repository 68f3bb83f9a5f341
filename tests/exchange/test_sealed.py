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
    sealed = open_sealed(tmp_path / "a.parquet", "t/1")
    assert sealed.digest == digest
    assert sealed.signature is None
    assert sealed.manifest == {"schema": "t/1", "rows": 300}
    assert sum(batch.num_rows for batch in sealed.batches()) == 300


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
        sealed = open_sealed(path, "t/1")
    except FileFormatError:
        return
    assert sealed.signature is not None
    key = _KEY.public_key()
    digest = bytes.fromhex(sealed.digest)
    assert not verify_digest(encode_public_key(key), digest, sealed.signature)


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
    sealed = open_sealed(tmp_path / "a.parquet", "t/1")
    digest = bytes.fromhex(sealed.digest)
    assert sealed.signature is not None
    assert verify_digest(text, digest, sealed.signature)
    assert not verify_digest(text, digest[::-1], sealed.signature)
    assert not verify_digest(encode_public_key(_KEY.public_key()), digest, sealed.signature)


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
