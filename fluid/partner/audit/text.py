"""An audit for people: the strongest attack of each kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fluid.partner.audit.exports import RELEASED
from fluid.partner.audit.results import (
    FAIL,
    PASS,
    RETRAINED,
    UNDECIDED,
    AttackCase,
    AttackResult,
    AuditReport,
)
from fluid.partner.audit.statistics import Interval, OperatingPoint

HEADER = (
    "task",
    "channel",
    "data known",
    "export",
    "class",
    "strongest",
    "ROC-AUC",
    "TPR at 1% FPR",
    "TPR at 0.1% FPR",
    "epsilon at least",
    "attacks",
)


def strongest(attacks: Sequence[AttackResult]) -> list[tuple[AttackResult, int]]:
    """The attack with the highest AUC in each case and class, and how many were tried."""
    groups: dict[tuple[AttackCase, str], list[AttackResult]] = {}
    for attack in attacks:
        if math.isfinite(attack.auc.value):
            groups.setdefault((attack.case, attack.of_class), []).append(attack)
    return [(max(each, key=lambda a: a.auc.value), len(each)) for each in groups.values()]


def table_rows(report: AuditReport) -> list[list[str]]:
    """Rows of the table under `HEADER`; AUC of what is released with simultaneous intervals."""
    rows = []
    for attack, number in strongest(report.attacks):
        case = attack.case
        auc = report.simultaneous(attack) if case.export in RELEASED else attack.auc
        rows.append(
            [
                case.task,
                case.channel,
                f"{case.known:.0%}",
                case.export,
                attack.of_class,
                attack.name,
                _show(auc, 3),
                _point(attack.at_1),
                _point(attack.at_01),
                f"{attack.epsilon_low:.2f}",
                str(number),
            ]
        )
    return rows


def _show(interval: Interval, digits: int) -> str:
    if not math.isfinite(interval.value):
        return "-"
    return f"{interval.value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _point(point: OperatingPoint) -> str:
    if not math.isfinite(point.tpr.value):
        return "-"
    value, low, high = (100.0 * part for part in (point.tpr.value, point.tpr.low, point.tpr.high))
    return f"{value:.1f}% [{low:.1f}, {high:.1f}]{'' if point.is_chance else ' *'}"


def conclusions(report: AuditReport) -> list[str]:
    """What the table shows, in sentences; the verdict comes last."""
    lines = [_influence_line(report.influence)]
    lines += [
        f"{found['task']}, {found['export']} export: an attacker guesses the mean of the private "
        f"labels with error {found['error']:g}, without the export {found['naive_error']:g} "
        f"(ratio {found['ratio']:g} [{found['ratio_low']:g}, {found['ratio_high']:g}])."
        for found in report.distribution
    ]
    lines.append(
        f"ROC-AUC of released exports has 95% intervals that hold for all {report.n_tests} attacks "
        "at once (Bonferroni). TPR has Clopper-Pearson intervals; * marks a TPR above chance. "
        "'attacks' counts the attacks tried; the table shows the strongest."
    )
    for channel in report.channels():
        if channel["above_chance"]:
            allowed = "; the policy allows this" if channel["allowed"] >= 1.0 else ""
            lines.append(
                f"NOT CLOSED, {channel['channel']}: {channel['above_chance']} of "
                f"{channel['attacks']} attacks are surely above chance, the strongest at ROC-AUC "
                f"{channel['highest_auc']:.3f}{allowed}."
            )
    return [*lines, _verdict_line(report)]


def _influence_line(influence: Mapping[str, Any]) -> str:
    overlap, tried = influence.get("overlap", 0), influence.get("tried")
    if not tried:
        return f"{overlap} public compounds are private too. None was left out to see what changes."
    moved = ", ".join(
        f"{name}: {found['moved']:g} other rows move, predictions by up to {found['largest']:g}"
        for name, found in influence["tasks"].items()
    )
    return (
        f"{overlap} public compounds are private too. The teacher was trained again without one of "
        f"them: its own row stays the same in {tried - influence['rows_changed']} of {tried} "
        f"({moved})."
    )


def _verdict_line(report: AuditReport) -> str:
    allowed = report.thresholds
    neighbours = (
        "reported only" if allowed.max_neighbour_auc >= 1.0 else f"{allowed.max_neighbour_auc:g}"
    )
    meaning = {
        PASS: "pass: every interval lies below the federation's threshold",
        FAIL: f"FAIL: {_why_failed(report)}",
        UNDECIDED: "undecided: no attack is above its threshold, but an interval reaches above it; "
        "try more --shadows",
    }
    return (
        f"verdict: {meaning[report.verdict]} (own rows and metadata {allowed.max_auc:g}, "
        f"neighbours and '{RETRAINED}' {neighbours})."
    )


def _why_failed(report: AuditReport) -> str:
    failed = [name for name, found in report.checks.items() if not found.get("passed", True)]
    reasons = [f"the check '{name}' failed" for name in failed]
    if report.influence.get("rows_changed", 0):
        reasons.insert(0, "a compound's own row depends on whether the compound is private")
    return "; ".join(reasons) or "an attack is above chance and above the federation's threshold"
