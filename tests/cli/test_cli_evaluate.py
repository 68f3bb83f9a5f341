"""What `fluid evaluate` prints of an evaluation."""

from __future__ import annotations

from typing import Any

from fluid.cli.evaluate import show_evaluation


def _estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def _model(name: str, kind: str, metrics: dict[str, float], trained_on: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "partner": "",
        "coverage": 0.6,
        "inside_domain": dict.fromkeys(metrics),
        "trained_on": trained_on,
        "metrics": {metric: _estimate(value) for metric, value in metrics.items()},
    }


def _difference(metric: str, higher_is_better: bool, **values: float) -> dict[str, Any]:
    return {
        "model": "round1/student",
        "against": "demo/reference",
        "metric": metric,
        "higher_is_better": higher_is_better,
        "of_reference": True,
        **values,
    }


RESULT: dict[str, Any] = {
    "data": ["external.csv"],
    "compounds": 60,
    "rejected": 0,
    "protocol": "",
    "draws": 100,
    "tasks": {
        "bbb": {
            "kind": "binary",
            "compounds": 55,
            "classes": [16, 39],
            "models": [
                _model("round1/student", "student", {"roc_auc": 0.9, "mcc": 0.5}),
                _model("demo/reference", "reference", {"roc_auc": 0.8, "mcc": 0.5}, 7),
            ],
            "differences": [
                _difference(
                    "roc_auc",
                    True,
                    difference=0.1,
                    low=0.05,
                    high=0.15,
                    ratio=1.125,
                    ratio_low=1.05,
                    ratio_high=1.2,
                ),
            ],
        },
        "logbb": {
            "kind": "regression",
            "compounds": 10,
            "models": [
                _model("round1/student", "student", {"rmse": 0.496}),
                _model("demo/reference", "reference", {"rmse": 0.497}),
            ],
            "differences": [
                _difference(
                    "rmse",
                    False,
                    difference=-0.001,
                    low=-0.1,
                    high=0.1,
                    ratio=0.998,
                    ratio_low=0.962,
                    ratio_high=1.039,
                ),
            ],
        },
    },
}


def test_a_percentage_is_given_only_where_more_is_better() -> None:
    shown = show_evaluation(RESULT).split("\n\n")
    assert shown[0] == "external.csv: 55 compounds with bbb, 10 compounds with logbb; 95% intervals"
    assert shown[3].splitlines() == [
        "bbb, round1/student: ROC-AUC 0.900, demo/reference 0.800 (112.5% [105.0%, 120.0%] of it)",
        "logbb, round1/student: RMSE 0.496, demo/reference 0.497 (lower is better)",
        "Trained on everybody's data in one place, which no federation has: demo/reference.",
    ]


def test_training_compounds_are_pointed_out() -> None:
    assert (
        "Beware: demo/reference was trained on 7 of the 55 compounds with bbb. Its metrics are not "
        "an external test."
    ) in show_evaluation(RESULT)


def test_a_model_without_a_task_has_empty_cells() -> None:
    tasks = RESULT["tasks"] | {
        "logbb": RESULT["tasks"]["logbb"]
        | {"models": RESULT["tasks"]["logbb"]["models"][:1], "differences": []}
    }
    table = show_evaluation(RESULT | {"tasks": tasks}).split("\n\n")[1].splitlines()
    assert table[0].split("  ")[0] == "model"
    assert table[3].split()[0] == "demo/reference"
    assert table[3].endswith("60%")
    assert table[2].count("[") == 3
    assert table[3].count("[") == 2


def test_verdicts_follow_the_better_side() -> None:
    table = show_evaluation(RESULT).split("\n\n")[2].splitlines()
    assert table[2].endswith("better")
    assert table[3].endswith("]")
