"""Models as folders of plain files: JSON, NumPy arrays, Parquet. No code.

    model.json        what the model is, its parts, and the SHA-256 of every other file
    library.parquet   compounds that members and domains refer to
    arrays.npz        numbers of members and domains; kernel machines in long arrays, see
                      `fluid.learn.member_table`
    networks.safetensors  layers of networks that several tasks share, if there are any
    trained_on.npy    digests of the connectivities that a student learned from, if its library does
                      not hold all of them
    conformal.npz     out-of-fold predictions beside measured labels; never in a student's folder

A hybrid holds two such folders, ``own`` and ``student``, beside its ``model.json``. Loading
checks every digest and every number (`fluid.learn.stored_model`); nothing of the folder is run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fluid.base.arrays import read_arrays
from fluid.base.errors import FileFormatError
from fluid.base.files import dump_json, sha256_file
from fluid.base.parquet_limits import Limits, open_parquet
from fluid.base.safetensors import read_tensors, write_tensors
from fluid.base.values import convert_value, read_fields
from fluid.chem.arrow import compounds_from_batch, compounds_to_batch, concatenate_batches
from fluid.chem.compounds import Compounds
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.estimators import State
from fluid.learn.estimators.base import Shared, number_shared
from fluid.learn.estimators.multitask.head import Head
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.measured import MEASURED_FILE, Measured, read_measured, write_measured
from fluid.learn.member_table import HeadTableWriter, TableWriter, table_kind
from fluid.learn.model import Card, Predictor, TaskModel, TrainedModel
from fluid.learn.model_file import MODEL_FILE, SCHEMA, read_head, stated_in
from fluid.learn.stored_model import (
    Arrays,
    StoredHybrid,
    StoredTrained,
    check_teacher,
    hybrid_from,
    trained_from,
)
from fluid.learn.trained_on import TRAINED_ON_FILE, read_trained_on

# Checked before a digest is computed.
_LARGEST_FILE = 1 << 30
LIBRARY_FILE, ARRAYS_FILE = "library.parquet", "arrays.npz"
SHARED_FILE = "networks.safetensors"


def save_model(
    model: TrainedModel | HybridModel, folder: Path, measured: Mapping[str, Measured] | None = None
) -> None:
    """Write a model into an existing folder; the caller makes the folder appear as a whole.

    Parameters
    ----------
    model, folder
        What is written, and where.
    measured
        By task: out-of-fold predictions of the measured compounds, in the order of the task's
        rows.

    Raises
    ------
    ValueError
        If a student is given measured labels: its folder travels.
    """
    if measured:
        if model.card.kind == "student":
            raise ValueError("a student's folder travels and holds no measured labels")
        write_measured(folder / MEASURED_FILE, measured)
    if isinstance(model, HybridModel):
        for name, part in (("own", model.own), ("student", model.student)):
            (folder / name).mkdir()
            save_model(part, folder / name)
        parts = {name: sha256_file(folder / name / MODEL_FILE) for name in ("own", "student")}
        if measured:
            parts[MEASURED_FILE] = sha256_file(folder / MEASURED_FILE)
        _write(
            folder,
            {
                "decisions": {
                    name: [
                        made.calibration.slope,
                        made.calibration.intercept,
                        made.threshold,
                        made.blend_weight.factor,
                        made.blend_weight.low,
                        made.blend_weight.high,
                        made.blend_weight.elsewhere,
                    ]
                    for name, made in model.decisions.items()
                },
                "domains": {
                    name: _describe_fitted(made.domain)
                    for name, made in model.decisions.items()
                    if made.domain is not None
                },
            },
            model.card,
            parts,
        )
        return
    arrays: dict[str, np.ndarray] = {}
    tables: dict[str, TableWriter] = {}
    shared: dict[int, Shared] = {}
    structure = {
        "chemistry": model.chemistry.to_dict(),
        "tasks": [_describe(task, arrays, tables, shared) for task in model.task_models],
    }
    for table in tables.values():
        arrays.update(table.arrays())
    if shared:
        layers: dict[str, np.ndarray] = {}
        structure["shared"] = [
            _unload(one.to_state(), str(number), layers, {})
            for number, one in enumerate(shared.values())
        ]
        write_tensors(folder / SHARED_FILE, layers)
    batch = compounds_to_batch(model.library)
    pq.write_table(pa.Table.from_batches([batch]), folder / LIBRARY_FILE, compression="zstd")
    np.savez_compressed(folder / ARRAYS_FILE, **dict(sorted(arrays.items())))  # type: ignore[arg-type]
    if model.trained_on is not None:
        np.save(folder / TRAINED_ON_FILE, model.trained_on)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    _write(folder, structure, model.card, digests)


def _describe_fitted(domain: ReliabilityDomain) -> dict[str, Any]:
    """A hybrid has no array file: the few knots of its domains are in its JSON file."""
    params, arrays = domain.to_state()
    return {"params": params, "arrays": {key: found.tolist() for key, found in arrays.items()}}


def _write(folder: Path, structure: dict[str, Any], card: Card, files: dict[str, str]) -> None:
    values = {"schema": SCHEMA, "card": asdict(card), "files": files, **structure}
    (folder / MODEL_FILE).write_text(dump_json(values) + "\n", encoding="utf-8", newline="\n")


def _describe(
    model: TaskModel,
    arrays: dict[str, np.ndarray],
    tables: dict[str, TableWriter],
    shared: dict[int, Shared],
) -> dict[str, Any]:
    name = model.task.name
    table = table_kind(model.members)
    if table:
        if table not in tables:
            tables[table] = HeadTableWriter(shared) if table == Head.kind else TableWriter(table)
        tables[table].add(model.members)
    members = []
    for member in [] if table else model.members:
        place = f"{name}/{member.repeat}.{member.fold}"
        members.append(
            {
                "repeat": member.repeat,
                "fold": member.fold,
                "reliability": [member.reliability.slope, member.reliability.ceiling],
                "calibrations": [[c.slope, c.intercept] for c in member.calibrations],
                "estimators": [
                    _unload(estimator.to_state(), f"{place}.{output}", arrays, shared)
                    for output, estimator in enumerate(member.estimators)
                ],
            }
        )
    domains = {}
    for kind, domain in model.domains.items():
        params, found = domain.to_state()
        keys = {key: f"{name}/domain.{kind}.{key}" for key in found}
        arrays.update({keys[key]: value for key, value in found.items()})
        domains[kind] = {"params": params, "arrays": keys}
    arrays[f"{name}/rows"] = model.rows
    return {
        "task": model.task.to_dict(),
        "members": members,
        "table": table,
        "in_table": len(model.members) if table else 0,
        "in_logits": model.in_logits,
        "rows": f"{name}/rows",
        "domains": domains,
        "threshold": model.threshold,
    }


def _unload(
    state: State, place: str, arrays: dict[str, np.ndarray], shared: dict[int, Shared]
) -> dict[str, Any]:
    """A state as JSON values; its arrays, and what it shares with others, join those found so far.

    What is shared is known by its identity, and stated by its place among all that are.
    """
    keys = {key: f"{place}.{key}" for key in state.arrays}
    arrays.update({keys[key]: value for key, value in state.arrays.items()})
    parts = {
        key: _unload(part, f"{place}.{key}", arrays, shared) for key, part in state.parts.items()
    }
    found: dict[str, Any] = {
        "kind": state.kind,
        "params": state.params,
        "arrays": keys,
        "parts": parts,
    }
    if state.shared is not None:
        found["shared"] = number_shared(state, shared)
    return found


def load_model(folder: Path) -> Predictor:
    """Load a model folder.

    Raises
    ------
    FileFormatError
        If it is not a model folder, or a file in it is missing, damaged or changed.
    """
    values, card = read_head(folder)
    if card.kind == "hybrid":
        return _load_hybrid(folder, values, card)
    return _load_trained(folder, values, card)


def load_trained(folder: Path, kind: str) -> TrainedModel:
    """Load a model folder that must hold a model of one kind.

    Raises
    ------
    FileFormatError
        If it does not.
    """
    model = load_model(folder)
    if not isinstance(model, TrainedModel) or model.card.kind != kind:
        raise FileFormatError(f"{folder}: holds a {model.card.kind}, but a {kind} is needed")
    if kind == "teacher":
        with stated_in(folder / MODEL_FILE):
            check_teacher(model)
    return model


def load_measured(folder: Path, model: Predictor) -> dict[str, Measured]:
    """Out-of-fold predictions of a model's measured compounds, by task.

    Parameters
    ----------
    folder, model
        A model folder, and what `load_model` made of it.

    Returns
    -------
    dict
        Empty if the folder holds none, as a student's.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged or changed, or does not fit the model.
    """
    trained = model.own if isinstance(model, HybridModel) else model
    digests = read_head(folder)[0]["files"]
    if MEASURED_FILE not in digests or not isinstance(trained, TrainedModel):
        return {}
    path = _check_file(folder, MEASURED_FILE, digests)
    return read_measured(path, {one.task: len(one.rows) for one in trained.task_models})


def _check_file(folder: Path, name: str, digests: dict[str, str]) -> Path:
    path = folder / name
    if name not in digests:
        raise FileFormatError(f"{path}: is not listed in {MODEL_FILE}")
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file")
    if path.stat().st_size > _LARGEST_FILE:
        raise FileFormatError(f"{path}: has more than {_LARGEST_FILE >> 20} MB")
    if sha256_file(path) != digests[name]:
        raise FileFormatError(f"{path}: does not match its digest; it was changed or damaged")
    return path


def _check_files(digests: Any, needed: set[str], allowed: set[str]) -> dict[str, str]:
    found = convert_value(digests, dict, "files")
    unfit = sorted((needed - set(found)) | (set(found) - needed - allowed))
    if unfit:
        what = "is missing" if unfit[0] in needed else "is not a file of a model"
        raise ValueError(f"files: {unfit[0]!r:.80} {what}")
    return found


def _load_hybrid(folder: Path, values: dict[str, Any], card: Card) -> HybridModel:
    with stated_in(folder / MODEL_FILE):
        stored = StoredHybrid(**read_fields(StoredHybrid, "", values))
        digests = _check_files(stored.files, {"own", "student"}, {MEASURED_FILE})
    parts = []
    for name in ("own", "student"):
        _check_file(folder, f"{name}/{MODEL_FILE}", {f"{name}/{MODEL_FILE}": digests[name]})
        part_values, part_card = read_head(folder / name)
        if part_card.kind == "hybrid":
            raise FileFormatError(f"{folder / name}: is not a trained model")
        parts.append(_load_trained(folder / name, part_values, part_card))
    with stated_in(folder / MODEL_FILE):
        return hybrid_from(stored, card, parts[0], parts[1])


def _load_trained(folder: Path, values: dict[str, Any], card: Card) -> TrainedModel:
    with stated_in(folder / MODEL_FILE):
        stored = StoredTrained(**read_fields(StoredTrained, "", values))
        digests = _check_files(
            stored.files, {LIBRARY_FILE, ARRAYS_FILE}, {TRAINED_ON_FILE, MEASURED_FILE, SHARED_FILE}
        )
    library = _load_library(_check_file(folder, LIBRARY_FILE, digests))
    arrays = read_arrays(_check_file(folder, ARRAYS_FILE, digests))
    layers = {}
    if SHARED_FILE in digests:
        layers = read_tensors(_check_file(folder, SHARED_FILE, digests))
    trained_on = None
    if TRAINED_ON_FILE in digests:
        trained_on = read_trained_on(_check_file(folder, TRAINED_ON_FILE, digests))
    with stated_in(folder / MODEL_FILE):
        return trained_from(stored, card, library, Arrays(arrays, layers), trained_on)


def _load_library(path: Path) -> Compounds:
    try:
        with open_parquet(path) as file:
            limits = Limits(path, file)
            for group in range(file.num_row_groups):
                limits.check_whole(group, largest=sys.maxsize)
            batches = list(file.iter_batches())
        if not batches:
            raise FileFormatError("holds no compounds")
        return compounds_from_batch(concatenate_batches(batches))
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from error
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileFormatError(f"{path}: cannot be decoded ({reason})") from error
