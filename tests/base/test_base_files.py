"""Files and folders appear whole or not at all; digests and canonical JSON are stable."""

import fcntl
import hashlib
import json
import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fluid.base.files
from fluid.base.errors import FileFormatError, FluidError
from fluid.base.files import (
    atomic_file,
    atomic_folder,
    canonical_json,
    check_folder,
    dump_json,
    read_json,
    recover_folder,
    sha256_file,
    sha256_hex,
    write_json,
    write_text,
)

MARKER = "model.json"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def make_folder(path, content):
    with atomic_folder(path, MARKER) as temporary:
        (temporary / MARKER).write_text(content)


def fail_half_way(writing):
    """Write something under the temporary name, then fail."""

    def write_and_fail():
        with writing as temporary:
            (temporary / MARKER if temporary.is_dir() else temporary).write_text("half")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        write_and_fail()


@pytest.fixture
def umask_022():
    former = os.umask(0o022)
    yield
    os.umask(former)


# canonical JSON and digests


def test_canonical_json_is_sorted_compact_and_utf8():
    assert canonical_json({"b": [1, 2.5], "a": {"z": None, "y": True}, "é": "ü"}) == (
        '{"a":{"y":true,"z":null},"b":[1,2.5],"é":"ü"}'.encode()
    )


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON_VALUES), st.randoms())
def test_canonical_json_does_not_depend_on_the_order_of_keys(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(value)


@settings(deadline=None)
@given(JSON_VALUES)
def test_canonical_json_can_be_read_back(value):
    assert json.loads(canonical_json(value)) == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_numbers_that_json_lacks(number):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": number})
    with pytest.raises(ValueError, match="JSON compliant"):
        dump_json([number])


def test_sha256_of_known_text():
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_hex(b"abc") == expected


def test_sha256_of_a_file_longer_than_one_piece_is_that_of_its_bytes(tmp_path):
    data = bytes(range(256)) * 5000 + b"tail"
    (tmp_path / "long").write_bytes(data)
    assert sha256_file(tmp_path / "long") == hashlib.sha256(data).hexdigest()


# single files


def test_a_file_appears_with_its_folder_and_nothing_beside_it(tmp_path):
    target = tmp_path / "new" / "deep" / "file.txt"
    write_text(target, "one\ntwo\n")
    assert target.read_bytes() == b"one\ntwo\n"
    assert listing(target.parent) == ["file.txt"]


def test_an_exception_leaves_no_file_behind(tmp_path):
    fail_half_way(atomic_file(tmp_path / "file"))
    assert listing(tmp_path) == []


def test_an_exception_leaves_the_former_file_as_it_was(tmp_path):
    target = tmp_path / "file"
    write_text(target, "former")
    fail_half_way(atomic_file(target))
    assert target.read_text() == "former"
    assert listing(tmp_path) == ["file"]


def test_the_former_file_is_seen_until_the_block_ends(tmp_path):
    target = tmp_path / "file"
    write_text(target, "former")
    with atomic_file(target) as temporary:
        temporary.write_text("later")
        assert target.read_text() == "former"
    assert target.read_text() == "later"


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    target = tmp_path / "file"
    with atomic_file(target) as first:
        with atomic_file(target) as second:
            assert first != second
            second.write_text("second")
        first.write_text("first")
    assert target.read_text() == "first"
    assert listing(tmp_path) == ["file"]


@pytest.mark.parametrize(("mode", "expected"), [(0o666, 0o644), (0o600, 0o600)])
def test_permissions_follow_the_mode_and_the_umask(tmp_path, umask_022, mode, expected):
    write_text(tmp_path / "file", "x", mode)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == expected


def test_a_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(FluidError, match="is a folder, a file name is needed"):
        write_text(tmp_path, "x")


def test_a_file_cannot_hold_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FluidError, match="cannot make this folder"):
        write_text(tmp_path / "file" / "below", "x")
    assert (tmp_path / "file").read_text() == "x"


def test_json_files_are_sorted_indented_and_read_back(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1], "a": "é"})
    text = '{\n  "a": "é",\n  "b": [\n    1\n  ]\n}\n'
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == text
    assert read_json(tmp_path / "a.json") == {"a": "é", "b": [1]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"{'a': 1}"])
def test_what_is_not_json_is_a_format_error(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.json: is not readable JSON"):
        read_json(tmp_path / "a.json")


def test_missing_json_is_a_format_error(tmp_path):
    with pytest.raises(FileFormatError, match="no such file"):
        read_json(tmp_path / "a.json")
    with pytest.raises(FileFormatError, match="no such file, it is a folder"):
        read_json(tmp_path)


# folders


def test_a_folder_appears_whole_and_with_usual_permissions(tmp_path, umask_022):
    with atomic_folder(tmp_path / "up" / "out", MARKER) as temporary:
        (temporary / "below").mkdir()
        (temporary / "below" / "x").write_text("1")
        assert not (tmp_path / "up" / "out").exists()
    assert (tmp_path / "up" / "out" / "below" / "x").read_text() == "1"
    assert stat.S_IMODE((tmp_path / "up" / "out").stat().st_mode) == 0o755
    assert listing(tmp_path / "up") == ["out"]


def test_an_exception_leaves_no_folder_behind(tmp_path):
    fail_half_way(atomic_folder(tmp_path / "out", MARKER))
    assert listing(tmp_path) == []


def test_an_exception_leaves_the_former_folder_as_it_was(tmp_path):
    make_folder(tmp_path / "out", "former")
    fail_half_way(atomic_folder(tmp_path / "out", MARKER))
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).read_text() == "former"


