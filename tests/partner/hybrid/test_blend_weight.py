"""How much the own model weighs is chosen out of fold, and the choice flatters nothing."""

from dataclasses import replace

import numpy as np
import pytest

from fluid.learn.hybrid_model import (
    BLEND_FACTORS,
    CORRECTED_FACTORS,
    BlendWeight,
    blend,
    blend_share,
)
from fluid.learn.task import Task
from fluid.partner.hybrid.blend_weight import FoldedLabels, choose_blend_weight, choose_mixture
from fluid.partner.hybrid.peer_targets import align_targets

NUMBER = Task("logd", "regression", low=-10.0, high=10.0)
BINARY = Task("active", "binary")
SEVERAL = Task("class", "multiclass", classes=("a", "b", "c"))
N = 200
RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=N)
NEAR, FAR = RNG.uniform(0.2, 0.8, size=N), np.full(N, 0.5)
FOLDS = np.arange(N) % 5
LABELS = FoldedLabels(NUMBER, TRUTH, FOLDS)


def test_a_partner_that_knows_better_weighs_most() -> None:
    own = (TRUTH + 0.05 * RNG.normal(size=N))[:, None]
    others = (TRUTH + 2.0 * RNG.normal(size=N))[:, None]
    weight, mixed = choose_blend_weight(LABELS, own, others, NEAR, FAR)
    assert weight.factor == BLEND_FACTORS[-1]
    assert mixed == pytest.approx(blend(NUMBER, own, others, blend_share(NEAR, FAR, weight)))


@pytest.mark.parametrize("others_know", [True, False])
def test_where_nothing_speaks_against_it_the_student_keeps_its_say(others_know: bool) -> None:
    own = RNG.normal(size=(N, 1))
    others = TRUTH[:, None] if others_know else own
    weight, _ = choose_blend_weight(LABELS, own, others, NEAR, FAR)
    assert weight.factor == BLEND_FACTORS[0]


def test_a_corrected_student_has_more_of_a_say_elsewhere() -> None:
    own = (TRUTH + RNG.normal(size=N))[:, None]
    both = [
        choose_blend_weight(LABELS, own, TRUTH[:, None], NEAR, FAR, factors)[0]
        for factors in (BLEND_FACTORS, CORRECTED_FACTORS)
    ]
    assert [weight.elsewhere for weight in both] == [4.0, 0.25]
    assert both[1].factor == 0.25
    far = np.array([both[1].low / 2])
    assert both[1](far) == pytest.approx(0.25)
    assert blend_share(far, far, both[1]) < blend_share(far, far, both[0])


def test_a_fold_has_no_say_in_its_own_blend() -> None:
    own = (TRUTH + 0.05 * RNG.normal(size=N))[:, None]
    others = (TRUTH + 2.0 * RNG.normal(size=N))[:, None]
    mine = FOLDS == 2
    before = choose_blend_weight(LABELS, own, others, NEAR, FAR)[1]
    changed = np.where(mine, -50.0 * TRUTH, TRUTH)
    after = choose_blend_weight(replace(LABELS, values=changed), own, others, NEAR, FAR)[1]
    assert np.array_equal(before[mine], after[mine])


@pytest.mark.parametrize("task", [BINARY, SEVERAL])
def test_classes_by_log_loss(task: Task) -> None:
    labels = RNG.integers(0, 2 if task is BINARY else 3, size=N).astype(float)
    if task is BINARY:
        sure = np.where(labels > 0.5, 0.9, 0.1)[:, None]
        none = np.full((N, 1), 0.5) + 0.3 * RNG.uniform(-1, 1, size=(N, 1))
    else:
        sure = np.full((N, 3), 0.1)
        sure[np.arange(N), labels.astype(int)] = 0.8
        none = RNG.dirichlet(np.ones(3), size=N)
    measured = FoldedLabels(task, labels, FOLDS)
    assert choose_blend_weight(measured, sure, none, NEAR, FAR)[0].factor > BLEND_FACTORS[0]
    assert choose_blend_weight(measured, none, sure, NEAR, FAR)[0].factor == BLEND_FACTORS[0]


def test_the_weight_at_home_and_elsewhere_by_hand() -> None:
    weight = BlendWeight(64.0, 0.2, 0.6)
    assert weight(np.array([0.0, 0.2, 0.4, 0.6, 1.0])) == pytest.approx(
        [4.0, 4.0, 16.0, 64.0, 64.0]
    )
    # At equal similarities the share is f / (1 + f).
    assert blend_share(np.array([0.6]), np.array([0.6]), weight) == pytest.approx([64 / 65])
    assert blend_share(np.array([0.2]), np.array([0.2]), weight) == pytest.approx([4 / 5])


def test_private_labels_and_others_are_halved_unless_one_is_better() -> None:
    good, bad = (TRUTH[:, None] + s * RNG.normal(size=(N, 1)) for s in (0.1, 2.0))
    assert choose_mixture(LABELS, good, bad)[0] == 1.0
    assert choose_mixture(LABELS, bad, good)[0] == 0.0
    share, mixed = choose_mixture(LABELS, good, good)
    assert share == 0.5
    assert mixed == pytest.approx(good)
    # Independent errors of one size: their mean is best.
    one, two = (TRUTH[:, None] + RNG.normal(size=(N, 1)) for _ in range(2))
    share, mixed = choose_mixture(LABELS, one, two)
    assert share == 0.5
    assert mixed == pytest.approx((one + two) / 2)


