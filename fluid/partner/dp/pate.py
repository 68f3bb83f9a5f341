"""Record-level PATE inside one partner: sub-teachers of disjoint data, and noisy votes.

Papernot et al. 2018 (arXiv 1802.08908). Every compound belongs to one sub-teacher, by a keyed hash
of its connectivity alone, or of its framework where folds go by framework, so that the division of
the others does not depend on it. All that a sub-teacher is depends on its own compounds and the
options: the learner that `auto` chooses, whether its labels suffice, its seed. One compound, and so
one measurement, then changes one vote of each query at most.

A public compound is not voted on by the sub-teacher that it belongs to itself, member or not. So
its own label stays the same whether it was trained on or not, as in cross-fitting, and epsilon
bounds what it does to the labels of others.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from fluid.base.jobs import map_threads
from fluid.chem.compounds import Compounds
from fluid.exchange.mechanism import Mechanism
from fluid.learn.calibration import Platt
from fluid.learn.crossfit import FoldModel, enough_labels, output_targets
from fluid.learn.estimators import LEARNERS, choose_learner
from fluid.learn.folds import BY_COMPOUND, fold_keys, keyed_folds
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.task import Task
from fluid.partner.dp.noise import discrete_gaussian, exact, gaussian_noise
from fluid.partner.table import LabelledCompounds

logger = logging.getLogger(__name__)

SUB_TEACHERS = "sub-teachers"
ABSTAINS = -1
# Numbers are put on a grid of so many steps over their range, and the noise on its points.
GRID = 200
# A sub-teacher needs this share of the labels that a fold model needs.
_SHARE = 0.5


def sub_teacher_of(
    compounds: Compounds, secret: bytes, number: int, by: str = BY_COMPOUND
) -> np.ndarray:
    """The sub-teacher that each compound of the world belongs to, uint8 of shape (n,).

    For `by` see `fluid.learn.folds.fold_keys`.
    """
    key = hmac.digest(secret, b"fluid sub-teachers", "sha256")
    return keyed_folds(fold_keys(compounds, by), key, 0, number)


def fit_sub_teachers(
    table: LabelledCompounds,
    tasks: Sequence[Task],
    home: TrainedModel,
    secret: bytes,
    number: int,
    learner: str,
    seed: int,
    jobs: int,
) -> TrainedModel:
    """Train the sub-teachers of every task that a teacher has a model for.

    Parameters
    ----------
    table
        The private data that the teacher was trained on.
    tasks
        Those of the federation.
    home
        The teacher; what shares a fold there shares a sub-teacher here.
    secret
        Of its folds; the division into sub-teachers is keyed by it as well.
    number
        How many sub-teachers.
    learner
        Name of a learner, or ``"auto"``.
    seed
        Fixes everything random in training.
    jobs
        Fits that run at once; the result does not depend on it.

    Returns
    -------
    TrainedModel
        The teacher with sub-teachers as members, one or none for each number. It judges no
        domain of its own.
    """
    folds_by = home.card.folds_by
    owner = sub_teacher_of(table.compounds, secret, number, folds_by)
    names = [task.name for task in tasks]
    models = []
    for model in home.task_models:
        rows, values = table.labels.column(names.index(model.task.name))
        members = _fit_task(
            table.compounds, model.task, rows, values, owner, number, learner, seed, jobs
        )
        if len(members) < number:
            logger.warning(
                "task %s: %d of %d sub-teachers have labels enough to vote",
                model.task.name, len(members), number,
            )  # fmt: skip
        models.append(replace(model, members=members))
    training = {
        "sub_teachers": number, "folds_by": folds_by, "learner": learner, "seed": seed,
    }  # fmt: skip
    return replace(home, card=replace(home.card, training=training, metrics={}), task_models=models)


def _fit_task(
    library: Compounds,
    task: Task,
    rows: np.ndarray,
    values: np.ndarray,
    owner: np.ndarray,
    number: int,
    learner: str,
    seed: int,
    jobs: int,
) -> list[FoldModel]:
    targets = output_targets(task, values)

    def fit(sub: int) -> FoldModel | None:
        own = np.flatnonzero(owner[rows] == sub)
        if not enough_labels(task, values[own], _SHARE):
            return None
        name = choose_learner(learner, len(own))
        estimators = [
            LEARNERS[name]().fit(
                library, rows[own], targets[own, output], task.is_classification,
                (seed + 7919 * sub + output) % 2**31,
            )
            for output in range(targets.shape[1])
        ]  # fmt: skip
        plain = [Platt() for _ in estimators]
        return FoldModel(0, sub, list(estimators), plain, ReliabilityMap())

    return [made for made in map_threads(fit, range(number), jobs) if made is not None]


def predict_each(
    model: TaskModel, library: Compounds, queries: Compounds, owner: np.ndarray, number: int,
    jobs: int = 1,
) -> np.ndarray:  # fmt: skip
    """What each sub-teacher says of each query.

    Parameters
    ----------
    model, library
        A task of what `fit_sub_teachers` made, and its library.
    queries
        n compounds.
    owner
        The sub-teachers that they belong to themselves, shape (n,): these say nothing of them.
    number
        How many sub-teachers there are.
    jobs
        Threads.

    Returns
    -------
    numpy.ndarray
        float64 of shape (n, number, n_outputs); NaN where a sub-teacher says nothing.
    """
    said = np.full((len(queries), number, len(model.task.outputs)), np.nan)

    def run(member: FoldModel) -> np.ndarray:
        return member.predict(model.task, queries, library)

    results = map_threads(run, model.members, jobs)
    for member, predicted in zip(model.members, results, strict=True):
        said[:, member.fold] = predicted
    said[np.arange(len(queries)), owner] = np.nan
    return said


def count_votes(task: Task, said: np.ndarray) -> np.ndarray:
    """Votes by class, int64 of shape (n, n_classes), of what sub-teachers say; see `predict_each`.

    Moving, adding or taking away one vote changes each count by one at most, and two of them.
    """
    if task.kind == "binary":
        chosen = (said[:, :, 0] >= 0.5).astype(np.int64)
    else:
        chosen = np.nan_to_num(said, nan=-1.0).argmax(axis=2)
    speaks = np.isfinite(said).all(axis=2)
    n_classes = max(2, len(task.outputs))
    return np.stack([((chosen == c) & speaks).sum(axis=1) for c in range(n_classes)], axis=1)


def confident_gnmax(
    votes: np.ndarray, n_voters: int, mechanism: Mechanism, most: int
) -> np.ndarray:
    """Answer queries by noisy votes; Confident-GNMax (Papernot et al. 2018, algorithm 1).

    Parameters
    ----------
    votes
        By class, int64 of shape (n, n_classes).
    n_voters
        How many may vote; the threshold is a share of them.
    mechanism
        Noise and threshold.
    most
        How many may be answered; the rest is not even checked.

    Returns
    -------
    numpy.ndarray
        int64 of shape (n,): a class, or `ABSTAINS`.
    """
    sigma, check = exact(mechanism.sigma), exact(mechanism.check_sigma)
    least = exact(mechanism.threshold) * n_voters
    answers = np.full(len(votes), ABSTAINS, dtype=np.int64)
    left = most
    for row, counts in enumerate(votes):
        if left <= 0:
            break
        if least and int(counts.max()) + discrete_gaussian(check) < least:
            continue
        answers[row] = int((counts + gaussian_noise(counts.shape, sigma)).argmax())
        left -= 1
    return answers


def noisy_means(totals: np.ndarray, n_voters: int, sigma: Fraction) -> np.ndarray:
    """Means over voters of points on the grid, with noise on their sum.

    Parameters
    ----------
    totals
        int64 of shape (n, ...): sums over voters of points 0 to `GRID`. One record moves a sum by
        `GRID` at most.
    n_voters
        How many there are, whether they say anything or not.
    sigma
        Standard deviation of the noise in voters: of the sum it is ``sigma * GRID``.

    Returns
    -------
    numpy.ndarray
        float64 of the shape of `totals`, in steps of the grid, not clipped.
    """
    return np.asarray((totals + gaussian_noise(totals.shape, sigma * GRID)) / n_voters)
