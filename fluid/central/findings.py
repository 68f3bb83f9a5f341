"""Findings of a round: what a coordinator should look at before the student is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fluid.central.consensus import Verdicts
from fluid.learn.reliability import TRUSTED
from fluid.learn.task import Task
from fluid.soft_labels.pooled import PooledSet, pooling_weight
from fluid.soft_labels.teacher_labels import TeacherLabels

# Of the weight in a task, and of the labelled compounds.
_NEARLY_ALL = 0.95


@dataclass(frozen=True)
class Finding:
    """Something that an honest round does not show.

    Attributes
    ----------
    kind
        ``"partner"``: a partner's labels do not agree with what it states, see
        `fluid.central.consensus`. ``"copies"``: two partners say nearly the same. ``"opposed"``:
        two contradict each other, and who is wrong is open. ``"weight"``: one partner has nearly
        all the weight. ``"domain"``: nearly every public compound is known.
    task
        Its name.
    partners
        Whom it is about; empty if it is nobody in particular.
    text
        One sentence.
    """

    kind: str
    task: str
    partners: tuple[str, ...]
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        return asdict(self) | {"partners": list(self.partners)}


class Shares:
    """Each partner's share of the weight in a task, compounds counting by squared reliability."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._sums: dict[str, dict[str, float]] = {task.name: {} for task in tasks}
        self._totals = dict.fromkeys(self._sums, 0.0)

    def add(self, labels: Mapping[str, Mapping[str, TeacherLabels]]) -> None:
        """Add a chunk of labels by partner and task, as they are pooled."""
        for task, sums in self._sums.items():
            here = {name: by[task].reliability for name, by in labels.items() if task in by}
            if not here:
                continue
            reliability = np.stack(list(here.values()))
            weight = pooling_weight(reliability)
            total = weight.sum(axis=0)
            counts = np.nan_to_num(reliability.astype(np.float64)).max(axis=0) ** 2
            shares = weight / np.where(total > 0.0, total, 1.0) @ counts
            self._totals[task] += float(counts.sum())
            for name, share in zip(here, shares, strict=True):
                sums[name] = sums.get(name, 0.0) + float(share)

    def of(self, task: str) -> dict[str, float]:
        """By partner, in [0, 1]."""
        total = self._totals[task]
        return {name: value / total for name, value in self._sums[task].items()} if total else {}


def find(
    tasks: Sequence[Task], verdicts: Mapping[str, Verdicts], shares: Shares, pooled: PooledSet
) -> list[Finding]:
    """All findings of a round, by task."""
    return [
        one
        for task in tasks
        for one in (
            *_of_partners(task.name, verdicts[task.name]),
            *_of_pool(task.name, shares.of(task.name), pooled),
        )
    ]


def _of_partners(task: str, verdicts: Verdicts) -> Iterator[Finding]:
    for name, found in verdicts.partners.items():
        if found.flagged:
            fate = " (left out)" if found.trust == 0.0 else ""
            text = f"task {task}, partner {name}{fate}: {found.reason}"
            yield Finding("partner", task, (name,), text)
    for pair in verdicts.copies:
        text = (
            f"task {task}, partners {' and '.join(pair)}: their labels or reliabilities are nearly "
            "the same; one repeats the other, or they hold the same data"
        )
        yield Finding("copies", task, pair, text)
    for pair in verdicts.opposed:
        text = (
            f"task {task}, partners {' and '.join(pair)}: contradict each other, and who is wrong "
            "is open; the student of this task should not be used before they have been asked"
        )
        yield Finding("opposed", task, pair, text)


def _of_pool(task: str, shares: Mapping[str, float], pooled: PooledSet) -> Iterator[Finding]:
    for name, share in shares.items():
        if share >= _NEARLY_ALL and len(shares) > 1:
            text = f"task {task}: partner {name} has {share:.0%} of the weight"
            yield Finding("weight", task, (name,), text)
    labels = pooled.labels[task]
    labelled = labels.teachers > 0
    if labelled.any():
        share = float((labels.reliability[labelled] >= TRUSTED).mean())
        if share >= _NEARLY_ALL:
            text = (
                f"task {task}: teachers know {share:.0%} of the public compounds, which is seldom "
                "true; the student's domain will say nothing"
            )
            yield Finding("domain", task, (), text)
