"""Audited lower bounds on epsilon beside what is accounted, as a Markdown table.

``make study-privacy-utility`` prints it after student quality. Each mechanism is run as it is and
with half its noise; see `fluid.partner.audit.noise`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

from fluid.exchange.mechanism import GAUSSIAN, LABEL_ONLY, PATE, Mechanism
from fluid.learn.task import Task
from fluid.partner.audit.noise import audit_mechanism

CLASSES = Task("classes", "binary")
NUMBERS = Task("numbers", "regression", low=-2.0, high=2.0)
DELTA = 0.05


def cases() -> Iterator[tuple[str, Mechanism, Task, int]]:
    """What is audited: name, mechanism, task and queries that one record can change."""
    label = Mechanism(LABEL_ONLY, label_epsilon=1.0)
    gauss = Mechanism(GAUSSIAN, sigma=1.0)
    votes = Mechanism(PATE, epsilon=1.0, sigma=4.0, threshold=0.0)
    yield "label-only, classes", label, CLASSES, 1
    yield "label-only, numbers", label, NUMBERS, 1
    yield "gaussian, classes", gauss, CLASSES, 1
    yield "gaussian, numbers", gauss, NUMBERS, 1
    yield "pate, votes", votes, CLASSES, 8
    checked = replace(votes, sigma=20.0, threshold=0.6, check_sigma=3.0)
    yield "pate, checked votes", checked, CLASSES, 8
    yield "pate, means", replace(votes, sigma=1.0), NUMBERS, 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="runs in each world")
    given = parser.parse_args()
    print("| mechanism | queries | accounted epsilon | audited | with half the noise |")
    print("|---|---|---|---|---|")
    for name, mechanism, task, queries in cases():
        half = replace(
            mechanism, label_epsilon=2 * mechanism.label_epsilon, sigma=mechanism.sigma / 2,
            check_sigma=mechanism.check_sigma / 2,
        )  # fmt: skip
        found = audit_mechanism(mechanism, task, queries, given.runs, DELTA)
        broken = audit_mechanism(mechanism, task, queries, given.runs, DELTA, run=half)
        print(
            f"| {name} | {queries} | {found.accounted:.2f} | {found.lower:.2f} | "
            f"{broken.lower:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
