"""Prepare the public set: structures in, standardised, keyed and fingerprinted compounds out."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from fluid.base.errors import FluidError, TableError
from fluid.base.files import canonical_json, sha256_file
from fluid.base.jobs import Processes
from fluid.base.resume import Unfinished
from fluid.base.run import Run
from fluid.base.show import printable
from fluid.base.software import software_versions
from fluid.chem.arrow import compounds_from_batch, compounds_schema, compounds_to_batch
from fluid.chem.compounds import Compounds
from fluid.chem.featurizer import BATCH, Featurized, featurize_batch, list_rejects
from fluid.chem.tables import Entry, EntryTable, Reject, batched, write_rejects
from fluid.exchange.coordinator import coordinator_signer
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import SCHEMA
from fluid.exchange.sealed import Signer, write_sealed
from fluid.exchange.signing import sign_digest
from fluid.public.candidates import Selection, Tables, read_again, read_pool, select_from
from fluid.public.exclude import Exclusion, ExclusionFilter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicSummary:
    """What was prepared.

    Attributes
    ----------
    digest
        Of the file written.
    n_compounds, n_rejected, n_duplicates
        Rows kept, rejected with a reason, and dropped as repeats of a compound.
    rejects_path
        Where the rejects are listed; None if there are none.
    selection
        The manifest's account of a selection; None if all compounds were kept.
    exclusion
        The manifest's account of what was kept out; None if nothing was to be.
    """

    digest: str
    n_compounds: int
    n_rejected: int
    n_duplicates: int
    rejects_path: Path | None = None
    selection: dict[str, Any] | None = None
    exclusion: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        values: dict[str, Any] = {
            "digest": self.digest,
            "compounds": self.n_compounds,
            "rejected": self.n_rejected,
            "duplicates": self.n_duplicates,
            "rejects": str(self.rejects_path) if self.rejects_path else None,
        }
        accounts = {"selection": self.selection, "exclusion": self.exclusion}
        return values | {name: value for name, value in accounts.items() if value is not None}


def prepare_public(
    sources: Sequence[Path | str],
    federation: Federation | Path | str,
    output: Path | str,
    *,
    selection: Selection | None = None,
    exclusion: Exclusion | None = None,
    smiles_column: str | None = None,
    id_column: str | None = None,
    key: Path | str | None = None,
    run: Run | None = None,
) -> PublicSummary:
    """Write the public set of a federation.

    Compounds keep the order of the tables. A compound that occurs again (same InChIKey) is
    dropped. Structures that cannot be used go to ``<output stem>.rejects.csv`` with the reason.

    With a selection, the tables and the donated tables are a pool that is read twice: once for
    fingerprints, which stay in memory, and again for the compounds that were selected. Compounds
    with the same connectivity then count as one.

    An interrupted run without a selection, even one that was killed, continues where it stopped:
    finished chunks lie beside the output and are used if tables, federation and versions are the
    same.

    Parameters
    ----------
    sources
        Tables of structures; labels in them are ignored.
    federation
        The contract.
    output
        The Parquet file to appear.
    selection
        Which compounds to keep; by default all.
    exclusion
        Which compounds to keep out, such as those of tests; by default none. They are counted, and
        are not rejects.
    smiles_column, id_column
        Column names, where the usual ones do not fit.
    key
        The coordinator's private key, needed if the federation names its public half.
    run
        How to run: the seed is that of a selection, and progress counts rows. The file does not
        depend on anything else.

    Raises
    ------
    TableError
        If a table cannot be read, or no compound is left.
    FluidError
        If a selection is not possible, or its clusters or reports cannot be verified.

    Examples
    --------
    >>> from fluid import prepare_public
    >>> summary = prepare_public(["public.csv"], "federation.toml", "prepared.parquet")
    >>> summary.n_compounds
    398
    """
    contract, output, run = Federation.load(federation), Path(output), run or Run()
    paths = [Path(source) for source in sources]
    if output.exists() and any(path.exists() and output.samefile(path) for path in paths):
        raise FluidError(f"{output}: is one of the tables; name another output")
    signer = coordinator_signer(contract, key)
    sign = None if signer is None else partial(sign_digest, signer)
    contract.chemistry.check(f"federation '{contract.name}'")
    tables = Tables(paths, contract.chemistry, smiles_column, id_column)
    written = _Written(None if exclusion is None else ExclusionFilter.read(exclusion, tables, run))
    if selection is None:
        _write_all(written, tables, contract, output, run, sign)
    else:
        _write_selected(written, tables, contract, output, selection, run, sign)
    rejects_path = output.with_name(output.stem + ".rejects.csv")
    if written.rejects:
        write_rejects(rejects_path, written.rejects)
    else:
        rejects_path.unlink(missing_ok=True)
    logger.info("public set of %d compounds, digest %s", written.n_compounds, written.digest)
    return PublicSummary(
        written.digest,
        written.n_compounds,
        len(written.rejects),
        written.n_duplicates,
        rejects_path if written.rejects else None,
        written.selection,
        written.exclusion,
    )


@dataclass
class _Written:
    """What is counted while a public set is written, and what may not be in it."""

    excluded: ExclusionFilter | None = None
    digest: str = ""
    n_compounds: int = 0
    n_duplicates: int = 0
    rejects: list[Reject] = field(default_factory=list)
    selection: dict[str, Any] | None = None

    @property
    def exclusion(self) -> dict[str, Any] | None:
        """The manifest's account of what was kept out."""
        return None if self.excluded is None else self.excluded.account()

    def add(self, compounds: Compounds) -> pa.RecordBatch:
        """Count compounds and number those without a name."""
        for row, name in enumerate(compounds.ids):
            if not name:
                compounds.ids[row] = f"PUB-{self.n_compounds + row + 1:07d}"
        self.n_compounds += len(compounds)
        return compounds_to_batch(compounds)


