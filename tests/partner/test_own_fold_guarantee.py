"""The exported row of a compound is the same to the byte, trained on it or not."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fluid.chem.standardize import StandardizerSpec, StructureError, connectivity, standardize
from fluid.exchange.federation import load_federation
from fluid.exchange.prepare import prepare_public
from fluid.exchange.public_set import open_public_set
from fluid.partner.annotate import annotate
from fluid.partner.table import read_labelled
from fluid.partner.teacher import TrainingOptions, train_teacher
from tests.conftest import DATA, SECRET, cut_table, make_federation, public_rows, write_public


def _connectivity(line: str, spec: StandardizerSpec) -> str:
    try:
        return connectivity(standardize(line.split(",")[1], spec).inchikey)
    except StructureError:
        return ""


@pytest.mark.parametrize("learner", ["auto", pytest.param("lightgbm", marks=pytest.mark.long)])
def test_export_is_the_same_with_and_without_a_compound(tmp_path: Path, learner: str) -> None:
    path = make_federation(tmp_path, ("aurora",))
    federation = load_federation(path)
    table = cut_table(DATA / "partners" / "aurora.csv", tmp_path / "all.csv", 160)
    spec = federation.chemistry.standardizer
    held = read_labelled([table], federation.tasks, federation.chemistry, jobs=1).compounds
    shared = held.take(range(0, len(held), len(held) // 2 - 1))
    overlap = [{"id": f"shared-{n}", "smiles": smiles} for n, smiles in enumerate(shared.smiles)]
    source = write_public(tmp_path / "public.csv", overlap + public_rows(60))
    prepare_public([source], federation, tmp_path / "public.parquet", jobs=1)
    public = open_public_set(tmp_path / "public.parquet")
    (tmp_path / "secret").write_text(SECRET)

    def export(name: str, private: Path) -> dict[str, dict[str, object]]:
        train_teacher(
            [private], federation, path, "aurora", tmp_path / name,
            TrainingOptions(learner=learner, folds=3, repeats=2),
            secret_path=tmp_path / "secret", jobs=1,
        )  # fmt: skip
        target = tmp_path / f"{name}.parquet"
        annotate(tmp_path / name, public, target, None, jobs=1)
        rows = pq.read_table(target).to_pylist()
        return {str(row["inchikey"]): row for row in rows}

    with_all = export("with", table)
    changed = 0
    for inchikey in shared.inchikeys:
        lines = table.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines[1:] if _connectivity(line, spec) != inchikey[:14]]
        assert len(kept) < len(lines) - 1
        without = tmp_path / f"without-{inchikey}.csv"
        without.write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
        exported = export(f"without-{inchikey}", without)
        assert exported[inchikey] == with_all[inchikey]
        changed += sum(exported[key] != with_all[key] for key in with_all)
    # The test can see a difference: leaving a compound out does move the labels of others.
    assert changed > 0


def test_secret_is_owner_only_and_in_no_output(consortium) -> None:  # type: ignore[no-untyped-def]
    for partner in ("aurora", "draco"):
        teacher = consortium.folder / partner / "teacher"
        assert (teacher / "fold.key").stat().st_mode & 0o777 == 0o600
        for file in [*teacher.rglob("*"), consortium.annotation(partner)]:
            if file.is_file() and file.name != "fold.key":
                content = file.read_bytes()
                assert SECRET.encode() not in content
                assert bytes.fromhex(SECRET) not in content


def test_training_again_keeps_the_secret(tmp_path: Path) -> None:
    path = make_federation(tmp_path, ("aurora",))
    table = cut_table(DATA / "partners" / "aurora.csv", tmp_path / "all.csv", 120)
    federation = load_federation(path)
    options = TrainingOptions(learner="logistic", folds=3, repeats=1)
    secrets = []
    for _ in range(2):
        train_teacher([table], federation, path, "aurora", tmp_path / "teacher", options, jobs=1)
        secrets.append((tmp_path / "teacher" / "fold.key").read_text())
    train_teacher([table], federation, path, "aurora", tmp_path / "other", options, jobs=1)
    assert secrets[0] == secrets[1]
    assert (tmp_path / "other" / "fold.key").read_text() != secrets[0]
