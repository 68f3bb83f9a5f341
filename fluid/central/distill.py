"""Distill: annotations in; federated set, student and report out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.cluster import Cluster
from fluid.base.errors import FluidError, MismatchError, TrainingError
from fluid.base.files import atomic_folder, check_folder, sha256_file, write_json
from fluid.base.jobs import count_jobs
from fluid.base.software import software_versions
from fluid.central.consensus import Consensus
from fluid.central.fit_student import keep_referred
from fluid.central.intake import admit, admitted_chunks
from fluid.central.pooling import pool_labels
from fluid.central.release_history import check_releases
from fluid.central.round_report import Tally, report_partners, report_task, too_few
from fluid.central.student import (
    FEWEST_COMPOUNDS,
    Distilled,
    StudentOptions,
    count_known,
    digest_stream,
    distill_task,
    held_out_groups,
)
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.exchange.annotation import AnnotationFile
from fluid.exchange.base_student import BaseStudent, load_base_student, student_numbers
from fluid.exchange.federated_set import write_federated
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.exchange.shared_statistics import check_shared_statistics
from fluid.learn.estimators.cluster_trees import check_cluster
from fluid.learn.model import Card, TrainedModel
from fluid.learn.model_file import MODEL_FILE
from fluid.learn.reliability import TRUSTED
from fluid.learn.storage import save_model
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.soft_labels.pooled import PooledTask

logger = logging.getLogger(__name__)

FEDERATED_FILE = "federated.parquet"
STUDENT_FOLDER = "student"
REPORT_FILE = "report.json"


@dataclass(frozen=True)
class Round:
    """The outcome of one round.

    Attributes
    ----------
    report
        What ``report.json`` holds.
    student
        The model that was written.
    """

    report: dict[str, Any]
    student: TrainedModel


def distill(
    annotations: Sequence[Path],
    public: PublicSet,
    federation: Federation,
    output: Path,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    options: StudentOptions | None = None,
    former: Sequence[Path] = (),
    cluster: Cluster | None = None,
    student_path: Path | None = None,
) -> Round:
    """Check and pool annotations, and train the student.

    Parameters
    ----------
    annotations
        Signed annotations, one per partner.
    public, federation
        What they must belong to.
    output
        The folder to appear: ``federated.parquet``, ``student`` and ``report.json``.
    seed
        Fixes everything random.
    jobs
        Cores to use; by default all. The files do not depend on it.
    progress
        Called with the name of each stage.
    options
        How to distill.
    former
        Reports of former rounds: a partner's releases must go on from there.
    cluster
        Whose workers train the student's boosted trees. The student then depends, slightly, on
        how many there are; pooled labels do not.
    student_path
        The student that annotations correct; needed if they do, and refused otherwise. What is
        sharpened of their numbers is what they add to it.

    Raises
    ------
    FluidError
        If an annotation is not admitted, the student is not the one that they correct, or the
        labels do not suffice.
    """
    check_folder(output, REPORT_FILE)
    if cluster is not None:
        check_cluster(cluster)
        learners = (options or StudentOptions()).learners
        if "lightgbm-student" not in learners:
            raise FluidError(
                f"student's learners '{','.join(learners)}': none of these trains on a cluster; "
                "only lightgbm-student does"
            )
    federation.chemistry.check(f"federation '{federation.name}'")
    public.check(federation)
    progress("verifying annotations")
    admitted = admit(annotations, federation, public)
    check_releases(admitted, former)
    base_student = _subject(admitted, student_path, federation)
    tasks = _labelled_tasks(federation, admitted)
    sizes = _shared_sizes(admitted)
    tally = Tally(tasks, [annotation.partner for annotation in admitted])
    base_digest = admitted[0].base_student
    # Corrections of one student agree in what that says, whatever a partner's own labels say.
    consensus = Consensus([one for one in tasks if not base_digest or one.is_classification], sizes)
    digests: list[np.ndarray] = []

    def chunks() -> Iterator[tuple[Compounds, dict[str, PooledTask]]]:
        for compounds, said in admitted_chunks(public, admitted):
            tally.add(said, len(compounds))
            consensus.add(said, compounds.fingerprints)
            digests.append(digest_connectivities(compounds))
            bases = _bases(base_student, tasks, compounds)
            labels = pool_labels(tasks, said, sizes, digests[-1], bases)
            if federation.mechanism.is_used:
                # Teachers disagree by the noise, of which nothing is to be concluded.
                labels = {
                    name: replace(one, slope=1.0, sample=None) for name, one in labels.items()
                }
            yield compounds, labels

    with atomic_folder(output, REPORT_FILE) as folder:
        progress("pooling")
        identity = {
            "federation": federation.name,
            "round": federation.round,
            "protocol": federation.protocol,
            "public_set": public.digest,
            "tasks": [task.to_dict() for task in tasks],
            "annotations": {a.partner: a.sealed.digest for a in admitted},
            "software": software_versions(),
        }
        if base_digest:
            identity["base_student"] = base_digest
        features = federation.chemistry.features
        path = folder / FEDERATED_FILE
        digest, joined = write_federated(path, features, tasks, chunks(), identity)
        library = CompoundStream(len(public), public.chunks)
        try:
            student, distilled = train_student(
                library, tasks, joined, federation, digest, seed, jobs, progress, options, cluster,
                np.concatenate(digests), base_digest,
            )  # fmt: skip
        except TrainingError as error:
            raise TrainingError(f"{public.sealed.path}: {error}") from error
        (folder / STUDENT_FOLDER).mkdir()
        save_model(student, folder / STUDENT_FOLDER)
        report = identity | {
            "schema": "fluid.report/2",
            "federated_set": digest,
            "student": sha256_file(folder / STUDENT_FOLDER / MODEL_FILE),
            "n_compounds": len(public),
            "releases": {a.partner: a.release.to_dict() for a in admitted},
            "partners": report_partners(admitted, tally, consensus.result()),
            "tasks": {
                task.name: report_task(task, joined[task.name], distilled.get(task.name), tally)
                for task in tasks
            },
        }
        write_json(folder / REPORT_FILE, report)
    return Round(report, student)


def _subject(
    admitted: Sequence[AnnotationFile], path: Path | None, federation: Federation
) -> BaseStudent | None:
    """The student that annotations correct: none, or the one that they name."""
    first = admitted[0]
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


def _bases(
    base_student: BaseStudent | None, tasks: Sequence[Task], compounds: Compounds
) -> dict[str, np.ndarray]:
    """What the student that is corrected says of the tasks of numbers that it predicts."""
    if base_student is None:
        return {}
    predicted = {task.name for task in base_student.student.tasks}
    return {
        task.name: student_numbers(base_student.student, task, compounds)
        for task in tasks
        if not task.is_classification and task.name in predicted
    }


def _labelled_tasks(federation: Federation, admitted: Sequence[AnnotationFile]) -> list[Task]:
    """Tasks that at least one partner labels, in the federation's order."""
    present = {task.name for annotation in admitted for task in annotation.tasks}
    return [task for task in federation.tasks if task.name in present]


