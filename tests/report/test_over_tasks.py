"""Aggregates over tasks, against what can be counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from fluid.report.over_tasks import counts_in_summary, summarise, task_rows, wilson


def _binary(area: float, other: float, classes: tuple[int, ...] = (20, 9)) -> dict[str, Any]:
    names = ("roc_auc", "pr_auc", "pr_auc_calibrated", "mcc", "kappa", "f1_max", "brier")

    def model(name: str, value: float) -> dict[str, Any]:
        each = {"value": value, "low": value - 0.1, "high": value + 0.1}
        return {"name": name, "metrics": {metric: each for metric in names}, "trained_on": 0}

    difference = {
        "model": "student",
        "against": "teacher",
        "metric": "roc_auc",
        "higher_is_better": True,
        "difference": round(area - other, 4),
    }
    return {
        "kind": "binary",
        "compounds": sum(classes),
        "classes": list(classes),
        "models": [model("student", area), model("teacher", other)],
        "differences": [difference],
    }


def test_tasks_with_few_of_a_class_or_few_exact_numbers_do_not_count() -> None:
    assert counts_in_summary({"classes": [5, 5]})
    assert not counts_in_summary({"classes": [500, 4]})
    assert not counts_in_summary({"classes": [500]})
    assert counts_in_summary({"compounds": 10})
    assert not counts_in_summary({"compounds": 30, "censored": 21})


def test_means_and_shares_are_those_of_the_tasks_that_count() -> None:
    tasks = {f"t{n}": _binary(0.6 + n / 100, 0.65) for n in range(11)}
    tasks["few"] = _binary(0.0, 1.0, (20, 4))
    found = summarise(tasks, 0)["binary"]
    assert (found["tasks"], found["left_out"]) == (11, 1)
    student = found["models"]["student"]["roc_auc"]
    assert student["mean"] == pytest.approx(0.65)
    assert student["median"] == pytest.approx(0.65)
    assert (student["low_quartile"], student["high_quartile"]) == pytest.approx((0.625, 0.675))
    assert student["low"] < 0.65 < student["high"]
    (pair,) = found["differences"]
    assert pair["difference"]["mean"] == pytest.approx(0.0, abs=1e-9)
    # Five better, five worse and a tie.
    assert pair["share_better"] == 0.5
    assert (pair["share_low"], pair["share_high"]) == pytest.approx(wilson(5.5, 11), abs=1e-4)


def test_nine_tasks_give_no_interval() -> None:
    found = summarise({f"t{n}": _binary(0.7, 0.6) for n in range(9)}, 0)["binary"]
    assert found["models"]["student"]["roc_auc"]["low"] is None


def test_wilson_is_the_interval_of_its_paper() -> None:
    # 81 of 263: .2553 and .3662 (Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<857).
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_a_table_has_a_row_for_each_task() -> None:
    head, *rows = task_rows({"a": _binary(0.7, 0.6), "b": _binary(0.8, 0.6, (20, 2))})
    assert head[:6] == ["task", "kind", "compounds", "classes", "censored", "in_summary"]
    assert [row[:6] for row in rows] == [
        ["a", "binary", "29", "20/9", "", "1"],
        ["b", "binary", "22", "20/2", "", "0"],
    ]
    place = head.index("student roc_auc")
    assert head[place + 1 : place + 3] == ["student roc_auc low", "student roc_auc high"]
    assert [row[place] for row in rows] == ["0.7", "0.8"]
    assert all(len(row) == len(head) for row in rows)
