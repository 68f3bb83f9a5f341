"""What a teacher exports: as the policy has it, and unprotected, for comparison."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.exchange.base_student import student_numbers
from fluid.exchange.federation import Federation
from fluid.exchange.mechanism import PATE
from fluid.learn.calibration import Platt
from fluid.learn.crossfit import calibrated, output_targets
from fluid.learn.estimators import LEARNERS, choose_learner
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, ReliabilityMap
from fluid.partner.dp.budget import plan_release
from fluid.partner.dp.pate import fit_sub_teachers
from fluid.partner.dp.pate_labeler import OwnFold, PateLabeler, Source, Votes
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import FittedTeacher, TrainingOptions, fit_model
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.partner.teacher.residuals import residual_learner, student_residuals
from fluid.soft_labels.teacher_labels import TeacherLabels

ACTUAL, UNPROTECTED = "actual", "unprotected"
# What a teacher that corrects a student exported before it; and the two files side by side.
FIRST, BOTH = "first release", "both releases"
# What is out once the annotation is.
RELEASED = (ACTUAL, BOTH)


@dataclass(frozen=True)
class ShadowOptions(TrainingOptions):
    """How a teacher is trained, and the student that it corrects; None if it corrects none."""

    student: TrainedModel | None = None


@dataclass(frozen=True)
class Export:
    """What is said of n compounds in one task.

    Attributes
    ----------
    prediction, uncertainty
        Shape (n, n_outputs); NaN where nothing is said.
    reliability
        Shape (n,); NaN likewise.
    similarity
        To the nearest training compound, shape (n,); None where it is not exported.
    """

    prediction: np.ndarray
    uncertainty: np.ndarray
    reliability: np.ndarray
    similarity: np.ndarray | None = None


@dataclass(frozen=True)
class Exports:
    """Exports of S teachers in one task, as `Export` with a first axis of teachers."""

    prediction: np.ndarray
    uncertainty: np.ndarray
    reliability: np.ndarray
    similarity: np.ndarray | None = None

    def teachers(self, rows: np.ndarray) -> Exports:
        """Those of some teachers."""
        similarity = None if self.similarity is None else self.similarity[rows]
        return Exports(
            self.prediction[rows], self.uncertainty[rows], self.reliability[rows], similarity
        )


def stack(exports: Sequence[Export]) -> Exports:
    """One array of each column from the exports of several teachers."""
    near = [one.similarity for one in exports if one.similarity is not None]
    return Exports(
        np.stack([one.prediction for one in exports]),
        np.stack([one.uncertainty for one in exports]),
        np.stack([one.reliability for one in exports]),
        np.stack(near) if near else None,
    )


def train(
    table: LabelledCompounds,
    federation: Federation,
    options: TrainingOptions,
    secret: bytes,
    jobs: int,
) -> FittedTeacher | None:
    """Train a teacher as a partner would; None if the labels do not suffice."""
    # That a shadow has too few labels for a task is no news, hundreds of times.
    log = logging.getLogger(fit_model.__module__)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return fit_model(
            table, federation, "teacher", "shadow", "shadow teacher", options, secret, jobs
        )
    except TrainingError:
        return None
    finally:
        log.setLevel(level)


def export_actual(
    teacher: FittedTeacher,
    table: LabelledCompounds,
    secret: bytes,
    federation: Federation,
    options: TrainingOptions,
    public: Compounds,
    jobs: int,
) -> dict[str, Export]:
    """What the policy lets a teacher say, by task; through the noise mechanism if there is one."""
    plain = make_teller(teacher.model, table, secret, federation, options, jobs)
    labeler: TeacherLabeler | PateLabeler = plain
    mechanism = federation.mechanism
    if mechanism.is_used:
        source: Source = OwnFold(federation, plain)
        if mechanism.kind == PATE:
            voters = fit_sub_teachers(
                table, federation.tasks, teacher.model, secret, mechanism.sub_teachers,
                options.learner, options.seed, jobs,
            )  # fmt: skip
            source = Votes(voters, secret, mechanism)
        plan = plan_release(mechanism, teacher.model.tasks, len(public))
        labeler = PateLabeler(federation, source, list(public.inchikeys), "audit ", plan)
    said = labeler.annotate(federation, public, jobs)
    return {name: _export(one) for name, one in said.items()}


def export_first(
    teacher: FittedTeacher,
    secret: bytes,
    federation: Federation,
    options: TrainingOptions,
    public: Compounds,
    jobs: int,
) -> dict[str, Export]:
    """What a teacher that corrects a student has said without it: of the tasks it corrects.

    Empty if it corrects none, or if the policy draws noise, which is counted release by release.
    """
    student = student_of(options)
    if student is None or federation.mechanism.is_used:
        return {}
    names = {task.name for task in student.tasks if not task.is_classification}
    said = TeacherLabeler(teacher.model, secret).annotate(federation, public, jobs)
    return {name: _export(one) for name, one in said.items() if name in names}


def student_of(options: TrainingOptions) -> TrainedModel | None:
    """The student that a teacher corrects, if it does."""
    return options.student if isinstance(options, ShadowOptions) else None


def make_teller(
    model: TrainedModel,
    table: LabelledCompounds,
    secret: bytes,
    federation: Federation,
    options: TrainingOptions,
    jobs: int,
) -> TeacherLabeler:
    """A teacher that answers, by itself or in correction of a student."""
    measured = {
        task.name: table.labels.column(federation.task_index(task.name))[1] for task in model.tasks
    }
    return TeacherLabeler(model, secret, student_of(options), measured, jobs)


def _export(said: TeacherLabels) -> Export:
    wide = [np.asarray(part, dtype=np.float64) for part in (said.prediction, said.uncertainty)]
    return Export(wide[0], wide[1], said.reliability.astype(np.float64))


@single_threaded_blas()
def export_unprotected(
    teacher: FittedTeacher,
    table: LabelledCompounds,
    federation: Federation,
    options: TrainingOptions,
    public: Compounds,
) -> dict[str, Export]:
    """What the same settings give without cross-fitting, rounding, and guard, by task.

    One model of all compounds labels the public set; reliability comes from the similarity to the
    training compounds, whoever they are, and that to the nearest one is exported beside it.
    """
    library = teacher.model.library
    found = {}
    for task_model in teacher.model.task_models:
        name = task_model.task.name
        rows, values = table.labels.column(federation.task_index(name))
        said = _say_all(task_model, library, rows, values, options, public)
        student = student_of(options)
        if (
            student is not None
            and task_model.task in student.tasks
            and not task_model.task.is_classification
        ):
            said = _correct_all(said, task_model, library, values, student, public)
        found[name] = said
    return found


def _correct_all(
    said: Export,
    task_model: TaskModel,
    library: Compounds,
    values: np.ndarray,
    student: TrainedModel,
    public: Compounds,
) -> Export:
    """The same in correction of a student: one model of what it leaves of all compounds."""
    task, rows = task_model.task, task_model.rows
    left = student_residuals(student, task, library.take(rows), values)
    learner = residual_learner(student, task).fit(library, rows, left, False, 0)
    numbers = student_numbers(student, task, public)[:, 0] + learner.score(public, library)
    return replace(said, prediction=np.clip(numbers, task.low, task.high)[:, None])


def _say_all(
    task_model: TaskModel,
    library: Compounds,
    rows: np.ndarray,
    values: np.ndarray,
    options: TrainingOptions,
    public: Compounds,
) -> Export:
    task = task_model.task
    targets = output_targets(task, values)
    scores = []
    for output in range(targets.shape[1]):
        estimator = LEARNERS[choose_learner(options.learner, len(rows))]()
        estimator.fit(
            library, rows, targets[:, output], task.is_classification, options.seed + output
        )
        scores.append(estimator.score(public, library))
    usual = [
        _mean_platt([m.calibrations[i] for m in task_model.members]) for i in range(len(scores))
    ]
    each = np.stack([m.predict(task, public, library) for m in task_model.members])
    references = library.fingerprints[rows]
    near = neighbour_similarity(public.fingerprints, references, DOMAIN_NEIGHBOURS)
    slope = float(np.mean([member.reliability.slope for member in task_model.members]))
    return Export(
        calibrated(task, scores, usual),
        each.std(axis=0),
        ReliabilityMap(slope)(near),
        neighbour_similarity(public.fingerprints, references, 1).astype(np.float64),
    )


def _mean_platt(each: Sequence[Platt]) -> Platt:
    slope = float(np.mean([one.slope for one in each]))
    return Platt(slope, float(np.mean([one.intercept for one in each])))
