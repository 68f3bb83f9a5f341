"""SD files as vendors and instruments write them."""

import pytest
from rdkit import Chem

from fluid.chem.readers import read_table

NO_ATOMS = "\n     RDKit          2D\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n"


def mol_block(smiles, title="", is_v3000=False):
    block = NO_ATOMS
    if smiles:
        block = Chem.MolToMolBlock(Chem.MolFromSmiles(smiles), forceV3000=is_v3000)
    return title + block[block.index("\n") :]


def prop(name, value):
    return f">  <{name}>\n{value}\n\n"


def record(smiles, title="", data="", end="$$$$\n", is_v3000=False):
    return mol_block(smiles, title, is_v3000) + data + end


def read(folder, content):
    """Columns, values or problem of each row, and notes."""
    path = folder / "t.sdf"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_table(path)
    rows = [row.values if row.problem is None else row.problem for row in table.rows]
    return table.columns, rows, table.notes


@pytest.mark.parametrize("is_v3000", [False, True])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("data", "value"),
    [
        (prop("x", 4), "4"),
        ("", ""),
        (">  <x>\n4\n", "4"),
        (">  <x>\n\n", ""),
        (prop("x", 4) + "\n\n", "4"),
    ],
    ids=["properties", "none", "no-blank-line", "empty-value", "blank-lines"],
)
def test_a_record_without_its_end_ends_at_the_next_mol_block(
    tmp_path, data, value, line_end, is_v3000
):
    content = record("CCO", "a", data, "", is_v3000) + record(
        "CCN", "b", prop("x", 5), "", is_v3000
    )
    content += record("CCC", "c", prop("x", 6), is_v3000=is_v3000)
    columns, rows, notes = read(tmp_path, content.replace("\n", line_end))
    assert columns == ["smiles", "id", "x"]
    assert rows == [["CCO", "a", value], ["CCN", "b", "5"], ["CCC", "c", "6"]]
    assert "end where the next mol block begins (2)" in notes[0]


def test_a_mol_block_that_is_cut_off_does_not_take_the_next_one(tmp_path):
    cut = mol_block("CCCC", "a").split("M  END")[0]
    _, rows, _ = read(tmp_path, cut + record("CCN", "b", prop("x", 5)))
    assert rows == ["mol block has no 'M  END' line", ["CCN", "b", "5"]]


def test_a_mol_block_in_a_property_is_refused(tmp_path):
    inner = ">  <inner>\n" + mol_block("CCCC", "inner")
    _, rows, _ = read(tmp_path, record("CCO", "a", inner + prop("x", 5)) + record("CCN", "b"))
    assert rows[0] == "record has 2 mol blocks; is there a line '$$$$' missing?"
    assert rows[1][:2] == ["CCN", "b"]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (">  <name> (12)", "name"),
        ("> 25 <MELTING.POINT>", "MELTING.POINT"),
        (">\t<t>\t", "t"),
        ("> DT12", "DT12"),
        ("> 55 (MD-08974) <BOILING.POINT>", "BOILING.POINT"),
        ("><x>", "x"),
        (">  <logD > 7>", "logD > 7"),
    ],
)
def test_headers_of_properties(tmp_path, header, name):
    columns, rows, _ = read(tmp_path, record("CCO", "a", f"{header}\n4\n\n"))
    assert columns[2:] == [name]
    assert rows[0][2:] == ["4"]


@pytest.mark.parametrize("value", [">10", "<4", "> 3", ">5 and <10", ">= 7", "5\t6", "$5"])
def test_values_that_begin_like_something_else(tmp_path, value):
    content = record("CCO", "a", prop("x", value) + prop("y", 1))
    assert read(tmp_path, content)[1] == [["CCO", "a", value, "1"]]


def test_blank_lines_too_many_or_too_few_lose_no_value(tmp_path):
    data = ">  <a>\n4\n>  <b>\n\n5\n\n\n>  <c>\n\n>  <d>\n6\n\nremark\n\n"
    columns, rows, _ = read(tmp_path, record("CCO", "x", data))
    assert dict(zip(columns[2:], rows[0][2:], strict=True)) == {
        "a": "4",
        "b": "5",
        "c": "",
        "d": "6\nremark",
    }


def test_a_value_of_several_lines_is_kept_whole(tmp_path):
    assert read(tmp_path, record("CCO", "a", prop("x", "4.5\n5.6")))[1][0][2] == "4.5\n5.6"


def test_a_property_that_says_two_things_is_refused(tmp_path):
    content = record("CCO", "a", prop("x", 4) * 2)
    content += record("CCN", "b", prop("x", 4) + prop("x", 5))
    _, rows, _ = read(tmp_path, content)
    assert rows == [["CCO", "a", "4"], "property 'x' occurs twice, with different values"]


