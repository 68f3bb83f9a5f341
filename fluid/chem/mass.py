"""Molar masses."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def molar_masses(smiles: Iterable[str]) -> np.ndarray:
    """Average molar masses in g/mol of standardised structures; float64 of shape (n,).

    Examples
    --------
    >>> molar_masses(["CCO"]).round(2)
    array([46.07])
    """
    from rdkit import Chem
    from rdkit.Chem import Descriptors

    weigh = Descriptors.MolWt  # type: ignore[attr-defined]
    return np.array([weigh(Chem.MolFromSmiles(one)) for one in smiles], dtype=np.float64)
