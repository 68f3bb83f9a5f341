"""The report of a round: its entries on partners and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fluid.central.consensus import Agreement, Verdicts
from fluid.central.student import FEWEST_COMPOUNDS, Distilled
from fluid.exchange.annotation import AnnotationFile
from fluid.learn.reliability import TRUSTED
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PoolingResult
from fluid.soft_labels.teacher_labels import TeacherLabels


class Tally:
    """Counts labels, chunk by chunk: each partner's as it states them, all as they are pooled."""

    def __init__(self, tasks: Sequence[Task], partners: Sequence[str]) -> None:
        self.tasks = tasks
        self.labelled = {name: dict.fromkeys((t.name for t in tasks), 0) for name in partners}
        self.known = {name: dict.fromkeys((t.name for t in tasks), 0) for name in partners}
        # How many compounds are known to 0, 1, 2, ... partners.
        self.inside = {task.name: np.zeros(len(partners) + 1, dtype=np.int64) for task in tasks}

    def add(self, labels: dict[str, dict[str, TeacherLabels]]) -> None:
        """Count what partners state, by partner and task."""
        for partner, by_task in labels.items():
            for task, one in by_task.items():
                self.labelled[partner][task] += int(np.isfinite(one.reliability).sum())
                self.known[partner][task] += int(_is_known(one).sum())

    def add_pooled(self, labels: dict[str, dict[str, TeacherLabels]], n: int) -> None:
        """Count how many partners know each of n compounds, by what they are trusted with."""
        for task in self.tasks:
            known = [_is_known(by[task.name]) for by in labels.values() if task.name in by]
            inside = np.sum(known, axis=0, dtype=np.int64) if known else np.zeros(n, dtype=np.int64)
            self.inside[task.name] += np.bincount(inside, minlength=len(labels) + 1)


def _is_known(labels: TeacherLabels) -> np.ndarray:
    return np.nan_to_num(labels.reliability) >= np.float32(TRUSTED) - np.float32(1e-6)


def too_few(n_labelled: int) -> str:
    """The reason why a task is not distilled."""
    return (
        f"{n_labelled} public compounds have a pooled label, {FEWEST_COMPOUNDS} are needed; the "
        "student does not predict it"
    )


def report_partners(
    admitted: Sequence[AnnotationFile],
    tally: Tally,
    verdicts: Mapping[str, Verdicts],
) -> dict[str, dict[str, Any]]:
    """Counts of each partner's labels, and how they agree with the others'."""
    return {
        annotation.partner: {
            "digest": annotation.sealed.digest,
            "labelled": tally.labelled[annotation.partner],
            "inside_domain": tally.known[annotation.partner],
            "agreement": {
                task: _describe(found.partners[annotation.partner])
                for task, found in verdicts.items()
                if annotation.partner in found.partners
            },
        }
        for annotation in admitted
    }


def _describe(found: Agreement) -> dict[str, Any]:
    """An agreement as plain values."""

    def number(value: float) -> float | None:
        return round(value, 3) if np.isfinite(value) else None

    return {
        "support": number(found.support),
        "error": number(found.error),
        "stated": number(found.stated),
        "allowed": number(found.allowed),
        "offset": number(found.offset),
        "trust": found.trust,
        "flagged": found.flagged,
        "reason": found.reason,
    }


def report_task(
    task: Task, pooled: PoolingResult, distilled: Distilled | None, tally: Tally
) -> dict[str, Any]:
    """Quantiles of the pooled labels, and how much of the public set teachers knew."""
    inside = tally.inside[task.name]
    labels = pooled.labels
    known = np.isfinite(labels.label).all(axis=1)
    if distilled is None:
        n_labelled = int(known.sum())
        return {"kind": task.kind, "labelled": n_labelled, "skipped": too_few(n_labelled)}
    most = max(1, int(np.flatnonzero(inside).max(initial=0)))
    share = {
        f"{count} or more": round(float(inside[count:].sum() / inside.sum()), 4)
        for count in range(1, most + 1)
    }
    quantiles = np.quantile(labels.label[known], [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    return {
        "kind": task.kind,
        "labelled": distilled.n_labelled,
        "references": distilled.n_references,
        "fidelity": round(distilled.fidelity, 4),
        "threshold": round(distilled.model.threshold, 4),
        "inside_domain_of_teachers": share,
        "pooled_label_quantiles": np.round(quantiles.astype(float), 4).tolist(),
        "twicing" if pooled.base is None else "twicing_of_residuals": (
            distilled.twicing.to_dict() if distilled.twicing else None
        ),
        "mean_disagreement": round(float(labels.disagreement[known].mean()), 4),
    }
