"""Train a hybrid: a partner's own data and the pooled labels together; it stays at home."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import FileFormatError, MismatchError
from fluid.base.files import atomic_folder, check_folder
from fluid.base.jobs import count_jobs, single_threaded_blas
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds
from fluid.chem.tables import write_rejects
from fluid.exchange.annotation import open_annotation
from fluid.exchange.base_student import load_student
from fluid.exchange.federated_set import FederatedSet, open_federated
from fluid.exchange.federation import Federation, check_partner_name
from fluid.learn.calibration import Platt, fit_platt
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.crossfit import calibrated
from fluid.learn.estimators import (
    logit,
)
from fluid.learn.hybrid_model import (
    BLEND_FACTORS,
    CORRECTED_FACTORS,
    BlendWeight,
    Decision,
    HybridModel,
    reference_similarity,
)
from fluid.learn.measured import Measured
from fluid.learn.model import Card, TrainedModel
from fluid.learn.model_file import MODEL_FILE, load_card
from fluid.learn.predictions import measured_calls
from fluid.learn.storage import load_trained, save_model
from fluid.learn.thresholds import prevalence_threshold
from fluid.partner.hybrid.blend_weight import choose_blend_weight
from fluid.partner.hybrid.peer_targets import student_twicing
from fluid.partner.hybrid.private_model import HybridOptions, PrivateTask, fit_private_model
from fluid.partner.table import Columns, LabelledCompounds, read_labelled
from fluid.partner.teacher.fit import out_of_fold_metrics
from fluid.partner.teacher.train import TrainingSummary
from fluid.partner.teacher_folder import REJECTS_FILE, SECRET_FILE, read_secret
from fluid.soft_labels.pooled import PooledLabels, without_partner
from fluid.soft_labels.teacher_labels import TeacherLabels

logger = logging.getLogger(__name__)


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
    later_path: Path | None = None,
) -> TrainingSummary:
    """Train a hybrid from private tables and what came back from the coordinator.

    Its private part is a mixture of two cross-fitted models, half and half or, of numbers, as is
    right out of fold: one of the private labels alone, and a kernel ridge regression on them
    together with what the *other* partners say of the nearest public compounds. Where a compound
    is nearer to what the student knows, the student has the say (`fluid.learn.hybrid_model`).

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
    later_path
        The student of a later round, which is to answer in place of `student_path`'s.

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
    if federated.sealed.manifest.get("base_student"):
        logger.warning(
            "%s: its labels correct a student that may have heard this partner: out-of-fold "
            "metrics, domains and prediction sets of the hybrid will be favourable; better train "
            "it on the federated set of the first round, with --later-student",
            federated_path,
        )  # fmt: skip
    later = _check_later(later_path, student, federation) if later_path is not None else None
    federation.chemistry.check(f"federation '{federation.name}'")
    table = read_labelled(sources, federation.tasks, federation.chemistry, columns, jobs, progress)
    names = ", ".join(str(path) for path in sources)
    public, pooled = federated.load()
    if annotation is not None:
        said = _own_annotation(annotation, federated, federation, name)
        pooled = peer_labels(pooled, said)
    fitted = fit_hybrid(
        table, public, pooled, federated.sealed.digest, student, federation, name, names, options,
        count_jobs(jobs), later,
    )  # fmt: skip
    skipped = fitted.skipped
    with atomic_folder(output, MODEL_FILE) as folder:
        save_model(fitted.model, folder, fitted.measured)
        write_rejects(folder / REJECTS_FILE, table.rejects)
    return TrainingSummary(
        fitted.model.card, table.n_rows, len(table.compounds), len(table.rejects), skipped
    )


def in_folds_of(
    options: HybridOptions, teacher: Path, name: str, federation: Federation
) -> HybridOptions:
    """The options of a hybrid whose folds are those of the partner's teacher.

    Raises
    ------
    FluidError
        If the folder holds no teacher, or one of another partner or federation.
    """
    card = load_card(teacher)
    for what, stated, wanted in (
        ("kind", card.kind, "teacher"),
        ("partner", card.name, name),
        ("federation", card.federation, federation.name),
        ("protocol", card.protocol[:12], federation.protocol[:12]),
    ):
        if stated != wanted:
            raise MismatchError(
                f"{teacher}: is of {what} '{stated}', but '{wanted}' is needed for this hybrid"
            )
    secret = read_secret(teacher / SECRET_FILE)
    return replace(options, secret=secret, folds_by=card.folds_by)


def peer_labels(
    pooled: Mapping[str, PooledLabels], said: Mapping[str, TeacherLabels]
) -> dict[str, PooledLabels]:
    """Pooled labels of every task without what this partner said."""
    return {
        name: without_partner(one, said[name]) if name in said else one
        for name, one in pooled.items()
    }


