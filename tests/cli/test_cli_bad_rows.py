"""A table of ugly rows through every command that reads one: each row is used or listed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fluid.base.show import csv_cell
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.learn.storage import load_model
from tests.cli.cli_site import Site, done, read_rows, refused

HEADER = b"id,smiles,bbb,logbb,logbb_unit,note"
# As long as a name is kept; what follows is cut.
LONG_ID = "L" * 1000


@dataclass(frozen=True)
class Case:
    """One record of the table and what must become of it.

    ``problem`` is why its structure cannot be used; ``bad`` are its unreadable labels by column;
    ``smiles`` is what must be among the compounds of a model trained on it.
    """

    raw: bytes
    id: str
    problem: str = ""
    bad: dict[str, str] = field(default_factory=dict)
    smiles: str = ""


def case(raw: str | bytes, problem: str = "", smiles: str = "", **bad: str) -> Case:
    line = raw.encode() if isinstance(raw, str) else raw
    name = line.split(b",")[0].decode("utf-8", "backslashreplace")
    return Case(line, name, problem, bad, smiles)


TIE = "2 measurements of this compound .* disagree without majority"
CASES = (
    case("empty,,1,0.5,,", "empty structure"),
    case("blanks,   ,1,0.5,,", "empty structure"),
    case("broken,C1CC(,1,,,", "SMILES cannot be parsed"),
    case("five bonds,CC(C)(C)(C)C,1,,,", "valence for atom # 1 C, 5, is greater than permitted"),
    case("salt,[O-]C(=O)CCCCc1ccccc1.[Na+],1,,,", smiles="OC(=O)CCCCc1ccccc1"),
    case("drawn sodium,O=C(O[Na])CCCCCc1ccccc1,1,,,", smiles="OC(=O)CCCCCc1ccccc1"),
    case("mixture,NCCc1ccccc1.OCCc1cccnc1,1,,,", "mixture of 2 different components"),
    case("platinum,[NH3][Pt]([NH3])(Cl)Cl,1,,,", "Pt|no carbon"),
    case("mercury,CC[Hg]Cl,1,,,", "holds Hg, which is not an organic element"),
    case("radical,C[CH]CCC,1,,,", "is a radical"),
    case("dummy,*CCCCc1ccccc1,1,,,", "dummy atom or R-group"),
    case("numbered dummy,[1*]CCc1ccccc1,1,,,", "dummy atom or R-group"),
    case("R-group,[R1]CCc1ccccc1,1,,,", "SMILES cannot be parsed"),
    case("isotope,C=CCCCN(C)C(=O)NCc1ccc(-n2cnc[CH399]n2)cc1,1,,,", "[Vv]alence|cannot be"),
    case(f"giant,{'C' * 3000},1,,,", "3000 heavy atoms, at most 150 are allowed"),
    case(f"long,{'y' * 200_000},1,,,", "SMILES of 200000 characters, at most 3000 are allowed"),
    case(f"long note,CCCCCCCCCCCCO,1,,,{'y' * 200_000}", smiles="CCCCCCCCCCCCO"),
    case(f"long label,CCCCCCCCCCCCCO,{'y' * 200_000},,,", bbb="is not a class of this task"),
    case("tie 1,OC(=O)CCCCCCCCCC,1,,,", bbb=TIE),
    case("tie 2,OC(=O)CCCCCCCCCC,0,,,", bbb=TIE),
    case("R isomer,C[C@H](N)CCCCCl,1,,,", smiles="CC(N)CCCCCl"),
    case("S isomer,C[C@@H](N)CCCCCl,0,,,"),
    case("no isomer,CC(N)CCCCCl,1,,,"),
    case("one,CCCCCCCCOC,,-0.4,,", smiles="CCCCCCCCOC"),
    case("one again,CCCCCCCCOC,,0.2,,"),
    case("wrong unit,CCCCCCCCOCC,,0.5,nM,", logbb=r"unit 'nM', but .* 'log10\(brain/blood\)'"),
    case("right unit,CCCCCCCCOCCC,,0.5,LOG10(Brain/Blood),", smiles="CCCCCCCCOCCC"),
    case("far,CCCCCCCCCOC,,7.5,,", logbb=r"7.5 is outside the task's range -4 to 4 .*another unit"),
    case("class name,CCCCCCCCCCN,BBB+,,,", smiles="CCCCCCCCCCN"),
    case("active,CCCCCCCCCCCN,active,,,", smiles="CCCCCCCCCCCN"),
    case("yes,CCCCCCCCCCCCN,yes,,,", smiles="CCCCCCCCCCCCN"),
    case("inactive,CCCCCCCCCCCCCN,Inactive,,,", smiles="CCCCCCCCCCCCCN"),
    case("maybe,CCCCCCCCCCCCCCN,maybe,,,", bbb="'maybe' is not a class .* BBB. or BBB"),
    case('comma,CCCCCCCCCS,,"0,5",,', logbb="'0,5' is not a number; the column's decimal mark is"),
    case("infinite,CCCCCCCCCCS,,inf,,", logbb="'inf' is not a finite number"),
    case("overflow,CCCCCCCCCCCS,,-1e400,,", logbb="'-1e400' is too large for a number"),
    case("no number,CCCCCCCCCCCCS,1,nan,,", smiles="CCCCCCCCCCCCS"),
    case("above,CCCCCCCCSC,,>3.2,,", smiles="CCCCCCCCSC"),
    case("below,CCCCCCCCCSC,,<=1,,", smiles="CCCCCCCCCSC"),
    case("other sign,CCCCCCCCCCSC,,=>1,,", smiles="CCCCCCCCCCSC"),
    case(b"bytes in note,CCCCCCCCCCCO,1,,,\xff\xfe", smiles="CCCCCCCCCCCO"),
    case(b"bytes in SMILES,CCCC\xffCCO,1,,,", "bytes that are not UTF-8"),
    case(b"bytes in name \xe9,CCCCCCCCC(C)CO,1,,,", smiles="CCCCCCCCC(C)CO"),
    case(b"bytes in label,CCCCCCCCCC(C)CO,\xb11,,,", bbb=r"'\\xb11' is not a class"),
    case('broken line,"CCCCCCC\nCO",1,,,', "structure holds a line break"),
    case('lines,CCCCCCC(C)(C)CO,1,,,"two\r\nlines, ""quoted""\n"', smiles="CCCCCCC(C)(C)CO"),
    case("few fields,CCCCCCC(C)(CC)CO", "row has 2 fields, the header has 6"),
    case("fewer labels,CCCCCCC(C)(CCC)CO,1", "row has 3 fields, the header has 6"),
    case("many fields,CCCCCCC(CC)(CC)CO,1,,,,x", "row has 7 fields, the header has 6"),
    case("=1+1,CCCCCCC(CC)(CCC)CO,1,,,", smiles="CCCCCCC(CC)(CCC)CO"),
    case("@SUM(A1:A9),C1CC,1,,,", "SMILES cannot be parsed"),
    Case(b"e\x1b[31mvil\x07,CCCCCCC(CCC)(CCC)CO,1,,,", "e [31mvil", smiles="CCCCCCC(CCC)(CCC)CO"),
    Case(b"n\x00ul,CCCCCCC(CCC)(CCCC)\x00CO,1,,,", "nul", smiles="CCCCCCC(CCC)(CCCC)CO"),
    case(f"{LONG_ID},CCCCCCC(CCCC)(CCCC)CO,1,,,", smiles="CCCCCCC(CCCC)(CCCC)CO"),
    case(f"{LONG_ID},C1CC,1,,,", "SMILES cannot be parsed"),
)
# Labels that the usable rows above add, by hand: ties give none, bounds count.
NEGATIVE, POSITIVE, NUMBERS = 1, 15, 5


@dataclass(frozen=True)
class Ugly:
    """The table, where each case starts, and what the base rows alone lead to."""

    path: Path
    lines: list[int]
    base_rows: int
    base_rejects: list[dict[str, str]]


@pytest.fixture(scope="module")
def ugly(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Ugly:
    """The cases, blank lines between them, and aurora's rows below."""
    parts, lines, line = [HEADER, b"", b"  \t"], [], 4
    for each in CASES:
        lines.append(line)
        parts.append(each.raw)
        line += each.raw.count(b"\n") + 1
    base = [row.split(b",") for row in site.table("aurora").read_bytes().splitlines()[1:]]
    parts += [b",".join([*(row + [b""] * 4)[:4], b"", b""]) for row in base]
    path = tmp_path_factory.mktemp("ugly") / "ugly.csv"
    path.write_bytes(b"\n".join(parts) + b"\n")
    rejects = read_rows(site.teacher("aurora") / "rejects.csv")
    shifted = [item | {"line": str(int(item["line"]) + line - 2)} for item in rejects]
    return Ugly(path, lines, len(base), shifted)


