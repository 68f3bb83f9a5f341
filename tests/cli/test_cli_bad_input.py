"""Bad files, bad options, bad places: one clear line, and nothing on the disk has changed."""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.cli_site import Site, done, run, snapshot
from tests.cli.refusals import misused, unharmed

HEADER = "id,smiles,bbb,logbb\n"
GARBAGE = random.Random(3).randbytes(5000)


def parquet(site: Site) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(pd.read_csv(site.table("aurora")))
    pq.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue().to_pybytes()


TABLES: dict[str, tuple[str, Callable[[Site], str | bytes], str]] = {
    "empty": ("t.csv", lambda s: "", "the file is empty"),
    "blank": ("t.csv", lambda s: "\n\n \n", "holds no header and no rows"),
    "zeros": ("t.csv", lambda s: bytes(9999), "holds no header and no rows"),
    "header": ("t.csv", lambda s: HEADER, "a header but no rows"),
    "no SMILES": ("t.csv", lambda s: "id,formula,bbb\na,C2H6O,1\n",
                  r"no SMILES column; the columns are 'id', 'formula', 'bbb'\. Name it with"),
    "twice": ("t.csv", lambda s: "smiles,bbb,SMILES\nCCO,1,CCO\n",
              "columns 'smiles' and 'SMILES' may both hold the SMILES"),
    "all bad": ("t.csv", lambda s: "id,smiles,bbb\n" + "a,C1CC,1\n" * 30,
                "no usable structure among 30 rows"),
    "ending": ("t.xlsx", lambda s: b"PK\x03\x04", "is a damaged ZIP archive or workbook"),
    "no ending": ("table", lambda s: HEADER, "unknown kind of table ''; allowed are"),
    "truncated gzip": ("t.csv.gz", lambda s: gzip.compress(s.table("aurora").read_bytes())[:-50],
                       "the compressed file is damaged or truncated"),
    "garbage gzip": ("t.csv.gz", lambda s: b"\x1f\x8b" + GARBAGE, "is damaged or truncated"),
    "garbage": ("t.csv", lambda s: GARBAGE,
                "is neither UTF-8 text nor in another encoding that makes words of it"),
    "long header": ("t.csv", lambda s: ",".join(["z" * 99_999] * 3) + "\n1,2,3\n",
                    r"no SMILES column; the columns are 'zzzz.*zzz\.\.\.'\. Name it"),
    "long field": ("t.csv", lambda s: HEADER + "a," + "C" * (1 << 24) + "C,1,0\n",
                   "line 2: it has 4,194,304 characters or more"),
    "half a character": ("t.csv", lambda s: (HEADER + "a,CCO,1,0\n").encode("utf-16")[:-1],
                         "is not text in utf-16-le throughout"),
    "truncated parquet": ("t.parquet", lambda s: parquet(s)[:-99], "is not a readable Parquet"),
    "short parquet": ("t.parquet", lambda s: b"PAR1", "is not a readable Parquet file"),
    "garbage parquet": ("t.parquet", lambda s: b"PAR1" + GARBAGE + b"PAR1", "not a readable Parq"),
    "truncated parquet.gz": ("t.parquet.gz", lambda s: gzip.compress(parquet(s))[:-99],
                             "the compressed file is damaged or truncated"),
}  # fmt: skip
READERS: dict[str, Callable[[Site, Path, Path], list[object]]] = {
    "train-teacher": lambda site, table, out: site.train(out / "new" / "t", table),
    "prepare-public": lambda site, table, out: site.prepare(out / "new" / "p.parquet", table),
    "predict": lambda site, table, out: site.predict(out / "new" / "p.csv", table),
    "evaluate": lambda site, table, out: site.evaluate(table, "-o", out / "new" / "e.json"),
    "train-hybrid": lambda site, table, out: [
        table if part == site.table("aurora") else part for part in site.blend(out / "new" / "h")
    ],
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_cannot_be_read(site: Site, tmp_path: Path, name: str) -> None:
    file_name, make, message = TABLES[name]
    content = make(site)
    table = tmp_path / file_name
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    for command, arguments in READERS.items():
        if command == "predict" and name == "all bad":
            continue  # every row comes back, each with its reason
        if command in ("evaluate", "train-hybrid") and name not in ("header", "garbage", "all bad"):
            continue  # they read as train-teacher does
        error = unharmed(tmp_path, *arguments(site, table, tmp_path))
        assert error.startswith(f"error: {table}: "), (command, error)
        if name != "header" or command != "predict":
            assert re.search(message, error), (command, error)


@pytest.mark.parametrize("command", READERS)
def test_no_table_at_all(site: Site, tmp_path: Path, command: str) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        error = unharmed(tmp_path, *READERS[command](site, path, tmp_path))
        assert f"error: {path}: no such file" in error


@pytest.mark.long
def test_a_parquet_table_with_one_changed_bit(site: Site, tmp_path: Path) -> None:
    """Page checksums, where a file has them, are looked at; a damaged footer never crashes."""
    content = parquet(site)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    table = tmp_path / "t.parquet"
    chance = random.Random(4)
    pages = [chance.randrange(60, footer) for _ in range(5)]
    refusals = 0
    for place in [*pages, *(chance.randrange(footer, len(content)) for _ in range(10))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << chance.randrange(8)
        table.write_bytes(bytes(flipped))
        outcome = run(*site.predict(tmp_path / "out.csv", table))
        assert outcome.code in (0, 1)
        if outcome.code:
            assert outcome.error.startswith(f"error: {table}: ")
        refusals += outcome.code
        if place in pages:
            assert outcome.code == 1, place
    assert refusals >= len(pages)


LABELS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "no label column": ("id,smiles,x\na,CCO,1\n", (), r"no column for any task \(bbb, logbb\)"),
    "no such column": (HEADER + "a,CCO,1,0\n", ("--label", "bbb=result"),
                       "no label column 'result'; the columns are 'id', 'smiles', 'bbb', 'logbb'"),
    "no such task": (HEADER + "a,CCO,1,0\n", ("--label", "tox=bbb"),
                     "--label tox=bbb: the federation has no task 'tox'"),
    "no labels": (HEADER + "a,CCO,,\nb,CCN,na,\n", (), "no usable label among 2 rows"),
    "labels unknown": (HEADER + "a,CCO,maybe,high\n", (), "no usable label among 1 rows"),
    "no SMILES named so": (HEADER + "a,CCO,1,0\n", ("--smiles-column", "structure"),
                           "no SMILES column 'structure'; the columns are"),
    "no id named so": (HEADER + "a,CCO,1,0\n", ("--id-column", ""), "no id column ''; the colum"),
    "no task column": (HEADER + "a,CCO,1,0\n", ("--task-column", "t", "--value-column", "bbb"),
                       "no task column 't'"),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_are_not_there(site: Site, tmp_path: Path, name: str) -> None:
    text, options, message = LABELS[name]
    table = tmp_path / "t.csv"
    table.write_text(text)
    for command in (site.train(tmp_path / "t", table, *options), site.evaluate(table, *options)):
        assert re.search(message, unharmed(tmp_path, *command))


def test_labels_that_do_not_suffice(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("smiles,bbb\n" + "".join(f"{'C' * n}O,1\n" for n in range(1, 60)))
    error = unharmed(tmp_path, *site.train(tmp_path / "t", table))
    assert f"{table}: no task can be trained (task bbb: one class only (0 + 59 compounds)" in error
    table.write_text(HEADER + "a,CCO,1,0.1\nb,CCN,0,0.2\nc,CCC,1,0.3\n")
    error = unharmed(tmp_path, *site.train(tmp_path / "t", table))
    assert f"{table}: no task can be trained (task bbb: 1 + 2 compounds" in error
    assert "task logbb: 3 labelled compounds, about 20 or more are needed" in error
    censored = "".join(f"{'C' * n}O,>3\n" for n in range(1, 60))
    table.write_text("smiles,logbb\n" + censored)
    # Bounds alone are judged as bounds.
    done(*site.evaluate(table, "-o", tmp_path / "e.json"))
    (model, *_) = json.loads((tmp_path / "e.json").read_text())["tasks"]["logbb"]["models"]
    assert model["metrics"]["rmse"]["value"] is None
    assert model["metrics"]["censored_rmse"]["value"] > 0.0


def test_a_task_column_is_given_once(site: Site, tmp_path: Path) -> None:
    twice = ("--label", "bbb=bbb", "--label", "bbb=logbb")
    assert "the task has column 'bbb' already" in misused(*site.train(tmp_path / "t", None, *twice))
    for wrong in ("bbb", "=bbb", "bbb="):
        said = misused(*site.train(tmp_path / "t", None, "--label", wrong))
        assert f"'{wrong}' is not of the form TASK=COLUMN" in said


# Options


def test_options_out_of_range(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wrong = [
        (site.train(out, None, "--folds", 1), "folds = 1: allowed are 3 to 20"),
        (site.train(out, None, "--repeats", 0), "repeats = 0: allowed are 1 to 20"),
        (site.train(out, None, "--learner", "nonsense"), "learner 'nonsense': allowed are auto,"),
        (site.train(out, None, "--secret", tmp_path / "no"), "no: cannot read the secret"),
        (site.train(out, None, "--secret", site.federation), "holds no secret of hexadecimal"),
        (site.blend(out, "--folds", 99), "folds = 99: allowed are 3 to 20"),
        (site.evaluate(None, "--draws", 5), "draws = 5: at least 100"),
        (site.evaluate(None, "--domain", "nonsense"), "domain 'nonsense': allowed are reliabil"),
        (site.predict(tmp_path / "new" / "o.csv", None, "--domain", "nonsense"), "domain 'nonsens"),
        (site.predict(tmp_path / "new" / "o.txt"), "o.txt: the output must end in .csv or .parqu"),
        (site.predict(tmp_path / "o.csv.gz"), "the output must end in .csv or .parquet"),
    ]
    for arguments, message in wrong:
        assert message in unharmed(tmp_path, *arguments)


def test_usage_that_is_wrong(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments in (
        site.train(out, None, "--jobs", 0),
        site.train(out, None, "--jobs", "many"),
        site.train(out, None, "--seed", -1),
        site.train(out, None, "--seed", 2**31),
        site.evaluate(None, "--draws", "some"),
        site.predict(tmp_path / "a\0b.csv"),
        site.distill(out, []),
        ["predict", site.student],
        ["predict", "--colour"],
        ["foretell"],
    ):
        assert "Error" in misused(*arguments)
    assert snapshot(tmp_path) == {str(tmp_path): "folder"}


# The federation file


BAD_FEDERATIONS: dict[str, tuple[str, str, str]] = {
    "TOML": ("round = 1", "round = = 1", "is not valid TOML .*line 7"),
    "deep": ("round = 1", "x = " + "[" * 9999 + "]" * 9999, "is not valid TOML"),
    "digits": ("round = 1", "round = " + "9" * 5000, "is not valid TOML"),
    "same key": ("round = 1", "round = 1\nround = 1", "is not valid TOML"),
    "schema": ("fluid.federation/1", "fluid.federation/2", "this version reads 'fluid.federation"),
    "unknown": ("round = 1", "round = 1\ncolour = 1", "unknown key 'colour'; allowed are coordi"),
    "unknown step": ("share = []", "share = []\nstep = 1", "policy: unknown key 'step'; allowed"),
    "unknown of task": ('kind = "binary"', 'kind = "binary"\nx = 1', "tasks.bbb: unknown key 'x'"),
    "no name": ('name = "trial"', "", "'name' is missing"),
    "name": ('name = "trial"', 'name = "../x"', "federation name '../x': a letter or digit, then"),
    "name is a number": ('name = "trial"', "name = 3", "name = 3: text is needed"),
    "round as text": ("round = 1", 'round = "1"', "round = '1': a whole number is needed"),
    "round zero": ("round = 1", "round = 0", "round = 0: allowed are 1 to"),
    "round true": ("round = 1", "round = true", "round = True: a whole number is needed"),
    "no chemistry": ("[standardizer]", "[policies]", "unknown key 'policies'"),
    "no tool": ("rdkit = ", "# ", "'standardizer.rdkit' is missing"),
    "task twice": ('name = "logbb"', 'name = "BBB"', "task 'bbb' occurs twice"),
    "task kind": ('"regression"', '"guess"', "kind 'guess' is not one of"),
    "task name": ('name = "bbb"', 'name = "b b"', "task name 'b b': a letter, then letters"),
    "classes": ('["BBB-", "BBB+"]', '["BBB-"]', r"classes must be \[negative, positive\]"),
    "numbers as classes": ('["BBB-", "BBB+"]', "[0, 1]", "tasks.bbb.classes = .*: a list of te"),
    "nameless class": ('["BBB-", "BBB+"]', '["", "x"]', "task 'bbb': a class has no name"),
    "range": ("low = -4.0", "low = 4.5", "low must be a number below high"),
    "huge": ("low = -4.0", "low = -" + "9" * 400, "tasks.logbb.low = -9.*: a finite number"),
    "infinite": ("low = -4.0", "low = -inf", "tasks.logbb.low = -inf: a finite number is needed"),
    "no task name": ("[[tasks]]", "[[tasks]]\nkind = 'x'\n[[tasks]]", "'tasks.name' is m"),
    "step": ("value_step = 0.01", "value_step = 10.0", "."),
    "tiny step": ("value_step = 0.01", "value_step = 1e-320", "value_step = 1e-320: allowed are"),
    "huge step": ("value_step = 0.01", "value_step = " + "9" * 400, "a finite number is needed"),
    "no step": ("probability_step = 0.01", "probability_step = 0", "allowed are 0.0001 to 0.25"),
    "step as text": ("probability_step = 0.01", 'probability_step = "a"', "a finite number is"),
    "share": ("share = []", 'share = ["all"]', "'all' is not one of"),
    "mixed share": ("share = []", 'share = [1, "x"]', r"policy.share = \[1, 'x'\]: a list of text"),
    "nested share": ("share = []", "share = [[1]]", r"policy.share = \[\[1\]\]: a list of text"),
    "share as text": ("share = []", 'share = "all"', "a list of text is needed"),
    "counts": ("counts = true", "counts = 1", "features.counts = 1: true or false is needed"),
    "bits": ("bits = 2048", "bits = 100", "bits = 100: allowed are multiples of 64"),
    "key": ('"ed25519:', '"ed25519:?', "is not a public key; expected 'ed25519:' and base64"),
    "private key": ('"ed25519:', '"-----BEGIN PRIVATE KEY-----', ": a private key is not a public"),
    "key as number": ("public_key = ", "public_key = 3 #", "partners.aurora.public_key = 3: text"),
    "partner": ("[partners.aurora]", '[partners."../aurora"]', "partner name '../aurora': a let"),
    "no table": ("[partners.aurora]", "[partners]\nx = 1\n[partners.y]", "must be a table"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FEDERATIONS)
def test_a_bad_federation_file(site: Site, tmp_path: Path, name: str) -> None:
    old, new, message = BAD_FEDERATIONS[name]
    text = site.federation.read_text()
    assert old in text
    path = tmp_path / "federation.toml"
    path.write_text(text.replace(old, new, 1))
    if name == "step":  # no multiple of 10 but 0 lies in -4 to 4, and that one does
        done("inspect", path)
        path.write_text(path.read_text().replace("low = -4.0", "low = 1.0"))
        message = r"no multiple of value_step = 10 lies within its range 1 to 4"
    error = unharmed(tmp_path, "inspect", path)
    assert error.startswith(f"error: {path}: ")
    assert re.search(message, error), error
    use = site.prepare(tmp_path / "p.parquet")
    use[use.index(site.federation)] = path
    assert unharmed(tmp_path, *use) == error


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", GARBAGE, b"id,smiles\na,CCO\n"])
def test_no_federation_file(site: Site, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "federation.toml"
    path.write_bytes(content)
    for wrong in (path, tmp_path, tmp_path / "none.toml"):
        for arguments in (
            ["register", site.folder / "keys" / "aurora.pub", "-f", wrong],
            ["keygen", "new", "-o", tmp_path / "keys", "-f", wrong],
            site.distill(tmp_path / "r", federation=wrong),
        ):
            assert unharmed(tmp_path, *arguments).startswith(f"error: {wrong}: ")


def test_a_federation_file_with_windows_line_ends_and_mark(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_bytes(site.federation.read_bytes().replace(b"\n", b"\r\n"))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert done("inspect", path, "--json").stdout.replace(str(path), "") == done(
        "inspect", site.federation, "--json"
    ).stdout.replace(str(site.federation), "")


def test_tasks_that_would_be_taken_for_one_another(site: Site, tmp_path: Path) -> None:
    def init(*tasks: str) -> list[object]:
        options = (part for task in tasks for part in ("--task", task))
        return ["init-federation", "--name", "x", *options, "-o", tmp_path / "new" / "f.toml"]

    wrong = {
        ("a-b:binary", "a_b:binary"): "task 'a_b' occurs twice",
        ("a:binary", "A:regression"): "task 'a' occurs twice",
        ("a:regression:nM:5",): "--task a:regression:nM:5: 1 bounds after the unit, low and high",
        ("t:multiclass:low,reason,high",): "give two columns the name 't.reason'; rename",
        ("t:multiclass:a,a.label,b",): "give two columns the name 't.a.label'; rename",
        ("t:multiclass:a,,b",): "task 't': a class has no name",
        ("t:binary:a",): "classes must be [negative, positive]",
        ("t:guess",): "kind 'guess' is not one of",
        (":binary",): "task name ''",
        ("t:regression:nM:5:1",): "low must be a number below high",
        ("t:regression:nM:5",): "The form is name:kind",
        ("t:regression:\x7f",): "is not valid TOML",
        ("t:binary:caf\udce9,x",): "cannot be written as UTF-8",
    }
    for tasks, message in wrong.items():
        assert message in unharmed(tmp_path, *init(*tasks)), tasks
    assert "exists; a federation file is never overwritten" in unharmed(
        tmp_path, *init("t:binary")[:-1], site.federation
    )
    for name in ("../x", "", "a b", "x" * 64):
        command = init("t:binary")
        command[2] = name
        unharmed(tmp_path, *command)


# Keys and names


def test_names_of_partners_are_no_paths(site: Site, tmp_path: Path) -> None:
    for name in ("../x", "", "a b", "a/b", ".", "x" * 64, "ä", "a\n", "a.b", "a\0b"):
        for arguments in (
            ["keygen", name, "-o", tmp_path / "keys"],
            ["keygen", name, "-o", tmp_path / "keys", "-f", site.federation],
            ["register", site.folder / "keys" / "aurora.pub", f"--partner={name}",
             "-f", site.federation],
            site.train(tmp_path / "t", None, f"--partner={name}"),
            site.train(tmp_path / "t", None, f"--partner={name}", "--reference"),
            site.blend(tmp_path / "h", f"--partner={name}"),
        ):  # fmt: skip
            assert "a letter or digit, then letters" in unharmed(tmp_path, *arguments)


def test_an_unknown_partner_cannot_train(site: Site, tmp_path: Path) -> None:
    error = unharmed(tmp_path, *site.train(tmp_path / "t", None, "--partner", "zeta"))
    assert f"{site.federation}: partner 'zeta' is not registered in federation 'trial'" in error
    assert "registered are: aurora, draco, eridanus" in error


def test_a_table_whose_name_is_no_partners(site: Site, tmp_path: Path) -> None:
    table = Path(shutil.copy(site.table("aurora"), tmp_path / "my data (2).csv"))
    error = unharmed(tmp_path, *READERS["train-hybrid"](site, table, tmp_path))
    assert f"{table}: partner name 'my data (2)'" in error
    assert "give a name with --partner" in error
