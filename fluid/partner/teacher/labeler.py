"""A teacher that is ready to label public compounds, each by the models of its own fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import OwnFoldLabels, empty_labels, folds_of_repeats, label_own_fold
from fluid.partner.guard import disclose
from fluid.partner.teacher.residuals import ResidualModels, fit_residuals
from fluid.soft_labels.teacher_labels import TeacherLabels


class TeacherLabeler:
    """A teacher ready to label public compounds; what it says has passed the guard.

    Parameters
    ----------
    model
        A teacher.
    secret
        Of its folds.
    student, measured
        A student whose numbers it corrects, and its own measured labels by task, in the order of
        the tasks' ``rows``; without a student it labels by itself.
    jobs
        Threads to learn corrections with.
    """

    def __init__(
        self,
        model: TrainedModel,
        secret: bytes,
        student: TrainedModel | None = None,
        measured: Mapping[str, np.ndarray] | None = None,
        jobs: int = 1,
    ) -> None:
        self.model = model
        self.secret = secret
        self.n_folds = int(model.card.training["folds"])
        self.n_repeats = int(model.card.training["repeats"])
        self.library = model.library.with_cache()
        self.library_folds = self._folds(model.library)
        self.correction: ResidualModels | None = None
        if student is not None:
            self.correction = fit_residuals(
                model, measured or {}, self.library_folds, student, jobs
            )

    def _folds(self, compounds: Compounds) -> np.ndarray:
        by = self.model.card.folds_by
        return folds_of_repeats(compounds, self.secret, self.n_repeats, self.n_folds, by)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy at a worker starts without what this one has derived of the library."""
        return _revive, (self.model, self.secret, self.correction)

    def annotate(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, TeacherLabels]:
        """What may be said of some compounds, by task of the federation."""
        found = self.label(federation, compounds, jobs)
        return {
            task.name: disclose(task, federation.in_force, found[task.name], federation.policy)
            for task in federation.tasks
        }

    def label(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, OwnFoldLabels]:
        """What the models of the compounds' own folds say: not yet fit to leave."""
        known = {task_model.task.name: task_model for task_model in self.model.task_models}
        folds = self._folds(compounds)
        # Every fold model of every task asks for the same features.
        compounds = compounds.with_cache()
        said: dict[str, OwnFoldLabels] = {}
        for task in federation.tasks:
            # A task without a model has its columns all the same, empty: which columns there are
            # must not depend on a compound either.
            found = empty_labels(len(compounds), len(task.outputs))
            if task.name in known:
                asked = known[task.name]
                if self.correction is not None:
                    asked = self.correction.asked(asked)
                found = label_own_fold(
                    asked, self.library, self.library_folds, compounds, folds,
                    jobs, federation.in_force.neighbourhood,
                )  # fmt: skip
                if self.correction is not None:
                    found = self.correction.added(task, compounds, found)
            said[task.name] = found
        return said


def _revive(
    model: TrainedModel, secret: bytes, correction: ResidualModels | None
) -> TeacherLabeler:
    made = TeacherLabeler(model, secret)
    made.correction = correction
    return made
