"""check-data: the report, its exit code, its files; and where what it says is stated elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.cli_site import Site, done, first_lines, read_rows, refused, run


def check(site: Site, table: Path, *more: object) -> list[object]:
    return ["check-data", table, "-f", site.federation, "--jobs", 1, *more]


def test_the_report_says_what_is_read_and_why(site: Site) -> None:
    outcome = done(*check(site, site.table("aurora")))
    lines = [line.split() for line in outcome.stdout.splitlines()]
    assert ["smiles", "smiles", "by", "its", "name"] in lines
    assert ["bbb", "label", "of", "bbb", "its", "name", "is", "the", "task's", "name"] in lines
    assert "aurora.csv: 140 rows" in outcome.stdout
    assert "values  exact / < / >" in outcome.stdout


def test_the_report_as_json_agrees_with_training(site: Site, tmp_path: Path) -> None:
    report = json.loads(done(*check(site, site.table("aurora"), "--json")).stdout)
    outcome = done(*site.train(tmp_path / "t", site.table("aurora"), "--json"))
    trained = json.loads(outcome.stdout)
    assert report["rows"] == trained["rows"] == 140
    assert report["compounds"] == trained["compounds"]
    assert report["columns"] == trained["training"]["columns"]
    assert {use["role"] for use in report["columns"]} >= {"smiles", "label"}
    # Training says the same in short, before it begins.
    assert "aurora.csv: 140 rows" in outcome.stderr
    assert "'bbb' is task bbb (its name is the task's name)" in outcome.stderr


def test_columns_stay_at_home(site: Site) -> None:
    """The card of a teacher names them; what leaves, and the student, do not."""
    card = (site.teacher("aurora") / "model.json").read_text()
    assert "its name is the task's name" in card
    for path in (site.annotation("aurora"), site.federated, site.student / "model.json"):
        assert b"its name is the task" not in path.read_bytes()
    assert '"columns"' not in (site.student / "model.json").read_text()


def test_a_row_per_task_and_a_list_of_rejects(site: Site, tmp_path: Path) -> None:
    tasks, rejects = tmp_path / "tasks.csv", tmp_path / "rejects.csv"
    done(*check(site, site.table("aurora"), "-o", tasks, "--rejects", rejects))
    rows = read_rows(tasks)
    assert [row["task"] for row in rows] == ["bbb", "logbb"]
    assert int(rows[0]["values"]) > 100
    assert set(read_rows(rejects)[0] if read_rows(rejects) else {"file"}) >= {"file"}
    # Both may be replaced, and nobody else's file.
    done(*check(site, site.table("aurora"), "-o", tasks, "--rejects", rejects))
    other = tmp_path / "other.csv"
    other.write_text("mine\n")
    assert "other.csv: exists and is not a table of tasks" in refused(
        *check(site, site.table("aurora"), "-o", other)
    )


def test_doubts_are_errors_if_asked(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{'C' * n}O,{'-' if n % 3 else n % 2},{n / 20}" for n in range(1, 40)]
    table.write_text("smiles,bbb,logbb\n" + "\n".join(rows) + "\n")
    outcome = done(*check(site, table))
    assert "Doubts: look at these" in outcome.stdout
    assert "is read as missing, for there is no '+'" in outcome.stdout
    strict = run(*check(site, table, "--strict"))
    assert strict.code == 1
    assert "1 doubts, which --strict makes errors: " in strict.error


def test_a_fault_is_in_the_report_and_the_exit_code(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("smiles,bbb,logbb\n" + "".join(f"{'C' * n}O,1,99\n" for n in range(1, 40)))
    outcome = run(*check(site, table))
    assert outcome.code == 1
    assert "Faults: these must be mended" in outcome.stdout
    assert "all values of task logbb: 39 values are rejected: 99 is outside" in outcome.error
    assert "--allow-empty" in outcome.error
    done(*check(site, table, "--allow-empty"))


@pytest.mark.parametrize("folder", ["new", "empty", "held"])
def test_rejects_are_listed_though_nothing_is_trained(
    site: Site, tmp_path: Path, folder: str
) -> None:
    table, output = tmp_path / "t.csv", tmp_path / "t"
    table.write_text("smiles,bbb\n" + "".join(f"{'C' * n}O,perhaps\n" for n in range(1, 40)))
    place = output / "rejects.csv"
    before = b""
    if folder == "empty":
        output.mkdir()
    elif folder == "held":
        done(*site.train(output, first_lines(site.table("aurora"), tmp_path / "a.csv", 60)))
        before = place.read_bytes()
        place = tmp_path / "t.rejects.csv"
    error = refused(*site.train(output, table))
    assert f"(all are listed in {place})" in error
    assert "'perhaps'" in error
    assert len(read_rows(place)) == 39
    if folder == "held":
        # The model and its own rejects are as they were.
        assert (output / "rejects.csv").read_bytes() == before
    else:
        # A list that was left behind is in nobody's way.
        done(*site.train(output, first_lines(site.table("aurora"), tmp_path / "a.csv", 60)))
        assert (output / "model.json").is_file()


def test_many_tasks_are_summed_up(tmp_path: Path) -> None:
    names = [f"t{n}" for n in range(30)]
    federation = tmp_path / "f.toml"
    tasks = [part for name in names for part in ("--task", f"{name}:regression")]
    done("init-federation", "--name", "x", *tasks, "--descriptors", "none", "-o", federation)
    rows = [
        [f"{'C' * n}O", *(f"{n + k}" if (n + k) % 3 else "bad" for k in range(30))]
        for n in range(1, 13)
    ]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(",".join(row) for row in [["smiles", *names], *rows]) + "\n")
    outcome = done("check-data", table, "-f", federation, "-j", 1)
    assert "30 tasks" in outcome.stdout
    assert "Tasks of which most is rejected" in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines())) < 400
    assert len(outcome.stdout.splitlines()) < 150
