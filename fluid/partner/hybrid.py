"""Train a hybrid: a partner's own data beside what the federation knows; it stays at home."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fluid.base.errors import MismatchError
from fluid.base.files import atomic_folder, check_folder
from fluid.base.software import software_versions
from fluid.chem.tables import write_rejects
from fluid.exchange.federated_set import open_federated
from fluid.exchange.federation import Federation, check_partner_name
from fluid.learn.hybrid import HybridModel, blend, own_share, reference_similarity
from fluid.learn.model import Card, TrainedModel
from fluid.learn.own_fold import folds_of_repeats, label_own_fold
from fluid.learn.storage import MODEL_FILE, load_trained, save_model
from fluid.learn.thresholds import prevalence_threshold
from fluid.partner.table import Columns, LabelledCompounds, read_labelled
from fluid.partner.teacher import (
    REJECTS_FILE,
    TrainingOptions,
    TrainingSummary,
    fit_model,
    hybrid_secret,
    out_of_fold_metrics,
)


def train_hybrid(
    sources: Sequence[Path],
    federated_path: Path,
    student_path: Path,
    federation: Federation,
    output: Path,
    name: str,
    options: TrainingOptions | None = None,
    columns: Columns | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> TrainingSummary:
    """Train a hybrid from private tables and what came back from the coordinator.

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
        How to train the own part, and how to read the tables.
    jobs
        Cores to use; by default all.
    progress
        Called with the number of rows read so far.

    Raises
    ------
    FluidError
        If student, federated set and federation do not belong together, or the table does not
        suffice.
    """
    options = options or TrainingOptions()
    check_folder(output, MODEL_FILE)
    check_partner_name(name)
    student = _check_student(federated_path, student_path, federation)
    federation.chemistry.check(f"federation '{federation.name}'")
    table = read_labelled(sources, federation.tasks, federation.chemistry, columns, jobs, progress)
    names = ", ".join(str(path) for path in sources)
    secret = hybrid_secret(options.seed)
    own, skipped = fit_model(table, federation, "own", name, names, options, secret, jobs)
    thresholds, metrics = _assess(table, own, student, federation, options, secret)
    card = Card(
        "hybrid", name, federation.name, federation.round, federation.protocol,
        own.card.training | {"federated_set": student.card.training["federated_set"]},
        metrics, software_versions(),
    )  # fmt: skip
    with atomic_folder(output, MODEL_FILE) as folder:
        save_model(HybridModel(card, own, student, thresholds), folder)
        write_rejects(folder / REJECTS_FILE, table.rejects)
    return TrainingSummary(card, table.n_rows, len(table.compounds), len(table.rejects), skipped)


def _check_student(
    federated_path: Path, student_path: Path, federation: Federation
) -> TrainedModel:
    """Load the student and make sure that it was distilled from this federated set."""
    federated = open_federated(federated_path)
    student = load_trained(student_path, "student")
    for path, protocol in (
        (federated_path, federated.sealed.manifest.get("protocol")),
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
            f"{federated_path} is {federated.sealed.digest[:12]}"
        )
    return student


def _assess(
    table: LabelledCompounds,
    own: TrainedModel,
    student: TrainedModel,
    federation: Federation,
    options: TrainingOptions,
    secret: bytes,
) -> tuple[dict[str, float], dict[str, dict[str, float | None]]]:
    """Decision thresholds and out-of-fold metrics of the blend.

    The own part is taken out of fold. The student needs no folds: it has learned from labels
    that this partner's teacher gave without having seen the compound.
    """
    thresholds: dict[str, float] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    theirs = {model.task.name: model for model in student.task_models}
    folds = folds_of_repeats(table.compounds, secret, options.repeats, options.folds)
    for model in own.task_models:
        task = model.task
        rows, values = table.labels.column(federation.task_index(task.name))
        queries = table.compounds.take(rows)
        mine = label_own_fold(model, table.compounds, folds, queries, folds[:, rows])
        mixed = mine.prediction
        if task.name in theirs:
            far = theirs[task.name].predict(queries, student.library, None)
            near = reference_similarity(theirs[task.name], student.library, queries)
            mixed = blend(task, mixed, far.values, own_share(mine.similarity, near))
        known = np.isfinite(mixed).all(axis=1)
        threshold = 0.5
        if task.kind == "binary":
            threshold = prevalence_threshold(mixed[known, 0], float(values[known].mean()))
            thresholds[task.name] = threshold
        metrics[task.name] = out_of_fold_metrics(task, mixed, values, threshold)
    return thresholds, metrics
