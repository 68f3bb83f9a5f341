"""Audited lower bounds on epsilon beside what is accounted, as a Markdown table.

``make study-privacy-utility`` prints it after student quality. Each setting of PATE is run as it is
and with half its noise; see `fluid.partner.audit.noise`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

from fluid.exchange.noise_mechanism import PATE, Mechanism
from fluid.learn.task import Task
from fluid.partner.audit.noise import audit_mechanism

CLASSIFICATION = Task("classification", "binary")
REGRESSION = Task("regression", "regression", low=-2.0, high=2.0)
DELTA = 0.05


def cases() -> Iterator[tuple[str, Mechanism, Task, int]]:
    """The cases: name, mechanism, task, and number of queries that one record can change."""
    votes = Mechanism(PATE, epsilon=1.0, sigma=4.0, threshold=0.0)
    yield "votes", votes, CLASSIFICATION, 8
    checked = replace(votes, sigma=20.0, threshold=0.6, check_sigma=3.0)
    yield "checked votes", checked, CLASSIFICATION, 8
    yield "means", replace(votes, sigma=1.0), REGRESSION, 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="runs in each world")
    given = parser.parse_args()
    print("| setting | queries | accounted epsilon | audited | with half the noise |")
    print("|---|---|---|---|---|")
    for name, mechanism, task, queries in cases():
        half = replace(mechanism, sigma=mechanism.sigma / 2, check_sigma=mechanism.check_sigma / 2)
        found = audit_mechanism(mechanism, task, queries, given.runs, DELTA)
        broken = audit_mechanism(mechanism, task, queries, given.runs, DELTA, run=half)
        print(
            f"| {name} | {queries} | {found.accounted:.2f} | {found.lower:.2f} | "
            f"{broken.lower:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
