"""Expanding the public set: seeds worked by hand, and what must hold on a real round."""

from __future__ import annotations

import csv
import dataclasses
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from fluid.base.errors import FluidError, MismatchError
from fluid.central import expand as module
from fluid.central import seeds as seeds_module
from fluid.central.expand import ExpandedCompound, Expansion, expand, write_expansion
from fluid.central.seeds import choose_seeds, known_compounds, seed_scores
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.similarity import tanimoto
from fluid.chem.standardize import StandardizerSpec, connectivity, standardize
from fluid.exchange.federated_set import FederatedSet, PooledTask, open_federated
from fluid.exchange.prepare import prepare_public
from fluid.exchange.public_set import open_public_set
from fluid.learn.reliability import TRUSTED
from fluid.learn.task import Task
from tests.conftest import Consortium

BINARY = Task("bbb", "binary")
NUMBER = Task("logbb", "regression", low=-4.0, high=4.0)
PLAIN = FeatureSpec(descriptors="none")
# Three phenethylamines near one another, and compounds unlike them and one another.
SMILES = (
    "NCCc1ccc(Cl)cc1", "NCCc1ccc(Br)cc1", "NCCc1ccc(F)cc1",
    "CCCCCCCCCCCC(=O)O", "O=C1CCCN1", "CS(=O)(=O)OC", "OCC1OC(O)C(O)C(O)C1O",
)  # fmt: skip


def compounds_of(smiles: tuple[str, ...]) -> Compounds:
    structures = [standardize(text, StandardizerSpec()) for text in smiles]
    return featurize(structures, [f"p{number}" for number in range(len(smiles))], PLAIN)


def pooled_of(
    label: list[float], disagreement: list[float], reliability: list[float]
) -> PooledTask:
    return PooledTask(
        np.array(label, dtype=np.float32)[:, None],
        np.array(disagreement, dtype=np.float32)[:, None],
        np.array(reliability, dtype=np.float32),
        np.full(len(label), 2, dtype=np.uint16),
    )


def chosen(pooled: PooledTask, n: int, task: Task = BINARY, balance: bool = False) -> list[int]:
    found = choose_seeds(compounds_of(SMILES), {task.name: pooled}, n, [task], balance)
    return [seed.row for seed in found]


def test_the_compound_on_which_teachers_disagree_wins() -> None:
    disagreement = [0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1]
    assert chosen(pooled_of([0.5] * 7, disagreement, [0.6] * 7), 1) == [4]
    # Twice the knowledge outweighs a little more disagreement.
    trust = [0.3, 0.3, 0.3, 0.9, 0.3, 0.3, 0.3]
    assert chosen(pooled_of([0.5] * 7, [0.2] * 4 + [0.3] + [0.2] * 2, trust), 1) == [3]


def test_what_nobody_knows_is_no_seed() -> None:
    trust = [0.1, 0.19, 0.3, 0.0, 0.15, 0.25, 0.1]
    disagreement = [0.5, 0.5, 0.1, 0.5, 0.5, 0.2, 0.5]
    assert chosen(pooled_of([0.5] * 7, disagreement, trust), 7) == [5, 2]
    labels = [0.5] * 5 + [float("nan"), 0.5]
    assert chosen(pooled_of(labels, disagreement, trust), 7) == [2]
    assert chosen(pooled_of(labels, disagreement, [0.1] * 7), 7) == []


def test_a_step_between_near_neighbours_wins() -> None:
    # The bromide differs from its near neighbours, the lactam from compounds that are unlike it.
    labels = [0.5, 0.9, 0.5, 0.5, 0.1, 0.5, 0.5]
    assert chosen(pooled_of(labels, [0.1] * 7, [0.5] * 7), 1) == [1]
    # If nobody knows the other two, there is no step, only a guess.
    trust = [0.1, 0.5, 0.1, 0.5, 0.5, 0.5, 0.5]
    assert chosen(pooled_of(labels, [0.1] * 7, trust), 1) != [1]


