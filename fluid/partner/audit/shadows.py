"""Train shadow teachers and collect what they export, here or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

import numpy as np

from fluid.base.jobs import Workers
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.partner.audit.exports import (
    ACTUAL,
    FIRST,
    UNPROTECTED,
    Export,
    export_actual,
    export_first,
    export_unprotected,
    train,
)
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions

# Which rows of the table a shadow teacher is trained on, ascending, and its secret.
Plan = tuple[np.ndarray, bytes]
# By kind of export and task.
DomainInput = dict[str, dict[str, Export]]


def export_shadows(
    table: LabelledCompounds,
    federation: Federation,
    options: TrainingOptions,
    public: Compounds,
    plans: Iterable[Plan],
    kinds: Collection[str],
    jobs: int = 1,
    workers: Workers | None = None,
) -> Iterator[DomainInput | None]:
    """What shadow teachers say of the public compounds, in the order of their plans.

    Parameters
    ----------
    table, federation, options
        The partner's own.
    public
        What is labelled.
    plans
        One for each shadow teacher.
    kinds
        The exports that are wanted beside the actual ones: `UNPROTECTED`, `FIRST`.
    jobs
        Threads for each teacher.
    workers
        Who trains in place of this process, such as a cluster: they are sent the private table,
        which they must be allowed to see. The result does not depend on it.

    Yields
    ------
    dict or None
        Only the tasks that the teacher has a model for; None if it has none at all.
    """
    one = partial(_export, table, federation, options, public, kinds, 1 if workers else jobs)
    yield from workers.map(one, plans) if workers else map(one, plans)


def _export(
    table: LabelledCompounds,
    federation: Federation,
    options: TrainingOptions,
    public: Compounds,
    kinds: Collection[str],
    jobs: int,
    plan: Plan,
) -> DomainInput | None:
    rows, secret = plan
    held = table.take(rows)
    teacher = train(held, federation, options, secret, jobs)
    if teacher is None:
        return None
    found = {ACTUAL: export_actual(teacher, held, secret, federation, options, public, jobs)}
    if UNPROTECTED in kinds:
        found[UNPROTECTED] = export_unprotected(teacher, held, federation, options, public)
    if FIRST in kinds:
        found[FIRST] = export_first(teacher, secret, federation, options, public, jobs)
    return {
        kind: {name: by[name] for name in teacher.measured if name in by}
        for kind, by in found.items()
    }
