"""The exported row of a compound is the same to the byte, trained on it or not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fluid.base.errors import FluidError, MismatchError
from fluid.base.run import Run
from fluid.chem.compounds import concatenate
from fluid.chem.scaffolds import framework_keys
from fluid.chem.standardize import StandardizerSpec, StructureError, connectivity, standardize
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federation import load_federation
from fluid.exchange.public_set import open_public_set
from fluid.learn.model import Card
from fluid.partner.annotate import annotate
from fluid.partner.table import read_labelled
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher
from fluid.public.prepare import prepare_public
from fluid.report.inspect import inspect_path
from tests.conftest import DATA, SECRET, cut_table, make_federation, public_rows, write_public
from tests.learn.learners import needs_torch


def _connectivity(line: str, spec: StandardizerSpec) -> str:
    try:
        return connectivity(standardize(line.split(",")[1], spec).inchikey)
    except StructureError:
        return ""


@pytest.mark.parametrize(
    "learner",
    [
        "auto",
        pytest.param("lightgbm", marks=pytest.mark.long),
        pytest.param("multitask", marks=[pytest.mark.long, needs_torch]),
    ],
)
def test_export_is_the_same_with_and_without_a_compound(tmp_path: Path, learner: str) -> None:
    path = make_federation(tmp_path, ("aurora",))
    federation = load_federation(path)
    table = cut_table(DATA / "partners" / "aurora.csv", tmp_path / "all.csv", 160)
    spec = federation.chemistry.standardizer
    held = read_labelled([table], federation.tasks, federation.chemistry, jobs=1).compounds
    shared = held.take(range(0, len(held), len(held) // 2 - 1))
    overlap = [{"id": f"shared-{n}", "smiles": smiles} for n, smiles in enumerate(shared.smiles)]
    source = write_public(tmp_path / "public.csv", overlap + public_rows(60))
    prepare_public([source], federation, tmp_path / "public.parquet", run=Run(jobs=1))
    public = open_public_set(tmp_path / "public.parquet")
    (tmp_path / "secret").write_text(SECRET)

    def export(name: str, private: Path) -> dict[str, dict[str, object]]:
        train_teacher(
            [private],
            path,
            "aurora",
            tmp_path / name,
            options=TrainingOptions(learner=learner, folds=3, repeats=2),
            secret=tmp_path / "secret",
            run=Run(jobs=1),
        )
        target = tmp_path / f"{name}.parquet"
        annotate(tmp_path / name, public, target, run=Run(jobs=1))
        rows = pq.read_table(target).to_pylist()
        return {str(row["inchikey"]): row for row in rows}

    with_all = export("with", table)
    changed = 0
    for inchikey in shared.inchikeys:
        lines = table.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines[1:] if _connectivity(line, spec) != inchikey[:14]]
        assert len(kept) < len(lines) - 1
        without_partner = tmp_path / f"without-{inchikey}.csv"
        without_partner.write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")
        exported = export(f"without-{inchikey}", without_partner)
        assert exported[inchikey] == with_all[inchikey]
        changed += sum(exported[key] != with_all[key] for key in with_all)
    # The test can see a difference: leaving a compound out does move the labels of others.
    assert changed > 0


def test_by_framework_a_whole_series_leaves_no_trace_in_its_rows(tmp_path: Path) -> None:
    path = make_federation(tmp_path, ("aurora",))
    federation = load_federation(path)
    table = cut_table(DATA / "partners" / "aurora.csv", tmp_path / "all.csv", 160)
    held = read_labelled([table], federation.tasks, federation.chemistry, jobs=1).compounds
    frameworks = dict(zip(held.connectivities, framework_keys(held), strict=True))
    ringed = [key for key in frameworks.values() if not key.startswith("acyclic:")]
    series = Counter(ringed).most_common(1)[0][0]
    members = [key for key, framework in frameworks.items() if framework == series]
    assert len(members) > 2
    shared = [
        {"id": key, "smiles": smiles}
        for key, smiles in zip(held.connectivities, held.smiles, strict=True)
        if key in members[:2]
    ]
    source = write_public(tmp_path / "public.csv", shared + public_rows(120))
    prepare_public([source], federation, tmp_path / "public.parquet", run=Run(jobs=1))
    public = open_public_set(tmp_path / "public.parquet")
    compounds = concatenate(list(public.chunks()))
    of_series = framework_keys(compounds) == series
    assert of_series.sum() > 2
    (tmp_path / "secret").write_text(SECRET)
    spec = federation.chemistry.standardizer
    lines = table.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines[1:] if _connectivity(line, spec) not in members]
    without_partner = tmp_path / "without.csv"
    without_partner.write_text("\n".join([lines[0], *kept]) + "\n", encoding="utf-8")

    def export(private: Path, folds_by: str) -> list[dict[str, object]]:
        name = f"{private.stem}-{folds_by}"
        train_teacher(
            [private],
            path,
            "aurora",
            tmp_path / name,
            options=TrainingOptions(folds=3, repeats=2, folds_by=folds_by),
            secret=tmp_path / "secret",
            run=Run(jobs=1),
        )
        target = tmp_path / f"{name}.parquet"
        annotate(tmp_path / name, public, target, run=Run(jobs=1))
        assert open_annotation(target).policy.folds_by == folds_by
        withheld = [item["what"] for item in inspect_path(target)["withheld"]]
        assert any("ring skeleton" in what for what in withheld) == (folds_by == "framework")
        return list(pq.read_table(target).to_pylist())

    for folds_by in ("framework", "compound"):
        pairs = zip(export(table, folds_by), export(without_partner, folds_by), strict=True)
        changed = np.array([one != other for one, other in pairs])
        assert changed[~of_series].any()
        # By compound the series shows; so the test can see a difference.
        assert changed[of_series].any() == (folds_by == "compound")


def test_folds_are_as_strict_as_the_policy(tmp_path: Path) -> None:
    path = make_federation(tmp_path, ("aurora",))
    table = cut_table(DATA / "partners" / "aurora.csv", tmp_path / "all.csv", 120)
    loose = load_federation(path)
    source = write_public(tmp_path / "public.csv", public_rows(60))
    prepare_public([source], loose, tmp_path / "public.parquet", run=Run(jobs=1))
    public = open_public_set(tmp_path / "public.parquet")
    options = TrainingOptions(learner="logistic", folds=3, repeats=1)
    train_teacher([table], path, "aurora", tmp_path / "teacher", options=options, run=Run(jobs=1))
    own = tmp_path / "own.toml"
    own.write_text('[policy]\nfolds_by = "framework"\n')
    with pytest.raises(
        MismatchError, match=r"folds by compound.*train the teacher with --folds-by"
    ):
        annotate(tmp_path / "teacher", public, tmp_path / "a.parquet", policy=own)
    assert not (tmp_path / "a.parquet").exists()
    assert not (tmp_path / "teacher" / "ledger.jsonl").exists()
    text = path.read_text(encoding="utf-8")
    strict = tmp_path / "strict.toml"
    strict.write_text(text.replace('folds_by = "compound"', 'folds_by = "framework"'))
    agreed = load_federation(strict)
    assert agreed.protocol != loose.protocol
    with pytest.raises(
        FluidError,
        match=r"'compound' is looser than .*; allowed is framework",
    ):
        train_teacher(
            [table],
            strict,
            "aurora",
            tmp_path / "other",
            options=replace(options, folds_by="compound"),
            run=Run(jobs=1),
        )
    made = train_teacher(
        [table], strict, "aurora", tmp_path / "other", options=options, run=Run(jobs=1)
    )
    assert made.card.training["folds_by"] == "framework"
    pooled = train_teacher(
        [table],
        strict,
        "all",
        tmp_path / "reference",
        options=options,
        reference=True,
        run=Run(jobs=1),
    )
    assert pooled.card.training["folds_by"] == "compound"
    with pytest.raises(FluidError, match="folds_by 'series': allowed are compound, framework"):
        TrainingOptions(folds_by="series")


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
    options = TrainingOptions(learner="logistic", folds=3, repeats=1)
    secrets = []
    for _ in range(2):
        train_teacher(
            [table], path, "aurora", tmp_path / "teacher", options=options, run=Run(jobs=1)
        )
        secrets.append((tmp_path / "teacher" / "fold.key").read_text())
    train_teacher([table], path, "aurora", tmp_path / "other", options=options, run=Run(jobs=1))
    assert secrets[0] == secrets[1]
    assert (tmp_path / "other" / "fold.key").read_text() != secrets[0]


def test_one_series_alone_labels_other_chemistry_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_federation(tmp_path, ("aurora",))
    rows = [f"C{'C' * n}c1ccccc1,{n % 2}" for n in range(40)]
    table = tmp_path / "series.csv"
    table.write_text("\n".join(["smiles,bbb", *rows]) + "\n")
    options = TrainingOptions("logistic", folds=3, repeats=1, folds_by="framework")
    made = train_teacher([table], path, "aurora", tmp_path / "a", options=options, run=Run(jobs=1))
    assert "40 labelled compounds of 1 frameworks, none of which the other folds" in caplog.text
    assert set(made.card.metrics["bbb"].values()) == {None}
    others = [f"c1ccccc1{'C' * n}c1ccccc1,{n // 2 % 2}" for n in range(1, 31)]
    table.write_text("\n".join(["smiles,bbb", *rows, *others]) + "\n")
    train_teacher([table], path, "aurora", tmp_path / "a", options=options, run=Run(jobs=1))
    assert "40 of 70 labelled compounds have one framework" in caplog.text
    caplog.clear()
    train_teacher(
        [table],
        path,
        "aurora",
        tmp_path / "a",
        options=replace(options, folds_by=""),
        run=Run(jobs=1),
    )
    assert "was trained with folds by framework; the new one has folds by compound" in caplog.text


def test_a_card_says_what_shared_a_fold() -> None:
    card = Card("teacher", "aurora", "trial", 1, "0" * 64)
    assert card.folds_by == "compound"
    assert replace(card, training={"folds_by": "framework"}).folds_by == "framework"
    with pytest.raises(FluidError, match="model of 'aurora': folds_by = 7; allowed are compound"):
        _ = replace(card, training={"folds_by": 7}).folds_by
