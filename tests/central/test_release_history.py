"""Former rounds: a partner's release numbers go on, or the coordinator refuses or warns."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from fluid.base.errors import FileFormatError, MismatchError
from fluid.central.release_history import check_releases
from fluid.exchange.annotation import AnnotationFile
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.release import Release

MINE, OTHER = "1" * 32, "2" * 32


def annotation(ledger: str, number: int, queries: int, digest: str = "b" * 64) -> AnnotationFile:
    sealed = SimpleNamespace(path=Path("a.parquet"), digest=digest)
    release = Release(ledger, number, queries)
    return AnnotationFile(sealed, "aurora", [], DisclosurePolicy(), release)  # type: ignore[arg-type]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    value = {
        "schema": "fluid.report/2",
        "annotations": {"aurora": "a" * 64},
        "releases": {"aurora": {"ledger": MINE, "number": 3, "queries": 300}},
    }
    path.write_text(json.dumps(value))
    return path


def test_numbers_that_go_on_and_the_same_file_are_welcome(
    report: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_releases([annotation(MINE, 4, 400)], [report])
    check_releases([annotation(MINE, 3, 300, "a" * 64)], [report])
    check_releases([annotation(MINE, 1, 1)], [])
    assert not caplog.records


@pytest.mark.parametrize(("number", "queries"), [(3, 300), (3, 400), (2, 200), (4, 300)])
def test_a_number_that_was_used_or_has_gone_back(report: Path, number: int, queries: int) -> None:
    with pytest.raises(MismatchError, match="the ledger was restored from a backup"):
        check_releases([annotation(MINE, number, queries)], [report])


def test_another_ledger_is_told(report: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_releases([annotation(OTHER, 1, 100)], [report])
    assert "partner 'aurora' has another ledger than in" in caplog.text


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": "fluid.report/2"}', "nothing"])
def test_what_is_no_report(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=r"x\.json"):
        check_releases([], [path])


def test_a_report_of_the_first_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"schema": "fluid.report/1"}')
    with pytest.raises(FileFormatError) as caught:
        check_releases([], [path])
    assert str(caught.value) == (
        f"{path}: has the older format 'fluid.report/1', this version of fluid reads "
        "'fluid.report/2': distill again, or use the version that wrote it"
    )
