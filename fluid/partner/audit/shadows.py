"""Shadow teachers: trained on parts of the table, here or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

import numpy as np

from fluid.base.run import Run
from fluid.partner.audit.arena import Arena
from fluid.partner.audit.exports import (
    ACTUAL,
    FIRST,
    UNPROTECTED,
    Export,
    TeacherRecipe,
    export_actual,
    export_first,
    export_unprotected,
    train,
)

# Which rows of the table a shadow teacher is trained on, ascending, and its secret.
ShadowPlan = tuple[np.ndarray, bytes]
# The exports of one shadow teacher, by kind and task.
ShadowExports = dict[str, dict[str, Export]]


def export_shadows(
    arena: Arena,
    recipe: TeacherRecipe,
    plans: Iterable[ShadowPlan],
    kinds: Collection[str],
    run: Run,
) -> Iterator[ShadowExports | None]:
    """Train shadow teachers and yield what they export, in the order of their plans.

    Parameters
    ----------
    arena
        The table that they are trained on parts of, and the public compounds that they label.
    recipe
        The partner's own.
    plans
        One for each shadow teacher.
    kinds
        The exports wanted in addition to the actual ones: `UNPROTECTED`, `FIRST`.
    run
        With `workers`, these train in place of this process. They are sent the private table,
        which they must be allowed to see.

    Yields
    ------
    dict or None
        Only the tasks that the teacher has a model for; None if it has none at all.
    """
    jobs = 1 if run.workers else run.cores
    one = partial(_export, arena, recipe, kinds, jobs)
    yield from run.workers.map(one, plans) if run.workers else map(one, plans)


def _export(
    arena: Arena, recipe: TeacherRecipe, kinds: Collection[str], jobs: int, plan: ShadowPlan
) -> ShadowExports | None:
    rows, secret = plan
    teacher = train(recipe, arena.table.take(rows), secret, jobs)
    if teacher is None:
        return None
    found = {ACTUAL: export_actual(teacher, arena.public, jobs)}
    if UNPROTECTED in kinds:
        found[UNPROTECTED] = export_unprotected(teacher, arena.public)
    if FIRST in kinds:
        found[FIRST] = export_first(teacher, arena.public, jobs)
    names = [task.name for task in teacher.model.tasks]
    return {
        kind: {name: exports[name] for name in names if name in exports}
        for kind, exports in found.items()
    }
