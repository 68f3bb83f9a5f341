"""The command predict: predictions, domains, and prediction sets."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fluid.cli.console import Progress, command, emit, pairs, stage
from fluid.cli.options import (
    Domain,
    Jobs,
    Json,
    Scheduler,
)
from fluid.cli.outputs import (
    REJECTS_HEADER,
    is_predictions,
    output_file,
    rejects_beside,
    replace_rejects,
    starts_with,
)
from fluid.cli.table_options import reads_tables

if TYPE_CHECKING:
    from fluid.partner.table import Columns
    from fluid.report.conformal import ConformalOptions


@command
@reads_tables
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a teacher, student or hybrid.")],
    compounds: Annotated[Path, typer.Argument(help="Table of structures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV or Parquet file to write.")],
    domain: Domain = "reliability",
    federation: Annotated[
        Path | None,
        typer.Option(
            "--federation",
            "-f",
            help="Predict only if the model is a student that this federation's coordinator has "
            "signed.",
            show_default=False,
        ),
    ] = None,
    conformal: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Add prediction sets and intervals with this error rate, above 0 and at most 0.5. "
            "See above for what that means.",
        ),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="TABLE",
            help="Table of measured labels to calibrate sets with. Repeatable. By default a "
            "partner's own out-of-fold predictions, which a student does not have.",
        ),
    ] = None,
    shift: Annotated[
        bool | None,
        typer.Option(
            "--shift/--no-shift",
            help="Weigh calibration compounds by their similarity to the compounds to predict. "
            "These are then all held in memory, about 7 kB each. On by default.",
            show_default=False,
        ),
    ] = None,
    difficulty: Annotated[
        str | None,
        typer.Option(
            help="Width of intervals: 'similarity' (default) makes them wider for compounds unlike "
            "those the model knows, 'constant' gives all the same width.",
            show_default=False,
        ),
    ] = None,
    *,
    columns: Columns,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Predict compounds, each with its applicability domain.

    The output says for every compound whether it is in the domain, how far, and why. It has one
    row per row of the table, in its order; a row that cannot be predicted says why. A run that was
    interrupted continues where it stopped, unless it makes prediction sets. With --scheduler the
    model and the table are sent to the cluster.

    With --conformal, sets and intervals miss the truth for at most RATE of compounds, on average
    over compounds like the calibration compounds, in each class alike. If they are calibrated out
    of fold, the rate is about RATE. It does not hold across partners, nor for a single compound.
    Weights (--shift) correct a difference in chemistry as far as it can be estimated; they do not
    correct a difference in assays. A table for --calibration should hold compounds that no
    partner's teacher has seen; --label, --task-column and --value-column name its columns.

    \b
    Examples:
        fluid predict round1/student compounds.csv -o predictions.csv
        fluid predict round1/student compounds.csv -o predictions.csv \\
            --scheduler tcp://cluster:8786
        fluid predict aurora/hybrid compounds.csv --conformal 0.1 \\
            -o predictions.csv
        fluid predict round1/student compounds.csv --conformal 0.2 \\
            --calibration measured.csv -o predictions.csv
    """
    from fluid.base.cluster import open_cluster
    from fluid.base.run import Run
    from fluid.exchange.coordinator import check_student_folder
    from fluid.exchange.federation import Federation
    from fluid.report.predict import predict_table

    if federation is not None:
        check_student_folder(model, Federation.load(federation))
    options = _conformal_options(conformal, calibration or [], columns, shift, difficulty)
    beside = rejects_beside(output)
    inputs = [model, compounds, *(calibration or [])]
    with ExitStack() as guards:
        guard = output_file(output, inputs, "table of predictions", is_predictions)
        guards.enter_context(guard)
        if calibration:
            is_rejects = starts_with(REJECTS_HEADER)
            guards.enter_context(output_file(beside, inputs, "table of rejects", is_rejects))
        workers = guards.enter_context(open_cluster(scheduler))
        summary = predict_table(
            model,
            compounds,
            output,
            columns=columns,
            domain=domain,
            conformal=options,
            run=Run(jobs=jobs, workers=workers, progress=Progress("compounds"), stage=stage),
        )
        if calibration:
            replace_rejects(beside, summary.rejects)

    def text() -> str:
        shown: dict[str, object] = {
            "written": output,
            "predicted": f"{summary.n_predicted:,} of {summary.n_rows:,} rows",
        }
        for task, count in summary.inside.items():
            shown[f"in domain, {task}"] = f"{count:,}"
        return pairs(shown | (_show_sets(summary.conformal) if summary.conformal else {}))

    emit(as_json, {"path": str(output), **summary.to_dict()}, text)


def _conformal_options(
    rate: float | None,
    calibration: list[Path],
    columns: Columns,
    shift: bool | None,
    difficulty: str | None,
) -> ConformalOptions | None:
    """The options of prediction sets; an option that would do nothing is wrong usage."""
    from fluid.learn.conformal import DIFFICULTIES
    from fluid.report.conformal import ConformalOptions

    of_table = {
        "--label": columns.labels,
        "--task-column": columns.task,
        "--value-column": columns.value,
        "--qualifier": columns.qualifiers,
        "--unit": columns.units,
        "--qualifier-column": columns.qualifier,
        "--unit-column": columns.unit,
        "--decimal": columns.decimal,
        "--thousands": columns.thousands is not None,
        "--allow-empty": columns.allow_empty,
    }
    given = [option for option, value in of_table.items() if value]
    if rate is None and (calibration or shift is not None or difficulty):
        raise typer.BadParameter(
            "--calibration, --shift, --no-shift and --difficulty need --conformal RATE"
        )
    if given and not calibration:
        raise typer.BadParameter(f"{given[0]} says how to read --calibration, which is missing")
    if rate is None:
        return None
    if not 0.0 < rate <= 0.5:
        raise typer.BadParameter(f"--conformal {rate:g}: allowed is above 0 and at most 0.5")
    chosen = next(iter(DIFFICULTIES)) if difficulty is None else difficulty
    if chosen not in DIFFICULTIES:
        raise typer.BadParameter(f"--difficulty '{chosen}': allowed are {', '.join(DIFFICULTIES)}")
    return ConformalOptions(rate, calibration, columns, shift is not False, chosen)


def _show_sets(found: dict[str, Any]) -> dict[str, object]:
    """Two lines a task: what the sets were calibrated on, and how large they are."""
    shown: dict[str, object] = {}
    for task, sets in found["tasks"].items():
        size = sets["effective"]
        sizes = (
            ", ".join(f"{value:g} {label}" for label, value in size.items())
            if isinstance(size, dict)
            else f"{size:g}"
        )
        left = sets["left_out"]
        notes = [f"effective {sizes}"] if sets["weighted"] else [f"unweighted, {sizes}"]
        notes += [f"{left:,} left out: the model was trained on them"] if left else []
        shown[f"calibration, {task}"] = f"{sets['compounds']:,} compounds ({'; '.join(notes)})"
        counts = sets["sets"]
        shown[f"sets, {task}"] = (
            f"{counts['single']:,} of one class, {counts['several']:,} of several, "
            f"{counts['empty']:,} empty"
            if "single" in counts
            else f"{counts['bounded']:,} intervals, {counts['whole_range']:,} of the whole range"
        )
    if found["rejected"]:
        shown["rejected"] = f"{found['rejected']:,} rows or labels of the calibration table"
    return shown
