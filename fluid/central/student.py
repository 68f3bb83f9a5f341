"""Distill a student from the federated set: one model that has seen nobody's data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluid.base.cluster import Cluster
from fluid.base.errors import FluidError, TrainingError
from fluid.base.jobs import single_threaded_blas
from fluid.central.estimate_twicing import estimate_twicing
from fluid.central.fit_student import FitOptions, StudentTask, fit_learners, renumber
from fluid.central.noisy_ridge import choose_ridge
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.chem.stream import CompoundStream
from fluid.learn.calibration import Platt
from fluid.learn.crossfit import FoldModel
from fluid.learn.domain import fit_domains
from fluid.learn.estimators import STUDENT_LEARNERS, Estimator, KernelRidge, logit, sigmoid
from fluid.learn.estimators.twicing import Twicing
from fluid.learn.judgement import HeldOut
from fluid.learn.model import TaskModel
from fluid.learn.predictions import called_classes
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, TRUSTED, ReliabilityMap, fit_reliability
from fluid.learn.task import Task
from fluid.learn.thresholds import prevalence_threshold
from fluid.learn.trained_on import digest_connectivities
from fluid.soft_labels.pooled import PooledTask
from fluid.soft_labels.shrinkage import widening
from fluid.soft_labels.targets import CLIP, WEIGHTINGS, sample_weights, soft_targets, widen

FEWEST_COMPOUNDS = 50
MOST_REFERENCES = 50_000
_GROUPS = 10
# Teachers are surer than their calibration says: each fold model was calibrated by models of fewer
# compounds, and what is pooled is a mean over repeats. Chosen on validation splits.
_MODEST = 1.2
# Likewise what they state to explain of numbers, where it is the student's.
_MODEST_NUMBERS = 2.0


@dataclass(frozen=True)
class StudentOptions:
    """How a student is distilled.

    Attributes
    ----------
    weighting
        What the errors of public compounds weigh: ``"reliability"``, the squared reliability of
        the most reliable teacher; ``"none"``, all the same; or ``"uncertain"``, more where the
        teachers are unsure or disagree, in the manner of FLIT (Zhu et al. 2022,
        doi 10.1016/j.patter.2022.100521).
    learners
        Keys of `fluid.learn.estimators.STUDENT_LEARNERS`; averaged if several.
    sharpen
        Whether kernel ridge regression learns pooled labels sharpened by what teachers disagree on
        (`fluid.central.estimate_twicing`).
    noisy
        Whether labels passed through a noise mechanism. The penalty of kernel ridge regression is
        then chosen by leave-one-out error, and pooled labels are neither widened nor sharpened:
        teachers disagree by the noise.
    """

    weighting: str = "reliability"
    learners: tuple[str, ...] = ("kernel-ridge",)
    twicing: bool = True
    noisy: bool = False

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise FluidError(f"weighting '{self.weighting}': allowed are {', '.join(WEIGHTINGS)}")
        unknown = [name for name in self.learners if name not in STUDENT_LEARNERS]
        if unknown or not self.learners:
            raise FluidError(
                f"student's learners '{','.join(self.learners)}': allowed are "
                f"{', '.join(STUDENT_LEARNERS)}"
            )


@dataclass(frozen=True)
class Distilled:
    """A student's model of one task, and how well it follows the pooled labels.

    Attributes
    ----------
    model
        The task's model.
    fidelity
        Squared correlation with the pooled labels (logits of probabilities) on a tenth of the
        public set that was held out in a rehearsal.
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


def digest_stream(library: CompoundStream) -> np.ndarray:
    """What `digest_connectivities` finds for all compounds, in one pass."""
    return np.concatenate([digest_connectivities(chunk) for chunk in library.chunks()])


def held_out_groups(digests: np.ndarray) -> np.ndarray:
    """Ten groups by the first byte of what `digest_stream` found, uint8 of shape (n,)."""
    return ((digests >> np.uint64(56)) % np.uint64(_GROUPS)).astype(np.uint8)


