"""The paper's experiments, and what a partner wants to know before it joins, as named studies."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.files import atomic_file
from fluid.base.jobs import count_jobs, map_processes, single_threaded_blas
from fluid.central.consensus import Consensus
from fluid.central.pooling import pool_labels
from fluid.chem.compounds import concatenate
from fluid.learn.domain import DEFAULT_DOMAIN
from fluid.learn.metrics import compute_metrics, metric_names
from fluid.learn.own_fold import empty_labels, label_own_fold
from fluid.learn.task import Task
from fluid.partner.guard import disclose
from fluid.partner.hybrid.private_model import hybrid_folds
from fluid.simulate.consortium import Consortium
from fluid.simulate.contribution import coalition_values
from fluid.simulate.cross_domain import cross_domain
from fluid.simulate.predictions import TaskScores
from fluid.simulate.semivalues import Contribution, Gain
from fluid.simulate.study import Study
from fluid.simulate.study_spec import HYBRID, STUDENT, TEACHER, CellResult
from fluid.soft_labels.teacher_labels import TeacherLabels

COLUMNS = ("study", "cell", "task", "setting", "test", "metric", "value", "low", "high")
SIZES = (500, 1000, 2500, 5000)
ROUNDS = 3

Row = dict[str, Any]
_GAINS: dict[str, Callable[[Contribution], Gain]] = {
    "Shapley value": lambda one: one.shapley,
    "Banzhaf value": lambda one: one.banzhaf,
    "leave one out": lambda one: one.leave_one_out,
}


class _Bench:
    """One consortium and its tests."""

    def __init__(self, study: Study, number: int, jobs: int) -> None:
        self.study = study
        partition, self.seed = study.cells()[number]
        self.one: Consortium = study.consortium(partition, self.seed, jobs)
        self.tests = study.division.tests
        self.queries = study.division.queries
        self.jobs = jobs

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.one.tasks

    def rows(
        self, study: str, cell: str, setting: str, told: dict[str, TaskScores]
    ) -> Iterator[Row]:
        """The leading metric of every task and test."""
        for number, task in enumerate(self.tasks):
            if task.name not in told:
                continue
            rows, truth = self.queries.labels.column(number)
            for test in dict.fromkeys(self.tests):
                chosen = self.tests[rows] == test
                here = rows[chosen]
                if not len(here):
                    continue
                values = told[task.name].values[here]
                called = told[task.name].called(task)[here]
                metric = metric_names(task)[0]
                value = compute_metrics(task, truth[chosen], values, called)[metric]
                if np.isfinite(value):
                    yield _row(study, cell, task.name, setting, str(test), metric, value)


def _row(
    study: str, cell: str, task: str, setting: str, test: str, metric: str, value: float,
    low: float | str = "", high: float | str = "",
) -> Row:  # fmt: skip
    shown = [
        round(float(one), 5) if not isinstance(one, str) and np.isfinite(one) else ""
        for one in (value, low, high)
    ]
    return dict(zip(COLUMNS, (study, cell, task, setting, test, metric, *shown), strict=True))


def _number_of_teachers(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """Students of 1, 2, 4, ... teachers, drawn at random, the smaller groups within the larger."""
    names = sorted(bench.one.teachers())
    order = list(np.random.default_rng(bench.seed).permutation(names))
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size < len(names)] + [len(names)]
    for size in sizes:
        told = bench.one.student(partners=sorted(order[:size]))
        yield from bench.rows(
            "teachers", cell.name, "1 teacher" if size == 1 else f"{size} teachers", told
        )


def _size_of_public_set(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """Students of random parts of the public set, the smaller within the larger."""
    total = len(bench.one.public)
    order = np.random.default_rng(bench.seed).permutation(total)
    for size in [*(size for size in SIZES if size < total), total]:
        told = bench.one.student(rows=np.sort(order[:size]))
        yield from bench.rows("public-size", cell.name, f"{size} public compounds", told)


def _composition_of_public_set(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """Students of equally many public compounds: best known to teachers, least known, random."""
    pooled = bench.one.pool()
    known = np.max([one.labels.reliability for one in pooled.values()], axis=0)
    order = np.argsort(-known, kind="stable")
    size = min(2500, len(order) // 3)
    random = np.random.default_rng(bench.seed).permutation(len(order))
    for setting, chosen in (
        ("best known to teachers", order[:size]),
        ("at random", random[:size]),
        ("least known to teachers", order[-size:]),
    ):
        told = bench.one.student(rows=np.sort(chosen))
        yield from bench.rows("public-composition", cell.name, f"{size} {setting}", told)


def _left_out_partner(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """The student with and without each partner, on test compounds nearest to that partner."""
    teachers = sorted(bench.one.teachers())
    if len(teachers) < 2:
        return
    everybody = bench.one.student()
    for partner in teachers:
        others = [name for name in bench.one.partners if name != partner]
        left_out = bench.one.student(partners=others)
        for setting, told in (("with", everybody), ("without", left_out)):
            for number, task in enumerate(bench.tasks):
                if task.name not in told:
                    continue
                rows, truth = bench.queries.labels.column(number)
                chosen = cell.nearest[rows] == partner
                if chosen.sum() < 20:
                    continue
                here = rows[chosen]
                called = told[task.name].called(task)[here]
                metric = metric_names(task)[0]
                values = told[task.name].values[here]
                value = compute_metrics(task, truth[chosen], values, called)[metric]
                if np.isfinite(value):
                    test = f"nearest to {partner}"
                    yield _row(
                        "left-out", cell.name, task.name, f"{setting} {partner}", test, metric,
                        value,
                    )  # fmt: skip


def _cross_domain(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """Every teacher on every partner's compounds; its own are taken out of fold."""
    everything = concatenate([table.compounds for table in bench.one.tables.values()])
    one = bench.one.with_queries(everything)
    for task in bench.tasks:
        if task.kind == "multiclass":
            continue
        found = cross_domain(one, task)
        metric = metric_names(task)[0]
        for i, teacher in enumerate(found.teachers):
            for j, partner in enumerate(found.partners):
                if np.isfinite(found.values[i, j]):
                    yield _row(
                        "cross-domain", cell.name, task.name, f"teacher of {teacher}",
                        f"compounds of {partner}", metric, found.values[i, j],
                    )  # fmt: skip


