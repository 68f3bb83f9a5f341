"""One small federation for all tests of the commands; nobody may change it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.cli_site import Site, build_site, snapshot


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A finished round of three partners; at the end every byte must be as it was."""
    made = build_site(tmp_path_factory.mktemp("site"))
    before = snapshot(made.folder)
    yield made
    assert snapshot(made.folder) == before
