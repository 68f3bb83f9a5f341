"""What the models of a virtual consortium say, as values that a cache can keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.crossfit import FoldModel
from fluid.learn.domain import DOMAINS
from fluid.learn.model import Model
from fluid.learn.predictions import TaskPrediction
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.task import Task
from fluid.simulate.cache import (
    Arrays,
)
from fluid.soft_labels.teacher_labels import TeacherLabels


@dataclass(frozen=True)
class TaskScores:
    """What one model says of the test compounds, for one task.

    Attributes
    ----------
    values
        float64 of shape (n, n_outputs).
    threshold
        Probability from which a compound is called positive.
    reliability
        float64 of shape (n,); NaN if unknown.
    domains
        By method: score of shape (n,) and bool inside of shape (n,).
    """

    values: np.ndarray
    threshold: float
    reliability: np.ndarray
    domains: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def called(self, task: Task) -> np.ndarray:
        """Predicted class index of each compound."""
        nothing = np.full(len(self.values), np.nan)
        return TaskPrediction(self.values, self.values, nothing, None, self.threshold).classes(task)


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of a partner's own labelled compounds by members that have not seen them."""

    rows: np.ndarray
    truth: np.ndarray
    values: np.ndarray
    threshold: float


@dataclass(frozen=True)
class TeacherResult:
    """A partner's teacher.

    Attributes
    ----------
    said
        By task: the annotation of the public set, as the guard lets it out.
    told
        By task: predictions of the test compounds.
    out_of_fold
        By task: predictions of its own compounds.
    members
        By task: repeat and fold of each fold model, and its reliability's slope and ceiling, shape
        (k, 4).
    """

    said: dict[str, TeacherLabels]
    told: dict[str, TaskScores]
    out_of_fold: dict[str, OutOfFold]
    members: dict[str, np.ndarray] = field(default_factory=dict)

    def fold_models(self, name: str) -> list[FoldModel]:
        """The fold models of a task as far as a correction needs them: without estimators."""
        return [
            FoldModel(int(repeat), int(fold), [], [], ReliabilityMap(float(slope), float(ceiling)))
            for repeat, fold, slope, ceiling in self.members[name]
        ]


@dataclass(frozen=True)
class HybridResult:
    """A partner's hybrid; see `TeacherResult`."""

    told: dict[str, TaskScores]
    out_of_fold: dict[str, OutOfFold]


def predict_all(model: Model, compounds: Compounds) -> dict[str, TaskScores]:
    """Predictions and every domain's judgement."""
    found: dict[str, TaskScores] = {}
    for number, kind in enumerate(DOMAINS):
        by_task = model.predict(compounds, kind).by_task
        for name, said in by_task.items():
            if number == 0:
                found[name] = TaskScores(said.values, said.threshold, said.reliability)
            if said.domain is not None:
                found[name].domains[kind] = (said.domain.score, said.domain.inside)
    return found


def pack_predictions(told: Mapping[str, TaskScores]) -> Arrays:
    arrays: Arrays = {}
    for name, one in told.items():
        arrays[f"{name}/values"] = one.values
        arrays[f"{name}/threshold"] = np.array(one.threshold)
        arrays[f"{name}/reliability"] = one.reliability
        for kind, (score, inside) in one.domains.items():
            arrays[f"{name}/domain/{kind}/score"] = score
            arrays[f"{name}/domain/{kind}/inside"] = inside
    return arrays


def unpack_predictions(arrays: Arrays, tasks: Iterable[Task]) -> dict[str, TaskScores]:
    told = {}
    for task in tasks:
        name = task.name
        if f"{name}/values" not in arrays:
            continue
        domains = {
            kind: (arrays[f"{name}/domain/{kind}/score"], arrays[f"{name}/domain/{kind}/inside"])
            for kind in DOMAINS
            if f"{name}/domain/{kind}/score" in arrays
        }
        told[name] = TaskScores(
            arrays[f"{name}/values"], float(arrays[f"{name}/threshold"]),
            arrays[f"{name}/reliability"], domains,
        )  # fmt: skip
    return told


def pack_out_of_fold(found: Mapping[str, OutOfFold]) -> Arrays:
    arrays: Arrays = {}
    for name, one in found.items():
        arrays[f"{name}/oof/rows"] = one.rows
        arrays[f"{name}/oof/truth"] = one.truth
        arrays[f"{name}/oof/values"] = one.values
        arrays[f"{name}/oof/threshold"] = np.array(one.threshold)
    return arrays


def unpack_out_of_fold(arrays: Arrays, tasks: Iterable[Task]) -> dict[str, OutOfFold]:
    return {
        task.name: OutOfFold(
            arrays[f"{task.name}/oof/rows"], arrays[f"{task.name}/oof/truth"],
            arrays[f"{task.name}/oof/values"], float(arrays[f"{task.name}/oof/threshold"]),
        )
        for task in tasks
        if f"{task.name}/oof/values" in arrays
    }  # fmt: skip
