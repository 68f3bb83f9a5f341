"""What an annotation gives away and what not, for a person who has to agree to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fluid.exchange.annotation import AnnotationFile
from fluid.exchange.federation import Federation
from fluid.exchange.policy import SHAREABLE, DisclosurePolicy
from fluid.exchange.sealed import MANIFEST_KEY, SEAL_KEY
from fluid.exchange.strictness import looser_than
from fluid.learn.folds import BY_FRAMEWORK
from fluid.learn.task import Task
from fluid.partner.release.approve import Audit
from fluid.partner.release.ledger import Ledger
from fluid.partner.release.ledger_file import APPROVED, FINISHED

_FOOTER = frozenset({MANIFEST_KEY, SEAL_KEY, "ARROW:schema"})
_SETTINGS = {
    "folds_by": "what no label was learned from: the compound itself, or all of its framework",
    "probability_step": "probabilities are rounded to multiples of this",
    "probability_clip": "probabilities are clipped to [clip, 1 - clip]",
    "value_step": "predicted numbers are rounded to multiples of this, in the task's unit",
    "uncertainty_step": "uncertainties are rounded to multiples of this",
    "reliability_step": "reliabilities are rounded to multiples of this",
    "neighbourhood": "training compounds behind any figure derived from similarity",
    "abstain_below": "a compound of lower reliability is not labelled; 0: all are",
    "share": "what is stated besides the labels",
    "coverage_step": "counts of coverage reports are rounded to multiples of this",
    "coverage_minimum": "counts of coverage reports below this are stated as 0",
    "max_releases": "how often the teacher may label a public set",
    "max_queries": "how many compounds it may label in all of these together",
    "audit_max_auc": "highest ROC-AUC of an attack on a compound's own row that an audit may find",
    "audit_max_neighbour_auc": "the same of attacks on the rows of its neighbours; 1: any",
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
    """What an annotation's reader learns, in plain values.

    Parameters
    ----------
    annotation
        The file.
    columns
        Its columns with range and missing values, see `fluid.report.inspect`; unit and what is
        allowed are added.
    federation
        The contract, to compare the policy with.
    ledger
        Of the teacher that made it, for the budget.
    audit
        What an audit found.
    """
    for column in columns:
        unit, allowed = _limits(annotation, str(column["name"]))
        share = column["missing"] / max(1, annotation.sealed.n_rows)
        column |= {"unit": unit, "allowed": allowed, "missing_share": share}
    found = {
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
        "footer": _footer(annotation.sealed.path),
    }
    if audit is not None:
        found["audit"] = audit.values | {"digest": audit.digest}
    return found


def _limits(annotation: AnnotationFile, name: str) -> tuple[str, str]:
    """Unit of a column, and what its values may be."""
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
    missing = _silent(task, columns)
    return {
        "name": task.name,
        "kind": task.kind,
        "unit": task.unit,
        "classes": list(task.classes),
        "labelled": annotation.sealed.n_rows - missing,
        "silent": missing,
    }


def _silent(task: Task, columns: list[dict[str, Any]]) -> int:
    name = f"{task.name}.reliability"
    return next(int(column["missing"]) for column in columns if column["name"] == name)


def _withheld(annotation: AnnotationFile, columns: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What a reader might expect and does not get, each with the reason."""
    policy = annotation.policy
    told = [
        ("private structures, names and identifiers", "the file has no column for them"),
        (
            "measurements",
            "what is stated are predictions, of models that have not seen the compound",
        ),
        (
            "whether a public compound is in the private data",
            "every compound is labelled as if it were not, by models trained without its fold; "
            "what it does to the rows of other compounds near it is not withheld, see an audit",
        ),
        (
            "similarity to private compounds",
            f"enters the reliability only, as a mean over {policy.neighbourhood} training "
            f"compounds of other folds, at {policy.reliability_levels} levels",
        ),
        (
            "further digits",
            f"values are rounded: probabilities to {policy.probability_step:g}, numbers to "
            f"{policy.value_step:g}, uncertainties to {policy.uncertainty_step:g}",
        ),
    ]
    if policy.folds_by == BY_FRAMEWORK:
        told.append(
            (
                "whether anything with a public compound's ring skeleton is in the private data",
                "every compound is labelled by models that have seen nothing with its skeleton; "
                "rows of other skeletons that are like it are not withheld",
            )
        )
    for item in SHAREABLE:
        if item not in policy.share:
            told.append((_SHARED[item], "the policy does not share it"))
    for task in annotation.tasks:
        missing = _silent(task, columns)
        if missing:
            what = f"{task.name} of {missing:,} compounds"
            told.append((what, _why_silent(policy, missing, annotation)))
    return [{"what": what, "why": why} for what, why in told]


def _why_silent(policy: DisclosurePolicy, missing: int, annotation: AnnotationFile) -> str:
    if missing == annotation.sealed.n_rows:
        return "the partner has no model for this task, or abstains on all compounds"
    reasons = ["too few labels outside a compound's folds"]
    if policy.abstain_below > 0.0:
        reasons.insert(0, f"reliability below {policy.abstain_below:g}")
    return ", or ".join(reasons)


def _describe_policy(
    policy: DisclosurePolicy, federation: Federation | None
) -> list[dict[str, Any]]:
    agreed = federation.policy if federation is not None else None
    told = []
    for name, value in policy.to_dict().items():
        entry: dict[str, Any] = {
            "setting": name,
            "value": value,
            "meaning": _SETTINGS.get(name, ""),
        }
        if agreed is not None:
            there = agreed.to_dict().get(name)
            entry |= {"federation": there, "stricter": there != value}
        told.append(entry)
    if agreed is not None and (problem := looser_than(agreed, policy)):
        told.append({"setting": "WRONG", "value": problem, "meaning": "the coordinator refuses it"})
    return told


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


def _footer(path: Path) -> dict[str, str]:
    """What the file's footer holds besides manifest and seal; nothing, if fluid wrote it."""
    held = pq.read_metadata(path).metadata or {}
    names = {name.decode("utf-8", "backslashreplace"): value for name, value in held.items()}
    return {
        name: value[:200].decode("utf-8", "backslashreplace")
        for name, value in names.items()
        if name not in _FOOTER
    }
