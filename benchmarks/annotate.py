"""`annotate` beside bare predictions of the same trees and the bare kernel on the same pairs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import FOLDER, public_set, teacher
from benchmarks.measure import Measured, cpu_seconds, in_new_process
from benchmarks.table import Row
from fluid.learn.estimators.trees import Trees

# Labelled by each teacher, and by the first: memory must not grow from one to the other.
COMPOUNDS, MANY = 1_000_000, 10_000_000
# What the bare calls are measured on.
FEWER = 100_000
TEACHERS = (
    ("lightgbm", 1000),
    ("lightgbm", 10_000),
    ("lightgbm", 100_000),
    ("svm", 1000),
    ("svm", 5000),
)


def in_lightgbm(estimator: Trees, n_features: int) -> Any:
    """The same trees as a model of LightGBM's."""
    import lightgbm

    assert estimator.trees_ is not None
    trees = estimator.trees_
    blocks = []
    for tree, (start, end) in enumerate(pairwise(trees.offsets.tolist())):
        n = end - start
        left, right = trees.children[start:end].T
        values: dict[str, Sequence[Any]] = {
            "num_leaves": [n + 1],
            "num_cat": [0],
            "split_feature": trees.feature[start:end].tolist(),
            "split_gain": [1] * n,
            "threshold": trees.threshold[start:end].tolist(),
            "decision_type": [2] * n,
            "left_child": left.tolist(),
            "right_child": right.tolist(),
            "leaf_value": trees.leaves[start + tree : end + tree + 1].tolist(),
            "leaf_weight": [1] * (n + 1),
            "leaf_count": [1] * (n + 1),
            "internal_value": [0] * n,
            "internal_weight": [1] * n,
            "internal_count": [1] * n,
            "is_linear": [0],
            "shrinkage": [1],
        }
        lines = [f"{key}={' '.join(map(repr, found))}" for key, found in values.items()]
        blocks.append("\n".join([f"Tree={tree}", *lines]) + "\n\n\n")
    head = {
        "version": "v4",
        "num_class": "1",
        "num_tree_per_iteration": "1",
        "label_index": "0",
        "max_feature_idx": str(n_features - 1),
        "objective": "regression",
        "feature_names": " ".join(f"f{column}" for column in range(n_features)),
        "feature_infos": " ".join("[-1e300:1e300]" for _ in range(n_features)),
        "tree_sizes": " ".join(str(len(block)) for block in blocks),
    }
    text = "tree\n" + "".join(f"{key}={value}\n" for key, value in head.items()) + "\n"
    return lightgbm.Booster(model_str=text + "".join(blocks) + "end of trees\n")


def bare(folder: str, number: int) -> dict[str, float]:
    """CPU seconds of LightGBM and of the kernel, of the chunks of a public set.

    Every fold model predicts the compounds of its fold, and every compound is compared with every
    one of the library once.
    """
    from fluid.chem.similarity import tanimoto
    from fluid.learn.storage import load_trained
    from fluid.partner.teacher.folder import SECRET_FILE, read_secret
    from fluid.partner.teacher.labeler import teacher_folds

    model = load_trained(Path(folder), "teacher")
    secret = read_secret(Path(folder) / SECRET_FILE)
    trees = kernel = 0.0
    # Loaded or compiled before the clock runs.
    tanimoto(model.library.fingerprints[:1], model.library.fingerprints[:1])
    for chunk in public_set(number).chunks():
        folds = teacher_folds(model, secret, chunk)
        for member in model.task_models[0].members:
            rows = np.flatnonzero(folds[member.repeat] == member.fold)
            for estimator in member.estimators:
                if isinstance(estimator, Trees):
                    matrix = chunk.take(rows).feature_matrix(counts=True)
                    booster = in_lightgbm(estimator, matrix.shape[1])
                    trees += cpu_seconds(
                        lambda b=booster, m=matrix: b.predict(m, raw_score=True, num_threads=1)  # type: ignore[misc]
                    )
        for start in range(0, len(chunk), 1024):
            part = chunk.fingerprints[start : start + 1024]
            kernel += cpu_seconds(lambda p=part: tanimoto(p, model.library.fingerprints))  # type: ignore[misc]
    return {"trees": trees, "kernel": kernel}


def ours(folder: str, number: int) -> float:
    """CPU seconds of annotating, without imports."""
    from fluid.base.run import Run
    from fluid.partner.annotate import annotate

    # Drafts: a key has one budget for all teachers that it signs for.
    target = FOLDER / "annotation.parquet"
    few = public_set(64)
    annotate(folder, few, target, run=Run(jobs=1))
    public = public_set(number)
    started = time.process_time()
    annotate(folder, public, target, run=Run(jobs=1))
    return time.process_time() - started


def rows() -> list[Row]:
    """CPU for each kind of teacher; for many compounds CPU and memory."""
    found = []
    for number in (64, FEWER, COMPOUNDS, MANY):
        public_set(number)
    for learner, size in TEACHERS:
        folder = str(teacher(size, learner))
        calls = in_new_process(bare, folder, FEWER).value
        title = f"`annotate`, {learner} teacher of {size:,}"
        found.append(_row(title, in_new_process(ours, folder, COMPOUNDS), COMPOUNDS, calls))
        if (learner, size) == TEACHERS[0]:
            found.append(_row(title, in_new_process(ours, folder, MANY), MANY, calls))
    return found


def _row(title: str, spent: Measured, number: int, calls: dict[str, float]) -> Row:
    """One run beside the bare calls, which were measured on `FEWER` compounds."""
    trees, kernel = (calls[name] * 1e6 / FEWER for name in ("trees", "kernel"))
    each = spent.value * 1e6 / number
    beside = f"bare kernel {kernel:.0f} us"
    if trees:
        beside = (
            f"{each / (trees + kernel):.2f} x bare trees {trees:.0f} us + kernel {kernel:.0f} us"
        )
    return Row(
        f"{title}, {number:,} compounds",
        f"{each:.0f} us of CPU a compound, {spent.peak:.0f} MB at most",
        beside,
    )