def _own_annotation(
    path: Path, federated: FederatedSet, federation: Federation, name: str
) -> dict[str, TeacherLabels]:
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
        task.name: TeacherLabels(
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
    measured
        The same beside what was measured, and how near the compounds were.
    """

    model: HybridModel
    skipped: dict[str, str]
    out_of_fold: dict[str, np.ndarray]
    measured: dict[str, Measured]


@single_threaded_blas()
def fit_hybrid(
    table: LabelledCompounds,
    public: Compounds,
    pooled: dict[str, PooledLabels],
    digest: str,
    student: TrainedModel,
    federation: Federation,
    name: str,
    source: str,
    options: HybridOptions,
    jobs: int = 1,
    later: TrainedModel | None = None,
) -> FittedHybrid:
    """Fit a hybrid in memory; see `train_hybrid`.

    Parameters
    ----------
    table
        The private compounds and labels.
    public, pooled, digest
        The federated set: its compounds, its labels by task (best without this partner's own,
        see `peer_labels`), and its digest.
    student
        Distilled from it.
    federation, name, source, options, jobs
        The contract, whose hybrid it is, what it was read from (for messages), settings, threads.
    later
        The student of a later round, to answer in place of `student`. What the other partners'
        labels alone say, which everything is chosen by, still comes from the first labels: those
        of a later round rest on a student that has heard this partner.
    """
    own, fitted, skipped = fit_private_model(
        table, public, pooled, digest, federation, name, source, options, jobs,
        student_twicing(student),
    )  # fmt: skip
    answering = later or student
    corrected = [task.name for task in student.tasks if later and not task.is_classification]
    decisions, metrics, measured = _assess(table, fitted, answering, federation, corrected)
    card = Card(
        "hybrid", name, federation.name, federation.round, federation.protocol,
        own.card.training, metrics, software_versions(),
    )  # fmt: skip
    told = {task: one.values for task, one in measured.items()}
    return FittedHybrid(HybridModel(card, own, answering, decisions), skipped, told, measured)


def _check_later(path: Path, student: TrainedModel, federation: Federation) -> TrainedModel:
    """Load the student of a later round and make sure that it predicts what the first one does."""
    later = load_student(path, federation)
    if not later.card.training.get("base_student"):
        raise MismatchError(f"{path}: is no student of a later round: it corrects none")
    lacking = [task.name for task in student.tasks if task not in later.tasks]
    if lacking:
        raise MismatchError(f"{path}: does not predict task '{lacking[0]}' of the first student")
    return later


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
    try:
        student_twicing(student)
    except ValueError as error:
        raise FileFormatError(f"{student_path}: {error}") from error
    return student


def _assess(
    table: LabelledCompounds,
    own: Mapping[str, PrivateTask],
    student: TrainedModel,
    federation: Federation,
    corrected: Sequence[str],
) -> tuple[dict[str, Decision], dict[str, dict[str, float | None]], dict[str, Measured]]:
    """Calibration, decision thresholds, domains and out-of-fold metrics of the blend.

    The private part is taken out of fold, and in place of the student stands what the other
    partners' labels alone say, for the student has learned from labels of public neighbours that
    this partner's teacher gave knowing the compound. Without the partner's own annotation the
    pooled labels cannot be freed from that, and all this is favourable. The domain is fitted
    before calibration and made as strict as the student's. How much the own model weighs is
    chosen by all compounds for the hybrid, and for these predictions by the other folds'; a
    student of a later round has more of a say in tasks that were `corrected`.
    """
    decisions: dict[str, Decision] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    measured: dict[str, Measured] = {}
    theirs = {model.task.name: model for model in student.task_models}
    for name, one in own.items():
        task = one.model.task
        rows, values = table.labels.column(federation.task_index(name))
        queries = table.compounds.take(rows)
        identity = [Platt()] * len(task.outputs)
        mixed = calibrated(task, list(one.told.T), identity)
        similarity, weight = one.similarity, BlendWeight()
        if name in theirs and one.others is not None:
            far = calibrated(task, list(one.others.T), identity)
            near = reference_similarity(theirs[name], student.library, queries)
            weight, mixed = choose_blend_weight(
                task, mixed, far, similarity, near, values, one.folds,
                CORRECTED_FACTORS if name in corrected else BLEND_FACTORS,
            )  # fmt: skip
            similarity = np.maximum(similarity, near)
        decision, raw = Decision(blend_weight=weight), mixed
        if task.kind == "binary":
            calibration = fit_platt(logit(mixed[:, 0]), values)
            mixed = calibration(logit(mixed))
            threshold = prevalence_threshold(mixed[:, 0], float(values.mean()))
            decision = replace(decision, calibration=calibration, threshold=threshold)
        calls = measured_calls(task, raw, decision.uncalibrated_threshold, similarity, values)
        domain = ReliabilityDomain() if calls is None else ReliabilityDomain().fit_calls(calls)
        held = theirs[name].domains[domain.kind] if name in theirs else None
        if isinstance(held, ReliabilityDomain):
            domain = domain.stricter(held)
        decisions[name] = replace(decision, domain=domain)
        measured[name] = Measured(mixed, values, similarity)
        metrics[name] = out_of_fold_metrics(task, mixed, values, decision.threshold)
    return decisions, metrics, measured
