"""Partitions as a command line has them."""

from __future__ import annotations

import pytest

from fluid.base.errors import FluidError
from fluid.simulation.partition_spec import PartitionError, PartitionSpec, parse_partition
from tests.simulation.made_parts import ALL_KINDS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kmeans", PartitionSpec("kmeans")),
        ("kmeans:mixing=0.1", PartitionSpec("kmeans", mixing=0.1)),
        ("scaffold:alpha=0.1", PartitionSpec("scaffold", alpha=0.1)),
        ("random", PartitionSpec("random")),
        ("column:name=source", PartitionSpec("column", column="source")),
        ("column:name=a=b", PartitionSpec("column", column="a=b")),
        ("label:alpha=0.3", PartitionSpec("label", alpha=0.3)),
        (
            " size : alpha = 2 , partners=12, minimum=5,overlap=0.25",
            PartitionSpec("size", partners=12, alpha=2.0, minimum=5, overlap=0.25),
        ),
    ],
)
def test_a_partition_is_read_from_the_command_line(text: str, expected: PartitionSpec) -> None:
    assert parse_partition(text) == expected


def test_defaults_are_those_of_the_paper() -> None:
    assert parse_partition("kmeans").to_dict() == {
        "kind": "kmeans", "partners": 8, "mixing": 0.05, "overlap": 0.0, "minimum": 30,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_plain_values_make_the_same_partition(kind: str) -> None:
    spec = PartitionSpec(kind, 5, column="site" if kind == "column" else "", overlap=0.1)
    again = PartitionSpec(**spec.to_dict())  # type: ignore[arg-type]
    assert again.to_dict() == spec.to_dict()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'' is not a kind; allowed are kmeans, scaffold"),
        ("butina:alpha=1", r"'butina' is not a kind"),
        ("kmeans:alpha=1", r"kmeans has no setting 'alpha'; allowed are minimum, mixing"),
        ("column:partners=3", r"column has no setting 'partners'; allowed are minimum, name, over"),
        ("scaffold:alpha", r"'alpha' is not a setting; write name=value"),
        ("scaffold:alpha=", r"'alpha=' is not a setting"),
        ("scaffold:alpha=1,,", r"'' is not a setting"),
        ("scaffold:alpha=1,alpha=2", r"'alpha' is given twice"),
        ("scaffold:alpha=small", r"alpha = 'small' is not a number"),
        ("random:partners=2.5", r"partners = '2.5' is not a whole number"),
        ("random:partners=1", r"partners = 1: allowed are 2 to 200"),
        ("random:partners=201", r"partners = 201: allowed are 2 to 200"),
        ("size:alpha=0", r"alpha = 0: allowed are numbers above 0"),
        ("size:alpha=inf", r"alpha = inf"),
        ("size:alpha=nan", r"alpha = nan"),
        ("kmeans:mixing=1.1", r"mixing = 1.1: allowed are 0 to 1"),
        ("kmeans:overlap=-0.1", r"overlap = -0.1: allowed are 0 to 1"),
        ("kmeans:overlap=nan", r"overlap = nan: allowed are 0 to 1"),
        ("kmeans:minimum=0", r"minimum = 0: allowed are 1 or more"),
        ("column", r"no column is named; write column:name=source"),
    ],
)
def test_a_wrong_partition_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(PartitionError, match=message) as caught:
        parse_partition(text)
    assert isinstance(caught.value, FluidError)
    assert "\n" not in str(caught.value)
