"""Distill: annotations in; federated set, student and report out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fluid.base.errors import FluidError, MismatchError, TrainingError
from fluid.base.files import atomic_folder, check_folder, sha256_file, sha256_hex, write_json
from fluid.base.run import Run
from fluid.base.software import software_versions
from fluid.central.consensus import Consensus, Verdicts, apply_trust
from fluid.central.findings import Finding, Shares, find
from fluid.central.fit_student import keep_referred
from fluid.central.intake import admit, admitted_chunks
from fluid.central.pooling import pool_labels
from fluid.central.release_history import SCHEMA, check_releases
from fluid.central.round_report import Tally, report_partners, report_task, too_few
from fluid.central.student import (
    FEWEST_COMPOUNDS,
    Distilled,
    StudentOptions,
    count_known,
    digest_stream,
    distill_tasks,
    held_out_groups,
)
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.exchange.annotation import AnnotationFile
from fluid.exchange.base_student import BaseStudent, load_base_student, student_numbers
from fluid.exchange.coordinator import MODEL_SIGNATURE, REPORT_SIGNATURE, coordinator_signer
from fluid.exchange.federated_set import write_federated
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.exchange.shared_statistics import check_shared_statistics
from fluid.exchange.signing import sign_digest
from fluid.learn.model import Card, TrainedModel
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.reliability import TRUSTED
from fluid.learn.storage import save_model
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.soft_labels.pooled import PooledSet, PoolingResult

logger = logging.getLogger(__name__)

FEDERATED_FILE = "federated.parquet"
STUDENT_FOLDER = "student"
REPORT_FILE = "report.json"
REPORT_SCHEMA = SCHEMA


@dataclass(frozen=True)
class Round:
    """The outcome of one round.

    Attributes
    ----------
    report
        The content of ``report.json``.
    student
        The model that was written.
    """

    report: dict[str, Any]
    student: TrainedModel


@dataclass(frozen=True)
class EarlierRounds:
    """What a round continues.

    Attributes
    ----------
    reports
        ``report.json`` of earlier rounds, whose release numbers each partner must continue.
    student
        Folder of the base student whose residuals the annotations label; needed if they do, and
        refused otherwise. Only the pooled residuals are then sharpened.
    """

    reports: Sequence[Path | str] = ()
    student: Path | str | None = None


def distill(
    annotations: Sequence[Path | str],
    public: PublicSet | Path | str,
    federation: Federation | Path | str,
    output: Path | str,
    *,
    options: StudentOptions | None = None,
    earlier: EarlierRounds | None = None,
    strict: bool = False,
    key: Path | str | None = None,
    run: Run | None = None,
) -> Round:
    """Verify and pool annotations, and train the student.

    Parameters
    ----------
    annotations
        Signed annotations, one per partner.
    public, federation
        The public set and the contract that they must belong to.
    output
        The folder to appear: ``federated.parquet``, ``student`` and ``report.json``.
    options
        How to distill.
    earlier
        The rounds before; none in a first round.
    strict
        Whether findings about what partners state (`fluid.central.findings`) are errors. They are
        logged as warnings and stand in the report otherwise.
    key
        The coordinator's private key, needed if the federation names its public half. It signs
        the federated set, the student (``student/model.sig``) and the report (``report.sig``).
    run
        How to run. No file depends on anything but the seed. Workers sum the chunks of a student of
        more than 30,000 compounds.

    Raises
    ------
    FluidError
        If an annotation is not admitted, the student is not the one that they name, or there are
        too few labels; with `strict` also if there is a finding.

    Examples
    --------
    >>> from fluid import distill
    >>> annotations = ["aurora/annotation.parquet", "draco/annotation.parquet"]
    >>> outcome = distill(annotations, "public.parquet", "federation.toml", "round")
    >>> sorted(outcome.report["partners"])
    ['aurora', 'draco']
    """
    run = run or Run()
    federation, public, output = Federation.load(federation), PublicSet.load(public), Path(output)
    check_folder(output, REPORT_FILE)
    signer = coordinator_signer(federation, key)
    federation.chemistry.check(f"federation '{federation.name}'")
    public.check(federation)
    run.stage("verifying annotations")
    verified = _verify(annotations, public, federation, earlier or EarlierRounds())
    with atomic_folder(output, REPORT_FILE) as folder:
        run.stage("pooling")
        pooled = _pool(verified, folder / FEDERATED_FILE, signer)
        if strict and pooled.findings:
            raise FluidError("; ".join(one.text for one in pooled.findings))
        for finding in pooled.findings:
            logger.warning("%s", finding.text)
        try:
            made, distilled = train_student(
                verified.tasks,
                pooled.set,
                federation,
                options=options,
                digests=pooled.digests,
                base_student=verified.base_digest,
                run=run,
            )
        except TrainingError as error:
            raise TrainingError(f"{public.sealed.path}: {error}") from error
        (folder / STUDENT_FOLDER).mkdir()
        save_model(made, folder / STUDENT_FOLDER)
        report = _report(verified, pooled, distilled, folder / STUDENT_FOLDER)
        write_json(folder / REPORT_FILE, report)
        if signer is not None:
            MODEL_SIGNATURE.sign(folder / STUDENT_FOLDER / MODEL_FILE, signer)
            REPORT_SIGNATURE.sign(folder / REPORT_FILE, signer)
    return Round(report, made)


@dataclass(frozen=True)
class _Verified:
    """What a round starts from, after every check that needs no label.

    Attributes
    ----------
    annotations
        Admitted, by partner name.
    public, federation
        The public set and the contract.
    tasks
        That at least one partner labels, in the federation's order.
    base_student
        The student whose residuals are labelled; None in a first round.
    """

    annotations: list[AnnotationFile]
    public: PublicSet
    federation: Federation
    tasks: list[Task]
    base_student: BaseStudent | None

    @property
    def base_digest(self) -> str | None:
        return self.base_student.digest if self.base_student else None

    def identity(self) -> dict[str, Any]:
        """What federated set and report state of the round."""
        identity = {
            "federation": self.federation.name,
            "round": self.federation.round,
            "protocol": self.federation.protocol,
            "public_set": self.public.digest,
            "tasks": [task.to_dict() for task in self.tasks],
            "annotations": {one.partner: one.sealed.digest for one in self.annotations},
            "software": software_versions(),
        }
        return identity | ({"base_student": self.base_digest} if self.base_digest else {})


def _verify(
    paths: Sequence[Path | str],
    public: PublicSet,
    federation: Federation,
    earlier: EarlierRounds,
) -> _Verified:
    admitted = admit([Path(path) for path in paths], federation, public)
    reports = [Path(path) for path in earlier.reports]
    for report in reports:
        REPORT_SIGNATURE.check(report, federation)
    check_releases(admitted, reports)
    for annotation in admitted:
        check_shared_statistics(annotation)
    base_student = _load_base_student(
        admitted[0], None if earlier.student is None else Path(earlier.student), federation
    )
    labelled = {task.name for annotation in admitted for task in annotation.tasks}
    tasks = [task for task in federation.tasks if task.name in labelled]
    return _Verified(admitted, public, federation, tasks, base_student)


def _load_base_student(
    first: AnnotationFile, path: Path | None, federation: Federation
) -> BaseStudent | None:
    """The student whose residuals the annotations label: none, or the one that they name."""
    if path is None and first.base_student:
        raise FluidError(
            f"{first.sealed.path}: corrects the student '{first.base_student[:12]}...', "
            "whose folder is needed: give it with --student"
        )
    if path is None:
        return None
    if not first.base_student:
        raise MismatchError(f"{first.sealed.path}: corrects no student, but {path} was given")
    return load_base_student(path, federation, first.base_student)


@dataclass(frozen=True)
class _Pooled:
    """Outcome of the passes over all annotations; `digests` are of compounds' connectivities."""

    set: PooledSet
    digests: np.ndarray
    tally: Tally
    verdicts: dict[str, Verdicts]
    findings: list[Finding]


