"""Draw what `make bench SUBJECTS=distill` measured: ``python -m benchmarks.plot``."""

from __future__ import annotations

import csv
from collections.abc import Callable

from benchmarks.distill import RESULTS
from fluid.central.fit_student import MOST_HELD

TARGET = RESULTS.with_suffix(".svg")


def main() -> None:
    """CPU and memory against compounds, partners and tasks, on logarithmic axes."""
    import matplotlib

    matplotlib.use("svg")
    # The same numbers give the same file.
    matplotlib.rcParams["svg.hashsalt"] = "fluid"
    from matplotlib import pyplot

    with RESULTS.open(encoding="utf-8", newline="") as table:
        rounds = [
            {key: float(value) for key, value in row.items()} for row in csv.DictReader(table)
        ]
    most = max(one["partners"] for one in rounds)
    several = [one for one in rounds if one["tasks"] > 1]
    size = several[0]["compounds"] if several else 0.0
    panels: dict[str, Callable[[dict[str, float]], bool]] = {
        "compounds": lambda one: one["partners"] == most and one["tasks"] == 1,
        "partners": lambda one: one["compounds"] == size and one["tasks"] == 1,
        "tasks": lambda one: one["compounds"] == size and one["partners"] == most,
    }
    figure, axes = pyplot.subplots(2, 3, figsize=(10, 5), sharey="row", layout="constrained")
    for column, (name, wanted) in enumerate(panels.items()):
        chosen = sorted((one for one in rounds if wanted(one)), key=lambda one: one[name])
        for row, (key, label) in enumerate((("cpu", "CPU, s"), ("peak", "memory, MB"))):
            axis = axes[row, column]
            axis.loglog([one[name] for one in chosen], [one[key] for one in chosen], "o-")
            axis.grid(alpha=0.3)
            if name == "compounds":
                axis.set_ylabel(label)
                axis.axvline(MOST_HELD, color="grey", linestyle=":")
                base = next(one for one in chosen if one[name] > MOST_HELD)
                line = [one[name] for one in chosen if one[name] > MOST_HELD]
                linear = [base[key] * value / base[name] for value in line]
                axis.loglog(line, linear, "--", color="grey", label="linear")
                axis.legend()
            if row:
                axis.set_xlabel(name if name == "compounds" else f"{name}, {size:,.0f} compounds")
    figure.savefig(TARGET, metadata={"Date": None})


if __name__ == "__main__":
    main()
