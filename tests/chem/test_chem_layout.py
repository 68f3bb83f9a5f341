"""What stands around a table and beside it, and which mark stands between its fields."""

import gzip
import io
import tarfile
import zipfile

import pytest

from fluid.base.errors import TableError
from fluid.chem.readers import ReadOptions, read_table

ROWS = [["CCO", "4.0"], ["CCN", "5.0"]]


def read(folder, content, name="t.csv", **options):
    """Columns, values of each row and notes."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_table(path, ReadOptions(**options))
    rows = [row.values if row.problem is None else row.problem for row in table.rows]
    return table.columns, rows, table.notes


# the delimiter


@pytest.mark.parametrize(
    ("content", "columns", "first"),
    [
        ("smiles;log S, pH 7.4\nCCO;4.0\nCCN;5.0\n", ["smiles", "log S, pH 7.4"], "4.0"),
        ("smiles;log S, pH 7.4\nCCO;4,0\nCCN;5,0\n", ["smiles", "log S, pH 7.4"], "4,0"),
        ("smiles;x\nCCO;4\nCCN;5,5\n", ["smiles", "x"], "4"),
        ("smiles\tx, y; z\nCCO\t4,0\nCCN\t5,0\n", ["smiles", "x, y; z"], "4,0"),
        ('"smiles","a;b;c"\nCCO,1\nCCN,2\n', ["smiles", "a;b;c"], "1"),
        ("smiles,note\nCCO,a;b\nCCN,c;d\n", ["smiles", "note"], "a;b"),
        ("smiles,cx\nCCO,C |a:1|\nCCN,C |b:1|\n", ["smiles", "cx"], "C |a:1|"),
        ("smiles|x\nCCO|1\nCCN|2\n", ["smiles", "x"], "1"),
        ("'smiles','x'\n'CCO','a,b'\n'CCN','c'\n", ["smiles", "x"], "a,b"),
        ('"smiles", "x"\n"CCO", "a, b"\n', ["smiles", "x"], "a, b"),
        ('"smiles","x"\n"CCO","a \\"b\\", c"\n', ["smiles", "x"], 'a "b", c'),
        ('"smiles,x"\n"CCO,1"\n"CCN,2"\n', ["smiles", "x"], "1"),
        ("smiles    x\nCCO       1 a\nCCN       2\n", ["smiles", "x"], "1 a"),
        ("smiles x\nCCO 1\nCCN 2\n", ["smiles", "x"], "1"),
    ],
)
def test_the_delimiter_is_the_one_that_fits_the_rows(tmp_path, content, columns, first):
    found, rows, _ = read(tmp_path, content)
    assert found == columns
    assert rows[0] == ["CCO", first]


def test_a_backslash_at_the_end_of_a_quoted_smiles_escapes_nothing(tmp_path):
    _, rows, _ = read(tmp_path, '"smiles","x"\n"C/C=C\\","1"\n"C\\C=C/C","2"\n')
    assert rows == [["C/C=C\\", "1"], ["C\\C=C/C", "2"]]


@pytest.mark.parametrize(
    ("line", "mark"), [("sep=;", ";"), ('"sep=;"', ";"), ("SEP=\t", "\t"), ("\ufeffsep=|", "|")]
)
def test_the_line_that_states_the_delimiter_is_obeyed(tmp_path, line, mark):
    table = "".join(f"{mark.join(row)}\n" for row in [["smiles", "a,b"], *ROWS])
    columns, rows, notes = read(tmp_path, f"{line}\n{table}")
    assert columns == ["smiles", "a,b"]
    assert rows == ROWS
    assert "states the delimiter" in notes[0]


def test_a_delimiter_that_is_named_is_taken(tmp_path):
    content = "smiles;a,x\nCCO;4,b\n"
    assert read(tmp_path, content, delimiter=",")[0] == ["smiles;a", "x"]
    with pytest.raises(TableError, match="--delimiter 'ab' is not one mark"):
        read(tmp_path, content, delimiter="ab")


# row names


@pytest.mark.parametrize(
    "content",
    [
        '"smiles","x"\n"1","CCO",4.0\n"2","CCN",5.0\n',
        "smiles;x\n1;CCO;4.0\n2;CCN;5.0\n",
        '"smiles" "x"\n"1" "CCO" 4.0\n"2" "CCN" 5.0\n',
        '"smiles"\t"x"\n"1"\t"CCO"\t4.0\n"2"\t"CCN"\t5.0\n',
    ],
)
def test_the_names_of_rows_as_r_writes_them_are_a_column(tmp_path, content):
    columns, rows, notes = read(tmp_path, content)
    assert columns == ["row names", "smiles", "x"]
    assert rows == [["1", "CCO", "4.0"], ["2", "CCN", "5.0"]]
    assert any("as R writes it" in note for note in notes)


def test_an_index_without_a_name_is_a_column_without_one(tmp_path):
    columns, rows, _ = read(tmp_path, ",smiles,x\n0,CCO,4.0\n1,CCN,5.0\n")
    assert columns == ["", "smiles", "x"]
    assert rows[0] == ["0", "CCO", "4.0"]


def test_decimal_commas_between_commas_are_not_names_of_rows(tmp_path):
    with pytest.raises(TableError, match="the header has 2 names, but the rows have 3 fields"):
        read(tmp_path, "smiles,x\nCCO,4,0\nCCN,5,5\n")


# above, below and between


@pytest.mark.parametrize(
    "above",
    [
        "Assay report\n",
        "Assay report\nDate: 2024-01-01, 12:00\n\n",
        "Assay report;;\n;;\n",
        "Instrument;X1\nOperator;Bob\n",
        "SMILES and their activities\n",
        "# made by a program\n# on a day\n",
        "\n\n",
    ],
)
def test_what_stands_above_the_header_is_passed_over_and_noted(tmp_path, above):
    columns, rows, notes = read(tmp_path, above + "smiles;x\nCCO;4.0\nCCN;5.0\n")
    assert columns == ["smiles", "x"]
    assert rows == ROWS
    assert bool(notes) == bool(above.strip())


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (" smiles |  x  \n--------+-----\n CCO    | 4.0\n CCN    | 5.0\n(2 rows)\n\n", 2),
        (
            "+--------+-----+\n| smiles | x   |\n+--------+-----+\n| CCO    | 4.0 |\n"
            "| CCN    | 5.0 |\n+--------+-----+\n2 rows in set (0.00 sec)\n",
            4,
        ),
        ("| smiles | x |\n|---|---|\n| CCO | 4.0 |\n| CCN | 5.0 |\n", 4),
        ("smiles    x\n--------- ---\nCCO       4.0\nCCN       5.0\n\n(2 rows affected)\n", 2),
        (
            "\\! filetype=Spotfire.DataFormat.Text; version=1.0;\nsmiles;x;\nString;Real;\n"
            "CCO;4.0;\nCCN;5.0;\n",
            3,
        ),
        ("smiles,x\nvarchar,double\nCCO,4.0\nCCN,5.0\n", 2),
        ("smiles,x\nCCO,4.0\nsmiles,x\nCCN,5.0\n", 2),
        ("\ufeffsmiles,x\nCCO,4.0\n\ufeffsmiles,x\nCCN,5.0\n", 2),
        ("smiles,x\nCCO,4.0\n# a remark\nCCN,5.0\n", 2),
        ("# smiles,x\nCCO,4.0\nCCN,5.0\n", 2),
    ],
    ids=[
        "psql", "mysql", "markdown", "sqlcmd", "spotfire", "types", "concatenated",
        "concatenated-bom", "remark", "commented-header",
    ],
)  # fmt: skip
def test_frames_counts_types_headers_and_remarks_are_no_rows(tmp_path, content, columns):
    names, rows, notes = read(tmp_path, content)
    assert len(names) == columns
    assert [name for name in names if name] == ["smiles", "x"]
    assert [[value for value in row if value] for row in rows] == ROWS
    assert notes


def test_a_row_behind_a_hash_is_set_aside_and_names_with_one_are_names(tmp_path):
    _, rows, _ = read(tmp_path, "id,smiles,x\na,CCO,1\n#b,CCN,2\nc,CCC,3\n")
    assert rows == [["a", "CCO", "1"], "row starts with '#', as a comment does", ["c", "CCC", "3"]]
    _, rows, _ = read(tmp_path, "#,smiles\n#1,CCO\n#2,CCN\n")
    assert rows == [["#1", "CCO"], ["#2", "CCN"]]


def test_another_header_among_the_rows_is_refused(tmp_path):
    with pytest.raises(TableError, match="line 3: another header, with other columns"):
        read(tmp_path, "smiles,x,y\nCCO,1,2\nsmiles,y,x\nCCN,1,2\n")


@pytest.mark.parametrize(
    "content",
    [
        "smiles,pIC50\nCCO,1\nsmiles,logD\nCCN,1\n",
        "id,smiles,pIC50\na,CCO,1\nid2,SMILES,logD\nb,CCN,1\n",
        "id,smiles,pIC50\na,CCO,1\nname,canonical_smiles,logD\nb,CCN,1\n",
        "smiles,id,x\nCCO,a,1\nsmiles,x\nCCN,1\n",
    ],
)
def test_a_table_of_other_columns_behind_another_is_refused(tmp_path, content):
    with pytest.raises(TableError, match="line 3: another header, with other columns"):
        read(tmp_path, content)


def test_what_pubchem_says_of_its_columns_is_no_row(tmp_path):
    content = (
        "PUBCHEM_RESULT_TAG,PUBCHEM_EXT_DATASOURCE_SMILES,Potency\nRESULT_TYPE,,FLOAT\n"
        "RESULT_DESCR,,Concentration at half maximum\nRESULT_UNIT,,MICROMOLAR\n1,CCO,4\n2,CCN,5\n"
    )
    columns, rows, notes = read(tmp_path, content)
    assert columns[1] == "PUBCHEM_EXT_DATASOURCE_SMILES"
    assert rows == [["1", "CCO", "4"], ["2", "CCN", "5"]]
    assert notes[2] == "line 4: RESULT_UNIT is no row: Potency MICROMOLAR (PubChem)"


def test_a_table_of_one_column_may_hold_any_mark(tmp_path):
    content = "smiles\nCCO |$;;R$,c:1|\nCCN |$;;R$,c:1|\n"
    assert read(tmp_path, content)[1] == [["CCO |$;;R$,c:1|"], ["CCN |$;;R$,c:1|"]]


def test_quotes_behind_a_mark_of_byte_order_are_quotes(tmp_path):
    text = '"smiles","a,b"\n"CCO","1"\n'
    columns, rows, _ = read(tmp_path, ("\ufeff\ufeff" + text + "\ufeff" + text).encode())
    assert columns == ["smiles", "a,b"]
    assert rows == [["CCO", "1"]] * 2


def test_a_row_that_lost_a_field_is_set_aside(tmp_path):
    _, rows, _ = read(tmp_path, "smiles,id,x,y\nCCO,a,4,5\nCCN,4,5\nCCC,b,,6\n")
    assert rows == [
        ["CCO", "a", "4", "5"],
        "row has 3 fields, the header has 4",
        ["CCC", "b", "", "6"],
    ]


def test_a_writer_that_leaves_out_empty_fields_at_the_end_is_understood(tmp_path):
    _, rows, notes = read(tmp_path, "smiles,id,x,y\nCCO,a,4,5\nCCN,b\nCCC,c,3\nCCF,d\n")
    assert rows[1:] == [["CCN", "b", "", ""], ["CCC", "c", "3", ""], ["CCF", "d", "", ""]]
    assert notes == ["line 3: rows without their last fields, which are read as empty (3)"]


@pytest.mark.parametrize(
    "content",
    [
        "smiles,x\nCCO,4.0,\nCCN,5.0,\n",
        "smiles,x,\nCCO,4.0,\nCCN,5.0,\n",
        "smiles,x,\nCCO,4.0\nCCN,5.0\n",
    ],
)
def test_a_delimiter_at_the_end_of_a_line_shifts_nothing(tmp_path, content):
    columns, rows, _ = read(tmp_path, content)
    assert columns[:2] == ["smiles", "x"]
    assert [row[:2] for row in rows] == ROWS


def test_notes_are_the_same_at_each_reading(tmp_path):
    content = "report\nsmiles,x\nCCO,1\n# remark\nsmiles,x\nCCN,2\n(2 rows)\n"
    assert read(tmp_path, content) == read(tmp_path, content)


def test_units_in_a_second_line_of_the_header_are_refused(tmp_path):
    with pytest.raises(TableError, match=r"line 1: units stand in a second line .*\(nM, %\)"):
        read(tmp_path, "smiles,IC50,inhibition\n,nM,%\nCCO,4,5\n")


def test_a_row_that_names_a_structure_is_no_header_below_structures(tmp_path):
    columns, rows, _ = read(tmp_path, "canonical,kind,x\nCCO,structure,1\nCCN,structure,2\n")
    assert columns == ["canonical", "kind", "x"]
    assert len(rows) == 2


def test_cells_that_excel_is_kept_from_reading_are_their_text(tmp_path):
    _, rows, _ = read(tmp_path, 'smiles,id,x\nCCO,="0012",="4.5"\n')
    assert rows == [["CCO", "0012", "4.5"]]


# no tables


def archive(name):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(name, "x")
    return out.getvalue()


def tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        made.addfile(tarfile.TarInfo("t.csv"))
    return out.getvalue()


@pytest.mark.parametrize("name", ["t.csv", "t.sdf", "t.smi"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html><body><table>", "is a page of HTML or XML"),
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><Workbook>", "is a page of HTML or XML"),
        ("<!DOCTYPE html>".encode("utf-16"), "is a page of HTML or XML"),
        (b'[{"smiles": "CCO"}]', "is JSON"),
        (b'{"smiles": ["CCO"]}', "is JSON"),
        (b"%PDF-1.7", "is a PDF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, r"\.xls.*save it as \.xlsx"),
        (b"BZh91AY&SY", "packed with bzip2"),
        (b"\x28\xb5\x2f\xfd\x04", "packed with Zstandard"),
        (archive("word/document.xml"), "is a Word document"),
        (archive("content.xml"), "is an OpenDocument file"),
        (archive("t.csv"), "is a ZIP archive"),
        (gzip.compress(tar()), "is an archive"),
        (gzip.compress(gzip.compress(b"smiles\nC\n")), "gzipped twice"),
        (b"$RDFILE 1\n", "is an RDfile"),
        (b"<datawarrior-fileinfo>\n", "is a DataWarrior file"),
        (gzip.compress(archive("xl/workbook.xml")), "is a gzipped workbook"),
    ],
    ids=[
        "html", "xml", "utf16-html", "json", "json-object", "pdf", "xls", "bzip2", "zstd", "docx",
        "ods", "zip", "tar", "gzip-gzip", "rdf", "datawarrior", "gzip-xlsx",
    ],
)  # fmt: skip
def test_what_is_no_table_is_said_whatever_its_name(tmp_path, name, content, message):
    with pytest.raises(TableError, match=message):
        read(tmp_path, content, name)


def test_a_drawn_table_is_refused(tmp_path):
    with pytest.raises(TableError, match="drawn with lines"):
        read(tmp_path, "┌────────┐\n│ smiles │\n".encode(), "t.csv")


@pytest.mark.parametrize(
    ("name", "message"), [("t.mol", "a mol file is read as .sdf"), ("t.csv.bz2", "with gzip")]
)
def test_an_ending_that_is_not_read_is_said_with_what_to_do(tmp_path, name, message):
    with pytest.raises(TableError, match=message):
        read(tmp_path, "x\n", name)


@pytest.mark.parametrize("options", [{"sheet": "a"}])
def test_options_that_do_not_apply_are_refused(tmp_path, options):
    with pytest.raises(TableError, match="--sheet a: it is not a workbook"):
        read(tmp_path, "smiles\nC\n", **options)
    with pytest.raises(TableError, match="--delimiter: it is not a text with delimiters"):
        read(tmp_path, "\n\n\n", "t.sdf", delimiter=";")


# SMILES files


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("CCO ethanol\nCCN amine\n", [["CCO", "ethanol"], ["CCN", "amine"]]),
        ("CCO,ethyl alcohol\nCCN,amine\n", [["CCO", "ethyl alcohol"], ["CCN", "amine"]]),
        ("#SMILES ID\nCCO a\n# note\nCCN b\n", [["CCO", "a"], ["CCN", "b"]]),
        ("CCO |$a;;$| x y\nCCN\tz\n", [["CCO |$a;;$|", "x y"], ["CCN", "z"]]),
        ("cxsmiles\tname\nCCO |o1:1|\ta\n", [["CCO |o1:1|", "a"]]),
        ("[Na+].[Cl-] salt\nCCO\n", [["[Na+].[Cl-]", "salt"], ["CCO", ""]]),
        ("[nH]1cccc1 a\n", [["[nH]1cccc1", "a"]]),
    ],
)
@pytest.mark.parametrize("name", ["t.smi", "t.ism", "t.cxsmiles", "t.smi.gz"])
def test_smiles_files_as_people_write_them(tmp_path, name, content, rows):
    data = gzip.compress(content.encode()) if name.endswith("gz") else content
    assert read(tmp_path, data, name)[:2] == (["smiles", "id"], rows)


def test_a_smiles_file_with_further_columns_is_a_table(tmp_path):
    columns, rows, _ = read(tmp_path, "smiles id pIC50\nCCO a 4\nCCN b 5\n", "t.smi")
    assert columns == ["smiles", "id", "pIC50"]
    assert rows == [["CCO", "a", "4"], ["CCN", "b", "5"]]


def test_a_text_of_smiles_without_a_header_is_a_smiles_file(tmp_path):
    assert read(tmp_path, "CCO ethanol\nCCN\n", "t.txt")[1] == [["CCO", "ethanol"], ["CCN", ""]]
