"""A partner's own policy: at least as strict as the one that all partners agreed on."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fluid.base.errors import FederationError, FileFormatError, FluidError
from fluid.base.values import read_fields
from fluid.exchange.federation import Federation, federation_range_problem
from fluid.exchange.policy import DisclosurePolicy
from fluid.learn.folds import looser

# Compares the agreed value with a partner's; and the words for what is allowed.
Rule = tuple[Callable[[Any, Any], bool], str]


def _is_multiple(agreed: float, own: float) -> bool:
    ratio = own / agreed
    return round(ratio) >= 1 and abs(ratio - round(ratio)) <= 1e-9 * max(1.0, ratio)


_COARSER: Rule = (_is_multiple, "a whole multiple of {}")
_HIGHER: Rule = (lambda agreed, own: own >= agreed, "{} or more")
_LOWER: Rule = (lambda agreed, own: own <= agreed, "{} or less")
_NOT_LOOSER: Rule = (lambda agreed, own: not looser(own, agreed), "{}")
_PART: Rule = (lambda agreed, own: set(own) <= set(agreed), "nothing that is not in {}")

# One for every field of the policy.
RULES: dict[str, Rule] = {
    "folds_by": _NOT_LOOSER,
    "probability_step": _COARSER,
    "probability_clip": _HIGHER,
    "value_step": _COARSER,
    "uncertainty_step": _COARSER,
    "reliability_step": _COARSER,
    "neighbourhood": _HIGHER,
    "abstain_below": _HIGHER,
    "share": _PART,
    "coverage_step": _COARSER,
    "coverage_minimum": _HIGHER,
    "max_releases": _LOWER,
    "max_queries": _LOWER,
    "audit_max_auc": _LOWER,
    "audit_max_neighbour_auc": _LOWER,
}
_COVERAGE_FIELDS = ("coverage_step", "coverage_minimum")


def looser_than(agreed: DisclosurePolicy, own: DisclosurePolicy) -> str | None:
    """Find where a policy is looser than the agreed one.

    Parameters
    ----------
    agreed
        The federation's.
    own
        A partner's.

    Returns
    -------
    str or None
        The first looser setting and what is allowed; None if no setting is looser.
    """
    for name, (is_strict, allowed) in RULES.items():
        if name in _COVERAGE_FIELDS and "coverage" not in own.share:
            continue
        here, there = getattr(agreed, name), getattr(own, name)
        if not is_strict(here, there):
            return (
                f"{name} = {_shown(there)} is looser than the federation's {_shown(here)}; "
                f"allowed is {allowed.format(_shown(here))}"
            )
    return None


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else f"{value}"


def load_own_policy(path: Path, federation: Federation) -> DisclosurePolicy:
    """Read a partner's policy: the federation's, made stricter by the ``[policy]`` table of a file.

    Parameters
    ----------
    path
        A TOML file with a table ``[policy]`` and nothing else. Its keys are those of the federation
        file; a key that is left out stays as agreed.
    federation
        The contract.

    Raises
    ------
    FluidError
        If the file cannot be read, a key is unknown, or a setting is looser than agreed.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: is not valid TOML ({error})") from error
    try:
        return merge_policy(federation, values)
    except (FluidError, ValueError) as error:
        raise FederationError(f"{path}: {error}") from error


def merge_policy(federation: Federation, values: Mapping[str, Any]) -> DisclosurePolicy:
    """The federation's policy with a partner's stricter settings.

    Raises
    ------
    FluidError, ValueError
        If a key is unknown, a value not allowed, or a setting looser than agreed.
    """
    unknown = sorted(set(values) - {"policy"})
    if unknown:
        raise FederationError(f"unknown key '{unknown[0]}'; allowed is one table [policy]")
    if "policy" not in values:
        raise FederationError("a table [policy] is needed")
    given = read_fields(DisclosurePolicy, "policy", values["policy"])
    of_coverage = [name for name in _COVERAGE_FIELDS if name in given]
    if of_coverage:
        raise FederationError(
            f"policy.{of_coverage[0]} limits coverage reports, which follow the federation's policy"
        )
    own = replace(federation.policy, **given)
    problem = looser_than(federation.policy, own) or federation_range_problem(federation.tasks, own)
    if problem:
        raise FederationError(f"policy {problem}")
    return own


def policy_from_dict(values: Any) -> DisclosurePolicy:
    """The policy of a manifest, which must state every key that it uses and no other.

    Raises
    ------
    ValueError
        If it is not a table, a key is missing or unknown, or a value not allowed.
    """
    policy = DisclosurePolicy(**read_fields(DisclosurePolicy, "policy", values))
    odd = sorted(set(policy.to_dict()) ^ set(values))
    if odd:
        why = "is not used" if odd[0] in values else "is missing"
        raise ValueError(f"'policy.{odd[0]}' {why}")
    return policy
