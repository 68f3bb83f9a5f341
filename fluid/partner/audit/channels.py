"""Every attack through every channel on what shadow teachers exported."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fluid.exchange.federation import Federation
from fluid.learn.task import Task
from fluid.partner.audit.attacks import SIGNAL_ATTACKS, learned, lira_joint, lira_online
from fluid.partner.audit.exports import Exports
from fluid.partner.audit.game import Game
from fluid.partner.audit.results import (
    ALL_PUBLIC,
    METADATA,
    NEIGHBOUR_METADATA,
    NEIGHBOURS,
    OWN_ROW,
    AttackResult,
    Target,
    classes_of,
    judge,
)
from fluid.partner.audit.signals import (
    metadata_signals,
    neighbour_metadata,
    neighbour_signals,
    pull,
    row_signal,
)


def own_row_attacks(
    task: Task, said: Exports, inside: np.ndarray, rows: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores of attacks on the prediction in a compound's own row."""
    signal = row_signal(task, said, rows, labels)
    for name, attack in SIGNAL_ATTACKS.items():
        yield name, attack(signal, inside)


def metadata_attacks(
    said: Exports, inside: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores of attacks on the columns beside the prediction."""
    signals = metadata_signals(said, rows)
    yield from signals.items()
    columns = np.stack([one for name, one in signals.items() if name != "silence"], axis=2)
    yield "lira-joint", lira_joint(columns, inside)
    yield "learned", learned(np.stack(list(signals.values()), axis=2), inside)


def neighbour_attacks(
    task: Task,
    said: Exports,
    inside: np.ndarray,
    labels: np.ndarray,
    near: np.ndarray,
    similarity: np.ndarray,
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores of attacks on the rows of a compound's analogues.

    Parameters
    ----------
    task, said, inside, labels
        Who says what, who was in, and the labels of the n compounds attacked.
    near, similarity
        Positions and similarities of their analogues, shape (n, k).
    """
    signals = neighbour_signals(task, said, near, labels)
    mean = pull(signals, similarity)
    for name, attack in SIGNAL_ATTACKS.items():
        yield name, attack(mean, inside)
    yield "lira-joint", lira_joint(signals, inside)
    weighted = signals * similarity[None].astype(np.float64) ** 2
    yield "learned", learned(np.concatenate([signals, weighted, mean[:, :, None]], 2), inside)


def neighbour_metadata_attacks(
    said: Exports, inside: np.ndarray, near: np.ndarray, similarity: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores of attacks on the columns beside the analogues' predictions."""
    reliability, uncertainty = neighbour_metadata(said, near)
    mean = pull(reliability, similarity)
    yield "reliability", mean
    yield "lira-online", lira_online(mean, inside)
    yield "lira-joint", lira_joint(reliability, inside)
    yield (
        "learned",
        learned(np.concatenate([reliability, uncertainty, mean[:, :, None]], 2), inside),
    )


def attack_game(
    game: Game, federation: Federation, share: float, delta: float, closed: bool = True
) -> Iterator[AttackResult]:
    """All attacks on a game.

    Parameters
    ----------
    game
        What shadow teachers exported.
    federation
        Its tasks.
    share
        Probability with which a compound was in the training data.
    delta
        Of the bound on epsilon.
    closed
        Whether own rows and metadata are attacked too, and not only neighbours.
    """
    arena = game.arena
    for index, task in enumerate(federation.tasks):
        if task.name not in game.said:
            continue
        rows, labels = arena.table.labels.column(index)
        inside = game.inside[game.trained[task.name]][:, rows]
        classes = classes_of(task, labels)
        for export, said in game.said[task.name].items():
            made: list[tuple[str, str, np.ndarray]] = []
            if closed:
                found = own_row_attacks(task, said, inside, rows, labels)
                made += [(OWN_ROW, *one) for one in found]
                made += [(METADATA, *one) for one in metadata_attacks(said, inside, rows)]
            for channel, near, similarity in (
                (NEIGHBOURS, arena.near, arena.similarity),
                (ALL_PUBLIC, arena.near_all, arena.similarity_all),
            ):
                around = neighbour_attacks(task, said, inside, labels, near[rows], similarity[rows])
                made += [(channel, *one) for one in around]
            beside = neighbour_metadata_attacks(
                said, inside, arena.near[rows], arena.similarity[rows]
            )
            made += [(NEIGHBOUR_METADATA, *one) for one in beside]
            for channel, name, scores in made:
                target = Target(task.name, channel, export, share)
                yield from judge(target, name, scores, inside, classes, delta)
