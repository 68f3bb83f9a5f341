"""Train a teacher: a keyed cross-fitted model of one partner's private data."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluid.base.errors import FileFormatError, FluidError, MismatchError
from fluid.base.files import (
    PRIVATE,
    REJECTS_FILE,
    atomic_folder,
    check_folder,
    recover_folder,
    write_text,
)
from fluid.base.run import Run
from fluid.chem.tables import write_rejects
from fluid.exchange.federation import Federation, check_partner_name, parse_federation
from fluid.learn.folds import SECRET_BYTES, looser
from fluid.learn.model import Card
from fluid.learn.model_file import MODEL_FILE, load_card
from fluid.learn.storage import save_model
from fluid.partner.dp.pate import SUB_TEACHERS, fit_sub_teachers
from fluid.partner.release.ledger import carry_over, kept_ledger
from fluid.partner.release.ledger_file import LEDGER_FILE, read_entries
from fluid.partner.table import Columns, read_labelled, rejects_kept, state_columns
from fluid.partner.teacher.fit import TrainingOptions, fit_model, used_labels
from fluid.partner.teacher.folder import (
    FEDERATION_FILE,
    SECRET_FILE,
    loosened,
    read_secret,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSummary:
    """The outcome of training.

    Attributes
    ----------
    card
        Card of the model written.
    n_rows, n_compounds, n_rejected
        Number of rows read, connectivities trained on, and rows or labels rejected.
    skipped
        Tasks without a model, and why.
    """

    card: Card
    n_rows: int
    n_compounds: int
    n_rejected: int
    skipped: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "kind": self.card.kind,
            "name": self.card.name,
            "rows": self.n_rows,
            "compounds": self.n_compounds,
            "rejected": self.n_rejected,
            "skipped": self.skipped,
            "training": self.card.training,
            "out_of_fold": self.card.metrics,
        }


def train_teacher(
    tables: Sequence[Path | str],
    federation: Federation | Path | str,
    partner: str,
    output: Path | str,
    *,
    options: TrainingOptions | None = None,
    columns: Columns | None = None,
    secret: Path | str | None = None,
    reference: bool = False,
    run: Run | None = None,
) -> TrainingSummary:
    """Train a teacher from private tables and write its folder.

    The folder holds the model, the rejects, a copy of the federation file, and the secret of the
    folds (owner-only). A secret that is already in the folder is kept, so that training again
    gives a compound the same fold. The ledger is kept as well: a new model brings no budget.

    Parameters
    ----------
    tables
        Private tables; read as one.
    federation
        The federation file, or what `Federation.load` made of it.
    partner
        The partner who trains; must be registered.
    output
        The folder to write, or a teacher's folder to replace.
    options, columns
        How to train (the seed is among the options), and how to read the tables.
    secret
        A file with the secret to use, 64 hexadecimal digits, instead of a new one.
    reference
        Train a model outside the federation, such as one on pooled data for comparison: the
        partner need not be registered, and the model cannot annotate.
    run
        Cores, and a callback with the number of rows read so far. The result does not depend on
        it.

    Raises
    ------
    FluidError
        If the partner is unknown, the table unusable, or the labels too few.

    Examples
    --------
    >>> from fluid import train_teacher
    >>> from fluid.partner.teacher.fit import TrainingOptions
    >>> quick = TrainingOptions("logistic", folds=3, repeats=1)
    >>> summary = train_teacher(
    ...     ["draco/private.csv"], "federation.toml", "draco", "new/teacher", options=quick
    ... )
    >>> sorted(summary.card.metrics)
    ['bbb', 'logbb']
    """
    options, run, output = options or TrainingOptions(), run or Run(), Path(output)
    federation = Federation.load(federation)
    if federation.source is None:
        raise FluidError(
            f"federation '{federation.name}' was not read from a file; a teacher's folder keeps a "
            "copy of that file: give its path"
        )
    if parse_federation(federation.source.decode("utf-8-sig")).protocol != federation.protocol:
        raise MismatchError(
            f"{federation.path}: holds another protocol than federation '{federation.name}', which "
            "was changed after it was read: write it to a file of its own"
        )
    check_folder(output, MODEL_FILE)
    check_partner_name(partner)
    _check_replaced(output, "reference" if reference else "teacher", partner)
    if not reference:
        federation.public_key(partner)
        _warn_if_looser(output, options.folds_agreed(federation), federation)
    federation.chemistry.check(f"federation '{federation.name}'")
    key = _secret(output, None if secret is None else Path(secret))
    with rejects_kept(output, REJECTS_FILE):
        table = read_labelled(
            [Path(path) for path in tables],
            federation.tasks,
            federation.chemistry,
            columns,
            run.jobs,
            run.progress,
            run.stage,
        )
    fitted = fit_model(
        table, federation, partner, key, options=options, reference=reference, run=run
    )
    state_columns(fitted.model.card, table)
    sub_teachers = None
    if federation.mechanism.is_used and not reference:
        learned = used_labels(table, options.censored)
        sub_teachers = fit_sub_teachers(learned, fitted.model, federation, key, run.cores)
    with kept_ledger(output), atomic_folder(output, MODEL_FILE, private=True) as folder:
        save_model(fitted.model, folder, fitted.measured)
        if sub_teachers is not None:
            (folder / SUB_TEACHERS).mkdir()
            save_model(sub_teachers, folder / SUB_TEACHERS)
        write_text(folder / SECRET_FILE, key.hex() + "\n", PRIVATE)
        (folder / FEDERATION_FILE).write_bytes(federation.source)
        write_rejects(folder / REJECTS_FILE, table.rejects)
        carry_over(output, folder, folder / MODEL_FILE)
    return TrainingSummary(
        fitted.model.card, table.n_rows, len(table.compounds), len(table.rejects), fitted.skipped
    )


def _check_replaced(output: Path, kind: str, partner: str) -> None:
    """Refuse to replace another partner's model, or a teacher by a model that cannot annotate.

    The secret and the ledger of the folder would go on with other data.
    """
    recover_folder(output)
    if not (output / MODEL_FILE).is_file():
        return
    held, owner = "teacher", partner
    try:
        before = load_card(output)
        held, owner = before.kind, before.name
    except FileFormatError:
        # Only its owner may replace a damaged teacher: the ledger names the owner.
        entries = read_entries(output / LEDGER_FILE, mend=False)
        owner = str(entries[0].values["partner"]) if entries else partner
    if held == "teacher" and (held, owner) != (kind, partner):
        raise FluidError(
            f"{output}: holds the {held} of '{owner}', which is not replaced by a {kind} of "
            f"'{partner}'; name a new folder"
        )


def _warn_if_looser(output: Path, folds_by: str, federation: Federation) -> None:
    """Warn if the teacher in the folder was trained with stricter folds, or a stricter policy."""
    recover_folder(output)
    if not (output / MODEL_FILE).is_file():
        return
    try:
        before = load_card(output).folds_by
    except FileFormatError:
        # A damaged teacher may be replaced.
        return
    if looser(folds_by, before):
        logger.warning(
            "%s: the teacher here was trained with folds by %s; the new one has folds by %s",
            output,
            before,
            folds_by,
        )
    problem = loosened(output, federation)
    if problem:
        logger.warning(
            "%s: the federation file allows more than the one of the former training: %s",
            output,
            problem,
        )


def _secret(output: Path, given: Path | None) -> bytes:
    recover_folder(output)
    kept = output / SECRET_FILE
    if given is not None:
        return read_secret(given)
    return read_secret(kept) if kept.is_file() else secrets.token_bytes(SECRET_BYTES)
