"""A compiled loop that makes the sparse matrix learners are given."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np


@lru_cache(maxsize=1)
def feature_rows() -> Any:
    """Compile the loop, or load what an earlier process compiled."""
    try:
        return _compile(cache=True)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written.
        return _compile(cache=False)


def _compile(cache: bool) -> Any:
    import numba

    @numba.njit(nogil=True, cache=cache)
    def fill(  # type: ignore[no-untyped-def]
        environments, counts, offsets, bits, presence, descriptors, indptr, indices, data
    ):
        # Row by row: folded features ascending, those that fall on one bit added up, and then what
        # is not 0 of the descriptors. Gives the number of entries.
        end = 0
        for row in range(indptr.shape[0] - 1):
            first = end
            for feature in range(offsets[row], offsets[row + 1]):
                bit = np.int32(environments[feature] % bits)
                place = end
                while place > first and indices[place - 1] > bit:
                    place -= 1
                if place > first and indices[place - 1] == bit:
                    data[place - 1] += np.float32(counts[feature])
                    continue
                for moved in range(end, place, -1):
                    indices[moved] = indices[moved - 1]
                    data[moved] = data[moved - 1]
                indices[place] = bit
                data[place] = np.float32(counts[feature])
                end += 1
            if presence:
                data[first:end] = np.float32(1.0)
            for column in range(descriptors.shape[1]):
                value = descriptors[row, column]
                if value != 0.0:
                    indices[end] = np.int32(bits + column)
                    data[end] = value
                    end += 1
            indptr[row + 1] = end
        return end

    none, one = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
    fill(
        np.zeros(0, np.uint32), np.zeros(0, np.uint8), np.zeros(1, np.int64), np.int64(8), False,
        one, np.zeros(1, np.int64), np.zeros(0, np.int32), none,
    )  # fmt: skip
    return fill
