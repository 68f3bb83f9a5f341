"""Excel workbooks (.xlsx): the cells of one sheet as they are shown.

A number that Excel shows as a percentage, with a unit or behind a sign, is read with these. A date
stays a date, whatever number it was made of.
"""

from __future__ import annotations

import datetime
import itertools
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fluid.base.errors import TableError
from fluid.base.show import shown
from fluid.chem.readers.files import most_unpacked
from fluid.chem.readers.layout import Body, Record, find_layout, finish_layout
from fluid.chem.readers.table import MOST_COLUMNS, Row, Source, bounded, clean

# Of a sheet, as Excel itself bounds it; and fields of all rows together.
_MOST_ROWS = 1 << 20
_MOST_FIELDS = 1 << 28
# Bytes of all texts of a workbook, which are held at once; members of its archive.
_MOST_TEXT = 1 << 28
_MOST_MEMBERS = 10_000
_SAMPLE = 500
# What of a number format is shown as it stands.
_LITERAL = re.compile(r'"([^"]*)"|\\(.)')
_UNSEEN = re.compile(r"\[[^\]]*\]|_.|\*.")
_PLACEHOLDER = re.compile(r"[0#?][0#?,.\s]*")


def read_excel(source: Source) -> Iterator[Row]:
    """The names of the columns, and then the rows of the sheet."""
    with _reading(source), _open(source) as book:
        sheet = _choose_sheet(source, book)
        sample = list(itertools.islice(_Cells(book, sheet).rows(), _SAMPLE))
        width = max((len(record.fields) for record in sample), default=0)
        padded = [
            Record(line, fields + [""] * (width - len(fields))) for line, fields in sample if fields
        ]
        layout = find_layout(source, padded)
        if layout is None:
            raise source.fail(f"sheet '{shown(sheet.title, 40)}' is empty")
        layout = finish_layout(source, layout, padded)
        names = layout.columns
        while names and not names[-1]:
            names.pop()
        yield Row(layout.header, names)
        body = Body(source, layout)
        width, count = len(names), 0
        cells = _Cells(book, sheet, layout.last, width)
        for line, fields in cells.rows():
            count += width
            if count > _MOST_FIELDS:
                raise source.fail(f"sheet '{shown(sheet.title, 40)}' is larger than can be read")
            row = body.row(line, fields + [""] * (width - len(fields)))
            if row is not None:
                yield bounded(row)
        body.finish()
        for note in cells.notes():
            source.note(note)


@contextmanager
def _reading(source: Source) -> Iterator[None]:
    try:
        yield
    except TableError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # whatever openpyxl meets in a damaged workbook
        raise source.fail(
            f"is not a readable Excel workbook ({shown(error, 100) or type(error).__name__})"
        ) from error


@contextmanager
def _open(source: Source) -> Iterator[Any]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise source.fail(
            "to read Excel workbooks, install the extra 'excel' (pip install "
            "'fluid-federated[excel]'), or save the sheet as CSV"
        ) from error
    with zipfile.ZipFile(source.path) as archive:
        members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    texts = sum(m.file_size for m in members if m.filename.lower().endswith("sharedstrings.xml"))
    size = source.path.stat().st_size
    if len(members) > _MOST_MEMBERS or unpacked > most_unpacked(size) or texts > _MOST_TEXT:
        raise source.fail("unpacks to more than a workbook of its size may; save it as CSV")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with source.path.open("rb") as raw:
            book = load_workbook(raw, read_only=True, data_only=True, keep_links=False)
            try:
                yield book
            finally:
                book.close()


def _choose_sheet(source: Source, book: Any) -> Any:
    """The sheet that is named, or else the only one that holds something and is not hidden."""
    wanted = source.options.sheet
    named = {sheet.title: sheet for sheet in book.worksheets}
    titles = ", ".join(f"'{shown(title, 40)}'" for title in list(named)[:20])
    if wanted is not None:
        if wanted in named:
            return named[wanted]
        raise source.fail(f"has no sheet '{shown(wanted, 40)}'; its sheets are {titles}")
    filled = [sheet for sheet in named.values() if _holds_something(book, sheet)]
    seen = [sheet for sheet in filled if sheet.sheet_state == "visible"]
    found = seen or filled
    if not found:
        raise source.fail("the workbook is empty")
    if len(found) > 1:
        titles = ", ".join(f"'{shown(sheet.title, 40)}'" for sheet in found[:20])
        raise source.fail(
            f"{len(found)} of its sheets hold something: {titles}; choose one with --sheet"
        )
    if len(named) > 1:
        left = len(filled) - 1
        more = f"; {left} hidden ones with content are not" if left else ""
        source.note(f"sheet '{shown(found[0].title, 40)}' is read{more}")
    return found[0]


def _holds_something(book: Any, sheet: Any) -> bool:
    return any(any(record.fields) for record in _Cells(book, sheet).rows())


