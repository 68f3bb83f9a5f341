"""A partner's policy may be stricter than the federation's, in every setting, and never looser."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluid.base.errors import FluidError
from fluid.exchange.federation import load_federation
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.strictness import RULES, load_own_policy, looser_than, policy_from_dict
from tests.conftest import make_federation

AGREED = DisclosurePolicy(
    probability_step=0.02,
    probability_clip=0.04,
    value_step=0.1,
    uncertainty_step=0.02,
    reliability_step=0.05,
    neighbourhood=7,
    abstain_below=0.1,
    share=("metrics", "coverage"),
    max_releases=5,
    max_queries=1000,
    audit_max_neighbour_auc=0.8,
)
CHANGES = {
    "folds_by": ("framework", "compound"),
    "probability_step": (0.1, 0.01),
    "probability_clip": (0.1, 0.02),
    "value_step": (0.3, 0.05),
    "uncertainty_step": (0.04, 0.05),
    "reliability_step": (0.25, 0.02),
    "neighbourhood": (8, 6),
    "abstain_below": (0.2, 0.05),
    "share": (("metrics",), ("metrics", "prevalence")),
    "coverage_step": (20, 5),
    "coverage_minimum": (11, 9),
    "max_releases": (4, 6),
    "max_queries": (999, 1001),
    "audit_max_auc": (0.55, 0.7),
    "audit_max_neighbour_auc": (0.6, 0.9),
}


def test_every_setting_has_a_rule_and_is_tried_here() -> None:
    names = {item.name for item in fields(DisclosurePolicy)}
    assert set(RULES) == names
    assert set(CHANGES) == names


@pytest.mark.parametrize("name", CHANGES)
def test_stricter_is_allowed_and_looser_is_not(name: str) -> None:
    stricter, looser = CHANGES[name]
    # Of folds there are two kinds, so that the agreed one has to be either.
    agreed = replace(AGREED, folds_by="framework") if name == "folds_by" else AGREED
    assert looser_than(agreed, agreed) is None
    assert looser_than(AGREED, replace(AGREED, **{name: stricter})) is None
    problem = looser_than(agreed, replace(agreed, **{name: looser}))
    assert problem is not None
    assert problem.startswith(f"{name} = ")
    assert "is looser than the federation's" in problem


def test_no_setting_is_about_compounds_that_are_also_private() -> None:
    words = ("overlap", "member", "private", "drop", "skip", "exclude", "known", "seen")
    for item in fields(DisclosurePolicy):
        assert not any(word in item.name for word in words)


POLICIES = st.builds(
    DisclosurePolicy,
    folds_by=st.sampled_from(["compound", "framework"]),
    probability_step=st.sampled_from([0.01, 0.02, 0.05, 0.1]),
    probability_clip=st.sampled_from([0.0, 0.01, 0.05, 0.2]),
    value_step=st.sampled_from([0.01, 0.02, 0.5]),
    reliability_step=st.sampled_from([0.01, 0.02, 0.05, 0.2]),
    neighbourhood=st.integers(5, 9),
    abstain_below=st.sampled_from([0.0, 0.1, 0.4]),
    share=st.sampled_from([(), ("metrics",), ("metrics", "coverage"), ("prevalence",)]),
    max_releases=st.integers(1, 4),
)


@given(POLICIES, POLICIES, POLICIES)
def test_strictness_is_an_order(
    one: DisclosurePolicy, two: DisclosurePolicy, three: DisclosurePolicy
) -> None:
    if looser_than(one, two) is None and looser_than(two, three) is None:
        assert looser_than(one, three) is None
    if looser_than(one, two) is None and looser_than(two, one) is None:
        assert one == two


@given(POLICIES)
def test_a_policy_is_read_back_from_a_manifest(policy: DisclosurePolicy) -> None:
    assert policy_from_dict(policy.to_dict()) == policy


def test_probabilities_are_clipped_by_the_setting_or_one_step() -> None:
    assert DisclosurePolicy().probability_bounds == (0.01, 0.99)
    assert DisclosurePolicy(probability_step=0.1).probability_bounds == (0.1, 0.9)
    low, high = DisclosurePolicy(probability_clip=0.075, probability_step=0.02).probability_bounds
    assert (low, high) == pytest.approx((0.08, 0.92))
    assert DisclosurePolicy().reliability_levels == 51
    assert DisclosurePolicy(reliability_step=0.25).reliability_levels == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"neighbourhood": 4}, "policy neighbourhood = 4: allowed are 5 to 100"),
        ({"reliability_step": 0.005}, "policy reliability_step = 0.005: allowed are 0.01 to 0.25"),
        ({"abstain_below": 1.0}, "policy abstain_below = 1.0: allowed are 0 to 0.95"),
        ({"abstain_below": float("nan")}, "policy abstain_below = nan: allowed are 0 to 0.95"),
        ({"probability_clip": -0.1}, "policy probability_clip = -0.1: allowed are 0 to 0.45"),
        ({"max_releases": 0}, "policy max_releases = 0: allowed are 1 to 1000000"),
        ({"max_queries": 0}, "policy max_queries = 0: allowed are 1 to 1000000000000"),
        (
            {"probability_step": 0.2, "probability_clip": 0.45},
            "policy probability_clip = 0.45: no multiple of probability_step = 0.2 is left",
        ),
    ],
)
def test_a_policy_that_is_not_allowed(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.") + "$"):
        DisclosurePolicy(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a table [policy] is needed"),
        ("name = 'x'\n[policy]\n", "unknown key 'name'; allowed is one table [policy]"),
        ("[policy]\ndrop_overlap = true\n", "policy: unknown key 'drop_overlap'; allowed are"),
        (
            "[policy]\nabstain_below = 'x'\n",
            "policy.abstain_below = 'x': a finite number is needed",
        ),
        ("[policy]\ncoverage_step = 20\n", "policy.coverage_step limits coverage reports"),
        ("[policy]\nprobability_step = 0.025\n", "0.025 is looser than the federation's 0.01"),
        ("[policy]\nshare = ['metrics']\n", "share = ['metrics'] is looser than the fed"),
        ("[policy]\nneighbourhood = 3\n", "policy neighbourhood = 3: allowed are 5 to 100"),
        ("[policy]\nvalue_step = 1e7\n", "no multiple of value_step = 1e+07 lies within its range"),
        ("[policy", "is not valid TOML"),
    ],
)
def test_a_partners_policy_that_is_refused(tmp_path: Path, text: str, message: str) -> None:
    federation = load_federation(make_federation(tmp_path, ()))
    bounded = replace(federation.tasks[1], low=0.5, high=9.0)
    federation = replace(federation, tasks=(federation.tasks[0], bounded))
    path = tmp_path / "partner.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FluidError) as caught:
        load_own_policy(path, federation)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_what_a_partner_does_not_say_stays_as_agreed(tmp_path: Path) -> None:
    federation = load_federation(make_federation(tmp_path, ()))
    path = tmp_path / "partner.toml"
    path.write_text("[policy]\nreliability_step = 0.1\nmax_releases = 2\n")
    own = load_own_policy(path, federation)
    assert own == replace(federation.policy, reliability_step=0.1, max_releases=2)
