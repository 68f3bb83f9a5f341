"""Choose compounds by diversity and by coverage: leaders, clusters, quotas, and spread in each.

Everything here looks at packed fingerprints alone and is deterministic: equal input and seed give
the same compounds, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rdkit import DataStructs
from rdkit.SimDivFilters import rdSimDivPickers

from fluid.base.jobs import map_threads
from fluid.base.run import Run
from fluid.chem.similarity import tanimoto

MOST_LEADERS = 2_000
SAMPLE_PER_LEADER = 10
_COMPOUNDS_PER_LEADER = 10
_BLOCK = 4_096
# Of the threshold of leaders: 2^-10.
_HALVINGS = 10
_PART = 512
_CANDIDATES_PER_PICK = 4


class FingerprintStore:
    """Packed fingerprints of many compounds, held in blocks: 1/8 byte a bit and nothing besides.

    Parameters
    ----------
    n_bytes
        Bytes of one fingerprint, a multiple of 8.
    parts
        Fingerprints to start with, each uint8 of shape (any, n_bytes).
    """

    def __init__(self, n_bytes: int, parts: Iterable[np.ndarray] = ()) -> None:
        self.n_bytes = n_bytes
        self._blocks: list[np.ndarray] = []
        self._last = np.zeros((_BLOCK, n_bytes), dtype=np.uint8)
        self._used = 0
        for part in parts:
            self.extend(part)

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK + self._used

    def extend(self, part: np.ndarray) -> None:
        """Add fingerprints at the end."""
        while len(part):
            room = min(_BLOCK - self._used, len(part))
            self._last[self._used : self._used + room] = part[:room]
            self._used += room
            part = part[room:]
            if self._used == _BLOCK:
                self._blocks.append(self._last)
                self._last = np.zeros((_BLOCK, self.n_bytes), dtype=np.uint8)
                self._used = 0

    def blocks(self) -> Iterator[np.ndarray]:
        """All fingerprints in order, a few thousand at a time."""
        yield from self._blocks
        if self._used:
            yield self._last[: self._used]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Fingerprints at these positions, uint8 of shape (len(rows), n_bytes)."""
        found = np.empty((len(rows), self.n_bytes), dtype=np.uint8)
        numbers, inside = np.divmod(rows, _BLOCK)
        for number in np.unique(numbers):
            at = numbers == number
            block = self._blocks[number] if number < len(self._blocks) else self._last
            found[at] = block[inside[at]]
        return found


