"""Every test has a state folder of its own; doctests run in the folder of a small consortium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.doctest import DoctestItem

pytest_plugins = ["tests.sites"]

# Modules whose examples need files.
WITH_FILES = {
    "fluid", "fluid.estimator", "fluid.exchange.federation", "fluid.exchange.public_set",
    "fluid.public.prepare", "fluid.partner.teacher.train", "fluid.partner.annotate",
    "fluid.partner.release.approve", "fluid.central.distill", "fluid.partner.hybrid.train",
    "fluid.report.evaluate", "fluid.simulation.run",
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _state_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Shared sites are made in a state folder of their own, not in this user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _state_of_the_test(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests copy shared sites with their keys; each copy goes its own way."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(autouse=True)
def _in_a_consortium(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = request.node
    if not isinstance(item, DoctestItem):
        return
    module = item.dtest.globs["__name__"]
    if module in WITH_FILES:
        site = request.getfixturevalue("consortium")
        shutil.copytree(site.folder, tmp_path / "site")
        monkeypatch.chdir(tmp_path / "site")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests compute is not kept in the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
