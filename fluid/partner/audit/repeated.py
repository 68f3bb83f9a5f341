"""Two releases by the same teacher, differenced: trained again after one compound was added."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fluid.exchange.federation import Federation
from fluid.partner.audit.exports import ACTUAL, Exports, export_actual, stack, take_table, train
from fluid.partner.audit.game import Game
from fluid.partner.audit.results import RETRAINED, AttackResult, Target, classes_of, judge
from fluid.partner.audit.signals import neighbour_signals, pull
from fluid.partner.teacher import TrainingOptions


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
    seed, jobs, progress
        As in `play`.
    """
    random = np.random.default_rng([seed, 1])
    count = min(pairs, len(game.inside))
    for task_index, task in enumerate(federation.tasks):
        if task.name not in game.said:
            continue
        rows, labels = game.arena.table.labels.column(task_index)
        teachers = np.flatnonzero(game.trained[task.name])[:count]
        before: list[int] = []
        after, added = [], []
        for place, number in enumerate(teachers):
            absent = rows[~game.inside[number][rows]]
            if not len(absent):
                continue
            chosen = int(random.choice(absent))
            mine = game.inside[number].copy()
            mine[chosen] = True
            teacher = train(
                take_table(game.arena.table, mine), federation, options, game.secrets[number], jobs
            )
            if teacher is None or task.name not in teacher.measured:
                continue
            said = export_actual(teacher, game.secrets[number], federation, game.arena.public, jobs)
            before.append(place)
            after.append(said[task.name])
            added.append(chosen)
            progress(len(added))
        if not added:
            continue
        first = game.said[task.name][ACTUAL].teachers(np.array(before))
        second = stack(after)
        absent = ~game.inside[teachers[before]][:, rows]
        member = rows[None, :] == np.array(added)[:, None]
        whose = np.broadcast_to(np.arange(len(added))[:, None], member.shape)
        near, similarity = game.arena.near_all[rows], game.arena.similarity_all[rows]
        change = neighbour_signals(task, second, near, labels) - neighbour_signals(
            task, first, near, labels
        )
        moved = pull(np.abs(change), similarity)
        still = np.where(_row_moved(first, second, rows), 0.0, moved)
        target = Target(task.name, RETRAINED, ACTUAL, share)
        classes = classes_of(task, labels)
        scores = {"pull": pull(change, similarity), "moved": moved, "still": still}
        for name, each in scores.items():
            shown = np.where(absent, each, np.nan)
            yield from judge(target, name, shown, member, classes, delta, cluster=whose)


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
