"""Tables as people have them: odd delimiters, encodings, quotes, line ends and damage."""

import datetime
import decimal
import gzip
import io
import random
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from fluid.base.errors import TableError
from fluid.chem.readers import ReadOptions, read_table

PLAIN = "smiles,id,bbb\nCCO,a,1\nCCN,b,0\n"


def read(folder, content, name="t.csv"):
    """Columns, and (line, values, problem) of each row."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_table(path)
    return table.columns, [(row.line, row.values, row.problem) for row in table.rows]


def noise(n):
    """Text of one column that does not compress well."""
    letters = random.Random(0).choices("CNOPSFI\n", k=n)
    return "".join(letters).encode()


def record(smiles, name="", **properties):
    """One record of an SDF."""
    block = Chem.MolToMolBlock(Chem.MolFromSmiles(smiles))
    data = "".join(f">  <{key}>  (1)\n{value}\n\n" for key, value in properties.items())
    return name + block[block.index("\n") :] + data + "$$$$\n"


PLAIN_READ = (
    ["smiles", "id", "bbb"],
    [(2, ["CCO", "a", "1"], None), (3, ["CCN", "b", "0"], None)],
)


# delimited text


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.rstrip("\n"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", " , "),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        '"smiles","id","bbb"\n"CCO","a","1"\n"CCN","b","0"\n',
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        gzip.compress(PLAIN.encode()),
    ],
    ids=[
        "plain", "no-last-newline", "semicolons", "tabs", "bars", "blanks", "crlf", "cr", "quoted",
        "utf8-bom", "utf16-le", "utf16-be", "gzipped-under-a-plain-name",
    ],
)  # fmt: skip
def test_the_same_table_however_it_is_written(tmp_path, content):
    assert read(tmp_path, content) == PLAIN_READ


@pytest.mark.parametrize("name", ["t.CSV", "t.tsv", "t.txt", "t.v2.csv"])
def test_the_delimiter_is_found_in_the_header_whatever_the_ending(tmp_path, name):
    assert read(tmp_path, PLAIN, name) == PLAIN_READ


def test_a_header_without_any_delimiter_is_one_column(tmp_path):
    assert read(tmp_path, "smiles\nCCO\nCC;N\n") == (
        ["smiles"],
        [(2, ["CCO"], None), (3, ["CC;N"], None)],
    )


def test_quoted_delimiters_quotes_and_newlines_belong_to_the_value(tmp_path):
    content = 'smiles,id,note\nCCO,a,"one, ""two""\nthree"\nCCN,b,"x\r\n\r\ny"\nCCC,c,z\n'
    assert read(tmp_path, content)[1] == [
        (2, ["CCO", "a", 'one, "two"\nthree'], None),
        (4, ["CCN", "b", "x\r\n\r\ny"], None),
        (7, ["CCC", "c", "z"], None),
    ]


def test_a_quote_inside_a_bare_value_is_just_a_character(tmp_path):
    assert read(tmp_path, 'smiles,id\nCCO,5" pipe\nCCN,b"\n')[1] == [
        (2, ["CCO", '5" pipe'], None),
        (3, ["CCN", 'b"'], None),
    ]


@pytest.mark.parametrize("tail", ["CCN,b\nCCC,c\n", "CCN,b", ""])
def test_a_quote_that_is_never_closed_does_not_swallow_the_rest(tmp_path, tail):
    with pytest.raises(TableError, match=r"t\.csv: line 3: a quote is opened and never closed"):
        read(tmp_path, 'smiles,id\nCCO,a\n"CCF,x\n' + tail)


def test_blank_lines_are_passed_over_and_lines_still_counted(tmp_path):
    assert read(tmp_path, "\n \n\nsmiles,id\n\nCCO,a\n,\nCCN,b\n\n") == (
        ["smiles", "id"],
        [(6, ["CCO", "a"], None), (8, ["CCN", "b"], None)],
    )


def test_a_row_with_too_many_or_too_few_fields_has_a_problem(tmp_path):
    assert read(tmp_path, "smiles,id,bbb\nCCO,a,1,2,3\nCCN\nCCC,c,1,,\n")[1] == [
        (2, ["CCO", "a", "1"], "row has 5 fields, the header has 3"),
        (3, ["CCN", "", ""], "row has 1 fields, the header has 3"),
        (4, ["CCC", "c", "1"], None),
    ]


def test_columns_may_bear_the_same_name_until_one_is_asked_for(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("smiles,note,Note,note\nCCO,x,y,z\n")
    table = read_table(path)
    assert table.columns == ["smiles", "note", "Note", "note"]
    assert [row.values for row in table.rows] == [["CCO", "x", "y", "z"]]
    assert table.position("Note") == 2
    assert table.position("notes") is None
    with pytest.raises(TableError, match="2 columns are called 'note', the columns number 2 and 4"):
        table.position("note")


def test_columns_without_a_name_may_occur_twice(tmp_path):
    columns, rows = read(tmp_path, "smiles,,\nCCO,x,y\n")
    assert columns == ["smiles", "", ""]
    assert rows == [(2, ["CCO", "x", "y"], None)]


def test_bytes_that_are_not_utf8_spoil_their_row_only(tmp_path):
    _, rows = read(tmp_path, b"smiles,id\nCCO,caf\xe9\nCCN,caf\xc3\xa9\n")
    assert rows == [(2, ["CCO", "caf\udce9"], None), (3, ["CCN", "café"], None)]


def test_nul_bytes_are_taken_out(tmp_path):
    assert read(tmp_path, b"smi\x00les,id\nC\x00CO,\x00a\n") == (
        ["smiles", "id"],
        [(2, ["CCO", "a"], None)],
    )


def test_utf16_cut_in_the_middle_of_a_character_is_refused(tmp_path):
    with pytest.raises(TableError, match="is not text in utf-16"):
        read(tmp_path, PLAIN.encode("utf-16")[:-1])


def test_rows_are_read_as_they_are_asked_for(tmp_path):
    # The damage stands far behind the first rows, which can be had before it is met.
    data = gzip.compress(b"smiles,id\n" + b"CCO,a\n" * 50_000 + noise(100_000))
    (tmp_path / "t.csv.gz").write_bytes(data[:-20_000])
    rows = read_table(tmp_path / "t.csv.gz").rows
    assert next(rows).values == ["CCO", "a"]
    with pytest.raises(TableError, match="the compressed file is damaged or truncated"):
        list(rows)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.smi.gz", "t.sdf.gz", "t.csv"])
def test_a_truncated_gzip_is_refused_whatever_it_holds(tmp_path, name):
    data = gzip.compress(noise(5000))[:-200]
    with pytest.raises(TableError, match="the compressed file is damaged or truncated"):
        read(tmp_path, data, name)


def test_a_gzip_with_changed_bytes_is_refused(tmp_path):
    data = bytearray(gzip.compress(PLAIN.encode() * 50))
    data[-6] ^= 0xFF
    with pytest.raises(TableError, match="the compressed file is damaged or truncated"):
        read(tmp_path, bytes(data), "t.csv.gz")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "the file is empty"),
        ("t.csv", b"\n \n\n", "the file holds no header and no rows"),
        ("t.csv", gzip.compress(b""), "the file holds no header and no rows"),
        ("t.xyz", b"PK", r"unknown kind of table '\.xyz'; allowed are \.can, \.csv, "),
        ("t.xlsx", b"PK", r"is not a readable Excel workbook"),
        ("t", b"smiles\nC\n", "unknown kind of table ''"),
        ("t.gz", b"smiles\nC\n", "unknown kind of table ''"),
        ("t.parquet", b"PAR1 not really", "is not a readable Parquet file"),
        ("t.csv", b"smiles,id\n" + b"C" * (1 << 24) + b"C,a\n", "line 2: it has 4,194,304 char"),
    ],
    ids=[
        "empty", "blank", "empty-gzip", "kind", "excel", "no-ending", "only-gz", "parquet",
        "huge-field",
    ],
)  # fmt: skip
def test_a_bad_file_is_one_clear_error(tmp_path, name, content, message):
    with pytest.raises(TableError, match=message) as caught:
        read(tmp_path, content, name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_missing_file_or_a_folder_is_no_table(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(TableError, match="no such file"):
            read_table(path)


# SMI


@pytest.mark.parametrize("header", ["", "SMILES Name\n", "smi\n", "smiles\tid\textra\n"])
def test_smi_with_and_without_a_header(tmp_path, header):
    start = 2 if header else 1
    content = header + "CCO\tethyl alcohol\nCCN\n\n  CCC   x  \r\n"
    assert read(tmp_path, content, "t.smi") == (
        ["smiles", "id"],
        [
            (start, ["CCO", "ethyl alcohol"], None),
            (start + 1, ["CCN", ""], None),
            (start + 3, ["CCC", "x"], None),
        ],
    )


# SDF


def test_sdf_properties_become_columns_and_a_bad_record_has_a_problem(tmp_path):
    content = (
        record("CCO", "ethanol", bbb="1", pIC50="5.2")
        + "broken\n\n\nnonsense\nM  END\n>  <bbb>\n0\n\n$$$$\n"
        + "cut\n\n\n  1  0\n$$$$\n"
        + record("c1ccccc1", "", pIC50="6", note="two words")
    )
    assert read(tmp_path, content, "t.sdf") == (
        ["smiles", "id", "bbb", "pIC50", "note"],
        [
            (1, ["CCO", "ethanol", "1", "5.2", ""], None),
            (2, ["", "broken", "0", "", ""], "mol block cannot be parsed"),
            (3, ["", "cut", "", "", ""], "mol block has no 'M  END' line"),
            (4, ["c1ccccc1", "", "", "6", "two words"], None),
        ],
    )


def test_an_sdf_value_may_start_with_a_qualifier(tmp_path):
    content = record("CCO", "a", pIC50=">9.3", pKi="<4", empty="", logD="> 3")
    columns, rows = read(tmp_path, content, "t.sdf")
    found = dict(zip(columns, rows[0][1], strict=True))
    assert found["pIC50"] == ">9.3"
    assert found["pKi"] == "<4"
    assert found["logD"] == "> 3"
    assert found["empty"] == ""


def test_a_property_without_a_value_line_does_not_take_the_next_name(tmp_path):
    content = record("CCO", "a").replace("$$$$", "> <empty>\n> <bbb>\n1\n\n$$$$")
    assert read(tmp_path, content, "t.sdf") == (
        ["smiles", "id", "bbb"],
        [(1, ["CCO", "a", "1"], None)],
    )


def test_an_id_property_names_the_record_and_the_structure_gives_the_smiles(tmp_path):
    content = record("CCO", "title", ID="X-7", SMILES="wrong") + record("CCN", "title 2")
    assert read(tmp_path, content, "t.sdf") == (
        ["smiles", "id"],
        [(1, ["CCO", "X-7"], None), (2, ["CCN", "title 2"], None)],
    )


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_sdf_line_ends_and_a_missing_last_delimiter(tmp_path, end):
    content = (record("CCO", "a", x="1") + record("CCN", "b", x="2")).removesuffix("$$$$\n")
    content = content.replace("\n", end)
    assert read(tmp_path, content, "t.sdf")[1] == [
        (1, ["CCO", "a", "1"], None),
        (2, ["CCN", "b", "2"], None),
    ]


def test_sdf_keeps_stereochemistry(tmp_path):
    _, rows = read(tmp_path, record("C[C@H](N)C(=O)O", "L-Ala"), "t.sdf")
    assert rows[0][1][0] == "C[C@H](N)C(=O)O"


# Parquet


def test_parquet_values_of_any_kind_become_text(tmp_path):
    table = pa.table(
        {
            "smiles": ["CCO", "CCN", None],
            "flag": [True, False, None],
            "whole": pa.array([1, 2, None], pa.int8()),
            "number": [0.5, float("nan"), None],
            "exact": pa.array([decimal.Decimal("1.50"), None, None]),
            "raw": [b" caf\xc3\xa9", b"\xe9", None],
            "day": [datetime.date(2024, 2, 29), None, None],
            "class": pa.array(["a", "b", None]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    read_back = read_table(tmp_path / "t.parquet")
    assert read_back.columns == table.column_names
    assert [(row.line, row.values) for row in read_back.rows] == [
        (1, ["CCO", "True", "1", "0.5", "1.50", "café", "2024-02-29", "a"]),
        (2, ["CCN", "False", "2", "", "", "\udce9", "", "b"]),
        (3, ["", "", "", "", "", "", "", ""]),
    ]


def test_parquet_records_are_counted_across_batches(tmp_path):
    n = 10_000
    pq.write_table(pa.table({"smiles": ["C"] * n, "id": range(n)}), tmp_path / "t.parquet")
    rows = list(read_table(tmp_path / "t.parquet").rows)
    assert [row.line for row in rows] == list(range(1, n + 1))
    assert rows[-1].values == ["C", str(n - 1)]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_smiles_file_with_the_header_of_a_table_is_one(tmp_path, mark):
    lines = [["index", "smiles", "name"], ["0", "CCO", "a b"], ["1", "c1ccccc1", "c"]]
    text = "\n".join(mark.join(line) for line in lines) + "\n"
    path = tmp_path / "export.smi.gz"
    path.write_bytes(gzip.compress(text.encode()))
    table = read_table(path)
    assert list(table.columns) == lines[0]
    assert [list(row.values) for row in table.rows] == lines[1:]


def test_a_smiles_file_whose_names_hold_commas_stays_one(tmp_path):
    path = tmp_path / "plain.smi"
    path.write_text("smiles name\nCCO ethanol, dry\n")
    assert [list(row.values) for row in read_table(path).rows] == [["CCO", "ethanol, dry"]]


def test_nested_columns_of_parquet_are_left_out_and_said(tmp_path):
    table = pa.table({"smiles": ["CCO"], "list": [[1, 2]], "x": [decimal.Decimal("1.00")]})
    pq.write_table(table, tmp_path / "t.parquet")
    read_back = read_table(tmp_path / "t.parquet")
    assert read_back.columns == ["smiles", "x"]
    assert [row.values for row in read_back.rows] == [["CCO", "1.00"]]
    assert read_back.notes == ["columns of lists or structures are left out (1)"]


def test_a_parquet_file_under_another_name_is_read_and_noted(tmp_path):
    pq.write_table(pa.table({"smiles": ["CCO"]}), tmp_path / "t.csv")
    table = read_table(tmp_path / "t.csv")
    assert [row.values for row in table.rows] == [["CCO"]]
    assert table.notes == ["is read as a Parquet file, which it is in spite of its name"]


# what holds for all of them


def as_sdf(rows):
    return "".join(record(smiles, name, x=x) for smiles, name, x in rows).encode()


def as_text(mark, encoding="utf-8"):
    def write(rows):
        lines = [["smiles", "id", "x"], *rows]
        return "".join(mark.join(line) + "\n" for line in lines).encode(encoding)

    return write


def as_parquet(rows):
    sink = pa.BufferOutputStream()
    columns = zip(*rows, strict=True)
    pq.write_table(pa.table(dict(zip(("smiles", "id", "x"), columns, strict=True))), sink)
    return sink.getvalue().to_pybytes()


def as_workbook(rows):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in [["smiles", "id", "x"], *rows]:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


WRITERS = {
    "comma.csv": as_text(","),
    "semicolon.csv": as_text(";"),
    "t.tsv": as_text("\t"),
    "wide.csv": as_text(",", "utf-16"),
    "packed.csv.gz": lambda rows: gzip.compress(as_text("|")(rows)),
    "t.sdf": as_sdf,
    "t.parquet": as_parquet,
    "t.xlsx": as_workbook,
}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["CCO", "c1ccccc1", "C[N+](C)(C)C", "C[C@H](N)C(=O)O"]),
            st.text("abcXYZ09 _é", min_size=1, max_size=8).map(str.strip).filter(bool),
            st.decimals(-999, 999, places=2).map(str),
        ),
        min_size=2,
        max_size=6,
    )
)
@settings(max_examples=25, deadline=None)
def test_a_table_is_the_same_in_every_kind_of_file(rows):
    with tempfile.TemporaryDirectory() as folder:
        for name, write in WRITERS.items():
            path = Path(folder) / name
            path.write_bytes(write(rows))
            table = read_table(path)
            assert table.columns == ["smiles", "id", "x"], name
            assert [row.values for row in table.rows] == [list(row) for row in rows], name


PIECES = st.sampled_from(
    [
        b"smiles", b"CCO", b"4,5", b"x", b"\n", b"\r", b",", b";", b"\t", b"|", b'"', b"'", b"  ",
        b"\x00", b"\xff", b"\xb5", b"\xe9", b"\xef\xbb\xbf", b"\xff\xfe", b"$$$$\n", b"M  END\n",
        b"\n\n\n", b">  <x>\n", b"  1  0  0  0  0  0  0  0  0  0999 V2000\n",
        b"    0.0000    0.0000    0.0000 O   0  0\n", b"M  V30 BEGIN CTAB\n", b"#", b"-----",
        b"sep=", b"(3 rows)", b'\\"', b"\\", b"PK\x03\x04", b"PAR1", b"\x1f\x8b\x08", b"[",
        b" ", b"{", b"<", b"+--+", "┌".encode(), "活".encode("cp932"), b"\x81",
    ]
)  # fmt: skip


@given(
    st.lists(PIECES | st.binary(max_size=6), max_size=40).map(b"".join),
    st.sampled_from(["t.csv", "t.tsv", "t.txt", "t.smi", "t.sdf", "t.parquet", "t.xlsx"]),
    st.sampled_from([None, None, "utf-8", "cp1252", "utf-16", "gb18030"]),
    st.sampled_from([None, None, ";", "tab", "blank"]),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_do_more_than_one_clear_error(content, name, encoding, delimiter):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            table = read_table(path, ReadOptions(encoding, delimiter))
            rows = list(table.rows)
        except TableError:
            return
        assert all(len(row.values) == len(table.columns) for row in rows)
        again = read_table(path, ReadOptions(encoding, delimiter))
        assert list(again.rows) == rows
        assert again.notes == table.notes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b"smiles,x\n" + b"-" * 500_000 + b"a,1\n"),
        ("t.csv", b"smiles,x\n" + "\ufeff ".encode() * 300_000 + b"C,1\n"),
        ("t.csv", b"smiles,x\n" + b"(" + b"1" * 500_000 + b" \n"),
        ("t.csv", b'smiles,x\n"' + b'\\"a' * 200_000 + b'",1\n'),
        ("t.txt", b'"smiles' + b"a" * 500_000 + b"\n"),
        ("t.txt", (b"smiles" + b" " * 100_000 + b"x\n") * 3),
        ("t.sdf", b"1" * 500_000 + b"V\n$$$$\n"),
        ("t.sdf", b">" + b"<" * 300_000 + b"\n>" + b">" * 300_000 + b"\n$$$$\n"),
        ("t.sdf", b"  1  0  0  0  0  0  0  0  0  0999 V2000\n" * 10_000),
    ],
    ids=["frame", "invisible", "footer", "escapes", "quote", "blanks", "counts", "names", "blocks"],
)
def test_time_grows_with_the_size_alone(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    started = time.process_time()
    with suppress(TableError):
        list(read_table(path).rows)
    assert time.process_time() - started < 10
