"""A partner's home, made once; each test works on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.partner.release.partner_home import Home, build_home


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return build_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def home(made: Home, tmp_path: Path) -> Home:
    shutil.copytree(made.folder, tmp_path / "home")
    return Home(tmp_path / "home")
