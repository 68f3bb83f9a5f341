"""Distill one task of a student from pooled labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import single_threaded_blas
from fluid.base.run import Run
from fluid.central.estimate_twicing import SampleComponents, estimate_twicing
from fluid.central.fit_student import FitOptions, StudentFit, StudentTask, fit_students
from fluid.central.noisy_ridge import choose_ridge
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.chem.stream import CompoundStream
from fluid.learn.calibration import Platt
from fluid.learn.crossfit import FoldModel
from fluid.learn.domain import fit_domains
from fluid.learn.estimators import logit, sigmoid
from fluid.learn.estimators.twicing import Twicing
from fluid.learn.judgement import HeldOut
from fluid.learn.model import TaskModel
from fluid.learn.predictions import called_classes
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, TRUSTED, ReliabilityMap, fit_reliability
from fluid.learn.task import Task
from fluid.learn.thresholds import prevalence_threshold
from fluid.learn.trained_on import digest_connectivities
from fluid.soft_labels.pooled import PooledLabels, PoolingResult
from fluid.soft_labels.shrinkage import shrinkage_slope
from fluid.soft_labels.targets import CLIP, sample_weights, soft_targets, undo_shrinkage

FEWEST_COMPOUNDS = 50
MOST_REFERENCES = 50_000
_GROUPS = 10
# Factor on the log-odds of pooled labels in the expected error rate. Even with shrinkage undone
# they are underconfident: each fold model was calibrated by models of fewer compounds, and pooled
# labels are means over repeats. Chosen on validation splits.
_CONFIDENCE_FACTOR = 1.5
# Factor on the share of variance that teachers of a regression task state to explain, up to this
# share: beyond it nobody has measured by how much they understate.
_EXPLAINED_FACTOR, _MOST_EXPLAINED = 2.0, 0.5


@dataclass(frozen=True)
class StudentOptions:
    """How a student is distilled.

    Attributes
    ----------
    twicing
        Whether pooled labels are sharpened by what teachers disagree on
        (`fluid.central.estimate_twicing`). Never done where a federation has a noise mechanism.
    """

    twicing: bool = True


@dataclass(frozen=True)
class Distilled:
    """A student's model of one task, and how well it follows the pooled labels.

    Attributes
    ----------
    model
        The task's model.
    fidelity
        Squared correlation with the pooled labels (log-odds of probabilities) on a tenth of the
        public set, of a fit that held this tenth out.
    n_labelled, n_references
        Compounds with a pooled label, and those that make up the applicability domain.
    twicing
        Of the pooled labels; None if they were learned as they are.
    """

    model: TaskModel
    fidelity: float
    n_labelled: int
    n_references: int
    twicing: Twicing | None = None


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions for n labelled compounds by a fit that had not seen them.

    Attributes
    ----------
    rows
        Positions in the public set, ascending.
    values
        Probabilities, or numbers of a regression task, shape (n, n_outputs).
    similarity
        Mean similarity to the five nearest reference compounds that were not held out, shape (n,).
    """

    rows: np.ndarray
    values: np.ndarray
    similarity: np.ndarray


def digest_stream(library: CompoundStream) -> np.ndarray:
    """Digests of all compounds (`digest_connectivities`), in one pass."""
    return np.concatenate([digest_connectivities(chunk) for chunk in library.chunks()])


def held_out_groups(digests: np.ndarray) -> np.ndarray:
    """Ten groups by the first byte of each digest, uint8 of shape (n,)."""
    return ((digests >> np.uint64(56)) % np.uint64(_GROUPS)).astype(np.uint8)


@dataclass(frozen=True)
class _Prepared:
    """A task to be fitted: its pooled labels, what is learned of them, and how."""

    task: Task
    pooled: PoolingResult
    learned: StudentTask
    options: FitOptions


def distill_task(
    library: Compounds | CompoundStream,
    task: Task,
    pooled: PoolingResult,
    *,
    options: StudentOptions | None = None,
    noisy: bool = False,
    groups: np.ndarray | None = None,
    run: Run | None = None,
) -> Distilled:
    """Train the student's model of one task; see `distill_tasks`."""
    (found,) = distill_tasks(
        library, [(task, pooled)], options=options, noisy=noisy, groups=groups, run=run
    )
    return found


