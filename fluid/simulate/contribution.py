"""What each partner brings to the student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import single_threaded_blas
from fluid.central.pooling import pool_task
from fluid.chem.compounds import Compounds
from fluid.learn.estimators.kernel import KernelRidge
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.task import Task
from fluid.learn.trained_on import digest_connectivities
from fluid.partner.table import LabelledCompounds
from fluid.simulate.predictions import TeacherResult
from fluid.simulate.semivalues import (
    NOTHING,
    Coalition,
    Contribution,
    Contributions,
    Utility,
    contributions,
)
from fluid.simulate.statistics import draw_weights, weighted_rmse, weighted_roc_auc
from fluid.soft_labels.targets import soft_targets, undo_shrinkage

LANDMARKS = 1500
_BLOCK = 2048
_AT_ONCE = 256


class Members(Protocol):
    """What is needed of a consortium; `fluid.simulate.consortium.Consortium` has it."""

    @property
    def partners(self) -> list[str]: ...

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    public: Compounds
    queries: Compounds
    tables: dict[str, LabelledCompounds]

    def teachers(self, partners: Sequence[str] | None = None) -> dict[str, TeacherResult]: ...


class ManyStudents:
    """Kernel-ridge students of many sets of labels of the same public compounds.

    A ridge regression is linear in its labels. So one matrix, which needs one factorisation, says
    how the label of each public compound moves the prediction of each query, and a student costs
    no more than its product with a column of labels. With one column that is
    `fluid.learn.estimators.kernel.KernelRidge` on as many landmarks.

    Parameters
    ----------
    public, queries
        n public compounds and m to be predicted. Holds m x n numbers.
    landmarks
        Fewer than the student's own learner uses rank partners as well.
    ridge
        See `KernelRidge`; by default its own.
    seed
        Of the landmarks.
    """

    @single_threaded_blas()
    def __init__(
        self,
        public: Compounds,
        queries: Compounds,
        landmarks: int = LANDMARKS,
        ridge: float | None = None,
        seed: int = 0,
    ) -> None:
        import scipy.linalg

        ridge = KernelRidge().ridge if ridge is None else ridge
        kernel = MixedKernel().fit(public)
        count = min(landmarks, len(public))
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(len(public), size=count, replace=False))
        basis = kernel.prepare(public.take(chosen))
        normal = ridge * kernel(basis, basis).astype(np.float64)
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
            float64 of shape (n, k). NaN, a compound without label, counts as the mean of its
            column: leaving it out would need a factorisation of its own. It pulls predictions
            nearby towards that mean, the more the more are missing.

        Returns
        -------
        numpy.ndarray
            float64 of shape (m, k); 0 for a column without any label.
        """
        known = np.isfinite(targets)
        centre = np.nan_to_num(targets).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return self._matrix.T @ np.where(known, targets - centre, 0.0) + centre


