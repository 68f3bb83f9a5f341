"""A coverage report counts as brute force does, is rounded, and holds nothing else of a table."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from fluid.base.errors import FederationError, MismatchError, SignatureError, TableError
from fluid.base.run import Run
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec, StructureError, standardize
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.signing import generate_keys, verify_digest
from fluid.exchange.template import init_federation, parse_task_option, register_partner
from fluid.partner.survey import survey
from fluid.public.clusters import Clusters, make_clusters, open_clusters
from fluid.public.coverage import admit_coverage, open_coverage, round_counts
from tests.conftest import DATA, public_rows, write_public


@dataclass(frozen=True)
class Place:
    """A federation that shares coverage in threes, its clusters, and a private table."""

    folder: Path
    federation: Federation
    clusters: Clusters
    rows: list[dict[str, str]]

    @property
    def table(self) -> Path:
        return self.folder / "private.csv"

    @property
    def key(self) -> Path:
        return self.folder / "keys" / "aurora.key"


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["compound_id", "smiles"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("survey")
    path = folder / "federation.toml"
    tasks = [parse_task_option("bbb:binary:BBB-,BBB+")]
    init_federation(path, "trial", tasks, FeatureSpec(descriptors="none"))
    policy = 'share = ["coverage"]\ncoverage_step = 3\ncoverage_minimum = 5'
    path.write_text(path.read_text().replace("share = []", policy))
    for partner in ("aurora", "draco"):
        _, public_key = generate_keys(partner, folder / "keys")
        register_partner(path, partner, public_key)
    federation = load_federation(path)
    pool = write_public(folder / "pool.csv", public_rows(300))
    make_clusters([pool], federation, folder / "clusters.parquet", 15, run=Run(jobs=1))
    with (DATA / "partners" / "aurora.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))[:220]
    for number, row in enumerate(rows):
        row["compound_id"] = f"MARKED-{number:04d}-secret"
    write_table(folder / "private.csv", rows)
    return Place(folder, federation, open_clusters(folder / "clusters.parquet"), rows)


def report(place: Place, output: Path, table: Path | None = None, jobs: int = 1) -> bytes:
    """The bytes of a signed report on a table."""
    survey(
        [table or place.table],
        place.federation,
        place.clusters,
        "aurora",
        output,
        key=place.key,
        run=Run(jobs=jobs),
    )
    return output.read_bytes()


def assignments(place: Place) -> dict[str, int]:
    """By connectivity of the private table, the nearest leader by RDKit; -1 for none."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)

    def fingerprint(smiles: str) -> DataStructs.ExplicitBitVect:
        return generator.GetFingerprint(Chem.MolFromSmiles(smiles))

    leaders = [fingerprint(smiles) for smiles in place.clusters.compounds().smiles]
    found: dict[str, int] = {}
    for row in sorted(place.rows, key=lambda row: row["smiles"]):
        try:
            structure = standardize(row["smiles"], StandardizerSpec())
        except StructureError:
            continue
        similarity = DataStructs.BulkTanimotoSimilarity(fingerprint(structure.smiles), leaders)
        best = int(np.argmax(similarity))
        near = best if similarity[best] >= place.clusters.floor else -1
        found.setdefault(structure.inchikey[:14], near)
    return found


def rounded(count: int, step: int = 3, minimum: int = 5) -> int:
    return 0 if count < minimum else step * int(count / step + 0.5)


def test_counts_are_those_of_brute_force_rounded(place: Place, tmp_path: Path) -> None:
    nearest = list(assignments(place).values())
    summary = survey(
        [place.table],
        place.federation,
        place.clusters,
        "aurora",
        tmp_path / "c.json",
        key=place.key,
        run=Run(jobs=1),
    )
    found = open_coverage(tmp_path / "c.json")
    exact = [nearest.count(cluster) for cluster in range(15)]
    assert found.counts.tolist() == [rounded(count) for count in exact]
    assert found.elsewhere == rounded(nearest.count(-1))
    assert found.counts.tolist() != exact
    assert 0 in found.counts
    assert max(found.counts) > 5
    assert summary.n_compounds == len(nearest)
    assert summary.reported_compounds == sum(found.counts) + found.elsewhere
    assert (summary.n_rows, summary.n_clusters) == (220, 15)


def test_rounding_and_suppression() -> None:
    counts = np.array([0, 1, 9, 10, 14, 15, 24, 25, 105])
    told = round_counts(counts, DisclosurePolicy())
    assert told.tolist() == [0, 0, 0, 10, 10, 20, 20, 30, 110]
    fine = DisclosurePolicy(coverage_step=5, coverage_minimum=20)
    assert round_counts(counts, fine).tolist() == [0, 0, 0, 0, 0, 0, 25, 25, 105]
    coarse = DisclosurePolicy(coverage_step=100, coverage_minimum=2)
    assert round_counts(counts, coarse).tolist() == [0] * 8 + [100]


