"""The first pass over a table: what its columns hold, from their texts alone.

What concerns a whole column (its decimal mark, its code of classes, whether it holds signs) is
decided before any value is read. Memory is bounded by the columns, not by the rows, and nothing
that is kept depends on the order of the rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress

from fluid.chem.readers import Row
from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.numbers import read_qualifier
from fluid.learn.task import LabelError

# Distinct texts that are kept: of a column that holds classes, of one that holds names of tasks,
# and of one that nobody reads.
_MOST_CLASSES = 1000
_MOST_TASKS = 20_000
_MOST_UNREAD = 200
# Forms of numbers that are kept of a column; those of all columns together.
_MOST_FORMS = 500
_MOST_FORMS_IN_ALL = 1_000_000
# Cells of a column that nobody reads, unless it holds nothing but signs so far.
_MOST_CELLS = 5000
# Characters of a cell that may be a number.
_LONGEST_NUMBER = 100
_DIGITS = str.maketrans(
    {**dict.fromkeys("0123456789", "0"), **dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "a")}
)
_BELOW_ONE = re.compile(r"(?<!\d)0[.,]")


def is_sign(text: str) -> bool:
    """Whether a cell says how its number is to be taken: ``=``, ``<``, ``>`` and their like."""
    if is_missing(text):
        return False
    try:
        read_qualifier(text)
    except LabelError:
        return False
    return True


@dataclass
class ValueTexts:
    """The texts of one column of values, or of the values of one task in it.

    Attributes
    ----------
    forms
        Numbers by their form: of all texts with digits at the same places the first in
        alphabetical order, and how many there are. All forms together show which mark is which.
    counts
        Distinct texts and how often each occurs; empty if the values are numbers.
    n
        Cells that are not empty.
    """

    numbers: bool
    classes: bool
    most_forms: int = _MOST_FORMS
    forms: dict[str, tuple[str, int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    n: int = 0

    def add(self, text: str) -> None:
        """Note the text of one cell, which is not empty."""
        self.n += 1
        if self.numbers:
            form = text.lower().translate(_DIGITS)
            if _BELOW_ONE.search(text):
                form = "z" + form
            held = self.forms.get(form)
            if held is not None:
                self.forms[form] = min(held[0], text), held[1] + 1
            elif len(self.forms) < self.most_forms and len(text) < _LONGEST_NUMBER:
                self.forms[form] = text, 1
        if self.classes and (text in self.counts or len(self.counts) < _MOST_CLASSES):
            self.counts[text] += 1


@dataclass
class OtherTexts:
    """The texts of a column that is not known to be read.

    Attributes
    ----------
    counts
        The first distinct texts, and how often they occurred while they were counted.
    n
        Cells that were counted.
    only_signs
        Whether every cell, to the table's end, is empty or a sign.
    """

    counts: Counter[str] = field(default_factory=Counter)
    n: int = 0
    only_signs: bool = True

    def add(self, text: str) -> bool:
        """Note the text of one cell; returns whether to go on."""
        self.n += 1
        if text not in self.counts:
            if self.only_signs and not is_sign(text):
                self.only_signs = False
            if len(self.counts) >= _MOST_UNREAD:
                return False
        self.counts[text] += 1
        return self.only_signs or self.n < _MOST_CELLS

    @property
    def holds_signs(self) -> bool:
        """Whether the column holds nothing but signs, and any of them."""
        return self.only_signs and bool(self.counts)

    def share(self, test: Callable[[str], bool]) -> float:
        """Share of the cells that pass a test, 0 if there are none."""
        total = self.counts.total()
        return sum(n for text, n in self.counts.items() if test(text)) / total if total else 0.0


@dataclass(frozen=True)
class Wanted:
    """What the first pass is to look at, by positions of columns.

    Attributes
    ----------
    values
        Columns of values: whether numbers, and whether classes, are to be read from them.
    task_columns, long_values
        Columns that may hold the names of tasks, and columns that may hold their values.
    task_of
        Names in the columns of tasks that may be those of tasks, and whether these hold numbers
        and whether classes.
    others
        All other columns that may matter.
    """

    values: Mapping[int, tuple[bool, bool]]
    task_columns: Sequence[int] = ()
    long_values: Sequence[int] = ()
    task_of: Callable[[str], tuple[bool, bool] | None] = lambda text: None
    others: Sequence[int] = ()


@dataclass
class Profile:
    """What the columns of a table hold.

    Attributes
    ----------
    values
        By column of values.
    long
        By column of tasks, name of the task in it, and column of values.
    tasks
        By column of tasks, the names in it.
    others
        By other column.
    n_rows
        Rows that are as such in order.
    """

    values: dict[int, ValueTexts]
    long: dict[tuple[int, str, int], ValueTexts]
    tasks: dict[int, Counter[str]]
    others: dict[int, OtherTexts]
    n_rows: int = 0


def scan(rows: Iterable[Row], wanted: Wanted, progress: Callable[[int], None]) -> Profile:
    """Read a table once.

    Parameters
    ----------
    rows
        The rows of the table.
    wanted
        The columns.
    progress
        Called with the number of rows read so far, now and then.
    """
    most = max(20, min(_MOST_FORMS, _MOST_FORMS_IN_ALL // max(1, len(wanted.values))))
    found = Profile(
        {place: ValueTexts(*kinds, most) for place, kinds in wanted.values.items()},
        {},
        {place: Counter() for place in wanted.task_columns},
        {place: OtherTexts() for place in wanted.others},
    )
    values = list(found.values.items())
    places = [place for place, _ in values]
    add = [texts.add for _, texts in values]
    numbers = range(len(places))
    active = list(wanted.others)
    for row in rows:
        if row.problem is not None:
            continue
        found.n_rows += 1
        cells = row.values
        filled = [cells[place] for place in places]
        for number in compress(numbers, filled):
            add[number](filled[number])
        for place in wanted.task_columns:
            _add_long(found, wanted, place, cells)
        stopped = [
            place for place in active if cells[place] and not found.others[place].add(cells[place])
        ]
        if stopped:
            active = [place for place in active if place not in stopped]
        if found.n_rows % 1000 == 0:
            progress(found.n_rows)
    return found


def _add_long(found: Profile, wanted: Wanted, place: int, cells: Sequence[str]) -> None:
    name = cells[place]
    if not name:
        return
    counts = found.tasks[place]
    if name in counts or len(counts) < _MOST_TASKS:
        counts[name] += 1
    kinds = wanted.task_of(name)
    if kinds is None:
        return
    for value in wanted.long_values:
        if cells[value]:
            key = place, name, value
            if key not in found.long:
                found.long[key] = ValueTexts(*kinds)
            found.long[key].add(cells[value])
