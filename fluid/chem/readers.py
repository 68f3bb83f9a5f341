"""Read tables of compounds as rows of text: CSV, TSV, SMI, SDF and Parquet, plain or gzipped.

A row that is malformed is still a row: it carries its line number and what is wrong with it. A
file that is malformed raises one clear error.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from fluid.base.errors import TableError
from fluid.base.show import printable

_GZIP_MAGIC = b"\x1f\x8b"
_DELIMITERS = ",;\t|"
# A line after the last one: if it does not come back as a row of its own, a quote is still open.
_END = "\x00end of table"


@dataclass(frozen=True)
class Row:
    """One record of a table.

    Attributes
    ----------
    line
        Where it starts: line of the file, or number of the record in SDF and Parquet; from 1.
    values
        One text per column, blanks stripped, empty where missing.
    problem
        What is wrong with the record as such, or None.
    """

    line: int
    values: list[str]
    problem: str | None = None


@dataclass(frozen=True)
class Table:
    """The columns of a table and its rows, which are read as they are asked for."""

    path: Path
    columns: list[str]
    rows: Iterator[Row]


def read_table(path: Path) -> Table:
    """Open a table by its file ending.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv``, ``.txt``, ``.smi``, ``.sdf``, ``.parquet``, each also with ``.gz``.

    Raises
    ------
    TableError
        If the file is missing, empty, truncated, or of another kind.
    """
    if path.is_dir():
        raise TableError(f"{path}: no such file, it is a folder")
    if not path.is_file():
        raise TableError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise TableError(f"{path}: the file is empty")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in READERS:
        allowed = ", ".join(sorted(READERS))
        raise TableError(f"{path}: unknown kind of table '{suffix}'; allowed are {allowed}, or .gz")
    stream = READERS[suffix](path)
    try:
        columns = next(stream).values
    except StopIteration:
        raise TableError(f"{path}: the file holds no header and no rows") from None
    _check_columns(path, columns)
    return Table(path, columns, stream)


def _check_columns(path: Path, columns: list[str]) -> None:
    seen: set[str] = set()
    for name in columns:
        if name and name.lower() in seen:
            raise TableError(f"{path}: column '{short_name(name)}' occurs twice in the header")
        seen.add(name.lower())


def short_name(name: str) -> str:
    """A column's name for a message: printable, at most 40 characters."""
    shown = printable(name[:41])
    return shown if len(name) <= 40 else shown[:37] + "..."


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TableError(f"{path}: the compressed file is damaged or truncated") from error
    except csv.Error as error:
        raise TableError(f"{path}: is not a readable table ({error})") from error
    except UnicodeError as error:
        raise TableError(f"{path}: is neither UTF-8 nor UTF-16 text") from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error})") from error