def test_a_compound_that_crosses_no_step_changes_no_byte(place: Place, tmp_path: Path) -> None:
    nearest = assignments(place)
    counts = {c: list(nearest.values()).count(c) for c in set(nearest.values())}
    silent, telling = [], []
    for row in place.rows:
        try:
            key = standardize(row["smiles"], StandardizerSpec()).inchikey[:14]
        except StructureError:
            continue
        count = counts[nearest[key]]
        twice = sum(other["smiles"] == row["smiles"] for other in place.rows) > 1
        if not twice:
            (silent if rounded(count) == rounded(count - 1) else telling).append(row)
    whole = report(place, tmp_path / "whole.json")
    for number, row in enumerate([silent[0], silent[-1], telling[0]]):
        rest = [other for other in place.rows if other is not row]
        table = write_table(tmp_path / f"{number}.csv", rest)
        same = report(place, tmp_path / f"{number}.json", table) == whole
        assert same == (row in silent)


def test_the_report_depends_on_no_order_repeat_name_or_core(place: Place, tmp_path: Path) -> None:
    whole = report(place, tmp_path / "whole.json")
    rows = [dict(row, compound_id=str(n)) for n, row in enumerate(place.rows[::-1])]
    table = write_table(tmp_path / "other name.csv", [*rows, *rows[:40]])
    assert report(place, tmp_path / "other.json", table, jobs=2) == whole
    halves = [write_table(tmp_path / f"{n}.csv", place.rows[n::2]) for n in (0, 1)]
    output = tmp_path / "halves.json"
    survey(
        halves, place.federation, place.clusters, "aurora", output, key=place.key, run=Run(jobs=1)
    )
    assert output.read_bytes() == whole


def test_nothing_private_is_in_the_report(place: Place, tmp_path: Path) -> None:
    text = report(place, tmp_path / "c.json")
    marked = {place.table.name, *place.key.read_text().splitlines()[1:-1]}
    for row in place.rows:
        marked |= {row["compound_id"], row["smiles"]}
        try:
            structure = standardize(row["smiles"], StandardizerSpec())
        except StructureError:
            continue
        marked |= {structure.smiles, structure.inchikey, structure.inchikey[:14]}
    strings = {string for string in marked if len(string) >= 6}
    assert len(strings) > 600
    for string in strings:
        assert string.encode() not in text
        assert hashlib.sha256(string.encode()).hexdigest().encode() not in text
    values = json.loads(text)
    assert set(values) == {
        "schema",
        "federation",
        "protocol",
        "clusters",
        "partner",
        "step",
        "minimum",
        "counts",
        "elsewhere",
        "software",
        "digest",
        "signature",
    }
    # Nor how many compounds there are.
    assert len(assignments(place)) not in (values["elsewhere"], sum(values["counts"]))


def test_a_report_is_signed_or_a_draft(place: Place, tmp_path: Path) -> None:
    report(place, tmp_path / "c.json")
    signed = open_coverage(tmp_path / "c.json")
    assert signed.signature is not None
    key = place.federation.public_key("aurora")
    assert verify_digest(key, bytes.fromhex(signed.digest), signed.signature)
    assert admit_coverage([tmp_path / "c.json"], place.federation, place.clusters)[0] is not None
    draft = tmp_path / "draft.json"
    survey([place.table], place.federation, place.clusters, "aurora", draft, run=Run(jobs=1))
    assert open_coverage(draft).digest == signed.digest
    with pytest.raises(SignatureError, match="is an unsigned draft"):
        admit_coverage([draft], place.federation, place.clusters)


def refused(place: Place, output: Path, **given: object) -> None:
    values = {
        "tables": [place.table],
        "federation": place.federation,
        "clusters": place.clusters,
        "partner": "aurora",
        "output": output,
        "key": place.key,
        "run": Run(jobs=1),
        **given,
    }
    try:
        survey(**values)  # type: ignore[arg-type]
    finally:
        assert not output.exists()


def test_what_a_survey_refuses(place: Place, tmp_path: Path) -> None:
    output = tmp_path / "c.json"
    closed = replace(place.federation, policy=DisclosurePolicy(share=("training-size",)))
    with pytest.raises(FederationError, match=r"share = \['training-size'\] does not allow"):
        refused(place, output, federation=closed)
    with pytest.raises(FederationError, match="'nova' is not registered"):
        refused(place, output, partner="nova", key=None)
    with pytest.raises(SignatureError, match=r"aurora\.key: is not the key .* 'draco'"):
        refused(place, output, partner="draco")
    other = replace(place.federation, policy=DisclosurePolicy(share=("coverage",)))
    with pytest.raises(MismatchError, match="make the clusters again"):
        refused(place, output, federation=other)
    empty = tmp_path / "empty.csv"
    empty.write_text("smiles\n")
    with pytest.raises(TableError, match="a header but no rows"):
        refused(place, output, tables=[empty])
    empty.write_text("smiles\nnonsense\n")
    with pytest.raises(TableError, match="no usable structure among 1 rows"):
        refused(place, output, tables=[empty])
