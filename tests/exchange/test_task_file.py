"""The task file, and what becomes of it: the same contract however its tasks were given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.errors import FederationError, FluidError
from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.exchange.federation import Federation, load_federation, parse_federation
from fluid.exchange.signing import generate_keys
from fluid.exchange.task_file import read_task_file, task_file_text
from fluid.exchange.template import federation_text, init_federation, register_partner
from fluid.learn.task import Task

CHEMISTRY = Chemistry(
    StandardizerSpec(), FeatureSpec(), rdkit="2025.03.1", reference="0" * 64
)  # fmt: skip


def read(folder: Path, text: str, name: str = "tasks.csv") -> list[Task]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_task_file(path)


def test_every_field(tmp_path: Path) -> None:
    tasks = read(
        tmp_path,
        "name,kind,source,unit,scale,low,high,classes,threshold,direction,replicates,max_spread,"
        "quorum,quorum_exact,min_partners,weight\n"
        "herg,regression,hERG IC50,nM,p,3,10,,,,mean,1,50,25,2,1\n"
        "herg_5,binary,hERG IC50,nM,p,3,10,,5,,max,1.0,25,,,0.5\n"
        "stable,binary,,uL/min/mg,,,,no|yes,10,low,,,,,,\n"
        "ames,Binary,,,,,,,,,majority,,25.0,,,\n"
        "tox,multiclass,,,,,,none; mild ;severe,,,,,,,,\n"
        ",,,,,,,,,,,,,,,\n",
    )
    assert tasks == [
        Task("herg", "regression", "nM", (), 3.0, 10.0, "hERG IC50", "p", replicates="mean",
             max_spread=1.0, quorum=50, quorum_exact=25, min_partners=2),
        Task("herg_5", "binary", "nM", (), 3.0, 10.0, "hERG IC50", "p", 5.0, replicates="max",
             max_spread=1.0, quorum=25, weight=0.5),
        Task("stable", "binary", "uL/min/mg", ("no", "yes"), threshold=10.0, direction="low"),
        Task("ames", "binary", replicates="majority", quorum=25),
        Task("tox", "multiclass", classes=("none", "mild", "severe")),
    ]  # fmt: skip


def test_names_that_others_use(tmp_path: Path) -> None:
    """Columns of MELLODDY-TUNER and of exports, in any order, with tabs."""
    text = (
        "Weight\tinput_assay_id\tDirection\ttask_type\texpert_threshold\tUnits\n"
        "0.1\tA1\tlow\tclassification\t10\tuM\n"
    )
    assert read(tmp_path, text, "tasks.tsv") == [
        Task("A1", "binary", unit="uM", threshold=10.0, direction="low", weight=0.1)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,type\n", "tasks.csv: a header but no tasks"),
        ("name,kind\n,\n", "a header but no tasks"),
        ("name,scale\nx,p\n", "no column 'kind'; the columns are name, scale"),
        ("kind,scale\nbinary,p\n", "no column 'name'"),
        ("name,kind,colour\nx,binary,red\n", "column 'colour' is not a field of tasks; allowed"),
        ("name,task,kind\nx,y,binary\n", "columns 'name' and 'task' both read as name"),
        ("name,kind\nx,binary\n1y,binary\n", r"line 3, task '1y': task name '1y': a letter, then"),
        ("name,kind\nx,\n", "line 2, task 'x': the kind is missing"),
        ("name,kind\n,binary\n", "line 2: the name is missing"),
        ("name,kind\nx,ordinal\n", "line 2, task 'x': kind 'ordinal' is not one of"),
        ("name,kind\nx,binary\ny,binary\nX,binary\n", "line 4: task 'X' stands in line 2 too"),
        ("name,kind,high\nx,regression,high\n", "task 'x': high = 'high': a number is needed$"),
        ('name,kind,high\nx,regression,"4,7"\n', r"high = '4,7': a number .* \(decimal comma\?\)"),
        ("name,kind,high\nx,regression,nan\n", "task 'x': low must be a number below high"),
        ("name,kind,quorum\nx,binary,25.5\n", "quorum = '25.5': a whole number is needed"),
        ("name,kind,quorum\nx,binary,1_0\n", "quorum = '1_0': a number is needed"),
        ("name,kind,quorum\nx,binary,3\n", "line 2, task 'x': quorum = 3: a model needs at least"),
        ("name,kind,classes\nx,binary,a\n", r"classes must be \[negative, positive\]"),
        ("name,kind\nx,binary,p\n", "the header has 2 names, but the rows have 3 fields"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FluidError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "name,kind,classes,source\nx,binary,1|2,\n",
        'name;kind;classes;source\nx;binary;"1;2";\n',
        "name;kind;classes\nx;binary;1|2\n",
        "name;kind;classes\nx;binary;1,2\n",
        "kind\tclasses\tname\nbinary\t1|2\tx\n",
        "\ufeffname,kind,classes\r\nx,binary,1|2\r\n",
    ],
)
def test_what_separates_cells_and_classes(tmp_path: Path, text: str) -> None:
    """The file's delimiter is that of its header, however many others its cells hold."""
    assert read(tmp_path, text) == [Task("x", "binary", classes=("1", "2"))]


LABELS = st.from_regex(r"[A-Za-z1-9][a-c ;,+-]{0,5}[a-z+-]", fullmatch=True)


