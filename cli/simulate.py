"""The command simulate: a virtual consortium on one machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fluid.cli.console import command, emit, pairs, stage
from fluid.cli.options import (
    FederationFile,
    Jobs,
    Json,
)
from fluid.cli.outputs import STUDY_ENTRIES, output_folder
from fluid.cli.table_options import reads_tables

if TYPE_CHECKING:
    from fluid.partner.table import Columns


@command
@reads_tables
def simulate(
    tables: Annotated[
        list[Path], typer.Argument(help="Labelled tables, to be divided among partners.")
    ],
    public: Annotated[Path, typer.Option(help="The prepared public set.")],
    federation: FederationFile,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for results. An interrupted study resumes from it."
        ),
    ],
    partition: Annotated[
        list[str] | None,
        typer.Option(
            help="How to divide the compounds among partners: kmeans, scaffold, label, size, "
            "random or column, with settings as in 'scaffold:alpha=0.1,partners=8' or "
            "'column:name=source'. Repeatable."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Number of times to draw each partition.")
    ] = 1,
    external: Annotated[
        list[Path] | None,
        typer.Option(
            help="An additional labelled test table; no partner holds its compounds. Repeatable."
        ),
    ] = None,
    share_scaffold: Annotated[
        float,
        typer.Option(min=0, max=0.5, help="Share of the compounds held out as whole scaffolds."),
    ] = 0.12,
    share_random: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of the compounds held out at random.")
    ] = 0.12,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation",
            help="Test on a further part of the training data, and leave the tests alone. Use it "
            "to choose settings.",
        ),
    ] = False,
    donate: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of each partner's structures, without labels, to add to the public set.",
        ),
    ] = 0.0,
    rounds: Annotated[
        int,
        typer.Option(
            min=1,
            max=10,
            help="Rounds of annotation. From the second on, partners fit the student's residuals "
            "in regression tasks.",
        ),
    ] = 1,
    references: Annotated[
        str,
        typer.Option(
            help="Learners to train on the data of all partners, separated by commas; '' for none."
        ),
    ] = "auto",
    learner: Annotated[str, typer.Option(help="Learner of the teachers.")] = "auto",
    without_twicing: Annotated[
        bool, typer.Option("--without-twicing", help="Also train a student without twicing.")
    ] = False,
    study: Annotated[
        list[str] | None,
        typer.Option(
            help="Named study to run on the first consortium: teachers, public-size, "
            "public-composition, left-out, cross-domain, domain, rounds, contribution, "
            "shuffled or adversaries. Repeatable."
        ),
    ] = None,
    every_cell: Annotated[
        bool, typer.Option("--every-cell", help="Run the named studies on every consortium.")
    ] = False,
    paper: Annotated[bool, typer.Option(help="Also run the recipe of the FLuID paper.")] = True,
    hybrids: Annotated[bool, typer.Option(help="Train each partner's hybrid.")] = True,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 1000,
    group: Annotated[
        str | None,
        typer.Option(help="Column with the site, source or year of each row, for 'column'."),
    ] = None,
    *,
    columns: Columns,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Simulate consortia from a labelled table, compare models.

    Writes OUTPUT/results.csv (one row per consortium, test, model and metric), OUTPUT/summary.md
    and OUTPUT/summary.json. OUTPUT/cache keeps results to resume from.

    \b
    Example:
        fluid simulate everything.csv --public public.parquet --federation federation.toml \\
            --partition kmeans --partition scaffold:alpha=0.5 --seeds 3 -o study
    """
    from fluid.base.run import Run
    from fluid.partner.teacher.fit import TrainingOptions
    from fluid.simulation.partition_spec import parse_partition
    from fluid.simulation.run import TEXT_FILE, Sources, check_output
    from fluid.simulation.run import simulate as run_study
    from fluid.simulation.study_spec import StudySpec

    if every_cell and not study:
        raise typer.BadParameter("--every-cell needs a named study: give --study as well")
    partitions = tuple(parse_partition(text) for text in partition or ["kmeans"])
    groups = {one.column for one in partitions if one.column} | {group} - {None}
    if len(groups) > 1:
        raise typer.BadParameter("only one group column is possible: run simulate for each")
    learners = tuple(name.strip() for name in references.split(",") if references.strip())
    for name in learners:
        TrainingOptions(name)
    spec = StudySpec(
        partitions,
        tuple(range(seeds)),
        share_scaffold,
        share_random,
        validation,
        TrainingOptions(learner),
        without_twicing=without_twicing,
        donate=donate,
        rounds=rounds,
        references=learners,
        paper=paper,
        hybrids=hybrids,
    )
    columns = replace(columns, group=next(iter(groups), None))
    sources = Sources(tables, public, federation, external or (), columns)
    check_output(output)
    with output_folder(output, [*tables, public, federation, *(external or ())], STUDY_ENTRIES):
        summary = run_study(
            sources,
            spec,
            output,
            studies=study or (),
            every_cell=every_cell,
            draws=draws,
            run=Run(jobs=jobs, stage=stage),
        )
    shown = output / TEXT_FILE

    def text() -> str:
        return shown.read_text(encoding="utf-8") + pairs({"written": output})

    emit(as_json, {"path": str(output), **summary}, text)
