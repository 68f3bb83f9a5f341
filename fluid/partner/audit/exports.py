"""What a teacher exports: as the policy has it, and unprotected, for comparison."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import single_threaded_blas
from fluid.base.run import Run
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import neighbour_similarity
from fluid.exchange.base_student import student_numbers
from fluid.exchange.federation import Federation
from fluid.learn.calibration import Platt
from fluid.learn.crossfit import calibrated, output_targets
from fluid.learn.estimators import LEARNERS, choose_learner
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.reliability import DOMAIN_NEIGHBOURS, ReliabilityMap
from fluid.partner.dp.budget import plan_release, rank_queries
from fluid.partner.dp.pate import SubTeachers, fit_sub_teachers
from fluid.partner.dp.pate_labeler import PateLabeler
from fluid.partner.labeler import Labeler
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher.fit import TrainingOptions, fit_model
from fluid.partner.teacher.labeler import TeacherLabeler
from fluid.partner.teacher.residuals import (
    MeasuredLabels,
    ResidualLabeler,
    residual_learner,
    student_residuals,
)
from fluid.soft_labels.teacher_labels import TeacherLabels

# Kinds of export: as the policy has it, and without any protection.
ACTUAL, UNPROTECTED = "actual", "unprotected"
# A teacher that starts from a student exported labels without it before; and both files together.
FIRST, BOTH = "first release", "both releases"
# What is out once the annotation is.
RELEASED = (ACTUAL, BOTH)


@dataclass(frozen=True)
class TeacherRecipe:
    """How a partner trains its teacher, and what the teacher may export.

    Attributes
    ----------
    federation
        Its contract. What counts is the policy that the partner keeps to.
    options
        How the teacher is trained.
    student
        The student whose residuals the teacher labels, or None.
    """

    federation: Federation
    options: TrainingOptions
    student: TrainedModel | None = None


@dataclass(frozen=True)
class ReadyTeacher:
    """A teacher with all that it needs to label compounds.

    Attributes
    ----------
    recipe
        How it was trained.
    table
        The compounds and labels it was trained on.
    secret
        The secret of its folds.
    model
        The model itself.
    """

    recipe: TeacherRecipe
    table: LabelledCompounds
    secret: bytes
    model: TrainedModel

    def make_labeler(self, jobs: int) -> TeacherLabeler:
        """What labels compounds by this teacher, before any noise is drawn."""
        plain = TeacherLabeler(self.model, self.secret, self.recipe.federation)
        if self.recipe.student is None:
            return plain
        measured = {
            task.name: _learned(self.table, self.recipe.federation.task_index(task.name))
            for task in self.model.tasks
        }
        return ResidualLabeler.fit(plain, measured, self.recipe.student, jobs)


@dataclass(frozen=True)
class Export:
    """The exported columns of one task for n compounds.

    Attributes
    ----------
    prediction, uncertainty
        Shape (n, n_outputs); NaN where there is no label.
    reliability
        Shape (n,); NaN likewise.
    similarity
        Tanimoto similarity to the nearest training compound, shape (n,); None where it is not
        exported.
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
        """The exports of some teachers."""
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
    recipe: TeacherRecipe, table: LabelledCompounds, secret: bytes, jobs: int
) -> ReadyTeacher | None:
    """Train a teacher as a partner would; None if the labels do not suffice."""
    # Hundreds of shadows can have too few labels for a task: not worth a warning each.
    log = logging.getLogger(fit_model.__module__)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        fitted = fit_model(
            table, recipe.federation, "shadow", secret, options=recipe.options, run=Run(jobs=jobs)
        )
    except TrainingError:
        return None
    finally:
        log.setLevel(level)
    return ReadyTeacher(recipe, table, secret, fitted.model)


def export_actual(teacher: ReadyTeacher, public: Compounds, jobs: int) -> dict[str, Export]:
    """What the policy lets a teacher export, by task; with noise if the mechanism draws it."""
    federation = teacher.recipe.federation
    labeler: Labeler = teacher.make_labeler(jobs)
    mechanism = federation.mechanism
    if mechanism.is_used:
        voters = fit_sub_teachers(teacher.table, teacher.model, federation, teacher.secret, jobs)
        ranks = rank_queries(list(public.inchikeys), "audit ")
        plan = plan_release(mechanism, teacher.model.tasks, len(public))
        labeler = PateLabeler(federation, SubTeachers(voters, teacher.secret), ranks, plan)
    labels = labeler.label(public, jobs)
    return {name: _export(one) for name, one in labels.items()}


def export_first(teacher: ReadyTeacher, public: Compounds, jobs: int) -> dict[str, Export]:
    """What a teacher that starts from a student exported before, without the student.

    Only the tasks in which the student makes a difference. Empty if there is no student, or if the
    policy draws noise, which is counted release by release.
    """
    federation, student = teacher.recipe.federation, teacher.recipe.student
    if student is None or federation.mechanism.is_used:
        return {}
    names = {task.name for task in student.tasks if not task.is_classification}
    labels = TeacherLabeler(teacher.model, teacher.secret, federation).label(public, jobs)
    return {name: _export(one) for name, one in labels.items() if name in names}


def _export(labels: TeacherLabels) -> Export:
    wide = [np.asarray(part, dtype=np.float64) for part in (labels.prediction, labels.uncertainty)]
    return Export(wide[0], wide[1], labels.reliability.astype(np.float64))


@single_threaded_blas()
def export_unprotected(teacher: ReadyTeacher, public: Compounds) -> dict[str, Export]:
    """What the same settings give without cross-fitting, rounding, and guard, by task.

    One model of all compounds labels the public set. Reliability comes from the similarity to the
    training compounds, whoever they are, and the similarity to the nearest one is exported too.
    """
    recipe, library = teacher.recipe, teacher.model.library
    student = recipe.student
    found = {}
    for task_model in teacher.model.task_models:
        task = task_model.task
        learned = _learned(teacher.table, recipe.federation.task_index(task.name))
        export = _export_whole(task_model, library, learned, recipe.options, public)
        if student is not None and task in student.tasks and not task.is_classification:
            export = _add_residuals(export, task_model, library, learned, student, public)
        found[task.name] = export
    return found


def _learned(table: LabelledCompounds, task: int) -> MeasuredLabels:
    """What a teacher learns of a task."""
    _, values, signs = table.labels.column_with_signs(task)
    return MeasuredLabels(values, signs)


def _add_residuals(
    export: Export,
    task_model: TaskModel,
    library: Compounds,
    learned: MeasuredLabels,
    student: TrainedModel,
    public: Compounds,
) -> Export:
    """The export of the student's numbers plus one model of its residuals on all compounds."""
    task, rows = task_model.task, task_model.rows
    residuals = student_residuals(student, task, library.take(rows), learned)
    learner = residual_learner(student, task)
    learner.fit(library, rows, residuals, False, 0, signs=learned.signs)
    numbers = student_numbers(student, task, public)[:, 0] + learner.score(public, library)
    return replace(export, prediction=np.clip(numbers, task.low, task.high)[:, None])


def _export_whole(
    task_model: TaskModel,
    library: Compounds,
    learned: MeasuredLabels,
    options: TrainingOptions,
    public: Compounds,
) -> Export:
    """The export of one model of all labelled compounds."""
    task, rows = task_model.task, task_model.rows
    targets = output_targets(task, learned.values)
    scores = []
    for output in range(targets.shape[1]):
        estimator = LEARNERS[choose_learner(options.learner, len(rows))]()
        estimator.fit(
            library,
            rows,
            targets[:, output],
            task.is_classification,
            options.seed + output,
            learned.signs,
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
