"""Read tables of compounds as rows of text: CSV, TSV, SMI, SDF and Parquet, plain or gzipped.

A row that is malformed is still a row: it carries its line number and what is wrong with it. A
file that is malformed raises one clear error. What a line, a record and a file may hold is bounded
before it is held.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from fluid.base.errors import TableError
from fluid.base.parquet_limits import LARGEST_RATIO, Limits, open_parquet
from fluid.chem.readers.table import ReadOptions, Row, Table, short_name

_GZIP_MAGIC = b"\x1f\x8b"
_DELIMITERS = ",;\t|"
# A line after the last one: if it does not come back as a row of its own, a quote is still open.
_END = "\x00end of table"
# Characters. Excel's longest cell has 32,767; a longer line or open quote is no row of a table.
_LONGEST_LINE = 1 << 22
LONGEST_RECORD = 1 << 20
_MOST_COLUMNS = 1 << 16
# Lines of a mol block: 1,000 heavy atoms, their hydrogens and bonds take 4,000.
_MOST_LINES = 5_000
# Bytes that a gzipped file may unpack to whatever its size.
_SMALL = 1 << 22
# What is kept of each value of a record that is too long.
_KEPT = 200


def read_table(path: Path, options: ReadOptions | None = None) -> Table:
    """Open a table by its file ending.

    Parameters
    ----------
    options
        How to read it, where it does not tell itself.
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
    if len(columns) > _MOST_COLUMNS:
        raise TableError(
            f"{path}: the header has {len(columns):,} columns; at most {_MOST_COLUMNS:,} are "
            "allowed"
        )


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


class _Unpacking(gzip.GzipFile):
    """A gzipped file that refuses to unpack to too many times its size."""

    def read1(self, size: int = -1) -> bytes:
        """The next bytes, as `io.BufferedIOBase.read1` gives them."""
        found = super().read1(size)
        packed = self.fileobj.tell()  # type: ignore[union-attr]
        if self.tell() > _most_unpacked(packed):
            raise TableError(
                f"{self.name}: unpacks to more than {LARGEST_RATIO} times its size; unpack it, and "
                "give the unpacked file"
            )
        return found


def _most_unpacked(size: int) -> int:
    return max(_SMALL, LARGEST_RATIO * size)


def _is_gzipped(path: Path) -> bool:
    with path.open("rb") as probe:
        return probe.read(2) == _GZIP_MAGIC


def _open_bytes(path: Path) -> IO[bytes]:
    if not _is_gzipped(path):
        return path.open("rb")
    # A whole file states at its end what it unpacks to. If that is too much, it is tried before
    # any row is used; one that states less than the truth is found out later.
    with path.open("rb") as end:
        size = end.seek(0, io.SEEK_END)
        end.seek(max(0, size - 4))
        stated = int.from_bytes(end.read(4), "little")
    if stated > _most_unpacked(size):
        with _Unpacking(path) as trial, suppress(EOFError, gzip.BadGzipFile, zlib.error):
            while trial.read1(1 << 20):
                pass
    return _Unpacking(path)  # type: ignore[return-value]


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


def _lines(path: Path, text: IO[str]) -> Iterator[tuple[int, str]]:
    """The lines of a text by number, with their ends."""
    for number, line in enumerate(iter(partial(text.readline, _LONGEST_LINE), ""), start=1):
        if len(line) == _LONGEST_LINE:
            raise TableError(f"{path}: line {number}: it has {_LONGEST_LINE:,} characters or more")
        yield number, line


def _bounded(row: Row) -> Row:
    """The row; one that is too long with the start of each value, and a problem."""
    length = sum(map(len, row.values))
    if length <= LONGEST_RECORD:
        return row
    problem = f"row has more than {LONGEST_RECORD:,} characters"
    return Row(row.line, [value[:_KEPT] for value in row.values], problem)


def _delimited(preferred: str) -> Callable[[Path], Iterator[Row]]:
    def rows(path: Path) -> Iterator[Row]:
        with _open_text(path) as text:
            header = _first_line(path, text)
            text.seek(0)
            csv.field_size_limit(_LONGEST_LINE)
            delimiter = _delimiter(header, preferred)
            record: list[str] = []
            reader = csv.reader(_noted(text, record), delimiter=delimiter)
            width: int | None = None
            line = 1
            try:
                for fields in reader:
                    if fields == [_END]:
                        return
                    is_long = len(record) > 1
                    if is_long and not _is_well_quoted(record, delimiter):
                        raise TableError(f"{path}: line {line}: a quote is opened and never closed")
                    is_long = is_long or len(record[0]) > LONGEST_RECORD
                    record.clear()
                    values = [_clean(field) for field in fields]
                    if width is None:
                        if not any(values):
                            line = reader.line_num + 1
                            continue
                        width = len(values)
                        yield Row(line, values)
                    elif any(values):
                        row = _fit(line, values, width)
                        yield _bounded(row) if is_long else row
                    line = reader.line_num + 1
            except _LongRecordError as error:
                cause = "a quote is opened and never closed, or it" if record else "it"
                raise TableError(
                    f"{path}: line {line}: {cause} has {_LONGEST_LINE:,} characters or more"
                ) from error

    return rows


def _noted(text: IO[str], record: list[str]) -> Iterator[str]:
    """The lines of a text and a last one, each kept in `record` until its owner clears it.

    Raises
    ------
    _LongRecordError
        If the lines that are kept hold too much, as those behind an open quote do.
    """
    held = 0
    for line in iter(partial(text.readline, _LONGEST_LINE), ""):
        held = held + len(line) if record else len(line)
        if held >= _LONGEST_LINE:
            raise _LongRecordError
        record.append(line)
        yield line
    record.append(_END)
    yield _END


