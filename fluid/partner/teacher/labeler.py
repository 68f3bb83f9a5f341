"""Label public compounds with a teacher, each compound by the models of its own fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.exchange.federation import Federation
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.own_fold import (
    FoldPredictions,
    OwnFoldLabels,
    empty_labels,
    folds_of_repeats,
    label_own_fold,
    predict_own_folds,
)
from fluid.partner.disclosure_guard import disclose
from fluid.partner.dp.budget import Plan
from fluid.soft_labels.teacher_labels import TeacherLabels


class TeacherLabeler:
    """A teacher's own labels; a `fluid.partner.labeler.Labeler`.

    Parameters
    ----------
    model
        A cross-fitted teacher.
    secret
        The secret of its folds.
    federation
        Its tasks are labelled; the guard keeps to its policy, and to the partner's own.
    """

    def __init__(self, model: TrainedModel, secret: bytes, federation: Federation) -> None:
        self.model = model
        self.secret = secret
        self.federation = federation
        self.library = model.library.with_cache()
        self.library_folds = teacher_folds(model, secret, model.library)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy at a worker derives for itself what follows from the library."""
        return type(self), (self.model, self.secret, self.federation)

    def within(self, plan: Plan | None) -> Self:
        """The labeler itself: it draws no noise, and no plan limits it."""
        return self

    def recall(self, labels: Mapping[str, TeacherLabels]) -> None:
        """Do nothing: the labels of a chunk do not depend on those before."""

    def label(self, compounds: Compounds, jobs: int = 1) -> dict[str, TeacherLabels]:
        """See `fluid.partner.labeler.Labeler.label`."""
        known = {task_model.task.name: task_model for task_model in self.model.task_models}
        folds = teacher_folds(self.model, self.secret, compounds)
        # Every fold model of every task asks for the same features.
        compounds = compounds.with_cache()
        agreed = [known[task.name] for task in self.federation.tasks if task.name in known]
        predicted = predict_own_folds(agreed, self.library, compounds, folds, jobs)
        labels = {}
        for task in self.federation.tasks:
            # A task without a model has its columns all the same, empty: which columns there are
            # must not depend on a compound either.
            raw = empty_labels(len(compounds), len(task.outputs))
            if task.name in known:
                raw = self.label_task(known[task.name], compounds, folds, jobs, predicted)
            labels[task.name] = disclose(
                task, self.federation.in_force, raw, self.federation.policy
            )
        return labels

    def label_task(
        self,
        model: TaskModel,
        compounds: Compounds,
        folds: np.ndarray,
        jobs: int,
        predicted: FoldPredictions | None = None,
    ) -> OwnFoldLabels:
        """Label compounds in one task; the result has not passed the guard.

        Parameters
        ----------
        model
            The task's fold models.
        compounds, folds
            n compounds, and their folds as uint8 of shape (n_repeats, n).
        jobs
            Threads.
        predicted
            What the fold models predict, if it is known.
        """
        return label_own_fold(
            model,
            self.library,
            self.library_folds,
            compounds,
            folds,
            jobs,
            self.federation.in_force.neighbourhood,
            predicted,
        )


def teacher_folds(model: TrainedModel, secret: bytes, compounds: Compounds) -> np.ndarray:
    """Folds of compounds under a teacher's secret, uint8 of shape (n_repeats, n)."""
    training = model.card.training
    return folds_of_repeats(
        compounds,
        secret,
        int(training["repeats"]),
        int(training["folds"]),
        model.card.folds_by,
    )
