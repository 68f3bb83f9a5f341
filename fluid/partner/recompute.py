"""Compute everything again that the coordinator states of compounds, before private data meet it.

The fold of a public compound follows from its key, its label from its features. Where these are of
two compounds, models that were trained on the one label it in the fold of the other, and the label
tells whether the one is in the private data. So a partner takes no row on trust: every one is
computed again from its SMILES, once for each file and machine (`fluid.base.proofs`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fluid.base.errors import MismatchError
from fluid.base.jobs import Processes
from fluid.base.proofs import Proofs
from fluid.base.run import Run
from fluid.base.software import software_versions
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.chem.featurizer import BATCH
from fluid.chem.recompute import content_digest, find_difference
from fluid.exchange.federation import Federation
from fluid.exchange.public_set import PublicSet, row_differs
from fluid.exchange.sealed import ROW_GROUP

_LIBRARIES = ("fluid", "rdkit", "numpy")


@dataclass(frozen=True)
class RecomputedSet(PublicSet):
    """A public set of which every row was computed again on this machine.

    Attributes
    ----------
    proofs
        Digests of its chunks.
    """

    proofs: Proofs

    def chunks(self, groups: Sequence[int] | None = None) -> Iterator[Compounds]:
        """See `PublicSet.chunks`; what is read is what was computed, even if the file changes."""
        for chunk in super().chunks(groups):
            if content_digest(chunk) not in self.proofs:
                raise MismatchError(f"{self.sealed.path}: was changed while it was read; try again")
            yield chunk


def open_proofs(chemistry: Chemistry) -> Proofs:
    """What this machine has computed with a chemistry and the versions that matter for it."""
    versions = {name: text for name, text in software_versions().items() if name in _LIBRARIES}
    return Proofs.open({"chemistry": chemistry.to_dict(), "software": versions})


def recompute_public(
    public: PublicSet, federation: Federation, run: Run | None = None
) -> RecomputedSet:
    """Check that a public set is of a federation, and compute each of its rows from its SMILES.

    What was computed on this machine before, by its digest, is not computed again.

    Parameters
    ----------
    public, federation
        The set, from anybody, and the contract.
    run
        Cores or workers, which are sent public compounds only; progress counts compounds.

    Raises
    ------
    MismatchError
        If the protocol differs, a row is not exactly what its SMILES gives, or a compound occurs
        twice.
    """
    public.check_protocol(federation)
    proofs = open_proofs(federation.chemistry)
    run = run or Run()
    if public.digest not in proofs:
        run.stage(f"computing {len(public):,} compounds again, once on this machine")
        _recompute(public.sealed.path, public.chunks(), proofs, federation.chemistry, run)
        proofs.add(public.digest)
        proofs.save()
    return RecomputedSet(public.sealed, proofs)


def recompute_compounds(
    compounds: Compounds, source: Path, chemistry: Chemistry, run: Run | None = None
) -> None:
    """The same for compounds in memory.

    Parameters
    ----------
    compounds
        The compounds, with the features of the chemistry.
    source
        The file that they were read from, for messages. Those of a public set that this machine
        has computed are known by their content, in whatever file they are.
    chemistry, run
        See `recompute_public`.

    Raises
    ------
    MismatchError
        See `recompute_public`.
    """
    proofs = open_proofs(chemistry)
    _recompute(source, _cut(compounds, ROW_GROUP), proofs, chemistry, run or Run())
    proofs.save()


def _recompute(
    source: Path, chunks: Iterable[Compounds], proofs: Proofs, chemistry: Chemistry, run: Run
) -> None:
    work = partial(find_difference, chemistry=chemistry)
    workers = run.workers or Processes(run.cores)
    keys: list[np.ndarray] = []
    done = 0
    for chunk in chunks:
        keys.append(_marks(chunk))
        digest = content_digest(chunk)
        if digest not in proofs:
            for number, found in enumerate(workers.map(work, _cut(chunk, BATCH))):
                if found is not None:
                    row = number * BATCH + found[0]
                    raise row_differs(source, done + row, chunk.ids[row], found[1])
                run.progress(done + min((number + 1) * BATCH, len(chunk)))
            proofs.add(digest)
        done += len(chunk)
        # An interrupted run goes on from here.
        proofs.save()
    _refuse_repeats(source, np.concatenate(keys))


def _cut(compounds: Compounds, size: int) -> Iterator[Compounds]:
    for start in range(0, len(compounds), size):
        yield compounds.take(np.arange(start, min(start + size, len(compounds))))


def _marks(compounds: Compounds) -> np.ndarray:
    """64 bits of a hash of each key: 8 bytes a compound, where strings would take over 100."""
    hashed = (hashlib.blake2b(key.encode(), digest_size=8).digest() for key in compounds.inchikeys)
    return np.frombuffer(b"".join(hashed), dtype="<u8")


def _refuse_repeats(source: Path, marks: np.ndarray) -> None:
    order = np.argsort(marks, kind="stable")
    repeated = np.flatnonzero(np.diff(marks[order]) == 0)
    if len(repeated):
        earliest = repeated[np.argmin(order[repeated + 1])]
        first, second = order[earliest], order[earliest + 1]
        raise MismatchError(
            f"{source}: row {second + 1} holds the compound of row {first + 1} again; "
            "allowed is one row for each InChIKey"
        )