@single_threaded_blas()
def distill_task(
    library: Compounds | CompoundStream,
    task: Task,
    pooled: PooledTask,
    seed: int,
    jobs: int = 1,
    options: StudentOptions | None = None,
    groups: np.ndarray | None = None,
    cluster: Cluster | None = None,
) -> Distilled:
    """Train the student's model of one task on all labelled public compounds.

    Parameters
    ----------
    library
        The public compounds; what is held of them is bounded (see `fit_learners`).
    task
        What is predicted.
    pooled
        Their pooled labels.
    seed
        Fixes everything random.
    jobs
        Fits that run at once; the result does not depend on it.
    options
        How to distill.
    groups
        What `held_out_groups` finds for the library, if that is known already.
    cluster
        Whose workers train boosted trees together, all at one fit; see
        `fluid.learn.estimators.cluster_trees`. Other learners train here.

    Raises
    ------
    TrainingError
        If fewer than 50 compounds have a label.
    """
    options = options or StudentOptions()
    library = CompoundStream.of(library)
    rows = np.flatnonzero(np.isfinite(pooled.label).all(axis=1))
    if len(rows) < FEWEST_COMPOUNDS:
        raise TrainingError(
            f"task '{task.name}': {len(rows)} public compounds have a pooled label, at least "
            f"{FEWEST_COMPOUNDS} are needed"
        )
    if groups is None:
        groups = held_out_groups(digest_stream(library))
    label = pooled.label[rows].astype(np.float64) if options.noisy else widen(task, pooled, rows)
    targets = soft_targets(task, label)
    ridge = choose_ridge(library, rows, targets, seed) if options.noisy else None
    twicing = None
    if options.twicing and not options.noisy and KernelRidge.kind in options.learners:
        twicing = estimate_twicing(library, task, pooled)
    inside = groups[rows] != 0
    weights = sample_weights(task, pooled, rows, options.weighting)
    references = _references(pooled, rows)
    fit_options = FitOptions(options.learners, seed, jobs, ridge, cluster, twicing)
    plain = None if pooled.base is None else pooled.base[rows].astype(np.float64)
    student_task = StudentTask(library, rows, targets, weights, inside, references, plain)
    fits = fit_learners(student_task, fit_options)
    compounds, held = fits.compounds, fits.positions[fits.held]
    told = _score(fits.tried, compounds.take(fits.held), compounds)
    wanted = targets[np.searchsorted(rows, held)]
    fidelity = _squared_correlation(told, wanted) if len(held) else 0.0
    near = np.searchsorted(fits.positions, references[groups[references] != 0])
    similarity = neighbour_similarity(
        compounds.fingerprints[fits.held], compounds.fingerprints[near], DOMAIN_NEIGHBOURS
    )
    said = _probabilities(task, told)
    trust = _reliability(task, pooled, rows[inside], held, said, similarity, references)
    threshold = 0.5
    if task.kind == "binary":
        threshold = _threshold(pooled, held, sigmoid(told[:, 0]))
    held_out = _expected_calls(task, pooled, rows, held, said, similarity, threshold)
    domains = fit_domains(compounds, np.searchsorted(fits.positions, references), trust, held_out)
    members = [
        FoldModel(0, number, estimators, [Platt()] * len(task.outputs), trust)
        for number, estimators in enumerate(fits.final.values())
    ]
    for member in members:
        for estimator in member.estimators:
            renumber(estimator, fits.positions)
    model = TaskModel(task, members, True, references, domains, threshold)
    return Distilled(model, fidelity, len(rows), len(references), twicing)


def _score(
    learners: dict[str, list[Estimator]], queries: Compounds, library: Compounds
) -> np.ndarray:
    each = [
        np.stack([estimator.score(queries, library) for estimator in estimators], axis=1)
        for estimators in learners.values()
    ]
    return np.mean(each, axis=0)


def _squared_correlation(told: np.ndarray, wanted: np.ndarray) -> float:
    a, b = told - told.mean(axis=0), wanted - wanted.mean(axis=0)
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) ** 2 if norm > 0 else 0.0


def count_known(pooled: PooledTask) -> int:
    """Public compounds that some teacher knew (reliability 0.2 or more)."""
    return int((pooled.reliability >= TRUSTED).sum())


def _references(pooled: PooledTask, rows: np.ndarray) -> np.ndarray:
    """Compounds that some teacher knew, for only they widen the domain; the best-known at least."""
    trust = pooled.reliability[rows]
    known = rows[trust >= TRUSTED]
    if len(known) < FEWEST_COMPOUNDS:
        known = np.sort(rows[np.argsort(-trust, kind="stable")[:FEWEST_COMPOUNDS]])
    if len(known) > MOST_REFERENCES:
        best = np.argsort(-pooled.reliability[known], kind="stable")[:MOST_REFERENCES]
        known = np.sort(known[best])
    return known


