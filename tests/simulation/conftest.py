"""One small study for all tests of studies; no test may change it."""

from __future__ import annotations

import pytest

from tests.simulation.small_study import Small, build_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A study of one consortium, with its files and its cache."""
    return build_small(tmp_path_factory.mktemp("study"))