def test_scores_by_hand() -> None:
    compounds = compounds_of(SMILES[:2])
    alike = float(tanimoto(compounds.fingerprints[:1], compounds.fingerprints[1:])[0, 0])
    assert 0.3 < alike < 0.9
    pooled = {"bbb": pooled_of([0.2, 0.8], [0.1, 0.3], [0.4, 0.5])}
    # Both have the same step, 0.6 * alike / 5; a third of the largest disagreement, and all of it.
    assert seed_scores(compounds, pooled)["bbb"] == pytest.approx([0.4 * (1 / 3 + 1), 0.5 * 2])
    # Without disagreement, and without a step: nothing to be seen from more labels.
    none = {"bbb": pooled_of([0.2, 0.2], [0.0, 0.0], [0.4, 0.1])}
    assert seed_scores(compounds, none)["bbb"] == pytest.approx([0.0, np.nan], nan_ok=True)


def test_steepness_by_hand() -> None:
    compounds = compounds_of(SMILES[:3])
    alike = tanimoto(compounds.fingerprints, compounds.fingerprints).astype(float)
    pooled = {"bbb": pooled_of([0.2, 0.8, 0.3], [0.0] * 3, [1.0] * 3)}
    steps = np.abs(np.subtract.outer([0.2, 0.8, 0.3], [0.2, 0.8, 0.3]))
    steepness = (alike * steps).sum(axis=1)
    found = seed_scores(compounds, pooled)["bbb"]
    assert found == pytest.approx(steepness / steepness.max())


def test_of_very_many_the_best_known_are_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds_module, "MOST_CANDIDATES", 3)
    trust = [0.3, 0.9, 0.4, 0.8, 0.5, 0.4, 0.3]
    assert set(chosen(pooled_of([0.5] * 7, [0.2] * 7, trust), 7)) == {1, 3, 4}


def test_seeds_are_unlike_one_another() -> None:
    smiles = ("CCCCCCCCN", "CCCCCCCCCCN", "CCCCCCCCCCCCN", "CC(C)CC(=O)O")
    compounds = compounds_of(smiles)
    pooled = pooled_of([0.5] * 4, [0.4, 0.39, 0.38, 0.1], [0.8] * 4)
    rows = [seed.row for seed in choose_seeds(compounds, {"bbb": pooled}, 4, [BINARY], False)]
    similarity = tanimoto(compounds.fingerprints, compounds.fingerprints)
    assert similarity[:3, :3].min() >= 0.7
    assert rows == [0, 3]


def test_the_rarer_class_comes_first_among_equals() -> None:
    scores = np.array([1.0, 0.99, np.nan, 0.93, 0.80, 0.79])
    pooled = pooled_of([0.9, 0.7, 0.1, 0.2, 0.8, 0.1], [0.0] * 6, [0.5] * 6)
    # Two of five are negative; 0.93 is within a tenth of the best, 0.79 is not.
    assert seeds_module._ranked(BINARY, scores, pooled, True) == [3, 0, 1, 5, 4]
    assert seeds_module._ranked(BINARY, scores, pooled, False) == [0, 1, 3, 4, 5]
    # A number has no class.
    assert seeds_module._ranked(NUMBER, scores, pooled, True) == [0, 1, 3, 4, 5]
    shares = np.array([[0.1, 0.8, 0.1]] * 4 + [[0.2, 0.1, 0.7], [0.7, 0.1, 0.2]], np.float32)
    three = dataclasses.replace(pooled, label=shares)
    task = Task("site", "multiclass", classes=("a", "b", "c"))
    assert seeds_module._ranked(task, np.ones(6), three, True) == [4, 5, 0, 1, 2, 3]
    assert seeds_module._ranked(task, np.full(6, np.nan), three, True) == []
    assert seeds_module._ranked(task, np.zeros(6), three, True) == [0, 1, 2, 3, 4, 5]


def test_tasks_take_turns() -> None:
    compounds = compounds_of(SMILES)
    trust = [0.5] * 7
    pooled = {
        "bbb": pooled_of([0.5] * 7, [0.1, 0.1, 0.1, 0.4, 0.3, 0.1, 0.1], trust),
        "logbb": pooled_of([0.0] * 7, [0.1, 0.1, 0.1, 0.4, 0.1, 0.3, 0.2], trust),
    }
    seeds = choose_seeds(compounds, pooled, 4, [BINARY, NUMBER], False)
    assert [(seed.task, seed.row) for seed in seeds] == [
        ("bbb", 3), ("logbb", 5), ("bbb", 4), ("logbb", 6)
    ]  # fmt: skip