def expected(ugly: Ugly, labels: bool) -> Counter[tuple[int, str, str]]:
    """Line, name and column of everything that must be listed."""
    found = Counter(
        (line, csv_cell(each.id), column)
        for each, line in zip(CASES, ugly.lines, strict=True)
        for column in (["smiles"] if each.problem else list(each.bad) if labels else [])
    )
    for item in ugly.base_rejects:
        if labels or item["column"] == "smiles":
            found[int(item["line"]), item["id"], item["column"]] += 1
    return found


def check_rejects(path: Path, ugly: Ugly, labels: bool) -> None:
    listed = read_rows(path)
    assert list(listed[0]) == ["file", "line", "id", "column", "value", "reason"]
    assert {item["file"] for item in listed} == {"ugly.csv"}
    found = Counter((int(item["line"]), item["id"], item["column"]) for item in listed)
    assert found == expected(ugly, labels)
    by_line = {(int(item["line"]), item["column"]): item for item in listed}
    for each, line in zip(CASES, ugly.lines, strict=True):
        wanted = {"smiles": each.problem} if each.problem else each.bad if labels else {}
        for column, reason in wanted.items():
            item = by_line[line, column]
            assert re.search(reason, item["reason"]), (each.id, item["reason"])
    for item in listed:
        assert len(item["value"]) <= 200
        assert 0 < len(item["reason"]) <= 450
        assert "".join(item.values()).isprintable()


