"""Same seed, same inputs, same secret: the same bytes, on one thread and on two."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fluid.base.run import Run
from fluid.central.distill import distill
from fluid.partner.annotate import annotate
from fluid.partner.teacher.train import train_teacher
from tests.conftest import OPTIONS, PARTNERS, Consortium


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_teacher_and_annotation_repeat_on_one_and_two_threads(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = consortium.folder / "aurora"
    for jobs in (1, 2):
        # What is noted of the key is of another folder with the same secret.
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / f"state{jobs}"))
        teacher = tmp_path / str(jobs) / "teacher"
        train_teacher(
            [home / "private.csv"],
            consortium.federation_path,
            "aurora",
            teacher,
            options=OPTIONS,
            secret=home / "secret",
            run=Run(jobs=jobs),
        )
        asked = _bytes(home / "teacher")
        # It holds the time of each query.
        del asked["ledger.jsonl"]
        assert _bytes(teacher) == asked
        target = tmp_path / f"{jobs}.parquet"
        key = tmp_path / str(jobs) / "aurora.key"
        shutil.copy2(consortium.folder / "keys" / "aurora.key", key)
        annotate(teacher, consortium.public, target, key=key, run=Run(jobs=jobs))
        assert target.read_bytes() == consortium.annotation("aurora").read_bytes()


def test_round_repeats_on_one_and_two_threads_and_in_any_order(
    consortium: Consortium, tmp_path: Path
) -> None:
    for jobs, partners in ((1, PARTNERS), (2, PARTNERS[::-1])):
        target = tmp_path / str(jobs)
        paths = [consortium.annotation(partner) for partner in partners]
        distill(paths, consortium.public, consortium.federation, target, run=Run(jobs=jobs))
        assert _bytes(target) == _bytes(consortium.folder / "round1")
