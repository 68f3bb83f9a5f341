"""Compounds kept out of a public set, such as those on which models will be tested."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, TableError
from fluid.base.files import sha256_file
from fluid.base.run import Run
from fluid.base.show import printable
from fluid.chem.compounds import Compounds
from fluid.chem.similarity import nearest_references
from fluid.public.candidates import Tables

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exclusion:
    """What a public set must not hold.

    Attributes
    ----------
    tables
        Tables of structures. Their compounds are kept out by connectivity, so with all their salts
        and stereoisomers, and even if they are donated.
    similarity
        Compounds whose Tanimoto similarity to any of these is this or more are kept out too, above
        0 to 1, by the federation's folded fingerprint. None for those of the tables alone.
    """

    tables: tuple[Path, ...]
    similarity: float | None = None

    def __post_init__(self) -> None:
        if self.similarity is not None and not 0.0 < self.similarity <= 1.0:
            raise FluidError(f"exclude similarity = {self.similarity}: allowed are above 0 to 1")


@dataclass
class ExclusionFilter:
    """Divides compounds into those that a public set may hold and those that are kept out.

    Memory grows with the excluded tables, not with what is divided.

    Attributes
    ----------
    exclusion
        What is kept out.
    connectivities, fingerprints
        Of the excluded compounds: a set of str, and uint8 of shape (n, bytes).
    identical, similar
        InChIKeys of what was kept out so far, by its reason.
    """

    exclusion: Exclusion
    connectivities: set[str]
    fingerprints: np.ndarray
    identical: set[str] = field(default_factory=set)
    similar: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, exclusion: Exclusion, tables: Tables, run: Run) -> ExclusionFilter:
        """Read the excluded tables.

        Parameters
        ----------
        exclusion
            What is to be kept out.
        tables
            How tables are read; its paths are not.
        run
            How to run.

        Raises
        ------
        TableError
            If a table cannot be read, or holds no usable structure.
        """
        # Similarity takes no descriptors.
        features = replace(tables.chemistry.features, descriptors="none")
        connectivities: dict[str, None] = {}
        fingerprints = [np.zeros((0, features.bits // 8), np.uint8)]
        for path in exclusion.tables:
            table = replace(tables, paths=[path]).open()[0]
            n_found = n_rejected = 0
            for batch in tables.featurize(table, features, run):
                n_found += len(batch.entries)
                n_rejected += len(batch.rejects)
                connectivities.update(dict.fromkeys(batch.compounds.connectivities))
                fingerprints.append(batch.compounds.fingerprints)
            if not n_found:
                raise TableError(f"{path}: no usable structure among {n_rejected} rows to exclude")
            if n_rejected:
                logger.warning(
                    "%s: %d of %d structures cannot be used, so nothing is excluded by them",
                    path,
                    n_rejected,
                    n_found + n_rejected,
                )
        different = np.unique(np.concatenate(fingerprints), axis=0)
        return cls(exclusion, set(connectivities), different)

    def allowed(self, compounds: Compounds) -> np.ndarray:
        """Which compounds the public set may hold; the others are counted.

        Returns
        -------
        numpy.ndarray
            bool of shape (n,).
        """
        identical = np.array([key in self.connectivities for key in compounds.connectivities], bool)
        similar = np.zeros(len(compounds), bool)
        if self.exclusion.similarity is not None:
            nearest, _ = nearest_references(compounds.fingerprints, self.fingerprints, 1)
            similar = ~identical & (nearest[:, 0] >= np.float32(self.exclusion.similarity))
        self.identical.update(compounds.inchikeys[identical])
        self.similar.update(compounds.inchikeys[similar])
        return ~(identical | similar)

    @property
    def n_excluded(self) -> int:
        """Different compounds that were kept out."""
        return len(self.identical) + len(self.similar)

    def account(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {
            "tables": [
                {"name": printable(path.name), "sha256": sha256_file(path)}
                for path in self.exclusion.tables
            ],
            "similarity": self.exclusion.similarity,
            "n_identical": len(self.identical),
            "n_similar": len(self.similar),
        }
