"""Paired comparisons: against scikit-learn and SciPy, by hand, and on data of known answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon
from sklearn.metrics import matthews_corrcoef, roc_auc_score, root_mean_squared_error

from fluid.learn import metrics
from fluid.learn.task import Task
from fluid.simulation.statistics import (
    ScoredCell,
    aurc,
    draw_weights,
    paired_difference,
    share_not_worse,
    signed_rank_p,
    weighted_mcc,
    weighted_rmse,
    weighted_roc_auc,
)

BINARY = Task("active", "binary")
NUMBER = Task("logd", "regression")


def make_cell(
    cell: str, group: str, truth: np.ndarray, values: dict[str, np.ndarray], task: Task = BINARY
) -> ScoredCell:
    return ScoredCell(
        cell, group, task, truth, values, {k: (v > 0.5).astype(int) for k, v in values.items()}
    )


def make_cells(
    seed: int, n_groups: int, each: int, n: int = 80, gain: float = 0.3
) -> list[ScoredCell]:
    """Cells in which 'good' follows the truth closer than 'poor'; one test table a group."""
    rng = np.random.default_rng(seed)
    cells = []
    for group in range(n_groups):
        truth = (rng.random(n) < 0.6).astype(float)
        shared = rng.normal(size=n)
        for number in range(each):
            values = {
                "poor": truth + shared + rng.normal(size=n),
                "good": (1 + gain) * truth + shared + rng.normal(size=n),
            }
            cells.append(make_cell(f"{group}/{number}", str(group), truth, values))
    return cells


# --- weighted metrics -------------------------------------------------------------------------

_rows = st.lists(
    st.tuples(st.booleans(), st.integers(0, 4), st.booleans(), st.integers(0, 3)),
    min_size=2,
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(_rows)
def test_weights_are_repeats(rows: list[tuple[bool, int, bool, int]]) -> None:
    positive, score, called, weight = (np.array(column) for column in zip(*rows, strict=True))
    again = np.repeat(np.arange(len(rows)), weight)
    auc = weighted_roc_auc(positive, score.astype(float), weight[None])[0]
    found = weighted_mcc(positive, called, weight[None])[0]
    if len(set(positive[again])) == 2:
        assert auc == pytest.approx(roc_auc_score(positive[again], score[again]))
        assert found == pytest.approx(matthews_corrcoef(positive[again], called[again]))
    else:
        assert np.isnan(auc)
        assert np.isnan(found)
    error = weighted_rmse(positive.astype(float), score.astype(float), weight[None])[0]
    if len(again):
        assert error == pytest.approx(root_mean_squared_error(positive[again], score[again]))
    else:
        assert np.isnan(error)


def test_weights_of_one_are_the_plain_metrics() -> None:
    rng = np.random.default_rng(0)
    positive, score = rng.random(200) < 0.4, rng.normal(size=200).round(1)
    everything = np.ones((1, 200))
    assert weighted_roc_auc(positive, score, everything)[0] == pytest.approx(
        metrics.roc_auc(positive, score)
    )
    assert weighted_mcc(positive, score > 0, everything)[0] == pytest.approx(
        metrics.mcc(positive, score > 0)
    )


def test_draws_are_those_of_the_other_bootstrap() -> None:
    weights, rows = draw_weights(7, 5, 3), metrics.bootstrap_rows(7, 5, 3)
    assert weights.shape == (5, 7)
    for drawn, chosen in zip(weights, rows, strict=True):
        assert drawn.tolist() == np.bincount(chosen, minlength=7).tolist()


# --- comparisons ------------------------------------------------------------------------------


def test_worked_by_hand() -> None:
    truth = np.array([0.0, 0.0, 1.0, 1.0])
    sure, half = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.1, 0.85, 0.8, 0.9])
    cells = [
        make_cell("a", "one", truth, {"x": sure, "y": half}),
        make_cell("b", "one", truth, {"x": half, "y": half}),
        make_cell("c", "two", truth, {"x": half}),
    ]
    found = paired_difference(cells, "x", "y", "roc_auc", draws=50)
    # AUCs 1 and 0.75, then 0.75 and 0.75; the third cell has no y.
    assert found.cells == ("a", "b")
    assert found.differences == (0.25, 0.0)
    assert found.difference == pytest.approx(0.125)
    assert found.ratio == pytest.approx((1 / 0.75 + 1) / 2)
    assert (found.n_cells, found.better) == (2, 0.75)
    assert np.isnan(found.p_value)
    assert np.isnan(paired_difference(cells, "x", "y", "mcc", draws=50).ratio)


def test_lower_is_better_for_errors() -> None:
    truth = np.array([1.0, 2.0, 3.0])
    cells = [
        make_cell(str(k), str(k), truth, {"near": truth + 0.5, "far": truth - 1.0}, NUMBER)
        for k in range(5)
    ]
    found = paired_difference(cells, "near", "far", "rmse", draws=50)
    assert found.difference == pytest.approx(-0.5)
    assert (found.low, found.high) == pytest.approx((-0.5, -0.5))
    assert (found.ratio, found.ratio_low, found.ratio_high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.better == 1.0
    assert found.p_value == pytest.approx(2 / 2**5)


def test_mean_of_several_models_is_of_their_metrics() -> None:
    rng = np.random.default_rng(1)
    truth = (rng.random(60) < 0.5).astype(float)
    teachers = {f"teacher/{k}": truth + rng.normal(size=60) for k in range(3)}
    cell = make_cell("a", "one", truth, teachers | {"student": truth + rng.normal(size=60)})
    found = paired_difference(
        [cell], "student", lambda one: [name for name in one.values if "/" in name], "roc_auc"
    )
    mean = np.mean([roc_auc_score(truth, values) for values in teachers.values()])
    assert found.difference == pytest.approx(roc_auc_score(truth, cell.values["student"]) - mean)


def test_order_and_monotone_scores_do_not_matter() -> None:
    cells = make_cells(2, 2, 3)
    found = paired_difference(cells, "good", "poor", "roc_auc", draws=100)
    assert paired_difference(cells[::-1], "good", "poor", "roc_auc", draws=100) == found
    bent = [
        make_cell(one.cell, one.group, one.truth, {k: np.exp(v) for k, v in one.values.items()})
        for one in cells
    ]
    assert paired_difference(bent, "good", "poor", "roc_auc", draws=100) == found
    other = paired_difference(cells, "poor", "good", "roc_auc", draws=100)
    assert (other.difference, other.low, other.high) == pytest.approx(
        (-found.difference, -found.high, -found.low)
    )
    assert other.p_value == found.p_value


def test_one_test_table_is_not_counted_as_many() -> None:
    rng = np.random.default_rng(3)
    truth, noise = rng.normal(size=40), rng.normal(size=40)
    # All cells agree: they count as one cell, and only its compounds vary by chance.
    same = {"left": truth + noise, "right": truth + 0.8}
    alone = paired_difference([make_cell("0", "g", truth, same, NUMBER)], "left", "right", "rmse")
    many = [make_cell(str(k), "g", truth, same, NUMBER) for k in range(20)]
    found = paired_difference(many, "left", "right", "rmse")
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
    separately = [make_cell(str(k), str(k), truth, same, NUMBER) for k in range(20)]
    naive = paired_difference(separately, "left", "right", "rmse")
    assert naive.high - naive.low < 0.5 * (found.high - found.low)


def test_intervals_cover() -> None:
    """Over many studies of known truth, the interval holds it in about 95% of them."""
    inside, width, found_in = [], [], []
    for study in range(150):
        rng = np.random.default_rng(1000 + study)
        cells = []
        for group in range(4):
            truth = rng.normal(size=60)
            table = rng.normal(size=60)
            for number in range(3):
                # Mean squared errors of 1 and 1.44; every cell is a little different.
                scale = float(np.exp(0.05 * rng.normal()))
                values = {
                    "left": truth + scale * (0.6 * table + 0.8 * rng.normal(size=60)),
                    "right": truth + scale * 1.2 * (0.6 * table + 0.8 * rng.normal(size=60)),
                }
                cells.append(make_cell(f"{group}/{number}", str(group), truth, values, NUMBER))
        found = paired_difference(cells, "left", "right", "rmse", draws=200, seed=study)
        inside.append(found.low <= -0.2 <= found.high)
        width.append(found.high - found.low)
        found_in.append(found.difference)
    assert 0.9 <= np.mean(inside) <= 0.99
    assert np.mean(width) == pytest.approx(2 * 1.96 * np.std(found_in), rel=0.2)


def test_is_fast() -> None:
    rng = np.random.default_rng(4)
    cells = []
    for group in range(3):
        truth = (rng.random(600) < 0.6).astype(float)
        for number in range(8):
            values = {name: truth + rng.normal(size=600) for name in ("x", "y")}
            cells.append(make_cell(f"{group}/{number}", str(group), truth, values))
    started = time.perf_counter()
    paired_difference(cells, "x", "y", "roc_auc")
    assert time.perf_counter() - started < 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: (cells, "good", "poor", "pr_auc"), "metric 'pr_auc'"),
        (lambda cells: (cells, "good", "poor", "rmse"), "rmse is not for a binary task"),
        (lambda cells: (cells, "good", "teacher", "roc_auc"), "no cell has both sides"),
        (lambda cells: ([*cells, cells[0]], "good", "poor", "roc_auc"), "the same name"),
        (
            lambda cells: (
                [*cells, make_cell("z", "0", 1 - cells[0].truth, dict(cells[0].values))],
                "good", "poor", "roc_auc",
            ),
            "of group '0' must have the same test table",
        ),
    ],
)  # fmt: skip
def test_refusals(change: Callable[[list[ScoredCell]], tuple[Any, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_difference(*change(make_cells(5, 2, 2)))


def test_cells_must_be_whole() -> None:
    truth = np.array([0.0, 1.0])
    with pytest.raises(ValueError, match="model 'x'"):
        make_cell("a", "g", truth, {"x": np.array([0.5, np.nan])})
    with pytest.raises(ValueError, match="model 'x'"):
        make_cell("a", "g", truth, {"x": np.array([0.5])})
    with pytest.raises(ValueError, match="truth"):
        make_cell("a", "g", np.array([0.0, np.nan]), {})
    with pytest.raises(ValueError, match="multiclass"):
        make_cell("a", "g", truth, {}, Task("t", "multiclass", classes=("a", "b", "c")))


def test_a_cell_of_one_class_is_left_out() -> None:
    cells = make_cells(6, 2, 1)
    dull = make_cell("dull", "d", np.ones(5), {k: np.arange(5.0) for k in ("good", "poor")})
    found = paired_difference([*cells, dull], "good", "poor", "roc_auc", draws=50)
    assert found.n_cells == 2


# --- the rest ---------------------------------------------------------------------------------


def test_signed_rank() -> None:
    values = np.array([0.3, -0.1, 0.25, 0.4, 0.05, 0.6, 0.0])
    assert signed_rank_p(values) == pytest.approx(wilcoxon(values[:6], method="exact").pvalue)
    # Six values, sum of negative ranks 2: 2 x 3 / 64.
    assert signed_rank_p(values) == pytest.approx(2 * 3 / 64)
    assert np.isnan(signed_rank_p(values[:4]))
    assert signed_rank_p(np.zeros(6)) == 1.0


def test_share_not_worse() -> None:
    assert share_not_worse([0.1, -0.01, -0.02, -0.5, np.nan], 0.02) == 0.75
    assert np.isnan(share_not_worse([], 0.02))


def test_aurc_by_hand() -> None:
    correct = np.array([True, True, False, True])
    # Risks 0, 0, 1/3, 1/4 in this order.
    assert aurc(correct, np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx((1 / 3 + 1 / 4) / 4)
    assert aurc(correct, np.zeros(4)) == pytest.approx(0.25)
    assert np.isnan(aurc(np.zeros(0, dtype=bool), np.zeros(0)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=30))
def test_aurc_of_ties_is_the_mean_over_orders(rows: list[tuple[bool, int]]) -> None:
    correct, score = (np.array(column) for column in zip(*rows, strict=True))
    rng = np.random.default_rng(0)
    orders = [aurc(correct, score + 1e-3 * rng.random(len(rows))) for _ in range(300)]
    spread = float(np.std(orders))
    assert aurc(correct, score.astype(float)) == pytest.approx(
        np.mean(orders), abs=6 * spread / np.sqrt(300) + 1e-9
    )
