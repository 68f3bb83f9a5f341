"""The audit for people."""

from __future__ import annotations

import numpy as np

from fluid.partner.audit.exports import ACTUAL, UNPROTECTED
from fluid.partner.audit.results import (
    NEIGHBOUR_ROWS,
    OWN_ROW,
    AttackCase,
    AttackResult,
    AuditReport,
    Thresholds,
    judge,
)
from fluid.partner.audit.text import HEADER, conclusions, strongest, table_rows
from fluid.report.sections import _audit


def _attacks() -> list[AttackResult]:
    random = np.random.default_rng(0)
    inside = random.random((6, 50)) < 0.5
    noise = random.normal(size=(6, 50))
    everybody = {"all": np.ones(50, dtype=bool)}
    found: list[AttackResult] = []
    for export, name, scores in (
        (ACTUAL, "threshold", noise),
        (ACTUAL, "rmia", noise + 0.1 * inside),
        (UNPROTECTED, "threshold", inside.astype(float)),
    ):
        case = AttackCase("bbb", OWN_ROW, export, 0.5)
        found += judge(case, name, scores, inside, everybody, 0.0)
    return found


def test_table_shows_the_strongest_of_each_kind() -> None:
    attacks = _attacks()
    report = AuditReport({}, {}, Thresholds(0.6, 1.0), attacks)
    rows = table_rows(report)
    assert [(found.name, number) for found, number in strongest(attacks)] == [
        ("rmia", 2),
        ("threshold", 1),
    ]
    assert all(len(row) == len(HEADER) for row in rows)
    assert rows[0][:6] == ["bbb", "own row", "50%", "actual", "all", "rmia"]
    assert rows[1][6].startswith("1.000 [")
    # 150 non-members: enough for 1%, not for 0.1%.
    assert rows[1][7].endswith("*")
    assert rows[1][8] == "-"


def test_intervals_of_the_actual_export_are_wider_than_of_one_attack() -> None:
    attacks = _attacks()
    report = AuditReport({}, {}, Thresholds(0.6, 1.0), attacks)
    one, all_of_them = attacks[0].auc, report.simultaneous(attacks[0])
    assert report.n_tests == 2
    assert all_of_them.low < one.low < one.value < one.high < all_of_them.high


def test_conclusions_say_what_was_tried_and_the_bound() -> None:
    influence = {
        "overlap": 3,
        "tried": 2,
        "rows_changed": 0,
        "tasks": {"bbb": {"moved": 12.5, "largest": 0.07}},
    }
    distribution = [
        {
            "task": "bbb",
            "export": ACTUAL,
            "error": 0.02,
            "naive_error": 0.2,
            "ratio": 0.1,
            "ratio_low": 0.05,
            "ratio_high": 0.2,
        }
    ]
    report = AuditReport({}, {}, Thresholds(0.6, 0.8), [], influence, distribution)
    text = "\n".join(conclusions(report))
    assert "3 public compounds are private too" in text
    assert "its own row stays the same in 2 of 2" in text
    assert "(bbb: 12.5 other rows move, predictions by up to 0.07)" in text
    assert "labels with error 0.02, without the export 0.2 (ratio 0.1 [0.05, 0.2])" in text
    assert "verdict: pass" in text
    assert "neighbours and 'retrained' 0.8" in text


def test_what_is_allowed_and_succeeds_is_said_all_the_same() -> None:
    inside = np.random.default_rng(1).random((6, 50)) < 0.5
    everybody = {"all": np.ones(50, dtype=bool)}
    case = AttackCase("bbb", NEIGHBOUR_ROWS, ACTUAL, 0.5)
    leak = list(judge(case, "rmia", inside.astype(float), inside, everybody, 0.0))
    report = AuditReport({}, {}, Thresholds(0.6, 1.0), [*_attacks(), *leak])
    assert report.verdict != "fail"
    own, near = report.channels()
    assert (own["channel"], own["attacks"], own["above_chance"]) == (OWN_ROW, 2, 0)
    assert (near["channel"], near["attacks"], near["above_chance"]) == (NEIGHBOUR_ROWS, 1, 1)
    text = "\n".join(conclusions(report))
    assert "NOT CLOSED, neighbours: 1 of 1 attacks are surely above chance" in text
    assert "ROC-AUC 1.000; the policy allows this" in text
    assert "NOT CLOSED, own row" not in text
    shown = _audit(report.to_dict())[0]
    assert "neighbours (ROC-AUC up to 1.000)" in shown.note
    assert _audit(AuditReport({}, {}, Thresholds(0.6, 1.0), _attacks()).to_dict())[0].note == ""
