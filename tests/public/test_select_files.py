"""`prepare-public --select` on files: rows of the whole set, donated ones, coverage reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluid.base.errors import FederationError, FluidError, TableError
from fluid.base.run import Run
from fluid.chem.compounds import Compounds, concatenate
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.public_set import open_public_set
from fluid.exchange.signing import generate_keys, load_private_key, sign_digest
from fluid.exchange.template import init_federation, parse_task_option, register_partner
from fluid.public import candidates as pool_module
from fluid.public.candidates import Selection
from fluid.public.clusters import make_clusters, open_clusters
from fluid.public.coverage import write_coverage
from fluid.public.prepare import prepare_public
from fluid.public.select import assign
from tests.conftest import public_rows, write_public


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of 400 structures."""
    folder = tmp_path_factory.mktemp("pool")
    write_public(folder / "pool.csv", public_rows(400))
    return folder


@pytest.fixture(scope="module")
def federation(folder: Path) -> Federation:
    """A federation that keeps stereochemistry and shares coverage; aurora's key lies beside."""
    path = folder / "federation.toml"
    init_federation(
        path,
        "trial",
        [parse_task_option("bbb:binary")],
        FeatureSpec(descriptors="none"),
        StandardizerSpec(stereo="keep"),
    )
    path.write_text(path.read_text().replace("share = []", 'share = ["coverage"]'))
    _, public_key = generate_keys("aurora", folder)
    register_partner(path, "aurora", public_key)
    return load_federation(path)


def compounds_of(path: Path) -> Compounds:
    return concatenate(list(open_public_set(path).chunks()))


def test_a_selected_set_is_rows_of_the_whole_set(
    federation: Federation, folder: Path, tmp_path: Path
) -> None:
    source = folder / "pool.csv"
    prepare_public([source], federation, tmp_path / "whole.parquet", run=Run(jobs=1))
    whole = compounds_of(tmp_path / "whole.parquet")
    for jobs in (1, 2):
        path = tmp_path / f"{jobs}.parquet"
        summary = prepare_public(
            [source], federation, path, selection=Selection(50), run=Run(seed=3, jobs=jobs)
        )
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    public = open_public_set(path)
    public.check(federation)
    found = compounds_of(path)
    assert len(found) == summary.n_compounds == 50
    place = {key: row for row, key in enumerate(whole.inchikeys)}
    rows = np.array([place[key] for key in found.inchikeys])
    assert (np.diff(rows) > 0).all()
    same = whole.take(rows)
    for name in ("ids", "smiles", "fingerprints", "environments", "counts", "descriptors"):
        assert np.array_equal(getattr(found, name), getattr(same, name)), name
    said = public.sealed.manifest["selection"]
    assert said["pool"] == len(np.unique(whole.connectivities))
    assert (said["seed"], said["n_clusters"], said["n_donated"]) == (3, 5, 0)
    assert "selection" not in open_public_set(tmp_path / "whole.parquet").sealed.manifest


def test_one_compound_of_each_connectivity_is_selected_and_donated_ones_are_kept(
    federation: Federation, tmp_path: Path
) -> None:
    pool = tmp_path / "pool.smi"
    pool.write_text("C[C@H](O)C(=O)O R\nC[C@@H](O)C(=O)O S\nCCCCO x\nnonsense n\nc1ccccc1O y\n")
    donated = tmp_path / "donated.csv"
    donated.write_text("id,smiles\ngift,CCN(CC)CC\ntwice,OCCCC\n")
    output = tmp_path / "p.parquet"
    summary = prepare_public(
        [pool], federation, output, run=Run(jobs=1), selection=Selection(4, donated=(donated,))
    )
    assert list(compounds_of(output).ids) == ["R", "x", "y", "gift"]
    assert (summary.n_rejected, summary.n_duplicates) == (1, 2)
    assert "nonsense" in (tmp_path / "p.rejects.csv").read_text()
    for seed in range(5):
        chosen = Selection(2, donated=(donated,))
        prepare_public([pool], federation, output, run=Run(seed=seed, jobs=1), selection=chosen)
        assert list(compounds_of(output).ids) == ["x", "gift"]
    said = open_public_set(output).sealed.manifest
    assert [source["name"] for source in said["sources"]] == ["pool.smi"]
    assert [source["name"] for source in said["selection"]["donated"]] == ["donated.csv"]
    for number, message in ((5, "hold 4 usable compounds"), (1, "2 compounds are donated")):
        with pytest.raises(FluidError, match=message):
            prepare_public(
                [pool],
                federation,
                tmp_path / "no.parquet",
                run=Run(jobs=1),
                selection=Selection(number, donated=(donated,)),
            )
    assert not (tmp_path / "no.parquet").exists()


