"""The private part of a hybrid: private labels, and what others say of near public compounds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import map_threads
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.similarity import neighbour_similarity
from fluid.exchange.federation import Federation
from fluid.learn.calibration import Platt, fit_line, fit_platt
from fluid.learn.crossfit import FoldModel, calibrated, enough_labels, output_targets
from fluid.learn.domain import fit_domains
from fluid.learn.estimators import (
    AUTO,
    LEARNERS,
    Estimator,
    KernelRidge,
    Mixture,
    choose_learner,
)
from fluid.learn.estimators.twicing import Twicing
from fluid.learn.folds import BY_COMPOUND, check_cross_fitting
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.own_fold import folds_of_repeats
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, fit_reliability
from fluid.learn.task import Task
from fluid.partner.hybrid.blend_weight import choose_mixture
from fluid.partner.hybrid.peer_targets import peer_targets
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import count_labels, too_few_labels
from fluid.soft_labels.pooled import PooledTask

# Pooled labels of this many public compounds, the nearest ones, join the private labels.
NEAREST_PUBLIC = 1500


# Log-odds of a measured class; pooled labels lie within +-4.6.
_MEASURED = 2.0


_RIDGE = {True: 0.5, False: 0.15}


# Folds are fitted side by side, each with a kernel matrix of its own.
_MOST_EXACT = 12_000


# A measured label is worth several pooled ones.
_POOLED_WEIGHT = 0.25


@dataclass(frozen=True)
class HybridOptions:
    """How the private part of a hybrid is trained.

    Attributes
    ----------
    folds, repeats
        Of cross-fitting, 3 to 20 and 1 to 20; the members of the private part, and what
        thresholds and metrics are measured on.
    seed
        Of the learner, and of the folds if there is no secret.
    secret
        The teacher's: hybrid and teacher then divide the compounds alike, so that their
        out-of-fold predictions of a compound come from the same training compounds.
    folds_by
        What shares a fold, as in the teacher.
    """

    folds: int = 5
    repeats: int = 3
    seed: int = 0
    secret: bytes | None = field(default=None, repr=False)
    folds_by: str = BY_COMPOUND

    def __post_init__(self) -> None:
        check_cross_fitting(self.folds, self.repeats, self.seed)


def hybrid_folds(compounds: Compounds, options: HybridOptions) -> np.ndarray:
    """Folds of compounds, private or not, uint8 of shape (n_repeats, n)."""
    # A model that never leaves needs no secrecy.
    usual = hashlib.sha256(f"fluid hybrid folds {options.seed}".encode()).digest()
    secret = options.secret or usual
    return folds_of_repeats(compounds, secret, options.repeats, options.folds, options.folds_by)


def fit_private_model(
    table: LabelledCompounds,
    public: Compounds,
    pooled: dict[str, PooledTask],
    digest: str,
    federation: Federation,
    name: str,
    source: str,
    options: HybridOptions,
    jobs: int,
    twicings: Mapping[str, Twicing],
) -> tuple[TrainedModel, dict[str, PrivateTask], dict[str, str]]:
    """The private part: every task that has labels enough; `twicings` are the student's."""
    folds = hybrid_folds(table.compounds, options)
    private = len(table.compounds)
    plans: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    skipped: dict[str, str] = {}
    for index, task in enumerate(federation.tasks):
        rows, values = table.labels.column(index)
        if not enough_labels(task, values):
            skipped[task.name] = f"{too_few_labels(task, values)}; the student answers alone"
            continue
        near = _nearest(public, pooled.get(task.name), table.compounds.fingerprints[rows])
        plans[task.name] = rows, values, near
    used = np.unique(np.concatenate([np.zeros(0, np.int64), *(plan[2] for plan in plans.values())]))
    library = concatenate([table.compounds, public.take(used)])
    fitted: dict[str, PrivateTask] = {}
    counts = {}
    for task in federation.tasks:
        if task.name not in plans:
            continue
        rows, values, near = plans[task.name]
        told = None
        if len(near):
            twicing = twicings.get(task.name)
            told = peer_targets(public, task, pooled[task.name], near, twicing, jobs)
        targets = _targets(task, values, told)
        positions = private + np.searchsorted(used, near)
        fitted[task.name] = _fit_task(
            library, task, rows, values, positions, targets, folds, options, jobs
        )
        counts[task.name] = count_labels(task, values) | {"pooled": len(near)}
    if not fitted:
        reasons = "; ".join(f"task {task}: {reason}" for task, reason in skipped.items())
        raise TrainingError(f"{source}: no task can be trained ({reasons})")
    training = {
        "learner": "mixture",
        "folds": options.folds,
        "repeats": options.repeats,
        "seed": options.seed,
        "compounds": private,
        "labels": counts,
        "federated_set": digest,
    }
    card = Card(
        "own", name, federation.name, federation.round, federation.protocol, training, {},
        software_versions(),
    )  # fmt: skip
    models = [one.model for one in fitted.values()]
    return TrainedModel(card, federation.chemistry, library, models), fitted, skipped


