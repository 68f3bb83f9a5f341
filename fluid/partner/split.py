"""Divide a private table into folds that all partners of a consortium compute alike.

For evaluation only: train on some of the folds, evaluate on another, and compare with what other
partners find on theirs. How a teacher labels the public set is decided by folds of its own
(`fluid.learn.folds`), which no other partner can compute.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from fluid.base.errors import FluidError, TableError
from fluid.base.files import PRIVATE, atomic_file, canonical_json
from fluid.base.run import Run
from fluid.base.show import csv_cell, printable
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.featurizer import Featurized, featurize_entries
from fluid.chem.scaffolds import common_drawing, scaffold_keys
from fluid.chem.standardize import Structure
from fluid.chem.tables import EntryTable, open_entries, shorten
from fluid.exchange.federation import Federation
from fluid.learn.consortium_folds import ConsortiumKey, consortium_folds, read_consortium_key
from fluid.public.clusters import Clusters, open_clusters
from fluid.public.select import assign

logger = logging.getLogger(__name__)

BY_SCAFFOLD, BY_CLUSTER = "scaffold", "cluster"
COLUMNS = ("file", "line", "id", "standard_smiles", "inchikey", "group", "fold", "problem")


@dataclass(frozen=True)
class SplitSummary:
    """A table in folds.

    Attributes
    ----------
    check
        16 hexadecimal digits: partners with the same digits have the same key, settings, clusters
        and chemistry, and so the same folds. They do not tell the key or any compound.
    by, parts
        What shares a fold, and the number of folds.
    n_rows, n_rejected
        Rows of the tables, and those without a fold because of their structure.
    compounds, groups
        Different connectivities, and scaffolds or clusters, in each fold; tuples of `parts`.
    """

    check: str
    by: str
    parts: int
    n_rows: int
    n_rejected: int
    compounds: tuple[int, ...]
    groups: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "check": self.check,
            "by": self.by,
            "parts": self.parts,
            "rows": self.n_rows,
            "rejected": self.n_rejected,
            "compounds": sum(self.compounds),
            "folds": [
                {"fold": fold, "compounds": compounds, "groups": groups}
                for fold, (compounds, groups) in enumerate(
                    zip(self.compounds, self.groups, strict=True)
                )
            ],
        }


def split(
    tables: Sequence[Path | str],
    federation: Federation | Path | str,
    key: ConsortiumKey | Path | str,
    output: Path | str,
    *,
    clusters: Clusters | Path | str | None = None,
    parts: int = 5,
    smiles_column: str | None = None,
    id_column: str | None = None,
    run: Run | None = None,
) -> SplitSummary:
    """Write the fold of every compound of a table.

    The fold depends on nothing but the compound's connectivity, the key and the settings, so
    partners that hold the same compound find it in the same fold, in whatever order and however
    drawn. Labels are not read.

    Without clusters, compounds of one Bemis-Murcko scaffold share a fold; a compound without ring
    is by itself. With clusters, compounds of one leader do: the nearest, the first of equals. One
    that is in no cluster goes by its scaffold.

    These folds are for evaluation. They must not take the place of a teacher's secret folds, and
    cannot: the key is not accepted there.

    Parameters
    ----------
    tables
        Private tables; read as one.
    federation
        The contract; its standardiser and fingerprint are used.
    key
        The consortium's key, see `fluid.learn.consortium_folds`.
    output
        The CSV file to write, owner-only: one row per row of the tables, in their order. A row that
        cannot be used has no fold and says why.
    clusters
        A file of clusters that all partners have; by default compounds go by scaffold.
    parts
        Number of folds, 2 to 255.
    smiles_column, id_column
        Column names, where the usual ones do not fit.
    run
        Cores, and a callback with the number of rows read so far. The file does not depend on it.

    Raises
    ------
    FluidError
        If a setting is not allowed, federation and clusters do not belong together, or a table or
        the key cannot be read.
    """
    if not 2 <= parts <= 255:
        raise FluidError(f"parts = {parts}: allowed are 2 to 255 folds")
    contract, run, output = Federation.load(federation), run or Run(), Path(output)
    if not isinstance(key, ConsortiumKey):
        key = read_consortium_key(Path(key))
    contract.chemistry.check(f"federation '{contract.name}'")
    if clusters is not None and not isinstance(clusters, Clusters):
        clusters = open_clusters(Path(clusters))
    if clusters is not None:
        clusters.check(contract)
    features = replace(contract.chemistry.features, descriptors="none")
    grouping = _Grouping(features, clusters)
    by = BY_SCAFFOLD if clusters is None else BY_CLUSTER
    entries = [open_entries(Path(path), smiles_column, id_column) for path in tables]
    standardizer = contract.chemistry.standardizer
    counts = _Counts()
    with (
        atomic_file(output, PRIVATE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for table in entries:
            batches = featurize_entries(table, standardizer, features, run.cores, run.workers)
            for batch in batches:
                groups = grouping.of(batch.compounds)
                folds = consortium_folds(groups, key, by, parts)
                counts.add(batch, groups, folds)
                for row in _rows(table, batch, groups, folds):
                    writer.writerow([csv_cell(str(value)) for value in row])
                run.progress(counts.n_rows)
        counts.check(", ".join(str(path) for path in tables))
    settings = {
        "reference": contract.chemistry.reference,
        "by": by,
        "parts": parts,
        "clusters": None if clusters is None else clusters.digest,
    }
    check = key.code("settings", canonical_json(settings).decode()).hex()[:16]
    return counts.summary(check, by, parts)


class _Grouping:
    """What shares a fold: the cluster of a compound, or its scaffold if it is in none."""

    def __init__(self, features: FeatureSpec, clusters: Clusters | None) -> None:
        self._features = features
        self._clusters = clusters
        self._leaders = None if clusters is None else clusters.compounds()

    def of(self, compounds: Compounds) -> list[str]:
        """Group of each compound, whatever tautomer it is drawn as."""
        drawings = [common_drawing(smiles) for smiles in compounds.smiles]
        drawn = replace(compounds, smiles=np.array(drawings, dtype=object))
        scaffolds: list[str] = scaffold_keys(drawn).tolist()
        if self._clusters is None or self._leaders is None:
            return scaffolds
        structures = [
            Structure(smiles, key, Chem.MolFromSmiles(smiles))
            for smiles, key in zip(drawings, compounds.inchikeys, strict=True)
        ]
        fingerprints = featurize(structures, drawings, self._features).fingerprints
        nearest, similarity = assign([fingerprints], self._leaders.fingerprints)
        inside = similarity >= np.float32(self._clusters.floor)
        names = self._leaders.connectivities[nearest]
        return np.where(inside, names, np.array(scaffolds, dtype=object)).tolist()


def _rows(
    table: EntryTable, batch: Featurized, groups: Sequence[str], folds: np.ndarray
) -> list[tuple[object, ...]]:
    """Rows of the sheet for a batch, in the order of the table."""
    file = printable(table.table.path.name)
    compounds = batch.compounds
    columns = (batch.entries, compounds.smiles, compounds.inchikeys, groups, folds.tolist())
    rows: list[tuple[object, ...]] = [
        (file, entry.row.line, entry.id, *values, "")
        for entry, *values in zip(*columns, strict=True)
    ]
    for entry, reason in batch.rejects:
        shown = printable(shorten(reason))
        rows.append((file, entry.row.line, entry.id, "", "", "", "", shown))
    return sorted(rows, key=itemgetter(1))


@dataclass
class _Counts:
    """What is counted while a sheet is written."""

    n_rows: int = 0
    n_rejected: int = 0
    folds: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)

    def add(self, batch: Featurized, groups: Sequence[str], folds: np.ndarray) -> None:
        """Count a batch."""
        self.n_rows += len(batch.entries) + len(batch.rejects)
        self.n_rejected += len(batch.rejects)
        self.folds.update(zip(batch.compounds.connectivities, folds.tolist(), strict=True))
        self.groups.update(zip(groups, folds.tolist(), strict=True))

    def check(self, names: str) -> None:
        """Raise `TableError` if there was nothing to divide."""
        if not self.n_rows:
            raise TableError(f"{names}: a header but no rows")
        if not self.folds:
            raise TableError(f"{names}: no usable structure among {self.n_rows} rows")

    def summary(self, check: str, by: str, parts: int) -> SplitSummary:
        """The summary; warns of folds of very different sizes."""
        compounds, groups = (
            tuple(np.bincount(list(found.values()), minlength=parts).tolist())
            for found in (self.folds, self.groups)
        )
        if max(compounds) > 2 * len(self.folds) / parts or not min(compounds):
            logger.warning(
                "the folds hold %d to %d compounds: a few large groups decide their sizes",
                min(compounds),
                max(compounds),
            )
        return SplitSummary(check, by, parts, self.n_rows, self.n_rejected, compounds, groups)
