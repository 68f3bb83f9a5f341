"""What commands read of small tables of every kind: the right labels, or one clear refusal."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fluid.cli.main import app
from typer.testing import CliRunner

import fluid.partner.table
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.partner.table import LabelledCompounds
from tests.cases.small import CASES, SMILES, Case
from tests.cli.cli_site import done, read_rows

CONNECTIVITIES = [standardize(smiles, StandardizerSpec()).inchikey[:14] for smiles in SMILES]


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[LabelledCompounds | None]:
    """What `check-data` makes its report from."""
    found: list[LabelledCompounds | None] = []
    examine = fluid.partner.table.examine

    def spy(*arguments: Any) -> Any:
        result = examine(*arguments)
        found.append(result[0])
        return result

    monkeypatch.setattr(fluid.partner.table, "examine", spy)
    return found


def federation_of(folder: Path, case: Case) -> Path:
    path = folder / "federation.toml"
    tasks = [part for task in case.tasks for part in ("--task", task)]
    done("init-federation", "--name", "t", "--descriptors", "none", *tasks, "-o", path)
    if case.rules:
        text = path.read_text()
        start = text.index("\nkind = ")
        path.write_text(f"{text[:start]}\n{case.rules}{text[start:]}")
    return path


def labels_of(found: LabelledCompounds, task: int) -> list[object]:
    """What is learned of the six compounds: a number, or a text with its sign."""
    rows = {key: row for row, key in enumerate(found.compounds.connectivities)}
    labels = found.labels
    mine = labels.tasks == task
    by_row = {
        int(row): (float(value), int(sign))
        for row, value, sign in zip(
            labels.rows[mine], labels.values[mine], labels.qualifiers[mine], strict=True
        )
    }
    given = [by_row.get(rows.get(key, -1)) for key in CONNECTIVITIES]
    return [
        None if one is None else f"{'<>'[one[1] > 0]}{one[0]:.8g}" if one[1] else one[0]
        for one in given
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_small_table(tmp_path: Path, caught: list[LabelledCompounds | None], name: str) -> None:
    case = CASES[name]
    table, rejects = tmp_path / f"in{case.suffix}", tmp_path / "rejects.csv"
    table.write_bytes(case.data)
    command = [
        "check-data", table, "-f", federation_of(tmp_path, case), "--jobs", 1, "--json",
        "--rejects", rejects, *case.options,
    ]  # fmt: skip
    result = CliRunner().invoke(app, [str(part) for part in command])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if case.error:
        assert result.exit_code == 1, result.stdout
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert re.search(case.error, errors[0]), errors[0]
        return
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    said = json.dumps(report, ensure_ascii=False)
    for text in case.says:
        assert re.search(text, said), said
    found = caught[0]
    assert found is not None
    names = [task["task"] for task in report["tasks"]]
    for task, expected in case.labels.items():
        read = labels_of(found, names.index(task))
        assert [_rounded(label) for label in read] == [_rounded(label) for label in expected]
    n_rejected = sum(reason["count"] for task in report["tasks"] for reason in task["rejected"])
    rows = sum(reason["count"] for reason in report["rejected_rows"])
    assert len(read_rows(rejects)) >= max(n_rejected, rows)


def _rounded(label: object) -> object:
    return round(float(label), 6) if isinstance(label, int | float) else label
