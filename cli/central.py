"""The command of the coordinator: distill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from fluid.cli.console import command, emit, pairs, stage, table
from fluid.cli.options import CoordinatorKey, FederationFile, Jobs, Json, Seed
from fluid.cli.outputs import ROUND_ENTRIES, output_folder


@command
def distill(
    annotations: Annotated[list[Path], typer.Argument(help="Signed annotations.")],
    public: Annotated[Path, typer.Option(help="The prepared public set.")],
    federation: FederationFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the round to write.")],
    twicing: Annotated[
        bool,
        typer.Option(help="Sharpen pooled labels where teachers disagree (twicing)."),
    ] = True,
    former: Annotated[
        list[Path] | None,
        typer.Option(
            help="report.json of a former round, whose release numbers each partner must "
            "continue; repeatable."
        ),
    ] = None,
    student: Annotated[
        Path | None,
        typer.Option(
            help="The folder 'student' of the round before; needed if the annotations correct it.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Write no round if partners contradict each other, one overstates or repeats "
            "another, one has nearly all the weight, or nearly everything is in domain.",
        ),
    ] = False,
    key: CoordinatorKey = None,
    seed: Seed = 0,
    jobs: Jobs = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Sum over public compounds on the workers of this Dask scheduler, to the same "
            "bytes; needs the extra 'cluster'. Only a student of more than 30,000 labelled "
            "compounds needs such sums; a smaller one is fitted here.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify and pool annotations, and distill the student.

    Writes OUTPUT/federated.parquet, OUTPUT/student and OUTPUT/report.json, signed with --key.

    \b
    Examples:
        fluid distill */annotation.parquet --public public.parquet \\
            --federation federation.toml --key keys/coordinator.key -o round1
        fluid distill */annotation.parquet --public public.parquet \\
            --federation federation.toml -o round1 --scheduler tcp://cluster:8786
        fluid distill */corrected.parquet --public public.parquet \\
            --federation federation.toml -o round2 --student round1/student
    """
    from fluid.base.cluster import open_cluster
    from fluid.base.run import Run
    from fluid.central.distill import EarlierRounds
    from fluid.central.distill import distill as distill_round
    from fluid.central.student import StudentOptions

    inputs = [*annotations, public, federation, *(former or []), *([student] if student else [])]
    inputs += [key] if key else []
    with output_folder(output, inputs, ROUND_ENTRIES), open_cluster(scheduler) as cluster:
        outcome = distill_round(
            annotations,
            public,
            federation,
            output,
            options=StudentOptions(twicing),
            earlier=EarlierRounds(former or (), student),
            strict=strict,
            key=key,
            run=Run(seed, jobs, cluster, stage=stage),
        )
    value = {"path": str(output), **outcome.report}
    emit(as_json, value, lambda: _show(output, outcome.report))


def _show(output: Path, report: dict[str, Any]) -> str:
    tasks = list(report["tasks"])
    parts = [
        pairs(
            {
                "written": output,
                "federated set": report["federated_set"],
                "compounds": f"{report['n_compounds']:,}",
            }
        ),
        table(
            [
                "partner",
                *(
                    f"{task}: {what}"
                    for task in tasks
                    for what in ("labelled (in domain)", "support")
                ),
            ],
            [
                [
                    name,
                    *(
                        cell
                        for t in tasks
                        for cell in (
                            f"{entry['labelled'][t]:,} ({entry['inside_domain'][t]:,})",
                            _agreement(entry["agreement"].get(t)),
                        )
                    ),
                ]
                for name, entry in report["partners"].items()
            ],
        ),
        table(
            ["task", "labelled", "fidelity R2", "in domain of 1+ teachers", "of 2+", "threshold"],
            [
                [
                    name,
                    f"{found['labelled']:,}",
                    f"{found['fidelity']:.3f}",
                    f"{found['inside_domain_of_teachers'].get('1 or more', 0):.1%}",
                    f"{found['inside_domain_of_teachers'].get('2 or more', 0):.1%}",
                    f"{found['threshold']:.3f}",
                ]
                for name, found in report["tasks"].items()
                if "skipped" not in found
            ],
        ),
    ]
    parts += [f"look at {finding['text']}" for finding in report["findings"]]
    parts += [
        f"no student for {name}: {found['skipped']}"
        for name, found in report["tasks"].items()
        if "skipped" in found
    ]
    return "\n\n".join(parts)


def _agreement(found: dict[str, Any] | None) -> str:
    """Support by the other partners' labels, and a mark if somebody should ask."""
    if found is None or found["support"] is None:
        return "-"
    mark = " LEFT OUT" if found["trust"] == 0.0 else " FLAGGED" if found["flagged"] else ""
    return f"{found['support']:.2f}{mark}"
