"""Plain values of a file: what fits the fields of a dataclass, and what is said if it does not."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from fluid.base.values import read_fields


@dataclass(frozen=True)
class Settings:
    """One field of every type."""

    name: str
    number: int = 1
    step: float = 0.5
    flag: bool = False
    words: tuple[str, ...] = ()
    rows: list[Any] = field(default_factory=list)
    table: dict[str, Any] = field(default_factory=dict)


def test_values_that_fit_are_returned_as_the_fields_hold_them() -> None:
    values = {"name": "a", "step": 2, "words": ["x", "y"], "rows": [1], "table": {"k": 1}}
    found = read_fields(Settings, "settings", values)
    assert found == {**values, "words": ("x", "y")}
    assert type(found["step"]) is float
    assert Settings(**found) == Settings("a", step=2.0, words=("x", "y"), rows=[1], table={"k": 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "'a.b' must be a table"),
        ({}, "'a.b.name' is missing"),
        (
            {"name": "x", "nome": 1},
            "a.b: unknown key 'nome'; allowed are flag, name, number, rows, step, table, words",
        ),
        ({"name": 1}, "a.b.name = 1: text is needed"),
        ({"name": "x", "number": True}, "a.b.number = True: a whole number is needed"),
        ({"name": "x", "number": 1.0}, "a.b.number = 1.0: a whole number is needed"),
        ({"name": "x", "step": False}, "a.b.step = False: a finite number is needed"),
        ({"name": "x", "step": "1"}, "a.b.step = '1': a finite number is needed"),
        ({"name": "x", "step": math.nan}, "a.b.step = nan: a finite number is needed"),
        ({"name": "x", "step": -math.inf}, "a.b.step = -inf: a finite number is needed"),
        (
            {"name": "x", "step": 10**400},
            f"a.b.step = 1{'0' * 79}: a finite number is needed",
        ),
        ({"name": "x", "flag": 1}, "a.b.flag = 1: true or false is needed"),
        ({"name": "x", "words": "xy"}, "a.b.words = 'xy': a list of text is needed"),
        ({"name": "x", "words": ["x", 1]}, "a.b.words = ['x', 1]: a list of text is needed"),
        ({"name": "x", "rows": {}}, "a.b.rows = {}: a list is needed"),
        ({"name": "x", "table": []}, "a.b.table = []: a table is needed"),
        ({"name": None}, "a.b.name = None: text is needed"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read_fields(Settings, "a.b", values)


def test_the_top_of_a_file_has_no_path() -> None:
    with pytest.raises(ValueError, match=r"^unknown key 'x'; allowed are flag, name"):
        read_fields(Settings, "", {"x": 1})
    with pytest.raises(ValueError, match=r"^'name' is missing$"):
        read_fields(Settings, "", {})
