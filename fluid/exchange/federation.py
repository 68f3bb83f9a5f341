"""The federation: the contract of one round, in one TOML file that every command takes."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fluid.base.errors import FederationError, FluidError
from fluid.base.files import canonical_json, sha256_hex
from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.exchange.mechanism import Mechanism, mechanism_from_dict
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.signing import decode_public_key, encode_public_key
from fluid.learn.task import Task

SCHEMA = "fluid.federation/1"
RESERVED = frozenset(
    {
        "id", "line", "smiles", "standard_smiles", "inchikey", "problem", "fingerprint",
        "environments", "counts", "descriptors",
    }
)  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

Spec = TypeVar("Spec", StandardizerSpec, FeatureSpec, DisclosurePolicy)


@dataclass(frozen=True)
class Federation:
    """What all partners of a round have agreed on.

    Attributes
    ----------
    name, round
        Identify the round; annotations of another are refused.
    tasks
        Endpoints, in the order of every file's columns.
    chemistry
        How structures become numbers, and the RDKit that the contract was made with.
    policy
        What may leave a partner.
    partners
        Public keys by partner. Not part of the protocol digest, so a partner can join later.
    mechanism
        The noise on labels; part of the protocol if there is any.
    own_policy
        Where a partner is stricter, what it keeps to; no part of the contract or its digest.
    path
        The file that it was read from, if it was; no part of the contract.
    """

    name: str
    round: int
    tasks: tuple[Task, ...]
    chemistry: Chemistry
    policy: DisclosurePolicy = field(default_factory=DisclosurePolicy)
    partners: Mapping[str, str] = field(default_factory=dict)
    mechanism: Mechanism = field(default_factory=Mechanism)
    own_policy: DisclosurePolicy | None = None
    path: Path | None = field(default=None, compare=False)

    @classmethod
    def load(cls, source: Federation | Path | str) -> Federation:
        """Read a federation file; a federation is returned as it is.

        Raises
        ------
        FederationError
            If the file is missing, not TOML, or anything in it is unknown or not allowed.
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
        if self.round < 1:
            raise FederationError(f"round = {self.round}: must be 1 or more")
        if not self.tasks:
            raise FederationError("a federation needs at least one task")
        # Tables name tasks without regard to case and dashes.
        names = [task.name.lower().replace("-", "_") for task in self.tasks]
        taken = [name for name in names if name in RESERVED]
        if taken:
            raise FederationError(
                f"task '{taken[0]}' has the name of a column of every table; name it otherwise"
            )
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise FederationError(f"task '{twice[0]}' occurs twice")
        for task in self.tasks:
            _check_classes(task)
        problem = federation_range_problem(self.tasks, self.policy)
        if problem:
            raise FederationError(problem)
        _check_mechanism(self)
        holders: dict[str, str] = {}
        for name, key in self.partners.items():
            other = holders.setdefault(key, name)
            if other != name:
                raise FederationError(
                    f"partners '{other}' and '{name}' have the same public key; each needs one of "
                    "its own (keygen)"
                )

    @cached_property
    def protocol(self) -> str:
        """SHA-256 of everything that changes what numbers mean: tasks, chemistry and policy."""
        return sha256_hex(canonical_json(self.protocol_dict()))

    def protocol_dict(self) -> dict[str, Any]:
        """What the protocol digest covers."""
        values = {
            "schema": SCHEMA,
            "tasks": [task.to_dict() for task in self.tasks],
            "chemistry": self.chemistry.to_dict(),
            "policy": self.policy.to_dict(),
        }
        # So the digest of a federation without noise does not depend on there being mechanisms.
        return values | ({"mechanism": self.mechanism.to_dict()} if self.mechanism.is_used else {})

    def task_index(self, name: str) -> int:
        """Position of a task; -1 if there is none of that name (case does not matter)."""
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
    """Refuse classes that no table can name, or whose columns would be those of the task."""
    if not all(label.strip() for label in task.classes):
        raise FederationError(f"task '{task.name}': a class without a name")
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
    """What is wrong if some task can say nothing at all under a policy; None if nothing is."""
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
            f"policy share = {list(federation.policy.share)}: with a noise mechanism nothing may "
            "be shared besides, for no noise is added to it"
        )


