"""What an audit found: attacks, the influence of single compounds, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fluid.learn.task import Task
from fluid.partner.audit.exports import RELEASED
from fluid.partner.audit.statistics import (
    Interval,
    OperatingPoint,
    Ranking,
    epsilon_lower_bound,
    holm,
    rank_members,
    true_positives_at,
)

SCHEMA = "fluid.audit/1"
# The usual confidence, for every interval of a report.
LEVEL = 0.95
# Channels.
OWN_ROW, METADATA = "own row", "metadata"
NEIGHBOUR_ROWS, NEIGHBOUR_METADATA = "neighbours", "neighbours' metadata"
ALL_PUBLIC, RETRAINED = "neighbours, all public", "retrained"
# The channels that cross-fitting closes; it cannot close the others.
CLOSED = (OWN_ROW, METADATA)
PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"


@dataclass(frozen=True)
class AttackCase:
    """Which columns were attacked, and by whom.

    Attributes
    ----------
    task, channel, export
        Columns of a task, through a channel, of the actual export, of that and the release before
        it, or of the unprotected one.
    known
        Share of the private data that the attacker knows: the probability with which a compound
        is in the training data of a shadow teacher.
    """

    task: str
    channel: str
    export: str
    known: float


@dataclass(frozen=True)
class AttackResult:
    """How well one attack finds members.

    Attributes
    ----------
    case, name, of_class
        The columns attacked, by which attack, and compounds of which class: ``"all"``,
        ``"minority"`` or ``"majority"``.
    n_in, n_out
        Members and non-members, each counted in every shadow teacher.
    auc
        ROC-AUC with its 95% interval.
    p_value
        One-sided, of "no better than chance"; NaN if there was nothing to attack.
    at_1, at_01
        True positive rate at 1% and at 0.1% false positives.
    epsilon_low
        Lower bound on epsilon that the attack proves, at 95%.
    error
        Standard error of the AUC.
    """

    case: AttackCase
    name: str
    of_class: str
    n_in: int
    n_out: int
    auc: Interval
    p_value: float
    at_1: OperatingPoint
    at_01: OperatingPoint
    epsilon_low: float
    error: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values; what is not defined is null."""
        found: dict[str, Any] = {
            "task": self.case.task,
            "channel": self.case.channel,
            "name": self.name,
            "export": self.case.export,
            "class": self.of_class,
            "known": self.case.known,
            "n_in": self.n_in,
            "n_out": self.n_out,
            "p": _number(self.p_value, 6),
            "epsilon_low": _number(self.epsilon_low),
        }
        found |= _interval("auc", self.auc) | {"auc_error": _number(self.error, 6)}
        for name, point in (("at_1", self.at_1), ("at_01", self.at_01)):
            found |= _interval(f"tpr_{name}", point.tpr) | _interval(f"fpr_{name}", point.fpr)
            found[f"chance_{name}"] = point.is_chance
        return found


def _interval(name: str, interval: Interval) -> dict[str, float | None]:
    return {
        name: _number(interval.value, 5),
        f"{name}_low": _number(interval.low, 5),
        f"{name}_high": _number(interval.high, 5),
    }


