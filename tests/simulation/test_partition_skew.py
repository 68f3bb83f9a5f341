"""Partners that are unlike by scaffold, by label, or by a column of the table."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.exchange.federation import check_partner_name
from fluid.learn.task import Task
from fluid.simulation import partition as module
from fluid.simulation.partition import Part, divide
from fluid.simulation.partition_spec import PartitionError, PartitionSpec
from tests.simulation.made_parts import (
    MIXED,
    NUMBER,
    TASK,
    make_compounds,
    make_labels,
    owners_of,
    run,
)

# --- Dirichlet --------------------------------------------------------------------------------


def concentration(parts: list[Part], groups: np.ndarray) -> float:
    """Mean over groups of the largest share that one partner has."""
    owners = owners_of(parts, len(groups))
    shares = [np.bincount(owners[groups == g]).max() / np.sum(groups == g) for g in set(groups)]
    return float(np.mean(shares))


def test_scaffolds_stay_together_with_a_small_alpha() -> None:
    groups = np.repeat(np.arange(20), 30)
    compounds = make_compounds(groups)
    by_alpha = [
        np.mean(
            [
                concentration(
                    divide(compounds, PartitionSpec("scaffold", 6, alpha, minimum=5), seed), groups
                )
                for seed in range(3)
            ]
        )
        for alpha in (0.02, 0.5, 1000.0)
    ]
    assert by_alpha[0] > 0.8
    assert by_alpha[0] > by_alpha[1] + 0.15 > by_alpha[2] + 0.3
    # 30 compounds over 6 partners at equal shares: the fullest has 8 or 9 of them.
    assert by_alpha[2] < 0.4


def test_a_partner_with_its_equal_share_is_full() -> None:
    alone = make_compounds([-1] * 101)
    for seed in range(10):
        parts = divide(alone, PartitionSpec("scaffold", 4, 0.05, minimum=1), seed)
        assert max(len(part.rows) for part in parts) <= 26
    groups = np.repeat(np.arange(12), [40, 20, *[6] * 10])
    for seed in range(10):
        parts = divide(make_compounds(groups), PartitionSpec("scaffold", 4, 0.05, minimum=1), seed)
        owners = owners_of(parts, 120)
        # In the order of drawing, a partner takes nothing after it has 30.
        sizes = np.zeros(4)
        for group in range(12):
            drawn = np.bincount(owners[groups == group], minlength=4)
            assert np.all(drawn[sizes >= 30] == 0)
            sizes += drawn


def test_singletons_are_spread_over_all_partners() -> None:
    compounds = make_compounds(np.where(np.arange(60) % 2, -1, np.arange(60)))
    spec = PartitionSpec("scaffold", 5, 1.0, minimum=1)
    first = np.zeros(5)
    for seed in range(60):
        owners = owners_of(divide(compounds, spec, seed), 60)
        first += np.bincount(owners[:8], minlength=5)
    # Nobody is full yet, so each of five has a fifth of the first; with rounded cumulative
    # shares the last partner would have all. Four standard deviations.
    assert np.all(np.abs(first - 96) < 36)


def test_members_of_a_scaffold_are_drawn_at_random() -> None:
    compounds = make_compounds([0] * 100)
    parts = divide(compounds, PartitionSpec("scaffold", 2, 1000.0, minimum=10), 1)
    assert all(np.ptp(part.rows) > 70 for part in parts)


def test_draws_repeat_until_every_partner_has_its_minimum() -> None:
    groups = np.repeat(np.arange(6), 20)
    compounds = make_compounds(groups)
    for seed in range(20):
        parts = divide(compounds, PartitionSpec("scaffold", 4, 0.2, minimum=18), seed)
        assert min(len(part.rows) for part in parts) >= 18


def test_an_impossible_draw_ends_with_advice() -> None:
    compounds = make_compounds([0] * 80)
    with pytest.raises(PartitionError, match=r"none of 100 draws with alpha = 0.01 gave each of 8"):
        divide(compounds, PartitionSpec("scaffold", 8, 0.01, minimum=10), 0)


@pytest.mark.parametrize("alpha", [1e-300, 1e-8, 1e9, 1e308])
def test_extreme_alphas_give_shares(alpha: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parts = divide(MIXED, PartitionSpec("scaffold", 4, alpha, minimum=5), 0)
    owners_of(parts, len(MIXED))


def test_shares_are_zero_where_not_allowed() -> None:
    rng = np.random.default_rng(0)
    allowed = np.array([True, False, True, False])
    for alpha in (1e-6, 0.3, 50.0):
        for _ in range(50):
            shares = module._shares(PartitionSpec("size", 4, alpha), allowed, rng)
            assert shares[~allowed].tolist() == [0.0, 0.0]
            assert shares.sum() == pytest.approx(1.0)


# --- labels -----------------------------------------------------------------------------------


def positives(parts: list[Part], classes: np.ndarray) -> np.ndarray:
    return np.array([np.nanmean(classes[part.rows]) for part in parts])


def test_class_shares_differ_more_with_a_small_alpha() -> None:
    classes = (np.arange(240) % 2).astype(np.float64)

    def spread(alpha: float) -> float:
        spec = PartitionSpec("label", 4, alpha, minimum=5)
        found = [
            positives(divide(MIXED, spec, seed, make_labels(classes), tasks=[TASK]), classes)
            for seed in range(10)
        ]
        return float(np.mean(np.std(found, axis=1)))

    assert spread(0.2) > 0.3
    assert spread(1e6) < 0.1
    assert spread(0.2) > spread(5.0) > spread(1e6)


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 3), st.integers(1, 20), st.integers(0, 2**40))
def test_label_skew_leaves_nobody_out(partners: int, minimum: int, seed: int) -> None:
    parts = run(PartitionSpec("label", partners, 1.0, minimum=minimum), MIXED, seed)
    assert len(parts) == partners
    assert min(len(part.rows) for part in parts) >= minimum
    owners_of(parts, len(MIXED))


def test_the_first_classification_with_labels_decides() -> None:
    nothing = np.full(240, np.nan)
    half = (np.arange(240) % 2).astype(np.float64)
    late = (np.arange(240) >= 120).astype(np.float64)
    tasks = [NUMBER, Task("empty", "binary"), TASK, Task("late", "binary")]
    labels = make_labels(np.arange(240.0), nothing, half, late)
    spec = PartitionSpec("label", 2, 0.1, minimum=40)
    found = divide(MIXED, spec, 4, labels, tasks=tasks)
    alone = divide(MIXED, spec, 4, make_labels(half), tasks=[TASK])
    assert [p.rows.tolist() for p in found] == [p.rows.tolist() for p in alone]


def test_without_classes_the_fifths_of_a_number_are_spread() -> None:
    values = np.random.default_rng(0).permutation(240).astype(np.float64)
    classes = module._classes(240, make_labels(values), [NUMBER])
    assert np.array_equal(classes, values.astype(int) // 48)
    # A tie is never torn apart.
    tied = module._classes(5, make_labels([1.0, 1.0, 1.0, 1.0, 2.0]), [NUMBER])
    assert len(set(tied[:4].tolist())) == 1
    assert tied[4] != tied[0]


def test_a_value_above_a_limit_is_a_label_here() -> None:
    labels = make_labels([1.0, 2.0, 3.0, 4.0, 5.0, np.nan])
    labels = dataclasses.replace(labels, qualifiers=np.array([-1, 0, 0, 0, 1], dtype=np.int8))
    assert module._classes(6, labels, [NUMBER]).tolist() == [0, 1, 2, 3, 4, -1]


def test_compounds_without_label_go_anywhere() -> None:
    classes = np.array([0.0, 1.0] * 20 + [np.nan] * 200)
    spec = PartitionSpec("label", 4, 0.1, minimum=20)
    parts = divide(MIXED, spec, 2, make_labels(classes), tasks=[TASK])
    unlabelled = [int(np.sum(part.rows >= 40)) for part in parts]
    # 50 each, with four standard deviations.
    assert all(26 <= count <= 74 for count in unlabelled)


def test_labels_are_needed() -> None:
    spec = PartitionSpec("label", 2)
    with pytest.raises(PartitionError, match="no labels are given"):
        divide(MIXED, spec, 0)
    with pytest.raises(PartitionError, match="no task has labels"):
        divide(MIXED, spec, 0, make_labels(np.full(240, np.nan)), tasks=[TASK])


# --- columns ----------------------------------------------------------------------------------


def sites(*counted: tuple[int, set[str]]) -> list[frozenset[str]]:
    return [frozenset(values) for count, values in counted for _ in range(count)]


COLUMN = PartitionSpec("column", minimum=3, column="site")


def test_partners_are_the_values_and_small_ones_are_pooled() -> None:
    compounds = make_compounds([0] * 14)
    groups = sites(
        (3, {"Zug"}), (1, {"Zug", "Aix"}), (3, {"Aix"}), (2, {"x"}), (2, {"y"}), (3, {"B b"})
    )
    found = divide(compounds, COLUMN, 0, groups=groups)
    assert [(part.name, part.rows.tolist()) for part in found] == [
        ("Aix", [3, 4, 5, 6]),
        ("B-b", [11, 12, 13]),
        ("Zug", [0, 1, 2, 3]),
        ("others", [7, 8, 9, 10]),
    ]


def test_few_pooled_compounds_belong_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    compounds = make_compounds([0] * 10)
    groups = sites((3, {"a"}), (3, {"b"}), (1, {"c"}), (1, {"d", "a"}), (2, set()))
    with caplog.at_level("WARNING"):
        found = divide(compounds, dataclasses.replace(COLUMN, overlap=1.0), 0, groups=groups)
    assert [part.name for part in found] == ["a", "b"]
    # With full overlap all partners hold every compound that has a holder.
    assert [part.rows.tolist() for part in found] == [[0, 1, 2, 3, 4, 5, 7]] * 2
    assert "3 of 10 compounds belong to nobody" in caplog.text


def test_no_warning_if_everybody_has_a_holder(caplog: pytest.LogCaptureFixture) -> None:
    divide(make_compounds([0] * 6), COLUMN, 0, groups=sites((3, {"a"}), (3, {"b"})))
    assert not caplog.records


def test_a_compound_in_two_groups_that_are_both_small_is_counted_once() -> None:
    compounds = make_compounds([0] * 8)
    groups = sites((3, {"a"}), (3, {"b"}), (2, {"c", "d"}))
    assert [part.name for part in divide(compounds, COLUMN, 0, groups=groups)] == ["a", "b"]


def test_names_are_safe_and_all_different() -> None:
    values = ["others", "Others", "a b", "a/b", "é", "../..", "-x", "_y_", "L" * 80, "L" * 90]
    groups = sites(*[(3, {value}) for value in values], (2, {"rare"}), (1, {"rarer"}))
    found = divide(make_compounds([0] * len(groups)), COLUMN, 0, groups=groups)
    names = [part.name for part in found]
    assert len(found) == len(values) + 1
    assert len({name.lower() for name in names}) == len(names)
    assert [check_partner_name(name) for name in names] == names
    assert all(len(part.rows) == 3 for part in found)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, r"the values of column 'site' are not given for each of 6"),
        (sites((5, {"a"})), r"the values of column 'site' are not given for each of 6"),
        (sites((6, {"a"})), r"'site' has 1 values with 3 compounds or more, which gives 1 part"),
        (sites((6, set())), r"'site' has 0 values"),
    ],
)
def test_a_column_must_give_partners(groups: list[frozenset[str]] | None, message: str) -> None:
    with pytest.raises(PartitionError, match=message):
        divide(make_compounds([0] * 6), COLUMN, 0, groups=groups)
