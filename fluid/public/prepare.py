"""Prepare the public set: structures in, standardised, keyed and fingerprinted compounds out."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fluid.base.errors import TableError
from fluid.base.files import canonical_json, sha256_file
from fluid.base.jobs import Processes, Workers, count_jobs
from fluid.base.software import software_versions
from fluid.base.unfinished import Unfinished
from fluid.chem.arrow import compounds_from_batch, compounds_schema, compounds_to_batch
from fluid.chem.compounds import Compounds
from fluid.chem.featurizer import BATCH, Featurized, featurize_batch, list_rejects
from fluid.chem.readers import printable
from fluid.chem.tables import Entry, EntryTable, Reject, batched, open_entries, write_rejects
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import SCHEMA
from fluid.exchange.sealed import write_sealed
from fluid.public.candidates import Selection, Tables, read_again, read_pool, select_from

logger = logging.getLogger(__name__)


@dataclass
class PublicSummary:
    """What preparing found.

    Attributes
    ----------
    digest
        Of the file written.
    n_compounds, n_rejected, n_duplicates
        Rows kept, set aside with a reason, and dropped as repeats of a compound.
    rejects_path
        Where the rejects are listed, or None if there are none.
    selection
        If compounds were selected, what the manifest says of that.
    """

    digest: str = ""
    n_compounds: int = 0
    n_rejected: int = 0
    n_duplicates: int = 0
    rejects_path: Path | None = None
    selection: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        values: dict[str, Any] = {
            "digest": self.digest,
            "compounds": self.n_compounds,
            "rejected": self.n_rejected,
            "duplicates": self.n_duplicates,
            "rejects": str(self.rejects_path) if self.rejects_path else None,
        }
        return values if self.selection is None else values | {"selection": self.selection}


def prepare_public(
    sources: Sequence[Path],
    federation: Federation,
    output: Path,
    smiles_column: str | None = None,
    id_column: str | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
    selection: Selection | None = None,
    workers: Workers | None = None,
) -> PublicSummary:
    """Write the public set of a federation.

    Compounds keep the order of the tables; a compound that occurs again (same InChIKey) is
    dropped. Structures that cannot be used go to ``<output stem>.rejects.csv`` with the reason.

    With a selection the tables are a pool that is read twice, and donated tables stand behind it:
    once for fingerprints, which stay in memory, and again for the compounds that were selected. A
    compound then occurs again if another has the same connectivity.

    An interrupted run without a selection, killed even, is gone on with: what it had finished lies
    beside the output, and is taken if tables, federation and versions are the same.

    Parameters
    ----------
    sources
        Tables of structures; labels in them are ignored.
    federation
        The contract.
    output
        The Parquet file to appear.
    smiles_column, id_column
        Column names, where the usual ones do not fit.
    jobs
        Worker processes; by default all cores. The file does not depend on it.
    progress
        Called with the number of rows read so far.
    selection
        Which compounds to keep; by default all.
    workers
        Who takes the place of worker processes, such as a cluster. The file does not depend on it.

    Raises
    ------
    TableError
        If a table cannot be read, or no compound is left.
    FluidError
        If a selection is not possible, or what it rests on cannot be verified.
    """
    federation.chemistry.check(f"federation '{federation.name}'")
    tables = [open_entries(path, smiles_column, id_column) for path in sources]
    summary = PublicSummary()
    rejects: list[Reject] = []
    chemistry = federation.chemistry
    features = chemistry.features

    def selected(wanted: Selection) -> Iterator[pa.RecordBatch]:
        paths = [*sources, *wanted.donated]
        pool_tables = Tables(paths, chemistry, smiles_column, id_column, jobs, workers)
        clusters, reports = wanted.verify(federation)
        pool = read_pool(pool_tables, len(wanted.donated), rejects, progress)
        summary.n_duplicates = len(pool.lines) - len(pool.rows)
        rows, summary.selection = select_from(pool, wanted, clusters, reports, jobs)
        for compounds in read_again(pool_tables, pool, rows):
            named = _name(compounds, summary.n_compounds)
            summary.n_compounds += len(named)
            yield compounds_to_batch(named)

    def everything(unfinished: Unfinished) -> Iterator[pa.RecordBatch]:
        work = partial(featurize_batch, standardizer=chemistry.standardizer, features=features)
        spread = workers or Processes(count_jobs(jobs))
        stream = _prepare(tables, partial(spread.map, work), unfinished)
        return _different(stream, sources, rejects, summary, progress)

    def manifest(count: int) -> dict[str, Any]:
        said = {
            "schema": SCHEMA,
            "protocol": federation.protocol,
            "federation": federation.name,
            "n_compounds": count,
            "chemistry": federation.chemistry.to_dict(),
            "sources": [
                {"name": printable(path.name), "sha256": sha256_file(path)} for path in sources
            ],
            "software": software_versions(),
        }
        return said if summary.selection is None else said | {"selection": summary.selection}

    schema = compounds_schema(features.bits, features.n_descriptors)
    if selection is not None:
        summary.digest = write_sealed(output, schema, selected(selection), manifest)
    else:
        # All that a compound depends on.
        basis = {
            "sources": [sha256_file(path) for path in sources],
            "columns": [smiles_column, id_column],
            "protocol": federation.protocol,
            "software": software_versions(),
        }
        with Unfinished(output, basis) as unfinished:
            summary.digest = write_sealed(output, schema, everything(unfinished), manifest)
    summary.n_rejected = len(rejects)
    rejects_path = output.with_name(output.stem + ".rejects.csv")
    if rejects:
        write_rejects(rejects_path, rejects)
        summary.rejects_path = rejects_path
    else:
        rejects_path.unlink(missing_ok=True)
    logger.info("public set of %d compounds, digest %s", summary.n_compounds, summary.digest)
    return summary


@dataclass(frozen=True)
class _Prepared:
    """What a batch of rows became: compounds, and what was set aside."""

    n_rows: int
    compounds: Compounds
    rejects: list[Reject]

    def encode(self) -> bytes:
        """As bytes of an Arrow stream, the rest in its metadata."""
        batch = compounds_to_batch(self.compounds)
        said = {"rows": self.n_rows, "rejects": [astuple(reject) for reject in self.rejects]}
        batch = batch.replace_schema_metadata({"prepared": canonical_json(said)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(
            sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
        ) as writer:
            writer.write_batch(batch)
        return sink.getvalue().to_pybytes()

    @classmethod
    def decode(cls, payload: bytes) -> _Prepared:
        """The inverse of `encode`."""
        with pa.ipc.open_stream(payload) as reader:
            said = json.loads(reader.schema.metadata[b"prepared"])
            compounds = compounds_from_batch(reader.read_next_batch())
        return cls(said["rows"], compounds, [Reject(*values) for values in said["rejects"]])


def _prepare(
    tables: Sequence[EntryTable],
    work: Callable[[Iterable[list[Entry]]], Iterator[Featurized]],
    unfinished: Unfinished,
) -> Iterator[_Prepared]:
    """Batches of all tables in order, those of an interrupted run first."""
    of: deque[EntryTable] = deque()

    def asked() -> Iterator[list[Entry]]:
        for table in tables:
            for batch in batched(table, BATCH):
                of.append(table)
                yield batch

    def made(batches: Iterable[list[Entry]]) -> Iterator[_Prepared]:
        # Tables of batches that were passed over stand in front.
        for _ in range(len(unfinished)):
            of.popleft()
        for batch in work(batches):
            rejects = list_rejects(of.popleft(), batch)
            yield _Prepared(len(batch.entries) + len(batch.rejects), batch.compounds, rejects)

    yield from unfinished.results(asked(), made, _Prepared.encode, _Prepared.decode)


def _different(
    stream: Iterator[_Prepared],
    sources: Sequence[Path],
    rejects: list[Reject],
    summary: PublicSummary,
    progress: Callable[[int], None],
) -> Iterator[pa.RecordBatch]:
    """The compounds that did not occur before, named and counted."""
    seen: set[str] = set()
    done = 0
    for prepared in stream:
        rejects.extend(prepared.rejects)
        new = _unseen(prepared.compounds, seen)
        summary.n_duplicates += len(prepared.compounds) - len(new)
        named = _name(prepared.compounds.take(new), summary.n_compounds)
        summary.n_compounds += len(named)
        done += prepared.n_rows
        progress(done)
        if len(named):
            yield compounds_to_batch(named)
    if not summary.n_compounds:
        names = ", ".join(str(path) for path in sources)
        if not done:
            raise TableError(f"{names}: a header but no rows")
        raise TableError(f"{names}: no usable structure among {done} rows")


def _unseen(compounds: Compounds, seen: set[str]) -> np.ndarray:
    rows = []
    for row, key in enumerate(compounds.inchikeys):
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def _name(compounds: Compounds, start: int) -> Compounds:
    """Number the compounds that have no name."""
    for row, name in enumerate(compounds.ids):
        if not name:
            compounds.ids[row] = f"PUB-{start + row + 1:07d}"
    return compounds
