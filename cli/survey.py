"""Commands that find which chemistry the public set should cover: clusters, survey."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fluid.cli.console import Progress, command, emit, pairs
from fluid.cli.options import (
    CoordinatorKey,
    FederationFile,
    IdColumn,
    Jobs,
    Json,
    Seed,
    SmilesColumn,
)
from fluid.cli.outputs import is_coverage, is_sealed, output_file


@command
def clusters(
    structures: Annotated[list[Path], typer.Argument(help="Tables of public structures.")],
    federation: FederationFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")],
    number: Annotated[
        int,
        typer.Option(
            help="Clusters wanted, 1 to 2,000. Take few if partners' tables are small: counts "
            "below the policy's minimum are reported as 0."
        ),
    ] = 500,
    floor: Annotated[
        float,
        typer.Option(
            help="A compound whose Tanimoto similarity to every leader is below this is in no "
            "cluster."
        ),
    ] = 0.15,
    seed: Seed = 0,
    smiles_column: SmilesColumn = None,
    id_column: IdColumn = None,
    key: CoordinatorKey = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Cluster public compounds for reports of coverage.

    The leaders are chosen from a random sample of the tables, ten rows per cluster.

    \b
    Example:
        fluid clusters pool.csv --federation federation.toml --number 500 -o clusters.parquet
    """
    from fluid.base.run import Run
    from fluid.exchange.federation import Federation
    from fluid.public.clusters import SCHEMA as CLUSTERS
    from fluid.public.clusters import make_clusters

    contract = Federation.load(federation)
    inputs = [*structures, federation, *([key] if key else [])]
    with output_file(output, inputs, "file of clusters", is_sealed(CLUSTERS)):
        summary = make_clusters(
            structures,
            contract,
            output,
            number,
            floor=floor,
            smiles_column=smiles_column,
            id_column=id_column,
            key=key,
            run=Run(seed, jobs, progress=Progress("rows")),
        )
    value = {"path": str(output), **summary.to_dict()}
    emit(as_json, value, lambda: pairs({"written": output, **summary.to_dict()}))


@command
def survey(
    tables: Annotated[
        list[Path],
        typer.Argument(help="Private tables: CSV, TSV, SMI, SDF or Parquet, plain or gzipped."),
    ],
    cluster_file: Annotated[
        Path, typer.Option("--clusters", help="The coordinator's file of clusters.")
    ],
    federation: FederationFile,
    partner: Annotated[str, typer.Option(help="Who reports; registered in the federation.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file to write.")],
    key: Annotated[
        Path | None,
        typer.Option(help="The partner's private key; without it the file is an unsigned draft."),
    ] = None,
    smiles_column: SmilesColumn = None,
    id_column: IdColumn = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Report how many private compounds lie near public clusters.

    Only if the federation's policy has share = ["coverage"]. Labels are not read.

    \b
    Example:
        fluid survey aurora.csv --clusters clusters.parquet --federation federation.toml \\
            --partner aurora --key keys/aurora.key -o aurora/coverage.json
    """
    from fluid.base.run import Run
    from fluid.partner.survey import survey as report

    inputs = [*tables, cluster_file, federation, *([key] if key else [])]
    with output_file(output, inputs, "coverage report", is_coverage):
        summary = report(
            tables,
            federation,
            cluster_file,
            partner,
            output,
            key=key,
            smiles_column=smiles_column,
            id_column=id_column,
            run=Run(jobs=jobs, progress=Progress("rows")),
        )

    def text() -> str:
        return pairs(
            {
                "written": output,
                "digest": summary.digest,
                "signed": "yes" if summary.signed else "no, a draft: the coordinator refuses it",
                "rows": f"{summary.n_rows:,}, of which {summary.n_rejected:,} rejected",
                "compounds": f"{summary.n_compounds:,} (connectivities)",
                "reported": f"{summary.reported_compounds:,} in {summary.n_reported:,} of "
                f"{summary.n_clusters:,} clusters and elsewhere",
            }
        )

    emit(as_json, {"path": str(output), **summary.to_dict()}, text)
