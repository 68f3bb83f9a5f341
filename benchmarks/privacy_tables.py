"""How the privacy benchmarks print."""

from __future__ import annotations

import sys

TableRow = list[str]


def log(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def markdown(header: TableRow, rows: list[TableRow]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
