"""A table can say whose a row is, and a compound belongs to everybody who measured it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluid.base.errors import TableError
from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.learn.task import Task
from fluid.partner.table import Columns, LabelledCompounds, read_labelled

TASKS = (Task("active", "binary"), Task("logd", "regression", low=-5, high=10))
SPEC = StandardizerSpec()


@pytest.fixture(scope="module")
def chemistry() -> Chemistry:
    return Chemistry(SPEC, FeatureSpec(bits=64, descriptors="none"), "", "")


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def by_smiles(table: LabelledCompounds) -> dict[str, set[str]]:
    assert len(table.groups) == len(table.compounds)
    return {
        smiles: set(group)
        for smiles, group in zip(table.compounds.smiles, table.groups, strict=True)
    }


def test_a_compound_has_the_values_of_all_its_labelled_rows(
    tmp_path: Path, chemistry: Chemistry
) -> None:
    table = write(
        tmp_path / "t.csv",
        "smiles,active,logd,Site Name",
        "CCO,1,,Basel",
        "CCN,1,,Basel",
        "OCC,1,,  Kyoto ",
        "CCO,1,0.3,Basel",
        "CC(=O)[O-].[Na+],0,,Leeds",
        "CC(=O)O,,1.5,Lund",
        "CCC,0,,",
    )
    found = read_labelled([table], TASKS, chemistry, Columns(group="site name"), jobs=1)
    assert by_smiles(found) == {
        "CCO": {"Basel", "Kyoto"},
        "CCN": {"Basel"},
        "CC(=O)O": {"Leeds", "Lund"},
        "CCC": set(),
    }
    assert all(isinstance(group, frozenset) for group in found.groups)


def test_a_row_without_label_gives_no_value(tmp_path: Path, chemistry: Chemistry) -> None:
    table = write(
        tmp_path / "t.csv",
        "smiles,active,site",
        "CCO,1,a",
        "CCO,,b",
        "CCO,perhaps,c",
        "CCCO,0,",
        "CCN,,a",
        "not a smiles,1,a",
    )
    found = read_labelled([table], TASKS[:1], chemistry, Columns(group="site"), jobs=1)
    assert by_smiles(found) == {"CCO": {"a"}, "CCCO": set()}


def test_a_compound_without_majority_still_has_its_groups(
    tmp_path: Path, chemistry: Chemistry
) -> None:
    table = write(tmp_path / "t.csv", "smiles,active,site", "CCO,1,a", "CCO,0,b", "CCN,1,b")
    found = read_labelled([table], TASKS[:1], chemistry, Columns(group="site"), jobs=1)
    assert by_smiles(found) == {"CCO": {"a", "b"}, "CCN": {"b"}}


def test_long_tables_have_groups(tmp_path: Path, chemistry: Chemistry) -> None:
    table = write(
        tmp_path / "t.csv",
        "smiles,task,value,year",
        "CCO,active,1,1999",
        "CCO,logd,0.5,2004",
        "CCO,solubility,3,2011",
        "CCN,logd,1,1999",
    )
    found = read_labelled([table], TASKS, chemistry, Columns(group="year"), jobs=1)
    assert by_smiles(found) == {"CCO": {"1999", "2004"}, "CCN": {"1999"}}


def test_several_tables_share_the_column_wherever_it_stands(
    tmp_path: Path, chemistry: Chemistry
) -> None:
    first = write(tmp_path / "1.csv", "smiles,active,site", "CCO,1,a", "CCC,1,a")
    second = write(tmp_path / "2.csv", "site,active,smiles", "b,1,CCO", "b,0,CCN")
    found = read_labelled([first, second], TASKS[:1], chemistry, Columns(group="site"), jobs=1)
    assert by_smiles(found) == {"CCO": {"a", "b"}, "CCC": {"a"}, "CCN": {"b"}}
    turned = read_labelled([second, first], TASKS[:1], chemistry, Columns(group="site"), jobs=1)
    assert turned.groups == found.groups


def test_without_a_group_column_nothing_changes(tmp_path: Path, chemistry: Chemistry) -> None:
    table = write(tmp_path / "t.csv", "smiles,active,site", "CCO,1,a", "CCN,1,b")
    plain = read_labelled([table], TASKS[:1], chemistry, jobs=1)
    assert plain.groups == []
    asked = read_labelled([table], TASKS[:1], chemistry, Columns(group="site"), jobs=1)
    assert plain.compounds.smiles.tolist() == asked.compounds.smiles.tolist()
    assert plain.labels.values.tolist() == asked.labels.values.tolist()
    assert (plain.rejects, plain.n_rows) == (asked.rejects, asked.n_rows)


def test_a_missing_group_column_is_one_clear_line(tmp_path: Path, chemistry: Chemistry) -> None:
    first = write(tmp_path / "1.csv", "smiles,active,site", "CCO,1,a")
    second = write(tmp_path / "2.csv", "smiles,active", "CCN,1")
    with pytest.raises(TableError, match=r"2\.csv: no group column 'site'; the columns are 'smi"):
        read_labelled([first, second], TASKS[:1], chemistry, Columns(group="site"), jobs=1)


def test_of_columns_that_read_alike_none_is_taken_unasked(
    tmp_path: Path, chemistry: Chemistry
) -> None:
    """In an SDF file one record's property could hide the labels of all the others."""
    table = write(tmp_path / "t.csv", "smiles,log D,log-d", "CCO,1,", "CCN,,2", "CCC,,3")
    tasks = (Task("log_d", "regression", low=-5, high=10),)
    with pytest.raises(TableError, match="columns 'log D' and 'log-d' both read as task 'log_d'"):
        read_labelled([table], tasks, chemistry, jobs=1)
    chosen = Columns(labels={"log_d": "log-d"})
    assert len(read_labelled([table], tasks, chemistry, chosen, jobs=1).compounds) == 2
