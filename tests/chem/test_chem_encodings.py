"""Which encoding a text is in: told where it can be, refused where two readings make sense."""

import pytest

from fluid.base.errors import TableError
from fluid.chem.readers import ReadOptions, read_table


def read(folder, content, name="t.csv", **options):
    path = folder / name
    path.write_bytes(content)
    table = read_table(path, ReadOptions(**options))
    return table, list(table.rows)


def table_of(words):
    """A table with the first word in its header and the others in its rows."""
    rows = "".join(f"CCO,{word}\n" for word in words[1:] or ["1"])
    return f"smiles,{words[0]}\n{rows}"


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-8", ["IC50 (µM)", "Größe", "活性"]),
        ("utf-8-sig", ["IC50 (µM)"]),
        ("utf-16", ["IC50 (µM)", "活性"]),
        ("utf-16-le", ["IC50 (µM)", "活性"]),
        ("utf-16-be", ["IC50 (µM)"]),
        ("utf-32", ["IC50 (µM)", "活性"]),
        ("cp1252", ["IC50 (µM)"]),
        ("cp1252", ["Größe", "naïve", "Crème"]),
        ("cp1252", ["x", "Lipinski’s rule", "5–7", "TARGET®"]),
        ("cp1252", ["température (°C)", "1.5±0.2", "cm²/s"]),
        ("latin-1", ["concentração (µM)", "Señor Muñoz"]),
        ("mac_roman", ["IC50 (µM)", "≤5", "≥10"]),
        ("mac_roman", ["Größe", "café"]),
        ("cp850", ["IC50 (µM)", "Größe", "5 °C"]),
        ("cp437", ["x", "≤5", "≥10"]),
        ("cp1250", ["wartość", "związek", "żółty"]),
        ("cp1251", ["активность", "название"]),
        ("koi8_r", ["активность", "название"]),
        ("gb18030", ["活性"]),
        ("gb18030", ["化合物名称", "阿司匹林", "咖啡因"]),
        ("cp932", ["活性値", "アスピリン"]),
        ("cp932", ["IC50値（μM）"]),
        ("euc_jp", ["活性値", "アスピリン"]),
        ("cp949", ["활성", "아스피린"]),
        ("big5", ["化合物名稱", "活性"]),
    ],
)
def test_an_encoding_is_found_and_said(tmp_path, encoding, words):
    table, rows = read(tmp_path, table_of(words).encode(encoding))
    assert table.columns == ["smiles", words[0]]
    assert [row.values[1] for row in rows] == (words[1:] or ["1"])
    assert bool(table.notes) == (not encoding.startswith("utf"))


def test_what_an_encoding_makes_of_the_text_is_shown(tmp_path):
    table, _ = read(tmp_path, table_of(["IC50 (µM)"]).encode("cp1252"))
    assert table.notes == [
        "text is read as Windows-1252, such as 'IC50 (µM)'; --encoding names another"
    ]


def test_two_encodings_that_both_make_sense_are_refused_by_name(tmp_path):
    content = table_of(["química"]).encode("mac_roman")
    with pytest.raises(TableError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert "cp1252" in message
    assert "mac_roman" in message
    assert "--encoding" in message
    table, _ = read(tmp_path, content, encoding="mac_roman")
    assert table.columns == ["smiles", "química"]
    assert table.notes == []


def test_bytes_that_make_no_words_are_no_text(tmp_path):
    with pytest.raises(TableError, match="is neither UTF-8 text nor in another encoding"):
        read(tmp_path, b"smiles,x\n" + bytes(range(128, 256)) * 20)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("klingon", "encoding 'klingon' is unknown"),
        ("rot13", "'rot13' is not an encoding of text"),
        ("unicode_escape", "is not an encoding of text"),
        ("utf-8", "is not text in utf-8 throughout"),
        ("ascii", "is not text in ascii throughout"),
    ],
)
def test_an_encoding_that_does_not_fit_is_refused(tmp_path, encoding, message):
    with pytest.raises(TableError, match=message):
        read(tmp_path, table_of(["µ"]).encode("cp1252"), encoding=encoding)


def test_a_stray_byte_in_utf8_spoils_its_row_only_and_is_noted(tmp_path):
    table, rows = read(tmp_path, "smiles,n\nC,é\nC,ü\nC,".encode() + b"\xe9\n")
    assert [row.values[1] for row in rows] == ["é", "ü", "\udce9"]
    assert "some bytes are not UTF-8" in table.notes[0]


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\ufeff", "\u200b", "\ufeff \u200e", "\u00a0"])
def test_what_nobody_sees_around_names_and_values_goes(tmp_path, mark):
    text = f"{mark}smiles{mark},{mark}x\n{mark}CCO{mark},{mark}1{mark}\n"
    table, rows = read(tmp_path, text.encode())
    assert table.columns == ["smiles", "x"]
    assert rows[0].values == ["CCO", "1"]


def test_titles_of_an_sd_file_cost_nothing_whatever_their_encoding(tmp_path):
    block = "qu\u00edmica\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n"
    block += "    0.0000    0.0000    0.0000 O   0  0\nM  END\n>  <x>\n5\n\n$$$$\n"
    table, rows = read(tmp_path, block.encode("mac_roman"), "t.sdf")
    assert rows[0].values[0] == "O"
    assert rows[0].values[2] == "5"
    assert "unknown encoding" in table.notes[0]
