"""Audit a teacher and its draft annotation, at the partner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import MismatchError
from fluid.base.files import sha256_file
from fluid.base.run import Run
from fluid.base.software import software_versions
from fluid.exchange.annotation import AnnotationFile, open_annotation
from fluid.exchange.base_student import load_base_student
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.learn.labels import LabelMatrix
from fluid.learn.model import TrainedModel
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.storage import load_trained
from fluid.partner.audit.arena import make_arena, near_public
from fluid.partner.audit.balance import infer_balance
from fluid.partner.audit.channels import attack_game
from fluid.partner.audit.exports import ReadyTeacher, TeacherRecipe
from fluid.partner.audit.game import play
from fluid.partner.audit.influence import measure_influence
from fluid.partner.audit.noise import audit_federation
from fluid.partner.audit.results import AuditReport, Thresholds
from fluid.partner.audit.retraining import attack_retraining
from fluid.partner.audit.target import AuditOptions, AuditTarget
from fluid.partner.recompute import recompute_public
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.folder import FEDERATION_FILE, SECRET_FILE, read_secret
from fluid.partner.teacher.residuals import measured_labels

# Share of the private data that the attacker knows: one who knows half, and the worst case of one
# who knows nearly all.
HALF, MOST = 0.5, 0.9

# Further checks by name. Each returns plain values for the report, with ``passed`` among them, or
# None if it does not apply to this policy.
Check = Callable[[AuditTarget, AuditOptions, Run], dict[str, Any] | None]
CHECKS: dict[str, Check] = {
    "noise": lambda target, options, run: audit_federation(
        target.federation.mechanism, target.federation.tasks
    ),
}


def audit(
    teacher: Path | str,
    public: PublicSet | Path | str,
    draft: Path | str,
    *,
    federation: Federation | Path | str | None = None,
    student: Path | str | None = None,
    options: AuditOptions | None = None,
    run: Run | None = None,
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
    federation
        The federation of this round, if it differs from the one used in training.
    student
        The student that the draft starts from, if it does. The student itself is not attacked: it
        is public, and the drafts behind it had audits of their own.
    options
        How much is tried.
    run
        How to run. Its progress counts the teachers of a stage. With `workers`, these train shadow
        teachers in place of this process. They are sent the private table, which they must be
        allowed to see.

    Raises
    ------
    FluidError
        If teacher, public set, federation, draft and student do not belong together.
    """
    options, run = options or AuditOptions(), run or Run()
    folder = Path(teacher)
    model = load_trained(folder, "teacher")
    contract = Federation.load(federation or folder / FEDERATION_FILE)
    contract.chemistry.check(f"federation '{contract.name}'")
    public_set = recompute_public(
        PublicSet.load(public), contract, Run(jobs=run.jobs, workers=run.workers, stage=run.stage)
    )
    annotation = open_annotation(Path(draft))
    _check_identity(annotation, model, contract, public_set)
    contract = replace(contract, own_policy=annotation.policy)
    base_student = _load_student(annotation, student, contract)
    ready = ReadyTeacher(
        TeacherRecipe(contract, training_options(model), base_student),
        private_table(folder, model, contract),
        read_secret(folder / SECRET_FILE),
        model,
    )
    near, positions = near_public(public_set, ready.table.compounds)
    target = AuditTarget(ready.table, near, ready.recipe, ready.secret)
    if not draws_noise(contract):
        _check_labels(annotation, ready, target, positions, run.cores)
    identity = {
        "partner": model.card.name,
        "protocol": contract.protocol,
        "teacher": sha256_file(folder / MODEL_FILE),
        "annotation": annotation.sealed.digest,
        "public_set": public_set.digest,
    }
    if annotation.base_student:
        identity["base_student"] = annotation.base_student
    return attack(target, options, identity, run)


