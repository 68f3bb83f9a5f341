"""A sample of public compounds by reliability: which it keeps, and the weight of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluid.soft_labels import teacher_sample
from fluid.soft_labels.teacher_sample import TeacherSample


def _draw(reliability: np.ndarray, digests: np.ndarray) -> TeacherSample:
    n = len(reliability)
    share = np.tile([[0.25], [0.75]], n)
    predictions = np.stack([np.arange(n), -np.arange(n)]).astype(np.float64)[:, :, None]
    return TeacherSample.draw(digests, share, predictions, np.ones((2, n), dtype=bool), reliability)


def test_a_small_set_is_kept_whole_and_weighs_by_squared_reliability() -> None:
    reliability = np.array([0.2, 0.0, 0.4, 0.4])
    sample, weights = _draw(reliability, np.arange(4, dtype=np.uint64)).used()
    assert sample.rows.tolist() == [0, 2, 3]
    assert weights.tolist() == pytest.approx([1 / 9, 4 / 9, 4 / 9])
    assert sample.label()[:, 0].tolist() == [0.0, -1.0, -1.5]
    nobody, weights = _draw(np.zeros(3), np.arange(3, dtype=np.uint64)).used()
    assert len(nobody.rows) == 0
    assert len(weights) == 0


def test_compounds_without_labels_are_not_drawn() -> None:
    known = np.array([[True, False], [False, False]])
    share, predictions = known / 1.0, np.ones((2, 2, 1))
    found = TeacherSample.draw(
        np.arange(2, dtype=np.uint64), share, predictions, known, np.eye(2)[0]
    )
    assert found.rows.tolist() == [0]


def test_sums_are_estimated_without_bias(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4,000 compounds of which a few weigh most: means over draws are those of all."""
    monkeypatch.setattr(teacher_sample, "MOST_SAMPLED", 200)
    random = np.random.default_rng(1)
    reliability = np.clip(random.lognormal(-2.0, 1.0, 4000), 0.0, 0.98)
    value = np.where(reliability > 0.3, 1.0, random.random(4000))
    truth = np.average(value, weights=reliability**2)
    means, sizes = [], []
    for _ in range(200):
        digests = random.integers(0, 2**64, 4000, dtype=np.uint64)
        sample, weights = _draw(reliability, digests).used()
        assert weights.sum() == pytest.approx(1.0)
        means.append(weights @ value[sample.rows])
        sizes.append(len(sample.rows))
    assert set(sizes) == {200}
    # Better than 200 drawn alike would be, of which most know nothing.
    error = np.std(means) / np.sqrt(200)
    assert np.mean(means) == pytest.approx(truth, abs=4 * error)
    assert np.std(means) < 0.03


def test_the_draw_has_nothing_to_do_with_what_a_student_holds_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teacher_sample, "MOST_SAMPLED", 1000)
    digests = np.random.default_rng(2).integers(0, 2**64, 20_000, dtype=np.uint64)
    sample, _ = _draw(np.full(20_000, 0.5), digests).used()
    first = (digests[sample.rows] >> np.uint64(56)).astype(np.float64)
    assert first.mean() == pytest.approx(127.5, abs=4 * 73.9 / np.sqrt(1000))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_parts_and_the_whole_give_the_same_sample(seed: int, lengths: list[int]) -> None:
    random = np.random.default_rng(seed)
    n = sum(lengths)
    reliability = np.round(random.random(n), 1)
    digests = random.integers(0, 2**64, n, dtype=np.uint64)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(teacher_sample, "MOST_SAMPLED", 25)
        whole = _draw(reliability, digests)
        found = None
        start = 0
        for length in lengths:
            part = slice(start, start + length)
            one = _draw(reliability[part], digests[part])
            # The same predictions as in the whole, at their place there.
            one = TeacherSample(
                one.rows,
                one.priority,
                one.counts,
                one.share,
                one.predictions + np.array([[[start]], [[-start]]]),
                one.known,
            )
            joined = [(one, length)] if found is None else [(found, start), (one, length)]
            found = TeacherSample.of_parts(joined)
            start += length
        assert found is not None
        for name, values in vars(whole).items():
            assert np.array_equal(getattr(found, name), values), name
        assert TeacherSample.of_parts([(whole, n), (None, 3)]) is None
