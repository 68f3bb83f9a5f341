"""Intake takes whatever the guard releases, and nothing that is off by one bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.base.errors import FileFormatError
from fluid.exchange.label_checks import check_labels
from fluid.exchange.policy import DisclosurePolicy
from fluid.learn.own_fold import OwnFoldLabels
from fluid.learn.task import Task
from fluid.partner.disclosure_guard import disclose
from fluid.soft_labels.teacher_labels import TeacherLabels

PATH = Path("a.parquet")
TASKS = [
    Task("bbb", "binary"),
    Task("phase", "multiclass", classes=("a", "b", "c", "d")),
    Task("logd", "regression", low=-3.21, high=4.56),
    Task("dose", "regression"),
    Task("narrow", "regression", low=0.0, high=0.013),
]
PARTS = st.sampled_from([4, 5, 7, 10, 20, 50, 100, 1000, 10_000])
STEPS = st.builds(lambda parts: 1.0 / parts, PARTS)


@st.composite
def policies(draw: st.DrawFn) -> DisclosurePolicy:
    return DisclosurePolicy(
        probability_step=draw(STEPS),
        probability_clip=draw(st.sampled_from([0.0, 0.01, 0.13, 0.25])),
        value_step=draw(st.sampled_from([1e-9, 1e-6, 0.001, 0.01, 0.013, 0.1])),
        uncertainty_step=draw(STEPS),
        reliability_step=draw(st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.2, 0.20000003, 0.25])),
        abstain_below=draw(st.sampled_from([0.0, 0.1, 0.31, 0.5])),
    )


def said(task: Task, random: np.random.Generator, n: int = 60) -> OwnFoldLabels:
    """What a teacher may say: within the range, at its ends, and nothing."""
    low, high = task.bounds
    values = random.uniform(low, high, (n, len(task.outputs)))
    if task.kind == "multiclass":
        values = random.dirichlet(np.full(len(task.outputs), 0.2), n)
    elif task.kind == "regression":
        values[:20] = random.normal(0.0, 3.0, (20, 1)).clip(low, high)
        values[-6:] = np.array([[low], [high]] * 3)
    spread = random.uniform(0.0, 1.5 * (high - low) / 2.0, values.shape)
    trust = random.uniform(0.0, 1.0, n)
    trust[:3] = (0.0, 1.0, 0.5)
    silent = random.random(n) < 0.2
    values[silent], spread[silent], trust[silent] = np.nan, np.nan, np.nan
    return OwnFoldLabels(values, spread, trust, trust)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TASKS), policies(), st.integers(0, 10_000))
def test_what_the_guard_releases_is_taken(task: Task, policy: DisclosurePolicy, seed: int) -> None:
    labels = disclose(task, policy, said(task, np.random.default_rng(seed)))
    labels = TeacherLabels(*(column + np.float32(0.0) for column in columns(labels)))
    check_labels(PATH, task, policy, labels, 0)


def columns(labels: TeacherLabels) -> tuple[np.ndarray, ...]:
    return labels.prediction, labels.uncertainty, labels.reliability


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TASKS[:3]), st.integers(0, 10_000), st.integers(0, 2), st.booleans())
def test_one_bit_off_is_refused(task: Task, seed: int, which: int, up: bool) -> None:
    policy, random = DisclosurePolicy(), np.random.default_rng(seed)
    labels = disclose(task, policy, said(task, random))
    labels = TeacherLabels(*(column + np.float32(0.0) for column in columns(labels)))
    column = columns(labels)[which].reshape(len(labels.reliability), -1)
    row = random.choice(np.flatnonzero(np.isfinite(column[:, 0])))
    column[row, 0] = np.nextafter(column[row, 0], np.float32(np.inf if up else -np.inf))
    with pytest.raises(FileFormatError, match=f"a.parquet: row {row + 101}, column"):
        check_labels(PATH, task, policy, labels, 100)


def test_classes_that_are_all_certain() -> None:
    labels = TeacherLabels(
        np.full((2, 4), 0.97, np.float32),
        np.full((2, 4), np.nan, np.float32),
        np.full(2, 0.5, np.float32),
    )
    with pytest.raises(FileFormatError, match="probabilities of the classes must add up to 1"):
        check_labels(PATH, TASKS[1], DisclosurePolicy(), labels, 0)
