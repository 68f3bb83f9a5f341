"""`prepare-public --exclude`: what is kept out, against Tanimoto similarities by RDKit alone."""

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from fluid.base.errors import FluidError, TableError
from fluid.base.run import Run
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec, connectivity, standardize
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.public_set import open_public_set
from fluid.exchange.template import init_federation, parse_task_option
from fluid.public.candidates import Selection
from fluid.public.exclude import Exclusion
from fluid.public.prepare import PublicSummary, prepare_public
from tests.conftest import public_rows, write_public

N_PUBLIC = 260


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of public structures; tests: some of them, and others as salts."""
    folder = tmp_path_factory.mktemp("excluded")
    rows = public_rows(N_PUBLIC + 60)
    write_public(folder / "public.csv", rows[:N_PUBLIC])
    tests = [row | {"smiles": row["smiles"] + ".Cl"} for row in rows[5:N_PUBLIC:20]]
    write_public(folder / "known.csv", tests)
    write_public(folder / "others.csv", rows[N_PUBLIC:])
    return folder


@pytest.fixture(scope="module")
def federation(folder: Path) -> Federation:
    path = folder / "federation.toml"
    task = parse_task_option("bbb:binary")
    init_federation(path, "trial", [task], FeatureSpec(descriptors="none"), StandardizerSpec())
    return load_federation(path)


def read_keys(path: Path) -> list[str]:
    return [key for chunk in open_public_set(path).chunks() for key in chunk.inchikeys]


def structures(path: Path) -> list[Chem.Mol]:
    found = []
    for line in path.read_text().splitlines()[1:]:
        try:
            found.append(standardize(line.split(",")[1], StandardizerSpec()))
        except ValueError:
            continue
    return found


def expected(folder: Path, tables: list[str], similarity: float | None) -> list[str]:
    """Keys that stay, by brute force."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    excluded = [one for name in tables for one in structures(folder / name)]
    connectivities = {connectivity(one.inchikey) for one in excluded}
    theirs = [generator.GetFingerprint(one.mol) for one in excluded]
    kept = {}
    for one in structures(folder / "public.csv"):
        fingerprint = generator.GetFingerprint(one.mol)
        near = max(DataStructs.BulkTanimotoSimilarity(fingerprint, theirs))
        far = similarity is None or near < similarity
        if far and connectivity(one.inchikey) not in connectivities:
            kept[one.inchikey] = near
    return list(kept)


def prepare(
    folder: Path,
    federation: Federation,
    output: Path,
    tables: list[str],
    similarity: float | None = None,
    **options: object,
) -> PublicSummary:
    exclusion = Exclusion(tuple(folder / name for name in tables), similarity)
    options = {"run": Run(seed=1, jobs=1)} | options
    return prepare_public(
        [folder / "public.csv"], federation, output, exclusion=exclusion, **options
    )


@pytest.mark.parametrize("similarity", [None, 1.0, 0.7, 0.45])
@pytest.mark.parametrize("tables", [["known.csv"], ["known.csv", "others.csv"]])
def test_what_stays_is_what_brute_force_leaves(
    folder: Path, federation: Federation, tmp_path: Path, tables: list[str], similarity: float
) -> None:
    output = tmp_path / "public.parquet"
    summary = prepare(folder, federation, output, tables, similarity)
    kept = expected(folder, tables, similarity)
    assert read_keys(output) == kept
    everything = prepare_public([folder / "public.csv"], federation, tmp_path / "all.parquet")
    account = open_public_set(output).sealed.manifest["exclusion"]
    assert summary.exclusion == account == summary.to_dict()["exclusion"]
    assert summary.n_rejected == everything.n_rejected
    assert account["n_identical"] + account["n_similar"] == everything.n_compounds - len(kept)
    assert account["n_identical"] >= 12
    assert [table["name"] for table in account["tables"]] == tables
    assert account["similarity"] == similarity
    # One has the fingerprint of another.
    assert (account["n_similar"] > 0) == (similarity is not None)


def test_a_selection_takes_nothing_that_is_kept_out_not_even_if_donated(
    folder: Path, federation: Federation, tmp_path: Path
) -> None:
    kept = expected(folder, ["known.csv"], 0.5)
    selection = Selection(60, donated=(folder / "known.csv",))
    summaries = []
    for jobs in (1, 2):
        output = tmp_path / f"{jobs}.parquet"
        run = Run(seed=1, jobs=jobs)
        summary = prepare(
            folder, federation, output, ["known.csv"], 0.5, selection=selection, run=run
        )
        summaries.append(summary)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert set(read_keys(output)) <= set(kept)
    assert summary.n_compounds == 60
    assert summary.selection is not None
    assert summary.selection["n_donated"] == 0
    connectivities = {connectivity(key) for key in kept}
    assert summary.selection["pool"] == len(connectivities)
    assert open_public_set(output).sealed.manifest["exclusion"] == summary.exclusion


def test_the_file_names_itself_without_an_exclusion_as_before(
    folder: Path, federation: Federation, tmp_path: Path
) -> None:
    summary = prepare_public([folder / "public.csv"], federation, tmp_path / "public.parquet")
    assert "exclusion" not in summary.to_dict()
    assert "exclusion" not in open_public_set(tmp_path / "public.parquet").sealed.manifest


def test_nothing_left_and_nothing_to_exclude_are_errors(
    folder: Path, federation: Federation, tmp_path: Path
) -> None:
    output = tmp_path / "public.parquet"
    for options in ({}, {"selection": Selection(5)}):
        with pytest.raises(TableError, match="no usable structure among 260 rows, or all are exc"):
            prepare(folder, federation, output, ["public.csv"], **options)
    (folder / "bad.csv").write_text("smiles\nC1C\n")
    with pytest.raises(TableError, match=r"bad\.csv: no usable structure among 1 rows to exclude"):
        prepare(folder, federation, output, ["bad.csv"])
    with pytest.raises(TableError, match="no such file"):
        prepare(folder, federation, output, ["nowhere.csv"])
    assert not output.exists()
    for wrong in (0.0, 1.01, -1.0, np.nan):
        with pytest.raises(FluidError, match="allowed are above 0 to 1"):
            Exclusion((folder / "known.csv",), wrong)
