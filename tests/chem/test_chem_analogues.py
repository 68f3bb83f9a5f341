"""Analogues: worked by hand for single rules, and properties that hold for any compound."""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase
from rdkit.Chem import rdChemReactions

from fluid.chem.analogues import (
    LARGEST_CHANGE,
    LARGEST_SUBSTITUENT,
    METHODS,
    count_substituents,
    grow_analogues,
    rank_substituents,
)
from fluid.chem.standardize import ORGANIC_ELEMENTS, StandardizerSpec, standardize
from fluid.chem.transforms import TRANSFORMS

DATA = Path(__file__).parents[2] / "data"
# Between them they have a site for every transform.
EXEMPLARS = (
    "Cc1ccc(F)cc1", "Clc1ccccc1", "Brc1ccncc1", "Ic1ccccc1", "c1ccoc1", "c1ccsc1", "c1cc[nH]c1",
    "Cn1ccnc1", "CC(=O)Nc1ccccc1", "O=C(O)c1ccccc1", "COc1ccccc1", "CCOC(=O)C(C)(C)C",
    "FC(F)(F)c1ccccc1", "N#Cc1ccccc1", "O=[N+]([O-])c1ccccc1", "CC(C)O", "CNc1ccccc1",
    "CN(C)Cc1ccccc1", "CCCN", "CCSC", "NC(N)=O", "NC(N)=S", "CNS(=O)(=O)c1ccccc1", "C=CC",
    "NC(=O)c1ccccc1", "C1CCNCC1", "C1COCCN1", "C1CNCCN1", "C1CCNC1", "OC1CCCCC1", "CC(C)c1ccccc1",
    "CCOCC", "CCNCC", "CC(C)=O", "c1ccccc1CCc1ccccn1",
)  # fmt: skip


