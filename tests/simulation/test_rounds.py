"""Rounds of a virtual consortium: parts of a round, residual rounds, and hybrids of both."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluid.learn.task import Task
from fluid.simulation.cell_result import HYBRID
from fluid.simulation.hybrids import train_hybrids
from fluid.simulation.residual_rounds import residual_round, residual_rounds
from fluid.simulation.rounds import SimulatedRound
from fluid.simulation.teachers import train_teachers
from tests.simulation.small_study import BARE, PARTITION, SPEC, Small


def test_parts_of_a_round(small: Small) -> None:
    one = small.study(BARE, small.output / "cache").consortium(PARTITION, 0)
    teachers = train_teachers(one)
    for whole in (first := SimulatedRound.first(one, teachers), residual_round(first, teachers)):
        assert whole.of_partners(one.partners).pooled_digest == whole.pooled_digest
        alone = whole.of_partners(["partner-2"])
        assert list(alone.labels) == ["partner-2"]
        assert alone.pooled_digest != whole.pooled_digest
        rows = np.arange(5, 200, 3)
        part = whole.of_public(rows)
        assert part.pooled.compounds is part.consortium.public
        assert list(part.consortium.public.ids) == list(one.public.ids[rows])
        for task, pooled in whole.pooled.labels.items():
            assert np.array_equal(part.pooled.labels[task].label, pooled.label[rows])
        assert part.pooled.bases.keys() == whole.pooled.bases.keys()
        for task, base in whole.pooled.bases.items():
            assert np.array_equal(part.pooled.bases[task], base[rows])


def test_hybrids_of_a_later_round_answer_by_its_student(small: Small) -> None:
    one = small.study(SPEC, small.output / "cache").consortium(PARTITION, 0)
    teachers = train_teachers(one)
    first = SimulatedRound.first(one, teachers)
    second = residual_round(first, teachers)
    usual, later = train_hybrids(first), train_hybrids(first, second)
    assert list(usual) == list(later) == one.partners
    for partner, hybrid in usual.items():
        assert not np.array_equal(
            hybrid.predictions["logbb"].values, later[partner].predictions["logbb"].values
        )
        found = next(one for one in small.cell.of_kind(HYBRID) if one.partner == partner)
        for task, prediction in hybrid.predictions.items():
            assert np.array_equal(prediction.values, found.predictions[task].values)


def test_a_further_round_that_is_kept_trains_nothing(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(small.output / "cache", tmp_path / "cache"))

    def second() -> SimulatedRound:
        one = small.study(SPEC, copy).consortium(SPEC.partitions[0], 0)
        teachers = train_teachers(one)
        return residual_round(SimulatedRound.first(one, teachers), teachers)

    expected = second().student_predictions()
    for name in ("teachers.fit_model", "rounds.train_student"):
        monkeypatch.setattr(f"fluid.simulation.{name}", None)
    monkeypatch.setattr("fluid.simulation.residual_rounds.fit_task_residuals", None)
    again = second()
    assert "logbb" in again.pooled.bases
    for task, prediction in again.student_predictions().items():
        assert np.array_equal(prediction.values, expected[task].values)


def test_without_a_regression_task_there_are_no_further_rounds(
    small: Small, caplog: pytest.LogCaptureFixture
) -> None:
    one = small.study(BARE).consortium(PARTITION, 0)
    binary = replace(one.federation, tasks=(Task("bbb", "binary"),))
    first = SimulatedRound.pool(replace(one, federation=binary), {})
    with caplog.at_level(logging.WARNING):
        assert list(residual_rounds(first, {}, 1)) == []
        assert not caplog.records
        assert list(residual_rounds(first, {}, 3)) == []
    assert "3 rounds: the federation has no regression task" in caplog.text