def test_a_signed_report_draws_the_selection_to_its_cluster(
    federation: Federation, folder: Path, tmp_path: Path
) -> None:
    source = folder / "pool.csv"
    path = tmp_path / "clusters.parquet"
    summary = make_clusters([source], federation, path, 8, run=Run(jobs=1))
    clusters = open_clusters(path)
    clusters.check(federation)
    assert (len(clusters), clusters.digest) == (8, summary.digest)
    make_clusters([source], federation, tmp_path / "again.parquet", 8, run=Run(jobs=2))
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()
    leaders = clusters.compounds().fingerprints
    counts = np.where(np.arange(8) == 2, 500, 0)
    report = tmp_path / "aurora.json"
    key = load_private_key(folder / "aurora.key")
    write_coverage(
        report, federation, clusters, "aurora", counts, 0, lambda digest: sign_digest(key, digest)
    )
    near = {}
    for name, reports in {"even": (), "told": (report,)}.items():
        chosen = Selection(40, clusters=path, coverage=reports)
        prepare_public([source], federation, tmp_path / name, run=Run(jobs=1), selection=chosen)
        nearest, _ = assign([compounds_of(tmp_path / name).fingerprints], leaders)
        near[name] = int((nearest == 2).sum())
    assert near["told"] >= near["even"] + 10
    said = open_public_set(tmp_path / "told").sealed.manifest["selection"]
    assert said["clusters"] == clusters.digest
    assert list(said["coverage"]) == ["aurora"]
    assert said["coverage_weight"] == 0.5


def test_a_table_that_changes_between_the_readings_is_noticed(
    federation: Federation, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "pool.csv"
    lines = (folder / "pool.csv").read_text().splitlines()
    real = pool_module.read_pool

    def read_then_change(*arguments: object) -> object:
        found = real(*arguments)  # type: ignore[arg-type]
        source.write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
        return found

    source.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr("fluid.public.prepare.read_pool", read_then_change)
    with pytest.raises(TableError, match=r"pool\.csv: was changed while it was read"):
        prepare_public(
            [source], federation, tmp_path / "p.parquet", run=Run(jobs=1), selection=Selection(20)
        )
    assert not (tmp_path / "p.parquet").exists()


def test_settings_out_of_range_are_refused() -> None:
    wrong = [{"number": 0}, {"coverage_weight": 1.1}, {"coverage": (Path("a"),)}]
    for settings_ in wrong:
        with pytest.raises(FluidError):
            Selection(**{"number": 5, **settings_})


def test_coverage_changes_the_protocol_only_where_it_is_shared() -> None:
    usual = DisclosurePolicy()
    assert not {"coverage_step", "coverage_minimum"} & set(usual.to_dict())
    assert replace(usual, coverage_step=50).to_dict() == usual.to_dict()
    shared = replace(usual, share=("coverage",), coverage_step=50).to_dict()
    assert (shared["coverage_step"], shared["coverage_minimum"]) == (50, 10)
    for wrong in (0, 1, -10, 10**7):
        with pytest.raises(ValueError, match=r"coverage_step = .*: allowed are 2 to 1000000"):
            DisclosurePolicy(coverage_step=wrong)


def test_a_federation_file_states_how_coverage_is_rounded(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    init_federation(path, "trial", [parse_task_option("bbb:binary")])
    text = path.read_text()
    path.write_text(text.replace("share = []", 'share = ["coverage"]\ncoverage_step = 25'))
    assert load_federation(path).policy.coverage_step == 25
    path.write_text(text.replace("share = []", "share = []\ncoverage_step = 2.5"))
    with pytest.raises(FederationError, match=r"coverage_step = 2\.5: a whole number is needed"):
        load_federation(path)
