"""Scaffolds group relatives, are blind to stereo and isotopes, and leave chains to themselves."""

import csv
import dataclasses

import numpy as np
import pytest
from rdkit import Chem

from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.scaffolds import framework_keys, scaffold_keys
from fluid.chem.standardize import StandardizerSpec, StructureError, standardize
from tests.conftest import DATA


def featurized(*smiles, spec=None):
    structures = [standardize(one, spec or StandardizerSpec()) for one in smiles]
    names = [str(row) for row in range(len(smiles))]
    return featurize(structures, names, FeatureSpec(bits=64, descriptors="none"))


def keys(*smiles, spec=None):
    return scaffold_keys(featurized(*smiles, spec=spec)).tolist()


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CC(=O)Oc1ccccc1C(=O)O", "c1ccccc1"),
        ("CC(C)Cc1ccc(cc1)C(C)C(=O)O", "c1ccccc1"),
        ("CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "O=c1[nH]c(=O)c2[nH]cnc2[nH]1"),
        ("CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21", "c1ccc2c(c1)Nc1ccccc1S2"),
        ("OC1CCCC(CCc2cc(O)ccn2)C1", "c1ccc(CCC2CCCCC2)nc1"),
    ],
)
def test_scaffolds_of_known_compounds(smiles, expected):
    assert keys(smiles) == [expected]


def test_compounds_without_ring_are_their_own_groups():
    found = keys("CCO", "CCCCCCC", "CCC(=O)NC")
    assert found[0] == "acyclic:LFQSCWFLJHTTHZ"
    assert len(set(found)) == 3


def test_stereo_and_isotopes_make_no_difference():
    keep = StandardizerSpec(stereo="keep", isotopes="keep")
    decalins = keys("C1CC[C@H]2CCCC[C@H]2C1", "C1CC[C@H]2CCCC[C@@H]2C1", spec=keep)
    assert decalins == ["C1CCC2CCCCC2C1"] * 2
    assert (
        keys("C/C=C1/CCC(CC1)c1ccccc1", r"C/C=C1\CCC(CC1)c1ccccc1", spec=keep)[0]
        == (keys("CC=C1CCC(CC1)c1ccccc1")[0])
    )
    assert keys("[13cH]1ccccc1C", "Cc1ccccc1", spec=keep) == ["c1ccccc1"] * 2


def test_a_scaffold_is_part_of_its_compound_and_its_own_scaffold(compounds):
    found = scaffold_keys(compounds)
    assert found.dtype == object
    assert found.shape == (len(compounds),)
    for key, smiles in zip(found, compounds.smiles, strict=True):
        mol = Chem.MolFromSmiles(smiles)
        if not mol.GetRingInfo().NumRings():
            assert key == f"acyclic:{Chem.MolToInchiKey(mol)[:14]}"
            continue
        assert not key.startswith("acyclic:")
        scaffold = Chem.MolFromSmiles(key)
        assert scaffold.GetRingInfo().NumRings() == mol.GetRingInfo().NumRings()
        assert keys(key) == [key]


def test_a_key_depends_on_the_compound_alone(compounds):
    found = scaffold_keys(compounds)
    order = np.random.default_rng(3).permutation(len(compounds))
    assert scaffold_keys(compounds.take(order)).tolist() == found[order].tolist()
    renamed = dataclasses.replace(compounds, ids=compounds.ids[::-1])
    assert scaffold_keys(renamed).tolist() == found.tolist()


# --- frameworks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CC(=O)Oc1ccccc1C(=O)O", "*1*****1"),
        # An exocyclic oxygen is no part of it.
        ("O=C1CCCCN1", "*1*****1"),
        ("CCOc1ccc(cc1)S(=O)(=O)c1ccccc1", "*1***(**2*****2)**1"),
        ("FS(F)(F)(F)(F)c1ccccc1", "*1*****1"),
        ("C1CCC2(CC1)CCCC2", "*1***2(**1)****2"),
        ("CCO", "acyclic:LFQSCWFLJHTTHZ"),
    ],
)
def test_frameworks_of_known_compounds(smiles, expected):
    assert framework_keys(featurized(smiles)).tolist() == [expected]


def test_a_series_has_one_framework():
    series = ["c1ccccc1CCN", "Cc1ccncc1C(=O)O", "C1CCCCC1O", "O=c1cccc[nH]1", "Oc1ccccn1"]
    assert len(set(framework_keys(featurized(*series)))) == 1


def test_a_framework_is_what_is_left_when_ends_are_cut_off(compounds):
    for key, smiles in zip(framework_keys(compounds), compounds.smiles, strict=True):
        mol = Chem.RWMol(Chem.MolFromSmiles(smiles))
        while ends := [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetDegree() < 2]:
            mol.RemoveAtom(ends[0])
        assert key.count("*") == mol.GetNumAtoms()
        assert key.startswith("acyclic:") == (mol.GetNumAtoms() == 0)


def test_two_tautomers_have_one_framework():
    drawn = featurized("O=c1cc(C)cc[nH]1", "Oc1cc(C)ccn1")
    assert len(set(drawn.connectivities)) == 1
    assert len(set(framework_keys(drawn))) == 1


CODEINE = (
    "COc1ccc2CC3C4C=CC(O)C5Oc1c2C45CCN3C",
    "COc1ccc2C[C@H]3[C@H]4C=C[C@H](O)[C@@H]5Oc1c2[C@]45CCN3C",
)


def test_stereo_and_the_order_of_atoms_make_no_other_framework():
    keep = StandardizerSpec(stereo="keep", isotopes="keep")
    drawn = featurized(*CODEINE, "C1CC[C@H]2CCC[C@@H]2C1", "C1CCC2CCCC2C1", spec=keep)
    first, second, hydrindane, flat = framework_keys(drawn)
    assert drawn.smiles[0] != drawn.smiles[1]
    assert first == second
    assert hydrindane == flat
    assert "@" not in first
    mol = Chem.MolFromSmiles(CODEINE[1])
    random = np.random.default_rng(0)
    for _ in range(10):
        order = random.permutation(mol.GetNumAtoms()).tolist()
        text = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
        smiles = np.array([text], dtype=object)
        one = dataclasses.replace(drawn.take(np.arange(1)), smiles=smiles)
        assert framework_keys(one)[0] == first


@pytest.mark.long
def test_all_drawings_of_a_compound_have_one_framework():
    """Tautomers, charges and stereoisomers of the partners' tables, by connectivity."""
    known = {}
    drawings = {}
    for path in sorted((DATA / "partners").glob("*.csv")):
        with path.open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, delimiter=";" if path.stem == "corvus" else ","))
        ends = ("smiles", "structure")
        column = next(name for name in rows[0] if name.lower().endswith(ends))
        for text in dict.fromkeys(row[column] for row in rows):
            try:
                made = standardize(text, StandardizerSpec())
            except StructureError:
                continue
            key = made.inchikey[:14]
            framework = framework_keys(featurized(text))[0]
            assert known.setdefault(key, framework) == framework
            drawings.setdefault(key, set()).add(made.smiles)
    # Some are drawn in more than one way, or this would be about nothing.
    assert sum(len(each) > 1 for each in drawings.values()) > 5