def _pool(verified: _Verified, path: Path, signer: Ed25519PrivateKey | None) -> _Pooled:
    """Read all annotations side by side, compare partners, pool, and write the federated set.

    There are two passes: a partner must be judged before its first label is pooled.
    """
    tasks, annotations, public = verified.tasks, verified.annotations, verified.public
    noisy = verified.federation.mechanism.is_used
    tally = Tally(tasks, [annotation.partner for annotation in annotations])
    corrected = [task.name for task in _corrected(verified.base_student, tasks)]
    consensus = Consensus(tasks, noisy=noisy, alike=corrected)
    for compounds, labels in admitted_chunks(public, annotations):
        tally.add(labels)
        consensus.add(labels, compounds.fingerprints)
    verdicts = consensus.result()
    shares = Shares(tasks)
    digests: list[np.ndarray] = []

    def chunks() -> Iterator[tuple[Compounds, dict[str, PoolingResult]]]:
        for compounds, labels in admitted_chunks(public, annotations):
            digests.append(digest_connectivities(compounds))
            bases = _base_predictions(verified.base_student, tasks, compounds)
            trusted = apply_trust(labels, verdicts)
            tally.add_pooled(trusted, len(compounds))
            shares.add(trusted)
            yield compounds, pool_labels(tasks, trusted, digests[-1], bases, noisy)

    features = verified.federation.chemistry.features
    sign = None if signer is None else partial(sign_digest, signer)
    trust = {name: found.trust for name, found in verdicts.items() if found.trust}
    manifest = verified.identity() | {"trust": trust}
    digest, results = write_federated(path, features, tasks, chunks(), manifest, sign)
    library = CompoundStream(len(public), public.chunks)
    pooled = PooledSet.of(library, results, digest)
    findings = find(tasks, verdicts, shares, pooled)
    return _Pooled(pooled, np.concatenate(digests), tally, verdicts, findings)


