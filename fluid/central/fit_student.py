"""Fit the student's learners: in memory up to so many compounds, streamed above.

Up to `MOST_HELD` labelled compounds everything is held and kernel ridge regression is exact. Above,
the compounds are read again for each thing that is summed over them, and held are: landmarks, a
sample of what was held out, the reference compounds, and for boosted trees a sample to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fluid.base.cluster import Cluster
from fluid.base.jobs import map_threads
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.estimators import STUDENT_LEARNERS, Estimator
from fluid.learn.estimators.cluster_trees import fit_on_cluster
from fluid.learn.estimators.kernel import MOST_FACTORED, KernelMachine, KernelRidge
from fluid.learn.estimators.landmarks import NormalEquations, choose_landmarks
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.estimators.trees import Trees
from fluid.learn.estimators.twicing import Twicing
from fluid.learn.model import TaskModel

MOST_HELD = KernelRidge().most_exact
LANDMARKS = KernelRidge().n_landmarks
# Held-out compounds that a student is judged by, and compounds that trees learn from.
MOST_JUDGED = 20_000
MOST_FOR_TREES = 200_000


@dataclass(frozen=True)
class StudentTask:
    """What a student learns in one task.

    Attributes
    ----------
    library
        The public compounds.
    rows, targets
        The n that have a label, ascending, and what is learned: shape (n, n_outputs).
    weights
        Of squared errors, of mean 1, shape (n,); None if all weigh the same.
    inside
        Which of the n are not held out, bool of shape (n,).
    references
        Ascending positions in the library of compounds that are needed beside those learned from.
    plain
        The part of the targets that is not sharpened, shape (n, n_outputs); None for none.
    """

    library: CompoundStream
    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    inside: np.ndarray
    references: np.ndarray
    plain: np.ndarray | None = None

    def part(self, chosen: np.ndarray) -> StudentTask:
        """Some of the n compounds, by mask or position."""
        weights = None if self.weights is None else self.weights[chosen]
        plain = None if self.plain is None else self.plain[chosen]
        return replace(
            self, rows=self.rows[chosen], targets=self.targets[chosen], weights=weights,
            inside=self.inside[chosen], plain=plain,
        )  # fmt: skip


@dataclass(frozen=True)
class FitOptions:
    """How learners are fitted.

    Attributes
    ----------
    learners
        Keys of `STUDENT_LEARNERS`.
    seed, jobs
        See `fluid.central.student.distill_task`.
    ridge
        Penalty of kernel ridge regression; None takes its own.
    cluster
        Whose workers train boosted trees; they then learn from all compounds, however many.
    twicing
        Of what kernel ridge regression learns; None takes labels as they are.
    """

    learners: tuple[str, ...]
    seed: int
    jobs: int
    ridge: float | None = None
    cluster: Cluster | None = None
    twicing: Twicing | None = None


@dataclass(frozen=True)
class FittedLearners:
    """Learners of one task, and the compounds that they refer to.

    Attributes
    ----------
    positions, compounds
        Ascending positions in the public set, and the compounds at these.
    held
        Which of `compounds` the learners in `tried` have not seen: all that were held out, or a
        sample of them.
    final, tried
        By learner, one estimator per output: trained on everything, and in the rehearsal.
    """

    positions: np.ndarray
    compounds: Compounds
    held: np.ndarray
    final: dict[str, list[Estimator]]
    tried: dict[str, list[Estimator]]


def renumber(estimator: Estimator, positions: np.ndarray) -> None:
    """Let an estimator refer to another library, where compound i is at ``positions[i]``."""
    if isinstance(estimator, KernelMachine):
        estimator.renumber(positions)


def fit_learners(student_task: StudentTask, fit_options: FitOptions) -> FittedLearners:
    """Fit learners on all labelled compounds, and on those that are not held out."""
    return (_fit_held if len(student_task.rows) <= MOST_HELD else _fit_streamed)(
        student_task, fit_options
    )


def _fit_held(student_task: StudentTask, fit_options: FitOptions) -> FittedLearners:
    compounds = student_task.library.take(student_task.rows)
    final, tried = _fit_both(compounds, student_task, fit_options)
    return FittedLearners(
        student_task.rows, compounds, np.flatnonzero(~student_task.inside), final, tried
    )


Learned = dict[str, list[Estimator]]


def _fit_both(
    compounds: Compounds, student_task: StudentTask, fit_options: FitOptions
) -> tuple[Learned, Learned]:
    """Every learner on every output of the lesson's compounds: on all, and on those inside."""
    targets, weights, names = student_task.targets, student_task.weights, fit_options.learners
    outputs = range(targets.shape[1])
    parts = (np.arange(len(targets)), np.flatnonzero(student_task.inside))
    todo = [(name, stage, output) for name in names for stage in range(2) for output in outputs]
    # Of large kernel matrices one is in memory at a time, and its threads are inside.
    large = KernelRidge.kind if len(targets) > MOST_FACTORED else ""

    def run(job: tuple[str, int, int]) -> Estimator:
        name, stage, output = job
        part = parts[stage]
        learner = STUDENT_LEARNERS[name]()
        if isinstance(learner, KernelRidge):
            learner.ridge = learner.ridge if fit_options.ridge is None else fit_options.ridge
            learner.jobs = fit_options.jobs if large else 1
            learner.twicing = fit_options.twicing
        seed = fit_options.seed + output
        each = None if weights is None else weights[part] / weights[part].mean()
        if isinstance(learner, KernelRidge):
            plain = None if student_task.plain is None else student_task.plain[part, output]
            return learner.fit(compounds, part, targets[part, output], False, seed, each, plain)
        if fit_options.cluster is not None and isinstance(learner, Trees):
            wanted = targets[part, output]
            return fit_on_cluster(
                learner, fit_options.cluster, [compounds], part, wanted, seed, each
            )
        return learner.fit(compounds, part, targets[part, output], False, seed, each)

    alone = [job for job in todo if job[0] == large]
    beside = [job for job in todo if job[0] != large]
    # Two trainings on a cluster at once would wait for one another's workers.
    jobs = 1 if fit_options.cluster is not None else fit_options.jobs
    found = dict(zip(alone, map_threads(run, alone, 1), strict=True))
    found |= zip(beside, map_threads(run, beside, jobs), strict=True)
    final, tried = (
        {name: [found[name, stage, output] for output in outputs] for name in names}
        for stage in range(2)
    )
    return final, tried


