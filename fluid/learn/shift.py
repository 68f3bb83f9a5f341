"""How queries differ from calibration compounds: a density ratio by classification.

The odds of a classifier that separates queries from calibration compounds are the ratio of their
densities (Sugiyama, Suzuki and Kanamori 2012, doi 10.1017/CBO9781139035613). The classifier is
cross-fitted: no compound is weighed by a classifier that learned from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.learn.conformal import Weights
from fluid.learn.metrics import roc_auc

# With fewer queries or calibration compounds no ratio is estimated.
FEWEST = 50
# Larger ratios only mean that the two hardly overlap.
HIGHEST_RATIO = 10.0
COMPONENTS = 10
_FOLDS = 5
_FOLDED_BITS = 256
# More compounds make the classifier slower and no better.
_SAMPLE = 20_000
_BLOCK = 20_000


@dataclass(frozen=True)
class Features:
    """Inputs of the classifier for n compounds.

    Attributes
    ----------
    similarity
        To the model's five nearest reference compounds, in [0, 1], shape (n,).
    table
        Descriptors (float32), or fingerprints folded to 256 bits (uint8), shape (n, width).
    connectivities
        Object array of str, shape (n,); equal ones share a fold.
    """

    similarity: np.ndarray
    table: np.ndarray
    connectivities: np.ndarray

    def __len__(self) -> int:
        return len(self.similarity)


def describe(compounds: Compounds, similarity: np.ndarray) -> Features:
    """Features of compounds: descriptors, or folded fingerprints if there are no descriptors."""
    return Features(similarity, _raw(compounds), compounds.connectivities)


@dataclass(frozen=True)
class Shift:
    """Density ratios, and how far queries and calibration compounds are apart.

    Attributes
    ----------
    weights
        Density ratios, clipped to [1 / `HIGHEST_RATIO`, `HIGHEST_RATIO`].
    separation
        Area under the ROC curve of the cross-fitted classifier: 0.5 if the two cannot be told
        apart, 1 if they do not overlap.
    """

    weights: Weights
    separation: float


@single_threaded_blas()
def estimate_shift(calibration: Features, queries: Features, seed: int = 0) -> Shift | None:
    """Estimate the density ratio of queries to calibration compounds.

    The classifier is a logistic regression on the similarity to the model's reference compounds
    and the first ten principal components of the table, each in units of its spread.

    Parameters
    ----------
    calibration, queries
        Of n and m compounds.
    seed
        Of samples, which are drawn where there are more than 20,000 compounds.

    Returns
    -------
    Shift or None
        None if one side has fewer than `FEWEST` compounds.
    """
    n, m = len(calibration), len(queries)
    if min(n, m) < FEWEST:
        return None
    near = np.concatenate([calibration.similarity, queries.similarity])[:, None]
    components = _components(calibration.table, queries.table, seed)
    features = np.concatenate([near, components], axis=1)
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    is_query = np.arange(n + m) >= n
    groups = np.concatenate([_groups(calibration), _groups(queries)])
    score = _cross_fitted(features, is_query, groups, seed)
    ratio = np.exp(np.clip(score, -np.log(HIGHEST_RATIO), np.log(HIGHEST_RATIO)))
    return Shift(Weights(ratio[:n], ratio[n:]), roc_auc(is_query, score))


def _groups(features: Features) -> np.ndarray:
    """Fold of every compound by its connectivity, whatever the order of the table."""
    digests = [hashlib.sha256(key.encode()).digest()[0] for key in features.connectivities]
    return np.array(digests, dtype=np.int64) % _FOLDS


def _cross_fitted(
    features: np.ndarray, is_query: np.ndarray, groups: np.ndarray, seed: int
) -> np.ndarray:
    """Log-odds of being a query, both sides counting the same, from the other folds."""
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(seed)
    score = np.zeros(len(features))
    for fold in range(_FOLDS):
        used = [
            _sample(np.flatnonzero((groups != fold) & (is_query == side)), generator)
            for side in (False, True)
        ]
        mine = groups == fold
        if min(map(len, used)) == 0 or not mine.any():
            continue
        rows = np.concatenate(used)
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
        model.fit(features[rows], is_query[rows])
        score[mine] = model.decision_function(features[mine])
    return score


def _sample(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if len(rows) <= _SAMPLE:
        return rows
    return np.sort(generator.choice(rows, _SAMPLE, replace=False))


def _raw(compounds: Compounds) -> np.ndarray:
    """Descriptors, or fingerprints folded to 256 bits; float32 or uint8 of shape (n, width)."""
    if compounds.descriptors.shape[1]:
        return compounds.descriptors
    bits = np.unpackbits(compounds.fingerprints, axis=1)
    width = min(_FOLDED_BITS, bits.shape[1])
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % width)))
    return np.asarray(padded.reshape(len(bits), -1, width).max(axis=1))


def _components(left: np.ndarray, right: np.ndarray, seed: int) -> np.ndarray:
    """First principal components of two tables one below the other, float64 (n + m, components)."""
    generator = np.random.default_rng(seed)
    tables = (left, right)
    sample = np.concatenate(
        [_finite(table[_sample(np.arange(len(table)), generator)]) for table in tables]
    )
    mean, spread = sample.mean(axis=0), sample.std(axis=0)
    spread[spread < 1e-9] = np.inf

    def standard(table: np.ndarray) -> np.ndarray:
        return np.clip((table - mean) / spread, -5.0, 5.0)

    scaled = standard(sample)
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    axes = vectors[:, ::-1][:, :COMPONENTS]
    return np.concatenate(
        [
            standard(_finite(table[start : start + _BLOCK])) @ axes
            for table in tables
            for start in range(0, len(table), _BLOCK)
        ]
    )


def _finite(table: np.ndarray) -> np.ndarray:
    return np.nan_to_num(table.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
