"""Everything that the coordinator states of compounds is computed again, once on a machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import fluid.exchange.sealed
import fluid.partner.recompute as module
from fluid.base.errors import MismatchError
from fluid.base.run import Run
from fluid.chem.compounds import Compounds, concatenate
from fluid.exchange.public_set import open_public_set
from fluid.partner.recompute import open_proofs, recompute_compounds, recompute_public
from tests.conftest import Consortium
from tests.partner.forged_rows import forge_row, write_compounds

ONE = Run(jobs=1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many compounds were computed again, batch by batch."""
    counts: list[int] = []
    whole = module.find_difference

    def counting(stored: Compounds, chemistry: object) -> object:
        counts.append(len(stored))
        return whole(stored, chemistry)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "find_difference", counting)
    return counts


def part(consortium: Consortium, path: Path, rows: int | np.ndarray) -> Path:
    compounds = concatenate(list(consortium.public.chunks()))
    chosen = np.arange(rows) if isinstance(rows, int) else rows
    return write_compounds(path, compounds.take(chosen), consortium.public.sealed.manifest)


def test_each_row_is_computed_once_on_a_machine(
    consortium: Consortium, tmp_path: Path, computed: list[int]
) -> None:
    public = open_public_set(part(consortium, tmp_path / "public.parquet", 60))
    found = recompute_public(public, consortium.federation, ONE)
    assert sum(computed) == 60
    assert list(concatenate(list(found.chunks())).smiles) == list(
        concatenate(list(public.chunks())).smiles
    )
    # Nor again from another place, or in another file.
    shutil.copy(tmp_path / "public.parquet", tmp_path / "copy.parquet")
    recompute_public(open_public_set(tmp_path / "copy.parquet"), consortium.federation, ONE)
    recompute_compounds(
        concatenate(list(public.chunks())),
        tmp_path / "federated.parquet",
        consortium.federation.chemistry,
        ONE,
    )
    assert sum(computed) == 60


def test_an_interrupted_run_goes_on(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    monkeypatch.setattr(fluid.exchange.sealed, "ROW_GROUP", 20)
    public = open_public_set(part(consortium, tmp_path / "public.parquet", 60))

    def interrupt(done: int) -> None:
        if done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recompute_public(public, consortium.federation, Run(jobs=1, progress=interrupt))
    computed.clear()
    recompute_public(public, consortium.federation, ONE)
    assert sum(computed) == 20


def test_a_repeat_is_found_among_rows_that_are_known(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fluid.exchange.sealed, "ROW_GROUP", 20)
    known = open_public_set(part(consortium, tmp_path / "known.parquet", 40))
    recompute_public(known, consortium.federation, ONE)
    rows = np.r_[:40, :20]
    twice = open_public_set(part(consortium, tmp_path / "twice.parquet", rows))
    with pytest.raises(MismatchError, match="row 41 holds the compound of row 1 again"):
        recompute_public(twice, consortium.federation, ONE)


def test_a_file_that_is_exchanged_while_it_is_read_is_refused(
    consortium: Consortium, tmp_path: Path
) -> None:
    path = part(consortium, tmp_path / "public.parquet", 30)
    public = recompute_public(open_public_set(path), consortium.federation, ONE)
    compounds = concatenate(list(public.chunks()))
    private = concatenate(list(consortium.public.chunks())).take(np.array([99]))
    forged = forge_row(compounds, 3, private, "features of another", np.random.default_rng(0))
    write_compounds(path, forged, public.sealed.manifest)
    with pytest.raises(MismatchError, match="was changed while it was read"):
        list(public.chunks())


def test_nothing_beside_the_file_counts(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proofs of a cache that was sent along, made by its sender for a forged file."""
    compounds = concatenate(list(consortium.public.chunks())).take(np.arange(12))
    forged = forge_row(
        compounds.take(np.arange(10)),
        3,
        compounds.take(np.array([11])),
        "one bit",
        np.random.default_rng(0),
    )
    path = write_compounds(tmp_path / "p.parquet", forged, consortium.public.sealed.manifest)
    chemistry = consortium.federation.chemistry
    open_proofs(chemistry).save()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "theirs"))
    theirs = open_proofs(chemistry)
    theirs.add(open_public_set(path).digest)
    theirs.save()
    (record,) = (tmp_path / "theirs" / "fluid").glob("computed-*")
    for place in (tmp_path, tmp_path / "cache" / "fluid"):
        place.mkdir(exist_ok=True, mode=0o700, parents=True)
        shutil.copy(record, place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MismatchError, match="row 4 "):
        recompute_public(open_public_set(path), consortium.federation, ONE)
