"""The tidy table and its summary, against a second computation from the cells."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef, mean_squared_error, r2_score, roc_auc_score

from fluid.base.files import dump_json
from fluid.learn.metrics import metric_names
from fluid.learn.task import Task
from fluid.simulation.cell_result import HYBRID, MEAN, STUDENT, TEACHER, CellResult, ModelResult
from fluid.simulation.predictions import LabelledPrediction, QueryPrediction
from fluid.simulation.results import (
    COLUMNS,
    OUT_OF_FOLD,
    OWN_CHEMISTRY,
    compare_domains,
    compare_hybrids,
    compare_students,
    summarise,
    tidy,
    write_rows,
)
from fluid.simulation.text import summary_text
from tests.simulation.small_study import Small

BINARY = Task("active", "binary")
N = 120


def truth_and_values(cell: CellResult, row: dict[str, str], task: Task) -> tuple[np.ndarray, ...]:
    """True labels, predictions and calls that a row of the table is about."""
    model = next(one for one in cell.models if one.name == row["model"])
    if row["test"] == OUT_OF_FOLD:
        own = model.out_of_fold[task.name]
        known = np.isfinite(own.values[:, 0])
        return own.truth[known], own.values[known, 0], own.values[known, 0] >= own.threshold
    prediction = model.predictions[task.name]
    truth = dict(zip(*cell.labels[task.name], strict=True))
    chosen = [
        n
        for n in sorted(truth)
        if (
            cell.nearest[n] == model.partner
            if row["test"] == OWN_CHEMISTRY
            else cell.tests[n] == row["test"]
        )
    ]
    values = prediction.values[chosen, 0]
    return np.array([truth[n] for n in chosen]), values, values >= prediction.threshold


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_value_of_the_table_computed_once_more(small: Small) -> None:
    rows = read(small.output / "results.csv")
    assert tuple(rows[0]) == COLUMNS
    tasks = {task.name: task for task in small.federation.tasks}
    checked = set()
    for row in rows:
        assert (row["cell"], row["partition"], row["seed"]) == (
            small.cell.name, small.cell.partition, "0",
        )  # fmt: skip
        truth, values, called = truth_and_values(small.cell, row, tasks[row["task"]])
        assert int(row["compounds"]) == len(truth)
        expected = {
            "roc_auc": lambda t, v, c: roc_auc_score(t, v),
            "mcc": lambda t, v, c: matthews_corrcoef(t, c),
            "rmse": lambda t, v, c: np.sqrt(mean_squared_error(t, v)),
            "mae": lambda t, v, c: np.abs(t - v).mean(),
            "r2": lambda t, v, c: r2_score(t, v),
            "brier": lambda t, v, c: ((t - v) ** 2).mean(),
            "sensitivity": lambda t, v, c: c[t == 1].mean(),
            "specificity": lambda t, v, c: (~c)[t == 0].mean(),
        }.get(row["metric"])
        if expected is not None:
            value = float(expected(truth, values, called))
            assert float(row["value"]) == pytest.approx(value, abs=2e-6), row
            checked.add(row["metric"])
    assert {"roc_auc", "mcc", "rmse", "brier", "sensitivity", "specificity"} <= checked


def test_one_row_for_each_that_is_defined(small: Small) -> None:
    rows = read(small.output / "results.csv")
    found = [(row["test"], row["task"], row["model"], row["metric"]) for row in rows]
    assert len(set(found)) == len(found)
    for model in small.cell.models:
        for task in small.federation.tasks:
            metrics = {m for _, t, name, m in found if (t, name) == (task.name, model.name)}
            assert metrics == (set(metric_names(task)) if task.name in model.predictions else set())
            tests = {row["test"] for row in rows if row["model"] == model.name}
            own = {OWN_CHEMISTRY, OUT_OF_FOLD} if model.partner else set()
            assert {"scaffold", "random"} <= tests <= {"scaffold", "random"} | own
    kinds = {(row["kind"], row["partner"]) for row in rows}
    assert {(TEACHER, "partner-1"), (HYBRID, "partner-3"), (STUDENT, ""), ("mean", ""),
            ("reference", ""), ("paper", "")} <= kinds  # fmt: skip


def test_written_as_it_was_computed(small: Small, tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.csv"
    rows = list(tidy([small.cell], small.federation.tasks))
    write_rows(path, COLUMNS, rows)
    assert path.read_bytes() == (small.output / "results.csv").read_bytes()
    assert len(rows) == len(read(path))


def test_the_mean_is_that_of_the_teachers(small: Small) -> None:
    (mean,) = small.cell.of_kind(MEAN)
    assert mean.predictions
    teachers = [one.predictions for one in small.cell.of_kind(TEACHER)]
    for name, prediction in mean.predictions.items():
        each = [one[name].values for one in teachers if name in one]
        assert np.allclose(prediction.values, np.mean(each, axis=0))


# --- comparisons ------------------------------------------------------------------------------


def make_cell(seed: int, noise: float = 0.2) -> CellResult:
    """A cell whose student errs less than its teachers, and whose hybrid is its student."""
    rng = np.random.default_rng(seed)
    truth = np.tile([0.0, 1.0, 1.0], N // 3)

    def predict(spread: float) -> QueryPrediction:
        values = np.clip(truth * 0.5 + 0.25 + spread * rng.normal(size=N), 0.01, 0.99)
        sure = np.abs(values - 0.5)
        domains = {"reliability": (sure, sure > 0.2), "other": (rng.random(N), sure > 2)}
        return QueryPrediction(values[:, None], 0.5, sure, domains)

    student = predict(noise)
    rows = np.arange(40)
    own = LabelledPrediction(rows, truth[:40], student.values[:40], 0.5)
    models = [
        ModelResult(
            f"teacher of {name}", TEACHER, name, {"active": predict(2 * noise)}, {"active": own}
        )
        for name in ("a", "b")
    ]
    models.append(ModelResult(STUDENT, STUDENT, "", {"active": student}))
    models.append(ModelResult("hybrid of a", HYBRID, "a", {"active": student}, {"active": own}))
    tests = np.array(["random"] * 60 + ["scaffold"] * 60, dtype=object)
    nearest = np.array(["a", "b"] * 60, dtype=object)
    labels = {"active": (np.arange(N), truth)}
    return CellResult(
        f"random, seed {seed}", "random", seed, {"a": 60, "b": 50}, tests, labels, nearest, models
    )  # fmt: skip


CELLS = [make_cell(seed) for seed in range(6)]


def test_the_student_against_the_mean_teacher() -> None:
    rows = compare_students(CELLS, BINARY, 100)
    assert {row["against"] for row in rows} == {"mean teacher"}
    for row in rows:
        if row["metric"] != "roc_auc":
            continue
        each = []
        for cell in CELLS:
            here = np.flatnonzero(cell.tests == row["test"])
            truth = cell.labels["active"][1][here]
            scores = {
                model.name: roc_auc_score(truth, model.predictions["active"].values[here, 0])
                for model in cell.models
            }
            mean = (scores["teacher of a"] + scores["teacher of b"]) / 2
            each.append(scores[STUDENT] - mean)
        assert row["difference"] == pytest.approx(np.mean(each), abs=1e-4)
        assert row["low"] < row["difference"] < row["high"]
        assert (row["cells"], row["better"]) == (6, np.mean(np.array(each) > 0))


def test_hybrids_are_compared_by_partner() -> None:
    rows = {row["test"]: row for row in compare_hybrids(CELLS, BINARY, 100)}
    assert set(rows) == {"random", "scaffold", OWN_CHEMISTRY, OUT_OF_FOLD}
    assert rows["random"]["cells"] == 6
    assert rows["random"]["difference"] > 0
    # Out of fold both predict the same.
    assert (rows[OUT_OF_FOLD]["difference"], rows[OUT_OF_FOLD]["better"]) == (0.0, 0.5)
    assert rows[OUT_OF_FOLD]["not_worse"] == 1.0
    alone = [replace(cell, models=cell.models[2:]) for cell in CELLS]
    assert compare_hybrids(alone, BINARY, 100) == []


def test_domains_are_compared_with_the_default() -> None:
    rows = [row for row in compare_domains(CELLS, BINARY) if row["model"] == STUDENT]
    for default, other in list(pairwise(rows))[::2]:
        assert (default["domain"], other["domain"]) == ("reliability", "other")
        assert default["default_lower_by"] is default["low"] is default["p"] is None
        gain = other["aurc"] - default["aurc"]
        assert other["default_lower_by"] == pytest.approx(gain, abs=2e-4)
        assert other["low"] <= other["default_lower_by"] <= other["high"]
        assert gain > 0
        assert (other["coverage"], other["error_inside"]) == (0.0, None)
    found = [row for row in compare_domains(CELLS[:1], BINARY) if row["model"] == STUDENT]
    one = [row for row in found if row["domain"] == "other"]
    assert all(row["low"] is row["high"] is row["p"] is None for row in one)
    assert all(row["default_lower_by"] is not None for row in one)


def test_a_summary_is_plain_values_and_a_text(small: Small) -> None:
    for cells, tasks in ((CELLS, [BINARY]), ([small.cell], small.federation.tasks)):
        summary = summarise(cells, tasks, 100)
        dump_json(summary)
        about = {"partitions": [{"shown": "a|b"}], "seeds": [0], "private_compounds": 9,
                 "donated": 0.0, "validation": False}  # fmt: skip
        text = summary_text(about | summary)
        assert "%" not in "".join(re.findall(r"AURC.*|error rate.*", text))
        header = 0
        for line in text.splitlines():
            if line.startswith("|"):
                header = header or line.count("|")
                assert line.count("|") == header, line
            else:
                header = 0
        assert "nan" not in text
    assert (
        (small.output / "summary.md")
        .read_text()
        .startswith(
            "1 virtual consortium. Partitions: random (partners 3). Seeds: 0. Private compounds: "
        )
    )


def test_the_overview_of_a_study_is_sentences(small: Small) -> None:
    summary = small.summary | {"donated": 0.1, "validation": True, "seeds": [0, 1]}
    summary |= {"cells": small.summary["cells"] * 2}
    overview = summary_text(summary).splitlines()[0]
    assert overview.startswith("2 virtual consortia. ")
    assert " Seeds: 0, 1. " in overview
    assert "Each partner donates 10% of its structures to the public set. " in overview
    assert overview.endswith("Validation split: the tests are part of the training data.")


def test_cells_that_are_not_comparable_are_an_error() -> None:
    labels = {"active": (np.arange(N), np.ones(N))}
    other = replace(make_cell(7), labels=labels)
    with pytest.raises(ValueError, match="must have the same test table"):
        compare_students([*CELLS, other], BINARY, 100)
    # With one class in all cells no metric is defined, and there is no row.
    assert compare_students([other], BINARY, 100) == []


def test_named_studies_of_several_cells_have_means(small: Small) -> None:
    def row(cell: str, setting: str, test: str, value: float | str) -> dict[str, object]:
        about = {"study": "left-out", "cell": cell, "task": "bbb", "setting": setting, "test": test}
        return about | {"metric": "roc_auc", "value": value, "low": "", "high": ""}

    rows = [
        row("k-means 0", "everybody", "random", 0.5), row("k-means 1", "everybody", "random", 0.7),
        row("k-means 0", "with partner-1", "random", 0.5),
        row("k-means 1", "everybody", "nearest to partner-1", 0.5),
        row("k-means 1", "everybody", "external", ""),
    ]  # fmt: skip
    lines = summary_text(small.summary | {"studies": rows}).splitlines()
    means = lines[lines.index("### study: left-out") + 2 :]
    assert means[2:4] == ["| bbb | everybody | random | roc_auc | 0.600 | 0.500, 0.700 | 2 |", ""]
    assert means[4].startswith("| consortium | task |")
    assert means[6] == "| k-means 0 | bbb | everybody | random | roc_auc | 0.500 |  |"
    assert means[10] == "| k-means 1 | bbb | everybody | external | roc_auc | - |  |"
    # Rows of a single cell have nothing to average.
    lines = summary_text(small.summary | {"studies": rows[:1]}).splitlines()
    assert lines[lines.index("### study: left-out") + 2].startswith("| task | setting |")


def test_several_classes_are_in_the_table_but_not_compared() -> None:
    task = Task("class", "multiclass", classes=("x", "y", "z"))
    assert compare_students(CELLS, task) == compare_hybrids(CELLS, task) == []
    assert compare_domains(CELLS, task) == []
