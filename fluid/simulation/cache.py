"""Keep results by what they were made from, so that an interrupted study resumes."""

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
from fluid.base.files import PRIVATE, atomic_file, canonical_json, sha256_hex
from fluid.base.software import software_versions

Arrays = dict[str, np.ndarray]

_RESULT = re.compile(r"[0-9a-f]{64}\.npz")

# A teacher does not change when the coordinator's code does.
TEACHER_CODE = (
    "base",
    "chem",
    "learn",
    "soft_labels",
    "exchange",
    "public",
    "partner",
    "simulation/predictions.py",
    "simulation/teachers.py",
)
ALL_CODE = (
    *TEACHER_CODE,
    "central",
    "simulation/consortium.py",
    "simulation/hybrids.py",
    "simulation/residual_rounds.py",
    "simulation/rounds.py",
)


@lru_cache(maxsize=8)
def code_digest(places: tuple[str, ...]) -> str:
    """SHA-256 of the source in folders and files of `fluid`: another version has another one."""
    digest = hashlib.sha256()
    root = Path(fluid.__file__).parent
    for place in places:
        target = root / place
        for path in sorted(target.rglob("*.py")) if target.is_dir() else [target]:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class Cache:
    """A folder of results; each file is named after the digest of what the result was made from.

    Parameters
    ----------
    folder
        Created with the first result; None keeps nothing.

    Attributes
    ----------
    hits, made
        How many results were found in the folder, and how many were made.
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
        code: Sequence[str] = ALL_CODE,
    ) -> Arrays:
        """A result from the folder; if it is not there, it is made and kept.

        Parameters
        ----------
        stage
            What kind of result it is; the name of its sub-folder.
        inputs
            Plain values that determine the result, together with the code and the libraries.
        make
            Makes the result.
        code
            Folders and files of `fluid` whose code determines the result.
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
                    "code": code_digest(tuple(code)),
                }
            )
        )
        path = self.folder / stage / f"{key}.npz"
        found = _load(path)
        if found is not None:
            self.hits += 1
            return found
        arrays = make()
        with atomic_file(path, PRIVATE) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
        self.made += 1
        return arrays


def is_cache(folder: Path) -> bool:
    """Whether a folder holds results of a `Cache` and nothing else; hidden files do not count."""
    files = [path for path in folder.rglob("*") if not path.is_dir()] if folder.is_dir() else []
    kept = [path for path in files if not path.name.startswith(".")]
    return bool(kept) and all(_RESULT.fullmatch(path.name) for path in kept)


def _load(path: Path) -> Arrays | None:
    """What a file holds; None if it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