def test_blocks_and_threads_change_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    # Few bits, so that many similarities are tied.
    packed = rng.integers(0, 256, size=(60, 1), dtype=np.uint8)
    own = np.arange(60)
    whole = seeds_module.neighbours_of(packed, packed, own, 5, 1)
    monkeypatch.setattr(seeds_module, "_QUERIES", 7)
    pieces = seeds_module.neighbours_of(packed, packed, own, 5, 2)
    assert np.array_equal(whole[0], pieces[0])
    assert np.array_equal(whole[1], pieces[1])
    similarity = tanimoto(packed, packed)
    np.fill_diagonal(similarity, -1.0)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :5]
    assert np.array_equal(np.take_along_axis(similarity, order, axis=1), whole[1])
    assert np.array_equal(np.where(whole[1] > 0, order, 0), whole[0])


def test_dealing_is_even_and_gives_nothing_twice() -> None:
    def given(*keys: str) -> list[tuple[str, str, str]]:
        return [(key, key, "rule") for key in keys]

    found = [given("a", "b", "c", "d"), given("a", "x", "e"), given(), given("f")]
    dealt = module._deal(found, {"x"}, 10, 3)
    assert [[key for _, key, _ in each] for each in dealt] == [["a", "b", "c"], ["e"], [], ["f"]]
    assert [len(each) for each in module._deal(found, set(), 4, 9)] == [1 + 1, 1, 0, 1]


# On a real round


@pytest.fixture(scope="module")
def federated(consortium: Consortium) -> FederatedSet:
    return open_federated(consortium.folder / "round1" / "federated.parquet")


@pytest.fixture(scope="module")
def expansion(consortium: Consortium, federated: FederatedSet) -> Expansion:
    return expand(federated, consortium.federation, 160, n_seeds=16, jobs=1)


def test_as_many_as_asked_and_none_twice(federated: FederatedSet, expansion: Expansion) -> None:
    compounds, _ = federated.load()
    assert len(expansion.compounds) == 160
    public = set(compounds.connectivities)
    found = [
        connectivity(standardize(new.smiles, StandardizerSpec()).inchikey)
        for new in expansion.compounds
    ]
    assert len(set(found)) == 160
    assert not public & set(found)
    assert [new.id for new in expansion.compounds] == [f"ANA-{key}" for key in found]
    assert {new.rule.split(":")[0] for new in expansion.compounds} == {"mutation", "pair", "brics"}


def test_smiles_are_standard(expansion: Expansion) -> None:
    for new in expansion.compounds:
        assert standardize(new.smiles, StandardizerSpec()).smiles == new.smiles


def test_every_seed_gives_its_share(federated: FederatedSet, expansion: Expansion) -> None:
    compounds, _ = federated.load()
    names = [str(compounds.ids[seed.row]) for seed in expansion.seeds]
    assert len(set(names)) == len(names) == 16
    counts = Counter(new.parent for new in expansion.compounds)
    assert set(counts) == set(names)
    assert max(counts.values()) <= 20
    assert Counter(counts.values()).most_common(1)[0][0] == 10
    assert {seed.task for seed in expansion.seeds} == {"bbb", "logbb"}


def test_seeds_are_where_teachers_know_and_labels_differ(
    federated: FederatedSet, expansion: Expansion
) -> None:
    compounds, pooled = federated.load()
    for task in federated.tasks:
        rows = [seed.row for seed in expansion.seeds if seed.task == task.name]
        said = pooled[task.name]
        known = known_compounds(said)
        assert known[rows].all()
        assert (said.reliability[rows] >= TRUSTED).all()
        score = seed_scores(compounds, pooled)[task.name]
        # Disagreement and steepness together, reliability taken out again. Hardly more compounds
        # are known than become seeds, but of three it shows what they were chosen for.
        if known.sum() <= 3:
            assert task.name == "logbb"
            continue
        few = [seed.row for seed in choose_seeds(compounds, pooled, 3, [task], False)]
        assert score[few].mean() > np.nanmean(score)
        contrast = np.where(known, score / said.reliability, np.nan)
        assert contrast[few].mean() > 1.3 * np.nanmean(contrast)
        steepest = np.argsort(np.where(known, -contrast, np.inf))[: len(few)]
        assert said.reliability[few].mean() >= said.reliability[steepest].mean()
    rows = [seed.row for seed in expansion.seeds]
    similarity = tanimoto(compounds.fingerprints[rows], compounds.fingerprints[rows])
    np.fill_diagonal(similarity, 0.0)
    assert similarity.max() < 0.7


