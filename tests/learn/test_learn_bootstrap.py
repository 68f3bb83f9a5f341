"""Samples as counts give what samples as rows give; the new metrics are scikit-learn's."""

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.learn.bootstrap import binary_metrics_of_samples, count_draws
from fluid.learn.metrics import (
    bootstrap_rows,
    calibrated_precision,
    compute_metrics,
    f1_max,
    kappa,
    metric_names,
)
from fluid.learn.task import Task

BINARY = Task("b", "binary")
SCORES = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
PAIRS = st.lists(st.tuples(st.booleans(), SCORES, st.booleans()), min_size=1, max_size=30)


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_metrics_of_counts_are_those_of_rows(pairs):
    truth, score, called = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    rows = bootstrap_rows(len(truth), 25, 3)
    found = binary_metrics_of_samples(truth, score, called, count_draws(rows))
    assert set(found) == set(metric_names(BINARY))
    for draw, some in enumerate(rows):
        each = compute_metrics(BINARY, truth[some], score[some, None], called[some])
        for name, value in each.items():
            assert found[name][draw] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@settings(deadline=None, max_examples=40)
@given(PAIRS.filter(lambda pairs: len({one for one, *_ in pairs}) == 2))
def test_kappa_f1_and_calibrated_precision_are_those_of_scikit_learn(pairs):
    positive, score, called = (np.array(column) for column in zip(*pairs, strict=True))
    assert kappa(positive, called) == pytest.approx(oracle.cohen_kappa_score(positive, called))
    best = max(oracle.f1_score(positive, score >= cut) for cut in set(score.tolist()))
    assert f1_max(positive, score) == pytest.approx(best)
    for prevalence in (0.5, 0.1):
        # Negatives weighed so that positives have this share.
        odds = positive.sum() / (~positive).sum() * (1 - prevalence) / prevalence
        weights = np.where(positive, 1.0, odds)
        wanted = oracle.average_precision_score(positive, score, sample_weight=weights)
        assert calibrated_precision(positive, score, prevalence) == pytest.approx(wanted)


def test_calibrated_precision_by_hand():
    """One of four is positive and ranked second: precision 1 / (1 + 1/3) at one half."""
    positive = np.array([False, True, False, False])
    assert calibrated_precision(positive, np.array([0.9, 0.8, 0.2, 0.1])) == pytest.approx(0.75)
