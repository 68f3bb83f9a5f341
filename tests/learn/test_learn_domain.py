"""Both applicability domains against brute force, with reasons that say what was found."""

import numpy as np
import pytest

from fluid.chem.similarity import tanimoto
from fluid.learn import domain as module
from fluid.learn.domain import (
    DEFAULT_DOMAIN,
    DOMAINS,
    DictionaryDomain,
    NeighbourDomain,
    fit_domains,
    revive_domain,
)
from fluid.learn.reliability import ReliabilityMap

MAP = ReliabilityMap(0.8)  # reliability 0.2 at similarity 0.5


@pytest.fixture(scope="module")
def rows():
    return np.arange(0, 160, 4)


def test_scores_are_mean_similarities_to_the_three_nearest(library, rows):
    fitted = NeighbourDomain().fit(library, rows, MAP)
    found = fitted.assess(library, library)
    every = tanimoto(library.fingerprints, library.fingerprints[rows])
    expected = np.sort(every, axis=1)[:, -3:].mean(axis=1)
    np.testing.assert_allclose(found.score, expected, rtol=1e-6)
    assert fitted.threshold_ == pytest.approx(0.5)
    assert np.array_equal(found.inside, found.score >= fitted.threshold_)
    assert 0 < found.inside.sum() < len(library)


def test_reasons_name_the_nearest_compound_and_what_was_asked(library, rows):
    found = NeighbourDomain().fit(library, rows, MAP).assess(library, library)
    for row in (0, 8, 36):
        reason = found.reasons[row]
        assert reason.startswith(f"mean similarity to 3 nearest {found.score[row]:.2f} ")
        assert (">= 0.50" if found.inside[row] else "< 0.50") in reason
        assert reason.endswith(f"nearest {library.ids[row]} 1.00")


def test_blocks_change_nothing(library, rows, monkeypatch):
    fitted = NeighbourDomain().fit(library, rows, MAP)
    whole = fitted.assess(library, library)
    monkeypatch.setattr(module, "_BLOCK", 7)
    pieces = fitted.assess(library, library)
    assert np.array_equal(whole.score, pieces.score)
    assert whole.reasons == pieces.reasons


def test_a_useless_model_has_an_empty_domain(library, rows):
    fitted = NeighbourDomain().fit(library, rows, ReliabilityMap(0.0))
    assert not fitted.assess(library, library).inside.any()


def test_fewer_references_than_neighbours_count_the_missing_as_zero(library):
    fitted = NeighbourDomain().fit(library, np.array([5]), MAP)
    found = fitted.assess(library.take(np.array([5])), library)
    assert found.score.tolist() == [pytest.approx(1 / 3)]
    alone = NeighbourDomain().fit(library, np.zeros(0, dtype=np.int64), MAP)
    assert alone.assess(library, library).score.tolist() == [0.0] * len(library)


def test_the_dictionary_knows_every_feature_of_its_references_and_counts_the_others(library, rows):
    fitted = DictionaryDomain().fit(library, rows, MAP)
    found = fitted.assess(library, library)
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


@pytest.mark.parametrize("kind", DOMAINS)
def test_domains_survive_being_stored(library, rows, kind):
    fitted = fit_domains(library, rows, MAP)[kind]
    assert fitted.kind == kind
    again = revive_domain(kind, *fitted.to_state())
    before, after = (domain.assess(library, library) for domain in (fitted, again))
    assert np.array_equal(before.score, after.score)
    assert np.array_equal(before.inside, after.inside)
    assert before.reasons == after.reasons


@pytest.mark.parametrize("kind", DOMAINS)
def test_no_queries_no_answers(library, rows, kind):
    nothing = library.take(np.zeros(0, dtype=np.int64))
    found = fit_domains(library, rows, MAP)[kind].assess(nothing, library)
    assert (len(found.score), len(found.inside), found.reasons) == (0, 0, [])


def test_every_domain_can_be_revived_and_the_first_is_the_default():
    assert next(iter(DOMAINS)) == DEFAULT_DOMAIN
    assert set(DOMAINS) == set(module._REVIVE)
    with pytest.raises(KeyError):
        revive_domain("oracle", {}, {})
