"""Label the public set by noisy votes of sub-teachers: every label has passed the noise.

Uncertainties are withheld and the reliability is a constant of the federation: both would be made
of private data, and would have to be paid for. A label is missing where the plan did not ask, or
where a noisy check failed that was paid for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from fluid.base.errors import MismatchError
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.exchange.noise_mechanism import Mechanism
from fluid.exchange.public_set import PublicSet
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.storage import load_trained
from fluid.learn.task import Task
from fluid.partner.disclosure_guard import disclose
from fluid.partner.dp.budget import Plan, rank_queries
from fluid.partner.dp.noise import exact, from_grid, to_grid
from fluid.partner.dp.pate import (
    ABSTAINS,
    GRID,
    SUB_TEACHERS,
    SubTeachers,
    confident_gnmax,
    count_votes,
    noisy_means,
)
from fluid.partner.teacher.folder import TeacherFolder
from fluid.soft_labels.teacher_labels import TeacherLabels


class PateLabeler:
    """Noisy votes of a teacher's sub-teachers; a `fluid.partner.labeler.Labeler`.

    It must be asked about the chunks of the public set once, in order.

    Parameters
    ----------
    federation
        Its mechanism draws the noise; the guard keeps to its policy, and to the partner's own.
    sub_teachers
        The voters.
    ranks
        int64, one for each public compound: its place in the order of queries, see `rank_queries`.
    plan
        How many compounds may be asked and answered, by task; without one nothing is asked.
    """

    def __init__(
        self,
        federation: Federation,
        sub_teachers: SubTeachers,
        ranks: np.ndarray,
        plan: Plan | None = None,
    ) -> None:
        self.federation = federation
        self.sub_teachers = sub_teachers
        self.ranks = ranks
        self.plan = plan
        self._budget = dict(plan.asked) if plan else {}
        self._done = 0
        self._asked = dict.fromkeys(self._budget, 0)
        self._answered = dict.fromkeys(self._budget, 0)

    @classmethod
    def open(cls, teacher: TeacherFolder, federation: Federation, public: PublicSet) -> PateLabeler:
        """Load a teacher's sub-teachers, and rank the compounds of a public set.

        Raises
        ------
        MismatchError
            If the teacher has no sub-teachers, or another number than the federation asks for.
        """
        sub_teachers = load_sub_teachers(teacher.path, federation.mechanism)
        keys = [key for chunk in public.chunks() for key in chunk.inchikeys]
        ranks = rank_queries(keys, f"{public.digest} {teacher.partner} ")
        return cls(federation, SubTeachers(sub_teachers, teacher.secret), ranks)

    def within(self, plan: Plan | None) -> Self:
        """See `fluid.partner.labeler.Labeler.within`."""
        return type(self)(self.federation, self.sub_teachers, self.ranks, plan)

    def label(self, compounds: Compounds, jobs: int = 1) -> dict[str, TeacherLabels]:
        """See `fluid.partner.labeler.Labeler.label`."""
        ranks = self.ranks[self._done : self._done + len(compounds)]
        order = np.argsort(ranks, kind="stable")
        asked = order[ranks[order] < max(self._budget.values(), default=0)]
        votes = self.sub_teachers.predict(compounds.take(asked), jobs) if len(asked) else {}
        labels = {}
        for task in self.federation.tasks:
            prediction = np.full((len(compounds), len(task.outputs)), np.nan)
            if task.name in self._budget and len(asked):
                # The compounds that this task asks about come first.
                here = asked[ranks[asked] < self._budget[task.name]]
                most = self._allowance(task.name, len(here))
                answers = self._answer(task, votes[task.name][: len(here)], most)
                prediction[here[: len(answers)]] = answers
            labels[task.name] = self._disclose(task, prediction)
        self.recall(labels)
        return labels

    def recall(self, labels: Mapping[str, TeacherLabels]) -> None:
        """See `fluid.partner.labeler.Labeler.recall`."""
        size = len(next(iter(labels.values())).reliability)
        ranks = self.ranks[self._done : self._done + size]
        for name, asked in self._budget.items():
            self._asked[name] += int((ranks < asked).sum())
            self._answered[name] += int(np.isfinite(labels[name].reliability).sum())
        self._done += size

    def _allowance(self, task: str, here: int) -> int:
        """Answers for this chunk: its share of all, plus what earlier chunks did not use."""
        assert self.plan is not None
        share = (self._asked[task] + here) / max(self._budget[task], 1)
        return math.floor(self.plan.answered[task] * share + 1e-9) - self._answered[task]

    def _answer(self, task: Task, votes: np.ndarray, most: int) -> np.ndarray:
        """Noisy predictions of shape (n, n_outputs), NaN where there is no answer."""
        if task.is_classification:
            return voted(task, self.federation.mechanism, votes, most)
        return averaged(task, self.federation.mechanism, votes[:most])

    def _disclose(self, task: Task, prediction: np.ndarray) -> TeacherLabels:
        constant = np.full(len(prediction), self.federation.mechanism.reliability)
        withheld = np.full(prediction.shape, np.nan)
        labels = OwnFoldLabels(prediction, withheld, constant, constant)
        return disclose(task, self.federation.in_force, labels, self.federation.policy)


def voted(task: Task, mechanism: Mechanism, predictions: np.ndarray, most: int) -> np.ndarray:
    """The winner of a noisy vote with the mechanism's confidence, NaN where there is no answer.

    Parameters
    ----------
    task, mechanism
        The task, and the noise.
    predictions
        Shape (n, n_sub_teachers, n_outputs); see `fluid.partner.dp.pate.SubTeachers.predict`.
    most
        How many may be answered.
    """
    votes = count_votes(task, predictions)
    winner = confident_gnmax(votes, mechanism.sub_teachers - 1, mechanism, most)
    others = (1.0 - mechanism.confidence) / (votes.shape[1] - 1)
    stated = np.where(winner[:, None] == np.arange(votes.shape[1]), mechanism.confidence, others)
    stated[winner == ABSTAINS] = np.nan
    return stated[:, 1:] if task.kind == "binary" else stated


def averaged(task: Task, mechanism: Mechanism, predictions: np.ndarray) -> np.ndarray:
    """Noisy mean of clipped predictions, shape (n, 1); see `voted`.

    A sub-teacher without a prediction counts as the middle of the range.
    """
    low, high = mechanism.bounds(task)
    voters = mechanism.sub_teachers - 1
    known = np.isfinite(predictions[:, :, 0])
    points = to_grid(np.where(known, predictions[:, :, 0], (low + high) / 2.0), low, high, GRID)
    # The compound's own sub-teacher has no vote: it counts as the middle, which is subtracted.
    total = points.sum(axis=1) - GRID // 2
    means = noisy_means(total, voters, exact(mechanism.sigma))
    return from_grid(means, low, high, GRID)[:, None]


def load_sub_teachers(folder: Path, mechanism: Mechanism) -> TrainedModel:
    """The sub-teachers in a teacher's folder.

    Raises
    ------
    MismatchError
        If there are none, or another number than the federation asks for.
    """
    place = folder / SUB_TEACHERS
    if not place.is_dir():
        raise MismatchError(f"{folder}: holds no sub-teachers; train the teacher again")
    model = load_trained(place, "teacher")
    number = model.card.training.get("sub_teachers")
    if number != mechanism.sub_teachers:
        raise MismatchError(
            f"{place}: holds {number} sub-teachers, the federation asks for "
            f"{mechanism.sub_teachers}; train the teacher again"
        )
    return model


def noise_statement(plan: Plan, mechanism: Mechanism) -> dict[str, Any]:
    """The noise as an annotation's manifest states it: settings, queries, and their cost."""
    return {"settings": mechanism.to_dict()} | plan.to_dict()
