"""Public sets in which rows do not say the truth about themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from fluid.chem.arrow import compounds_schema, compounds_to_batch
from fluid.chem.compounds import Compounds, concatenate
from fluid.exchange.sealed import write_sealed

# Makes of a decoy and another compound, one each, a row that is not what it says.
Forgery = Callable[[Compounds, Compounds, np.random.Generator], Compounds]


def _of_other(*fields: str) -> Forgery:
    """Some fields are those of the other compound, the rest is the decoy's."""
    return lambda decoy, other, random: replace(decoy, **{n: getattr(other, n) for n in fields})


def _descriptors(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Forgery:
    return lambda decoy, other, random: replace(
        decoy, descriptors=change(decoy.descriptors.copy(), random).astype(np.float32)
    )


def _one(change: Callable[[np.float32], Any], zero: bool) -> Forgery:
    """One descriptor is changed, one that is 0 or one that is not."""

    def forge(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
        column = random.choice(np.flatnonzero((values[0] == 0) == zero))
        values[0, column] = change(values[0, column])
        return values

    return _descriptors(forge)


def _one_bit(decoy: Compounds, other: Compounds, random: np.random.Generator) -> Compounds:
    bits = decoy.fingerprints.copy()
    bits[0, random.integers(bits.shape[1])] ^= np.uint8(1 << random.integers(8))
    return replace(decoy, fingerprints=bits)


def _one_count(decoy: Compounds, other: Compounds, random: np.random.Generator) -> Compounds:
    counts = decoy.counts.copy()
    counts[random.integers(len(counts))] += 1
    return replace(decoy, counts=counts)


def _one_environment(decoy: Compounds, other: Compounds, random: np.random.Generator) -> Compounds:
    environments = decoy.environments.copy()
    environments[random.integers(len(environments))] += 1
    return replace(decoy, environments=environments)


def _first_block(decoy: Compounds, other: Compounds, random: np.random.Generator) -> Compounds:
    key = other.inchikeys[0][:14] + decoy.inchikeys[0][14:]
    return replace(decoy, inchikeys=np.array([key], dtype=object))


def _drawn_otherwise(decoy: Compounds, other: Compounds, random: np.random.Generator) -> Compounds:
    """The same compound in another order of atoms: last digits of descriptors may differ."""
    mol = Chem.MolFromSmiles(decoy.smiles[0])
    for root in random.permutation(mol.GetNumAtoms()):
        text = Chem.MolToSmiles(mol, rootedAtAtom=int(root))
        if text != decoy.smiles[0]:
            return replace(decoy, smiles=np.array([text], dtype=object))
    return _salt(decoy, other, random)


def _salt(decoy: Compounds, other: Compounds, random: np.random.Generator) -> Compounds:
    """The other compound under the key of its hydrochloride, whose fold is another."""
    text = other.smiles[0] + ".Cl"
    key = Chem.MolToInchiKey(Chem.MolFromSmiles(text))  # type: ignore[no-untyped-call]
    return replace(
        other, smiles=np.array([text], dtype=object), inchikeys=np.array([key], dtype=object)
    )


_FEATURES = ("fingerprints", "environments", "counts", "offsets", "descriptors")

FORGERIES: dict[str, Forgery] = {
    "features of another": _of_other(*_FEATURES),
    "features of another but descriptors": _of_other(*_FEATURES[:-1]),
    "fingerprint of another": _of_other("fingerprints"),
    "one bit": _one_bit,
    "environments and counts of another": _of_other("environments", "counts", "offsets"),
    "one count": _one_count,
    "one environment": _one_environment,
    "descriptors of another": _of_other("descriptors"),
    "a descriptor within 1e-4": _one(lambda value: value * np.float32(1 + 5e-5), False),
    "a descriptor's last bit": _one(lambda value: np.nextafter(value, np.float32(1e9)), False),
    "a descriptor that is 0": _one(lambda value: np.float32(9e-5), True),
    "minus 0": _one(lambda value: np.float32(-0.0), True),
    "a descriptor that is no number": _one(lambda value: np.float32(np.nan), False),
    "key of another": _of_other("inchikeys"),
    "connectivity of another": _first_block,
    "smiles of another": _of_other("smiles"),
    "identity of another": _of_other("smiles", "inchikeys"),
    "drawn otherwise": _drawn_otherwise,
    "as a salt": _salt,
    "twice": lambda decoy, other, random: other,
    "no structure": lambda decoy, other, random: replace(
        decoy, smiles=np.array(["not a structure"], dtype=object)
    ),
}


def forge_row(
    compounds: Compounds, row: int, other: Compounds, name: str, random: np.random.Generator
) -> Compounds:
    """Compounds of which one is replaced by a forgery made of it and another compound."""
    parts = [compounds.take(np.array([place])) for place in range(len(compounds))]
    parts[row] = FORGERIES[name](parts[row], other, random)
    return concatenate(parts)


def write_compounds(path: Path, compounds: Compounds, manifest: dict[str, Any]) -> Path:
    """A sealed file of compounds, with the manifest of another."""
    schema = compounds_schema(compounds.bits, compounds.descriptors.shape[1])
    write_sealed(
        path,
        schema,
        iter([compounds_to_batch(compounds)]),
        lambda rows: manifest | {"n_compounds": rows},
    )
    return path
