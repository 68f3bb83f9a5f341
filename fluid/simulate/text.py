"""The summary of a study as Markdown tables, for people and for docs/results.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in rows:
        cells = [str(cell).replace("|", "\\|") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _span(row: dict[str, Any], value: str, low: str, high: str, sign: bool = False) -> str:
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
    return "-" if value is None else ("< .001" if value < 0.001 else f"{value:.3f}")


def summary_text(summary: dict[str, Any]) -> str:
    """Markdown of a summary, see `fluid.simulate.results.summarise`."""
    cells = summary["cells"]
    partitions = ", ".join(one["shown"] for one in summary["partitions"])
    lines = [
        f"{len(cells)} consortia: {partitions}; seeds {', '.join(map(str, summary['seeds']))}. "
        f"{summary['private_compounds']:,} private compounds, tests: "
        + ", ".join(f"{name} ({count:,})" for name, count in cells[0]["tests"].items())
        + (
            f"; {summary['donated']:.0%} of each partner's structures donated to the public set"
            if summary["donated"]
            else ""
        )
        + (". Validation split." if summary["validation"] else "."),
        "",
    ]
    for task, found in summary["tasks"].items():
        lines += [f"### {task}: student", ""]
        lines += _table(
            ["test", "metric", "model", "mean", "against", "difference", "ratio", "better in", "p"],
            [
                [
                    row["test"], row["metric"], row["model"],
                    "-" if row["mean"] is None else f"{row['mean']:.3f}", row["against"],
                    _span(row, "difference", "low", "high", True),
                    _span(row, "ratio", "ratio_low", "ratio_high"), _share(row["better"]),
                    _p(row["p"]),
                ]
                for row in found["students"]
            ],
        )  # fmt: skip
        if found["hybrids"]:
            lines += [f"### {task}: hybrids against their own teachers", ""]
            lines += _table(
                ["test", "metric", "difference", "cases", "better in", "not worse by .005", "p"],
                [
                    [
                        row["test"], row["metric"], _span(row, "difference", "low", "high", True),
                        row["cells"], _share(row["better"]), _share(row["not_worse"]),
                        _p(row["p"]),
                    ]
                    for row in found["hybrids"]
                ],
            )  # fmt: skip
        if found["domains"]:
            lines += [f"### {task}: applicability domains", ""]
            lines += _table(
                ["model", "test", "domain", "AURC", "default lower by", "coverage",
                 "error inside"],
                [
                    [
                        row["model"], row["test"], row["domain"], f"{row['aurc']:.3f}",
                        _span(row, "default_lower_by", "low", "high", True),
                        _share(row["coverage"]),
                        "-" if row["error_inside"] is None else f"{row['error_inside']:.1%}",
                    ]
                    for row in found["domains"]
                ],
            )  # fmt: skip
    partners = {name for cell in cells for name in cell["partners"]}
    rows = summary.get("studies", [])
    for name in dict.fromkeys(row["study"] for row in rows):
        lines += _named([row for row in rows if row["study"] == name], partners)
    return "\n".join(lines)


def _named(rows: Sequence[dict[str, Any]], partners: set[str]) -> list[str]:
    """The tables of one named study: of several cells the means first, then each."""
    lines = [f"### study: {rows[0]['study']}", ""]
    several = len({row["cell"] for row in rows}) > 1
    if several:
        lines += _table(
            ["task", "setting", "test", "metric", "mean", "least and greatest", "consortia"],
            _means(rows, partners),
        )
    lines += _table(
        ["consortium"] * several + ["task", "setting", "test", "metric", "value", "interval"],
        [
            [row["cell"]] * several
            + [
                row["task"], row["setting"], row["test"], row["metric"],
                "-" if row["value"] == "" else f"{row['value']:.3f}",
                "" if row["low"] == "" else f"[{row['low']:.3f}, {row['high']:.3f}]",
            ]
            for row in rows
        ],
    )  # fmt: skip
    return lines


def _means(rows: Iterable[dict[str, Any]], partners: set[str]) -> list[list[object]]:
    """Means over cells. A partner of one cell has nothing to do with that name's in another."""
    found: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        named = f"{row['setting']} {row['test']}".split()
        if row["value"] != "" and not partners & set(named):
            key = (row["task"], row["setting"], row["test"], row["metric"])
            found.setdefault(key, []).append(row["value"])
    return [
        [*key, f"{sum(each) / len(each):.3f}", f"{min(each):.3f}, {max(each):.3f}", len(each)]
        for key, each in found.items()
    ]
