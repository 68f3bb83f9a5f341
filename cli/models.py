"""Commands for whoever holds a file or a model: inspect, evaluate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fluid.cli.console import command, emit, pairs, parse_labels, stage, table
from fluid.cli.options import (
    Domain,
    IdColumn,
    Jobs,
    Json,
    Label,
    Seed,
    SmilesColumn,
    TaskColumn,
    ValueColumn,
)
from fluid.cli.outputs import (
    REJECTS_HEADER,
    is_evaluation,
    list_rejects,
    output_file,
    rejects_beside,
    starts_with,
)

if TYPE_CHECKING:
    from fluid.chem.tables import Reject


@command
def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="Annotation, public or federated set, clusters, coverage report, model folder or "
            "federation file."
        ),
    ],
    federation: Annotated[
        Path | None,
        typer.Option("--federation", "-f", help="Verify a signature with this file."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Folder of the teacher that made an annotation: show its budget."),
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="What `fluid audit` found of an annotation: show it.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write an annotation's description as one web page."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show exactly what a file contains, before it leaves or after it arrives.

    \b
    Example:
        fluid inspect aurora/annotation.parquet
        fluid inspect aurora/annotation.parquet --teacher aurora/teacher --html disclosure.html
    """
    from fluid.base.errors import FluidError, SignatureError
    from fluid.report.inspect import inspect_path

    found = inspect_path(path, federation, teacher, audit)
    if found["what"] != "annotation" and (teacher or audit or html):
        raise FluidError(
            f"{path}: is a {found['what']}; --teacher, --audit and --html are for annotations"
        )
    if html is not None:
        _write_page(html, [path, *(item for item in (federation, teacher, audit) if item)], found)
    emit(as_json, found, lambda: _describe(found))
    if str(found.get("signature", "")).startswith("WRONG"):
        raise SignatureError(f"{path}: the signature is not of the registered key")


def _write_page(output: Path, inputs: list[Path], found: dict[str, Any]) -> None:
    """Write the description of an annotation as a web page."""
    from fluid.base.files import write_text
    from fluid.report.page import web_page
    from fluid.report.sections import annotation_sections

    title = f"What leaves: {found['partner']}, {found['federation']}, round {found['round']}"
    with output_file(output, inputs, "web page of this command", starts_with(b"<!DOCTYPE html>")):
        write_text(output, web_page(title, annotation_sections(found)))


def show_disclosure(found: dict[str, Any]) -> str:
    """The description of an annotation as text."""
    from fluid.report.sections import annotation_sections

    parts = []
    for section in annotation_sections(found):
        lines = [section.title.upper()] + ([section.note] if section.note else [])
        body = (
            table(section.header, section.rows) if section.header
            else "\n".join(f"{name.ljust(22)}  {value}" for name, value in section.rows)
        )  # fmt: skip
        parts.append("\n".join([*lines, body]))
    return "\n\n".join(parts)


def _describe(found: dict[str, Any]) -> str:
    """Everything in `found`, nested values as JSON, tables as tables."""
    if found["what"] == "annotation":
        return show_disclosure(found)
    plain = {
        name: value
        for name, value in found.items()
        if name not in ("columns", "first_rows", "manifest", "files", "entry")
    }
    shown: dict[str, object] = {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
        for name, value in plain.items()
    }
    parts = [pairs(shown)]
    if "manifest" in found:
        manifest = {
            f"  {name}": json.dumps(value, ensure_ascii=False)
            for name, value in found["manifest"].items()
        }
        parts.append("The file says of itself:\n" + pairs(dict(manifest)))
    if "columns" in found:
        rows = [
            [
                column["name"],
                column["type"],
                _range(column),
                column.get("distinct", ""),
                column["missing"],
                column["meaning"],
            ]
            for column in found["columns"]
        ]
        parts.append(
            "Its columns, all of them:\n"
            + table(["column", "type", "range", "distinct", "missing", "meaning"], rows)
        )
    if found.get("first_rows"):
        names = list(found["first_rows"][0])
        rows = [[_cell(row[name]) for name in names] for row in found["first_rows"]]
        parts.append("Its first rows:\n" + table(names, rows))
    return "\n\n".join(parts)


def _range(column: dict[str, Any]) -> str:
    return f"{column['min']:g} to {column['max']:g}" if "min" in column else ""


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


