"""What the demonstration's annotations give away, and what protecting them costs, as Markdown.

``make study-privacy`` runs it on the folders of ``make demo``: the audit of every partner in the
tasks of the demonstration and in a second binary task (logBB above 0), settings of teachers that
could bound the influence on neighbours, and the student of protected beside unprotected exports.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.privacy_settings import Site, show_cost, show_settings
from benchmarks.privacy_tables import TableRow, log, markdown
from fluid.base.files import read_json, write_json
from fluid.base.run import Run
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import open_public_set
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task
from fluid.partner.audit import AuditOptions, AuditTarget, TeacherRecipe, attack
from fluid.partner.audit.arena import near_public
from fluid.partner.audit.exports import ACTUAL, UNPROTECTED
from fluid.partner.audit.statistics import Ranking
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.folder import read_secret

PARTNERS = ("aurora", "borealis", "corvus", "draco", "eridanus", "fornax")
# Where logBB is cut for the second binary task: equal concentrations in brain and blood.
CUT = 0.0
# Labelled compounds that a partner must have for it: with fewer, intervals are too wide to compare.
FEWEST = 100


def second_task(
    table: LabelledCompounds, federation: Federation
) -> tuple[LabelledCompounds, Federation]:
    """LogBB as classes, of the compounds that have it."""
    rows, values = table.labels.column(federation.task_index("logbb"))
    labels = LabelMatrix(
        rows=np.arange(len(rows)),
        tasks=np.zeros(len(rows), dtype=np.int64),
        values=(values > CUT).astype(np.float64),
        qualifiers=np.zeros(len(rows), dtype=np.int8),
        weights=np.ones(len(rows)),
        shape=(len(rows), 1),
    )
    task = Task("brain", "binary", classes=("below", "above"))
    made = LabelledCompounds(table.compounds.take(rows), labels, [], len(rows))
    return made, replace(federation, tasks=(task,))


# --- leakage --------------------------------------------------------------------------------------

Report = dict[str, Any]


def audits(site: Site, folder: Path, shadows: int, jobs: int) -> Iterator[Report]:
    """The audit of every partner, in both sets of tasks; one found in `folder` is not repeated."""
    options = AuditOptions(shadows=shadows)
    federation = site.federation
    for name, table in site.tables.items():
        cases = {name: (table, federation)}
        if len(table.labels.column(federation.task_index("logbb"))[0]) >= FEWEST:
            cases[f"{name}-brain"] = second_task(table, federation)
        for case, (one, contract) in cases.items():
            path = folder / f"{case}-{shadows}.json"
            if not path.is_file():
                start = time.monotonic()
                near, _ = near_public(site.public, one.compounds)
                recipe = TeacherRecipe(contract, TrainingOptions())
                target = AuditTarget(one, near, recipe, site.secrets[name])
                report = attack(target, options, {"partner": name}, Run(jobs=jobs))
                write_json(path, report.to_dict())
                log(f"{case}, {len(one.compounds)} compounds: {time.monotonic() - start:.0f} s")
            yield read_json(path)


# Columns of the tables: channel, share of the private data that the attacker knows, export.
COLUMNS = {
    "own row": ("own row", 0.5, ACTUAL),
    "own row, unprotected": ("own row", 0.5, UNPROTECTED),
    "metadata": ("metadata", 0.5, ACTUAL),
    "metadata, unprotected": ("metadata", 0.5, UNPROTECTED),
    "neighbours": ("neighbours", 0.5, ACTUAL),
    "neighbours, unprotected": ("neighbours", 0.5, UNPROTECTED),
    "neighbours' metadata": ("neighbours' metadata", 0.5, ACTUAL),
    "neighbours, rest known, all public": ("neighbours, all public", 0.9, ACTUAL),
    "retrained": ("retrained", 0.9, ACTUAL),
}


def show_leakage(reports: list[Report]) -> str:
    """The strongest attack of each kind; intervals hold for all partners and attacks at once."""
    tests = [a for r in reports for a in r["attacks"] if a["export"] == ACTUAL and a["auc_error"]]
    level = 1.0 - 0.05 / max(1, len(tests))
    parts = []
    for show in (partial(_auc, level=level), _rates):
        rows: list[TableRow] = []
        for report in reports:
            for task, of_class in dict.fromkeys((a["task"], a["class"]) for a in report["attacks"]):
                if of_class == "majority":
                    continue
                mine = [
                    a
                    for a in report["attacks"]
                    if (a["task"], a["class"]) == (task, of_class) and a["auc"] is not None
                ]
                cells = [show(_strongest(mine, *column)) for column in COLUMNS.values()]
                rows.append([report["partner"], task, of_class, *cells])
        parts.append(markdown(["partner", "task", "class", *COLUMNS], rows))
    parts.append(f"{len(tests)} attacks on actual exports.\n\n{_summary(tests, level)}")
    return "\n\n".join([*parts, _beside(reports)])


def _strongest(attacks: list[Report], channel: str, known: float, export: str) -> Report | None:
    wanted = (channel, known, export)
    mine = [a for a in attacks if (a["channel"], a["known"], a["export"]) == wanted]
    return max(mine, key=lambda a: a["auc"], default=None)


def _auc(found: Report | None, level: float) -> str:
    if found is None:
        return "-"
    low, high = _bounds(found, level)
    return f"{found['auc']:.3f} [{low:.3f}, {high:.3f}]"


def _rates(found: Report | None) -> str:
    """TPR at 1% and at 0.1% false positives."""
    cells = []
    for at in ("1", "01"):
        value = None if found is None else found[f"tpr_at_{at}"]
        mark = "" if found is None or found[f"chance_at_{at}"] else "*"
        cells.append("-" if value is None else f"{100 * value:.1f}%{mark}")
    return ", ".join(cells)


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
                channel,
                str(len(mine)),
                f"{min(aucs):.3f} to {max(aucs):.3f}",
                f"{np.median(aucs):.3f}",
                str(sure),
                *above,
                f"{max(a['epsilon_low'] for a in mine):.2f}",
            ]
        )
    header = [
        "channel",
        "attacks",
        "ROC-AUC",
        "median",
        "surely above 0.5",
        "TPR at 1% above chance",
        "at 0.1%",
        "highest epsilon",
    ]
    return markdown(header, rows)


def _beside(reports: list[Report]) -> str:
    """Balance of classes, and single compounds."""
    balance: list[TableRow] = []
    influence: list[TableRow] = []
    for report in reports:
        for line in report["distribution"]:
            balance.append(
                [
                    report["partner"],
                    line["task"],
                    line["export"],
                    f"{line['error']:.3f}",
                    f"{line['naive_error']:.3f}",
                    f"{line['ratio']:.2f} [{line['ratio_low']:.2f}, {line['ratio_high']:.2f}]",
                ]
            )
        found = report["influence"]
        for task, line in found["tasks"].items():
            influence.append(
                [
                    report["partner"],
                    task,
                    str(found["overlap"]),
                    str(found["tried"]),
                    str(found["rows_changed"]),
                    f"{line['moved']:g}",
                    f"{line['largest']:g}",
                ]
            )
    header = ["partner", "task", "overlap", "tried", "own row changed", "others moved", "largest"]
    balances = markdown(["partner", "task", "export", "error", "naive", "ratio"], balance)
    return balances + "\n\n" + markdown(header, influence)


def _bounds(found: Report, level: float) -> tuple[float, float]:
    interval = Ranking(found["auc"], found["auc_error"]).interval(level)
    return interval.low, interval.high


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
    parser.add_argument("--part", choices=("leakage", "settings", "cost"), required=True)
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
    external = read_labelled(
        [given.external], federation.tasks, federation.chemistry, jobs=given.jobs
    )
    site = Site(federation, tables, secrets, public, external)
    if given.part == "leakage":
        print(show_leakage(list(audits(site, given.output, given.shadows, given.jobs))))
    elif given.part == "cost":
        print(show_cost(site, given.jobs))
    else:
        print(show_settings(site, given.shadows, given.jobs))


if __name__ == "__main__":
    main()
