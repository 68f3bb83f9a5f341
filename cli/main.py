"""The console script `fluid`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from fluid.cli.approve import approve, ledger
from fluid.cli.audit import audit
from fluid.cli.central import distill
from fluid.cli.check_data import check_data
from fluid.cli.console import guarded_streams, set_up_logging
from fluid.cli.evaluate import evaluate
from fluid.cli.federation import init_federation, keygen, prepare_public, register
from fluid.cli.inspect import inspect
from fluid.cli.make_tasks import make_tasks
from fluid.cli.partner import annotate, train_hybrid, train_teacher
from fluid.cli.predict import predict
from fluid.cli.simulate import simulate
from fluid.cli.survey import clusters, survey
from fluid.cli.verify import verify
from typer.core import TyperGroup

from fluid import __version__

# The commands by who types them, in the order of the help.
GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Setting up": (make_tasks, keygen, init_federation, register),
    "Partner": (
        check_data,
        train_teacher,
        annotate,
        inspect,
        audit,
        approve,
        ledger,
        train_hybrid,
        survey,
    ),
    "Coordinator": (clusters, prepare_public, distill),
    "Anybody": (predict, evaluate, verify, simulate),
}


def _name(function: Callable[..., None]) -> str:
    return function.__name__.replace("_", "-")


class _Grouped(TyperGroup):
    """Lists the commands in sections, each with the first sentence of its help."""

    def main(self, *args: Any, **extra: Any) -> Any:
        # Wrong usage is reported outside any command, and quotes what was typed.
        with guarded_streams():
            return super().main(*args, **extra)

    # Any: typer may bring a click of its own, and then there is no other to name.
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for title, functions in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(width), self.commands[name].get_short_help_str(limit=1000))
                        for name in map(_name, functions)
                    ]
                )


app = typer.Typer(
    name="fluid",
    cls=_Grouped,
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


for _functions in GROUPS.values():
    for _function in _functions:
        app.command(_name(_function))(_function)