def attack(
    target: AuditTarget, options: AuditOptions, identity: dict[str, Any], run: Run
) -> AuditReport:
    """The audit itself, once everything is at hand; see `audit`."""
    recipe, shadows, delta = target.recipe, options.shadows, options.delta
    federation, training = recipe.federation, recipe.options
    # Where noise is drawn every row differs anyway, and there is nothing to compare.
    overlap = 0 if draws_noise(federation) else options.overlap
    run.stage(f"retraining without overlaps, {overlap}")
    influence = measure_influence(target, overlap, run)
    arena = make_arena(target.table, target.public)
    run.stage(f"shadow teachers of half the compounds, {shadows}")
    attacks = list(attack_game(play(arena, recipe, HALF, shadows, run), delta))
    run.stage(f"shadow teachers of nine tenths, {shadows}")
    game = play(arena, recipe, MOST, shadows, run, unprotected=False)
    attacks += attack_game(game, delta, closed=False)
    run.stage(f"trained again with one compound more, {shadows}")
    attacks += attack_retraining(game, shadows, delta, run)
    run.stage(f"shadow teachers of other balances, {shadows}")
    distribution = list(infer_balance(arena, recipe, shadows, run))
    checks = {name: check(target, options, run) for name, check in sorted(CHECKS.items())}
    policy = federation.in_force
    return AuditReport(
        identity,
        {
            "shadows": shadows,
            "overlap": options.overlap,
            "seed": run.seed,
            "delta": delta,
            "compounds": len(target.table.compounds),
            "public_near": len(arena.public) - len(target.table.compounds),
            "learner": training.learner,
            "folds": training.folds,
            "folds_by": training.folds_agreed(federation),
            "repeats": training.repeats,
            "policy": policy.to_dict(),
            "software": software_versions(),
        },
        Thresholds(policy.audit_max_auc, policy.audit_max_neighbour_auc),
        attacks,
        influence,
        distribution,
        {name: values for name, values in checks.items() if values is not None},
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
            raise MismatchError(f"{path}: expected {what} {wanted}, found {stated}")


def draws_noise(federation: Federation) -> bool:
    """Whether two annotations by one teacher differ, because the federation asks for noise."""
    return federation.mechanism.is_used


def training_options(model: TrainedModel) -> TrainingOptions:
    """How a teacher was trained."""
    training = model.card.training
    return TrainingOptions(
        str(training["learner"]),
        int(training["folds"]),
        int(training["repeats"]),
        int(training["seed"]),
        model.card.folds_by,
    )


def _load_student(
    annotation: AnnotationFile, student: Path | str | None, federation: Federation
) -> TrainedModel | None:
    """The student that a draft starts from."""
    path, expected = annotation.sealed.path, annotation.base_student
    if expected is None:
        if student is not None:
            raise MismatchError(
                f"{path}: was made without a student, but {student} is given; leave --student out"
            )
        return None
    if student is None:
        raise MismatchError(
            f"{path}: was made with the student '{expected[:12]}...'; name it with --student"
        )
    found = load_base_student(Path(student), federation)
    if found.digest != expected:
        raise MismatchError(
            f"{path}: expected student '{expected[:12]}...', found '{found.digest[:12]}...' in "
            f"{student}"
        )
    return found.student


def private_table(folder: Path, model: TrainedModel, federation: Federation) -> LabelledCompounds:
    """The compounds and labels that a teacher was trained on, from its folder.

    Raises
    ------
    FluidError
        If the folder holds no labels.
    """
    measured = measured_labels(folder, model)
    rows, tasks, values, signs = [], [], [], []
    for task_model in model.task_models:
        name = task_model.task.name
        rows.append(task_model.rows)
        tasks.append(np.full(len(task_model.rows), federation.task_index(name)))
        one = measured[name]
        values.append(one.values)
        signs.append(np.zeros(len(one.values), np.int8) if one.signs is None else one.signs)
    n_labels = sum(len(each) for each in rows)
    labels = LabelMatrix(
        rows=np.concatenate(rows),
        tasks=np.concatenate(tasks),
        values=np.concatenate(values),
        qualifiers=np.concatenate(signs),
        weights=np.ones(n_labels),
        shape=(len(model.library), len(federation.tasks)),
    )
    return LabelledCompounds(model.library, labels, [], len(model.library))


def _check_labels(
    annotation: AnnotationFile,
    ready: ReadyTeacher,
    target: AuditTarget,
    positions: np.ndarray,
    jobs: int,
) -> None:
    """Make sure that the draft holds this teacher's labels, where they are looked at."""
    expected = ready.make_labeler(jobs).label(target.public, jobs)
    start = 0
    for keys, labels in annotation.chunks():
        here = (positions >= start) & (positions < start + len(keys))
        rows = positions[here] - start
        for name, stated in labels.items():
            for mine, theirs in (
                (expected[name].prediction, stated.prediction),
                (expected[name].reliability, stated.reliability),
            ):
                if not np.array_equal(mine[here], theirs[rows], equal_nan=True):
                    raise MismatchError(
                        f"{annotation.sealed.path}: task '{name}': these are not this teacher's "
                        "labels; annotate again, or name the teacher that made them"
                    )
        start += len(keys)
