"""Tasks are proposed for a table, edited, and become a contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fluid.exchange.federation import load_federation
from fluid.exchange.task_file import read_task_file
from fluid.learn.task import Task
from tests.cli.cli_site import done, refused

WIDE = [
    "ID,SMILES,hERG IC50 (nM),hERG IC50 (nM)_relation,Ames,LogD,comment,unit price",
    *(
        f"c{n},{'C' * (n + 1)}O,{10 ** (n % 5 + 1)},{'>' if n % 10 == 4 else '='},"
        f"{'positive' if n % 3 else 'negative'},{n % 7 - 1.5},note {n},"
        for n in range(60)
    ),
]


def write(folder: Path, lines: list[str]) -> Path:
    path = folder / "assays.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_wide_table(tmp_path: Path) -> None:
    output = tmp_path / "tasks.csv"
    outcome = done("make-tasks", write(tmp_path, WIDE), "--binary", "-o", output, "--json")
    found = json.loads(outcome.stdout)
    tasks = read_task_file(output)
    potency = {"unit": "nM", "low": 2.0, "high": 12.0, "scale": "p"}
    source = "hERG IC50 (nM)"
    # pIC50 is 8, 7, 6, 5 and 4, of 12 compounds each; of half of the last it is below 4. At 8 and 7
    # 12 and 24 are positive, at 6 and 5 24 and 12 negative: there are never 25 of each class.
    assert tasks[:4] == [
        Task("hERG_IC50_nM", "regression", source=source, **potency),
        Task("hERG_IC50_nM_5_5", "binary", source=source, threshold=5.5, weight=0.333, **potency),
        Task("hERG_IC50_nM_6", "binary", source=source, threshold=6.0, weight=0.333, **potency),
        Task("hERG_IC50_nM_6_5", "binary", source=source, threshold=6.5, weight=0.333, **potency),
    ]  # fmt: skip
    assert tasks[4:] == [
        Task("Ames", "binary"),
        Task("LogD", "regression"),
        Task("LogD_1_5", "binary", source="LogD", threshold=1.5),
    ]
    described = found["tasks"]
    assert [one["task"] for one in described] == [task.to_dict() for task in tasks]
    assert [one["positive"] for one in described] == [None, 36, 36, 24, 40, None, 33]
    assert [one["below"] for one in described][:2] == [6, 6]
    assert found["passed_over"]["hERG IC50 (nM)_relation"] == "holds signs (<, >, =)"
    assert "neither numbers nor two classes" in found["passed_over"]["comment"]
    assert found["passed_over"]["unit price"] == "is empty"


def test_what_is_proposed_becomes_a_contract(tmp_path: Path) -> None:
    output, contract = tmp_path / "tasks.csv", tmp_path / "federation.toml"
    done("make-tasks", write(tmp_path, WIDE), "--threshold", "LogD=1", "-o", output)
    tasks = read_task_file(output)
    assert [task.name for task in tasks] == ["hERG_IC50_nM", "Ames", "LogD", "LogD_1"]
    outcome = done("init-federation", "--name", "x", "--tasks", output, "-o", contract)
    federation = load_federation(contract)
    assert federation.tasks == tuple(tasks)
    assert "tasks     4" in outcome.stdout
    assert federation.protocol in outcome.stdout


def test_a_long_table_with_units_of_its_values(tmp_path: Path) -> None:
    lines = ["smiles,endpoint,value,unit,relation"]
    lines += [f"{'C' * (n + 1)}N,hERG,{n + 1},uM,=" for n in range(30)]
    lines += [f"{'C' * (n + 1)}S,hERG,{1000 * (n + 1)},nM,>" for n in range(20)]
    lines += [f"{'C' * (n + 1)}S,Cl int,{1 + n * n},uL/min/mg," for n in range(20)]
    output = tmp_path / "tasks.csv"
    outcome = done("make-tasks", write(tmp_path, lines), "-o", output)
    assert read_task_file(output) == [
        Task("Cl_int", "regression", "uL/min/mg", source="Cl int", scale="log10"),
        Task("hERG", "regression", "uM", scale="p", low=2.0, high=12.0),
    ]
    assert "tasks are named in 'endpoint', values are in 'value'" in outcome.stderr
    # ">" of a concentration is "<" of its p value.
    row = next(line for line in outcome.stdout.splitlines() if line.startswith("hERG"))
    assert row.split()[:6] == ["hERG", "regression", "uM", "p", "50", "20"]


def test_what_people_have_edited_is_not_replaced(tmp_path: Path) -> None:
    output = tmp_path / "tasks.csv"
    output.write_text("mine", encoding="utf-8")
    error = refused("make-tasks", write(tmp_path, WIDE), "-o", output)
    assert f"{output}: exists" in error
    assert output.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "LogD"], "--threshold LogD: the form is TASK=NUMBER"),
        (["--threshold", "LogD=high"], "--threshold LogD=high: the form is TASK=NUMBER"),
        (["--threshold", "logp=1"], "--threshold logp: the tasks proposed are hERG_IC50_nM, Ames"),
        (["--threshold", "hERG_IC50_nM=50"], "threshold = 50 is not within its range 2 to 12"),
        (["--task-column", "assay"], "no task column 'assay'"),
    ],
)
def test_thresholds_and_columns_that_make_no_sense(
    tmp_path: Path, options: list[str], message: str
) -> None:
    output = tmp_path / "tasks.csv"
    assert message in refused("make-tasks", write(tmp_path, WIDE), *options, "-o", output)
    assert not output.exists()


def test_a_table_without_anything_to_learn(tmp_path: Path) -> None:
    table = write(tmp_path, ["smiles,note", "CCO,one", "CCN,two", "CCC,three"])
    error = refused("make-tasks", table, "-o", tmp_path / "tasks.csv")
    assert "no column looks like a task ('note' holds neither numbers nor two classes" in error


def test_a_contract_needs_tasks(tmp_path: Path) -> None:
    error = refused("init-federation", "--name", "x", "-o", tmp_path / "f.toml")
    assert "no tasks; give --task NAME:KIND or --tasks FILE" in error
    tasks = tmp_path / "tasks.csv"
    tasks.write_text("name,kind\na,binary\nb,nothing\n", encoding="utf-8")
    error = refused("init-federation", "--name", "x", "--tasks", tasks, "-o", tmp_path / "f.toml")
    assert f"{tasks}, line 3, task 'b': kind 'nothing' is not one of" in error
    assert not (tmp_path / "f.toml").exists()
