"""What each partner brings to the student, and what each teacher is good for at other partners."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from fluid.base.errors import TrainingError
from fluid.base.jobs import single_threaded_blas
from fluid.central.pooling import pool_task
from fluid.central.student import soft_targets
from fluid.chem.compounds import Compounds
from fluid.exchange.federated_set import widen
from fluid.learn.estimators.kernel import KernelRidge
from fluid.learn.estimators.mixed_kernel import MixedKernel
from fluid.learn.metrics import interval
from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds
from fluid.simulate.statistics import draw_weights, weighted_rmse, weighted_roc_auc
from fluid.simulate.told import TeacherResult

MOST_EXACT = 10
LANDMARKS = 1500
_BLOCK = 2048
_AT_ONCE = 256

Coalition = tuple[str, ...]
# The values of coalitions (each a tuple of names, ascending): float64 of shape (1 + draws, k),
# the first row of all test compounds, the others of bootstrap samples of them.
Utility = Callable[[Sequence[Coalition]], np.ndarray]


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


@dataclass(frozen=True)
class Contribution:
    """What one partner brings, in units of the value; positive is good.

    Attributes
    ----------
    shapley, low, high
        Shapley value: the partner's mean gain over all orders in which partners could join; and
        its 95% bootstrap interval over test compounds.
    error
        Standard error from sampling orders; 0 if all coalitions were tried.
    leave_one_out, leave_one_out_low, leave_one_out_high
        Value of everybody less that of everybody else, and its interval.
    """

    shapley: float
    low: float
    high: float
    error: float
    leave_one_out: float
    leave_one_out_low: float
    leave_one_out_high: float


@dataclass(frozen=True)
class Contributions:
    """What all partners bring.

    Attributes
    ----------
    by_partner
        Shapley values sum to `everybody` - `nobody`.
    everybody, nobody
        Values of all partners together, and of none.
    values
        The value of every coalition that was tried.
    exact
        Whether these are all there are.
    """

    by_partner: dict[str, Contribution]
    everybody: float
    nobody: float
    values: dict[Coalition, float]
    exact: bool


def contributions(
    partners: Sequence[str],
    utility: Utility,
    permutations: int = 200,
    seed: int = 0,
    most_exact: int = MOST_EXACT,
) -> Contributions:
    """Shapley values (1953, doi 10.1515/9781400881970-018) and leave-one-out values.

    Up to `most_exact` partners all coalitions are tried. Beyond that, gains are averaged over
    random orders (Castro et al. 2009, doi 10.1016/j.cor.2008.04.004): the values still sum to
    what all bring together, and each has a standard error.

    Parameters
    ----------
    partners
        Names, two or more orders of which do not matter.
    utility
        Values of coalitions; called once, with each coalition once.
    permutations
        Orders that are sampled, 2 or more.
    seed
        Of the orders, not negative.
    most_exact
        Largest number of partners for which all coalitions are tried.
    """
    names = sorted(partners)
    n = len(names)
    exact = n <= most_exact
    orders = np.zeros((0, n), dtype=np.int64)
    if exact:
        wanted = [one for size in range(n + 1) for one in combinations(names, size)]
    else:
        rng = np.random.default_rng(seed)
        orders = np.stack([rng.permutation(n) for _ in range(permutations)])
        prefixes = {_members(names, order[:k]) for order in orders for k in range(n + 1)}
        without = {_members(names, np.delete(np.arange(n), k)) for k in range(n)}
        wanted = sorted(prefixes | without, key=lambda one: (len(one), one))
    values = utility(wanted)
    place = {one: number for number, one in enumerate(wanted)}
    everybody = values[:, place[tuple(names)]]
    gains = [
        everybody - values[:, place[_members(names, np.delete(np.arange(n), k))]] for k in range(n)
    ]
    if exact:
        shapley = values @ _shapley_matrix(names, wanted)
        errors = np.zeros(n)
    else:
        shapley, errors = _sampled(names, orders, values, place)
    by_partner = {}
    for k, name in enumerate(names):
        by_partner[name] = Contribution(
            float(shapley[0, k]), *_interval(shapley[1:, k]), float(errors[k]),
            float(gains[k][0]), *_interval(gains[k][1:]),
        )  # fmt: skip
    return Contributions(
        by_partner, float(everybody[0]), float(values[0, place[()]]),
        {one: float(values[0, number]) for one, number in place.items()}, exact,
    )  # fmt: skip


def _interval(samples: np.ndarray) -> tuple[float, float]:
    return interval(samples) if len(samples) else (float("nan"), float("nan"))


def _members(names: Sequence[str], chosen: np.ndarray) -> Coalition:
    return tuple(names[k] for k in np.sort(chosen))


def _shapley_matrix(names: Sequence[str], coalitions: Sequence[Coalition]) -> np.ndarray:
    """The Shapley value as a linear map of all coalitions' values, shape (2^n, n)."""
    n = len(names)
    matrix = np.zeros((len(coalitions), n))
    for row, members in enumerate(coalitions):
        size = len(members)
        for column, name in enumerate(names):
            others = size - 1 if name in members else size
            weight = 1.0 / (n * math.comb(n - 1, others)) if others < n else 0.0
            matrix[row, column] = weight if name in members else -weight
    return matrix


