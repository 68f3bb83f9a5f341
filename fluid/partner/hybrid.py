"""Train a hybrid: a partner's own data and the pooled labels together; it stays at home."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
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
from fluid.exchange.annotation import TaskAnnotation, open_annotation
from fluid.exchange.federated_set import FederatedSet, PooledTask, open_federated, widen, without
from fluid.exchange.federation import Federation, check_partner_name
from fluid.learn.calibration import Platt, fit_line, fit_platt
from fluid.learn.crossfit import FoldModel, calibrated, enough_labels, output_targets
from fluid.learn.domain import ReliabilityDomain, fit_domains
from fluid.learn.estimators import (
    AUTO,
    LEARNERS,
    Estimator,
    KernelRidge,
    Mixture,
    choose_learner,
    logit,
)
from fluid.learn.hybrid import Decision, HybridModel, blend, own_share, reference_similarity
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.own_fold import folds_of_repeats
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
_RIDGE = {True: 0.5, False: 0.15}
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
        Of the folds and the learner.
    """

    folds: int = 5
    repeats: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 3 <= self.folds <= 20:
            raise TrainingError(f"folds = {self.folds}: allowed are 3 to 20")
        if not 1 <= self.repeats <= 20:
            raise TrainingError(f"repeats = {self.repeats}: allowed are 1 to 20")
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
    annotation: Path | None = None,
) -> TrainingSummary:
    """Train a hybrid from private tables and what came back from the coordinator.

    Its private part is the mean of two cross-fitted models: one of the private labels alone, and a
    kernel ridge regression on them together with the soft labels that the *other* partners gave
    the nearest public compounds. Where a compound is nearer to what the student knows, the student
    has the say (`fluid.learn.hybrid`).

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
    annotation
        What this partner released in the round; it is taken out of the pooled labels. Without it
        they are used as they are, and the hybrid's out-of-fold metrics are favourable.

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
    if annotation is not None:
        said = _own_annotation(annotation, federated, federation, name)
        pooled = others_only(pooled, said)
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


def others_only(
    pooled: Mapping[str, PooledTask], said: Mapping[str, TaskAnnotation]
) -> dict[str, PooledTask]:
    """Pooled labels of every task without what this partner said."""
    return {name: without(one, said[name]) if name in said else one for name, one in pooled.items()}


def _own_annotation(
    path: Path, federated: FederatedSet, federation: Federation, name: str
) -> dict[str, TaskAnnotation]:
    """This partner's annotation, made sure to be the one that is in the federated set."""
    found = open_annotation(path)
    if found.partner != name:
        raise MismatchError(
            f"{path}: is of partner '{found.partner}', but the hybrid is for '{name}'"
        )
    pooled = federated.sealed.manifest.get("annotations")
    stated = pooled.get(name) if isinstance(pooled, dict) else None
    if stated != found.sealed.digest:
        raise MismatchError(
            f"{path}: its digest is {found.sealed.digest[:12]}, but {federated.sealed.path} was "
            f"pooled from {str(stated)[:12]}"
        )
    if "training-size" in federation.policy.share:
        raise MismatchError(
            f"{path}: cannot be taken out of the pooled labels where training sizes weigh them; "
            "leave --annotation out"
        )
    parts = [said for _, said in found.chunks()]
    return {
        task.name: TaskAnnotation(
            np.concatenate([said[task.name].prediction for said in parts]),
            np.concatenate([said[task.name].uncertainty for said in parts]),
            np.concatenate([said[task.name].reliability for said in parts]),
        )
        for task in found.tasks
    }


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
        The federated set: its compounds, its labels by task (best without this partner's own,
        see `others_only`), and its digest.
    student
        Distilled from it.
    federation, name, source, options, jobs
        The contract, whose hybrid it is, what it was read from (for messages), settings, threads.
    """
    own, fitted, skipped = _fit_own(
        table, public, pooled, digest, federation, name, source, options, jobs
    )  # fmt: skip
    decisions, metrics, told = _assess(table, fitted, student, federation)
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
    """Folds of the private compounds, uint8 of shape (n_repeats, n)."""
    secret = _secret(options.seed)
    return folds_of_repeats(table.compounds, secret, options.repeats, options.folds)


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
) -> tuple[TrainedModel, dict[str, _OwnTask], dict[str, str]]:
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
    fitted: dict[str, _OwnTask] = {}
    counts = {}
    for task in federation.tasks:
        if task.name not in plans:
            continue
        rows, values, near = plans[task.name]
        targets = _targets(
            task, values, widen(task, pooled[task.name], near) if len(near) else None
        )
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


@dataclass(frozen=True)
class _OwnTask:
    """The private part of one task, and how it does out of fold.

    `told` are scores, mean over repeats; `others` what the others' labels alone say of the same
    compounds; `similarity` that to the compounds of the other folds.
    """

    model: TaskModel
    told: np.ndarray
    others: np.ndarray | None
    similarity: np.ndarray


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
) -> _OwnTask:
    """Members of every fold and repeat: a mean of what private labels say with and without others'.

    Alone, the model of private and pooled labels loses to the private labels in a partner's own
    chemistry now and then, and the private ones lose elsewhere; their mean loses next to nowhere.
    """
    n_outputs = targets.shape[1]
    truth = output_targets(task, values)
    where = np.concatenate([rows, public])
    weights = np.concatenate([np.ones(len(rows)), np.full(len(public), _POOLED_WEIGHT)])
    jobs_todo = [(repeat, fold) for repeat in range(len(folds)) for fold in range(options.folds)]

    def run(job: tuple[int, int]) -> tuple[list[Estimator], list[Estimator], np.ndarray]:
        repeat, fold = job
        own = folds[repeat][rows]
        inside = np.flatnonzero(own != fold)
        used = np.concatenate([inside, len(rows) + np.arange(len(public))])
        held = library.take(rows[own == fold])
        scores = np.full((2, len(held), n_outputs), np.nan)
        alone: list[Estimator] = []
        joint: list[Estimator] = []
        # A fold whose rest lacks a class, or all but a few labels, has the joint learner only.
        enough = enough_labels(task, values[inside], 0.5)
        for output in range(n_outputs):
            ridge = KernelRidge(ridge=_RIDGE[task.is_classification])
            each = weights[used] / weights[used].mean()
            ridge.fit(library, where[used], targets[used, output], False, options.seed, each)
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
            library.fingerprints[rows[mine]], library.fingerprints[rows[~mine]], NEIGHBOURS
        )
    lines = [_line(task, told[0, :, :, output], truth[:, output]) for output in range(n_outputs)]
    mixtures: dict[tuple[int, int], list[Estimator]] = {}
    mixed = np.zeros((len(folds), *truth.shape))
    for job, (alone, joint, scores) in fits.items():
        mine = folds[job[0]][rows] == job[1]
        mixtures[job] = []
        for output in range(n_outputs):
            if not alone:
                mixtures[job].append(joint[output])
                mixed[job[0], mine, output] = scores[1, :, output]
                continue
            line = lines[output]
            parts = {"alone": alone[output], "joint": joint[output]}
            shares = {"alone": line.slope / 2, "joint": 0.5}
            mixtures[job].append(Mixture(parts, shares, line.intercept / 2))
            own_part = line.line(scores[0, :, output])
            mixed[job[0], mine, output] = (own_part + scores[1, :, output]) / 2
    found, near = mixed.mean(axis=0), similarity.mean(axis=0)
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
    others = _others_alone(library, task, rows, public, targets, options) if len(public) else None
    return _OwnTask(model, found, others, near)


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


def _assess(
    table: LabelledCompounds,
    own: Mapping[str, _OwnTask],
    student: TrainedModel,
    federation: Federation,
) -> tuple[dict[str, Decision], dict[str, dict[str, float | None]], dict[str, np.ndarray]]:
    """Calibration, decision thresholds, domains and out-of-fold metrics of the blend.

    The private part is taken out of fold, and in place of the student stands what the other
    partners' labels alone say, for the student has learned from labels of public neighbours that
    this partner's teacher gave knowing the compound. Without the partner's own annotation the
    pooled labels cannot be freed from that, and all this is favourable. The domain is fitted
    before calibration and made as strict as the student's.
    """
    decisions: dict[str, Decision] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    told: dict[str, np.ndarray] = {}
    theirs = {model.task.name: model for model in student.task_models}
    for name, one in own.items():
        task = one.model.task
        rows, values = table.labels.column(federation.task_index(name))
        queries = table.compounds.take(rows)
        identity = [Platt()] * len(task.outputs)
        mixed = calibrated(task, list(one.told.T), identity)
        similarity = one.similarity
        if name in theirs and one.others is not None:
            far = calibrated(task, list(one.others.T), identity)
            near = reference_similarity(theirs[name], student.library, queries)
            mixed = blend(task, mixed, far, own_share(similarity, near))
            similarity = np.maximum(similarity, near)
        decision, raw = Decision(), mixed
        if task.kind == "binary":
            calibration = fit_platt(logit(mixed[:, 0]), values)
            mixed = calibration(logit(mixed))
            threshold = prevalence_threshold(mixed[:, 0], float(values.mean()))
            decision = Decision(calibration, threshold)
        calls = measured_calls(task, raw, decision.uncalibrated_threshold, similarity, values)
        domain = ReliabilityDomain() if calls is None else ReliabilityDomain().fit_calls(calls)
        held = theirs[name].domains[domain.kind] if name in theirs else None
        if isinstance(held, ReliabilityDomain):
            domain = domain.stricter(held)
        decisions[name] = replace(decision, domain=domain)
        told[name] = mixed
        metrics[name] = out_of_fold_metrics(task, mixed, values, decision.threshold)
    return decisions, metrics, told
