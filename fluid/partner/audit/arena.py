"""Where the audit's game is played: the private compounds, and public ones near them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.similarity import nearest_references
from fluid.exchange.public_set import PublicSet
from fluid.partner.table import LabelledCompounds

# Public compounds that are looked at around a private one. Their signals are weighted by squared
# similarity, so that more of them would add little.
ANALOGUES = 10


@dataclass(frozen=True)
class Arena:
    """The private compounds, and the public set of the game.

    Attributes
    ----------
    table
        n private compounds with their labels.
    public
        The n private compounds in their order, then real public ones near them.
    near, similarity
        Positions in `public` of the analogues that each private compound has in the real public
        set, nearest first, and their Tanimoto similarity; shape (n, ANALOGUES).
    near_all, similarity_all
        The same among all of `public`, as if every other private compound were public. A compound
        is never its own analogue.
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
        The public set, or the part of it near the private compounds. Compounds that are private
        too are allowed.
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
        table,
        together.with_cache(),
        near + len(own) if len(others) else near,
        similarity,
        near_all,
        similarity_all,
    )


def _analogues(
    own: Compounds, others: Compounds, itself: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Similarity and positions of the analogues of each compound, nearest first.

    Where there are too few, the rest is position 0 at similarity 0, which weighs nothing.
    """
    found, where = nearest_references(own.fingerprints, others.fingerprints, ANALOGUES, itself)
    return found[:, ::-1], np.maximum(where[:, ::-1], 0)


def near_public(public: PublicSet, own: Compounds) -> tuple[Compounds, np.ndarray]:
    """Public compounds near private ones or private themselves, and their positions."""
    private = set(own.connectivities)
    parts, positions, start = [], [], 0
    for chunk in public.chunks():
        shared = np.array([key in private for key in chunk.connectivities], dtype=bool)
        others = np.flatnonzero(~shared)
        _, where = nearest_references(own.fingerprints, chunk.fingerprints[others], ANALOGUES)
        rows = np.union1d(np.flatnonzero(shared), others[np.unique(where[where >= 0])])
        parts.append(chunk.take(rows))
        positions.append(rows + start)
        start += len(chunk)
    return concatenate(parts), np.concatenate(positions)
