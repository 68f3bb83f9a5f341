"""Compounds and labels that the tests of partitions divide."""

from __future__ import annotations

import numpy as np

from fluid.chem.compounds import Compounds
from fluid.learn.labels import LabelMatrix
from fluid.learn.task import Task
from fluid.simulation.partition import Part, divide
from fluid.simulation.partition_spec import PartitionSpec

TASK = Task("active", "binary")
NUMBER = Task("logd", "regression")


def make_compounds(groups: list[int] | np.ndarray, blocks: int = 8) -> Compounds:
    """Compounds whose scaffold is decided by their group, and whose bits by group modulo blocks.

    A group's scaffold is two rings and a linker of the group's length; a group below 0 is an
    acyclic chain, which has no relatives.
    """
    n = len(groups)
    smiles = [
        "C" * (row + 1) if group < 0 else "C1CC1" + "C" * int(group) + "C1CCC1"
        for row, group in enumerate(groups)
    ]
    rng = np.random.default_rng(99)
    bits = np.zeros((n, 16 * blocks), dtype=np.uint8)
    for row, group in enumerate(groups):
        start = 16 * (int(group) % blocks)
        bits[row, start : start + 8] = 1
        bits[row, start + 8 : start + 16] = rng.random(8) < 0.3
    return Compounds(
        ids=np.array([f"c{row}" for row in range(n)], dtype=object),
        smiles=np.array(smiles, dtype=object),
        inchikeys=np.array([f"{row:014d}-UHFFFAOYSA-N" for row in range(n)], dtype=object),
        fingerprints=np.packbits(bits, axis=1),
        environments=np.zeros(0, dtype=np.uint32),
        counts=np.zeros(0, dtype=np.uint8),
        offsets=np.zeros(n + 1, dtype=np.int64),
        descriptors=np.zeros((n, 0), dtype=np.float32),
    )


def make_labels(*columns: list[float] | np.ndarray) -> LabelMatrix:
    """One column per task; NaN is no label."""
    table = np.array(columns, dtype=np.float64)
    tasks, rows = np.nonzero(~np.isnan(table))
    return LabelMatrix(
        rows=rows,
        tasks=tasks,
        values=table[tasks, rows],
        qualifiers=np.zeros(len(rows), dtype=np.int8),
        weights=np.ones(len(rows)),
        shape=(table.shape[1], table.shape[0]),
    )


def owners_of(parts: list[Part], n: int) -> np.ndarray:
    """The one holder of each compound; fails if somebody has none or two."""
    owners = np.full(n, -1)
    for number, part in enumerate(parts):
        assert np.all(owners[part.rows] == -1)
        owners[part.rows] = number
    assert np.all(owners >= 0)
    return owners


def run(spec: PartitionSpec, compounds: Compounds, seed: int) -> list[Part]:
    """Divide with whatever the kind needs: classes by row, sites by row."""
    n = len(compounds)
    classes = (np.arange(n) % 3 == 0).astype(np.float64)
    sites = [frozenset({f"s{row % 3}"}) for row in range(n)]
    return divide(compounds, spec, seed, make_labels(classes), sites, [TASK])


MIXED = make_compounds([row % 9 - 1 if row % 2 else 10 + row // 2 % 40 for row in range(240)])
ALL_KINDS = ("kmeans", "scaffold", "column", "label", "size", "random")
