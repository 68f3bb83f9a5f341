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

from benchmarks.privacy_tables import TableRow, markdown, tell
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
from fluid.partner.audit.channels import attack_game
from fluid.partner.audit.exports import (
    ACTUAL,
    Export,
    Exports,
    export_actual,
    export_unprotected,
    train,
)
from fluid.partner.audit.game import Game, make_arena, play
from fluid.partner.audit.results import NEIGHBOUR_METADATA, NEIGHBOURS, AttackResult
from fluid.partner.audit.run import near_public
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions
from fluid.simulate.statistics import draw_weights, weighted_rmse, weighted_roc_auc
from fluid.soft_labels.pooled import PooledSet
from fluid.soft_labels.teacher_labels import TeacherLabels

# Whose neighbours are attacked: a small partner with a small minority class, and a middling one.
VARIED = ("aurora", "borealis")
TASK = "bbb"
DRAWS = 2000
# Students of settings learn from the public compounds nearest to private ones and so many others.
GENERIC = 2500
UNPROTECTED_ROW = "unprotected"


def _svm(cost: float) -> Callable[[], KernelSVM]:
    return lambda: KernelSVM(cost)


# The registry of learners is open; these are for comparison only.
for _cost in (1.0, 0.1):
    LEARNERS[f"svm-{_cost:g}"] = _svm(_cost)

Labelled = TypeVar("Labelled", Export, Exports)


def _as_is(said: Labelled, classes: bool) -> Labelled:
    return said


def _bounded(values: np.ndarray, step: float, classes: bool) -> np.ndarray:
    rounded = np.round(values / step) * step
    return np.clip(rounded, step, 1.0 - step) if classes else rounded


class Coarse:
    """Coarser steps of the labels, of the reliability, and no uncertainty."""

    def __init__(
        self, labels: float | None = None, reliability: float | None = None, silent: bool = False
    ) -> None:
        self.labels, self.reliability, self.silent = labels, reliability, silent

    def __call__(self, said: Labelled, classes: bool) -> Labelled:
        """What is left of an export."""
        if self.labels:
            said = replace(said, prediction=_bounded(said.prediction, self.labels, classes))
        if self.reliability:
            rounded = np.round(said.reliability / self.reliability) * self.reliability
            said = replace(said, reliability=rounded)
        if self.silent:
            said = replace(said, uncertainty=np.zeros_like(said.uncertainty))
        return said


class Noise:
    """Gaussian noise on the labels; on numbers, whose scale is wider, three times as much."""

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def __call__(self, said: Labelled, classes: bool) -> Labelled:
        """The export with noise, the same at every call."""
        random = np.random.default_rng(7)
        sigma = self.sigma if classes else 3.0 * self.sigma
        noisy = said.prediction + random.normal(0.0, sigma, said.prediction.shape)
        return replace(said, prediction=_bounded(noisy, 0.01, classes))


