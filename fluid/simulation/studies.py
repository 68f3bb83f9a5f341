"""The paper's experiments, and questions of partners before they join, as named studies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fluid.base.jobs import map_processes, single_threaded_blas
from fluid.base.run import Run
from fluid.chem.compounds import concatenate
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.metrics import metric_names
from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds
from fluid.simulation.adversaries import Adversaries
from fluid.simulation.cell_result import HYBRID, STUDENT, TEACHER, CellResult
from fluid.simulation.contribution import ContributionOptions, coalition_values
from fluid.simulation.cross_domain import cross_domain
from fluid.simulation.hybrids import label_with_hybrid
from fluid.simulation.predictions import QueryPrediction, TeacherResult
from fluid.simulation.rounds import SimulatedRound
from fluid.simulation.semivalues import Contribution, Gain
from fluid.simulation.study import Study
from fluid.simulation.teachers import train_teachers

COLUMNS = ("study", "cell", "task", "setting", "test", "metric", "value", "low", "high")

# Public compounds of the students of `public-size`.
_SIZES = (500, 1000, 2500, 5000)
# Public compounds of the students of `public-composition`, at most.
_COMPOSED = 2500
_ROUNDS = 3
# Test compounds that a partner must be nearest to, to be looked at.
_FEWEST_NEAR = 20

_GAINS: dict[str, Callable[[Contribution], Gain]] = {
    "Shapley value": lambda one: one.shapley,
    "Banzhaf value": lambda one: one.banzhaf,
    "leave one out": lambda one: one.leave_one_out,
}


@dataclass(frozen=True)
class Finding:
    """One value that a named study finds in a cell.

    Attributes
    ----------
    task, setting, test, metric
        What was measured: the task, what was varied, on which compounds, by which metric.
    value, low, high
        The value and its 95% interval; NaN where there is none.
    """

    task: str
    setting: str
    test: str
    metric: str
    value: float
    low: float = float("nan")
    high: float = float("nan")

    def to_row(self, study: str, cell: str) -> dict[str, Any]:
        """A row with the columns `COLUMNS`; values that are not finite become empty text."""
        numbers = (
            round(float(one), 5) if np.isfinite(one) else ""
            for one in (self.value, self.low, self.high)
        )
        texts = (study, cell, self.task, self.setting, self.test, self.metric)
        return dict(zip(COLUMNS, (*texts, *numbers), strict=True))


class StudyCase:
    """A cell of a study, whose models are trained when they are asked for.

    Parameters
    ----------
    study, cell
        The study, and what its models predict in the cell.
    number
        Which cell it is.
    jobs
        Cores.
    """

    def __init__(self, study: Study, cell: CellResult, number: int, jobs: int) -> None:
        partition, self.seed = study.cells[number]
        self.cell = cell
        self.consortium = study.consortium(partition, self.seed, jobs)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The federation's tasks."""
        return self.consortium.tasks

    @property
    def comparable_tasks(self) -> list[Task]:
        """The binary and regression tasks."""
        return [task for task in self.tasks if task.kind != "multiclass"]

    @cached_property
    def teachers(self) -> dict[str, TeacherResult]:
        """The teachers by partner."""
        return train_teachers(self.consortium)

    @cached_property
    def first(self) -> SimulatedRound:
        """The first round."""
        return SimulatedRound.first(self.consortium, self.teachers)

    def findings(
        self, setting: str, predictions: Mapping[str, QueryPrediction]
    ) -> Iterator[Finding]:
        """The leading metric of every task and test."""
        for task in self.tasks:
            for test in self.cell.test_names:
                yield from self._finding(
                    task, setting, test, predictions, self.cell.in_test(task.name, test)
                )

    def findings_near(
        self, setting: str, partner: str, predictions: Mapping[str, QueryPrediction]
    ) -> Iterator[Finding]:
        """The leading metric of every task on the test compounds nearest to a partner."""
        for task in self.tasks:
            labels = self.cell.near_partner(task.name, partner)
            if len(labels[0]) >= _FEWEST_NEAR:
                yield from self._finding(
                    task, setting, f"nearest to {partner}", predictions, labels
                )

    def _finding(
        self,
        task: Task,
        setting: str,
        test: str,
        predictions: Mapping[str, QueryPrediction],
        labels: tuple[np.ndarray, np.ndarray],
    ) -> Iterator[Finding]:
        """The leading metric on some labelled queries; nothing if it is not defined."""
        if task.name in predictions:
            value = predictions[task.name].labelled(*labels).leading_metric(task)
            if np.isfinite(value):
                yield Finding(task.name, setting, test, metric_names(task)[0], value)


def _number_of_teachers(case: StudyCase) -> Iterator[Finding]:
    """Students of 1, 2, 4, ... teachers drawn at random; larger groups contain the smaller."""
    names = sorted(case.teachers)
    order = list(np.random.default_rng(case.seed).permutation(names))
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size < len(names)] + [len(names)]
    for size in sizes:
        predictions = case.first.of_partners(order[:size]).student_predictions()
        yield from case.findings("1 teacher" if size == 1 else f"{size} teachers", predictions)


