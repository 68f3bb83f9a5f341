"""Labels do not depend on the order of rows, on the file's format, nor on the number of cores."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem

from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds, read_labelled

TASKS = (
    Task("pic50", "regression", unit="nM", scale="p", low=2, high=12, source="IC50"),
    Task("potent", "binary", unit="nM", scale="p", source="IC50", threshold=6.0),
    Task("tox", "binary"),
    Task("sol", "regression", unit="uM", replicates="mean", max_spread=50.0),
)
HEADER = ("id", "smiles", "IC50", "IC50_qualifier", "IC50_unit", "tox", "sol")
CHEMISTRY = Chemistry(StandardizerSpec(), FeatureSpec(bits=64, descriptors="none"), "", "")


def make_rows() -> list[tuple[str, ...]]:
    """Salts, isomers, replicates, bounds, units, missing marks and rows that cannot be used."""
    chance = random.Random(3)
    rows = []
    for number in range(90):
        smiles = "C" * (1 + number % 30) + chance.choice(["N", "O", "[C@H](N)Cl", "N.Cl", "C(=O)O"])
        value = f"{10 ** chance.uniform(-1, 5):.2f}"
        rows.append(
            (
                f"c{number % 70}",
                smiles if number % 17 else "C1CC",
                chance.choice([value, value, value, "", "n.d."]),
                chance.choice(["=", "=", ">", "<", ""]),
                chance.choice(["nM", "nmol/L", "uM", "ug/mL"]),
                chance.choice(["yes", "no", "", "inconclusive"]),
                chance.choice([f"{chance.uniform(0, 99):.3f}", "<5.25", ">80.5", "bad"]),
            )
        )
    return rows


ROWS = make_rows()


def lines(rows: Sequence[Sequence[str]], mark: str) -> bytes:
    return "\n".join(mark.join(row) for row in [HEADER, *rows]).encode() + b"\n"


def write_csv(folder: Path) -> Path:
    path = folder / "t.csv"
    path.write_bytes(lines(ROWS, ","))
    return path


def write_tsv(folder: Path) -> Path:
    path = folder / "t.tsv"
    path.write_bytes(lines(ROWS, "\t"))
    return path


def write_comma(folder: Path) -> Path:
    """Semicolons and decimal commas, as in much of Europe."""
    path = folder / "t.csv"
    turned = [(*row[:2], *(cell.replace(".", ",") if cell != "n.d." else cell for cell in row[2:]))
              for row in ROWS]  # fmt: skip
    path.write_bytes(lines(turned, ";"))
    return path


def write_gzip(folder: Path) -> Path:
    path = folder / "t.csv.gz"
    path.write_bytes(gzip.compress(lines(ROWS, ",")))
    return path


def write_utf16(folder: Path) -> Path:
    path = folder / "t.csv"
    path.write_bytes(lines(ROWS, ",").decode().encode("utf-16"))
    return path


def write_parquet(folder: Path) -> Path:
    path = folder / "t.parquet"
    pd.DataFrame(ROWS, columns=list(HEADER)).to_parquet(path)
    return path


def write_excel(folder: Path) -> Path:
    workbook = pytest.importorskip("openpyxl").Workbook()
    for row in [HEADER, *ROWS]:
        cells = [_number(cell) for cell in row]
        workbook.active.append(cells)
    path = folder / "t.xlsx"
    workbook.save(path)
    return path


def _number(cell: str) -> object:
    """A cell as a spreadsheet holds it."""
    try:
        return float(cell)
    except ValueError:
        return cell or None


def write_sdf(folder: Path) -> Path:
    path = folder / "t.sdf"
    records = []
    for row in ROWS:
        mol = Chem.MolFromSmiles(row[1])
        # What is no molecule is a record without atoms that are one.
        block = Chem.MolToMolBlock(mol) if mol else "\n\n\nno block\nM  END\n"
        properties = "".join(
            f"> <{name}>\n{cell}\n\n" for name, cell in zip(HEADER, row, strict=True)
            if name != "smiles" and cell
        )  # fmt: skip
        records.append(f"{block}{properties}$$$$\n")
    path.write_text("".join(records))
    return path


WRITERS = (
    write_tsv, write_comma, write_gzip, write_utf16, write_parquet, write_excel, write_sdf,
)  # fmt: skip


def read(path: Path, jobs: int = 1) -> LabelledCompounds:
    return read_labelled([path], TASKS, CHEMISTRY, jobs=jobs)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> LabelledCompounds:
    found = read(write_csv(tmp_path_factory.mktemp("reference")))
    # Something of everything is there.
    assert set(found.labels.tasks) == {0, 1, 2, 3}
    assert set(found.labels.qualifiers) == {-1, 0, 1}
    assert len(found.rejects) > 30
    return found


def assert_same_labels(found: LabelledCompounds, reference: LabelledCompounds) -> None:
    assert found.compounds.inchikeys.tolist() == reference.compounds.inchikeys.tolist()
    assert found.compounds.ids.tolist() == reference.compounds.ids.tolist()
    for name in ("rows", "tasks", "values", "qualifiers", "weights"):
        mine, theirs = getattr(found.labels, name), getattr(reference.labels, name)
        assert np.array_equal(mine, theirs), name


def assert_same(found: LabelledCompounds, reference: LabelledCompounds) -> None:
    """The same compounds, to the last bit the same labels, and the same report."""
    assert_same_labels(found, reference)
    assert found.report is not None
    assert reference.report is not None
    assert [
        (one.task, one.values, one.exact, one.below, one.above, one.n_rejected, one.compounds)
        for one in found.report.tasks
    ] == [
        (one.task, one.values, one.exact, one.below, one.above, one.n_rejected, one.compounds)
        for one in reference.report.tasks
    ]


@settings(
    max_examples=15, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(order=st.permutations(range(len(ROWS))))
def test_the_order_of_rows_does_not_matter(
    tmp_path: Path, reference: LabelledCompounds, order: list[int]
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(lines([ROWS[place] for place in order], ","))
    assert_same(read(path), reference)


@pytest.mark.parametrize("write", WRITERS)
def test_the_format_of_the_file_does_not_matter(
    tmp_path: Path, reference: LabelledCompounds, write: Callable[[Path], Path]
) -> None:
    found = read(write(tmp_path))
    assert_same_labels(found, reference)
    # The values of a record whose structure is damaged are not counted.
    if write is not write_sdf:
        assert_same(found, reference)


def test_several_files_are_one_table(tmp_path: Path, reference: LabelledCompounds) -> None:
    paths = [tmp_path / "1.csv", tmp_path / "2.csv"]
    paths[0].write_bytes(lines(ROWS[:40], ","))
    paths[1].write_bytes(lines(ROWS[40:], ","))
    for given_paths in (paths, paths[::-1]):
        assert_same(read_labelled(given_paths, TASKS, CHEMISTRY, jobs=1), reference)


def test_the_number_of_cores_does_not_matter(tmp_path: Path, reference: LabelledCompounds) -> None:
    assert_same(read(write_csv(tmp_path), jobs=2), reference)
