"""A model from the plain values and arrays of its folder, of which nothing is assumed.

Every table has the keys that `fluid.learn.storage` writes and no others, every array is used once,
and everything that a prediction multiplies, indexes or walks through is checked here, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fluid.base.errors import FileFormatError
from fluid.base.values import convert_value, read_fields
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.learn.calibration import Platt
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.crossfit import FoldModel
from fluid.learn.domain import DOMAINS, revive_domain
from fluid.learn.estimators import State, revive, revive_shared
from fluid.learn.estimators.base import Shared, check_positions
from fluid.learn.estimators.multitask.head import Head
from fluid.learn.folds import check_cross_fitting
from fluid.learn.hybrid_model import BlendWeight, Decision, HybridModel
from fluid.learn.member_table import KINDS, HeadTableReader, TableReader
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.task import Task

# Averages of averages were never written.
_MOST_NESTED = 3


@dataclass(frozen=True)
class StoredTrained:
    """``model.json`` of a trained model."""

    schema: str
    card: dict[str, Any]
    files: dict[str, str]
    chemistry: dict[str, Any]
    tasks: list[Any]
    shared: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class StoredHybrid:
    """``model.json`` of a hybrid."""

    schema: str
    card: dict[str, Any]
    files: dict[str, str]
    decisions: dict[str, Any]
    domains: dict[str, Any]


@dataclass(frozen=True)
class _StoredTask:
    task: dict[str, Any]
    members: list[Any]
    table: str
    in_table: int
    in_logits: bool
    rows: str
    domains: dict[str, Any]
    threshold: float


@dataclass(frozen=True)
class _StoredMember:
    repeat: int
    fold: int
    reliability: list[float]
    calibrations: list[Any]
    estimators: list[Any]


@dataclass(frozen=True)
class _StoredEstimator:
    kind: str
    params: dict[str, Any]
    arrays: dict[str, Any]
    parts: dict[str, Any]
    shared: int | None = None


@dataclass(frozen=True)
class Arrays:
    """Arrays of a model folder by name: of members and domains, and of what members share."""

    own: Mapping[str, np.ndarray]
    shared: Mapping[str, np.ndarray]


class _Left:
    """What of a folder no part has taken so far.

    Attributes
    ----------
    arrays
        Each is taken once.
    shared
        What several estimators may take.
    unused
        Places of those among them that none has taken.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], shared: list[Shared]) -> None:
        self.arrays = dict(arrays)
        self.shared = shared
        self.unused = set(range(len(shared)))

    def take(self, names: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Arrays by the names that their owner has for them."""
        found = {}
        for key, name in names.items():
            if not isinstance(name, str) or name not in self.arrays:
                raise ValueError(f"array {name!r:.80} is missing, or used twice")
            found[key] = self.arrays.pop(name)
        return found

    def share(self, number: int) -> Shared:
        """What estimators share."""
        if not 0 <= number < len(self.shared):
            raise ValueError(f"shared part {number} does not exist")
        self.unused.discard(number)
        return self.shared[number]

    def check_empty(self) -> None:
        """Raise ValueError if anything is left."""
        if self.arrays:
            raise ValueError(f"array '{min(self.arrays):.80}' belongs to no part")
        if self.unused:
            raise ValueError(f"shared part {min(self.unused)} is used by no estimator")


@dataclass(frozen=True)
class _StoredDomain:
    params: dict[str, Any]
    arrays: dict[str, Any]


def trained_from(
    stored: StoredTrained,
    card: Card,
    library: Compounds,
    arrays: Arrays,
    trained_on: np.ndarray | None,
) -> TrainedModel:
    """A teacher, student or reference.

    Raises
    ------
    ValueError, KeyError, FileFormatError
        If its parts do not fit one another.
    """
    chemistry = Chemistry.from_dict(stored.chemistry)
    features = chemistry.features
    if (library.bits, library.descriptors.shape[1]) != (features.bits, features.n_descriptors):
        raise ValueError("the library has other features than the chemistry")
    if not np.isfinite(library.descriptors).all():
        raise ValueError("a descriptor of the library is not finite")
    left = _Left(arrays.own, _shared(stored.shared, arrays.shared, library))
    tables = {
        kind: HeadTableReader(left.arrays, left.share)
        if kind == Head.kind
        else TableReader(kind, left.arrays)
        for kind in KINDS
        if any(name.startswith(f"0.{kind}.") for name in left.arrays)
    }
    models = [_task_model(values, left, tables, library) for values in stored.tasks]
    names = [model.task.name for model in models]
    if not names or len(set(names)) < len(names):
        raise ValueError("there is no task, or one twice")
    if "sub_teachers" not in card.training and not all(model.members for model in models):
        raise ValueError("a task has no members")
    if not all(table.is_used() for table in tables.values()):
        raise ValueError("a member belongs to no task")
    left.check_empty()
    return TrainedModel(card, chemistry, library, models, trained_on)


def hybrid_from(
    stored: StoredHybrid, card: Card, own: TrainedModel, student: TrainedModel
) -> HybridModel:
    """A hybrid of two models.

    Raises
    ------
    ValueError, KeyError
        If its parts do not fit one another.
    """
    if own.chemistry != student.chemistry:
        raise ValueError("own model and student differ in their chemistry")
    known = {task.name: task for task in own.tasks}
    for task in student.tasks:
        if known.setdefault(task.name, task) != task:
            raise ValueError(f"own model and student differ in task '{task.name}'")
    domains = {}
    for name, values in stored.domains.items():
        one = _StoredDomain(**read_fields(_StoredDomain, f"domains.{name}", values))
        found = {key: np.array(_numbers(item, key), float) for key, item in one.arrays.items()}
        domains[name] = ReliabilityDomain.from_state(one.params, found)
    decisions = {
        name: _decision(_numbers(values, f"decisions.{name}", 7), domains.get(name))
        for name, values in stored.decisions.items()
    }
    if not set(domains) <= set(decisions) <= set(known):
        raise ValueError("domains and decisions are not of the tasks that there are")
    return HybridModel(card, own, student, decisions)


def check_teacher(model: TrainedModel) -> None:
    """Make sure that a teacher's card states how it was trained, and that its members fit that.

    Raises
    ------
    FluidError
        If they do not.
    """
    training = model.card.training
    sub_teachers = "sub_teachers" in training
    needed = {"learner", "seed"} | ({"sub_teachers"} if sub_teachers else {"folds", "repeats"})
    missing = sorted(needed - set(training))
    if not sub_teachers:
        labelled = training.get("labels", {})
        missing += [f"labels.{task.name}" for task in model.tasks if task.name not in labelled]
    if missing:
        raise FileFormatError(f"card.training.{missing[0]} is missing")
    if sub_teachers:
        repeats, folds = 1, training["sub_teachers"]
    else:
        repeats, folds = training["repeats"], training["folds"]
        check_cross_fitting(folds, repeats, training["seed"])
    for task in model.task_models:
        for member in task.members:
            if member.repeat >= repeats or member.fold >= folds:
                raise FileFormatError(
                    f"task '{task.task.name}' has a member of repeat {member.repeat} and fold "
                    f"{member.fold}; there are {repeats} and {folds}"
                )


def _task_model(
    values: Any, left: _Left, tables: Mapping[str, TableReader], library: Compounds
) -> TaskModel:
    one = _StoredTask(**read_fields(_StoredTask, "tasks", values))
    task = Task.from_dict(one.task)
    where = f"tasks.{task.name}"
    stated = one.members
    if one.table:
        if stated or one.table not in tables:
            raise ValueError(f"{where}: there is no table of members '{one.table:.80}' alone")
        stated = tables[one.table].take(one.in_table, len(task.outputs))
    elif one.in_table:
        raise ValueError(f"{where}: {one.in_table} members are in no table")
    members = [_member(item, where, len(task.outputs), left) for item in stated]
    places = {(member.repeat, member.fold) for member in members}
    if len(places) < len(members):
        raise ValueError(f"{where}: two members are of the same repeat and fold")
    for member in members:
        for estimator in member.estimators:
            estimator.check(library)
    if set(one.domains) != set(DOMAINS):
        unfit = min(set(one.domains) ^ set(DOMAINS))
        has = "has no applicability" if unfit in DOMAINS else "has an unknown"
        raise ValueError(f"task '{task.name}' {has} domain '{unfit:.80}'")
    domains = {}
    for kind, item in one.domains.items():
        domain = _StoredDomain(**read_fields(_StoredDomain, f"{where}.domains.{kind}", item))
        domains[kind] = revive_domain(kind, domain.params, left.take(domain.arrays))
    rows = State("rows", arrays=left.take({"rows": one.rows})).array("rows", np.int64)
    check_positions(rows, len(library))
    if not 0.0 <= one.threshold <= 1.0:
        raise ValueError(f"{where}: threshold {one.threshold:g} is not between 0 and 1")
    return TaskModel(task, members, one.in_logits, rows, domains, one.threshold)


def _member(values: Any, where: str, n_outputs: int, left: _Left) -> FoldModel:
    one = _StoredMember(**read_fields(_StoredMember, f"{where}.members", values))
    where = f"{where}.members.{one.repeat}.{one.fold}"
    if min(one.repeat, one.fold) < 0:
        raise ValueError(f"{where}: repeat and fold are 0 or above")
    if not len(one.estimators) == len(one.calibrations) == n_outputs:
        raise ValueError(
            f"{where}: {len(one.estimators)} estimators and {len(one.calibrations)} calibrations "
            f"of {n_outputs} outputs"
        )
    slope, ceiling = _numbers(one.reliability, f"{where}.reliability", 2)
    if slope < 0.0 or not 0.0 <= ceiling <= 1.0:
        raise ValueError(f"{where}: reliability {slope:g}, {ceiling:g} is out of range")
    return FoldModel(
        one.repeat,
        one.fold,
        [revive(_state(item, where, left)) for item in one.estimators],
        [_platt(_numbers(pair, f"{where}.calibrations", 2)) for pair in one.calibrations],
        ReliabilityMap(slope, ceiling),
    )


def _state(values: Any, where: str, left: _Left, depth: int = 1) -> State:
    if isinstance(values, State):
        return values
    if depth > _MOST_NESTED:
        raise ValueError(f"{where}: estimators are nested more than {_MOST_NESTED} deep")
    one = _StoredEstimator(**read_fields(_StoredEstimator, f"{where}.estimators", values))
    parts = {name: _state(part, where, left, depth + 1) for name, part in one.parts.items()}
    shared = None if one.shared is None else left.share(one.shared)
    return State(one.kind, one.params, left.take(one.arrays), parts, shared)


def _shared(
    values: list[Any], arrays: Mapping[str, np.ndarray], library: Compounds
) -> list[Shared]:
    left = _Left(arrays, [])
    found = [revive_shared(_state(one, "shared", left)) for one in values]
    left.check_empty()
    for one in found:
        one.check(library)
    return found


def _numbers(values: Any, where: str, count: int | None = None) -> list[float]:
    found = [convert_value(value, float, where) for value in convert_value(values, list, where)]
    if count is not None and len(found) != count:
        raise ValueError(f"{where} has {len(found)} numbers instead of {count}")
    return found


def _platt(numbers: list[float]) -> Platt:
    slope, intercept = numbers
    if slope < 0.0:
        raise ValueError(f"a calibration has the slope {slope:g}; 0 or above is allowed")
    return Platt(slope, intercept)


def _decision(numbers: list[float], domain: ReliabilityDomain | None) -> Decision:
    slope, intercept, threshold, factor, low, high, elsewhere = numbers
    if not (factor > 0.0 and elsewhere > 0.0 and 0.0 <= threshold <= 1.0):
        raise ValueError("a decision has a weight or threshold out of range")
    weight = BlendWeight(factor, low, high, elsewhere)
    return Decision(_platt([slope, intercept]), threshold, domain, weight)
