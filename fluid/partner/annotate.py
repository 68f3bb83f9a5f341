"""Annotate: label the public set with a teacher, each compound by models of its own fold."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import MismatchError, SignatureError
from fluid.base.files import sha256_file
from fluid.base.jobs import Workers, count_jobs
from fluid.base.software import software_versions
from fluid.base.unfinished import Unfinished, pack_arrays, unpack_arrays
from fluid.chem.compounds import Compounds
from fluid.exchange.annotation import TaskAnnotation, write_annotation
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import PublicSet
from fluid.exchange.signing import (
    encode_public_key,
    load_private_key,
    sign_digest,
)
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import folds_of_repeats, label_own_fold, silence
from fluid.learn.storage import MODEL_FILE, load_trained
from fluid.learn.task import Task
from fluid.partner.guard import disclose, disclose_size
from fluid.partner.teacher import FEDERATION_FILE, SECRET_FILE, read_secret

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
    """

    digest: str
    partner: str
    round: int
    n_compounds: int
    signed: bool
    labelled: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "digest": self.digest,
            "partner": self.partner,
            "round": self.round,
            "compounds": self.n_compounds,
            "signed": self.signed,
            "labelled": self.labelled,
        }


def annotate(
    teacher: Path,
    public: PublicSet,
    output: Path,
    key_path: Path | None,
    federation_path: Path | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    workers: Workers | None = None,
) -> AnnotationSummary:
    """Label the public set and write the annotation.

    An interrupted run, killed even, is gone on with: what it had finished lies beside the output,
    and is taken if teacher, public set, federation and versions are the same.

    Parameters
    ----------
    teacher
        A teacher's folder.
    public
        The prepared public set; a sample of it is computed again first.
    output
        The Parquet file to appear.
    key_path
        The partner's private key; None writes an unsigned draft.
    federation_path
        The federation file of this round, if it is another than at training.
    jobs
        Cores to use; by default all. The file does not depend on it.
    progress
        Called with the number of compounds labelled so far.
    workers
        Who labels the chunks in place of this process, such as a cluster: they are sent the
        teacher, which they must be allowed to see. The file does not depend on it.

    Raises
    ------
    FluidError
        If teacher, public set, federation and key do not belong together.
    """
    model = load_trained(teacher, "teacher")
    secret = read_secret(teacher / SECRET_FILE)
    federation = load_federation(federation_path or teacher / FEDERATION_FILE)
    if model.card.protocol != federation.protocol:
        raise MismatchError(
            f"{teacher}: was trained for protocol {model.card.protocol[:12]}, but the "
            f"federation's is {federation.protocol[:12]}; train the teacher again"
        )
    sign = None if key_path is None else _signer(key_path, federation, model.card.name)
    federation.chemistry.check(f"federation '{federation.name}'")
    public.check(federation)
    shared: dict[str, Any] = {}
    if "training-size" in federation.policy.share:
        shared["training_size"] = {
            task_model.task.name: disclose_size(len(task_model.rows))
            for task_model in model.task_models
        }
    labelled = {task.name: 0 for task in federation.tasks}
    contract = federation_path or teacher / FEDERATION_FILE
    # All that a label depends on; the secret's digest is never written as such.
    basis = {
        "teacher": [sha256_file(teacher / name) for name in (MODEL_FILE, SECRET_FILE)],
        "federation": sha256_file(contract),
        "public": public.digest,
        "software": software_versions(),
    }
    with Unfinished(output, basis) as unfinished:
        label = partial(
            _label, Teller(model, secret), federation, jobs=1 if workers else count_jobs(jobs)
        )

        def spread(chunks: Iterable[Compounds]) -> Iterator[dict[str, TaskAnnotation]]:
            return workers.map(label, chunks) if workers else map(label, chunks)

        chunks = _labels(federation.tasks, public, unfinished, spread, labelled, progress)
        digest = write_annotation(
            output, federation, public, model.card.name, federation.tasks, chunks, shared, sign
        )
    return AnnotationSummary(
        digest, model.card.name, federation.round, len(public), sign is not None, labelled
    )


