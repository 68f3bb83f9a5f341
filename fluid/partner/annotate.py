"""Annotate: label the public set with a teacher, each compound by models of its own fold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import MismatchError
from fluid.base.files import canonical_json, sha256_file, sha256_hex
from fluid.base.jobs import count_jobs
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds
from fluid.exchange.annotation import TaskAnnotation, write_annotation
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.public_set import PublicSet
from fluid.exchange.release import Release
from fluid.exchange.strictness import load_own_policy
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import OwnFoldLabels, folds_of_repeats, label_own_fold, silence
from fluid.learn.storage import MODEL_FILE, load_trained
from fluid.partner.anchor import open_anchor
from fluid.partner.approve import approve, load_signing_key
from fluid.partner.guard import disclose, disclose_besides
from fluid.partner.ledger import Query, charge, finish, open_ledger
from fluid.partner.teacher import FEDERATION_FILE, SECRET_FILE, read_secret
from fluid.partner.unfinished import Unfinished

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
    """

    digest: str
    partner: str
    round: int
    n_compounds: int
    signed: bool
    labelled: dict[str, int]
    release: Release
    policy: DisclosurePolicy

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
        }


def annotate(
    teacher: Path,
    public: PublicSet,
    output: Path,
    key_path: Path | None,
    federation_path: Path | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    policy_path: Path | None = None,
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
    policy = load_own_policy(policy_path, federation) if policy_path else federation.policy
    if key_path is not None:
        load_signing_key(key_path, federation, model.card.name)
    federation.chemistry.check(f"federation '{federation.name}'")
    public.check(federation)
    labelled = {task.name: 0 for task in federation.tasks}
    # All that a label depends on; the secret's digest is never written as such.
    origin = {
        "teacher": [sha256_file(teacher / name) for name in (MODEL_FILE, SECRET_FILE)],
        "public": public.digest,
        "policy": policy.to_dict(),
        "software": software_versions(),
    }
    basis = origin | {"federation": sha256_file(contract)}
    request = sha256_hex(
        canonical_json(
            origin
            | {"contract": [federation.name, federation.round, federation.protocol]}
            | {"partner": model.card.name}
        )
    )
    query = Query(
        request, model.card.name, federation.name, federation.round, federation.protocol,
        public.digest, policy.to_dict(), len(public), {},
    )  # fmt: skip
    with Unfinished(output, basis, federation.tasks) as unfinished:
        release = _charge(teacher, query, policy, secret, key_path, len(unfinished) > 0)
        teller = Teller(model, secret, policy)
        chunks = _labels(
            teller, federation, public, unfinished, count_jobs(jobs), labelled, progress
        )
        # With a key the output appears signed or not at all.
        draft = output if key_path is None else output.with_name(f".{output.name}.draft")
        digest = write_annotation(
            draft, federation, public, model.card.name, federation.tasks, chunks,
            _besides(model, policy), policy, release,
        )  # fmt: skip
        try:
            with open_ledger(teacher) as ledger:
                finish(ledger, release, digest)
            if key_path is not None:
                approve(draft, teacher, key_path, federation_path, None, output, digest)
        finally:
            if draft != output:
                draft.unlink(missing_ok=True)
    return AnnotationSummary(
        digest, model.card.name, federation.round, len(public), key_path is not None, labelled,
        release, policy,
    )  # fmt: skip


def _charge(
    teacher: Path,
    query: Query,
    policy: DisclosurePolicy,
    secret: bytes,
    key_path: Path | None,
    at_hand: bool,
) -> Release:
    """Enter the query; what would make an approval fail is told before the work, not after."""
    if key_path is None:
        with open_ledger(teacher) as ledger:
            return charge(ledger, query, policy, secret, at_hand)
    with open_ledger(teacher, key_path.parent) as ledger:
        anchor = open_anchor(key_path)
        anchor.check(ledger)

        def check(release: Release) -> None:
            anchor.check_budget(ledger, release, query.federation, policy)

        return charge(ledger, query, policy, secret, at_hand, check)


def _besides(model: TrainedModel, policy: DisclosurePolicy) -> dict[str, Any]:
    """What is stated besides the labels."""
    counts = model.card.training["labels"]
    return disclose_besides(
        policy,
        {task_model.task.name: len(task_model.rows) for task_model in model.task_models},
        model.card.metrics,
        {
            task.name: {name: n for name, n in counts[task.name].items() if name != "compounds"}
            for task in model.tasks
            if task.is_classification
        },
    )


def _labels(
    teller: Teller,
    federation: Federation,
    public: PublicSet,
    unfinished: Unfinished,
    jobs: int,
    labelled: dict[str, int],
    progress: Callable[[int], None],
) -> Iterator[tuple[np.ndarray, dict[str, TaskAnnotation]]]:
    if len(unfinished):
        logger.warning("going on after %d chunks of an interrupted run", len(unfinished))
    done = 0
    for number, compounds in enumerate(public.chunks()):
        if number < len(unfinished):
            said = unfinished.recall(number)
        else:
            said = teller.annotate(federation, compounds, jobs)
            unfinished.keep(said)
        for task in federation.tasks:
            labelled[task.name] += int(np.isfinite(said[task.name].reliability).sum())
        done += len(compounds)
        progress(done)
        yield compounds.inchikeys, said


class Teller:
    """A teacher ready to label public compounds; what it says has passed the guard.

    Parameters
    ----------
    model
        A teacher.
    secret
        Of its folds.
    policy
        The partner's, if it is stricter than the federation's.
    """

    def __init__(
        self, model: TrainedModel, secret: bytes, policy: DisclosurePolicy | None = None
    ) -> None:
        self.model = model
        self.secret = secret
        self.policy = policy
        self.n_folds = int(model.card.training["folds"])
        self.n_repeats = int(model.card.training["repeats"])
        self.library = model.library.remembering()
        self.library_folds = folds_of_repeats(model.library, secret, self.n_repeats, self.n_folds)

    def annotate(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, TaskAnnotation]:
        """What may be said of some compounds, by task of the federation."""
        found = self.label(federation, compounds, jobs)
        policy = self.policy or federation.policy
        return {
            task.name: disclose(task, policy, found[task.name], federation.policy)
            for task in federation.tasks
        }

    def label(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, OwnFoldLabels]:
        """What the models of the compounds' own folds say: not yet fit to leave."""
        known = {task_model.task.name: task_model for task_model in self.model.task_models}
        folds = folds_of_repeats(compounds, self.secret, self.n_repeats, self.n_folds)
        neighbours = (self.policy or federation.policy).neighbourhood
        # Every fold model of every task asks for the same features.
        compounds = compounds.remembering()
        found_by_task: dict[str, OwnFoldLabels] = {}
        for task in federation.tasks:
            # A task without a model has its columns all the same, empty: which columns there are
            # must not depend on a compound either.
            found = silence(len(compounds), len(task.outputs))
            if task.name in known:
                found = label_own_fold(
                    known[task.name], self.library, self.library_folds, compounds, folds,
                    jobs, neighbours,
                )  # fmt: skip
            found_by_task[task.name] = found
        return found_by_task
