"""Train a teacher: a keyed cross-fitted model of one partner's private data."""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FileFormatError, FluidError, TrainingError
from fluid.base.files import atomic_folder, check_folder, recover_folder, write_text
from fluid.base.jobs import count_jobs
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.chem.tables import write_rejects
from fluid.exchange.federation import Federation, check_partner_name
from fluid.exchange.mechanism import PATE
from fluid.learn.crossfit import CrossFitted, cross_fit
from fluid.learn.domain import fit_domains
from fluid.learn.estimators import AUTO, LEARNERS
from fluid.learn.folds import COMPOUND, FOLDS_BY, FRAMEWORK, SECRET_BYTES, fold_keys
from fluid.learn.measured import Measured
from fluid.learn.metrics import compute_metrics
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.own_fold import folds_of_repeats
from fluid.learn.predictions import measured_calls
from fluid.learn.reliability import NEIGHBOURS, ReliabilityMap
from fluid.learn.storage import MODEL_FILE, load_model, save_model
from fluid.learn.task import Task
from fluid.learn.thresholds import prevalence_threshold
from fluid.partner.ledger import carry_over, kept_ledger
from fluid.partner.pate import SUB_TEACHERS, fit_sub_teachers
from fluid.partner.table import Columns, LabelledCompounds, read_labelled

logger = logging.getLogger(__name__)

SECRET_FILE = "fold.key"
FEDERATION_FILE = "federation.toml"
REJECTS_FILE = "rejects.csv"


@dataclass(frozen=True)
class TrainingOptions:
    """How a partner trains; its own choice within what is agreed.

    Attributes
    ----------
    learner
        Key of `fluid.learn.estimators.LEARNERS`, or ``"auto"``.
    folds, repeats
        Of cross-fitting: 3 to 20 and 1 to 20.
    seed
        Of the learners. The folds depend on the partner's secret alone.
    folds_by
        What shares a fold, ``"compound"`` or ``"framework"``, at least as strict as the
        federation's policy; empty for what that says.
    """

    learner: str = AUTO
    folds: int = 5
    repeats: int = 3
    seed: int = 0
    folds_by: str = ""

    def __post_init__(self) -> None:
        if self.folds_by and self.folds_by not in FOLDS_BY:
            raise FluidError(f"folds_by '{self.folds_by}': allowed are {', '.join(FOLDS_BY)}")
        if self.learner != AUTO and self.learner not in LEARNERS:
            allowed = ", ".join([AUTO, *LEARNERS])
            raise FluidError(f"learner '{self.learner}': allowed are {allowed}")
        if not 3 <= self.folds <= 20:
            raise FluidError(f"folds = {self.folds}: allowed are 3 to 20")
        if not 1 <= self.repeats <= 20:
            raise FluidError(f"repeats = {self.repeats}: allowed are 1 to 20")
        if not 0 <= self.seed < 2**31:
            raise FluidError(f"seed = {self.seed}: allowed are 0 to 2147483647")

    def folds_agreed(self, federation: Federation) -> str:
        """What shares a fold under a contract.

        Raises
        ------
        FluidError
            If these options are looser than the federation's policy.
        """
        agreed = federation.policy.folds_by
        own = self.folds_by or agreed
        if FOLDS_BY.index(own) < FOLDS_BY.index(agreed):
            raise FluidError(
                f"folds_by '{own}' is looser than the policy of federation '{federation.name}'; "
                f"allowed is {agreed}"
            )
        return own


@dataclass(frozen=True)
class TrainingSummary:
    """What came of training.

    Attributes
    ----------
    card
        Of the model written.
    n_rows, n_compounds, n_rejected
        Rows read, connectivities trained on, rows and labels set aside.
    skipped
        Tasks without a model, and why.
    """

    card: Card
    n_rows: int
    n_compounds: int
    n_rejected: int
    skipped: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "kind": self.card.kind,
            "name": self.card.name,
            "rows": self.n_rows,
            "compounds": self.n_compounds,
            "rejected": self.n_rejected,
            "skipped": self.skipped,
            "training": self.card.training,
            "out_of_fold": self.card.metrics,
        }


