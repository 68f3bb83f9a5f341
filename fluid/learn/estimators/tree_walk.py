"""The compiled walk through trees; only `fluid.learn.estimators.tree_arrays` imports this."""

from __future__ import annotations

import numpy as np

from fluid.chem.compiled import compile_loop

# Compounds that go down a tree side by side: their memory accesses overlap.
_LANES = 8


@compile_loop
def walk(indptr, indices, data, offsets, feature, threshold, children, leaves, width):  # type: ignore[no-untyped-def]
    # The sum over trees, in their order, of the leaf that each row of a sparse matrix ends in.
    # Nothing is checked here: `TreeArrays` has made sure that every index is in its array and that
    # every walk ends.
    n = indptr.shape[0] - 1
    total = np.zeros(n)
    dense = np.zeros((width, _LANES))
    nodes = np.zeros(_LANES, np.int64)
    for start in range(0, n, _LANES):
        lanes = min(_LANES, n - start)
        for lane in range(lanes):
            for entry in range(indptr[start + lane], indptr[start + lane + 1]):
                dense[indices[entry], lane] = data[entry]
        for tree in range(offsets.shape[0] - 1):
            first, last = offsets[tree], offsets[tree + 1]
            if first == last:
                total[start : start + lanes] += leaves[first + tree]
                continue
            nodes[:] = 0
            going = lanes
            while going:
                going = 0
                for lane in range(lanes):
                    node = nodes[lane]
                    if node >= 0:
                        place = first + node
                        right = dense[feature[place], lane] > threshold[place]
                        node = np.int64(children[place, np.int64(right)])
                        nodes[lane] = node
                        going += node >= 0
            for lane in range(lanes):
                total[start + lane] += leaves[first + tree + ~nodes[lane]]
        for lane in range(lanes):
            for entry in range(indptr[start + lane], indptr[start + lane + 1]):
                dense[indices[entry], lane] = 0.0
    return total
