"""Annotate: label the public set with a teacher, each compound by models of its own fold."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, MismatchError
from fluid.base.files import canonical_json, sha256_file, sha256_hex
from fluid.base.jobs import Workers, count_jobs
from fluid.base.software import software_versions
from fluid.base.unfinished import Unfinished, pack_arrays, unpack_arrays
from fluid.chem.compounds import Compounds
from fluid.exchange.annotation import AnnotationHeader, write_annotation
from fluid.exchange.base_student import load_base_student
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.mechanism import PATE
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.public_set import PublicSet
from fluid.exchange.release import Release
from fluid.exchange.strictness import load_own_policy
from fluid.learn.folds import looser
from fluid.learn.model import TrainedModel
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.storage import load_trained
from fluid.learn.task import Task
from fluid.partner.dp.pate import SUB_TEACHERS
from fluid.partner.dp.pate_labeler import PateLabeler, load_sub_teachers, pate_labeler, statement
from fluid.partner.guard import disclose_statistics
from fluid.partner.release.approve import approve, load_signing_key
from fluid.partner.release.charging import charge_query
from fluid.partner.release.ledger import Query, finish, open_ledger
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.partner.teacher.residuals import measured_labels
from fluid.partner.teacher_folder import FEDERATION_FILE, SECRET_FILE, read_secret
from fluid.soft_labels.teacher_labels import TeacherLabels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnnotationSummary:
    """What was written.

    Attributes
    ----------
    digest
        Of the annotation.
    partner, round, n_compounds, signed
        Whose, of which round, how many, and whether it is signed or a draft.
    labelled
        Labelled compounds by task.
    release
        Which release of the teacher's ledger it is.
    policy
        The policy in force.
    cost
        What a noise mechanism has spent on it, see `fluid.partner.dp.accounting.Cost`; None if
        there is none.
    """

    digest: str
    partner: str
    round: int
    n_compounds: int
    signed: bool
    labelled: dict[str, int]
    release: Release
    policy: DisclosurePolicy
    cost: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "digest": self.digest,
            "partner": self.partner,
            "round": self.round,
            "compounds": self.n_compounds,
            "signed": self.signed,
            "labelled": self.labelled,
            "release": self.release.to_dict(),
            "policy": self.policy.to_dict(),
        } | ({"cost": self.cost} if self.cost else {})


def annotate(
    teacher: Path,
    public: PublicSet,
    output: Path,
    key_path: Path | None,
    federation_path: Path | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    policy_path: Path | None = None,
    workers: Workers | None = None,
    student: Path | None = None,
) -> AnnotationSummary:
    """Label the public set and write the annotation.

    The query is entered in the teacher's ledger before anything is labelled. An interrupted run,
    killed even, is gone on with: what it had finished lies beside the output, and is taken if
    teacher, public set, federation and versions are the same; it is charged once.

    Parameters
    ----------
    teacher
        A teacher's folder.
    public
        The prepared public set; a sample of it is computed again first.
    output
        The Parquet file to appear.
    key_path
        The partner's private key: the draft is approved at once. None leaves an unsigned draft.
    federation_path
        The federation file of this round, if it is another than at training.
    jobs
        Cores to use; by default all. The file does not depend on it.
    progress
        Called with the number of compounds labelled so far.
    policy_path
        The partner's own policy, stricter than the federation's; by default that is in force.
    workers
        Who labels the chunks in place of this process, such as a cluster: they are sent the
        teacher, which they must be allowed to see. The file does not depend on it. Not with a
        noise mechanism, whose draws are counted one by one.
    student
        The student of the round before: its numbers are corrected by what the teacher's measured
        labels leave of them (`fluid.partner.teacher.residuals`), in a release of its own.

    Raises
    ------
    FluidError
        If teacher, public set, federation, policy and key do not belong together, or the budget
        of the teacher is used up.
    """
    model = load_trained(teacher, "teacher")
    secret = read_secret(teacher / SECRET_FILE)
    contract = federation_path or teacher / FEDERATION_FILE
    federation = load_federation(contract)
    if model.card.protocol != federation.protocol:
        raise MismatchError(
            f"{teacher}: was trained for protocol {model.card.protocol[:12]}, but the "
            f"federation's is {federation.protocol[:12]}; train the teacher again"
        )
    if workers and federation.mechanism.is_used:
        raise FluidError(
            f"federation '{federation.name}' has a noise mechanism, whose draws are counted one by "
            "one: annotate without a scheduler"
        )
    base_student = load_base_student(student, federation) if student is not None else None
    if federation.mechanism.kind == PATE:
        # What would fail is told before it is charged.
        load_sub_teachers(teacher, federation.mechanism)
    policy = load_own_policy(policy_path, federation) if policy_path else federation.policy
    policy = _as_trained(model, policy, teacher)
    federation = replace(federation, own_policy=policy)
    if key_path is not None:
        load_signing_key(key_path, federation, model.card.name)
    federation.chemistry.check(f"federation '{federation.name}'")
    public.check(federation)
    labelled = {task.name: 0 for task in federation.tasks}
    origin = _origin(teacher, public, policy)
    base_digest = base_student.digest if base_student else None
    if base_student is not None:
        origin["base_student"] = base_student.digest
        measured = measured_labels(teacher, model)
        # What would fail is told before it is charged.
        plain = TeacherLabeler(model, secret, base_student.student, measured, count_jobs(jobs))
        _warn_of_uncorrected(plain, teacher)
    else:
        plain = TeacherLabeler(model, secret)
    basis = origin | {"federation": sha256_file(contract)}
    contracts = {"contract": [federation.name, federation.round, federation.protocol]}
    request = sha256_hex(canonical_json(origin | contracts | {"partner": model.card.name}))
    query = Query(
        request, model.card.name, federation.name, federation.round, federation.protocol,
        public.digest, policy.to_dict(), len(public), {},
    )  # fmt: skip
    with charge_query(
        teacher, output, basis, query, federation.mechanism, model.tasks, policy, secret, key_path
    ) as charged:
        noisy, noise = None, {}
        if charged.plan is not None:
            noisy = pate_labeler(
                federation, teacher, plain, secret, public, model.card.name, charged.plan
            )
            noise = statement(charged.plan, federation.mechanism)
        label = partial(_label, noisy or plain, federation, jobs=1 if workers else count_jobs(jobs))

        def spread(chunks: Iterable[Compounds]) -> Iterator[dict[str, TeacherLabels]]:
            return workers.map(label, chunks) if workers else map(label, chunks)

        chunks = _labels(
            federation.tasks, public, charged.unfinished, spread, labelled, progress, noisy
        )
        # With a key the output appears signed or not at all.
        draft = output if key_path is None else output.with_name(f".{output.name}.draft")
        header = AnnotationHeader(
            federation,
            public.digest,
            model.card.name,
            policy,
            charged.release,
            _besides(model, policy),
            noise,
            base_digest,
        )
        digest = write_annotation(draft, header, chunks)
        try:
            with open_ledger(teacher) as ledger:
                finish(ledger, charged.release, digest)
            if key_path is not None:
                approve(draft, teacher, key_path, federation_path, None, output, digest)
        finally:
            if draft != output:
                draft.unlink(missing_ok=True)
    return AnnotationSummary(
        digest, model.card.name, federation.round, len(public), key_path is not None, labelled,
        charged.release, policy, charged.plan.cost.to_dict() if charged.plan else None,
    )  # fmt: skip


def _warn_of_uncorrected(labeler: TeacherLabeler, teacher: Path) -> None:
    """Say which labels are those of the first round once more."""
    assert labeler.correction is not None
    if not labeler.correction.models:
        logger.warning(
            "%s: has no task of numbers that the student predicts: its labels are those of an "
            "annotation without a student, in a release of their own",
            teacher,
        )  # fmt: skip
        return
    for task in labeler.model.tasks:
        if not task.is_classification and task.name not in labeler.correction.models:
            logger.warning(
                "%s: task %s: the student does not predict it; labelled without a correction",
                teacher, task.name,
            )  # fmt: skip


def _as_trained(model: TrainedModel, policy: DisclosurePolicy, teacher: Path) -> DisclosurePolicy:
    """The policy with the folds of the teacher, which may be stricter than what is asked for."""
    trained = model.card.folds_by
    if looser(trained, policy.folds_by):
        raise MismatchError(
            f"{teacher}: was trained with folds by {trained}, but the policy's folds_by is "
            f"{policy.folds_by}; train the teacher with --folds-by {policy.folds_by}"
        )
    return replace(policy, folds_by=trained)


def _origin(teacher: Path, public: PublicSet, policy: DisclosurePolicy) -> dict[str, Any]:
    """All that a label depends on; the secret's digest is never written as such."""
    files = [teacher / MODEL_FILE, teacher / SECRET_FILE]
    votes = teacher / SUB_TEACHERS / MODEL_FILE
    if votes.is_file():
        files.append(votes)
    return {
        "teacher": [sha256_file(path) for path in files],
        "public": public.digest,
        "policy": policy.to_dict(),
        "software": software_versions(),
    }


