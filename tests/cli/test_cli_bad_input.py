"""Bad files, bad options, bad places: one clear line, and nothing on the disk has changed."""

from __future__ import annotations

import ctypes
import gzip
import os
import random
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fluid.learn.storage import load_model
from tests.cli.cli_site import Site, done, refused, run, snapshot, spawn

HEADER = "id,smiles,bbb,logbb\n"
GARBAGE = random.Random(3).randbytes(5000)


def misused(*arguments: object) -> str:
    """Run a command whose usage is wrong: exit code 2, and what stderr says."""
    outcome = run(*arguments)
    assert outcome.code == 2, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    return outcome.stderr


def unharmed(folder: Path, *arguments: object) -> str:
    """Run a command that must be refused and must leave a folder as it was."""
    before = snapshot(folder)
    error = refused(*arguments)
    assert snapshot(folder) == before
    return error


# Tables


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
    "twice": ("t.csv", lambda s: "smiles,bbb,SMILES\nCCO,1,CCO\n", "column 'SMILES' occurs twice"),
    "all bad": ("t.csv", lambda s: "id,smiles,bbb\n" + "a,C1CC,1\n" * 30,
                "no usable structure among 30 rows"),
    "ending": ("t.xlsx", lambda s: b"PK\x03\x04", r"unknown kind of table '.xlsx'; allowed are"),
    "no ending": ("table", lambda s: HEADER, "unknown kind of table ''; allowed are"),
    "truncated gzip": ("t.csv.gz", lambda s: gzip.compress(s.table("aurora").read_bytes())[:-50],
                       "the compressed file is damaged or truncated"),
    "garbage gzip": ("t.csv.gz", lambda s: b"\x1f\x8b" + GARBAGE, "is damaged or truncated"),
    "garbage": ("t.csv", lambda s: GARBAGE, "no SMILES column; the columns are '"),
    "long header": ("t.csv", lambda s: ",".join(["z" * 99_999] * 3) + "\n1,2,3\n",
                    r"column 'z{37}\.\.\.' occurs twice in the header"),
    "long field": ("t.csv", lambda s: HEADER + "a," + "C" * (1 << 24) + "C,1,0\n",
                   "is not a readable table"),
    "half a character": ("t.csv", lambda s: (HEADER + "a,CCO,1,0\n").encode("utf-16")[:-1],
                         "is neither UTF-8 nor UTF-16 text"),
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
    error = unharmed(tmp_path, *site.evaluate(table, "-o", tmp_path / "e.json"))
    assert error.startswith(f"error: {table}: none of the models predicts a task that the table ")


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
    "unknown": ("round = 1", "round = 1\ncolour = 1", "unknown key 'colour'; allowed are featur"),
    "unknown step": ("share = []", "share = []\nstep = 1", "policy: unknown key 'step'; allowed"),
    "unknown of task": ('kind = "binary"', 'kind = "binary"\nx = 1', "unknown key 'x'; allowed"),
    "no name": ('name = "trial"', "", "'name' is missing or not text"),
    "name": ('name = "trial"', 'name = "../x"', "federation name '../x': a letter or digit, then"),
    "name is a number": ('name = "trial"', "name = 3", "'name' is missing or not text"),
    "round as text": ("round = 1", 'round = "1"', "'round' is missing or not a whole number"),
    "round zero": ("round = 1", "round = 0", "round = 0: must be 1 or more"),
    "round true": ("round = 1", "round = true", "'round' is missing or not a whole number"),
    "no chemistry": ("[standardizer]", "[policies]", "unknown key 'policies'"),
    "no tool": ("rdkit = ", "# ", "'standardizer.rdkit' is missing or not text"),
    "task twice": ('name = "logbb"', 'name = "BBB"', "task 'bbb' occurs twice"),
    "task kind": ('"regression"', '"guess"', "kind 'guess' is not one of"),
    "task name": ('name = "bbb"', 'name = "b b"', "task name 'b b': a letter, then letters"),
    "classes": ('["BBB-", "BBB+"]', '["BBB-"]', r"classes must be \[negative, positive\]"),
    "numbers as classes": ('["BBB-", "BBB+"]', "[0, 1]", "'classes' must be a list of text"),
    "nameless class": ('["BBB-", "BBB+"]', '["", "x"]', "task 'bbb': a class without a name"),
    "range": ("low = -4.0", "low = 4.5", "low must be a number below high"),
    "huge": ("low = -4.0", "low = -" + "9" * 400, "task 'logbb': 'low' or 'high' is too large"),
    "step": ("value_step = 0.01", "value_step = 10.0", "."),
    "tiny step": ("value_step = 0.01", "value_step = 1e-320", "value_step = 1e-320: allowed are"),
    "huge step": ("value_step = 0.01", "value_step = " + "9" * 400, "a number is needed"),
    "no step": ("probability_step = 0.01", "probability_step = 0", "allowed are 0.0001 to 0.25"),
    "step as text": ("probability_step = 0.01", 'probability_step = "a"', "a number is needed"),
    "share": ("share = []", 'share = ["all"]', "'all' is not one of"),
    "mixed share": ("share = []", 'share = [1, "x"]', "policy share: 1 is not one of"),
    "nested share": ("share = []", "share = [[1]]", r"policy share: \[1\] is not one of"),
    "share as text": ("share = []", 'share = "all"', "a list of text is needed"),
    "counts": ("counts = true", "counts = 1", "features.counts = 1: true or false is needed"),
    "bits": ("bits = 2048", "bits = 100", "bits = 100: allowed are multiples of 64"),
    "key": ('"ed25519:', '"ed25519:?', "is not a public key; expected 'ed25519:' and base64"),
    "private key": ('"ed25519:', '"-----BEGIN PRIVATE KEY-----', ": a private key is not a public"),
    "key as number": ("public_key = ", "public_key = 3 #", "public_key' is missing or not text"),
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
        ("t:multiclass:low,reason,high",): "give two columns the name 't.reason'; rename",
        ("t:multiclass:a,a.label,b",): "give two columns the name 't.a.label'; rename",
        ("t:multiclass:a,,b",): "task 't': a class without a name",
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


