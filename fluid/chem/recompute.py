"""Compute the identity and the features of compounds again, and find where a file differs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.chem.descriptors import descriptor_names
from fluid.chem.features import featurize
from fluid.chem.standardize import StructureError, standardize_row

# Characters of a SMILES in a message.
_SHOWN = 80


def find_difference(stored: Compounds, chemistry: Chemistry) -> tuple[int, str] | None:
    """Find a compound that is not what its SMILES gives, to the last bit.

    Parameters
    ----------
    stored
        n compounds, from a file.
    chemistry
        The federation's standardiser and features.

    Returns
    -------
    tuple or None
        Position, and column, value and what was computed; None if all are as computed here. Names
        (`Compounds.ids`) can be anything.
    """
    structures = []
    for row, smiles in enumerate(stored.smiles):
        shown = _quoted(smiles)
        try:
            structure = standardize_row(smiles, chemistry.standardizer)
        except StructureError as error:
            return row, f"smiles {shown} cannot be used ({error})"
        # So no compound has two rows under two drawings or salts of it.
        if structure.smiles != smiles:
            return row, f"smiles {shown} is not standard; allowed is {_quoted(structure.smiles)}"
        if structure.inchikey != stored.inchikeys[row]:
            return row, (
                f"inchikey is {_quoted(stored.inchikeys[row])}, but smiles {shown} gives "
                f"{structure.inchikey}"
            )
        structures.append(structure)
    here = featurize(structures, list(stored.ids), chemistry.features)
    for name, mine, theirs in _columns(here, stored):
        for row, (wanted, found) in enumerate(zip(mine, theirs, strict=True)):
            if wanted != found:
                what = _descriptor(here, stored, row) if name == "descriptors" else f"{name} are"
                return row, f"{what} not what smiles {_quoted(stored.smiles[row])} gives"
    return None


def _descriptor(here: Compounds, stored: Compounds, row: int) -> str:
    """Name the first descriptor that differs, and both values."""
    wanted, found = here.descriptors[row], stored.descriptors[row]
    if len(wanted) != len(found):
        return f"descriptors are {len(found)}, {len(wanted)} are needed:"
    column = int(np.flatnonzero(wanted.view(np.uint32) != found.view(np.uint32))[0])
    name = descriptor_names()[column]
    return f"descriptors: {name} is {found[column]:.9g}, computed {wanted[column]:.9g}:"


def _columns(
    here: Compounds, stored: Compounds
) -> Iterator[tuple[str, Iterator[bytes], Iterator[bytes]]]:
    """Each column of features with its values as bytes, computed and stored."""

    def listed(of: Compounds, values: np.ndarray) -> Iterator[bytes]:
        return (values[a:b].tobytes() for a, b in zip(of.offsets, of.offsets[1:], strict=False))

    for name in ("environments", "counts"):
        yield name, listed(here, getattr(here, name)), listed(stored, getattr(stored, name))
    for name in ("fingerprints", "descriptors"):
        mine, theirs = getattr(here, name), getattr(stored, name)
        yield name, (row.tobytes() for row in mine), (row.tobytes() for row in theirs)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def content_digest(compounds: Compounds) -> str:
    """SHA-256 of compounds and their features; names do not count."""
    digest = hashlib.sha256()
    for texts in (compounds.smiles, compounds.inchikeys):
        packed = "\n".join(texts).encode(errors="surrogatepass")
        digest.update(len(packed).to_bytes(8) + packed)
    for values in (
        np.diff(compounds.offsets),
        compounds.environments,
        compounds.counts,
        compounds.fingerprints,
        compounds.descriptors,
    ):
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
