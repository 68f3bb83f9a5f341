"""Commands of a partner: train-teacher, annotate, train-hybrid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fluid.cli.console import Progress, command, emit, pairs, stage, table
from fluid.cli.options import (
    FederationFile,
    FederationOfRound,
    Jobs,
    Json,
    Scheduler,
    Seed,
)
from fluid.cli.outputs import (
    HYBRID_ENTRIES,
    TEACHER_ENTRIES,
    is_sealed,
    output_file,
    output_folder,
)
from fluid.cli.table_options import reads_tables

if TYPE_CHECKING:
    from fluid.exchange.federation import Federation
    from fluid.partner.table import Columns
    from fluid.partner.teacher.train import TrainingSummary

PrivateTables = Annotated[
    list[Path],
    typer.Argument(help="Private tables: CSV, TSV, SMI, SDF or Parquet, plain or gzipped."),
]
Learner = Annotated[
    str,
    typer.Option(
        help="svm, lightgbm, random-forest, logistic, average, or auto: svm for small tables, "
        "lightgbm for large ones."
    ),
]
Folds = Annotated[int, typer.Option(help="Folds of cross-fitting, 3 to 20.")]
Repeats = Annotated[int, typer.Option(help="Repeats of cross-fitting, 1 to 20.")]
Censored = Annotated[
    str,
    typer.Option(
        help="Numbers with < or >: 'learn' (predictions are wrong only where they violate the "
        "bound) or 'drop'."
    ),
]


@command
@reads_tables
def train_teacher(
    tables: PrivateTables,
    federation: FederationFile,
    partner: Annotated[str, typer.Option(help="Who trains; registered in the federation.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Teacher's folder to write.")],
    learner: Learner = "auto",
    folds: Folds = 5,
    repeats: Repeats = 3,
    seed: Seed = 0,
    folds_by: Annotated[
        str,
        typer.Option(
            help="What no label may be learned from: 'compound', the compound itself, or "
            "'framework', anything with its ring skeleton. By default the federation's policy."
        ),
    ] = "",
    censored: Censored = "learn",
    secret: Annotated[
        Path | None,
        typer.Option(
            help="File with the secret of the folds (64 hexadecimal digits). By default the one "
            "in the folder is kept, or a new one is drawn."
        ),
    ] = None,
    reference: Annotated[
        bool,
        typer.Option(
            "--reference",
            help="Train a model for comparison, for example on pooled data; it need not be "
            "registered and cannot annotate.",
        ),
    ] = False,
    *,
    columns: Columns,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Train a teacher on private data. The folder stays with the partner.

    OUTPUT/rejects.csv lists rejected rows with the reason.

    \b
    Example:
        fluid train-teacher aurora.csv --federation federation.toml --partner aurora \\
            -o aurora/teacher
    """
    from fluid.base.run import Run
    from fluid.exchange.federation import Federation
    from fluid.partner.teacher.fit import TrainingOptions
    from fluid.partner.teacher.train import train_teacher as train

    options = TrainingOptions(learner, folds, repeats, seed, folds_by, censored)
    contract = Federation.load(federation)
    if not reference:
        _check_partner(contract, partner)
    inputs = [*tables, federation, *([secret] if secret else [])]
    with output_folder(output, inputs, TEACHER_ENTRIES, ("teacher", "reference")):
        summary = train(
            tables,
            contract,
            partner,
            output,
            options=options,
            columns=columns,
            secret=secret,
            reference=reference,
            run=Run(jobs=jobs, progress=Progress("rows"), stage=stage),
        )
    emit(as_json, {"path": str(output), **summary.to_dict()}, lambda: _show(summary, output))


