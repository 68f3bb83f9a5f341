"""Survey: report in round numbers where private compounds lie among clusters of public ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fluid.base.errors import SignatureError, TableError
from fluid.base.jobs import count_jobs
from fluid.chem.featurizer import featurize_entries
from fluid.chem.tables import open_entries
from fluid.exchange.federation import Federation, check_partner_name
from fluid.exchange.signing import encode_public_key, load_private_key, sign_digest
from fluid.public.clusters import Clusters
from fluid.public.coverage import check_coverage_allowed, round_counts, write_coverage
from fluid.public.select import assign


@dataclass(frozen=True)
class SurveySummary:
    """What was found and what was written. Only the report leaves, not this summary.

    Attributes
    ----------
    digest
        Of the report.
    partner, signed
        Whose, and whether it is signed or a draft.
    n_rows, n_rejected, n_compounds
        Rows read, rows that could not be used, and connectivities counted.
    n_clusters, n_reported
        Clusters, and those with a count other than 0.
    n_told
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
    n_told: int

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
            "compounds_reported": self.n_told,
        }


def survey(
    sources: Sequence[Path],
    federation: Federation,
    clusters: Clusters,
    partner: str,
    output: Path,
    key_path: Path | None,
    smiles_column: str | None = None,
    id_column: str | None = None,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> SurveySummary:
    """Count private compounds by their nearest cluster and write the coverage report.

    Stereoisomers and salts of one compound share its connectivity and count once. A compound
    belongs to the leader that it is most similar to, the first of equals, or to none if that
    similarity is below the clusters' floor. Labels are not read.

    Parameters
    ----------
    sources
        Private tables; read as one.
    federation
        The contract; its policy must share coverage.
    clusters
        The coordinator's clusters; a sample of the leaders is computed again first.
    partner
        Who reports; must be registered.
    output
        The JSON file to appear.
    key_path
        The partner's private key; None writes an unsigned draft.
    smiles_column, id_column
        Column names, where the usual ones do not fit.
    jobs
        Worker processes; by default all cores. The file does not depend on it.
    progress
        Called with the number of rows read so far.

    Raises
    ------
    FluidError
        If the policy does not allow it, federation, clusters and key do not belong together, or a
        table cannot be read.
    """
    check_coverage_allowed(federation)
    sign = _signer(key_path, federation, check_partner_name(partner))
    federation.chemistry.check(f"federation '{federation.name}'")
    clusters.check(federation)
    tables = [open_entries(path, smiles_column, id_column) for path in sources]
    leaders = clusters.compounds().fingerprints
    features = replace(federation.chemistry.features, descriptors="none")
    # By connectivity, the cluster of the alphabetically first SMILES: rows may come in any order.
    found: dict[str, tuple[str, int]] = {}
    n_rows = n_usable = 0
    for table in tables:
        for batch in featurize_entries(
            table, federation.chemistry.standardizer, features, count_jobs(jobs)
        ):
            nearest, similarity = assign([batch.compounds.fingerprints], leaders)
            places = np.where(similarity >= np.float32(clusters.floor), nearest, len(leaders))
            for key, smiles, place in zip(
                batch.compounds.connectivities, batch.compounds.smiles, places, strict=True
            ):
                found[key] = min(found.get(key, (smiles, int(place))), (smiles, int(place)))
            n_usable += len(batch.entries)
            n_rows += len(batch.entries) + len(batch.rejects)
            progress(n_rows)
    names = ", ".join(str(path) for path in sources)
    if not n_rows:
        raise TableError(f"{names}: a header but no rows")
    if not found:
        raise TableError(f"{names}: no usable structure among {n_rows} rows")
    exact = np.bincount([place for _, place in found.values()], minlength=len(leaders) + 1)
    told = round_counts(exact, federation.policy)
    digest = write_coverage(output, federation, clusters, partner, told[:-1], int(told[-1]), sign)
    return SurveySummary(
        digest=digest,
        partner=partner,
        signed=sign is not None,
        n_rows=n_rows,
        n_rejected=n_rows - n_usable,
        n_compounds=len(found),
        n_clusters=len(leaders),
        n_reported=int(np.count_nonzero(told[:-1])),
        n_told=int(told.sum()),
    )


def _signer(
    key_path: Path | None, federation: Federation, partner: str
) -> Callable[[bytes], bytes] | None:
    registered = federation.public_key(partner)
    if key_path is None:
        return None
    key = load_private_key(key_path)
    if registered != encode_public_key(key.public_key()):
        raise SignatureError(
            f"{key_path}: is not the key that federation '{federation.name}' has registered "
            f"for partner '{partner}'"
        )
    return partial(sign_digest, key)
