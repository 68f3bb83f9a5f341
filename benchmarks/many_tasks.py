"""A teacher of thousands of sparse tasks, up to its fits: ``python -m benchmarks.many_tasks``.

Compounds are made up: features drawn like those of molecules, labels at random. So nothing is
learned here; what is measured is the memory and time of what comes before the fits, and of a few
fits, from which the rest follows.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np

from fluid.base.jobs import single_threaded_blas
from fluid.chem.compounds import Compounds
from fluid.learn.crossfit import CrossFitting, LabelledTask, cross_fit_all
from fluid.learn.folds import keyed_folds
from fluid.learn.task import Task

# Morgan features and descriptors of a molecule, about as many as a drug has.
_FEATURES, _KNOWN_FEATURES, _DESCRIPTORS, _BITS = 45, 60_000, 208, 2048
_FOLDS, _REPEATS = 5, 3


def make_compounds(n: int, seed: int) -> Compounds:
    """Made-up compounds, whose features are as unequally frequent as those of molecules."""
    random = np.random.default_rng(seed)
    rank = random.random((n, _FEATURES)) ** 4 * _KNOWN_FEATURES
    environments = (rank.astype(np.uint32) * np.uint32(2_654_435_761)).ravel()
    keys = np.array([f"{number:014d}-UHFFFAOYSA-N" for number in range(n)], dtype=object)
    descriptors = np.empty((n, _DESCRIPTORS), dtype=np.float32)
    for start in range(0, n, 10_000):
        part = descriptors[start : start + 10_000]
        part[:] = random.normal(size=part.shape)
    return Compounds.from_environments(
        ids=keys,
        smiles=np.full(n, "C", dtype=object),
        inchikeys=keys,
        environments=environments,
        counts=np.ones(n * _FEATURES, dtype=np.uint8),
        offsets=np.arange(n + 1, dtype=np.int64) * _FEATURES,
        descriptors=descriptors,
        bits=_BITS,
    )


def make_tasks(library: Compounds, n_tasks: int, density: float, seed: int) -> list[LabelledTask]:
    """Binary tasks with a tenth of actives, each of a random part of the compounds."""
    random = np.random.default_rng(seed)
    size = int(len(library) * density)
    made = []
    for number in range(n_tasks):
        rows = np.sort(random.choice(len(library), size, replace=False))
        values = (random.random(size) < 0.1).astype(np.float64)
        made.append(LabelledTask(library, Task(f"t{number}", "binary"), rows, values))
    return made


def _say(what: str, started: float) -> float:
    scale = 1e9 if sys.platform == "darwin" else 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    print(f"{what:<44}{time.monotonic() - started:9.1f} s{peak:8.2f} GB", flush=True)
    return time.monotonic()


@single_threaded_blas()
def main() -> None:
    """Make the table, prepare the teacher, fit a few tasks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--compounds", type=int, default=200_000)
    parser.add_argument("--density", type=float, default=0.005)
    parser.add_argument("--fitted", type=int, default=4, help="tasks that are fitted")
    given = parser.parse_args()
    at = time.monotonic()
    library = make_compounds(given.compounds, 0)
    tasks = make_tasks(library, given.tasks, given.density, 1)
    at = _say(f"{given.compounds:,} compounds, {given.tasks:,} tasks made", at)
    keys = library.connectivities
    folds = np.stack([keyed_folds(keys, bytes(32), repeat, _FOLDS) for repeat in range(_REPEATS)])
    at = _say("folds", at)
    some = [LabelledTask(library, one.task, one.rows, one.values) for one in tasks[: given.fitted]]
    cross_fit_all(some, folds, CrossFitting(_FOLDS, "svm", 0), 1)
    spent = time.monotonic() - at
    _say(f"{given.fitted} tasks cross-fitted, with all that is shared", at)
    at = time.monotonic()
    cross_fit_all([*some, *some], folds, CrossFitting(_FOLDS, "svm", 0), 1)
    each = max(time.monotonic() - at - spent, 0.0) / given.fitted
    _say(f"{2 * given.fitted} tasks", at)
    print(f"a further task: {each:.1f} s; {given.tasks:,} tasks: {each * given.tasks / 3600:.1f} h")


if __name__ == "__main__":
    main()
