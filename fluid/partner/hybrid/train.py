"""Train a hybrid: private tables and what came from the coordinator in, a model folder out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluid.base.errors import FileFormatError, FluidError, MismatchError
from fluid.base.files import REJECTS_FILE, atomic_folder, check_folder
from fluid.base.run import Run
from fluid.chem.tables import write_rejects
from fluid.exchange.annotation import open_annotation
from fluid.exchange.base_student import load_student
from fluid.exchange.federated_set import FederatedSet, open_federated
from fluid.exchange.federation import Federation, check_partner_name
from fluid.learn.model import TrainedModel
from fluid.learn.model_file import MODEL_FILE, load_card
from fluid.learn.storage import save_model
from fluid.partner.hybrid.fit import fit_hybrid
from fluid.partner.hybrid.peer_targets import peer_labels, student_twicing
from fluid.partner.hybrid.private_model import HybridOptions
from fluid.partner.recompute import recompute_compounds
from fluid.partner.table import Columns, read_labelled, rejects_kept, state_columns
from fluid.partner.teacher.folder import SECRET_FILE, read_secret
from fluid.partner.teacher.train import TrainingSummary
from fluid.soft_labels.pooled import PooledSet
from fluid.soft_labels.teacher_labels import TeacherLabels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoundFiles:
    """The files of a round that a partner has.

    Attributes
    ----------
    federated, student
        The federated set of the round, and the student distilled from it.
    annotation
        The partner's own annotation of the round, which is taken out of the pooled labels. Without
        it the partner's own labels remain, and the hybrid's out-of-fold metrics are favourable.
    later_student
        The student of a later round, which answers in place of `student`.
    """

    federated: Path | str
    student: Path | str
    annotation: Path | str | None = None
    later_student: Path | str | None = None


def train_hybrid(
    tables: Sequence[Path | str],
    federation: Federation | Path | str,
    partner: str,
    output: Path | str,
    files: RoundFiles,
    *,
    teacher: Path | str | None = None,
    options: HybridOptions | None = None,
    columns: Columns | None = None,
    run: Run | None = None,
) -> TrainingSummary:
    """Train a hybrid from private tables and the files of a round.

    Its private part is a mixture of two cross-fitted models. One learns the private labels alone.
    The other, a kernel ridge regression, also learns the *other* partners' labels of the nearest
    public compounds. The mixture is half and half; for regression another share is taken if it is
    better out of fold. Where a compound is nearer to the student's compounds than to the partner's,
    the student weighs more (`fluid.learn.hybrid_model`).

    Parameters
    ----------
    tables
        Private tables.
    federation
        The contract.
    partner
        Whose hybrid it is.
    output
        The folder to write.
    files
        The files of the round. Every compound of the federated set is computed again from its
        SMILES, unless this machine has done so, for this file or the public set.
    teacher
        The partner's teacher, whose folds the hybrid then uses.
    options
        How to train the private part.
    columns
        How to read the tables.
    run
        How to run; progress counts rows.

    Raises
    ------
    FluidError
        If the files do not belong together, or the tables do not suffice.

    Examples
    --------
    >>> from fluid import RoundFiles, train_hybrid
    >>> files = RoundFiles(
    ...     "round1/federated.parquet", "round1/student", "draco/annotation.parquet"
    ... )
    >>> summary = train_hybrid(
    ...     ["draco/private.csv"], "federation.toml", "draco", "draco/hybrid", files,
    ...     teacher="draco/teacher",
    ... )
    >>> summary.card.kind
    'hybrid'
    """
    run, output = run or Run(), Path(output)
    contract = Federation.load(federation)
    check_folder(output, MODEL_FILE)
    if (output / MODEL_FILE).is_file() and (held := load_card(output).kind) != "hybrid":
        raise FluidError(
            f"{output}: holds a {held}, which is not replaced by a hybrid; name a new folder"
        )
    check_partner_name(partner)
    options = options or HybridOptions()
    if teacher is not None:
        options = in_folds_of(options, Path(teacher), partner, contract)
    received = open_federated(Path(files.federated))
    received.check(contract)
    first = _load_first(Path(files.student), received, contract)
    if received.sealed.manifest.get("base_student"):
        logger.warning(
            "%s: its labels correct a student that may have learned from this partner, so that the "
            "hybrid's out-of-fold metrics, domains and prediction sets are favourable. Train on "
            "the first round's federated set, with --later-student",
            files.federated,
        )
    later = None
    if files.later_student is not None:
        later = _load_later(Path(files.later_student), first, contract)
    contract.chemistry.check(f"federation '{contract.name}'")
    paths = [Path(path) for path in tables]
    with rejects_kept(output, REJECTS_FILE):
        table = read_labelled(
            paths, contract.tasks, contract.chemistry, columns, run.jobs, run.progress, run.stage
        )
    public, labels = received.load()
    recompute_compounds(public, received.sealed.path, contract.chemistry, Run(jobs=run.jobs))
    pooled = PooledSet(public, labels, received.sealed.digest)
    if files.annotation is not None:
        own = _own_labels(Path(files.annotation), received, partner)
        pooled = peer_labels(pooled, own)
    fitted = fit_hybrid(
        table, pooled, first, contract, partner, options=options, later_student=later, run=run
    )
    state_columns(fitted.model.card, table)
    with atomic_folder(output, MODEL_FILE, private=True) as folder:
        save_model(fitted.model, folder, fitted.measured)
        write_rejects(folder / REJECTS_FILE, table.rejects)
    return TrainingSummary(
        fitted.model.card, table.n_rows, len(table.compounds), len(table.rejects), fitted.skipped
    )


def in_folds_of(
    options: HybridOptions, teacher: Path, partner: str, federation: Federation
) -> HybridOptions:
    """Options with the folds of the partner's teacher.

    Raises
    ------
    FluidError
        If the folder holds no teacher, or the teacher of another partner or federation.
    """
    card = load_card(teacher)
    for what, stated, wanted in (
        ("kind", card.kind, "teacher"),
        ("partner", card.name, partner),
        ("federation", card.federation, federation.name),
        ("protocol", card.protocol[:12], federation.protocol[:12]),
    ):
        if stated != wanted:
            raise MismatchError(
                f"{teacher}: is of {what} '{stated}', but '{wanted}' is needed for this hybrid"
            )
    secret = read_secret(teacher / SECRET_FILE)
    return replace(options, secret=secret, folds_by=card.folds_by)


def _own_labels(path: Path, received: FederatedSet, partner: str) -> dict[str, TeacherLabels]:
    """The partner's labels as they were pooled, from the annotation that was pooled."""
    found = open_annotation(path)
    if found.partner != partner:
        raise MismatchError(
            f"{path}: is of partner '{found.partner}', but the hybrid is for '{partner}'"
        )
    pooled = received.sealed.manifest.get("annotations")
    stated = pooled.get(partner) if isinstance(pooled, dict) else None
    if stated != found.sealed.digest:
        raise MismatchError(
            f"{path}: its digest is {found.sealed.digest[:12]}, but {received.sealed.path} was "
            f"pooled from {str(stated)[:12]}"
        )
    chunks = [labels for _, labels in found.chunks()]
    trust = {name: by_partner.get(partner, 1.0) for name, by_partner in received.trust.items()}
    # Of a task from which the partner was left out nothing is to be taken.
    return {
        task.name: TeacherLabels(
            np.concatenate([labels[task.name].prediction for labels in chunks]),
            np.concatenate([labels[task.name].uncertainty for labels in chunks]),
            np.concatenate([labels[task.name].reliability for labels in chunks]),
        ).trusted(trust.get(task.name, 1.0))
        for task in found.tasks
        if trust.get(task.name, 1.0) > 0.0
    }


def _load_first(path: Path, received: FederatedSet, federation: Federation) -> TrainedModel:
    """Load the student, and make sure that it was distilled from this federated set."""
    student = load_student(path, federation)
    source = str(student.card.training.get("federated_set"))
    if source != received.sealed.digest:
        raise MismatchError(
            f"{path}: was distilled from the federated set {source[:12]}, but "
            f"{received.sealed.path} is {received.sealed.digest[:12]}"
        )
    try:
        student_twicing(student)
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from error
    return student


def _load_later(path: Path, first: TrainedModel, federation: Federation) -> TrainedModel:
    """Load the student of a later round, and make sure that it predicts the same tasks."""
    later = load_student(path, federation)
    if not later.card.training.get("base_student"):
        raise MismatchError(f"{path}: is not the student of a later round: it has no base student")
    lacking = [task.name for task in first.tasks if task not in later.tasks]
    if lacking:
        raise MismatchError(f"{path}: does not predict task '{lacking[0]}' of the first student")
    return later
