"""Progress on stderr: how far, of how many, and how fast it goes now."""

from __future__ import annotations

import pytest
from fluid.cli import console


def test_progress_says_count_total_and_the_present_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    report, open_ended = console.Progress("compounds", 9000), console.Progress("rows")
    for now, done in ((1.0, 100), (6.0, 6000), (7.0, 6100), (16.0, 8000)):
        clock[0] = now
        report(done)
    open_ended(1234)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "6,000 of 9,000 compounds, 1,000 a second",
        "8,000 of 9,000 compounds, 200 a second",
        "1,234 rows, 77 a second",
    ]