def _corrected(base_student: BaseStudent | None, tasks: Sequence[Task]) -> list[Task]:
    """The tasks whose residuals are labelled: the regression tasks of the base student."""
    predicted = {task.name for task in base_student.student.tasks} if base_student else set()
    return [task for task in tasks if not task.is_classification and task.name in predicted]


def _base_predictions(
    base_student: BaseStudent | None, tasks: Sequence[Task], compounds: Compounds
) -> dict[str, np.ndarray]:
    """Predictions of the base student for the tasks that it has."""
    if base_student is None:
        return {}
    return {
        task.name: student_numbers(base_student.student, task, compounds)
        for task in _corrected(base_student, tasks)
    }


def _report(
    verified: _Verified, pooled: _Pooled, distilled: Mapping[str, Distilled], student: Path
) -> dict[str, Any]:
    """The content of ``report.json``, of a student that is written already."""
    source = verified.federation.source
    return verified.identity() | {
        "schema": REPORT_SCHEMA,
        "federation_file": sha256_hex(source) if source else None,
        "federated_set": pooled.set.digest,
        "student": sha256_file(student / MODEL_FILE),
        "n_compounds": len(verified.public),
        "releases": {one.partner: one.release.to_dict() for one in verified.annotations},
        "partners": report_partners(verified.annotations, pooled.tally, pooled.verdicts),
        "findings": [one.to_dict() for one in pooled.findings],
        "tasks": {
            task.name: report_task(
                task, pooled.set.result(task.name), distilled.get(task.name), pooled.tally
            )
            for task in verified.tasks
        },
    }


