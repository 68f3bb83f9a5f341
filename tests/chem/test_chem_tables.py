"""Which column is what, and rows that are rejected with a reason."""

import csv

import numpy as np
import pytest

from fluid.base.errors import TableError
from fluid.chem.features import FeatureSpec
from fluid.chem.featurizer import BATCH, featurize_entries, list_rejects
from fluid.chem.readers import Row
from fluid.chem.standardize import StandardizerSpec
from fluid.chem.tables import (
    Entry,
    Reject,
    batched,
    normal_name,
    open_entries,
    write_rejects,
)

FEATURES = FeatureSpec(bits=64, descriptors="none")


def table(folder, text, name="t.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


@pytest.mark.parametrize(
    ("header", "smiles", "name"),
    [
        ("smiles,id", 0, 1),
        ("ID;Canonical_SMILES;bbb", 1, 0),
        ("Name,SMILES", 1, 0),
        ("cmpd,structure", 1, 0),
        ("Compound-ID,Standard SMILES", 1, 0),
        ("bbb,mol", 1, None),
        ("canonical_smiles,smiles,name,compound_id", 1, 3),
        ("structure,Molecule ChEMBL ID", 0, 1),
    ],
)
def test_columns_are_found_by_their_usual_names(tmp_path, header, smiles, name):
    found = open_entries(table(tmp_path, header + "\n"))
    assert (found.smiles_index, found.id_index) == (smiles, name)


def test_columns_can_be_named(tmp_path):
    path = table(tmp_path, "smiles,My Structure,code,id\nCCO,CCN,x,y\n")
    entries = list(open_entries(path, "my structure", "CODE"))
    assert [(entry.id, entry.smiles) for entry in entries] == [("x", "CCN")]


def test_a_column_that_is_not_there_is_an_error_that_lists_those_that_are(tmp_path):
    path = table(tmp_path, "a,b\n1,2\n")
    with pytest.raises(TableError, match=r"no SMILES column; the columns are 'a', 'b'\. Name it"):
        open_entries(path)
    with pytest.raises(TableError, match="no SMILES column 'x'; the columns are 'a', 'b'"):
        open_entries(path, "x")
    with pytest.raises(TableError, match="no id column 'x'"):
        open_entries(path, "a", "x")


def test_names_are_compared_without_case_blanks_and_dashes():
    assert normal_name(" Canonical-SMILES ") == normal_name("canonical smiles")


def test_batches_keep_the_order_and_the_rest():
    entries = [Entry(Row(line, ["CCO"]), "", "CCO") for line in range(7)]
    lines = [[entry.row.line for entry in batch] for batch in batched(iter(entries), 3)]
    assert lines == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []


def test_a_batch_of_long_rows_is_shorter():
    entries = [Entry(Row(line, ["C" * 1_000_000]), "", "C") for line in range(30)]
    assert [len(batch) for batch in batched(entries, 256)] == [9, 9, 9, 3]


def test_rejects_are_a_table_that_can_be_read_back(tmp_path):
    rejects = [Reject("t.csv", 3, 'a "b"', "smiles", "C,1\nx", "why; not")]
    assert write_rejects(tmp_path / "r.csv", rejects) == 1
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    assert rows == [
        ["file", "line", "id", "column", "value", "reason"],
        ["t.csv", "3", 'a "b"', "smiles", "C,1\nx", "why; not"],
    ]


def test_without_rejects_there_is_a_header_alone(tmp_path):
    assert write_rejects(tmp_path / "r.csv", []) == 0
    assert (tmp_path / "r.csv").read_bytes() == b"file,line,id,column,value,reason\n"


def test_bad_rows_are_set_aside_with_line_and_reason_and_the_rest_goes_on(tmp_path):
    content = (
        b"smiles,id\nCCO,a\nnonsense,b\xc3\xa9\nCC,c,extra\n,d\xc3\xa9\nCC\xff,e\nC*,f\xe9\n"
        + b"C" * 3001
        + b",g\n[Na+].[O-]C(C)=O,h\n"
    )
    entries = open_entries(table(tmp_path, content))
    (batch,) = featurize_entries(entries, StandardizerSpec(), FEATURES)
    assert batch.compounds.ids.tolist() == ["a", "h"]
    assert batch.compounds.smiles.tolist() == ["CCO", "CC(=O)O"]
    assert [entry.row.line for entry in batch.entries] == [2, 9]
    assert list_rejects(entries, batch) == [
        Reject("t.csv", 3, "bé", "smiles", "nonsense", "SMILES cannot be parsed"),
        Reject("t.csv", 4, "c", "smiles", "CC", "row has 3 fields, the header has 2"),
        Reject("t.csv", 5, "dé", "smiles", "", "empty structure"),
        Reject("t.csv", 6, "e", "smiles", "CC\\xff", "structure holds bytes that are not UTF-8"),
        Reject("t.csv", 7, "f\\xe9", "smiles", "C*", "holds a dummy atom or R-group (*)"),
        Reject(
            "t.csv",
            8,
            "g",
            "smiles",
            "C" * 200,
            "SMILES of 3001 characters, at most 3000 are allowed",
        ),
    ]


def test_a_batch_of_bad_rows_holds_no_compounds(tmp_path):
    entries = open_entries(table(tmp_path, "smiles\nx\ny\n"))
    (batch,) = featurize_entries(entries, StandardizerSpec(), FEATURES)
    assert len(batch.compounds) == 0
    assert len(batch.rejects) == 2


def test_two_worker_processes_give_what_one_gives(tmp_path):
    lines = [f"{'C' * (1 + n % 40)}O,c{n}" if n % 7 else f"bad,c{n}" for n in range(2 * BATCH + 9)]
    path = table(tmp_path, "smiles,id\n" + "\n".join(lines) + "\n")
    one, two = (
        list(featurize_entries(open_entries(path), StandardizerSpec(), FEATURES, jobs))
        for jobs in (1, 2)
    )
    assert [len(batch.entries) + len(batch.rejects) for batch in one] == [BATCH, BATCH, 9]
    for here, there in zip(one, two, strict=True):
        assert here.entries == there.entries
        assert here.rejects == there.rejects
        assert np.array_equal(here.compounds.fingerprints, there.compounds.fingerprints)
        assert here.compounds.ids.tolist() == there.compounds.ids.tolist()
