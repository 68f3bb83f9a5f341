"""A compound's fold depends on the compound and the key, and on nothing else."""

import hashlib
import hmac
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.chem.scaffolds import framework_keys
from fluid.learn.folds import BY_FRAMEWORK, fold_keys, keyed_folds
from fluid.learn.own_fold import folds_of_repeats

KEYS = st.text(string.ascii_uppercase, min_size=14, max_size=14)


def test_folds_of_known_compounds_under_a_known_key():
    benzoic, ethanol, aspirin = "WPYMKLBDIGXBTP", "LFQSCWFLJHTTHZ", "BSYNRYMUTXBXSQ"
    secret = bytes(range(32))
    found = [keyed_folds([benzoic, ethanol, aspirin], secret, r, 5).tolist() for r in (0, 1)]
    assert found == [[3, 1, 1], [1, 4, 0]]


def test_a_fold_is_a_keyed_hash_of_the_connectivity():
    key = hmac.new(b"s" * 32, b"fluid fold key 3", hashlib.sha256).digest()
    mac = hmac.new(key, b"BSYNRYMUTXBXSQ", hashlib.sha256).digest()
    expected = int.from_bytes(mac[:8], "big") % 7
    assert keyed_folds(["BSYNRYMUTXBXSQ"], b"s" * 32, 3, 7).tolist() == [expected]


@settings(deadline=None)
@given(st.lists(KEYS, max_size=12), st.binary(min_size=32, max_size=32), st.integers(2, 20))
def test_a_fold_depends_neither_on_the_others_nor_on_the_order(names, secret, n_folds):
    together = keyed_folds(names, secret, 0, n_folds)
    assert together.dtype == np.uint8
    assert together.tolist() == [keyed_folds([n], secret, 0, n_folds)[0] for n in names]
    assert keyed_folds(names[::-1], secret, 0, n_folds).tolist() == together.tolist()[::-1]
    assert all(fold < n_folds for fold in together)


def test_folds_are_of_like_size():
    names = [f"{number:014d}" for number in range(6000)]
    counts = np.bincount(keyed_folds(names, bytes(32), 0, 6), minlength=6)
    # Six standard deviations of a binomial count with n = 6000, p = 1/6.
    assert np.all(np.abs(counts - 1000) < 6 * np.sqrt(6000 * 5 / 36))


def test_another_key_or_repeat_divides_independently():
    names = [f"{number:014d}" for number in range(3000)]
    first = keyed_folds(names, bytes(32), 0, 5)
    for other in (keyed_folds(names, bytes(32), 1, 5), keyed_folds(names, b"\1" * 32, 0, 5)):
        assert np.mean(first == other) == pytest.approx(0.2, abs=0.05)


def test_stereoisomers_salts_and_isotopes_share_a_fold(library):
    folds = folds_of_repeats(library, bytes(32), 4, 5)
    assert folds.shape == (4, len(library))
    for repeat in range(4):
        expected = keyed_folds([key[:14] for key in library.inchikeys], bytes(32), repeat, 5)
        assert folds[repeat].tolist() == expected.tolist()


def test_compounds_of_one_framework_share_a_fold(library):
    folds = folds_of_repeats(library, bytes(32), 4, 5, BY_FRAMEWORK)
    keys = framework_keys(library)
    assert fold_keys(library, BY_FRAMEWORK).tolist() == keys.tolist()
    assert fold_keys(library).tolist() == [key[:14] for key in library.inchikeys]
    together = 0
    for key in set(keys):
        rows = np.flatnonzero(keys == key)
        together += len(rows) > 1
        assert len({tuple(column) for column in folds[:, rows].T}) == 1
    assert together > 0
    assert not np.array_equal(folds, folds_of_repeats(library, bytes(32), 4, 5))
