"""Compounds read in pieces are the compounds, whatever the pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.stream import CompoundStream


def make(n: int) -> Compounds:
    """Compounds of which each has another number of features."""
    lengths = np.arange(n) % 4
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    names = np.array([f"c{row}" for row in range(n)], dtype=object)
    return Compounds(
        names,
        names,
        names,
        np.arange(n, dtype=np.uint8)[:, None].repeat(8, axis=1),
        np.arange(offsets[-1], dtype=np.uint32),
        np.ones(offsets[-1], dtype=np.uint8),
        offsets,
        np.arange(n, dtype=np.float32)[:, None],
    )


def cut(compounds: Compounds, sizes: list[int]) -> CompoundStream:
    def chunks() -> Iterator[Compounds]:
        start = 0
        for size in sizes:
            yield compounds.take(np.arange(start, start + size))
            start += size

    return CompoundStream(len(compounds), chunks)


def same(left: Compounds, right: Compounds) -> bool:
    names = [field.name for field in fields(Compounds)]
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in names)


@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=8).filter(any),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_pieces_do_not_matter(sizes: list[int], size: int, random: object) -> None:
    compounds = make(sum(sizes))
    stream = cut(compounds, sizes)
    mask = np.array([random.random() < 0.7 for _ in range(len(compounds))])  # type: ignore[attr-defined]
    rows = np.flatnonzero(mask)
    assert same(stream.take(rows), compounds.take(rows))
    found = list(stream.blocks(rows, size))
    assert [start for start, _ in found] == list(range(0, len(rows), size))
    assert all(len(block) == size for _, block in found[:-1])
    if len(rows):
        assert same(concatenate([block for _, block in found]), compounds.take(rows))


def test_what_is_in_memory_is_a_stream_too() -> None:
    compounds = make(5)
    stream = CompoundStream.of(compounds)
    assert len(stream) == 5
    assert same(stream.take(np.arange(5)), compounds)
    assert CompoundStream.of(stream) is stream
