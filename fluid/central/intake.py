"""Intake: verify every annotation before any of its labels are used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from fluid.base.errors import FileFormatError, FluidError, MismatchError, SignatureError
from fluid.chem.compounds import Compounds
from fluid.exchange.annotation import AnnotationFile, open_annotation
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet
from fluid.exchange.signing import verify_digest
from fluid.exchange.strictness import looser_than
from fluid.learn.task import Task
from fluid.soft_labels.teacher_labels import TeacherLabels

# Fewer labels than this, or as large a share of one value, two teachers can have alike by chance.
_FEW_LABELS = 50
_MOSTLY = 0.9


def admit(paths: Sequence[Path], federation: Federation, public: PublicSet) -> list[AnnotationFile]:
    """Verify annotations as files: digest, signature, round, protocol, public set, tasks.

    Parameters
    ----------
    paths
        One annotation per partner.
    federation, public
        What they must belong to.

    Returns
    -------
    list of AnnotationFile
        By partner name, whatever the order of the paths.

    Raises
    ------
    FluidError
        At the first fault, naming the file.
    """
    if not paths:
        raise FluidError("no annotation was given")
    admitted: dict[str, AnnotationFile] = {}
    for path in paths:
        annotation = open_annotation(path)
        _check_identity(annotation, federation, public)
        _check_signature(annotation, federation)
        _check_tasks(annotation, federation)
        other = admitted.get(annotation.partner)
        if other is not None:
            raise MismatchError(
                f"{path}: partner '{annotation.partner}' has sent {other.sealed.path} already; "
                "one annotation per partner is allowed"
            )
        admitted[annotation.partner] = annotation
    found = [admitted[name] for name in sorted(admitted)]
    _check_base_students(found)
    return found


def _check_base_students(admitted: Sequence[AnnotationFile]) -> None:
    """All correct one student, or none does: residuals of different ones cannot be pooled."""
    first = admitted[0]
    for other in admitted[1:]:
        if other.base_student != first.base_student:
            raise MismatchError(
                f"{other.sealed.path}: corrects {_named_student(other)}, but {first.sealed.path} "
                f"corrects {_named_student(first)}; all annotations must correct the same"
            )


def _named_student(annotation: AnnotationFile) -> str:
    return (
        f"the student '{annotation.base_student[:12]}...'"
        if annotation.base_student
        else "no student"
    )


def _check_identity(annotation: AnnotationFile, federation: Federation, public: PublicSet) -> None:
    manifest, path = annotation.sealed.manifest, annotation.sealed.path
    expected = {
        "federation": (federation.name, "federation"),
        "round": (federation.round, "round"),
        "protocol": (federation.protocol, "protocol"),
        "public_set": (public.digest, "public set"),
        "n_compounds": (len(public), "number of compounds"),
    }
    if federation.mechanism.is_used:
        stated = manifest.get("noise")
        settings = stated.get("settings") if isinstance(stated, dict) else None
        if settings != federation.mechanism.to_dict():
            raise MismatchError(
                f"{path}: does not state the noise mechanism of federation '{federation.name}'"
            )
    for key, (wanted, what) in expected.items():
        if manifest.get(key) != wanted:
            raise MismatchError(
                f"{path}: {what} is {_short(manifest.get(key))}, but {_short(wanted)} is expected"
            )
    problem = looser_than(federation.policy, annotation.policy)
    if problem:
        raise MismatchError(f"{path}: disclosure policy: {problem}")
    over = annotation.release.over_budget(annotation.policy)
    if over:
        raise MismatchError(f"{path}: is {over} of its disclosure policy")
    if manifest.get("noise") and not federation.mechanism.is_used:
        raise MismatchError(
            f"{path}: states a noise mechanism, but federation '{federation.name}' has none"
        )
    if annotation.sealed.n_rows != len(public):
        raise MismatchError(
            f"{path}: holds {annotation.sealed.n_rows} rows, but the public set has {len(public)}"
        )


def _short(value: object) -> str:
    text = str(value)
    return f"'{text[:12]}...'" if len(text) == 64 else f"'{text}'"


def _check_signature(annotation: AnnotationFile, federation: Federation) -> None:
    path = annotation.sealed.path
    try:
        key = federation.public_key(annotation.partner)
    except FluidError as error:
        raise SignatureError(f"{path}: {error}") from error
    if annotation.sealed.signature is None:
        raise SignatureError(
            f"{path}: is an unsigned draft; partner '{annotation.partner}' must sign it"
        )
    digest = bytes.fromhex(annotation.sealed.digest)
    if not verify_digest(key, digest, annotation.sealed.signature):
        raise SignatureError(
            f"{path}: the signature is not of the key registered for partner '{annotation.partner}'"
        )


def _check_tasks(annotation: AnnotationFile, federation: Federation) -> None:
    agreed = {task.name: task for task in federation.tasks}
    names = [task.name for task in annotation.tasks]
    for task in annotation.tasks:
        if agreed.get(task.name) != task:
            raise MismatchError(
                f"{annotation.sealed.path}: task '{task.name}' is not defined so in federation "
                f"'{federation.name}'"
            )
    if len(set(names)) != len(names):
        raise MismatchError(f"{annotation.sealed.path}: a task occurs twice")


def admitted_chunks(
    public: PublicSet, annotations: Sequence[AnnotationFile]
) -> Iterator[tuple[Compounds, dict[str, dict[str, TeacherLabels]]]]:
    """Read the public set and all annotations side by side, checking every value.

    Yields
    ------
    tuple
        Compounds, and their labels by partner and task.

    Raises
    ------
    FluidError
        If a row is of another compound, or a value is not one that the annotation's policy allows;
        the message names file, row and column. After the last chunk, if two partners have sent the
        same labels of a task.
    """
    streams = [annotation.chunks() for annotation in annotations]
    digests = {(one.partner, task.name): sha256() for one in annotations for task in one.tasks}
    start = 0
    for compounds in public.chunks():
        by_partner: dict[str, dict[str, TeacherLabels]] = {}
        for annotation, stream in zip(annotations, streams, strict=True):
            keys, by_task = next(stream, (np.zeros(0, dtype=object), {}))
            _check_rows(annotation, keys, compounds, start)
            by_partner[annotation.partner] = by_task
            for task in annotation.tasks:
                labels = by_task[task.name]
                digests[annotation.partner, task.name].update(_own_words(annotation, task, labels))
        yield compounds, by_partner
        start += len(compounds)
    _refuse_copies(annotations, {key: found.digest() for key, found in digests.items()})


def _own_words(annotation: AnnotationFile, task: Task, labels: TeacherLabels) -> bytes:
    """What no two partners say alike: predictions, and in a residual round reliabilities too.

    Far from its measurements, a partner adds nothing to the predictions of the base student.
    """
    words = labels.prediction.tobytes()
    if annotation.base_student and not task.is_classification:
        words += labels.reliability.tobytes()
    return words


def _refuse_copies(
    annotations: Sequence[AnnotationFile], digests: Mapping[tuple[str, str], bytes]
) -> None:
    """Two teachers never label a task alike, unless they label little or say always the same."""
    for number, annotation in enumerate(annotations):
        for task in annotation.tasks:
            for other in annotations[:number]:
                mine = digests[annotation.partner, task.name]
                if mine == digests.get((other.partner, task.name)) and _says_much(annotation, task):
                    raise MismatchError(
                        f"{annotation.sealed.path}: task '{task.name}': partner "
                        f"'{annotation.partner}' has sent the labels of partner '{other.partner}' "
                        f"({other.sealed.path}); one of them signed what the other made"
                    )


def _says_much(annotation: AnnotationFile, task: Task) -> bool:
    """Whether a task has labels enough, and different enough, to be told from another teacher's."""
    chunks = [labels[task.name].prediction for _, labels in annotation.chunks()]
    rows = np.concatenate(chunks)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < _FEW_LABELS:
        return False
    _, counts = np.unique(rows, axis=0, return_counts=True)
    return bool(counts.max() <= _MOSTLY * len(rows))


def _check_rows(
    annotation: AnnotationFile, keys: np.ndarray, compounds: Compounds, start: int
) -> None:
    if len(keys) != len(compounds):
        raise FileFormatError(
            f"{annotation.sealed.path}: row groups are not those of the public set"
        )
    wrong = np.flatnonzero(keys != compounds.inchikeys)
    if len(wrong):
        row = wrong[0]
        raise MismatchError(
            f"{annotation.sealed.path}: row {start + row + 1}, column 'inchikey': {keys[row]}, "
            f"but the public set has {compounds.inchikeys[row]}"
        )
