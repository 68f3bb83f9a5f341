"""The Python API: cheap to import, complete, documented; models as scikit-learn estimators."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import fluid
from docs.build_api import ORDER, PAGE, page
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
