"""Choose compounds by diversity and coverage: leaders, clusters, quotas, and spread in clusters.

Everything here works on packed fingerprints and is deterministic: equal input and seed give the
same compounds, whatever the number of threads.
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
# Fingerprints per block of a store.
_BLOCK = 4_096
# Of the threshold of leaders: 2^-10.
_HALVINGS = 10
# Most compounds that MaxMin picks at once, and how many it picks each from.
_PART = 512
_CANDIDATES_PER_PICK = 4


class FingerprintStore:
    """Packed fingerprints of many compounds, held in blocks: an eighth of a byte per bit.

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
    """How many clusters to select `number` compounds by: one in ten, at most 2,000."""
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
    """Which share of the selection each cluster is due.

    Parameters
    ----------
    sizes
        Compounds of the pool in each of k clusters.
    reported
        Per partner, its counts in each cluster. Every partner weighs the same, however many
        compounds it has; one that reports only zeros does not count.
    weight
        Of the reported shares, in [0, 1]; the rest is even over the clusters that the pool has.

    Returns
    -------
    numpy.ndarray
        float64 of shape (k,), sum 1.
    """
    even = (sizes > 0) / np.count_nonzero(sizes)
    shares = [counts / counts.sum() for counts in reported if counts.sum() > 0]
    if not shares:
        return even
    return (1.0 - weight) * even + weight * np.mean(shares, axis=0)


def allot(shares: np.ndarray, least: np.ndarray, most: np.ndarray, number: int) -> np.ndarray:
    """Whole quotas in proportion to shares, within bounds, with exactly the sum asked for.

    Other clusters make up for what a cluster cannot supply: in proportion to their shares, or
    evenly if these are 0. Fractions are settled by largest remainder, the first of equals first.

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
    # Bisection may end a hair below a whole number.
    whole = np.minimum(np.floor(quotas + 1e-6), most).astype(np.int64)
    order = np.argsort(-np.round(quotas - whole, 6), kind="stable")
    open_ = order[whole[order] < most[order]]
    whole[open_[: number - int(whole.sum())]] += 1
    return whole


def _fill(shares: np.ndarray, least: np.ndarray, most: np.ndarray, number: int) -> np.ndarray:
    """Quotas ``clip(level * share, least, most)`` at the level with the sum, if any."""
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
class Candidates:
    """The compounds of a pool.

    Attributes
    ----------
    store
        Fingerprints of the whole pool, repeats included.
    rows
        int64 of shape (n,): positions in the store of the n different compounds, ascending.
    kept
        bool of shape (n,): compounds that are selected in any case.
    """

    store: FingerprintStore
    rows: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True)
class ClusterShares:
    """By which clusters a selection is spread, and how much of it each cluster is due.

    Attributes
    ----------
    leaders
        Packed fingerprints of the clusters' leaders, uint8 of shape (k, bytes); None takes leaders
        from a sample of the pool.
    reported, weight
        See `mix_shares`; counts by leader.
    """

    leaders: np.ndarray | None = None
    reported: Sequence[np.ndarray] = ()
    weight: float = 0.5


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
    candidates: Candidates,
    number: int,
    shares: ClusterShares | None = None,
    run: Run | None = None,
) -> Picked:
    """Select compounds of a pool by clusters.

    Parameters
    ----------
    candidates
        The pool.
    number
        How many to select, at least those that are kept in any case and at most all.
    shares
        Clusters and what each is due; by default even over clusters of the pool.
    run
        The seed of the samples, and threads.

    Returns
    -------
    Picked
        Exactly `number` rows.
    """
    shares, run = shares or ClusterShares(), run or Run()
    store, rows, kept = candidates.store, candidates.rows, candidates.kept
    leaders = shares.leaders
    if leaders is None:
        wanted = count_leaders(number)
        order = np.random.default_rng(run.seed).permutation(len(rows))
        sample = store.take(rows[order[: wanted * SAMPLE_PER_LEADER]])
        leaders = sample[find_leaders(sample, wanted)]
    everywhere, similarity = assign(store.blocks(), leaders, run.cores)
    clusters, similarity = everywhere[rows], similarity[rows]
    sizes = np.bincount(clusters, minlength=len(leaders))
    least = np.bincount(clusters[kept], minlength=len(leaders))
    quotas = allot(mix_shares(sizes, shares.reported, shares.weight), least, sizes, number)
    by_cluster = np.split(np.argsort(clusters, kind="stable"), np.cumsum(sizes)[:-1])
    chosen = [
        _choose(candidates, similarity, members, int(quota), [run.seed, cluster])
        for cluster, (members, quota) in enumerate(zip(by_cluster, quotas, strict=True))
        if quota
    ]
    return Picked(np.sort(rows[np.concatenate(chosen)]), sizes, quotas)


def _choose(
    candidates: Candidates,
    similarity: np.ndarray,
    members: np.ndarray,
    quota: int,
    seed: Sequence[int],
) -> np.ndarray:
    """Choose in one cluster; positions in the candidates' rows.

    A large quota is picked from parts drawn at random, so that the work grows with the quota and
    not with its square.
    """
    rows, kept = candidates.rows, candidates.kept
    stay, free = members[kept[members]], members[~kept[members]]
    extra = quota - len(stay)
    if extra == len(free):
        return members
    chosen = [stay]
    present = candidates.store.take(rows[stay[:_PART]])
    free = np.random.default_rng(seed).permutation(free)
    n_parts = -(-extra // _PART)
    for part in range(n_parts):
        share = len(range(part, extra, n_parts))
        among = free[part::n_parts][: max(_PART, _CANDIDATES_PER_PICK * share)]
        # In the order of the pool, so that of equals the pool's first is picked.
        among = np.sort(among)
        start = int(similarity[among].argmax())
        picked = pick_spread(candidates.store.take(rows[among]), share, start, present)
        chosen.append(among[picked])
    return np.concatenate(chosen)
