"""One small federation for all tests of the commands; nobody may change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cli_site import Site, build_site, snapshot


def _but_ledgers(folder: Path) -> dict[str, str]:
    """What lies in a folder; every query of a teacher adds to its ledger, and it shall."""
    return {
        name: digest for name, digest in snapshot(folder).items()
        if not name.endswith(("ledger.jsonl", ".ledger.json"))
    }  # fmt: skip


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A finished round of three partners; at the end every byte must be as it was."""
    made = build_site(tmp_path_factory.mktemp("site"))
    before = _but_ledgers(made.folder)
    yield made
    assert _but_ledgers(made.folder) == before
