"""Record-level PATE inside one partner: sub-teachers of disjoint data, and noisy votes.

Papernot et al. 2018 (arXiv 1802.08908). Every compound belongs to one sub-teacher, by a keyed hash
of its connectivity alone, or of its framework where folds go by framework, so that the division of
the others does not depend on it. A sub-teacher depends on its own compounds and the options only:
the learner that `auto` chooses, whether its labels suffice, its seed. One compound, and so one
measurement, then changes one vote of each query at most.

The sub-teacher that owns a public compound does not vote on it, whether or not the compound is
private too. So the votes on a compound are the same with and without it in the private data, as in
cross-fitting, and epsilon bounds its effect on the labels of others. In which tasks a partner takes
part is visible, and not protected.
"""

from __future__ import annotations

import hmac
import logging
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from fluid.base.jobs import map_threads
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.exchange.noise_mechanism import Mechanism
from fluid.learn.calibration import Platt
from fluid.learn.censored import signs_among
from fluid.learn.crossfit import FoldModel, LabelledTask, output_targets
from fluid.learn.estimators import LEARNERS, choose_learner
from fluid.learn.folds import BY_COMPOUND, fold_keys, keyed_folds
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.quorum import enough_labels
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.task import Task
from fluid.partner.dp.noise import discrete_gaussian, exact, gaussian_noise
from fluid.partner.table import LabelledCompounds

logger = logging.getLogger(__name__)

SUB_TEACHERS = "sub-teachers"
ABSTAINS = -1
# Regression predictions are put on a grid of so many steps over their range before noise is added.
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
    home: TrainedModel,
    federation: Federation,
    secret: bytes,
    jobs: int = 1,
) -> TrainedModel:
    """Train the sub-teachers of every task that a teacher has a model for.

    Parameters
    ----------
    table
        The private data that the teacher was trained on.
    home
        The teacher, whose learner and seed are used again. Compounds that share a fold there
        share a sub-teacher here.
    federation
        The contract; its mechanism sets the number of sub-teachers.
    secret
        The secret of the teacher's folds; it also keys the division into sub-teachers.
    jobs
        Fits that run at once; the result does not depend on it.

    Returns
    -------
    TrainedModel
        The teacher with sub-teachers as members, one or none for each number. It judges no
        domain of its own.
    """
    number, folds_by = federation.mechanism.sub_teachers, home.card.folds_by
    learner, seed = str(home.card.training["learner"]), int(home.card.training["seed"])
    owner = sub_teacher_of(table.compounds, secret, number, folds_by)
    models = []
    for model in home.task_models:
        column = table.labels.column_with_signs(federation.task_index(model.task.name))
        labelled = LabelledTask(table.compounds, model.task, *column)
        members = _fit_task(labelled, owner, number, learner, seed, jobs)
        if len(members) < number:
            logger.warning(
                "task %s: %d of %d sub-teachers have labels enough to vote",
                model.task.name,
                len(members),
                number,
            )
        models.append(replace(model, members=members))
    training = {"sub_teachers": number, "folds_by": folds_by, "learner": learner, "seed": seed}
    return replace(home, card=replace(home.card, training=training, metrics={}), task_models=models)


def _fit_task(
    labelled: LabelledTask, owner: np.ndarray, number: int, learner: str, seed: int, jobs: int
) -> list[FoldModel]:
    """The sub-teachers of one task, as fold models: the fold is the sub-teacher's number."""
    task, rows, values = labelled.task, labelled.rows, labelled.values
    targets = output_targets(task, values)

    def fit(sub: int) -> FoldModel | None:
        own = np.flatnonzero(owner[rows] == sub)
        # A record moves the votes of its own sub-teacher alone, bound or not.
        signs = signs_among(labelled.signs, own)
        if not enough_labels(task, values[own], _SHARE, signs):
            return None
        name = choose_learner(learner, len(own))
        estimators = [
            LEARNERS[name]().fit(
                labelled.library,
                rows[own],
                targets[own, output],
                task.is_classification,
                (seed + 7919 * sub + output) % 2**31,
                signs,
            )
            for output in range(targets.shape[1])
        ]
        uncalibrated = [Platt() for _ in estimators]
        return FoldModel(0, sub, list(estimators), uncalibrated, ReliabilityMap())

    fitted = map_threads(fit, range(number), jobs)
    return [model for model in fitted if model is not None]


@dataclass(frozen=True)
class SubTeachers:
    """Sub-teachers that are ready to vote.

    Attributes
    ----------
    model
        What `fit_sub_teachers` made.
    secret
        The secret that their division is keyed by.
    """

    model: TrainedModel
    secret: bytes

    @property
    def number(self) -> int:
        """How many there are."""
        return int(self.model.card.training["sub_teachers"])

    def predict(self, queries: Compounds, jobs: int = 1) -> dict[str, np.ndarray]:
        """Predictions of each sub-teacher, which may not leave without noise.

        Parameters
        ----------
        queries
            n compounds.
        jobs
            Threads; the predictions do not depend on it.

        Returns
        -------
        dict of str to numpy.ndarray
            By task: float64 of shape (n, number, n_outputs). NaN where a sub-teacher has no model,
            or owns the compound.
        """
        owner = sub_teacher_of(queries, self.secret, self.number, self.model.card.folds_by)
        return {
            model.task.name: self._predict_task(model, queries, owner, jobs)
            for model in self.model.task_models
        }

    def _predict_task(
        self, model: TaskModel, queries: Compounds, owner: np.ndarray, jobs: int
    ) -> np.ndarray:
        predictions = np.full((len(queries), self.number, len(model.task.outputs)), np.nan)

        def run(member: FoldModel) -> np.ndarray:
            return member.predict(model.task, queries, self.model.library)

        results = map_threads(run, model.members, jobs)
        for member, predicted in zip(model.members, results, strict=True):
            predictions[:, member.fold] = predicted
        predictions[np.arange(len(queries)), owner] = np.nan
        return predictions


def count_votes(task: Task, predictions: np.ndarray) -> np.ndarray:
    """Votes by class, int64 of shape (n, n_classes), from `SubTeachers.predict`.

    Moving, adding or taking away one vote changes each count by one at most, and two of them.
    """
    if task.kind == "binary":
        chosen = (predictions[:, :, 0] >= 0.5).astype(np.int64)
    else:
        chosen = np.nan_to_num(predictions, nan=-1.0).argmax(axis=2)
    votes = np.isfinite(predictions).all(axis=2)
    n_classes = max(2, len(task.outputs))
    return np.stack([((chosen == c) & votes).sum(axis=1) for c in range(n_classes)], axis=1)


def confident_gnmax(
    votes: np.ndarray, n_voters: int, mechanism: Mechanism, most: int
) -> np.ndarray:
    """Answer queries by noisy votes; Confident-GNMax (Papernot et al. 2018, algorithm 1).

    Parameters
    ----------
    votes
        Votes by class, int64 of shape (n, n_classes).
    n_voters
        How many may vote; the threshold is a share of them.
    mechanism
        Noise and threshold.
    most
        How many may be answered; the others are not even checked.

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
        How many there are, whether or not they predict.
    sigma
        Standard deviation of the noise in voters; that of the sum is ``sigma * GRID``.

    Returns
    -------
    numpy.ndarray
        float64 of the shape of `totals`, in steps of the grid, not clipped.
    """
    return np.asarray((totals + gaussian_noise(totals.shape, sigma * GRID)) / n_voters)