def count_leaders(number: int) -> int:
    """How many clusters serve to select `number` compounds: one in ten, at most 2,000."""
    return min(max(1, number // _COMPOUNDS_PER_LEADER), MOST_LEADERS)


def find_leaders(sample: np.ndarray, number: int) -> np.ndarray:
    """Leaders of a sample by sphere exclusion, taken in the order of the sample.

    A compound becomes a leader if its similarity to every leader before it is below a threshold
    (Hartigan, Clustering Algorithms, Wiley 1975; Snarey et al. 1997, doi
    10.1016/S1093-3263(98)00008-4). The threshold is the lowest, to 1/1024, at which the sample has
    enough leaders, so that they lie as far apart as possible.

    Parameters
    ----------
    sample
        Packed fingerprints, uint8 of shape (n, bytes), in random order.
    number
        Leaders wanted, 1 or more.

    Returns
    -------
    numpy.ndarray
        Positions in the sample, ascending, int64; `number` of them, or fewer if the sample has
        fewer different fingerprints.
    """
    vectors = _bit_vectors(sample)
    most = min(number, len(sample))

    def exclude(threshold: float) -> np.ndarray:
        picker = rdSimDivPickers.LeaderPicker()
        # RDKit excludes what is as near as a distance or nearer.
        found = picker.LazyBitVectorPick(vectors, len(vectors), 1.0 - threshold, most)
        return np.array(found, dtype=np.int64)

    low, high = 0.0, 1.0
    best = exclude(high)
    if len(best) < number:
        return best
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = exclude(middle)
        if len(found) < number:
            low = middle
        else:
            high, best = middle, found
    return best


def _bit_vectors(packed: np.ndarray) -> list[DataStructs.ExplicitBitVect]:
    """Packed fingerprints as RDKit holds them; in which order of bits makes no difference."""
    return [DataStructs.CreateFromBinaryText(row.tobytes()) for row in packed]


def assign(
    fingerprints: Iterable[np.ndarray], leaders: np.ndarray, jobs: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest leader of every compound.

    Parameters
    ----------
    fingerprints
        Packed fingerprints in blocks, each uint8 of shape (any, bytes).
    leaders
        Packed fingerprints of k leaders, uint8 of shape (k, bytes); k is 1 or more.
    jobs
        Threads; the result does not depend on it.

    Returns
    -------
    tuple of numpy.ndarray
        For each compound the number of its nearest leader (int32; the first of equally near ones)
        and its Tanimoto similarity to it (float32 in [0, 1]).
    """
    found = map_threads(partial(_nearest, leaders=leaders), fingerprints, jobs)
    empty = np.zeros(0)
    nearest = np.concatenate([empty, *(part for part, _ in found)]).astype(np.int32)
    return nearest, np.concatenate([empty, *(part for _, part in found)]).astype(np.float32)


def _nearest(block: np.ndarray, leaders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    similarity = tanimoto(block, leaders)
    nearest = similarity.argmax(axis=1)
    return nearest.astype(np.int32), similarity[np.arange(len(block)), nearest]


def mix_shares(sizes: np.ndarray, reported: Sequence[np.ndarray], weight: float) -> np.ndarray:
    """What share of the selection each cluster is due.

    Parameters
    ----------
    sizes
        Compounds of the pool in each of k clusters.
    reported
        Per partner, its counts in each cluster. Every partner has the same say, however many
        compounds it has; one that reports nothing but zeros has none.
    weight
        Of the reported shares, in [0, 1]; the rest is even over the clusters that the pool has.

    Returns
    -------
    numpy.ndarray
        float64 of shape (k,), sum 1.
    """
    even = (sizes > 0) / np.count_nonzero(sizes)
    told = [counts / counts.sum() for counts in reported if counts.sum() > 0]
    if not told:
        return even
    return (1.0 - weight) * even + weight * np.mean(told, axis=0)


def allot(shares: np.ndarray, least: np.ndarray, most: np.ndarray, number: int) -> np.ndarray:
    """Whole quotas in proportion to shares, within bounds, with exactly the sum asked for.

    What a cluster cannot supply goes to the others in proportion to their shares, and if these
    are 0, evenly. Fractions are settled by largest remainder, the first of equal ones first.

    Parameters
    ----------
    shares
        float64 of shape (k,), 0 or more.
    least, most
        Bounds of each quota, integers of shape (k,).
    number
        The sum; between the sums of the bounds.

    Returns
    -------
    numpy.ndarray
        int64 of shape (k,).
    """
    quotas = _fill(shares, least, most, number)
    if quotas.sum() < number - 0.5:
        quotas = _fill(np.ones(len(shares)), quotas, most, number)
    # A hair above, so that a whole number that came out a hair below stays what it is.
    whole = np.minimum(np.floor(quotas + 1e-6), most).astype(np.int64)
    order = np.argsort(-np.round(quotas - whole, 6), kind="stable")
    open_ = order[whole[order] < most[order]]
    whole[open_[: number - int(whole.sum())]] += 1
    return whole


def _fill(shares: np.ndarray, least: np.ndarray, most: np.ndarray, number: int) -> np.ndarray:
    """Quotas ``clip(level * share, least, most)`` at the level that gives the sum, if one does."""
    high = float(number + 1) / max(float(shares[shares > 0].min(initial=np.inf)), 1e-12)
    low = 0.0
    for _ in range(100):
        level = (low + high) / 2
        if np.clip(level * shares, least, most).sum() < number:
            low = level
        else:
            high = level
    return np.clip(high * shares, least, most)


def pick_spread(
    candidates: np.ndarray, number: int, start: int, present: np.ndarray | None = None
) -> np.ndarray:
    """MaxMin: again and again the candidate least similar to what was picked.

    Kennard and Stone 1969, doi 10.1080/00401706.1969.10490666; for compounds Ashton et al. 2002,
    doi 10.1002/qsar.200290002.

    Parameters
    ----------
    candidates
        Packed fingerprints, uint8 of shape (n, bytes).
    number
        How many to pick, 1 to n.
    start
        The first pick, if nothing is present.
    present
        Packed fingerprints of compounds to keep away from as if they had been picked.

    Returns
    -------
    numpy.ndarray
        Positions in the order of picking, int64. Equally dissimilar candidates come in their order.
    """
    before = _bit_vectors(present) if present is not None else []
    first = list(range(len(before))) or [start]
    vectors = before + _bit_vectors(candidates)
    picker = rdSimDivPickers.MaxMinPicker()
    found = picker.LazyBitVectorPick(vectors, len(vectors), len(before) + number, first)
    return np.array(found, dtype=np.int64)[len(before) :] - len(before)


@dataclass(frozen=True)
class Picked:
    """What was selected.

    Attributes
    ----------
    rows
        Positions in the store, ascending, int64.
    sizes, quotas
        Compounds of the pool, and selected, in each cluster.
    """

    rows: np.ndarray
    sizes: np.ndarray
    quotas: np.ndarray


def select_rows(
    store: FingerprintStore,
    rows: np.ndarray,
    kept: np.ndarray,
    number: int,
    leaders: np.ndarray | None = None,
    reported: Sequence[np.ndarray] = (),
    weight: float = 0.5,
    seed: int = 0,
    jobs: int = 1,
) -> Picked:
    """Select compounds of a pool by clusters.

    Parameters
    ----------
    store
        Fingerprints of the pool.
    rows
        Positions that may be selected, ascending; the others are repeats.
    kept
        bool of shape (len(rows),): which of them are selected in any case.
    number
        How many to select, those included; between their number and len(rows).
    leaders
        Packed fingerprints of the clusters' leaders; by default those of a sample of the pool.
    reported, weight
        See `mix_shares`; counts by leader.
    seed
        Of the samples.
    jobs
        Threads; the result does not depend on it.

    Returns
    -------
    Picked
        Exactly `number` rows.
    """
    if leaders is None:
        wanted = count_leaders(number)
        order = np.random.default_rng(seed).permutation(len(rows))[: wanted * SAMPLE_PER_LEADER]
        sample = store.take(rows[order])
        leaders = sample[find_leaders(sample, wanted)]
    everywhere, similarity = assign(store.blocks(), leaders, jobs)
    clusters, similarity = everywhere[rows], similarity[rows]
    sizes = np.bincount(clusters, minlength=len(leaders))
    least = np.bincount(clusters[kept], minlength=len(leaders))
    quotas = allot(mix_shares(sizes, reported, weight), least, sizes, number)
    by_cluster = np.split(np.argsort(clusters, kind="stable"), np.cumsum(sizes)[:-1])
    work = [
        (cluster, members, int(quota))
        for cluster, (members, quota) in enumerate(zip(by_cluster, quotas, strict=True))
        if quota
    ]

    def choose(item: tuple[int, np.ndarray, int]) -> np.ndarray:
        cluster, members, quota = item
        random = np.random.default_rng([seed, cluster])
        return _choose(store, rows, kept, similarity, members, quota, random)

    chosen = np.concatenate(map_threads(choose, work, jobs))
    return Picked(np.sort(rows[chosen]), sizes, quotas)


def _choose(
    store: FingerprintStore,
    rows: np.ndarray,
    kept: np.ndarray,
    similarity: np.ndarray,
    members: np.ndarray,
    quota: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Choose in one cluster; positions in `rows`.

    A large quota is picked from parts drawn at random, so that the work grows with the quota and
    not with its square.
    """
    stay, free = members[kept[members]], members[~kept[members]]
    extra = quota - len(stay)
    if extra == len(free):
        return members
    chosen = [stay]
    present = store.take(rows[stay[:_PART]])
    free = random.permutation(free)
    n_parts = -(-extra // _PART)
    for part in range(n_parts):
        share = len(range(part, extra, n_parts))
        among = free[part::n_parts][: max(_PART, _CANDIDATES_PER_PICK * share)]
        # In the order of the pool, so that the first of equals is the pool's first.
        among = np.sort(among)
        start = int(similarity[among].argmax())
        picked = pick_spread(store.take(rows[among]), share, start, present)
        chosen.append(among[picked])
    return np.concatenate(chosen)
