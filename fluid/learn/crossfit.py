"""Keyed cross-fitting: a model never labels a compound that it has seen.

In each repeat every compound has a fold (`keyed_folds`). The model of fold f is trained on the
compounds of the other folds. Its calibration and reliability come from the other folds as well:
inner models that leave out f *and* g predict fold g. One inner model of the pair (f, g) serves both
folds, so a repeat of K folds costs K(K+1)/2 fits.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fluid.base.jobs import map_threads, single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.learn.calibration import Platt, fit_line, fit_platt
from fluid.learn.estimators import LEARNERS, Estimator, choose_learner
from fluid.learn.quorum import enough_labels
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, ReliabilityMap, fit_reliability
from fluid.learn.task import Task


@dataclass(frozen=True)
class LabelledTask:
    """The labelled compounds of one task, which a model is fitted on.

    Attributes
    ----------
    library
        Compounds of the model, in an order that does not depend on the table's.
    task
        What was measured.
    rows
        Positions of the n labelled compounds in the library, int64 of shape (n,).
    values
        Their labels: class indices or numbers, shape (n,).
    signs
        int8 of shape (n,): of numbers that are bounds, see `Learner.fit`. None if none is.
    """

    library: Compounds
    task: Task
    rows: np.ndarray
    values: np.ndarray
    signs: np.ndarray | None = None

    @cached_property
    def targets(self) -> np.ndarray:
        """One column per output, see `output_targets`."""
        return output_targets(self.task, self.values)


@dataclass(frozen=True)
class CrossFitting:
    """How to cross-fit.

    Attributes
    ----------
    n_folds
        Number of folds.
    learner
        Key of `fluid.learn.estimators.LEARNERS`, or ``"auto"``.
    seed
        Fixes everything random.
    """

    n_folds: int
    learner: str
    seed: int


@dataclass(frozen=True)
class FoldModel:
    """The model of one fold of one task in one repeat; fitted on the other folds only.

    Attributes
    ----------
    repeat, fold
        Which fold of which repeat.
    estimators
        One per output of the task.
    calibrations
        One per output; the identity for regression.
    reliability
        Expected at a similarity to the training compounds of the other folds.
    """

    repeat: int
    fold: int
    estimators: list[Estimator]
    calibrations: list[Platt]
    reliability: ReliabilityMap

    def predict(self, task: Task, queries: Compounds, library: Compounds) -> np.ndarray:
        """Predictions, float64 of shape (n, n_outputs)."""
        scores = [estimator.score(queries, library) for estimator in self.estimators]
        return calibrated(task, scores, self.calibrations)


@dataclass(frozen=True)
class CrossFitted:
    """All fold models of one task.

    Attributes
    ----------
    models
        By repeat and fold; a model is missing if the other folds hold too few labels.
    rows
        Positions in the library of the compounds with a label, int64 of shape (n,).
    predictions
        Their out-of-fold predictions, mean over repeats, shape (n, n_outputs); NaN where no fold
        model exists.
    """

    models: list[FoldModel]
    rows: np.ndarray
    predictions: np.ndarray


def calibrated(task: Task, scores: list[np.ndarray], calibrations: list[Platt]) -> np.ndarray:
    """Predictions from the scores of each output: probabilities, or clipped numbers."""
    if not task.is_classification:
        lines = [c.line(score) for c, score in zip(calibrations, scores, strict=True)]
        return np.clip(np.stack(lines, axis=1), task.low, task.high)
    pairs = zip(calibrations, scores, strict=True)
    probabilities = np.stack([calibration(score) for calibration, score in pairs], axis=1)
    if task.kind == "multiclass":
        probabilities /= np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    return probabilities


def output_targets(task: Task, values: np.ndarray) -> np.ndarray:
    """Labels as one column per output: indicator columns for a multiclass task."""
    if task.kind == "multiclass":
        return (values[:, None] == np.arange(len(task.classes))[None, :]).astype(np.float64)
    return values[:, None].astype(np.float64)


def _seed(*parts: object) -> int:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") % (2**31)


@dataclass(frozen=True)
class _Job:
    repeat: int
    left_out: tuple[int, ...]
    learner: str


@dataclass(frozen=True)
class _Fit:
    """An estimator per output, and its scores (n, n_outputs); NaN for compounds it has seen."""

    estimators: list[Estimator]
    scores: np.ndarray


@single_threaded_blas()
def cross_fit(
    data: LabelledTask, folds: np.ndarray, settings: CrossFitting, jobs: int = 1
) -> CrossFitted:
    """Cross-fit one task.

    Parameters
    ----------
    data
        The labelled compounds.
    folds
        uint8 of shape (n_repeats, len(library)): see `keyed_folds`.
    settings
        Folds, learner and seed.
    jobs
        Fits that run at once; the result does not depend on it.

    Returns
    -------
    CrossFitted
    """
    task, rows, targets = data.task, data.rows, data.targets
    n_folds = settings.n_folds
    names = [
        [
            choose_learner(settings.learner, int(np.sum(row[rows] != fold)))
            for fold in range(n_folds)
        ]
        for row in folds
    ]
    todo = [
        _Job(repeat, left_out, name)
        for repeat in range(len(folds))
        for left_out in _left_out_sets(n_folds)
        for name in sorted({names[repeat][fold] for fold in left_out})
    ]

    def fit(job: _Job) -> _Fit | None:
        return _fit(data, folds, job, settings.seed)

    fits = dict(zip(todo, map_threads(fit, todo, jobs), strict=True))
    models: list[FoldModel] = []
    predictions = np.full((len(folds), *targets.shape), np.nan)
    for repeat in range(len(folds)):
        own = folds[repeat][rows]
        for fold in range(n_folds):
            name = names[repeat][fold]
            job = _Job(repeat, (fold,), name)
            found = fits[job]
            if found is None:
                continue
            inner = {
                other: fits[_Job(repeat, (min(fold, other), max(fold, other)), name)]
                for other in range(n_folds)
                if other != fold
            }
            model = _calibrate(data, own, job, found, inner)
            mine = own == fold
            scores = list(found.scores[mine].T)
            predictions[repeat, mine] = calibrated(task, scores, model.calibrations)
            models.append(model)
    return CrossFitted(models, rows, _mean_over_repeats(predictions))


def _fit(data: LabelledTask, folds: np.ndarray, job: _Job, seed: int) -> _Fit | None:
    """Fit one estimator per output without some folds; None if too few labels are left."""
    task, library, rows, targets = data.task, data.library, data.rows, data.targets
    own = folds[job.repeat][rows]
    inside = np.flatnonzero(~np.isin(own, job.left_out))
    share = 1.0 if len(job.left_out) == 1 else 0.5
    signs = None if data.signs is None else data.signs[inside]
    if not enough_labels(task, data.values[inside], share, signs):
        return None
    scores = np.full(targets.shape, np.nan)
    estimators: list[Estimator] = []
    for output in range(targets.shape[1]):
        estimator = LEARNERS[job.learner]()
        estimator.fit(
            library,
            rows[inside],
            targets[inside, output],
            task.is_classification,
            _seed(seed, task.name, output, job.repeat, job.left_out),
            signs=signs,
        )
        # One fold at a time: in its last bits a score depends on what is scored beside it, and
        # what calibrates the model of a fold must not depend on that fold's compounds.
        for fold in job.left_out:
            held = np.flatnonzero(own == fold)
            scores[held, output] = estimator.score(library.take(rows[held]), library)
        estimators.append(estimator)
    # Of an inner model only the scores are needed.
    return _Fit(estimators if len(job.left_out) == 1 else [], scores)


def _left_out_sets(n_folds: int) -> list[tuple[int, ...]]:
    singles: list[tuple[int, ...]] = [(fold,) for fold in range(n_folds)]
    return singles + [(f, g) for f in range(n_folds) for g in range(f + 1, n_folds)]


def _calibrate(
    data: LabelledTask, own: np.ndarray, job: _Job, fit: _Fit, inner: dict[int, _Fit | None]
) -> FoldModel:
    """Calibrate a fold model on the scores that inner models give the other folds.

    Parameters
    ----------
    data
        The labelled compounds.
    own
        Fold of each in this repeat, shape (n,).
    job, fit
        Which fold model, and its estimators.
    inner
        Inner model of every other fold; None where there are too few labels.
    """
    task, rows, targets = data.task, data.rows, data.targets
    (fold,) = job.left_out
    scores = np.full(targets.shape, np.nan)
    similarity = np.full(len(rows), np.nan)
    fingerprints = data.library.fingerprints[rows]
    for other, inner_fit in inner.items():
        if inner_fit is None:
            continue
        mine = own == other
        scores[mine] = inner_fit.scores[mine]
        seen = (own != fold) & (own != other)
        similarity[mine] = neighbour_similarity(
            fingerprints[mine], fingerprints[seen], DOMAIN_NEIGHBOURS
        )
    known = np.isfinite(scores).all(axis=1)
    calibrate = fit_platt if task.is_classification else fit_line
    calibrations = [
        calibrate(scores[known, output], targets[known, output])
        for output in range(targets.shape[1])
    ]
    outside = targets[own != fold]
    predicted = calibrated(task, list(scores[known].T), calibrations)
    reliability = fit_reliability(
        similarity[known], squared_error(predicted, targets[known]), label_variance(outside)
    )
    return FoldModel(job.repeat, fold, fit.estimators, calibrations, reliability)


def squared_error(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Squared error of each compound, summed over the outputs, shape (n,)."""
    return np.asarray(((predicted - targets) ** 2).sum(axis=1))


def label_variance(targets: np.ndarray) -> float:
    """Mean squared error of predicting the mean label, summed over the outputs."""
    return float(((targets - targets.mean(axis=0)) ** 2).sum(axis=1).mean())


def similarity_to_other_folds(fingerprints: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Similarity of each compound to the nearest compounds of the other folds.

    Parameters
    ----------
    fingerprints
        Packed fingerprints of n compounds.
    folds
        Their folds, shape (n_repeats, n).

    Returns
    -------
    numpy.ndarray
        float64 of shape (n,): the mean over `DOMAIN_NEIGHBOURS` neighbours and all repeats.
    """
    found = np.zeros(folds.shape)
    for repeat, own in enumerate(folds):
        for fold in np.unique(own):
            mine = own == fold
            found[repeat, mine] = neighbour_similarity(
                fingerprints[mine], fingerprints[~mine], DOMAIN_NEIGHBOURS
            )
    return np.asarray(found.mean(axis=0))


def _mean_over_repeats(predictions: np.ndarray) -> np.ndarray:
    known = np.isfinite(predictions)
    counts = known.sum(axis=0)
    total = np.where(known, predictions, 0.0).sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
