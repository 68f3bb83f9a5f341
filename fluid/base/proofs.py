"""What this machine has computed itself: digests, kept in a folder that only its user can write.

Whoever sends files can name any digest in them. What counts as checked is therefore neither in a
file that was sent nor beside one: it lies in the user's own cache, under a code (HMAC) of a secret
that never leaves it.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluid.base.errors import FluidError
from fluid.base.files import atomic_file, canonical_json, sha256_hex

logger = logging.getLogger(__name__)

_SECRET = "secret"
_SECRET_BYTES = 32


def cache_folder() -> Path:
    """The user's cache of fluid: ``$XDG_CACHE_HOME/fluid``, by default ``~/.cache/fluid``."""
    stated = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification says to ignore relative paths.
    return (stated if stated.is_absolute() else Path.home() / ".cache") / "fluid"


class Proofs:
    """Digests of what was computed here with the same settings and versions.

    A folder that others can write, or cannot be made, is not used: digests are then kept as long
    as the process lives.

    Parameters
    ----------
    basis
        Everything that a result depends on besides the content of a digest, in plain values.
    folder
        Where proofs are kept; None keeps none.
    """

    def __init__(self, basis: Mapping[str, Any], folder: Path | None) -> None:
        self._path: Path | None = None
        self._secret = b""
        self._known: set[str] = set()
        self._kept: set[str] = set()
        if folder is None:
            return
        try:
            self._secret = _open_secret(folder)
        except (OSError, FluidError) as error:
            logger.warning(
                "%s: cannot be used (%s); what was checked is not remembered", folder, error
            )
            return
        self._path = folder / f"computed-{sha256_hex(canonical_json(basis))[:32]}"
        self._kept = self._read()
        self._known |= self._kept

    @classmethod
    def open(cls, basis: Mapping[str, Any]) -> Proofs:
        """The proofs in this user's cache."""
        try:
            return cls(basis, cache_folder())
        except RuntimeError:
            # The user has no home.
            return cls(basis, None)

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def add(self, digest: str) -> None:
        """Note that the content of this SHA-256 was computed here; `save` keeps it."""
        self._known.add(digest)

    def save(self) -> None:
        """Keep what was noted, besides what other runs have kept meanwhile."""
        if self._path is None or self._known <= self._kept:
            return
        self._known |= self._read()
        text = "\n".join(sorted(self._known))
        try:
            with atomic_file(self._path, 0o600) as temporary:
                temporary.write_text(f"{self._code(text)}\n{text}", encoding="ascii")
        except (OSError, FluidError) as error:
            logger.warning("%s: cannot be written (%s)", self._path, error)
            return
        self._kept = set(self._known)

    def _read(self) -> set[str]:
        assert self._path is not None
        try:
            code, _, text = self._path.read_text(encoding="ascii").partition("\n")
        except (OSError, UnicodeDecodeError):
            return set()
        return set(text.split("\n")) if hmac.compare_digest(code, self._code(text)) else set()

    def _code(self, text: str) -> str:
        assert self._path is not None
        # The name is part of it: a file cannot stand for that of other settings.
        return hmac.digest(self._secret, f"{self._path.name}\n{text}".encode(), "sha256").hex()


def _open_secret(folder: Path) -> bytes:
    """The secret of a folder that belongs to this user alone; made if it does not exist."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise FluidError("it must belong to this user alone, with mode 0700")
    path = folder / _SECRET
    if not path.exists():
        with atomic_file(path, 0o600) as temporary:
            temporary.write_bytes(os.urandom(_SECRET_BYTES))
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(file.fileno())
        secret = file.read(_SECRET_BYTES + 1)
    if state.st_uid != os.geteuid() or state.st_mode & 0o077 or len(secret) != _SECRET_BYTES:
        raise FluidError(f"'{_SECRET}' must be a file of 32 bytes that belongs to this user alone")
    return secret
