"""The federation: the contract of one round, in one TOML file that every command takes."""

from __future__ import annotations

import math
import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fluid.base.errors import FederationError, FluidError
from fluid.base.files import canonical_json, sha256_hex
from fluid.base.show import csv_cell, hides, shown
from fluid.base.values import read_fields
from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.exchange.noise_mechanism import Mechanism, mechanism_from_dict
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.signing import decode_public_key, encode_public_key
from fluid.learn.task import HIGHEST, LOWEST, Task

SCHEMA = "fluid.federation/1"
_HIGHEST_ROUND = 1_000_000
_LONGEST_NAME = 200
# Columns of tables of compounds, which no task may be named like.
RESERVED = frozenset(
    {
        "id",
        "line",
        "smiles",
        "standard_smiles",
        "inchikey",
        "problem",
        "fingerprint",
        "environments",
        "counts",
        "descriptors",
    }
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
# Who the key files of the coordinator are named after; no partner may be.
COORDINATOR = "coordinator"


@dataclass(frozen=True)
class Federation:
    """What all partners of a round have agreed on.

    Attributes
    ----------
    name, round
        Identify the round; annotations of other rounds are refused.
    tasks
        Endpoints, in the order of every file's columns.
    chemistry
        How structures become features, and the RDKit version of the site that made the contract.
    policy
        What may leave a partner.
    partners
        Public keys by partner. Not part of the protocol digest, so a partner can join later.
    mechanism
        The noise on labels; part of the protocol if there is any.
    coordinator
        The coordinator's public key. If there is one, public set, clusters, federated sets,
        students and reports must be signed with it; empty if nothing of these is signed. Like the
        partners', it is not part of the protocol digest.
    own_policy
        A partner's stricter policy; not part of the contract or its digest. None without one.
    path
        The file that the federation was read from; not part of the contract.
    source
        The bytes of that file.
    """

    name: str
    round: int
    tasks: tuple[Task, ...]
    chemistry: Chemistry
    policy: DisclosurePolicy = field(default_factory=DisclosurePolicy)
    partners: Mapping[str, str] = field(default_factory=dict)
    mechanism: Mechanism = field(default_factory=Mechanism)
    coordinator: str = ""
    own_policy: DisclosurePolicy | None = None
    path: Path | None = field(default=None, compare=False)
    source: bytes | None = field(default=None, compare=False, repr=False)

    @classmethod
    def load(cls, source: Federation | Path | str) -> Federation:
        """Read a federation file; a federation is returned as it is.

        Raises
        ------
        FederationError
            If the file is missing, not TOML, or anything in it is unknown or not allowed.

        Examples
        --------
        >>> from fluid import Federation
        >>> [task.name for task in Federation.load("federation.toml").tasks]
        ['bbb', 'logbb']
        """
        return source if isinstance(source, Federation) else load_federation(Path(source))

    @property
    def in_force(self) -> DisclosurePolicy:
        """The policy that a partner keeps to."""
        return self.own_policy or self.policy

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise FederationError(
                f"federation name '{self.name}': a letter or digit, then letters, digits, '_' or "
                "'-', at most 63"
            )
        if not 1 <= self.round <= _HIGHEST_ROUND:
            raise FederationError(
                f"round = {str(min(self.round, 10**40))[:40]}: allowed are 1 to {_HIGHEST_ROUND:,}"
            )
        if not self.tasks:
            raise FederationError("a federation needs at least one task")
        # Tables ignore case and dashes in the names of tasks.
        names = [task.name.lower().replace("-", "_") for task in self.tasks]
        taken = [name for name in names if name in RESERVED]
        if taken:
            raise FederationError(
                f"task '{taken[0]}' has the name of a column of every table; choose another"
            )
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise FederationError(f"task '{twice[0]}' occurs twice")
        for task in self.tasks:
            _check_classes(task)
            if task.low < LOWEST or task.high > HIGHEST:
                raise FederationError(
                    f"task '{task.name}': range {task.low:g} to {task.high:g}; allowed are "
                    f"{LOWEST:g} to {HIGHEST:g}"
                )
        problem = federation_range_problem(self.tasks, self.policy)
        if problem:
            raise FederationError(problem)
        _check_mechanism(self)
        holders = {self.coordinator: COORDINATOR}
        for name, key in self.partners.items():
            other = holders.setdefault(key, name)
            if other != name:
                both = f"the coordinator and partner '{name}'"
                if other != COORDINATOR:
                    both = f"partners '{other}' and '{name}'"
                raise FederationError(
                    f"{both} have the same public key; each needs its own (keygen)"
                )

    @cached_property
    def protocol(self) -> str:
        """SHA-256 of what labels depend on: tasks, chemistry, policy and noise."""
        return sha256_hex(canonical_json(self.protocol_dict()))

    def protocol_dict(self) -> dict[str, Any]:
        """What the protocol digest covers."""
        values = {
            "schema": SCHEMA,
            "tasks": [task.to_dict() for task in self.tasks],
            "chemistry": self.chemistry.to_dict(),
            "policy": self.policy.to_dict(),
        }
        # A federation without noise keeps the digest it had before there were mechanisms.
        return values | ({"mechanism": self.mechanism.to_dict()} if self.mechanism.is_used else {})

    def task_index(self, name: str) -> int:
        """Position of the task with this name, whatever its case; -1 if there is none."""
        names = [task.name.lower() for task in self.tasks]
        return names.index(name.lower()) if name.lower() in names else -1

    def public_key(self, partner: str) -> str:
        """A partner's key.

        Raises
        ------
        FederationError
            If the partner is not registered.
        """
        if partner not in self.partners:
            known = ", ".join(sorted(self.partners)) or "none yet"
            raise FederationError(
                f"partner '{partner}' is not registered in federation '{self.name}'; "
                f"registered are: {known}"
            )
        return self.partners[partner]


def _check_classes(task: Task) -> None:
    """Refuse classes without a name, and those whose columns clash with others of the task."""
    if not all(label.strip() for label in task.classes):
        raise FederationError(f"task '{task.name}': a class has no name")
    classes = [("class", label) for label in task.classes]
    for what, text in [("source", task.source), ("unit", task.unit), *classes]:
        if hides(text) or len(text) > _LONGEST_NAME:
            raise FederationError(
                f"task '{task.name}': {what} '{shown(text, 60)}'; allowed are at most "
                f"{_LONGEST_NAME} visible characters"
            )
        # The source is the name of a partner's column, and in no file that a spreadsheet opens.
        if what != "source" and csv_cell(text) != text:
            raise FederationError(
                f"task '{task.name}': {what} '{text}' begins like a formula, which a spreadsheet "
                "would run; let it begin with a letter or digit"
            )
    ends = ("", ".prediction", ".uncertainty", ".label", ".disagreement")
    columns = [output + end for output in task.outputs for end in ends]
    own = ("class", "reliability", "teachers", "domain", "in_domain", "reason")
    columns += [f"{task.name}.{part}" for part in own]
    clash = [name for name in columns if columns.count(name) > 1]
    if clash:
        raise FederationError(
            f"task '{task.name}': its classes give two columns the name '{clash[0]}'; "
            "rename the class"
        )


def federation_range_problem(tasks: Sequence[Task], policy: DisclosurePolicy) -> str | None:
    """Say which task has no value that the policy allows; None if every task has one."""
    step = policy.value_step
    for task in tasks:
        if not task.is_classification and math.ceil(task.low / step) > math.floor(task.high / step):
            return (
                f"task '{task.name}': no multiple of value_step = {step:g} lies within its range "
                f"{task.low:g} to {task.high:g}"
            )
    return None


def _check_mechanism(federation: Federation) -> None:
    try:
        federation.mechanism.check_tasks(federation.tasks)
    except ValueError as error:
        raise FederationError(str(error)) from error
    if federation.mechanism.is_used and federation.policy.share:
        raise FederationError(
            f"policy share = {list(federation.policy.share)}: with a noise mechanism only "
            "labels may be shared, for no noise is added to anything else"
        )


def signer_title(name: str) -> str:
    """How messages name who has a key."""
    return "the coordinator" if name == COORDINATOR else f"partner '{name}'"


def check_partner_name(name: str) -> str:
    """Return the name if files and folders can bear it.

    Raises
    ------
    FederationError
        If they cannot.
    """
    if not NAME.fullmatch(name):
        raise FederationError(
            f"partner name '{name}': a letter or digit, then letters, digits, '_' or '-', "
            "at most 63"
        )
    if name == COORDINATOR:
        raise FederationError(f"partner name '{name}': the name is the coordinator's")
    return name


def load_federation(path: Path) -> Federation:
    """Read a federation file.

    Raises
    ------
    FederationError
        If it is missing, not TOML, or anything in it is unknown or not allowed.
    """
    try:
        source = path.read_bytes()
        text = source.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise FederationError(f"{path}: no such file") from error
    except OSError as error:
        raise FederationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise FederationError(f"{path}: is not UTF-8 text ({error.reason})") from error
    try:
        return replace(parse_federation(text), path=path, source=source)
    except FederationError as error:
        raise FederationError(f"{path}: {error}") from error


def parse_federation(text: str) -> Federation:
    """Build a federation from the text of its file.

    Raises
    ------
    FederationError
        If it is not TOML, or anything in it is unknown or not allowed.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FederationError(f"is not valid TOML ({error})") from error
    try:
        return federation_from_dict(values)
    except (FluidError, ValueError) as error:
        raise FederationError(str(error)) from error


def federation_from_dict(values: dict[str, Any]) -> Federation:
    """Build a federation from the tables of its file.

    Raises
    ------
    FluidError, ValueError
        If a key is unknown, missing, or of the wrong type.
    """
    schema = values.get("schema")
    if schema != SCHEMA:
        raise FederationError(f"schema is {schema!r}; this version reads '{SCHEMA}'")
    file = _FederationFile(**read_fields(_FederationFile, "", values))
    settings = {key: value for key, value in file.standardizer.items() if key not in _SITE_KEYS}
    site = {key: value for key, value in file.standardizer.items() if key in _SITE_KEYS}
    return Federation(
        name=file.name,
        round=file.round,
        tasks=tuple(Task.from_dict(task) for task in file.tasks),
        chemistry=Chemistry(
            StandardizerSpec(**read_fields(StandardizerSpec, "standardizer", settings)),
            FeatureSpec(**read_fields(FeatureSpec, "features", file.features)),
            **read_fields(_Site, "standardizer", site),
        ),
        policy=DisclosurePolicy(**read_fields(DisclosurePolicy, "policy", file.policy)),
        partners=_partners(file.partners),
        mechanism=mechanism_from_dict(file.mechanism),
        coordinator=_key(COORDINATOR, file.coordinator) if file.coordinator else "",
    )


@dataclass(frozen=True)
class _FederationFile:
    """The keys of a federation file."""

    schema: str
    name: str
    round: int
    tasks: list[Any]
    standardizer: dict[str, Any]
    features: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    mechanism: dict[str, Any] = field(default_factory=dict)
    coordinator: dict[str, Any] = field(default_factory=dict)
    partners: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Site:
    """What the standardizer's table says of the site that made the file."""

    rdkit: str
    reference: str


@dataclass(frozen=True)
class _Signer:
    """The table of a partner or of the coordinator."""

    public_key: str


_SITE_KEYS = ("rdkit", "reference")


def _partners(values: dict[str, Any]) -> dict[str, str]:
    return {
        check_partner_name(name): _key(f"partners.{name}", entry) for name, entry in values.items()
    }


def _key(where: str, entry: Any) -> str:
    signer = _Signer(**read_fields(_Signer, where, entry))
    # One key has one text.
    return encode_public_key(decode_public_key(signer.public_key))