def connectivity(smiles: str) -> str:
    return standardize(smiles, StandardizerSpec()).inchikey[:14]


@pytest.fixture(scope="module")
def trained(site: Site, ugly: Ugly) -> tuple[Path, dict[str, Any]]:
    folder = ugly.path.parent / "teacher"
    outcome = done(*site.train(folder, ugly.path, "--json"))
    return folder, json.loads(outcome.stdout)


def test_train_teacher_lists_each_bad_row_and_label(
    ugly: Ugly, trained: tuple[Path, dict[str, Any]]
) -> None:
    folder, summary = trained
    check_rejects(folder / "rejects.csv", ugly, labels=True)
    assert summary["rows"] == len(CASES) + ugly.base_rows
    assert summary["rejected"] == len(read_rows(folder / "rejects.csv"))


def test_train_teacher_uses_each_good_row(site: Site, trained: tuple[Path, dict[str, Any]]) -> None:
    folder, summary = trained
    before = load_model(site.teacher("aurora"))
    known = {key[:14] for key in before.library.inchikeys}  # type: ignore[attr-defined]
    found = {key[:14] for key in load_model(folder).library.inchikeys}  # type: ignore[attr-defined]
    wanted = {connectivity(each.smiles) for each in CASES if each.smiles}
    assert not wanted & known, "a case must be told from the base rows"
    # The three isomers, the repeated measurement and the tie are one compound each; the tie has a
    # place in the library though it has no label.
    assert found == known | wanted | {connectivity("OC(=O)CCCCCCCCCC")}
    was, now = before.card.training["labels"], summary["training"]["labels"]
    assert now["bbb"]["BBB-"] - was["bbb"]["BBB-"] == NEGATIVE
    assert now["bbb"]["BBB+"] - was["bbb"]["BBB+"] == POSITIVE
    assert now["logbb"]["compounds"] - was["logbb"]["compounds"] == NUMBERS


def test_prepare_public_lists_each_bad_structure_and_keeps_the_others(
    site: Site, ugly: Ugly
) -> None:
    output = ugly.path.parent / "public.parquet"
    summary = json.loads(done(*site.prepare(output, ugly.path, "--json")).stdout)
    check_rejects(output.with_name("public.rejects.csv"), ugly, labels=False)
    assert summary["rejects"] == str(output.with_name("public.rejects.csv"))
    rows = len(CASES) + ugly.base_rows
    assert summary["compounds"] + summary["duplicates"] + summary["rejected"] == rows
    kept = pq.read_table(output)
    assert {connectivity(each.smiles) for each in CASES if each.smiles} <= {
        key[:14] for key in kept["inchikey"].to_pylist()
    }
    assert "=1+1" in kept["id"].to_pylist()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predict_gives_every_row_back_in_its_place(site: Site, ugly: Ugly, suffix: str) -> None:
    output = ugly.path.parent / f"predictions{suffix}"
    summary = json.loads(done(*site.predict(output, ugly.path, "--json")).stdout)
    if suffix == ".csv":
        rows = read_rows(output)
    else:
        frame = pd.read_parquet(output).astype(object)
        rows = frame.where(frame.notna(), "").astype(str).to_dict("records")
    assert len(rows) == summary["rows"] == len(CASES) + ugly.base_rows
    assert [int(row["line"]) for row in rows[: len(CASES)]] == ugly.lines
    ids = [csv_cell(each.id) if suffix == ".csv" else each.id for each in CASES]
    assert [row["id"] for row in rows[: len(CASES)]] == ids
    for row, each in zip(rows, CASES, strict=False):
        assert bool(row["bbb"]) == bool(row["inchikey"]) == (not each.problem), each.id
        assert re.search(each.problem, row["problem"])
        assert bool(row["problem"]) == bool(each.problem)
        if each.smiles:
            assert row["inchikey"][:14] == connectivity(each.smiles)
            assert 0.0 <= float(row["bbb"]) <= 1.0
    assert sum(bool(row["problem"]) for row in rows) == summary["rejected"]