def test_names_that_differ_in_case_are_one_column_unless_a_record_has_both(tmp_path):
    content = record("CCO", "a", prop("IC50", 4)) + record("CCN", "b", prop("ic50", 5))
    columns, rows, notes = read(tmp_path, content)
    assert columns == ["smiles", "id", "IC50"]
    assert [row[2] for row in rows] == ["4", "5"]
    assert notes == ["properties 'IC50' and 'ic50' are one column"]
    content += record("CCC", "c", prop("IC50", 6) + prop("ic50", 7))
    columns, rows, _ = read(tmp_path, content)
    assert columns == ["smiles", "id", "IC50", "ic50"]
    assert [row[2:] for row in rows] == [["4", ""], ["", "5"], ["6", "7"]]


def test_a_record_without_atoms_is_read_from_its_smiles(tmp_path):
    content = record("", "a", prop("SMILES", "CCO") + prop("x", 4))
    content += record("", "b", prop("x", 5))
    content += record("", "c", prop("can_SMILES", "CCO") + prop("iso_smiles", "CCN"))
    content += record("", "d", prop("can_SMILES", "CCF"))
    _, rows, notes = read(tmp_path, content)
    assert rows[0][:3] == ["CCO", "a", "4"]
    assert rows[1] == "mol block has no atoms"
    assert "differ" in rows[2]
    assert rows[3][:2] == ["CCF", "d"]
    assert notes == ["records without atoms are read from their SMILES property (2)"]


@pytest.mark.parametrize(
    ("block", "stated"),
    [
        ("CC(=O)[O-].[Na+]", "CC(O)=O"),
        ("C[N+](=O)[O-]", "O=[N+]([O-])C"),
        ("c1ccccc1", "C1=CC=CC=C1"),
        ("C[C@H](N)C(=O)O", "CC(N)C(O)=O"),
        ("CCO", "wrong"),
    ],
)
def test_a_smiles_that_agrees_with_the_mol_block_changes_nothing(tmp_path, block, stated):
    rows = read(tmp_path, record(block, "a", prop("SMILES", stated)))[1]
    assert rows == [[block, "a"]]


@pytest.mark.parametrize("name", ["SMILES", "smiles", "Canonical SMILES", "PUBCHEM_SMILES"])
def test_a_smiles_of_another_compound_is_refused(tmp_path, name):
    rows = read(tmp_path, record("CCO", "a", prop(name, "CCN")))[1]
    assert rows == [f"mol block and property '{name}' are different compounds: CCO and CCN"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\n\n" + text,
        lambda text: text.replace("\n\n", "\n", 1),
        lambda text: text.replace("M  END", "M END"),
        lambda text: text.replace("M  END", "M  END  "),
        lambda text: text.replace("V2000", "v2000"),
        lambda text: text.replace(" V2000", ""),
        lambda text: text.replace("$$$$", "$$$$  "),
        lambda text: text.replace("2D", "3D"),
        lambda text: text.replace("$$$$\n", ""),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("M  END", "A    1\nµ\nM  END"),
    ],
    ids=[
        "blank-lines", "line-less", "m-end", "trailing", "lower-case", "no-version", "end", "3d",
        "no-end", "bom", "alias",
    ],
)  # fmt: skip
def test_deviations_that_cost_nothing(tmp_path, change):
    content = change(record("CCO", "a", prop("x", 4)))
    assert read(tmp_path, content)[1] == [["CCO", "a", "4"]]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  2  3  1  0", "  2  3  8  0", "query bonds"),
        ("M  END", "M  SUB  1   2   3\nM  END", "query atoms"),
        ("M  END", "M  UNS  1   2   1\nM  END", "query atoms"),
        (
            "M  END",
            "M  STY  1   1 SRU\nM  SAL   1  1   2\nM  SMT   1 n\nM  END",
            "is of a polymer",
        ),
        (" O  ", " Zz ", "cannot be parsed"),
    ],
)
def test_what_stands_for_other_compounds_is_refused(tmp_path, old, new, problem):
    content = record("CCO", "a")
    assert old in content
    rows = read(tmp_path, content.replace(old, new, 1))[1]
    assert problem in rows[0]


def test_an_r_group_stays_one(tmp_path):
    content = record("CCO", "a").replace(" O  ", " R# ", 1)
    assert "*" in read(tmp_path, content)[1][0][0]


def test_titles_and_properties_in_another_encoding(tmp_path):
    content = record("CCO", "Crème", prop("IC50 (µM)", 4)).encode("cp1252")
    columns, rows, notes = read(tmp_path, content)
    assert columns[2] == "IC50 (µM)"
    assert rows == [["CCO", "Crème", "4"]]
    assert "Windows-1252" in notes[0]