class StudentUtility:
    """The value of a coalition: what a student of its pooled labels is worth on test compounds.

    ROC-AUC for a binary task, minus the RMSE for regression. The student is a kernel ridge
    regression on landmarks, of pooled labels that are not sharpened.

    Parameters
    ----------
    consortium
        With teachers, whose annotations are pooled.
    task
        Binary or regression.
    truth
        Labels of the consortium's queries, shape (n_queries,); NaN where there is none.
    draws
        Bootstrap samples of the test compounds; the same for every coalition.
    landmarks
        See `ManyStudents`.
    seed
        Of landmarks and bootstrap.

    Attributes
    ----------
    active
        Partners whose teacher labels anything; the others bring nothing, by definition.
    unlabelled
        By coalition: public compounds that it left without label, see `ManyStudents.fit_many`.

    Raises
    ------
    TrainingError
        If the task has several classes, or no test compound a label, or all the same class.
    """

    def __init__(
        self,
        consortium: Members,
        task: Task,
        truth: np.ndarray,
        draws: int = 200,
        landmarks: int = LANDMARKS,
        seed: int = 0,
    ) -> None:
        if task.kind == "multiclass":
            raise TrainingError(f"task '{task.name}' is multiclass; allowed are binary, regression")
        rows = np.flatnonzero(np.isfinite(truth))
        if len(np.unique(truth[rows])) < 2:
            raise TrainingError(f"task '{task.name}': the test compounds have no two labels")
        self.task = task
        self.truth = truth[rows]
        said = {name: made.said for name, made in consortium.teachers().items()}
        self._said = {
            name: by[task.name]
            for name, by in sorted(said.items())
            if task.name in by and np.isfinite(by[task.name].reliability).any()
        }
        self.active = list(self._said)
        self.unlabelled: dict[Coalition, int] = {}
        self._n_public = len(consortium.public)
        self._digests = digest_connectivities(consortium.public)
        queries = consortium.queries.take(rows)
        self._students = ManyStudents(consortium.public, queries, landmarks, seed=seed)
        everything = np.ones((1, len(rows)))
        self._weights = np.vstack([everything, draw_weights(len(rows), draws, seed)])

    def __call__(self, coalitions: Sequence[Coalition]) -> np.ndarray:
        """See `Utility`. Nobody's value is an AUC of 0.5, or minus the RMSE of the mean truth."""
        values = np.empty((len(self._weights), len(coalitions)))
        for start in range(0, len(coalitions), _AT_ONCE):
            part = coalitions[start : start + _AT_ONCE]
            told = self._students.fit_many(np.stack([self._targets(one) for one in part], axis=1))
            for number, members in enumerate(part):
                speaks = any(name in self._said for name in members)
                values[:, start + number] = self._value(told[:, number] if speaks else None)
        return values

    def _targets(self, members: Coalition) -> np.ndarray:
        """What a student of these partners learns, shape (n_public,)."""
        targets = np.full(self._n_public, np.nan)
        said = {name: self._said[name] for name in members if name in self._said}
        # Numbers are widened, for which a sample is needed.
        digests = None if self.task.is_classification else self._digests
        pooled = pool_task(self.task, said, {}, self._n_public, digests).labels
        rows = np.flatnonzero(np.isfinite(pooled.label[:, 0]))
        targets[rows] = soft_targets(self.task, undo_shrinkage(self.task, pooled, rows))[:, 0]
        self.unlabelled[members] = self._n_public - len(rows)
        return targets

    def _value(self, told: np.ndarray | None) -> np.ndarray:
        if self.task.is_classification:
            if told is None:
                return np.full(len(self._weights), 0.5)
            return weighted_roc_auc(self.truth == 1, told, self._weights)
        if told is None:
            told = np.full(len(self.truth), self.truth.mean())
        inside = np.clip(told, self.task.low, self.task.high)
        return -weighted_rmse(self.truth, inside, self._weights)


def coalition_values(
    consortium: Members,
    task: Task,
    truth: np.ndarray,
    utility: Utility | None = None,
    permutations: int = 200,
    draws: int = 200,
    landmarks: int = LANDMARKS,
    seed: int = 0,
) -> Contributions:
    """What each partner of a consortium brings to the student of a task.

    Parameters
    ----------
    consortium, task, truth, draws, landmarks, seed
        See `StudentUtility`.
    utility
        Another value of coalitions of all partners.
    permutations
        See `contributions`.

    Returns
    -------
    Contributions
        Of every partner. One whose teacher could not be trained, or knows nothing of the task,
        brings 0, and is in no coalition of `values`.
    """
    if utility is not None:
        return contributions(consortium.partners, utility, permutations, seed)
    student = StudentUtility(consortium, task, truth, draws, landmarks, seed)
    found = contributions(student.active, student, permutations, seed)
    nothing = Contribution(NOTHING, NOTHING, NOTHING)
    by_partner = {name: found.by_partner.get(name, nothing) for name in consortium.partners}
    return Contributions(by_partner, found.everybody, found.nobody, found.values, found.exact)
