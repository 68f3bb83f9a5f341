"""Label compounds with the models of their own folds, members of the library or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fluid.base.jobs import map_threads
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import similarity_apart
from fluid.learn.crossfit import predict_members
from fluid.learn.folds import BY_COMPOUND, fold_keys, keyed_folds
from fluid.learn.model import TaskModel
from fluid.learn.reliability import DOMAIN_NEIGHBOURS

_BLOCK = 2048


@dataclass(frozen=True)
class OwnFoldLabels:
    """Labels by the models of each compound's own folds, mean over repeats.

    Attributes
    ----------
    prediction
        float64 of shape (n, n_outputs); NaN where no repeat has a model of the compound's fold.
    uncertainty
        Standard deviation over the repeats, same shape; NaN with fewer than two.
    reliability, similarity
        float64 of shape (n,) in [0, 1]; NaN where there is no prediction. Similarity never leaves
        a partner.
    """

    prediction: np.ndarray
    uncertainty: np.ndarray
    reliability: np.ndarray
    similarity: np.ndarray


def empty_labels(n_compounds: int, n_outputs: int) -> OwnFoldLabels:
    """Labels of a task without a model: NaN throughout."""
    outputs = np.full((n_compounds, n_outputs), np.nan)
    one = np.full(n_compounds, np.nan)
    return OwnFoldLabels(outputs, outputs.copy(), one, one.copy())


def folds_of_repeats(
    compounds: Compounds, secret: bytes, n_repeats: int, n_folds: int, by: str = BY_COMPOUND
) -> np.ndarray:
    """Folds in every repeat, uint8 of shape (n_repeats, n); for `by` see `fold_keys`."""
    keys = fold_keys(compounds, by)
    return np.stack([keyed_folds(keys, secret, repeat, n_folds) for repeat in range(n_repeats)])


# By task, repeat and fold: predictions of one fold model for the compounds of its fold.
FoldPredictions = Mapping[tuple[str, int, int], np.ndarray]


def predict_own_folds(
    models: Sequence[TaskModel],
    library: Compounds,
    queries: Compounds,
    query_folds: np.ndarray,
    jobs: int = 1,
) -> FoldPredictions:
    """What every fold model of several tasks predicts of the compounds of its fold.

    All tasks of a fold are predicted together, so that what they share is found once. Nothing here
    depends on a library compound of that fold: fold models keep compounds of the others only.

    Parameters
    ----------
    models, library
        Cross-fitted tasks, and their training compounds.
    queries, query_folds
        n compounds, and their folds as uint8 of shape (n_repeats, n).
    jobs
        Threads.
    """
    places = sorted({(one.repeat, one.fold) for model in models for one in model.members})

    def predict(place: tuple[int, int]) -> dict[tuple[str, int, int], np.ndarray]:
        repeat, fold = place
        asked = queries.take(np.flatnonzero(query_folds[repeat] == fold))
        members = [
            (model.task, one)
            for model in models
            for one in model.members
            if (one.repeat, one.fold) == place
        ]
        each = predict_members(members, asked, library)
        return {
            (task.name, repeat, fold): values
            for (task, _), values in zip(members, each, strict=True)
        }

    found: dict[tuple[str, int, int], np.ndarray] = {}
    for part in map_threads(predict, places, jobs):
        found |= part
    return found


def label_own_fold(
    model: TaskModel,
    library: Compounds,
    library_folds: np.ndarray,
    queries: Compounds,
    query_folds: np.ndarray,
    jobs: int = 1,
    neighbours: int = DOMAIN_NEIGHBOURS,
    predicted: FoldPredictions | None = None,
) -> OwnFoldLabels:
    """Label compounds by models that were trained without their fold.

    The code never asks whether a compound is in the library: the models of its fold, and the
    neighbours that its reliability depends on, come from the other folds in any case. So the label
    of a compound is the same whether or not it was trained on.

    Parameters
    ----------
    model
        A cross-fitted task.
    library, library_folds
        The training compounds, and their folds as uint8 of shape (n_repeats, len(library)).
    queries, query_folds
        Compounds to label, and their folds as uint8 of shape (n_repeats, n).
    jobs
        Threads; the result does not depend on it.
    neighbours
        Number of compounds that similarity is a mean over. With more than `NEIGHBOURS`, which
        reliability was fitted with, similarity and reliability are lower.
    predicted
        From `predict_own_folds`, if predictions of several tasks were found together.
    """
    n_repeats, n = query_folds.shape
    each = np.full((n_repeats, n, len(model.task.outputs)), np.nan)
    trust = np.full((n_repeats, n), np.nan)
    near = np.full((n_repeats, n), np.nan)
    references = library.fingerprints[model.rows]
    reference_folds = library_folds[:, model.rows]

    def compare(part: slice) -> np.ndarray:
        return similarity_apart(
            queries.fingerprints[part],
            references,
            query_folds[:, part],
            reference_folds,
            neighbours,
        )

    parts = [slice(start, start + _BLOCK) for start in range(0, max(n, 1), _BLOCK)]
    similarity = np.concatenate(map_threads(compare, parts, jobs), axis=1)
    if predicted is None:
        predicted = predict_own_folds([model], library, queries, query_folds, jobs)
    for member in model.members:
        rows = np.flatnonzero(query_folds[member.repeat] == member.fold)
        each[member.repeat, rows] = predicted[model.task.name, member.repeat, member.fold]
        near[member.repeat, rows] = similarity[member.repeat, rows]
        trust[member.repeat, rows] = member.reliability(similarity[member.repeat, rows])
    known = np.isfinite(near)
    count = known.sum(axis=0)
    mean = _mean(each, known[:, :, None])
    spread = np.sqrt(_mean((each - mean) ** 2, known[:, :, None]))
    spread[count < 2] = np.nan
    return OwnFoldLabels(mean, spread, _mean(trust, known), _mean(near, known))


def _mean(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is known; NaN where nothing is."""
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