def test_keys_are_never_overwritten(site: Site, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    done("keygen", "aurora", "-o", keys)
    assert (keys / "aurora.key").stat().st_mode & 0o077 == 0
    error = unharmed(tmp_path, "keygen", "aurora", "-o", keys)
    assert f"{keys / 'aurora.key'}: exists; a key is never overwritten" in error
    (keys / "aurora.key").unlink()
    assert "aurora.pub: exists" in unharmed(tmp_path, "keygen", "aurora", "-o", keys)
    assert "cannot make this folder" in unharmed(tmp_path, "keygen", "x", "-o", site.federation)


def test_keygen_that_cannot_register_leaves_no_keys(site: Site, tmp_path: Path) -> None:
    federation = Path(shutil.copy(site.federation, tmp_path / "federation.toml"))
    arguments = ("keygen", "aurora", "-o", tmp_path / "new" / "keys", "-f", federation)
    error = unharmed(tmp_path, *arguments)
    assert "partner 'aurora' is registered with another key" in error


def test_register_refuses_what_is_no_public_key(site: Site, tmp_path: Path) -> None:
    federation = Path(shutil.copy(site.federation, tmp_path / "federation.toml"))
    (tmp_path / "bad.pub").write_text("hello\n")
    (tmp_path / "bytes.pub").write_bytes(GARBAGE)
    short = site.key("aurora").with_suffix(".pub").read_text()[:-6]
    (tmp_path / "short.pub").write_text(short)
    (tmp_path / "draco.pub").write_text(site.key("aurora").with_suffix(".pub").read_text())
    for name, message in {
        "bad.pub": "'hello' is not a public key; expected 'ed25519:' and base64",
        "bytes.pub": "is not a public key",
        "short.pub": "is not a public key",
        "none.pub": "cannot be read as a public key (No such file or directory)",
        "draco.pub": "partner 'draco' is registered with another key",
    }.items():
        error = unharmed(tmp_path, "register", tmp_path / name, "-f", federation)
        assert message in error
    # A public key that is there already is no error, and no second entry.
    done("register", site.key("draco").with_suffix(".pub"), "-f", federation)
    assert federation.read_bytes() == site.federation.read_bytes()


def test_a_private_key_is_never_shown(site: Site, tmp_path: Path) -> None:
    secret = site.key("aurora").read_text().splitlines()[1]
    copy = tmp_path / "aurora.pub"
    copy.write_text(site.key("aurora").read_text())
    text = site.federation.read_text()
    public = site.key("aurora").with_suffix(".pub").read_text().strip()
    federation = tmp_path / "f.toml"
    federation.write_text(text.replace(public, site.key("aurora").read_text().replace("\n", " ")))
    for arguments in (
        ["register", site.key("aurora"), "-f", site.federation],
        ["register", copy, "-f", site.federation],
        ["inspect", site.key("aurora")],
        ["inspect", copy],
        ["inspect", federation],
    ):
        error = unharmed(tmp_path, *arguments)
        assert "private key" in error
        assert secret[:20] not in error
        assert secret[-20:] not in error


def test_a_partner_that_cannot_be_added_at_the_end(site: Site, tmp_path: Path) -> None:
    text = site.federation.read_text()
    head, _, tail = text.partition("[partners.aurora]")
    key = tail.split('"')[1]
    path = tmp_path / "federation.toml"
    path.write_text(f'partners = {{ aurora = {{ public_key = "{key}" }} }}\n' + head)
    done("inspect", path)
    error = unharmed(tmp_path, "register", site.key("draco").with_suffix(".pub"), "-f", path)
    assert f"{path}: partner 'draco' cannot be added at the end" in error
    assert "add it by hand" in error


def test_keys_that_cannot_sign(site: Site, tmp_path: Path) -> None:
    loose = Path(shutil.copy(site.key("aurora"), tmp_path / "loose.key"))
    loose.chmod(0o644)
    empty = tmp_path / "empty.key"
    empty.touch(mode=0o600)
    for key, message in {
        loose: "others may read this private key; make it owner-only with chmod 600",
        empty: "holds no private key",
        site.key("draco"): "is not the key that federation 'trial' has registered for partner 'au",
        site.key("aurora").with_suffix(".pub"): "holds no private key",
        tmp_path / "none.key": "cannot read the private key (No such file or directory)",
        tmp_path: "cannot read the private key (Is a directory)",
    }.items():
        error = unharmed(tmp_path, *site.annotate(tmp_path / "a.parquet", "--key", key))
        assert f"{key}: {message}" in error


# Models


def test_a_damaged_model_folder(site: Site, tmp_path: Path) -> None:
    models = {
        "teacher": (site.teacher("aurora"), ("model.json", "arrays.npz", "library.parquet")),
        "student": (site.student, ("arrays.npz", "library.parquet", "trees/*.txt")),
        "hybrid": (site.hybrid("aurora"), ("own/model.json", "student/arrays.npz", "own/arr*")),
    }

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-7])

    for kind, (source, patterns) in models.items():
        for pattern in patterns:
            for harm in (Path.unlink, cut, flip):
                if (pattern, harm) == ("model.json", flip):
                    continue  # a change that leaves it JSON is not told from another model
                copy = tmp_path / kind
                shutil.copytree(source, copy)
                path = next(copy.glob(pattern))
                harm(path)
                error = unharmed(tmp_path, "predict", copy, site.external, "-o", tmp_path / "o.csv")
                assert error.startswith(f"error: {path}: "), (pattern, harm)
                shutil.rmtree(copy)


