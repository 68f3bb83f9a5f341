"""Predictions in memory: one row per compound, in its place, equal to those in a file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from fluid.base.errors import FluidError
from fluid.base.run import Run
from fluid.learn.model import Predictor
from fluid.learn.storage import load_model
from fluid.partner.table import Columns
from fluid.report.predict import predict_frame, predict_table, prediction_columns
from tests.conftest import Consortium

ASPIRIN, CAFFEINE, ETHANOL = "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "CCO"
ONE_CORE = Run(jobs=1)


@pytest.fixture(scope="module")
def student(consortium: Consortium) -> Predictor:
    return load_model(consortium.folder / "round1" / "student")


def test_a_bad_smiles_in_the_middle_is_a_row_with_a_problem(student: Predictor) -> None:
    found = predict_frame(student, [ASPIRIN, "C1CC", CAFFEINE], run=ONE_CORE)
    assert list(found.columns) == prediction_columns(student.tasks)[1:]
    assert found.index.tolist() == [0, 1, 2]
    assert found["smiles"].tolist() == [ASPIRIN, "C1CC", CAFFEINE]
    assert found["bbb"].notna().tolist() == [True, False, True]
    assert found["problem"].ne("").tolist() == [False, True, False]
    assert found.loc[[0, 2], "bbb.in_domain"].isin(["yes", "no"]).all()
    assert found.loc[1].drop(["id", "smiles", "problem"]).isna().all()
    alone = predict_frame(student, [CAFFEINE], run=ONE_CORE)
    pd.testing.assert_series_equal(found.loc[2], alone.loc[0], check_names=False)


def test_molecules_are_predicted_like_their_smiles(student: Predictor) -> None:
    molecule = Chem.AddHs(Chem.MolFromSmiles(ASPIRIN))
    found = predict_frame(student, [molecule, ASPIRIN, None], run=ONE_CORE)
    names = ["standard_smiles", "inchikey", "bbb", "bbb.class", "bbb.reliability", "bbb.reason"]
    assert found.loc[0, names].tolist() == found.loc[1, names].tolist()
    assert found["problem"].tolist() == ["", "", "no structure"]


def test_nothing_in_is_nothing_out_with_all_columns(student: Predictor) -> None:
    empty = predict_frame(student, [])
    filled = predict_frame(student, [ETHANOL], run=ONE_CORE)
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == filled.dtypes.to_dict()
    only_bad = predict_frame(student, ["C1CC"], run=ONE_CORE)
    assert only_bad.dtypes.to_dict() == filled.dtypes.to_dict()
    assert filled["bbb"].dtype == filled["logbb.domain"].dtype == np.float64


def test_a_data_frame_keeps_its_index_and_names(student: Predictor) -> None:
    table = pd.DataFrame(
        {"Name": ["a", None, "c", "d"], "SMILES": [ASPIRIN, np.nan, 7, ETHANOL]},
        index=[30, 10, 30, 20],
    )
    found = predict_frame(student, table, run=ONE_CORE)
    assert found.index.tolist() == [30, 10, 30, 20]
    assert found["id"].tolist() == ["a", "", "c", "d"]
    assert found["problem"].tolist()[:2] == ["", "no structure"]
    assert "structure is of type int" in found["problem"].tolist()[2]
    assert found["bbb"].notna().tolist() == [True, False, False, True]
    odd = table.rename(columns={"SMILES": "drawing"})
    again = predict_frame(student, odd, columns=Columns(smiles="drawing"), run=ONE_CORE)
    pd.testing.assert_frame_equal(found, again)
    series = predict_frame(student, table["SMILES"], run=ONE_CORE)
    pd.testing.assert_series_equal(series["bbb"], found["bbb"])


def test_more_than_a_batch_stays_in_order(student: Predictor) -> None:
    smiles = ["C" * (1 + n % 20) + ("O" if n % 7 else "(") for n in range(600)]
    steps: list[int] = []
    found = predict_frame(student, smiles, run=Run(jobs=1, progress=steps.append))
    assert found["smiles"].tolist() == smiles
    assert found["problem"].ne("").tolist() == [n % 7 == 0 for n in range(600)]
    assert steps == [256, 512, 600]


@pytest.mark.parametrize("domain", ["reliability", "dictionary"])
def test_the_file_of_the_command_holds_the_same(
    consortium: Consortium, student: Predictor, tmp_path: Path, domain: str
) -> None:
    rows = [("one", ASPIRIN), ("two", "C1CC"), ("three", ETHANOL)]
    source, output = tmp_path / "compounds.csv", tmp_path / "predictions.parquet"
    with source.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("id", "smiles"), *rows])
    folder = consortium.folder / "round1" / "student"
    predict_table(folder, source, output, domain=domain, run=ONE_CORE)
    written = pd.read_parquet(output).drop(columns="line")
    found = predict_frame(folder, pd.read_csv(source), domain=domain, run=ONE_CORE)
    missing = written.isna()
    assert (missing == found.isna()).all().all()
    pd.testing.assert_frame_equal(
        found.where(~missing, ""), written.where(~missing, ""), check_dtype=False
    )


def test_what_is_no_list_of_compounds_is_refused(student: Predictor) -> None:
    for wrong in (ASPIRIN, Chem.MolFromSmiles(ETHANOL), 5):
        with pytest.raises(FluidError, match="allowed are a list of SMILES"):
            predict_frame(student, wrong)  # type: ignore[arg-type]
    with pytest.raises(FluidError, match="no SMILES column; the columns are 'x'"):
        predict_frame(student, pd.DataFrame({"x": [ETHANOL]}))
    with pytest.raises(FluidError, match="no id column 'y'; the columns are 'smiles'"):
        predict_frame(student, pd.DataFrame({"smiles": []}), columns=Columns(id="y"))
    with pytest.raises(FluidError, match="only a data frame has columns"):
        predict_frame(student, [ETHANOL], columns=Columns(smiles="x"))
    with pytest.raises(FluidError, match="domain 'x': allowed are"):
        predict_frame(student, [ETHANOL], domain="x")