def _besides(model: TrainedModel, policy: DisclosurePolicy) -> dict[str, Any]:
    """What is stated besides the labels."""
    counts = model.card.training["labels"]
    return disclose_statistics(
        policy,
        {task_model.task.name: len(task_model.rows) for task_model in model.task_models},
        model.card.metrics,
        {
            task.name: {name: n for name, n in counts[task.name].items() if name != "compounds"}
            for task in model.tasks
            if task.is_classification
        },
    )


def _label(
    labeler: TeacherLabeler | PateLabeler, federation: Federation, compounds: Compounds, jobs: int
) -> dict[str, TeacherLabels]:
    return labeler.annotate(federation, compounds, jobs)


def _labels(
    tasks: Sequence[Task],
    public: PublicSet,
    unfinished: Unfinished,
    spread: Callable[[Iterable[Compounds]], Iterator[dict[str, TeacherLabels]]],
    labelled: dict[str, int],
    progress: Callable[[int], None],
    noisy: PateLabeler | None = None,
) -> Iterator[tuple[np.ndarray, dict[str, TeacherLabels]]]:
    keys: deque[np.ndarray] = deque()

    def asked() -> Iterator[Compounds]:
        for compounds in public.chunks():
            keys.append(compounds.inchikeys)
            yield compounds

    names = [task.name for task in tasks]

    def decode(payload: bytes) -> dict[str, TeacherLabels]:
        said = _decode(names, payload)
        if noisy is not None:
            noisy.recall(said)
        return said

    results = unfinished.results(asked(), spread, partial(_encode, names), decode)
    done = 0
    for said in results:
        for name in names:
            labelled[name] += int(np.isfinite(said[name].reliability).sum())
        inchikeys = keys.popleft()
        done += len(inchikeys)
        progress(done)
        yield inchikeys, said


_FIELDS = ("prediction", "uncertainty", "reliability")


def _encode(names: Sequence[str], labels: dict[str, TeacherLabels]) -> bytes:
    """Labels of a chunk as they are kept until the annotation is whole."""
    return pack_arrays(
        {
            f"{number}.{field}": getattr(labels[name], field)
            for number, name in enumerate(names)
            for field in _FIELDS
        }
    )


def _decode(names: Sequence[str], payload: bytes) -> dict[str, TeacherLabels]:
    arrays = unpack_arrays(payload)
    return {
        name: TeacherLabels(*(arrays[f"{number}.{field}"] for field in _FIELDS))
        for number, name in enumerate(names)
    }