def check_partner_name(name: str) -> str:
    """The name, if it may be used in files and folders.

    Raises
    ------
    FederationError
        If not.
    """
    if not NAME.fullmatch(name):
        raise FederationError(
            f"partner name '{name}': a letter or digit, then letters, digits, '_' or '-', "
            "at most 63"
        )
    return name


def load_federation(path: Path) -> Federation:
    """Read a federation file.

    Raises
    ------
    FederationError
        If it is missing, not TOML, or anything in it is unknown or not allowed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FederationError(f"{path}: no such file") from error
    except OSError as error:
        raise FederationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise FederationError(f"{path}: is not UTF-8 text ({error.reason})") from error
    try:
        return replace(parse_federation(text), path=path)
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
    FederationError, ValueError
        If a key is unknown, missing, or of the wrong type.
    """
    allowed = {
        "schema", "name", "round", "tasks", "standardizer", "features", "policy", "mechanism",
        "partners",
    }  # fmt: skip
    _refuse_unknown("federation", values, allowed)
    if values.get("schema") != SCHEMA:
        raise FederationError(f"schema is {values.get('schema')!r}; this version reads '{SCHEMA}'")
    standardizer = dict(_table(values, "standardizer"))
    rdkit = _text(standardizer.pop("rdkit", None), "standardizer.rdkit")
    reference = _text(standardizer.pop("reference", None), "standardizer.reference")
    tasks = values.get("tasks", [])
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise FederationError("'tasks' must be [[tasks]] tables")
    number = values.get("round")
    if isinstance(number, bool) or not isinstance(number, int):
        raise FederationError("'round' is missing or not a whole number")
    return Federation(
        name=_text(values.get("name"), "name"),
        round=number,
        tasks=tuple(_task(task) for task in tasks),
        chemistry=Chemistry(
            _spec(StandardizerSpec, "standardizer", standardizer),
            _spec(FeatureSpec, "features", _table(values, "features")),
            rdkit,
            reference,
        ),
        policy=_spec(DisclosurePolicy, "policy", _table(values, "policy")),
        partners=_partners(_table(values, "partners")),
        mechanism=mechanism_from_dict(_table(values, "mechanism")),
    )


def _task(values: dict[str, Any]) -> Task:
    try:
        return Task.from_dict(values)
    except OverflowError as error:
        raise FederationError(f"task '{values['name']}': 'low' or 'high' is too large") from error


def _partners(values: dict[str, Any]) -> dict[str, str]:
    keys = {}
    for name, entry in values.items():
        check_partner_name(name)
        if not isinstance(entry, dict):
            raise FederationError(f"partner '{name}' must be a table [partners.{name}]")
        _refuse_unknown(f"partners.{name}", entry, {"public_key"})
        text = _text(entry.get("public_key"), f"partners.{name}.public_key")
        # One key has one text.
        keys[name] = encode_public_key(decode_public_key(text))
    return keys


def _spec(kind: type[Spec], name: str, values: dict[str, Any]) -> Spec:
    return kind(**typed_values(kind, name, values))


def typed_values(kind: type[Spec], name: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a table as the fields of a specification want them.

    Raises
    ------
    FederationError
        If a key is unknown or a value of another type.
    """
    defaults = {item.name: getattr(kind(), item.name) for item in fields(kind)}
    _refuse_unknown(name, values, set(defaults))
    given = {}
    for key, value in values.items():
        wanted = type(defaults[key])
        if wanted is tuple and isinstance(value, list):
            value = tuple(value)
        if wanted is float and type(value) is int and abs(value) < 1 << 53:
            value = float(value)
        if type(value) is not wanted:
            shown = repr(value)[:80]
            raise FederationError(f"{name}.{key} = {shown}: {_WORDS[wanted]} is needed")
        given[key] = value
    return given


_WORDS: dict[type, str] = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false",
    tuple: "a list of text",
}  # fmt: skip


def _refuse_unknown(where: str, values: dict[str, Any], allowed: set[str]) -> None:
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise FederationError(
            f"{where}: unknown key '{unknown[0]}'; allowed are {', '.join(sorted(allowed))}"
        )


def _table(values: dict[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key, {})
    if not isinstance(found, dict):
        raise FederationError(f"'{key}' must be a table [{key}]")
    return found


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise FederationError(f"'{where}' is missing or not text")
    return value
