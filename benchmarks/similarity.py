"""The Tanimoto kernel beside RDKit's bulk call, on one core."""

from __future__ import annotations

import numpy as np
from rdkit import DataStructs

from benchmarks.material import public_set
from benchmarks.measure import cpu_seconds, in_new_process
from benchmarks.table import Row
from fluid.learn.reliability import DOMAIN_NEIGHBOURS

QUERIES, REFERENCES = 1000, 5000
_BULK = 200


def pairs_a_second() -> dict[str, float]:
    """Millions of pairs a second of CPU by RDKit, by the kernel, and with bounds."""
    from fluid.chem.similarity import nearest_references, similarity_apart, tanimoto

    packed = next(public_set(10_000).chunks()).fingerprints
    packed = packed[np.random.default_rng(0).permutation(len(packed))]
    queries, references = packed[:QUERIES], packed[QUERIES : QUERIES + REFERENCES]
    raw = [DataStructs.CreateFromBinaryText(row.tobytes()) for row in packed[: _BULK + REFERENCES]]
    asked, held = raw[:_BULK], raw[_BULK:]
    divisions = np.random.default_rng(1).integers(0, 5, (3, QUERIES + REFERENCES), dtype=np.uint8)
    groups = divisions[:, :QUERIES], divisions[:, QUERIES:]
    tanimoto(queries[:1], references[:1])

    def bulk() -> None:
        for query in asked:
            DataStructs.BulkTanimotoSimilarity(query, held)

    pairs = QUERIES * REFERENCES / 1e6
    return {
        "bulk": _BULK * REFERENCES / 1e6 / cpu_seconds(bulk, 3),
        "kernel": pairs / cpu_seconds(lambda: tanimoto(queries, references), 5),
        "nearest": pairs
        / cpu_seconds(lambda: nearest_references(queries, references, DOMAIN_NEIGHBOURS), 5),
        "apart": pairs
        / cpu_seconds(lambda: similarity_apart(queries, references, *groups, DOMAIN_NEIGHBOURS), 5),
    }


def rows() -> list[Row]:
    """Pairs a second and ratios."""
    found = in_new_process(pairs_a_second).value
    bulk = found["bulk"]
    meanings = {
        "kernel": "Tanimoto kernel, every pair",
        "nearest": f"{DOMAIN_NEIGHBOURS} nearest, with bounds",
        "apart": f"{DOMAIN_NEIGHBOURS} nearest in other folds, for three repeats at once",
    }
    return [
        Row(
            meaning,
            f"{found[name]:.0f} million pairs a second and core",
            f"{found[name] / bulk:.1f} x RDKit's bulk call ({bulk:.0f} million)",
        )
        for name, meaning in meanings.items()
    ]