def _open_bytes(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        compressed = probe.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    """Text of a file; bytes that are not UTF-8 come as lone surrogates, judged row by row."""
    with _reading(path), _open_bytes(path) as raw:
        start = raw.read(2)
        raw.seek(0)
        encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        yield io.TextIOWrapper(raw, encoding=encoding, errors="surrogateescape", newline="")


def _clean(value: str) -> str:
    return value.replace("\x00", "").strip()


def _delimiter(header: str, preferred: str) -> str:
    bare = re.sub('"[^"]*"', "", header)
    counts = {mark: bare.count(mark) for mark in _DELIMITERS}
    best = max(counts, key=lambda mark: (counts[mark], mark == preferred))
    return best if counts[best] else preferred


def _delimited(preferred: str) -> Callable[[Path], Iterator[Row]]:
    def rows(path: Path) -> Iterator[Row]:
        with _open_text(path) as text:
            header = _first_line(text)
            text.seek(0)
            csv.field_size_limit(min(sys.maxsize, 1 << 24))
            delimiter = _delimiter(header, preferred)
            record: list[str] = []
            reader = csv.reader(_noted(chain(text, [_END]), record), delimiter=delimiter)
            width: int | None = None
            line = 1
            for fields in reader:
                if fields == [_END]:
                    return
                if len(record) > 1 and not _is_well_quoted(record, delimiter):
                    raise TableError(f"{path}: line {line}: a quote is opened and never closed")
                record.clear()
                values = [_clean(field) for field in fields]
                if width is None:
                    if not any(values):
                        line = reader.line_num + 1
                        continue
                    width = len(values)
                    yield Row(line, values)
                elif any(values):
                    yield _fit(line, values, width)
                line = reader.line_num + 1

    return rows


def _noted(lines: Iterable[str], record: list[str]) -> Iterator[str]:
    """Lines, each kept in `record` until its owner clears it."""
    for line in lines:
        record.append(line)
        yield line


def _is_well_quoted(lines: list[str], delimiter: str) -> bool:
    """Whether lines that were read as one row are one.

    If not, a stray quote joined them: it met the table's end, or the next quote of another row.
    """
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return True


def _first_line(text: IO[str]) -> str:
    for line in text:
        if line.strip():
            return line
    return ""


def _fit(line: int, values: list[str], width: int) -> Row:
    if len(values) > width:
        problem = f"row has {len(values)} fields, the header has {width}"
        return Row(line, values[:width], problem)
    return Row(line, values + [""] * (width - len(values)))


def _is_table(header: str) -> bool:
    """Whether the first line of a SMILES file heads a table: exports of databases often do."""
    for mark in (",", ";", "\t"):
        names = [name.strip().strip('"').lower() for name in header.split(mark)]
        # A SMILES has neither comma nor semicolon; "smiles<tab>id" reads the same either way.
        if len(names) > 1 and any(name.endswith("smiles") for name in names[mark == "\t" :]):
            return True
    return False


def _smi(path: Path) -> Iterator[Row]:
    with _open_text(path) as text:
        header = _first_line(text)
    if _is_table(header):
        yield from _delimited(",")(path)
        return
    with _open_text(path) as text:
        started = False
        for number, line in enumerate(text, start=1):
            words = line.replace("\x00", "").strip().split(None, 1)
            if not started:
                started = True
                yield Row(0, ["smiles", "id"])
                if words and words[0].lower() in ("smiles", "smi"):
                    continue
            if words:
                yield Row(number, [words[0], words[1].strip() if len(words) > 1 else ""])


def _sdf(path: Path) -> Iterator[Row]:
    """Two passes: one to find the property names, one for the records."""
    names: dict[str, None] = {}
    for _, block in _sdf_blocks(path):
        names.update(dict.fromkeys(_sdf_properties(block)))
    reserved = ("smiles", "id")
    extra = [name for name in names if name.lower() not in reserved]
    own_id = next((name for name in names if name.lower() == "id"), None)
    yield Row(0, ["smiles", "id", *extra])
    for number, block in _sdf_blocks(path):
        properties = _sdf_properties(block)
        smiles, problem = _sdf_structure(block)
        name = properties.get(own_id, "") if own_id else block[0].strip()
        values = [smiles, name or block[0].strip(), *(properties.get(key, "") for key in extra)]
        yield Row(number, [_clean(value) for value in values], problem)


def _sdf_blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    with _open_text(path) as text:
        block: list[str] = []
        number = 1
        for line in text:
            if line.startswith("$$$$"):
                yield number, block or [""]
                block = []
                number += 1
            else:
                block.append(line.rstrip("\r\n"))
        if any(line.strip() for line in block):
            yield number, block


def _sdf_properties(block: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for position, line in enumerate(block):
        if _is_property_header(line):
            name = line[line.index("<") + 1 : line.rfind(">")].strip()
            value = block[position + 1] if position + 1 < len(block) else ""
            if name and not _is_property_header(value):
                found[name] = value
    return found


def _is_property_header(line: str) -> bool:
    """Whether a line names a property; a value may start with '>' too, as in '>10'."""
    return line.startswith(">") and "<" in line


def _sdf_structure(block: list[str]) -> tuple[str, str | None]:
    from rdkit import Chem, rdBase

    end = next((i for i, line in enumerate(block) if line.startswith("M  END")), None)
    if end is None:
        return "", "mol block has no 'M  END' line"
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromMolBlock("\n".join(block[: end + 1]) + "\n")
            if mol is not None:
                return Chem.MolToSmiles(mol), None
        except (RuntimeError, ValueError):
            pass
    return "", "mol block cannot be parsed"


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _reading(path), _open_bytes(path) as raw:
            source = pa.BufferReader(raw.read()) if isinstance(raw, gzip.GzipFile) else path
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            yield Row(0, list(file.schema_arrow.names))
            number = 1
            for batch in file.iter_batches(batch_size=4096):
                columns = [_values(column) for column in batch.columns]
                for values in zip(*columns, strict=True):
                    yield Row(number, [_as_text(value) for value in values])
                    number += 1
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TableError(f"{path}: is not a readable Parquet file ({reason})") from error


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
        return _clean(value.decode("utf-8", errors="surrogateescape"))
    return _clean(str(value))


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".txt": _delimited("\t"),
    ".smi": _smi,
    ".smiles": _smi,
    ".sdf": _sdf,
    ".parquet": _parquet,
}