@command
def evaluate(
    models: Annotated[list[Path], typer.Argument(help="Model folders.")],
    data: Annotated[list[Path], typer.Option(help="Labelled tables.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the result as JSON.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Bootstrap samples, 100 or more.")] = 1000,
    seed: Seed = 0,
    domain: Domain = "reliability",
    details: Annotated[bool, typer.Option("--details", help="Print every metric.")] = False,
    smiles_column: SmilesColumn = None,
    id_column: IdColumn = None,
    label: Label = None,
    task_column: TaskColumn = None,
    value_column: ValueColumn = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Metrics of several models on one labelled table, side by side, with 95% intervals.

    With -o, rows and labels that cannot be used are listed in OUTPUT.rejects.csv.

    \b
    Example:
        fluid evaluate round1/student aurora/teacher aurora/hybrid --data test.csv
    """
    from fluid.partner.table import Columns
    from fluid.report.evaluate import evaluate as run

    columns = Columns(
        smiles_column, id_column, parse_labels(label or []), task_column, value_column
    )
    rejects: list[Reject] = []

    def compute() -> dict[str, Any]:
        return run(models, data, columns, draws, seed, domain, jobs, stage, rejects.extend)

    if output is None:
        result = compute()
    else:
        result = _write_evaluation(output, [*models, *data], rejects, compute)
    if result["rejected"]:
        where = f"see {rejects_beside(output)}" if output else "-o writes a list of them"
        stage(f"{result['rejected']:,} rows or labels set aside ({where})")
    emit(as_json, result, lambda: show_evaluation(result, details))


def _write_evaluation(
    output: Path, inputs: list[Path], rejects: list[Reject], compute: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Write the result as JSON, and beside it what was set aside."""
    from fluid.base.files import write_json

    beside = rejects_beside(output)
    with (
        output_file(output, inputs, "evaluation", is_evaluation),
        output_file(beside, inputs, "table of rejects", starts_with(REJECTS_HEADER)),
    ):
        result = compute()
        write_json(output, result)
        list_rejects(beside, rejects)
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
    """An evaluation as text: one table of all models, the differences, and what they say.

    Parameters
    ----------
    result
        What `fluid.report.evaluate.evaluate` returns.
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
        parts += [_sentence(name, item) for name, item in differences if item["of_reference"]]
    for name, task in result["tasks"].items():
        parts += [
            f"Beware: {model['name']} was trained on {model['trained_on']} of the "
            f"{task['compounds']} compounds with {name}; its numbers are no external test."
            for model in task["models"]
            if model["trained_on"]
        ]
    if details:
        parts += [_details(name, task) for name, task in result["tasks"].items()]
    return "\n\n".join(parts)


def _summary(tasks: dict[str, Any]) -> str:
    """One row a model, the leading metrics of each task."""
    header = ["model"]
    models: dict[str, dict[str, str]] = {}
    for name, task in tasks.items():
        for metric in _LEADING[task["kind"]]:
            header.append(f"{name} {_TITLES[metric]}")
            for model in task["models"]:
                shown = _estimate(model["metrics"][metric], True)
                models.setdefault(model["name"], {})[header[-1]] = shown
        lead = _LEADING[task["kind"]][0]
        header += [f"{name} in domain", f"{_TITLES[lead]} there"]
        for model in task["models"]:
            models[model["name"]][header[-2]] = f"{model['coverage']:.0%}"
            models[model["name"]][header[-1] + name] = _value(model["inside_domain"][lead])
    rows = []
    for model_name, cells in models.items():
        row = [model_name]
        for position, title in enumerate(header[1:], start=1):
            name = header[position - 1].split(" ")[0] if title.endswith(" there") else ""
            row.append(cells.get(title + name, ""))
        rows.append(row)
    return table(header, rows)


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
    return table(["model", "against", "metric", "difference", "ratio", "interval says"], rows)


def _sign(item: dict[str, Any]) -> int:
    """1 if the interval lies on the better side of zero, -1 on the worse, 0 if it holds zero."""
    direction = 1 if item["higher_is_better"] else -1
    return direction * ((item["low"] > 0) - (item["high"] < 0))


def _sentence(name: str, item: dict[str, Any]) -> str:
    return (
        f"{item['model']} has {item['ratio']:.1%} [{item['ratio_low']:.1%}, "
        f"{item['ratio_high']:.1%}] of the {_TITLES[item['metric']]} of {item['against']}, which "
        f"was trained on what no federation has ({name}"
        f"{'' if item['higher_is_better'] else ', lower is better'})."
    )


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _estimate(estimate: dict[str, float | None], with_interval: bool) -> str:
    if not with_interval or estimate["low"] is None:
        return _value(estimate["value"])
    return f"{_value(estimate['value'])} [{_value(estimate['low'])}, {_value(estimate['high'])}]"
