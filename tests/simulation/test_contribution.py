"""What partners add: the axioms of semivalues, and a consortium small enough to redo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fluid.base.errors import TrainingError
from fluid.central.pooling import pool_task
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.exchange.federation import Federation
from fluid.learn.estimators import sigmoid
from fluid.learn.estimators.kernel import KernelRidge
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds
from fluid.simulation.consortium import Consortium
from fluid.simulation.contribution import (
    ContributionOptions,
    ManyStudents,
    StudentUtility,
    coalition_values,
)
from fluid.simulation.cross_domain import cross_domain
from fluid.simulation.predictions import LabelledPrediction, QueryPrediction, TeacherResult
from fluid.simulation.rounds import SimulatedRound
from fluid.simulation.semivalues import Coalition, Contributions, Utility, contributions
from fluid.soft_labels.targets import soft_targets
from fluid.soft_labels.teacher_labels import TeacherLabels

BINARY = Task("active", "binary")
NUMBER = Task("logd", "regression", low=-5.0, high=5.0)
THREE = Task("class", "multiclass", classes=("low", "middle", "high"))


def game(worth: dict[str, float], together: float = 0.0, draws: int = 0) -> Utility:
    """Partners add what they are worth; 'a' and 'b' together add something more."""

    def utility(coalitions: Sequence[Coalition]) -> np.ndarray:
        each = [
            10.0 + sum(worth[name] for name in one) + together * ({"a", "b"} <= set(one))
            for one in coalitions
        ]
        noise = np.random.default_rng(0).normal(size=(1 + draws, len(each)))
        noise[0] = 0.0
        return np.array(each) + 0.01 * noise

    return utility


# --- the game ---------------------------------------------------------------------------------


def test_worked_by_hand() -> None:
    found = contributions(["b", "a", "c"], game({"a": 1.0, "b": 2.0, "c": 4.0}, together=6.0))
    assert found.exact
    # The 6 are shared by two.
    assert [found.by_partner[name].shapley.value for name in "abc"] == pytest.approx([4, 5, 4])
    assert [found.by_partner[name].banzhaf.value for name in "abc"] == pytest.approx([4, 5, 4])
    left_out = [found.by_partner[name].leave_one_out.value for name in "abc"]
    assert left_out == pytest.approx([7, 8, 4])
    assert (found.everybody, found.nobody) == pytest.approx((23.0, 10.0))
    assert len(found.values) == 8
    assert found.values["a", "c"] == pytest.approx(15.0)


def any_game(seed: int, n: int) -> Utility:
    """A value drawn for each coalition; 'p0' and 'p1' are alike, 'null' adds nothing."""
    rng = np.random.default_rng(seed)
    drawn: dict[Coalition, float] = {}

    def utility(coalitions: Sequence[Coalition]) -> np.ndarray:
        values = []
        for one in coalitions:
            twins = sum(name in ("p0", "p1") for name in one)
            rest = tuple(name for name in one if name not in ("p0", "p1", "null"))
            values.append(drawn.setdefault((str(twins), *rest), float(rng.normal())))
        return np.array([values])

    return utility


@pytest.mark.parametrize("seed", range(5))
def test_axioms(seed: int) -> None:
    names = ["null", *(f"p{k}" for k in range(5))]
    utility = any_game(seed, len(names))
    found = contributions(names, utility)
    values = {name: one.shapley.value for name, one in found.by_partner.items()}
    banzhaf = {name: one.banzhaf.value for name, one in found.by_partner.items()}
    assert sum(values.values()) == pytest.approx(found.everybody - found.nobody)
    assert values["p0"] == pytest.approx(values["p1"])
    assert banzhaf["p0"] == pytest.approx(banzhaf["p1"])
    assert values["null"] == pytest.approx(0.0, abs=1e-12)
    assert banzhaf["null"] == pytest.approx(0.0, abs=1e-12)
    assert found.by_partner["null"].leave_one_out.value == pytest.approx(0.0)
    # The definition: the mean gain over all orders.
    gains = dict.fromkeys(names, 0.0)
    for order in permutations(names):
        for k, name in enumerate(order):
            before = tuple(sorted(order[:k]))
            gains[name] += found.values[tuple(sorted([*before, name]))] - found.values[before]
    for name in names:
        assert values[name] == pytest.approx(gains[name] / 720)
        # Banzhaf's: the mean gain over all 32 coalitions of the others.
        left_out = [one for one in found.values if name not in one]
        gained = [found.values[tuple(sorted([*one, name]))] - found.values[one] for one in left_out]
        assert len(gained) == 32
        assert banzhaf[name] == pytest.approx(np.mean(gained))


def test_sampled_orders_agree_with_all_coalitions() -> None:
    names = [f"p{k}" for k in range(6)]
    utility = any_game(1, 6)
    exact = contributions(names, utility)
    sampled = contributions(names, utility, permutations=1500, most_exact=0)
    assert exact.exact
    assert not sampled.exact
    total = sum(one.shapley.value for one in sampled.by_partner.values())
    assert total == pytest.approx(exact.everybody - exact.nobody)
    for name in names:
        one, other = sampled.by_partner[name], exact.by_partner[name]
        for mine, theirs in ((one.shapley, other.shapley), (one.banzhaf, other.banzhaf)):
            assert theirs.error == 0.0
            assert 0 < mine.error < 0.1
            assert abs(mine.value - theirs.value) < 4 * mine.error
        assert one.leave_one_out.value == pytest.approx(other.leave_one_out.value)


def test_many_partners_are_sampled() -> None:
    worth = {f"p{k:02d}": float(k) for k in range(15)}
    found = contributions(list(worth), game(worth), permutations=20)
    assert not found.exact
    # Partners add nothing to one another: every order gives the same.
    for name, value in worth.items():
        for gain in (found.by_partner[name].shapley, found.by_partner[name].banzhaf):
            assert gain.value == pytest.approx(value)
            assert gain.error == pytest.approx(0.0, abs=1e-9)


def test_intervals_are_of_the_draws() -> None:
    found = contributions(["a", "b"], game({"a": 1.0, "b": 2.0}, draws=2000))
    one, left_out = found.by_partner["a"].shapley, found.by_partner["a"].leave_one_out
    # Half of each of four values with a deviation of 0.01: 0.01 in all.
    assert (one.low, one.high) == pytest.approx((1 - 0.0196, 1 + 0.0196), abs=0.002)
    assert left_out.high - left_out.low > one.high - one.low
    assert np.isnan(contributions(["a"], game({"a": 1.0})).by_partner["a"].shapley.low)


def test_harm_that_is_done_alone_weighs_less_in_banzhafs_value() -> None:
    def utility(coalitions: Sequence[Coalition]) -> np.ndarray:
        alone = [-12.0 if one == ("niche",) else 0.0 for one in coalitions]
        always = [-3.5 if "noise" in one else 0.0 for one in coalitions]
        return np.array([np.add(alone, always)])

    found = contributions(["noise", "niche", "x", "y"], utility)
    niche, noise = found.by_partner["niche"], found.by_partner["noise"]
    # With four partners a quarter of the orders begin with 'niche', and one of the eight coalitions
    # of the others is empty. Whoever joins 'niche' alone undoes its harm: 'noise' as well.
    assert niche.shapley.value == pytest.approx(-12 / 4)
    assert noise.shapley.value == pytest.approx(-3.5 + 12 / 12)
    assert niche.banzhaf.value == pytest.approx(-12 / 8)
    assert noise.banzhaf.value == pytest.approx(-3.5 + 12 / 8)


# --- a small consortium -----------------------------------------------------------------------


def make_compounds(n: int, seed: int, first: int = 0) -> Compounds:
    rng = np.random.default_rng(seed)
    bits = (rng.random((n, 64)) < 0.3).astype(np.uint8)
    return Compounds(
        ids=np.array([f"c{first + row}" for row in range(n)], dtype=object),
        smiles=np.array(["C"] * n, dtype=object),
        inchikeys=np.array([f"{first + row:014d}-UHFFFAOYSA-N" for row in range(n)], dtype=object),
        fingerprints=np.packbits(bits, axis=1),
        environments=np.zeros(0, dtype=np.uint32),
        counts=np.zeros(0, dtype=np.uint8),
        offsets=np.zeros(n + 1, dtype=np.int64),
        descriptors=rng.normal(size=(n, 3)).astype(np.float32),
    )


def margin(compounds: Compounds) -> np.ndarray:
    return 2.0 * compounds.descriptors[:, 0].astype(np.float64)


def annotate(values: np.ndarray, task: Task) -> TeacherLabels:
    labels = (sigmoid(values) if task.is_classification else values).astype(np.float32)[:, None]
    reliability = np.where(np.isfinite(values), 0.4, np.nan).astype(np.float32)
    return TeacherLabels(labels, np.zeros_like(labels), reliability)


@dataclass
class Case:
    """Teachers that know the truth up to a noise of their own; 'idle' could train none."""

    labelled: SimulatedRound
    truth: np.ndarray

    @property
    def consortium(self) -> Consortium:
        return self.labelled.consortium


NOBODY = LabelledCompounds(
    make_compounds(0, 0),
    LabelMatrix(*(np.zeros(0, np.int64) for _ in range(5)), (0, 1)),  # type: ignore[call-arg]
    [],
    0,
)


def make_case(noise: dict[str, float], task: Task = BINARY, n_public: int = 300) -> Case:
    public, queries = make_compounds(n_public, 1), make_compounds(120, 2, first=10_000)
    rng = np.random.default_rng(3)
    labels = {}
    for name, spread in noise.items():
        values = margin(public) + spread * rng.normal(size=n_public)
        labels[name] = {task.name: annotate(values, task)}
    values = margin(queries) + 0.5 * rng.normal(size=120)
    truth = (values > 0).astype(float) if task.is_classification else values
    chemistry = Chemistry(StandardizerSpec(), FeatureSpec(), "any", "any")
    federation = Federation("made", 1, (task,), chemistry)
    tables = dict.fromkeys([*noise, "idle"], NOBODY)
    consortium = Consortium(tables, public, queries, federation)
    return Case(SimulatedRound.pool(consortium, labels), truth)


def values_of(case: Case, draws: int, landmarks: int = 50) -> Contributions:
    options = ContributionOptions(draws=draws, landmarks=landmarks)
    return coalition_values(case.labelled, case.consortium.tasks[0], case.truth, options)


def test_many_students_are_kernel_ridges() -> None:
    public, queries = make_compounds(90, 4), make_compounds(20, 5)
    targets = np.random.default_rng(6).normal(size=(90, 3)) + [0.0, 5.0, -2.0]
    found = ManyStudents(public, queries, landmarks=40, seed=7).fit_many(targets)
    for column in range(3):
        single = KernelRidge(n_landmarks=40, most_exact=50)
        single.fit(public, np.arange(90), targets[:, column], False, 7)
        assert found[:, column] == pytest.approx(single.score(queries, public), abs=1e-4)


def test_a_missing_label_counts_as_the_mean() -> None:
    public, queries = make_compounds(60, 4), make_compounds(20, 5)
    students = ManyStudents(public, queries, landmarks=60)
    targets = np.random.default_rng(8).normal(size=(60, 1))
    targets[:7] = np.nan
    filled = np.where(np.isnan(targets), np.nanmean(targets), targets)
    assert students.fit_many(targets) == pytest.approx(students.fit_many(filled))
    assert np.all(students.fit_many(np.full((60, 1), np.nan)) == 0.0)


def test_values_of_coalitions_redone() -> None:
    case = make_case({"a": 0.3, "b": 3.0})
    found = values_of(case, 20, landmarks=300)
    assert set(found.values) == {(), ("a",), ("b",), ("a", "b")}
    assert found.nobody == 0.5
    labels = {name: one["active"] for name, one in case.labelled.labels.items()}
    targets = soft_targets(BINARY, pool_task(BINARY, labels, 300).labels.label)
    student = KernelRidge(n_landmarks=300, most_exact=100)
    public = case.consortium.public
    student.fit(public, np.arange(300), targets[:, 0], False, 0)
    scores = student.score(case.consortium.queries, public)
    assert found.everybody == pytest.approx(roc_auc_score(case.truth, scores), abs=1e-3)
    # A partner that knows more adds more, and one without teacher adds nothing.
    better, worse = found.by_partner["a"].shapley, found.by_partner["b"].shapley
    assert better.value > worse.value
    assert better.low < better.value < better.high
    assert found.by_partner["idle"].shapley.value == 0.0
    assert list(found.by_partner) == ["a", "b", "idle"]


def test_where_nobody_knows_the_task_all_add_nothing() -> None:
    case = make_case({"a": 0.3})
    case.labelled.labels["a"]["active"].reliability[:] = np.nan
    found = values_of(case, 5)
    assert found.everybody == found.nobody == 0.5
    assert {one.shapley.value for one in found.by_partner.values()} == {0.0}


def test_identical_partners_add_the_same() -> None:
    case = make_case({"a": 0.5, "b": 1.0, "c": 1.0})
    labels = dict(case.labelled.labels)
    labels["c"] = labels["b"]
    case = replace(case, labelled=replace(case.labelled, labels=labels))
    found = values_of(case, 5).by_partner
    assert found["b"].shapley.value == pytest.approx(found["c"].shapley.value)
    assert found["b"].banzhaf.low == pytest.approx(found["c"].banzhaf.low)


def test_regression_and_unlabelled_compounds() -> None:
    case = make_case({"a": 0.3, "b": 0.3}, NUMBER)
    part = case.labelled.labels["b"]["logd"]
    part.prediction[:100], part.reliability[:100] = np.nan, np.nan
    truth = case.truth.copy()
    truth[:5] = np.nan
    options = ContributionOptions(draws=10, landmarks=100)
    utility = StudentUtility(case.labelled, NUMBER, truth, options)
    values = utility([(), ("b",), ("a", "b")])
    assert values.shape == (11, 3)
    assert values[0, 0] == pytest.approx(-float(np.nanstd(truth)))
    assert values[0, 2] > values[0, 1] > values[0, 0]
    assert utility.unlabelled == {(): 300, ("b",): 100, ("a", "b"): 0}


def test_refusals() -> None:
    case = make_case({"a": 0.3})
    with pytest.raises(TrainingError, match="multiclass"):
        StudentUtility(case.labelled, THREE, case.truth)
    for truth in (np.full(120, np.nan), np.ones(120)):
        with pytest.raises(TrainingError, match="at least two different labels"):
            StudentUtility(case.labelled, BINARY, truth)
    with pytest.raises(TrainingError, match="multiclass"):
        cross_domain(case.consortium, {}, THREE)


# --- at other partners ------------------------------------------------------------------------


def test_cross_domain() -> None:
    case = make_case({"a": 0.3, "b": 0.3})
    queries, truth = case.consortium.queries, case.truth
    # The queries are the compounds of all partners: a's are 0 to 69, b's 50 to 119.
    owned = {"a": np.arange(70), "b": np.arange(50, 120)}
    scores = margin(queries)
    tables, teachers = {}, {}
    for name, rows in owned.items():
        labels = LabelMatrix(
            np.arange(70), np.zeros(70, dtype=np.int64), truth[rows],
            np.zeros(70, dtype=np.int8), np.ones(70), (70, 1),
        )  # fmt: skip
        tables[name] = LabelledCompounds(queries.take(rows), labels, [], 70)
        sign = 1.0 if name == "a" else -1.0
        unknown = np.full(120, np.nan)
        own = LabelledPrediction(np.arange(70), truth[rows], sigmoid(scores[rows, None]), 0.5)
        teachers[name] = TeacherResult(
            {}, {"active": QueryPrediction(sigmoid(sign * scores)[:, None], 0.5, unknown)},
            {"active": own},
        )  # fmt: skip
    tables["idle"] = tables["b"]
    consortium = replace(case.consortium, tables=tables)
    found = cross_domain(consortium, teachers, BINARY)
    assert (found.teachers, found.partners) == (["a", "b"], ["a", "b", "idle"])
    # Compounds that both hold do not count at the other.
    assert found.counts.tolist() == [[70, 50, 50], [50, 70, 0]]
    unseen = roc_auc_score(truth[70:], scores[70:])
    assert found.values[0, 1] == pytest.approx(unseen)
    assert found.values[1, 0] == pytest.approx(1 - roc_auc_score(truth[:50], scores[:50]))
    assert found.values[1, 1] == pytest.approx(roc_auc_score(truth[50:], scores[50:]))
    assert np.isnan(found.values[1, 2])
    fewer = replace(consortium, queries=queries.take(np.arange(100)))
    with pytest.raises(TrainingError, match="is not among the queries"):
        cross_domain(fewer, teachers, BINARY)
