"""Bemis-Murcko scaffolds, as keys by which compounds are grouped."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fluid.chem.compounds import Compounds

if TYPE_CHECKING:
    from rdkit import Chem

ACYCLIC = "acyclic:"


def scaffold_keys(compounds: Compounds) -> np.ndarray:
    """The scaffold of each compound.

    The scaffold is that of Bemis and Murcko (1996, doi 10.1021/jm9602928) as RDKit has it: rings,
    linkers, and what is double-bonded to them; without stereochemistry and isotopes.

    Parameters
    ----------
    compounds
        n compounds; only their standard SMILES and InChIKeys are read.

    Returns
    -------
    numpy.ndarray
        Object array of str, shape (n,): the canonical SMILES of the scaffold. A compound without
        ring has no scaffold: its key is its own, ``acyclic:`` and its connectivity, so that
        unlike chains are not taken for relatives.
    """
    return _keys(compounds, _scaffold)


def _scaffold(smiles: str) -> str:
    """Canonical SMILES of the scaffold; empty if the compound has no ring."""
    from rdkit import Chem
    from rdkit.Chem.Scaffolds import MurckoScaffold

    mol = Chem.MolFromSmiles(smiles)
    # Before the scaffold is cut out: a centre that stereo alone tells apart must leave no trace.
    _flatten(mol)
    scaffold = MurckoScaffold.GetScaffoldForMol(mol)  # type: ignore[no-untyped-call]
    return str(Chem.MolToSmiles(scaffold))


def framework_keys(compounds: Compounds) -> np.ndarray:
    """The framework of each compound.

    That is the graph framework of Bemis and Murcko (1996, doi 10.1021/jm9602928): rings and what
    links them, all atoms and all bonds alike. It depends on nothing but the connectivity: drawings
    of one compound that differ in bond orders, charges and stereo have one framework.

    Parameters
    ----------
    compounds
        n compounds; only their standard SMILES and InChIKeys are read.

    Returns
    -------
    numpy.ndarray
        Object array of str, shape (n,); of a compound without ring ``acyclic:`` and its
        connectivity.
    """
    return _keys(compounds, _framework)


def _keys(compounds: Compounds, of: Callable[[str], str]) -> np.ndarray:
    keys = [
        of(smiles) or ACYCLIC + connectivity
        for smiles, connectivity in zip(compounds.smiles, compounds.connectivities, strict=True)
    ]
    return np.array(keys, dtype=object)


@lru_cache(maxsize=1 << 16)
def _framework(smiles: str) -> str:
    """Anonymous SMILES of the framework; empty if the compound has no ring."""
    from rdkit import Chem
    from rdkit.Chem import rdMolHash

    mol = Chem.MolFromSmiles(smiles)
    _flatten(mol)
    scaffold = rdMolHash.MolHash(mol, rdMolHash.HashFunction.MurckoScaffold)
    # What was cut from a sulfone leaves valences that nothing has to make sense of.
    bare = Chem.MolFromSmiles(scaffold, sanitize=False)
    bare.UpdatePropertyCache(strict=False)
    return str(rdMolHash.MolHash(bare, rdMolHash.HashFunction.AnonymousGraph))


def _flatten(mol: Chem.Mol) -> None:
    """Take stereochemistry and isotopes away, in place."""
    from rdkit import Chem

    Chem.RemoveStereochemistry(mol)
    for atom in mol.GetAtoms():
        atom.SetIsotope(0)


@lru_cache(maxsize=1 << 16)
def common_drawing(smiles: str) -> str:
    """SMILES that every drawing of one connectivity gives: of the structure that its InChI states.

    Tautomers that share an InChI have different SMILES and scaffolds, so whoever drew the compound
    otherwise would find it elsewhere.

    Parameters
    ----------
    smiles
        A standard SMILES.

    Returns
    -------
    str
        A canonical SMILES without stereochemistry and isotopes; that of the structure given if its
        InChI cannot be read back.

    Examples
    --------
    >>> common_drawing("Oc1ccccn1") == common_drawing("O=c1cccc[nH]1")
    True
    """
    from rdkit import Chem, rdBase

    mol = Chem.MolFromSmiles(smiles)
    _flatten(mol)
    with rdBase.BlockLogs():
        inchi = Chem.MolToInchi(mol, options="/SNon")  # type: ignore[no-untyped-call]
        back = Chem.MolFromInchi(inchi) if inchi else None  # type: ignore[no-untyped-call]
    return str(Chem.MolToSmiles(mol if back is None else back))
