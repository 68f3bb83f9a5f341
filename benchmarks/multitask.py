"""A network of all tasks beside a model for each: teachers and students on the same splits.

    python -m benchmarks.multitask TABLE... --federation federation.toml [--seeds 3]

Compounds are divided into a test (a fifth), a public set whose labels nobody sees (a fifth) and the
data of four partners, at random and by Murcko scaffold. Each partner trains teachers on its own
compounds, with one learner after the other; the mean of the four teachers' labels of the public
set, in log-odds, is what the students learn. Judged are the tasks that all four partners can train
and that have at least 5 test compounds of each class, or 10 exact values. What is reported is the
mean over tasks, and the mean of the paired differences with an interval of 95% over tasks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.chem.scaffolds import scaffold_keys
from fluid.learn.censored import signs_among
from fluid.learn.estimators import KernelRidge, KernelSVM, logit, sigmoid
from fluid.learn.estimators.multitask.training import NetworkSettings, fit_network
from fluid.learn.labels import LabelMatrix
from fluid.learn.quorum import enough_labels
from fluid.learn.task import Task

PARTNERS = 4
TEST_SHARE = PUBLIC_SHARE = 0.2
FEWEST_PER_CLASS, FEWEST_EXACT = 5, 10

Scores = np.ndarray


@dataclass(frozen=True)
class Split:
    """Positions of the test, the public set and each partner's compounds."""

    test: np.ndarray
    public: np.ndarray
    partners: list[np.ndarray]


def split(compounds: Compounds, how: str, seed: int) -> Split:
    """Divide compounds at random, or all of a scaffold together."""
    random = np.random.default_rng(seed)
    n = len(compounds)
    groups = np.arange(n)
    if how == "scaffold":
        groups = np.unique([str(key) for key in scaffold_keys(compounds)], return_inverse=True)[1]
    order = random.permutation(groups.max() + 1)
    sizes = np.bincount(groups)[order]
    # A scaffold goes to the part in which its middle lies.
    middle = np.empty(len(order))
    middle[order] = (np.cumsum(sizes) - sizes / 2) / n
    place = middle[groups]
    ends = np.linspace(TEST_SHARE + PUBLIC_SHARE, 1.0, PARTNERS + 1)
    return Split(
        np.flatnonzero(place < TEST_SHARE),
        np.flatnonzero((place >= TEST_SHARE) & (place < ends[0])),
        [
            np.flatnonzero((place >= low) & (place < high))
            for low, high in zip(ends[:-1], ends[1:] + 1e-9, strict=True)
        ],
    )


def choose(labels: LabelMatrix, kept: np.ndarray) -> LabelMatrix:
    """The labels of these tasks, renumbered."""
    number = np.full(labels.shape[1], -1)
    number[kept] = np.arange(len(kept))
    mine = number[labels.tasks] >= 0
    return LabelMatrix(
        labels.rows[mine],
        number[labels.tasks[mine]],
        labels.values[mine],
        labels.qualifiers[mine],
        np.ones(mine.sum()),
        (labels.shape[0], len(kept)),
    )


