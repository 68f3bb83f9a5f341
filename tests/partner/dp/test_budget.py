"""How many queries a budget affords, worked out before anybody looks at private data."""

from __future__ import annotations

import pytest

from fluid.exchange.noise_mechanism import Mechanism
from fluid.learn.task import Task
from fluid.partner.dp.accounting import BudgetError, epsilon_of
from fluid.partner.dp.budget import events_of, plan_release, rank_queries

BBB = Task("bbb", "binary")
LOGBB = Task("logbb", "regression", low=-4.0, high=4.0)
KIND = Task("kind", "multiclass", classes=("a", "b", "c"))
PATE = Mechanism("pate", epsilon=4.0, unit="measurement", sub_teachers=20)
MANY = 10_000


@pytest.mark.parametrize(
    "mechanism",
    [
        PATE,
        Mechanism("pate", epsilon=2.0, sigma=10.0, threshold=0.0),
    ],
)
def test_a_plan_keeps_within_the_budget_and_not_one_label_more(mechanism: Mechanism) -> None:
    plan = plan_release(mechanism, [BBB], MANY)
    assert 0 < plan.answered["bbb"] <= plan.asked["bbb"] < MANY
    assert 0.8 * mechanism.epsilon < plan.cost.epsilon <= mechanism.epsilon
    assert plan.cost.queries == plan.asked["bbb"]
    _, more = events_of(mechanism, BBB, plan.answered["bbb"] + 1, MANY)
    assert epsilon_of(more, mechanism.delta) > mechanism.epsilon


def test_a_second_release_counts_against_the_same_budget() -> None:
    first = plan_release(PATE, [BBB], 20)
    assert first.answered["bbb"] < 20
    with pytest.raises(BudgetError, match=r"epsilon = 4 .* does not afford a single label"):
        plan_release(PATE, [BBB], 20, [first.cost])
    small = plan_release(PATE, [BBB], 2)
    rest = plan_release(PATE, [BBB], MANY, [small.cost])
    assert rest.answered["bbb"] < plan_release(PATE, [BBB], MANY).answered["bbb"]
    assert rest.cost.epsilon < rest.total.epsilon <= PATE.epsilon


def test_a_compound_has_one_budget_for_all_tasks_and_a_measurement_its_own() -> None:
    alone = plan_release(PATE, [BBB], MANY)
    both = plan_release(PATE, [BBB, LOGBB], MANY)
    assert both.answered["bbb"] == alone.answered["bbb"]
    shared = plan_release(Mechanism("pate", epsilon=4.0), [BBB, LOGBB], MANY)
    assert shared.answered["bbb"] == shared.answered["logbb"] < alone.answered["bbb"]
    assert shared.cost.epsilon <= 4.0


def test_a_budget_that_affords_all_labels_all() -> None:
    mechanism = Mechanism("pate", epsilon=1000.0, sigma=10.0, threshold=0.0)
    plan = plan_release(mechanism, [BBB], 200)
    assert plan.answered["bbb"] == plan.asked["bbb"] == 200
    # mu is 2: 400 counts, each moved by one under a noise of ten.
    assert plan.cost.epsilon == pytest.approx(11.0, rel=2e-2)


def test_releases_of_another_unit_are_not_added_up() -> None:
    cost = plan_release(Mechanism("pate", epsilon=3.0), [BBB], MANY).cost
    with pytest.raises(BudgetError, match="accounted by compound"):
        plan_release(PATE, [BBB], MANY, [cost])


def test_what_is_drawn() -> None:
    asked, (votes, checks) = events_of(PATE, KIND, 10, MANY)
    assert (asked, votes.count, votes.sigma, checks.count, checks.sigma) == (20, 20, 5.0, 20, 10.0)
    _, (means,) = events_of(PATE, LOGBB, 10, MANY)
    assert (means.count, means.sigma / means.sensitivity) == (10, 5.0)


def test_the_order_of_queries_depends_on_names_only() -> None:
    keys = [f"KEY-{number}" for number in range(50)]
    ranks = rank_queries(keys, "set aurora ")
    assert sorted(ranks.tolist()) == list(range(50))
    assert (rank_queries(keys[::-1], "set aurora ")[::-1] == ranks).all()
    assert (rank_queries(keys, "set borealis ") != ranks).any()
