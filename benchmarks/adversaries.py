"""What partners that lie cost the student, and who is noticed: a table over fifteen consortia.

Twelve consortia of 4, 6, 8 and 20 partners, and three of 3 partners, which stand apart. The tasks
are those of the demonstration, and a multiclass task made of its numbers. Intervals are of the mean
over consortia, by bootstrap.

    python -m benchmarks.adversaries data demo OUTPUT [--jobs N] [--validation]

Limits of `fluid.central.consensus` are chosen with --validation, on parts of the training data.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from fluid.base.run import Run
from fluid.chem.compounds import concatenate
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.simulation.adversaries import COLLUDING
from fluid.simulation.cell_result import ModelResult
from fluid.simulation.consortium import Consortium
from fluid.simulation.partition_spec import parse_partition
from fluid.simulation.results import write_rows
from fluid.simulation.studies import COLUMNS, run_named
from fluid.simulation.study import Study
from fluid.simulation.study_spec import StudySpec

# Classes of log10(brain/blood): low, middle and high.
EDGES = (-0.6, 0.3)
LEVEL = Task("level", "multiclass", classes=("low", "middle", "high"))
KINDS = ("kmeans:partners={}", "scaffold:alpha=0.5,partners={}", "scaffold:alpha=0.1,partners={}")
DRAWS = 10_000


class Untrained(Study):
    """A study of consortia whose usual models nobody needs."""

    def train_models(self, consortium: Consortium) -> Iterator[ModelResult]:
        """Nothing."""
        return iter(())


def with_classes(table: LabelledCompounds) -> LabelledCompounds:
    """The table with a third task: the class of its second."""
    labels = table.labels
    exact = (labels.tasks == 1) & (labels.qualifiers == 0)
    values = np.digitize(labels.values[exact], EDGES).astype(np.float64)
    return replace(
        table,
        labels=LabelMatrix(
            np.concatenate([labels.rows, labels.rows[exact]]),
            np.concatenate([labels.tasks, np.full(len(values), 2)]),
            np.concatenate([labels.values, values]),
            np.concatenate([labels.qualifiers, labels.qualifiers[exact]]),
            np.concatenate([labels.weights, labels.weights[exact]]),
            (labels.shape[0], 3),
        ),
    )


def run_cells(
    data: Path, demo: Path, output: Path, jobs: int | None, validation: bool
) -> list[dict[str, object]]:
    """Rows of the study `adversaries` for all consortia."""
    agreed = Federation.load(demo / "federation.toml")
    federation = replace(agreed, tasks=(*agreed.tasks, LEVEL))
    public = concatenate(list(PublicSet.load(demo / "public.parquet").chunks()))

    def read(*paths: Path) -> LabelledCompounds:
        return with_classes(read_labelled(list(paths), agreed.tasks, agreed.chemistry, None, jobs))

    table = read(*sorted((data / "partners").glob("*.csv")))
    external = read(data / "external.csv")
    partitions = tuple(
        parse_partition(kind.format(partners) + ",minimum=10" * (partners == 20))
        for partners in (4, 6, 8, 20, 3)
        for kind in KINDS
    )
    spec = StudySpec(
        partitions,
        (0,),
        share_scaffold=0.12 if validation else 0.0,
        validation=validation,
        references=(),
        paper=False,
        hybrids=False,
    )
    study = Untrained(table, public, federation, spec, external, output / "cache")
    run = Run(jobs=jobs, stage=lambda text: print(text, file=sys.stderr))
    return run_named("adversaries", study, study.run(run), run)


def interval(values: list[float]) -> str:
    """Mean and 95% interval by bootstrap over consortia."""
    each = np.array(values)
    drawn = np.random.default_rng(0).integers(len(each), size=(DRAWS, len(each)))
    low, high = np.quantile(each[drawn].mean(axis=1), [0.025, 0.975])
    return f"{each.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def table_of(rows: list[dict[str, object]], by: str) -> str:
    """A Markdown table of rows of the study, by their lie or another column."""
    tasks = list(dict.fromkeys(str(row["task"]) for row in rows))

    def values(group: str, metric: str, task: str | None = None) -> list[float]:
        return [
            float(str(row["value"]))
            for row in rows
            if row[by] == group
            and row["metric"] == metric
            and task in (None, row["task"])
            and row["value"] != ""
        ]

    header = ["", *(f"cost, {task}" for task in tasks), "liars flagged", "honest flagged"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for group in dict.fromkeys(str(row[by]) for row in rows):
        costs = [values(group, "cost", task) for task in tasks]
        caught, accused = values(group, "liars flagged"), values(group, "honest flagged")
        cells = [group, *(interval(one) if one else "-" for one in costs)]
        cells += [f"{np.mean(one):.1%}" if one else "-" for one in (caught, accused)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tables(rows: list[dict[str, object]]) -> str:
    """All tables of the study."""
    three = [row for row in rows if row["test"] == "3 partners"]
    more = [row for row in rows if row["test"] != "3 partners"]
    together = [row for row in more if row["setting"] == COLLUDING]
    alone = [row for row in more if row["setting"] != COLLUDING]
    return "\n\n".join(
        [
            "Twelve consortia of 4, 6, 8 and 20 partners:",
            table_of(alone, "setting"),
            "The same consortia, two partners that say the same, turned round, reliability .98:",
            table_of(together, "test"),
            "Three consortia of 3 partners:",
            table_of(three, "setting"),
        ]
    )


def main() -> None:
    """Run the study, write its rows, and print the tables."""
    parser = argparse.ArgumentParser()
    for name in ("data", "demo", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--validation", action="store_true")
    given = parser.parse_args()
    output = given.output
    output.mkdir(parents=True, exist_ok=True)
    rows = run_cells(given.data, given.demo, output, given.jobs, given.validation)
    write_rows(output / "studies.csv", COLUMNS, rows)
    with (output / "studies.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    print(tables(rows))


if __name__ == "__main__":
    main()
