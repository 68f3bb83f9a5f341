"""A teacher that is ready to label public compounds, each by the models of its own fold."""

from __future__ import annotations

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.exchange.annotation import TaskAnnotation
from fluid.exchange.federation import Federation
from fluid.learn.model import TrainedModel
from fluid.learn.own_fold import OwnFoldLabels, folds_of_repeats, label_own_fold, silence
from fluid.partner.guard import disclose


class Teller:
    """A teacher ready to label public compounds; what it says has passed the guard.

    Parameters
    ----------
    model
        A teacher.
    secret
        Of its folds.
    """

    def __init__(self, model: TrainedModel, secret: bytes) -> None:
        self.model = model
        self.secret = secret
        self.n_folds = int(model.card.training["folds"])
        self.n_repeats = int(model.card.training["repeats"])
        self.library = model.library.remembering()
        self.library_folds = self._folds(model.library)

    def _folds(self, compounds: Compounds) -> np.ndarray:
        by = self.model.card.folds_by
        return folds_of_repeats(compounds, self.secret, self.n_repeats, self.n_folds, by)

    def __reduce__(self) -> tuple[type[Teller], tuple[TrainedModel, bytes]]:
        """A copy at a worker starts without what this one has derived."""
        return Teller, (self.model, self.secret)

    def annotate(
        self, federation: Federation, compounds: Compounds, jobs: int = 1
    ) -> dict[str, TaskAnnotation]:
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
        compounds = compounds.remembering()
        said: dict[str, OwnFoldLabels] = {}
        for task in federation.tasks:
            # A task without a model has its columns all the same, empty: which columns there are
            # must not depend on a compound either.
            found = silence(len(compounds), len(task.outputs))
            if task.name in known:
                found = label_own_fold(
                    known[task.name], self.library, self.library_folds, compounds, folds,
                    jobs, federation.in_force.neighbourhood,
                )  # fmt: skip
            said[task.name] = found
        return said