@single_threaded_blas()
def distill_tasks(
    library: Compounds | CompoundStream,
    tasks: Sequence[tuple[Task, PoolingResult]],
    *,
    options: StudentOptions | None = None,
    noisy: bool = False,
    groups: np.ndarray | None = None,
    run: Run | None = None,
) -> list[Distilled]:
    """Train the student's model of each task on all labelled public compounds.

    Parameters
    ----------
    library
        The public compounds; memory is bounded whatever their number (see `fit_student`).
    tasks
        What is predicted, with pooled labels of all public compounds.
    options
        How to distill.
    noisy
        Whether labels passed through a noise mechanism. The penalty of kernel ridge regression is
        then chosen by leave-one-out error, shrinkage is not undone and nothing is sharpened:
        teachers disagree because of the noise.
    groups
        From `held_out_groups`, if they are known already.
    run
        Its seed fixes everything random.

    Raises
    ------
    TrainingError
        If fewer than 50 compounds have a label of a task.
    """
    options, run = options or StudentOptions(), run or Run()
    library = CompoundStream.of(library)
    if groups is None:
        groups = held_out_groups(digest_stream(library))
    components = SampleComponents(library)
    prepared: list[_Prepared] = []
    for task, pooled in tasks:
        rows = np.flatnonzero(np.isfinite(pooled.labels.label).all(axis=1))
        if len(rows) < FEWEST_COMPOUNDS:
            raise TrainingError(
                f"task '{task.name}': {len(rows)} public compounds have a pooled label, at least "
                f"{FEWEST_COMPOUNDS} are needed"
            )
        if noisy:
            targets = soft_targets(task, pooled.labels.label[rows])
            fit_options = FitOptions(ridge=choose_ridge(library, rows, targets, run.seed))
        else:
            targets = soft_targets(task, undo_shrinkage(task, pooled.labels, rows))
            twicing = estimate_twicing(components, task, pooled) if options.twicing else None
            fit_options = FitOptions(twicing=twicing)
        learned = StudentTask(
            library,
            rows,
            targets,
            sample_weights(pooled.labels, rows),
            groups[rows] != 0,
            _references(pooled.labels, rows),
            None if pooled.base is None else pooled.base[rows].astype(np.float64),
        )
        prepared.append(_Prepared(task, pooled, learned, fit_options))
    fits = fit_students([one.learned for one in prepared], [one.options for one in prepared], run)
    made = []
    for one, fit in zip(prepared, fits, strict=True):
        run.stage(f"distilling {one.task.name}")
        made.append(_judge(one, fit, groups))
    return made


def _judge(prepared: _Prepared, fit: StudentFit, groups: np.ndarray) -> Distilled:
    """A fit with its reliability, threshold and domains, found on the compounds held out."""
    task, labels, rows = prepared.task, prepared.pooled.labels, prepared.learned.rows
    references, scores = prepared.learned.references, fit.held_scores
    held = fit.positions[fit.held]
    fidelity = 0.0
    if len(held):
        fidelity = _squared_correlation(
            scores, prepared.learned.targets[np.searchsorted(rows, held)]
        )
    held_out = HeldOutPredictions(
        held, _predictions(task, scores), _similarity(fit, references[groups[references] != 0])
    )
    reliability = _reliability(task, labels, rows[prepared.learned.inside], held_out, references)
    threshold = 0.5
    if task.kind == "binary":
        threshold = _threshold(labels, held, sigmoid(scores[:, 0]))
    slope = shrinkage_slope(prepared.pooled.sample)
    calls = _expected_calls(task, labels, rows, held_out, threshold, slope)
    places = np.searchsorted(fit.positions, references)
    domains = fit_domains(fit.compounds, places, reliability, calls)
    for estimator in fit.final:
        estimator.renumber(fit.positions)
    calibrations = [Platt()] * len(task.outputs)
    members = [FoldModel(0, 0, list(fit.final), calibrations, reliability)]
    model = TaskModel(task, members, True, references, domains, threshold)
    return Distilled(model, fidelity, len(rows), len(references), prepared.options.twicing)


def _similarity(fit: StudentFit, references: np.ndarray) -> np.ndarray:
    """Of held-out compounds to their nearest references, given as positions in the public set."""
    fingerprints = fit.compounds.fingerprints
    near = np.searchsorted(fit.positions, references)
    return neighbour_similarity(fingerprints[fit.held], fingerprints[near], DOMAIN_NEIGHBOURS)


def _squared_correlation(predicted: np.ndarray, truth: np.ndarray) -> float:
    a, b = predicted - predicted.mean(axis=0), truth - truth.mean(axis=0)
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) ** 2 if norm > 0 else 0.0


def count_known(labels: PooledLabels) -> int:
    """Public compounds that some teacher knew (reliability 0.2 or more)."""
    return int((labels.reliability >= TRUSTED).sum())


def _references(labels: PooledLabels, rows: np.ndarray) -> np.ndarray:
    """Compounds that some teacher knew, as only these extend the domain; 50 best-known at least."""
    reliability = labels.reliability[rows]
    known = rows[reliability >= TRUSTED]
    if len(known) < FEWEST_COMPOUNDS:
        known = np.sort(rows[np.argsort(-reliability, kind="stable")[:FEWEST_COMPOUNDS]])
    if len(known) > MOST_REFERENCES:
        best = np.argsort(-labels.reliability[known], kind="stable")[:MOST_REFERENCES]
        known = np.sort(known[best])
    return known


