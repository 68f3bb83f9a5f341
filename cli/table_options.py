"""How a labelled table is read, as options that several commands take: declared once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fluid.cli.console import parse_labels
from fluid.cli.options import (
    Delimiter,
    Encoding,
    IdColumn,
    Label,
    Sheet,
    SmilesColumn,
    TaskColumn,
    ValueColumn,
)

if TYPE_CHECKING:
    from fluid.partner.table import Columns

Qualifier = Annotated[
    list[str] | None,
    typer.Option(
        "--qualifier",
        metavar="TASK=COLUMN",
        help="Column of the signs =, <, > of a task; by default found by name. Repeatable.",
    ),
]
Unit = Annotated[
    list[str] | None,
    typer.Option(
        "--unit",
        metavar="TASK=COLUMN",
        help="Column of the units of a task; by default found by name. Repeatable.",
    ),
]
QualifierColumn = Annotated[
    str | None, typer.Option(help="In long tables, the column of the signs =, <, >.")
]
UnitColumn = Annotated[str | None, typer.Option(help="In long tables, the column of units.")]
Decimal = Annotated[
    str | None,
    typer.Option(
        metavar="MARK", help="Decimal mark, '.' or ','; by default as a whole column shows."
    ),
]
Thousands = Annotated[
    str | None,
    typer.Option(
        metavar="MARK",
        help="Mark between thousands; '' for none. By default as a whole column shows.",
    ),
]
AllowEmpty = Annotated[
    bool,
    typer.Option("--allow-empty", help="Go on though all values of a task are rejected."),
]

# Parameter of a command, its declaration, its default.
_OPTIONS: tuple[tuple[str, Any, Any], ...] = (
    ("smiles_column", SmilesColumn, None),
    ("id_column", IdColumn, None),
    ("label", Label, None),
    ("task_column", TaskColumn, None),
    ("value_column", ValueColumn, None),
    ("qualifier", Qualifier, None),
    ("unit", Unit, None),
    ("qualifier_column", QualifierColumn, None),
    ("unit_column", UnitColumn, None),
    ("decimal", Decimal, None),
    ("thousands", Thousands, None),
    ("encoding", Encoding, None),
    ("delimiter", Delimiter, None),
    ("sheet", Sheet, None),
    ("allow_empty", AllowEmpty, False),
)


def reads_tables(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how a labelled table is read.

    The command has a parameter ``columns``, which receives them as one `Columns`.
    """
    declared = dict(function.__annotations__)
    # Known to type checkers alone: no option is of this type.
    declared.pop("columns")
    own = inspect.signature(function)
    hints = {
        name: eval(text, function.__globals__) if isinstance(text, str) else text
        for name, text in declared.items()
    }
    parameters = []
    for name, parameter in own.parameters.items():
        if name != "columns":
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        parameters += [
            inspect.Parameter(option, parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for option, kind, default in _OPTIONS
        ]

    @functools.wraps(function)
    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name, _, _ in _OPTIONS}
        function(**given, columns=_columns(options))

    run.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=None
    )
    run.__annotations__ = hints | {name: kind for name, kind, _ in _OPTIONS}
    return run


def _columns(options: dict[str, Any]) -> Columns:
    from fluid.chem.readers import ReadOptions
    from fluid.partner.table import Columns

    return Columns(
        smiles=options["smiles_column"],
        id=options["id_column"],
        labels=parse_labels(options["label"] or []),
        task=options["task_column"],
        value=options["value_column"],
        qualifiers=parse_labels(options["qualifier"] or []),
        units=parse_labels(options["unit"] or []),
        qualifier=options["qualifier_column"],
        unit=options["unit_column"],
        files=ReadOptions(options["encoding"], options["delimiter"], options["sheet"]),
        decimal=options["decimal"],
        thousands=options["thousands"],
        allow_empty=options["allow_empty"],
    )
