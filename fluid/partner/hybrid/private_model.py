"""The partner's own part of a hybrid, fitted on private labels and the peers' labels nearby."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import map_threads
from fluid.base.run import Run
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds, concatenate
from fluid.exchange.federation import Federation
from fluid.learn.calibration import Platt, fit_line, fit_platt
from fluid.learn.censored import measured_exactly, signs_among
from fluid.learn.crossfit import (
    FoldModel,
    LabelledTask,
    calibrated,
    label_variance,
    similarity_to_other_folds,
    squared_error,
)
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
from fluid.learn.quorum import enough_labels, too_few_labels
from fluid.learn.reliability import fit_reliability
from fluid.learn.task import Task
from fluid.partner.hybrid.blend_weight import FoldedLabels, choose_mixture
from fluid.partner.hybrid.peer_targets import align_targets, nearest_labelled, peer_targets
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import (
    LEARN_CENSORED,
    check_censored,
    count_labels,
    used_labels,
)
from fluid.soft_labels.pooled import PooledSet

# Log-odds of a measured class. Pooled labels lie within +-4.6; the same here cost .002 ROC-AUC.
_MEASURED = 2.0
# Penalty of kernel ridge regression.
_RIDGE = 0.15
# Folds are fitted side by side, each with a kernel matrix of its own.
_MOST_EXACT = 12_000


@dataclass(frozen=True)
class HybridOptions:
    """How the private part of a hybrid is trained.

    Attributes
    ----------
    folds, repeats
        Of cross-fitting, 3 to 20 and 1 to 20. The private part has a member for each fold and
        repeat; thresholds and metrics are measured out of fold.
    secret
        The secret of the teacher's folds. Hybrid and teacher then divide the compounds alike, so
        that their out-of-fold predictions of a compound come from the same training compounds. By
        default the folds follow from the seed.
    folds_by
        What shares a fold, as in the teacher.
    censored
        ``"learn"`` or ``"drop"``, as in the teacher.
    """

    folds: int = 5
    repeats: int = 3
    secret: bytes | None = field(default=None, repr=False)
    folds_by: str = BY_COMPOUND
    censored: str = LEARN_CENSORED

    def __post_init__(self) -> None:
        check_censored(self.censored)
        check_cross_fitting(self.folds, self.repeats)


@dataclass(frozen=True)
class PrivateTask:
    """The private part of one task, and how it does out of fold.

    Attributes
    ----------
    model
        The members of all folds and repeats.
    scores
        Out-of-fold scores of the n labelled compounds, mean over repeats, shape (n, n_outputs).
    peers
        Scores of the peers' labels alone for the same compounds, same shape; None if no public
        compound has a label.
    similarity
        To the compounds of the other folds, shape (n,).
    labels
        Measured labels, and the folds of the first repeat.
    """

    model: TaskModel
    scores: np.ndarray
    peers: np.ndarray | None
    similarity: np.ndarray
    labels: FoldedLabels


@dataclass(frozen=True)
class PrivateModel:
    """The private part of a hybrid.

    Attributes
    ----------
    model
        As it is stored.
    tasks
        By name, those with enough labels.
    skipped
        The other tasks of the federation, and why they have no model.
    """

    model: TrainedModel
    tasks: dict[str, PrivateTask]
    skipped: dict[str, str]


@dataclass(frozen=True)
class _Sources:
    """What the private part of one task is fitted on.

    Attributes
    ----------
    private
        The n measured compounds.
    folds
        Their folds, shape (n_repeats, n).
    n_folds
        Number of folds; some may be empty.
    public
        Positions in the library of the m public compounds.
    targets
        Targets of these, shape (m, n_outputs); see `peer_targets`.
    """

    private: LabelledTask
    folds: np.ndarray
    n_folds: int
    public: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class _Member:
    """Estimators of one fold, one per output.

    Attributes
    ----------
    alone
        Of private labels alone; empty if the other folds hold too few.
    joint
        Of private and peers' labels.
    scores
        Of the compounds of the fold by both, shape (2, n, n_outputs); NaN where there is no
        estimator.
    """

    alone: list[Estimator]
    joint: list[Estimator]
    scores: np.ndarray


def hybrid_folds(compounds: Compounds, options: HybridOptions, seed: int = 0) -> np.ndarray:
    """Folds of compounds, private or not, uint8 of shape (n_repeats, n)."""
    # A model that never leaves needs no secrecy.
    usual = hashlib.sha256(f"fluid hybrid folds {seed}".encode()).digest()
    secret = options.secret or usual
    return folds_of_repeats(compounds, secret, options.repeats, options.folds, options.folds_by)


def fit_private_model(
    table: LabelledCompounds,
    pooled: PooledSet,
    federation: Federation,
    partner: str,
    options: HybridOptions,
    twicing: Mapping[str, Twicing],
    run: Run,
) -> PrivateModel:
    """Fit the private part of a hybrid: every task with enough labels.

    Parameters
    ----------
    table
        The private compounds and labels.
    pooled
        Public compounds, and best the labels of the other partners only (`peer_labels`).
    federation, partner
        The contract, and whose model it is.
    options
        How to train.
    twicing
        Of the student's labels, by task.
    run
        How to run.

    Raises
    ------
    TrainingError
        If no task has enough labels.
    """
    table = used_labels(table, options.censored)
    public = _in_memory(pooled)
    n_private = len(table.compounds)
    measured: dict[Task, tuple[np.ndarray, np.ndarray, np.ndarray | None]] = {}
    near: dict[Task, np.ndarray] = {}
    skipped: dict[str, str] = {}
    for index, task in enumerate(federation.tasks):
        rows, values, signs = table.labels.column_with_signs(index)
        if not enough_labels(task, values, signs=signs):
            reason = too_few_labels(task, values, signs)
            skipped[task.name] = f"{reason}; the student answers alone"
            continue
        measured[task] = rows, values, signs
        near[task] = np.zeros(0, dtype=np.int64)
        if task.name in pooled.labels:
            private = table.compounds.fingerprints[rows]
            near[task] = nearest_labelled(public, pooled.labels[task.name], private)
    if not measured:
        reasons = "; ".join(f"task {task}: {reason}" for task, reason in skipped.items())
        raise TrainingError(f"{table.source}: no task can be trained ({reasons})")
    used = np.unique(np.concatenate(list(near.values())))
    library = concatenate([table.compounds, public.take(used)])
    folds = hybrid_folds(table.compounds, options, run.seed)
    fitted: dict[str, PrivateTask] = {}
    counts = {}
    for task, (rows, values, signs) in measured.items():
        targets = np.zeros((0, len(task.outputs)))
        if len(near[task]):
            labels = pooled.labels[task.name]
            sharper = twicing.get(task.name)
            targets = peer_targets(public, task, labels, near[task], sharper, run.cores)
        sources = _Sources(
            LabelledTask(library, task, rows, values, signs),
            folds[:, rows],
            options.folds,
            n_private + np.searchsorted(used, near[task]),
            targets,
        )
        fitted[task.name] = _fit_task(sources, run)
        counts[task.name] = count_labels(task, values, signs) | {"pooled": len(near[task])}
    training = {
        "learner": "mixture",
        "folds": options.folds,
        "repeats": options.repeats,
        "seed": run.seed,
        "compounds": n_private,
        "labels": counts,
        "federated_set": pooled.digest,
    }
    card = Card(
        "own",
        partner,
        federation.name,
        federation.round,
        federation.protocol,
        training,
        software=software_versions(),
    )
    models = [one.model for one in fitted.values()]
    model = TrainedModel(card, federation.chemistry, library, models)
    return PrivateModel(model, fitted, skipped)


def _in_memory(pooled: PooledSet) -> Compounds:
    """All public compounds."""
    found = pooled.compounds
    return found if isinstance(found, Compounds) else concatenate(list(found.chunks()))


def _fit_task(sources: _Sources, run: Run) -> PrivateTask:
    """Fit a member for every fold and repeat: a mixture of models with and without peers' labels.

    In the partner's own chemistry a model of private and peers' labels is now and then worse than
    one of private labels alone; elsewhere the latter is worse. Their mixture is hardly ever worse
    than either (`choose_mixture`).
    """
    private, folds = sources.private, sources.folds
    task, truth = private.task, private.targets
    peers = _predict_by_peers(sources, run.seed) if len(sources.public) else None
    places = [(repeat, fold) for repeat in range(len(folds)) for fold in range(sources.n_folds)]

    def fit(place: tuple[int, int]) -> _Member:
        return _fit_member(sources, peers, *place, run.seed)

    members = dict(zip(places, map_threads(fit, places, run.cores), strict=True))
    scores = np.full((2, len(folds), *truth.shape), np.nan)
    for (repeat, fold), member in members.items():
        scores[:, repeat, folds[repeat] == fold] = member.scores
    lines = [
        _line(task, *pair, private.signs)
        for pair in zip(scores[0].transpose(2, 0, 1), truth.T, strict=True)
    ]
    for output, line in enumerate(lines):
        scores[0, :, :, output] = line.line(scores[0, :, :, output])
    # A fold without a model of private labels alone has the joint one only.
    scores[0] = np.where(np.isfinite(scores[0]), scores[0], scores[1])
    alone, joint = scores.mean(axis=1)
    labels = FoldedLabels(task, private.values, folds[0], private.signs)
    share, mixed = choose_mixture(labels, alone, joint)

    near = similarity_to_other_folds(private.library.fingerprints[private.rows], folds)
    calibrations = [
        fit_platt(score, target) if task.is_classification else Platt()
        for score, target in zip(mixed.T, truth.T, strict=True)
    ]
    exact = measured_exactly(private.signs, len(truth))
    predicted = calibrated(task, list(mixed[exact].T), calibrations)
    reliability = fit_reliability(
        near[exact], squared_error(predicted, truth[exact]), label_variance(truth[exact])
    )
    # Calibrated only to know the error. The blend of members and student is calibrated, not the
    # members: calibrating before blending cost ranking.
    fold_models = [
        FoldModel(*place, _mix(member, share, lines), [Platt()] * len(lines), reliability)
        for place, member in members.items()
    ]
    domains = fit_domains(private.library, private.rows, reliability)
    model = TaskModel(task, fold_models, True, private.rows, domains)
    return PrivateTask(model, mixed, peers, near, labels)


def _fit_member(
    sources: _Sources, peers: np.ndarray | None, repeat: int, fold: int, seed: int
) -> _Member:
    """Fit the estimators of one fold on the other folds."""
    private = sources.private
    task, library, rows, truth = private.task, private.library, private.rows, private.targets
    own = sources.folds[repeat]
    inside = np.flatnonzero(own != fold)
    measured = truth[inside]
    if task.is_classification:
        measured = np.where(measured > 0.5, _MEASURED, -_MEASURED)
    known = None if peers is None else peers[inside]
    signs = signs_among(private.signs, inside)
    aligned = align_targets(task, sources.targets, known, truth[inside], signs)
    targets = np.concatenate([measured, aligned])
    where = np.concatenate([rows[inside], sources.public])
    held = library.take(rows[own == fold])
    scores = np.full((2, len(held), truth.shape[1]), np.nan)
    alone: list[Estimator] = []
    joint: list[Estimator] = []
    enough = enough_labels(task, private.values[inside], 0.5, signs)
    # Pooled labels are no bounds.
    both = None if signs is None else np.append(signs, np.zeros(len(aligned), np.int8))
    for output in range(truth.shape[1]):
        ridge = KernelRidge(_RIDGE, most_exact=_MOST_EXACT)
        ridge.fit(library, where, targets[:, output], False, seed, signs=both)
        joint.append(ridge)
        scores[1, :, output] = ridge.score(held, library)
        if enough:
            learner = LEARNERS[choose_learner(AUTO, len(inside))]()
            target = truth[inside, output]
            learner.fit(library, rows[inside], target, task.is_classification, seed, signs)
            alone.append(learner)
            scores[0, :, output] = learner.score(held, library)
    return _Member(alone, joint, scores)


def _mix(member: _Member, share: float, lines: list[Platt]) -> list[Estimator]:
    """One mixture per output; the joint estimators where there are no others."""
    if not member.alone:
        return member.joint
    return [
        Mixture(
            {"alone": alone, "joint": joint},
            {"alone": share * line.slope, "joint": 1.0 - share},
            share * line.intercept,
        )
        for alone, joint, line in zip(member.alone, member.joint, lines, strict=True)
    ]


def _line(task: Task, scores: np.ndarray, truth: np.ndarray, signs: np.ndarray | None) -> Platt:
    """From out-of-fold scores (n_repeats, n), with NaN, to log-odds or to numbers."""
    known = np.isfinite(scores)
    count = known.sum(axis=0)
    mean = np.where(known, scores, 0.0).sum(axis=0) / np.maximum(count, 1)
    chosen = count > 0
    if task.is_classification:
        return fit_platt(mean[chosen], truth[chosen])
    return fit_line(mean[chosen], truth[chosen], signs_among(signs, chosen))


def _predict_by_peers(sources: _Sources, seed: int) -> np.ndarray:
    """Scores of the peers' labels alone for the private compounds, shape (n, n_outputs).

    They stand in for the student, which has learned from the labels of this partner's teacher, and
    the teacher knew these compounds.
    """
    private = sources.private
    queries = private.library.take(private.rows)
    columns = []
    for target in sources.targets.T:
        learner = KernelRidge(ridge=_RIDGE)
        learner.fit(private.library, sources.public, target, False, seed)
        columns.append(learner.score(queries, private.library))
    return np.stack(columns, axis=1)
