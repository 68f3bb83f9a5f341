"""A small reference set: proves that two sites standardise and fingerprint alike."""

from __future__ import annotations

from fluid.base.files import canonical_json, sha256_hex
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec, StructureError, standardize

# Salts, mixtures, zwitterions, tautomers, stereo, isotopes, charged and hypervalent groups, odd
# elements, and what only a CXSMILES says.
REFERENCE_SMILES = (
    "CC(=O)Oc1ccccc1C(=O)O", "CC(=O)[O-].[Na+]", "[Na]OC(=O)c1ccccc1", "NCC(=O)O",
    "[NH3+]CC(=O)[O-]", "C[N+](C)(C)CCO.[Cl-]", "O=[N+]([O-])c1ccccc1", "O=N(=O)c1ccccc1",
    "CS(=O)(=O)N", "C[S+]([O-])C", "CS(=O)C", "OC1=NC=CC=C1", "O=C1C=CC=CN1",
    "C[C@H](N)C(=O)O", "F/C=C/F", "F/C=C\\F", "[2H]C([2H])([2H])O", "[13CH4]",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CC12CCC3C(CCC4=CC(=O)CCC34C)C1CCC2O",
    "OB(O)c1ccccc1", "C[Si](C)(C)C", "CP(=O)(O)O", "c1cc[se]c1", "Ic1ccccc1", "BrCCBr",
    "Cl.CN(C)CCC=C1c2ccccc2CCc2ccccc12", "OC(=O)/C=C\\C(=O)O.CN1CCC(CC1)=C1c2ccccc2CCc2cccnc12",
    "N#Cc1ccccc1", "[N-]=[N+]=NCc1ccccc1", "O=c1[nH]c(=O)[nH]cc1F", "C1CC1", "C12C3C4C1C5C2C3C45",
    "c1ccc2c(c1)[nH]c1ccccc12", "CC(C)(C)OC(=O)N", "OCC1OC(O)C(O)C(O)C1O", "CCCCCCCCCCCCCCCC(=O)O",
    "c1ccc(cc1)-c1ccccc1", "C1=CC=CC=CC=C1", "[O-][n+]1ccccc1",
    "CC(C)Cc1ccc(cc1)C(C)C(=O)[O-].[K+].O", "[Pt]", "CC[Hg]Cl", "[CH3]", "CCO.CCCO",
    "CN(C)C(=N)NC(N)=N.O=C(O)c1cc2ccccc2c(Cc2c(O)c(C(=O)O)cc3ccccc23)c1O",
    "Clc1ccccc1CN.CCCCC(CC)COC(=O)CC(C(=O)OCC(CC)CCCC)S(=O)(=O)O",
    "CCCCNc1ccccc1.CS(C)=O.F[P-](F)(F)(F)(F)F", "C1CNCCN1.OC(=O)CC(O)(CC(=O)O)C(=O)O",
    "CCCCN.c1ccncc1CC", "[Gd+3].CC(=O)[O-]", "C[C@H](N)CC |&1:1|", "CCO |Sg:n:1:n:ht|", "CC O",
)  # fmt: skip


def reference_rows(
    standardizer: StandardizerSpec, features: FeatureSpec
) -> list[dict[str, object]]:
    """What this installation computes for the reference set.

    Returns
    -------
    list of dict
        Per structure the SMILES given and either its standard SMILES, InChIKey, unfolded Morgan
        features and descriptors (five significant digits), or the fact that it is refused.
    """
    rows: list[dict[str, object]] = []
    for smiles in REFERENCE_SMILES:
        try:
            structure = standardize(smiles, standardizer)
        except StructureError:
            rows.append({"input": smiles, "refused": True})
            continue
        compound = featurize([structure], [""], features)
        rows.append(
            {
                "input": smiles,
                "smiles": structure.smiles,
                "inchikey": structure.inchikey,
                "environments": compound.environments.tolist(),
                "counts": compound.counts.tolist(),
                "descriptors": [f"{value:.5g}" for value in compound.descriptors[0]],
            }
        )
    return rows


def reference_digest(standardizer: StandardizerSpec, features: FeatureSpec) -> str:
    """SHA-256 of `reference_rows`; equal digests mean equal chemistry."""
    return sha256_hex(canonical_json(reference_rows(standardizer, features)))
