"""The command verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fluid.cli.console import command, emit, table
from fluid.cli.options import Json


@command
def verify(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder that distill wrote, a hybrid's folder, or a folder with several."
        ),
    ],
    federation: Annotated[
        Path | None,
        typer.Option(
            "--federation",
            "-f",
            help="The federation file, which is trusted; by default federation.toml beside FOLDER.",
        ),
    ] = None,
    around: Annotated[
        Path | None,
        typer.Option(
            help="Where to look for files that are not given; by default the folder that FOLDER "
            "lies in, with its folders."
        ),
    ] = None,
    public: Annotated[Path | None, typer.Option(help="The public set.")] = None,
    annotation: Annotated[
        list[Path] | None, typer.Option(help="An annotation that lies elsewhere; repeatable.")
    ] = None,
    partner: Annotated[
        str | None,
        typer.Option(help="Verify as this partner, who has no other partner's annotation."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify the lineage of a student, back to the federation.

    student <- federated set <- annotations <- public set <- federation: files are found by the
    digests that others state of them, and every signature, digest and value is checked. The exit
    code is 1 at the first link that does not hold.

    \b
    Examples:
        fluid verify round1
        fluid verify round1 --federation federation.toml --public public.parquet \\
            --annotation aurora/annotation.parquet --partner aurora
    """
    from fluid.base.errors import FluidError
    from fluid.report.verify import BROKEN, Places
    from fluid.report.verify import verify as walk

    links = walk(folder, Places(federation, around, public, tuple(annotation or ()), partner))
    broken = links[-1].status == BROKEN
    rows = [[x.what, x.path, x.digest[:12], x.bound_by, x.status] for x in links]
    value = {"holds": not broken, "links": [link.to_dict() for link in links]}
    emit(as_json, value, lambda: table(["what", "file", "digest", "bound by", "status"], rows))
    if broken:
        raise FluidError(links[-1].problem)
