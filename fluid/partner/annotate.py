"""Annotate: label the public set with a teacher, each compound by models of its own fold."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, MismatchError
from fluid.base.files import canonical_json, sha256_file, sha256_hex
from fluid.base.resume import Unfinished, pack_arrays, unpack_arrays
from fluid.base.run import Run
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds
from fluid.exchange.annotation import AnnotationHeader, write_annotation
from fluid.exchange.base_student import BaseStudent, load_base_student
from fluid.exchange.federation import Federation
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.public_set import PublicSet
from fluid.exchange.release import Release
from fluid.exchange.strictness import load_own_policy, looser_than
from fluid.learn.folds import looser
from fluid.learn.model import TrainedModel
from fluid.learn.model_file import MODEL_FILE
from fluid.partner.disclosure_guard import disclose_statistics
from fluid.partner.dp.pate import SUB_TEACHERS
from fluid.partner.dp.pate_labeler import PateLabeler, noise_statement
from fluid.partner.labeler import Labeler
from fluid.partner.recompute import recompute_public
from fluid.partner.release.approve import approve, load_signing_key
from fluid.partner.release.charging import charge_query
from fluid.partner.release.ledger import Query, finish, open_ledger
from fluid.partner.teacher.folder import FEDERATION_FILE, SECRET_FILE, TeacherFolder, loosened
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.partner.teacher.residuals import ResidualLabeler, measured_labels
from fluid.soft_labels.teacher_labels import TeacherLabels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AnnotationSummary:
    """The outcome of annotating.

    Attributes
    ----------
    digest
        Digest of the annotation.
    partner, round, n_compounds, signed
        The partner, the round, the number of compounds, and whether it is signed or a draft.
    labelled
        Number of labelled compounds by task.
    release
        The release of the teacher's ledger.
    policy
        The policy in force.
    cost
        Cost of the noise, see `fluid.partner.dp.accounting.Cost`; None without a mechanism.
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
    teacher: Path | str,
    public: PublicSet | Path | str,
    output: Path | str,
    *,
    key: Path | str | None = None,
    federation: Federation | Path | str | None = None,
    policy: Path | str | None = None,
    student: Path | str | None = None,
    run: Run | None = None,
) -> AnnotationSummary:
    """Label the public set and write the annotation.

    The query is entered in the teacher's ledger before anything is labelled. An interrupted run,
    even a killed one, is resumed: its finished chunks lie beside the output, and are used if
    teacher, public set, federation and versions are the same. It is charged once.

    Parameters
    ----------
    teacher
        A teacher's folder.
    public
        The prepared public set. Every row is computed again from its SMILES first, if this machine
        has not done so before; a row that differs in any bit is refused.
    output
        The Parquet file to write.
    key
        The partner's private key: the draft is approved at once. None leaves an unsigned draft.
    federation
        The federation of this round, if it differs from the one used in training.
    policy
        A file with the partner's own policy, stricter than the federation's.
    student
        Folder of the student of the round before. Regression tasks are labelled by its predictions
        plus the residuals that the teacher fits on its own measurements, in a release of its own.
    run
        Cores, and a callback with the number of compounds labelled so far, or computed again
        before. Workers label the chunks in place of this process: they are sent the teacher, so
        they must be allowed to see it; with a noise mechanism they are refused. The file does not
        depend on any of it.

    Raises
    ------
    FluidError
        If teacher, public set, federation, policy and key do not belong together, or the budget
        of the teacher is used up.

    Examples
    --------
    >>> from fluid import annotate
    >>> summary = annotate("aurora/teacher", "public.parquet", "aurora/draft.parquet")
    >>> summary.n_compounds, summary.signed
    (398, False)
    """
    run, output, key = run or Run(), Path(output), None if key is None else Path(key)
    site = _open(
        TeacherFolder.open(Path(teacher)), PublicSet.load(public), federation, policy, student
    )
    if output.exists() and output.samefile(site.public.sealed.path):
        raise FluidError(f"{output}: is the public set; name another output")
    if key is not None:
        load_signing_key(key, site.federation, site.teacher.partner)
    if run.workers and site.federation.mechanism.is_used:
        raise FluidError(
            f"federation '{site.federation.name}' has a noise mechanism, whose draws are counted "
            "one by one: annotate without a scheduler"
        )
    # The ledger is charged for nothing that is refused.
    site = replace(site, public=recompute_public(site.public, site.federation, run))
    labeler = _choose_labeler(site, run)
    origin = site.origin()
    query, basis = site.query(origin), site.basis(origin)
    with charge_query(site.teacher, site.federation, query, output, basis, key) as charged:
        labelling = _Labelling(labeler.within(charged.plan), site, run)
        # With a key the output appears signed or not at all.
        draft = output if key is None else output.with_name(f".{output.name}.draft")
        noise = noise_statement(charged.plan, site.federation.mechanism) if charged.plan else {}
        header = AnnotationHeader(
            site.federation,
            site.public.digest,
            site.teacher.partner,
            site.federation.in_force,
            charged.release,
            _shared_statistics(site.teacher.model, site.federation.in_force),
            noise,
            site.base_student.digest if site.base_student else None,
        )
        digest = write_annotation(draft, header, labelling.chunks(charged.unfinished))
        try:
            with open_ledger(site.teacher.path) as ledger:
                finish(ledger, charged.release, digest)
            if key is not None:
                approve(
                    draft,
                    site.teacher.path,
                    key,
                    federation=site.federation,
                    output=output,
                    digest=digest,
                )
        finally:
            if draft != output:
                draft.unlink(missing_ok=True)
    return AnnotationSummary(
        digest,
        site.teacher.partner,
        site.federation.round,
        len(site.public),
        key is not None,
        labelling.labelled,
        charged.release,
        site.federation.in_force,
        charged.plan.cost.to_dict() if charged.plan else None,
    )


