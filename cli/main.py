"""The console script `fluid`."""

from __future__ import annotations

from typing import Annotated

import typer
from fluid.cli.approve import approve, ledger
from fluid.cli.audit import audit
from fluid.cli.central import distill
from fluid.cli.console import set_up_logging
from fluid.cli.federation import init_federation, keygen, prepare_public, register
from fluid.cli.models import evaluate, inspect
from fluid.cli.partner import annotate, train_hybrid, train_teacher
from fluid.cli.predict import predict
from fluid.cli.simulate import simulate
from fluid.cli.survey import clusters, survey

from fluid import __version__

app = typer.Typer(
    name="fluid",
    help="Federated knowledge distillation for drug discovery: learn from each other's data "
    "without showing it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fluid {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what the library does, to stderr.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    set_up_logging(verbose)


for _command in (
    init_federation,
    keygen,
    register,
    clusters,
    survey,
    prepare_public,
    train_teacher,
    annotate,
    inspect,
    audit,
    approve,
    ledger,
    distill,
    train_hybrid,
    predict,
    evaluate,
    simulate,
):
    app.command(_command.__name__.replace("_", "-"))(_command)
