"""Audit a teacher and its draft annotation, at the partner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, MismatchError
from fluid.base.files import sha256_file
from fluid.base.jobs import Workers, count_jobs
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.similarity import nearest_references
from fluid.exchange.annotation import AnnotationFile, open_annotation
from fluid.exchange.base_student import load_base_student
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import PublicSet
from fluid.learn.labels import LabelMatrix
from fluid.learn.model import TrainedModel
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.storage import load_trained
from fluid.partner.audit.balance import infer_balance
from fluid.partner.audit.channels import attack_game
from fluid.partner.audit.exports import ShadowOptions, make_labeler
from fluid.partner.audit.game import ANALOGUES, make_arena, play
from fluid.partner.audit.influence import measure_influence
from fluid.partner.audit.noise import audit_federation
from fluid.partner.audit.repeated import attack_retraining
from fluid.partner.audit.results import AuditReport, Thresholds
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.residuals import measured_labels
from fluid.partner.teacher_folder import FEDERATION_FILE, SECRET_FILE, read_secret

# What the attacker knows of the rest: nothing but that half of it is in, or nine tenths of it.
HALF, MOST = 0.5, 0.9


@dataclass(frozen=True)
class AuditOptions:
    """How much is tried.

    Attributes
    ----------
    shadows
        Shadow teachers of each game, 4 to 1024.
    overlap
        Compounds that are both private and public to retrain without, 0 or more.
    seed
        Of coins, secrets and draws.
    delta
        Of the bound on epsilon, in [0, 1).
    """

    shadows: int = 32
    overlap: int = 16
    seed: int = 0
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not 4 <= self.shadows <= 1024:
            raise FluidError(f"shadows = {self.shadows}: allowed are 4 to 1024")
        if not 0 <= self.overlap <= 100_000:
            raise FluidError(f"overlap = {self.overlap}: allowed are 0 to 100000")
        if not 0.0 <= self.delta < 1.0:
            raise FluidError(f"delta = {self.delta}: allowed are 0 to below 1")


@dataclass(frozen=True)
class AuditTarget:
    """What is audited, and what other checks are given.

    Attributes
    ----------
    table
        The private compounds and labels that the teacher was trained on.
    public
        Public compounds near the private ones, and those that are private too.
    federation, options, secret
        As the teacher was trained; what counts is the policy that the partner keeps to.
    """

    table: LabelledCompounds
    public: Compounds
    federation: Federation
    options: TrainingOptions
    secret: bytes


# Further checks by name, such as planted canaries for a policy that draws noise. Each is given the
# subject, the options and a number of jobs, and returns plain values for the report, with
# ``passed`` among them, or None if it has nothing to say of this policy.
Check = Callable[[AuditTarget, AuditOptions, int], dict[str, Any] | None]
CHECKS: dict[str, Check] = {
    "noise": lambda target, options, jobs: audit_federation(
        target.federation.mechanism, target.federation.tasks
    ),
}

Progress = Callable[[str, int, int], None]


def _silent(stage: str, done: int, total: int) -> None:
    pass


def audit(
    teacher: Path,
    public: PublicSet,
    draft: Path,
    federation_path: Path | None = None,
    options: AuditOptions | None = None,
    jobs: int | None = None,
    progress: Progress = _silent,
    workers: Workers | None = None,
    student: Path | None = None,
) -> AuditReport:
    """Attack a teacher's draft, and an unprotected export made with the same settings.

    Parameters
    ----------
    teacher
        The teacher's folder.
    public
        The public set that was annotated.
    draft
        The annotation, signed or not.
    federation_path
        The federation file of this round, if it is another than at training.
    options
        How much is tried.
    jobs
        Cores to use; by default all. The result does not depend on it.
    progress
        Called with a stage, how many teachers of it are trained, and how many there are.
    workers
        Who trains shadow teachers in place of this process, such as a cluster: they are sent the
        private table, which they must be allowed to see. The result does not depend on it.
    student
        The student that the draft corrects, if it does. It is taken as given, for everybody has
        it; what it gives away is what the drafts before gave away.

    Raises
    ------
    FluidError
        If teacher, public set, federation, draft and student do not belong together.
    """
    options = options or AuditOptions()
    model = load_trained(teacher, "teacher")
    federation = load_federation(federation_path or teacher / FEDERATION_FILE)
    federation.chemistry.check(f"federation '{federation.name}'")
    public.check(federation)
    annotation = open_annotation(draft)
    _check_identity(annotation, model, federation, public)
    federation = replace(federation, own_policy=annotation.policy)
    corrected = _corrected(annotation, student, federation)
    target, positions = _subject(teacher, model, federation, public, corrected)
    threads = count_jobs(jobs)
    _check_labels(annotation, model, target, positions, threads)
    return attack(
        target,
        options,
        {
            "partner": model.card.name,
            "protocol": federation.protocol,
            "teacher": sha256_file(teacher / MODEL_FILE),
            "annotation": annotation.sealed.digest,
            "public_set": public.digest,
        }
        | ({"base_student": annotation.base_student} if annotation.base_student else {}),
        threads,
        progress,
        workers,
    )


def attack(
    target: AuditTarget,
    options: AuditOptions,
    identity: dict[str, Any],
    jobs: int,
    progress: Progress = _silent,
    workers: Workers | None = None,
) -> AuditReport:
    """The audit itself, once everything is at hand; see `audit`."""
    federation, settings, shadows = target.federation, target.options, options.shadows

    def tell(stage: str, total: int) -> Callable[[int], None]:
        progress(stage, 0, total)
        return lambda done: progress(stage, done, total)

    # Where noise is drawn every row differs anyway, and there is nothing to compare.
    overlap = 0 if draws_noise(federation) else options.overlap
    influence = measure_influence(
        target.table, target.public, federation, settings, target.secret, overlap,
        options.seed, jobs, tell("retraining without overlaps", overlap),
    )  # fmt: skip
    arena = make_arena(target.table, target.public)
    game = play(
        arena, federation, settings, HALF, shadows, options.seed, jobs,
        tell("shadow teachers of half the compounds", shadows), workers=workers,
    )  # fmt: skip
    attacks = list(attack_game(game, federation, HALF, options.delta))
    game = play(
        arena, federation, settings, MOST, shadows, options.seed, jobs,
        tell("shadow teachers of nine tenths", shadows), unprotected=False, workers=workers,
    )  # fmt: skip
    attacks += attack_game(game, federation, MOST, options.delta, closed=False)
    attacks += attack_retraining(
        game, federation, settings, MOST, shadows, options.delta, options.seed, jobs,
        tell("trained again with one compound more", shadows), workers,
    )  # fmt: skip
    distribution = list(
        infer_balance(
            arena, federation, settings, shadows, options.seed, jobs,
            tell("shadow teachers of other balances", shadows), workers,
        )
    )  # fmt: skip
    found = {name: check(target, options, jobs) for name, check in sorted(CHECKS.items())}
    policy = federation.in_force
    return AuditReport(
        identity,
        {
            "shadows": shadows,
            "overlap": options.overlap,
            "seed": options.seed,
            "delta": options.delta,
            "compounds": len(target.table.compounds),
            "public_near": len(arena.public) - len(target.table.compounds),
            "learner": settings.learner,
            "folds": settings.folds,
            "folds_by": settings.folds_agreed(federation),
            "repeats": settings.repeats,
            "policy": policy.to_dict(),
            "software": software_versions(),
        },
        Thresholds(policy.audit_max_auc, policy.audit_max_neighbour_auc),
        attacks,
        influence,
        distribution,
        {name: values for name, values in found.items() if values is not None},
    )


def _check_identity(
    annotation: AnnotationFile, model: TrainedModel, federation: Federation, public: PublicSet
) -> None:
    path = annotation.sealed.path
    if model.card.protocol != federation.protocol:
        raise MismatchError(
            f"{path}: the teacher was trained for protocol {model.card.protocol[:12]}, but the "
            f"federation's is {federation.protocol[:12]}; train the teacher again"
        )
    manifest = annotation.sealed.manifest
    for what, stated, wanted in (
        ("partner", annotation.partner, model.card.name),
        ("protocol", str(manifest.get("protocol"))[:12], federation.protocol[:12]),
        ("public set", str(manifest.get("public_set"))[:12], public.digest[:12]),
    ):
        if stated != wanted:
            raise MismatchError(f"{path}: is of {what} {stated}, but {wanted} is to be audited")


def draws_noise(federation: Federation) -> bool:
    """Whether two annotations by one teacher differ, because the federation asks for noise."""
    return federation.mechanism.is_used


def training_options(model: TrainedModel, student: TrainedModel | None = None) -> ShadowOptions:
    """How a teacher was trained, and which student it corrects."""
    training = model.card.training
    return ShadowOptions(
        str(training["learner"]), int(training["folds"]), int(training["repeats"]),
        int(training["seed"]), model.card.folds_by, student,
    )  # fmt: skip


def _corrected(
    annotation: AnnotationFile, student: Path | None, federation: Federation
) -> TrainedModel | None:
    """The student that a draft corrects."""
    path = annotation.sealed.path
    if annotation.base_student is None:
        if student is not None:
            raise MismatchError(f"{path}: corrects no student, but {student} is given")
        return None
    if student is None:
        raise MismatchError(
            f"{path}: corrects the student '{annotation.base_student[:12]}...'; "
            "name it with --student"
        )
    target = load_base_student(student, federation)
    if target.digest != annotation.base_student:
        raise MismatchError(
            f"{path}: corrects the student '{annotation.base_student[:12]}...', but {student} is "
            f"'{target.digest[:12]}...'"
        )
    return target.student


def private_table(folder: Path, model: TrainedModel, federation: Federation) -> LabelledCompounds:
    """The compounds and labels that a teacher was trained on, from its folder.

    Raises
    ------
    FluidError
        If the folder holds no labels.
    """
    measured = measured_labels(folder, model)
    rows, tasks, values = [], [], []
    for task_model in model.task_models:
        name = task_model.task.name
        rows.append(task_model.rows)
        tasks.append(np.full(len(task_model.rows), federation.task_index(name)))
        values.append(measured[name])
    n_labels = sum(len(each) for each in rows)
    labels = LabelMatrix(
        np.concatenate(rows), np.concatenate(tasks), np.concatenate(values),
        np.zeros(n_labels, dtype=np.int8), np.ones(n_labels),
        (len(model.library), len(federation.tasks)),
    )  # fmt: skip
    return LabelledCompounds(model.library, labels, [], len(model.library))


def near_public(public: PublicSet, own: Compounds) -> tuple[Compounds, np.ndarray]:
    """Public compounds near private ones or private themselves, and their positions."""
    private = set(own.connectivities)
    parts, positions, start = [], [], 0
    for chunk in public.chunks():
        shared = np.array([key in private for key in chunk.connectivities], dtype=bool)
        others = np.flatnonzero(~shared)
        _, where = nearest_references(own.fingerprints, chunk.fingerprints[others], ANALOGUES)
        rows = np.union1d(np.flatnonzero(shared), others[np.unique(where[where >= 0])])
        parts.append(chunk.take(rows))
        positions.append(rows + start)
        start += len(chunk)
    return concatenate(parts), np.concatenate(positions)


def _subject(
    folder: Path,
    model: TrainedModel,
    federation: Federation,
    public: PublicSet,
    student: TrainedModel | None,
) -> tuple[AuditTarget, np.ndarray]:
    table = private_table(folder, model, federation)
    near, positions = near_public(public, table.compounds)
    secret = read_secret(folder / SECRET_FILE)
    options = training_options(model, student)
    return AuditTarget(table, near, federation, options, secret), positions


def _check_labels(
    annotation: AnnotationFile,
    model: TrainedModel,
    target: AuditTarget,
    positions: np.ndarray,
    jobs: int,
) -> None:
    """Make sure that the draft says what this teacher says, of the compounds that are looked at."""
    if draws_noise(target.federation):
        return
    labeler = make_labeler(
        model, target.table, target.secret, target.federation, target.options, jobs
    )
    said = labeler.label(target.public, jobs)
    start = 0
    for keys, labels in annotation.chunks():
        here = (positions >= start) & (positions < start + len(keys))
        for name, stated in labels.items():
            for mine, theirs in (
                (said[name].prediction, stated.prediction),
                (said[name].reliability, stated.reliability),
            ):
                rows = positions[here] - start
                if not np.array_equal(mine[here], theirs[rows], equal_nan=True):
                    raise MismatchError(
                        f"{annotation.sealed.path}: task '{name}': this teacher says something "
                        "else; annotate again, or name the teacher that it was made with"
                    )
        start += len(keys)
