"""A federation file that allows more than before says so when it is met."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fluid.base.errors import MismatchError
from fluid.base.run import Run
from fluid.partner.annotate import annotate
from fluid.partner.teacher.train import train_teacher
from tests.conftest import OPTIONS, Consortium


def changed(consortium: Consortium, path: Path, step: str) -> Path:
    text = consortium.federation_path.read_text(encoding="utf-8")
    assert "reliability_step = 0.02" in text
    path.write_text(text.replace("reliability_step = 0.02", f"reliability_step = {step}"))
    return path


@pytest.mark.parametrize(("step", "is_looser"), [("0.01", True), ("0.1", False)])
def test_a_looser_policy_is_named(
    consortium: Consortium,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    step: str,
    is_looser: bool,
) -> None:
    federation = changed(consortium, tmp_path / "federation.toml", step)
    teacher = shutil.copytree(consortium.folder / "draco" / "teacher", tmp_path / "teacher")
    named = f"reliability_step = {step} is looser than the federation's 0.02"
    with pytest.raises(MismatchError, match="train the teacher again") as caught:
        annotate(teacher, consortium.public, tmp_path / "a.parquet", federation=federation)
    assert (named in str(caught.value)) == is_looser
    train_teacher(
        [consortium.table("draco")],
        federation,
        "draco",
        teacher,
        options=OPTIONS,
        run=Run(jobs=1),
    )
    assert (named in caplog.text) == is_looser