def test_analogues_are_near_their_parents(federated: FederatedSet, expansion: Expansion) -> None:
    compounds, _ = federated.load()
    smiles = dict(zip(compounds.ids, compounds.smiles, strict=True))
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2)

    def fingerprint(text: str) -> DataStructs.ExplicitBitVect:
        return generator.GetFingerprint(Chem.MolFromSmiles(text))

    near = [
        DataStructs.TanimotoSimilarity(fingerprint(new.smiles), fingerprint(smiles[new.parent]))
        for new in expansion.compounds
    ]
    assert np.median(near) > 0.45


def test_neither_jobs_nor_batches_change_anything(
    consortium: Consortium,
    federated: FederatedSet,
    expansion: Expansion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SEEDS_A_BATCH", 5)
    monkeypatch.setattr(module, "_HARVEST_A_BATCH", 170)
    again = expand(federated, consortium.federation, 160, n_seeds=16, jobs=2)
    assert again == expansion


def test_another_seed_gives_other_analogues_of_the_same_compounds(
    consortium: Consortium, federated: FederatedSet, expansion: Expansion
) -> None:
    other = expand(federated, consortium.federation, 160, seed=1, n_seeds=16, jobs=1)
    assert other.seeds == expansion.seeds
    assert other.compounds != expansion.compounds


def test_one_structure(consortium: Consortium, federated: FederatedSet) -> None:
    found = expand(federated, consortium.federation, 1, methods=["mutations"], jobs=1)
    assert len(found.compounds) == len(found.seeds) == 1
    assert found.compounds[0].rule.startswith("mutation: ")


def test_seeds_that_run_dry_are_told(
    consortium: Consortium, federated: FederatedSet, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = expand(federated, consortium.federation, 3000, n_seeds=2, methods=["brics"], jobs=1)
    assert 0 < len(found.compounds) < 3000
    assert found.to_dict()["asked"] == 3000
    assert "2 seeds gave no more" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, r"^number = 0: allowed are 1 to 10,000,000$"),
        ({"n": 10_000_001}, r"^number = 10000001: allowed are 1 to 10,000,000$"),
        ({"n": 5, "n_seeds": 0}, r"^seeds = 0: allowed are 1 to 1,000,000$"),
        ({"n": 5, "methods": ["pairs", "luck"]}, "^methods: 'luck' is not a method; allowed are"),
        ({"n": 5, "methods": []}, "^methods: '' is not a method; allowed are mutations, pairs, br"),
    ],
)
def test_options_out_of_range(
    consortium: Consortium, federated: FederatedSet, options: dict[str, object], message: str
) -> None:
    with pytest.raises(FluidError, match=message):
        expand(federated, consortium.federation, **options)  # type: ignore[arg-type]


def test_another_federation_is_refused(consortium: Consortium, federated: FederatedSet) -> None:
    other = dataclasses.replace(consortium.federation, round=2)
    with pytest.raises(MismatchError, match=r"federated\.parquet: round is '1', but '2'"):
        expand(federated, other, 5, jobs=1)


def test_where_nobody_knows_anything_there_is_nothing_to_expand(
    consortium: Consortium, federated: FederatedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds_module, "TRUSTED", 1.1)
    with pytest.raises(FluidError, match=r"none of its \d+ public compounds lies in the domain"):
        expand(federated, consortium.federation, 5, jobs=1)


def test_the_table_goes_into_the_next_round(
    consortium: Consortium, federated: FederatedSet, expansion: Expansion, tmp_path: Path
) -> None:
    table = tmp_path / "analogues.csv"
    write_expansion(expansion, table)
    with table.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [ExpandedCompound(**row) for row in rows] == expansion.compounds
    sources = [consortium.folder / "public.csv", table]
    summary = prepare_public(sources, consortium.federation, tmp_path / "public.parquet", jobs=1)
    compounds, _ = federated.load()
    assert summary.n_compounds == len(compounds) + 160
    assert len(open_public_set(tmp_path / "public.parquet")) == summary.n_compounds
