"""The command audit."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fluid.cli.console import command, emit, stage, table
from fluid.cli.options import FederationOfRound, Jobs, Json, Scheduler, Seed
from fluid.cli.outputs import is_audit, output_file

if TYPE_CHECKING:
    from fluid.partner.audit import AuditReport

# Seconds between two lines of progress: a stage takes minutes.
_EVERY = 5.0


@command
def audit(
    teacher: Annotated[Path, typer.Argument(help="The teacher's folder.")],
    public: Annotated[Path, typer.Argument(help="The prepared public set.")],
    annotation: Annotated[
        Path, typer.Argument(help="The annotation that the teacher made of it, signed or not.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file to write, for `fluid approve`.")
    ] = None,
    federation: FederationOfRound = None,
    shadows: Annotated[
        int,
        typer.Option(
            help="Shadow teachers of each game, 4 to 1024. More give narrower intervals and take "
            "longer."
        ),
    ] = 32,
    overlap: Annotated[
        int,
        typer.Option(
            help="How many compounds that are both private and public to retrain without."
        ),
    ] = 16,
    delta: Annotated[
        float, typer.Option(help="The delta at which a lower bound on epsilon is given.")
    ] = 0.0,
    student: Annotated[
        Path | None,
        typer.Option(help="The student that the annotation was made with, if it was."),
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Attack your own annotation to see what it gives away.

    The audit runs at the partner, and nothing that it writes has to leave. For comparison it makes
    the same attacks on an unprotected export with the same settings. If the annotation was made
    with a student, the audit also attacks it together with the annotation made without one. The
    exit code is 1 if an attack succeeds better than the federation's policy allows (audit_max_auc,
    audit_max_neighbour_auc). With --scheduler the private table is sent to the cluster, which must
    be the partner's own.

    \b
    Example:
        fluid audit aurora/teacher public.parquet aurora/annotation.parquet \\
            -o aurora/audit.json
    """
    from fluid.base.cluster import open_cluster
    from fluid.base.files import PRIVATE, write_json
    from fluid.base.run import Run
    from fluid.partner.audit import AuditOptions
    from fluid.partner.audit import audit as run
    from fluid.partner.audit.results import FAIL
    from fluid.partner.audit.text import HEADER, conclusions, table_rows

    options = AuditOptions(shadows, overlap, delta)
    clock = _Clock()

    def work() -> AuditReport:
        with open_cluster(scheduler) as workers:
            return run(
                teacher,
                public,
                annotation,
                federation=federation,
                student=student,
                options=options,
                run=Run(seed, jobs, workers, clock.count, clock.begin),
            )

    if output is None:
        report = work()
    else:
        inputs = [teacher, public, annotation, *(path for path in (federation, student) if path)]
        with output_file(output, inputs, "audit", is_audit):
            report = work()
            write_json(output, report.to_dict(), PRIVATE)
    stage(f"audited in {clock.elapsed:,.0f} s")

    def text() -> str:
        shown = table(HEADER, table_rows(report)) + "\n\n" + "\n".join(conclusions(report))
        return shown if output is None else f"{shown}\nwritten: {output}"

    emit(as_json, report.to_dict(), text)
    if report.verdict == FAIL:
        raise SystemExit(1)


class _Clock:
    """Prints to stderr the stage of the audit and how long it has taken."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.stage = ""

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def begin(self, stage: str) -> None:
        """Print the stage that begins."""
        self.stage = stage
        self._print(stage)

    def count(self, done: int) -> None:
        """Print the number of teachers trained, at most every few seconds."""
        if time.monotonic() - self.last >= _EVERY:
            self._print(f"{self.stage}: {done} done")

    def _print(self, text: str) -> None:
        self.last = time.monotonic()
        print(f"{self.elapsed:6,.0f} s  {text}", file=sys.stderr, flush=True)
