"""The Python API: cheap to import, complete, documented; models as scikit-learn estimators."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rdkit import Chem
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import fluid
from docs.build_api import ORDER, PAGE, page
from fluid.exchange.federation import parse_federation
from fluid.exchange.sealed import write_sealed
from fluid.partner.teacher.fit import TrainingOptions
from fluid.report.inspect import inspect_path
from tests.conftest import Consortium

SMILES = ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1"]
HEAVY = ("numpy", "pandas", "rdkit", "sklearn", "lightgbm", "pyarrow", "scipy", "typer")


@pytest.fixture
def student(consortium: Consortium) -> fluid.Model:
    return fluid.load(consortium.folder / "round1" / "student")


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, fluid; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there_and_documented() -> None:
    assert sorted(ORDER) == fluid.__all__
    for name in fluid.__all__:
        assert getattr(fluid, name).__doc__, name
        assert name in dir(fluid)
    with pytest.raises(AttributeError, match="no attribute 'teach'"):
        _ = fluid.teach  # type: ignore[attr-defined]


def test_the_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_one_row_each_in_order_with_the_domain(student: fluid.Model) -> None:
    table = student.predict([SMILES[0], "no structure", *SMILES[1:]])
    assert len(table) == 4
    assert {"bbb.class", "bbb.in_domain", "logbb", "logbb.reliability"} <= set(table.columns)
    assert (table["problem"] != "").tolist() == [False, True, False, False]
    assert np.isfinite(table["logbb"]).tolist() == [True, False, True, True]


def test_smiles_molecules_and_tables_give_the_same(student: fluid.Model) -> None:
    table = pd.DataFrame({"compound": ["a", "b", "c"], "smiles": SMILES})
    molecules = [Chem.MolFromSmiles(text) for text in SMILES]
    expected = student.predict(SMILES)
    for given in (molecules, table, pd.Series(SMILES), np.array(SMILES)):
        found = student.predict(given)
        for column in ("bbb", "logbb", "bbb.in_domain"):
            assert found[column].tolist() == expected[column].tolist()
    assert len(student.predict([])) == 0


def test_a_model_is_an_estimator(student: fluid.Model, consortium: Consortium) -> None:
    folder = consortium.folder / "round1" / "student"
    assert student.get_params() == {"folder": folder, "domain": "reliability"}
    fresh = clone(student)
    assert fresh is not student
    pipeline = Pipeline([("strip", FunctionTransformer(lambda x: [s.strip() for s in x])),
                         ("model", fresh)])  # fmt: skip
    chances = pipeline.fit(SMILES).predict_proba([f" {text} " for text in SMILES])
    assert chances.shape == (3, 2)
    assert np.allclose(chances.sum(axis=1), 1.0)
    assert np.allclose(chances[:, 1], student.predict(SMILES)["bbb"])
    assert pipeline.predict(SMILES)["bbb"].tolist() == student.predict(SMILES)["bbb"].tolist()


def test_errors_are_one_sentence(student: fluid.Model, tmp_path: Path) -> None:
    with pytest.raises(fluid.FluidError, match="nowhere"):
        fluid.load(tmp_path / "nowhere")
    with pytest.raises(fluid.FluidError, match="domain 'all'"):
        fluid.load(tmp_path, domain="all")
    with pytest.raises(fluid.FluidError, match=r"task 'logbb'.*allowed are: bbb"):
        student.predict_proba(SMILES, task="logbb")


# What a command's checks would have caught


def test_a_hybrid_does_not_replace_a_teacher(consortium: Consortium, tmp_path: Path) -> None:
    site = Path(shutil.copytree(consortium.folder, tmp_path / "site"))
    teacher, files = (
        site / "draco" / "teacher",
        fluid.RoundFiles(site / "round1" / "federated.parquet", site / "round1" / "student"),
    )
    before = sorted(path.name for path in teacher.iterdir())
    with pytest.raises(fluid.FluidError, match="holds a teacher, which is not replaced by a hyb"):
        fluid.train_hybrid(
            [site / "draco" / "private.csv"], site / "federation.toml", "draco", teacher, files
        )
    assert sorted(path.name for path in teacher.iterdir()) == before


def test_a_federation_needs_its_file_once(consortium: Consortium, tmp_path: Path) -> None:
    site = Path(shutil.copytree(consortium.folder, tmp_path / "site"))
    contract = fluid.Federation.load(site / "federation.toml")
    text = (site / "federation.toml").read_bytes()
    (site / "federation.toml").unlink()
    table, options = [site / "draco" / "private.csv"], TrainingOptions("logistic", 3, 1)
    fluid.train_teacher(table, contract, "draco", site / "new", options=options)
    assert (site / "new" / "federation.toml").read_bytes() == text
    changed = replace(contract, tasks=contract.tasks[:1])
    with pytest.raises(fluid.FluidError, match="was changed after it was read"):
        fluid.train_teacher(table, changed, "draco", site / "other", options=options)
    nowhere = replace(contract, source=None)
    with pytest.raises(fluid.FluidError, match="was not read from a file"):
        fluid.train_teacher(table, nowhere, "draco", site / "other", options=options)
    assert not (site / "other").exists()


def test_a_looser_own_policy_is_refused_before_it_is_charged(
    consortium: Consortium, tmp_path: Path
) -> None:
    site = Path(shutil.copytree(consortium.folder, tmp_path / "site"))
    contract = fluid.Federation.load(site / "federation.toml")
    looser = replace(contract, own_policy=replace(contract.policy, probability_step=0.001))
    ledger = (site / "draco" / "teacher" / "ledger.jsonl").read_bytes()
    with pytest.raises(fluid.FluidError, match=r"own policy .* probability_step"):
        fluid.annotate(
            site / "draco" / "teacher", site / "public.parquet", site / "x.parquet",
            federation=looser,
        )  # fmt: skip
    assert (site / "draco" / "teacher" / "ledger.jsonl").read_bytes() == ledger


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_is_what_every_library_takes(seed: int) -> None:
    with pytest.raises(fluid.FluidError, match=f"seed = {seed}: allowed are 0 to"):
        fluid.Run(seed=seed)


def test_any_text_is_a_row(student: fluid.Model) -> None:
    table = student.predict(["CCO", "\ud800", "", "caf\udce9"])
    assert (table["problem"] != "").tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("round = 1", "round = 1" + "0" * 60, "round = 10.*allowed are 1 to"),
        ("low = -1e9", "low = -1e308", "range -1e\\+308 to"),
    ],
)
def test_numbers_beyond_all_bounds(
    consortium: Consortium, old: str, new: str, message: str
) -> None:
    text = consortium.federation_path.read_text(encoding="utf-8")
    if old not in text:
        text = text.replace('kind = "regression"', f'kind = "regression"\n{old}')
    with pytest.raises(fluid.FluidError, match=message):
        parse_federation(text.replace(old, new))


def test_a_student_whose_card_is_not_what_it_should_be(
    consortium: Consortium, tmp_path: Path
) -> None:
    for number, (key, value) in enumerate((("protocol", 7), ("training", []), ("round", "1"))):
        copy = Path(
            shutil.copytree(consortium.folder / "round1" / "student", tmp_path / str(number))
        )
        values = json.loads((copy / "model.json").read_text(encoding="utf-8"))
        values["card"][key] = value
        (copy / "model.json").write_text(json.dumps(values), encoding="utf-8")
        with pytest.raises(fluid.FluidError, match=rf"card\.{key} = "):
            fluid.load(copy)


def test_a_sealed_file_without_a_schema_is_one_line(tmp_path: Path) -> None:
    path, schema = tmp_path / "x.parquet", pa.schema([("a", pa.int64())])
    batch = pa.RecordBatch.from_pydict({"a": [1]}, schema=schema)
    write_sealed(path, schema, iter([batch]), lambda count: {"rows": count})
    with pytest.raises(fluid.FluidError, match=r"x\.parquet: "):
        inspect_path(path)


def test_an_output_is_none_of_the_inputs(consortium: Consortium, tmp_path: Path) -> None:
    site = Path(shutil.copytree(consortium.folder, tmp_path / "site"))
    public, table = site / "public.parquet", site / "public.csv"
    before = public.read_bytes(), table.read_bytes()
    with pytest.raises(fluid.FluidError, match="is the public set"):
        fluid.annotate(site / "draco" / "teacher", public, public)
    with pytest.raises(fluid.FluidError, match="is one of the tables"):
        fluid.prepare_public([table], site / "federation.toml", table)
    assert (public.read_bytes(), table.read_bytes()) == before
