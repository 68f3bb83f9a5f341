"""Train a hybrid: a partner's own data and the pooled labels together; it stays at home."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import MismatchError, TrainingError
from fluid.base.files import atomic_folder, check_folder
from fluid.base.jobs import count_jobs, map_threads, single_threaded_blas
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.similarity import neighbour_similarity
from fluid.chem.tables import write_rejects
from fluid.exchange.federated_set import FederatedSet, PooledTask, open_federated, widen
from fluid.exchange.federation import Federation, check_partner_name
from fluid.learn.calibration import Platt, fit_platt
from fluid.learn.crossfit import FoldModel, calibrated, enough_labels, output_targets
from fluid.learn.domain import ReliabilityDomain, fit_domains
from fluid.learn.estimators import KernelRidge, logit
from fluid.learn.hybrid import Decision, HybridModel, blend, own_share
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.own_fold import folds_of_repeats, label_own_fold
from fluid.learn.predictions import measured_calls
from fluid.learn.reliability import NEIGHBOURS, fit_reliability
from fluid.learn.storage import MODEL_FILE, load_trained, save_model
from fluid.learn.task import Task
from fluid.learn.thresholds import prevalence_threshold
from fluid.partner.table import Columns, LabelledCompounds, read_labelled
from fluid.partner.teacher import (
    REJECTS_FILE,
    TrainingSummary,
    count_labels,
    out_of_fold_metrics,
    too_few_labels,
)

# Pooled labels of this many public compounds, the nearest ones, join the private labels.
NEAREST_PUBLIC = 1500
# Log-odds of a measured class; pooled labels lie within +-4.6.
_MEASURED = 2.0
_CLIP = 0.01
_RIDGE = {True: 1.0, False: 0.3}


@dataclass(frozen=True)
class HybridOptions:
    """How the private part of a hybrid is trained.

    Attributes
    ----------
    folds
        Of cross-fitting, 3 to 20; the members of the private part, and what thresholds and
        metrics are measured on.
    seed
        Of the folds and the learner.
    """

    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 3 <= self.folds <= 20:
            raise TrainingError(f"folds = {self.folds}: allowed are 3 to 20")
        if not 0 <= self.seed < 2**31:
            raise TrainingError(f"seed = {self.seed}: allowed are 0 to 2147483647")


@single_threaded_blas()
def train_hybrid(
    sources: Sequence[Path],
    federated_path: Path,
    student_path: Path,
    federation: Federation,
    output: Path,
    name: str,
    options: HybridOptions | None = None,
    columns: Columns | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> TrainingSummary:
    """Train a hybrid from private tables and what came back from the coordinator.

    Its private part is a kernel ridge regression on the private labels together with the pooled
    soft labels of the nearest public compounds; where a compound is nearer to what the student
    knows, the student has the say (`fluid.learn.hybrid`).

    Parameters
    ----------
    sources
        Private tables.
    federated_path, student_path
        The federated set and the student distilled from it.
    federation
        The contract.
    output
        The folder to appear.
    name
        Whose hybrid it is.
    options, columns
        How to train the private part, and how to read the tables.
    jobs
        Cores to use; by default all. The result does not depend on it.
    progress
        Called with the number of rows read so far.

    Raises
    ------
    FluidError
        If student, federated set and federation do not belong together, or the table does not
        suffice.
    """
    options = options or HybridOptions()
    check_folder(output, MODEL_FILE)
    check_partner_name(name)
    federated = open_federated(federated_path)
    student = _check_student(federated, student_path, federation)
    federation.chemistry.check(f"federation '{federation.name}'")
    table = read_labelled(sources, federation.tasks, federation.chemistry, columns, jobs, progress)
    names = ", ".join(str(path) for path in sources)
    public, pooled = federated.load()
    fitted = fit_hybrid(
        table, public, pooled, federated.sealed.digest, student, federation, name, names, options,
        count_jobs(jobs),
    )  # fmt: skip
    skipped = fitted.skipped
    with atomic_folder(output, MODEL_FILE) as folder:
        save_model(fitted.model, folder)
        write_rejects(folder / REJECTS_FILE, table.rejects)
    return TrainingSummary(
        fitted.model.card, table.n_rows, len(table.compounds), len(table.rejects), skipped
    )


@dataclass(frozen=True)
class FittedHybrid:
    """A hybrid, and what it says of the compounds it was trained on.

    Attributes
    ----------
    model
        The hybrid.
    skipped
        Tasks that only the student answers, and why.
    out_of_fold
        By task: predictions for the partner's labelled compounds by the members that have not
        seen them, shape (n, n_outputs), in the order of ``table.labels.column``.
    """

    model: HybridModel
    skipped: dict[str, str]
    out_of_fold: dict[str, np.ndarray]


@single_threaded_blas()
def fit_hybrid(
    table: LabelledCompounds,
    public: Compounds,
    pooled: dict[str, PooledTask],
    digest: str,
    student: TrainedModel,
    federation: Federation,
    name: str,
    source: str,
    options: HybridOptions,
    jobs: int = 1,
) -> FittedHybrid:
    """Fit a hybrid in memory; see `train_hybrid`.

    Parameters
    ----------
    table
        The private compounds and labels.
    public, pooled, digest
        The federated set: its compounds, its labels by task, and its digest.
    student
        Distilled from it.
    federation, name, source, options, jobs
        The contract, whose hybrid it is, what it was read from (for messages), settings, threads.
    """
    own, skipped = _fit_own(
        table, public, pooled, digest, federation, name, source, options, jobs
    )  # fmt: skip
    decisions, metrics, told = _assess(table, own, student, federation, options)
    card = Card(
        "hybrid", name, federation.name, federation.round, federation.protocol,
        own.card.training, metrics, software_versions(),
    )  # fmt: skip
    return FittedHybrid(HybridModel(card, own, student, decisions), skipped, told)


def _check_student(
    federated: FederatedSet, student_path: Path, federation: Federation
) -> TrainedModel:
    """Load the student and make sure that it was distilled from this federated set."""
    student = load_trained(student_path, "student")
    for path, protocol in (
        (federated.sealed.path, federated.sealed.manifest.get("protocol")),
        (student_path, student.card.protocol),
    ):
        if protocol != federation.protocol:
            raise MismatchError(
                f"{path}: was made under protocol {str(protocol)[:12]}, but the federation's is "
                f"{federation.protocol[:12]}"
            )
    source = str(student.card.training.get("federated_set"))
    if source != federated.sealed.digest:
        raise MismatchError(
            f"{student_path}: was distilled from the federated set {source[:12]}, but "
            f"{federated.sealed.path} is {federated.sealed.digest[:12]}"
        )
    return student


def _secret(seed: int) -> bytes:
    """Folds of a model that never leaves need no secrecy, only a fixed division."""
    return hashlib.sha256(f"fluid hybrid folds {seed}".encode()).digest()


def _folds(table: LabelledCompounds, options: HybridOptions) -> np.ndarray:
    """Folds of the private compounds, uint8 of shape (1, n)."""
    return folds_of_repeats(table.compounds, _secret(options.seed), 1, options.folds)


def _fit_own(
    table: LabelledCompounds,
    public: Compounds,
    pooled: dict[str, PooledTask],
    digest: str,
    federation: Federation,
    name: str,
    source: str,
    options: HybridOptions,
    jobs: int,
) -> tuple[TrainedModel, dict[str, str]]:
    """The private part: every task that has labels enough."""
    folds = _folds(table, options)
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
    models, counts = [], {}
    for task in federation.tasks:
        if task.name not in plans:
            continue
        rows, values, near = plans[task.name]
        targets = _targets(
            task, values, widen(task, pooled[task.name], near) if len(near) else None
        )
        positions = private + np.searchsorted(used, near)
        models.append(
            _fit_task(library, task, rows, values, positions, targets, folds[0], options, jobs)
        )
        counts[task.name] = count_labels(task, values) | {"pooled": len(near)}
    if not models:
        reasons = "; ".join(f"task {task}: {reason}" for task, reason in skipped.items())
        raise TrainingError(f"{source}: no task can be trained ({reasons})")
    training = {
        "learner": "kernel-ridge",
        "folds": options.folds,
        "seed": options.seed,
        "compounds": private,
        "labels": counts,
        "federated_set": digest,
    }
    card = Card(
        "own", name, federation.name, federation.round, federation.protocol, training, {},
        software_versions(),
    )  # fmt: skip
    return TrainedModel(card, federation.chemistry, library, models), skipped


def _nearest(public: Compounds, pooled: PooledTask | None, private: np.ndarray) -> np.ndarray:
    """Positions of the labelled public compounds nearest to the private ones, ascending."""
    if pooled is None:
        return np.zeros(0, dtype=np.int64)
    known = np.flatnonzero(np.isfinite(pooled.label).all(axis=1))
    similarity = neighbour_similarity(public.fingerprints[known], private, NEIGHBOURS)
    order = np.argsort(-similarity, kind="stable")[:NEAREST_PUBLIC]
    return np.sort(known[order])


def _targets(task: Task, values: np.ndarray, label: np.ndarray | None) -> np.ndarray:
    """What is learned: measured labels, then pooled ones; log-odds for classes."""
    measured = output_targets(task, values)
    if task.is_classification:
        measured = np.where(measured > 0.5, _MEASURED, -_MEASURED)
    if label is None:
        return measured
    soft = label.astype(np.float64)
    return np.concatenate([measured, logit(soft, _CLIP) if task.is_classification else soft])


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
) -> TaskModel:
    own = folds[rows]
    where = np.concatenate([rows, public])

    def run(fold: int) -> tuple[list[KernelRidge], np.ndarray]:
        used = np.concatenate([np.flatnonzero(own != fold), len(rows) + np.arange(len(public))])
        held = library.take(rows[own == fold])
        learners, scores = [], []
        for output in range(targets.shape[1]):
            learner = KernelRidge(ridge=_RIDGE[task.is_classification])
            learner.fit(library, where[used], targets[used, output], False, options.seed)
            learners.append(learner)
            scores.append(learner.score(held, library))
        return learners, np.stack(scores, axis=1)

    fits = map_threads(run, range(options.folds), jobs)
    truth = output_targets(task, values)
    told = np.zeros(truth.shape)
    similarity = np.zeros(len(rows))
    for fold, (_, scores) in enumerate(fits):
        mine = own == fold
        told[mine] = scores
        similarity[mine] = neighbour_similarity(
            library.fingerprints[rows[mine]], library.fingerprints[rows[~mine]], NEIGHBOURS
        )
    calibrations = [
        fit_platt(score, target) if task.is_classification else Platt()
        for score, target in zip(told.T, truth.T, strict=True)
    ]
    said = calibrated(task, list(told.T), calibrations)
    error = ((said - truth) ** 2).sum(axis=1)
    baseline = float(((truth - truth.mean(axis=0)) ** 2).sum(axis=1).mean())
    trust = fit_reliability(similarity, error, baseline)
    # Calibrated for the error's sake only: the members are blended in the student's own scale,
    # and the blend is calibrated (calibrating before blending cost ranking, see `_assess`).
    identity = [Platt()] * targets.shape[1]
    members = [
        FoldModel(0, fold, list(learners), identity, trust)
        for fold, (learners, _) in enumerate(fits)
    ]
    domains = fit_domains(library, rows, trust)
    return TaskModel(task, members, True, rows, domains)


def _assess(
    table: LabelledCompounds,
    own: TrainedModel,
    student: TrainedModel,
    federation: Federation,
    options: HybridOptions,
) -> tuple[dict[str, Decision], dict[str, dict[str, float | None]], dict[str, np.ndarray]]:
    """Calibration, decision thresholds, domains and out-of-fold metrics of the blend.

    The private part is taken out of fold. The student has seen no private compound, but it has seen
    labels of public neighbours that this partner's teacher gave knowing the compound, so that the
    metrics are slightly favourable, and so is a calibration measured where it was fitted. The
    domain is therefore fitted before calibration and made as strict as the student's.
    """
    decisions: dict[str, Decision] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    told: dict[str, np.ndarray] = {}
    theirs = {model.task.name: model for model in student.task_models}
    folds = _folds(table, options)
    elsewhere = np.full((1, len(own.library) - len(table.compounds)), options.folds, np.uint8)
    library_folds = np.concatenate([folds, elsewhere], axis=1)
    for model in own.task_models:
        task = model.task
        rows, values = table.labels.column(federation.task_index(task.name))
        queries = table.compounds.take(rows)
        mine = label_own_fold(model, own.library, library_folds, queries, folds[:, rows])
        mixed, similarity = mine.prediction, mine.similarity
        if task.name in theirs:
            far = theirs[task.name].predict(queries, student.library, None)
            near = far.similarity if far.similarity is not None else np.zeros(len(rows))
            mixed = blend(task, mixed, far.values, own_share(similarity, near))
            similarity = np.maximum(similarity, near)
        decision, raw = Decision(), mixed
        if task.kind == "binary":
            calibration = fit_platt(logit(mixed[:, 0]), values)
            mixed = calibration(logit(mixed))
            threshold = prevalence_threshold(mixed[:, 0], float(values.mean()))
            decision = Decision(calibration, threshold)
        calls = measured_calls(task, raw, decision.uncalibrated_threshold, similarity, values)
        domain = ReliabilityDomain() if calls is None else ReliabilityDomain().fit_calls(calls)
        held = theirs[task.name].domains[domain.kind] if task.name in theirs else None
        if isinstance(held, ReliabilityDomain):
            domain = domain.stricter(held)
        decision = replace(decision, domain=domain)
        decisions[task.name] = decision
        told[task.name] = mixed
        metrics[task.name] = out_of_fold_metrics(task, mixed, values, decision.threshold)
    return decisions, metrics, told
