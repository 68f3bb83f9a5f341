"""Two sites prove that they compute the same before they work together."""

import dataclasses

import pytest
import rdkit

from fluid.base.errors import MismatchError
from fluid.base.files import canonical_json
from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec
from fluid.chem.reference import REFERENCE_SMILES, reference_rows
from fluid.chem.standardize import StandardizerSpec


@pytest.fixture(scope="module")
def chemistry():
    return Chemistry.here(StandardizerSpec(), FeatureSpec())


def test_this_installation_agrees_with_itself(chemistry):
    chemistry.check("federation 'demo'")
    assert chemistry.rdkit == rdkit.__version__


def test_another_result_is_refused_and_the_version_to_install_named(chemistry):
    other = dataclasses.replace(chemistry, rdkit="2019.03.1", reference="0" * 64)
    expected = r"than federation 'demo' was made with.*000000000000; install RDKit 2019\.03\.1"
    with pytest.raises(MismatchError, match=expected):
        other.check("federation 'demo'")


@pytest.mark.parametrize(
    ("standardizer", "features"),
    [
        (StandardizerSpec(stereo="keep"), FeatureSpec()),
        (StandardizerSpec(isotopes="keep"), FeatureSpec()),
        (StandardizerSpec(mixtures="largest"), FeatureSpec()),
        (StandardizerSpec(), FeatureSpec(radius=1)),
        (StandardizerSpec(), FeatureSpec(fingerprint="fcfp")),
        (StandardizerSpec(), FeatureSpec(counts=False)),
        (StandardizerSpec(), FeatureSpec(descriptors="none")),
    ],
)
def test_the_digest_sees_settings_that_change_numbers(chemistry, standardizer, features):
    assert Chemistry.here(standardizer, features).reference != chemistry.reference


def test_chemistry_survives_as_plain_values(chemistry):
    values = chemistry.to_dict()
    canonical_json(values)
    assert Chemistry.from_dict(values) == chemistry


def test_reference_rows_name_every_structure_and_refuse_what_must_be_refused():
    rows = reference_rows(StandardizerSpec(), FeatureSpec())
    assert [row["input"] for row in rows] == list(REFERENCE_SMILES)
    refused = [row["input"] for row in rows if "refused" in row]
    assert refused == [
        *("[Pt]", "CC[Hg]Cl", "[CH3]", "CCO.CCCO"),
        *("C1CNCCN1.OC(=O)CC(O)(CC(=O)O)C(=O)O", "[Gd+3].CC(=O)[O-]"),
        *("CCO |Sg:n:1:n:ht|", "CC O"),
    ]
    standard = {row["input"]: row.get("smiles") for row in rows}
    for salt, parent in (("pamoate", "CN(C)C(=N)NC(=N)N"), ("docusate", "NCc1ccccc1Cl")):
        assert parent in standard.values(), salt
    assert rows[0]["inchikey"] == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