def _signer(key_path: Path, federation: Federation, partner: str) -> Callable[[bytes], bytes]:
    key = load_private_key(key_path)
    registered = federation.partners.get(partner)
    if registered is not None and registered != encode_public_key(key.public_key()):
        raise SignatureError(
            f"{key_path}: is not the key that federation '{federation.name}' has registered "
            f"for partner '{partner}'"
        )
    return partial(sign_digest, key)


def _label(
    teller: Teller, federation: Federation, compounds: Compounds, jobs: int
) -> dict[str, TaskAnnotation]:
    return teller.annotate(federation, compounds, jobs)


def _labels(
    tasks: Sequence[Task],
    public: PublicSet,
    unfinished: Unfinished,
    spread: Callable[[Iterable[Compounds]], Iterator[dict[str, TaskAnnotation]]],
    labelled: dict[str, int],
    progress: Callable[[int], None],
) -> Iterator[tuple[np.ndarray, dict[str, TaskAnnotation]]]:
    keys: deque[np.ndarray] = deque()

    def asked() -> Iterator[Compounds]:
        for compounds in public.chunks():
            keys.append(compounds.inchikeys)
            yield compounds

    names = [task.name for task in tasks]
    results = unfinished.results(asked(), spread, partial(_encode, names), partial(_decode, names))
    done = 0
    for said in results:
        for name in names:
            labelled[name] += int(np.isfinite(said[name].reliability).sum())
        inchikeys = keys.popleft()
        done += len(inchikeys)
        progress(done)
        yield inchikeys, said


_FIELDS = ("prediction", "uncertainty", "reliability")


def _encode(names: Sequence[str], labels: dict[str, TaskAnnotation]) -> bytes:
    """Labels of a chunk as they are kept until the annotation is whole."""
    return pack_arrays(
        {
            f"{number}.{field}": getattr(labels[name], field)
            for number, name in enumerate(names)
            for field in _FIELDS
        }
    )


def _decode(names: Sequence[str], payload: bytes) -> dict[str, TaskAnnotation]:
    arrays = unpack_arrays(payload)
    return {
        name: TaskAnnotation(*(arrays[f"{number}.{field}"] for field in _FIELDS))
        for number, name in enumerate(names)
    }


class Teller:
    """A teacher ready to label public compounds; what it says has passed the guard.

    Parameters
    ----------
    model
        A teacher.
    secret
        Of its folds.
    """

    def __init__(self, model: TrainedModel, secret: bytes) -> None:
        self.model = model
        self.secret = secret
        self.n_folds = int(model.card.training["folds"])
        self.n_repeats = int(model.card.training["repeats"])
        self.library = model.library.remembering()
        self.library_folds = folds_of_repeats(model.library, secret, self.n_repeats, self.n_folds)

    def __reduce__(self) -> tuple[type[Teller], tuple[TrainedModel, bytes]]:
        """A copy at a worker starts without what this one has derived."""
        return Teller, (self.model, self.secret)

    def annotate(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, TaskAnnotation]:
        """What may be said of some compounds, by task of the federation."""
        known = {task_model.task.name: task_model for task_model in self.model.task_models}
        folds = folds_of_repeats(compounds, self.secret, self.n_repeats, self.n_folds)
        # Every fold model of every task asks for the same features.
        compounds = compounds.remembering()
        said: dict[str, TaskAnnotation] = {}
        for task in federation.tasks:
            # A task without a model has its columns all the same, empty: which columns there are
            # must not depend on a compound either.
            found = silence(len(compounds), len(task.outputs))
            if task.name in known:
                found = label_own_fold(
                    known[task.name], self.library, self.library_folds, compounds, folds,
                    jobs,
                )  # fmt: skip
            said[task.name] = disclose(task, federation.policy, found)
        return said
