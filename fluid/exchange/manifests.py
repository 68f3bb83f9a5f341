"""What sealed files state of themselves: the keys of each kind, their types and their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from fluid.base.values import check_digest, read_fields
from fluid.chem.chemistry import Chemistry
from fluid.exchange.federation import NAME
from fluid.exchange.noise_mechanism import mechanism_from_dict
from fluid.exchange.release import Release
from fluid.exchange.strictness import policy_from_dict
from fluid.learn.task import Task
from fluid.soft_labels.shrinkage import LARGEST_SLOPE

PUBLIC = "fluid.public/1"
CLUSTERS = "fluid.clusters/1"
ANNOTATION = "fluid.annotation/2"
FEDERATED = "fluid.federated/2"

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,.()/_-]{0,79}")
_MOST_VERSIONS = 20
_LONGEST_NAME = 1000
# Whole numbers up to this survive any JSON reader.
_MOST = (1 << 53) - 1


def check_manifest(values: Mapping[str, Any]) -> None:
    """Check what a sealed file states of itself.

    Parameters
    ----------
    values
        The manifest as `parse_json` gives it. Its schema must be one of `MANIFESTS`.

    Raises
    ------
    ValueError
        If a key is unknown or missing, or a value has another type or is not allowed.
    """
    kind = MANIFESTS[values["schema"]]
    kind(**read_fields(kind, "", values))


@dataclass(frozen=True)
class _Manifest:
    """A manifest; a field is checked by its name (`_CHECKS`), whatever the kind of file."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in _CHECKS and (value or one.default is MISSING):
                _CHECKS[one.name](value, one.name)


@dataclass(frozen=True)
class PublicManifest(_Manifest):
    """Of a public set."""

    schema: str
    protocol: str
    federation: str
    n_compounds: int
    chemistry: dict[str, Any]
    sources: list[Any]
    software: dict[str, Any]
    selection: dict[str, Any] = field(default_factory=dict)
    exclusion: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exclusion:
            given = {key: value for key, value in self.exclusion.items() if value is not None}
            _Exclusion(**read_fields(_Exclusion, "exclusion", given))
        if self.selection:
            # Null where there is none.
            given = {key: value for key, value in self.selection.items() if value is not None}
            _Selection(**read_fields(_Selection, "selection", given))


@dataclass(frozen=True)
class _Selection:
    """How the compounds of a public set were selected."""

    method: str
    pool: int
    seed: int
    n_clusters: int
    coverage: dict[str, Any]
    n_donated: int
    donated: list[Any]
    clusters: str = ""
    coverage_weight: float = 0.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z-]{1,40}/[0-9]{1,4}", self.method):
            raise ValueError(f"selection.method = {self.method[:80]!r}: a name and a version")
        for name in ("pool", "seed", "n_clusters", "n_donated"):
            _check_count(getattr(self, name), f"selection.{name}")
        for partner, digest in self.coverage.items():
            _check_name(partner, "selection.coverage")
            check_digest(digest, f"selection.coverage.{partner}")
        _check_sources(self.donated, "selection.donated")
        if self.clusters:
            check_digest(self.clusters, "selection.clusters")
        if not 0.0 <= self.coverage_weight <= 1.0:
            raise ValueError("selection.coverage_weight: allowed are 0 to 1")


@dataclass(frozen=True)
class _Exclusion:
    """Which compounds were kept out of a public set, and how many."""

    tables: list[Any]
    n_identical: int
    n_similar: int
    similarity: float = 1.0

    def __post_init__(self) -> None:
        for name in ("n_identical", "n_similar"):
            _check_count(getattr(self, name), f"exclusion.{name}")
        _check_sources(self.tables, "exclusion.tables")
        if not 0.0 < self.similarity <= 1.0:
            raise ValueError("exclusion.similarity: allowed are above 0 to 1")


@dataclass(frozen=True)
class ClustersManifest(_Manifest):
    """Of a file of clusters."""

    schema: str
    protocol: str
    federation: str
    n_clusters: int
    floor: float
    seed: int
    chemistry: dict[str, Any]
    sources: list[Any]
    software: dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor is {self.floor:g}; allowed are 0.0 to 1.0")


@dataclass(frozen=True)
class AnnotationManifest(_Manifest):
    """Of an annotation; `shared` is checked against the policy at intake."""

    schema: str
    federation: str
    round: int
    protocol: str
    public_set: str
    n_compounds: int
    partner: str
    tasks: list[Any]
    policy: dict[str, Any]
    ledger: dict[str, Any]
    shared: dict[str, Any]
    software: dict[str, Any]
    noise: dict[str, Any] = field(default_factory=dict)
    base_student: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        names = {task.name for task in _check_tasks(self.tasks)}
        policy_from_dict(self.policy)
        Release.from_dict(self.ledger)
        if self.noise:
            noise = _Noise(**read_fields(_Noise, "noise", self.noise))
            for stated in (noise.asked, noise.answered_at_most, noise.release["events"]):
                for task in sorted(set(stated) - names):
                    raise ValueError(f"noise: '{task[:80]}' is not a task of this annotation")


