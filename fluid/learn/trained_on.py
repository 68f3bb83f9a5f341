"""Digests of the compounds that a model learned from, if its library does not hold them all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from fluid.base.arrays import read_array
from fluid.base.errors import FileFormatError
from fluid.chem.compounds import Compounds

TRAINED_ON_FILE = "trained_on.npy"


def digest_connectivities(compounds: Compounds) -> np.ndarray:
    """First 8 bytes of the SHA-256 of each connectivity, uint64 of shape (n,)."""
    digests = [hashlib.sha256(key.encode()).digest()[:8] for key in compounds.connectivities]
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def read_trained_on(path: Path) -> np.ndarray:
    """Digests that were stored, uint64 of shape (n,).

    Raises
    ------
    FileFormatError
        If the file holds something else.
    """
    found = read_array(path)
    if found.ndim != 1 or found.dtype != np.uint64:
        raise FileFormatError(f"{path}: holds no digests")
    return found