def train_teacher(
    sources: Sequence[Path],
    federation: Federation,
    federation_path: Path,
    partner: str,
    output: Path,
    options: TrainingOptions | None = None,
    columns: Columns | None = None,
    secret_path: Path | None = None,
    reference: bool = False,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> TrainingSummary:
    """Train a teacher from private tables and write its folder.

    The folder holds the model, the rejects, a copy of the federation file, and the secret of the
    folds (owner-only). A secret that is already in the folder is kept, so that training again
    gives a compound the same fold; so is the ledger, for a new model is no new budget.

    Parameters
    ----------
    sources
        Private tables.
    federation, federation_path
        The contract, and the file it was read from.
    partner
        Who trains; must be registered.
    output
        The folder to appear, or a teacher's folder to be replaced.
    options, columns
        How to train, and how to read the tables.
    secret_path
        A file with the secret to use, 64 hexadecimal digits, instead of a new one.
    reference
        Train a model outside the federation, such as one on pooled data for comparison: the
        partner need not be registered, and the model cannot annotate.
    jobs
        Cores to use; by default all. The result does not depend on it.
    progress
        Called with the number of rows read so far.

    Raises
    ------
    FluidError
        If the partner is unknown, the table unusable, or the labels too few.
    """
    options = options or TrainingOptions()
    check_folder(output, MODEL_FILE)
    check_partner_name(partner)
    if not reference:
        federation.public_key(partner)
        _warn_if_looser(output, options.folds_agreed(federation))
    federation.chemistry.check(f"federation '{federation.name}'")
    secret = _secret(output, secret_path)
    table = read_labelled(sources, federation.tasks, federation.chemistry, columns, jobs, progress)
    names = ", ".join(str(path) for path in sources)
    fitted = fit_model(
        table, federation, "reference" if reference else "teacher", partner, names, options,
        secret, jobs,
    )  # fmt: skip
    sub_teachers = None
    if federation.mechanism.kind == PATE and not reference:
        sub_teachers = fit_sub_teachers(
            table, federation.tasks, fitted.model, secret, federation.mechanism.sub_teachers,
            options.learner, options.seed, count_jobs(jobs),
        )  # fmt: skip
    with kept_ledger(output), atomic_folder(output, MODEL_FILE) as folder:
        save_model(fitted.model, folder, fitted.measured)
        if sub_teachers is not None:
            (folder / SUB_TEACHERS).mkdir()
            save_model(sub_teachers, folder / SUB_TEACHERS)
        write_text(folder / SECRET_FILE, secret.hex() + "\n", mode=0o600)
        shutil.copyfile(federation_path, folder / FEDERATION_FILE)
        write_rejects(folder / REJECTS_FILE, table.rejects)
        carry_over(output, folder, folder / MODEL_FILE)
    return TrainingSummary(
        fitted.model.card, table.n_rows, len(table.compounds), len(table.rejects), fitted.skipped
    )


def _warn_if_looser(output: Path, folds_by: str) -> None:
    """Say so if the teacher in the folder was trained with stricter folds."""
    recover_folder(output)
    if not (output / MODEL_FILE).is_file():
        return
    try:
        before = load_model(output).card.folds_by
    except FileFormatError:
        # A damaged teacher may be replaced.
        return
    if FOLDS_BY.index(before) > FOLDS_BY.index(folds_by):
        logger.warning(
            "%s: the teacher here was trained with folds by %s; the new one has folds by %s",
            output, before, folds_by,
        )  # fmt: skip


def _secret(output: Path, given: Path | None) -> bytes:
    recover_folder(output)
    kept = output / SECRET_FILE
    if given is not None:
        return read_secret(given)
    return read_secret(kept) if kept.is_file() else secrets.token_bytes(SECRET_BYTES)


def read_secret(path: Path) -> bytes:
    """Read the secret of the folds.

    Raises
    ------
    FileFormatError
        If the file is missing or holds no secret. What it holds is not shown.
    """
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read the secret ({error.strerror})") from error
    except ValueError as error:
        raise FileFormatError(f"{path}: holds no secret of hexadecimal digits") from error
    if len(secret) != SECRET_BYTES:
        raise FileFormatError(f"{path}: holds {len(secret)} bytes, a secret has {SECRET_BYTES}")
    return secret


@dataclass(frozen=True)
class FittedTeacher:
    """A model, and what it says of the compounds it was trained on.

    Attributes
    ----------
    model
        The model.
    skipped
        Tasks that have none, and why.
    out_of_fold
        By task: predictions for the labelled compounds by models that have not seen them, shape
        (n, n_outputs), in the order of ``table.labels.column``; NaN where no fold model exists.
    measured
        The same beside what was measured, and how near the compounds were.
    """

    model: TrainedModel
    skipped: dict[str, str]
    out_of_fold: dict[str, np.ndarray]
    measured: dict[str, Measured]


def fit_model(
    table: LabelledCompounds,
    federation: Federation,
    kind: str,
    name: str,
    source: str,
    options: TrainingOptions,
    secret: bytes,
    jobs: int | None,
) -> FittedTeacher:
    """Cross-fit every task of a table.

    Raises
    ------
    TrainingError
        If no task has labels enough.
    """
    library = table.compounds
    # A reference annotates nothing: nobody's policy is for it.
    folds_by = options.folds_by or COMPOUND
    if kind == "teacher":
        folds_by = options.folds_agreed(federation)
    folds = folds_of_repeats(library, secret, options.repeats, options.folds, folds_by)
    models: list[TaskModel] = []
    skipped: dict[str, str] = {}
    metrics: dict[str, dict[str, float | None]] = {}
    counts: dict[str, dict[str, int]] = {}
    told: dict[str, np.ndarray] = {}
    measured: dict[str, Measured] = {}
    for index, task in enumerate(federation.tasks):
        rows, values = table.labels.column(index)
        fitted = cross_fit(
            library, task, rows, values, folds, options.folds, options.learner, options.seed,
            count_jobs(jobs),
        )  # fmt: skip
        if not np.isfinite(fitted.predictions).any():
            skipped[task.name] = too_few_labels(task, values)
            if fitted.models and folds_by == FRAMEWORK:
                n_frameworks = len(set(fold_keys(library.take(rows), FRAMEWORK)))
                skipped[task.name] = (
                    f"{len(rows)} labelled compounds of {n_frameworks} frameworks, folds by "
                    "framework need more of these"
                )
            logger.warning("%s: task %s: %s; no model", source, task.name, skipped[task.name])
            continue
        if folds_by == FRAMEWORK:
            _warn_of_one_series(library.take(rows), task, source)
        similarity = _own_fold_similarity(library.fingerprints[rows], folds[:, rows])
        model = _task_model(library, task, fitted, values, similarity)
        models.append(model)
        told[task.name] = fitted.predictions
        measured[task.name] = Measured(fitted.predictions, values, similarity)
        metrics[task.name] = out_of_fold_metrics(task, fitted.predictions, values, model.threshold)
        counts[task.name] = count_labels(task, values)
    if not models:
        reasons = "; ".join(f"task {name}: {reason}" for name, reason in skipped.items())
        raise TrainingError(f"{source}: no task can be trained ({reasons})")
    training = {
        "learner": options.learner,
        "folds": options.folds,
        "folds_by": folds_by,
        "repeats": options.repeats,
        "seed": options.seed,
        "compounds": len(library),
        "labels": counts,
    }
    card = Card(
        kind, name, federation.name, federation.round, federation.protocol, training, metrics,
        software_versions(),
    )  # fmt: skip
    trained = TrainedModel(card, federation.chemistry, library, models)
    return FittedTeacher(trained, skipped, told, measured)


def _warn_of_one_series(labelled: Compounds, task: Task, source: str) -> None:
    _, counts = np.unique(fold_keys(labelled, FRAMEWORK), return_counts=True)
    if 2 * counts.max() > len(labelled):
        logger.warning(
            "%s: task %s: %d of %d labelled compounds have one framework; with folds by framework "
            "its labels are learned from the others alone",
            source, task.name, counts.max(), len(labelled),
        )  # fmt: skip


def too_few_labels(task: Task, values: np.ndarray) -> str:
    """Why these labels do not suffice, with their number."""
    if not task.is_classification:
        return f"{len(values)} labelled compounds, about 20 or more are needed"
    n_classes = max(2, len(task.classes))
    counts = np.bincount(values.astype(np.int64), minlength=n_classes)
    shown = " + ".join(str(count) for count in counts)
    if np.sum(counts > 0) == 1:
        return f"one class only ({shown} compounds), about 10 or more of each are needed"
    return f"{shown} compounds by class, about 10 or more of each are needed"


def count_labels(task: Task, values: np.ndarray) -> dict[str, int]:
    """Number of labelled compounds, and of each class."""
    counts = {"compounds": len(values)}
    if task.is_classification:
        names = task.classes or ("0", "1")
        by_class = np.bincount(values.astype(np.int64), minlength=len(names))
        counts |= {label: int(count) for label, count in zip(names, by_class, strict=True)}
    return counts


def _task_model(
    library: Compounds, task: Task, fitted: CrossFitted, values: np.ndarray, similarity: np.ndarray
) -> TaskModel:
    threshold = 0.5
    if task.kind == "binary":
        known = np.isfinite(fitted.predictions[:, 0])
        threshold = prevalence_threshold(fitted.predictions[known, 0], float(values[known].mean()))
    slope = float(np.mean([member.reliability.slope for member in fitted.models]))
    # A domain judges at home and is never exported, so that all out-of-fold predictions may serve.
    held_out = measured_calls(task, fitted.predictions, threshold, similarity, values)
    domains = fit_domains(library, fitted.rows, ReliabilityMap(slope), held_out)
    return TaskModel(task, fitted.models, False, fitted.rows, domains, threshold)


def _own_fold_similarity(fingerprints: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Similarity to the nearest compounds of other folds, mean over repeats, shape (n,)."""

    def similarity(row: np.ndarray) -> np.ndarray:
        found = np.zeros(len(row))
        for fold in np.unique(row):
            mine = row == fold
            found[mine] = neighbour_similarity(fingerprints[mine], fingerprints[~mine], NEIGHBOURS)
        return found

    return np.asarray(np.mean([similarity(row) for row in folds], axis=0))


def out_of_fold_metrics(
    task: Task, predicted: np.ndarray, values: np.ndarray, threshold: float
) -> dict[str, float | None]:
    """Metrics of predictions for compounds that the predicting models have not seen.

    Parameters
    ----------
    task
        What is predicted.
    predicted
        Shape (n, n_outputs); rows with NaN are left out.
    values
        Labels of shape (n,).
    threshold
        Decision threshold of a binary task.
    """
    known = np.isfinite(predicted).all(axis=1)
    predictions = predicted[known]
    if task.kind == "multiclass":
        called = predictions.argmax(axis=1)
    else:
        called = (predictions[:, 0] >= threshold).astype(np.int64)
    found = compute_metrics(task, values[known], predictions, called)
    return {name: None if np.isnan(value) else round(value, 4) for name, value in found.items()}
