"""Which public compounds deserve analogues: those that teachers know and disagree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fluid.base.jobs import map_threads
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import nearest_references
from fluid.exchange.federated_set import PooledTask
from fluid.learn.reliability import TRUSTED
from fluid.learn.task import Task

NEIGHBOURS = 5


MOST_ALIKE = 0.7


# Every candidate is compared with every other: a minute or two on one core.
MOST_CANDIDATES = 30_000


# Scores within a tenth of the best one count as equally good when classes are balanced.
_BANDS = 10


_QUERIES = 1024


@dataclass(frozen=True)
class Seed:
    """A public compound around which analogues are grown.

    Attributes
    ----------
    row
        Its position in the public set.
    task
        The task that it was chosen for.
    score
        Reliability times (disagreement + steepness), at least 0; see `seed_scores`.
    """

    row: int
    task: str
    score: float


def neighbours_of(
    queries: np.ndarray, references: np.ndarray, own: np.ndarray, k: int, jobs: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar references of each query, the nearest first, ties by position.

    `own` is the position of each query among the references, which is left out. Returns positions
    (int64) and similarities (float32) of shape (n, k); what is missing has similarity 0.
    """

    def search(start: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(start, start + _QUERIES)
        return nearest_references(queries[part], references, k, own[part])

    blocks = map_threads(search, range(0, len(queries), _QUERIES), jobs)
    if not blocks:
        return np.zeros((0, k), dtype=np.int64), np.zeros((0, k), dtype=np.float32)
    best = np.concatenate([b for b, _ in blocks])[:, ::-1]
    where = np.concatenate([w for _, w in blocks])[:, ::-1]
    return np.maximum(where, 0), best


def known_compounds(pooled: PooledTask) -> np.ndarray:
    """Which compounds have a label and lie in the domain of a teacher; bool of shape (n,)."""
    return np.isfinite(pooled.label).all(axis=1) & (pooled.reliability >= TRUSTED)


def seed_scores(
    compounds: Compounds, pooled: Mapping[str, PooledTask], jobs: int = 1
) -> dict[str, np.ndarray]:
    """How much each public compound deserves analogues, by task.

    The score is reliability x (disagreement + steepness), each in units of its 95% quantile over
    the task's known compounds. Steepness is the mean absolute difference of labels to the five
    nearest known compounds, each weighted by its similarity; neighbours that are known in another
    task only count 0, for a step towards a guess is none. Of more than 30,000 compounds known in
    any task, the best known are taken.

    Parameters
    ----------
    compounds, pooled
        n public compounds and their pooled labels.
    jobs
        Threads; the result does not depend on it.

    Returns
    -------
    dict of numpy.ndarray
        float64 of shape (n,), at least 0; NaN where no teacher is in its domain.
    """
    known = {name: known_compounds(said) for name, said in pooled.items()}
    trust = np.max([np.where(known[name], pooled[name].reliability, 0.0) for name in known], axis=0)
    best = np.argsort(-trust, kind="stable")[:MOST_CANDIDATES]
    rows = np.sort(best[trust[best] > 0])
    packed = compounds.fingerprints[rows]
    near, similarity = neighbours_of(packed, packed, np.arange(len(rows)), NEIGHBOURS, jobs)
    scores = {}
    for name, said in pooled.items():
        inside = known[name][rows]
        label = said.label[rows].astype(np.float64)
        step = np.abs(label[:, None, :] - label[near]).mean(axis=2)
        weight = similarity * inside[near]
        steepness = np.where(weight > 0, weight * step, 0.0).sum(axis=1) / NEIGHBOURS
        disagreement = np.nan_to_num(said.disagreement[rows].astype(np.float64)).mean(axis=1)
        value = _relative(disagreement, inside) + _relative(steepness, inside)
        scores[name] = np.full(len(compounds), np.nan)
        scores[name][rows[inside]] = (said.reliability[rows] * value)[inside]
    return scores


def _relative(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Values in units of what a twentieth of the known compounds exceeds; 0 if all are 0."""
    known = values[inside]
    if not len(known) or known.max() <= 0:
        return np.zeros_like(values)
    # Most compounds have no near neighbour, so a mean would let steepness drown disagreement.
    large = float(np.quantile(known, 0.95, method="higher"))
    return values / (large if large > 0 else known.max())


def choose_seeds(
    compounds: Compounds,
    pooled: Mapping[str, PooledTask],
    n_seeds: int,
    tasks: Sequence[Task],
    balance: bool = True,
    jobs: int = 1,
) -> list[Seed]:
    """Choose the public compounds around which analogues are grown.

    Tasks take turns; each takes its compound of highest score that is less than 0.7 similar
    (Tanimoto) to every seed so far.

    Parameters
    ----------
    compounds, pooled
        n public compounds and their pooled labels.
    n_seeds
        How many at most; fewer if there are no more unlike compounds in a teacher's domain.
    tasks
        The tasks to choose for, in the order of their turns.
    balance
        Among compounds of like score (within a tenth of the highest), those whose pooled class is
        rarer come first.
    jobs
        Threads; the result does not depend on it.
    """
    scores = seed_scores(compounds, {task.name: pooled[task.name] for task in tasks}, jobs)
    turns = [
        (task, iter(_ranked(task, scores[task.name], pooled[task.name], balance))) for task in tasks
    ]
    # bits is a multiple of 64, and counting bits of whole words is an order of magnitude faster.
    words = np.ascontiguousarray(compounds.fingerprints).view(np.uint64)
    sizes = np.bitwise_count(words).sum(axis=1, dtype=np.int64)
    chosen: list[Seed] = []
    rows = np.zeros(min(n_seeds, len(compounds)), dtype=np.int64)

    def is_new(row: int) -> bool:
        so_far = rows[: len(chosen)]
        shared = np.bitwise_count(words[so_far] & words[row]).sum(axis=1, dtype=np.int64)
        union = sizes[so_far] + sizes[row] - shared
        return bool((shared < MOST_ALIKE * union).all())

    while turns and len(chosen) < len(rows):
        left = []
        for task, ranked in turns:
            row = next((row for row in ranked if is_new(row)), None)
            if row is None or len(chosen) == len(rows):
                continue
            rows[len(chosen)] = row
            chosen.append(Seed(row, task.name, float(scores[task.name][row])))
            left.append((task, ranked))
        turns = left
    return chosen


def _ranked(task: Task, scores: np.ndarray, pooled: PooledTask, balance: bool) -> list[int]:
    """Known compounds of a task, best first; among equals in band and class the earlier first."""
    rows = np.flatnonzero(np.isfinite(scores))
    if not len(rows):
        return []
    values = scores[rows]
    if not (balance and task.is_classification) or values.max() <= 0:
        return [int(row) for row in rows[np.argsort(-values, kind="stable")]]
    label = pooled.label[rows]
    called = label.argmax(axis=1) if label.shape[1] > 1 else (label[:, 0] >= 0.5).astype(np.int64)
    frequency = np.bincount(called)[called]
    band = np.ceil(_BANDS * values / values.max())
    return [int(row) for row in rows[np.lexsort((rows, -values, frequency, -band))]]
