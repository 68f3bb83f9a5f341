"""The audit's own game: private compounds are put into training by coin flips, all are public."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fluid.base.run import Run
from fluid.partner.audit.arena import Arena
from fluid.partner.audit.exports import (
    ACTUAL,
    FIRST,
    UNPROTECTED,
    Export,
    Exports,
    TeacherRecipe,
    stack,
)
from fluid.partner.audit.shadows import export_shadows


@dataclass(frozen=True)
class Game:
    """What S shadow teachers, each trained on a random part of the table, exported.

    Attributes
    ----------
    arena
        The compounds.
    recipe
        How the shadow teachers were trained.
    share
        Probability with which a private compound was in the training data.
    inside
        Boolean of shape (S, n): whose training data held which private compound.
    secrets
        Of the shadow teachers' folds.
    exports
        By task and kind of export: the actual one, and the others that were wanted and exist.
    trained
        By task: which shadow teachers have a model for it, boolean of shape (S,).
    """

    arena: Arena
    recipe: TeacherRecipe
    share: float
    inside: np.ndarray
    secrets: list[bytes]
    exports: dict[str, dict[str, Exports]]
    trained: dict[str, np.ndarray]


def shadow_secret(*parts: object) -> bytes:
    """A secret of a shadow teacher; it is not made from the partner's own."""
    return hashlib.sha256(repr(("fluid audit shadow", *parts)).encode()).digest()


def play(
    arena: Arena,
    recipe: TeacherRecipe,
    share: float,
    shadows: int,
    run: Run,
    unprotected: bool = True,
) -> Game:
    """Train shadow teachers and collect what they export.

    Parameters
    ----------
    arena
        The compounds.
    recipe
        The partner's own.
    share
        Probability with which a private compound is in the training data.
    shadows
        Number of shadow teachers S.
    run
        Its seed fixes coins and secrets; its progress counts teachers.
    unprotected
        Whether the unprotected exports are wanted too.
    """
    random = np.random.default_rng([run.seed, round(share * 1000)])
    n = len(arena.table.compounds)
    inside = random.random((shadows, n)) < share
    secrets = [shadow_secret(run.seed, share, number) for number in range(shadows)]
    kinds = [UNPROTECTED] * unprotected + [FIRST] * (recipe.student is not None)
    tasks = recipe.federation.tasks
    collected: dict[str, dict[str, list[Export]]] = {
        task.name: {kind: [] for kind in (ACTUAL, *kinds)} for task in tasks
    }
    trained = {task.name: np.zeros(shadows, dtype=bool) for task in tasks}
    plans = zip(map(np.flatnonzero, inside), secrets, strict=True)
    for number, found in enumerate(export_shadows(arena, recipe, plans, kinds, run)):
        for kind, by_task in (found or {}).items():
            for name, export in by_task.items():
                trained[name][number] = True
                collected[name][kind].append(export)
        run.progress(number + 1)
    exports = {
        name: {kind: stack(each) for kind, each in by_kind.items() if each}
        for name, by_kind in collected.items()
        if by_kind[ACTUAL]
    }
    return Game(arena, recipe, share, inside, secrets, exports, trained)
