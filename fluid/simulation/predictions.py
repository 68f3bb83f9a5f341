"""Predictions of the models of a virtual consortium, as values that a cache can keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.censored import measured_exactly, signs_among
from fluid.learn.crossfit import FoldModel
from fluid.learn.domain import DOMAINS
from fluid.learn.metrics import compute_metrics, metric_names
from fluid.learn.model import Predictor
from fluid.learn.predictions import TaskPrediction
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.task import Task
from fluid.simulation.cache import Arrays
from fluid.soft_labels.teacher_labels import TeacherLabels


@dataclass(frozen=True)
class LabelledPrediction:
    """Predictions of one task for n compounds whose measured label is known.

    Attributes
    ----------
    rows
        Positions of the compounds in their table, int64 of shape (n,).
    truth
        Class index or number, or a bound of it, shape (n,).
    values
        Probabilities or numbers, float64 of shape (n, n_outputs); NaN where the model has no
        prediction.
    threshold
        Probability from which a compound of a binary task is called positive.
    signs
        Which numbers are bounds, see `fluid.learn.measured.Measured`; None if none is.
    """

    rows: np.ndarray
    truth: np.ndarray
    values: np.ndarray
    threshold: float
    signs: np.ndarray | None = None

    def called(self, task: Task) -> np.ndarray:
        """Predicted class index of each compound, shape (n,)."""
        unknown = np.full(len(self.values), np.nan)
        prediction = TaskPrediction(self.values, self.values, unknown, None, self.threshold)
        return prediction.classes(task)

    def predicted(self) -> LabelledPrediction:
        """Only the compounds that have a prediction and an exact label."""
        exact = measured_exactly(self.signs, len(self.truth))
        return self.take(exact & np.isfinite(self.values).all(axis=1))

    def take(self, chosen: np.ndarray) -> LabelledPrediction:
        """Only these compounds, by mask or position."""
        return LabelledPrediction(
            self.rows[chosen],
            self.truth[chosen],
            self.values[chosen],
            self.threshold,
            signs_among(self.signs, chosen),
        )

    def metrics(self, task: Task) -> dict[str, float]:
        """All metrics of the task; NaN where one is not defined."""
        return compute_metrics(task, self.truth, self.values, self.called(task))

    def leading_metric(self, task: Task) -> float:
        """ROC-AUC or RMSE; NaN where it is not defined."""
        return self.metrics(task)[metric_names(task)[0]] if len(self.rows) else float("nan")


@dataclass(frozen=True)
class QueryPrediction:
    """Predictions of one model and one task for the n queries of a consortium.

    Attributes
    ----------
    values
        Probabilities or numbers, float64 of shape (n, n_outputs).
    threshold
        Probability from which a compound of a binary task is called positive.
    reliability
        float64 of shape (n,); NaN if unknown.
    domains
        By method: the domain score and whether the compound is inside, both of shape (n,).
    """

    values: np.ndarray
    threshold: float
    reliability: np.ndarray
    domains: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def labelled(self, rows: np.ndarray, truth: np.ndarray) -> LabelledPrediction:
        """The predictions of some queries beside their measured labels."""
        return LabelledPrediction(rows, truth, self.values[rows], self.threshold)


@dataclass(frozen=True)
class TeacherResult:
    """A partner's teacher: its labels and predictions, all by task.

    Attributes
    ----------
    labels
        Labels of the public compounds, as the disclosure guard releases them.
    predictions
        Predictions of the queries.
    out_of_fold
        Predictions of its own compounds by fold models that have not seen them.
    members
        Of each fold model: repeat, fold, and slope and ceiling of its reliability, shape (k, 4).
    """

    labels: dict[str, TeacherLabels]
    predictions: dict[str, QueryPrediction]
    out_of_fold: dict[str, LabelledPrediction]
    members: dict[str, np.ndarray] = field(default_factory=dict)

    def fold_models(self, name: str) -> list[FoldModel]:
        """The fold models of a task without their estimators, which residuals do not need."""
        return [
            FoldModel(int(repeat), int(fold), [], [], ReliabilityMap(float(slope), float(ceiling)))
            for repeat, fold, slope, ceiling in self.members[name]
        ]


@dataclass(frozen=True)
class HybridResult:
    """A partner's hybrid; see `TeacherResult`."""

    predictions: dict[str, QueryPrediction]
    out_of_fold: dict[str, LabelledPrediction]