def _sampled(
    names: Sequence[str], orders: np.ndarray, values: np.ndarray, place: Mapping[Coalition, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean gains over orders, shape (1 + draws, n), and the standard errors of the first row."""
    n = len(names)
    total = np.zeros((len(values), n))
    first = np.zeros((len(orders), n))
    for number, order in enumerate(orders):
        steps = values[:, [place[_members(names, order[:k])] for k in range(n + 1)]]
        gained = np.diff(steps, axis=1)
        total[:, order] += gained
        first[number, order] = gained[0]
    spread = first.std(axis=0, ddof=1) if len(orders) > 1 else np.full(n, np.nan)
    return total / len(orders), spread / np.sqrt(len(orders))


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
    regression on landmarks.

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
        pooled = pool_task(self.task, said, {}, self._n_public)
        rows = np.flatnonzero(np.isfinite(pooled.label[:, 0]))
        targets[rows] = soft_targets(self.task, widen(self.task, pooled, rows))[:, 0]
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
    nothing = Contribution(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    by_partner = {name: found.by_partner.get(name, nothing) for name in consortium.partners}
    return Contributions(by_partner, found.everybody, found.nobody, found.values, found.exact)


@dataclass(frozen=True)
class CrossDomain:
    """How each teacher does on each partner's compounds.

    Attributes
    ----------
    teachers, partners
        Names of rows and columns.
    values
        ROC-AUC or RMSE, shape (n_teachers, n_partners); NaN where it is not defined. On a
        teacher's own compounds it is of predictions out of fold.
    counts
        int64, same shape: compounds it was measured on.
    """

    teachers: list[str]
    partners: list[str]
    values: np.ndarray
    counts: np.ndarray


def cross_domain(consortium: Members, task: Task) -> CrossDomain:
    """Every teacher on every partner's labelled compounds.

    Compounds that a teacher was trained on do not count for it at another partner.

    Parameters
    ----------
    consortium
        Its queries must be, or include, all partners' compounds: made with
        ``queries=concatenate([table.compounds for table in tables.values()])``.
    task
        Binary or regression.

    Raises
    ------
    TrainingError
        If the task has several classes, or a partner's compound is not among the queries.
    """
    if task.kind == "multiclass":
        raise TrainingError(f"task '{task.name}' is multiclass; allowed are binary, regression")
    position = {key: row for row, key in enumerate(consortium.queries.connectivities)}
    index = [one.name for one in consortium.tasks].index(task.name)
    made = consortium.teachers()
    names = [name for name in sorted(made) if task.name in made[name].told]
    partners = consortium.partners
    values = np.full((len(names), len(partners)), np.nan)
    counts = np.zeros(values.shape, dtype=np.int64)
    for i, teacher in enumerate(names):
        own = consortium.tables[teacher].compounds.connectivities
        for j, partner in enumerate(partners):
            if partner == teacher:
                found = made[teacher].out_of_fold[task.name]
                truth, told = found.truth, found.values[:, 0]
            else:
                table = consortium.tables[partner]
                rows, truth = table.labels.column(index)
                keys = table.compounds.connectivities[rows]
                unseen = ~np.isin(keys, own)
                truth = truth[unseen]
                try:
                    where = [position[key] for key in keys[unseen]]
                except KeyError as error:
                    raise TrainingError(
                        f"partner '{partner}': compound {error} is not among the queries"
                    ) from error
                told = made[teacher].told[task.name].values[where, 0]
            known = np.isfinite(told)
            values[i, j] = _score(task, truth[known], told[known])
            counts[i, j] = known.sum()
    return CrossDomain(names, partners, values, counts)


def _score(task: Task, truth: np.ndarray, told: np.ndarray) -> float:
    if not len(truth):
        return float("nan")
    everything = np.ones((1, len(truth)))
    if task.is_classification:
        return float(weighted_roc_auc(truth == 1, told, everything)[0])
    return float(weighted_rmse(truth, told, everything)[0])
