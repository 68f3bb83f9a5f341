"""What an annotation gives away and what not, for a person who has to agree to it."""

from __future__ import annotations

from typing import Any

from fluid.exchange.annotation import AnnotationFile
from fluid.exchange.federation import Federation
from fluid.exchange.policy import SHAREABLE, DisclosurePolicy
from fluid.exchange.strictness import looser_than
from fluid.learn.folds import BY_FRAMEWORK
from fluid.learn.task import Task
from fluid.partner.release.approve import Audit
from fluid.partner.release.ledger import Ledger
from fluid.partner.release.ledger_file import APPROVED, FINISHED

_SETTINGS = {
    "folds_by": "what a label is never learned from: the compound, or all of its framework",
    "probability_step": "probabilities are rounded to multiples of this",
    "probability_clip": "probabilities are clipped to [clip, 1 - clip]",
    "value_step": "predicted numbers are rounded to multiples of this, in the task's unit",
    "uncertainty_step": "uncertainties are rounded to multiples of this",
    "reliability_step": "reliabilities are rounded to multiples of this",
    "neighbourhood": "training compounds behind each figure that comes from similarity",
    "abstain_below": "compounds of lower reliability get no label; 0: all get one",
    "share": "what is shared in addition to the labels",
    "coverage_step": "counts of coverage reports are rounded to multiples of this",
    "coverage_minimum": "counts of coverage reports below this are reported as 0",
    "max_releases": "how often the teacher may label a public set",
    "max_queries": "how many compounds it may label in all releases together",
    "audit_max_auc": "highest ROC-AUC that an audit may find for attacks on a compound's own row",
    "audit_max_neighbour_auc": "the same for attacks on the rows of its neighbours; 1: any",
}
_SHARED = {
    "training-size": "number of training compounds",
    "metrics": "out-of-fold metrics",
    "prevalence": "share of each class in the training data",
    "coverage": "how many private compounds lie near clusters of public ones",
}


def describe_disclosure(
    annotation: AnnotationFile,
    columns: list[dict[str, Any]],
    federation: Federation | None = None,
    ledger: Ledger | None = None,
    audit: Audit | None = None,
) -> dict[str, Any]:
    """What the reader of an annotation learns, in plain values.

    Parameters
    ----------
    annotation
        The file.
    columns
        Its columns with range and missing values, see `fluid.report.inspect`. The result has them
        with their units and what the policy allows.
    federation
        The contract, to compare the policy with.
    ledger
        Of the teacher that made it, for the budget.
    audit
        The result of an audit of it.
    """
    found: dict[str, Any] = {
        "columns": [_with_limits(annotation, column) for column in columns],
        "partner": annotation.partner,
        "federation": annotation.sealed.manifest.get("federation"),
        "round": annotation.sealed.manifest.get("round"),
        "tasks": [_describe_task(annotation, task, columns) for task in annotation.tasks],
        "withheld": _withheld(annotation, columns),
        "policy": _describe_policy(annotation.policy, federation),
        "budget": _describe_budget(annotation, ledger),
        "base_student": annotation.base_student,
        "noise": annotation.sealed.manifest.get("noise"),
        "shared": annotation.sealed.manifest.get("shared"),
    }
    if audit is not None:
        found["audit"] = audit.values | {"digest": audit.digest}
    return found


def _with_limits(annotation: AnnotationFile, column: dict[str, Any]) -> dict[str, Any]:
    """A column with its unit, the values that the policy allows, and the share of missing ones."""
    unit, allowed = _limits(annotation, str(column["name"]))
    share = column["missing"] / max(1, annotation.sealed.n_rows)
    return column | {"unit": unit, "allowed": allowed, "missing_share": share}


def _limits(annotation: AnnotationFile, name: str) -> tuple[str, str]:
    """Unit of a column, and the values that the policy allows."""
    policy = annotation.policy
    if name == "inchikey":
        return "", "as in the public set"
    for task in annotation.tasks:
        unit = "probability" if task.is_classification else task.unit or "of the task"
        low, high = policy.probability_bounds if task.is_classification else task.bounds
        step = policy.prediction_step(task.is_classification)
        for output in task.outputs:
            if name == f"{output}.prediction":
                return unit, f"{low:g} to {high:g} in steps of {step:g}"
            if name == f"{output}.uncertainty":
                return unit, f"0 or more in steps of {policy.uncertainty_step:g}"
        if name == f"{task.name}.reliability":
            lowest = f"{policy.abstain_below:g}"
            return "share of variance", f"{lowest} to 1 in steps of {policy.reliability_step:g}"
    return "", ""