def _size_of_public_set(case: StudyCase) -> Iterator[Finding]:
    """Students of random parts of the public set; larger parts contain the smaller."""
    total = len(case.consortium.public)
    order = np.random.default_rng(case.seed).permutation(total)
    for size in [*(size for size in _SIZES if size < total), total]:
        predictions = case.first.of_public(np.sort(order[:size])).student_predictions()
        yield from case.findings(f"{size} public compounds", predictions)


def _composition_of_public_set(case: StudyCase) -> Iterator[Finding]:
    """Students of equally many public compounds: best known to teachers, least known, random."""
    pooled = case.first.pooled.labels
    reliability = np.max([one.reliability for one in pooled.values()], axis=0)
    order = np.argsort(-reliability, kind="stable")
    size = min(_COMPOSED, len(order) // 3)
    random = np.random.default_rng(case.seed).permutation(len(order))
    for setting, rows in (
        ("best known to teachers", order[:size]),
        ("at random", random[:size]),
        ("least known to teachers", order[-size:]),
    ):
        predictions = case.first.of_public(np.sort(rows)).student_predictions()
        yield from case.findings(f"{size} {setting}", predictions)


def _left_out_partner(case: StudyCase) -> Iterator[Finding]:
    """The student with and without each partner, on test compounds nearest to that partner."""
    partners = sorted(case.teachers)
    if len(partners) < 2:
        return
    everybody = case.first.student_predictions()
    for partner in partners:
        others = [name for name in partners if name != partner]
        without = case.first.of_partners(others).student_predictions()
        yield from case.findings_near(f"with {partner}", partner, everybody)
        yield from case.findings_near(f"without {partner}", partner, without)


def _cross_domain(case: StudyCase) -> Iterator[Finding]:
    """Every teacher on every partner's compounds; its own are predicted out of fold."""
    tables = case.consortium.tables.values()
    everything = replace(
        case.consortium, queries=concatenate([table.compounds for table in tables])
    )
    teachers = train_teachers(everything)
    for task in case.comparable_tasks:
        found = cross_domain(everything, teachers, task)
        for i, teacher in enumerate(found.teachers):
            for j, partner in enumerate(found.partners):
                if np.isfinite(found.values[i, j]):
                    yield Finding(
                        task.name,
                        f"teacher of {teacher}",
                        f"compounds of {partner}",
                        metric_names(task)[0],
                        found.values[i, j],
                    )


def _coverage_of_domains(case: StudyCase) -> Iterator[Finding]:
    """Share of the test compounds inside each model's default domain."""
    for model in case.cell.models:
        if model.kind not in (TEACHER, STUDENT, HYBRID):
            continue
        for task, prediction in model.predictions.items():
            if DEFAULT_DOMAIN not in prediction.domains:
                continue
            _, inside = prediction.domains[DEFAULT_DOMAIN]
            for test in case.cell.test_names:
                share = float(inside[case.cell.tests == test].mean())
                yield Finding(task, model.name, test, "coverage", share)


def _rounds_of_hybrids(case: StudyCase) -> Iterator[Finding]:
    """Hybrids annotate in place of teachers, again and again."""
    yield from case.findings("round 1", case.first.student_predictions())
    current = case.first
    for number in range(2, _ROUNDS + 1):
        labels = {partner: label_with_hybrid(current, partner) for partner in case.teachers}
        # These hybrids learn from all pooled labels: their own are not taken out of them.
        current = replace(SimulatedRound.pool(case.consortium, labels), labels={})
        yield from case.findings(f"round {number}", current.student_predictions())


def _contribution(case: StudyCase) -> Iterator[Finding]:
    """What each partner adds to the student, by three values with intervals."""
    for task in case.comparable_tasks:
        yield from _contributions(case, case.first, task)


def _contributions(
    case: StudyCase, labelled: SimulatedRound, task: Task, shuffled: str = ""
) -> Iterator[Finding]:
    """The contributions of all partners of a round, one of which may have shuffled labels."""
    truth = np.full(len(case.consortium.queries), np.nan)
    rows, values = case.cell.labels[task.name]
    truth[rows] = values
    if len(np.unique(values)) < 2:
        return
    found = coalition_values(labelled, task, truth, ContributionOptions(seed=case.seed))
    present = {name for members in found.values for name in members}
    for kind, gain_of in _GAINS.items():
        if shuffled in present and len(present) > 1:
            others = [gain_of(found.by_partner[name]).value for name in present - {shuffled}]
            last = gain_of(found.by_partner[shuffled]).value < min(others)
            yield Finding(task.name, "shuffled partner", kind, "ranked last", float(last))
        for partner, contribution in found.by_partner.items():
            gain = gain_of(contribution)
            yield Finding(
                task.name,
                _shown(partner, shuffled),
                kind,
                metric_names(task)[0],
                gain.value,
                gain.low,
                gain.high,
            )


def _intake(labelled: SimulatedRound, shuffled: str) -> Iterator[Finding]:
    """How well each partner's labels agree with the others', as the coordinator sees at intake."""
    for task, verdicts in labelled.verdicts.items():
        by_partner = verdicts.partners
        for partner, found in by_partner.items():
            flag = "flagged" if found.flagged else "not flagged"
            setting = _shown(partner, shuffled)
            yield Finding(task, setting, f"intake: {flag}", "support", found.support)
        if len(by_partner) < 2:
            continue
        for setting, names in (
            ("shuffled partner", {shuffled} & set(by_partner)),
            ("honest partners", set(by_partner) - {shuffled}),
        ):
            if names:
                share = sum(by_partner[name].flagged for name in names) / len(names)
                yield Finding(task, setting, "intake", "flagged", share)


def _shown(partner: str, shuffled: str) -> str:
    return f"{partner} (shuffled)" if partner == shuffled else partner


def _shuffle_labels(table: LabelledCompounds, n_tasks: int, seed: int) -> LabelledCompounds:
    """The same table with the labels of each task in random order."""
    random = np.random.default_rng(seed)
    values = table.labels.values.copy()
    for number in range(n_tasks):
        of_task = np.flatnonzero(table.labels.tasks == number)
        values[of_task] = values[random.permutation(of_task)]
    return replace(table, labels=replace(table.labels, values=values))


def _shuffled_partner(case: StudyCase) -> Iterator[Finding]:
    """The labels of the largest partner are shuffled: is it found, and what does it cost?"""
    consortium = case.consortium
    tables = consortium.tables
    bad = max(consortium.partners, key=lambda name: (len(tables[name].compounds), name))
    shuffled = _shuffle_labels(tables[bad], len(case.tasks), case.seed)
    worse = replace(consortium, tables={**tables, bad: shuffled})
    labelled = SimulatedRound.first(worse, train_teachers(worse))
    others = [name for name in consortium.partners if name != bad]
    students = {
        "everybody honest": case.first.student_predictions(),
        "largest partner shuffled, in": labelled.student_predictions(),
        "largest partner left out": labelled.of_partners(others).student_predictions(),
    }
    # Students are compared in the tasks that all of them predict.
    everywhere = set.intersection(*(set(predictions) for predictions in students.values()))
    for setting, predictions in students.items():
        yield from case.findings(setting, {task: predictions[task] for task in everywhere})
    yield from _intake(labelled, bad)
    for task in case.comparable_tasks:
        yield from _contributions(case, labelled, task, bad)


def _adversaries(case: StudyCase) -> Iterator[Finding]:
    """Partners lie: what it costs, and who is noticed."""
    partners = f"{len(case.consortium.partners)} partners"
    for found in Adversaries(case.first, case.cell, case.seed).outcomes():
        for metric, value in (
            ("cost", found.cost),
            ("liars flagged", found.caught),
            ("honest flagged", found.accused),
        ):
            if np.isfinite(value):
                yield Finding(found.task, found.lie, partners, metric, value)


STUDIES: dict[str, Callable[[StudyCase], Iterable[Finding]]] = {
    "teachers": _number_of_teachers,
    "public-size": _size_of_public_set,
    "public-composition": _composition_of_public_set,
    "left-out": _left_out_partner,
    "cross-domain": _cross_domain,
    "domain": _coverage_of_domains,
    "rounds": _rounds_of_hybrids,
    "contribution": _contribution,
    "shuffled": _shuffled_partner,
    "adversaries": _adversaries,
}


def run_named(
    name: str, study: Study, cells: Sequence[CellResult], run: Run | None = None
) -> list[dict[str, Any]]:
    """Run one named study on the first cells of a study.

    Parameters
    ----------
    name
        Key of `STUDIES`.
    study, cells
        The study, and the results of its first cells, one or more.
    run
        Cores and callbacks. Several cells run side by side; the rows do not depend on it.

    Returns
    -------
    list of dict
        Rows with the columns `COLUMNS`.
    """
    run = run or Run()
    run.stage(f"study {name}")
    runner = _Runner(name, study, max(1, run.cores // len(cells)))
    found = map_processes(runner, enumerate(cells), min(run.cores, len(cells)))
    return [row for rows in found for row in rows]


@dataclass(frozen=True)
class _Runner:
    """Runs a named study on a cell, perhaps in a worker process."""

    name: str
    study: Study
    jobs: int

    def __call__(self, numbered: tuple[int, CellResult]) -> list[dict[str, Any]]:
        number, cell = numbered
        with single_threaded_blas():
            case = StudyCase(self.study, cell, number, self.jobs)
            return [found.to_row(self.name, cell.name) for found in STUDIES[self.name](case)]
