"""Scaffolds group relatives, are blind to stereo and isotopes, and leave chains to themselves."""

import dataclasses

import numpy as np
import pytest
from rdkit import Chem

from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.scaffolds import scaffold_keys
from fluid.chem.standardize import StandardizerSpec, standardize


def keys(*smiles, spec=None):
    structures = [standardize(one, spec or StandardizerSpec()) for one in smiles]
    names = [str(row) for row in range(len(smiles))]
    return scaffold_keys(
        featurize(structures, names, FeatureSpec(bits=64, descriptors="none"))
    ).tolist()


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
