"""Survey: count private compounds by their nearest cluster of public ones, in round numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import SignatureError, TableError
from fluid.base.run import Run
from fluid.chem.compounds import concatenate
from fluid.chem.featurizer import featurize_entries
from fluid.chem.tables import open_entries
from fluid.exchange.federation import Federation, check_partner_name
from fluid.exchange.public_set import PublicSet
from fluid.exchange.signing import encode_public_key, load_private_key, sign_digest
from fluid.partner.recompute import recompute_public
from fluid.public.clusters import Clusters, open_clusters
from fluid.public.coverage import check_coverage_allowed, round_counts, write_coverage
from fluid.public.select import assign


@dataclass(frozen=True)
class SurveySummary:
    """The outcome of a survey. Only the report leaves, not this summary.

    Attributes
    ----------
    digest
        Digest of the report.
    partner, signed
        The partner, and whether the report is signed or a draft.
    n_rows, n_rejected, n_compounds
        Number of rows read, rows rejected, and connectivities counted.
    n_clusters, n_reported
        Number of clusters, and of those with a reported count above 0.
    reported_compounds
        Sum of the counts as reported.
    """

    digest: str
    partner: str
    signed: bool
    n_rows: int
    n_rejected: int
    n_compounds: int
    n_clusters: int
    n_reported: int
    reported_compounds: int

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "digest": self.digest,
            "partner": self.partner,
            "signed": self.signed,
            "rows": self.n_rows,
            "rejected": self.n_rejected,
            "compounds": self.n_compounds,
            "clusters": self.n_clusters,
            "clusters_reported": self.n_reported,
            "compounds_reported": self.reported_compounds,
        }


def survey(
    tables: Sequence[Path | str],
    federation: Federation | Path | str,
    clusters: Clusters | Path | str,
    partner: str,
    output: Path | str,
    *,
    key: Path | str | None = None,
    smiles_column: str | None = None,
    id_column: str | None = None,
    run: Run | None = None,
) -> SurveySummary:
    """Count private compounds by their nearest cluster and write the coverage report.

    Stereoisomers and salts of one compound share its connectivity and count once. A compound
    belongs to the leader that it is most similar to, the first of equals; to none if that
    similarity is below the clusters' floor. Labels are not read.

    Parameters
    ----------
    tables
        Private tables; read as one.
    federation
        The contract; its policy must share coverage.
    clusters
        The coordinator's clusters; every leader is computed again from its SMILES first.
    partner
        The partner who reports; must be registered.
    output
        The JSON file to write.
    key
        The partner's private key; None writes an unsigned draft.
    smiles_column, id_column
        Column names, where the usual ones do not fit.
    run
        Cores, and a callback with the number of rows read so far. The file does not depend on it.

    Raises
    ------
    FluidError
        If the policy does not allow it, federation, clusters and key do not belong together, or a
        table cannot be read.
    """
    run, federation = run or Run(), Federation.load(federation)
    if not isinstance(clusters, Clusters):
        clusters = open_clusters(Path(clusters))
    check_coverage_allowed(federation)
    sign = _signer(None if key is None else Path(key), federation, check_partner_name(partner))
    federation.chemistry.check(f"federation '{federation.name}'")
    clusters.check(federation)
    leading = recompute_public(PublicSet(clusters.sealed), federation, Run(jobs=run.jobs))
    entries = [open_entries(Path(path), smiles_column, id_column) for path in tables]
    leaders = concatenate(list(leading.chunks())).fingerprints
    features = replace(federation.chemistry.features, descriptors="none")
    # By connectivity, the cluster of the alphabetically first SMILES: rows may come in any order.
    found: dict[str, tuple[str, int]] = {}
    n_rows = n_usable = 0
    for table in entries:
        for batch in featurize_entries(
            table, federation.chemistry.standardizer, features, run.cores
        ):
            nearest, similarity = assign([batch.compounds.fingerprints], leaders)
            places = np.where(similarity >= np.float32(clusters.floor), nearest, len(leaders))
            for connectivity, smiles, place in zip(
                batch.compounds.connectivities, batch.compounds.smiles, places, strict=True
            ):
                candidate = (smiles, int(place))
                found[connectivity] = min(found.get(connectivity, candidate), candidate)
            n_usable += len(batch.entries)
            n_rows += len(batch.entries) + len(batch.rejects)
            run.progress(n_rows)
    names = ", ".join(str(path) for path in tables)
    if not n_rows:
        raise TableError(f"{names}: a header but no rows")
    if not found:
        raise TableError(f"{names}: no usable structure among {n_rows} rows")
    exact = np.bincount([place for _, place in found.values()], minlength=len(leaders) + 1)
    counts = round_counts(exact, federation.policy)
    digest = write_coverage(
        Path(output), federation, clusters, partner, counts[:-1], int(counts[-1]), sign
    )
    return SurveySummary(
        digest=digest,
        partner=partner,
        signed=sign is not None,
        n_rows=n_rows,
        n_rejected=n_rows - n_usable,
        n_compounds=len(found),
        n_clusters=len(leaders),
        n_reported=int(np.count_nonzero(counts[:-1])),
        reported_compounds=int(counts.sum()),
    )


def _signer(
    path: Path | None, federation: Federation, partner: str
) -> Callable[[bytes], bytes] | None:
    registered = federation.public_key(partner)
    if path is None:
        return None
    key = load_private_key(path)
    if registered != encode_public_key(key.public_key()):
        raise SignatureError(
            f"{path}: is not the key that federation '{federation.name}' has registered "
            f"for partner '{partner}'"
        )
    return partial(sign_digest, key)
