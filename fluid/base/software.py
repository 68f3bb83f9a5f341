"""Versions of what computed a result."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import fluid

_PACKAGES = ("rdkit", "lightgbm", "scikit-learn", "numpy", "scipy", "pyarrow")


def software_versions() -> dict[str, str]:
    """Version of fluid and of each library that can change a number."""
    found = {"fluid": fluid.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
