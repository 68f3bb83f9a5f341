"""The command of the coordinator: distill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from fluid.cli.console import command, emit, pairs, stage, table
from fluid.cli.options import FederationFile, Jobs, Json, Seed
from fluid.cli.outputs import ROUND_ENTRIES, output_folder


@command
def distill(
    annotations: Annotated[list[Path], typer.Argument(help="Signed annotations.")],
    public: Annotated[Path, typer.Option(help="The prepared public set.")],
    federation: FederationFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the round to write.")],
    weighting: Annotated[
        str,
        typer.Option(
            help="What public compounds weigh: 'reliability' of the teachers, 'none' (all alike) "
            "or 'uncertain' (more where teachers are unsure, in the manner of FLIT)."
        ),
    ] = "reliability",
    learners: Annotated[
        str,
        typer.Option(
            help="What the student is: 'kernel-ridge', 'lightgbm-student', or both joined by a "
            "comma, which are averaged."
        ),
    ] = "kernel-ridge",
    twicing: Annotated[
        bool,
        typer.Option(
            help="Whether 'kernel-ridge' learns pooled labels sharpened by what teachers disagree "
            "on."
        ),
    ] = True,
    former: Annotated[
        list[Path] | None,
        typer.Option(
            help="report.json of a former round, to see that each partner's release numbers go "
            "on; repeatable."
        ),
    ] = None,
    student: Annotated[
        Path | None,
        typer.Option(
            help="The folder 'student' of the round before; needed if the annotations correct it.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Train 'lightgbm-student' on all workers of this Dask scheduler together; needs "
            "the extra 'cluster'. The trees differ a little from those of one machine.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify and pool annotations, and distill the student.

    Writes OUTPUT/federated.parquet, OUTPUT/student and OUTPUT/report.json.

    \b
    Examples:
        fluid distill */annotation.parquet --public public.parquet \\
            --federation federation.toml -o round1
        fluid distill */annotation.parquet --public public.parquet \\
            --federation federation.toml -o round1 \\
            --learners lightgbm-student --scheduler tcp://cluster:8786
        fluid distill */corrected.parquet --public public.parquet \\
            --federation federation.toml -o round2 --student round1/student
    """
    from fluid.base.cluster import open_cluster
    from fluid.central.distill import distill as run
    from fluid.central.student import StudentOptions
    from fluid.exchange.federation import load_federation
    from fluid.exchange.public_set import open_public_set

    contract = load_federation(federation)
    inputs = [*annotations, public, federation, *(former or []), *([student] if student else [])]
    with output_folder(output, inputs, ROUND_ENTRIES), open_cluster(scheduler) as cluster:
        outcome = run(
            annotations, open_public_set(public), contract, output, seed, jobs, stage,
            StudentOptions(
                weighting, tuple(name.strip() for name in learners.split(",")), twicing
            ),
            former or (), cluster, student,
        )  # fmt: skip
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
                    for what in ("labelled (in domain)", "agreement")
                ),
            ],
            [
                [
                    name,
                    *(
                        cell
                        for t in tasks
                        for cell in (
                            f"{said['labelled'][t]:,} ({said['inside_domain'][t]:,})",
                            _agreement(said["agreement"].get(t)),
                        )
                    ),
                ]
                for name, said in report["partners"].items()
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
    parts += [
        f"look at {name}, {task}: {found['reason']}"
        for name, said in report["partners"].items()
        for task, found in said["agreement"].items()
        if found["flagged"]
    ]
    parts += [
        f"no student of {name}: {found['skipped']}"
        for name, found in report["tasks"].items()
        if "skipped" in found
    ]
    return "\n\n".join(parts)


def _agreement(found: dict[str, Any] | None) -> str:
    """Correlation with the other partners' labels, and a mark if somebody should ask."""
    if found is None or found["correlation"] is None:
        return "-"
    return f"{found['correlation']:.2f}{' FLAGGED' if found['flagged'] else ''}"