def test_evaluate_lists_what_it_leaves_out(
    site: Site, ugly: Ugly, trained: tuple[Path, dict[str, Any]]
) -> None:
    output = ugly.path.parent / "evaluation.json"
    outcome = done(*site.evaluate(ugly.path, "-o", output))
    check_rejects(output.with_name("evaluation.rejects.csv"), ugly, labels=True)
    result = json.loads(output.read_text())
    assert result["rejected"] == trained[1]["rejected"]
    assert result["compounds"] == trained[1]["compounds"]
    for task, counts in trained[1]["training"]["labels"].items():
        assert result["tasks"][task]["compounds"] == counts["compounds"]
    assert f"{result['rejected']} rows or labels rejected" in outcome.stderr
    # The next evaluation has nothing to list, and no list of the last one stays.
    clean = ugly.path.parent / "clean.csv"
    clean.write_text("smiles,bbb\n" + "".join(f"{'C' * n}O,{n % 2}\n" for n in range(1, 30)))
    done(*site.evaluate(clean, "-o", output))
    assert not output.with_name("evaluation.rejects.csv").exists()


# How a table may be written


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "UTF-8 mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 big-endian": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "UTF-16 CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "no last line end": lambda text: text.rstrip("\n").encode(),
}


@pytest.fixture(scope="module")
def plain(site: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, str]]]:
    """A small table and its predictions."""
    folder = tmp_path_factory.mktemp("plain")
    text = site.external.read_text().replace("EXT-00003", "Größe 3")
    text = text.replace("\n", "\nbad,C1C,1,\n", 1)
    (folder / "plain.csv").write_text(text, encoding="utf-8")
    done(*site.predict(folder / "out.csv", folder / "plain.csv"))
    rows = read_rows(folder / "out.csv")
    assert (rows[0]["line"], rows[0]["problem"]) == ("2", "SMILES cannot be parsed")
    # The other is a broken structure of the table, a mixture with cyanamide.
    assert sum(bool(row["bbb"]) for row in rows) == len(rows) - 2
    return text, rows


@pytest.mark.parametrize("name", ENCODINGS)
def test_line_ends_and_encodings_change_nothing(
    site: Site, tmp_path: Path, plain: tuple[str, list[dict[str, str]]], name: str
) -> None:
    text, rows = plain
    (tmp_path / "t.csv").write_bytes(ENCODINGS[name](text))
    done(*site.predict(tmp_path / "out.csv", tmp_path / "t.csv"))
    assert read_rows(tmp_path / "out.csv") == rows


@pytest.mark.parametrize(
    "row", ['x,"CCO,1,\n', 'x,"CCO,1,\ny,CCC,0,\nz,"CCN",1,\n', '"x,CCO,1,\ny,"CCN",1,\n']
)
def test_a_stray_quote_never_swallows_rows(site: Site, tmp_path: Path, row: str) -> None:
    table = tmp_path / "t.csv"
    header, rest = site.external.read_text().split("\n", 1)
    table.write_text(f"{header}\nfirst,CCCO,1,\n{row}{rest}")
    error = refused(*site.predict(tmp_path / "out.csv", table))
    assert f"{table}: line 3: a quote is opened and never closed" in error
    assert not (tmp_path / "out.csv").exists()


def test_parquet_values_that_python_cannot_hold_spoil_their_row_only(
    site: Site, tmp_path: Path
) -> None:
    offsets = pa.py_buffer(pa.array([0, 3, 6, 9], pa.int32()).buffers()[1])
    smiles = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"CCOC\xffNCCN"))
    days = pa.array([0, 10**18, 1], pa.int64()).cast(pa.timestamp("us"))
    table = pa.table({"id": ["a", "b", "c"], "smiles": smiles, "day": days})
    pq.write_table(table, tmp_path / "t.parquet")
    done(*site.predict(tmp_path / "out.csv", tmp_path / "t.parquet"))
    rows = read_rows(tmp_path / "out.csv")
    assert [(row["line"], row["id"], row["smiles"]) for row in rows] == [
        ("1", "a", "CCO"), ("2", "b", "C\\xffN"), ("3", "c", "CCN"),
    ]  # fmt: skip
    assert [row["problem"] for row in rows] == ["", "structure holds bytes that are not UTF-8", ""]


def test_a_file_name_that_is_not_utf8_can_be_listed(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "caf\udce9.csv"
    table.write_bytes(b"smiles\nCCO\nC1CC\n")
    done(*site.prepare(tmp_path / "public.parquet", table, "--json"))
    assert read_rows(tmp_path / "public.rejects.csv")[0]["file"] == "caf\\xe9.csv"
    missing = refused(*site.prepare(tmp_path / "p2.parquet", tmp_path / "no\udce9.csv"))
    assert "no\\xe9.csv: no such file" in missing
