"""Opens a table by what its file holds, and else by its ending."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fluid.base.errors import TableError
from fluid.chem.readers.encodings import check_encoding
from fluid.chem.readers.excel import read_excel
from fluid.chem.readers.kinds import find_kind
from fluid.chem.readers.parquet import read_parquet
from fluid.chem.readers.sdf import read_sdf
from fluid.chem.readers.smiles import read_list, read_smiles
from fluid.chem.readers.table import MOST_COLUMNS, ReadOptions, Row, Source, Table
from fluid.chem.readers.text import read_text

Reader = Callable[[Source], Iterator[Row]]

READERS: dict[str, Reader] = {
    ".csv": partial(read_text, preferred=","),
    ".tsv": partial(read_text, preferred="\t"),
    ".tab": partial(read_text, preferred="\t"),
    ".txt": read_list,
    ".smi": read_smiles,
    ".smiles": read_smiles,
    ".ism": read_smiles,
    ".can": read_smiles,
    ".cxsmiles": read_smiles,
    ".sdf": read_sdf,
    ".sd": read_sdf,
    ".parquet": read_parquet,
    ".xlsx": read_excel,
    ".xlsm": read_excel,
}
# What a file is read as by its first bytes, and the endings that say so.
_KINDS: dict[str, tuple[str, Reader, tuple[str, ...]]] = {
    "parquet": ("a Parquet file", read_parquet, (".parquet",)),
    "workbook": ("an Excel workbook", read_excel, (".xlsx", ".xlsm")),
}
_NAMED_MARKS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "blank": " "}
_HINTS = {
    ".mol": "; a mol file is read as .sdf",
    ".bz2": "; unpack it, or pack it with gzip",
    ".zst": "; unpack it, or pack it with gzip",
    ".zip": "; unpack it, or pack it with gzip",
    ".xls": "; save it as .xlsx or CSV",
    ".ods": "; save it as .xlsx or CSV",
}


def read_table(path: Path, options: ReadOptions | None = None) -> Table:
    """Open a table by what its file holds, and else by its ending.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv``, ``.txt``, ``.smi``, ``.sdf``, ``.parquet``, each also with ``.gz``, or
        ``.xlsx``, for which the extra ``excel`` is needed.
    options
        How to read it, where it does not tell itself.

    Returns
    -------
    Table
        Its notes say what was found around the table; they are complete when all rows are read.

    Raises
    ------
    TableError
        If the file is missing, empty, truncated, of another kind, or can be read in two ways.
    """
    if path.is_dir():
        raise TableError(f"{path}: no such file, it is a folder")
    if not path.is_file():
        raise TableError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise TableError(f"{path}: the file is empty")
    source = Source(path, _checked(path, options or ReadOptions()), [])
    reader = _choose(source)
    stream = reader(source)
    try:
        columns = next(stream).values
    except StopIteration:
        raise TableError(f"{path}: the file holds no header and no rows") from None
    if len(columns) > MOST_COLUMNS:
        raise TableError(
            f"{path}: the header has {len(columns):,} columns; at most {MOST_COLUMNS:,} are allowed"
        )
    return Table(path, columns, stream, source.notes, source.units)


def _choose(source: Source) -> Reader:
    path = source.path
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    kind = find_kind(path)
    reader = READERS.get(suffix)
    if kind in _KINDS:
        what, reader, endings = _KINDS[kind]
        if suffix not in endings:
            source.note(f"is read as {what}, which it is in spite of its name")
    elif reader is None:
        allowed = ", ".join(sorted(READERS))
        raise TableError(
            f"{path}: unknown kind of table '{suffix}'{_HINTS.get(suffix, '')}; allowed are "
            f"{allowed}, or .gz"
        )
    elif any(suffix in endings for _, _, endings in _KINDS.values()):
        return reader  # which says what is wrong with it
    options = source.options
    if options.sheet is not None and reader is not read_excel:
        raise TableError(f"{path}: --sheet {options.sheet[:40]}: it is not a workbook")
    if options.encoding is not None and reader in (read_excel, read_parquet):
        raise TableError(f"{path}: --encoding {options.encoding[:40]}: it is not a text file")
    if options.delimiter is not None and reader in (read_excel, read_parquet, read_sdf):
        raise TableError(f"{path}: --delimiter: it is not a text with delimiters")
    return reader


def _checked(path: Path, options: ReadOptions) -> ReadOptions:
    if options.encoding is not None and (problem := check_encoding(options.encoding)):
        raise TableError(f"{path}: --encoding: {problem}")
    if options.delimiter is None:
        return options
    mark = _NAMED_MARKS.get(options.delimiter.lower(), options.delimiter)
    if len(mark) != 1 or mark.isalnum() or mark in "\"'\r\n\x00":
        raise TableError(
            f"{path}: --delimiter '{options.delimiter[:20]}' is not one mark, such as ';', '|' or "
            "'tab'"
        )
    return ReadOptions(options.encoding, mark, options.sheet)
