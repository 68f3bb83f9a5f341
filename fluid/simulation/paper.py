"""The recipe of the FLuID paper, to compare with.

Hanser et al. 2025, Nature Machine Intelligence, doi 10.1038/s42256-025-00991-2; written from the
paper's description.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import map_threads, single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.learn.task import Task

BITS = 2048
TREES = 150
DEPTH = 15
PAPER_NEIGHBOURS = 8
SAMPLE = 10_000
# The paper has classification only, with the usual root of the features at each split. For
# regression a third is used, as Breiman (2001, doi 10.1023/A:1010933404324) and others recommend.
_SPLIT_CLASSIFICATION, _SPLIT_REGRESSION = "sqrt", 1 / 3
_BLOCK = 4096

Scorer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class PaperRound:
    """The outcome of the paper's recipe; predictions are probabilities of class 1 or numbers.

    Attributes
    ----------
    teachers
        Predictions of each partner's own model, float64 of shape (n_partners, n_queries).
    pooled
        Pooled label of each public compound before rounding, float64 of shape (n_public,).
    sample
        Public compounds that the student learned from, int64, ascending.
    student
        Predictions of the student, float64 of shape (n_queries,).
    """

    teachers: np.ndarray
    pooled: np.ndarray
    sample: np.ndarray
    student: np.ndarray


def paper_features(compounds: Compounds) -> np.ndarray:
    """FCFP4 of the standard SMILES, folded to 2048 bits.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (n, 2048), 0 or 1.
    """
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(
        radius=2,
        fpSize=BITS,
        atomInvariantsGenerator=rdFingerprintGenerator.GetMorganFeatureAtomInvGen(),
    )
    features = np.zeros((len(compounds), BITS), dtype=np.uint8)
    for row, smiles in enumerate(compounds.smiles):
        features[row] = generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(smiles))
    return features


def run_paper_recipe(
    task: Task,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    public_features: np.ndarray,
    query_features: np.ndarray,
    seed: int,
    jobs: int = 1,
) -> PaperRound:
    """One round as in the paper.

    Each partner's teacher is a random forest on all its compounds, and labels every public
    compound, whether it has seen it or not. The label of a public compound is the mean of the
    teachers' labels, weighted by 1 - d, where d is the mean Tanimoto distance to the teacher's 8
    nearest training compounds (all, if it has fewer), scaled to 0 to 1 over all public compounds
    and teachers together. The student is the same forest, trained on a balanced random sample of
    10,000 public compounds with labels rounded at 0.5. The paper has no regression; here its
    labels are neither rounded nor balanced.

    Parameters
    ----------
    task
        A binary or regression task.
    parts
        By partner, binary features of shape (n, n_bits), uint8, and labels of shape (n,) without
        NaN: 0 or 1, or numbers.
    public_features, query_features
        Binary features, uint8 of shape (n_public, n_bits) and (n_queries, n_bits).
    seed
        Not negative.
    jobs
        Threads; the result does not depend on it.

    Raises
    ------
    TrainingError
        If the task is multiclass, or a partner or the public set is empty.
    """
    if task.kind == "multiclass":
        raise TrainingError(
            f"paper recipe: task '{task.name}' is multiclass; allowed are binary and regression"
        )
    if not parts:
        raise TrainingError("paper recipe: no partners; at least one is needed")
    for number, (features, _) in enumerate(parts):
        if not len(features):
            raise TrainingError(
                f"paper recipe: partner {number + 1} of {len(parts)} has no labelled compound for "
                f"task '{task.name}'; at least one is needed"
            )
    if not len(public_features):
        raise TrainingError("paper recipe: no public compounds; at least one is needed")
    rng = np.random.default_rng(seed)
    seeds = rng.integers(2**31, size=len(parts) + 1)
    classification = task.is_classification
    labels, distances, teachers = [], [], []
    for (features, measured), own_seed in zip(parts, seeds[:-1], strict=True):
        score = _train_forest(features, measured, classification, int(own_seed), jobs)
        labels.append(_in_blocks(score, public_features, jobs))
        teachers.append(_in_blocks(score, query_features, jobs))
        distances.append(_distances(public_features, features))
    pooled = _pool(np.stack(labels), _weights(np.stack(distances)))
    sample = _draw_sample(pooled, classification, rng)
    targets = (pooled >= 0.5).astype(np.float64) if classification else pooled
    student = _train_forest(
        public_features[sample], targets[sample], classification, int(seeds[-1]), jobs
    )
    return PaperRound(np.stack(teachers), pooled, sample, _in_blocks(student, query_features, jobs))


def _train_forest(
    features: np.ndarray, labels: np.ndarray, classification: bool, seed: int, jobs: int
) -> Scorer:
    """Fit the forest of the paper; returns a function that predicts with it."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    make = RandomForestClassifier if classification else RandomForestRegressor
    forest = make(
        n_estimators=TREES,
        max_depth=DEPTH,
        max_features=_SPLIT_CLASSIFICATION if classification else _SPLIT_REGRESSION,
        random_state=seed,
        n_jobs=jobs,
    )
    forest.fit(features, labels.astype(np.int64) if classification else labels)
    # With several threads trees are summed in the order in which they happen to finish.
    forest.set_params(n_jobs=1)

    def score(rows: np.ndarray) -> np.ndarray:
        if not classification:
            return np.asarray(forest.predict(rows), dtype=np.float64)
        known = forest.classes_.tolist()
        if 1 not in known:
            return np.zeros(len(rows))
        return np.asarray(forest.predict_proba(rows)[:, known.index(1)], dtype=np.float64)

    return score


def _in_blocks(score: Scorer, features: np.ndarray, jobs: int) -> np.ndarray:
    """Scores of all rows, one block at a time: forests convert each bit to four bytes."""
    blocks = [features[start : start + _BLOCK] for start in range(0, len(features), _BLOCK)]
    return np.concatenate([np.zeros(0), *map_threads(score, blocks, jobs)])


def _distances(queries: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Mean Tanimoto distance to the nearest training compounds; float64 of shape (n_queries,)."""
    with single_threaded_blas():
        similarity = neighbour_similarity(
            np.packbits(queries, axis=1),
            np.packbits(training, axis=1),
            min(PAPER_NEIGHBOURS, len(training)),
        )
    return 1.0 - similarity.astype(np.float64)


def _weights(distances: np.ndarray) -> np.ndarray:
    """1 - d, with d scaled over everything given; 1 everywhere if all distances are the same."""
    low, high = distances.min(), distances.max()
    if high == low:
        return np.ones_like(distances)
    return 1.0 - (distances - low) / (high - low)


def _pool(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over teachers (first axis); the plain one where all weights are 0."""
    total = weights.sum(axis=0)
    weights = np.where(total > 0, weights, 1.0)
    return (weights * labels).sum(axis=0) / weights.sum(axis=0)


def _draw_sample(pooled: np.ndarray, classification: bool, rng: np.random.Generator) -> np.ndarray:
    """Rows for the student: equally many of each class, or all if there is one class only."""
    if not classification:
        return np.sort(rng.choice(len(pooled), min(SAMPLE, len(pooled)), replace=False))
    both = [np.flatnonzero(pooled < 0.5), np.flatnonzero(pooled >= 0.5)]
    each = min(SAMPLE // 2, *(len(rows) for rows in both))
    if not each:
        return np.arange(len(pooled))
    return np.sort(np.concatenate([rng.choice(rows, each, replace=False) for rows in both]))
