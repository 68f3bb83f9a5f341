"""Results kept by what they were made from, so that a study resumes where it was interrupted."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import fluid
from fluid.base.files import atomic_file, canonical_json, sha256_hex
from fluid.base.software import software_versions
from fluid.chem.compounds import Compounds

Arrays = dict[str, np.ndarray]

_RESULT = re.compile(r"[0-9a-f]{64}\.npz")

# A teacher does not change when the coordinator's code does.
PARTNER_ROOMS = ("base", "chem", "learn", "soft_labels", "exchange", "public", "partner")
ALL_ROOMS = (
    *PARTNER_ROOMS, "central", "simulate/consortium.py", "simulate/predictions.py",
    "simulate/digests.py",
    "simulate/rounds.py",
)  # fmt: skip


@lru_cache(maxsize=8)
def code_digest(rooms: tuple[str, ...]) -> str:
    """SHA-256 of the source of rooms or files: what another version made is not taken for ours."""
    digest = hashlib.sha256()
    root = Path(fluid.__file__).parent
    for room in rooms:
        place = root / room
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def digest_arrays(*arrays: np.ndarray) -> str:
    """SHA-256 of shapes, types and contents; object arrays must hold text."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        if array.dtype == object:
            digest.update("\n".join(map(str, array)).encode())
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def digest_compounds(compounds: Compounds) -> str:
    """SHA-256 of the structures and features of some compounds, in their order."""
    return digest_arrays(
        compounds.inchikeys, compounds.environments, compounds.counts, compounds.descriptors
    )


class Cache:
    """A folder of results, each in a file named after the digest of what it was made from.

    Parameters
    ----------
    folder
        Made when something is kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.hits = 0
        self.made = 0

    def fetch(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        make: Callable[[], Arrays],
        rooms: Sequence[str] = ALL_ROOMS,
    ) -> Arrays:
        """A result from the folder, or made now and kept.

        Parameters
        ----------
        stage
            What is made; a sub-folder.
        inputs
            Plain values that determine the result together with the code and the libraries.
        make
            Makes it.
        rooms
            Whose code determines it.
        """
        if self.folder is None:
            self.made += 1
            return make()
        key = sha256_hex(
            canonical_json(
                {
                    "stage": stage,
                    "inputs": dict(inputs),
                    "software": software_versions(),
                    "code": code_digest(tuple(rooms)),
                }
            )
        )
        path = self.folder / stage / f"{key}.npz"
        found = _load(path)
        if found is not None:
            self.hits += 1
            return found
        arrays = make()
        with atomic_file(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
        self.made += 1
        return arrays


def is_cache(folder: Path) -> bool:
    """Whether a folder holds results of a `Cache` and, but for hidden files, nothing else."""
    files = [path for path in folder.rglob("*") if not path.is_dir()] if folder.is_dir() else []
    kept = [path for path in files if not path.name.startswith(".")]
    return bool(kept) and all(_RESULT.fullmatch(path.name) for path in kept)


def _load(path: Path) -> Arrays | None:
    """What a file holds; None if it is missing or damaged, for then it is made again."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
