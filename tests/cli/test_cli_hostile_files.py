"""Small files that unpack to gigabytes are refused: one line, little memory, little time."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest

from fluid.base.files import canonical_json, sha256_file
from fluid.exchange.sealed import MANIFEST_KEY, SEAL_KEY, open_sealed
from fluid.exchange.signing import load_private_key, sign_digest
from tests import parquet_pages as pages
from tests.cli.cli_site import FLUID, Site, read_rows, snapshot
from tests.measured import Measured, measure
from tests.parquet_pages import Column, page, text_column, write_pages

MEMORY = 1_500_000_000
SECONDS = 10.0
HUGE = 1 << 30
_PIECE = 1 << 24


def repeated(piece: bytes, size: int = HUGE, start: bytes = b"", end: bytes = b"") -> bytes:
    """A gzipped text that repeats a piece until it has a size, made without unpacking it."""
    block = piece * (_PIECE // len(piece))
    middle = gzip.compress(block) * max(1, size // len(block))
    return (gzip.compress(start) if start else b"") + middle + (gzip.compress(end) if end else b"")


def honest_end(piece: bytes, size: int, start: bytes) -> bytes:
    """The same in one part, which states at its end what it unpacks to."""
    return gzip.compress(start + piece * (size // len(piece)), compresslevel=1)


MOL = "\n  x\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0 0.0 0.0 C   0  0\nM  END\n"
PROPERTIES = "".join(f"> <p{number}>\n1\n\n" for number in range(70_000))


def lengths(first: int, then: int, count: int) -> bytes:
    """Lengths, delta coded: the first, and one other for the rest."""
    block = struct.pack("<128I", then - first + (1 << 20), *([1 << 20] * 127))
    head = pages.varint(128) + pages.varint(1) + pages.varint(count) + pages.zigzag(first)
    rest = (pages.zigzag(0) + b"\0") * ((count - 2) // 128)
    return head + pages.zigzag(-(1 << 20)) + b"\x20" + block + rest


def columns_of(column: Column, rows: int) -> Callable[[Path], object]:
    return lambda path: write_pages(path, [column], rows)


def smiles(content: bytes, rows: int, encoding: int, **how: object) -> Column:
    packed = "pack" in how
    made = page(content, rows, encoding, **how)  # type: ignore[arg-type]
    return Column("smiles", pages.TEXT, [made], rows, packed=packed, converted=pages.UTF8)


def repeated_length(count: int) -> bytes:
    """Lengths of 0, as many as wanted, in one block without bits."""
    head = pages.varint(1 << 31) + pages.varint(1) + pages.varint(count)
    return head + pages.zigzag(0) * 2 + b"\0"


def deep(path: Path) -> None:
    above = [pages.group("g", pages.REQUIRED) for _ in range(20_000)]
    leaf = page(bytes(4), 1, pages.PLAIN)
    write_pages(path, [Column("x", pages.INT32, [leaf], 1, levels=above)], 1)


def zeros(path: Path) -> None:
    made = page(bytes(1 << 26), 1 << 24, pages.PLAIN, pack=pages.zstd)
    column = Column("smiles", pages.INT32, [made] * 60, 60 << 24, packed=True)
    write_pages(path, [column], 60 << 24)


def wide(path: Path) -> None:
    column = Column("x", pages.INT32, [page(bytes(4), 1, pages.PLAIN)], 1)
    write_pages(path, [column] * 70_000, 1)


N = 4000
TABLES: dict[str, tuple[str, bytes | Callable[[Path], object]]] = {
    # One line, one cell, one row
    "one line": ("t.csv.gz", repeated(b"C")),
    "one line, honest about it": ("t.csv.gz", honest_end(b"C", 1 << 28, b"smiles\n")),
    "one line behind a header": ("t.csv.gz", repeated(b"C", start=b"smiles,id\n")),
    "one line of commas": ("t.csv.gz", repeated(b",", start=b"smiles,id\n")),
    "one line, plain": ("t.csv", b"smiles,id\n" + b"C" * (1 << 27)),
    "one line of UTF-16": ("t.csv", ("smiles\n" + "\u0a0a" * (1 << 23)).encode("utf-16")),
    "one line, SMILES": ("t.smi.gz", repeated(b"C")),
    "one line, SDF": ("t.sdf.gz", repeated(b"C")),
    "a million columns": ("t.csv", b"smiles," + b",".join(b"c%d" % n for n in range(1 << 20))),
    "many columns": ("t.csv", b"smiles," + b",".join(b"c%d" % n for n in range(70_000)) + b"\nC"),
    "an open quote": ("t.csv.gz", repeated(b"C,1\n", start=b'smiles,id\n"C,')),
    "quotes over lines": ("t.csv.gz", repeated(b'b","a\n', start=b'smiles,id\n"')),
    "an open quote, plain": ("t.csv", b'smiles,id\nC,"' + b"C,1\n" * 3_000_000),
    # Nothing, over and over
    "blank lines": ("t.csv.gz", repeated(b"\n")),
    "blank rows": ("t.csv.gz", repeated(b",\n", start=b"smiles,id\n")),
    "blank lines, SMILES": ("t.smi.gz", repeated(b"\n")),
    "blank lines, SDF": ("t.sdf.gz", repeated(b"\n")),
    "zeros": ("t.csv.gz", repeated(b"\0", start=b"smiles,id\n")),
    # Records
    "no end of a record": ("t.sdf.gz", repeated(b"> <a>\n1\n\n", start=MOL.encode())),
    "no end of a record, plain": ("t.sdf", (MOL * 300_000).encode()),
    "many properties": ("t.sdf", (MOL + PROPERTIES + "$$$$\n").encode()),
    # Other containers
    "bzip2": ("t.csv.bz2", b"BZh9"),
    "a workbook": ("t.xlsx", b"PK\3\4"),
    # Parquet
    "a huge key": ("t.parquet", columns_of(text_column("smiles", 100, 80_000_000), 100)),
    "a large key": ("t.parquet", columns_of(text_column("smiles", 90_000, 1 << 20), 90_000)),
    "a billion rows": ("t.parquet", columns_of(text_column("smiles", 10**9), 10**9)),
    "pages of zeros": ("t.parquet", zeros),
    "a page that states 2 GB": (
        "t.parquet",
        columns_of(smiles(pages.text(1) * 9, 9, 0, pack=pages.zstd, size=2**31 - 1), 9),
    ),
    "lengths of 2 billion texts": (
        "t.parquet", columns_of(smiles(repeated_length(2**31 - 1), 10, pages.DELTA_LENGTH), 10),
    ),
    "prefixes": (
        "t.parquet",
        columns_of(
            smiles(
                lengths(0, 1 << 20, N) + lengths(1 << 20, 0, N) + b"C" * (1 << 20), N,
                pages.DELTA_BYTES, pack=pages.zstd,
            ),
            N,
        ),
    ),
    "a number of a gigabyte": (
        "t.parquet",
        columns_of(
            Column(
                "smiles", pages.FIXED, [page(pages.levels(pages.run(0, N)), N, 0)], N,
                repetition=pages.OPTIONAL, length=1 << 30,
            ),
            N,
        ),
    ),
    "a list of a billion": ("t.parquet", columns_of(pages.list_column("smiles", 1 << 29), 1)),
    "deep": ("t.parquet", deep),
    "wide": ("t.parquet", wide),
    "Parquet in gzip": ("t.parquet.gz", repeated(b"\0", start=b"PAR1")),
    "one key in gzip": ("t.parquet.gz", b""),
}  # fmt: skip


def forge_key(path: Path) -> None:
    plain = path.with_suffix("")
    write_pages(plain, [text_column("smiles", 100, 80_000_000)], 100)
    path.write_bytes(gzip.compress(plain.read_bytes()))


TABLES["one key in gzip"] = ("t.parquet.gz", forge_key)


def build(folder: Path, name: str) -> Path:
    file, content = TABLES[name]
    path = folder / file
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    return path


def some(names: Iterable[str], *quick: str) -> list[object]:
    """Names of a table of tests; those that are not named here too take minutes together."""
    assert set(quick) <= set(names)
    return [pytest.param(n, marks=() if n in quick else pytest.mark.long) for n in names]


def run_measured(folder: Path, arguments: Sequence[object]) -> Measured:
    return measure([*FLUID, *map(str, arguments)], folder / "measured.txt")


def refused_cheaply(folder: Path, path: Path, arguments: Sequence[object]) -> str:
    """The command says one line, writes nothing, and takes little memory and time."""
    before = snapshot(folder)
    found = run_measured(folder, arguments)
    (folder / "measured.txt").unlink()
    assert found.code == 1, found.stderr[-2000:]
    assert found.stdout == ""
    lines = found.stderr.splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in found.stderr
    assert str(path) in lines[-1]
    assert len(found.stderr) < 2500
    assert found.memory < MEMORY, f"{found.memory:,} bytes"
    assert found.seconds < SECONDS, f"{found.seconds} s"
    assert snapshot(folder) == before
    return lines[-1]


QUICK = (
    "one line, honest about it", "one line behind a header", "many columns", "an open quote",
    "many properties", "a huge key", "a billion rows", "lengths of 2 billion texts",
    "a list of a billion", "Parquet in gzip",
)  # fmt: skip


@pytest.mark.parametrize("name", some(TABLES, *QUICK))
def test_a_table_that_unpacks_to_too_much_is_refused(site: Site, tmp_path: Path, name: str) -> None:
    path = build(tmp_path, name)
    arguments = site.prepare(tmp_path / "new" / "public.parquet", path, "--smiles-column", "smiles")
    refused_cheaply(tmp_path, path, arguments)


@pytest.mark.long
@pytest.mark.parametrize("name", ["one line", "a large key", "many properties"])
@pytest.mark.parametrize("command", ["train-teacher", "predict", "evaluate"])
def test_every_command_that_reads_tables_refuses_them(
    site: Site, tmp_path: Path, name: str, command: str
) -> None:
    path = build(tmp_path, name)
    output = tmp_path / "new" / "output.csv"
    arguments = {
        "train-teacher": site.train(output.parent, path),
        "predict": site.predict(output, path),
        "evaluate": site.evaluate(path),
    }[command]
    refused_cheaply(tmp_path, path, arguments)


# Files under a good seal


def sealed(
    path: Path, model: Path, columns: Sequence[Column], rows: int, key: Path | None = None
) -> Path:
    """A file that states what another does, and holds these columns."""
    manifest = open_sealed(model, None).manifest
    stated = {MANIFEST_KEY: canonical_json(manifest).decode(), SEAL_KEY: pages.BLANK_SEAL}
    write_pages(path, columns, rows, stated)
    return pages.seal(path, partial(sign_digest, load_private_key(key)) if key else None)


def labels_beside(key: Column, site: Site, rows: int) -> list[Column]:
    schema = open_sealed(site.annotation("aurora"), None).schema
    others = [pages.float_column(name, rows) for name in schema.names if name != "inchikey"]
    return [key, *others]


KEYS: dict[str, Callable[[int], Column]] = {
    "a huge key": lambda rows: text_column("inchikey", rows, 80_000_000),
    "a large key": lambda rows: text_column("inchikey", rows, 2_000_000),
    "lengths": lambda rows: Column(
        "inchikey", pages.TEXT, [page(repeated_length(2**31 - 1), rows, pages.DELTA_LENGTH)], rows,
        converted=pages.UTF8,
    ),
    "a page of 2 GB": lambda rows: Column(
        "inchikey", pages.TEXT, [page(b"C", rows, pages.PLAIN, pack=pages.zstd, size=2**31 - 1)],
        rows, packed=True, converted=pages.UTF8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", ["distill", "inspect"])
@pytest.mark.parametrize("name", some(KEYS, "a huge key"))
def test_an_annotation_that_unpacks_to_too_much_is_refused(
    site: Site, tmp_path: Path, name: str, command: str
) -> None:
    rows = open_sealed(site.public, None).n_rows
    columns = labels_beside(KEYS[name](rows), site, rows)
    path = sealed(
        tmp_path / "a.parquet", site.annotation("aurora"), columns, rows, site.key("aurora")
    )
    assert path.stat().st_size < 20_000
    output = tmp_path / "new" / "round"
    arguments = site.distill(output, [path, site.annotation("draco")])
    refused_cheaply(tmp_path, path, ["inspect", path] if command == "inspect" else arguments)


def fingerprints(width: int, rows: int) -> Column:
    made = page(pages.same_index(rows), rows, pack=pages.zstd)
    key = page(bytes(width), 1, pages.PLAIN, pages.DICTIONARY_PAGE, pack=pages.zstd)
    return Column("fingerprint", pages.FIXED, [made], rows, key, packed=True, length=width)


PUBLIC: dict[str, tuple[int, Callable[[], Column]]] = {
    "a huge key": (100, lambda: text_column("smiles", 100, 80_000_000)),
    "a large key": (16_000, lambda: text_column("smiles", 16_000, 1_000_000)),
    "a billion rows": (10**9, lambda: text_column("smiles", 10**9)),
    "a list of a billion": (
        1, lambda: pages.list_column("environments", 1 << 29, converted=pages.UINT32),
    ),
    "wide fingerprints": (16_000, lambda: fingerprints(1 << 20, 16_000)),
}  # fmt: skip


@pytest.mark.parametrize("name", some(PUBLIC, "a large key", "a list of a billion"))
def test_a_public_or_federated_set_that_unpacks_to_too_much_is_refused(
    site: Site, tmp_path: Path, name: str
) -> None:
    rows, make = PUBLIC[name]
    path = sealed(tmp_path / "p.parquet", site.public, [make()], rows)
    refused_cheaply(tmp_path, path, ["inspect", path])


@pytest.mark.parametrize("name", some(PUBLIC, "wide fingerprints"))
def test_a_library_that_unpacks_to_too_much_is_refused(
    site: Site, tmp_path: Path, name: str
) -> None:
    rows, make = PUBLIC[name]
    student = Path(shutil.copytree(site.student, tmp_path / "student"))
    path = write_pages(student / "library.parquet", [make()], rows)
    values = json.loads((student / "model.json").read_text())
    values["files"]["library.parquet"] = sha256_file(path)
    (student / "model.json").write_text(json.dumps(values))
    arguments = ["predict", student, site.external, "-o", tmp_path / "new" / "p.csv", "-j", 1]
    refused_cheaply(tmp_path, path, arguments)


# Rows that take too long or are too long are rejected, and the rest is read


def molblock(atoms: int) -> str:
    """A chain of atoms in the long format, which is not bounded to 999 of them."""
    lines = ["", "  x", "", "  0  0  0     0  0            999 V3000", "M  V30 BEGIN CTAB"]
    lines += [f"M  V30 COUNTS {atoms} {atoms - 1} 0 0 0", "M  V30 BEGIN ATOM"]
    lines += [f"M  V30 {number} C 0 0 0 0" for number in range(1, atoms + 1)]
    lines += ["M  V30 END ATOM", "M  V30 BEGIN BOND"]
    lines += [f"M  V30 {number} 1 {number} {number + 1}" for number in range(1, atoms)]
    return "\n".join([*lines, "M  V30 END BOND", "M  V30 END CTAB", "M  END", "$$$$", ""])


def dense(atoms: int) -> str:
    """Iron atoms of which each is bound to every other."""
    pairs = list(combinations(range(1, atoms + 1), 2))
    lines = ["", "  x", "", "  0  0  0     0  0            999 V3000", "M  V30 BEGIN CTAB"]
    lines += [f"M  V30 COUNTS {atoms} {len(pairs)} 0 0 0", "M  V30 BEGIN ATOM"]
    lines += [f"M  V30 {number} Fe 0 0 0 0" for number in range(1, atoms + 1)]
    lines += ["M  V30 END ATOM", "M  V30 BEGIN BOND"]
    lines += [f"M  V30 {n} 1 {a} {b}" for n, (a, b) in enumerate(pairs, start=1)]
    return "\n".join([*lines, "M  V30 END BOND", "M  V30 END CTAB", "M  END", "$$$$", ""])


GOOD_MOL = molblock(3)
ROWS: dict[str, tuple[str, str, str]] = {
    "a long SMILES": ("t.csv", f"smiles\nCCO\n{'C' * 1_000_000}\n", "SMILES of 1000000 char"),
    "a longer SMILES": ("t.csv", f"smiles\nCCO\n{'C' * 2_000_000}\n", "more than 1,048,576 char"),
    "a long comment": ("t.csv", f"smiles,x\nCCO,\nC,{'x' * 2_000_000}\n", "more than 1,048,576 ch"),
    "a long name": ("t.csv", f"smiles,id\nCCO,\n*,{'x' * 900_000}\n", "dummy atom"),
    "a long name, SMILES": ("t.smi", f"CCO\n* {'x' * 900_000}\n", "dummy atom"),
    "brackets": ("t.csv", f"smiles\nCCO\nC{'(' * 2900}C\n", "cannot be parsed"),
    "branches": ("t.csv", f"smiles\nCCO\n{'C(' * 900}C{')' * 900}\n", "heavy atoms"),
    "components": ("t.csv", f"smiles\nCCO\n{'C.' * 1499}C\n", "1,500 components, at most 100"),
    "a large mol block": ("t.sdf", GOOD_MOL + molblock(9000), "mol block has 18,"),
    "a larger mol block": ("t.sdf", GOOD_MOL + molblock(90_000), "is there a line '$$$$' missing"),
    "all bound to all": ("t.sdf", GOOD_MOL + dense(60), "1,711 rings, at most 150 are allowed"),
    "two mol blocks": (
        "t.sdf", GOOD_MOL + GOOD_MOL.replace("$$$$", "x") + GOOD_MOL, "record has 2 mol blocks",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", some(ROWS, "a longer SMILES", "components", "all bound to all"))
def test_a_row_that_is_too_long_is_rejected(site: Site, tmp_path: Path, name: str) -> None:
    file, content, reason = ROWS[name]
    path = tmp_path / file
    path.write_text(content)
    output = tmp_path / "public.parquet"
    found = run_measured(tmp_path, site.prepare(output, path))
    assert found.code == 0, found.stderr
    assert found.memory < MEMORY
    assert found.seconds < SECONDS
    (rejected,) = read_rows(tmp_path / "public.rejects.csv")
    assert reason in rejected["reason"]
    assert max(map(len, rejected.values())) <= 1000
    assert len(found.stdout) + len(found.stderr) < 5000
