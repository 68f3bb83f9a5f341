"""Names that somebody else chose: nothing invisible is printed, nothing runs in a spreadsheet."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fluid.exchange.annotation import SCHEMA as ANNOTATION
from fluid.exchange.sealed import open_sealed, write_sealed
from tests.cli.cli_site import Site, done, first_lines, read_rows, refused, run, spawn

HOSTILE = "\x9b31m\x1b[2Jgnp\u202eexe\u2066\u200b\u2028\x85\x07"
LONG = "n" * 5000


def visible(text: str) -> bool:
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return not any(unicodedata.category(c) in hidden for c in text.replace("\n", ""))


def forged(site: Site, path: Path, name: str) -> Path:
    """An annotation whose statements hold a name wherever a text may stand."""
    sealed = open_sealed(site.annotation("aurora"), ANNOTATION)
    tasks = sealed.manifest["tasks"]
    manifest = sealed.manifest | {
        "federation": name, "partner": name, name: name, "software": {name: name},
        "tasks": [{**tasks[0], "classes": [name, "x"]}, {**tasks[1], "unit": name}],
    }  # fmt: skip
    write_sealed(path, sealed.schema, sealed.batches(), lambda count: manifest)
    return path


@pytest.mark.parametrize("name", [HOSTILE, LONG, HOSTILE * 500, "one\ndigest  0000"])
def test_a_file_cannot_move_the_cursor(site: Site, tmp_path: Path, name: str) -> None:
    path = forged(site, tmp_path / "forged.parquet", name)
    page = tmp_path / "page.html"
    for arguments in (
        ["inspect", path], ["inspect", path, "--json"], ["inspect", path, "--html", page],
        site.distill(tmp_path / "round", [path, *site.annotations[1:]]),
    ):  # fmt: skip
        outcome = run(*arguments)
        assert visible(outcome.stdout)
        assert visible(outcome.stderr)
        assert "Traceback" not in outcome.stderr
        if outcome.code == 0:
            lines = (outcome.stdout + outcome.stderr).split("\n")
            assert "--json" in arguments or max(map(len, lines)) < 5000
        else:
            assert len(outcome.error) < 1500
        assert not any(line.startswith("digest  0000") for line in outcome.stdout.split("\n"))
    if page.exists():
        assert visible(page.read_text(encoding="utf-8"))


def test_what_was_typed_is_not_printed_raw(tmp_path: Path) -> None:
    name = "\x9b31m\u202e"
    for arguments in (
        ["inspect", name], ["inspect", "--" + name], [name], ["inspect", tmp_path / name],
    ):  # fmt: skip
        for outcome in (run(*arguments), spawn(*arguments)):
            assert outcome.code in (1, 2)
            assert visible(outcome.stderr)
            assert "u202e" in outcome.stderr


def test_the_log_is_one_line_a_record(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    program = (
        "import logging, warnings\n"
        "from fluid.cli.console import guarded_streams, set_up_logging\n"
        "with guarded_streams():\n"
        "    set_up_logging(False)\n"
        f"    logging.getLogger('fluid').warning('%s: x', {HOSTILE!r} + 'a\\nERROR: b')\n"
        f"    warnings.warn('\\u202e' + 'w' * 9000)\n"
        "    print('\\u202e')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    found = (ended.stdout + ended.stderr).decode()
    assert visible(found)
    lines = ended.stderr.decode().splitlines()
    assert [line.split(":")[0] for line in lines] == ["WARNING", "WARNING"]
    assert max(map(len, lines)) < 2500
    logging.getLogger().handlers.clear()


def test_a_table_cannot_put_a_formula_into_what_is_made_of_it(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    ids = ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "-12", "+5", "'=x", "plain"]
    rows = "".join(f'"{name}",CCO\n' for name in ids)
    table.write_text(f"id,smiles\n{rows}bad,=HYPERLINK(1)\n")
    output = tmp_path / "predictions.csv"
    done(*site.predict(output, table))
    found = read_rows(output)
    expected = ["'=1+1", "'+cmd|' /C calc'!A0", "'@SUM(A1)", "'-2+3", "-12", "+5", "''=x", "plain"]
    assert [row["id"] for row in found[:-1]] == expected
    assert found[-1]["smiles"] == "'=HYPERLINK(1)"
    assert all(float(row["logbb"]) for row in found[:-1])
    parquet = tmp_path / "predictions.parquet"
    done(*site.predict(parquet, table))
    assert pq.read_table(parquet)["id"].to_pylist()[:-1] == ids
    # The rejects of a labelled table: compound, column and value.
    labelled = first_lines(site.table("aurora"), tmp_path / "labelled.csv", 60)
    content = labelled.read_text().splitlines()
    columns = content[0].split(",")
    bad = ["=cmd()" if name in ("id", "bbb", "logbb") else "CCO" for name in columns]
    labelled.write_text("\n".join([*content, ",".join(bad)]) + "\n")
    done(*site.train(tmp_path / "teacher", labelled))
    rejects = read_rows(tmp_path / "teacher" / "rejects.csv")
    assert any(row["value"] == "'=cmd()" for row in rejects)
    cells = [cell for row in rejects for cell in row.values()]
    assert not any(cell.startswith(("=", "@", "\t", "\r")) for cell in cells)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("=cmd", "begins like a formula"), ("@x", "begins like a formula"),
        ("-a1", "begins like a formula"), ("a\\u202eb", "visible characters"),
        ("a\\u009bb", "visible characters"), ("n" * 201, "at most 200 visible characters"),
    ],
)  # fmt: skip
def test_a_federation_with_such_names_is_refused(
    site: Site, tmp_path: Path, name: str, message: str
) -> None:
    path = tmp_path / "federation.toml"
    text = site.federation.read_text(encoding="utf-8")
    for old in ('"BBB-"', '"log10(brain/blood)"'):
        path.write_text(text.replace(old, f'"{name}"'), encoding="utf-8")
        error = refused("inspect", path)
        assert message in error
        assert str(path) in error
    option = f"x:binary:{json.loads(chr(34) + name + chr(34))},b"
    error = refused("init-federation", "--name", "x", "--task", option, "-o", tmp_path / "n.toml")
    assert message in error
    assert not (tmp_path / "n.toml").exists()
    assert [item.name for item in tmp_path.iterdir()] == ["federation.toml"]
