"""Which columns of a table hold the labels, and why.

A column is found by its exact name before a similar one. Two columns with equal claims are an
error that names both: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from fluid.base.errors import TableError
from fluid.chem.readers import short_name
from fluid.chem.tables import (
    EntryTable,
    list_columns,
    named_column,
    normal_name,
    similar_columns,
    squeezed_name,
)
from fluid.learn.cells.classes import ClassCode, detect_classes
from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.numbers import (
    DECIMALS,
    FORCE,
    NumberFormat,
    detect_format,
    either_reading,
    read_number,
)
from fluid.learn.cells.units import is_unit, unit_of_name
from fluid.learn.task import LabelError, Task
from fluid.partner.table.columns import Columns
from fluid.partner.table.names import (
    FAMILIES,
    QUALIFIER_WORDS,
    TASK_COLUMNS,
    UNIT_WORDS,
    VALUE_COLUMNS,
    bare_name,
    belongs,
    family,
    is_endpoint,
    is_general,
    is_strong,
    is_vague,
)
from fluid.partner.table.profile import OtherTexts, Profile, ValueTexts, Wanted, is_sign, scan

# Beyond this share of values with the other decimal mark a column is refused.
MANY = 0.2
# A column is used as one of signs or units if this share of its cells are such.
_MOSTLY = 0.5
# A column holds numbers, or classes, if this share of its cells can be read so.
_NEARLY_ALL = 0.9
_SHOWN = 5


@dataclass(frozen=True)
class ColumnUse:
    """One column that is read, and why.

    Attributes
    ----------
    file, column
        Where it is.
    role
        ``"smiles"``, ``"id"``, ``"label"``, ``"qualifier"``, ``"unit"``, ``"task"``, ``"value"``
        or ``"group"``.
    task
        Whose; empty for the whole table.
    why
        What gave it this role.
    """

    file: str
    column: str
    role: str
    task: str
    why: str


@dataclass(frozen=True)
class Source:
    """Where and how the labels of one task are read.

    Attributes
    ----------
    task
        Position of the task.
    value, qualifier, unit
        Positions of columns.
    unit_name
        Unit in the name of the column of values, or empty.
    format
        How numbers are written; None if the task's are classes.
    classes
        How classes are written; None if the task's are numbers.
    """

    task: int
    value: int
    qualifier: int | None = None
    unit: int | None = None
    unit_name: str = ""
    format: NumberFormat | None = None
    classes: ClassCode | None = None


@dataclass(frozen=True)
class Layout:
    """Which columns of a table hold the labels.

    Attributes
    ----------
    wide
        Tasks with a column of their own.
    task_column
        Position of the column of tasks, or None.
    long
        By name in that column, the tasks it stands for.
    group
        Position of the column of groups, or None.
    columns
        The columns that are read, and why.
    notes, doubts
        What was found and how it was understood; and what may be wrong.
    """

    wide: list[Source]
    task_column: int | None
    long: dict[str, list[Source]]
    group: int | None
    columns: list[ColumnUse]
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def find_layout(
    path_table: EntryTable,
    tasks: Sequence[Task],
    columns: Columns,
    progress: Callable[[int], None] = lambda done: None,
) -> Layout:
    """Read a table once and decide which columns hold the labels.

    Parameters
    ----------
    path_table
        The table, of which the rows are used up.
    tasks
        The federation's tasks.
    columns
        What the user says.
    progress
        Called with the number of rows read so far.

    Raises
    ------
    TableError
        If a column that is named is missing, two have equal claims, there is none for any task, or
        how a column's numbers or classes are written cannot be told.
    """
    return _Finder(path_table, tasks, columns).find(progress)


class _Finder:
    """The search for the columns of one table."""

    def __init__(self, entries: EntryTable, tasks: Sequence[Task], columns: Columns) -> None:
        self.entries = entries
        self.table = entries.table
        self.names = entries.table.columns
        self.tasks = tasks
        self.given = columns
        self.uses: list[ColumnUse] = []
        self.notes: list[str] = []
        self.doubts: list[str] = []
        # How numbers and classes are written, and where.
        self._told: dict[str, list[str]] = {}
        # Where numbers have a decimal comma, and where a point is only taken for the decimal mark.
        self._commas: list[str] = []
        self._doubtful: list[tuple[str, str]] = []
        self._check_names()

    def _check_names(self) -> None:
        """Refuse options for tasks that do not exist."""
        for option, named in (
            ("label", self.given.labels),
            ("qualifier", self.given.qualifiers),
            ("unit", self.given.units),
        ):
            for name, column in named.items():
                if self._position_of(name) is None:
                    raise TableError(
                        f"--{option} {name}={column}: the federation has no task '{name}'"
                    )

    def _position_of(self, name: str) -> int | None:
        """Position of the task that an option names."""
        found = similar_columns([task.name for task in self.tasks], name)
        return found[0] if len(found) == 1 else None

    def _given(self, named: Mapping[str, str]) -> dict[int, str]:
        return {
            place: column
            for name, column in named.items()
            if (place := self._position_of(name)) is not None
        }

    def _use(self, place: int, role: str, why: str, task: str = "") -> None:
        self.uses.append(
            ColumnUse(self.table.path.name, short_name(self.names[place]), role, task, why)
        )

    def _shown(self, place: int) -> str:
        return f"'{short_name(self.names[place])}'"

    # What the header tells.

    def find(self, progress: Callable[[int], None]) -> Layout:
        entries = self.entries
        self._use(entries.smiles_index, "smiles", _how(self.given.smiles, "--smiles-column"))
        if entries.id_index is not None:
            self._use(entries.id_index, "id", _how(self.given.id, "--id-column"))
        else:
            self.notes.append(
                "no column of compound names was found (--id-column); rejected rows are listed by "
                "line and structure"
            )
        group = None
        if self.given.group is not None:
            group = named_column(self.table, self.given.group, "group")
            self._use(group, "group", "named")
        wide = self._wide_by_header()
        rest = [place for place in range(len(self.tasks)) if place not in wide]
        task_columns, long_values = self._long_candidates(rest, wide)
        vague = self._vague_candidates(rest, wide) if not wide else []
        profile = self._scan(wide, task_columns, long_values, vague, progress)
        task_column, named, value = self._choose_long(
            profile, rest, task_columns, long_values, wide
        )
        if not wide and task_column is None:
            wide = self._choose_vague(profile, vague, task_columns)
        self._refuse_two_layouts(wide, named)
        # Of the tasks that share a column, each has its signs and units.
        numeric = {place for task, place in wide.items() if self.tasks[task].reads_numbers}
        sources = [self._wide_source(task, place, numeric, profile) for task, place in wide.items()]
        self._tell_codes()
        long: dict[str, list[Source]] = {}
        if task_column is not None and value is not None:
            long = self._long_sources(profile, task_column, value, named)
            self._tell_codes()
        self._check_points()
        self._look_at_unread(profile, sources, long, task_column, value)
        return Layout(sources, task_column, long, group, self.uses, self.notes, self.doubts)

    def _wide_by_header(self) -> dict[int, int]:
        """By task, the column that an option names or that is called after the task."""
        found = {}
        taken = {self.entries.smiles_index}
        given = self._given(self.given.labels)
        for task, column in given.items():
            place = named_column(self.table, column, "label", "give the exact name")
            found[task] = place
            self._use(place, "label", "--label", self.tasks[task].name)
        if self.given.task is not None:
            return found
        squeezed: dict[str, list[int]] = {}
        bare: dict[str, list[int]] = {}
        for place, name in enumerate(self.names):
            if place not in taken:
                squeezed.setdefault(squeezed_name(name), []).append(place)
                bare.setdefault(bare_name(name), []).append(place)
        for task, one in enumerate(self.tasks):
            if task in found:
                continue
            own = self._own_column(one, squeezed, bare)
            if own is not None:
                found[task] = own[0]
                self._use(own[0], "label", own[1], one.name)
        return found

    def _own_column(
        self, task: Task, squeezed: Mapping[str, list[int]], bare: Mapping[str, list[int]]
    ) -> tuple[int, str] | None:
        """The column that is called like a task or its source."""
        for name, what in ((task.source, "source"), (task.name, "name")):
            if not name:
                continue
            places = squeezed.get(squeezed_name(name), [])
            if len(places) > 1:
                alike = similar_columns([self.names[place] for place in places], name)
                places = [places[place] for place in alike]
            why = f"its name is the task's {what}"
            if places and self.names[places[0]] != name:
                why = f"its name reads like the task's {what}"
            if not places and task.reads_numbers:
                places = bare.get(squeezed_name(name), [])
                why = f"its name is the task's {what} with a unit"
            if len(places) > 1:
                raise TableError(
                    f"{self.table.path}: columns {self._shown(places[0])} and "
                    f"{self._shown(places[1])} both read as task '{task.name}'; rename one, or "
                    f"choose with --label {task.name}=COLUMN"
                )
            if places:
                return places[0], why
            if task.source:
                # A task with a source is read from nowhere else.
                return None
        return None

    def _long_candidates(
        self, rest: Sequence[int], wide: Mapping[int, int]
    ) -> tuple[list[int], list[int]]:
        """Columns that may hold the names of tasks, and those that may hold their values."""
        if not rest:
            return [], []
        taken = {self.entries.smiles_index, *wide.values()}
        if self.given.task is not None:
            task_columns = [named_column(self.table, self.given.task, "task")]
        else:
            task_columns = [place for place in self._called(TASK_COLUMNS) if place not in taken]
        if self.given.value is not None:
            values = [named_column(self.table, self.given.value, "value")]
        else:
            values = [place for place in self._called(VALUE_COLUMNS) if place not in taken]
        return task_columns, [place for place in values if place not in task_columns]

    def _called(self, known: Iterable[str]) -> list[int]:
        """Columns with a known name, in the order of the names."""
        names = [squeezed_name(name) for name in self.names]
        wanted = [squeezed_name(name) for name in known]
        return [place for one in wanted for place, name in enumerate(names) if name == one]

    def _vague_candidates(self, rest: Sequence[int], wide: Mapping[int, int]) -> list[int]:
        """If there is one task only: columns called "value" and the like."""
        if len(self.tasks) != 1 or wide or self.given.task is not None:
            return []
        if self.given.value is not None:
            return [named_column(self.table, self.given.value, "value")]
        return [
            place for place in self._called(VALUE_COLUMNS) if place != self.entries.smiles_index
        ]

    # What the cells tell.

    def _scan(
        self,
        wide: Mapping[int, int],
        task_columns: Sequence[int],
        long_values: Sequence[int],
        vague: Sequence[int],
        progress: Callable[[int], None],
    ) -> Profile:
        kinds: dict[int, tuple[bool, bool]] = {}
        for task, place in [*wide.items(), *((0, place) for place in vague)]:
            numbers, classes = kinds.get(place, (False, False))
            reads = self.tasks[task].reads_numbers
            kinds[place] = numbers or reads, classes or not reads
        known = {self.entries.smiles_index, self.entries.id_index}
        read = {*wide.values(), *task_columns}
        others = [
            place for place in range(len(self.names)) if place not in read and place not in known
        ]
        wanted = Wanted(kinds, task_columns, long_values, _KindsOf(self.tasks), others)
        return scan(self.table.rows, wanted, progress)

    def _choose_long(
        self,
        profile: Profile,
        rest: Sequence[int],
        task_columns: Sequence[int],
        long_values: Sequence[int],
        wide: Mapping[int, int],
    ) -> tuple[int | None, dict[int, list[str]], int | None]:
        """The column of tasks, the names that each task has in it, and the column of values."""
        if not task_columns or not long_values:
            if self.given.task is not None and not long_values:
                raise TableError(
                    f"{self.table.path}: no value column for task column "
                    f"{self._shown(task_columns[0])}; the columns are {list_columns(self.table)}. "
                    "Name it with --value-column"
                )
            return None, {}, None
        matches = {
            place: found
            for place in task_columns
            if (found := self._names_in(profile.tasks[place], rest))
        }
        if not matches:
            if not wide and (self.given.task is not None or len(self.tasks) > 1):
                raise TableError(self._no_names(profile, task_columns))
            return None, {}, None
        # The one that names more of the tasks exactly; the column of ChEMBL's types may repeat.
        if len(matches) > 1:
            first, second = list(matches)[:2]
            raise TableError(
                f"{self.table.path}: columns {self._shown(first)} and {self._shown(second)} both "
                "hold names of tasks; choose with --task-column"
            )
        column, named = next(iter(matches.items()))
        value = self._choose_value(profile, column, named, long_values)
        why = f"holds {_list(name for names in named.values() for name in names)}"
        self._use(column, "task", "--task-column" if self.given.task else why)
        self._use(value, "value", _how(self.given.value, "--value-column"))
        self._mention_other_names(profile, column, named)
        return column, named, value

    def _names_in(self, counts: Mapping[str, int], rest: Sequence[int]) -> dict[int, list[str]]:
        """By task, its names in a column: spelt exactly, or else alike but for case and blanks."""
        folded: dict[str, list[str]] = {}
        for name in counts:
            folded.setdefault(squeezed_name(name), []).append(name)
        found = {}
        for task in rest:
            one = self.tasks[task]
            alike = folded.get(squeezed_name(one.quantity), [])
            normal = [name for name in alike if normal_name(name) == normal_name(one.quantity)]
            if not normal and len(alike) > 1:
                raise TableError(
                    f"{self.table.path}: '{short_name(alike[0])}' and '{short_name(alike[1])}' "
                    f"both read as task '{one.name}'; give its source in the federation file"
                )
            if normal or alike:
                found[task] = sorted(normal or alike)
        return found

    def _no_names(self, profile: Profile, task_columns: Sequence[int]) -> str:
        """Message: a column of tasks holds other names than the federation's."""
        place = task_columns[0]
        counts = profile.tasks[place]
        shown = ", ".join(f"'{short_name(name)}' ({n:,})" for name, n in counts.most_common(_SHOWN))
        more = f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else ""
        wanted = ", ".join(f"'{task.quantity}'" for task in self.tasks[:_SHOWN])
        return (
            f"{self.table.path}: column {self._shown(place)} names none of the tasks ({wanted}"
            f"{', ...' if len(self.tasks) > _SHOWN else ''}), but {shown or 'nothing'}{more}. Give "
            "a task this name as its source in the federation file, or name a column with "
            "--label TASK=COLUMN or --task-column"
        )

    def _choose_value(
        self,
        profile: Profile,
        column: int,
        named: Mapping[int, list[str]],
        values: Sequence[int],
    ) -> int:
        """The column of values of a long table."""
        if len(values) == 1:
            return values[0]
        # "Standard Value" beside "Value", as ChEMBL has them, is the one that goes with its units.
        standard = [
            place for place in values if squeezed_name(self.names[place]) == "standardvalue"
        ]
        if len(standard) == 1:
            return standard[0]
        held = [place for place in values if self._is_readable(profile, column, named, place)]
        strong = [place for place in held if not is_vague(self.names[place])]
        held = strong if len(strong) == 1 else held
        if len(held) == 1:
            return held[0]
        first, second = (held or list(values))[:2]
        raise TableError(
            f"{self.table.path}: columns {self._shown(first)} and {self._shown(second)} may both "
            "hold the values; choose with --value-column"
        )

    def _is_readable(
        self, profile: Profile, column: int, named: Mapping[int, list[str]], place: int
    ) -> bool:
        """Whether a column holds anything that tasks could read."""
        return any(
            texts is not None and any(can_read(self.tasks[task], one) for one in _texts(texts))
            for task, names in named.items()
            for name in names
            for texts in [profile.long.get((column, name, place))]
        )

    def _mention_other_names(
        self, profile: Profile, column: int, named: Mapping[int, list[str]]
    ) -> None:
        read = {name for names in named.values() for name in names}
        others = [(name, n) for name, n in profile.tasks[column].most_common() if name not in read]
        if not others:
            return
        shown = ", ".join(f"'{short_name(name)}' ({n:,})" for name, n in others[:_SHOWN])
        more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
        self.notes.append(
            f"column {self._shown(column)} also holds {shown}{more}, which are not tasks here"
        )

    def _choose_vague(
        self, profile: Profile, vague: Sequence[int], task_columns: Sequence[int]
    ) -> dict[int, int]:
        """The column of the only task if none is called after it: one called "value", say.

        Raises
        ------
        TableError
            If there is none, or another column may be meant as well.
        """
        task = self.tasks[0] if self.tasks else None
        if task is None or not vague:
            wanted = ", ".join(one.quantity for one in self.tasks[:20])
            more = ", ..." if len(self.tasks) > 20 else ""
            raise TableError(
                f"{self.table.path}: no column for any task ({wanted}{more}) and no long layout; "
                f"the columns are {list_columns(self.table)}. Name one with --label TASK=COLUMN"
            )
        if task_columns and self.given.value is None:
            counts = profile.tasks[task_columns[0]]
            if 0 < len(counts) < _MANY_NAMES and profile.n_rows > len(counts):
                raise TableError(self._no_names(profile, task_columns))
        if self.given.value is not None:
            self._use(vague[0], "label", "--value-column", task.name)
            return {0: vague[0]}
        standard = [place for place in vague if squeezed_name(self.names[place]) == "standardvalue"]
        readable = [
            place for place in vague if self._share_readable(task, profile.values[place]) > _MOSTLY
        ]
        chosen = (standard or readable or list(vague))[0]
        rivals = [place for place in readable if place != chosen and not standard]
        rivals += [
            place
            for place, texts in profile.others.items()
            if place not in vague
            and (is_vague(self.names[chosen]) or is_endpoint(self.names[place]))
            and not (standard and family(self.names[place]))
            and not _is_beside(self.names[place])
            and texts.counts
            and texts.share(partial(can_read, task)) >= _NEARLY_ALL
        ]
        if rivals:
            raise TableError(
                f"{self.table.path}: no column is called '{task.quantity}', and both "
                f"{self._shown(chosen)} and {self._shown(rivals[0])} may hold it; choose with "
                f"--label {task.name}=COLUMN"
            )
        why = "no column is called like the task, and this is the only one that may hold it"
        self._use(chosen, "label", why, task.name)
        return {0: chosen}

    def _share_readable(self, task: Task, texts: ValueTexts) -> float:
        found = list(_texts(texts))
        return sum(can_read(task, text) for text in found) / len(found) if found else 0.0

    def _refuse_two_layouts(self, wide: Mapping[int, int], named: Mapping[int, list[str]]) -> None:
        both = [task for task in named if task in wide]
        if both:
            name = self.tasks[both[0]].name
            raise TableError(
                f"{self.table.path}: task '{name}' has both a column and rows of a long table; "
                f"choose with --label {name}=COLUMN or --task-column"
            )

    # How values are written, and what belongs to them.

    def _wide_source(self, task: int, place: int, numeric: set[int], profile: Profile) -> Source:
        one = self.tasks[task]
        texts = profile.values[place]
        if not one.reads_numbers:
            return Source(task, place, classes=self._code(task, place, texts))
        bases = frozenset(
            {bare_name(self.names[place]), squeezed_name(self.names[place])}
            | {squeezed_name(one.name), squeezed_name(one.quantity)}
        )
        qualifier = self._beside(profile, "qualifier", task, place, bases, numeric)
        unit = self._beside(profile, "unit", task, place, bases, numeric)
        name_unit = self._stated_unit(place)
        return Source(task, place, qualifier, unit, name_unit, self._format(task, place, texts))

    def _stated_unit(self, place: int) -> str:
        """The unit in a column's name, or else in PubChem's line of units."""
        return unit_of_name(self.names[place]) or self.table.units.get(place, "")

    def _beside(
        self,
        profile: Profile,
        role: str,
        task: int,
        value: int,
        bases: frozenset[str],
        numeric: set[int],
    ) -> int | None:
        """The column of signs, or of units, of a column of values."""
        named = self.given.qualifiers if role == "qualifier" else self.given.units
        words = QUALIFIER_WORDS if role == "qualifier" else UNIT_WORDS
        test = is_sign if role == "qualifier" else is_unit
        name = self.tasks[task].name
        given = self._given(named).get(task)
        if given is None:
            given = self.given.qualifier if role == "qualifier" else self.given.unit
            option = f"--{role}-column"
        else:
            option = f"--{role}"
        if given is not None:
            place = named_column(self.table, given, role)
            self._use(place, role, option, name)
            return place
        strong = _STRONG[role]
        held = {
            place: texts
            for place, texts in profile.others.items()
            if texts.counts
            and (texts.share(test) >= _MOSTLY or is_strong(self.names[place], strong))
        }
        own = [place for place in held if belongs(self.names[place], bases, words)]
        why = f"its name is that of the values and '{role}'"
        if not own:
            own, why = self._of_family(value, held, words)
        if not own and len(numeric) == 1 and not _stands_alone(self.names[value]):
            own = [
                place
                for place in held
                if is_general(self.names[place], words) or self._of_no_value(place, words)
            ]
            why = "the only column of its kind, and of the only numbers"
            if len(own) == 1:
                self._check_neighbours(profile, role, task, value, own[0])
        if not own and role == "qualifier" and not _stands_alone(self.names[value]):
            own = [
                place
                for place in (value - 1, value + 1)
                if place in held and held[place].holds_signs and not self._is_owned(place, value)
            ]
            why = "it holds nothing but signs and stands beside the values"
            sided = self._on_one_side(value, numeric, held)
            own = sided or [place for place in own if self._is_next_to_one(place, numeric)]
        if len(own) > 1:
            raise TableError(
                f"{self.table.path}: columns {self._shown(own[0])} and {self._shown(own[1])} may "
                f"both be the {role} of {self._shown(value)}; choose with --{role} {name}=COLUMN"
            )
        if own:
            self._use(own[0], role, why, name)
            return own[0]
        return None

    def _of_family(
        self, value: int, held: Iterable[int], words: frozenset[str]
    ) -> tuple[list[int], str]:
        """Columns such as "Standard Units", of "Standard Value"."""
        kin = family(self.names[value])
        if not kin:
            return [], ""
        own = [place for place in held if belongs(self.names[place], frozenset({kin}), words)]
        return own, f"it belongs to {self._shown(value)}"

    def _of_no_value(self, place: int, words: frozenset[str]) -> bool:
        """Whether a column is a family's whose values are not in the table."""
        for kin in FAMILIES:
            if belongs(self.names[place], frozenset({kin}), words):
                return not any(family(name) == kin for name in self.names)
        return False

    def _is_owned(self, place: int, value: int) -> bool:
        """Whether the name of a column of signs belongs to another column."""
        return any(
            belongs(
                self.names[place],
                frozenset({bare_name(name), family(name) or " "}),
                QUALIFIER_WORDS,
            )
            for other, name in enumerate(self.names)
            if other not in (place, value)
        )

    def _is_next_to_one(self, place: int, numeric: set[int]) -> bool:
        """Whether only one of its neighbours is a column of numbers."""
        return len({place - 1, place + 1} & numeric) == 1

    def _on_one_side(
        self, value: int, numeric: set[int], held: Mapping[int, OtherTexts]
    ) -> list[int]:
        """The column of signs beside a value if every value has one on the same side only."""
        sides = [
            side
            for side in (-1, 1)
            if all(place + side in held and held[place + side].holds_signs for place in numeric)
        ]
        return [value + sides[0]] if len(numeric) > 1 and len(sides) == 1 else []

    def _check_neighbours(
        self, profile: Profile, role: str, task: int, value: int, place: int
    ) -> None:
        """Refuse a column called "unit" or the like that stands beside other numbers.

        Units follow their numbers, signs stand on either side.
        """
        before, after = (self._neighbour(profile, place, side, value) for side in (-1, 1))
        words = QUALIFIER_WORDS if role == "qualifier" else UNIT_WORDS
        if role == "qualifier":
            near = [before, after]
        else:
            near = [after] if before is None and after == value else [before]
        others = [
            one
            for one in near
            if one is not None and one != value
            if not any(
                belongs(name, frozenset({bare_name(self.names[one])}), words) for name in self.names
            )
        ]
        if not others or (role == "qualifier" and after == value):
            return
        name = self.tasks[task].name
        text = (
            f"column {self._shown(place)} may be the {role} of {self._shown(value)} or of "
            f"{self._shown(others[0])}"
        )
        if value in near:
            self.doubts.append(f"{text}, and is read as the former's; --{role} {name}=COLUMN")
            return
        raise TableError(
            f"{self.table.path}: {text}; rename it, or choose with --{role} {name}=COLUMN"
        )

    def _neighbour(self, profile: Profile, place: int, side: int, value: int) -> int | None:
        """The next column on one side that is a column of numbers with signs or units, or None."""
        at = place + side
        while 0 <= at < len(self.names):
            if at == value:
                return at
            texts, name = profile.others.get(at), self.names[at]
            if texts is None or not texts.counts:
                return None
            marks = side < 0 and (texts.holds_signs or texts.share(is_unit) >= _MOSTLY)
            if not marks and not _is_beside(name):
                own = bool(self._stated_unit(at)) or _stands_alone(name) or _is_of_itself(name)
                return None if own or texts.share(_is_number) < _NEARLY_ALL else at
            at += side
        return None

    def _long_sources(
        self, profile: Profile, column: int, value: int, named: Mapping[int, list[str]]
    ) -> dict[str, list[Source]]:
        """By name in the column of tasks, how each of its tasks is read."""
        numeric = [task for task in named if self.tasks[task].reads_numbers]
        beside: dict[int, tuple[int | None, int | None]] = {}
        if numeric:
            bases = frozenset({bare_name(self.names[value]), squeezed_name(self.names[value])})
            first = self._beside(profile, "qualifier", numeric[0], value, bases, {value})
            second = self._beside(profile, "unit", numeric[0], value, bases, {value})
            beside = dict.fromkeys(numeric, (first, second))
            self._whole_table()
        found: dict[str, list[Source]] = {}
        unit_name = self._stated_unit(value)
        column_format = self._column_format(profile, column, value, named)
        for task, names in named.items():
            texts = [
                one
                for name in names
                if (one := profile.long.get((column, name, value))) is not None
            ]
            whole = _joined(texts, self.tasks[task])
            if self.tasks[task].reads_numbers:
                qualifier, unit = beside[task]
                format = self._format(task, value, whole, column_format)
                made = Source(task, value, qualifier, unit, unit_name, format)
            else:
                made = Source(task, value, classes=self._code(task, value, whole))
            for name in names:
                found.setdefault(name, []).append(made)
        return found

    def _whole_table(self) -> None:
        """Of a long table, signs and units are those of all tasks."""
        self.uses = [
            ColumnUse(use.file, use.column, use.role, "", use.why)
            if use.role in ("qualifier", "unit")
            else use
            for use in self.uses
        ]

    def _column_format(
        self, profile: Profile, column: int, value: int, named: Mapping[int, list[str]]
    ) -> NumberFormat | None:
        """How the numbers of all tasks of a long table are written; None if in several ways."""
        forms = {
            text
            for task, names in named.items()
            for name in names
            if self.tasks[task].reads_numbers and (column, name, value) in profile.long
            for text, _ in profile.long[column, name, value].forms.values()
        }
        try:
            return detect_format(forms, self.given.decimal, self.given.thousands)
        except LabelError:
            return None

    def _detect(self, forms: Sequence[str], whole: NumberFormat | None) -> NumberFormat:
        """The marks of these numbers, or those of the whole column where they may be either."""
        try:
            found = detect_format(forms, self.given.decimal, self.given.thousands)
        except LabelError:
            if whole is None:
                raise
        else:
            if whole is None or not found.doubtful:
                return found
        if whole.doubtful:
            return whole
        return detect_format(forms, whole.decimal, self.given.thousands)

    def _check_points(self) -> None:
        """Raise if a point may separate thousands, because other columns have a decimal comma."""
        if self._commas and self._doubtful:
            where, text = self._doubtful[0]
            raise TableError(
                f"{self.table.path}: {where}: {either_reading(text, '.')}, for {self._commas[0]} "
                f"has a decimal comma; {FORCE}"
            )

    def _format(
        self, task: int, place: int, texts: ValueTexts, whole: NumberFormat | None = None
    ) -> NumberFormat:
        """How the numbers of a column are written; `whole` is how those of all its tasks are."""
        where = f"column {self._shown(place)}, task {self.tasks[task].name}"
        forms = sorted(text for text, _ in texts.forms.values())
        try:
            found = self._detect(forms, whole)
        except LabelError as error:
            decimal, other = self._majority(texts)
            if decimal is None:
                raise TableError(f"{self.table.path}: {where}: {error}") from error
            kept = [text for text in forms if _decimal_of(text) in (None, decimal)]
            try:
                found = detect_format(kept, decimal, self.given.thousands)
            except LabelError:
                raise TableError(f"{self.table.path}: {where}: {error}") from error
            self.doubts.append(
                f"{where}: {other:,} of {texts.n:,} values have another decimal mark than "
                f"'{decimal}' and are rejected: {error}"
            )
        if found.why:
            self._told.setdefault(f"numbers have {found.why}", []).append(where)
        if found.decimal == ",":
            self._commas.append(where)
        if found.doubtful:
            self._doubtful.append((where, found.doubtful))
        return found

    def _tell_codes(self) -> None:
        """Note how numbers and classes are written, once for all columns that are alike."""
        for why, places in self._told.items():
            more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
            self.notes.append(f"{places[0]}{more}: {why}")
        self._told.clear()

    def _majority(self, texts: ValueTexts) -> tuple[str | None, int]:
        """The decimal mark that nearly all cells have, and the number of the others.

        Each of these cells shows its mark by itself, so that nothing is guessed: the others are
        rejected one by one.
        """
        votes = dict.fromkeys(DECIMALS, 0)
        for text, n in texts.forms.values():
            if (mark := _decimal_of(text)) is not None:
                votes[mark] += n
        decimal = self.given.decimal or max(votes, key=lambda mark: votes[mark])
        other = votes["," if decimal == "." else "."]
        if self.given.decimal is None and not 0 < other <= MANY * votes[decimal]:
            return None, 0
        return decimal, other

    def _code(self, task: int, place: int, texts: ValueTexts) -> ClassCode:
        """How the classes of a column are written."""
        code = detect_classes(self.tasks[task], texts.counts)
        where = f"column {self._shown(place)}, task {self.tasks[task].name}"
        if code.why:
            self._told.setdefault(code.why, []).append(where)
        self.doubts += [f"{where}: {doubt}" for doubt in code.doubts]
        return code

    # What is not read though it may matter.

    def _look_at_unread(
        self,
        profile: Profile,
        wide: Sequence[Source],
        long: Mapping[str, Sequence[Source]],
        task_column: int | None,
        value: int | None,
    ) -> None:
        sources = [*wide, *(source for found in long.values() for source in found)]
        read = {source.value for source in sources}
        read |= {source.qualifier for source in sources if source.qualifier is not None}
        read |= {source.unit for source in sources if source.unit is not None}
        numbers = any(self.tasks[source.task].reads_numbers for source in sources)
        families = {family(name) for name in self.names} - {""}
        for place, texts in profile.others.items():
            if place in read or not texts.counts or not numbers:
                continue
            name = self.names[place]
            elsewhere = any(
                belongs(name, frozenset({kin}), QUALIFIER_WORDS | UNIT_WORDS) for kin in families
            )
            if texts.holds_signs:
                signs = ", ".join(sorted(texts.counts)[:_SHOWN])
                note = (
                    f"column {self._shown(place)} holds nothing but signs ({signs}) and is not read"
                )
                (self.notes if elsewhere else self.doubts).append(
                    note + "; name it with --qualifier TASK=COLUMN if it belongs to a task"
                )
            elif self._may_hold_signs(texts, place, read):
                shown = ", ".join(f"'{short_name(text)}'" for text in sorted(texts.counts)[:_SHOWN])
                self.doubts.append(
                    f"column {self._shown(place)} may say which values are bounds ({shown}) and is "
                    "not read; write '=', '<' or '>' into it and name it with --qualifier "
                    "TASK=COLUMN if so"
                )
            elif is_general(name, UNIT_WORDS) and texts.share(is_unit) >= _MOSTLY:
                units = ", ".join(sorted(texts.counts)[:_SHOWN])
                self.doubts.append(
                    f"column {self._shown(place)} holds units ({units}) and is not read; name it "
                    "with --unit TASK=COLUMN if it belongs to a task"
                )
        for value in sorted({source.value for source in sources}):
            second = f"{self.names[value]}.1"
            if second in self.names:
                self.doubts.append(
                    f"column {self._shown(value)} is read, and '{short_name(second)}', which "
                    "pandas makes of a second column of the same name, is not"
                )
        if task_column is None:
            self._doubt_mixture(profile, wide)

    def _may_hold_signs(self, texts: OtherTexts, place: int, read: set[int]) -> bool:
        """Whether a column holds signs among other texts, or is called after censored values."""
        name = self.names[place]
        if is_strong(name, _CENSORED) and not is_strong(name, _STRONG["unit"]):
            return len(texts.counts) > 1 or not {"0", "false", "no"}.issuperset(
                text.lower() for text in texts.counts
            )
        bases = frozenset(bare_name(self.names[value]) for value in read)
        close = (
            is_general(name, QUALIFIER_WORDS)
            or belongs(name, bases, QUALIFIER_WORDS)
            or not read.isdisjoint((place - 1, place + 1))
        )
        return close and any(text[0] in "<>≤≥" and is_sign(text) for text in texts.counts)

    def _doubt_mixture(self, profile: Profile, wide: Sequence[Source]) -> None:
        """Doubt a column of values whose rows are of several types, as in exports of databases."""
        if not wide or not any(family(self.names[source.value]) for source in wide):
            return
        for place in self._called(("standard_type", "activity_type", "result_type")):
            counts: Mapping[str, int] = profile.tasks.get(place) or (
                profile.others[place].counts if place in profile.others else {}
            )
            if len(counts) > 1:
                shown = ", ".join(f"'{short_name(name)}'" for name in sorted(counts)[:_SHOWN])
                self.doubts.append(
                    f"column {self._shown(place)} holds several types ({shown}), and all rows are "
                    "read; use --task-column to read them as tasks"
                )


