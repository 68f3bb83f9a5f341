"""Names and versions of file formats, such as ``fluid.annotation/2``."""

from __future__ import annotations

from typing import Any

_REMEDIES = {
    "fluid.annotation": "annotate the public set again",
    "fluid.clusters": "make the clusters again",
    "fluid.coverage": "survey again",
    "fluid.federated": "distill again",
    "fluid.model": "train or distill the model again",
    "fluid.public": "prepare the public set again",
    "fluid.report": "distill again",
}
_LONGEST = 80


def schema_problem(found: Any, wanted: str) -> str | None:
    """Say why a file of one schema cannot be read as another.

    Parameters
    ----------
    found
        The schema that the file states.
    wanted
        The schema that this version reads.

    Returns
    -------
    str or None
        What is wrong and what to do, to follow the file's name; None if the schemas are the same.

    Examples
    --------
    >>> schema_problem("fluid.report/1", "fluid.report/2")
    "has the older format 'fluid.report/1', this version of fluid reads 'fluid.report/2': distill \
again, or use the version that wrote it"
    """
    if found == wanted:
        return None
    shown = repr(str(found))[1:-1][:_LONGEST]
    name, _, version = wanted.rpartition("/")
    number = shown.removeprefix(f"{name}/")
    if not same_format(found, wanted) or not number.isdecimal():
        return f"is a '{shown}' file, but a '{wanted}' file is needed"
    reads = f"format '{shown}', this version of fluid reads '{wanted}'"
    if int(number) > int(version):
        return f"has the newer {reads}: use a newer version of fluid"
    remedy = _REMEDIES.get(name, "make it again")
    return f"has the older {reads}: {remedy}, or use the version that wrote it"


def same_format(found: Any, wanted: str) -> bool:
    """Whether two schemas have the same name, whatever their versions."""
    return str(found).rpartition("/")[0] == wanted.rpartition("/")[0]
