"""Versions of file formats: what is said of an older or newer file, and of another kind."""

from __future__ import annotations

import pytest

from fluid.base.schemas import same_format, schema_problem


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("fluid.annotation/2", None),
        (
            "fluid.annotation/1",
            "has the older format 'fluid.annotation/1', this version of fluid reads "
            "'fluid.annotation/2': annotate the public set again, or use the version that wrote it",
        ),
        (
            "fluid.annotation/10",
            "has the newer format 'fluid.annotation/10', this version of fluid reads "
            "'fluid.annotation/2': use a newer version of fluid",
        ),
        ("fluid.public/2", "is a 'fluid.public/2' file, but a 'fluid.annotation/2' file is needed"),
        ("fluid.annotation", "is a 'fluid.annotation' file, but a 'fluid.annotation/2' file is n"),
        ("fluid.annotation/x", "is a 'fluid.annotation/x' file, but a 'fluid.annotation/2'"),
        (None, "is a 'None' file, but a 'fluid.annotation/2' file is needed"),
        ("fluid.annotation/" + "9" * 9999, "has the newer format 'fluid.annotation/9999"),
        ({"a": 1}, "is a '{'a': 1}' file, but a 'fluid.annotation/2' file is needed"),
    ],
)
def test_what_is_said_of_another_schema(found: object, message: str | None) -> None:
    problem = schema_problem(found, "fluid.annotation/2")
    if message is None:
        assert problem is None
    else:
        assert problem is not None
        assert problem.startswith(message)
        assert len(problem) < 250


def test_a_format_keeps_its_name_over_versions() -> None:
    assert same_format("fluid.public/1", "fluid.public/2")
    assert not same_format("fluid.public/1", "fluid.publics/1")
    assert not same_format(None, "fluid.public/1")