@dataclass(frozen=True)
class _Site:
    """Everything that an annotation is made from, opened and checked.

    Attributes
    ----------
    teacher, public
        The teacher, and the public set that it labels.
    federation
        The contract, with the policy in force as the partner's own.
    base_student
        The student whose residuals are fitted; None for the teacher's own labels.
    """

    teacher: TeacherFolder
    public: PublicSet
    federation: Federation
    base_student: BaseStudent | None

    def origin(self) -> dict[str, Any]:
        """Everything that a label depends on; the secret's digest is never written as such."""
        folder = self.teacher.path
        files = [folder / MODEL_FILE, folder / SECRET_FILE]
        if (folder / SUB_TEACHERS / MODEL_FILE).is_file():
            files.append(folder / SUB_TEACHERS / MODEL_FILE)
        values = {
            "teacher": [sha256_file(path) for path in files],
            "public": self.public.digest,
            "policy": self.federation.in_force.to_dict(),
            "software": software_versions(),
            "contract": [self.federation.name, self.federation.round, self.federation.protocol],
        }
        return values | ({"base_student": self.base_student.digest} if self.base_student else {})

    def basis(self, origin: dict[str, Any]) -> dict[str, Any]:
        """What must be the same for the chunks of an interrupted run to be used."""
        source = self.federation.source
        return origin | ({"federation": sha256_hex(source)} if source else {})

    def query(self, origin: dict[str, Any]) -> Query:
        """The query, as the ledger enters it."""
        return Query(
            request=sha256_hex(canonical_json(origin | {"partner": self.teacher.partner})),
            partner=self.teacher.partner,
            federation=self.federation.name,
            round=self.federation.round,
            protocol=self.federation.protocol,
            public_set=self.public.digest,
            policy=self.federation.in_force.to_dict(),
            compounds=len(self.public),
            cost={},
        )


def _open(
    teacher: TeacherFolder,
    public: PublicSet,
    federation: Federation | Path | str | None,
    policy: Path | str | None,
    student: Path | str | None,
) -> _Site:
    """Check that everything belongs together."""
    contract = Federation.load(federation or teacher.path / FEDERATION_FILE)
    if teacher.model.card.protocol != contract.protocol:
        problem = loosened(teacher.path, contract)
        warning = f"; beware, its policy is looser than the one of that training: {problem}"
        raise MismatchError(
            f"{teacher.path}: was trained for protocol {teacher.model.card.protocol[:12]}, but the "
            f"federation's is {contract.protocol[:12]}; train the teacher again"
            + (warning if problem else "")
        )
    base_student = None if student is None else load_base_student(Path(student), contract)
    own = contract.in_force if policy is None else load_own_policy(Path(policy), contract)
    problem = looser_than(contract.policy, own)
    if problem:
        raise MismatchError(f"own policy of federation '{contract.name}': {problem}")
    contract = replace(contract, own_policy=_with_folds_of(teacher, own))
    contract.chemistry.check(f"federation '{contract.name}'")
    public.check_protocol(contract)
    return _Site(teacher, public, contract, base_student)