def _describe_task(
    annotation: AnnotationFile, task: Task, columns: list[dict[str, Any]]
) -> dict[str, Any]:
    abstained = _count_abstained(task, columns)
    return {
        "name": task.name,
        "kind": task.kind,
        "unit": task.unit,
        "classes": list(task.classes),
        "labelled": annotation.sealed.n_rows - abstained,
        "abstained": abstained,
    }


def _count_abstained(task: Task, columns: list[dict[str, Any]]) -> int:
    """Compounds that have no label of a task."""
    name = f"{task.name}.reliability"
    return next(int(column["missing"]) for column in columns if column["name"] == name)


def _withheld(annotation: AnnotationFile, columns: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What a reader might expect and does not get, each with the reason."""
    policy = annotation.policy
    withheld = [
        ("private structures, names and identifiers", "the file has no column for them"),
        (
            "measurements",
            "the file holds predictions, by models that have not seen the compound",
        ),
        (
            "whether a public compound is in the private data",
            "models trained without its fold label every compound, whether it is private or not; "
            "its effect on the rows of compounds near it is not withheld: an audit measures it",
        ),
        (
            "similarity to private compounds",
            f"only the reliability depends on it, through a mean over {policy.neighbourhood} "
            f"training compounds of other folds, at {policy.reliability_levels} levels",
        ),
        (
            "further digits",
            f"values are rounded: probabilities to {policy.probability_step:g}, numbers to "
            f"{policy.value_step:g}, uncertainties to {policy.uncertainty_step:g}",
        ),
    ]
    if policy.folds_by == BY_FRAMEWORK:
        withheld.append(
            (
                "whether anything with a public compound's ring skeleton is in the private data",
                "models that have seen nothing with its skeleton label every compound; the effect "
                "on the rows of similar skeletons is not withheld",
            )
        )
    for item in SHAREABLE:
        if item not in policy.share:
            withheld.append((_SHARED[item], "the policy does not share it"))
    for task in annotation.tasks:
        abstained = _count_abstained(task, columns)
        if abstained:
            what = f"{task.name} of {abstained:,} compounds"
            withheld.append((what, _why_abstained(policy, abstained, annotation)))
    return [{"what": what, "why": why} for what, why in withheld]


def _why_abstained(policy: DisclosurePolicy, abstained: int, annotation: AnnotationFile) -> str:
    if abstained == annotation.sealed.n_rows:
        return "the partner has no model for this task, or abstains on all compounds"
    reasons = ["too few labels outside a compound's folds"]
    if policy.abstain_below > 0.0:
        reasons.insert(0, f"reliability below {policy.abstain_below:g}")
    return ", or ".join(reasons)


def _describe_policy(
    policy: DisclosurePolicy, federation: Federation | None
) -> list[dict[str, Any]]:
    agreed = federation.policy if federation is not None else None
    settings = []
    for name, value in policy.to_dict().items():
        entry: dict[str, Any] = {
            "setting": name,
            "value": value,
            "meaning": _SETTINGS.get(name, ""),
        }
        if agreed is not None:
            there = agreed.to_dict().get(name)
            entry |= {"federation": there, "stricter": there != value}
        settings.append(entry)
    if agreed is not None and (problem := looser_than(agreed, policy)):
        wrong = {"setting": "WRONG", "value": problem, "meaning": "the coordinator refuses it"}
        settings.append(wrong)
    return settings


def _describe_budget(annotation: AnnotationFile, ledger: Ledger | None) -> dict[str, Any]:
    policy, release = annotation.policy, annotation.release
    found: dict[str, Any] = {
        "ledger": release.ledger,
        "release": release.number,
        "max_releases": policy.max_releases,
        "queries": release.queries,
        "max_queries": policy.max_queries,
    }
    if ledger is not None:
        digest = annotation.sealed.digest
        found |= {
            "ledger_entries": len(ledger.entries),
            "ledger_head": ledger.head,
            "releases_used": ledger.releases,
            "queries_used": ledger.queries,
            "cost": ledger.cost(),
            "entered": ledger.name == release.ledger and bool(ledger.of(FINISHED, digest=digest)),
            "approved": [
                {"time": entry.time, "key": entry.values["key"]}
                for entry in ledger.of(APPROVED, digest=digest)
            ],
        }
    return found
