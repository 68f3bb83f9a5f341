"""check-data on a large sparse table: ``python -m benchmarks.large_table -o FOLDER``.

The structures are those of the shipped public set and homologues of them; the values are made up,
half of the tasks classes, half numbers of which a tenth are bounds.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path

import numpy as np

from benchmarks.real_table import Steps


def write_table(path: Path, public: Path, n_rows: int, n_tasks: int, density: float) -> None:
    """Write a wide table: a structure, a name and a column for each task, mostly empty."""
    with public.open(encoding="utf-8", newline="") as handle:
        known = [row["smiles"] for row in csv.DictReader(handle)]
    random = np.random.default_rng(0)
    chains = ("C" * length for length in itertools.count())
    structures = (chain + smiles for chain in chains for smiles in known)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["smiles", "id", *(f"t{number}" for number in range(n_tasks))])
        for row, smiles in enumerate(itertools.islice(structures, n_rows)):
            cells = [""] * n_tasks
            for task in random.choice(n_tasks, random.binomial(n_tasks, density), replace=False):
                if task % 2:
                    sign = ">" if random.random() < 0.1 else ""
                    cells[task] = f"{sign}{random.normal(6.0, 1.0):.2f}"
                else:
                    cells[task] = str(int(random.random() < 0.3))
            writer.writerow([smiles, f"c{row}", *cells])


def main() -> None:
    """Write the table and its contract, and check it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder to appear")
    parser.add_argument("--public", type=Path, default=Path("data/public.csv"))
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--density", type=float, default=0.005)
    given = parser.parse_args()
    folder = given.output
    folder.mkdir(parents=True)
    table, tasks, federation = (
        folder / name for name in ("table.csv", "tasks.csv", "federation.toml")
    )
    write_table(table, given.public, given.rows, given.tasks, given.density)
    print(f"{given.rows:,} rows x {given.tasks:,} tasks: {table.stat().st_size / 1e6:.0f} MB")
    with tasks.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["name", "kind", "low", "high"])
        for number in range(given.tasks):
            kind = ("binary", "regression")[number % 2]
            writer.writerow([f"t{number}", kind, *(("0", "14") if number % 2 else ("", ""))])
    steps = Steps(folder)
    steps.run(
        "init-federation", "init-federation", "--name", "large", "--tasks", tasks, "-o", federation
    )
    steps.run("check-data", "check-data", table, "-f", federation, "-o", folder / "per_task.csv")


if __name__ == "__main__":
    main()
