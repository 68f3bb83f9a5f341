"""Folds that all partners of a consortium compute alike, to evaluate on comparable splits.

Every compound in the world has such a fold: HMAC-SHA256, under a key that the partners share, of
the group that the compound belongs to (its scaffold or its cluster). Partners that hold the same
compound find it in the same fold, and nobody sends a compound to anybody. It is the fold assignment
of the MELLODY consortium (Heyndrickx et al. 2023, doi 10.1021/acs.jcim.3c00799; Simm et al. 2021,
doi 10.1186/s13321-021-00576-2).

These are not the folds of cross-fitting (`fluid.learn.folds`), by which a teacher labels the public
set. Those come from a secret that the partner alone holds; a key that others know must never
decide them. So the two keys are files of different kinds and values of different types, and each
is refused where the other belongs.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fluid.base.errors import FileFormatError, FluidError
from fluid.base.files import PRIVATE, write_text

_HEADER = "fluid consortium key 1"
_BYTES = 32
# Characters; a key file has 88.
_LONGEST = 1000


@dataclass(frozen=True)
class ConsortiumKey:
    """A key that all partners of a consortium hold, for evaluation and nothing else."""

    _secret: bytes = field(repr=False)

    def code(self, purpose: str, text: str) -> bytes:
        """HMAC-SHA256 of a text, for one purpose; 32 bytes."""
        key = hmac.digest(self._secret, f"{_HEADER} {purpose}".encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256")


def make_consortium_key(path: Path) -> None:
    """Write a new key that only its owner may read; every partner is given a copy.

    Raises
    ------
    FluidError
        If the file exists: another key would give other folds.
    """
    if path.exists():
        raise FluidError(f"{path}: exists; another key would give other folds")
    write_text(path, f"{_HEADER}\n{secrets.token_hex(_BYTES)}\n", PRIVATE)


def read_consortium_key(path: Path) -> ConsortiumKey:
    """Read a key.

    Raises
    ------
    FileFormatError
        If the file is missing or is not such a key, as a teacher's secret is not. The message does
        not show its content.
    """
    try:
        with path.open(encoding="ascii") as handle:
            text = handle.read(_LONGEST)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read the key ({error.strerror})") from error
    except ValueError:
        text = ""
    if not is_consortium_key(text):
        raise FileFormatError(
            f"{path}: is not a consortium key, which `fluid split-key` makes; a teacher's secret "
            "must not take its place"
        )
    try:
        secret = bytes.fromhex(text.removeprefix(_HEADER).strip())
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise FileFormatError(f"{path}: is damaged; a key has {2 * _BYTES} hexadecimal digits")
    return ConsortiumKey(secret)


def is_consortium_key(text: str) -> bool:
    """Whether a file with this content is one of these keys, whole or not."""
    return text.startswith(_HEADER)


def consortium_folds(groups: Iterable[str], key: ConsortiumKey, by: str, parts: int) -> np.ndarray:
    """The fold of each group.

    Parameters
    ----------
    groups
        n names of groups.
    key
        The consortium's key.
    by
        What the groups are. Two kinds of group have unrelated folds.
    parts
        Number of folds, 2 to 255.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (n,), values 0 to parts - 1.

    Examples
    --------
    >>> key = ConsortiumKey(bytes(32))
    >>> consortium_folds(["c1ccccc1", "C1CCNCC1"], key, by="scaffold", parts=5).tolist()
    [1, 0]
    """
    codes = [int.from_bytes(key.code(f"split {by}", group)[:8], "big") % parts for group in groups]
    return np.array(codes, dtype=np.uint8)