# Names that leave no doubt of what a column holds, whatever it holds.
_STRONG = {
    "qualifier": frozenset({"qualifier", "qualifiers"}),
    "unit": frozenset({"unit", "units", "uom"}),
}
_CENSORED = frozenset({"censor", "censored", "censoring", "censorship"})
# Names of tasks that are looked up once.
_MOST_NAMES = 20_000
# Names in a column called "assay" or the like that make it one of a long table.
_MANY_NAMES = 200
_UNITLESS = frozenset(
    {
        "ph", "tpsa", "psa", "hba", "hbd", "rings", "atoms", "charge", "class", "label", "fold",
        "active", "flag", "ratio", "r2", "rsquared", "qed", "ci", "lower", "upper", "min", "max",
        "mean", "median", "level", "confidence", "quality", "valid", "top", "bottom", "compound",
        "regno", "barcode", "cas", "code",
    }
)  # fmt: skip
_BESIDE = frozenset(
    [
        "year",
        "date",
        "month",
        "day",
        "batch",
        "plate",
        "well",
        "row",
        "line",
        "index",
        "number",
        "n",
        "count",
        "rank",
        "order",
        "version",
        "replicate",
        "replicates",
        "run",
        "sd",
        "std",
        "sem",
        "se",
        "stdev",
        "error",
        "cv",
        "hill",
        "slope",
        "zprime",
        "score",
        "weight",
        "mw",
        "molwt",
        "mass",
        "pubmed",
        "pmid",
        "doi",
        "aid",
        "cid",
        "sid",
        "tid",
        "id",
    ]
)