def test_a_teacher_without_its_secret_or_contract(site: Site, tmp_path: Path) -> None:
    for name in ("fold.key", "federation.toml"):
        copy = tmp_path / name
        shutil.copytree(site.teacher("aurora"), copy)
        for content in (None, b"", b"\xff", b"00"):
            (copy / name).unlink()
            if content is not None:
                (copy / name).write_bytes(content)
            arguments = site.annotate(tmp_path / "a.parquet", teacher=copy)
            assert str(copy / name) in unharmed(tmp_path, *arguments)
            (copy / name).touch()


def test_folders_that_are_no_model_or_another_kind(site: Site, tmp_path: Path) -> None:
    def annotate(folder: Path) -> list[object]:
        return site.annotate(tmp_path / "a.parquet", teacher=folder)

    assert "holds a student, but a teacher is needed" in unharmed(tmp_path, *annotate(site.student))
    error = unharmed(tmp_path, *annotate(site.hybrid("aurora")))
    assert "holds a hybrid, but a teacher is needed" in error
    for folder in (tmp_path / "none", site.federation, site.folder / "keys"):
        for arguments in (annotate(folder), ["predict", folder, site.external, "-o", "x.csv"]):
            assert unharmed(tmp_path, *arguments).startswith(f"error: {folder}")