def of_task(labels: LabelMatrix, task: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, values and signs of a task."""
    mine = labels.tasks == task
    return labels.rows[mine], labels.values[mine], labels.qualifiers[mine]


def svm(compounds: Compounds, labels: LabelMatrix, tasks: Sequence[Task]) -> Callable[..., Scores]:
    """A support vector machine for each task."""
    machines = []
    for number, task in enumerate(tasks):
        rows, values, signs = of_task(labels, number)
        bounds = signs_among(signs, np.arange(len(rows))) if np.any(signs) else None
        made = KernelSVM().fit(compounds, rows, values, task.is_classification, 0, signs=bounds)
        machines.append(made)
    return lambda queries: np.stack([one.score(queries, compounds) for one in machines], axis=1)


def network(settings: NetworkSettings | None = None) -> Callable[..., Callable[..., Scores]]:
    """One network of all tasks."""

    def fit(
        compounds: Compounds, labels: LabelMatrix, tasks: Sequence[Task]
    ) -> Callable[..., Scores]:
        return fit_network(compounds, labels, tasks, 0, settings).scores

    return fit


def students(
    public: Compounds, scores: Scores, tasks: Sequence[Task]
) -> Iterator[tuple[str, Callable[..., Scores]]]:
    """A student of each kind, of scores of the public set (n, n_tasks)."""
    n = len(public)
    rows = np.arange(n)
    ridges = [KernelRidge().fit(public, rows, column, False, 0) for column in scores.T]
    yield "kernel ridge", lambda q: np.stack([one.score(q, public) for one in ridges], axis=1)
    values = [
        sigmoid(column) if task.is_classification else column
        for task, column in zip(tasks, scores.T, strict=True)
    ]
    labels = LabelMatrix(
        np.tile(rows, len(tasks)),
        np.repeat(np.arange(len(tasks)), n),
        np.concatenate(values),
        np.zeros(n * len(tasks), dtype=np.int8),
        np.ones(n * len(tasks)),
        (n, len(tasks)),
    )
    yield "network", fit_network(public, labels, tasks, 0).scores


def judge(labels: LabelMatrix, tasks: Sequence[Task], scores: Scores) -> np.ndarray:
    """ROC-AUC or RMSE (of exact values) of each task."""
    from sklearn.metrics import roc_auc_score

    found = []
    for number, task in enumerate(tasks):
        rows, values, signs = of_task(labels, number)
        rows, values = rows[signs == 0], values[signs == 0]
        predicted = scores[rows, number]
        if task.is_classification:
            found.append(roc_auc_score(values, predicted))
        else:
            found.append(float(np.sqrt(np.mean((values - predicted) ** 2))))
    return np.array(found)


def usable(labels: LabelMatrix, tasks: Sequence[Task], parts: Split) -> np.ndarray:
    """Tasks that all partners can train and that the test can judge."""
    test = labels.take(parts.test)
    own = [labels.take(rows) for rows in parts.partners]
    found = []
    for number, task in enumerate(tasks):
        if task.kind == "multiclass":
            continue
        _, values, signs = of_task(test, number)
        if task.is_classification:
            judged = min(np.bincount(values.astype(int), minlength=2)) >= FEWEST_PER_CLASS
        else:
            judged = int(np.sum(signs == 0)) >= FEWEST_EXACT
        trained = all(
            enough_labels(task, part[1], 1.0, part[2])
            for part in (of_task(one, number) for one in own)
        )
        if judged and trained:
            found.append(number)
    return np.array(found, dtype=int)


@single_threaded_blas()
def compare(
    compounds: Compounds, labels: LabelMatrix, tasks: Sequence[Task], parts: Split
) -> tuple[list[Task], dict[str, np.ndarray], dict[str, float]]:
    """The metric of each model by task, and the seconds of training teachers, on one split."""
    kept = usable(labels, tasks, parts)
    if not len(kept):
        raise SystemExit("no task has enough labels in every part")
    chosen, few = [tasks[number] for number in kept], choose(labels, kept)
    test, public = compounds.take(parts.test), compounds.take(parts.public)
    truth = few.take(parts.test)
    found: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    learners: dict[str, Callable[..., Callable[..., Scores]]] = {"svm": svm, "network": network()}
    for name, fit in learners.items():
        each, said = [], []
        started = time.process_time()
        for rows in parts.partners:
            model = fit(compounds.take(rows), few.take(rows), chosen)
            each.append(judge(truth, chosen, model(test)))
            said.append(model(public))
        seconds[name] = time.process_time() - started
        found[f"teachers, {name}"] = np.mean(each, axis=0)
        mean = np.mean(said, axis=0)
        classes = [number for number, task in enumerate(chosen) if task.is_classification]
        # Margins of machines are cut where probabilities would be certain.
        mean[:, classes] = logit(sigmoid(mean[:, classes]), 1e-3)
        for kind, model in students(public, mean, chosen):
            found[f"student, {kind}, of {name} teachers"] = judge(truth, chosen, model(test))
    return chosen, found, seconds


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences, and an interval of 95% by bootstrap over tasks."""
    random = np.random.default_rng(0)
    drawn = random.choice(differences, (4000, len(differences))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def report(title: str, tasks: Sequence[Task], found: dict[str, np.ndarray]) -> None:
    """Print means over tasks, and differences from models for each task."""
    for kind, metric in (("binary", "ROC-AUC"), ("regression", "RMSE")):
        mine = [number for number, task in enumerate(tasks) if task.kind == kind]
        if not mine:
            continue
        print(f"\n{title}: {metric}, {len(mine)} tasks (difference: network minus the other)")
        for name, values in found.items():
            print(f"  {name:44s} {values[mine].mean():.4f}")
        pairs = [("teachers, network", "teachers, svm")]
        pairs += [
            (f"student, network, of {one} teachers", f"student, kernel ridge, of {one} teachers")
            for one in ("svm", "network")
        ]
        pairs.append(
            ("student, kernel ridge, of network teachers", "student, kernel ridge, of svm teachers")
        )
        for left, right in pairs:
            mean, low, high = interval(found[left][mine] - found[right][mine])
            print(f"  {left} - {right}: {mean:+.4f} ({low:+.4f} to {high:+.4f})")


def study(compounds: Compounds, labels: LabelMatrix, tasks: Sequence[Task], seeds: int) -> None:
    """Both divisions, some seeds each; tasks are those of all seeds, each with its mean."""
    compounds = compounds.with_cache()
    for how in ("random", "scaffold"):
        by_task: dict[str, dict[str, list[float]]] = {}
        known: dict[str, Task] = {}
        for seed in range(seeds):
            parts = split(compounds, how, seed)
            chosen, found, seconds = compare(compounds, labels, tasks, parts)
            known |= {task.name: task for task in chosen}
            for name, values in found.items():
                for task, value in zip(chosen, values, strict=True):
                    by_task.setdefault(name, {}).setdefault(task.name, []).append(float(value))
            spent = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
            print(
                f"{how}, seed {seed}: {len(chosen)} tasks; CPU s of four teachers: {spent}",
                flush=True,
            )
        means = {
            name: np.array([np.mean(values[task]) for task in known])
            for name, values in by_task.items()
        }
        report(f"{how}, {seeds} seeds", list(known.values()), means)


def main() -> None:
    """Read the tables by the contract's tasks, and compare."""
    from fluid.exchange.federation import load_federation
    from fluid.partner.table import read_labelled

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--federation", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    federation = load_federation(given.federation)
    table = read_labelled(given.tables, federation.tasks, federation.chemistry)
    study(table.compounds, table.labels, federation.tasks, given.seeds)


if __name__ == "__main__":
    main()
