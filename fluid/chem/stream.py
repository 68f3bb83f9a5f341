"""Compounds that are read in pieces, repeatedly: a public set is seldom held as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fluid.chem.compounds import Compounds, concatenate


@dataclass(frozen=True)
class CompoundStream:
    """n compounds in an order that never changes.

    Attributes
    ----------
    n
        Number of compounds.
    chunks
        Iterates over them in pieces of any size; can be called repeatedly.
    """

    n: int
    chunks: Callable[[], Iterator[Compounds]]

    @classmethod
    def of(cls, compounds: Compounds | CompoundStream) -> CompoundStream:
        """A stream of compounds in memory; a stream is returned as it is."""
        if isinstance(compounds, CompoundStream):
            return compounds
        return cls(len(compounds), lambda: iter((compounds,)))

    def __len__(self) -> int:
        return self.n

    def parts(self, rows: np.ndarray) -> Iterator[Compounds]:
        """The compounds at these positions, chunk by chunk; a chunk may hold none.

        Parameters
        ----------
        rows
            Ascending positions, without repeats.
        """
        start = 0
        for chunk in self.chunks():
            first, last = np.searchsorted(rows, [start, start + len(chunk)])
            here = rows[first:last] - start
            yield chunk if len(here) == len(chunk) else chunk.take(here)
            start += len(chunk)

    def take(self, rows: np.ndarray) -> Compounds:
        """The compounds at these ascending positions, without repeats; one pass."""
        return concatenate(list(self.parts(rows)))

    def blocks(self, rows: np.ndarray, size: int) -> Iterator[tuple[int, Compounds]]:
        """The compounds at these positions in blocks of `size`, however they are stored.

        Yields
        ------
        tuple
            Position of the first in `rows`, and `size` compounds; the last block may be shorter.
        """
        held: list[Compounds] = []
        ready = done = 0
        for part in self.parts(rows):
            held.append(part)
            ready += len(part)
            if ready < size:
                continue
            whole = concatenate(held)
            cuts = np.arange(0, ready - size + 1, size)
            for cut in cuts:
                yield done + int(cut), whole.take(np.arange(cut, cut + size))
            used = int(cuts[-1]) + size
            held = [whole.take(np.arange(used, ready))]
            done += used
            ready -= used
        if ready:
            yield done, concatenate(held)
