"""The head of a model folder: what kind of model it is, without loading it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluid.base.errors import FileFormatError, one_line
from fluid.base.files import read_json
from fluid.base.schemas import schema_problem
from fluid.base.values import convert_value, read_fields
from fluid.learn.model import KINDS, Card

SCHEMA = "fluid.model/4"
MODEL_FILE = "model.json"


@dataclass(frozen=True)
class _Training:
    """What a card may state of training."""

    learner: str = ""
    folds: int = 0
    folds_by: str = ""
    repeats: int = 0
    seed: int = 0
    compounds: int = 0
    labels: dict[str, Any] = field(default_factory=dict)
    columns: list[Any] = field(default_factory=list)
    sub_teachers: int = 0
    federated_set: str = ""
    base_student: str = ""
    twicing: dict[str, Any] = field(default_factory=dict)
    twicing_of_residuals: dict[str, Any] = field(default_factory=dict)


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
    with stated_in(folder / MODEL_FILE):
        return values, read_card(values["card"])


@contextmanager
def stated_in(path: Path) -> Iterator[None]:
    """Name the file in which a value is missing or not allowed.

    Raises
    ------
    FileFormatError
        Instead of the errors that such values raise.
    """
    try:
        yield
    except KeyError as error:
        raise FileFormatError(f"{path}: is incomplete ({one_line(error)} is missing)") from error
    except (FileFormatError, ValueError) as error:
        raise FileFormatError(f"{path}: is incomplete or wrong ({one_line(error)})") from error


def read_card(values: Any) -> Card:
    """The card of a model.

    Raises
    ------
    ValueError
        If a key is missing or unknown, or a value not allowed.
    """
    card = Card(**read_fields(Card, "card", values))
    if card.kind not in KINDS:
        raise ValueError(f"card.kind = {card.kind!r:.80}; allowed are {', '.join(KINDS)}")
    read_fields(_Training, "card.training", card.training)
    for task, counts in card.training.get("labels", {}).items():
        for name, count in convert_value(counts, dict, f"card.training.labels.{task}").items():
            convert_value(count, int, f"card.training.labels.{task}.{name}")
    for task, metrics in card.metrics.items():
        for name, value in convert_value(metrics, dict, f"card.metrics.{task}").items():
            if value is not None:
                convert_value(value, float, f"card.metrics.{task}.{name}")
    for name, version in card.software.items():
        convert_value(version, str, f"card.software.{name}")
    return card
