"""Evaluation folds: the same at every partner, as HMAC by hand and RDKit alone give them."""

import csv
import hmac
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold
from scipy.stats import chisquare

from fluid.base.errors import FileFormatError, FluidError, MismatchError, TableError
from fluid.base.run import Run
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import connectivity
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.template import init_federation, parse_task_option
from fluid.learn.consortium_folds import (
    ConsortiumKey,
    consortium_folds,
    make_consortium_key,
    read_consortium_key,
)
from fluid.learn.folds import keyed_folds
from fluid.partner.split import COLUMNS, SplitSummary, split
from fluid.partner.teacher.folder import read_secret
from fluid.public.clusters import make_clusters, open_clusters
from tests.cli.cli_site import run
from tests.conftest import DATA, public_rows, write_public

# Drawings of one connectivity: salts, tautomers, charges, stereo; and a compound without ring.
DRAWINGS = [
    ("Oc1ccccn1", "O=c1cccc[nH]1"),
    ("Cc1c[nH]cn1", "Cc1cnc[nH]1"),
    ("C[C@H](N)Cc1ccccc1", "C[C@@H]([NH3+])Cc1ccccc1.[Cl-]"),
    ("CC(=O)c1ccccc1", "C=C(O)c1ccccc1"),
    ("CCCCCC(=O)[O-].[Na+]", "OC(=O)CCCCC"),
    ("C/C=C/c1ccccc1", "C/C=C\\c1ccccc1"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clusters, a key, and the tables of two partners who share a third of their compounds."""
    folder = tmp_path_factory.mktemp("split")
    federation = folder / "federation.toml"
    task = parse_task_option("bbb:binary")
    init_federation(federation, "trial", [task], FeatureSpec(descriptors="none"))
    pool = write_public(folder / "pool.csv", public_rows(200))
    make_clusters([pool], federation, folder / "clusters.parquet", 40, run=Run(jobs=1))
    with (DATA / "partners" / "fornax.csv").open(encoding="utf-8", newline="") as handle:
        smiles = [row["smiles"] for row in csv.DictReader(handle)][:240]
    mine, theirs = smiles[:160], smiles[80:]
    random.Random(3).shuffle(theirs)
    write_table(folder / "aurora.csv", [*mine, "C1C", *(one for one, _ in DRAWINGS)])
    write_table(folder / "draco.csv", [*(two for _, two in DRAWINGS), *theirs])
    make_consortium_key(folder / "consortium.key")
    return folder


@pytest.fixture(scope="module")
def federation(folder: Path) -> Federation:
    return load_federation(folder / "federation.toml")


def write_table(path: Path, smiles: Sequence[str]) -> None:
    lines = [f"{path.stem}-{number},{text}" for number, text in enumerate(smiles)]
    path.write_text("\n".join(["id,smiles", *lines]) + "\n")


def sheet(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def by_connectivity(rows: list[dict[str, str]]) -> dict[str, str]:
    """Fold of each connectivity; every one must have only one."""
    found: dict[str, str] = {}
    for row in rows:
        if row["fold"]:
            assert found.setdefault(connectivity(row["inchikey"]), row["fold"]) == row["fold"]
    return found


def divide(
    folder: Path, federation: Federation, name: str, output: Path, by: str, **options: object
) -> SplitSummary:
    if by == "cluster":
        options["clusters"] = folder / "clusters.parquet"
    options = {"key": folder / "consortium.key", "run": Run(jobs=1)} | options
    return split([folder / name], federation, output=output, **options)


def hmac_fold(key: Path, by: str, group: str, parts: int) -> int:
    secret = bytes.fromhex(key.read_text().split("\n")[1])
    derived = hmac.new(secret, f"fluid consortium key 1 split {by}".encode(), "sha256").digest()
    return int(hmac.new(derived, group.encode(), "sha256").hexdigest()[:16], 16) % parts


def drawn_from_inchi(smiles: str) -> Chem.Mol:
    mol = Chem.MolFromInchi(Chem.MolToInchi(Chem.MolFromSmiles(smiles)))
    return Chem.MolFromSmiles(Chem.MolToSmiles(mol, isomericSmiles=False))


@pytest.mark.parametrize("by", ["scaffold", "cluster"])
def test_partners_find_what_they_share_in_the_same_fold(
    folder: Path, federation: Federation, tmp_path: Path, by: str
) -> None:
    mine = divide(folder, federation, "aurora.csv", tmp_path / "a.csv", by)
    theirs = divide(folder, federation, "draco.csv", tmp_path / "d.csv", by)
    one, two = (by_connectivity(sheet(tmp_path / name)) for name in ("a.csv", "d.csv"))
    shared = set(one) & set(two)
    assert len(shared) >= 60 + len(DRAWINGS)
    assert {key: one[key] for key in shared} == {key: two[key] for key in shared}
    assert len(set(one.values())) == 5
    assert mine.check == theirs.check
    assert sum(mine.compounds) == len(one)
    assert mine.n_rejected >= 1


def test_scaffold_folds_are_hmac_of_the_murcko_scaffold(
    folder: Path, federation: Federation, tmp_path: Path
) -> None:
    divide(folder, federation, "draco.csv", tmp_path / "d.csv", "scaffold", parts=7)
    checked = 0
    for row in sheet(tmp_path / "d.csv"):
        if not row["fold"]:
            continue
        mol = drawn_from_inchi(row["standard_smiles"])
        scaffold = Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol))
        group = scaffold or "acyclic:" + connectivity(row["inchikey"])
        assert row["group"] == group
        assert int(row["fold"]) == hmac_fold(folder / "consortium.key", "scaffold", group, 7)
        checked += 1
    assert checked > 150


def test_cluster_folds_are_hmac_of_the_nearest_leader(
    folder: Path, federation: Federation, tmp_path: Path
) -> None:
    divide(folder, federation, "draco.csv", tmp_path / "d.csv", "cluster")
    clusters = open_clusters(folder / "clusters.parquet")
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    leaders = clusters.compounds()
    theirs = [generator.GetFingerprint(Chem.MolFromSmiles(smiles)) for smiles in leaders.smiles]
    outside = 0
    for row in sheet(tmp_path / "d.csv"):
        if not row["fold"]:
            continue
        mol = drawn_from_inchi(row["standard_smiles"])
        near = DataStructs.BulkTanimotoSimilarity(generator.GetFingerprint(mol), theirs)
        if max(near) >= clusters.floor:
            assert row["group"] == connectivity(leaders.inchikeys[int(np.argmax(near))])
        else:
            outside += 1
            scaffold = Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol))
            assert row["group"] == (scaffold or "acyclic:" + connectivity(row["inchikey"]))
        fold = hmac_fold(folder / "consortium.key", "cluster", row["group"], 5)
        assert int(row["fold"]) == fold
    assert outside


def test_a_row_stays_in_its_place_and_the_file_is_private(
    folder: Path, federation: Federation, tmp_path: Path
) -> None:
    for jobs in (1, 2):
        output = tmp_path / f"{jobs}.csv"
        divide(folder, federation, "aurora.csv", output, "scaffold", run=Run(jobs=jobs))
        assert output.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    rows = sheet(output)
    assert list(rows[0]) == list(COLUMNS)
    assert [int(row["line"]) for row in rows] == list(range(2, len(rows) + 2))
    assert [row["id"] for row in rows] == [f"aurora-{number}" for number in range(len(rows))]
    bad = rows[160]
    assert (bad["fold"], bad["inchikey"], bad["group"]) == ("", "", "")
    assert bad["problem"] == "SMILES cannot be parsed"


def test_other_keys_and_settings_give_other_folds_and_another_check(
    folder: Path, federation: Federation, tmp_path: Path
) -> None:
    make_consortium_key(tmp_path / "other.key")
    variants: list[tuple[str, dict[str, object]]] = [
        ("scaffold", {}),
        ("scaffold", {"key": tmp_path / "other.key"}),
        ("scaffold", {"parts": 6}),
        ("cluster", {}),
    ]
    checks, folds = [], []
    for by, options in variants:
        summary = divide(folder, federation, "draco.csv", tmp_path / "d.csv", by, **options)
        checks.append(summary.check)
        folds.append(by_connectivity(sheet(tmp_path / "d.csv")))
    assert len(set(checks)) == len(variants)
    for other in folds[1:]:
        same = np.mean([folds[0][key] == other[key] for key in folds[0]])
        assert same < 0.5


def test_folds_are_even_over_groups() -> None:
    groups = [f"group {number}" for number in range(20_000)]
    for seed in range(3):
        folds = consortium_folds(groups, ConsortiumKey(bytes([seed]) * 32), "scaffold", 5)
        assert chisquare(np.bincount(folds, minlength=5)).pvalue > 1e-3


def test_they_have_nothing_in_common_with_the_folds_of_a_teacher() -> None:
    """Not even if somebody copies the digits from one file to the other."""
    keys = [f"KEY{number}" for number in range(5_000)]
    mine = keyed_folds(keys, bytes(32), 0, 5)
    shared = consortium_folds(keys, ConsortiumKey(bytes(32)), "scaffold", 5)
    assert abs(np.mean(mine == shared) - 0.2) < 0.03


def test_each_key_is_refused_where_the_other_belongs(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="is a consortium key, which other partners know"):
        read_secret(folder / "consortium.key")
    secret = tmp_path / "fold.key"
    secret.write_text("ab" * 32 + "\n")
    assert read_secret(secret) == bytes.fromhex("ab" * 32)
    with pytest.raises(FileFormatError, match="is not a consortium key") as caught:
        read_consortium_key(secret)
    assert "abab" not in str(caught.value)


def test_a_key_is_private_shown_nowhere_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "consortium.key"
    make_consortium_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    digits = path.read_text().split("\n")[1]
    key = read_consortium_key(path)
    assert digits not in repr(key)
    assert repr(bytes.fromhex(digits)) not in repr(key)
    with pytest.raises(FluidError, match="exists; another key would give other folds"):
        make_consortium_key(path)
    assert read_consortium_key(path) == key
    for damaged in (path.read_text()[:-5], path.read_text().replace(digits, "z" * 64)):
        (tmp_path / "bad.key").write_text(damaged)
        with pytest.raises(FileFormatError, match="is damaged"):
            read_consortium_key(tmp_path / "bad.key")
    with pytest.raises(FileFormatError, match="cannot read the key"):
        read_consortium_key(tmp_path / "nowhere.key")


def test_what_cannot_be_divided_is_an_error_and_leaves_no_file(
    folder: Path, federation: Federation, tmp_path: Path
) -> None:
    output = tmp_path / "out.csv"
    (folder / "none.csv").write_text("smiles\nC1C\n")
    with pytest.raises(TableError, match="no usable structure among 1 rows"):
        divide(folder, federation, "none.csv", output, "scaffold")
    for parts in (1, 256):
        with pytest.raises(FluidError, match=f"parts = {parts}: allowed are 2 to 255"):
            divide(folder, federation, "aurora.csv", output, "scaffold", parts=parts)
    other = tmp_path / "other.toml"
    task = parse_task_option("bbb:binary")
    init_federation(other, "other", [task], FeatureSpec(radius=1, descriptors="none"))
    with pytest.raises(MismatchError):
        divide(folder, load_federation(other), "aurora.csv", output, "cluster")
    assert not output.exists()


def test_the_commands_make_a_key_and_a_sheet(folder: Path, tmp_path: Path) -> None:
    key, output = tmp_path / "c.key", tmp_path / "split.csv"
    assert run("split-key", "-o", key).code == 0
    words = ["split", folder / "draco.csv", "-f", folder / "federation.toml", "--key", key]
    words += ["-o", output, "-j", "1"]
    value = json.loads(run(*words, "--json").stdout)
    rows = sheet(output)
    assert value["rows"] == len(rows)
    folds = list(by_connectivity(rows).values())
    assert value["compounds"] == len(folds)
    for fold in value["folds"]:
        assert fold["compounds"] == folds.count(str(fold["fold"]))
        groups = {row["group"] for row in rows if row["fold"] == str(fold["fold"])}
        assert fold["groups"] == len(groups)
    assert value["check"] in run(*words).stdout
    clusters = ["--clusters", folder / "clusters.parquet"]
    for extra, message in (
        (["--by", "cluster"], "needs the coordinator's --clusters FILE"),
        (clusters, "only with --by cluster"),
        (["--by", "day"], "--by day: allowed are scaffold and cluster"),
        (["--parts", "1"], "parts = 1: allowed are 2 to 255"),
    ):
        outcome = run(*words, *extra)
        assert outcome.code == 1
        assert message in outcome.stderr
    assert run(*words, "--by", "cluster", *clusters).code == 0
