"""The command that grows the public set between rounds: expand-public."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fluid.cli.console import Progress, command, emit, pairs
from fluid.cli.options import FederationFile, Jobs, Json, Seed
from fluid.cli.outputs import output_file, starts_with


@command
def expand_public(
    federated: Annotated[Path, typer.Argument(help="The federated set of the former round.")],
    federation: FederationFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file to write.")],
    number: Annotated[int, typer.Option(help="New structures, 1 to 10,000,000.")] = 5000,
    seeds: Annotated[int, typer.Option(help="Public compounds to grow analogues of.")] = 500,
    methods: Annotated[
        str, typer.Option(help="Some of 'mutations', 'pairs' and 'brics', separated by commas.")
    ] = "mutations,pairs,brics",
    balance: Annotated[
        bool, typer.Option(help="Prefer compounds of the rarer class among equally good ones.")
    ] = True,
    seed: Seed = 0,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Grow analogues of public compounds that teachers know, and where labels change or differ.

    The table goes into the next round beside the former public table:
    `fluid prepare-public public.csv analogues.csv ...`

    \b
    Example:
        fluid expand-public round1/federated.parquet --federation federation.toml \\
            -o analogues.csv
    """
    from fluid.base.errors import FluidError
    from fluid.central.expand import HEADER, expand, write_expansion
    from fluid.exchange.federated_set import open_federated
    from fluid.exchange.federation import load_federation

    if output.suffix.lower() != ".csv":
        raise FluidError(f"{output}: the output must end in .csv")
    is_ours = starts_with(",".join(HEADER).encode() + b"\n")
    wanted = tuple(dict.fromkeys(name.strip() for name in methods.split(",")))
    contract = load_federation(federation)
    with output_file(output, [federated, federation], "table of analogues", is_ours):
        expansion = expand(
            open_federated(federated), contract, number, seed, seeds, wanted, balance, jobs,
            Progress("analogues"),
        )  # fmt: skip
        write_expansion(expansion, output)
    found = expansion.to_dict()

    def text() -> str:
        return pairs(
            {
                "written": output,
                "compounds": f"{found['compounds']:,} of {number:,}",
                "parents": f"{found['parents']:,}",
                **{f"seeds, {task}": f"{count:,}" for task, count in found["seeds"].items()},
                **{f"by {name}": f"{count:,}" for name, count in found["methods"].items()},
            }
        )

    emit(as_json, {"path": str(output), **found}, text)
