"""An audit for people: the strongest attack of each kind."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fluid.partner.audit.exports import RELEASED
from fluid.partner.audit.results import (
    FAIL,
    PASS,
    RETRAINED,
    AttackResult,
    AuditReport,
    Target,
)
from fluid.partner.audit.statistics import Interval, OperatingPoint

HEADER = (
    "task", "channel", "rest known", "export", "class", "strongest", "ROC-AUC",
    "TPR at 1% FPR", "at 0.1%", "epsilon at least", "of",
)  # fmt: skip


def strongest(attacks: Sequence[AttackResult]) -> list[tuple[AttackResult, int]]:
    """Of each target and class the attack with the highest AUC, and how many there were."""
    groups: dict[tuple[Target, str], list[AttackResult]] = {}
    for attack in attacks:
        if math.isfinite(attack.auc.value):
            groups.setdefault((attack.target, attack.of_class), []).append(attack)
    return [(max(each, key=lambda a: a.auc.value), len(each)) for each in groups.values()]


def table_rows(report: AuditReport) -> list[list[str]]:
    """Rows of the table under `HEADER`; AUC of what is released with simultaneous intervals."""
    rows = []
    for attack, number in strongest(report.attacks):
        auc = report.simultaneous(attack) if attack.target.export in RELEASED else attack.auc
        rows.append(
            [
                attack.target.task, attack.target.channel, f"{attack.target.known:.0%}",
                attack.target.export, attack.of_class, attack.name, _show(auc, 3),
                _point(attack.at_1), _point(attack.at_01), f"{attack.epsilon_low:.2f}",
                str(number),
            ]
        )  # fmt: skip
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
    """What the table says, in sentences."""
    said = []
    influence = report.influence
    if influence.get("tried"):
        same = influence["tried"] - influence["rows_changed"]
        moved = ", ".join(
            f"{name}: {found['moved']:g} other rows move, predictions by up to {found['largest']:g}"
            for name, found in influence["tasks"].items()
        )
        said.append(
            f"{influence['overlap']} public compounds are private too. Trained again without one "
            f"of them, its own row stays the same in {same} of {influence['tried']} ({moved})."
        )
    else:
        said.append(f"{influence.get('overlap', 0)} public compounds are private too; none tried.")
    for found in report.distribution:
        said.append(
            f"{found['task']}, {found['export']} export: the mean of the private labels is guessed "
            f"with error {found['error']:g}, without it {found['naive_error']:g} "
            f"(ratio {found['ratio']:g} [{found['ratio_low']:g}, {found['ratio_high']:g}])."
        )
    said.append(
        f"ROC-AUC of what is released has intervals that hold for all {report.n_tests} attacks on "
        "it at once (Bonferroni, 95%); TPR has Clopper-Pearson intervals, * where it is above "
        "chance. 'of' counts the attacks of which the strongest is shown."
    )
    for one in report.channels():
        if one["above_chance"]:
            told = "; the federation only asks to be told" if one["allowed"] >= 1.0 else ""
            said.append(
                f"NOT CLOSED, {one['channel']}: {one['above_chance']} of {one['attacks']} attacks "
                f"are surely above chance, the strongest at ROC-AUC {one['highest_auc']:.3f}{told}."
            )
    allowed = report.thresholds
    bound = f"own rows and metadata {allowed.max_auc:g}, neighbours and '{RETRAINED}' " + (
        "reported only" if allowed.max_neighbour_auc >= 1.0 else f"{allowed.max_neighbour_auc:g}"
    )
    words = {
        PASS: "pass: every interval lies below the federation's threshold",
        FAIL: "FAIL: an attack is above chance and above the federation's threshold",
    }
    undecided = (
        "undecided: no attack is above the threshold, but some interval is; try more --shadows"
    )
    said.append(f"verdict: {words.get(report.verdict, undecided)} ({bound}).")
    return said
