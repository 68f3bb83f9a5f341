"""Compiled loops; only `fluid.chem.popcount` imports this, when they are needed.

They are functions of the module, not of another function: what a function encloses becomes part of
the name that numba keeps its compiled code under, and an intrinsic has another identity in every
process, so that nothing that was compiled would ever be found again.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

# References compared before the bound is looked at again.
_STRIDE = 32


def _compiled(function: Any) -> Any:
    """Compile a loop, or load what an earlier process compiled; it holds no lock."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written.
        return numba.njit(nogil=True)(function)


def count_bits(typingctx, word):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


# As an unknown type: what stands here takes no typing context when it is called.
popcount: Any = intrinsic(count_bits)


@_compiled
def count(packed):  # type: ignore[no-untyped-def]
    found = np.zeros(packed.shape[0], np.int64)
    for row in range(packed.shape[0]):
        total = np.uint64(0)
        for word in range(packed.shape[1]):
            total += popcount(packed[row, word])
        found[row] = total
    return found


@_compiled
def tanimoto(queries, references, n_queries, n_references, out):  # type: ignore[no-untyped-def]
    for i in range(queries.shape[0]):
        for j in range(references.shape[0]):
            total = np.uint64(0)
            for word in range(queries.shape[1]):
                total += popcount(queries[i, word] & references[j, word])
            shared = np.int64(total)
            union = max(n_queries[i] + n_references[j] - shared, 1)
            out[i, j] = np.float32(shared) / np.float32(union)


@_compiled
def nearest(  # type: ignore[no-untyped-def]
    queries, references, n_queries, n_references, positions, left_out, best, where
):
    # References ascend in their number of bits: two of a and b bits have a similarity of at
    # most min(a, b) / max(a, b), so that the search goes outwards from a query's own number
    # and ends where nothing farther can be nearer than the k found (Swamidass and Baldi 2007,
    # doi 10.1021/ci600358f).
    k = best.shape[1]
    m = references.shape[0]
    for i in range(queries.shape[0]):
        bits = n_queries[i]
        above = np.searchsorted(n_references, bits)
        below = above - 1
        while below >= 0 or above < m:
            upper = np.float32(-1.0)
            lower = np.float32(-1.0)
            if above < m:
                upper = np.float32(bits) / np.float32(max(n_references[above], 1))
            if below >= 0:
                lower = np.float32(n_references[below]) / np.float32(max(bits, 1))
            if max(upper, lower) < best[i, 0]:
                break
            if upper >= lower:
                j = above
                above += 1
            else:
                j = below
                below -= 1
            total = np.uint64(0)
            for word in range(queries.shape[1]):
                total += popcount(queries[i, word] & references[j, word])
            shared = np.int64(total)
            union = max(bits + n_references[j] - shared, 1)
            similarity = np.float32(shared) / np.float32(union)
            position = positions[j]
            if similarity < best[i, 0] or shared == 0 or position == left_out[i]:
                continue
            if similarity == best[i, 0] and position > where[i, 0]:
                continue
            # Ascending, the least of the k first; of equals the later position.
            place = 0
            while place + 1 < k and (
                best[i, place + 1] < similarity
                or (best[i, place + 1] == similarity and where[i, place + 1] > position)
            ):
                best[i, place] = best[i, place + 1]
                where[i, place] = where[i, place + 1]
                place += 1
            best[i, place] = similarity
            where[i, place] = position


@_compiled
def apart(  # type: ignore[no-untyped-def]
    queries, references, n_queries, n_references, query_groups, reference_groups, best
):
    # Outwards from a query's own number of bits, as in `nearest`, a block at a time; and until
    # no division can gain: a pair is compared once for all of them.
    n_divisions, _, k = best.shape
    m = references.shape[0]
    for i in range(queries.shape[0]):
        query, bits = queries[i], n_queries[i]
        above = np.searchsorted(n_references, bits)
        below = above
        least = np.float32(0.0)
        while below > 0 or above < m:
            upper = np.float32(-1.0)
            lower = np.float32(-1.0)
            if above < m:
                upper = np.float32(bits) / np.float32(max(n_references[above], 1))
            if below > 0:
                lower = np.float32(n_references[below - 1]) / np.float32(max(bits, 1))
            if max(upper, lower) <= least:
                break
            if upper >= lower:
                start = above
                stop = min(above + _STRIDE, m)
                above = stop
            else:
                start = max(below - _STRIDE, 0)
                stop = below
                below = start
            # Views, of which the compiler knows that no index is negative.
            block, sizes = references[start:stop], n_references[start:stop]
            groups = reference_groups[start:stop]
            for j in range(block.shape[0]):
                total = np.uint64(0)
                for word in range(block.shape[1]):
                    total += popcount(query[word] & block[j, word])
                shared = np.int64(total)
                union = max(bits + sizes[j] - shared, 1)
                similarity = np.float32(shared) / np.float32(union)
                if similarity <= least:
                    continue
                least = np.float32(1.0)
                for division in range(n_divisions):
                    own = best[division, i]
                    different = query_groups[i, division] != groups[j, division]
                    if different and similarity > own[0]:
                        place = 0
                        while place + 1 < k and own[place + 1] < similarity:
                            own[place] = own[place + 1]
                            place += 1
                        own[place] = similarity
                    least = min(least, own[0])


@_compiled
def feature_rows(  # type: ignore[no-untyped-def]
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
