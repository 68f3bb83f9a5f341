"""Who holds what: every compound a holder, every partner its minimum, and the skew asked for."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.errors import FluidError
from fluid.chem.compounds import Compounds
from fluid.exchange.federation import check_partner_name
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task
from fluid.simulate import partition as module
from fluid.simulate.partition import Part, divide
from fluid.simulate.partition_spec import PartitionError, PartitionSpec, parse_partition

TASK = Task("active", "binary")
NUMBER = Task("logd", "regression")


def make_compounds(groups: list[int] | np.ndarray, blocks: int = 8) -> Compounds:
    """Compounds whose scaffold is decided by their group, and whose bits by group modulo blocks.

    A group's scaffold is two rings and a linker of the group's length; a group below 0 is an
    acyclic chain, which has no relatives.
    """
    n = len(groups)
    smiles = [
        "C" * (row + 1) if group < 0 else "C1CC1" + "C" * int(group) + "C1CCC1"
        for row, group in enumerate(groups)
    ]
    rng = np.random.default_rng(99)
    bits = np.zeros((n, 16 * blocks), dtype=np.uint8)
    for row, group in enumerate(groups):
        start = 16 * (int(group) % blocks)
        bits[row, start : start + 8] = 1
        bits[row, start + 8 : start + 16] = rng.random(8) < 0.3
    return Compounds(
        ids=np.array([f"c{row}" for row in range(n)], dtype=object),
        smiles=np.array(smiles, dtype=object),
        inchikeys=np.array([f"{row:014d}-UHFFFAOYSA-N" for row in range(n)], dtype=object),
        fingerprints=np.packbits(bits, axis=1),
        environments=np.zeros(0, dtype=np.uint32),
        counts=np.zeros(0, dtype=np.uint8),
        offsets=np.zeros(n + 1, dtype=np.int64),
        descriptors=np.zeros((n, 0), dtype=np.float32),
    )


def make_labels(*columns: list[float] | np.ndarray) -> LabelMatrix:
    """One column per task; NaN is no label."""
    table = np.array(columns, dtype=np.float64)
    tasks, rows = np.nonzero(~np.isnan(table))
    return LabelMatrix(
        rows=rows,
        tasks=tasks,
        values=table[tasks, rows],
        qualifiers=np.zeros(len(rows), dtype=np.int8),
        weights=np.ones(len(rows)),
        shape=(table.shape[1], table.shape[0]),
    )


def owners_of(parts: list[Part], n: int) -> np.ndarray:
    """The one holder of each compound; fails if somebody has none or two."""
    owners = np.full(n, -1)
    for number, part in enumerate(parts):
        assert np.all(owners[part.rows] == -1)
        owners[part.rows] = number
    assert np.all(owners >= 0)
    return owners


def run(spec: PartitionSpec, compounds: Compounds, seed: int) -> list[Part]:
    """Divide with whatever the kind needs: classes by row, sites by row."""
    n = len(compounds)
    classes = (np.arange(n) % 3 == 0).astype(np.float64)
    sites = [frozenset({f"s{row % 3}"}) for row in range(n)]
    return divide(compounds, spec, seed, make_labels(classes), sites, [TASK])


MIXED = make_compounds([row % 9 - 1 if row % 2 else 10 + row // 2 % 40 for row in range(240)])
ALL_KINDS = ("kmeans", "scaffold", "column", "label", "size", "random")


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kmeans", PartitionSpec("kmeans")),
        ("kmeans:mixing=0.1", PartitionSpec("kmeans", mixing=0.1)),
        ("scaffold:alpha=0.1", PartitionSpec("scaffold", alpha=0.1)),
        ("random", PartitionSpec("random")),
        ("column:name=source", PartitionSpec("column", column="source")),
        ("column:name=a=b", PartitionSpec("column", column="a=b")),
        ("label:alpha=0.3", PartitionSpec("label", alpha=0.3)),
        (
            " size : alpha = 2 , partners=12, minimum=5,overlap=0.25",
            PartitionSpec("size", partners=12, alpha=2.0, minimum=5, overlap=0.25),
        ),
    ],
)
def test_a_partition_is_read_from_the_command_line(text: str, expected: PartitionSpec) -> None:
    assert parse_partition(text) == expected


def test_defaults_are_those_of_the_paper() -> None:
    assert parse_partition("kmeans").to_dict() == {
        "kind": "kmeans", "partners": 8, "mixing": 0.05, "overlap": 0.0, "minimum": 30,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_plain_values_make_the_same_partition(kind: str) -> None:
    spec = PartitionSpec(kind, 5, column="site" if kind == "column" else "", overlap=0.1)
    again = PartitionSpec(**spec.to_dict())  # type: ignore[arg-type]
    assert again.to_dict() == spec.to_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'' is not a kind; allowed are kmeans, scaffold"),
        ("butina:alpha=1", r"'butina' is not a kind"),
        ("kmeans:alpha=1", r"kmeans has no setting 'alpha'; allowed are minimum, mixing"),
        ("column:partners=3", r"column has no setting 'partners'; allowed are minimum, name, over"),
        ("scaffold:alpha", r"'alpha' is not a setting; write name=value"),
        ("scaffold:alpha=", r"'alpha=' is not a setting"),
        ("scaffold:alpha=1,,", r"'' is not a setting"),
        ("scaffold:alpha=1,alpha=2", r"'alpha' is given twice"),
        ("scaffold:alpha=small", r"alpha = 'small' is not a number"),
        ("random:partners=2.5", r"partners = '2.5' is not a whole number"),
        ("random:partners=1", r"partners = 1: allowed are 2 to 200"),
        ("random:partners=201", r"partners = 201: allowed are 2 to 200"),
        ("size:alpha=0", r"alpha = 0: allowed are numbers above 0"),
        ("size:alpha=inf", r"alpha = inf"),
        ("size:alpha=nan", r"alpha = nan"),
        ("kmeans:mixing=1.1", r"mixing = 1.1: allowed are 0 to 1"),
        ("kmeans:overlap=-0.1", r"overlap = -0.1: allowed are 0 to 1"),
        ("kmeans:overlap=nan", r"overlap = nan: allowed are 0 to 1"),
        ("kmeans:minimum=0", r"minimum = 0: allowed are 1 or more"),
        ("column", r"no column is named; write column:name=source"),
    ],
)
def test_a_wrong_partition_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(PartitionError, match=message) as caught:
        parse_partition(text)
    assert isinstance(caught.value, FluidError)
    assert "\n" not in str(caught.value)


# --- what holds for every kind ----------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["kmeans", "scaffold", "size", "random"]),
    st.integers(2, 8),
    st.sampled_from([0.05, 0.5, 5.0]),
    st.integers(1, 20),
    st.integers(0, 2**40),
)
def test_every_compound_has_one_holder_and_every_partner_its_minimum(
    kind: str, partners: int, alpha: float, minimum: int, seed: int
) -> None:
    spec = PartitionSpec(kind, partners, alpha, minimum=minimum)
    parts = run(spec, MIXED, seed)
    assert [part.name for part in parts] == [f"partner-{i + 1}" for i in range(partners)]
    for part in parts:
        assert part.rows.dtype == np.int64
        assert np.all(np.diff(part.rows) > 0)
        assert len(part.rows) >= minimum
    owners_of(parts, len(MIXED))


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(("size", "random", "scaffold", "column")),
    st.floats(0, 1),
    st.integers(0, 2**20),
)
def test_overlap_is_the_share_of_compounds_with_a_second_holder(
    kind: str, overlap: float, seed: int
) -> None:
    spec = PartitionSpec(kind, 4, minimum=10, overlap=overlap, column="site")
    parts = run(spec, MIXED, seed)
    held = np.bincount(np.concatenate([part.rows for part in parts]), minlength=len(MIXED))
    assert set(held.tolist()) <= {1, 2}
    assert np.sum(held == 2) == round(overlap * len(MIXED))
    for part in parts:
        assert np.all(np.diff(part.rows) > 0)
    # The first holders are those of the same division without overlap.
    alone = run(dataclasses.replace(spec, overlap=0.0), MIXED, seed)
    for part, before in zip(parts, alone, strict=True):
        assert np.isin(before.rows, part.rows).all()


def test_second_holders_are_drawn_from_all_partners() -> None:
    parts = divide(MIXED, PartitionSpec("random", 4, overlap=1.0), 5)
    sizes = [len(part.rows) for part in parts]
    assert sum(sizes) == 480
    # 60 of its own and a third of the other 180, give or take.
    assert min(sizes) > 95
    assert max(sizes) < 145


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_the_seed_alone_decides(kind: str) -> None:
    spec = PartitionSpec(kind, 4, overlap=0.2, minimum=5, column="site")
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = run(spec, MIXED, 11)
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(2)
    again = run(spec, MIXED, 11)
    other = run(spec, MIXED, 12)
    rows = [[part.rows.tolist() for part in parts] for parts in (first, again, other)]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


@pytest.mark.parametrize("kind", ["kmeans", "scaffold", "label", "size", "random"])
def test_too_few_compounds_are_refused(kind: str) -> None:
    with pytest.raises(PartitionError, match=r"240 compounds do not suffice for 8 .* at most 7 pa"):
        run(PartitionSpec(kind, minimum=31), MIXED, 0)


def test_names_of_ten_partners_sort_as_they_stand() -> None:
    names = [part.name for part in run(PartitionSpec("random", 10, minimum=1), MIXED, 0)]
    assert names[0] == "partner-01"
    assert names == sorted(names)


# --- random and size --------------------------------------------------------------------------


def test_random_parts_are_of_equal_size_and_not_in_the_order_of_rows() -> None:
    parts = divide(MIXED, PartitionSpec("random", 7), 3)
    assert sorted(len(part.rows) for part in parts) == [34] * 5 + [35] * 2
    assert all(np.ptp(part.rows) > 150 for part in parts)


def test_sizes_differ_more_with_a_small_alpha() -> None:
    def largest(alpha: float) -> float:
        spec = PartitionSpec("size", 6, alpha, minimum=5)
        return float(
            np.mean([max(len(p.rows) for p in divide(MIXED, spec, seed)) for seed in range(20)])
        )

    assert largest(0.1) > 1.5 * largest(1.0)
    assert largest(1e6) < 60 < largest(1.0)


# --- clusters ---------------------------------------------------------------------------------


def test_without_mixing_partners_are_the_clusters() -> None:
    groups = np.repeat(np.arange(4), [40, 50, 60, 70])
    compounds = make_compounds(groups)
    # One start only, so that not every seed finds all four; most do.
    found = [divide(compounds, PartitionSpec("kmeans", 4, mixing=0.0), seed) for seed in range(8)]
    whole = [
        parts
        for parts in found
        if sorted(groups[p.rows].tolist() for p in parts)
        == [[group] * count for group, count in enumerate((40, 50, 60, 70))]
    ]
    assert len(whole) >= 4


def test_the_seed_decides_where_clusters_start() -> None:
    bits = np.random.default_rng(0).integers(256, size=(240, 16), dtype=np.uint8)
    noise = dataclasses.replace(MIXED, fingerprints=bits)
    spec = PartitionSpec("kmeans", 4, mixing=0.0, minimum=1)
    found = [[part.rows.tolist() for part in divide(noise, spec, seed)] for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert sorted(found[0]) != sorted(found[2])


def test_mixing_is_the_share_that_goes_anywhere() -> None:
    groups = np.repeat(np.arange(4), 100)
    compounds = make_compounds(groups)

    def strangers(mixing: float) -> int:
        spec = PartitionSpec("kmeans", 4, mixing=mixing)
        parts = divide(compounds, spec, 3)
        return sum(len(p.rows) - np.bincount(groups[p.rows]).max() for p in parts)

    assert strangers(0.0) == 0
    # Three of four random partners are another one: 60 of 80, with four standard deviations.
    assert 44 <= strangers(0.2) <= 76
    assert strangers(1.0) > 250


def test_a_small_cluster_takes_the_nearest_from_those_who_can_spare() -> None:
    # Points on a line; cluster 1 is at 10 and is short of two, cluster 2 has just its minimum.
    line = np.array([[0], [1], [2], [6], [7], [10], [9], [9], [11]], dtype=np.float32)
    owners = np.array([0, 0, 0, 0, 0, 1, 2, 2, 2])
    found = module._top_up(owners, line, np.array([[1.0], [10.0], [9.5]]), 3)
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert owners.tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 2]


def test_topping_up_never_takes_from_a_partner_at_its_minimum() -> None:
    line = np.array([[9], [8], [7], [0], [1]], dtype=np.float32)
    found = module._top_up(np.array([0, 0, 0, 0, 0]), line, np.array([[0.0], [9.0]]), 2)
    assert found.tolist() == [1, 1, 0, 0, 0]
    line = np.array([[3], [3], [5], [6], [7], [8]], dtype=np.float32)
    centres = np.array([[4.0], [4.0], [7.0]])
    found = module._top_up(np.array([0, 0, 2, 2, 2, 2]), line, centres, 2)
    assert found.tolist() == [0, 0, 1, 1, 2, 2]


def test_the_smallest_cluster_is_topped_up_first() -> None:
    line = np.array([[0], [1], [2], [3], [4], [20]], dtype=np.float32)
    owners = np.array([2, 2, 2, 2, 2, 0])
    found = module._top_up(owners, line, np.array([[1.0], [1.0], [9.0]]), 2)
    # Cluster 1 has none: it takes the two nearest to 1, and cluster 0 the next.
    assert found.tolist() == [1, 1, 0, 2, 2, 0]


@pytest.mark.filterwarnings("error")
def test_alike_compounds_still_make_partners() -> None:
    compounds = make_compounds([0] * 60)
    alike = dataclasses.replace(compounds, fingerprints=compounds.fingerprints[[0] * 60])
    parts = divide(alike, PartitionSpec("kmeans", 4, mixing=0.0, minimum=10), 0)
    assert sorted(len(part.rows) for part in parts) == [10, 10, 10, 30]


def test_many_compounds_are_clustered_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.repeat(np.arange(3), 80)
    compounds = make_compounds(groups)
    monkeypatch.setattr(module, "_BATCH_ABOVE", 239)
    monkeypatch.setattr("sklearn.cluster.KMeans", None)
    spec = PartitionSpec("kmeans", 3, mixing=0.0)
    found = [divide(compounds, spec, seed) for seed in range(6)]
    pure = [all(len(set(groups[part.rows])) == 1 for part in parts) for parts in found]
    assert sum(pure) >= 3
    again = divide(compounds, spec, 0)
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(found[0], again, strict=True))


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
    # With full overlap everybody holds what anybody holds, and nobody what nobody holds.
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
