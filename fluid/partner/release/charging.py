"""Enter a query in the ledger before it is answered, and resume an interrupted run.

Without noise the same query has the same answer, which is charged once. With noise a run may be
resumed only if the noise that it drew is at hand. Otherwise the query is a new release, with a plan
that takes into account the cost of all releases before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fluid.base.errors import LedgerError
from fluid.base.files import canonical_json
from fluid.base.resume import Unfinished
from fluid.exchange import sealed
from fluid.exchange.federation import Federation
from fluid.exchange.release import Release
from fluid.partner.dp.accounting import Cost
from fluid.partner.dp.budget import Plan, plan_release
from fluid.partner.release.key_checkpoint import (
    KeyCheckpoint,
    checkpoint_folders,
    cost_of_releases,
    open_checkpoint,
)
from fluid.partner.release.ledger import Ledger, Query, charge, open_ledger
from fluid.partner.release.ledger_file import FINISHED
from fluid.partner.teacher.folder import TeacherFolder


@dataclass(frozen=True)
class ChargedQuery:
    """A release that was charged.

    Attributes
    ----------
    unfinished
        The chunks that an earlier run has labelled.
    release
        The release.
    plan
        What the noise mechanism may ask; None if there is none.
    """

    unfinished: Unfinished
    release: Release
    plan: Plan | None


@contextmanager
def charge_query(
    teacher: TeacherFolder,
    federation: Federation,
    query: Query,
    output: Path,
    basis: Mapping[str, Any],
    key: Path | None,
) -> Iterator[ChargedQuery]:
    """Charge a query for the time of a ``with`` block in which it is answered.

    Parameters
    ----------
    teacher
        The teacher that is asked.
    federation
        The contract, with the partner's own policy.
    query
        The query.
    output
        The annotation to write; an interrupted run keeps its chunks beside it.
    basis
        Everything that labels depend on, as plain values.
    key
        The key to approve with. What would make the approval fail is checked here, before the
        work.

    Raises
    ------
    LedgerError, BudgetError
        If the query is beyond the budget; nothing is entered then.
    """
    till = _Till(teacher, federation, key)
    if not federation.mechanism.is_used:
        with Unfinished(output, dict(basis)) as unfinished:
            yield ChargedQuery(unfinished, till.charge(query), None)
        return
    query = replace(query, exact=False)
    with till.open() as (ledger, checkpoint):
        spent = [] if checkpoint is None else checkpoint.costs_elsewhere(ledger.name, federation)
        costs, number = ledger.costs(), ledger.releases + 1
        former = ledger.answered_by(replace(query, exact=True))
        done = former is not None and ledger.of(FINISHED, release=former.values["release"])
        before = [] if former is None else ledger.costs(before=former)
    if former is not None:
        plan = till.plan(query, [*spent, *cost_of_releases(before)])
        # Noise that was drawn for another plan answers another number of compounds.
        same = canonical_json(plan.to_dict()) == canonical_json(former.values["cost"])
        with Unfinished(output, _of_release(basis, former.values["release"])) as unfinished:
            # With all chunks at hand the answer is the same to the byte, finished or not: a run
            # may be killed between its last entry and its signature.
            whole = len(unfinished) == math.ceil(query.compounds / sealed.ROW_GROUP)
            if same and (whole or (len(unfinished) and not done)):
                again = replace(query, cost=plan.to_dict(), exact=whole)
                yield ChargedQuery(unfinished, till.charge(again, at_hand=True), plan)
                return
    plan = till.plan(query, [*spent, *cost_of_releases(costs)])
    with Unfinished(output, _of_release(basis, number)) as unfinished:
        release = till.charge(replace(query, cost=plan.to_dict()), number=number)
        yield ChargedQuery(unfinished, release, plan)


def _of_release(basis: Mapping[str, Any], release: int) -> dict[str, Any]:
    """Noise belongs to the release that was charged for it, and to no other."""
    return {**basis, "release": release}


@dataclass(frozen=True)
class _Till:
    """Charges one teacher's queries within the budget of its folder, and of the key."""

    teacher: TeacherFolder
    federation: Federation
    key: Path | None

    @contextmanager
    def open(self) -> Iterator[tuple[Ledger, KeyCheckpoint | None]]:
        """The ledger, and with a key its checkpoint, locked together."""
        if self.key is None:
            with open_ledger(self.teacher.path) as ledger:
                yield ledger, None
            return
        with open_ledger(self.teacher.path, *checkpoint_folders(self.key)) as ledger:
            yield ledger, open_checkpoint(self.key)

    def plan(self, query: Query, spent: Sequence[Cost]) -> Plan:
        """What a release may ask after others of these costs."""
        tasks = self.teacher.model.tasks
        return plan_release(self.federation.mechanism, tasks, query.compounds, spent)

    def charge(self, query: Query, at_hand: bool = False, number: int | None = None) -> Release:
        """Enter a query.

        Parameters
        ----------
        query, at_hand
            See `fluid.partner.release.ledger.charge`.
        number
            Number of the release that its plan was made for.
        """
        policy = self.federation.in_force
        with self.open() as (ledger, checkpoint):
            if checkpoint is not None:
                checkpoint.check(ledger)

            def check(release: Release) -> None:
                # A plan holds only for the costs at the time when it was made.
                if number is not None and release.number != number:
                    raise LedgerError(
                        f"{ledger.path}: another run has entered a query meanwhile; try again"
                    )
                if checkpoint is not None:
                    checkpoint.check_budget(ledger, release, self.federation)

            return charge(ledger, query, policy, self.teacher.secret, at_hand, check)
