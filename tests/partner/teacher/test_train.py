"""What `train_teacher` takes and refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fluid.base.errors import FluidError
from fluid.base.run import Run
from fluid.exchange.federation import Federation
from fluid.partner.teacher.fit import TrainingOptions
from fluid.partner.teacher.train import train_teacher
from tests.conftest import DATA, cut_table, make_federation


def test_paths_may_be_strings_and_the_federation_an_object(tmp_path: Path) -> None:
    path = make_federation(tmp_path, ("aurora",), ("bbb:binary:BBB-,BBB+",))
    table = cut_table(DATA / "partners" / "aurora.csv", tmp_path / "private.csv", 90)
    options = TrainingOptions("average", folds=3, repeats=1)
    rows: list[int] = []
    (tmp_path / "secret").write_text("5a" * 32)
    for federation, name in ((str(path), "a"), (Federation.load(path), "b")):
        train_teacher(
            [str(table)],
            federation,
            "aurora",
            str(tmp_path / name),
            options=options,
            secret=str(tmp_path / "secret"),
            run=Run(jobs=1, progress=rows.append),
        )
    assert rows[-1] == 90
    for file in ("model.json", "federation.toml", "fold.key"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a" / "federation.toml").read_bytes() == path.read_bytes()


def test_a_federation_that_is_in_no_file_is_refused(tmp_path: Path) -> None:
    federation = Federation.load(make_federation(tmp_path, ("aurora",)))
    with pytest.raises(FluidError, match="'trial' was not read from a file"):
        train_teacher([], replace(federation, source=None), "aurora", tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()