def test_a_fold_has_no_say_in_its_own_share() -> None:
    good, bad = (TRUTH[:, None] + s * RNG.normal(size=(N, 1)) for s in (0.1, 2.0))
    mine = FOLDS == 2
    before = choose_mixture(LABELS, good, bad)[1]
    changed = np.where(mine, bad[:, 0], TRUTH)
    after = choose_mixture(replace(LABELS, values=changed), good, bad)[1]
    assert np.array_equal(before[mine], after[mine])


def test_what_others_say_is_put_on_the_line_to_what_is_measured_inside() -> None:
    """Others measure in another way: 1 more, and half as steep."""
    truth = TRUTH[:, None]
    others = 1.0 + 0.5 * truth
    pooled = np.array([[1.0], [2.0]])
    inside = np.flatnonzero(FOLDS != 2)
    found = align_targets(NUMBER, pooled, others[inside], truth[inside])
    # The slope is drawn towards 1 with the weight of ten compounds, and 160 are inside.
    slope = 1.0 + 1.0 / (1.0 + 10.0 / 160.0)
    mean = truth[inside].mean()
    assert found[:, 0].tolist() == pytest.approx(
        [mean + slope * (value - 1.0 - 0.5 * mean) for value in (1.0, 2.0)]
    )
    assert align_targets(BINARY, pooled, others, truth) is pooled
    assert align_targets(NUMBER, pooled, None, truth) is pooled


def test_of_classes_a_half_is_taken_as_it_is() -> None:
    labels = FoldedLabels(BINARY, (TRUTH > 0).astype(float), FOLDS)
    share, mixed = choose_mixture(labels, TRUTH[:, None], -TRUTH[:, None])
    assert share == 0.5
    assert mixed == pytest.approx(np.zeros((N, 1)))


def test_a_share_that_is_better_by_less_than_the_noise_is_not_taken() -> None:
    """Of two models one is a little better, so that a smaller share of the other has less loss."""
    random = np.random.default_rng(5)
    errors = random.normal(size=(2, N)) * np.array([[1.3], [1.0]])
    worse, better = (TRUTH + error for error in errors)
    losses = [(share * worse + (1.0 - share) * better - TRUTH) ** 2 for share in (0.5, 0.25)]
    gain = losses[0] - losses[1]
    noise = gain.std() / np.sqrt(N)
    assert 0.0 < gain.mean() < 0.5 * noise
    assert choose_mixture(LABELS, worse[:, None], better[:, None])[0] == 0.5
    # The same gain is taken where it is out of the noise.
    same = np.tile(np.arange(N), 40)
    many = FoldedLabels(NUMBER, TRUTH[same], FOLDS[same])
    assert gain.mean() > 0.5 * noise / np.sqrt(40)
    assert choose_mixture(many, worse[same, None], better[same, None])[0] == 0.25


def test_home_begins_at_the_median_of_the_partners_own_similarities() -> None:
    near = np.linspace(0.0, 1.0, 101)
    truth = np.zeros(101)
    labels = FoldedLabels(NUMBER, truth, np.arange(101) % 5)
    weight, _ = choose_blend_weight(labels, truth[:, None], truth[:, None], near, near)
    assert (weight.low, weight.high) == pytest.approx((0.05, 0.5))


def test_a_model_that_ranks_well_is_not_held_to_its_calibration() -> None:
    """The blend is calibrated afterwards, so that only the ranking of its parts counts."""
    random = np.random.default_rng(3)
    margin = 3.0 * TRUTH
    labels = FoldedLabels(BINARY, (margin + random.logistic(size=N) > 0).astype(float), FOLDS)
    knowing = 1.0 / (1.0 + np.exp(-(margin + 4.0)))[:, None]
    vague = 1.0 / (1.0 + np.exp(-(0.3 * margin + random.normal(size=N))))[:, None]
    weight, _ = choose_blend_weight(labels, knowing, vague, NEAR, FAR)
    assert weight.factor > BLEND_FACTORS[0]


def test_both_classes_count_in_the_choice() -> None:
    """One model is sure of 80 of 100 positives, the other of 60 of 100 negatives: the first wins.

    By the positives alone the second would.
    """
    labels = FoldedLabels(BINARY, np.repeat([1.0, 0.0], 100), FOLDS)
    positives, negatives = np.full(N, 0.2), np.full(N, 0.8)
    positives[:80] = 0.95
    negatives[140:] = 0.05
    # At home but for every tenth compound.
    near = np.where(np.arange(N) % 10 == 3, 0.1, 0.9)
    only = (1e-6, 1e6)
    weight, _ = choose_blend_weight(
        labels, positives[:, None], negatives[:, None], near, np.full(N, 0.9), only
    )
    assert weight.factor == only[1]