def _nearest(public: Compounds, pooled: PooledTask | None, private: np.ndarray) -> np.ndarray:
    """Positions of the labelled public compounds nearest to the private ones, ascending."""
    if pooled is None:
        return np.zeros(0, dtype=np.int64)
    known = np.flatnonzero(np.isfinite(pooled.label).all(axis=1))
    similarity = neighbour_similarity(public.fingerprints[known], private, DOMAIN_NEIGHBOURS)
    order = np.argsort(-similarity, kind="stable")[:NEAREST_PUBLIC]
    return np.sort(known[order])


def _targets(task: Task, values: np.ndarray, told: np.ndarray | None) -> np.ndarray:
    """What is learned: measured labels, then what others say; log-odds for classes."""
    measured = output_targets(task, values)
    if task.is_classification:
        measured = np.where(measured > 0.5, _MEASURED, -_MEASURED)
    return measured if told is None else np.concatenate([measured, told])


@dataclass(frozen=True)
class PrivateTask:
    """The private part of one task, and how it does out of fold.

    `told` are scores, mean over repeats; `others` what the others' labels alone say of the same
    compounds; `similarity` that to the compounds of the other folds; `folds` those of the first
    repeat.
    """

    model: TaskModel
    told: np.ndarray
    others: np.ndarray | None
    similarity: np.ndarray
    folds: np.ndarray


