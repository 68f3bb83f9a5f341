"""Clusters of public compounds: the leaders that coverage reports refer to, in a sealed file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import FileFormatError, FluidError, MismatchError, TableError
from fluid.base.files import sha256_file
from fluid.base.run import Run
from fluid.base.show import printable
from fluid.base.software import software_versions
from fluid.chem.arrow import compounds_schema, compounds_schema_like, compounds_to_batch
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.featurizer import BATCH, featurize_entries
from fluid.chem.tables import Entry, batched, open_entries
from fluid.exchange.coordinator import coordinator_signer
from fluid.exchange.federation import Federation
from fluid.exchange.manifests import CLUSTERS
from fluid.exchange.public_set import PublicSet
from fluid.exchange.sealed import SealedFile, check_columns, open_sealed, write_sealed
from fluid.exchange.signing import sign_digest
from fluid.public.select import MOST_LEADERS, SAMPLE_PER_LEADER, find_leaders

SCHEMA = CLUSTERS


@dataclass(frozen=True)
class Clusters:
    """A file of clusters whose digest has been verified.

    Attributes
    ----------
    sealed
        The file: one row per cluster, its leader.
    floor
        A compound whose Tanimoto similarity to every leader is below this is in no cluster.
    """

    sealed: SealedFile
    floor: float

    @property
    def digest(self) -> str:
        """What coverage reports refer to it by."""
        return self.sealed.digest

    def __len__(self) -> int:
        return self.sealed.n_rows

    def compounds(self) -> Compounds:
        """The leaders."""
        return concatenate(list(PublicSet(self.sealed).chunks()))

    def check(self, federation: Federation) -> None:
        """Make sure that the clusters are of this federation and that this site computes the same.

        Raises
        ------
        MismatchError
            If the protocol differs, or a leader's features.
        """
        stated = self.sealed.manifest.get("protocol")
        if stated != federation.protocol:
            raise MismatchError(
                f"{self.sealed.path}: was made for protocol {str(stated)[:12]}, but the "
                f"federation's is {federation.protocol[:12]}; make the clusters again"
            )
        PublicSet(self.sealed).check(federation)


def open_clusters(path: Path) -> Clusters:
    """Open a file of clusters.

    Raises
    ------
    FileFormatError
        If it is missing, damaged, changed, or not a file of clusters.
    """
    sealed = open_sealed(path, SCHEMA)
    floor = float(sealed.manifest["floor"])
    check_columns(path, sealed.schema, compounds_schema_like(sealed.schema))
    sealed.check_count("n_clusters")
    if not 1 <= sealed.n_rows <= MOST_LEADERS:
        raise FileFormatError(
            f"{path}: holds {sealed.n_rows} clusters; allowed are 1 to {MOST_LEADERS}"
        )
    return Clusters(sealed, floor)


@dataclass(frozen=True)
class ClustersSummary:
    """What was made.

    Attributes
    ----------
    digest
        Of the file written.
    n_clusters, n_rows, n_sampled, n_rejected
        Clusters, rows read, rows sampled, and rows of the sample that could not be used.
    """

    digest: str
    n_clusters: int
    n_rows: int
    n_sampled: int
    n_rejected: int

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "digest": self.digest,
            "clusters": self.n_clusters,
            "rows": self.n_rows,
            "sampled": self.n_sampled,
            "rejected": self.n_rejected,
        }


def make_clusters(
    sources: Sequence[Path | str],
    federation: Federation | Path | str,
    output: Path | str,
    number: int = 500,
    *,
    floor: float = 0.15,
    smiles_column: str | None = None,
    id_column: str | None = None,
    key: Path | str | None = None,
    run: Run | None = None,
) -> ClustersSummary:
    """Write clusters of a pool of public structures.

    The leaders come from a random sample of ten rows per cluster, see
    `fluid.public.select.find_leaders`, so a pool of millions takes little longer than reading it.

    Parameters
    ----------
    sources
        Tables of public structures.
    federation
        The contract.
    output
        The Parquet file to appear.
    number
        Clusters wanted, 1 to 2,000; fewer come if the sample has fewer different fingerprints.
    floor
        A compound whose Tanimoto similarity to every leader is below this is in no cluster.
    smiles_column, id_column
        Column names, where the usual ones do not fit.
    key
        The coordinator's private key, needed if the federation names its public half.
    run
        How to run: the seed is that of the sample, and progress counts rows. The file does not
        depend on anything else.

    Raises
    ------
    FluidError
        If a setting is not allowed, a table cannot be read, or no compound is left.
    """
    if not 1 <= number <= MOST_LEADERS:
        raise FluidError(f"number = {number}: allowed are 1 to {MOST_LEADERS} clusters")
    if not 0.0 <= floor <= 1.0:
        raise FluidError(f"floor = {floor}: allowed are 0 to 1")
    contract, run = Federation.load(federation), run or Run()
    signer = coordinator_signer(contract, key)
    paths = [Path(source) for source in sources]
    contract.chemistry.check(f"federation '{contract.name}'")
    tables = [open_entries(path, smiles_column, id_column) for path in paths]
    sample, n_rows = _draw(chain.from_iterable(tables), number * SAMPLE_PER_LEADER, run)
    names = ", ".join(str(path) for path in paths)
    if not n_rows:
        raise TableError(f"{names}: a header but no rows")
    entries, compounds, n_rejected = _featurize(sample, contract, run)
    if not entries:
        raise TableError(f"{names}: no usable structure among {len(sample)} rows drawn")
    leaders = find_leaders(compounds.fingerprints, number)
    chosen = _with_descriptors([entries[row] for row in leaders], contract, run)

    def manifest(count: int) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "protocol": contract.protocol,
            "federation": contract.name,
            "n_clusters": count,
            "floor": float(floor),
            "seed": run.seed,
            "chemistry": contract.chemistry.to_dict(),
            "sources": [
                {"name": printable(path.name), "sha256": sha256_file(path)} for path in paths
            ],
            "software": software_versions(),
        }

    features = contract.chemistry.features
    schema = compounds_schema(features.bits, features.n_descriptors)
    sign = None if signer is None else partial(sign_digest, signer)
    leaders_batch = iter([compounds_to_batch(chosen)])
    digest = write_sealed(Path(output), schema, leaders_batch, manifest, sign)
    return ClustersSummary(digest, len(chosen), n_rows, len(sample), n_rejected)


def _draw(entries: Iterable[Entry], number: int, run: Run) -> tuple[list[Entry], int]:
    """A random sample of a stream in random order, and the stream's length.

    Reservoir sampling: Vitter 1985, algorithm R, doi 10.1145/3147.3165.
    """
    random = np.random.default_rng(run.seed)
    held: list[Entry] = []
    count = 0
    for batch in batched(entries, BATCH):
        # The place of each among all so far; those at `number` or behind it are not kept.
        places = random.integers(0, np.arange(count, count + len(batch)) + 1)
        for entry, place in zip(batch, places, strict=True):
            if len(held) < number:
                held.append(entry)
            elif place < number:
                held[place] = entry
        count += len(batch)
        run.progress(count)
    return [held[place] for place in random.permutation(len(held))], count


def _featurize(
    sample: list[Entry], federation: Federation, run: Run
) -> tuple[list[Entry], Compounds, int]:
    """Entries of a sample that can be used, their compounds, and how many cannot."""
    chemistry = federation.chemistry
    # Leaders are found by fingerprints alone.
    features = replace(chemistry.features, descriptors="none")
    batches = list(featurize_entries(sample, chemistry.standardizer, features, run.cores))
    entries = [entry for batch in batches for entry in batch.entries]
    compounds = concatenate([batch.compounds for batch in batches])
    return entries, compounds, len(sample) - len(entries)


def _with_descriptors(entries: list[Entry], federation: Federation, run: Run) -> Compounds:
    """The leaders with all features, as in a public set; those without a name get one."""
    chemistry = federation.chemistry
    stream = featurize_entries(entries, chemistry.standardizer, chemistry.features, run.cores)
    compounds = concatenate([batch.compounds for batch in stream])
    for row, name in enumerate(compounds.ids):
        if not name:
            compounds.ids[row] = f"LEADER-{row + 1:04d}"
    return compounds
