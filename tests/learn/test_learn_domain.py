"""The applicability domains against brute force, with reasons that say what was found."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from fluid.chem.similarity import tanimoto
from fluid.learn import domain as registry
from fluid.learn.correctness import FEWEST_HELD_OUT, STATED_ERROR, ReliabilityDomain, sureness
from fluid.learn.domain import (
    DEFAULT_DOMAIN,
    DOMAINS,
    DictionaryDomain,
    NeighbourDomain,
    fit_domains,
    revive_domain,
)
from fluid.learn.judgement import DomainInput, HeldOut, Neighbours, find_neighbours
from fluid.learn.reliability import ReliabilityMap

MAP = ReliabilityMap(0.8)


@pytest.fixture(scope="module")
def rows():
    return np.arange(0, 160, 4)


def say(library, rows, queries=None):
    """Probabilities that rise from compound to compound."""
    queries = library if queries is None else queries
    near = find_neighbours(queries, library, rows)
    values = np.linspace(0.01, 0.99, len(queries))[:, None]
    return DomainInput(values, near, MAP(near.similarity), 0.4)


def plain(values, similarity=None, threshold=0.5, reliability=None):
    """What a model says of compounds that have no structure."""
    n = len(values)
    similarity = np.ones(n) if similarity is None else similarity
    near = Neighbours(similarity, similarity, np.full(n, "", dtype=object))
    values = values if values.ndim == 2 else values[:, None]
    return DomainInput(values, near, np.zeros(n) if reliability is None else reliability, threshold)


def calls(values, correct, measured=True, weights=None, similarity=None):
    n = len(values)
    return HeldOut(
        values if values.ndim == 2 else values[:, None],
        0.5,
        np.ones(n) if similarity is None else similarity,
        np.asarray(correct, dtype=np.float64),
        np.ones(n) if weights is None else weights,
        measured,
    )


def noisy(n, seed=0):
    """Calls of which the surer are more often right, 55% to 99%."""
    random = np.random.default_rng(seed)
    values = random.random(n)
    return values, random.random(n) < 0.55 + 0.44 * np.abs(values - 0.5) * 2


# similarity to the nearest


def test_scores_are_mean_similarities_to_the_five_nearest(library, rows):
    near = find_neighbours(library, library, rows)
    every = np.sort(tanimoto(library.fingerprints, library.fingerprints[rows]), axis=1)
    np.testing.assert_allclose(near.similarity, every[:, -5:].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(near.nearest, every[:, -1])
    fitted = NeighbourDomain().fit(library, rows, MAP)
    found = fitted.assess(library, say(library, rows))
    assert np.array_equal(found.score, near.similarity)
    assert fitted.threshold_ == pytest.approx(MAP.similarity_at(0.2))
    assert np.array_equal(found.inside, found.score >= fitted.threshold_)
    assert 0 < found.inside.sum() < len(library)


def test_reasons_name_the_nearest_compound_and_what_was_asked(library, rows):
    fitted = NeighbourDomain().fit(library, rows, MAP)
    found = fitted.assess(library, say(library, rows))
    for row in (0, 8, 36):
        reason = found.reasons[row]
        assert reason.startswith(f"mean similarity to 5 nearest {found.score[row]:.2f} ")
        asked = f"{'>=' if found.inside[row] else '<'} {fitted.threshold_:.2f}"
        assert asked in reason
        assert reason.endswith(f"nearest {library.ids[row]} 1.00")


def test_a_useless_model_has_an_empty_domain(library, rows):
    fitted = fit_domains(library, rows, ReliabilityMap(0.0))
    said = DomainInput(
        np.full((160, 1), 0.9), find_neighbours(library, library, rows), np.zeros(160)
    )
    for kind in ("neighbours", "reliability"):
        assert not fitted[kind].assess(library, said).inside.any()


def test_fewer_references_than_neighbours_count_the_missing_as_zero(library):
    one = library.take(np.array([5]))
    found = find_neighbours(one, library, np.array([5]))
    assert found.similarity.tolist() == [pytest.approx(1 / 5)]
    alone = find_neighbours(library, library, np.zeros(0, dtype=np.int64))
    assert alone.similarity.tolist() == [0.0] * len(library)
    assert set(alone.names) == {""}


# the dictionary


def test_the_dictionary_knows_every_feature_of_its_references_and_counts_the_others(library, rows):
    fitted = DictionaryDomain().fit(library, rows, MAP)
    found = fitted.assess(library, say(library, rows))
    features = [
        set(library.environments[library.offsets[row] : library.offsets[row + 1]].tolist())
        for row in range(len(library))
    ]
    known = set().union(*(features[row] for row in rows))
    for row, own in enumerate(features):
        unknown = len(own - known)
        assert found.score[row] == pytest.approx(1 - unknown / len(own))
        assert found.inside[row] == (unknown == 0)
        if unknown:
            assert found.reasons[row] == f"{unknown} of {len(own)} Morgan features unknown"
        else:
            assert found.reasons[row] == "all Morgan features known"
    assert found.inside[rows].all()
    assert not found.inside.all()


# expected correctness


def test_sureness_is_the_margin_times_the_root_of_similarity():
    values = np.array([[0.4], [1.0], [0.0], [0.7], [0.2], [np.nan]])
    found = sureness(values, 0.4, np.array([1.0, 1.0, 1.0, 0.25, 0.64, 1.0]))
    assert found[:5].tolist() == pytest.approx([0.0, 1.0, 1.0, 0.25, 0.4])
    assert np.isnan(found[5])
    three = sureness(np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2]]), 0.5, np.array([1.0, 1.0]))
    assert three.tolist() == pytest.approx([0.5, 0.0])


@settings(deadline=None, max_examples=40)
@given(st.integers(30, 200), st.integers(0, 10_000), st.booleans())
def test_inside_is_as_much_as_the_stated_rate_allows(n, seed, measured):
    """Against brute force over all bounds."""
    values, right = noisy(n, seed)
    values = values.round(2)
    fitted = ReliabilityDomain().fit_calls(calls(values, right, measured))
    sure = np.append(sureness(values[:, None], 0.5, np.ones(n)), [1.0] * measured)
    truth = np.append(right.astype(float), [0.0] * measured)
    expected = IsotonicRegression().fit(sure, truth).predict(sure)
    widest = 0
    for bound in np.unique(sure):
        among = sure >= bound
        wrong = (1 - expected[among]).mean()
        # A tenth wrong is allowed, whatever sums in another order make of it.
        if among[:n].sum() >= FEWEST_HELD_OUT and wrong <= STATED_ERROR + 1e-9:
            widest = max(widest, int(among[:n].sum()))
    assert fitted.assess(None, plain(values)).inside.sum() == widest


def test_the_surer_the_higher_the_score_and_the_bound_is_the_widest():
    values, right = noisy(4000)
    fitted = ReliabilityDomain().fit_calls(calls(values, right))
    found = fitted.assess(None, plain(values))
    order = np.argsort(np.abs(values - 0.5))
    assert np.all(np.diff(found.score[order]) >= 0)
    assert np.array_equal(np.sort(found.inside[order]), found.inside[order])
    assert (~right[found.inside]).mean() == pytest.approx(STATED_ERROR, abs=0.01)
    truth = 0.55 + 0.44 * np.abs(values - 0.5) * 2
    assert np.abs(found.score - truth).mean() < 0.03


def test_far_compounds_are_less_certain_than_near_ones():
    values, right = noisy(500)
    fitted = ReliabilityDomain().fit_calls(calls(values, right))
    near, far = (fitted.assess(None, plain(values, np.full(500, one))).score for one in (0.8, 0.1))
    assert np.all(far <= near)
    assert far.mean() < near.mean() - 0.1


def test_everything_is_inside_a_perfect_model_and_nothing_inside_a_guessing_one():
    values, _ = noisy(200)
    perfect = ReliabilityDomain().fit_calls(calls(values, np.ones(200)))
    found = perfect.assess(None, plain(values))
    assert found.inside.all()
    assert found.reasons[0].endswith("(all are inside: at most 10% wrong)")
    guessing = ReliabilityDomain().fit_calls(calls(values, np.arange(200) % 2))
    found = guessing.assess(None, plain(values))
    assert not found.inside.any()
    assert found.reasons[0].endswith("(nothing is inside: no bound keeps wrong calls to 10%)")
    assert np.all(found.score <= 1.0)


def test_too_few_held_out_compounds_promise_nothing():
    values, _ = noisy(FEWEST_HELD_OUT - 1)
    fitted = ReliabilityDomain().fit_calls(calls(values, np.ones(len(values))))
    found = fitted.assess(None, plain(values))
    assert not found.inside.any()
    assert set(found.score) == {0.5}
    three = ReliabilityDomain().fit_calls(calls(np.zeros((0, 3)), np.zeros(0)))
    assert three.assess(None, plain(np.eye(3))).score.tolist() == [pytest.approx(1 / 3)] * 3


def test_what_weighs_nothing_does_not_count_and_what_is_not_known_is_outside():
    values, right = noisy(300)
    weights = np.ones(600)
    weights[300:] = 0.0
    twice = np.concatenate([values, values])
    truth = np.concatenate([right, ~right])
    whole = ReliabilityDomain().fit_calls(calls(values, right))
    part = ReliabilityDomain().fit_calls(calls(twice, truth, weights=weights))
    assert whole.threshold_ == part.threshold_
    assert np.array_equal(whole.correct_, part.correct_)
    found = whole.assess(None, plain(np.array([np.nan, 0.99])))
    assert found.inside.tolist()[0] is False
    assert found.score[0] == 0.0
    assert found.reasons[0] == "no prediction"


def test_reasons_say_what_is_expected_and_from_where_on():
    values, right = noisy(2000)
    fitted = ReliabilityDomain().fit_calls(calls(values, right))
    found = fitted.assess(None, plain(values))
    bar = found.score[found.inside].min()
    expected = f"expected correct {found.score[0]:.2f} (inside from {bar:.2f}: at most 10% wrong)"
    assert found.reasons[0] == expected
    assert np.all(found.score[~found.inside] <= bar)


def test_a_measured_rate_is_not_claimed_far_from_what_it_was_measured_on():
    values, similarity = np.full(100, 0.99), np.linspace(0.30, 0.80, 100)
    fitted, expected = (
        ReliabilityDomain().fit_calls(calls(values, np.ones(100), measured, similarity=similarity))
        for measured in (True, False)
    )
    far = np.array([0.1, 0.39, 0.41, 0.9])
    found = fitted.assess(None, plain(np.full(4, 0.99), far))
    assert found.inside.tolist() == [False, False, True, True]
    assert found.reasons[1].endswith("nearest 0.39 < 0.40: too far for the stated error rate")
    assert expected.assess(None, plain(np.full(4, 0.99), far)).inside.all()
    # What was held out from a student reaches farther than a partner's compounds.
    assert fitted.stricter(expected).assess(None, plain(np.full(4, 0.99), far)).inside.all()


def test_numbers_are_inside_where_a_fifth_of_the_variance_is_explained():
    reliability = np.array([0.1, 0.2, 0.7, np.nan])
    fitted = ReliabilityDomain().fit(None, None, MAP)
    found = fitted.assess(None, plain(np.zeros(4), reliability=reliability))
    assert found.inside.tolist() == [False, True, True, False]
    assert found.reasons[2] == (
        "expected share of variance explained 0.70 (inside from 0.20; no error rate is stated)"
    )


def test_the_stricter_of_two_domains_keeps_both_rates():
    values, right = noisy(1000)
    good = ReliabilityDomain().fit_calls(calls(values, np.ones(1000)))
    usual = ReliabilityDomain().fit_calls(calls(values, right))
    said = plain(np.linspace(0.0, 1.0, 300))
    left, right_ = good.stricter(usual).assess(None, said), usual.stricter(good).assess(None, said)
    each = [domain.assess(None, said) for domain in (good, usual)]
    assert np.array_equal(left.inside, each[0].inside & each[1].inside)
    assert np.array_equal(left.score, right_.score)
    assert np.all(left.score <= np.minimum(each[0].score, each[1].score) + 1e-9)
    unfitted = ReliabilityDomain()
    assert usual.stricter(unfitted) is usual
    assert unfitted.stricter(usual) is unfitted


# storing


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("kind", DOMAINS)
def test_domains_survive_being_stored(library, rows, kind, measured):
    held_out = calls(*noisy(300)) if measured else None
    fitted = fit_domains(library, rows, MAP, held_out)[kind]
    assert fitted.kind == kind
    again = revive_domain(kind, *fitted.to_state())
    said = say(library, rows)
    before, after = (domain.assess(library, said) for domain in (fitted, again))
    assert np.array_equal(before.score, after.score)
    assert np.array_equal(before.inside, after.inside)
    assert before.reasons == after.reasons


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stated_error", 0.0),
        ("stated_error", float("nan")),
        ("threshold", -0.1),
        ("threshold", 2.0),
        ("threshold", "0.4"),
        ("threshold", True),
        ("least_similarity", 1.2),
        ("least_similarity", float("nan")),
        ("knots", np.array([0.5, 0.5])),
        ("knots", np.array([0.5, np.nan])),
        ("knots", np.zeros((2, 1))),
        ("knots", np.array([0.5])),
        ("knots", np.array([0, 1])),
        ("knots", np.array(["0", "1"])),
        ("correct", np.array([0.9, 0.5])),
        ("correct", np.array([0.5, 1.5])),
    ],
)
def test_values_that_no_domain_has_are_refused(key, value):
    params = {"stated_error": 0.1, "threshold": 0.4, "least_similarity": 0.3}
    arrays = {"knots": np.array([0.0, 1.0]), "correct": np.array([0.5, 1.0])}
    revive_domain("reliability", params, arrays)
    changed = {key: value}
    with pytest.raises(ValueError, match=r"of a domain|not finite|dimensions|finite number"):
        revive_domain(
            "reliability",
            params | {name: changed[name] for name in changed if name in params},
            arrays | {name: changed[name] for name in changed if name in arrays},
        )


@pytest.mark.parametrize("kind", DOMAINS)
def test_no_queries_no_answers(library, rows, kind):
    nothing = library.take(np.zeros(0, dtype=np.int64))
    held_out = calls(*noisy(300))
    fitted = fit_domains(library, rows, MAP, held_out)[kind]
    found = fitted.assess(nothing, say(library, rows, nothing))
    assert (len(found.score), len(found.inside), found.reasons) == (0, 0, [])


def test_every_domain_can_be_revived_and_the_first_is_the_default():
    assert next(iter(DOMAINS)) == DEFAULT_DOMAIN == "reliability"
    assert set(DOMAINS) == set(registry._REVIVE)
    with pytest.raises(KeyError):
        revive_domain("oracle", {}, {})


# what mutations would change


def test_a_threshold_at_the_end_of_the_scale_has_a_margin_on_both_sides():
    with np.errstate(all="raise"):
        for threshold in (0.0, 1.0):
            found = sureness(np.array([[0.0], [0.5], [1.0]]), threshold, np.ones(3))
            assert np.isfinite(found).all()
            assert sorted(found[[0, 2]]) == pytest.approx([1.0, 1.0])
            assert found[1] == pytest.approx(0.5, abs=1e-3)


def test_calls_that_cannot_be_trusted_give_a_score_and_no_error_rate():
    values, right = noisy(400)
    held_out = calls(values, right, measured=False)
    trusted = ReliabilityDomain().fit_calls(held_out)
    doubtful = ReliabilityDomain().fit_calls(replace(held_out, trusted=False))
    both = [domain.assess(None, plain(values)) for domain in (trusted, doubtful)]
    assert np.array_equal(both[0].score, both[1].score)
    assert both[0].inside.any()
    assert not both[1].inside.any()


def test_the_stricter_of_two_domains_states_the_smaller_error_rate():
    values, right = noisy(400)
    one, other = (
        ReliabilityDomain(stated).fit_calls(calls(values, right)) for stated in (0.05, 0.2)
    )
    assert one.stricter(other).stated_error == other.stricter(one).stated_error == 0.05
