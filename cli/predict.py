"""The command predict: predictions, domains, and prediction sets."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fluid.cli.console import Progress, command, emit, pairs, parse_labels
from fluid.cli.options import (
    Domain,
    IdColumn,
    Jobs,
    Json,
    Label,
    Scheduler,
    SmilesColumn,
    TaskColumn,
    ValueColumn,
)
from fluid.cli.outputs import (
    REJECTS_HEADER,
    is_predictions,
    list_rejects,
    output_file,
    rejects_beside,
    starts_with,
)

if TYPE_CHECKING:
    from fluid.partner.table import Columns
    from fluid.report.conformal import ConformalOptions


@command
def predict(
    model: Annotated[Path, typer.Argument(help="A teacher's, student's or hybrid's folder.")],
    compounds: Annotated[Path, typer.Argument(help="Table of structures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV or Parquet file to write.")],
    domain: Domain = "reliability",
    conformal: Annotated[
        float | None,
        typer.Option(
            metavar="RATE",
            help="Add prediction sets and intervals that miss the truth at this rate, above 0 and "
            "at most 0.5. See above for what that means.",
        ),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="TABLE",
            help="Tables of measured labels to calibrate sets with; by default a partner's own "
            "out-of-fold predictions, which a student does not have.",
        ),
    ] = None,
    shift: Annotated[
        bool | None,
        typer.Option(
            "--shift/--no-shift",
            help="Weigh calibration compounds by how like the compounds to predict they are, all "
            "of which are then held in memory, about 7 kB each; on by default.",
            show_default=False,
        ),
    ] = None,
    difficulty: Annotated[
        str | None,
        typer.Option(
            help="Intervals 'similarity': wider for compounds unlike the model's (default), or "
            "'constant': of one width.",
            show_default=False,
        ),
    ] = None,
    smiles_column: SmilesColumn = None,
    id_column: IdColumn = None,
    label: Label = None,
    task_column: TaskColumn = None,
    value_column: ValueColumn = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
) -> None:
    """Predict compounds, each with its applicability domain: in or out, how far, and why.

    Every row of the table comes back, in its order; one that cannot be predicted says why. A run
    that was interrupted goes on where it was, unless it makes sets. With --scheduler the model and
    the table are sent to the cluster.

    With --conformal, sets and intervals miss the truth for at most RATE of compounds, on average
    over compounds like the calibration compounds, in each class alike; for about RATE where
    calibrated out of fold. That is not valid across partners, nor for a compound by itself.
    Weights (--shift) mend a difference in chemistry as far as it can be estimated, and none in
    assays. Tables for --calibration, read by --label, --task-column and --value-column, should
    hold compounds that no partner's teacher has seen.

    \b
    Examples:
        fluid predict round1/student compounds.csv -o predictions.csv
        fluid predict round1/student compounds.csv -o predictions.csv \\
            --scheduler tcp://cluster:8786
        fluid predict aurora/hybrid compounds.csv --conformal 0.1 -o predictions.csv
        fluid predict round1/student compounds.csv --conformal 0.2 \\
            --calibration measured.csv -o predictions.csv
    """
    from fluid.base.cluster import open_cluster
    from fluid.partner.table import Columns
    from fluid.report.predict import predict_table

    labels = parse_labels(label or [])
    columns = Columns(smiles_column, id_column, labels, task_column, value_column)
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
            model, compounds, output, smiles_column, id_column, domain, jobs,
            Progress("compounds"), options, workers,
        )  # fmt: skip
        if calibration:
            list_rejects(beside, summary.rejects)

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
    """What is asked of prediction sets; an option that would do nothing is wrong usage."""
    from fluid.learn.conformal import DIFFICULTIES
    from fluid.report.conformal import ConformalOptions

    of_table = columns.labels or columns.task or columns.value
    if rate is None and (calibration or shift is not None or difficulty):
        raise typer.BadParameter(
            "--calibration, --shift, --no-shift and --difficulty need --conformal RATE"
        )
    if of_table and not calibration:
        raise typer.BadParameter(
            "--label, --task-column and --value-column tell how to read --calibration, which is "
            "not given"
        )
    if rate is None:
        return None
    if not 0.0 < rate <= 0.5:
        raise typer.BadParameter(f"--conformal {rate:g}: allowed is above 0 and at most 0.5")
    chosen = next(iter(DIFFICULTIES)) if difficulty is None else difficulty
    if chosen not in DIFFICULTIES:
        raise typer.BadParameter(f"--difficulty '{chosen}': allowed are {', '.join(DIFFICULTIES)}")
    return ConformalOptions(rate, calibration, columns, shift is not False, chosen)


def _show_sets(found: dict[str, Any]) -> dict[str, object]:
    """Two lines a task: what sets were calibrated on, and how large they are."""
    shown: dict[str, object] = {}
    for task, told in found["tasks"].items():
        size = told["effective"]
        sizes = (
            ", ".join(f"{value:g} {label}" for label, value in size.items())
            if isinstance(size, dict)
            else f"{size:g}"
        )
        left = told["left_out"]
        notes = [f"effective {sizes}"] if told["weighted"] else [f"unweighted, {sizes}"]
        notes += [f"{left:,} left out: the model was trained on them"] if left else []
        shown[f"calibration, {task}"] = f"{told['compounds']:,} compounds ({'; '.join(notes)})"
        counts = told["sets"]
        shown[f"sets, {task}"] = (
            f"{counts['single']:,} of one class, {counts['several']:,} of several, "
            f"{counts['empty']:,} empty"
            if "single" in counts
            else f"{counts['bounded']:,} intervals, {counts['whole_range']:,} of the whole range"
        )
    if found["set_aside"]:
        shown["set aside"] = f"{found['set_aside']:,} rows or labels of the calibration table"
    return shown