def _number(value: float, digits: int = 4) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def classes_of(task: Task, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of the classes that attacks are judged by, shape (n,) each.

    The minority is the rarest class, the majority all others. Regression has no classes.
    """
    everybody = np.ones(len(labels), dtype=bool)
    if not task.is_classification or not len(labels):
        return {"all": everybody}
    counts = np.bincount(labels.astype(np.int64), minlength=max(2, len(task.classes)))
    rare = labels == int(np.argmin(counts))
    return {"all": everybody, "minority": rare, "majority": ~rare}


def judge(
    case: AttackCase,
    name: str,
    scores: np.ndarray,
    inside: np.ndarray,
    classes: dict[str, np.ndarray],
    delta: float,
    cluster: np.ndarray | None = None,
) -> Iterator[AttackResult]:
    """Results of one attack by class.

    Parameters
    ----------
    case, name
        The columns attacked, and the attack.
    scores, inside
        Shape (S, n): score and membership of compound x in shadow teacher t; a NaN score is left
        out.
    classes
        Masks of shape (n,) by class.
    delta
        The delta of the bound on epsilon.
    cluster
        Scores with one number here are not independent, shape (S, n); by default those of each
        compound.
    """
    if cluster is None:
        cluster = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    for of_class, chosen in classes.items():
        kept = np.isfinite(scores) & chosen[None, :]
        values, member = scores[kept], inside[kept]
        ranking = rank_members(values, member, cluster[kept])
        yield AttackResult(
            case,
            name,
            of_class,
            n_in=int(member.sum()),
            n_out=int((~member).sum()),
            auc=ranking.interval(LEVEL),
            p_value=ranking.p_value,
            at_1=true_positives_at(values, member, 0.01),
            at_01=true_positives_at(values, member, 0.001),
            epsilon_low=epsilon_lower_bound(values, member, delta),
            error=ranking.error,
        )


@dataclass(frozen=True)
class Thresholds:
    """What the federation allows.

    Attributes
    ----------
    max_auc
        Highest AUC of attacks on a compound's own row and metadata.
    max_neighbour_auc
        Highest AUC of attacks on the rows of its analogues, and on the difference of releases.
    """

    max_auc: float
    max_neighbour_auc: float

    def of(self, channel: str) -> float:
        """The threshold of a channel."""
        return self.max_auc if channel in CLOSED else self.max_neighbour_auc


@dataclass(frozen=True)
class AuditReport:
    """The result of an audit.

    Attributes
    ----------
    identity
        Partner, protocol, teacher, draft: what was audited.
    settings
        How it was audited.
    thresholds
        What the policy allows.
    attacks
        In the order in which they were made.
    influence
        By task: what changes if the teacher is trained without a compound that is public too.
    distribution
        How well the balance of classes can be estimated.
    checks
        Results of other checks by name.
    """

    identity: dict[str, Any]
    settings: dict[str, Any]
    thresholds: Thresholds
    attacks: Sequence[AttackResult]
    influence: dict[str, Any] = field(default_factory=dict)
    distribution: Sequence[dict[str, Any]] = ()
    checks: dict[str, Any] = field(default_factory=dict)

    def adjusted(self) -> list[float]:
        """P-values of the attacks on what is released, adjusted for their number (Holm).

        NaN for others: attacks on the unprotected export are made for comparison.
        """
        return holm([a.p_value if a.case.export in RELEASED else math.nan for a in self.attacks])

    @property
    def n_tests(self) -> int:
        """Attacks on what is released that were possible."""
        return sum(a.case.export in RELEASED and math.isfinite(a.p_value) for a in self.attacks)

    def simultaneous(self, attack: AttackResult) -> Interval:
        """AUC with an interval that holds for all attacks on what is released at once.

        Bonferroni: each at 1 - 0.05 / their number.
        """
        level = 1.0 - (1.0 - LEVEL) / max(1, self.n_tests)
        return Ranking(attack.auc.value, attack.error).interval(level)

    @property
    def verdict(self) -> str:
        """``"pass"``, ``"fail"`` or ``"undecided"``.

        Fail: the AUC of some attack on what is released is above its threshold, and surely above
        chance. Undecided: no attack fails, but some interval reaches above the threshold.
        """
        if self.influence.get("rows_changed", 0) or self.checks_failed:
            return FAIL
        verdict = PASS
        for attack in self.attacks:
            if attack.case.export not in RELEASED or not math.isfinite(attack.auc.value):
                continue
            allowed = self.thresholds.of(attack.case.channel)
            bounds = self.simultaneous(attack)
            if attack.auc.value > allowed and bounds.low > 0.5:
                return FAIL
            if bounds.high > allowed:
                verdict = UNDECIDED
        return verdict

    def channels(self) -> list[dict[str, Any]]:
        """By channel of what is released: how many attacks succeed, whatever the policy allows.

        Returns
        -------
        list of dict
            ``channel``, ``attacks`` that were possible, ``above_chance``: how many have an interval
            above 0.5 (the one that holds for all at once), ``highest_auc``, and ``allowed``.
        """
        found: dict[str, dict[str, Any]] = {}
        for attack in self.attacks:
            if attack.case.export not in RELEASED or not math.isfinite(attack.auc.value):
                continue
            channel = attack.case.channel
            allowed = self.thresholds.of(channel)
            start = {"channel": channel, "attacks": 0, "above_chance": 0, "highest_auc": 0.0}
            one = found.setdefault(channel, start | {"allowed": allowed})
            one["attacks"] += 1
            one["above_chance"] += int(self.simultaneous(attack).low > 0.5)
            one["highest_auc"] = max(one["highest_auc"], round(attack.auc.value, 5))
        return list(found.values())

    @property
    def checks_failed(self) -> bool:
        """Whether one of the other checks failed."""
        return any(not found.get("passed", True) for found in self.checks.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        attacks = []
        for attack, p in zip(self.attacks, self.adjusted(), strict=True):
            bounds = self.simultaneous(attack)
            attacks.append(
                attack.to_dict()
                | {
                    "p_holm": _number(p, 6),
                    "auc_low_all": _number(bounds.low, 5),
                    "auc_high_all": _number(bounds.high, 5),
                }
            )
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "threshold": self.thresholds.max_auc,
            "threshold_neighbours": self.thresholds.max_neighbour_auc,
            **self.identity,
            "settings": self.settings,
            "channels": self.channels(),
            "attacks": attacks,
            "influence": self.influence,
            "distribution": list(self.distribution),
            "checks": self.checks,
        }
