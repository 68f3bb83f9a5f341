"""Cases in a folder elsewhere, one folder each: ``make check-cases CASES=folder``.

Each holds a federation file, an input ``in.*``, and a ``README.txt`` whose second line is the
command that was tried. Cases that are known by name have an expectation here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.cli_site import done, run

FOLDER = os.environ.get("CASES", "")
FOUND = sorted(
    path.parent
    for path in (Path(FOLDER).glob("*/federation.toml") if FOLDER else ())
    if list(path.parent.glob("in.*"))
)


@dataclass(frozen=True)
class Expected:
    """What must be read.

    Attributes
    ----------
    tasks
        By task: compounds, exact values, values with < or >, rejected values.
    error
        What a refusal says; empty if the table is read.
    says
        What the report says.
    """

    tasks: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    error: str = ""
    says: str = ""


def x(compounds: int, exact: int = 0, censored: int = 0, rejected: int = 0) -> dict[str, tuple]:
    """What is read of the task x."""
    return {"x": (compounds, exact, censored, rejected)}


EXPECTED = {
    "all_refused_labels": Expected(error="60 values are rejected: .*'blocker' and 'non-blocker'"),
    "all_refused_structures": Expected(x(60, 60), says="'SMILES String'|\"SMILES String\""),
    "chembl_pchembl": Expected(x(45, 45)),
    "chembl_relations": Expected({"IC50": (60, 45, 15, 0)}),
    "dash_in_binary": Expected(x(30), says="'-' \\(30 times\\) is read as missing"),
    "decimal_comma": Expected(x(60, 60), says="decimal comma"),
    "decimal_comma_part": Expected(x(60, 60), says="decimal comma"),
    "double_bom": Expected(x(60, 60)),
    "duplicate_comment": Expected(x(60, 60)),
    "equivocal_plus_minus": Expected(x(40), says="neither class"),
    "header_commas": Expected(x(60, 60)),
    "header_windows1252": Expected(x(60, 60)),
    "label_exact_name": Expected(x(60, 60), says='"column": "log-P"'),
    "label_switches_others_off": Expected({"bbb": (60, 0, 0, 0), "logbb": (60, 60, 0, 0)}),
    "labels_1.00": Expected(x(60)),
    "long_other_task_names": Expected(error="names none of the tasks.*hERG-QPatch"),
    "missing_codes": Expected(x(30, 30)),
    "mixed_units_no_contract_unit": Expected(error="values in nM \\(60\\), uM \\(60\\)"),
    "qualifier_named_after_column": Expected(x(60, 30, 30), says='"column": "IC50_qualifier"'),
    "qualifier_prefix_modifier": Expected(x(60, 30, 30), says='"column": "x_modifier"'),
    "replicates_far_apart": Expected(x(60, 120), says="60 of 60 compounds with several values"),
    "row_names_R": Expected(x(60, 60)),
    "sdf_title_windows1252": Expected(x(60, 60)),
    "sep_line": Expected(x(60, 60)),
    "smiles_column_names": Expected(x(60, 60)),
    "unit_micro": Expected(x(60, 60)),
    "value_column_guess": Expected(error="both 'activity' and 'pIC50' may hold it"),
    "value_decorations": Expected(x(30, 30, 15, 30), says="with its error"),
}
# Options that a case's command may have, and whether each takes a value.
_KEPT = ("--label", "--task-column", "--value-column", "--smiles-column", "--id-column",
         "--qualifier", "--unit", "--decimal", "--thousands", "--encoding", "--delimiter",
         "--sheet", "--qualifier-column", "--unit-column")  # fmt: skip


def words_of(folder: Path) -> list[str]:
    """The words of the case's command."""
    readme = folder / "README.txt"
    if not readme.is_file():
        return []
    return shlex.split(readme.read_text(encoding="utf-8").split("\n\n")[0].replace(";", " ; "))


def options_of(folder: Path) -> list[str]:
    """The options of the case's command that say how its table is read."""
    words = words_of(folder)
    return [
        part
        for place, word in enumerate(words[:-1])
        if word in _KEPT
        for part in (word, words[place + 1])
    ]


def federation_of(folder: Path, place: Path) -> Path:
    """The case's federation, made again: its file may be of another version."""
    words = words_of(folder)
    if "init-federation" not in words:
        return folder / "federation.toml"
    start = words.index("init-federation")
    given = words[start + 1 : words.index(";")]
    given = given[: given.index("-o")] if "-o" in given else given
    done("init-federation", *given, "--descriptors", "none", "-o", place / "federation.toml")
    return place / "federation.toml"


@pytest.mark.skipif(not FOUND, reason="CASES names no folder of cases")
@pytest.mark.parametrize("folder", FOUND, ids=lambda folder: folder.name)
def test_a_case_of_a_folder(tmp_path: Path, folder: Path) -> None:
    table = next(iter(sorted(folder.glob("in.*"))))
    outcome = run(
        "check-data", table, "-f", federation_of(folder, tmp_path), "-j", 1, "--json",
        *options_of(folder),
    )  # fmt: skip
    assert "Traceback" not in outcome.stderr
    assert outcome.code in (0, 1)
    if outcome.code == 1:
        assert re.search("(?m)^error: ", outcome.stderr), outcome.stderr
    expected = EXPECTED.get(folder.name)
    if expected is None:
        return
    if expected.error:
        assert outcome.code == 1
        assert re.search(expected.error, outcome.stderr), outcome.stderr
        return
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    read = {
        task["task"]: (
            task["compounds"],
            task["exact"],
            task["below"] + task["above"],
            sum(reason["count"] for reason in task["rejected"]),
        )
        for task in report["tasks"]
    }
    assert read == expected.tasks
    assert re.search(expected.says, json.dumps(report, ensure_ascii=False))
