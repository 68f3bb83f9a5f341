"""Options that several commands take, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FederationFile = Annotated[
    Path, typer.Option("--federation", "-f", help="The federation file.", show_default=False)
]
FederationOfRound = Annotated[
    Path | None,
    typer.Option(
        "--federation",
        "-f",
        help="The federation file of this round, if it is another than at training.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=1024,
        help="Cores to use; by default all. Never changes a result.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Fixes everything random.")]
SmilesColumn = Annotated[
    str | None, typer.Option(help="SMILES column; by default found by its name.")
]
IdColumn = Annotated[str | None, typer.Option(help="Name column; by default found by its name.")]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="TASK=COLUMN", help="Label column of a task; may be given repeatedly."
    ),
]
TaskColumn = Annotated[
    str | None, typer.Option(help="Long tables: column that names the task of a row.")
]
ValueColumn = Annotated[
    str | None, typer.Option(help="Long tables: column that holds the label of a row.")
]
Domain = Annotated[
    str,
    typer.Option(
        help="Applicability domain: 'reliability' (at most 10% of calls wrong), 'neighbours' "
        "(Tanimoto) or 'dictionary' (strict)."
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Spread the work over the workers of this Dask scheduler, tcp://host:8786 say, in "
        "place of --jobs. Never changes a result; needs the extra 'cluster'.",
        show_default=False,
    ),
]
