"""Settings that could bound what neighbours give away, and what they cost the student.

The neighbour channel of the audit for two partners, and the external test of the student, by
setting of the teachers, of rounding, and of noise. A part of `benchmarks.privacy`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from benchmarks.privacy_tables import TableRow, log, markdown
from fluid.base.run import Run
from fluid.central.distill import train_student
from fluid.central.pooling import pool_labels
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.similarity import nearest_references
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.learn.estimators import LEARNERS
from fluid.learn.estimators.kernel import KernelSVM
from fluid.learn.trained_on import digest_connectivities
from fluid.partner.audit.arena import make_arena, near_public
from fluid.partner.audit.channels import attack_game
from fluid.partner.audit.exports import (
    ACTUAL,
    Export,
    Exports,
    TeacherRecipe,
    export_actual,
    export_unprotected,
    train,
)
from fluid.partner.audit.game import Game, play
from fluid.partner.audit.results import NEIGHBOUR_METADATA, NEIGHBOUR_ROWS, AttackResult
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions
from fluid.simulation.statistics import draw_weights, weighted_rmse, weighted_roc_auc
from fluid.soft_labels.pooled import PooledSet
from fluid.soft_labels.teacher_labels import TeacherLabels

# Whose neighbours are attacked: a small partner with a small minority class, and a middling one.
VARIED = ("aurora", "borealis")
TASK = "bbb"
# Bootstrap draws of a difference between students.
DRAWS = 2000
# Students of settings learn from the public compounds nearest to private ones and this many others,
# so that the student of each setting is quick to train.
GENERIC = 2500
UNPROTECTED_ROW = "unprotected"


def _svm(cost: float) -> Callable[[], KernelSVM]:
    return lambda: KernelSVM(cost)


# The registry of learners is open; these are for comparison only.
for _cost in (1.0, 0.1):
    LEARNERS[f"svm-{_cost:g}"] = _svm(_cost)

Labelled = TypeVar("Labelled", Export, Exports)


def _as_is(export: Labelled, classes: bool) -> Labelled:
    return export


def _bounded(values: np.ndarray, step: float, classes: bool) -> np.ndarray:
    rounded = np.round(values / step) * step
    return np.clip(rounded, step, 1.0 - step) if classes else rounded


class Coarse:
    """Coarser steps of the labels, of the reliability, and no uncertainty."""

    def __init__(
        self,
        labels: float | None = None,
        reliability: float | None = None,
        uncertainty: bool = True,
    ) -> None:
        self.labels, self.reliability, self.uncertainty = labels, reliability, uncertainty

    def __call__(self, export: Labelled, classes: bool) -> Labelled:
        """The export in these steps."""
        if self.labels:
            export = replace(export, prediction=_bounded(export.prediction, self.labels, classes))
        if self.reliability:
            rounded = np.round(export.reliability / self.reliability) * self.reliability
            export = replace(export, reliability=rounded)
        if not self.uncertainty:
            export = replace(export, uncertainty=np.zeros_like(export.uncertainty))
        return export


class Noise:
    """Gaussian noise on the labels; three times as much in regression, whose scale is wider."""

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def __call__(self, export: Labelled, classes: bool) -> Labelled:
        """The export with noise, the same at every call."""
        random = np.random.default_rng(7)
        sigma = self.sigma if classes else 3.0 * self.sigma
        noisy = export.prediction + random.normal(0.0, sigma, export.prediction.shape)
        return replace(export, prediction=_bounded(noisy, 0.01, classes))


BY_FRAMEWORK = TrainingOptions(folds_by="framework")
SETTINGS: dict[str, tuple[TrainingOptions, Callable[[Any, bool], Any]]] = {
    "default (C = 3, 3 repeats)": (TrainingOptions(), _as_is),
    "reliability in steps of 0.1": (TrainingOptions(), Coarse(reliability=0.1)),
    "reliability in steps of 0.25": (TrainingOptions(), Coarse(reliability=0.25)),
    "the same, no uncertainty": (TrainingOptions(), Coarse(reliability=0.25, uncertainty=False)),
    "labels in steps of 0.1": (TrainingOptions(), Coarse(labels=0.1)),
    "labels in steps of 0.25": (TrainingOptions(), Coarse(labels=0.25)),
    "all of that": (TrainingOptions(), Coarse(0.25, 0.25, uncertainty=False)),
    "Gaussian noise 0.1": (TrainingOptions(), Noise(0.1)),
    "Gaussian noise 0.3": (TrainingOptions(), Noise(0.3)),
    "C = 1": (TrainingOptions("svm-1"), _as_is),
    "C = 0.1": (TrainingOptions("svm-0.1"), _as_is),
    "10 repeats": (TrainingOptions(repeats=10), _as_is),
    "C = 1, 10 repeats": (TrainingOptions("svm-1", repeats=10), _as_is),
    "folds by framework": (BY_FRAMEWORK, _as_is),
    "the same, reliability in steps of 0.1": (BY_FRAMEWORK, Coarse(reliability=0.1)),
    "the same, labels in steps of 0.25": (BY_FRAMEWORK, Coarse(labels=0.25)),
    "the same, labels and reliability, no uncertainty": (
        BY_FRAMEWORK,
        Coarse(0.25, 0.25, uncertainty=False),
    ),
}


Exported = Mapping[str, Mapping[str, Export]]


@dataclass(frozen=True)
class Site:
    """The demonstration: contract, private tables and secrets by partner, public set, test."""

    federation: Federation
    tables: Mapping[str, LabelledCompounds]
    secrets: Mapping[str, bytes]
    public: PublicSet
    external: LabelledCompounds


def show_settings(site: Site, shadows: int, jobs: int) -> str:
    """Neighbour channel and student for each setting, beside the unprotected export."""
    federation, tables = site.federation, site.tables
    whole = concatenate(list(site.public.chunks()))
    chosen = whole.take(_part(whole, tables))
    students = Students(federation, chosen, site.external, jobs)
    near = {name: near_public(site.public, tables[name].compounds)[0] for name in VARIED}
    exported: dict[TrainingOptions, dict[str, dict[str, Export]]] = {}
    games: dict[TrainingOptions, list[Game]] = {}
    rows: list[TableRow] = []
    for label, (options, change) in SETTINGS.items():
        start = time.monotonic()
        if options not in exported:
            recipe = TeacherRecipe(federation, options)
            exported[options], bare = exports(site, chosen, recipe, jobs, unprotected=not exported)
            if not rows:
                students.add(UNPROTECTED_ROW, bare)
            games[options] = [
                play(
                    make_arena(tables[name], near[name]),
                    recipe,
                    0.5,
                    shadows,
                    Run(jobs=jobs),
                    unprotected=False,
                )
                for name in VARIED
            ]
        changed = {
            name: {task: change(one, _classes(federation, task)) for task, one in by.items()}
            for name, by in exported[options].items()
        }
        students.add(label, changed)
        cells = [label]
        for game in games[options]:
            varied = {
                task: {ACTUAL: change(by[ACTUAL], _classes(federation, task))}
                for task, by in game.exports.items()
                if task == TASK
            }
            found = list(attack_game(replace(game, exports=varied), delta=0.0, closed=False))
            cells += [_best(found, NEIGHBOUR_ROWS, "all"), _best(found, NEIGHBOUR_ROWS, "minority")]
            cells.append(_best(found, NEIGHBOUR_METADATA, "all"))
        rows.append([*cells, *students.against(label, UNPROTECTED_ROW)])
        log(f"{label}: {time.monotonic() - start:.0f} s {rows[-1]}")
    header = ["setting"]
    for name in VARIED:
        header += [f"{name}: labels", "minority", "metadata"]
    header += ["student's ROC-AUC", "against unprotected", "RMSE", "against unprotected"]
    return markdown(header, rows)


def show_cost(site: Site, jobs: int) -> str:
    """Students of the default and of the unprotected exports of all partners, whole public set."""
    whole = concatenate(list(site.public.chunks()))
    recipe = TeacherRecipe(site.federation, TrainingOptions())
    actual, bare = exports(site, whole, recipe, jobs, unprotected=True)
    students = Students(site.federation, whole, site.external, jobs)
    students.add(UNPROTECTED_ROW, bare)
    students.add("default", actual)
    rows = [[label, *students.against(label, UNPROTECTED_ROW)] for label in students.drawn]
    header = ["exports", "ROC-AUC", "against unprotected", "RMSE", "against unprotected"]
    return markdown(header, rows)


def exports(
    site: Site, public: Compounds, recipe: TeacherRecipe, jobs: int, unprotected: bool
) -> tuple[dict[str, dict[str, Export]], dict[str, dict[str, Export]]]:
    """What every partner exports by the policy, and, if wanted, without protection."""
    actual, bare = {}, {}
    for name, table in site.tables.items():
        teacher = train(recipe, table, site.secrets[name], jobs)
        if teacher is None:
            continue
        actual[name] = export_actual(teacher, public, jobs)
        if unprotected:
            bare[name] = export_unprotected(teacher, public)
    return actual, bare


def _part(public: Compounds, tables: Mapping[str, LabelledCompounds]) -> np.ndarray:
    near = [
        nearest_references(table.compounds.fingerprints, public.fingerprints, 1)[1][:, 0]
        for table in tables.values()
    ]
    random = np.random.default_rng(5)
    drawn = random.choice(len(public), min(GENERIC, len(public)), replace=False)
    rows = np.unique(np.concatenate([*near, drawn]))
    return rows[rows >= 0]


def _best(found: list[AttackResult], channel: str, of_class: str) -> str:
    """Highest AUC of the attacks through a channel."""
    chosen = [a.auc.value for a in found if (a.case.channel, a.of_class) == (channel, of_class)]
    return f"{max(chosen):.3f}"


def _classes(federation: Federation, task: str) -> bool:
    return federation.tasks[federation.task_index(task)].is_classification


class Students:
    """Students of several sets of exports, compared on the external test."""

    def __init__(
        self, federation: Federation, public: Compounds, external: LabelledCompounds, jobs: int
    ) -> None:
        self.federation = federation
        self.public = public
        self.external = external
        self.jobs = jobs
        self.drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, label: str, exports: Exported) -> None:
        """Distill a student and keep its metrics over bootstrap draws; the first is the sample."""
        labels = {
            name: {
                task: TeacherLabels(
                    one.prediction.astype(np.float32),
                    one.uncertainty.astype(np.float32),
                    one.reliability.astype(np.float32),
                )
                for task, one in by.items()
            }
            for name, by in exports.items()
        }
        tasks = self.federation.tasks
        pooled = pool_labels(tasks, labels, digest_connectivities(self.public))
        model, _ = train_student(
            tasks, PooledSet.of(self.public, pooled), self.federation, run=Run(jobs=self.jobs)
        )
        predictions = model.predict(self.external.compounds, None).by_task
        rows, truth = self.external.labels.column(self.federation.task_index("bbb"))
        auc = weighted_roc_auc(truth > 0, predictions["bbb"].values[rows, 0], _weights(len(rows)))
        rows, truth = self.external.labels.column(self.federation.task_index("logbb"))
        rmse = weighted_rmse(truth, predictions["logbb"].values[rows, 0], _weights(len(rows)))
        self.drawn[label] = auc, rmse

    def against(self, label: str, other: str) -> TableRow:
        """Metric and difference of each task."""
        cells = []
        for mine, theirs in zip(self.drawn[label], self.drawn[other], strict=True):
            difference = mine - theirs
            low, high = np.quantile(difference[1:], [0.025, 0.975])
            cells += [f"{mine[0]:.3f}", f"{difference[0]:+.3f} [{low:+.3f}, {high:+.3f}]"]
        return cells


def _weights(n: int) -> np.ndarray:
    return np.concatenate([np.ones((1, n)), draw_weights(n, DRAWS, 0)])