def test_models_that_cannot_be_compared(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "federation.toml"
    text = site.federation.read_text()
    other.write_text(text.replace("reliability_step = 0.02", "reliability_step = 0.05"))
    train = site.train(tmp_path / "t")
    train[train.index(site.federation)] = other
    done(*train)
    protocol = load_model(site.student).card.protocol[:12]
    error = unharmed(tmp_path, *site.evaluate()[:2], tmp_path / "t", *site.evaluate()[2:])
    assert f"{tmp_path / 't'}: was made under protocol" in error
    assert f"{site.student} under {protocol}; they cannot be compared" in error
    again = site.student / ".." / "student"
    error = unharmed(tmp_path, *site.evaluate()[:2], again, *site.evaluate()[2:])
    assert "the same model folder was given twice" in error
    assert str(site.student) in error
    # Nor does such a teacher fit the public set, or the other federation file the first teacher.
    error = unharmed(tmp_path, *site.annotate(tmp_path / "a", teacher=tmp_path / "t"))
    assert "was prepared for protocol" in error
    error = unharmed(tmp_path, *site.annotate(tmp_path / "a", "--federation", other))
    assert "was trained for protocol" in error
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--federation", other))
    assert "was made under protocol" in error


def test_a_hybrid_needs_the_student_of_its_round(site: Site, tmp_path: Path) -> None:
    done(*site.distill(tmp_path / "other", site.annotations[:2]))
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--student", tmp_path / "other/student"))
    assert f"{tmp_path / 'other' / 'student'}: was distilled from the federated set" in error
    set_of_other = tmp_path / "other" / "federated.parquet"
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--federated", set_of_other))
    assert f"{site.student}: was distilled from the federated set" in error
    later = tmp_path / "federation.toml"
    later.write_text(site.federation.read_text().replace("round = 1", "round = 2"))
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--federation", later))
    assert f"{site.federated}: round is '1', but '2' is expected" in error
    for wrong, message in {
        site.public: "is a 'fluid.public/1' file, but a 'fluid.federated/1' file is needed",
        site.annotation("aurora"): "is a 'fluid.annotation/1' file",
        site.student / "library.parquet": "carries no seal; it was not written by fluid",
        site.table("aurora"): "is not a Parquet file",
        site.folder: "no such file",
    }.items():
        error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--federated", wrong))
        assert f"{wrong}: {message}" in error
    error = unharmed(tmp_path, *site.blend(tmp_path / "h", "--student", site.teacher("draco")))
    assert "holds a teacher, but a student is needed" in error


# Where results go


def folder_writers(site: Site, output: Path) -> list[list[object]]:
    return [site.train(output), site.blend(output), site.distill(output)]


def file_writers(site: Site, output: Path) -> list[list[object]]:
    return [
        site.prepare(output), site.annotate(output), site.predict(output),
        site.evaluate(None, "-o", output),
    ]  # fmt: skip


def test_somebody_elses_folder_is_never_replaced(site: Site, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for arguments in folder_writers(site, mine):
        assert f"{mine}: exists and holds no" in unharmed(tmp_path, *arguments)
    (mine / "model.json").write_text("{}")
    (mine / "report.json").write_text("{}")
    for arguments in folder_writers(site, mine):
        error = unharmed(tmp_path, *arguments)
        assert f"{mine}: holds '" in error
        assert "which this command did not write; move it away" in error


def test_one_kind_of_model_does_not_replace_another(site: Site, tmp_path: Path) -> None:
    for source in (site.student, site.teacher("aurora"), site.hybrid("aurora")):
        shutil.copytree(source, tmp_path / source.name)
        kind = load_model(source).card.kind
        for arguments in folder_writers(site, tmp_path / source.name):
            if arguments[0] != f"train-{kind}":
                error = unharmed(tmp_path, *arguments)
                assert f"holds a {kind}, which is not replaced; name a new folder" in error


def test_a_file_where_a_folder_is_needed_and_the_other_way_round(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "file.parquet"
    file.write_text("mine")
    for arguments in [*folder_writers(site, file), *folder_writers(site, file / "below")]:
        error = unharmed(tmp_path, *arguments)
        assert str(file) in error
        assert "a folder" in error
    for name in ("folder.csv", "folder.parquet"):
        (tmp_path / name).mkdir()
    for output in (tmp_path / "folder.csv", tmp_path / "folder.parquet", file / "below.csv"):
        for arguments in file_writers(site, output):
            assert "folder" in unharmed(tmp_path, *arguments)


def test_somebody_elses_file_is_never_replaced(site: Site, tmp_path: Path) -> None:
    for name in ("mine.csv", "mine.parquet"):
        path = tmp_path / name
        path.write_text("smiles,bbb\nCCO,1\n")
        for arguments in file_writers(site, path):
            error = unharmed(tmp_path, *arguments)
            assert f"{path}: exists and is no " in error
    # One kind of result is not replaced by another either.
    for source in (site.public, site.annotation("aurora"), site.federated):
        path = Path(shutil.copy(source, tmp_path / "kept.parquet"))
        kinds = {site.public: "prepare-public", site.annotation("aurora"): "annotate"}
        for arguments in file_writers(site, path):
            if arguments[0] != kinds.get(source):
                assert "exists and is no " in unharmed(tmp_path, *arguments)


def test_what_a_command_wrote_it_may_write_again(site: Site, tmp_path: Path) -> None:
    for suffix in (".csv", ".parquet"):
        for _ in range(2):
            done(*site.predict(tmp_path / f"p{suffix}"))
    for _ in range(2):
        done(*site.prepare(tmp_path / "public.parquet"))
        done(*site.annotate(tmp_path / "annotation.parquet"))
        done(*site.evaluate(None, "-o", tmp_path / "e.json"))
        done(*site.train(tmp_path / "teacher"))
        done(*site.blend(tmp_path / "hybrid"))
        done(*site.distill(tmp_path / "round", site.annotations[:2]))
    (tmp_path / "empty.csv").touch()
    done(*site.predict(tmp_path / "empty.csv"))


def test_an_input_is_never_an_output(site: Site, tmp_path: Path) -> None:
    home = tmp_path / "site"
    shutil.copytree(site.folder, home)
    copy = Site(home)
    for arguments in (
        copy.predict(copy.external),
        copy.evaluate(copy.external, "-o", copy.external),
        copy.prepare(copy.public_table),
        copy.prepare(copy.federation),
        copy.annotate(copy.public),
        copy.annotate(copy.key("aurora")),
        copy.train(copy.table("aurora")),
        copy.train(home),
        copy.blend(copy.student),
        copy.blend(home / "round1"),
        copy.distill(home / "aurora"),
        copy.distill(home / "draco" / ".." / "aurora"),
    ):
        assert "an input of this command; name another output" in unharmed(tmp_path, *arguments)


def test_a_list_of_rejects_does_not_replace_a_table(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("smiles,bbb\nC1C,1\n" + "".join(f"{'C' * n}O,{n % 2}\n" for n in range(1, 40)))
    mine = tmp_path / "out.rejects.csv"
    mine.write_text("smiles,why I reject it\nCCO,smell\n")
    for arguments in (
        site.prepare(tmp_path / "out.parquet", table),
        site.evaluate(table, "-o", tmp_path / "out.json"),
    ):
        assert f"{mine}: exists and is no table of rejects" in unharmed(tmp_path, *arguments)


def test_devices_and_pipes_are_no_outputs(site: Site, tmp_path: Path) -> None:
    pipe, listener = tmp_path / "pipe.csv", tmp_path / "socket.csv"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listener))
        for path in (pipe, listener):
            for arguments in file_writers(site, path):
                error = refused(*arguments)
                assert f"{path}: is a device or pipe, a file name is needed" in error
        assert pipe.is_fifo()
        assert listener.is_socket()


def obey_permissions() -> None:
    """Let root obey permissions in the process to come, as everybody else does."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None)
        for override in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert libc.prctl(24, override, 0, 0, 0) == 0  # PR_CAPBSET_DROP


def test_a_folder_without_permission(site: Site, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for arguments in (
        site.predict(locked / "p.csv"),
        site.train(locked / "new" / "t"),
        site.distill(locked / "round"),
        ["keygen", "new", "-o", locked / "keys"],
        ["init-federation", "--name", "x", "--task", "t:binary", "-o", locked / "f.toml"],
    ):
        ended = spawn(*arguments, preexec_fn=obey_permissions)
        assert ended.code == 1, ended
        assert str(locked) in ended.error
        assert "ermission denied" in ended.error
    assert list(locked.iterdir()) == []


def test_long_names(site: Site, tmp_path: Path) -> None:
    for arguments in (
        site.predict(tmp_path / ("x" * 250 + ".csv")),
        site.predict(tmp_path / ("x" * 300 + ".csv")),
        site.train(tmp_path / ("x" * 300)),
        site.prepare(tmp_path / ("x" * 300)),
    ):
        assert "File name too long" in unharmed(tmp_path, *arguments)