def _probabilities(task: Task, told: np.ndarray) -> np.ndarray:
    """What the learners' scores say: probabilities, or numbers as they are."""
    values = sigmoid(told) if task.is_classification else told
    if task.kind == "multiclass":
        values = values / values.sum(axis=1, keepdims=True)
    return values


def _reliability(
    task: Task,
    pooled: PooledTask,
    seen: np.ndarray,
    held: np.ndarray,
    said: np.ndarray,
    similarity: np.ndarray,
    references: np.ndarray,
) -> ReliabilityMap:
    """How much of the pooled labels is explained, times how much the teachers explain.

    Labels that were sharpened vary more than pooled labels do, which is no error: pooled labels are
    first regressed on what is said.

    Of numbers the teachers are taken to explain twice what the best of them states of the reference
    compounds on average, up to a half: their mean explains more than that, and trends of numbers
    reach farther than similarity does. Where it was measured they explained three to eight times
    as much.
    """
    truth = pooled.label.astype(np.float64)
    error = ((_regressed(said, truth[held]) - truth[held]) ** 2).sum(axis=1)
    baseline = float(((truth[seen] - truth[seen].mean(axis=0)) ** 2).sum(axis=1).mean())
    followed = fit_reliability(similarity, error, baseline)
    teachers = float(pooled.reliability[references].mean()) if len(references) else 0.0
    if not task.is_classification:
        # Beyond a half nobody has measured how modest they are.
        teachers = max(min(_MODEST_NUMBERS * teachers, 0.5), teachers)
    return ReliabilityMap(followed.slope, teachers)


def _regressed(said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What is said (n, n_outputs), on the least-squares line to the truth of all outputs."""
    if not len(said):
        return said
    spread, wanted = said - said.mean(axis=0), truth - truth.mean(axis=0)
    slope = float((spread * wanted).sum()) / max(float((spread**2).sum()), 1e-12)
    return truth.mean(axis=0) + max(slope, 0.0) * spread


def _expected_calls(
    task: Task,
    pooled: PooledTask,
    rows: np.ndarray,
    held: np.ndarray,
    said: np.ndarray,
    similarity: np.ndarray,
    threshold: float,
) -> HeldOut | None:
    """How right the student's calls of held-out compounds are by the pooled labels.

    The student has no measured labels: a call is taken to be right with the pooled probability of
    the class called, and counts as much as some teacher was reliable there. The rate that its
    domain states is therefore an expectation under the teachers' labels, not a measured rate.

    A mean of calibrated teachers lies too near to the base rate (Gneiting and Ranjan 2013, arXiv
    1106.1638); taken as it is, no call of most students measured was expected to be right in nine
    of ten cases. So its log-odds are widened about those of the mean label by the slope with which
    the truth would regress on it if every teacher were calibrated (`widening`): one plus mean
    squared disagreement over the variance of the pooled label, times 1.2, because calibrated
    teachers are still too modest. No measured label is needed.

    Parameters
    ----------
    task, pooled
        The task and its pooled labels.
    rows, held
        Compounds with a label, and those of them that were held out.
    said
        Probabilities of the held-out compounds from learners that had not seen them.
    similarity
        Of those to the five nearest references that were not held out.
    threshold
        Decision threshold of a binary task.

    Returns
    -------
    HeldOut or None
        None for numbers, of which none is right or wrong.
    """
    if not task.is_classification:
        return None
    label = pooled.label[rows].astype(np.float64)
    slope = _MODEST * widening(label, pooled.disagreement[rows])
    centre = logit(label.mean(axis=0), CLIP)
    wide = sigmoid(centre + slope * (logit(pooled.label[held].astype(np.float64)) - centre))
    called = called_classes(task, said, threshold)
    if task.kind == "multiclass":
        wide = wide / wide.sum(axis=1, keepdims=True)
        right = wide[np.arange(len(held)), called]
    else:
        right = np.where(called == 1, wide[:, 0], 1.0 - wide[:, 0])
    weights = pooled.reliability[held].astype(np.float64)
    trusted = count_known(pooled) >= FEWEST_COMPOUNDS
    return HeldOut(said, threshold, similarity, right, weights, measured=False, trusted=trusted)


def _threshold(pooled: PooledTask, held: np.ndarray, predictions: np.ndarray) -> float:
    """Call as many positive as the pooled labels expect, where teachers knew the chemistry."""
    weights = pooled.reliability[held].astype(np.float64)
    if weights.sum() <= 0:
        return 0.5
    expected = float(np.average(pooled.label[held, 0], weights=weights))
    return prevalence_threshold(predictions, expected, weights)
