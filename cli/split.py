"""Commands that divide tables into folds for evaluation: split, split-key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fluid.cli.console import Progress, command, emit, pairs, table
from fluid.cli.options import FederationFile, IdColumn, Jobs, Json, SmilesColumn
from fluid.cli.outputs import SPLIT_HEADER, output_file, starts_with, tidy


@command
def split_key(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    as_json: Json = False,
) -> None:
    """Make the key by which partners split their tables alike.

    One partner makes it and gives every other a copy, over a safe channel. It is for evaluation
    only, and not a teacher's secret, which nobody else may have.

    \b
    Example:
        fluid split-key -o consortium.key
    """
    from fluid.learn.consortium_folds import make_consortium_key

    with tidy(output):
        make_consortium_key(output)
    emit(as_json, {"path": str(output)}, lambda: pairs({"written, for all partners": output}))


@command
def split(
    tables: Annotated[
        list[Path],
        typer.Argument(help="Private tables: CSV, TSV, SMI, SDF or Parquet, plain or gzipped."),
    ],
    federation: FederationFile,
    key: Annotated[Path, typer.Option(help="The consortium's key, made by split-key.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file to write.")],
    by: Annotated[
        str,
        typer.Option(
            help="What shares a fold: the Murcko 'scaffold', or the 'cluster' of public compounds."
        ),
    ] = "scaffold",
    clusters: Annotated[
        Path | None, typer.Option(help="The coordinator's file of clusters, for --by cluster.")
    ] = None,
    parts: Annotated[int, typer.Option(help="Number of folds, 2 to 255.")] = 5,
    smiles_column: SmilesColumn = None,
    id_column: IdColumn = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Divide tables into evaluation folds alike at all partners.

    A compound has the same fold at every partner with the same key and settings, and nobody shows
    a compound to anybody: compare the 'check' that the command prints. Train on some folds, and
    evaluate on another. Labels are not read. The file is private.

    These are not the folds by which a teacher labels the public set. Those are secret, and
    train-teacher refuses this key.

    \b
    Examples:
        fluid split aurora.csv --federation federation.toml --key consortium.key -o split.csv
        fluid split aurora.csv --federation federation.toml --key consortium.key \\
            --by cluster --clusters clusters.parquet --parts 5 -o split.csv
    """
    from fluid.base.errors import FluidError
    from fluid.base.run import Run
    from fluid.partner.split import BY_CLUSTER, BY_SCAFFOLD
    from fluid.partner.split import split as divide

    if by not in (BY_SCAFFOLD, BY_CLUSTER):
        raise FluidError(f"--by {by}: allowed are {BY_SCAFFOLD} and {BY_CLUSTER}")
    if by == BY_CLUSTER and clusters is None:
        raise FluidError("--by cluster: needs the coordinator's --clusters FILE")
    if by == BY_SCAFFOLD and clusters is not None:
        raise FluidError(f"--clusters {clusters}: only with --by cluster")
    inputs = [*tables, federation, key, *([clusters] if clusters else [])]
    with output_file(output, inputs, "table of folds", starts_with(SPLIT_HEADER)):
        summary = divide(
            tables,
            federation,
            key,
            output,
            clusters=clusters,
            parts=parts,
            smiles_column=smiles_column,
            id_column=id_column,
            run=Run(jobs=jobs, progress=Progress("rows")),
        )
    value = {"path": str(output), **summary.to_dict()}

    def text() -> str:
        shown = {
            "written": output,
            "check, same at every partner": summary.check,
            "rows": summary.n_rows,
            "rejected": summary.n_rejected,
        }
        folds = [list(each.values()) for each in value["folds"]]
        return pairs(shown) + "\n\n" + table(("fold", "compounds", "groups"), folds)

    emit(as_json, value, text)
