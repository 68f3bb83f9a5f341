"""Results are kept by what they were made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluid.simulation import cache
from fluid.simulation.cache import ALL_CODE, TEACHER_CODE, Arrays, Cache, code_digest, is_cache
from fluid.simulation.digests import digest_arrays, digest_labels
from fluid.soft_labels.pooled import PooledLabels, PoolingResult
from fluid.soft_labels.teacher_labels import TeacherLabels
from fluid.soft_labels.teacher_sample import TeacherSample


def make() -> Arrays:
    return {"numbers": np.arange(3), "text": np.array(["a", "bc"])}


def refuse() -> Arrays:
    raise AssertionError("made again")


def same(one: Arrays, two: Arrays) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def test_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    first = Cache(folder)
    assert not folder.exists()
    assert same(first.fetch("stage", {"x": 1}, make), make())
    assert (first.made, first.hits) == (1, 0)
    again = Cache(folder)
    assert same(again.fetch("stage", {"x": 1}, refuse), make())
    assert (again.made, again.hits) == (0, 1)
    assert len(list(folder.rglob("*.*"))) == 1


def test_what_is_nothing_is_kept_too(tmp_path: Path) -> None:
    one = Cache(tmp_path)
    assert one.fetch("stage", {}, dict) == {}
    assert one.fetch("stage", {}, refuse) == {}


def test_another_input_stage_or_code_is_another_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Cache(tmp_path)
    one.fetch("stage", {"x": 1}, make)
    one.fetch("stage", {"x": 2}, make)
    one.fetch("other", {"x": 1}, make)
    one.fetch("stage", {"x": 1}, make, TEACHER_CODE)
    assert one.made == 4
    monkeypatch.setattr(cache, "code_digest", lambda places: "another version")
    one.fetch("stage", {"x": 1}, make)
    monkeypatch.setattr(cache, "software_versions", lambda: {"rdkit": "0"})
    one.fetch("stage", {"x": 1}, make)
    assert (one.made, one.hits) == (6, 0)


def test_the_code_of_every_place_is_read() -> None:
    assert code_digest(ALL_CODE) != code_digest(TEACHER_CODE)
    assert code_digest(("simulation/paper.py",)) != code_digest(("simulation/study.py",))
    for place in ALL_CODE:
        assert code_digest((place,)) != code_digest(()), place


@pytest.mark.parametrize("length", [0, 1, 60, 0.5, -1])
def test_a_damaged_file_is_made_again(tmp_path: Path, length: float) -> None:
    one = Cache(tmp_path)
    one.fetch("stage", {}, make)
    path = next(tmp_path.rglob("*.npz"))
    whole = path.read_bytes()
    end = int(length * len(whole)) if length == 0.5 else int(length)
    path.write_bytes(whole[:end])
    assert same(one.fetch("stage", {}, make), make())
    assert one.made == 2
    assert same(one.fetch("stage", {}, refuse), make())


def test_a_changed_byte_is_seen(tmp_path: Path) -> None:
    one = Cache(tmp_path)
    one.fetch("stage", {}, make)
    path = next(tmp_path.rglob("*.npz"))
    whole = bytearray(path.read_bytes())
    for place in range(0, len(whole), 7):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0x10
        path.write_bytes(bytes(spoilt))
        assert same(one.fetch("stage", {}, make), make()), place


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    one = Cache(tmp_path / "cache")
    with pytest.raises(AssertionError):
        one.fetch("stage", {}, refuse)
    assert not any(tmp_path.rglob("*.npz"))


def test_without_a_folder_nothing_is_kept() -> None:
    one = Cache(None)
    one.fetch("stage", {}, make)
    one.fetch("stage", {}, make)
    assert (one.made, one.hits) == (2, 0)


def test_digests_see_shape_type_and_content() -> None:
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.ones(4),
              np.array(["a", "b"], object), np.array(["ab"], object)]  # fmt: skip
    assert len({digest_arrays(one) for one in arrays}) == len(arrays)
    assert digest_arrays(np.zeros((2, 3))[:, ::2]) == digest_arrays(np.zeros((2, 2)))


def test_digests_of_labels_see_every_field() -> None:
    n = 3
    labels = np.arange(2.0 * n).reshape(n, 2)
    teacher = TeacherLabels(labels, labels / 2, np.full(n, 0.3))
    digests = np.arange(n, dtype=np.uint64)
    share, known = np.ones((1, n)), np.ones((1, n), dtype=bool)
    sample = TeacherSample.draw(digests, share, labels[None], known, np.full(n, 0.3))
    other = TeacherSample.draw(digests, share, labels[None] + 1, known, np.full(n, 0.3))
    pooled = PooledLabels(labels, labels / 2, np.full(n, 0.3), np.full(n, 2))
    changes = (
        {"label": labels + 1}, {"disagreement": labels}, {"reliability": np.full(n, 0.4)},
        {"teachers": np.full(n, 1)}, {"weight": np.ones(n)}, {"weight": np.zeros(0)},
        {"slope": 1.5},
    )  # fmt: skip
    results = [PoolingResult(one) for one in (pooled, *(replace(pooled, **c) for c in changes))]
    results += [PoolingResult(pooled, sample), PoolingResult(pooled, other)]
    results += [PoolingResult(pooled, base=labels)]
    found = [{"a": one} for one in results]
    found += [{"b": results[0]}, {"a": results[0], "b": results[0]}, {}, {"a": teacher}]
    assert len({digest_labels(one) for one in found}) == len(found)
    assert digest_labels({"b": results[0], "a": teacher}) == digest_labels(
        {"a": teacher, "b": results[0]}
    )


def test_a_cache_is_recognised(tmp_path: Path) -> None:
    assert not is_cache(tmp_path / "none")
    assert not is_cache(tmp_path)
    Cache(tmp_path / "cache").fetch("stage", {}, make)
    assert is_cache(tmp_path / "cache")
    (tmp_path / "cache" / ".part").touch()
    assert is_cache(tmp_path / "cache")
    (tmp_path / "cache" / "thesis.pdf").touch()
    assert not is_cache(tmp_path / "cache")
