"""Learners by name, for tests of each; those whose library is not installed are skipped."""

from importlib.util import find_spec

import pytest

from fluid.learn.estimators import LEARNERS

needs_torch = pytest.mark.skipif(
    find_spec("torch") is None, reason="PyTorch is not installed (extra 'torch')"
)


def marked(names):
    """Names of learners as parameters of tests."""
    return [pytest.param(one, marks=needs_torch if one == "multitask" else ()) for one in names]


def installed():
    """Learners that can be fitted here."""
    missing = {"multitask"} if find_spec("torch") is None else set()
    return {name: make for name, make in LEARNERS.items() if name not in missing}
