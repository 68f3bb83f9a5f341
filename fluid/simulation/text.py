"""The summary of a study as Markdown, for people and for docs/results.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in rows:
        cells = [str(cell).replace("|", "\\|") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(row: dict[str, Any], value: str, low: str, high: str, sign: bool = False) -> str:
    """A value with its interval, such as ``+0.012 [-0.003, +0.027]``."""
    if row[value] is None:
        return "-"
    form = "{:+.3f}" if sign else "{:.3f}"
    shown = form.format(row[value])
    if row[low] is None:
        return shown
    return f"{shown} [{form.format(row[low])}, {form.format(row[high])}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _p(value: float | None) -> str:
    return "< .001" if value is not None and value < 0.001 else _number(value)


def summary_text(summary: dict[str, Any]) -> str:
    """Markdown of a summary, see `fluid.simulation.results.summarise`."""
    cells = summary["cells"]
    lines = [_overview(summary), ""]
    for task, found in summary["tasks"].items():
        lines += _students(task, found["students"])
        if found["hybrids"]:
            lines += _hybrids(task, found["hybrids"])
        if found["domains"]:
            lines += _domains(task, found["domains"])
    partners = {name for cell in cells for name in cell["partners"]}
    rows = summary.get("studies", [])
    for name in dict.fromkeys(row["study"] for row in rows):
        lines += _named([row for row in rows if row["study"] == name], partners)
    return "\n".join(lines)


def _overview(summary: dict[str, Any]) -> str:
    """Sentences on what was simulated and what models are tested on."""
    cells = summary["cells"]
    partitions = ", ".join(one["shown"] for one in summary["partitions"])
    seeds = ", ".join(map(str, summary["seeds"]))
    tests = ", ".join(f"{name} ({count:,})" for name, count in cells[0]["tests"].items())
    sentences = [
        f"{len(cells)} virtual {'consortium' if len(cells) == 1 else 'consortia'}.",
        f"Partitions: {partitions}.",
        f"Seeds: {seeds}.",
        f"Private compounds: {summary['private_compounds']:,}.",
        f"Test compounds: {tests}.",
    ]
    if summary["donated"]:
        sentences.append(
            f"Each partner donates {summary['donated']:.0%} of its structures to the public set."
        )
    if summary["validation"]:
        sentences.append("Validation split: the tests are part of the training data.")
    return " ".join(sentences)


def _students(task: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    header = ["test", "metric", "model", "mean", "against", "difference", "ratio", "better in", "p"]
    cells = [
        [
            row["test"],
            row["metric"],
            row["model"],
            _number(row["mean"]),
            row["against"],
            _span(row, "difference", "low", "high", True),
            _span(row, "ratio", "ratio_low", "ratio_high"),
            _share(row["better"]),
            _p(row["p"]),
        ]
        for row in rows
    ]
    return [
        f"### {task}: student",
        "",
        "Means over consortia, with 95% intervals. A higher ROC-AUC or MCC is better, and a lower "
        'RMSE. "Better in" is the share of consortia in which the model is better.',
        "",
        *_table(header, cells),
    ]


def _hybrids(task: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    header = ["test", "metric", "difference", "cases", "better in", "not worse by .005", "p"]
    cells = [
        [
            row["test"],
            row["metric"],
            _span(row, "difference", "low", "high", True),
            row["cells"],
            _share(row["better"]),
            _share(row["not_worse"]),
            _p(row["p"]),
        ]
        for row in rows
    ]
    return [
        f"### {task}: hybrids compared with their own teachers",
        "",
        "Each partner of each consortium is one case.",
        "",
        *_table(header, cells),
    ]


def _domains(task: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    header = [
        "model",
        "test",
        "domain",
        "AURC",
        "default lower by",
        "coverage",
        "error rate inside",
    ]
    cells = [
        [
            row["model"],
            row["test"],
            row["domain"],
            f"{row['aurc']:.3f}",
            _span(row, "default_lower_by", "low", "high", True),
            _share(row["coverage"]),
            _number(row["error_inside"]),
        ]
        for row in rows
    ]
    return [
        f"### {task}: applicability domains",
        "",
        "AURC is the area under the risk-coverage curve; a lower area and a lower error rate are "
        "better. Coverage is the share of compounds inside the domain.",
        "",
        *_table(header, cells),
    ]


def _named(rows: Sequence[dict[str, Any]], partners: set[str]) -> list[str]:
    """The tables of one named study: for several cells the means first, then each cell."""
    lines = [f"### study: {rows[0]['study']}", ""]
    several = len({row["cell"] for row in rows}) > 1
    if several:
        lines += _table(
            ["task", "setting", "test", "metric", "mean", "smallest and largest", "consortia"],
            _means(rows, partners),
        )
    lines += _table(
        ["consortium"] * several + ["task", "setting", "test", "metric", "value", "interval"],
        [
            [row["cell"]] * several
            + [
                row["task"],
                row["setting"],
                row["test"],
                row["metric"],
                "-" if row["value"] == "" else f"{row['value']:.3f}",
                "" if row["low"] == "" else f"[{row['low']:.3f}, {row['high']:.3f}]",
            ]
            for row in rows
        ],
    )
    return lines


def _means(rows: Iterable[dict[str, Any]], partners: set[str]) -> list[list[object]]:
    """Means over cells, without rows of single partners.

    A partner of one cell has nothing in common with the partner of that name in another.
    """
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        words = f"{row['setting']} {row['test']}".split()
        if row["value"] != "" and not partners & set(words):
            key = (row["task"], row["setting"], row["test"], row["metric"])
            found.setdefault(key, []).append(row["value"])
    return [
        [*key, f"{sum(each) / len(each):.3f}", f"{min(each):.3f}, {max(each):.3f}", len(each)]
        for key, each in found.items()
    ]