def public_smiles(n: int) -> list[str]:
    """Standard SMILES of public compounds spread over the demonstration's table."""
    with (DATA / "public.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    found = []
    for row in rows[:: len(rows) // n]:
        try:
            found.append(standardize(row["smiles"], StandardizerSpec()).smiles)
        except ValueError:
            continue
    return found


PUBLIC = public_smiles(150)
SUBSTITUENTS = rank_substituents([count_substituents(PUBLIC)])


def mutated(smiles: str, rule: str) -> set[str]:
    """Everything that one transform makes of a compound."""
    found = grow_analogues(smiles, np.random.default_rng(0), 10_000, ["mutations"])
    return {product for product, why in found if why == f"mutation: {rule}"}


@pytest.mark.parametrize(
    ("smiles", "rule", "products"),
    [
        ("Cc1ccccc1", "aryl CH to N", ["Cc1ccccn1", "Cc1cccnc1", "Cc1ccncc1"]),
        ("Cc1ccccc1", "aryl H to F", ["Cc1ccccc1F", "Cc1cccc(F)c1", "Cc1ccc(F)cc1"]),
        ("Cc1ccccc1", "aryl H to methoxy",
         ["Cc1ccccc1OC", "Cc1cccc(OC)c1", "Cc1ccc(OC)cc1"]),
        ("Cc1ccccc1", "methyl to H", ["c1ccccc1"]),
        ("Cc1ccccc1", "methyl to ethyl", ["CCc1ccccc1"]),
        ("Cc1ccccc1", "methyl to CF3", ["FC(F)(F)c1ccccc1"]),
        ("Cc1ccccc1", "methyl to cyclopropyl", ["c1ccccc1C1CC1"]),
        ("Cc1ccccc1", "phenyl to thienyl", ["Cc1cccs1"]),
        ("Nc1ccccc1", "amino to methylamino", ["CNc1ccccc1"]),
        ("Nc1ccccc1", "amino to hydroxy", ["Oc1ccccc1"]),
        ("Nc1ccccc1", "aryl CH to N", ["Nc1ccccn1", "Nc1cccnc1", "Nc1ccncc1"]),
        ("CNc1ccccc1", "N-methyl to NH", ["Nc1ccccc1"]),
        ("COc1ccccc1", "methoxy to hydroxy", ["Oc1ccccc1"]),
        ("Oc1ccccc1", "hydroxy to methoxy", ["COc1ccccc1"]),
        ("Clc1ccccc1", "Cl to F", ["Fc1ccccc1"]),
        ("c1ccncc1", "aryl N to CH", ["c1ccccc1"]),
        ("Cn1ccnc1", "azole N-methyl to NH", ["c1c[nH]cn1"]),
        ("OC(=O)c1ccccc1", "acid to tetrazole", ["c1ccc(cc1)-c1nnn[nH]1"]),
        ("OC(=O)c1ccccc1", "acid to carboxamide", ["NC(=O)c1ccccc1"]),
        ("CCOC(=O)c1ccccc1", "ester to amide", ["CCNC(=O)c1ccccc1"]),
        ("CCOC(=O)c1ccccc1", "ester to acid", ["OC(=O)c1ccccc1"]),
        ("CC(=O)Nc1ccccc1", "amide to ester", ["CC(=O)Oc1ccccc1"]),
        ("CC(=O)Nc1ccccc1", "amide reversed", ["CNC(=O)c1ccccc1"]),
        ("CCOCC", "chain O to S", ["CCSCC"]),
        ("CCOCC", "chain O to NH", ["CCNCC"]),
        ("CCNCC", "chain NH to O", ["CCOCC"]),
        ("c1ccccc1CCc1ccccn1", "CH2 out of chain", ["c1ccccc1Cc1ccccn1"]),
        ("c1ccccc1CCc1ccccn1", "CH2 into chain", ["c1ccccc1CCCc1ccccn1"]),
        ("C1CCCCN1c1ccccc1", "N-ring 6 to 5", ["C1CCCN1c1ccccc1"]),
        ("C1CCCN1c1ccccc1", "N-ring 5 to 6", ["C1CCCCN1c1ccccc1"]),
        ("C1CCCCN1c1ccccc1", "piperidine to morpholine", ["C1COCCN1c1ccccc1"]),
        ("Cc1ccccc1", "acid to tetrazole", []),
    ],
)  # fmt: skip
def test_transforms_by_hand(smiles: str, rule: str, products: list[str]) -> None:
    expected = {Chem.MolToSmiles(Chem.MolFromSmiles(product)) for product in products}
    assert mutated(smiles, rule) == expected


def test_every_transform_is_sound_and_makes_something() -> None:
    for name, smarts in TRANSFORMS.items():
        assert "," not in name
        reaction = rdChemReactions.ReactionFromSmarts(smarts)
        with rdBase.BlockLogs():
            _, errors = reaction.Validate()
        assert not errors, name
    rng = np.random.default_rng(0)
    made = {
        rule for smiles in EXEMPLARS for _, rule in grow_analogues(smiles, rng, 999, ["mutations"])
    }
    assert made == {f"mutation: {name}" for name in TRANSFORMS}


def test_what_falls_apart_is_not_made() -> None:
    rng = np.random.default_rng(0)
    for smiles in ("COCOC", "CCOC", "CCN(C)C", "OCCC"):
        for product, rule in grow_analogues(smiles, rng, 999, ["mutations"]):
            mol = Chem.MolFromSmiles(product)
            for pattern in ("[OX2]-[OX2]", "F[!#6]", "[CX4]([OH])[OH]", "[NX3]-[OX2]"):
                assert not mol.HasSubstructMatch(Chem.MolFromSmarts(pattern)), (product, rule)
    assert grow_analogues("C", rng, 999, ["mutations"]) == []
    # Methanol to water would be one.
    assert all("C" in product for product, _ in grow_analogues("CO", rng, 999))


def test_substituents_are_counted_by_the_atom_that_they_hang_on() -> None:
    counts = count_substituents(["COc1ccccc1", "Clc1ccccc1", "Clc1ccncc1", "CN1CCCCC1", "broken"])
    assert counts == {
        "C aromatic": Counter({"Cl[*:1]": 2, "CO[*:1]": 1}),
        "N ring sp3": Counter({"C[*:1]": 1}),
    }
    # Nine heavy atoms are no small substituent, and of biphenyl neither half is.
    assert count_substituents(["CCCCCCCCCc1ccc2ccccc2c1", "c1ccccc1-c1ccccc1"]) == {}


def test_ranks_do_not_depend_on_the_order_of_the_parts() -> None:
    parts = [count_substituents([smiles]) for smiles in PUBLIC[:40]]
    ranked = rank_substituents(parts)
    assert ranked == rank_substituents(parts[::-1])
    assert list(ranked) == list(rank_substituents(parts[::-1]))
    counts = [count for _, count in ranked["C aromatic"]]
    assert counts == sorted(counts, reverse=True)


def test_pairs_exchange_at_the_same_kind_of_atom_only() -> None:
    known = rank_substituents([count_substituents(["COc1ccccc1", "Clc1ccccc1", "CCN1CCCCC1"])])
    found = grow_analogues("Cc1ccncc1", np.random.default_rng(0), 99, ["pairs"], known)
    assert dict(found) == {"Clc1ccncc1": "pair: C* to Cl*", "COc1ccncc1": "pair: C* to CO*"}
    assert grow_analogues("Cc1ccncc1", np.random.default_rng(0), 99, ["pairs"]) == []


def test_frequent_substituents_tend_to_come_first() -> None:
    known = {"C aromatic": [("Cl[*:1]", 90), ("F[*:1]", 9), ("Br[*:1]", 1)]}
    first = Counter(
        grow_analogues("Cc1ccncc1", np.random.default_rng(seed), 1, ["pairs"], known)[0][0]
        for seed in range(300)
    )
    assert first["Clc1ccncc1"] > 240 > 60 > first["Fc1ccncc1"] > first["Brc1ccncc1"]


def test_brics_joins_pieces_whose_ends_fit() -> None:
    rng = np.random.default_rng(0)
    found = grow_analogues("CC(=O)Nc1ccccc1", rng, 99, ["brics"], None, ["CCC(=O)NCc1ccccn1"])
    products = dict(found)
    assert products["CCC(=O)Nc1ccccc1"] == "brics: CCC(=O)*"
    assert products["c1ccc(Nc2ccccn2)cc1"] == "brics: c1ccc(*)nc1"
    assert grow_analogues("CC(=O)Nc1ccccc1", rng, 99, ["brics"]) == []


_compound = st.sampled_from(PUBLIC)
_seed = st.integers(0, 2**31 - 1)


@settings(deadline=None, max_examples=40)
@given(_compound, _seed, st.lists(_compound, max_size=5))
def test_products_are_valid_new_and_near(smiles: str, seed: int, neighbours: list[str]) -> None:
    size = Chem.MolFromSmiles(smiles).GetNumHeavyAtoms()
    found = grow_analogues(
        smiles, np.random.default_rng(seed), 25, METHODS, SUBSTITUENTS, neighbours
    )
    assert len({product for product, _ in found}) == len(found) <= 25
    for product, rule in found:
        mol = Chem.MolFromSmiles(product)
        assert mol is not None, product
        assert Chem.MolToSmiles(mol) != Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
        assert abs(mol.GetNumHeavyAtoms() - size) <= LARGEST_CHANGE
        assert {atom.GetAtomicNum() for atom in mol.GetAtoms()} <= ORGANIC_ELEMENTS
        assert not any(atom.GetAtomMapNum() for atom in mol.GetAtoms())
        assert "." not in product
        assert rule.split(": ")[0] in ("mutation", "pair", "brics")
        assert "," not in rule


@settings(deadline=None, max_examples=20)
@given(_compound, _seed, st.lists(_compound, max_size=5), st.integers(0, 12))
def test_the_generator_alone_decides(
    smiles: str, seed: int, neighbours: list[str], few: int
) -> None:
    def grow(limit: int) -> list[tuple[str, str]]:
        rng = np.random.default_rng(seed)
        return grow_analogues(smiles, rng, limit, METHODS, SUBSTITUENTS, neighbours)

    many = grow(12)
    random.seed(seed + 1)
    before = random.getstate()
    np.random.seed(5)
    assert grow(12) == many
    assert random.getstate() == before
    # Whoever asks for fewer gets the beginning.
    assert grow(few) == many[:few]


def test_methods_take_turns() -> None:
    smiles = "CC(=O)Nc1ccc(OCCN2CCCCC2)cc1"
    rng = np.random.default_rng(1)
    found = grow_analogues(smiles, rng, 30, METHODS, SUBSTITUENTS, ["CCC(=O)NCc1ccccn1"])
    assert [rule.split(":")[0] for _, rule in found[:3]] == ["mutation", "pair", "brics"]
    assert all(
        _heavy_atoms(rule) <= LARGEST_SUBSTITUENT for _, rule in found if rule.startswith("pair")
    )


def _heavy_atoms(rule: str) -> int:
    new = rule.split(" to ")[1]
    return Chem.MolFromSmiles(new).GetNumAtoms() - 1


@pytest.mark.parametrize(
    ("smiles", "methods", "message"),
    [
        ("c1ccccc", METHODS, "'c1ccccc' is not a readable SMILES"),
        ("", METHODS, "'' is not a readable SMILES"),
        ("CCO", ["wishes"], "method 'wishes': allowed are mutations, pairs, brics"),
    ],
)
def test_refusals(smiles: str, methods: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grow_analogues(smiles, np.random.default_rng(0), 5, methods)
