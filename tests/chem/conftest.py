"""A dozen unlike compounds, featurised once."""

import pytest

from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec, standardize

SMILES = (
    "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "C", "OCC1OC(O)C(O)C(O)C1O", "C[N+](C)(C)CCO", "O=[N+]([O-])c1ccccc1Br", "CS(=O)(=O)NCCF",
    "CC12CCC3C(CCC4=CC(=O)CCC34C)C1CCC2O", "CCCCCCCCCCCCCCCCCC(=O)O", "c1ccc2c(c1)[nH]c1ccccc12",
    "CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21",
)  # fmt: skip


@pytest.fixture(scope="session")
def structures():
    return [standardize(smiles, StandardizerSpec()) for smiles in SMILES]


@pytest.fixture(scope="session")
def compounds(structures):
    return featurize(structures, [f"c{number}" for number in range(len(SMILES))], FeatureSpec())
