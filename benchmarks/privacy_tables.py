"""How the privacy benchmarks print."""

from __future__ import annotations

import sys

TableRow = list[str]


def tell(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def markdown(header: TableRow, rows: list[TableRow]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
