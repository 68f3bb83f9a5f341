"""Excel workbooks: what is shown is what is read."""

import datetime
import io
import sys
import zipfile

import pytest

from fluid.base.errors import TableError
from fluid.chem.readers import ReadOptions, read_table

openpyxl = pytest.importorskip("openpyxl")

PLAIN = [["smiles", "x"], ["CCO", 4.5], ["CCN", 5]]


def workbook(rows, change=None):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if change is not None:
        change(book, book.active)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def rewritten(change):
    """A plain workbook with its sheet's XML changed."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(workbook(PLAIN))) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(data) if name.endswith("sheet1.xml") else data)
    return out.getvalue()


def read(folder, content, name="t.xlsx", **options):
    """Columns, values of each row, and notes."""
    path = folder / name
    path.write_bytes(content)
    table = read_table(path, ReadOptions(**options))
    rows = [row.values for row in table.rows]
    return table.columns, rows, table.notes


def test_a_sheet_is_a_table(tmp_path):
    assert read(tmp_path, workbook(PLAIN)) == (
        ["smiles", "x"],
        [["CCO", "4.5"], ["CCN", "5"]],
        [],
    )


@pytest.mark.parametrize("name", ["t.csv", "t.xls", "t.txt"])
def test_a_workbook_under_another_name_is_read_and_noted(tmp_path, name):
    _, rows, notes = read(tmp_path, workbook(PLAIN), name)
    assert rows[0] == ["CCO", "4.5"]
    assert notes == ["is read as an Excel workbook, which it is in spite of its name"]


def test_rows_are_counted_as_excel_does_and_what_is_around_is_passed_over(tmp_path):
    around = [["Assay report"], [None], ["SMILES and activities"], [None]]
    path = tmp_path / "t.xlsx"
    path.write_bytes(workbook(around + PLAIN + [[None], ["CCC", 6, None, "a remark"]]))
    table = read_table(path)
    assert [(row.line, *row.values) for row in table.rows] == [
        (6, "CCO", "4.5"),
        (7, "CCN", "5"),
        (9, "CCC", "6"),
    ]
    assert table.notes == [
        "line 1: 2 lines above the header passed over, 'Assay report'",
        "cells right of the named columns are passed over (1)",
    ]


def test_numbers_are_read_as_they_are_shown(tmp_path):
    formats = ["0.0%", '">"0.0" nM"', "General", "[Red]#,##0.00;(0.0)", "0.00E+00", '0.0\\ "µM"']
    values = [0.95, 5.5, 3.0, 1234.5, 1e-7, 2]

    def change(_, sheet):
        for row, code in enumerate(formats, start=2):
            sheet.cell(row, 2).number_format = code

    content = workbook([["smiles", "x"], *(["C", value] for value in values)], change)
    shown = [row[1] for row in read(tmp_path, content)[1]]
    assert shown == ["95%", ">5.5 nM", "3", "1234.5", "1e-07", "2 µM"]


def test_dates_among_numbers_are_never_numbers_and_are_noted(tmp_path):
    rows = [["C", datetime.datetime(2024, 5, 4)], ["CC", 5.5], ["CCC", 4.5]]
    _, found, notes = read(tmp_path, workbook([["smiles", "x"], *rows]))
    assert [row[1] for row in found] == ["2024-05-04", "5.5", "4.5"]
    assert "column B: cells among the numbers hold dates (1)" in notes[0]
    dated = [["C", datetime.date(2024, 5, 4)], ["CC", datetime.date(2024, 5, 5)]]
    assert read(tmp_path, workbook([["smiles", "day"], *dated]))[2] == []


def test_formulas_without_a_value_and_errors_are_no_empty_cells(tmp_path):
    rows = [["CCO", "=A1*2"], ["CCN", "#N/A"], ["CCC", True], ["CCF", "#DIV/0!"]]
    _, found, notes = read(tmp_path, workbook([["smiles", "x"], *rows]))
    assert [row[1] for row in found] == ["=A1*2", "#N/A", "True", "#DIV/0!"]
    assert notes[0].startswith("cell B2: formulas were never calculated (1)")


def second(book, _):
    sheet = book.create_sheet("Second")
    sheet.append(["smiles", "y"])
    sheet.append(["CCF", 1])


def test_of_several_sheets_one_is_named(tmp_path):
    content = workbook(PLAIN, second)
    with pytest.raises(TableError, match=r"2 of its sheets hold something: 'Sheet', 'Second'; ch"):
        read(tmp_path, content)
    assert read(tmp_path, content, sheet="Second")[1] == [["CCF", "1"]]
    with pytest.raises(TableError, match="has no sheet 'Third'; its sheets are 'Sheet', 'Second'"):
        read(tmp_path, content, sheet="Third")


def test_the_only_sheet_that_holds_something_is_read(tmp_path):
    _, rows, notes = read(tmp_path, workbook(PLAIN, lambda book, _: book.create_sheet("Empty")))
    assert rows[0] == ["CCO", "4.5"]
    assert notes == ["sheet 'Sheet' is read"]


def test_hidden_rows_and_merged_cells_are_said(tmp_path):
    def change(_, sheet):
        sheet.row_dimensions[2].hidden = True
        sheet.merge_cells("A2:A3")

    _, rows, notes = read(tmp_path, workbook(PLAIN, change))
    assert rows == [["CCO", "4.5"], ["", "5"]]
    assert notes == [
        "hidden rows are read as the others are (1)",
        "of merged cells, only the first holds the value (1)",
    ]


def test_an_empty_workbook_is_refused(tmp_path):
    with pytest.raises(TableError, match="the workbook is empty"):
        read(tmp_path, workbook([]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda xml: xml.replace(b"CCO", b"C" * (1 << 25)), "unpacks to more than a workbook"),
        (lambda xml: xml.replace(b'r="2"', b'r="999999999"'), "more rows than Excel allows"),
        (lambda xml: xml[:-40], "is not a readable Excel workbook"),
        (lambda xml: b"", "is not a readable Excel workbook"),
        (
            lambda xml: (
                b'<!DOCTYPE l [<!ENTITY a "'
                + b"x" * 1000
                + b'">'
                + b"".join(
                    b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 20) for i in range(8)
                )
                + b"]>"
                + xml.replace(b"CCO", b"&i;")
            ),
            "is not a readable Excel workbook",
        ),
    ],
    ids=["bomb", "row", "cut", "empty", "entities"],
)
def test_a_hostile_workbook_is_refused(tmp_path, change, message):
    with pytest.raises(TableError, match=message):
        read(tmp_path, rewritten(change))


def test_a_sheet_that_claims_to_be_huge_is_as_large_as_its_cells(tmp_path):
    content = rewritten(lambda xml: xml.replace(b"A1:B3", b"A1:XFD1048576"))
    assert read(tmp_path, content)[1] == [["CCO", "4.5"], ["CCN", "5"]]


def test_without_openpyxl_the_extra_is_named(tmp_path, monkeypatch):
    content = workbook(PLAIN)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(TableError, match=r"install the extra 'excel' .* or save the sheet as CSV"):
        read(tmp_path, content)