def _fit_task(
    library: Compounds,
    task: Task,
    rows: np.ndarray,
    values: np.ndarray,
    public: np.ndarray,
    targets: np.ndarray,
    folds: np.ndarray,
    options: HybridOptions,
    jobs: int,
) -> PrivateTask:
    """Members of every fold and repeat: a mixture of private labels with and without others'.

    Alone, the model of private and pooled labels loses to the private labels in a partner's own
    chemistry now and then, and the private ones lose elsewhere; their mixture loses next to
    nowhere (`choose_mixture`).
    """
    n_outputs = targets.shape[1]
    truth = output_targets(task, values)
    where = np.concatenate([rows, public])
    weights = np.concatenate([np.ones(len(rows)), np.full(len(public), _POOLED_WEIGHT)])
    jobs_todo = [(repeat, fold) for repeat in range(len(folds)) for fold in range(options.folds)]

    others = _others_alone(library, task, rows, public, targets, options) if len(public) else None

    def run(job: tuple[int, int]) -> tuple[list[Estimator], list[Estimator], np.ndarray]:
        repeat, fold = job
        own = folds[repeat][rows]
        inside = np.flatnonzero(own != fold)
        learned = _corrected(task, targets, truth, others, inside)
        used = np.concatenate([inside, len(rows) + np.arange(len(public))])
        held = library.take(rows[own == fold])
        scores = np.full((2, len(held), n_outputs), np.nan)
        alone: list[Estimator] = []
        joint: list[Estimator] = []
        # A fold whose rest lacks a class, or all but a few labels, has the joint learner only.
        enough = enough_labels(task, values[inside], 0.5)
        for output in range(n_outputs):
            ridge = KernelRidge(_RIDGE[task.is_classification], most_exact=_MOST_EXACT)
            each = weights[used] / weights[used].mean()
            ridge.fit(library, where[used], learned[used, output], False, options.seed, each)
            joint.append(ridge)
            scores[1, :, output] = ridge.score(held, library)
            if enough:
                learner = LEARNERS[choose_learner(AUTO, len(inside))]()
                learner.fit(
                    library, rows[inside], truth[inside, output], task.is_classification,
                    options.seed,
                )  # fmt: skip
                alone.append(learner)
                scores[0, :, output] = learner.score(held, library)
        return alone, joint, scores

    fits = dict(zip(jobs_todo, map_threads(run, jobs_todo, jobs), strict=True))
    told = np.full((2, len(folds), *truth.shape), np.nan)
    similarity = np.zeros((len(folds), len(rows)))
    for (repeat, fold), (_, _, scores) in fits.items():
        mine = folds[repeat][rows] == fold
        told[:, repeat, mine] = scores
        similarity[repeat, mine] = neighbour_similarity(
            library.fingerprints[rows[mine]], library.fingerprints[rows[~mine]], DOMAIN_NEIGHBOURS
        )
    lines = [_line(task, told[0, :, :, output], truth[:, output]) for output in range(n_outputs)]
    for output, line in enumerate(lines):
        told[0, :, :, output] = line.line(told[0, :, :, output])
    # A fold without a private learner has the joint one only.
    told[0] = np.where(np.isfinite(told[0]), told[0], told[1])
    mine_alone, together = told.mean(axis=1)
    share, found = choose_mixture(task, mine_alone, together, values, folds[0][rows])
    mixtures: dict[tuple[int, int], list[Estimator]] = {}
    for job, (alone, joint, _) in fits.items():
        mixtures[job] = [
            Mixture(
                {"alone": alone[output], "joint": joint[output]},
                {"alone": share * line.slope, "joint": 1.0 - share},
                share * line.intercept,
            )
            if alone
            else joint[output]
            for output, line in enumerate(lines)
        ]
    near = similarity.mean(axis=0)
    identity = [Platt()] * n_outputs
    calibrations = [
        fit_platt(score, target) if task.is_classification else Platt()
        for score, target in zip(found.T, truth.T, strict=True)
    ]
    said = calibrated(task, list(found.T), calibrations)
    error = ((said - truth) ** 2).sum(axis=1)
    baseline = float(((truth - truth.mean(axis=0)) ** 2).sum(axis=1).mean())
    trust = fit_reliability(near, error, baseline)
    # Calibrated for the error's sake only: the members are blended in the student's own scale,
    # and the blend is calibrated (calibrating before blending cost ranking, see `_assess`).
    members = [
        FoldModel(repeat, fold, mixtures[repeat, fold], identity, trust)
        for repeat, fold in jobs_todo
    ]
    domains = fit_domains(library, rows, trust)
    model = TaskModel(task, members, True, rows, domains)
    return PrivateTask(model, found, others, near, folds[0][rows])


def _corrected(
    task: Task,
    targets: np.ndarray,
    truth: np.ndarray,
    others: np.ndarray | None,
    inside: np.ndarray,
) -> np.ndarray:
    """Targets with pooled numbers on the line to what is measured inside.

    What partners measured in different ways can differ by a constant, and what others say of
    chemistry that they do not have even more.
    """
    if task.is_classification or others is None:
        return targets
    learned = targets.copy()
    pooled = slice(len(truth), None)
    for output, told in enumerate(others.T):
        line = fit_line(told[inside], truth[inside, output])
        learned[pooled, output] = line.line(targets[pooled, output])
    return learned


def _line(task: Task, scores: np.ndarray, truth: np.ndarray) -> Platt:
    """From out-of-fold scores (n_repeats, n) of the private learner to log-odds, or to numbers."""
    known = np.isfinite(scores)
    count = known.sum(axis=0)
    mean = np.where(known, scores, 0.0).sum(axis=0) / np.maximum(count, 1)
    chosen = count > 0
    return (fit_platt if task.is_classification else fit_line)(mean[chosen], truth[chosen])


def _others_alone(
    library: Compounds,
    task: Task,
    rows: np.ndarray,
    public: np.ndarray,
    targets: np.ndarray,
    options: HybridOptions,
) -> np.ndarray:
    """What the pooled labels alone say of the private compounds: the student's stand-in.

    The student itself has learned from labels that this partner's teacher gave knowing these
    compounds.
    """
    queries = library.take(rows)
    columns = []
    for output in range(targets.shape[1]):
        learner = KernelRidge(ridge=_RIDGE[task.is_classification])
        learner.fit(library, public, targets[len(rows) :, output], False, options.seed)
        columns.append(learner.score(queries, library))
    return np.stack(columns, axis=1)