def predict_queries(model: Predictor, queries: Compounds) -> dict[str, QueryPrediction]:
    """Predictions by task, with the applicability domain of every method."""
    found: dict[str, QueryPrediction] = {}
    for method in DOMAINS:
        for name, prediction in model.predict(queries, method).by_task.items():
            if name not in found:
                found[name] = QueryPrediction(
                    prediction.values, prediction.threshold, prediction.reliability
                )
            domain = prediction.domain
            if domain is not None:
                found[name].domains[method] = (domain.score, domain.inside)
    return found


def pack_predictions(predictions: Mapping[str, QueryPrediction]) -> Arrays:
    """Predictions of queries as arrays; see `unpack_predictions`."""
    arrays: Arrays = {}
    for name, one in predictions.items():
        arrays[f"{name}/values"] = one.values
        arrays[f"{name}/threshold"] = np.array(one.threshold)
        arrays[f"{name}/reliability"] = one.reliability
        for method, (score, inside) in one.domains.items():
            arrays[f"{name}/domain/{method}/score"] = score
            arrays[f"{name}/domain/{method}/inside"] = inside
    return arrays


def unpack_predictions(arrays: Arrays, tasks: Iterable[Task]) -> dict[str, QueryPrediction]:
    """Predictions of queries by task, from arrays of `pack_predictions`."""
    predictions = {}
    for task in tasks:
        name = task.name
        if f"{name}/values" not in arrays:
            continue
        domains = {
            method: (
                arrays[f"{name}/domain/{method}/score"],
                arrays[f"{name}/domain/{method}/inside"],
            )
            for method in DOMAINS
            if f"{name}/domain/{method}/score" in arrays
        }
        predictions[name] = QueryPrediction(
            arrays[f"{name}/values"],
            float(arrays[f"{name}/threshold"]),
            arrays[f"{name}/reliability"],
            domains,
        )
    return predictions


def pack_out_of_fold(predictions: Mapping[str, LabelledPrediction]) -> Arrays:
    """Out-of-fold predictions as arrays; see `unpack_out_of_fold`."""
    arrays: Arrays = {}
    for name, one in predictions.items():
        arrays[f"{name}/oof/rows"] = one.rows
        arrays[f"{name}/oof/truth"] = one.truth
        arrays[f"{name}/oof/values"] = one.values
        arrays[f"{name}/oof/threshold"] = np.array(one.threshold)
        if one.signs is not None:
            arrays[f"{name}/oof/signs"] = one.signs
    return arrays


def unpack_out_of_fold(arrays: Arrays, tasks: Iterable[Task]) -> dict[str, LabelledPrediction]:
    """Out-of-fold predictions by task, from arrays of `pack_out_of_fold`."""
    return {
        task.name: LabelledPrediction(
            arrays[f"{task.name}/oof/rows"],
            arrays[f"{task.name}/oof/truth"],
            arrays[f"{task.name}/oof/values"],
            float(arrays[f"{task.name}/oof/threshold"]),
            arrays.get(f"{task.name}/oof/signs"),
        )
        for task in tasks
        if f"{task.name}/oof/values" in arrays
    }


_LABEL_FIELDS = ("prediction", "uncertainty", "reliability")


def pack_labels(labels: Mapping[str, TeacherLabels]) -> Arrays:
    """Teacher labels as arrays; see `unpack_labels`."""
    return {
        f"{name}/labels/{part}": getattr(one, part)
        for name, one in labels.items()
        for part in _LABEL_FIELDS
    }


def unpack_labels(arrays: Arrays, tasks: Iterable[Task]) -> dict[str, TeacherLabels]:
    """Teacher labels by task, from arrays of `pack_labels`."""
    return {
        task.name: TeacherLabels(*(arrays[f"{task.name}/labels/{part}"] for part in _LABEL_FIELDS))
        for task in tasks
        if f"{task.name}/labels/prediction" in arrays
    }
