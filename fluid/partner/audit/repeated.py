"""Two releases by the same teacher, differenced: trained again after one compound was added."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fluid.base.jobs import Workers
from fluid.exchange.federation import Federation
from fluid.partner.audit.exports import (
    ACTUAL,
    Export,
    Exports,
    stack,
)
from fluid.partner.audit.game import Game
from fluid.partner.audit.results import RETRAINED, AttackResult, Target, classes_of, judge
from fluid.partner.audit.shadows import export_shadows
from fluid.partner.audit.signals import neighbour_signals, pull
from fluid.partner.teacher.fit import TrainingOptions


def attack_retraining(
    game: Game,
    federation: Federation,
    options: TrainingOptions,
    share: float,
    pairs: int,
    delta: float,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int], None] = lambda done: None,
    workers: Workers | None = None,
) -> Iterator[AttackResult]:
    """Add one compound to a shadow teacher's data, train it again, and look for the compound.

    The secret stays, so that the row of the added compound itself stays as it was, while those
    around it move. Whoever holds both releases asks of every compound that was not in the first
    whether it is the one. Attacks: "pull", how far the analogues' rows moved towards the label;
    "moved", how far they moved at all; "still", the same for compounds whose own row did not move.

    Parameters
    ----------
    game
        What shadow teachers exported before.
    federation, options
        As in the game.
    share
        Probability with which a compound was in the training data.
    pairs
        How many teachers are trained again.
    delta
        Of the bound on epsilon.
    seed, jobs, progress, workers
        As in `play`.
    """
    tried = _train_again(game, federation, options, pairs, seed, jobs, progress, workers)
    for index, task in enumerate(federation.tasks):
        if task.name not in game.said:
            continue
        rows, labels = game.arena.table.labels.column(index)
        place = np.cumsum(game.trained[task.name]) - 1
        mine = [
            one for one in tried
            if one.added in rows and task.name in one.said and game.trained[task.name][one.teacher]
        ]  # fmt: skip
        if not mine:
            continue
        first = game.said[task.name][ACTUAL].teachers(np.array([place[m.teacher] for m in mine]))
        second = stack([one.said[task.name] for one in mine])
        absent = ~game.inside[[one.teacher for one in mine]][:, rows]
        member = rows[None, :] == np.array([one.added for one in mine])[:, None]
        teacher = np.broadcast_to(np.arange(len(mine))[:, None], member.shape)
        near, similarity = game.arena.near_all[rows], game.arena.similarity_all[rows]
        change = neighbour_signals(task, second, near, labels) - neighbour_signals(
            task, first, near, labels
        )
        moved = pull(np.abs(change), similarity)
        still = np.where(_row_moved(first, second, rows), 0.0, moved)
        target = Target(task.name, RETRAINED, ACTUAL, share)
        scores = {"pull": pull(change, similarity), "moved": moved, "still": still}
        for name, each in scores.items():
            shown = np.where(absent, each, np.nan)
            yield from judge(
                target, name, shown, member, classes_of(task, labels), delta, cluster=teacher
            )


@dataclass(frozen=True)
class _Again:
    """A teacher that was trained again with one compound more, and what it says then."""

    teacher: int
    added: int
    said: dict[str, Export]


def _train_again(
    game: Game,
    federation: Federation,
    options: TrainingOptions,
    pairs: int,
    seed: int,
    jobs: int,
    progress: Callable[[int], None],
    workers: Workers | None,
) -> list[_Again]:
    """One compound is added to each teacher; tasks take turns in saying which ones may be."""
    random = np.random.default_rng([seed, 1])
    table = game.arena.table
    columns = [table.labels.column(federation.task_index(name))[0] for name in sorted(game.said)]
    plans: list[tuple[np.ndarray, bytes]] = []
    which: list[tuple[int, int]] = []
    for number in range(min(pairs, len(game.inside)) if columns else 0):
        rows = columns[number % len(columns)]
        absent = rows[~game.inside[number][rows]]
        if len(absent):
            mine = game.inside[number].copy()
            mine[added := int(random.choice(absent))] = True
            plans.append((np.flatnonzero(mine), game.secrets[number]))
            which.append((number, added))
    exports = export_shadows(
        table, federation, options, game.arena.public, plans, (), jobs, workers
    )
    tried = []
    for done, ((number, added), said) in enumerate(zip(which, exports, strict=True), start=1):
        if said is not None:
            tried.append(_Again(number, added, said[ACTUAL]))
        progress(done)
    return tried


def _row_moved(first: Exports, second: Exports, rows: np.ndarray) -> np.ndarray:
    """Whether any column of a compound's own row differs, shape (S, n)."""
    moved = np.zeros((len(first.reliability), len(rows)), dtype=bool)
    for a, b in (
        (first.prediction, second.prediction),
        (first.uncertainty, second.uncertainty),
        (first.reliability[:, :, None], second.reliability[:, :, None]),
    ):
        same = (a[:, rows] == b[:, rows]) | (np.isnan(a[:, rows]) & np.isnan(b[:, rows]))
        moved |= ~same.all(axis=2)
    return moved
