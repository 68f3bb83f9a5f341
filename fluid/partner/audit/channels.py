"""Every attack through every channel, on what shadow teachers exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fluid.learn.task import Task
from fluid.partner.audit.attacks import SIGNAL_ATTACKS, learned, lira_joint, lira_online
from fluid.partner.audit.exports import ACTUAL, BOTH, FIRST, Exports
from fluid.partner.audit.game import Game
from fluid.partner.audit.results import (
    ALL_PUBLIC,
    METADATA,
    NEIGHBOUR_METADATA,
    NEIGHBOUR_ROWS,
    OWN_ROW,
    AttackCase,
    AttackResult,
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

# One release, or several of one teacher that an attacker holds side by side.
Releases = Sequence[Exports]


def own_row_attacks(
    task: Task, releases: Releases, inside: np.ndarray, rows: np.ndarray, labels: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores of attacks on the prediction in a compound's own row."""
    signals = np.stack([row_signal(task, one, rows, labels) for one in releases], axis=2)
    mean = signals.mean(axis=2)
    for name, attack in SIGNAL_ATTACKS.items():
        yield name, attack(mean, inside)
    if len(releases) > 1:
        yield "lira-joint", lira_joint(signals, inside)
        yield "learned", learned(signals, inside)


def metadata_attacks(
    releases: Releases, inside: np.ndarray, rows: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores of attacks on the columns beside the prediction.

    A column that a second release repeats is attacked once: the more attacks are counted, the
    less each one shows.
    """
    signals = metadata_signals(releases[0], rows)
    new = dict(signals)
    for number, one in enumerate(releases[1:], start=2):
        found = metadata_signals(one, rows).items()
        new = {
            f"{name} {number}": values
            for name, values in found
            if not np.array_equal(values, signals[name])
        }
        signals = signals | new
    yield from new.items()
    if len(releases) > 1 and not new:
        return
    columns = np.stack(
        [one for name, one in signals.items() if not name.startswith("silence")], axis=2
    )
    yield "lira-joint", lira_joint(columns, inside)
    yield "learned", learned(np.stack(list(signals.values()), axis=2), inside)


def neighbour_attacks(
    task: Task,
    releases: Releases,
    inside: np.ndarray,
    labels: np.ndarray,
    near: np.ndarray,
    similarity: np.ndarray,
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores of attacks on the rows of a compound's analogues.

    Parameters
    ----------
    task, releases, inside, labels
        What was exported, who was in, and the labels of the n compounds attacked.
    near, similarity
        Positions and similarities of their analogues, shape (n, k).
    """
    signals = np.concatenate([neighbour_signals(task, one, near, labels) for one in releases], 2)
    similarity = np.tile(similarity, len(releases))
    mean = pull(signals, similarity)
    for name, attack in SIGNAL_ATTACKS.items():
        yield name, attack(mean, inside)
    yield "lira-joint", lira_joint(signals, inside)
    weighted = signals * similarity[None].astype(np.float64) ** 2
    yield "learned", learned(np.concatenate([signals, weighted, mean[:, :, None]], 2), inside)


def neighbour_metadata_attacks(
    releases: Releases, inside: np.ndarray, near: np.ndarray, similarity: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and scores of attacks on the columns beside the analogues' predictions."""
    found = [neighbour_metadata(one, near) for one in releases]
    first = found[0][0]
    # Residual labels carry the reliability of the first release: it is not attacked twice.
    stated = [first, *(one for one, _ in found[1:] if not np.array_equal(one, first))]
    reliability = np.concatenate(stated, 2)
    uncertainty = np.concatenate([one for _, one in found], 2)
    mean = pull(reliability, np.tile(similarity, len(stated)))
    if len(stated) == len(releases):
        yield "reliability", mean
        yield "lira-online", lira_online(mean, inside)
        yield "lira-joint", lira_joint(reliability, inside)
    yield (
        "learned",
        learned(np.concatenate([reliability, uncertainty, mean[:, :, None]], 2), inside),
    )


def attack_game(game: Game, delta: float, closed: bool = True) -> Iterator[AttackResult]:
    """All attacks on a game.

    Parameters
    ----------
    game
        What shadow teachers exported.
    delta
        The delta of the bound on epsilon.
    closed
        Whether own rows and metadata are attacked too, and not only neighbours.
    """
    arena = game.arena
    for index, task in enumerate(game.recipe.federation.tasks):
        if task.name not in game.exports:
            continue
        # A compound of which only a bound is known was trained on as well.
        rows, labels = arena.table.labels.column(index, censored=True)
        inside = game.inside[game.trained[task.name]][:, rows]
        classes = classes_of(task, labels)
        for export, releases in _side_by_side(game.exports[task.name]).items():
            made: list[tuple[str, str, np.ndarray]] = []
            if closed:
                found = own_row_attacks(task, releases, inside, rows, labels)
                made += [(OWN_ROW, *one) for one in found]
                made += [(METADATA, *one) for one in metadata_attacks(releases, inside, rows)]
            for channel, near, similarity in (
                (NEIGHBOUR_ROWS, arena.near, arena.similarity),
                (ALL_PUBLIC, arena.near_all, arena.similarity_all),
            ):
                around = neighbour_attacks(
                    task, releases, inside, labels, near[rows], similarity[rows]
                )
                made += [(channel, *one) for one in around]
            beside = neighbour_metadata_attacks(
                releases, inside, arena.near[rows], arena.similarity[rows]
            )
            made += [(NEIGHBOUR_METADATA, *one) for one in beside]
            for channel, name, scores in made:
                case = AttackCase(task.name, channel, export, game.share)
                yield from judge(case, name, scores, inside, classes, delta)


def _side_by_side(exports: Mapping[str, Exports]) -> dict[str, list[Exports]]:
    """By kind of export what an attacker holds: with residual labels, the first release too."""
    found = {kind: [one] for kind, one in exports.items() if kind != FIRST}
    if FIRST in exports:
        found[BOTH] = [exports[ACTUAL], exports[FIRST]]
    return found
