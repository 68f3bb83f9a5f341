"""The audit's own game: private compounds are put into training by coin flips, all are public."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fluid.base.jobs import Workers
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.similarity import nearest_references
from fluid.exchange.federation import Federation
from fluid.partner.audit.exports import (
    ACTUAL,
    FIRST,
    UNPROTECTED,
    Export,
    Exports,
    stack,
    student_of,
)
from fluid.partner.audit.shadows import export_shadows
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions

# Public compounds that are looked at around a private one.
ANALOGUES = 10


@dataclass(frozen=True)
class Arena:
    """Who plays: the private compounds, and the public set of the game.

    Attributes
    ----------
    table
        n private compounds with their labels.
    public
        The n private compounds in their order, then real public ones near them.
    near, similarity
        Of each private compound the positions in `public` of its analogues in the real public set,
        nearest first, and their Tanimoto similarity; shape (n, ANALOGUES).
    near_all, similarity_all
        Likewise among all: as if every other private compound were public. Itself never counts.
    """

    table: LabelledCompounds
    public: Compounds
    near: np.ndarray
    similarity: np.ndarray
    near_all: np.ndarray
    similarity_all: np.ndarray


def make_arena(table: LabelledCompounds, public: Compounds) -> Arena:
    """Put private compounds and the public ones near them together.

    Parameters
    ----------
    table
        Private compounds.
    public
        The public set, or what of it is near; those that are private too are allowed.
    """
    # Shadow teachers are trained on parts of these: features are derived once.
    own = table.compounds.with_cache()
    table = replace(table, compounds=own)
    private = set(own.connectivities)
    others = public.take(np.array([key not in private for key in public.connectivities], bool))
    _, where = nearest_references(own.fingerprints, others.fingerprints, ANALOGUES)
    others = others.take(np.unique(where[where >= 0]))
    together = concatenate([own, others])
    itself = np.arange(len(own))
    similarity, near = _analogues(own, others, None)
    similarity_all, near_all = _analogues(own, together, itself)
    return Arena(
        table, together.with_cache(), near + len(own) if len(others) else near, similarity,
        near_all, similarity_all,
    )  # fmt: skip


def _analogues(
    own: Compounds, others: Compounds, itself: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Similarity and positions of the analogues of each compound, nearest first.

    Where there are too few, the rest is position 0 at similarity 0, which weighs nothing.
    """
    found, where = nearest_references(own.fingerprints, others.fingerprints, ANALOGUES, itself)
    return found[:, ::-1], np.maximum(where[:, ::-1], 0)


@dataclass(frozen=True)
class Game:
    """What S shadow teachers, each trained on a random part of the table, say of the arena.

    Attributes
    ----------
    arena
        Who played.
    inside
        Boolean of shape (S, n): whose training data held which private compound.
    secrets
        Of the shadow teachers' folds.
    said
        By task and kind of export: the actual one, and what else was wanted and there is.
    trained
        By task: which shadow teachers have a model for it, boolean of shape (S,).
    """

    arena: Arena
    inside: np.ndarray
    secrets: list[bytes]
    said: dict[str, dict[str, Exports]]
    trained: dict[str, np.ndarray]


def shadow_secret(*parts: object) -> bytes:
    """A secret of a shadow teacher; nothing of the partner's own is in it."""
    return hashlib.sha256(repr(("fluid audit shadow", *parts)).encode()).digest()


def play(
    arena: Arena,
    federation: Federation,
    options: TrainingOptions,
    share: float,
    shadows: int,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int], None] = lambda done: None,
    unprotected: bool = True,
    workers: Workers | None = None,
) -> Game:
    """Train shadow teachers and collect what they export.

    Parameters
    ----------
    arena
        Who plays.
    federation, options
        The partner's own contract and settings.
    share
        Probability with which a private compound is in the training data.
    shadows
        Number of shadow teachers S.
    seed
        Of coins and secrets.
    jobs
        Threads.
    progress
        Called with the number of teachers done.
    unprotected
        Whether the unprotected exports are wanted too.
    workers
        See `export_shadows`.
    """
    random = np.random.default_rng([seed, round(share * 1000)])
    n = len(arena.table.compounds)
    inside = random.random((shadows, n)) < share
    secrets = [shadow_secret(seed, share, number) for number in range(shadows)]
    kinds = [UNPROTECTED] * unprotected + [FIRST] * (student_of(options) is not None)
    said: dict[str, dict[str, list[Export]]] = {
        task.name: {kind: [] for kind in (ACTUAL, *kinds)} for task in federation.tasks
    }
    trained = {task.name: np.zeros(shadows, dtype=bool) for task in federation.tasks}
    plans = zip(map(np.flatnonzero, inside), secrets, strict=True)
    exports = export_shadows(
        arena.table, federation, options, arena.public, plans, kinds, jobs, workers
    )
    for number, found in enumerate(exports):
        for kind, by in (found or {}).items():
            for name, export in by.items():
                trained[name][number] = True
                said[name][kind].append(export)
        progress(number + 1)
    return Game(
        arena, inside, secrets,
        {
            name: {kind: stack(each) for kind, each in by.items() if each}
            for name, by in said.items() if by[ACTUAL]
        },
        trained,
    )  # fmt: skip
