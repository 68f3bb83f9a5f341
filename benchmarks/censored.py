"""What learning censored values gains over dropping them, and over taking bounds as exact.

``make study-censored`` runs it. Two questions, each over repeated random splits:

- *Known truth*: exact values of the training compounds are censored on purpose, in several
  patterns; predictions of test compounds are judged by their true values.
- *Real censoring* (ChEMBL): predictions of test compounds are judged by exact values and by the
  bounds that are known of the others.

Three ways are compared for each learner: ``learn`` (one-sided loss), ``drop`` (exact values only)
and ``exact`` (bounds as if they were values).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fluid.base.jobs import single_threaded_blas
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.learn import censored
from fluid.learn.censored import one_sided
from fluid.learn.estimators import LEARNERS, KernelRidge
from fluid.learn.task import Task
from fluid.partner.table import LabelledCompounds, read_labelled

LEARN, DROP, EXACT = "learn", "drop", "exact"
TEST_SHARE = 0.25
# The penalty of a hybrid's kernel ridge regression.
RIDGE = 0.15
MADE: dict[str, Callable[[], Any]] = {
    "svm": LEARNERS["svm"],
    "lightgbm": LEARNERS["lightgbm"],
    "kernel-ridge": lambda: KernelRidge(RIDGE),
    "logistic": LEARNERS["logistic"],
    "average": LEARNERS["average"],
}
# log10 of units in mol/L.
_MOLAR = {"nM": -9.0, "µM": -6.0}
_TURNED = {"<": ">", ">": "<", ">=": "<", "<=": ">", "=": "", "~": ""}


@dataclass(frozen=True)
class Data:
    """Values of one task.

    Attributes
    ----------
    name
        Of the task.
    library
        Compounds.
    rows
        Positions of the n labelled ones.
    values, signs
        Values or bounds, and -1, 0 or 1, shape (n,).
    """

    name: str
    library: Compounds
    rows: np.ndarray
    values: np.ndarray
    signs: np.ndarray

    def exact(self) -> Data:
        """The compounds with exact values."""
        kept = self.signs == 0
        return Data(self.name, self.library, self.rows[kept], self.values[kept], self.signs[kept])


@dataclass
class Errors:
    """Errors of test compounds under each way, over all splits and tasks.

    Attributes
    ----------
    compounds
        What is drawn in a bootstrap: the compound of each error.
    plain
        By way: prediction minus truth, or one-sided where only a bound is known.
    beyond
        Whether a truth lies beyond what an assay of the pattern could have measured, or is known
        as a bound only.
    one_sided
        By way: errors as they would be judged if test compounds were censored as well.
    """

    compounds: list[np.ndarray] = field(default_factory=list)
    beyond: list[np.ndarray] = field(default_factory=list)
    plain: dict[str, list[np.ndarray]] = field(default_factory=dict)
    one_sided: dict[str, list[np.ndarray]] = field(default_factory=dict)


# --- data ---------------------------------------------------------------------------------------


def _chemistry() -> Chemistry:
    return Chemistry.here(StandardizerSpec(), FeatureSpec())


def demonstration(tables: Sequence[Path]) -> Data:
    """log10(brain/blood) of the demonstration's tables."""
    # A table needs a column of some task, and not all have this one.
    tasks = [Task("logbb", "regression", low=-4, high=4), Task("bbb", "binary")]
    return next(_columns(read_labelled(tables, tasks, _chemistry()), tasks))


def chembl(path: Path) -> list[Data]:
    """Tasks of a long table with columns smiles, task, qualifier, value and unit, as -log10 M."""
    read = pd.read_csv(path)
    read = read[read.unit.isin(list(_MOLAR)) & (read.value > 0)]
    qualifier = read.qualifier.fillna("=")
    potency = -(np.log10(read.value) + read.unit.map(_MOLAR))
    kept = potency.between(1.0, 14.0)
    made = pd.DataFrame(
        {
            "compound_id": read.compound_id,
            "smiles": read.smiles,
            "task": read.task,
            "value": qualifier.map(_TURNED) + potency.map("{:.4f}".format),
        }
    )[kept]
    tasks = [Task(name, "regression", low=0, high=15) for name in sorted(made.task.unique())]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "potencies.csv"
        made.to_csv(table, index=False)
        return list(_columns(read_labelled([table], tasks, _chemistry()), tasks))


