"""Enter a query in the ledger before it is answered, and take up what an interrupted run has left.

Without noise the same query has the same answer, which is charged once. With noise an answer may
be gone on with only if what was drawn is at hand; otherwise it is a new release, with a plan that
takes into account what all before it have spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fluid.base.errors import LedgerError
from fluid.base.unfinished import Unfinished
from fluid.exchange.mechanism import Mechanism
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.release import Release
from fluid.learn.task import Task
from fluid.partner.dp.accounting import BudgetError, Cost
from fluid.partner.dp.budget import Plan, plan_release
from fluid.partner.release.key_checkpoint import open_checkpoint
from fluid.partner.release.ledger import Ledger, Query, charge, open_ledger


@dataclass(frozen=True)
class ChargedQuery:
    """A release that was charged.

    Attributes
    ----------
    unfinished
        What an earlier run has labelled of it.
    release
        Which it is.
    plan
        What the noise mechanism may ask; None if there is none.
    """

    unfinished: Unfinished
    release: Release
    plan: Plan | None


@contextmanager
def charge_query(
    teacher: Path,
    output: Path,
    basis: Mapping[str, Any],
    query: Query,
    mechanism: Mechanism,
    tasks: Sequence[Task],
    policy: DisclosurePolicy,
    secret: bytes,
    key_path: Path | None,
) -> Iterator[ChargedQuery]:
    """Charge a query for the time of a ``with`` block in which it is answered.

    Parameters
    ----------
    teacher, output
        A teacher's folder, and the annotation to appear.
    basis
        What labels depend on, in plain values.
    query, policy
        What is asked, and the policy in force.
    mechanism, tasks
        The federation's mechanism, and the tasks that the teacher takes part in.
    secret
        Of the teacher's folds.
    key_path
        The key to approve with; what would make that fail is told before the work, not after.

    Raises
    ------
    LedgerError, BudgetError
        If the query is beyond the budget; nothing is entered then.
    """

    def pay(query: Query, at_hand: bool, number: int | None = None) -> Release:
        return _charge(teacher, query, policy, secret, key_path, at_hand, number)

    if not mechanism.is_used:
        with Unfinished(output, dict(basis)) as unfinished:
            yield ChargedQuery(unfinished, pay(query, False), None)
        return
    query = replace(query, exact=False)
    with open_ledger(teacher) as ledger:
        spent, number = ledger.costs(), ledger.releases + 1
        former = ledger.answered_by(query, at_hand=True)
        before = [] if former is None else ledger.costs(before=former)
    if former is not None:
        plan = plan_release(mechanism, tasks, query.compounds, spent_by(before))
        with Unfinished(output, _drawn(basis, former.values["release"])) as unfinished:
            if len(unfinished):
                yield ChargedQuery(unfinished, pay(replace(query, cost=plan.to_dict()), True), plan)
                return
    plan = plan_release(mechanism, tasks, query.compounds, spent_by(spent))
    with Unfinished(output, _drawn(basis, number)) as unfinished:
        release = pay(replace(query, cost=plan.to_dict()), False, number)
        yield ChargedQuery(unfinished, release, plan)


def spent_by(costs: Sequence[Mapping[str, Any]]) -> list[Cost]:
    """What earlier queries have spent.

    Raises
    ------
    BudgetError
        If one was answered without noise: no epsilon can be stated after that.
    """
    for number, cost in enumerate(costs, start=1):
        if not cost:
            raise BudgetError(
                f"release {number} of this teacher's folder had no noise; no epsilon can be stated "
                "for its private data any more"
            )
    return [Cost.from_dict(cost["release"]) for cost in costs]


def _drawn(basis: Mapping[str, Any], release: int) -> dict[str, Any]:
    """Noise belongs to the release that was charged for it, and to no other."""
    return {**basis, "release": release}


def _charge(
    teacher: Path,
    query: Query,
    policy: DisclosurePolicy,
    secret: bytes,
    key_path: Path | None,
    at_hand: bool,
    number: int | None,
) -> Release:
    def check(ledger: Ledger, more: Callable[[Release], None] | None = None) -> Release:
        def planned(release: Release) -> None:
            # A plan holds for what was spent when it was made.
            if number is not None and release.number != number:
                raise LedgerError(
                    f"{ledger.path}: another run has entered a query meanwhile; try again"
                )
            if more is not None:
                more(release)

        return charge(ledger, query, policy, secret, at_hand, planned)

    if key_path is None:
        with open_ledger(teacher) as ledger:
            return check(ledger)
    with open_ledger(teacher, key_path.parent) as ledger:
        checkpoint = open_checkpoint(key_path)
        checkpoint.check(ledger)
        return check(
            ledger,
            lambda release: checkpoint.check_budget(ledger, release, query.federation, policy),
        )
