"""Write a federation file for people to read and edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fluid.base.errors import FederationError
from fluid.base.files import write_text
from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec
from fluid.chem.standardize import StandardizerSpec
from fluid.exchange.federation import (
    COORDINATOR,
    SCHEMA,
    check_partner_name,
    load_federation,
    parse_federation,
    signer_title,
)
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.signing import locked_folder, read_public_key
from fluid.learn.task import HIGHEST, LOWEST, Task

_HEAD = """\
# The federation file: the contract of one round. Every command takes it, every partner reads it.
# Tasks, standardizer, features and policy make up the protocol digest: change one of them, and
# the public set and all annotations must be made again. Partners may be added at any time.

schema = "{schema}"
name = {name}
round = {round}
"""

_STANDARDIZER = """
# How structures are standardised (RDKit): metals disconnected, known counter-ions and solvents
# taken off, functional groups normalised, charges neutralised.
[standardizer]
stereo = "{stereo}"            # "remove" or "keep", in standard SMILES and InChIKey
isotopes = "{isotopes}"          # "remove" or "keep"
mixtures = "{mixtures}"          # "reject" if two components may be the compound, or "largest"
max_heavy_atoms = {max_heavy_atoms}
# The RDKit that this file was made with, and what it computes for a reference set of structures.
# A site that computes anything else is refused, and so are settings edited here by hand: set them,
# and those of the next table, by options of `fluid init-federation`.
rdkit = "{rdkit}"
reference = "{reference}"
"""

_FEATURES = """
# What models see. Similarity and applicability domain always use the fingerprint's bits.
[features]
fingerprint = "{fingerprint}"         # "ecfp" or "fcfp"
radius = {radius}                   # 2 gives ECFP4 or FCFP4
bits = {bits}
counts = {counts}                # whether learners see how often a feature occurs
descriptors = "{descriptors}"     # "rdkit-2d" or "none"
"""

_POLICY = """
# What an annotation may contain. Every number that leaves is rounded to these steps. A partner may
# be stricter (`fluid annotate --policy`), never looser.
[policy]
folds_by = "{folds_by}"     # no label is learned from the "compound", or from its "framework"
probability_step = {probability_step}
probability_clip = {probability_clip}       # probabilities are clipped to [clip, 1 - clip]
value_step = {value_step}            # regression, in the task's unit: about 1% of its spread
uncertainty_step = {uncertainty_step}
reliability_step = {reliability_step}       # {levels} levels
neighbourhood = {neighbourhood}             # training compounds behind every similarity
abstain_below = {abstain_below}           # compounds of lower reliability are not labelled
# How often a teacher may label a public set, and how many compounds over all releases.
max_releases = {max_releases}
max_queries = {max_queries}
# What may be shared with the labels: "training-size" (a power of two), "metrics" (out of fold) and
# "prevalence" (shares of classes), both rounded to 0.05, and "coverage" (how many compounds lie
# near each cluster of public ones, in tens; coverage_step and coverage_minimum change that).
share = {share}
# `fluid audit` fails if an attack ranks members with a higher ROC-AUC than this: the first for a
# compound's own row and the columns beside the prediction, the second for the rows of its analogues
# (1.0 only reports).
audit_max_auc = {audit_max_auc}
audit_max_neighbour_auc = {audit_max_neighbour_auc}
"""

# Up to so many tasks have a block each; more have a line each, after the settings.
_MOST_BLOCKS = 20
_TASKS = """
# What is measured, one task a line; `fluid init-federation --help` names the fields.
[tasks]
"""

_KEYS = """
# Public keys of the partners and of the coordinator, as `fluid keygen` prints them. With a
# coordinator's key, whatever comes from the coordinator must be signed with it.
"""


def parse_task_option(text: str) -> Task:
    """A task from ``name:kind`` or ``name:kind:detail``.

    The detail is the classes separated by commas, of a binary task the negative one first; or the
    unit of a regression task, which may be followed by its range as ``:low:high``.

    Examples
    --------
    >>> parse_task_option("bbb:binary:BBB-,BBB+").classes
    ('BBB-', 'BBB+')
    >>> parse_task_option("logbb:regression:log10(brain/blood):-4:4").high
    4.0

    Raises
    ------
    FederationError
        If the text is not of this form.
    """
    name, _, rest = text.partition(":")
    kind, _, detail = rest.partition(":")
    try:
        if kind != "regression":
            classes = tuple(label.strip() for label in detail.split(",")) if detail else ()
            return Task(name, kind, classes=classes)
        unit, *bounds = detail.split(":")
        if not bounds:
            return Task(name, kind, unit=unit)
        if len(bounds) != 2:
            raise ValueError(f"{len(bounds)} bounds after the unit, low and high are needed")
        low, high = (float(bound) for bound in bounds)
        return Task(name, kind, unit=unit, low=low, high=high)
    except ValueError as error:
        raise FederationError(
            f"--task {text}: {error}. The form is name:kind, as bbb:binary, "
            "bbb:binary:BBB-,BBB+ or logbb:regression:unit:low:high"
        ) from error


def federation_text(
    name: str,
    tasks: Sequence[Task],
    features: FeatureSpec | None = None,
    standardizer: StandardizerSpec | None = None,
    round: int = 1,
) -> str:
    """The text of a new federation file, with comments.

    Parameters
    ----------
    name, round
        Identify the round.
    tasks
        Endpoints.
    features, standardizer
        What models see, and how structures are standardised; by default the recommended settings.
    """
    chemistry = Chemistry.here(standardizer or StandardizerSpec(), features or FeatureSpec())
    policy = DisclosurePolicy()
    text = _HEAD.format(schema=SCHEMA, name=json.dumps(name), round=round)
    few = len(tasks) <= _MOST_BLOCKS
    if few:
        for task in tasks:
            text += "\n[[tasks]]\n" + _task_lines(task)
    else:
        text += f"# The {len(tasks):,} tasks are listed below, one a line.\n"
    text += _STANDARDIZER.format(
        **chemistry.standardizer.to_dict(),
        rdkit=chemistry.rdkit,
        reference=chemistry.reference,
    )
    values = chemistry.features.to_dict()
    text += _FEATURES.format(**(values | {"counts": str(values["counts"]).lower()}))
    text += _POLICY.format(**policy.to_dict(), levels=policy.reliability_levels)
    if not few:
        text += _TASKS + "".join(_task_line(task) for task in tasks)
    return text + _KEYS


def _toml(value: Any) -> str:
    """A plain value of `Task.to_dict` as TOML; of text and lists of text, JSON is TOML."""
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _task_line(task: Task) -> str:
    values = task.to_dict()
    for key, usual in (("unit", ""), ("low", LOWEST), ("high", HIGHEST)):
        if values.get(key) == usual:
            del values[key]
    pairs = [f"{key} = {_toml(value)}" for key, value in values.items() if key != "name"]
    return f"{task.name} = {{ {', '.join(pairs)} }}\n"


def _task_lines(task: Task) -> str:
    lines = f"name = {json.dumps(task.name)}\nkind = {json.dumps(task.kind)}\n"
    values = task.to_dict()
    if task.kind == "regression":
        lines += f"unit = {json.dumps(task.unit, ensure_ascii=False)}\n"
        given = task.low > LOWEST or task.high < HIGHEST
        lines += "# Measurements outside a range are rejected, predictions are clipped to it.\n"
        lines += (
            f"low = {task.low!r}\nhigh = {task.high!r}\n"
            if given
            else "# low = 0.0\n# high = 10.0\n"
        )
    elif task.classes:
        comment = "   # negative, positive" if task.kind == "binary" else ""
        lines += f"classes = {json.dumps(list(task.classes), ensure_ascii=False)}{comment}\n"
    written = {"name", "kind", "classes"}
    if task.kind == "regression":
        written |= {"unit", "low", "high"}
    return lines + "".join(
        f"{key} = {_toml(value)}\n" for key, value in values.items() if key not in written
    )


def init_federation(
    path: Path,
    name: str,
    tasks: Sequence[Task],
    features: FeatureSpec | None = None,
    standardizer: StandardizerSpec | None = None,
    round: int = 1,
) -> str:
    """Write a new federation file.

    Returns
    -------
    str
        The protocol digest.

    Raises
    ------
    FederationError
        If a setting is not allowed, or the file exists.
    """
    if path.exists():
        raise FederationError(f"{path}: exists; a federation file is never overwritten")
    text = federation_text(name, tasks, features, standardizer, round)
    federation = parse_federation(text)
    write_text(path, text)
    return federation.protocol


def register_partner(path: Path, partner: str, public_key: Path) -> None:
    """Add a public key at the end of a federation file; the rest of it stays as it is.

    Parameters
    ----------
    path
        The federation file.
    partner
        Name of a partner, or ``"coordinator"``.
    public_key
        File with the key.

    Raises
    ------
    FederationError
        If the partner is registered with another key already, the key is that of another partner,
        or the file cannot be read.
    """
    if partner != COORDINATOR:
        check_partner_name(partner)
    key = read_public_key(public_key)
    if not path.is_file():
        raise FederationError(f"{path}: no such file")
    with locked_folder(path.parent):
        federation = load_federation(path)
        keys = {**federation.partners}
        if federation.coordinator:
            keys[COORDINATOR] = federation.coordinator
        registered = keys.get(partner)
        if registered == key:
            return
        if registered is not None:
            raise FederationError(
                f"{path}: {signer_title(partner)} is registered with another key; edit the file if "
                "the key was replaced"
            )
        holders = [name for name, held in keys.items() if held == key]
        if holders:
            raise FederationError(
                f"{path}: {public_key} is the key of {signer_title(holders[0])}; "
                f"'{partner}' needs its own (keygen)"
            )
        # Byte for byte: the file keeps its line ends and its byte order mark.
        text = path.read_bytes().decode("utf-8")
        end = "\r\n" if "\r\n" in text else "\n"
        if not text.endswith("\n"):
            text += end
        table = partner if partner == COORDINATOR else f"partners.{partner}"
        text += f'{end}[{table}]{end}public_key = "{key}"{end}'
        try:
            parse_federation(text.removeprefix("\ufeff"))
        except FederationError as error:
            raise FederationError(
                f"{path}: {signer_title(partner)} cannot be added at the end ({error}); add it by "
                "hand"
            ) from error
        write_text(path, text)