def _shared_sizes(admitted: Sequence[AnnotationFile]) -> dict[str, dict[str, float]]:
    """Training-set sizes of the partners that state them, which the policy must allow."""
    found = {}
    for annotation in admitted:
        sizes = check_shared_statistics(annotation).get("training_size")
        if sizes is not None:
            found[annotation.partner] = {name: float(size) for name, size in sizes.items()}
    return found


def train_student(
    library: Compounds | CompoundStream,
    tasks: Sequence[Task],
    pooled: dict[str, PooledTask],
    federation: Federation,
    digest: str,
    seed: int,
    jobs: int | None,
    progress: Callable[[str], None] = lambda stage: None,
    options: StudentOptions | None = None,
    cluster: Cluster | None = None,
    digests: np.ndarray | None = None,
    base_student: str | None = None,
) -> tuple[TrainedModel, dict[str, Distilled]]:
    """Train a student on pooled labels.

    Parameters
    ----------
    library
        The public compounds: in memory, or to be read several times.
    tasks, pooled
        Tasks, and the pooled labels of each by name.
    federation, digest
        The contract, and the digest of the federated set.
    seed, jobs, progress, options, cluster
        See `distill`.
    digests
        What `fluid.learn.trained_on.digest_connectivities` finds of the compounds, if it is known.
    corrects
        Digest of the student that pooled labels correct, if they do.

    Raises
    ------
    TrainingError
        If no task has labels enough.
    """
    library = CompoundStream.of(library)
    if digests is None:
        digests = digest_stream(library)
    groups = held_out_groups(digests)
    options = options or StudentOptions()
    if federation.mechanism.is_used:
        options = replace(options, noisy=True)
    distilled: dict[str, Distilled] = {}
    for task in tasks:
        n_labelled = int(np.isfinite(pooled[task.name].label).all(axis=1).sum())
        if n_labelled < FEWEST_COMPOUNDS:
            logger.warning("task %s: %s", task.name, too_few(n_labelled))
            continue
        n_known = count_known(pooled[task.name])
        if n_known < FEWEST_COMPOUNDS:
            logger.warning(
                "task %s: teachers know %s of %s public compounds (reliability %g or more); "
                "compounds nearer to their chemistry make a better student (clusters, survey, "
                "prepare-public --select)",
                task.name, f"{n_known:,}", f"{len(library):,}", TRUSTED,
            )  # fmt: skip
        progress(f"distilling {task.name}")
        distilled[task.name] = distill_task(
            library, task, pooled[task.name], seed, count_jobs(jobs), options, groups, cluster
        )
    if not distilled:
        raise TrainingError(f"no task has pooled labels of {FEWEST_COMPOUNDS} compounds or more")
    training = {
        "federated_set": digest,
        "seed": seed,
        "compounds": len(library),
        "labels": {name: {"compounds": found.n_labelled} for name, found in distilled.items()},
    }
    # A twicing of corrections must not be applied to whole labels, which is what a hybrid does
    # with a student's: it has a key of its own.
    for key, corrected in (("twicing", False), ("twicing_of_residuals", True)):
        twicings = {
            name: found.twicing.to_dict()
            for name, found in distilled.items()
            if found.twicing and (pooled[name].base is not None) == corrected
        }
        if twicings:
            training[key] = twicings
    if base_student:
        training["base_student"] = base_student
    if cluster is not None:
        training["workers"] = len(cluster.workers())
    metrics: dict[str, dict[str, float | None]] = {
        name: {"fidelity": round(found.fidelity, 4)} for name, found in distilled.items()
    }
    card = Card(
        "student", federation.name, federation.name, federation.round, federation.protocol,
        training, metrics, software_versions(),
    )  # fmt: skip
    models = [distilled[task.name].model for task in tasks if task.name in distilled]
    kept, trained_on = keep_referred(library, models, digests)
    return TrainedModel(card, federation.chemistry, kept, models, trained_on), distilled
