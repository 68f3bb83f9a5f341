"""The command simulate: a virtual consortium on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fluid.cli.console import command, emit, pairs, parse_labels, stage
from fluid.cli.options import (
    FederationFile,
    IdColumn,
    Jobs,
    Json,
    Label,
    SmilesColumn,
    TaskColumn,
    ValueColumn,
)
from fluid.cli.outputs import STUDY_ENTRIES, output_folder


@command
def simulate(
    tables: Annotated[list[Path], typer.Argument(help="Labelled tables, everybody's data.")],
    public: Annotated[Path, typer.Option(help="The prepared public set.")],
    federation: FederationFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for results; resumes what is in it.")
    ],
    partition: Annotated[
        list[str] | None,
        typer.Option(
            help="Who holds what: kmeans, scaffold, label, size, random or column, with settings "
            "as in 'scaffold:alpha=0.1,partners=8' or 'column:name=source'; repeatable.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds of each partition.")] = 1,
    external: Annotated[
        list[Path] | None, typer.Option(help="A labelled test table besides; repeatable.")
    ] = None,
    share_scaffold: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share held out as whole scaffolds.")
    ] = 0.12,
    share_random: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share held out at random.")
    ] = 0.12,
    validation: Annotated[
        bool, typer.Option("--validation", help="Test on a part of the training data instead.")
    ] = False,
    donate: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of each partner's structures that join the public set."
        ),
    ] = 0.0,
    rounds: Annotated[
        int,
        typer.Option(
            min=1,
            max=10,
            help="Rounds of annotation; from the second on partners correct the student's numbers.",
        ),
    ] = 1,
    references: Annotated[
        str,
        typer.Option(
            help="Learners trained on everybody's data, separated by commas; '' for none."
        ),
    ] = "auto",
    learner: Annotated[str, typer.Option(help="Learner of the teachers.")] = "auto",
    without_twicing: Annotated[
        bool,
        typer.Option("--without-twicing", help="Also distill a student without twicing."),
    ] = False,
    study: Annotated[
        list[str] | None,
        typer.Option(
            help="Named study on the first consortium: teachers, public-size, "
            "public-composition, left-out, cross-domain, domain, rounds, contribution, shuffled; "
            "repeatable.",
        ),
    ] = None,
    every_cell: Annotated[
        bool, typer.Option("--every-cell", help="Named studies on every consortium.")
    ] = False,
    paper: Annotated[bool, typer.Option(help="Run the paper's own recipe besides.")] = True,
    hybrids: Annotated[bool, typer.Option(help="Train hybrids.")] = True,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 1000,
    group: Annotated[
        str | None, typer.Option(help="Column of site, source or year, for 'column'.")
    ] = None,
    smiles_column: SmilesColumn = None,
    id_column: IdColumn = None,
    label: Label = None,
    task_column: TaskColumn = None,
    value_column: ValueColumn = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Simulate consortia from labelled tables and compare models.

    Writes OUTPUT/results.csv (one row per cell, test, model and metric), OUTPUT/summary.md and
    OUTPUT/summary.json; OUTPUT/cache holds what is needed to resume.

    \b
    Example:
        fluid simulate everything.csv --public public.parquet --federation federation.toml \\
            --partition kmeans --partition scaffold:alpha=0.5 --seeds 3 -o study
    """
    from fluid.central.student import StudentOptions
    from fluid.exchange.federation import load_federation
    from fluid.exchange.public_set import open_public_set
    from fluid.partner.table import Columns
    from fluid.partner.teacher.fit import TrainingOptions
    from fluid.simulate.partition_spec import parse_partition
    from fluid.simulate.run import TEXT_FILE, Sources, check_output
    from fluid.simulate.run import simulate as run
    from fluid.simulate.study_spec import STUDENT, StudySpec

    if every_cell and not study:
        raise typer.BadParameter("--every-cell is of named studies: give --study as well")
    partitions = tuple(parse_partition(text) for text in partition or ["kmeans"])
    columns_named = {one.column for one in partitions if one.column} | {group} - {None}
    if len(columns_named) > 1:
        raise typer.BadParameter("one column of groups at a time: run simulate for each")
    recipes: tuple[tuple[str, StudentOptions], ...] = ((STUDENT, StudentOptions()),)
    if without_twicing:
        recipes += ((f"{STUDENT}, without twicing", StudentOptions(twicing=False)),)
    learners = tuple(name.strip() for name in references.split(",") if references.strip())
    for name in learners:
        TrainingOptions(name)
    spec = StudySpec(
        partitions, tuple(range(seeds)), share_scaffold, share_random, validation,
        TrainingOptions(learner), recipes=recipes, donate=donate,
        rounds=rounds, references=learners, paper=paper, hybrids=hybrids,
    )  # fmt: skip
    columns = Columns(
        smiles_column, id_column, parse_labels(label or []), task_column, value_column,
        next(iter(columns_named), None),
    )  # fmt: skip
    sources = Sources(
        tables, open_public_set(public), load_federation(federation), external or (), columns
    )
    check_output(output)
    with output_folder(output, [*tables, public, federation, *(external or ())], STUDY_ENTRIES):
        summary = run(sources, spec, output, study or (), every_cell, draws, jobs, stage)
    shown = output / TEXT_FILE

    def text() -> str:
        return shown.read_text(encoding="utf-8") + pairs({"written": output})

    emit(as_json, {"path": str(output), **summary}, text)
