"""Label the public set through a noise mechanism: everything that is said of it has passed noise.

Uncertainties are withheld and the reliability is a constant of the federation: both would be made
of private data, and would have to be paid for. A label is missing where the plan did not ask, or
where a noisy check failed that was paid for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fluid.base.errors import MismatchError
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.exchange.mechanism import LABEL_ONLY, PATE, Mechanism
from fluid.exchange.public_set import PublicSet
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.storage import load_trained
from fluid.learn.task import Task
from fluid.partner.dp.budget import Plan, rank_queries
from fluid.partner.dp.noise import exact, from_grid, gaussian_noise, randomised_response, to_grid
from fluid.partner.dp.pate import (
    ABSTAINS,
    GRID,
    SUB_TEACHERS,
    confident_gnmax,
    count_votes,
    noisy_means,
    predict_each,
    sub_teacher_of,
)
from fluid.partner.guard import disclose
from fluid.soft_labels.teacher_labels import TeacherLabels


class Labeller(Protocol):
    """A teacher that labels compounds by the models of their own folds."""

    def label(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, OwnFoldLabels]:
        """By task; not fit to leave."""
        ...


class Source(Protocol):
    """What a mechanism draws its noise around."""

    def prepare(self, queries: Compounds, jobs: int) -> Mapping[str, np.ndarray]:
        """By task what private data say of n queries, first axis n; may not leave as it is."""
        ...

    def answer(self, task: Task, raw: np.ndarray, most: int) -> np.ndarray:
        """Noisy predictions of shape (n, n_outputs), NaN where there is no answer."""
        ...


class OwnFold:
    """Noise on what the models of compounds' own folds say: label-only and Gaussian.

    Parameters
    ----------
    federation
        Its mechanism decides which.
    labeller
        A cross-fitted teacher.
    """

    def __init__(self, federation: Federation, labeller: Labeller) -> None:
        self.federation = federation
        self.labeller = labeller

    def prepare(self, queries: Compounds, jobs: int) -> Mapping[str, np.ndarray]:
        """See `Source.prepare`; where no fold model exists, the middle of the range."""
        found = self.labeller.label(self.federation, queries, jobs)
        return {
            task.name: _filled(task, self.federation.mechanism, found[task.name].prediction)
            for task in self.federation.tasks
        }

    def answer(self, task: Task, raw: np.ndarray, most: int) -> np.ndarray:
        """See `Source.answer`."""
        mechanism = self.federation.mechanism
        release = label_only if mechanism.kind == LABEL_ONLY else gaussian
        return release(task, mechanism, raw[:most])


class Votes:
    """Noisy votes and means of sub-teachers: PATE.

    Parameters
    ----------
    model, secret
        Of `fluid.partner.dp.pate.fit_sub_teachers`, and the secret of the folds.
    mechanism
        Of the federation.
    """

    def __init__(self, model: TrainedModel, secret: bytes, mechanism: Mechanism) -> None:
        self.model = model
        self.secret = secret
        self.mechanism = mechanism

    def prepare(self, queries: Compounds, jobs: int) -> Mapping[str, np.ndarray]:
        """See `Source.prepare`."""
        number = self.mechanism.sub_teachers
        owner = sub_teacher_of(queries, self.secret, number, self.model.card.folds_by)
        return {
            one.task.name: predict_each(one, self.model.library, queries, owner, number, jobs)
            for one in self.model.task_models
        }

    def answer(self, task: Task, raw: np.ndarray, most: int) -> np.ndarray:
        """See `Source.answer`."""
        if task.is_classification:
            return voted(task, self.mechanism, raw, most)
        return averaged(task, self.mechanism, raw[:most])


class PateLabeler:
    """A teacher ready to label public compounds through the federation's mechanism.

    It must be asked about the chunks of the public set once, in order.

    Parameters
    ----------
    federation
        Its mechanism must be used.
    source
        What noise is drawn around.
    inchikeys
        Of all public compounds.
    salt
        Decides with the plan which of them are asked about; see `rank_queries`.
    plan
        What may be asked, of which tasks.
    """

    def __init__(
        self, federation: Federation, source: Source, inchikeys: Sequence[str], salt: str,
        plan: Plan,
    ) -> None:  # fmt: skip
        self.mechanism = federation.mechanism
        self.source = source
        self.ranks = rank_queries(inchikeys, salt)
        self.plan = plan
        self._done = 0
        self._asked = dict.fromkeys(plan.asked, 0)
        self._answered = dict.fromkeys(plan.asked, 0)

    def annotate(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, TeacherLabels]:
        """What may be said of the next compounds, by task of the federation."""
        ranks = self.ranks[self._done : self._done + len(compounds)]
        order = np.argsort(ranks, kind="stable")
        asked = order[ranks[order] < max(self.plan.asked.values(), default=0)]
        raw = self.source.prepare(compounds.take(asked), jobs) if len(asked) else {}
        said = {}
        for task in federation.tasks:
            prediction = np.full((len(compounds), len(task.outputs)), np.nan)
            if task.name in self.plan.asked and len(asked):
                # Those that this task asks about come first.
                here = asked[ranks[asked] < self.plan.asked[task.name]]
                most = self._allowance(task.name, len(here))
                answered = self.source.answer(task, raw[task.name][: len(here)], most)
                prediction[here[: len(answered)]] = answered
            stated = self._stated(prediction)
            said[task.name] = disclose(task, federation.in_force, stated, federation.policy)
        self.recall(said)
        return said

    def recall(self, said: Mapping[str, TeacherLabels]) -> None:
        """Count a chunk as answered, such as one that an interrupted run has kept."""
        size = len(next(iter(said.values())).reliability)
        ranks = self.ranks[self._done : self._done + size]
        for name, asked in self.plan.asked.items():
            self._asked[name] += int((ranks < asked).sum())
            self._answered[name] += int(np.isfinite(said[name].reliability).sum())
        self._done += size

    def _allowance(self, task: str, here: int) -> int:
        """Answers for this chunk: its share of all, and what the chunks before have left."""
        share = (self._asked[task] + here) / max(self.plan.asked[task], 1)
        return math.floor(self.plan.answered[task] * share + 1e-9) - self._answered[task]

    def _stated(self, prediction: np.ndarray) -> OwnFoldLabels:
        constant = np.full(len(prediction), self.mechanism.reliability)
        return OwnFoldLabels(prediction, np.full(prediction.shape, np.nan), constant, constant)


def _filled(task: Task, mechanism: Mechanism, prediction: np.ndarray) -> np.ndarray:
    if task.kind == "multiclass":
        middle = 1.0 / len(task.outputs)
    else:
        middle = sum(mechanism.bounds(task)) / 2.0
    return np.where(np.isfinite(prediction), prediction, middle)


def label_only(task: Task, mechanism: Mechanism, prediction: np.ndarray) -> np.ndarray:
    """Release a class, or a bin of a number, by randomised response.

    Parameters
    ----------
    task, mechanism
        What is released, and how.
    prediction
        Of shape (n, n_outputs), finite.

    Returns
    -------
    numpy.ndarray
        float64 of shape (n, n_outputs). The released class as probabilities, of a bin the expected
        number, both as if all classes or bins were equally frequent: ``e^epsilon / (e^epsilon + k
        - 1)`` for the released one. So much a label says, and no more.
    """
    low, high = mechanism.bounds(task)
    if task.kind == "multiclass":
        truth, classes = prediction.argmax(axis=1), len(task.outputs)
    elif task.kind == "binary":
        truth, classes = (prediction[:, 0] >= 0.5).astype(np.int64), 2
    else:
        classes = mechanism.levels
        share = (np.clip(prediction[:, 0], low, high) - low) / (high - low)
        truth = np.minimum((share * classes).astype(np.int64), classes - 1)
    epsilon = exact(mechanism.label_epsilon)
    released = np.array(
        [randomised_response(int(one), classes, epsilon) for one in truth], dtype=np.int64
    )
    kept = math.exp(mechanism.label_epsilon)
    posterior = np.full((len(released), classes), 1.0 / (kept + classes - 1.0))
    posterior[np.arange(len(released)), released] *= kept
    if task.kind == "binary":
        return posterior[:, 1:]
    if task.is_classification:
        return posterior
    centres = low + (np.arange(classes) + 0.5) / classes * (high - low)
    return (posterior @ centres)[:, None]


def gaussian(task: Task, mechanism: Mechanism, prediction: np.ndarray) -> np.ndarray:
    """Predictions on a grid over their range, with discrete Gaussian noise; float64, clipped.

    Of several classes the noisy probabilities are divided by their sum.
    """
    low, high = mechanism.bounds(task)
    points = to_grid(prediction, low, high, GRID)
    noisy = from_grid(
        points + gaussian_noise(points.shape, exact(mechanism.sigma) * GRID), low, high, GRID
    )
    if task.kind == "multiclass":
        total = noisy.sum(axis=1, keepdims=True)
        noisy = np.where(total > 0, noisy / np.where(total > 0, total, 1.0), 1.0 / noisy.shape[1])
    return noisy


def voted(task: Task, mechanism: Mechanism, said: np.ndarray, most: int) -> np.ndarray:
    """The winner of a noisy vote with the mechanism's confidence, NaN where there is no answer.

    Parameters
    ----------
    task, mechanism
        What is voted on, and how.
    said
        Of shape (n, n_sub_teachers, n_outputs); see `fluid.partner.dp.pate.predict_each`.
    most
        How many may be answered.
    """
    votes = count_votes(task, said)
    winner = confident_gnmax(votes, mechanism.sub_teachers - 1, mechanism, most)
    others = (1.0 - mechanism.confidence) / (votes.shape[1] - 1)
    stated = np.where(winner[:, None] == np.arange(votes.shape[1]), mechanism.confidence, others)
    stated[winner == ABSTAINS] = np.nan
    return stated[:, 1:] if task.kind == "binary" else stated


def averaged(task: Task, mechanism: Mechanism, said: np.ndarray) -> np.ndarray:
    """Noisy mean of clipped numbers; see `voted`. Silence is the middle of the range."""
    low, high = mechanism.bounds(task)
    voters = mechanism.sub_teachers - 1
    filled = np.where(np.isfinite(said[:, :, 0]), said[:, :, 0], (low + high) / 2.0)
    points = to_grid(filled, low, high, GRID)
    # A compound's own sub-teacher is not counted: it is in the middle, which is taken away again.
    total = points.sum(axis=1) - GRID // 2
    means = noisy_means(total, voters, exact(mechanism.sigma))
    return from_grid(means, low, high, GRID)[:, None]


def pate_labeler(
    federation: Federation,
    folder: Path,
    labeller: Labeller,
    secret: bytes,
    public: PublicSet,
    partner: str,
    plan: Plan,
) -> PateLabeler:
    """Make a teacher ready to label a public set through the federation's mechanism.

    Parameters
    ----------
    federation, plan
        The mechanism, and what it may be asked.
    folder, labeller, secret, partner
        The teacher, and whose it is.
    public
        What is labelled; it is read for its keys.

    Raises
    ------
    MismatchError
        If votes are asked for, and the teacher has no sub-teachers or another number of them.
    """
    mechanism = federation.mechanism
    source: Source = (
        Votes(load_sub_teachers(folder, mechanism), secret, mechanism)
        if mechanism.kind == PATE
        else OwnFold(federation, labeller)
    )
    keys = [key for chunk in public.chunks() for key in chunk.inchikeys]
    return PateLabeler(federation, source, keys, f"{public.digest} {partner} ", plan)


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


def statement(plan: Plan, mechanism: Mechanism) -> dict[str, Any]:
    """What an annotation's manifest says of its noise: settings, queries, and what they cost."""
    return {"settings": mechanism.to_dict()} | plan.to_dict()