def _is_beside(name: str) -> bool:
    """Whether a column's name says that it is no measurement, such as "year"."""
    words = normal_name(name).replace(".", "_").split("_")
    return any(word in _BESIDE for word in words) or words[-1].endswith("id")


def _is_number(text: str) -> bool:
    try:
        read_number(text, NumberFormat("."))
    except LabelError:
        return False
    return not is_missing(text)


def _is_of_itself(name: str) -> bool:
    """Whether a column's numbers have neither unit nor sign, such as a pH."""
    return not _UNITLESS.isdisjoint(normal_name(name).replace(".", "_").split("_"))


def _stands_alone(name: str) -> bool:
    """Whether values have neither signs nor units: ChEMBL gives pChEMBL values for "=" only."""
    return squeezed_name(name) in ("pchemblvalue", "pchembl")


def _decimal_of(text: str) -> str | None:
    """The decimal mark that a cell shows by itself, or None."""
    try:
        found = detect_format([text])
    except LabelError:
        return None
    return found.decimal if found.decimal in text else None


def _how(given: str | None, option: str) -> str:
    return option if given is not None else "by its name"


def _list(names: Iterable[str]) -> str:
    found = sorted(set(names))
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return ", ".join(f"'{short_name(name)}'" for name in found[:_SHOWN]) + more