def _fit_together(
    student_task: StudentTask, name: str, cluster: Cluster, seed: int
) -> list[Estimator]:
    """Trees of every output by all workers of a cluster, from all compounds of a lesson."""
    each = (
        None if student_task.weights is None else student_task.weights / student_task.weights.mean()
    )
    made: list[Estimator] = []
    for output, wanted in enumerate(student_task.targets.T):
        learner = STUDENT_LEARNERS[name]()
        assert isinstance(learner, Trees)
        chunks = student_task.library.chunks()
        made.append(
            fit_on_cluster(learner, cluster, chunks, student_task.rows, wanted, seed + output, each)
        )
    return made


def _fit_streamed(student_task: StudentTask, fit_options: FitOptions) -> FittedLearners:
    cluster, seed = fit_options.cluster, fit_options.seed
    rows, weights = student_task.rows, student_task.weights
    random = np.random.default_rng(seed)
    held = np.flatnonzero(~student_task.inside)
    if len(held) > MOST_JUDGED:
        held = np.sort(random.choice(held, size=MOST_JUDGED, replace=False))
    sampled = [name for name in fit_options.learners if name != KernelRidge.kind and not cluster]
    chosen = choose_landmarks(len(rows), LANDMARKS, weights, seed)
    sample = choose_landmarks(len(rows), MOST_FOR_TREES if sampled else 0, weights, seed)
    needed = [rows[chosen], rows[held], rows[sample], student_task.references]
    positions = np.unique(np.concatenate(needed))
    compounds = student_task.library.take(positions)

    def here(among: np.ndarray) -> np.ndarray:
        return np.searchsorted(positions, rows[among])

    final: Learned = {}
    tried: Learned = {}
    for name in fit_options.learners:
        if name == KernelRidge.kind:
            final[name], tried[name] = _ridge(
                student_task,
                compounds.take(here(chosen)),
                here(chosen),
                ~student_task.inside[chosen],
                fit_options,
            )
        elif cluster:
            final[name] = _fit_together(student_task, name, cluster, seed)
            tried[name] = _fit_together(student_task.part(student_task.inside), name, cluster, seed)
        else:
            one = replace(fit_options, learners=(name,))
            both = _fit_both(compounds.take(here(sample)), student_task.part(sample), one)
            final |= both[0]
            tried |= both[1]
    return FittedLearners(positions, compounds, here(held), final, tried)


