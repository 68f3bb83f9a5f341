"""Keyed cross-fitting: a model never labels a compound that it has seen.

In each repeat every compound has a fold (`keyed_folds`). The model of fold f is trained on the
compounds of the other folds. Its calibration and reliability come from the other folds as well:
inner models that leave out f *and* g predict fold g. One inner model of the pair (f, g) serves both
folds, so a repeat of K folds costs K(K+1)/2 fits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fluid.base.jobs import map_threads, single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import similarity_apart
from fluid.learn.calibration import Platt, fit_line, fit_platt
from fluid.learn.censored import measured_exactly, signs_among
from fluid.learn.estimators import LEARNERS, Estimator, KernelSVM, choose_learner
from fluid.learn.estimators.multitask.head import Head, against_rest
from fluid.learn.estimators.multitask.training import column_ranges, fit_network
from fluid.learn.estimators.shared_kernels import KernelWithout, SharedKernels
from fluid.learn.estimators.together import score_together
from fluid.learn.labels import LabelMatrix
from fluid.learn.quorum import enough_labels
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, ReliabilityMap, fit_reliability
from fluid.learn.task import Task

# From this many tasks on, those of one set of folds keep all cores busy.
_MANY_TASKS = 8


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
        int8 of shape (n,): which numbers are bounds, see `Learner.fit`. None if none is.
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

    @property
    def bounds(self) -> np.ndarray:
        """`signs`, with zeros if none of the labels is a bound."""
        return np.zeros(len(self.rows), dtype=np.int8) if self.signs is None else self.signs


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
        return predict_members([(task, self)], queries, library)[0]


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


def predict_members(
    members: Sequence[tuple[Task, FoldModel]], queries: Compounds, library: Compounds
) -> list[np.ndarray]:
    """Predictions of several fold models, float64 of shape (n, n_outputs) each."""
    estimators = [one for _, member in members for one in member.estimators]
    scores = iter(score_together(estimators, queries, library))
    return [
        calibrated(task, [next(scores) for _ in member.estimators], member.calibrations)
        for task, member in members
    ]


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


def cross_fit(
    data: LabelledTask, folds: np.ndarray, settings: CrossFitting, jobs: int = 1
) -> CrossFitted:
    """Cross-fit one task; see `cross_fit_all`."""
    return cross_fit_all([data], folds, settings, jobs)[0]


@single_threaded_blas()
def cross_fit_all(
    tasks: Sequence[LabelledTask],
    folds: np.ndarray,
    settings: CrossFitting,
    jobs: int = 1,
    stage: Callable[[str], None] | None = None,
) -> list[CrossFitted]:
    """Cross-fit all tasks of a library.

    Folds, descriptor scaling and kernels are found once for all tasks: a further task costs its own
    fits.

    Parameters
    ----------
    tasks
        The labelled compounds of each task, all of one library.
    folds
        uint8 of shape (n_repeats, len(library)): see `keyed_folds`.
    settings
        Folds, learner and seed.
    jobs
        Fits that run at once; the result does not depend on it.
    stage
        Called with the name of each stage as it begins.

    Returns
    -------
    list of CrossFitted
        In the order of the tasks.
    """
    if not tasks:
        return []
    # Every learner asks for the same features again and again.
    library = tasks[0].library.with_cache()
    shared = SharedKernels(library, [data.rows for data in tasks])
    made: list[list[FoldModel]] = [[] for _ in tasks]
    predictions = [np.full((len(folds), *data.targets.shape), np.nan) for data in tasks]
    for repeat, fold_of in enumerate(folds):
        if stage is not None:
            stage(f"repeat {repeat + 1} of {len(folds)}: {len(tasks):,} tasks")
        place = _Repeat(repeat, fold_of, settings)
        if settings.learner == Head.kind:
            fits = _fit_jointly(tasks, library, place, jobs)
        else:
            fits = _fit_repeat(tasks, library, shared, place, jobs)

        def finish(
            number: int, fits: list[dict[_Job, _Fit | None]] = fits, place: _Repeat = place
        ) -> list[tuple[FoldModel, np.ndarray]]:
            return _calibrate_all(tasks[number], place, fits[number])

        for number, found in enumerate(map_threads(finish, range(len(tasks)), jobs)):
            own = fold_of[tasks[number].rows]
            for model, predicted in found:
                predictions[number][repeat, own == model.fold] = predicted
                made[number].append(model)
    return [
        CrossFitted(models, data.rows, _mean_over_repeats(each))
        for data, models, each in zip(tasks, made, predictions, strict=True)
    ]


@dataclass(frozen=True)
class _Repeat:
    """One repeat: its number, the fold of every compound of the library, and how to cross-fit."""

    number: int
    folds: np.ndarray
    settings: CrossFitting

    def learners(self, data: LabelledTask) -> list[str]:
        """Name of the learner of each fold, by the labels of the other folds."""
        own = self.folds[data.rows]
        name = self.settings.learner
        return [
            choose_learner(name, int(np.sum(own != fold))) for fold in range(self.settings.n_folds)
        ]


def _fit_jointly(
    tasks: Sequence[LabelledTask], library: Compounds, repeat: _Repeat, jobs: int
) -> list[dict[_Job, _Fit | None]]:
    """All fits of one repeat, by task: one network of all tasks for each set of folds."""

    def fit(left_out: tuple[int, ...]) -> list[_Fit | None]:
        return _fit_network(tasks, library, repeat, left_out)

    sets = _left_out_sets(repeat.settings.n_folds)
    found: list[dict[_Job, _Fit | None]] = [{} for _ in tasks]
    for left_out, fits in zip(sets, map_threads(fit, sets, jobs), strict=True):
        job = _Job(repeat.number, left_out, Head.kind)
        for number, one in enumerate(fits):
            found[number][job] = one
    return found


def _fit_network(
    tasks: Sequence[LabelledTask], library: Compounds, repeat: _Repeat, left_out: tuple[int, ...]
) -> list[_Fit | None]:
    """Fit one network to all tasks with enough labels in the other folds; None for the others.

    Its compounds are those with a label of such a task there, so that nothing of it depends on the
    folds that are left out.
    """
    inside = [_labels_left(data, repeat, left_out) for data in tasks]
    used = [number for number, mine in enumerate(inside) if mine is not None]
    found: list[_Fit | None] = [None] * len(tasks)
    if not used:
        return found
    parts = [
        (data.rows[mine], data.values[mine], data.bounds[mine])
        for data, mine in zip(tasks, inside, strict=True)
        if mine is not None
    ]
    rows = np.concatenate([part[0] for part in parts])
    trained = np.unique(rows)
    lengths = [len(part[0]) for part in parts]
    labels = LabelMatrix(
        rows=np.searchsorted(trained, rows),
        tasks=np.repeat(np.arange(len(used)), lengths),
        values=np.concatenate([part[1] for part in parts]),
        qualifiers=np.concatenate([part[2] for part in parts]),
        weights=np.ones(len(rows)),
        shape=(len(trained), len(used)),
    )
    joint = [tasks[number].task for number in used]
    seed = _seed(repeat.settings.seed, repeat.number, left_out)
    network = fit_network(library.take(trained), labels, joint, seed)
    ranges = column_ranges(joint)
    # One fold at a time, as in `_fit`.
    scored = [np.flatnonzero(repeat.folds == fold) for fold in left_out]
    logits = [network.scores(library.take(rows)) for rows in scored]
    for number, (first, count) in zip(used, ranges, strict=True):
        data = tasks[number]
        scores = np.full(data.targets.shape, np.nan)
        own = repeat.folds[data.rows]
        for fold, rows, found_there in zip(left_out, scored, logits, strict=True):
            here = np.flatnonzero(own == fold)
            columns = found_there[np.searchsorted(rows, data.rows[here]), first : first + count]
            for output in range(count):
                scores[here, output] = against_rest(columns, output)
        heads = [Head(network, first, count, output) for output in range(count)]
        found[number] = _Fit(list(heads) if len(left_out) == 1 else [], scores)
    return found


def _labels_left(
    data: LabelledTask, repeat: _Repeat, left_out: tuple[int, ...]
) -> np.ndarray | None:
    """Which labels lie in the other folds; None if they are too few."""
    inside = np.flatnonzero(~np.isin(repeat.folds[data.rows], left_out))
    share = 1.0 if len(left_out) == 1 else 0.5
    signs = signs_among(data.signs, inside)
    return inside if enough_labels(data.task, data.values[inside], share, signs) else None


def _fit_repeat(
    tasks: Sequence[LabelledTask],
    library: Compounds,
    shared: SharedKernels,
    repeat: _Repeat,
    jobs: int,
) -> list[dict[_Job, _Fit | None]]:
    """All fits of one repeat, by task."""
    found: list[dict[_Job, _Fit | None]] = [{} for _ in tasks]
    names = [repeat.learners(data) for data in tasks]
    divided = shared.divide(repeat.folds, repeat.settings.n_folds)
    todo: list[tuple[int, _Job, KernelWithout]] = []

    def fit(item: tuple[int, _Job, KernelWithout]) -> _Fit | None:
        number, job, kernel = item
        return _fit(tasks[number], library, repeat, job, kernel)

    # With several tasks, the fits of one set run side by side, and only its kernel is in memory;
    # with few there would be too little to do at once.
    group = 1 if len(tasks) >= _MANY_TASKS else jobs
    sets = _left_out_sets(repeat.settings.n_folds)
    for start in range(0, len(sets), group):
        some = sets[start : start + group]
        kernels = map_threads(divided.without, some, jobs)
        todo = [
            (number, _Job(repeat.number, left_out, name), kernel)
            for left_out, kernel in zip(some, kernels, strict=True)
            for number in range(len(tasks))
            for name in sorted({names[number][fold] for fold in left_out})
        ]
        for (number, job, _), one in zip(todo, map_threads(fit, todo, jobs), strict=True):
            found[number][job] = one
    return found


def _fit(
    data: LabelledTask, library: Compounds, repeat: _Repeat, job: _Job, kernel: KernelWithout
) -> _Fit | None:
    """Fit one estimator per output without some folds; None if too few labels are left."""
    task, rows, targets = data.task, data.rows, data.targets
    own = repeat.folds[rows]
    inside = _labels_left(data, repeat, job.left_out)
    if inside is None:
        return None
    signs = signs_among(data.signs, inside)
    # One fold at a time: in its last bits a score depends on what is scored beside it, and what
    # calibrates the model of a fold must not depend on that fold's compounds.
    held = [np.flatnonzero(own == fold) for fold in job.left_out]
    scores = np.full(targets.shape, np.nan)
    estimators: list[Estimator] = []
    with_kernel = job.learner == KernelSVM.kind
    gram = kernel.among(rows[inside]) if with_kernel else np.zeros((0, 0))
    for output in range(targets.shape[1]):
        target = targets[inside, output]
        if with_kernel:
            machine = KernelSVM.on(kernel.kernel)
            machine.fit_gram(gram, rows[inside], target, task.is_classification, signs)
            for here in held:
                scores[here, output] = machine.score_kernel(kernel.between(rows[here], machine))
            estimators.append(machine)
            continue
        estimator = LEARNERS[job.learner]()
        seed = _seed(repeat.settings.seed, task.name, output, job.repeat, job.left_out)
        estimator.fit(library, rows[inside], target, task.is_classification, seed, signs=signs)
        for here in held:
            scores[here, output] = estimator.score(library.take(rows[here]), library)
        estimators.append(estimator)
    # Of an inner model only the scores are needed.
    return _Fit(estimators if len(job.left_out) == 1 else [], scores)


def _left_out_sets(n_folds: int) -> list[tuple[int, ...]]:
    singles: list[tuple[int, ...]] = [(fold,) for fold in range(n_folds)]
    return singles + [(f, g) for f in range(n_folds) for g in range(f + 1, n_folds)]


def _calibrate_all(
    data: LabelledTask, repeat: _Repeat, fits: Mapping[_Job, _Fit | None]
) -> list[tuple[FoldModel, np.ndarray]]:
    """The fold models of one task in one repeat, and what each predicts of its own fold."""
    own, names = repeat.folds[data.rows], repeat.learners(data)
    made = []
    for fold in range(repeat.settings.n_folds):
        job = _Job(repeat.number, (fold,), names[fold])
        fit = fits[job]
        if fit is None:
            continue
        inner = {
            other: fits[_Job(repeat.number, (min(fold, other), max(fold, other)), names[fold])]
            for other in range(repeat.settings.n_folds)
            if other != fold
        }
        model = _calibrate(data, own, job, fit, inner)
        scores = list(fit.scores[own == fold].T)
        made.append((model, calibrated(data.task, scores, model.calibrations)))
    return made


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
    task, targets = data.task, data.targets
    (fold,) = job.left_out
    scores = np.full(targets.shape, np.nan)
    for other, inner_fit in inner.items():
        if inner_fit is not None:
            mine = own == other
            scores[mine] = inner_fit.scores[mine]
    others = own != fold
    fingerprints, groups = data.library.fingerprints[data.rows[others]], own[None, others]
    similarity = np.full(len(own), np.nan)
    similarity[others] = similarity_apart(
        fingerprints, fingerprints, groups, groups, DOMAIN_NEIGHBOURS
    )[0]
    known = np.isfinite(scores).all(axis=1)
    signs = signs_among(data.signs, known)
    calibrations = [
        fit_platt(scores[known, output], targets[known, output])
        if task.is_classification
        else fit_line(scores[known, output], targets[known, output], signs)
        for output in range(targets.shape[1])
    ]
    # A bound that is kept does not tell how large the error is: exact values judge.
    exact = measured_exactly(data.signs, len(own))
    judged = known & exact
    predicted = calibrated(task, list(scores[judged].T), calibrations)
    reliability = fit_reliability(
        similarity[judged],
        squared_error(predicted, targets[judged]),
        label_variance(targets[others & exact]),
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
    found = similarity_apart(fingerprints, fingerprints, folds, folds, DOMAIN_NEIGHBOURS)
    return np.asarray(found.astype(np.float64).mean(axis=0))


def _mean_over_repeats(predictions: np.ndarray) -> np.ndarray:
    known = np.isfinite(predictions)
    counts = known.sum(axis=0)
    total = np.where(known, predictions, 0.0).sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