class _KindsOf:
    """Whether numbers and classes are read of the values beside a name of tasks."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._of: dict[str, tuple[bool, bool]] = {}
        for task in tasks:
            numbers, classes = self._of.get(squeezed_name(task.quantity), (False, False))
            reads = task.reads_numbers
            self._of[squeezed_name(task.quantity)] = numbers or reads, classes or not reads
        self._found: dict[str, tuple[bool, bool] | None] = {}

    def __call__(self, text: str) -> tuple[bool, bool] | None:
        if text not in self._found:
            if len(self._found) > _MOST_NAMES:
                self._found.clear()
            self._found[text] = self._of.get(squeezed_name(text))
        return self._found[text]


def _texts(texts: ValueTexts) -> Iterable[str]:
    return [text for text, _ in texts.forms.values()] or list(texts.counts)


def can_read(task: Task, text: str) -> bool:
    """Whether a text could be a value of a task; one that is missing is not."""
    if is_missing(text):
        return False
    if task.reads_numbers:
        for decimal in (".", ","):
            try:
                read_number(text, NumberFormat(decimal))
            except LabelError:
                continue
            return True
        return False
    try:
        return detect_classes(task, {text: 1}).read(text) is not None
    except LabelError:
        return False


def _joined(parts: Sequence[ValueTexts], task: Task) -> ValueTexts:
    """The texts of all names of one task."""
    whole = ValueTexts(task.reads_numbers, not task.reads_numbers)
    for part in parts:
        whole.n += part.n
        whole.counts.update(part.counts)
        for form, (text, n) in part.forms.items():
            held, m = whole.forms.get(form, (text, 0))
            whole.forms[form] = min(text, held), n + m
    return whole