def _predictions(task: Task, scores: np.ndarray) -> np.ndarray:
    """Probabilities from scores, or the numbers of a regression task as they are."""
    values = sigmoid(scores) if task.is_classification else scores
    if task.kind == "multiclass":
        values = values / values.sum(axis=1, keepdims=True)
    return values


def _reliability(
    task: Task,
    labels: PooledLabels,
    seen: np.ndarray,
    held_out: HeldOutPredictions,
    references: np.ndarray,
) -> ReliabilityMap:
    """Share of the pooled labels' variance explained, times the share that teachers explain.

    Sharpened labels vary more than pooled labels do, which is no error, so pooled labels are first
    regressed on the predictions.

    Teachers of a regression task are taken to explain twice what the best of them states for the
    reference compounds on average, up to a half: their mean explains more than that, and trends of
    numbers reach farther than similarity does. Where it was measured they explained three to eight
    times as much.
    """
    truth = labels.label.astype(np.float64)
    wanted = truth[held_out.rows]
    error = ((_regressed(held_out.values, wanted) - wanted) ** 2).sum(axis=1)
    baseline = float(((truth[seen] - truth[seen].mean(axis=0)) ** 2).sum(axis=1).mean())
    followed = fit_reliability(held_out.similarity, error, baseline)
    explained = float(labels.reliability[references].mean()) if len(references) else 0.0
    if not task.is_classification:
        explained = max(min(_EXPLAINED_FACTOR * explained, _MOST_EXPLAINED), explained)
    return ReliabilityMap(followed.slope, explained)


def _regressed(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Values (n, n_outputs) on the least-squares line to the truth, one for all outputs."""
    if not len(values):
        return values
    centred, wanted = values - values.mean(axis=0), truth - truth.mean(axis=0)
    slope = float((centred * wanted).sum()) / max(float((centred**2).sum()), 1e-12)
    return truth.mean(axis=0) + max(slope, 0.0) * centred


def _expected_calls(
    task: Task,
    labels: PooledLabels,
    rows: np.ndarray,
    held_out: HeldOutPredictions,
    threshold: float,
    slope: float,
) -> HeldOut | None:
    """How often the student's calls of held-out compounds are right by the pooled labels.

    The student has no measured labels: a call is taken to be right with the pooled probability of
    the class called, and counts by the highest reliability of any teacher there. The error rate
    that its domain states is therefore an expectation under the teachers' labels, not a measured
    rate.

    A mean of calibrated teachers lies too near to the base rate (Gneiting and Ranjan 2013, arXiv
    1106.1638); taken as it is, no call of most students measured was expected to be right in nine
    of ten cases. So its log-odds move away from those of the mean label by the shrinkage slope,
    times 1.5 because pooled labels are still underconfident. No measured label is needed.

    Parameters
    ----------
    task, labels
        The task and its pooled labels.
    rows
        Compounds with a label.
    held_out
        Predictions for some of these.
    threshold
        Decision threshold of a binary task.
    slope
        Shrinkage slope of the pooled labels; 1 where it is not known.

    Returns
    -------
    HeldOut or None
        None for regression, where no prediction is simply right or wrong.
    """
    if not task.is_classification:
        return None
    label = labels.label[rows].astype(np.float64)
    centre = logit(label.mean(axis=0), CLIP)
    odds = logit(labels.label[held_out.rows].astype(np.float64), CLIP)
    # Where no disagreement is known, labels are taken as they are: too few calls inside rather than
    # too many wrong ones.
    spread = _CONFIDENCE_FACTOR * slope if slope > 1.0 else 1.0
    expected = sigmoid(centre + spread * (odds - centre))
    called = called_classes(task, held_out.values, threshold)
    if task.kind == "multiclass":
        expected = expected / expected.sum(axis=1, keepdims=True)
        correct = expected[np.arange(len(called)), called]
    else:
        correct = np.where(called == 1, expected[:, 0], 1.0 - expected[:, 0])
    return HeldOut(
        held_out.values,
        threshold,
        held_out.similarity,
        correct,
        labels.reliability[held_out.rows].astype(np.float64),
        measured=False,
        trusted=count_known(labels) >= FEWEST_COMPOUNDS,
    )


def _threshold(labels: PooledLabels, held: np.ndarray, probabilities: np.ndarray) -> float:
    """Call as many positive as the pooled labels expect, where teachers knew the chemistry."""
    weights = labels.reliability[held].astype(np.float64)
    if weights.sum() <= 0:
        return 0.5
    expected = float(np.average(labels.label[held, 0], weights=weights))
    return prevalence_threshold(probabilities, expected, weights)
