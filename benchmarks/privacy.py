"""What the demonstration's annotations give away, and what protecting them costs, as Markdown.

``make study-privacy`` runs it on the folders of ``make demo``: the audit of every partner in the
tasks of the demonstration and in a second binary task (logBB above 0), settings of teachers that
could bound the influence on neighbours, and the student of protected beside unprotected exports.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.files import read_json, write_json
from fluid.central.distill import train_student
from fluid.central.pooling import pool_said
from fluid.chem.compounds import Compounds, concatenate
from fluid.exchange.annotation import TaskAnnotation
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import PublicSet, open_public_set
from fluid.learn.estimators import LEARNERS
from fluid.learn.estimators.kernel import KernelSVM
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task
from fluid.partner.audit.channels import attack_game
from fluid.partner.audit.exports import (
    ACTUAL,
    Export,
    Exports,
    export_actual,
    export_unprotected,
    train,
)
from fluid.partner.audit.game import make_arena, play
from fluid.partner.audit.results import NEIGHBOURS, AttackResult
from fluid.partner.audit.run import AuditOptions, Subject, attack, near_public
from fluid.partner.audit.statistics import Ranking
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.partner.teacher import TrainingOptions, read_secret
from fluid.simulate.statistics import draw_weights, weighted_rmse, weighted_roc_auc

PARTNERS = ("aurora", "borealis", "corvus", "draco", "eridanus", "fornax")
# Whose settings are varied: a small partner with a small minority class, and a middling one.
VARIED = ("aurora", "borealis")
DRAWS = 2000
# Where logBB is cut for the second binary task: as much in the brain as in the blood.
CUT = 0.0
# Labelled compounds that a partner must have for it.
FEWEST = 100

TableRow = list[str]


def tell(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def markdown(header: list[str], rows: list[TableRow]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def second_task(
    table: LabelledCompounds, federation: Federation
) -> tuple[LabelledCompounds, Federation]:
    """LogBB as classes, of the compounds that have it."""
    rows, values = table.labels.column(federation.task_index("logbb"))
    labels = LabelMatrix(
        np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64),
        (values > CUT).astype(np.float64), np.zeros(len(rows), dtype=np.int8),
        np.ones(len(rows)), (len(rows), 1),
    )  # fmt: skip
    task = Task("brain", "binary", classes=("below", "above"))
    made = LabelledCompounds(table.compounds.take(rows), labels, [], len(rows))
    return made, replace(federation, tasks=(task,))


# --- leakage --------------------------------------------------------------------------------------

Report = dict[str, Any]


def audits(
    federation: Federation,
    tables: Mapping[str, LabelledCompounds],
    secrets: Mapping[str, bytes],
    public: PublicSet,
    folder: Path,
    shadows: int,
    jobs: int,
) -> Iterator[Report]:
    """The audit of every partner, in both sets of tasks; one that lies in `folder` is taken."""
    options = AuditOptions(shadows=shadows)
    for name, table in tables.items():
        cases = {name: (table, federation)}
        if len(table.labels.column(federation.task_index("logbb"))[0]) >= FEWEST:
            cases[f"{name}-brain"] = second_task(table, federation)
        for case, (one, contract) in cases.items():
            path = folder / f"{case}-{shadows}.json"
            if not path.is_file():
                start = time.monotonic()
                near, _ = near_public(public, one.compounds)
                subject = Subject(one, near, contract, TrainingOptions(), secrets[name])
                write_json(path, attack(subject, options, {"partner": name}, jobs).to_dict())
                tell(f"{case}, {len(one.compounds)} compounds: {time.monotonic() - start:.0f} s")
            yield read_json(path)


def show_leakage(reports: list[Report]) -> str:
    """The strongest attack of each kind; intervals hold for all partners and attacks at once."""
    tests = [a for r in reports for a in r["attacks"] if a["export"] == ACTUAL and a["auc_error"]]
    level = 1.0 - 0.05 / max(1, len(tests))
    rows: list[TableRow] = []
    for report in reports:
        groups: dict[tuple[str, ...], list[Report]] = {}
        for found in report["attacks"]:
            if found["auc"] is not None and found["class"] != "majority":
                key = [found[k] for k in ("task", "channel", "known", "export", "class")]
                groups.setdefault(tuple(map(str, key)), []).append(found)
        for each in groups.values():
            rows.append(_row(report["partner"], max(each, key=lambda a: a["auc"]), level))
    text = markdown(
        [
            "partner", "task", "channel", "rest known", "export", "class", "strongest", "ROC-AUC",
            "TPR at 1%", "TPR at 0.1%", "epsilon",
        ],
        rows,
    ) + f"\n\n{len(tests)} attacks on actual exports, all classes.\n\n"  # fmt: skip
    return text + _summary(tests, level) + "\n\n" + _beside(reports)


def _summary(tests: list[Report], level: float) -> str:
    """By channel, how many attacks are above chance, at an error of 5% for all of them."""
    rows = []
    for channel in dict.fromkeys(a["channel"] for a in tests):
        mine = [a for a in tests if a["channel"] == channel]
        sure = sum(_bounds(a, level)[0] > 0.5 for a in mine)
        aucs = [a["auc"] for a in mine]
        points = [[a for a in mine if a[f"tpr_at_{at}"] is not None] for at in ("1", "01")]
        above = [
            f"{sum(not a[f'chance_at_{at}'] for a in known)} of {len(known)}"
            for at, known in zip(("1", "01"), points, strict=True)
        ]
        rows.append(
            [
                channel, str(len(mine)), f"{min(aucs):.3f} to {max(aucs):.3f}",
                f"{np.median(aucs):.3f}", str(sure), *above,
                f"{max(a['epsilon_low'] for a in mine):.2f}",
            ]
        )  # fmt: skip
    header = [
        "channel", "attacks", "ROC-AUC", "median", "surely above 0.5", "TPR at 1% above chance",
        "at 0.1%", "highest epsilon",
    ]  # fmt: skip
    return markdown(header, rows)


def _beside(reports: list[Report]) -> str:
    """Balance of classes, and single compounds."""
    balance: list[TableRow] = []
    influence: list[TableRow] = []
    for report in reports:
        for line in report["distribution"]:
            balance.append(
                [
                    report["partner"], line["task"], line["export"], f"{line['error']:.3f}",
                    f"{line['naive_error']:.3f}",
                    f"{line['ratio']:.2f} [{line['ratio_low']:.2f}, {line['ratio_high']:.2f}]",
                ]
            )  # fmt: skip
        found = report["influence"]
        for task, line in found["tasks"].items():
            influence.append(
                [
                    report["partner"], task, str(found["overlap"]), str(found["tried"]),
                    str(found["rows_changed"]), f"{line['moved']:g}", f"{line['largest']:g}",
                ]
            )  # fmt: skip
    header = ["partner", "task", "overlap", "tried", "own row changed", "others moved", "largest"]
    balances = markdown(["partner", "task", "export", "error", "naive", "ratio"], balance)
    return balances + "\n\n" + markdown(header, influence)


def _bounds(found: Report, level: float) -> tuple[float, float]:
    interval = Ranking(found["auc"], found["auc_error"]).interval(level)
    return interval.low, interval.high


def _row(partner: str, found: Report, level: float) -> TableRow:
    low, high = _bounds(found, level)
    points = []
    for at in ("1", "01"):
        value, least, most = (found[f"tpr_at_{at}{end}"] for end in ("", "_low", "_high"))
        mark = "" if found[f"chance_at_{at}"] else " *"
        points.append(
            "-" if value is None
            else f"{100 * value:.1f}% [{100 * least:.1f}, {100 * most:.1f}]{mark}"
        )  # fmt: skip
    return [
        partner, found["task"], found["channel"], f"{found['known']:.0%}", found["export"],
        found["class"], found["name"], f"{found['auc']:.3f} [{low:.3f}, {high:.3f}]", *points,
        f"{found['epsilon_low']:.2f}",
    ]  # fmt: skip


# --- settings that could bound the influence on neighbours ----------------------------------------


def _svm(cost: float) -> Callable[[], KernelSVM]:
    return lambda: KernelSVM(cost)


Transform = Callable[[np.ndarray, bool], np.ndarray]


def _steps(step: float) -> Transform:
    def run(values: np.ndarray, classes: bool) -> np.ndarray:
        rounded = np.round(values / step) * step
        return np.clip(rounded, step, 1.0 - step) if classes else rounded

    return run


def _noise(sigma: float) -> Transform:
    random = np.random.default_rng(7)

    def run(values: np.ndarray, classes: bool) -> np.ndarray:
        # Numbers get three times as much: their standard deviation is 0.75, of classes up to 0.5.
        noisy = values + random.normal(0.0, sigma if classes else 3 * sigma, values.shape)
        rounded = np.round(noisy, 2)
        return np.clip(rounded, 0.01, 0.99) if classes else rounded

    return run


def _as_is(values: np.ndarray, classes: bool) -> np.ndarray:
    return values


SETTINGS: dict[str, tuple[TrainingOptions, Transform]] = {
    "default (C = 3, 3 repeats, steps of 0.01)": (TrainingOptions(), _as_is),
    "C = 1": (TrainingOptions("svm-1"), _as_is),
    "C = 0.1": (TrainingOptions("svm-0.1"), _as_is),
    "10 repeats": (TrainingOptions(repeats=10), _as_is),
    "C = 1, 10 repeats": (TrainingOptions("svm-1", repeats=10), _as_is),
    "1 repeat": (TrainingOptions(repeats=1), _as_is),
    "steps of 0.1": (TrainingOptions(), _steps(0.1)),
    "steps of 0.25": (TrainingOptions(), _steps(0.25)),
    "Gaussian noise 0.1": (TrainingOptions(), _noise(0.1)),
    "Gaussian noise 0.3": (TrainingOptions(), _noise(0.3)),
    "Gaussian noise 0.5": (TrainingOptions(), _noise(0.5)),
}


def show_settings(
    federation: Federation,
    tables: Mapping[str, LabelledCompounds],
    secrets: Mapping[str, bytes],
    public: PublicSet,
    external: LabelledCompounds,
    shadows: int,
    jobs: int,
) -> str:
    """Neighbour channel and student for each setting, beside the unprotected export."""
    for cost in (1.0, 0.1):
        LEARNERS[f"svm-{cost:g}"] = _svm(cost)
    whole = concatenate(list(public.chunks()))
    scores = _Students(federation, whole, external, jobs)
    rows: list[TableRow] = []
    bare: dict[str, dict[str, Export]] = {}
    kept: dict[TrainingOptions, dict[str, dict[str, Export]]] = {}
    games = {}
    for label, (options, change) in SETTINGS.items():
        start = time.monotonic()
        if options not in kept:
            kept[options] = {}
            for name, table in tables.items():
                teacher = train(table, federation, options, secrets[name], jobs)
                if teacher is None:
                    continue
                kept[options][name] = export_actual(teacher, secrets[name], federation, whole, jobs)
                if label == next(iter(SETTINGS)):
                    bare[name] = export_unprotected(teacher, table, federation, options, whole)
            games[options] = [
                play(
                    make_arena(tables[name], near_public(public, tables[name].compounds)[0]),
                    federation, options, 0.5, shadows, 0, jobs, unprotected=False,
                )
                for name in VARIED
            ]  # fmt: skip
        if not rows:
            scores.add("unprotected", bare)
        changed = {
            name: {task: _changed(one, change, federation, task) for task, one in by.items()}
            for name, by in kept[options].items()
        }
        scores.add(label, changed)
        cells = [label]
        for game in games[options]:
            said = {
                task: {ACTUAL: _changed_all(by[ACTUAL], change, federation, task)}
                for task, by in game.said.items()
            }
            found = list(attack_game(replace(game, said=said), federation, 0.5, 0.0, closed=False))
            for task in said:
                cells += [_best(found, task, "all")]
                if federation.tasks[federation.task_index(task)].is_classification:
                    cells += [_best(found, task, "minority")]
        rows.append([*cells, *scores.against(label, "unprotected")])
        tell(f"{label}: {time.monotonic() - start:.0f} s")
    header = [
        "setting", "aurora bbb", "minority", "logbb", "borealis bbb", "minority",
        "student's ROC-AUC", "against unprotected", "RMSE", "against unprotected",
    ]  # fmt: skip
    return markdown(header, rows)


def _best(found: list[AttackResult], task: str, of_class: str) -> str:
    """Highest AUC among attacks on the rows of real public analogues."""
    chosen = [
        a.auc.value
        for a in found
        if a.target.task == task and a.of_class == of_class and a.target.channel == NEIGHBOURS
    ]
    return f"{max(chosen):.3f}"


def _classes(federation: Federation, task: str) -> bool:
    return federation.tasks[federation.task_index(task)].is_classification


def _changed(one: Export, change: Transform, federation: Federation, task: str) -> Export:
    return replace(one, prediction=change(one.prediction, _classes(federation, task)))


def _changed_all(one: Exports, change: Transform, federation: Federation, task: str) -> Exports:
    return replace(one, prediction=change(one.prediction, _classes(federation, task)))


class _Students:
    """Students of several sets of exports, compared on the external test."""

    def __init__(
        self, federation: Federation, public: Compounds, external: LabelledCompounds, jobs: int
    ) -> None:
        self.federation, self.public, self.external, self.jobs = (
            federation, public, external, jobs,
        )  # fmt: skip
        self.drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, label: str, exports: Mapping[str, Mapping[str, Export]]) -> None:
        """Distill a student and keep its metrics over bootstrap draws; the first is the sample."""
        said = {
            name: {
                task: TaskAnnotation(
                    one.prediction.astype(np.float32), one.uncertainty.astype(np.float32),
                    one.reliability.astype(np.float32),
                )
                for task, one in by.items()
            }
            for name, by in exports.items()
        }  # fmt: skip
        tasks = self.federation.tasks
        pooled = pool_said(tasks, said, {}, len(self.public))
        model, _ = train_student(self.public, tasks, pooled, self.federation, "", 0, self.jobs)
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


def main() -> None:
    """Read the demonstration's folders and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="the demonstration's folder")
    parser.add_argument("external", type=Path, help="its external test set")
    parser.add_argument("tables", type=Path, help="the folder of the private tables")
    parser.add_argument("--output", type=Path, default=Path("study/privacy"))
    parser.add_argument("--shadows", type=int, default=32)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--partners", default=",".join(PARTNERS))
    parser.add_argument("--part", choices=("leakage", "settings"), required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    federation = load_federation(given.demo / "federation.toml")
    public = open_public_set(given.demo / "public.parquet")
    names = given.partners.split(",")
    tables = {
        name: read_labelled(
            [given.tables / f"{name}.csv"], federation.tasks, federation.chemistry, jobs=given.jobs
        )
        for name in names
    }
    secrets = {name: read_secret(given.demo / name / "demonstration.secret") for name in names}
    if given.part == "leakage":
        found = audits(federation, tables, secrets, public, given.output, given.shadows, given.jobs)
        print(show_leakage(list(found)))
        return
    external = read_labelled(
        [given.external], federation.tasks, federation.chemistry, jobs=given.jobs
    )
    print(show_settings(federation, tables, secrets, public, external, given.shadows, given.jobs))


if __name__ == "__main__":
    main()