@st.composite
def some_task(draw: st.DrawFn, name: str) -> Task:
    kind = draw(st.sampled_from(["binary", "cut", "multiclass", "regression"]))
    rules: dict[str, object] = {"weight": draw(st.floats(1e-3, 1e3))}
    rules["min_partners"] = draw(st.integers(1, 5))
    rules["quorum"] = draw(st.sampled_from([0, 16, 25]))
    if kind in ("cut", "regression"):
        rules["source"] = draw(st.sampled_from(["", "hERG IC50 (µM)", 'a "b", c;d|e']))
        rules["unit"] = draw(st.sampled_from(["", "µM", "10^-6 cm/s"]))
        rules["scale"] = draw(st.sampled_from(["linear", "log10", "p"]))
        rules["low"], rules["high"] = draw(st.floats(-1e9, -1.0)), draw(st.floats(5.0, 1e9))
        rules["max_spread"] = draw(st.none() | st.floats(0.0, 1e6))
        rules["replicates"] = draw(st.sampled_from(["", "median", "mean", "max", "min"]))
    if kind == "cut":
        rules["threshold"] = draw(st.floats(-0.9, 4.9))
        rules["direction"] = draw(st.sampled_from(["high", "low"]))
    if kind in ("binary", "multiclass"):
        size = 2 if kind == "binary" else 3
        unique = st.lists(LABELS, min_size=size, max_size=size, unique_by=str.lower)
        rules["classes"] = tuple(draw(unique))
    return Task(name, "binary" if kind == "cut" else kind, **rules)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 30))
def test_a_contract_is_the_same_however_its_tasks_are_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int
) -> None:
    tasks = [data.draw(some_task(f"t{number}")) for number in range(count)]
    contract = Federation("trial", 1, tuple(tasks), CHEMISTRY)
    # As manifests and models hold them.
    assert [Task.from_dict(json.loads(json.dumps(task.to_dict()))) for task in tasks] == tasks
    assert read(tmp_path_factory.mktemp("tasks"), task_file_text(tasks)) == tasks
    # As blocks, or more than twenty as lines of one table.
    for number in (0, 25):
        more = [*tasks, *(Task(f"more{place}", "binary") for place in range(number))]
        read_back = parse_federation(federation_text("trial", more))
        assert read_back.tasks == tuple(more)
    assert parse_federation(federation_text("trial", tasks)).tasks == contract.tasks


def test_the_digest_of_a_contract_without_these_rules_is_what_it_was() -> None:
    tasks = (
        Task("bbb", "binary", classes=("BBB-", "BBB+")),
        Task("logbb", "regression", unit="log10(brain/blood)", low=-4.0, high=4.0),
        Task("tox", "multiclass", classes=("a", "b", "c")),
        Task("ames", "binary"),
    )
    assert Federation("demo", 1, tasks, CHEMISTRY).protocol == (
        "99eeb5faf25f80a2f616e973b6115f4b74a9764144a599a0e0a00db8e19616b1"
    )


def test_a_file_of_many_tasks_keeps_its_settings_in_sight(tmp_path: Path) -> None:
    tasks = [
        Task(f"A{number}", "binary", "nM", source=f"assay {number}", scale="p", threshold=6.0)
        for number in range(2000)
    ]
    path = tmp_path / "federation.toml"
    protocol = init_federation(path, "panel", tasks)
    lines = path.read_text(encoding="utf-8").splitlines()
    settings_end = lines.index("[tasks]")
    assert settings_end < 90
    assert lines[settings_end + 1] == (
        'A0 = { kind = "binary", unit = "nM", source = "assay 0", scale = "p", threshold = 6.0 }'
    )
    assert lines[settings_end + 2000].startswith("A1999 = ")
    _, key = generate_keys("aurora", tmp_path)
    register_partner(path, "aurora", key)
    federation = load_federation(path)
    assert federation.protocol == protocol
    assert federation.tasks == tuple(tasks)
    assert list(federation.partners) == ["aurora"]


def test_blocks_and_lines_are_the_same_contract() -> None:
    tasks = [Task("a", "binary", quorum=25), Task("b", "regression", unit="nM", scale="p")]
    text = federation_text("trial", tasks)
    start, end = text.index("\n[[tasks]]"), text.index("\n# How structures")
    lines = '\n[tasks]\na = { kind = "binary", quorum = 25 }\n'
    lines += 'b = { kind = "regression", unit = "nM", scale = "p" }\n'
    other = parse_federation(text[:start] + text[end:] + lines)
    assert other.protocol == parse_federation(text).protocol
    for broken, message in (
        ("\n[tasks]\na = 1\n", "tasks.a must be a table"),
        ('\n[tasks]\na = { name = "b", kind = "binary" }\n', "tasks.a: the name of the task"),
        ("\n[tasks]\na = {}\n", "'tasks.a.kind' is missing"),
        ("\n[tasks]\n", "at least one task"),
    ):
        with pytest.raises(FederationError, match=message):
            parse_federation(text[:start] + text[end:] + broken)


def test_what_a_spreadsheet_would_run_is_in_no_task_file() -> None:
    with pytest.raises(FederationError, match="begins like a formula"):
        task_file_text([Task("x", "regression", source="=cmd()")])
    with pytest.raises(FederationError, match=r"a class with '\|' in its name"):
        task_file_text([Task("x", "binary", classes=("a|b", "c"))])
