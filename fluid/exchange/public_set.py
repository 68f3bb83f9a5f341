"""The public set: compounds that everybody has, prepared once, read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fluid.base.errors import FileFormatError, MismatchError
from fluid.chem.arrow import compounds_from_batch, compounds_schema, compounds_schema_like
from fluid.chem.compounds import Compounds
from fluid.chem.recompute import find_difference
from fluid.exchange.coordinator import check_signed_by_coordinator
from fluid.exchange.federation import Federation
from fluid.exchange.manifests import PUBLIC
from fluid.exchange.sealed import SealedFile, check_columns, open_sealed

SCHEMA = PUBLIC
_SAMPLE = 64
# Row groups that the sample is drawn from, so that a large set is not read twice.
_GROUPS = 8


@dataclass(frozen=True)
class PublicSet:
    """A prepared public set whose digest has been verified.

    Attributes
    ----------
    sealed
        The file.
    """

    sealed: SealedFile

    @classmethod
    def load(cls, source: PublicSet | Path | str) -> PublicSet:
        """Open a prepared public set; one that is open is returned as it is.

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, changed, or not a public set.

        Examples
        --------
        >>> from fluid import PublicSet
        >>> len(PublicSet.load("public.parquet"))
        398
        """
        return source if isinstance(source, PublicSet) else open_public_set(Path(source))

    @property
    def digest(self) -> str:
        """The digest that annotations refer to."""
        return self.sealed.digest

    def __len__(self) -> int:
        return self.sealed.n_rows

    def chunks(self, groups: Sequence[int] | None = None) -> Iterator[Compounds]:
        """The compounds in order, one row group at a time; of some row groups if given."""
        for batch in self.sealed.batches(groups):
            try:
                yield compounds_from_batch(batch)
            except FileFormatError as error:
                raise FileFormatError(f"{self.sealed.path}: {error}") from error

    def check_protocol(self, federation: Federation) -> None:
        """Check that the set was prepared for this federation and holds compounds.

        Raises
        ------
        FluidError
            If not, or if the signature is not the coordinator's.
        """
        check_signed_by_coordinator(self.sealed, federation)
        stated = self.sealed.manifest.get("protocol")
        if stated != federation.protocol:
            raise MismatchError(
                f"{self.sealed.path}: was prepared for protocol {str(stated)[:12]}, but the "
                f"federation's is {federation.protocol[:12]}; prepare the public set again"
            )
        check_columns_of_compounds(self.sealed, federation)
        if not len(self):
            raise MismatchError(f"{self.sealed.path}: the public set holds no compounds")
        if "n_compounds" in self.sealed.manifest:
            self.sealed.check_count("n_compounds")

    def check(self, federation: Federation) -> None:
        """Check that the set belongs to this federation and that this site computes the same.

        A sample of compounds, drawn by the digest from a few row groups, is standardised and
        featurised again. This finds another installation. It does not find a forger, who can try
        digests until the sample misses what was forged: a partner recomputes every row, see
        `fluid.partner.recompute`.

        Raises
        ------
        MismatchError
            If the protocol differs, or any sampled row.
        """
        self.check_protocol(federation)
        random = np.random.default_rng(int(self.digest[:12], 16))
        sizes = self.sealed.group_sizes()
        ends = np.cumsum(sizes)
        groups = np.sort(random.choice(len(sizes), min(_GROUPS, len(sizes)), replace=False))
        offered = np.concatenate([np.arange(ends[g] - sizes[g], ends[g]) for g in groups])
        drawn = np.sort(random.choice(len(offered), min(_SAMPLE, len(offered)), replace=False))
        start = 0
        for chunk in self.chunks(groups.tolist()):
            rows = drawn[(drawn >= start) & (drawn < start + len(chunk))] - start
            found = find_difference(chunk.take(rows), federation.chemistry)
            if found is not None:
                row = int(rows[found[0]])
                place = int(offered[start + row])
                raise row_differs(self.sealed.path, place, chunk.ids[row], found[1])
            start += len(chunk)


def check_columns_of_compounds(sealed: SealedFile, federation: Federation) -> None:
    """Check that columns and stated chemistry are those of a federation.

    Raises
    ------
    FluidError
        If they are not.
    """
    chemistry = federation.chemistry
    if sealed.manifest["chemistry"] != chemistry.to_dict():
        raise MismatchError(f"{sealed.path}: states another chemistry than the federation")
    features = chemistry.features
    expected = compounds_schema(features.bits, features.n_descriptors)
    check_columns(sealed.path, sealed.schema, expected)


def row_differs(path: Path, row: int, name: str, difference: str) -> MismatchError:
    """The error for a row that is not what its SMILES gives.

    Parameters
    ----------
    path
        The file.
    row, name
        Its position, counted from 0, and the name of its compound.
    difference
        See `fluid.chem.recompute.find_difference`.
    """
    return MismatchError(
        f"{path}: row {row + 1} ({name[:80]!r}): {difference}; another "
        "installation made the file, or it was forged"
    )


def open_public_set(path: Path) -> PublicSet:
    """Open a prepared public set.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, changed, or not a public set.
    """
    sealed = open_sealed(path, SCHEMA)
    check_columns(path, sealed.schema, compounds_schema_like(sealed.schema))
    return PublicSet(sealed)
