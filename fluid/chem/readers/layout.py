"""What stands around and beside a table: which line is its header, and which lines are no rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fluid.base.show import shown
from fluid.chem.readers.table import MOST_COLUMNS, Row, Source, clean, clean_name, short_name

# The name that the column of R's row names is given.
ROW_NAMES = "row names"
# Records among which the header is sought.
_PREAMBLE = 100
# Share of rows with fewer fields from which on this is the writer's way.
_RAGGED = 0.05
_STRUCTURE = re.compile(r".*smiles\d*([\W_].*)?|smi|structure|molecule|mol", re.I)
_LONGEST_NAME = 60
# Characters of a text that is tried as a SMILES.
_LONGEST_SMILES = 2000
_FEW = 200
# The frames that databases draw: dashes, crosses and bars only.
_FRAME = re.compile(r"[\s|,;:]*+[-=+]{2,}+[-=+|:,;\s]*+")
_FOOTER = re.compile(
    r"\(?\s*\d[\d,.']*\s+((rows?|records?|lines?|zeilen|lignes|filas|righe)\b|row\(s\)).{0,60}",
    re.I,
)
_TYPES = frozenset(
    {
        "string", "str", "text", "varchar", "char", "utf8", "object", "factor", "chr",
        "real", "float", "double", "numeric", "number", "decimal", "num", "dbl", "float64", "f64",
        "integer", "int", "long", "longinteger", "bigint", "int32", "int64", "i64", "singlereal",
        "boolean", "bool", "date", "datetime", "time", "timestamp", "currency", "category",
    }
)  # fmt: skip


_UNIT = re.compile(
    r"[\[(]?([fpnuµμm]?M|[fpnuµμm]?mol( ?/ ?|\*|·)?[lL].{0,3}|[npuµμmk]?g ?/ ?[muµμ]?[lLg]|%|h|hr|"
    r"min|s|nm|°C|log10?.{0,20}|10\^-6 ?cm ?/ ?s|-|units?)[\])]?"
)
_NUMBER = re.compile(r"[-+]?\d*[.,]?\d+([eE][-+]?\d+)?")
_ANOTHER = (
    "line {}: another header, with other columns, stands among the rows; split the file there"
)
# With which what is beside a table begins.
_SIGNS = frozenset("#-=+:(0123456789")


class Record(NamedTuple):
    """Fields as they stand in a file, from the line at which they start."""

    line: int
    fields: list[str]


@dataclass(frozen=True)
class Layout:
    """Where a table is among its lines.

    Attributes
    ----------
    columns
        Names.
    header, last
        Line of the header, and of the last line before the first row.
    is_ragged
        Whether the writer leaves out empty fields at the end of a row.
    has_comments
        Whether a line that starts with '#' is none of the rows.
    fit
        How well the header fits the rows: 3 has as many fields; 2 a few more or fewer at the end
        that are empty; 1 a field less (R's row names); 0 does not.
    share
        Of the records behind the header, how many have as many fields as most have.
    is_named
        Whether one of the names says that its column holds structures.
    passed
        What is passed over around the rows.
    units
        Columns by position, and the units that PubChem states for them.
    """

    columns: list[str]
    header: int
    last: int
    is_ragged: bool = False
    has_comments: bool = True
    fit: int = 3
    share: float = 1.0
    is_named: bool = False
    passed: tuple[str, ...] = ()
    units: tuple[tuple[int, str], ...] = ()


def names_structure(name: str) -> bool:
    """Whether a column's name says that it holds structures."""
    return len(name) <= _LONGEST_NAME and _STRUCTURE.fullmatch(name.strip("#'\" ")) is not None


def find_layout(source: Source, records: Sequence[Record]) -> Layout | None:
    """The layout of a table by its first records; None if these hold nothing.

    Raises
    ------
    TableError
        If the header does not fit the rows, and it cannot be said which of them is right.
    """
    kept = [
        record
        for record in records
        if any(map(clean, record.fields)) and not is_frame(record) and not _is_footer(record)
    ]
    if not kept:
        return None
    place, is_named = _find_header(kept)
    header, above, body = kept[place], kept[:place], kept[place + 1 :]
    passed = [f"line {above[0].line}: {_lines_above(above)}"] if above else []
    names = [clean_name(name) for name in header.fields]
    if names[0].startswith("#") and names[0].strip("# "):
        names[0] = names[0].lstrip("# ")
        passed.append(f"line {header.line}: the '#' before the header is left out")
    last = header.line
    if body and _is_types(body[0].fields):
        last = body[0].line
        passed.append(f"line {last}: the types of the columns are passed over")
    units: tuple[tuple[int, str], ...] = ()
    for record in body:
        if not clean(record.fields[0]).startswith("RESULT_"):
            break
        if clean(record.fields[0]) == "RESULT_UNIT":
            cells = list(map(clean, record.fields))
            units = tuple((at, cell) for at, cell in enumerate(cells) if at and cell)
        last = record.line
        passed.append(f"line {last}: {_about_columns(names, record.fields)} (PubChem)")
    rows = [record for record in body if record.line > last]
    marked = [record for record in rows if record.fields[0].startswith("#")]
    has_comments = names[0][:1] != "#" and 2 * len(marked) <= len(rows)
    if has_comments:
        rows = [record for record in rows if not record.fields[0].startswith("#")]
    widths = [len(record.fields) for record in rows]
    common = max(set(widths), key=lambda width: (widths.count(width), width), default=len(names))
    share = widths.count(common) / len(widths) if widths else 1.0
    fit = _fit(names, rows, common, share)
    return Layout(
        names,
        header.line,
        last,
        _is_ragged(rows, len(names)),
        has_comments,
        fit,
        share,
        is_named,
        tuple(passed),
        units,
    )


def _fit(names: Sequence[str], rows: Sequence[Record], common: int, share: float) -> int:
    """How well a header fits rows of which most have `common` fields: see `Layout`."""
    width = len(names)
    if common == width:
        return 3
    if common < width:
        return 0 if any(names[common:]) else 2
    if not any(any(map(str.strip, record.fields[width:])) for record in rows):
        return 2
    return 1 if common == width + 1 and share > 0.9 else 0


def finish_layout(source: Source, layout: Layout, records: Sequence[Record]) -> Layout:
    """The layout that was chosen, checked; what it passes over is noted.

    Raises
    ------
    TableError
        If every row has a field more than the header, and the first is not the row's name.
    """
    for note in layout.passed:
        source.note(note)
    source.units.update(layout.units)
    columns = layout.columns
    if len(columns) > MOST_COLUMNS:
        raise source.fail(
            f"the header has {len(columns):,} columns; at most {MOST_COLUMNS:,} are allowed"
        )
    if units := _units_below(layout, records):
        raise source.fail(
            f"line {layout.header}: units stand in a second line of the header "
            f"({', '.join(units[:5])}); write them into the names, as in 'IC50 (nM)', and leave "
            "the line out"
        )
    if layout.fit != 1:
        return layout
    if not has_row_names(layout, records):
        raise source.fail(
            f"line {layout.header}: the header has {len(columns)} names, but the rows have "
            f"{len(columns) + 1} fields, of which the first is not the name of a row, as R writes "
            "it; is a decimal comma or an unquoted delimiter among them? Quote the fields, or "
            "write another delimiter"
        )
    source.note(
        f"line {layout.header}: the header has a name less than the rows have fields; the first "
        f"field is taken for the name of the row, as R writes it (column '{ROW_NAMES}')"
    )
    return Layout(
        [ROW_NAMES, *columns], layout.header, layout.last, layout.is_ragged, layout.has_comments
    )


def _find_header(kept: Sequence[Record]) -> tuple[int, bool]:
    """Which record is the header, and whether a name in it says that its column is structures."""
    widths = [len(record.fields) for record in kept]
    common = max(set(widths), key=lambda width: (widths.count(width), width))
    first = list(enumerate(kept[:_PREAMBLE]))
    filled = [sum(1 for name in record.fields if clean(name)) for _, record in first]
    named = [
        place
        for place, record in first
        if len(record.fields) in range(common - 1, common + 2) or place == 0
        if any(map(names_structure, record.fields))
        if place == 0 or not _is_among_rows(kept, place)
    ]
    if named:
        # A line of a title may speak of SMILES too, but it says nothing else.
        return max(named, key=lambda place: (filled[place] > 1, -place)), True
    for place, record in first:
        if len(record.fields) < common - 1 or filled[place] < max(min(2, common), common / 2):
            continue
        if not record.fields[0].startswith("#") or len(record.fields) == common:
            return place, False
    return 0, False


def _is_among_rows(kept: Sequence[Record], place: int) -> bool:
    """Whether structures stand above what names one, or in it as in the line next to it."""
    fields = kept[place].fields
    beside = kept[place + 1 if place + 1 < len(kept) else place - 1].fields
    named = [at for at, name in enumerate(fields) if names_structure(name)]
    above = [record.fields for record in kept[:place] if len(record.fields) == len(fields)]
    return any(is_smiles(clean(other[at]), True) for other in above for at in named) or any(
        is_smiles(clean(one), True) and is_smiles(clean(other), True)
        for one, other in zip(fields, beside, strict=False)
    )


def _units_below(layout: Layout, records: Sequence[Record]) -> list[str]:
    """Units that stand in a second line of the header, where the rows have their structure."""
    below = next((record for record in records if record.line > layout.last), None)
    place = next((at for at, name in enumerate(layout.columns) if names_structure(name)), None)
    if below is None or place is None or len(below.fields) != len(layout.columns):
        return []
    cells = list(map(clean, below.fields))
    filled = [cell for cell in cells if cell]
    return filled if not cells[place] and all(map(_UNIT.fullmatch, filled)) else []


def _lines_above(above: Sequence[Record]) -> str:
    text = " ".join(filter(None, map(clean, above[0].fields)))
    count = "1 line" if len(above) == 1 else f"{len(above)} lines"
    return f"{count} above the header passed over, '{shown(text, 60)}'"


def _about_columns(names: Sequence[str], fields: Sequence[str]) -> str:
    """What a line of PubChem's says of the columns."""
    said = [
        f"{short_name(name)} {shown(clean(text), 40)}"
        for name, text in zip(names[1:], fields[1:], strict=False)
        if clean(text)
    ]
    more = f" and {len(said) - 5} more" if len(said) > 5 else ""
    return f"{shown(clean(fields[0]), 40)} is no row: {', '.join(said[:5]) or 'nothing'}{more}"


def _is_types(fields: Sequence[str]) -> bool:
    found = [clean(name).lower().split("(")[0] for name in fields if clean(name)]
    return bool(found) and len(found) >= len(fields) - 1 and _TYPES.issuperset(found)


def _is_ragged(rows: Sequence[Record], width: int) -> bool:
    short = sum(1 for record in rows if len(record.fields) < width)
    whole = [record for record in rows if len(record.fields) == width]
    ends_empty = any(not record.fields[-1].strip() for record in whole)
    return bool(whole) and not ends_empty and short >= max(2, _RAGGED * len(rows))


def has_row_names(layout: Layout, records: Sequence[Record]) -> bool:
    """Whether the first fields are names of the rows, and the header belongs to the others."""
    columns = layout.columns
    rows = [r.fields for r in records if r.line > layout.last and len(r.fields) == len(columns) + 1]
    first = [clean(fields[0]) for fields in rows]
    if len(set(first)) < len(first) or not all(first):
        return False
    place = next((at for at, name in enumerate(columns) if names_structure(name)), None)
    if place is None:
        return all(name.isdigit() for name in first)
    some = rows[:20]
    before = sum(is_smiles(clean(fields[place])) for fields in some)
    behind = sum(is_smiles(clean(fields[place + 1])) for fields in some)
    return behind > before


def is_smiles(text: str, is_whole: bool = False) -> bool:
    """Whether a text begins with a SMILES; `is_whole` if it must also make chemical sense."""
    from rdkit import Chem, rdBase

    word = next(iter(text[: _LONGEST_SMILES + 1].split(None, 1)), "")
    if not word or word.isdigit() or not word.isascii():
        return False
    if len(word) > (_FEW if is_whole else _LONGEST_SMILES):
        return False
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(word, sanitize=is_whole) is not None


def is_frame(record: Record) -> bool:
    """Whether a record is a line of a frame, as consoles of databases draw them."""
    fields = record.fields
    first = next((name for name in fields if name.strip()), "").lstrip()[:1]
    return first in ("-", "=", "+", ":") and _FRAME.fullmatch("|".join(fields)) is not None


def _is_footer(record: Record) -> bool:
    filled = [name for name in record.fields if name.strip()]
    return len(filled) == 1 and _FOOTER.fullmatch(filled[0].strip()) is not None


@dataclass
class Body:
    """Turns the records behind a header into rows, and counts what is none."""

    source: Source
    layout: Layout
    passed: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._width = len(self.layout.columns)
        self._names = frozenset(name.lower() for name in self.layout.columns if name)
        self._header = [name.lower() for name in self.layout.columns]
        named = (at for at, name in enumerate(self._header) if names_structure(name))
        self._at = next(named, self._width)
        self._needed = max((i + 1 for i, name in enumerate(self._header) if name), default=0)

    def row(self, line: int, values: list[str]) -> Row | None:
        """The row of these values; None if they are none."""
        first = values[0] or next(filter(None, values), "")
        is_whole = len(values) == self._width
        if first[:1] in _SIGNS and self._is_beside(line, first, values, is_whole):
            return None
        if first.lower() in self._names and self._is_header(line, values):
            return None
        structure = values[self._at] if self._at < len(values) else ""
        holds_name = ("miles" in structure or "MILES" in structure) and names_structure(structure)
        # No SMILES holds such a word, and no header a number.
        if holds_name and not any(map(_NUMBER.fullmatch, values)):
            raise self.source.fail(_ANOTHER.format(line))
        if not is_whole:
            return self._fit(line, values)
        if first[:1] == "#" and self.layout.has_comments and values[0]:
            return Row(line, values, "row starts with '#', as a comment does")
        return Row(line, values)

    def _is_beside(self, line: int, first: str, values: list[str], is_whole: bool) -> bool:
        if first[0] in "-=+:" and is_frame(Record(line, values)):
            return self._pass("lines of a frame", line)
        if is_whole and self._width > 1:
            return False
        if first[0] == "#" and self.layout.has_comments:
            return self._pass("comments", line)
        if _FOOTER.fullmatch(first) and not any(values[values.index(first) + 1 :]):
            return self._pass("lines that count the rows", line)
        return False

    def _is_header(self, line: int, values: list[str]) -> bool:
        lowered = [clean_name(value).lower() for value in values]
        if lowered == self._header:
            return self._pass("repeated headers", line)
        filled = [value for value in lowered if value]
        known = sum(value in self._names for value in filled)
        if known >= 2 and 2 * known > len(filled):
            raise self.source.fail(_ANOTHER.format(line))
        return False

    def _pass(self, what: str, line: int) -> bool:
        first, count = self.passed.get(what, (line, 0))
        self.passed[what] = (first, count + 1)
        return True

    def _fit(self, line: int, values: list[str]) -> Row:
        width = self._width
        if len(values) > width:
            problem = f"row has {len(values)} fields, the header has {width}"
            return Row(line, values[:width], problem if any(values[width:]) else None)
        row = values + [""] * (width - len(values))
        if self.layout.is_ragged or len(values) >= self._needed:
            if len(values) < self._needed:
                self._pass("rows without their last fields, which are read as empty", line)
            return Row(line, row)
        return Row(line, row, f"row has {len(values)} fields, the header has {width}")

    def finish(self) -> None:
        """Note what was no row."""
        for what, (line, count) in self.passed.items():
            verb = "" if "read as" in what else " passed over"
            self.source.note(f"line {line}: {what}{verb} ({count:,})")
