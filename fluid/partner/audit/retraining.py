"""Two releases by the same teacher, differenced: trained again after one compound was added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fluid.base.run import Run
from fluid.partner.audit.exports import ACTUAL, Export, Exports, stack
from fluid.partner.audit.game import Game
from fluid.partner.audit.results import RETRAINED, AttackCase, AttackResult, classes_of, judge
from fluid.partner.audit.shadows import ShadowPlan, export_shadows
from fluid.partner.audit.signals import neighbour_signals, pull


@dataclass(frozen=True)
class _Retrained:
    """A teacher that was trained again with one compound more, and what it exports then."""

    teacher: int
    added: int
    exports: dict[str, Export]


def attack_retraining(game: Game, pairs: int, delta: float, run: Run) -> Iterator[AttackResult]:
    """Add one compound to a shadow teacher's data, train it again, and look for the compound.

    The secret stays. So the row of the added compound stays as it was, while those around it move.
    Whoever holds both releases asks of every compound that was not in the first whether it was
    added. Attacks: "pull", how far the analogues' rows moved towards the label; "moved", how far
    they moved at all; "still", the same for compounds whose own row did not move.

    Parameters
    ----------
    game
        What shadow teachers exported before.
    pairs
        How many teachers are trained again.
    delta
        The delta of the bound on epsilon.
    run
        Its seed fixes which compounds are added; its progress counts teachers.
    """
    retrained = _train_again(game, pairs, run)
    for index, task in enumerate(game.recipe.federation.tasks):
        if task.name not in game.exports:
            continue
        rows, labels = game.arena.table.labels.column(index, censored=True)
        trained = game.trained[task.name]
        place = np.cumsum(trained) - 1
        mine = [
            one
            for one in retrained
            if one.added in rows and task.name in one.exports and trained[one.teacher]
        ]
        if not mine:
            continue
        first = game.exports[task.name][ACTUAL].teachers(
            np.array([place[one.teacher] for one in mine])
        )
        second = stack([one.exports[task.name] for one in mine])
        absent = ~game.inside[[one.teacher for one in mine]][:, rows]
        member = rows[None, :] == np.array([one.added for one in mine])[:, None]
        teacher = np.broadcast_to(np.arange(len(mine))[:, None], member.shape)
        near, similarity = game.arena.near_all[rows], game.arena.similarity_all[rows]
        change = neighbour_signals(task, second, near, labels) - neighbour_signals(
            task, first, near, labels
        )
        moved = pull(np.abs(change), similarity)
        still = np.where(_row_moved(first, second, rows), 0.0, moved)
        case = AttackCase(task.name, RETRAINED, ACTUAL, game.share)
        scores = {"pull": pull(change, similarity), "moved": moved, "still": still}
        for name, each in scores.items():
            shown = np.where(absent, each, np.nan)
            yield from judge(
                case, name, shown, member, classes_of(task, labels), delta, cluster=teacher
            )


def _train_again(game: Game, pairs: int, run: Run) -> list[_Retrained]:
    """Add one compound to each teacher; tasks take turns in saying which ones may be added."""
    random = np.random.default_rng([run.seed, 1])
    labels, task_index = game.arena.table.labels, game.recipe.federation.task_index
    columns = [labels.column(task_index(name), True)[0] for name in sorted(game.exports)]
    plans: list[ShadowPlan] = []
    which: list[tuple[int, int]] = []
    for number in range(min(pairs, len(game.inside)) if columns else 0):
        rows = columns[number % len(columns)]
        absent = rows[~game.inside[number][rows]]
        if len(absent):
            mine = game.inside[number].copy()
            mine[added := int(random.choice(absent))] = True
            plans.append((np.flatnonzero(mine), game.secrets[number]))
            which.append((number, added))
    exports = export_shadows(game.arena, game.recipe, plans, (), run)
    retrained = []
    for done, ((number, added), found) in enumerate(zip(which, exports, strict=True), start=1):
        if found is not None:
            retrained.append(_Retrained(number, added, found[ACTUAL]))
        run.progress(done)
    return retrained


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
