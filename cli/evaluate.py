"""The command evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fluid.cli.console import command, emit, stage, table
from fluid.cli.options import (
    Domain,
    Jobs,
    Json,
    Seed,
)
from fluid.cli.outputs import (
    REJECTS_HEADER,
    is_evaluation,
    output_file,
    rejects_beside,
    replace_rejects,
    starts_with,
)
from fluid.cli.table_options import reads_tables

if TYPE_CHECKING:
    from fluid.partner.table import Columns
    from fluid.report.evaluate import Evaluation


@command
@reads_tables
def evaluate(
    models: Annotated[list[Path], typer.Argument(help="Model folders.")],
    data: Annotated[list[Path], typer.Option(help="A labelled table. Repeatable.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the result as JSON.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Bootstrap samples, 100 or more.")] = 1000,
    seed: Seed = 0,
    domain: Domain = "reliability",
    details: Annotated[bool, typer.Option("--details", help="Print every metric.")] = False,
    *,
    columns: Columns,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Compare several models on one labelled table.

    Prints the metrics of all models side by side with 95% bootstrap intervals, and the differences
    between models that belong together. With -o, rejected rows and labels are listed in
    OUTPUT.rejects.csv.

    \b
    Example:
        fluid evaluate round1/student aurora/teacher aurora/hybrid --data test.csv
    """
    from fluid.base.run import Run
    from fluid.report.evaluate import evaluate as run

    def compute() -> Evaluation:
        how = Run(seed, jobs, stage=stage)
        return run(models, data, columns=columns, draws=draws, domain=domain, run=how)

    result = compute() if output is None else _write(output, [*models, *data], compute)
    if result.rejects:
        where = f"see {rejects_beside(output)}" if output else "-o writes a list of them"
        stage(f"{len(result.rejects):,} rows or labels rejected ({where})")
    values = result.to_dict()
    emit(as_json, values, lambda: show_evaluation(values, details))


def _write(output: Path, inputs: list[Path], compute: Callable[[], Evaluation]) -> Evaluation:
    """Compute an evaluation and write it as JSON, with the rejects beside it."""
    from fluid.base.errors import TableError
    from fluid.base.files import write_json
    from fluid.partner.table import RejectedError

    beside = rejects_beside(output)
    with (
        output_file(output, inputs, "evaluation", is_evaluation),
        output_file(beside, inputs, "table of rejects", starts_with(REJECTS_HEADER)),
    ):
        try:
            result = compute()
        except RejectedError as error:
            if not error.rejects:
                raise
            replace_rejects(beside, error.rejects)
            raise TableError(f"{error} (all are listed in {beside})") from error
        write_json(output, result.to_dict())
        replace_rejects(beside, result.rejects)
    return result


_DETAILS = {
    "binary": (
        "roc_auc",
        "pr_auc",
        "balanced_accuracy",
        "sensitivity",
        "specificity",
        "brier",
        "ece",
    ),
    "multiclass": ("roc_auc", "balanced_accuracy", "brier"),
    "regression": ("rmse", "mae", "r2", "spearman"),
}
_LEADING = {"binary": ("roc_auc", "mcc"), "multiclass": ("roc_auc", "mcc"), "regression": ("rmse",)}
_TITLES = {"roc_auc": "ROC-AUC", "mcc": "MCC", "rmse": "RMSE"}


def show_evaluation(result: dict[str, Any], details: bool = False) -> str:
    """An evaluation as text: one table of all models, their differences, and sentences on these.

    Parameters
    ----------
    result
        An `Evaluation` of `fluid.report.evaluate` as plain values.
    details
        Add a table of every metric per task.
    """
    counts = ", ".join(
        f"{task['compounds']} compounds with {name}" for name, task in result["tasks"].items()
    )
    parts = [f"{', '.join(result['data'])}: {counts}; 95% intervals", _summary(result["tasks"])]
    differences = [
        (name, item)
        for name, task in result["tasks"].items()
        for item in task["differences"]
        if None not in (item["difference"], item["low"], item["ratio"], item["ratio_low"])
    ]
    if differences:
        parts.append(_differences(differences))
    if against := [(name, item) for name, item in differences if item["of_reference"]]:
        parts.append("\n".join(_against_references(result["tasks"], against)))
    parts += [
        f"Beware: {model['name']} was trained on {model['trained_on']} of the "
        f"{task['compounds']} compounds with {name}. Its metrics are not an external test."
        for name, task in result["tasks"].items()
        for model in task["models"]
        if model["trained_on"]
    ]
    if details:
        parts += [_details(name, task) for name, task in result["tasks"].items()]
    return "\n\n".join(parts)