def _brought_into_domain(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """Share of the test compounds inside each model's default domain."""
    for model in cell.models:
        if model.kind not in (TEACHER, STUDENT, HYBRID):
            continue
        for task, told in model.told.items():
            inside = told.domains[DEFAULT_DOMAIN][1] if DEFAULT_DOMAIN in told.domains else None
            if inside is None:
                continue
            for test in dict.fromkeys(cell.tests):
                share = float(inside[cell.tests == test].mean())
                yield _row("domain", cell.name, task, model.name, str(test), "coverage", share)


def _several_rounds(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """Hybrids annotate in place of teachers, again and again."""
    one = bench.one
    yield from bench.rows("rounds", cell.name, "round 1", one.student())
    current = one
    for number in range(2, ROUNDS + 1):
        said = {
            partner: _hybrid_says(current, partner)
            for partner in current.partners
            if current.teacher(partner) is not None
        }
        pooled = pool_labels(one.tasks, said, {}, one.digests)
        current = one.with_pooled(pooled)
        told = current.student()
        yield from bench.rows("rounds", cell.name, f"round {number}", told)


def _hybrid_says(one: Consortium, partner: str) -> dict[str, TeacherLabels]:
    """What a partner's hybrid says of the public set, each compound by its own fold's member."""
    fitted = one.fit_hybrid(partner)
    private = len(one.tables[partner].compounds)
    options = one.hybrid_options_of(partner)
    own = fitted.model.own
    home = hybrid_folds(own.library.take(np.arange(private)), options)
    # Public compounds that were learned from belong to no fold.
    elsewhere = np.full((len(home), len(own.library) - private), options.folds, np.uint8)
    library_folds = np.concatenate([home, elsewhere], axis=1)
    queries = hybrid_folds(one.public, options)
    models = {model.task.name: model for model in own.task_models}
    said = {}
    for task in one.tasks:
        found = empty_labels(len(one.public), len(task.outputs))
        if task.name in models:
            found = label_own_fold(
                models[task.name], own.library, library_folds, one.public, queries, one.jobs,
                one.federation.policy.neighbourhood,
            )  # fmt: skip
        said[task.name] = disclose(task, one.federation.policy, found)
    return said


def _contribution(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """What each partner brings to the student, by three values with intervals."""
    for task in bench.tasks:
        if task.kind == "multiclass":
            continue
        yield from _contributions(bench, bench.one, task, "contribution", cell.name, "")


def _contributions(
    bench: _Bench, one: Consortium, task: Task, study: str, cell: str, bad: str
) -> Iterator[Row]:
    truth = np.full(len(one.queries), np.nan)
    rows, values = bench.queries.labels.column(one.federation.task_index(task.name))
    truth[rows] = values
    if len(np.unique(values)) < 2:
        return
    found = coalition_values(one, task, truth, seed=bench.seed)
    metric = metric_names(task)[0]
    present = {name for members in found.values for name in members}
    for kind, read in _GAINS.items():
        if bad in present and len(present) > 1:
            others = [read(found.by_partner[name]).value for name in present - {bad}]
            last = read(found.by_partner[bad]).value < min(others)
            yield _row(study, cell, task.name, "shuffled partner", kind, "ranked last", float(last))
        for partner, brings in found.by_partner.items():
            shown = f"{partner} (shuffled)" if partner == bad else partner
            gain = read(brings)
            yield _row(study, cell, task.name, shown, kind, metric, gain.value, gain.low, gain.high)


def _intake(one: Consortium, study: str, cell: str, bad: str) -> Iterator[Row]:
    """How each partner's labels go with the others', as the coordinator sees at intake."""
    consensus = Consensus(one.tasks)
    said = {name: made.said for name, made in one.teachers().items()}
    consensus.add(said, one.public.fingerprints)
    for task, by_partner in consensus.result().items():
        for partner, found in by_partner.items():
            shown = f"{partner} (shuffled)" if partner == bad else partner
            flag = "flagged" if found.flagged else "not flagged"
            yield _row(
                study, cell, task, shown, f"intake: {flag}", "correlation", found.correlation
            )
        if len(by_partner) < 2:
            continue
        for setting, those in (
            ("shuffled partner", {bad} & set(by_partner)),
            ("honest partners", set(by_partner) - {bad}),
        ):
            if those:
                share = sum(by_partner[name].flagged for name in those) / len(those)
                yield _row(study, cell, task, setting, "intake", "flagged", share)


def _shuffled_partner(bench: _Bench, cell: CellResult) -> Iterator[Row]:
    """The labels of the largest partner are shuffled: is it found, and what does it cost?"""
    one = bench.one
    bad = max(one.partners, key=lambda name: (len(one.tables[name].compounds), name))
    table = one.tables[bad]
    random = np.random.default_rng(bench.seed)
    values = table.labels.values.copy()
    for number in range(len(one.tasks)):
        mine = np.flatnonzero(table.labels.tasks == number)
        values[mine] = values[random.permutation(mine)]
    spoilt = replace(table, labels=replace(table.labels, values=values))
    worse = one.with_tables({**one.tables, bad: spoilt})
    others = [name for name in one.partners if name != bad]
    students = {
        "everybody honest": one.student(),
        "largest partner shuffled, in": worse.student(),
        "largest partner left out": worse.student(partners=others),
    }
    # Of what not all can be trained there is nothing to compare.
    everywhere = set.intersection(*(set(told) for told in students.values()))
    for setting, told in students.items():
        comparable = {task: told[task] for task in everywhere}
        yield from bench.rows("shuffled", cell.name, setting, comparable)
    yield from _intake(worse, "shuffled", cell.name, bad)
    for task in bench.tasks:
        if task.kind != "multiclass":
            yield from _contributions(bench, worse, task, "shuffled", cell.name, bad)


STUDIES: dict[str, Callable[[_Bench, CellResult], Iterable[Row]]] = {
    "teachers": _number_of_teachers,
    "public-size": _size_of_public_set,
    "public-composition": _composition_of_public_set,
    "left-out": _left_out_partner,
    "cross-domain": _cross_domain,
    "domain": _brought_into_domain,
    "rounds": _several_rounds,
    "contribution": _contribution,
    "shuffled": _shuffled_partner,
}


def run_named(
    name: str,
    study: Study,
    cells: Sequence[CellResult],
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> list[Row]:
    """Run one named study on the first cells of a study.

    Parameters
    ----------
    name
        Key of `STUDIES`.
    study, cells
        The study, and what came of its first cells, one or more.
    jobs, progress
        Cores, and a callback. Several cells are done side by side; the rows do not depend on it.
    """
    progress(f"study {name}")
    workers = count_jobs(jobs)
    runner = _Runner(name, study, max(1, workers // len(cells)))
    found = map_processes(runner, enumerate(cells), min(workers, len(cells)))
    return [row for rows in found for row in rows]


@dataclass(frozen=True)
class _Runner:
    """Runs a named study on a cell, perhaps in a worker process."""

    name: str
    study: Study
    jobs: int

    def __call__(self, numbered: tuple[int, CellResult]) -> list[Row]:
        number, cell = numbered
        with single_threaded_blas():
            return list(STUDIES[self.name](_Bench(self.study, number, self.jobs), cell))


def write_named(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows of named studies as CSV."""
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as handle,
    ):
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
