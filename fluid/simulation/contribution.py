"""What each partner adds to the student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import single_threaded_blas
from fluid.central.pooling import pool_task
from fluid.chem.compounds import Compounds
from fluid.learn.estimators.kernel import KernelRidge
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.task import Task
from fluid.simulation.rounds import SimulatedRound
from fluid.simulation.semivalues import NO_CONTRIBUTION, Coalition, Contributions, contributions
from fluid.simulation.statistics import draw_weights, weighted_rmse, weighted_roc_auc
from fluid.soft_labels.targets import soft_targets, undo_shrinkage

_BLOCK = 2048
_AT_ONCE = 256


@dataclass(frozen=True)
class ContributionOptions:
    """How contributions are computed.

    Attributes
    ----------
    permutations
        Orders of partners that are sampled where there are too many for all coalitions; see
        `fluid.simulation.semivalues.contributions`.
    draws
        Bootstrap samples of the test compounds; the same for every coalition.
    landmarks
        Landmarks of the students, see `ManyStudents`.
    seed
        Of orders, landmarks and bootstrap, not negative.
    """

    permutations: int = 200
    draws: int = 200
    landmarks: int = 1500
    seed: int = 0


class ManyStudents:
    """Kernel-ridge students of many sets of labels of the same public compounds.

    A ridge regression is linear in its labels. One matrix, from one factorisation, maps the labels
    of all public compounds to the predictions of all queries, and a student costs no more than the
    product of this matrix with a column of labels. With one column that is
    `fluid.learn.estimators.kernel.KernelRidge` on as many landmarks.

    Parameters
    ----------
    public, queries
        n public compounds and m compounds to be predicted. The matrix has m x n numbers.
    landmarks
        Partners rank the same with fewer landmarks than the student's own learner uses.
    seed
        Of the landmarks, not negative.
    """

    @single_threaded_blas()
    def __init__(
        self, public: Compounds, queries: Compounds, landmarks: int, seed: int = 0
    ) -> None:
        import scipy.linalg

        kernel = MixedKernel().fit(public)
        count = min(landmarks, len(public))
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(len(public), size=count, replace=False))
        basis = kernel.prepare(public.take(chosen))
        normal = KernelRidge().ridge * kernel(basis, basis).astype(np.float64)
        normal[np.diag_indices(count)] += 1e-6 * len(public)
        blocks = []
        for start in range(0, len(public), _BLOCK):
            part = np.arange(start, min(start + _BLOCK, len(public)))
            blocks.append(kernel(kernel.prepare(public.take(part)), basis))
            wide = blocks[-1].astype(np.float64)
            normal += wide.T @ wide
        factor = scipy.linalg.cho_factor(normal, overwrite_a=True)
        solved = scipy.linalg.cho_solve(
            factor, kernel(basis, kernel.prepare(queries)).astype(np.float64)
        )
        self._matrix = np.concatenate([block.astype(np.float64) @ solved for block in blocks])

    @single_threaded_blas()
    def fit_many(self, targets: np.ndarray) -> np.ndarray:
        """Predictions of the queries by one student for each column of targets.

        Parameters
        ----------
        targets
            float64 of shape (n, k). NaN is a compound without label. It counts as the mean of its
            column, because leaving it out would need another factorisation; this pulls predictions
            nearby towards the mean.

        Returns
        -------
        numpy.ndarray
            float64 of shape (m, k); 0 for a column without any label.
        """
        known = np.isfinite(targets)
        centre = np.nan_to_num(targets).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return self._matrix.T @ np.where(known, targets - centre, 0.0) + centre


class StudentUtility:
    """The value of a coalition: how good a student of its pooled labels is on test compounds.

    The value is ROC-AUC for a binary task, and minus the RMSE for regression. The student is a
    kernel ridge regression on landmarks, of pooled labels without twicing.

    Parameters
    ----------
    labelled
        The round whose teacher labels are pooled; the queries of its consortium are predicted.
    task
        Binary or regression.
    truth
        Labels of the queries, shape (n_queries,); NaN where there is none.
    options
        Landmarks, bootstrap and seed.

    Attributes
    ----------
    active
        Partners whose teacher labels anything; the others add nothing, by definition.
    unlabelled
        By coalition: public compounds that it left without label, see `ManyStudents.fit_many`.

    Raises
    ------
    TrainingError
        If the task is multiclass, no test compound has a label, or all have the same.
    """

    def __init__(
        self,
        labelled: SimulatedRound,
        task: Task,
        truth: np.ndarray,
        options: ContributionOptions | None = None,
    ) -> None:
        options = options or ContributionOptions()
        if task.kind == "multiclass":
            raise TrainingError(f"task '{task.name}' is multiclass; allowed are binary, regression")
        rows = np.flatnonzero(np.isfinite(truth))
        if len(np.unique(truth[rows])) < 2:
            raise TrainingError(
                f"task '{task.name}': the test compounds need at least two different labels"
            )
        consortium = labelled.consortium
        self.task = task
        self.truth = truth[rows]
        self._labels = {
            name: by_task[task.name]
            for name, by_task in sorted(labelled.labels.items())
            if task.name in by_task and np.isfinite(by_task[task.name].reliability).any()
        }
        self.active = list(self._labels)
        self.unlabelled: dict[Coalition, int] = {}
        self._n_public = len(consortium.public)
        self._digests = consortium.connectivity_digests
        queries = consortium.queries.take(rows)
        self._students = ManyStudents(consortium.public, queries, options.landmarks, options.seed)
        everything = np.ones((1, len(rows)))
        drawn = draw_weights(len(rows), options.draws, options.seed)
        self._weights = np.vstack([everything, drawn])

    def __call__(self, coalitions: Sequence[Coalition]) -> np.ndarray:
        """Values of coalitions, see `fluid.simulation.semivalues.Utility`.

        The empty coalition has an AUC of 0.5, or the RMSE of predicting the mean truth.
        """
        values = np.empty((len(self._weights), len(coalitions)))
        for start in range(0, len(coalitions), _AT_ONCE):
            part = coalitions[start : start + _AT_ONCE]
            targets = np.stack([self._targets(members) for members in part], axis=1)
            predictions = self._students.fit_many(targets)
            for number, members in enumerate(part):
                labelled = any(name in self._labels for name in members)
                values[:, start + number] = (
                    self._value(predictions[:, number]) if labelled else self._value_of_nobody()
                )
        return values

    def _targets(self, members: Coalition) -> np.ndarray:
        """What a student of these partners learns, shape (n_public,)."""
        targets = np.full(self._n_public, np.nan)
        labels = {name: self._labels[name] for name in members if name in self._labels}
        # The slope of pooled numbers needs a sample.
        digests = None if self.task.is_classification else self._digests
        pooled = pool_task(self.task, labels, self._n_public, digests).labels
        rows = np.flatnonzero(np.isfinite(pooled.label[:, 0]))
        targets[rows] = soft_targets(self.task, undo_shrinkage(self.task, pooled, rows))[:, 0]
        self.unlabelled[members] = self._n_public - len(rows)
        return targets

    def _value(self, predictions: np.ndarray) -> np.ndarray:
        if self.task.is_classification:
            return weighted_roc_auc(self.truth == 1, predictions, self._weights)
        inside = np.clip(predictions, self.task.low, self.task.high)
        return -weighted_rmse(self.truth, inside, self._weights)

    def _value_of_nobody(self) -> np.ndarray:
        if self.task.is_classification:
            return np.full(len(self._weights), 0.5)
        return self._value(np.full(len(self.truth), self.truth.mean()))


def coalition_values(
    labelled: SimulatedRound,
    task: Task,
    truth: np.ndarray,
    options: ContributionOptions | None = None,
) -> Contributions:
    """What each partner of a consortium adds to the student of a task.

    Parameters
    ----------
    labelled, task, truth
        See `StudentUtility`.
    options
        How it is computed.

    Returns
    -------
    Contributions
        Of every partner. One whose teacher could not be trained, or knows nothing of the task,
        adds 0, and is in no coalition of `values`.
    """
    options = options or ContributionOptions()
    utility = StudentUtility(labelled, task, truth, options)
    found = contributions(utility.active, utility, options.permutations, options.seed)
    by_partner = {
        name: found.by_partner.get(name, NO_CONTRIBUTION) for name in labelled.consortium.partners
    }
    return Contributions(by_partner, found.everybody, found.nobody, found.values, found.exact)
