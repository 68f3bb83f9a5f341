"""Standardise and featurise streams of table entries, in worker processes if asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from fluid.base.jobs import Processes, Workers
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec, StructureError, standardize_row
from fluid.chem.tables import Entry, EntryTable, Reject, batched

BATCH = 256


@dataclass(frozen=True)
class Featurized:
    """One batch of a table.

    Attributes
    ----------
    entries
        The entries that became compounds, in order.
    compounds
        As many compounds.
    rejects
        The others, each with its reason.
    """

    entries: list[Entry]
    compounds: Compounds
    rejects: list[tuple[Entry, str]]


def featurize_batch(
    entries: list[Entry], standardizer: StandardizerSpec, features: FeatureSpec
) -> Featurized:
    """Standardise and featurise one batch of entries."""
    kept, structures, rejects = [], [], []
    for entry in entries:
        if entry.row.problem is not None:
            rejects.append((entry, entry.row.problem))
            continue
        try:
            structures.append(standardize_row(entry.smiles, standardizer))
            kept.append(entry)
        except StructureError as error:
            rejects.append((entry, str(error)))
    compounds = featurize(structures, [entry.id for entry in kept], features)
    return Featurized(kept, compounds, rejects)


def featurize_entries(
    entries: Iterable[Entry],
    standardizer: StandardizerSpec,
    features: FeatureSpec,
    jobs: int = 1,
    workers: Workers | None = None,
) -> Iterator[Featurized]:
    """Standardise and featurise entries, batch by batch, in order.

    Parameters
    ----------
    entries
        Compounds of a table.
    standardizer, features
        The federation's settings.
    jobs
        Worker processes; the result does not depend on it.
    workers
        Who takes their place, such as a cluster.

    Yields
    ------
    Featurized
        Never more than a few batches are in memory.
    """
    work = partial(featurize_batch, standardizer=standardizer, features=features)
    yield from (workers or Processes(jobs)).map(work, batched(entries, BATCH))


def list_rejects(table: EntryTable, batch: Featurized) -> list[Reject]:
    """The rejects of a batch as rows of a rejects table."""
    return [table.reject(entry, reason) for entry, reason in batch.rejects]
