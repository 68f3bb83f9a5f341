"""Fit the student's kernel ridge regression: in memory up to 30,000 compounds, streamed above.

Up to `MOST_HELD` labelled compounds everything is held and the fit is exact. Above, the compounds
are read again for each sum over them, and held are only landmarks, a sample of the compounds that
were held out, and the reference compounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fluid.base.jobs import map_threads
from fluid.base.run import Run
from fluid.central.shared_fit import FEWEST_SHARING, Columns, SharedRidge
from fluid.central.shared_fit import MOST_FACTORED as MOST_SHARED
from fluid.chem.compounds import Compounds
from fluid.chem.stream import CompoundStream
from fluid.learn.estimators.kernel import MOST_FACTORED, KernelMachine, KernelRidge
from fluid.learn.estimators.landmarks import NormalEquations, choose_landmarks
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.estimators.twicing import Twicing
from fluid.learn.model import TaskModel

MOST_HELD = KernelRidge().most_exact
LANDMARKS = KernelRidge().n_landmarks
# Share of the compounds that a task must label to be fitted with others: what it lacks is taken out
# of the shared factor, which costs the cube of that.
_MOSTLY = 0.75
# Most held-out compounds that a student is judged by.
MOST_JUDGED = 20_000


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
        Of squared errors, of mean 1, shape (n,); None if all weigh the same. Tasks that are fitted
        together weigh all compounds the same.
    inside
        Which of the n are not held out, bool of shape (n,).
    references
        Ascending positions in the library of compounds that are needed in addition to those
        learned from.
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


@dataclass(frozen=True)
class FitOptions:
    """How kernel ridge regression is fitted.

    Attributes
    ----------
    ridge
        Its penalty.
    twicing
        Applied to the targets; None takes them as they are.
    """

    ridge: float = KernelRidge().ridge
    twicing: Twicing | None = None


@dataclass(frozen=True)
class StudentFit:
    """A fitted student of one task, and the compounds that it refers to.

    Attributes
    ----------
    positions, compounds
        Ascending positions in the public set, and the compounds at these.
    held
        Which of `compounds` the held-out fit has not seen: all that were held out, or a sample.
    final, held_out_fit
        One estimator per output: of all compounds, and of those that were not held out.
    held_scores
        Of the compounds `held` by `held_out_fit`, float64 of shape (n_held, n_outputs).
    """

    positions: np.ndarray
    compounds: Compounds
    held: np.ndarray
    final: list[KernelRidge]
    held_out_fit: list[KernelRidge]
    held_scores: np.ndarray


def fit_students(
    tasks: Sequence[StudentTask], options: Sequence[FitOptions], run: Run
) -> list[StudentFit]:
    """Fit several tasks of one library; many tasks of mostly the same compounds share factors."""
    shared = _sharing(tasks, options)
    together = _fit_together([tasks[n] for n in shared], [options[n] for n in shared], run)
    found = dict(zip(shared, together, strict=True))
    return [
        found[number] if number in found else fit_student(one, how, run)
        for number, (one, how) in enumerate(zip(tasks, options, strict=True))
    ]


def _sharing(tasks: Sequence[StudentTask], options: Sequence[FitOptions]) -> list[int]:
    """Positions of the tasks that are fitted together: none if each by itself costs less."""
    if len(tasks) < FEWEST_SHARING:
        return []
    most = max(len(one.rows) for one in tasks)
    chosen = [
        number
        for number, (one, how) in enumerate(zip(tasks, options, strict=True))
        if len(one.rows) > _MOSTLY * most and how.ridge == FitOptions.ridge
    ]
    rows = [tasks[number].rows for number in chosen]
    if len(chosen) < FEWEST_SHARING or len(np.unique(np.concatenate(rows))) > MOST_SHARED:
        return []
    return chosen


def _fit_together(
    tasks: Sequence[StudentTask], options: Sequence[FitOptions], run: Run
) -> list[StudentFit]:
    if not tasks:
        return []
    positions = np.unique(np.concatenate([one.rows for one in tasks]))
    compounds = tasks[0].library.take(positions).with_cache()
    ends = np.cumsum([one.targets.shape[1] for one in tasks])
    shape = (len(positions), int(ends[-1]))
    targets, plain = np.zeros(shape), np.zeros(shape)
    seen, held = np.zeros(shape, dtype=bool), np.zeros(len(positions), dtype=bool)
    twicings: list[Twicing | None] = []
    for one, how, end in zip(tasks, options, ends, strict=True):
        where, columns = (
            np.searchsorted(positions, one.rows),
            slice(end - one.targets.shape[1], end),
        )
        targets[where, columns], seen[where, columns] = one.targets, True
        if one.plain is not None:
            plain[where, columns] = one.plain
        held[where[~one.inside]] = True
        twicings += [how.twicing] * one.targets.shape[1]
    run.stage(f"distilling {len(tasks):,} tasks on {len(positions):,} compounds")
    machine = SharedRidge(compounds, run)
    everything = Columns(targets, plain, seen, twicings)
    final, inside = machine.solve(FitOptions.ridge, [everything, everything.without(held)])
    judged = np.flatnonzero(held)
    scores = machine.gram[judged].astype(np.float64) @ inside.coefficients + inside.intercepts
    made = []
    for one, end in zip(tasks, ends, strict=True):
        numbers = np.arange(end - one.targets.shape[1], end)
        rows = np.searchsorted(positions, one.rows)
        mine = np.isin(judged, rows)
        fitted, without = (
            [
                KernelRidge.of(machine.kernel, part, fit.coefficients[part, n], fit.intercepts[n])
                for n in numbers
            ]
            for fit, part in ((final, rows), (inside, rows[one.inside]))
        )
        held_scores = scores[mine][:, numbers]
        made.append(StudentFit(positions, compounds, judged[mine], fitted, without, held_scores))
    return made


def _held_scores(
    estimators: Sequence[KernelRidge], compounds: Compounds, held: np.ndarray
) -> np.ndarray:
    queries = compounds.take(held)
    return np.stack([one.score(queries, compounds) for one in estimators], axis=1)


def fit_student(student_task: StudentTask, options: FitOptions, run: Run) -> StudentFit:
    """Fit kernel ridge regression to all labelled compounds, and to those not held out.

    Workers of `run` sum the chunks of a streamed fit. The result does not depend on them.
    """
    if len(student_task.rows) <= MOST_HELD:
        return _fit_in_memory(student_task, options, run)
    return _fit_streamed(student_task, options, run)


def _fit_in_memory(student_task: StudentTask, options: FitOptions, run: Run) -> StudentFit:
    compounds = student_task.library.take(student_task.rows)
    targets, weights, plain = student_task.targets, student_task.weights, student_task.plain
    outputs = range(targets.shape[1])
    everything, inside = np.arange(len(targets)), np.flatnonzero(student_task.inside)
    # Of large kernel matrices only one is in memory at a time; its own computation is threaded.
    large = len(targets) > MOST_FACTORED

    def fit(job: tuple[np.ndarray, int]) -> KernelRidge:
        part, output = job
        learner = KernelRidge(options.ridge, jobs=run.cores if large else 1)
        learner.twicing = options.twicing
        each = None if weights is None else weights[part] / weights[part].mean()
        return learner.fit(
            compounds,
            part,
            targets[part, output],
            False,
            run.seed + output,
            each,
            None if plain is None else plain[part, output],
        )

    jobs = [(part, output) for part in (everything, inside) for output in outputs]
    fitted = map_threads(fit, jobs, 1 if large else run.cores)
    held = np.flatnonzero(~student_task.inside)
    final, held_out_fit = fitted[: len(outputs)], fitted[len(outputs) :]
    scores = _held_scores(held_out_fit, compounds, held)
    return StudentFit(student_task.rows, compounds, held, final, held_out_fit, scores)


def _fit_streamed(student_task: StudentTask, options: FitOptions, run: Run) -> StudentFit:
    rows = student_task.rows
    random = np.random.default_rng(run.seed)
    held = np.flatnonzero(~student_task.inside)
    if len(held) > MOST_JUDGED:
        held = np.sort(random.choice(held, size=MOST_JUDGED, replace=False))
    chosen = choose_landmarks(len(rows), LANDMARKS, student_task.weights, run.seed)
    needed = [rows[chosen], rows[held], student_task.references]
    positions = np.unique(np.concatenate(needed))
    compounds = student_task.library.take(positions)
    places = np.searchsorted(positions, rows[chosen])
    landmarks = compounds.take(places)
    final, held_out_fit = _fit_landmarks(student_task, options, landmarks, chosen, places, run)
    places = np.searchsorted(positions, rows[held])
    scores = _held_scores(held_out_fit, compounds, places)
    return StudentFit(positions, compounds, places, final, held_out_fit, scores)


def _fit_landmarks(
    student_task: StudentTask,
    options: FitOptions,
    landmarks: Compounds,
    chosen: np.ndarray,
    places: np.ndarray,
    run: Run,
) -> tuple[list[KernelRidge], list[KernelRidge]]:
    """Kernel ridge on landmarks, fitted to all compounds and to those not held out.

    The landmarks are the compounds `chosen` of the task, at `places` of what the fit refers to.
    Sums are found over two parts, and the held-out fit takes one of them, without landmarks that
    were held out. The scaling of descriptors is that of all compounds.
    """
    library, rows, inside = student_task.library, student_task.rows, student_task.inside
    targets, plain = student_task.targets, student_task.plain
    each = np.ones(len(rows)) if student_task.weights is None else student_task.weights
    n_plain = 0 if plain is None else plain.shape[1]
    if plain is not None:
        targets = np.concatenate([targets, plain], axis=1)
    kernel = MixedKernel().fit_stream(library, rows)

    def sums_over(part: np.ndarray) -> NormalEquations:
        equations = NormalEquations(kernel, landmarks, targets.shape[1])
        equations.add(library, rows[part], targets[part], each[part], run.cores, run.workers)
        return equations

    def solve(
        equations: NormalEquations, part: np.ndarray, left_out: np.ndarray | None
    ) -> list[KernelRidge]:
        centre = np.average(targets[part], axis=0, weights=each[part])
        found = equations.solve(options.ridge, centre, left_out, options.twicing, n_plain)
        return [
            KernelRidge.of(kernel, places, column, float(mean))
            for column, mean in zip(found.T, centre[: found.shape[1]], strict=True)
        ]

    equations = sums_over(inside)
    held_out_fit = solve(equations, inside, ~inside[chosen])
    equations.absorb(sums_over(~inside))
    return solve(equations, np.ones(len(rows), dtype=bool), None), held_out_fit


def keep_referred(
    library: CompoundStream, models: Sequence[TaskModel], digests: np.ndarray
) -> tuple[Compounds, list[TaskModel], np.ndarray | None]:
    """What a student takes along: a small public set whole, or the compounds that it refers to.

    Returns
    -------
    Compounds, list of TaskModel, numpy.ndarray or None
        The compounds, the models with positions among these, and digests of all compounds that
        were learned from, unless all are taken along.
    """
    if len(library) <= MOST_HELD:
        return library.take(np.arange(len(library))), list(models), None
    estimators = [
        estimator
        for model in models
        for member in model.members
        for estimator in member.estimators
        if isinstance(estimator, KernelMachine)
    ]
    used = [model.rows for model in models] + [estimator.rows_ for estimator in estimators]
    positions = np.unique(np.concatenate(used))
    where = np.full(len(library), -1, dtype=np.int64)
    where[positions] = np.arange(len(positions))
    for estimator in estimators:
        estimator.renumber(where)
    renumbered = [replace(model, rows=where[model.rows]) for model in models]
    return library.take(positions), renumbered, np.unique(digests)
