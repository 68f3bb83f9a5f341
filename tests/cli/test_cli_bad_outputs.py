"""Places where an output cannot or must not be written: nothing of anybody is lost."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import socket
from pathlib import Path

import pyarrow as pa

from fluid.exchange.public_set import open_public_set
from fluid.exchange.sealed import write_sealed
from fluid.learn.storage import load_model
from tests.cli.cli_site import Site, done, refused, spawn
from tests.cli.refusals import unharmed

HEADER = "id,smiles,bbb,logbb\n"
GARBAGE = random.Random(3).randbytes(5000)


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
            assert f"{path}: exists and is not a" in error
    # One kind of result is not replaced by another either.
    for source in (site.public, site.annotation("aurora"), site.federated):
        path = Path(shutil.copy(source, tmp_path / "kept.parquet"))
        kinds = {site.public: "prepare-public", site.annotation("aurora"): "annotate"}
        for arguments in file_writers(site, path):
            if arguments[0] != kinds.get(source):
                assert "exists and is not a" in unharmed(tmp_path, *arguments)


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


def test_an_output_is_not_put_into_an_input(site: Site, tmp_path: Path) -> None:
    teacher = Path(shutil.copytree(site.teacher("aurora"), tmp_path / "teacher"))
    inside = teacher / "new" / "a.parquet"
    error = unharmed(tmp_path, *site.annotate(inside, teacher=teacher))
    assert f"{inside}: is in {teacher}, an input of this command" in error


def test_a_list_of_rejects_does_not_replace_a_table(site: Site, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("smiles,bbb\nC1C,1\n" + "".join(f"{'C' * n}O,{n % 2}\n" for n in range(1, 40)))
    mine = tmp_path / "out.rejects.csv"
    mine.write_text("smiles,why I reject it\nCCO,smell\n")
    for arguments in (
        site.prepare(tmp_path / "out.parquet", table),
        site.evaluate(table, "-o", tmp_path / "out.json"),
    ):
        assert f"{mine}: exists and is not a table of rejects" in unharmed(tmp_path, *arguments)


def test_devices_and_pipes_are_no_outputs(site: Site, tmp_path: Path) -> None:
    pipe, listener = tmp_path / "pipe.csv", tmp_path / "socket.csv"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listener))
        for path in (pipe, listener):
            for arguments in file_writers(site, path):
                error = refused(*arguments)
                assert f"{path}: is a device or pipe; name a file" in error
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


def test_a_file_of_an_older_version_may_be_made_again(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "public.parquet"
    old = {"schema": "fluid.public/0"}
    write_sealed(path, pa.schema([("id", pa.string())]), iter([]), lambda count: old)
    done(*site.prepare(path))
    assert open_public_set(path).digest == open_public_set(site.public).digest
