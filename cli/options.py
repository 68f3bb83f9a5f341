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
        help="The federation file of this round, if it differs from the one used in training.",
    ),
]
CoordinatorKey = Annotated[
    Path | None,
    typer.Option(
        help="The coordinator's private key; needed if the federation file names its public half.",
        show_default=False,
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
        help="Cores to use; by default all. The result does not depend on it.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of everything random.")]
SmilesColumn = Annotated[str | None, typer.Option(help="SMILES column; by default found by name.")]
IdColumn = Annotated[
    str | None, typer.Option(help="Column of compound names; by default found by name.")
]
Encoding = Annotated[
    str | None,
    typer.Option(
        help="Text encoding of the table, such as cp1252; by default found.", show_default=False
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        help="Mark between the fields of the table, or 'tab'; by default found.",
        show_default=False,
    ),
]
Sheet = Annotated[
    str | None,
    typer.Option(
        help="Sheet of the workbook; by default the only one that is not empty.",
        show_default=False,
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="TASK=COLUMN", help="Label column of a task. Repeatable."),
]
TaskColumn = Annotated[str | None, typer.Option(help="In long tables, the column of task names.")]
ValueColumn = Annotated[str | None, typer.Option(help="In long tables, the column of labels.")]
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
        help="Spread the work over the workers of this Dask scheduler, such as tcp://host:8786, in "
        "place of --jobs. The result does not depend on it. Needs the extra 'cluster'.",
        show_default=False,
    ),
]
