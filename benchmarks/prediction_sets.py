"""Coverage of prediction sets on the demonstration's compounds, as a Markdown table.

``make study-coverage`` runs it on the folders of ``make demo``. Three questions: of compounds like
the calibration compounds (a random 30% of a partner's, kept from training), of other partners'
compounds, and of the external test. Means over models, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.run import Run
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation, load_federation
from fluid.learn import conformal
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.predictions import TaskPrediction
from fluid.learn.shift import describe, estimate_shift
from fluid.learn.storage import load_model, load_trained
from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds, read_labelled
from fluid.partner.teacher.fit import fit_model
from fluid.report.calibration_sets import CalibrationSet, sets_of_folder, similarity_of

# The usual error rates of prediction sets, and three splits, to see how far chance moves them.
RATES = (0.2, 0.1)
SEEDS = (0, 1, 2)
# Queries that a coverage needs: with 30 its standard error is about 0.07.
FEWEST = 30

# Question, task, rate and whether calibration compounds were weighted.
Case = tuple[str, str, float, bool]


def judge(
    question: str,
    task: Task,
    calibration: CalibrationSet,
    prediction: TaskPrediction,
    queries: Compounds,
    rows: np.ndarray,
    truth: np.ndarray,
) -> Iterator[tuple[Case, float]]:
    """Coverage of one model's sets for the queries at these rows, at every rate."""
    measured = calibration.measured
    near = similarity_of(prediction)[rows]
    values = prediction.values[rows]
    shift = estimate_shift(calibration.features, describe(queries.take(rows), near))
    for rate in RATES:
        for weighed in (False, True):
            weights = shift.weights if weighed and shift is not None else None
            if task.is_classification:
                sets = conformal.class_sets(task, measured, values, rate, weights)
                hit = sets.inside[np.arange(len(rows)), truth.astype(int)]
            else:
                found = conformal.intervals(task, measured, values, near, rate, weights)
                hit = (truth >= found.low) & (truth <= found.high)
            yield (question, task.name, rate, weighed), float(hit.mean())


def on_table(
    question: str, folder: Path, table: LabelledCompounds, federation: Federation
) -> Iterator[tuple[Case, float]]:
    """A trained model's sets for compounds of a table that it was not trained on."""
    model = load_model(folder)
    trained = model.own if isinstance(model, HybridModel) else model
    assert isinstance(trained, TrainedModel)
    known = set(trained.library.connectivities)
    new = np.array([key not in known for key in table.compounds.connectivities])
    sets = sets_of_folder(folder, model)
    predictions = model.predict(table.compounds, None).by_task
    for number, task in enumerate(federation.tasks):
        rows, truth = table.labels.column(number)
        rows, truth = rows[new[rows]], truth[new[rows]]
        if task.name in sets and len(rows) >= FEWEST:
            calibration, prediction = sets[task.name], predictions[task.name]
            yield from judge(question, task, calibration, prediction, table.compounds, rows, truth)


def exchangeable(
    partner: str, table: LabelledCompounds, federation: Federation
) -> Iterator[tuple[Case, float]]:
    """Teachers of a random 70% of a partner's compounds, judged on the other 30%."""
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(table.compounds))
        cut = int(0.7 * len(order))
        training = table.take(np.sort(order[:cut]))
        held = table.take(np.sort(order[cut:]))
        try:
            fitted = fit_model(training, federation, partner, bytes([seed]) * 32, run=Run(jobs=1))
        except TrainingError:
            continue
        predictions = fitted.model.predict(held.compounds, None).by_task
        models: list[TaskModel] = fitted.model.task_models
        for model in models:
            task = model.task
            rows, truth = held.labels.column(federation.task_index(task.name))
            if len(rows) < FEWEST:
                continue
            measured = fitted.measured[task.name]
            predicted = np.isfinite(measured.values).all(axis=1)
            compounds = training.compounds.take(model.rows[predicted])
            measured = measured.take(predicted)
            yield from judge(
                "own, kept from training",
                task,
                CalibrationSet(measured, describe(compounds, measured.similarity)),
                predictions[task.name],
                held.compounds,
                rows,
                truth,
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of the demonstration")
    parser.add_argument("external", type=Path, help="external test table")
    parser.add_argument("tables", type=Path, nargs="+", help="the partners' tables")
    given = parser.parse_args()
    logging.getLogger("fluid").setLevel(logging.ERROR)
    federation = load_federation(given.demo / "federation.toml")
    chemistry = load_trained(given.demo / "round1" / "student", "student").chemistry
    tables = {
        path.stem: read_labelled([path], federation.tasks, chemistry) for path in given.tables
    }
    external = read_labelled([given.external], federation.tasks, chemistry)
    found: dict[Case, list[float]] = defaultdict(list)

    def add(cases: Iterator[tuple[Case, float]]) -> None:
        for case, coverage in cases:
            found[case].append(coverage)

    for partner, table in tables.items():
        add(exchangeable(partner, table, federation))
        for kind in ("teacher", "hybrid"):
            folder = given.demo / partner / kind
            add(on_table(f"external, {kind}", folder, external, federation))
            for other, foreign in tables.items():
                if other != partner:
                    add(on_table(f"other partners, {kind}", folder, foreign, federation))
    print("| compounds | task | asked | models | plain | weighed |")
    print("|---|---|---|---|---|---|")
    for question, task, rate, weighed in sorted(found):
        if weighed:
            continue
        each = [found[question, task, rate, way] for way in (False, True)]
        cells = [f"{np.mean(one):.0%} ({min(one):.0%} to {max(one):.0%})" for one in each]
        print(f"| {question} | {task} | {1 - rate:.0%} | {len(each[0])} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
