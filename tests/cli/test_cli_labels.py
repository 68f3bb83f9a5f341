"""Labels of private tables on the command line: units, qualifiers, classes, what is not used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.cli_site import QUICK, Site, done, read_rows, refused, run


def test_a_long_table_with_units_and_qualifiers(site: Site, tmp_path: Path) -> None:
    rows = [f"c{n},{'C' * n}N,logbb,{n / 20:.2f},=,log10(brain/blood)" for n in range(1, 40)]
    rows[3] = "c4,CCCCN,logbb,0.2,=,ug/mL"
    rows[4] = "c5,CCCCCN,logbb,0.2,perhaps,"
    rows[5] = "c6,CCCCCCN,logbb,high,,"
    rows[6] = "c7,CCCCCCCN,bbb,BBB+,,"
    table = tmp_path / "long.csv"
    table.write_text("id,smiles,task,value,relation,units\n" + "\n".join(rows) + "\n")
    outcome = done(*site.train(tmp_path / "t", table, "--json"))
    listed = [
        (i["line"], i["column"], i["value"]) for i in read_rows(tmp_path / "t" / "rejects.csv")
    ]
    assert listed == [("5", "value", "0.2"), ("6", "value", "0.2"), ("7", "value", "high")]
    summary = json.loads(outcome.stdout)
    assert summary["training"]["labels"] == {"logbb": {"compounds": 35}}
    assert list(summary["skipped"]) == ["bbb"]


def federation_of(folder: Path, *tasks: str) -> Path:
    path = folder / "federation.toml"
    done("init-federation", "--name", "x", *(p for t in tasks for p in ("--task", t)), "-o", path)
    return path


def train_reference(folder: Path, table: str, *tasks: str) -> tuple[list[dict[str, str]], Any]:
    """Train on a table with other tasks; what was listed, and the labels that were used."""
    (folder / "t.csv").write_text(table)
    outcome = done(
        "train-teacher", folder / "t.csv", "--federation", federation_of(folder, *tasks),
        "--partner", "x", "--reference", "-o", folder / "t", *QUICK, "--learner", "average",
        "--json",
    )  # fmt: skip
    return read_rows(folder / "t" / "rejects.csv"), json.loads(outcome.stdout)["training"]["labels"]


@pytest.mark.parametrize("header", ["smiles,pic50,unit,relation", "smiles,value,units,qualifier"])
def test_the_unit_of_a_wide_table_counts(tmp_path: Path, header: str) -> None:
    rows = [f"{'C' * n}O,{n / 10},nM,=" for n in range(1, 30)]
    rows[9] = "CCCCCCCCCCO,1000,cm/s,="
    rows[10] = "CCCCCCCCCCCO,1.1,nM,>"
    listed, labels = train_reference(
        tmp_path, header + "\n" + "\n".join(rows) + "\n", "pic50:regression:nM"
    )
    assert [(item["line"], item["value"]) for item in listed] == [("11", "1000")]
    assert "unit 'cm/s', which measures something else; the task's is 'nM'" in listed[0]["reason"]
    assert labels["pic50"]["compounds"] in (27, 28)


def test_what_is_not_used_of_a_column_is_told(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    values = ["0,5" if n % 2 else f"{n / 20:.2f}" for n in range(50)]
    values[:10] = [f">{n / 10}" for n in range(10)]
    rows = [f"{'C' * (n + 1)}O;BBB+;{value}" for n, value in enumerate(values)]
    table.write_text("smiles;bbb;logbb\n" + "\n".join(rows) + "\n")
    # Half of a column is never set aside for its decimal mark.
    said = refused(*site.train(tmp_path / "t", table))
    assert "column 'logbb', task logbb: " in said
    assert "a decimal comma; write all numbers of a column in one way" in said
    # A few are, in the list of rejects.
    few = "\n".join(rows).replace("0,5", "0.5", 18)
    table.write_text("smiles;bbb;logbb\n" + few + "\n")
    said = run(*site.train(tmp_path / "t", table)).stderr
    assert "2 of 50 values have another decimal mark than '.' and are rejected" in said
    listed = read_rows(tmp_path / "t" / "rejects.csv")
    assert [item["value"] for item in listed if item["column"] == "logbb"] == ["0,5", "0,5"]
    # Of many the range is told, and what could be read.
    table.write_text("smiles;bbb;logbb\n" + "\n".join(rows).replace("0,5", "99") + "\n")
    said = run(*site.train(tmp_path / "t", table)).stderr
    assert "task logbb: 20 of 50 values are rejected, such as: 99 is outside" in said
    assert re.search("rejected by value: 0% of .* to 99", said)
    assert not re.search(r"task bbb: \d+ of", said)


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    classes = ("none", "mild", "severe")
    rows = [f"{'C' * n}O,{classes[n % 3]}" for n in range(1, 61)] + ["CCCN,n/a", "CCCCN,"]
    listed, labels = train_reference(
        tmp_path, "smiles,tox\n" + "\n".join(rows) + "\n", "tox:multiclass:none,mild,severe"
    )
    assert listed == []
    assert labels["tox"] == {"compounds": 60, "none": 20, "mild": 20, "severe": 20}
