"""A batch of standardised compounds with their features, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from threading import Lock
from typing import Any, ClassVar

import numpy as np
import scipy.sparse

from fluid.chem.popcount import kernels


class _Memory:
    """Rows derived from a batch, or the positions of these compounds in such a batch."""

    def __init__(self, whole: Compounds | None = None, rows: np.ndarray | None = None) -> None:
        self.whole = whole
        self.rows = rows
        self._lock = Lock()
        self._found: dict[Hashable, Any] = {}

    def recall(self, mine: Compounds, name: Hashable, make: Callable[[Compounds], Any]) -> Any:
        if self.whole is not None:
            return self.whole.derive(name, make)[self.rows]
        with self._lock:
            if name not in self._found:
                self._found[name] = make(mine)
            return self._found[name]

    def take(self, mine: Compounds, rows: np.ndarray) -> _Memory:
        if self.whole is None or self.rows is None:
            return _Memory(mine, rows)
        return _Memory(self.whole, self.rows[rows])


@dataclass(frozen=True)
class Compounds:
    """n compounds and the features of each.

    Attributes
    ----------
    ids, smiles, inchikeys
        Object arrays of str, shape (n,): the user's name, standard SMILES, full InChIKey.
    fingerprints
        uint8 of shape (n, bits / 8): the folded Morgan fingerprint, packed, first bit highest.
    environments, counts
        Unfolded Morgan identifiers (uint32) and their counts (uint8) of all compounds end to end.
    offsets
        int64 of shape (n + 1,): compound i owns ``environments[offsets[i]:offsets[i + 1]]``.
    descriptors
        float32 of shape (n, n_descriptors); no columns if the federation has no descriptors.
    """

    ids: np.ndarray
    smiles: np.ndarray
    inchikeys: np.ndarray
    fingerprints: np.ndarray
    environments: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray
    descriptors: np.ndarray
    # Not a field: a copy with other features must not keep what was derived from these.
    _memory: ClassVar[_Memory | None] = None

    def __len__(self) -> int:
        return len(self.inchikeys)

    @property
    def bits(self) -> int:
        """Length of the folded fingerprint."""
        return int(self.fingerprints.shape[1]) * 8

    @property
    def connectivities(self) -> np.ndarray:
        """First block of each InChIKey; object array of shape (n,)."""
        return np.array([key[:14] for key in self.inchikeys], dtype=object)

    @classmethod
    def from_environments(
        cls,
        *,
        ids: np.ndarray,
        smiles: np.ndarray,
        inchikeys: np.ndarray,
        environments: np.ndarray,
        counts: np.ndarray,
        offsets: np.ndarray,
        descriptors: np.ndarray,
        bits: int,
    ) -> Compounds:
        """Build a batch, folding the unfolded features to `bits` bits (identifier modulo bits)."""
        n = len(offsets) - 1
        dense = np.zeros((n, bits), dtype=np.uint8)
        rows = np.repeat(np.arange(n), np.diff(offsets))
        dense[rows, environments % bits] = 1
        return cls(
            ids=ids,
            smiles=smiles,
            inchikeys=inchikeys,
            fingerprints=np.packbits(dense, axis=1),
            environments=environments,
            counts=counts,
            offsets=offsets,
            descriptors=descriptors,
        )

    def take(self, rows: np.ndarray) -> Compounds:
        """The compounds at these positions (integers or a mask), in the order given."""
        rows = np.asarray(rows)
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        if self._memory is not None:
            return _Part.of(self, rows, self._memory.take(self, rows))
        return self._copy(rows)

    def _copy(self, rows: np.ndarray) -> Compounds:
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        starts = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        flat = np.arange(offsets[-1]) + starts
        return Compounds(
            ids=self.ids[rows],
            smiles=self.smiles[rows],
            inchikeys=self.inchikeys[rows],
            fingerprints=self.fingerprints[rows],
            environments=self.environments[flat],
            counts=self.counts[flat],
            offsets=offsets,
            descriptors=self.descriptors[rows],
        )

    def _with(self, memory: _Memory) -> Compounds:
        object.__setattr__(self, "_memory", memory)
        return self

    def __reduce__(self) -> tuple[Callable[..., Compounds], tuple[Any, ...]]:
        """A copy in another process has a cache too, which starts empty."""
        values = tuple(getattr(self, field.name) for field in fields(Compounds))
        return _revive, (values, self._memory is not None)

    def with_cache(self) -> Compounds:
        """The same compounds with a cache of what is derived from them.

        Several models that predict the same compounds, or parts of them, then compute features
        once. The cache lives as long as the compounds; what it returns must not be changed.
        """
        return replace(self)._with(_Memory())

    def derive(self, name: Hashable, make: Callable[[Compounds], Any]) -> Any:
        """Rows that `make` computes for each compound: an array or a sparse matrix.

        Parameters
        ----------
        name
            The key that the rows are cached under, if the compounds have a cache.
        make
            Computes the rows; each must depend on its compound alone.
        """
        return make(self) if self._memory is None else self._memory.recall(self, name, make)

    def feature_matrix(self, counts: bool) -> scipy.sparse.csr_matrix:
        """Folded features beside descriptors, for learners that take sparse input.

        Parameters
        ----------
        counts
            True for occurrence counts, False for presence.

        Returns
        -------
        scipy.sparse.csr_matrix
            float32 of shape (n, bits + n_descriptors).
        """
        return self.derive(("features", counts), lambda compounds: compounds._features(counts))

    def _features(self, counts: bool) -> scipy.sparse.csr_matrix:
        n, n_descriptors = self.descriptors.shape
        most = len(self.environments) + n * n_descriptors
        indices, data = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.float32)
        indptr = np.zeros(n + 1, dtype=np.int64)
        # Contiguous and of one type: the loop is compiled once.
        end = kernels().feature_rows(
            np.ascontiguousarray(self.environments, dtype=np.uint32),
            np.ascontiguousarray(self.counts, dtype=np.uint8),
            np.ascontiguousarray(self.offsets, dtype=np.int64),
            np.int64(self.bits),
            not counts,
            np.ascontiguousarray(self.descriptors, dtype=np.float32),
            indptr,
            indices,
            data,
        )
        return scipy.sparse.csr_matrix(
            (data[:end].copy(), indices[:end].copy(), indptr.astype(np.int32)),
            shape=(n, self.bits + n_descriptors),
        )


def _revive(values: tuple[np.ndarray, ...], cached: bool) -> Compounds:
    made = Compounds(*values)
    return made.with_cache() if cached else made


class _Part(Compounds):
    """Rows of compounds with a cache: copied only when something is needed that is not cached."""

    _whole: ClassVar[Compounds]
    _rows: ClassVar[np.ndarray]

    def __new__(cls, **fields: np.ndarray) -> Compounds:  # type: ignore[misc]
        """`dataclasses.replace` makes plain compounds of a part."""
        return Compounds(**fields)

    @classmethod
    def of(cls, whole: Compounds, rows: np.ndarray, memory: _Memory) -> Compounds:
        made: Compounds = object.__new__(cls)
        for name, value in (("_whole", whole), ("_rows", rows), ("_memory", memory)):
            object.__setattr__(made, name, value)
        return made

    def __len__(self) -> int:
        return len(self._rows)

    def __getattr__(self, name: str) -> Any:
        # Called for attributes that are not set yet.
        if name in _BY_COMPOUND:
            object.__setattr__(self, name, getattr(self._whole, name)[self._rows])
        elif name in _BY_FEATURE:
            copied = self._whole._copy(self._rows)
            for each in _BY_FEATURE:
                object.__setattr__(self, each, getattr(copied, each))
        else:
            raise AttributeError(name)
        return self.__dict__[name]

    def _copy(self, rows: np.ndarray) -> Compounds:
        return self._whole._copy(self._rows[rows])

    def with_cache(self) -> Compounds:
        """See `Compounds.with_cache`."""
        return self._whole._copy(self._rows).with_cache()


_BY_FEATURE = ("environments", "counts", "offsets")
_BY_COMPOUND = tuple(field.name for field in fields(Compounds) if field.name not in _BY_FEATURE)


def concatenate(batches: Sequence[Compounds]) -> Compounds:
    """One batch from several, in order; at least one must be given."""
    shifts = np.cumsum([0, *(batch.offsets[-1] for batch in batches)])
    offsets = [batch.offsets[1:] + shift for batch, shift in zip(batches, shifts, strict=False)]
    return Compounds(
        ids=np.concatenate([batch.ids for batch in batches]),
        smiles=np.concatenate([batch.smiles for batch in batches]),
        inchikeys=np.concatenate([batch.inchikeys for batch in batches]),
        fingerprints=np.concatenate([batch.fingerprints for batch in batches]),
        environments=np.concatenate([batch.environments for batch in batches]),
        counts=np.concatenate([batch.counts for batch in batches]),
        offsets=np.concatenate([[0], *offsets]).astype(np.int64),
        descriptors=np.concatenate([batch.descriptors for batch in batches]),
    )