def _summary(tasks: dict[str, Any]) -> str:
    """One row a model, the leading metrics of each task."""
    header = ["model"]
    rows: dict[str, list[str]] = {
        model["name"]: [] for task in tasks.values() for model in task["models"]
    }
    for name, task in tasks.items():
        leading = _LEADING[task["kind"]]
        titles = [_TITLES[metric] for metric in leading]
        header += [f"{name} {title}" for title in (*titles, "in domain", f"{titles[0]} in domain")]
        found = {model["name"]: model for model in task["models"]}
        for model_name, row in rows.items():
            model = found.get(model_name)
            if model is None:
                row += [""] * (len(leading) + 2)
                continue
            row += [_estimate(model["metrics"][metric]) for metric in leading]
            row += [f"{model['coverage']:.0%}", _value(model["inside_domain"][leading[0]])]
    return table(header, [[name, *row] for name, row in rows.items()])


def _details(name: str, task: dict[str, Any]) -> str:
    metrics = _DETAILS[task["kind"]]
    rows = [
        [model["name"], *(_value(model["metrics"][metric]["value"]) for metric in metrics)]
        for model in task["models"]
    ]
    classes = f", classes {task['classes']}" if "classes" in task else ""
    return f"{name}{classes}\n" + table(["model", *metrics], rows)


def _differences(differences: list[tuple[str, dict[str, Any]]]) -> str:
    rows = [
        [
            item["model"],
            item["against"],
            f"{name} {_TITLES[item['metric']]}",
            f"{item['difference']:+.3f} [{item['low']:+.3f}, {item['high']:+.3f}]",
            f"{item['ratio']:.3f} [{item['ratio_low']:.3f}, {item['ratio_high']:.3f}]",
            "better" if _sign(item) > 0 else "worse" if _sign(item) < 0 else "",
        ]
        for name, item in differences
    ]
    return table(["model", "against", "metric", "difference", "ratio", "verdict"], rows)


def _sign(item: dict[str, Any]) -> int:
    """1 if the interval lies on the better side of zero, -1 on the worse, 0 if it holds zero."""
    direction = 1 if item["higher_is_better"] else -1
    return direction * ((item["low"] > 0) - (item["high"] < 0))


def _against_references(
    tasks: dict[str, Any], against: Sequence[tuple[str, dict[str, Any]]]
) -> list[str]:
    """How students do against models of everybody's data, one line each; then what those are."""
    lines = []
    for name, item in against:
        metric = item["metric"]
        values = {
            model["name"]: _value(model["metrics"][metric]["value"])
            for model in tasks[name]["models"]
        }
        # A share of the reference is easy to read only where more is better.
        note = (
            f"{item['ratio']:.1%} [{item['ratio_low']:.1%}, {item['ratio_high']:.1%}] of it"
            if item["higher_is_better"]
            else "lower is better"
        )
        lines.append(
            f"{name}, {item['model']}: {_TITLES[metric]} {values[item['model']]}, "
            f"{item['against']} {values[item['against']]} ({note})"
        )
    references = " and ".join(dict.fromkeys(item["against"] for _, item in against))
    return [
        *lines,
        f"Trained on everybody's data in one place, which no federation has: {references}.",
    ]


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _estimate(estimate: dict[str, float | None]) -> str:
    if estimate["low"] is None:
        return _value(estimate["value"])
    return f"{_value(estimate['value'])} [{_value(estimate['low'])}, {_value(estimate['high'])}]"