def _write_all(
    written: _Written,
    tables: Tables,
    federation: Federation,
    output: Path,
    run: Run,
    sign: Signer | None,
) -> None:
    """Write every compound of the tables once."""
    opened = tables.open()
    # Everything that a compound depends on.
    basis = {
        "sources": [sha256_file(path) for path in tables.paths],
        "columns": [tables.smiles_column, tables.id_column],
        "protocol": federation.protocol,
        "software": software_versions(),
    }
    work = partial(
        featurize_batch,
        standardizer=federation.chemistry.standardizer,
        features=federation.chemistry.features,
    )
    spread = run.workers or Processes(run.cores)
    with Unfinished(output, basis) as unfinished:
        stream = _prepare(opened, partial(spread.map, work), unfinished)
        batches = _different(stream, tables.paths, written, run)
        written.digest = _write(output, federation, tables.paths, batches, written, sign)


def _write_selected(
    written: _Written,
    tables: Tables,
    federation: Federation,
    output: Path,
    selection: Selection,
    run: Run,
    sign: Signer | None,
) -> None:
    """Write the compounds of a pool that a selection takes."""
    everything = replace(tables, paths=[*tables.paths, *selection.donated])

    # Read while the file is written, so that an output that cannot be written fails first.
    def batches() -> Iterator[pa.RecordBatch]:
        clusters, reports = selection.verify(federation)
        allowed = None if written.excluded is None else written.excluded.allowed
        pool, written.rejects = read_pool(everything, len(selection.donated), run, allowed)
        written.n_duplicates = len(pool.lines) - len(pool.candidates.rows)
        rows, written.selection = select_from(pool, selection, clusters, reports, run)
        for compounds in read_again(everything, pool, rows, run):
            yield written.add(compounds)

    written.digest = _write(output, federation, tables.paths, batches(), written, sign)


def _write(
    output: Path,
    federation: Federation,
    sources: Sequence[Path],
    batches: Iterator[pa.RecordBatch],
    written: _Written,
    sign: Signer | None,
) -> str:
    """Write the file; returns its digest."""
    features = federation.chemistry.features
    schema = compounds_schema(features.bits, features.n_descriptors)

    def manifest(count: int) -> dict[str, Any]:
        values = {
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
        accounts = {"selection": written.selection, "exclusion": written.exclusion}
        return values | {name: value for name, value in accounts.items() if value is not None}

    return write_sealed(output, schema, batches, manifest, sign)


@dataclass(frozen=True)
class _Prepared:
    """What a batch of rows became: compounds and rejects."""

    n_rows: int
    compounds: Compounds
    rejects: list[Reject]

    def encode(self) -> bytes:
        """As bytes of an Arrow stream, the rest in its metadata."""
        batch = compounds_to_batch(self.compounds)
        rest = {"rows": self.n_rows, "rejects": [astuple(reject) for reject in self.rejects]}
        batch = batch.replace_schema_metadata({"prepared": canonical_json(rest)})
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
            rest = json.loads(reader.schema.metadata[b"prepared"])
            compounds = compounds_from_batch(reader.read_next_batch())
        return cls(rest["rows"], compounds, [Reject(*values) for values in rest["rejects"]])


def _prepare(
    tables: Sequence[EntryTable],
    work: Callable[[Iterable[list[Entry]]], Iterator[Featurized]],
    unfinished: Unfinished,
) -> Iterator[_Prepared]:
    """Batches of all tables in order, those of an interrupted run first."""
    # The table of each batch under way.
    origins: deque[EntryTable] = deque()

    def batches() -> Iterator[list[Entry]]:
        for table in tables:
            for batch in batched(table, BATCH):
                origins.append(table)
                yield batch

    def prepare(remaining: Iterable[list[Entry]]) -> Iterator[_Prepared]:
        # The finished batches were drawn first.
        for _ in range(len(unfinished)):
            origins.popleft()
        for batch in work(remaining):
            rejects = list_rejects(origins.popleft(), batch)
            yield _Prepared(len(batch.entries) + len(batch.rejects), batch.compounds, rejects)

    yield from unfinished.results(batches(), prepare, _Prepared.encode, _Prepared.decode)


def _different(
    stream: Iterator[_Prepared], sources: Sequence[Path], written: _Written, run: Run
) -> Iterator[pa.RecordBatch]:
    """The compounds that did not occur before, named and counted."""
    seen: set[str] = set()
    done = 0
    for prepared in stream:
        written.rejects.extend(prepared.rejects)
        rows = _unseen(prepared.compounds, seen)
        written.n_duplicates += len(prepared.compounds) - len(rows)
        new = prepared.compounds.take(rows)
        if written.excluded is not None:
            new = new.take(written.excluded.allowed(new))
        done += prepared.n_rows
        run.progress(done)
        if len(new):
            yield written.add(new)
    if not written.n_compounds:
        names = ", ".join(str(path) for path in sources)
        if not done:
            raise TableError(f"{names}: a header but no rows")
        left = "" if written.excluded is None else ", or all are excluded"
        raise TableError(f"{names}: no usable structure among {done} rows{left}")


def _unseen(compounds: Compounds, seen: set[str]) -> np.ndarray:
    """Positions of the compounds whose key was not seen, each key once; notes them as seen."""
    rows = []
    for row, key in enumerate(compounds.inchikeys):
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return np.array(rows, dtype=np.int64)
