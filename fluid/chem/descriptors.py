"""RDKit 2D descriptors that RDKit computes in compiled code.

The full Python list (`rdkit.Chem.Descriptors`) costs several milliseconds a molecule, most of it
in fragment counts that a fingerprint holds already; this set costs about one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

# Left out of RDKit's property list: stereo-centre counts, which depend on the stereo setting.
_SKIPPED = ("NumAtomStereoCenters", "NumUnspecifiedAtomStereoCenters")
_LARGEST = 1e6


@lru_cache(maxsize=1)
def _properties() -> rdMolDescriptors.Properties:
    names = [n for n in rdMolDescriptors.Properties.GetAvailableProperties() if n not in _SKIPPED]
    return rdMolDescriptors.Properties(names)


@lru_cache(maxsize=1)
def descriptor_names() -> tuple[str, ...]:
    """Names of the descriptors, in column order."""
    blank = Chem.MolFromSmiles("C")
    return (
        *_properties().GetPropertyNames(),
        *(f"SlogP_VSA{i + 1}" for i in range(len(rdMolDescriptors.SlogP_VSA_(blank)))),
        *(f"SMR_VSA{i + 1}" for i in range(len(rdMolDescriptors.SMR_VSA_(blank)))),
        *(f"PEOE_VSA{i + 1}" for i in range(len(rdMolDescriptors.PEOE_VSA_(blank)))),
        *(f"MQN{i + 1}" for i in range(len(rdMolDescriptors.MQNs_(blank)))),
    )


def compute_descriptors(mols: Sequence[Chem.Mol]) -> np.ndarray:
    """The descriptors of molecules.

    Parameters
    ----------
    mols
        n molecules.

    Returns
    -------
    numpy.ndarray
        float32 of shape (n, n_descriptors), in RDKit's own units, finite: what RDKit cannot
        compute is 0, and magnitudes are cut at one million.
    """
    properties = _properties()
    values = np.zeros((len(mols), len(descriptor_names())))
    for row, mol in enumerate(mols):
        values[row] = [
            *properties.ComputeProperties(mol),
            *rdMolDescriptors.SlogP_VSA_(mol),
            *rdMolDescriptors.SMR_VSA_(mol),
            *rdMolDescriptors.PEOE_VSA_(mol),
            *rdMolDescriptors.MQNs_(mol),
        ]
    values = np.nan_to_num(values, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
