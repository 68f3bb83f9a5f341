"""The table [mechanism] of a federation file."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from fluid.base.errors import FederationError
from fluid.exchange.federation import Federation, parse_federation
from fluid.exchange.noise_mechanism import Mechanism, mechanism_from_dict
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.template import federation_text, parse_task_option
from fluid.learn.task import Task

PATE = '[mechanism]\nkind = "pate"\nepsilon = 4\ndelta = 1e-6\nsub_teachers = 10\n'

KIND = 'kind = "pate"\nepsilon = 1.0\n'
RANGE = "low = -4.0\nhigh = 4.0\n"


@cache
def _text() -> str:
    tasks = ("bbb:binary", "logbb:regression:unit:-4:4")
    return federation_text("trial", [parse_task_option(text) for text in tasks])


def _federation(extra: str = "", ranged: bool = True) -> Federation:
    text = _text()
    assert RANGE in text
    return parse_federation((text if ranged else text.replace(RANGE, "")) + extra)


def test_protocol_depends_on_a_mechanism_only_if_there_is_one() -> None:
    plain = _federation()
    assert _federation('[mechanism]\nkind = "none"\n').protocol == plain.protocol
    assert "mechanism" not in plain.protocol_dict()
    pate = _federation(PATE)
    assert pate.mechanism == Mechanism("pate", epsilon=4.0, sub_teachers=10)
    assert pate.protocol != plain.protocol
    assert pate.protocol != _federation(PATE.replace("10", "11")).protocol


def test_plain_values_read_back() -> None:
    made = Mechanism("pate", epsilon=2.0, clip=(("logbb", -2.0, 1.5),))
    assert mechanism_from_dict(made.to_dict()) == made
    assert mechanism_from_dict(Mechanism().to_dict()) == Mechanism()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('kind = "laplace"', "mechanism kind 'laplace': allowed are none, pate"),
        ('kind = "gaussian"\nsigma = 4.0', "mechanism kind 'gaussian': allowed are none, pate"),
        ('kind = "label-only"', "mechanism kind 'label-only': allowed are none, pate"),
        ('kind = "pate"', "pate needs a budget above 0"),
        ('kind = "pate"\nlevels = 4', "mechanism 'pate': unknown key 'levels'"),
        ("epsilon = 1.0", "mechanism 'none': unknown key 'epsilon'"),
        (
            KIND + 'sigma = "much"',
            "mechanism sigma = 'much': a finite number is needed",
        ),
        (
            KIND + "sigma = nan",
            "mechanism sigma = nan: a finite number is needed",
        ),
        ('kind = "pate"\nepsilon = 1.0\nsub_teachers = 1', "sub_teachers = 1: allowed are 2 to"),
        (KIND + 'unit = "row"', "mechanism unit 'row': allowed are"),
        (KIND + "clip = 3", "must be a table [mechanism.clip]"),
        (KIND + "clip = {bbb = [0, 1]}", "'bbb' is not a regression task"),
        (
            KIND + "clip = {logbb = [0, 9]}",
            "is not within the task's range -4 to 4",
        ),
        (
            KIND + "clip = {logbb = [1, 1]}",
            "low must be a number below high",
        ),
    ],
)
def test_what_is_refused(text: str, told: str) -> None:
    with pytest.raises(FederationError) as error:
        _federation(f"[mechanism]\n{text}\n")
    assert told in str(error.value)


def test_a_task_without_range_needs_a_clip() -> None:
    with pytest.raises(FederationError, match=r"task 'logbb' has none; give \[mechanism.clip\]"):
        _federation(PATE, ranged=False)
    clipped = PATE + "[mechanism.clip]\nlogbb = [-2, 1.5]\n"
    made = _federation(clipped, ranged=False)
    assert made.mechanism.bounds(made.tasks[1]) == (-2.0, 1.5)
    assert made.mechanism.bounds(made.tasks[0]) == (0.0, 1.0)


def test_nothing_is_shared_beside_noisy_labels() -> None:
    with pytest.raises(FederationError, match="only labels may be shared"):
        replace(_federation(PATE), policy=DisclosurePolicy(share=("training-size",)))


def test_a_range_of_its_own_is_enough() -> None:
    Mechanism("pate", epsilon=1.0).check_tasks([Task("logbb", "regression", low=-4.0, high=4.0)])