class _Cells:
    """The cells of a sheet as texts, and what is to be said of them."""

    def __init__(self, book: Any, sheet: Any, after: int = 0, width: int = MOST_COLUMNS) -> None:
        self._book, self._sheet, self._after, self._width = book, sheet, after, width
        self._outside = 0
        self._formats: dict[int, tuple[str, float, str] | None] = {}
        self._uncounted = self._hidden = self._merged = 0
        self._first_uncounted = ""
        # By column: cells with dates, and with other content than text.
        self._dates: dict[int, int] = {}
        self._numbers: dict[int, int] = {}

    def rows(self) -> Iterator[Record]:
        """The rows behind the first ones that hold something in the first columns."""
        parser = self._parser()
        with parser.source:
            for count, (number, cells) in enumerate(parser.parse(), start=1):
                if max(number, count) > _MOST_ROWS:
                    raise ValueError("it has more rows than Excel allows")
                if number <= self._after:
                    continue
                fields: list[str] = []
                for cell in cells:
                    column = cell["column"]
                    if not 0 < column <= MOST_COLUMNS:
                        raise ValueError("a cell is outside the sheet")
                    if column > self._width:
                        self._outside += cell["value"] is not None
                    elif text := self._text(cell):
                        fields += [""] * (column - len(fields))
                        fields[column - 1] = text
                if fields:
                    yield Record(number, fields)
            self._hidden = parser.hidden
            self._merged = len(getattr(parser.merged_cells, "mergeCell", ()) or ())

    def _parser(self) -> Any:
        from openpyxl.worksheet._reader import FORMULA_TAG, WorkSheetParser

        class Parser(WorkSheetParser):  # type: ignore[misc]
            """Tells formulas that were never calculated from empty cells, and hidden rows."""

            hidden = 0

            def parse_row(self, row: Any) -> Any:
                self.hidden += row.get("hidden") in ("1", "true")
                found = super().parse_row(row)
                self.row_dimensions.clear()
                return found

            def parse_cell(self, element: Any) -> Any:
                cell = super().parse_cell(element)
                formula = element.find(FORMULA_TAG)
                if cell["value"] is None and formula is not None:
                    cell.update(value="=" + (formula.text or ""), data_type="uncounted")
                return cell

        book = self._book
        return Parser(
            self._sheet._get_source(),
            self._sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )

    def _text(self, cell: dict[str, Any]) -> str:
        value = cell["value"]
        if value is None:
            return ""
        if isinstance(value, str):
            if cell["data_type"] == "uncounted":
                self._uncounted += 1
                self._first_uncounted = self._first_uncounted or self._address(cell)
            return clean(value)
        if isinstance(value, bool):
            return str(value)
        if isinstance(value, (int, float)):
            self._numbers[cell["column"]] = self._numbers.get(cell["column"], 0) + 1
            return self._number(value, cell["style_id"])
        self._dates[cell["column"]] = self._dates.get(cell["column"], 0) + 1
        if isinstance(value, datetime.datetime):
            return value.isoformat(" ").removesuffix(" 00:00:00")
        return str(value)

    def _number(self, value: float, style: int) -> str:
        if style not in self._formats:
            self._formats[style] = self._format(style)
        shape = self._formats[style]
        factor = shape[1] if shape else 1.0
        if factor != 1.0:
            text = f"{value * factor:.12g}"
        elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            text = str(int(value))
        else:
            text = repr(value)
        return f"{shape[0]}{text}{shape[2]}" if shape else text

    def _format(self, style: int) -> tuple[str, float, str] | None:
        """What a style shows before a number, its factor, and what it shows behind."""
        from openpyxl.styles.numbers import BUILTIN_FORMATS

        styles = self._book._cell_styles
        number = styles[style].numFmtId if 0 <= style < len(styles) else 0
        own = self._book._number_formats
        code = BUILTIN_FORMATS.get(number) or (
            own[number - 164] if 0 <= number - 164 < len(own) else "General"
        )
        code = _UNSEEN.sub("", code).split(";")[0]
        place = _PLACEHOLDER.search(_LITERAL.sub(lambda found: "\x00" * len(found[0]), code))
        if place is None:
            return None
        before, behind = code[: place.start()], code[place.end() :]
        texts = ["".join(a or b for a, b in _LITERAL.findall(part)) for part in (before, behind)]
        is_percent = "%" in _LITERAL.sub("", code)
        if not is_percent and not any(map(str.strip, texts)):
            return None
        return texts[0], 100.0 if is_percent else 1.0, ("%" if is_percent else "") + texts[1]

    @staticmethod
    def _address(cell: dict[str, Any]) -> str:
        from openpyxl.utils import get_column_letter

        return f"{get_column_letter(cell['column'])}{cell['row']}"

    def notes(self) -> list[str]:
        """What is to be said of the cells, once all are read."""
        from openpyxl.utils import get_column_letter

        notes = []
        if self._outside:
            notes.append(f"cells right of the named columns are passed over ({self._outside:,})")
        if self._uncounted:
            notes.append(
                f"cell {self._first_uncounted}: formulas were never calculated "
                f"({self._uncounted:,}) and are read as their text; open and save it in Excel"
            )
        for column, dates in self._dates.items():
            if dates <= self._numbers.get(column, 0):
                notes.append(
                    f"column {get_column_letter(column)}: cells among the numbers hold dates "
                    f"({dates:,}), which Excel may have made of numbers"
                )
        if self._hidden:
            notes.append(f"hidden rows are read as the others are ({self._hidden:,})")
        if self._merged:
            notes.append(f"of merged cells, only the first holds the value ({self._merged:,})")
        return notes
