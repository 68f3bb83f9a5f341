"""The head of a model folder: what kind of model it is, without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fluid.base.errors import FileFormatError
from fluid.base.files import read_json
from fluid.base.schemas import schema_problem
from fluid.base.values import read_fields
from fluid.learn.model import Card

SCHEMA = "fluid.model/2"
MODEL_FILE = "model.json"


def load_card(folder: Path) -> Card:
    """The card of the model in a folder; nothing else of the folder is read or checked.

    Raises
    ------
    FileFormatError
        If it is not a model folder.
    """
    return read_head(folder)[1]


def read_head(folder: Path) -> tuple[dict[str, Any], Card]:
    """All of ``model.json`` as plain values, and the card in it.

    Raises
    ------
    FileFormatError
        If it is not a model folder.
    """
    if not folder.is_dir():
        raise FileFormatError(f"{folder}: no such model folder")
    values = read_json(folder / MODEL_FILE)
    if not isinstance(values, dict):
        raise FileFormatError(f"{folder / MODEL_FILE}: is not a table of values")
    problem = schema_problem(values.get("schema"), SCHEMA)
    if problem:
        raise FileFormatError(f"{folder}: {problem}")
    try:
        return values, Card(**read_fields(Card, "card", values["card"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{folder / MODEL_FILE}: is incomplete ({error!r})") from error
