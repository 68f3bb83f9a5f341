"""Keyed folds: every compound in the world has one, and only the key's owner knows which.

No model of a compound's fold learns from the compounds that share it. By default a fold keeps all
records of one compound together; by framework, all compounds of one ring skeleton.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

import numpy as np

from fluid.base.errors import TrainingError
from fluid.chem.compounds import Compounds
from fluid.chem.scaffolds import framework_keys

SECRET_BYTES = 32
BY_COMPOUND, BY_FRAMEWORK = "compound", "framework"
# What shares a fold; each choice hides whatever the ones before it hide.
FOLDS_BY = (BY_COMPOUND, BY_FRAMEWORK)


def check_cross_fitting(folds: int, repeats: int, seed: int = 0) -> None:
    """Raise `TrainingError` if a setting is outside the range that cross-fitting is made for."""
    if not 3 <= folds <= 20:
        raise TrainingError(f"folds = {folds}: allowed are 3 to 20")
    if not 1 <= repeats <= 20:
        raise TrainingError(f"repeats = {repeats}: allowed are 1 to 20")
    if not 0 <= seed < 2**31:
        raise TrainingError(f"seed = {seed}: allowed are 0 to 2147483647")


def looser(one: str, other: str) -> bool:
    """Whether one way to form folds hides less than another."""
    return FOLDS_BY.index(one) < FOLDS_BY.index(other)


def fold_keys(compounds: Compounds, by: str = BY_COMPOUND) -> np.ndarray:
    """What decides the fold of each compound.

    Parameters
    ----------
    compounds
        n compounds.
    by
        ``"compound"``: its connectivity. ``"framework"``: its ring skeleton, see
        `fluid.chem.scaffolds.framework_keys`.

    Returns
    -------
    numpy.ndarray
        Object array of str, shape (n,).
    """
    return framework_keys(compounds) if by == BY_FRAMEWORK else compounds.connectivities


def keyed_folds(keys: Iterable[str], secret: bytes, repeat: int, n_folds: int) -> np.ndarray:
    """The fold of each compound: HMAC-SHA256 of what decides it, modulo the number of folds.

    The fold depends on nothing but the compound and the key, so whether the compound is in the
    training data makes no difference, and nobody without the key can tell folds apart.

    Parameters
    ----------
    keys
        First blocks of InChIKeys, or see `fold_keys`.
    secret
        The partner's key, 32 random bytes.
    repeat
        Which of the repeated divisions; each has a key of its own derived from the secret.
    n_folds
        Number of folds, 2 to 255.

    Returns
    -------
    numpy.ndarray
        uint8 of shape (n,), values 0 to n_folds - 1.

    Examples
    --------
    >>> keyed_folds(["QTBSBXVTEAMEQO", "LFQSCWFLJHTTHZ"], bytes(32), repeat=0, n_folds=5).tolist()
    [2, 1]
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.hmac import HMAC

    key = hmac.digest(secret, f"fluid fold key {repeat}".encode(), "sha256")
    prepared = HMAC(key, hashes.SHA256())
    digests = []
    for name in keys:
        # Half as long as by Python's own module.
        mac = prepared.copy()
        mac.update(name.encode())
        digests.append(mac.finalize())
    first = np.frombuffer(b"".join(digests), dtype=">u8")[:: hashes.SHA256.digest_size // 8]
    return (first % n_folds).astype(np.uint8)