@command
@reads_tables
def train_hybrid(
    tables: PrivateTables,
    federated: Annotated[Path, typer.Option(help="The federated set of the round.")],
    student: Annotated[Path, typer.Option(help="The student of the round.")],
    federation: FederationFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Hybrid's folder to write.")],
    partner: Annotated[
        str | None,
        typer.Option(
            help="Whose hybrid it is; by default as the teacher or the first table is named."
        ),
    ] = None,
    annotation: Annotated[
        Path | None,
        typer.Option(
            help="This partner's annotation of the round. The hybrid then learns only the other "
            "partners' labels; recommended."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="This partner's teacher. The hybrid then uses the same folds, so that the "
            "out-of-fold metrics of both can be compared."
        ),
    ] = None,
    later_student: Annotated[
        Path | None,
        typer.Option(
            help="The student of a later round, which answers in place of the first. The other "
            "files stay those of the first round."
        ),
    ] = None,
    folds: Folds = 5,
    seed: Seed = 0,
    censored: Censored = "learn",
    *,
    columns: Columns,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Build a hybrid of private data and the pooled labels. The folder stays with the partner.

    \b
    Example:
        fluid train-hybrid aurora.csv --federated round1/federated.parquet \\
            --student round1/student --federation federation.toml \\
            --annotation aurora/annotation.parquet --teacher aurora/teacher -o aurora/hybrid
    """
    from fluid.base.run import Run
    from fluid.learn.model_file import load_card
    from fluid.partner.hybrid.private_model import HybridOptions
    from fluid.partner.hybrid.train import RoundFiles
    from fluid.partner.hybrid.train import train_hybrid as train

    if partner is None:
        partner = load_card(teacher).name if teacher else _name_of(tables[0])
    given = [path for path in (annotation, teacher, later_student) if path]
    inputs = [*tables, federated, student, federation, *given]
    with output_folder(output, inputs, HYBRID_ENTRIES, ("hybrid",)):
        summary = train(
            tables,
            federation,
            partner,
            output,
            RoundFiles(federated, student, annotation, later_student),
            teacher=teacher,
            options=HybridOptions(folds=folds, censored=censored),
            columns=columns,
            run=Run(seed=seed, jobs=jobs, progress=Progress("rows"), stage=stage),
        )
    emit(as_json, {"path": str(output), **summary.to_dict()}, lambda: _show(summary, output))


def _check_partner(federation: Federation, partner: str) -> None:
    from fluid.base.errors import FederationError
    from fluid.exchange.federation import check_partner_name

    check_partner_name(partner)
    try:
        federation.public_key(partner)
    except FederationError as error:
        raise FederationError(f"{federation.path}: {error}") from error


def _name_of(table: Path) -> str:
    """The partner's name that a table's name gives."""
    from fluid.base.errors import FederationError
    from fluid.exchange.federation import check_partner_name

    try:
        return check_partner_name(table.name.split(".")[0])
    except FederationError as error:
        raise FederationError(f"{table}: {error}; give a name with --partner") from error


def _show(summary: TrainingSummary, output: Path) -> str:
    head = pairs(
        {
            "written": output,
            "rows": f"{summary.n_rows:,}",
            "compounds": f"{summary.n_compounds:,} (connectivities with a label)",
            "rejected": f"{summary.n_rejected:,} (see {output / 'rejects.csv'})",
        }
    )
    rows = []
    for task, metrics in summary.card.metrics.items():
        counts = summary.card.training["labels"][task]
        shown = ", ".join(f"{name} {value}" for name, value in metrics.items())
        bounds = f" ({counts['censored']:,} with < or >)" if counts.get("censored") else ""
        rows.append([task, f"{counts['compounds']}{bounds}", shown])
    text = head + "\n\n" + table(["task", "compounds", "out of fold"], rows)
    for task, reason in summary.skipped.items():
        text += f"\nno model for {task}: {reason}"
    return text


@command
def annotate(
    teacher: Annotated[Path, typer.Argument(help="A teacher's folder.")],
    public: Annotated[Path, typer.Argument(help="The prepared public set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")],
    key: Annotated[
        Path | None,
        typer.Option(help="The partner's private key; without it the file is an unsigned draft."),
    ] = None,
    federation: FederationOfRound = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="The partner's own policy, a TOML file with a table [policy]; each setting must "
            "be at least as strict as the federation's."
        ),
    ] = None,
    student: Annotated[
        Path | None,
        typer.Option(
            help="The student of the round before: fit its residuals on this partner's "
            "measurements, in regression tasks. All partners must give the same student."
        ),
    ] = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Label the public set with a teacher. The file is the only thing that leaves the partner.

    Models that never saw a compound label it. Every row of the public set is first computed again
    from its SMILES, once on a machine, and the set is refused if any bit differs. The query is
    entered in the teacher's ledger first, and refused beyond the policy's budget. Without --key the
    file is a draft: `fluid inspect` shows its content, and `fluid approve` signs it. An interrupted
    run is resumed. With --scheduler the teacher, which holds private structures, is sent to the
    cluster: it must be the partner's own.

    \b
    Examples:
        fluid annotate aurora/teacher public.parquet -o aurora/annotation.parquet
        fluid annotate aurora/teacher public.parquet --key keys/aurora.key \\
            -o aurora/annotation.parquet
        fluid annotate aurora/teacher public.parquet --key keys/aurora.key \\
            -o aurora/annotation.parquet --scheduler tls://cluster:8786
        fluid annotate aurora/teacher public.parquet --key keys/aurora.key \\
            --student round1/student -o aurora/annotation2.parquet
    """
    from fluid.base.cluster import open_cluster
    from fluid.base.run import Run
    from fluid.exchange.annotation import SCHEMA as ANNOTATION
    from fluid.exchange.public_set import PublicSet
    from fluid.partner.annotate import annotate as label

    inputs = [teacher, public, *(path for path in (key, federation, policy, student) if path)]
    guard = output_file(output, inputs, "annotation", is_sealed(ANNOTATION))
    with guard, open_cluster(scheduler) as workers:
        compounds = PublicSet.load(public)
        progress = Progress("compounds", len(compounds))
        summary = label(
            teacher,
            compounds,
            output,
            key=key,
            federation=federation,
            policy=policy,
            student=student,
            run=Run(jobs=jobs, workers=workers, progress=progress, stage=stage),
        )

    def text() -> str:
        shown = {
            "written": output,
            "digest": summary.digest,
            "signed": "yes" if summary.signed else "no, a draft: see fluid inspect, fluid approve",
            "compounds": f"{summary.n_compounds:,}",
            "release": f"{summary.release.number:,} of at most {summary.policy.max_releases:,}; "
            f"{summary.release.queries:,} of at most {summary.policy.max_queries:,} compounds",
        }
        counts = {f"labelled, {task}": f"{n:,}" for task, n in summary.labelled.items()}
        if summary.cost is not None:
            shown["noise"] = (
                f"{summary.cost['mechanism']}, epsilon {summary.cost['epsilon']:.4g} at delta "
                f"{summary.cost['delta']:g} for one {summary.cost['unit']}"
            )
        return pairs(shown | counts)

    emit(as_json, {"path": str(output), **summary.to_dict()}, text)