def _ridge(
    student_task: StudentTask,
    landmarks: Compounds,
    places: np.ndarray,
    unseen: np.ndarray,
    fit_options: FitOptions,
) -> tuple[list[Estimator], list[Estimator]]:
    """Kernel ridge on landmarks: sums over the two parts, of which the rehearsal takes one.

    The rehearsal goes without landmarks that were held out (`unseen`). The scaling of descriptors
    is that of all compounds.
    """
    library, rows, targets, inside = (
        student_task.library,
        student_task.rows,
        student_task.targets,
        student_task.inside,
    )
    each = np.ones(len(rows)) if student_task.weights is None else student_task.weights
    kernel = MixedKernel().fit_stream(library, rows)
    ridge = KernelRidge().ridge if fit_options.ridge is None else fit_options.ridge
    jobs = fit_options.jobs
    n_plain = 0 if student_task.plain is None else student_task.plain.shape[1]
    if student_task.plain is not None:
        targets = np.concatenate([targets, student_task.plain], axis=1)
    most, few = (NormalEquations(kernel, landmarks, targets.shape[1]) for _ in range(2))
    most.add(library, rows[inside], targets[inside], each[inside], jobs)
    few.add(library, rows[~inside], targets[~inside], each[~inside], jobs)

    def solved(
        equations: NormalEquations, part: np.ndarray, left_out: np.ndarray | None
    ) -> list[Estimator]:
        centre = np.average(targets[part], axis=0, weights=each[part])
        found = equations.solve(ridge, centre, left_out, fit_options.twicing, n_plain)
        return [
            KernelRidge.of(kernel, places, column, float(mean))
            for column, mean in zip(found.T, centre[: found.shape[1]], strict=True)
        ]

    tried = solved(most, inside, unseen)
    few.absorb(most)
    del most
    return solved(few, np.ones(len(rows), dtype=bool), None), tried


def keep_referred(
    library: CompoundStream, models: list[TaskModel], digests: np.ndarray
) -> tuple[Compounds, np.ndarray | None]:
    """What a student takes along: a small public set, or the compounds that its models refer to.

    Positions in the models are changed to those among the compounds kept. That the others were
    learned from is known by their digests alone.
    """
    everything = np.arange(len(library))
    if len(library) <= MOST_HELD:
        return library.take(everything), None
    estimators = [one for model in models for part in model.members for one in part.estimators]
    used = [model.rows for model in models] + [
        one.rows_ for one in estimators if isinstance(one, KernelMachine)
    ]
    positions = np.unique(np.concatenate(used))
    where = np.full(len(library), -1, dtype=np.int64)
    where[positions] = np.arange(len(positions))
    for one in estimators:
        renumber(one, where)
    models[:] = [replace(model, rows=where[model.rows]) for model in models]
    return library.take(positions), np.unique(digests)
