"""What is stated besides the labels: nothing by default, and only what the policy shares."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fluid.base.errors import FluidError
from fluid.exchange.annotation import AnnotationFile
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.release import Release
from fluid.exchange.shared_statistics import check_shared_statistics
from fluid.learn.task import Task
from fluid.partner.disclosure_guard import disclose_statistics

TASKS = [Task("bbb", "binary", classes=("BBB-", "BBB+")), Task("logbb", "regression")]
SIZES = {"bbb": 300, "logbb": 64}
METRICS = {
    "bbb": {"roc_auc": 0.8249, "pr_auc": 0.9, "mcc": None, "brier": 0.1234},
    "logbb": {"rmse": 0.61234, "r2": -7.3, "spearman": 0.48},
}
CLASSES = {"bbb": {"BBB-": 31, "BBB+": 269}}


def besides(*share: str) -> dict[str, Any]:
    return disclose_statistics(DisclosurePolicy(share=share), SIZES, METRICS, CLASSES)


def stated(value: object, *share: str) -> dict[str, Any]:
    sealed = SimpleNamespace(path=Path("a.parquet"), manifest={"shared": value})
    policy = DisclosurePolicy(share=share)
    return check_shared_statistics(
        AnnotationFile(sealed, "aurora", TASKS, policy, Release("0" * 32, 1, 1))  # type: ignore[arg-type]
    )


def test_nothing_is_stated_unless_it_is_shared() -> None:
    assert besides() == {}
    assert besides("coverage") == {}
    assert besides("training-size") == {"training_size": {"bbb": 256, "logbb": 64}}
    assert besides("metrics") == {
        "metrics": {"bbb": {"roc_auc": 0.8, "mcc": None}, "logbb": {"r2": -1.0, "spearman": 0.5}}
    }
    assert besides("prevalence") == {"prevalence": {"bbb": {"BBB-": 0.1, "BBB+": 0.9}}}
    everything = ("training-size", "metrics", "prevalence")
    assert set(besides(*everything)) == {"training_size", "metrics", "prevalence"}
    assert stated(besides(*everything), *everything) == besides(*everything)


@pytest.mark.parametrize(
    ("value", "share", "message"),
    [
        ({"training_size": {"bbb": 64}}, (), "but the policy allows nothing"),
        ({"coverage": {}}, ("coverage",), "but the policy allows nothing"),
        ({"training_size": {"bbb": 300}}, ("training-size",), "'training size' is not usable"),
        ({"training_size": {"bbb": True}}, ("training-size",), "a whole number, a power of two"),
        ({"training_size": {"other": 64}}, ("training-size",), "is not usable"),
        ({"metrics": {"bbb": {"rmse": 0.5}}}, ("metrics",), "the shared 'metrics' is not usable"),
        ({"metrics": {"bbb": {"mcc": 0.512}}}, ("metrics",), "in multiples of 0.05"),
        ({"metrics": {"bbb": {"mcc": float("nan")}}}, ("metrics",), "is not usable"),
        ({"prevalence": {"logbb": {"0": 0.5}}}, ("prevalence",), "the share of each class"),
        ({"prevalence": {"bbb": {"CCO": 0.5}}}, ("prevalence",), "is not usable"),
        ({"prevalence": {"bbb": {"BBB-": 1.05}}}, ("prevalence",), "is not usable"),
        (None, (), "shares None with its labels"),
    ],
)
def test_a_statement_that_is_finer_or_another_is_refused(
    value: object, share: tuple[str, ...], message: str
) -> None:
    with pytest.raises(FluidError, match=message):
        stated(value, *share)