class _LongRecordError(Exception):
    """A record is too long to be one."""


def _is_well_quoted(lines: list[str], delimiter: str) -> bool:
    """Whether lines that were read as one row are one.

    If not, a stray quote joined them: it met the table's end, or the next quote of another row.
    """
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    return True


def _first_line(path: Path, text: IO[str]) -> str:
    for _, line in _lines(path, text):
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
        header = _first_line(path, text)
    if _is_table(header):
        yield from _delimited(",")(path)
        return
    with _open_text(path) as text:
        started = False
        for number, line in _lines(path, text):
            words = line.replace("\x00", "").strip().split(None, 1)
            if not started:
                started = True
                yield Row(0, ["smiles", "id"])
                if words and words[0].lower() in ("smiles", "smi"):
                    continue
            if words:
                row = Row(number, [words[0], words[1].strip() if len(words) > 1 else ""])
                yield _bounded(row) if len(line) > LONGEST_RECORD else row


def _sdf(path: Path) -> Iterator[Row]:
    """Two passes: one to find the property names, one for the records."""
    names: dict[str, None] = {}
    for _, block, _ in _sdf_blocks(path):
        names.update(dict.fromkeys(_sdf_properties(block)))
        if len(names) > _MOST_COLUMNS:
            raise TableError(
                f"{path}: more than {_MOST_COLUMNS:,} different properties, which are not allowed"
            )
    reserved = ("smiles", "id")
    extra = [name for name in names if name.lower() not in reserved]
    own_id = next((name for name in names if name.lower() == "id"), None)
    places = {name: place for place, name in enumerate(extra, start=2)}
    yield Row(0, ["smiles", "id", *extra])
    for number, block, problem in _sdf_blocks(path):
        properties = _sdf_properties(block)
        title = block[0].strip()
        values = ["", properties.get(own_id or "", "") or title, *[""] * len(extra)]
        for name, value in properties.items():
            if name in places:
                values[places[name]] = value
        if problem is None:
            values[0], problem = _sdf_structure(block)
        values = [_clean(value) if value else "" for value in values]
        yield Row(number, [value[:_KEPT] for value in values] if problem else values, problem)


def _sdf_blocks(path: Path) -> Iterator[tuple[int, list[str], str | None]]:
    """The records by number, each as lines, and what is wrong with it as such."""
    with _open_text(path) as text:
        block: list[str] = []
        number, length = 1, 0

        def record() -> tuple[int, list[str], str | None]:
            if length <= LONGEST_RECORD:
                return number, block or [""], None
            return (
                number,
                block[:4],
                (
                    f"record has {length:,} characters, at most {LONGEST_RECORD:,} are allowed; is "
                    "there a line '$$$$' missing?"
                ),
            )

        for _, line in _lines(path, text):
            if line.startswith("$$$$"):
                yield record()
                block, length = [], 0
                number += 1
                continue
            length += len(line)
            if length <= LONGEST_RECORD:
                block.append(line.rstrip("\r\n"))
        if any(line.strip() for line in block):
            yield record()


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

    from fluid.chem.standardize import FEW, StructureError, refuse_rings

    ends = [i for i, line in enumerate(block) if line.startswith("M  END")]
    if not ends:
        return "", "mol block has no 'M  END' line"
    end = ends[0]
    if len(ends) > 1:
        return "", f"record has {len(ends):,} mol blocks; is there a line '$$$$' missing?"
    if end > _MOST_LINES:
        return "", f"mol block has {end:,} lines, at most {_MOST_LINES:,} are allowed"
    text = "\n".join(block[: end + 1]) + "\n"
    with rdBase.BlockLogs():
        try:
            if end > FEW:
                refuse_rings(_count_rings(block[: end + 1]))
            mol = Chem.MolFromMolBlock(text)
            if mol is not None:
                return Chem.MolToSmiles(mol), None
        except StructureError as error:
            return "", str(error)
        except (RuntimeError, ValueError):
            pass
    return "", "mol block cannot be parsed"


def _count_rings(block: list[str]) -> int:
    """Rings of a mol block, from its bonds alone: RDKit may crash where there are too many."""
    if any(line.startswith("M  V30") for line in block):
        parts = [line.split() for line in block if line.startswith("M  V30") and len(line) < 200]
        pairs = [(words[4], words[5]) for words in parts if len(words) > 5 and words[3].isdigit()]
    else:
        counts = block[3] if len(block) > 3 else ""
        atoms = int(counts[:3]) if counts[:3].strip().isdigit() else 0
        pairs = [(line[:3], line[3:6]) for line in block[4 + atoms :] if line[:1] in " 0123456789"]
    above: dict[str, str] = {}

    def root(atom: str) -> str:
        while (over := above.setdefault(atom, atom)) != atom:
            above[atom] = above[over]
            atom = over
        return atom

    rings = 0
    for one, other in pairs:
        first, second = root(one), root(other)
        rings += first == second
        above[first] = second
    return rings


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa

    try:
        with _plain_file(path) as plain, open_parquet(plain) as file:
            limits = Limits(plain, file)
            names, columns = _scalar_columns(file)
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
                        yield row if is_small else _bounded(row)
                        number += 1
    except (pa.ArrowException, OSError, UnicodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TableError(f"{path}: is not a readable Parquet file ({reason})") from error


@contextmanager
def _plain_file(path: Path) -> Iterator[Path]:
    """The file itself, or an unpacked copy for as long as it is needed."""
    if not _is_gzipped(path):
        yield path
        return
    with tempfile.NamedTemporaryFile() as copy:
        with _reading(path), _open_bytes(path) as raw:
            while piece := raw.read1(1 << 20):  # type: ignore[attr-defined]
                copy.write(piece)
        copy.flush()
        yield Path(copy.name)


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