def train_student(
    tasks: Sequence[Task],
    pooled: PooledSet,
    federation: Federation,
    *,
    options: StudentOptions | None = None,
    digests: np.ndarray | None = None,
    base_student: str | None = None,
    run: Run | None = None,
) -> tuple[TrainedModel, dict[str, Distilled]]:
    """Train a student on pooled labels.

    Parameters
    ----------
    tasks
        What it is to predict.
    pooled
        The public compounds with pooled labels of each task.
    federation
        The contract. If it has a noise mechanism, labels are learned as `distill_task` does noisy
        ones.
    options
        How to distill.
    digests
        From `fluid.learn.trained_on.digest_connectivities`, of all compounds, if they are known.
    base_student
        Digest of the student whose residuals the pooled labels hold, if they do.
    run
        See `distill`.

    Raises
    ------
    TrainingError
        If no task has enough labels.
    """
    run = run or Run()
    pooled, left_out = pooled.of_enough_partners(tasks)
    for name, count in left_out.items():
        logger.info("task %s: %d compounds have labels of too few partners", name, count)
    library = CompoundStream.of(pooled.compounds)
    if digests is None:
        digests = digest_stream(library)
    groups = held_out_groups(digests)
    enough: list[Task] = []
    for task in tasks:
        labels = pooled.result(task.name).labels
        n_labelled = int(np.isfinite(labels.label).all(axis=1).sum())
        if n_labelled < FEWEST_COMPOUNDS:
            logger.warning("task %s: %s", task.name, too_few(n_labelled))
            continue
        _warn_of_little_known(task, count_known(labels), len(library))
        enough.append(task)
    found = distill_tasks(
        library,
        [(task, pooled.result(task.name)) for task in enough],
        options=options,
        noisy=federation.mechanism.is_used,
        groups=groups,
        run=run,
    )
    distilled = {task.name: one for task, one in zip(enough, found, strict=True)}
    if not distilled:
        raise TrainingError(f"no task has pooled labels of {FEWEST_COMPOUNDS} compounds or more")
    training: dict[str, Any] = {
        "federated_set": pooled.digest,
        "seed": run.seed,
        "compounds": len(library),
        "labels": {name: {"compounds": found.n_labelled} for name, found in distilled.items()},
    }
    if left_out:
        training["of_too_few_partners"] = left_out
    training |= _stated_twicing(distilled, pooled)
    if base_student:
        training["base_student"] = base_student
    metrics: dict[str, dict[str, float | None]] = {
        name: {"fidelity": round(found.fidelity, 4)} for name, found in distilled.items()
    }
    card = Card(
        "student",
        federation.name,
        federation.name,
        federation.round,
        federation.protocol,
        training,
        metrics,
        software_versions(),
    )
    models = [distilled[task.name].model for task in tasks if task.name in distilled]
    kept, models, trained_on = keep_referred(library, models, digests)
    return TrainedModel(card, federation.chemistry, kept, models, trained_on), distilled


def _warn_of_little_known(task: Task, n_known: int, n_compounds: int) -> None:
    if n_known < FEWEST_COMPOUNDS:
        logger.warning(
            "task %s: teachers know %s of %s public compounds (reliability %g or more); "
            "compounds nearer to their chemistry make a better student (clusters, survey, "
            "prepare-public --select)",
            task.name,
            f"{n_known:,}",
            f"{n_compounds:,}",
            TRUSTED,
        )


def _stated_twicing(distilled: Mapping[str, Distilled], pooled: PooledSet) -> dict[str, Any]:
    """The card's entries on twicing.

    A hybrid applies a student's twicing to whole labels. Twicing of residuals must not be applied
    to these, so it has a key of its own.
    """
    stated: dict[str, Any] = {}
    for key, of_residuals in (("twicing", False), ("twicing_of_residuals", True)):
        by_task = {
            name: found.twicing.to_dict()
            for name, found in distilled.items()
            if found.twicing and (name in pooled.bases) == of_residuals
        }
        if by_task:
            stated[key] = by_task
    return stated