def test_a_folder_of_ours_is_replaced_with_all_it_holds(tmp_path):
    make_folder(tmp_path / "out", "former")
    (tmp_path / "out" / "old").write_text("x")
    make_folder(tmp_path / "out", "later")
    assert listing(tmp_path) == ["out"]
    assert listing(tmp_path / "out") == [MARKER]
    assert (tmp_path / "out" / MARKER).read_text() == "later"


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    make_folder(tmp_path / "out", "new")
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).read_text() == "new"


def test_a_foreign_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(FluidError, match=r"exists and holds no model\.json"):
        check_folder(tmp_path / "home", MARKER)
    with (
        pytest.raises(FluidError, match=r"exists and holds no model\.json"),
        atomic_folder(tmp_path / "home", MARKER),
    ):
        pytest.fail("the block must not run")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"
    assert listing(tmp_path) == ["home"]


def test_a_folder_named_like_the_marker_does_not_make_it_ours(tmp_path):
    (tmp_path / "home" / MARKER).mkdir(parents=True)
    with pytest.raises(FluidError, match="holds no"):
        check_folder(tmp_path / "home", MARKER)


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(FluidError, match="is a file, a folder name is needed"):
        make_folder(tmp_path / "out", "new")
    assert (tmp_path / "out").read_text() == "x"


def test_a_link_to_a_folder_is_followed_and_stays_a_link(tmp_path):
    make_folder(tmp_path / "real", "1")
    (tmp_path / "link").symlink_to("real")
    for content in ("2", "3"):
        make_folder(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / MARKER).read_text() == content
    assert listing(tmp_path) == ["link", "real"]


def test_the_former_folder_comes_back_after_a_kill_between_the_two_renames(tmp_path):
    # A killed run has moved the former folder away and not yet put the new one in its place.
    make_folder(tmp_path / "out", "former")
    (tmp_path / "out").rename(tmp_path / ".out.previous")
    recover_folder(tmp_path / "out")
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).read_text() == "former"


def test_the_next_run_recovers_the_former_folder_even_if_it_fails(tmp_path):
    make_folder(tmp_path / "out", "former")
    (tmp_path / "out").rename(tmp_path / ".out.previous")
    fail_half_way(atomic_folder(tmp_path / "out", MARKER))
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).read_text() == "former"


def test_recovering_leaves_a_finished_folder_alone(tmp_path):
    make_folder(tmp_path / "out", "later")
    make_folder(tmp_path / "former", "former")
    (tmp_path / "former").rename(tmp_path / ".out.previous")
    recover_folder(tmp_path / "out")
    assert (tmp_path / "out" / MARKER).read_text() == "later"
    make_folder(tmp_path / "out", "latest")
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).read_text() == "latest"


def test_an_interrupt_between_the_two_renames_brings_the_former_folder_back(tmp_path, monkeypatch):
    make_folder(tmp_path / "out", "former")
    rename = Path.replace

    def interrupted(self, target):
        if self.name.endswith(".part"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_folder(tmp_path / "out", "later")
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).read_text() == "former"


@pytest.mark.parametrize("folder", [False, True])
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, folder):
    old, held, young = (tmp_path / f".out.{name * 8}.part" for name in "abc")
    other = tmp_path / ".else.dddddddd.part"
    for path in (old, held, young, other):
        if folder:
            path.mkdir()
            (path / "private.csv").touch()
        else:
            path.touch()
    for path in (old, held, other):
        os.utime(path, (time.time() - 7200,) * 2)
    # A run of now holds what it writes, however long that takes.
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if folder:
        make_folder(tmp_path / "out", "later")
    else:
        write_text(tmp_path / "out", "later")
    assert listing(tmp_path) == [
        ".else.dddddddd.part",
        ".out.bbbbbbbb.part",
        ".out.cccccccc.part",
        "out",
    ]
    os.close(descriptor)
    os.utime(held, (time.time() - 7200,) * 2)
    out = tmp_path / "out"
    fail_half_way(atomic_folder(out, MARKER) if folder else atomic_file(out))
    assert ".out.bbbbbbbb.part" not in listing(tmp_path)


def test_what_is_being_finished_is_held(tmp_path, monkeypatch):
    slow = fluid.base.files.sync

    def another_run(path):
        monkeypatch.setattr(fluid.base.files, "sync", slow)
        for item in tmp_path.iterdir():
            os.utime(item, (time.time() - 7200,) * 2)
        make_folder(tmp_path / "out", "another")
        slow(path)

    monkeypatch.setattr(fluid.base.files, "sync", another_run)
    make_folder(tmp_path / "out", "first")
    assert listing(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).read_text() == "first"


def test_two_runs_at_once_leave_each_other_alone(tmp_path):
    with atomic_file(tmp_path / "out") as first:
        first.write_text("first")
        os.utime(first, (time.time() - 7200,) * 2)
        write_text(tmp_path / "out", "second")
        assert first.exists()
    assert (tmp_path / "out").read_text() == "first"
    assert listing(tmp_path) == ["out"]