@dataclass(frozen=True)
class _Noise:
    """The noise of an annotation: the agreed settings, the compounds asked, and the cost."""

    settings: dict[str, Any]
    asked: dict[str, Any]
    answered_at_most: dict[str, Any]
    release: dict[str, Any]
    total: dict[str, Any]

    def __post_init__(self) -> None:
        mechanism_from_dict(self.settings)
        for key in ("asked", "answered_at_most"):
            for task, count in getattr(self, key).items():
                _check_count(count, f"noise.{key}.{task[:40]}")
        _Cost(**read_fields(_Cost, "noise.release", self.release))
        _Spent(**read_fields(_Spent, "noise.total", self.total))


@dataclass(frozen=True)
class _Spent:
    epsilon: float
    delta: float


@dataclass(frozen=True)
class _Cost:
    mechanism: str
    unit: str
    epsilon: float
    delta: float
    queries: int
    accountant: str
    events: dict[str, Any]

    def __post_init__(self) -> None:
        for name in ("mechanism", "unit", "accountant"):
            _check_word(getattr(self, name), f"noise.release.{name}")
        _check_count(self.queries, "noise.release.queries")
        for task, events in self.events.items():
            where = f"noise.release.events.{task[:40]}"
            if not isinstance(events, list):
                raise ValueError(f"{where}: a list is needed")
            for event in events:
                _Draws(**read_fields(_Draws, where, event))


@dataclass(frozen=True)
class _Draws:
    kind: str
    count: int
    sigma: float
    sensitivity: float

    def __post_init__(self) -> None:
        _check_word(self.kind, "noise.release.events.kind")


@dataclass(frozen=True)
class FederatedManifest(_Manifest):
    """Of a federated set."""

    schema: str
    federation: str
    round: int
    protocol: str
    public_set: str
    tasks: list[Any]
    annotations: dict[str, Any]
    n_compounds: int
    software: dict[str, Any]
    slopes: dict[str, Any]
    trust: dict[str, Any] = field(default_factory=dict)
    base_student: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        tasks = _check_tasks(self.tasks)
        numbers = {task.name for task in tasks if not task.is_classification}
        for partner, digest in self.annotations.items():
            _check_name(partner, "annotations")
            check_digest(digest, f"annotations.{partner}")
        for name, slope in self.slopes.items():
            if name not in numbers:
                raise ValueError(f"slopes: '{name[:80]}' is not a regression task of this set")
            if type(slope) not in (int, float) or not 1.0 <= slope <= LARGEST_SLOPE:
                raise ValueError(
                    f"slope of '{name}' is {str(slope)[:80]}; allowed are 1 to {LARGEST_SLOPE:g}"
                )
        for name, factors in self.trust.items():
            if name not in {task.name for task in tasks} or not isinstance(factors, dict):
                raise ValueError("'trust' must be a table of factors by task and partner")
            for partner, factor in factors.items():
                if partner not in self.annotations:
                    raise ValueError(f"trust.{name}: '{partner[:80]}' has no annotation")
                if type(factor) not in (int, float) or not 0.0 <= factor < 1.0:
                    raise ValueError(
                        f"trust.{name}.{partner} = {str(factor)[:40]}: allowed are 0 to below 1"
                    )


MANIFESTS: dict[str, type[Any]] = {
    PUBLIC: PublicManifest,
    CLUSTERS: ClustersManifest,
    ANNOTATION: AnnotationManifest,
    FEDERATED: FederatedManifest,
}


@dataclass(frozen=True)
class _Source:
    name: str
    sha256: str


def _check_sources(values: list[Any], where: str) -> None:
    for value in values:
        source = _Source(**read_fields(_Source, where, value))
        if len(source.name) > _LONGEST_NAME:
            raise ValueError(f"{where}: a name has at most {_LONGEST_NAME} characters")
        check_digest(source.sha256, f"{where}.sha256")


def _check_tasks(values: list[Any]) -> list[Task]:
    tasks = [Task.from_dict(value) for value in values]
    if not tasks:
        raise ValueError("'tasks' names no task")
    if len({task.name for task in tasks}) < len(tasks):
        raise ValueError("a task occurs twice")
    return tasks


def _check_software(values: dict[str, Any], where: str) -> None:
    pairs = [text for pair in values.items() for text in pair]
    if len(values) > _MOST_VERSIONS or not all(
        isinstance(text, str) and _VERSION.fullmatch(text) for text in pairs
    ):
        raise ValueError(f"'{where}' must be a table of packages and their versions")


def _check_name(text: str, where: str) -> None:
    if not NAME.fullmatch(text):
        raise ValueError(
            f"{where} = {text[:80]!r}: a letter or digit, then letters, digits, '_' or '-', at "
            "most 63"
        )


def _check_word(text: str, where: str) -> None:
    if not _WORD.fullmatch(text):
        raise ValueError(f"{where} = {text[:80]!r}: a name of at most 80 characters is needed")


def _check_count(value: Any, where: str) -> None:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"{where} = {repr(value)[:80]}: allowed are whole numbers from 0")


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "federation": _check_name,
    "partner": _check_name,
    "protocol": check_digest,
    "public_set": check_digest,
    "base_student": check_digest,
    "round": _check_count,
    "seed": _check_count,
    "n_compounds": _check_count,
    "n_clusters": _check_count,
    "chemistry": lambda value, where: Chemistry.from_dict(value),
    "sources": _check_sources,
    "software": _check_software,
}
