"""Compiled loops; `fluid.chem.popcount` imports them when they are needed.

They are functions of the module, not nested in another function: numba names compiled code after
what a function encloses, and an intrinsic has another identity in every process, so compiled code
would never be found again. Fingerprints come as `fluid.chem.popcount.Prepared`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

# Similarities are rounded to float32, and an equally similar pair must not be left out.
_SURELY = 1.0 - 1e-6
# References compared before the bound is computed again, and similarities computed at once.
_STRIDE = 64
_BLOCK = 256


def compile_loop(function: Any) -> Any:
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


# Any, because an intrinsic is called without its typing context.
popcount: Any = intrinsic(count_bits)


@compile_loop
def count(packed):  # type: ignore[no-untyped-def]
    found = np.zeros(packed.shape[0], np.int64)
    for row in range(packed.shape[0]):
        total = np.uint64(0)
        for word in range(packed.shape[1]):
            total += popcount(packed[row, word])
        found[row] = total
    return found


@compile_loop
def shared_bits(one, other):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for word in range(one.shape[0]):
        total += popcount(one[word] & other[word])
    return np.int64(total)


@compile_loop
def tanimoto(queries, references, n_queries, n_references, out):  # type: ignore[no-untyped-def]
    # Counted first and divided then: the division is done for several pairs at once.
    shared = np.empty(_BLOCK, np.int32)
    for i in range(queries.shape[0]):
        query, bits = queries[i], np.int32(n_queries[i])
        for start in range(0, references.shape[0], _BLOCK):
            block = references[start : start + _BLOCK]
            sizes, found = n_references[start : start + _BLOCK], out[i, start : start + _BLOCK]
            for j in range(block.shape[0]):
                total = np.uint64(0)
                for word in range(block.shape[1]):
                    total += popcount(query[word] & block[j, word])
                shared[j] = total
            for j in range(found.shape[0]):
                union = max(bits + np.int32(sizes[j]) - shared[j], np.int32(1))
                found[j] = np.float32(shared[j]) / np.float32(union)


@compile_loop
def candidates(  # type: ignore[no-untyped-def]
    queries, i, references, start, stop, least, beyond, maybe
):
    # Positions, from `start`, of the references whose similarity to query i may be `least` or
    # more. Shared bits that fold to one are counted once: folding hides no more of them than
    # either fingerprint has lost by it.
    folded, lost, bits = queries.folded[i], queries.slack[i], queries.sizes[i]
    first, second = references.folded[0, start:stop], references.folded[1, start:stop]
    third, fourth = references.folded[2, start:stop], references.folded[3, start:stop]
    slack, sizes = references.slack[start:stop], references.sizes[start:stop]
    share = np.float64(least) / (1.0 + np.float64(least)) * _SURELY
    for j in range(slack.shape[0]):
        shared = popcount(folded[0] & first[j])
        shared += popcount(folded[1] & second[j])
        shared += popcount(folded[2] & third[j])
        shared += popcount(folded[3] & fourth[j])
        most = np.int64(shared) + min(lost, slack[j])
        beyond[j] = np.float64(most) >= share * np.float64(bits + sizes[j])
    found = 0
    for j in range(slack.shape[0]):
        maybe[found] = j
        found += beyond[j]
    return found


@compile_loop
def next_block(bits, sizes, below, above, least):  # type: ignore[no-untyped-def]
    # References ascend in their number of bits. Two fingerprints of a and b bits have a similarity
    # of at most min(a, b) / max(a, b), so the search goes outwards from the query's number of bits
    # and ends where no reference beyond can reach `least` (Swamidass and Baldi 2007, doi
    # 10.1021/ci600358f). Returns start and end of the block, and the next bounds below and above;
    # an end of 0 ends the search.
    upper = np.float32(-1.0)
    lower = np.float32(-1.0)
    if above < sizes.shape[0]:
        upper = np.float32(bits) / np.float32(max(sizes[above], 1))
    if below > 0:
        lower = np.float32(sizes[below - 1]) / np.float32(max(bits, 1))
    if max(upper, lower) < max(least, np.float32(0.0)):
        return 0, 0, below, above
    if upper >= lower:
        stop = min(above + _STRIDE, sizes.shape[0])
        return above, stop, below, stop
    start = max(below - _STRIDE, 0)
    return start, below, start, above


@compile_loop
def nearest(queries, references, left_out, best, where):  # type: ignore[no-untyped-def]
    k = best.shape[1]
    maybe, beyond = np.empty(_STRIDE, np.int64), np.empty(_STRIDE, np.int64)
    for i in range(queries.whole.shape[0]):
        query, bits = queries.whole[i], queries.sizes[i]
        above = np.searchsorted(references.sizes, bits)
        below = above
        while True:
            start, stop, below, above = next_block(bits, references.sizes, below, above, best[i, 0])
            if not stop:
                break
            # Views, of which the compiler knows that no index is negative.
            block, sizes = references.whole[start:stop], references.sizes[start:stop]
            found = candidates(queries, i, references, start, stop, best[i, 0], beyond, maybe)
            for entry in range(found):
                j = maybe[entry]
                shared = shared_bits(query, block[j])
                union = max(bits + sizes[j] - shared, 1)
                similarity = np.float32(shared) / np.float32(union)
                position = references.order[start + j]
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


@compile_loop
def nearest_in_other_groups(  # type: ignore[no-untyped-def]
    queries, references, query_groups, reference_groups, best
):
    # As `nearest`, until no division can gain: a pair is compared once for all divisions.
    n_divisions, _, k = best.shape
    maybe, beyond = np.empty(_STRIDE, np.int64), np.empty(_STRIDE, np.int64)
    for i in range(queries.whole.shape[0]):
        query, bits = queries.whole[i], queries.sizes[i]
        above = np.searchsorted(references.sizes, bits)
        below = above
        least = np.float32(0.0)
        while True:
            start, stop, below, above = next_block(bits, references.sizes, below, above, least)
            if not stop:
                break
            block, sizes = references.whole[start:stop], references.sizes[start:stop]
            groups = reference_groups[start:stop]
            found = candidates(queries, i, references, start, stop, least, beyond, maybe)
            for entry in range(found):
                j = maybe[entry]
                shared = shared_bits(query, block[j])
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


@compile_loop
def feature_rows(  # type: ignore[no-untyped-def]
    environments, counts, offsets, bits, presence, descriptors, indptr, indices, data
):
    # Row by row: folded features ascending, those on the same bit added up, then the descriptors
    # that are not 0. Returns the number of entries.
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
