"""What a file is by its first bytes, whatever its name: a table, or something that is none."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from fluid.base.errors import TableError
from fluid.chem.readers.files import open_bytes

_HEAD = 4096
_UNPACK = "; unpack it, or pack it with gzip"
_EXPORT = "; export the table as CSV"
# First bytes of what is no table that can be read here, and what to do about it.
_MAGIC = {
    b"BZh": "packed with bzip2" + _UNPACK,
    b"\x28\xb5\x2f\xfd": "packed with Zstandard" + _UNPACK,
    b"\xfd7zXZ\x00": "packed with xz" + _UNPACK,
    b"7z\xbc\xaf\x27\x1c": "a 7z archive" + _UNPACK,
    b"Rar!": "a RAR archive" + _UNPACK,
    b"%PDF": "a PDF document" + _EXPORT,
    b"{\\rtf": "an RTF document" + _EXPORT,
    b"ARROW1": "an Arrow or Feather file; save it as Parquet or CSV",
    b"FEA1": "a Feather file; save it as Parquet or CSV",
    b"\x89HDF": "an HDF5 file; save the table as Parquet or CSV",
    b"SQLite format 3": "an SQLite database" + _EXPORT,
    b"RDX": "an R data file; export the table with write.csv",
    b"RDA": "an R data file; export the table with write.csv",
    b"X\n\x00\x00": "an R data file; export the table with write.csv",
    b"\x80\x04\x95": "a Python pickle; save the table as Parquet or CSV",
    b"\x80\x05\x95": "a Python pickle; save the table as Parquet or CSV",
    b"\x93NUMPY": "a NumPy array; save the table as Parquet or CSV",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"\x7fELF": "a program",
    b"\x1f\x8b": "gzipped twice; unpack it once",
    b"\xd0\xcf\x11\xe0": "an Excel workbook of the old kind (.xls), an encrypted one, or another "
    "Office document; save it as .xlsx without a password, or as CSV",
    b"$RXN": "a reaction file; its compounds are needed as SDF or in a table",
    b"$RDFILE": "an RDfile; export its compounds as SDF",
}
# What the members of a ZIP archive make of it.
_ARCHIVES = (
    ("xl/workbook.bin", "an Excel binary workbook (.xlsb); save it as .xlsx or CSV"),
    ("word/", "a Word document" + _EXPORT),
    ("ppt/", "a PowerPoint document" + _EXPORT),
    ("content.xml", "an OpenDocument file (.ods); save it as .xlsx or CSV"),
    ("Index/", "a Numbers document; export it as .xlsx or CSV"),
)
_MARKUP = re.compile(rb"<(!doctype|html|head|body|table|meta|div|\?xml|svg|!--)", re.IGNORECASE)
# No SMILES begins like this: one with brackets has an element behind the first.
_JSON = re.compile(rb"""\{\s*["'}]|\[\s*([\[{"\]]|-?\d+(\.\d+)?\s*,)""")


def find_kind(path: Path) -> str:
    """What a file holds by its first bytes: "parquet", "workbook", or "text" if nothing speaks.

    Raises
    ------
    TableError
        If it is none of these.
    """
    head = b""
    try:
        with open_bytes(path) as raw:
            while len(head) < _HEAD and (piece := raw.read1(_HEAD)):  # type: ignore[attr-defined]
                head += piece
    except (EOFError, OSError, zlib.error):
        return "text"  # damaged: whoever reads it says so
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _kind_of_archive(path)
    found = next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)
    if found is None and head[257:262] == b"ustar":
        found = "an archive (tar); unpack it"
    start = head.replace(b"\x00", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if found is None and _MARKUP.match(start):
        found = "a page of HTML or XML, not a table" + _EXPORT
    if found is None and _JSON.match(start):
        found = "JSON, not a table" + _EXPORT
    if found is not None:
        raise TableError(f"{path}: is {found}")
    return "text"


def _kind_of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise TableError(f"{path}: is a damaged ZIP archive or workbook") from error
    if "xl/workbook.xml" in names:
        return "workbook"
    for member, what in _ARCHIVES:
        if any(name.startswith(member) for name in names):
            raise TableError(f"{path}: is {what}")
    raise TableError(f"{path}: is a ZIP archive; unpack it, or pack a single table with gzip")
