"""Predict and inspect: aligned with the input, and complete."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fluid.base.errors import FluidError
from fluid.base.run import Run
from fluid.chem.features import featurize
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.learn.storage import load_model
from fluid.report.evaluate import evaluate
from fluid.report.inspect import inspect_path
from fluid.report.predict import predict_table, prediction_columns
from tests.conftest import Consortium

ONE_CORE = Run(jobs=1)
ROWS = [
    ("first", "CC(=O)Oc1ccccc1C(=O)O"),
    ("broken", "C1CC"),
    ("salt", "CN(C)CCC=C1c2ccccc2CCc2ccccc12.Cl"),
    ("empty", ""),
    ("metal", "CC[Hg]Cl"),
    ("last", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"),
]


@pytest.fixture
def compounds(tmp_path: Path) -> Path:
    path = tmp_path / "compounds.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("id", "smiles"), *ROWS])
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("model", ["round1/student", "aurora/teacher", "aurora/hybrid"])
def test_every_row_comes_back_in_order(
    consortium: Consortium, compounds: Path, tmp_path: Path, suffix: str, model: str
) -> None:
    output = tmp_path / f"predictions{suffix}"
    folder = consortium.folder / model
    summary = predict_table(folder, compounds, output, run=ONE_CORE)
    frame = pd.read_csv(output) if suffix == ".csv" else pd.read_parquet(output)
    loaded = load_model(folder)
    assert list(frame.columns) == prediction_columns(loaded.tasks)
    assert frame["id"].tolist() == [name for name, _ in ROWS]
    assert frame["line"].tolist() == [2, 3, 4, 5, 6, 7]
    good = frame["id"].isin(["first", "salt", "last"])
    assert frame["bbb"].notna().tolist() == good.tolist()
    assert frame.loc[~good, "problem"].str.len().min() > 0
    assert set(frame.loc[good, "bbb.in_domain"]) <= {"yes", "no"}
    assert frame.loc[good, "bbb.reason"].str.len().min() > 10
    assert summary.n_predicted == 3
    assert summary.n_rejected == 3
    structures = [standardize(smiles, StandardizerSpec()) for _, smiles in (ROWS[0], ROWS[2])]
    batch = featurize(structures, ["", ""], loaded.chemistry.features)
    direct = loaded.predict(batch).by_task["bbb"].values[:, 0]
    assert np.allclose(frame.loc[[0, 2], "bbb"].astype(float), direct, atol=6e-5)


def test_dictionary_domain_counts_unknown_features(
    consortium: Consortium, compounds: Path, tmp_path: Path
) -> None:
    output = tmp_path / "predictions.csv"
    student = consortium.folder / "round1" / "student"
    predict_table(student, compounds, output, domain="dictionary", run=ONE_CORE)
    frame = pd.read_csv(output)
    reasons = frame["bbb.reason"].dropna()
    assert reasons.str.contains("Morgan features").all()
    inside = frame["bbb.in_domain"] == "yes"
    assert (frame.loc[inside, "bbb.domain"] == 1.0).all()


def test_inspect_shows_every_column_of_an_annotation(consortium: Consortium) -> None:
    found = inspect_path(consortium.annotation("aurora"), consortium.federation_path)
    assert found["what"] == "annotation"
    assert found["signature"] == "valid, of the registered key"
    names = [column["name"] for column in found["columns"]]
    assert names == [
        "inchikey",
        "bbb.prediction",
        "bbb.uncertainty",
        "bbb.reliability",
        "logbb.prediction",
        "logbb.uncertainty",
        "logbb.reliability",
    ]
    assert all(column["meaning"] for column in found["columns"])
    probability = found["columns"][1]
    assert 0.01 <= probability["min"] <= probability["max"] <= 0.99
    assert len(found["first_rows"]) == 5


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("public.parquet", "public set"),
        ("round1/federated.parquet", "federated set"),
        ("round1/student", "student"),
        ("aurora/teacher", "teacher"),
        ("aurora/hybrid", "hybrid"),
        ("federation.toml", "federation"),
        ("keys/aurora.pub", "public key"),
    ],
)
def test_inspect_knows_every_file(consortium: Consortium, name: str, what: str) -> None:
    assert inspect_path(consortium.folder / name)["what"] == what


def test_a_private_key_is_never_shown(consortium: Consortium) -> None:
    with pytest.raises(FluidError, match="never shown"):
        inspect_path(consortium.folder / "keys" / "aurora.key")


def test_evaluation_counts_training_compounds(consortium: Consortium) -> None:
    folders = [consortium.folder / name for name in ("aurora/teacher", "draco/teacher")]
    task = evaluate(folders, [consortium.table("aurora")], draws=100, run=ONE_CORE).tasks["bbb"]
    seen = {model["name"]: model["trained_on"] for model in task["models"]}
    assert seen["aurora/teacher"] == task["compounds"]
    assert seen["draco/teacher"] < task["compounds"]
