"""Run benchmarks and print a Markdown table: ``python -m benchmarks [subject ...]``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import (
    annotate,
    cluster,
    correction,
    distill,
    parts,
    prepare,
    published,
    similarity,
    start,
)
from benchmarks.table import Row, machine, markdown

SUBJECTS: dict[str, Callable[[], list[Row]]] = {
    "start": start.rows,
    "similarity": similarity.rows,
    "prepare": prepare.rows,
    "annotate": annotate.rows,
    "correction": correction.rows,
    "parts": parts.rows,
    "distill": distill.rows,
    "published": published.rows,
    "cluster": cluster.rows,
}


def main(wanted: list[str]) -> None:
    """Run the subjects named, by default all."""
    unknown = [name for name in wanted if name not in SUBJECTS]
    if unknown:
        raise SystemExit(f"unknown subject '{unknown[0]}'; allowed are {', '.join(SUBJECTS)}")
    found: list[Row] = []
    for name in wanted or SUBJECTS:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        found += SUBJECTS[name]()
    print(machine() + "\n\n" + markdown(found))


if __name__ == "__main__":
    main(sys.argv[1:])
