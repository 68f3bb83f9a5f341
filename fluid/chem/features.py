"""Fingerprints and descriptors: the numbers that every model of a federation sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from fluid.chem.compounds import Compounds
from fluid.chem.standardize import Structure

MAX_COUNT = 255


@dataclass(frozen=True)
class FeatureSpec:
    """Which features a federation computes.

    Attributes
    ----------
    fingerprint
        ``"ecfp"`` (atom invariants of Rogers and Hahn 2010, doi 10.1021/ci100050t) or ``"fcfp"``
        (pharmacophoric invariants).
    radius
        Morgan radius; 2 gives ECFP4 or FCFP4.
    bits
        Folded length, a multiple of 64.
    counts
        Whether models see how often a feature occurs, or only that it does. Similarity always
        uses bits.
    descriptors
        ``"rdkit-2d"`` or ``"none"``.
    """

    fingerprint: str = "ecfp"
    radius: int = 2
    bits: int = 2048
    counts: bool = True
    descriptors: str = "rdkit-2d"

    CHOICES = {"fingerprint": ("ecfp", "fcfp"), "descriptors": ("rdkit-2d", "none")}

    def __post_init__(self) -> None:
        for name, allowed in self.CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"features {name} = {getattr(self, name)!r}: allowed are {allowed}"
                )
        if not 0 <= self.radius <= 5:
            raise ValueError(f"features radius = {self.radius}: allowed are 0 to 5")
        if self.bits % 64 or not 64 <= self.bits <= 65536:
            raise ValueError(
                f"features bits = {self.bits}: allowed are multiples of 64 from 64 to 65536"
            )

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)

    @property
    def n_descriptors(self) -> int:
        """Number of descriptor columns, 0 if there are none."""
        if self.descriptors == "none":
            return 0
        from fluid.chem.descriptors import descriptor_names

        return len(descriptor_names())


@lru_cache(maxsize=8)
def _generator(fingerprint: str, radius: int) -> Any:
    invariants = (
        rdFingerprintGenerator.GetMorganFeatureAtomInvGen() if fingerprint == "fcfp" else None
    )
    return rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, atomInvariantsGenerator=invariants
    )


def morgan_environments(mol: Chem.Mol, spec: FeatureSpec) -> tuple[np.ndarray, np.ndarray]:
    """Unfolded Morgan features of a molecule.

    Returns
    -------
    tuple of numpy.ndarray
        Identifiers (uint32, ascending) and how often each occurs (uint8, cut at 255; 1 if the
        settings leave counts out).
    """
    generator = _generator(spec.fingerprint, spec.radius)
    found = generator.GetSparseCountFingerprint(mol).GetNonzeroElements()
    identifiers = np.fromiter(found.keys(), dtype=np.uint32, count=len(found))
    counts = np.fromiter(found.values(), dtype=np.int64, count=len(found))
    order = np.argsort(identifiers)
    most = MAX_COUNT if spec.counts else 1
    return identifiers[order], np.minimum(counts, most)[order].astype(np.uint8)


def featurize(structures: Sequence[Structure], ids: Sequence[str], spec: FeatureSpec) -> Compounds:
    """Compute the features of standardised structures.

    Parameters
    ----------
    structures
        n standardised compounds.
    ids
        n names, kept beside them.
    spec
        The federation's features.

    Returns
    -------
    Compounds
        n compounds in the same order.
    """
    environments = [morgan_environments(structure.mol, spec) for structure in structures]
    lengths = np.array([len(found) for found, _ in environments], dtype=np.int64)
    empty = np.zeros(0)
    descriptors = np.zeros((len(structures), 0), dtype=np.float32)
    if spec.n_descriptors:
        from fluid.chem.descriptors import compute_descriptors

        descriptors = compute_descriptors([structure.mol for structure in structures])
    return Compounds.from_environments(
        ids=np.array(ids, dtype=object),
        smiles=np.array([structure.smiles for structure in structures], dtype=object),
        inchikeys=np.array([structure.inchikey for structure in structures], dtype=object),
        environments=np.concatenate([empty, *(e for e, _ in environments)]).astype(np.uint32),
        counts=np.concatenate([empty, *(c for _, c in environments)]).astype(np.uint8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        descriptors=descriptors,
        bits=spec.bits,
    )
