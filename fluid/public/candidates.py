"""A pool of structures to select the public set from, read twice and held as fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FluidError, TableError
from fluid.base.files import sha256_file
from fluid.base.run import Run
from fluid.base.show import printable
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec
from fluid.chem.featurizer import Featurized, featurize_entries, list_rejects
from fluid.chem.tables import Entry, EntryTable, Reject, open_entries
from fluid.exchange.federation import Federation
from fluid.public.clusters import Clusters, open_clusters
from fluid.public.coverage import Coverage, admit_coverage
from fluid.public.select import Candidates, ClusterShares, FingerprintStore, select_rows

METHOD = "clusters-maxmin/1"


@dataclass(frozen=True)
class Selection:
    """How the public set is selected from a pool.

    Attributes
    ----------
    number
        Compounds to select, donated ones included.
    clusters
        A file of clusters; by default clusters are made of the pool itself.
    coverage
        Partners' coverage reports on these clusters.
    coverage_weight
        Part of the selection that follows the reports, 0 to 1; the rest is even over clusters.
    donated
        Tables of structures that are public already and always kept.
    """

    number: int
    clusters: Path | None = None
    coverage: tuple[Path, ...] = ()
    coverage_weight: float = 0.5
    donated: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 1:
            raise FluidError(f"select = {self.number}: must be 1 or more")
        if not 0.0 <= self.coverage_weight <= 1.0:
            raise FluidError(f"coverage weight = {self.coverage_weight}: allowed are 0 to 1")
        if self.coverage and self.clusters is None:
            raise FluidError(
                f"{self.coverage[0]}: a coverage report counts by clusters; give their file too"
            )

    def verify(self, federation: Federation) -> tuple[Clusters | None, list[Coverage]]:
        """Open and check the clusters and the coverage reports.

        Raises
        ------
        FluidError
            If they do not belong to the federation and to each other, or are not signed.
        """
        if self.clusters is None:
            return None, []
        clusters = open_clusters(self.clusters)
        clusters.check(federation)
        return clusters, admit_coverage(self.coverage, federation, clusters)


@dataclass(frozen=True)
class Tables:
    """Tables of structures, read one after the other and as often as needed.

    Attributes
    ----------
    paths
        The tables.
    chemistry
        How structures are standardised and featurised.
    smiles_column, id_column
        Column names, where the usual ones do not fit.
    """

    paths: Sequence[Path]
    chemistry: Chemistry
    smiles_column: str | None = None
    id_column: str | None = None

    def open(self) -> list[EntryTable]:
        """The tables, to be read from the start."""
        return [open_entries(path, self.smiles_column, self.id_column) for path in self.paths]

    def featurize(
        self, entries: Iterable[Entry], features: FeatureSpec, run: Run
    ) -> Iterator[Featurized]:
        """Standardise and featurise entries of one of the tables."""
        standardizer = self.chemistry.standardizer
        return featurize_entries(entries, standardizer, features, run.cores, run.workers)


@dataclass(frozen=True)
class Pool:
    """What is kept of a pool between the two readings.

    Attributes
    ----------
    candidates
        Fingerprints of the m usable rows; of each connectivity the first row may be selected, and
        is always kept if it or a repeat was donated.
    lines, marks
        int64 and uint64 of shape (m,): the line of each row in its table, and a hash of its
        connectivity.
    bounds
        int64 of shape (tables + 1,): table t holds positions ``bounds[t]:bounds[t + 1]``.
    """

    candidates: Candidates
    lines: np.ndarray
    marks: np.ndarray
    bounds: np.ndarray


def mark_connectivities(compounds: Compounds) -> np.ndarray:
    """64 bits of a hash per connectivity: in one of 10^5 pools of 10^7 compounds two are equal."""
    keys = (
        hashlib.blake2b(key.encode(), digest_size=8).digest() for key in compounds.connectivities
    )
    return np.frombuffer(b"".join(keys), dtype="<u8")


def read_pool(
    tables: Tables,
    n_donated: int,
    run: Run,
    allowed: Callable[[Compounds], np.ndarray] | None = None,
) -> tuple[Pool, list[Reject]]:
    """Read all structures once, and hold their fingerprints.

    Stereoisomers share connectivity, fingerprint and labels, so the first of them stands for all.

    Parameters
    ----------
    tables
        The pool's tables, then the donated ones.
    n_donated
        How many of the tables are donated.
    run
        How to run; `Run.progress` is called with the number of rows read so far.
    allowed
        Tells by a mask which compounds may be in the pool; by default all.

    Returns
    -------
    tuple
        The pool, and the rows that cannot be used.

    Raises
    ------
    TableError
        If a table cannot be read, or no compound is left.
    """
    # Selection needs no descriptors, and they take time.
    features = replace(tables.chemistry.features, descriptors="none")
    store = FingerprintStore(features.bits // 8)
    lines, marks, bounds = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)], [0]
    rejects: list[Reject] = []
    done = 0
    for table in tables.open():
        for batch in tables.featurize(table, features, run):
            rejects.extend(list_rejects(table, batch))
            numbers = np.array([entry.row.line for entry in batch.entries], dtype=np.int64)
            compounds = batch.compounds
            if allowed is not None:
                kept = allowed(compounds)
                numbers, compounds = numbers[kept], compounds.take(kept)
            store.extend(compounds.fingerprints)
            lines.append(numbers)
            marks.append(mark_connectivities(compounds))
            done += len(batch.entries) + len(batch.rejects)
            run.progress(done)
        bounds.append(len(store))
    names = ", ".join(str(path) for path in tables.paths)
    if not done:
        raise TableError(f"{names}: a header but no rows")
    if not len(store):
        left = "" if allowed is None else ", or all are excluded"
        raise TableError(f"{names}: no usable structure among {done} rows{left}")
    all_marks = np.concatenate(marks)
    _, first, group = np.unique(all_marks, return_index=True, return_inverse=True)
    donated = group[bounds[-1 - n_donated] :]
    is_donated = np.bincount(donated, minlength=len(first)) > 0
    order = np.argsort(first)
    candidates = Candidates(store, first[order], is_donated[order])
    return Pool(candidates, np.concatenate(lines), all_marks, np.array(bounds)), rejects


def read_again(tables: Tables, pool: Pool, chosen: np.ndarray, run: Run) -> Iterator[Compounds]:
    """Read the chosen compounds with all their features, in order.

    Parameters
    ----------
    tables
        The same tables.
    pool
        What the first reading found.
    chosen
        Positions in the pool's store, ascending.
    run
        How to run.

    Raises
    ------
    TableError
        If a table has changed since the first reading.
    """
    for number, table in enumerate(tables.open()):
        low, high = pool.bounds[number : number + 2]
        here = chosen[(chosen >= low) & (chosen < high)]
        wanted = set(pool.lines[here].tolist())
        entries = (entry for entry in table if entry.row.line in wanted)
        start = 0
        for batch in tables.featurize(entries, tables.chemistry.features, run):
            expected = pool.marks[here[start : start + len(batch.compounds)]]
            if batch.rejects or not np.array_equal(mark_connectivities(batch.compounds), expected):
                raise TableError(f"{table.table.path}: was changed while it was read; try again")
            start += len(batch.compounds)
            yield batch.compounds
        if start != len(here):
            raise TableError(f"{table.table.path}: was changed while it was read; try again")


def select_from(
    pool: Pool,
    selection: Selection,
    clusters: Clusters | None,
    reports: Sequence[Coverage],
    run: Run,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Select from a pool that was read.

    Parameters
    ----------
    pool, selection
        What was read, and what is to be selected.
    clusters, reports
        See `Selection.verify`.
    run
        The seed of the samples, and threads.

    Returns
    -------
    tuple
        Positions in the pool's store, ascending, and the manifest's account of the selection.

    Raises
    ------
    FluidError
        If the pool is too small, or more is donated than is to be selected.
    """
    n_pool, n_donated = len(pool.candidates.rows), int(pool.candidates.kept.sum())
    if selection.number > n_pool:
        raise FluidError(
            f"select = {selection.number}: the tables hold {n_pool} usable compounds that differ "
            "in connectivity; select at most these"
        )
    if selection.number < n_donated:
        raise FluidError(
            f"select = {selection.number}: {n_donated} compounds are donated and always kept; "
            "select at least these"
        )
    shares = ClusterShares(
        clusters.compounds().fingerprints if clusters is not None else None,
        [report.counts for report in reports],
        selection.coverage_weight,
    )
    picked = select_rows(pool.candidates, selection.number, shares, run)
    account = {
        "method": METHOD,
        "pool": n_pool,
        "seed": run.seed,
        "n_clusters": len(picked.sizes),
        "clusters": clusters.digest if clusters is not None else None,
        "coverage": {report.partner: report.digest for report in reports},
        "coverage_weight": selection.coverage_weight if reports else None,
        "n_donated": n_donated,
        "donated": [
            {"name": printable(path.name), "sha256": sha256_file(path)}
            for path in selection.donated
        ],
    }
    return picked.rows, account