BY_FRAMEWORK = TrainingOptions(folds_by="framework")
SETTINGS: dict[str, tuple[TrainingOptions, Callable[[Any, bool], Any]]] = {
    "default (C = 3, 3 repeats)": (TrainingOptions(), _as_is),
    "reliability in steps of 0.1": (TrainingOptions(), Coarse(reliability=0.1)),
    "reliability in steps of 0.25": (TrainingOptions(), Coarse(reliability=0.25)),
    "the same, no uncertainty": (TrainingOptions(), Coarse(reliability=0.25, silent=True)),
    "labels in steps of 0.1": (TrainingOptions(), Coarse(labels=0.1)),
    "labels in steps of 0.25": (TrainingOptions(), Coarse(labels=0.25)),
    "all of that": (TrainingOptions(), Coarse(0.25, 0.25, silent=True)),
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
        Coarse(0.25, 0.25, silent=True),
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
    said: dict[TrainingOptions, dict[str, dict[str, Export]]] = {}
    games: dict[TrainingOptions, list[Game]] = {}
    rows: list[TableRow] = []
    for label, (options, change) in SETTINGS.items():
        start = time.monotonic()
        if options not in said:
            said[options], bare = exports(site, chosen, options, jobs, unprotected=not said)
            if not rows:
                students.add(UNPROTECTED_ROW, bare)
            games[options] = [
                play(
                    make_arena(tables[name], near[name]), federation, options, 0.5, shadows, 0,
                    jobs, unprotected=False,
                )
                for name in VARIED
            ]  # fmt: skip
        changed = {
            name: {task: change(one, _classes(federation, task)) for task, one in by.items()}
            for name, by in said[options].items()
        }
        students.add(label, changed)
        cells = [label]
        for game in games[options]:
            told = {
                task: {ACTUAL: change(by[ACTUAL], _classes(federation, task))}
                for task, by in game.said.items()
                if task == TASK
            }
            found = list(attack_game(replace(game, said=told), federation, 0.5, 0.0, closed=False))
            cells += [_best(found, NEIGHBOURS, "all"), _best(found, NEIGHBOURS, "minority")]
            cells.append(_best(found, NEIGHBOUR_METADATA, "all"))
        rows.append([*cells, *students.against(label, UNPROTECTED_ROW)])
        tell(f"{label}: {time.monotonic() - start:.0f} s {rows[-1]}")
    header = ["setting"]
    for name in VARIED:
        header += [f"{name}: labels", "minority", "metadata"]
    header += ["student's ROC-AUC", "against unprotected", "RMSE", "against unprotected"]
    return markdown(header, rows)


def show_cost(site: Site, jobs: int) -> str:
    """Students of the default and of the unprotected exports of all partners, whole public set."""
    whole = concatenate(list(site.public.chunks()))
    said, bare = exports(site, whole, TrainingOptions(), jobs, unprotected=True)
    students = Students(site.federation, whole, site.external, jobs)
    students.add(UNPROTECTED_ROW, bare)
    students.add("default", said)
    rows = [[label, *students.against(label, UNPROTECTED_ROW)] for label in students.drawn]
    header = ["exports", "ROC-AUC", "against unprotected", "RMSE", "against unprotected"]
    return markdown(header, rows)


def exports(
    site: Site, public: Compounds, options: TrainingOptions, jobs: int, unprotected: bool
) -> tuple[dict[str, dict[str, Export]], dict[str, dict[str, Export]]]:
    """What every partner exports by the policy, and, if wanted, without protection."""
    said, bare = {}, {}
    federation = site.federation
    for name, table in site.tables.items():
        secret = site.secrets[name]
        teacher = train(table, federation, options, secret, jobs)
        if teacher is None:
            continue
        said[name] = export_actual(teacher, table, secret, federation, options, public, jobs)
        if unprotected:
            bare[name] = export_unprotected(teacher, table, federation, options, public)
    return said, bare


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
    chosen = [a.auc.value for a in found if (a.target.channel, a.of_class) == (channel, of_class)]
    return f"{max(chosen):.3f}"


def _classes(federation: Federation, task: str) -> bool:
    return federation.tasks[federation.task_index(task)].is_classification


class Students:
    """Students of several sets of exports, compared on the external test."""

    def __init__(
        self, federation: Federation, public: Compounds, external: LabelledCompounds, jobs: int
    ) -> None:
        self.federation, self.public, self.external, self.jobs = (
            federation, public, external, jobs,
        )  # fmt: skip
        self.drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, label: str, exports: Exported) -> None:
        """Distill a student and keep its metrics over bootstrap draws; the first is the sample."""
        said = {
            name: {
                task: TeacherLabels(
                    one.prediction.astype(np.float32), one.uncertainty.astype(np.float32),
                    one.reliability.astype(np.float32),
                )
                for task, one in by.items()
            }
            for name, by in exports.items()
        }  # fmt: skip
        tasks = self.federation.tasks
        pooled = pool_labels(tasks, said, {}, digest_connectivities(self.public))
        model, _ = train_student(
            tasks, PooledSet.of(self.public, pooled), self.federation, run=Run(jobs=self.jobs)
        )
        told = model.predict(self.external.compounds, None).by_task
        rows, truth = self.external.labels.column(self.federation.task_index("bbb"))
        auc = weighted_roc_auc(truth > 0, told["bbb"].values[rows, 0], _weights(len(rows)))
        rows, truth = self.external.labels.column(self.federation.task_index("logbb"))
        rmse = weighted_rmse(truth, told["logbb"].values[rows, 0], _weights(len(rows)))
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