def _with_folds_of(teacher: TeacherFolder, policy: DisclosurePolicy) -> DisclosurePolicy:
    """The policy with the folds of the teacher, which may be stricter than the policy asks."""
    trained = teacher.model.card.folds_by
    if looser(trained, policy.folds_by):
        raise MismatchError(
            f"{teacher.path}: was trained with folds by {trained}, but the policy's folds_by is "
            f"{policy.folds_by}; train the teacher with --folds-by {policy.folds_by}"
        )
    return replace(policy, folds_by=trained)


def _choose_labeler(site: _Site, run: Run) -> Labeler:
    """The labeler that federation and student ask for; whatever can fail fails before charging."""
    if site.federation.mechanism.is_used:
        return PateLabeler.open(site.teacher, site.federation, site.public)
    plain = TeacherLabeler(site.teacher.model, site.teacher.secret, site.federation)
    if site.base_student is None:
        return plain
    measured = measured_labels(site.teacher.path, site.teacher.model)
    labeler = ResidualLabeler.fit(plain, measured, site.base_student.student, run.cores)
    _warn_without_residuals(labeler, site.teacher.path)
    return labeler


def _warn_without_residuals(labeler: ResidualLabeler, teacher: Path) -> None:
    """Name the regression tasks whose labels are those of the first round once more."""
    if not labeler.residuals:
        logger.warning(
            "%s: has no regression task that the student predicts: its labels are those of an "
            "annotation without a student, in a release of their own",
            teacher,
        )
        return
    for task in labeler.model.tasks:
        if not task.is_classification and task.name not in labeler.residuals:
            logger.warning(
                "%s: task %s: the student does not predict it; labelled by the teacher itself",
                teacher,
                task.name,
            )


def _shared_statistics(model: TrainedModel, policy: DisclosurePolicy) -> dict[str, Any]:
    """The statistics that the policy shares beside the labels."""
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


class _Labelling:
    """The labels of a public set, made once, or taken from an interrupted run.

    Attributes
    ----------
    labelled
        Number of labelled compounds by task, so far.
    """

    def __init__(self, labeler: Labeler, site: _Site, run: Run) -> None:
        self.labeler = labeler
        self.public = site.public
        self.names = [task.name for task in site.federation.tasks]
        self.run = run
        self.labelled = dict.fromkeys(self.names, 0)

    def chunks(
        self, unfinished: Unfinished
    ) -> Iterator[tuple[np.ndarray, dict[str, TeacherLabels]]]:
        """InChIKeys and labels in the order of the public set."""
        keys: deque[np.ndarray] = deque()

        def asked() -> Iterator[Compounds]:
            for compounds in self.public.chunks():
                keys.append(compounds.inchikeys)
                yield compounds

        encode = partial(_encode, self.names)
        done = 0
        for labels in unfinished.results(asked(), self._label, encode, self._recall):
            for name in self.names:
                self.labelled[name] += int(np.isfinite(labels[name].reliability).sum())
            inchikeys = keys.popleft()
            done += len(inchikeys)
            self.run.progress(done)
            yield inchikeys, labels

    def _label(self, chunks: Iterable[Compounds]) -> Iterator[dict[str, TeacherLabels]]:
        workers = self.run.workers
        if workers:
            return workers.map(partial(_label_chunk, self.labeler, jobs=1), chunks)
        return map(partial(_label_chunk, self.labeler, jobs=self.run.cores), chunks)

    def _recall(self, payload: bytes) -> dict[str, TeacherLabels]:
        labels = _decode(self.names, payload)
        self.labeler.recall(labels)
        return labels


def _label_chunk(labeler: Labeler, compounds: Compounds, jobs: int) -> dict[str, TeacherLabels]:
    return labeler.label(compounds, jobs)


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
