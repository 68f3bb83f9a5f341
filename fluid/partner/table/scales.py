"""Numbers of all units, brought to the scale of their task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.chem.mass import molar_masses
from fluid.chem.readers import short_name
from fluid.learn.cells.units import convert, direction, parse_unit, same_unit, unit_of_name
from fluid.learn.task import HIGHEST, LOWEST, LabelError, Task
from fluid.partner.table.measurements import Collected, Measured
from fluid.partner.table.report import TableReport

# Fewer numbers do not show that they are logarithms.
_FEWEST_LIKE_P = 5


def convert_all(
    measured: Measured, collected: Collected, read: Compounds | None, report: TableReport
) -> tuple[list[dict[str, int]], list[str]]:
    """Bring all numbers to the scale of their tasks; returns their units, and faults."""
    texts = list(collected.unit_texts)
    units: list[dict[str, int]] = [{} for _ in collected.tasks]
    faults: list[str] = []
    if not len(measured.rows):
        return units, faults
    order = np.lexsort((measured.units, measured.tasks))
    pair = measured.tasks[order] * len(texts) + measured.units[order]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    groups: dict[int, list[tuple[int, np.ndarray]]] = {}
    for group in np.split(order, starts[1:]):
        of, unit = int(measured.tasks[group[0]]), int(measured.units[group[0]])
        if collected.tasks[of].reads_numbers:
            groups.setdefault(of, []).append((unit, np.sort(group)))
    for index, parts in groups.items():
        task = collected.tasks[index]
        for unit, group in parts:
            units[index][texts[unit][0]] = units[index].get(texts[unit][0], 0) + len(group)
        states_none = not task.unit and task.scale == "linear"
        kinds = _kinds(units[index]) if states_none else []
        if len(kinds) > 1:
            faults.append(
                f"task {task.name}: values in {_shown_units(units[index])}, and the federation "
                "states no unit for the task, to which they could be converted; give it one"
            )
        _doubt_units(task, index, units[index], kinds, report)
        for unit, group in parts:
            text, in_cell = texts[unit]
            if states_none and not (in_cell and units[index].get("")):
                # All values are of the one unit that is stated.
                text = ""
            own = parse_unit(task.unit)
            linear = task.scale == "p" and own is not None and not own.slope
            if not text and linear and _look_like_p(measured.values[group]):
                report.doubts.append(
                    f"task {task.name}: values without a unit are read as {task.unit}, and all lie "
                    "between 3 and 12 like -log10 of mol/L; if they are, say so in the column's "
                    "name (pIC50) or in a column of units"
                )
            _convert_group(measured, group, task, text, read)
    return units, faults


def _look_like_p(values: np.ndarray) -> bool:
    """Whether numbers that are to be concentrations may be their negative logarithms already."""
    known = values[np.isfinite(values)]
    if len(known) < _FEWEST_LIKE_P:
        return False
    return bool(((known >= 3) & (known <= 12)).all() and (known % 1 != 0).mean() > 0.5)


def _kinds(units: dict[str, int]) -> list[str]:
    """The units that are stated, each once however it is spelt."""
    kinds: list[str] = []
    for unit in sorted(units):
        if unit and not any(same_unit(unit, other) for other in kinds):
            kinds.append(unit)
    return kinds


def _shown_units(units: dict[str, int]) -> str:
    found = sorted(units.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{short_name(unit) or 'no unit'} ({n:,})" for unit, n in found[:6])


def _doubt_units(
    task: Task, index: int, units: dict[str, int], kinds: list[str], report: TableReport
) -> None:
    """Doubt values without a unit beside values with one."""
    bare = units.get("", 0)
    other = [unit for unit in units if unit and not (task.unit and same_unit(unit, task.unit))]
    named = unit_of_name(task.name)
    if len(kinds) == 1 and named and not _is_of(kinds[0], named):
        report.doubts.append(
            f"task {task.name}: values are in {kinds[0]}, but the task's name says {named}; the "
            "federation states no unit, and they are read as they are"
        )
    elif len(kinds) == 1 and not bare:
        report.notes.append(
            f"task {task.name}: all values are in {kinds[0]}; the federation states no unit, and "
            "they are read as they are"
        )
    elif bare and other and (task.unit or task.scale != "linear"):
        report.doubts.append(
            f"task {task.name}: {bare:,} values state no unit and are read as "
            f"{task.unit or 'stated by the task'}, beside values in {_shown_units(units)}"
        )


def _is_of(unit: str, named: str) -> bool:
    """Whether a unit is the one that a name says, of a logarithm whatever it is of."""
    same = same_unit(unit, named) or (named.startswith(("log", "ln", "-log")) and "(" not in named)
    return same or (named == "p" and unit.startswith("-log"))


def _convert_group(
    measured: Measured, group: np.ndarray, task: Task, unit: str, read: Compounds | None
) -> None:
    """Convert values of one task and one unit in place."""
    try:
        turn = direction(task, unit)
        masses = _masses(measured, group, task, unit, read)
    except LabelError as error:
        measured.reasons.update(dict.fromkeys(group.tolist(), str(error)))
        measured.values[group] = np.nan
        return
    for place, mass in zip(group.tolist(), masses, strict=True):
        try:
            measured.values[place] = convert(measured.values[place], unit, task, mass)
        except LabelError as error:
            measured.reasons[place] = str(error)
            measured.values[place] = _unbounded(measured.values[place], unit, task, mass)
    measured.signs[group] *= turn


def _unbounded(value: float, unit: str, task: Task, mass: float | None) -> float:
    """A number on the task's scale though it is outside its range; NaN if it has none."""
    try:
        return convert(value, unit, replace(task, low=LOWEST, high=HIGHEST), mass)
    except (LabelError, ValueError):
        return float("nan")


def _masses(
    measured: Measured, group: np.ndarray, task: Task, unit: str, read: Compounds | None
) -> Sequence[float | None]:
    """Molar masses of the compounds of these values, where the conversion needs them."""
    none: list[float | None] = [None] * len(group)
    if not unit or read is None:
        return none
    wide = replace(task, low=LOWEST, high=HIGHEST)
    try:
        if convert(1.0, unit, wide, 100.0) == convert(1.0, unit, wide, 200.0):
            return none
    except LabelError:
        return none
    of = measured.position[group]
    known = np.unique(of[of >= 0])
    mass = dict(zip(known.tolist(), molar_masses(read.smiles[known]).tolist(), strict=True))
    return [mass.get(place) for place in of.tolist()]
