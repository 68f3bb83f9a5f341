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

_EVERY = 5.0


@command
def audit(
    teacher: Annotated[Path, typer.Argument(help="The teacher's folder.")],
    public: Annotated[Path, typer.Argument(help="The prepared public set.")],
    annotation: Annotated[Path, typer.Argument(help="The annotation made of it, a draft or not.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file to write, for approval.")
    ] = None,
    federation: FederationOfRound = None,
    shadows: Annotated[
        int, typer.Option(help="Shadow teachers of each game, 4 to 1024: more tell finer.")
    ] = 32,
    overlap: Annotated[
        int, typer.Option(help="Compounds both private and public to train again without.")
    ] = 16,
    delta: Annotated[float, typer.Option(help="Of the lower bound on epsilon.")] = 0.0,
    student: Annotated[
        Path | None, typer.Option(help="The student that the annotation corrects, if it does.")
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Attack your own teacher's annotation, and report what it gives away.

    Runs at the partner and writes nothing that leaves. The same attacks are made on an unprotected
    export of the same settings, for comparison, and, of a correction, on it and the annotation
    without the student together. Exit code 1 if an attack succeeds better than the federation's
    policy allows (audit_max_auc, audit_max_neighbour_auc). With --scheduler the private table is
    sent to the cluster: it must be the partner's own.

    \b
    Example:
        fluid audit aurora/teacher public.parquet aurora/annotation.parquet -o aurora/audit.json
    """
    from fluid.base.cluster import open_cluster
    from fluid.base.files import write_json
    from fluid.exchange.public_set import open_public_set
    from fluid.partner.audit import AuditOptions
    from fluid.partner.audit import audit as run
    from fluid.partner.audit.results import FAIL
    from fluid.partner.audit.text import HEADER, conclusions, table_rows

    options = AuditOptions(shadows, overlap, seed, delta)
    clock = _Clock()

    def work() -> AuditReport:
        with open_cluster(scheduler) as workers:
            return run(
                teacher, open_public_set(public), annotation, federation, options, jobs, clock,
                workers, student,
            )  # fmt: skip

    if output is None:
        report = work()
    else:
        inputs = [teacher, public, annotation, *(path for path in (federation, student) if path)]
        with output_file(output, inputs, "audit", is_audit):
            report = work()
            write_json(output, report.to_dict())
    stage(f"audited in {clock.total:,.0f} s")

    def text() -> str:
        shown = table(HEADER, table_rows(report)) + "\n\n" + "\n".join(conclusions(report))
        return shown if output is None else f"{shown}\nwritten: {output}"

    emit(as_json, report.to_dict(), text)
    if report.verdict == FAIL:
        raise SystemExit(1)


class _Clock:
    """Says on stderr which stage the audit is at, and how long it has taken."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()

    @property
    def total(self) -> float:
        return time.monotonic() - self.start

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done and now - self.last < _EVERY:
            return
        self.last = now
        count = f", {done} of {total}" if done else f", {total}"
        print(f"{self.total:6,.0f} s  {name}{count}", file=sys.stderr, flush=True)