def _columns(table: LabelledCompounds, tasks: Sequence[Task]) -> Iterator[Data]:
    library, labels = table.compounds.with_cache(), table.labels
    for index, task in enumerate(tasks):
        mine = labels.tasks == index
        yield Data(
            task.name, library, labels.rows[mine], labels.values[mine], labels.qualifiers[mine]
        )


# --- patterns of censoring ------------------------------------------------------------------------

# Given true values, the side that is out of reach and a generator: bounds or values, and signs.
Pattern = Callable[[np.ndarray, int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def _beyond(truth: np.ndarray, limits: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    out = side * (truth - limits) > 0
    return np.where(out, limits, truth), np.where(out, side, 0).astype(np.int8)


def limit_at(share: float) -> Pattern:
    """One limit, beyond which a share of the values lies."""

    def censor(
        truth: np.ndarray, side: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        limit = np.quantile(truth, 1.0 - share if side > 0 else share)
        return _beyond(truth, np.full(len(truth), limit), side)

    return censor


def limits_of_assays(
    truth: np.ndarray, side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Five assays with limits of their own, beyond which 5% to 60% of the values lie."""
    shares = np.linspace(0.05, 0.6, 5)[random.integers(0, 5, len(truth))]
    return _beyond(truth, np.quantile(truth, 1.0 - shares if side > 0 else shares), side)


def at_random(
    truth: np.ndarray, side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Of 30% only a bound is known, on either side and half a standard deviation off in mean."""
    chosen = random.random(len(truth)) < 0.3
    signs = np.where(chosen, random.choice([-1, 1], len(truth)), 0).astype(np.int8)
    return truth - signs * random.exponential(truth.std() / 2, len(truth)), signs


PATTERNS: dict[str, Pattern] = {
    "limit, 10% beyond": limit_at(0.1),
    "limit, 30% beyond": limit_at(0.3),
    "limit, 50% beyond": limit_at(0.5),
    "limits of five assays": limits_of_assays,
    "bounds at random, 30%": at_random,
}


# --- comparison -----------------------------------------------------------------------------------


def _predict(
    data: Data, learner: str, train: np.ndarray, test: np.ndarray, way: str, seed: int
) -> np.ndarray:
    values, signs = data.values[train], data.signs[train]
    if way == DROP:
        train, values = train[signs == 0], values[signs == 0]
    given = signs if way == LEARN else None
    fitted = MADE[learner]().fit(data.library, data.rows[train], values, False, seed, signs=given)
    return fitted.score(data.library.take(data.rows[test]), data.library)


def _add(
    errors: Errors, data: Data, truth: np.ndarray, learner: str, split: np.ndarray, seed: int
) -> None:
    """Judge one learner on one split; `truth` is NaN where only the bound is known."""
    train, test = np.flatnonzero(~split), np.flatnonzero(split)
    errors.compounds.append(data.rows[test])
    known = np.isfinite(truth[test])
    errors.beyond.append(data.signs[test] != 0)
    for way in (LEARN, DROP, EXACT):
        predicted = _predict(data, learner, train, test, way, seed)
        sided = one_sided(data.values[test], predicted, data.signs[test])
        plain = np.where(known, truth[test] - predicted, sided)
        errors.plain.setdefault(way, []).append(plain)
        errors.one_sided.setdefault(way, []).append(sided)


def _split(n: int, seed: int) -> np.ndarray:
    test = np.zeros(n, dtype=bool)
    test[np.random.default_rng(seed).permutation(n)[: round(TEST_SHARE * n)]] = True
    return test


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def with_known_truth(
    data: Data, side: int, pattern: str, learner: str, seeds: Sequence[int]
) -> Errors:
    """Censor exact values in a pattern; every split draws the pattern anew."""
    data, errors = data.exact(), Errors()
    for seed in seeds:
        random = np.random.default_rng(_seed(data.name, pattern, seed))
        values, signs = PATTERNS[pattern](data.values, side, random)
        made = Data(data.name, data.library, data.rows, values, signs)
        _add(errors, made, data.values, learner, _split(len(values), seed), seed)
    return errors


def with_real_bounds(tasks: Sequence[Data], learner: str, seeds: Sequence[int]) -> Errors:
    """Take values and bounds as they are, over all tasks."""
    errors = Errors()
    for data in tasks:
        truth = np.where(data.signs == 0, data.values, np.nan)
        for seed in seeds:
            _add(errors, data, truth, learner, _split(len(truth), seed), seed)
    return errors


def compare(errors: Errors, draws: int = 1000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """RMSE of each way, and ratios of ``learn`` to the others with 95% intervals.

    The bootstrap draws compounds, each with its errors in all splits and tasks, the same for all
    ways.
    """
    compounds, which = np.unique(np.concatenate(errors.compounds), return_inverse=True)
    beyond = np.concatenate(errors.beyond)
    random = np.random.default_rng(seed)
    times = random.multinomial(len(compounds), np.full(len(compounds), 1 / len(compounds)), draws)
    every = np.ones(len(beyond), dtype=bool)
    measures = {
        "rmse": (errors.plain, every),
        "rmse_within": (errors.plain, ~beyond),
        "rmse_beyond": (errors.plain, beyond),
        "censored_rmse": (errors.one_sided, every),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, (by_way, chosen) in measures.items():
        if not chosen.any():
            continue
        roots, drawn = {}, {}
        for way, parts in by_way.items():
            squares = np.concatenate(parts)[chosen] ** 2
            sums = np.bincount(which[chosen], squares, minlength=len(compounds))
            sizes = np.bincount(which[chosen], minlength=len(compounds))
            roots[way] = float(np.sqrt(squares.mean()))
            drawn[way] = np.sqrt((times @ sums) / np.maximum(times @ sizes, 1))
        ratios = {
            other: [
                roots[LEARN] / roots[other],
                *np.quantile(drawn[LEARN] / drawn[other], [0.025, 0.975]).tolist(),
            ]
            for other in (DROP, EXACT)
        }
        found[name] = {"rmse": roots, "ratio": ratios}
    return found


# --- text -----------------------------------------------------------------------------------------

_SHOWN = {
    "rmse": "all",
    "rmse_within": "exact",
    "rmse_beyond": "beyond",
    "censored_rmse": "one-sided",
}
HEADER = (
    "| values | learner | judged on | learn | drop | as exact | learn / drop | learn / as exact |\n"
    "|---|---|---|---|---|---|---|---|"
)


def lines(values: str, learner: str, found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Rows of a Markdown table."""
    for name, shown in _SHOWN.items():
        if name not in found:
            continue
        roots, ratios = found[name]["rmse"], found[name]["ratio"]
        cells = [f"{roots[way]:.3f}" for way in (LEARN, DROP, EXACT)]
        cells += ["{:.3f} ({:.3f} to {:.3f})".format(*ratios[way]) for way in (DROP, EXACT)]
        yield f"| {values} | {learner} | {shown} | {' | '.join(cells)} |"


@single_threaded_blas()
def main() -> None:
    """Run the study and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tables", type=Path, nargs="+", help="the demonstration's")
    parser.add_argument("--chembl", type=Path, help="long table with qualifiers")
    parser.add_argument("--task", default="SLC6A4_IC50", help="task to censor on purpose")
    parser.add_argument("--tasks", nargs="*", help="tasks of the second question; default: all")
    parser.add_argument("--learners", nargs="*", default=list(MADE), choices=list(MADE))
    parser.add_argument("--patterns", nargs="*", default=list(PATTERNS), choices=list(PATTERNS))
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument(
        "--share",
        type=float,
        default=censored.CENSORED_SHARE,
        help="of the loss that bounds have at most; 0.05 in SparseChem",
    )
    parser.add_argument("-o", "--output", type=Path, help="JSON to write")
    options = parser.parse_args()
    censored.CENSORED_SHARE = options.share
    logging.basicConfig(level=logging.ERROR)
    started = time.monotonic()
    known = [(demonstration(options.tables), 1)]
    tasks = []
    if options.chembl:
        tasks = chembl(options.chembl)
        # A compound too weak for an assay is known as "IC50 > limit", an upper bound of potency.
        known += [(one, -1) for one in tasks if one.name == options.task]
        tasks = [one for one in tasks if not options.tasks or one.name in options.tasks]
    print(HEADER)
    results = []
    for learner in options.learners:
        todo: list[tuple[str, Callable[[], Errors]]] = [
            (
                f"{data.name}: {pattern}",
                partial(with_known_truth, data, side, pattern, learner, options.seeds),
            )
            for data, side in known
            for pattern in options.patterns
        ]
        if tasks:
            real = partial(with_real_bounds, tasks, learner, options.seeds)
            todo.append((f"ChEMBL, {len(tasks)} tasks", real))
        for values, run in todo:
            found = compare(run())
            results.append({"values": values, "learner": learner, "found": found})
            print("\n".join(lines(values, learner, found)), flush=True)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
