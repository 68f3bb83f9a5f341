"""Models as folders of plain files: JSON, NumPy arrays, LightGBM text, Parquet. No code.

    model.json        what the model is, its parts, and the SHA-256 of every other file
    library.parquet   compounds that members and domains refer to
    arrays.npz        numbers of members and domains
    trees/*.txt       LightGBM models
    trained_on.npy    digests of the connectivities that a student learned from, if its library does
                      not hold all of them
    conformal.npz     out-of-fold predictions beside measured labels; never in a student's folder

A hybrid holds two such folders, ``own`` and ``student``, beside its ``model.json``. Loading
checks every digest and interprets numbers only; nothing of the folder is executed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fluid.base.errors import FileFormatError
from fluid.base.files import dump_json, read_json, sha256_file
from fluid.base.parquet_limits import Limits, open_parquet
from fluid.chem.arrow import compounds_from_batch, compounds_to_batch, concatenate_batches
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.learn.calibration import Platt
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.crossfit import FoldModel
from fluid.learn.domain import DOMAINS, revive_domain
from fluid.learn.estimators import State, check_tree_text, revive
from fluid.learn.hybrid_model import BlendWeight, Decision, HybridModel
from fluid.learn.judgement import Domain
from fluid.learn.measured import DAMAGED, MEASURED_FILE, Measured, read_measured, write_measured
from fluid.learn.model import Card, Predictor, TaskModel, TrainedModel
from fluid.learn.model_file import MODEL_FILE, SCHEMA, read_head
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.task import Task
from fluid.learn.trained_on import TRAINED_ON_FILE, read_trained_on

_TREE_FILE = re.compile(r"trees/[A-Za-z0-9_][A-Za-z0-9_.-]*\.txt")


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
    (folder / "trees").mkdir()
    structure = {
        "chemistry": model.chemistry.to_dict(),
        "tasks": [_describe(task, arrays, folder / "trees") for task in model.task_models],
    }
    batch = compounds_to_batch(model.library)
    pq.write_table(pa.Table.from_batches([batch]), folder / "library.parquet", compression="zstd")
    np.savez_compressed(folder / "arrays.npz", **dict(sorted(arrays.items())))  # type: ignore[arg-type]
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


def _describe(model: TaskModel, arrays: dict[str, np.ndarray], trees: Path) -> dict[str, Any]:
    name = model.task.name
    members = []
    for member in model.members:
        place = f"{name}/{member.repeat}.{member.fold}"
        members.append(
            {
                "repeat": member.repeat,
                "fold": member.fold,
                "reliability": [member.reliability.slope, member.reliability.ceiling],
                "calibrations": [[c.slope, c.intercept] for c in member.calibrations],
                "estimators": [
                    _unload(estimator.to_state(), f"{place}.{output}", arrays, trees)
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
        "in_logits": model.in_logits,
        "rows": f"{name}/rows",
        "domains": domains,
        "threshold": model.threshold,
    }


def _unload(state: State, place: str, arrays: dict[str, np.ndarray], trees: Path) -> dict[str, Any]:
    keys = {key: f"{place}.{key}" for key in state.arrays}
    arrays.update({keys[key]: value for key, value in state.arrays.items()})
    texts = {}
    for key, text in state.texts.items():
        texts[key] = f"{place}.{key}.txt".replace("/", ".")
        (trees / texts[key]).write_text(text, encoding="utf-8", newline="\n")
    parts = {
        key: _unload(part, f"{place}.{key}", arrays, trees) for key, part in state.parts.items()
    }
    return {
        "kind": state.kind,
        "params": state.params,
        "arrays": keys,
        "texts": texts,
        "parts": parts,
    }


def load_model(folder: Path) -> Predictor:
    """Load a model folder.

    Raises
    ------
    FileFormatError
        If it is not a model folder, or a file in it is missing, damaged or changed.
    """
    values, card = read_head(folder)
    try:
        if card.kind == "hybrid":
            return _load_hybrid(folder, values, card)
        return _load_trained(folder, values, card)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise FileFormatError(f"{folder / MODEL_FILE}: is incomplete ({error!r})") from error


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
    digests = read_json(folder / MODEL_FILE)["files"]
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
    if sha256_file(path) != digests[name]:
        raise FileFormatError(f"{path}: does not match its digest; it was changed or damaged")
    return path


def _load_hybrid(folder: Path, values: dict[str, Any], card: Card) -> HybridModel:
    parts = []
    for name in ("own", "student"):
        _check_file(folder, f"{name}/{MODEL_FILE}", {f"{name}/{MODEL_FILE}": values["files"][name]})
        part = load_model(folder / name)
        if not isinstance(part, TrainedModel):
            raise FileFormatError(f"{folder / name}: is not a trained model")
        parts.append(part)
    domains = {
        name: ReliabilityDomain.from_state(
            entry["params"], {key: np.array(found) for key, found in entry["arrays"].items()}
        )
        for name, entry in values["domains"].items()
    }
    stated = values["decisions"]
    decisions = {
        str(name): Decision(
            Platt(float(slope), float(intercept)),
            float(threshold),
            domains.get(name),
            BlendWeight(float(factor), float(low), float(high), float(elsewhere)),
        )
        for name, (slope, intercept, threshold, factor, low, high, elsewhere) in stated.items()
    }
    return HybridModel(card, parts[0], parts[1], decisions)


def _load_trained(folder: Path, values: dict[str, Any], card: Card) -> TrainedModel:
    digests = values["files"]
    library = _load_library(_check_file(folder, "library.parquet", digests))
    arrays = _load_arrays(_check_file(folder, "arrays.npz", digests))
    width = library.bits + library.descriptors.shape[1]
    texts = {}
    for name in digests:
        if _TREE_FILE.fullmatch(name):
            path = _check_file(folder, name, digests)
            texts[name.removeprefix("trees/")] = _load_trees(path, width)
    _check_positions(folder, arrays, len(library))
    for described in values["tasks"]:
        for kind in DOMAINS:
            if kind not in described["domains"]:
                raise FileFormatError(
                    f"{folder}: task '{described['task']['name']}' has no applicability domain "
                    f"'{kind}'"
                )
    tasks = [_task_model(described, arrays, texts) for described in values["tasks"]]
    trained_on = None
    if TRAINED_ON_FILE in digests:
        trained_on = read_trained_on(_check_file(folder, TRAINED_ON_FILE, digests))
    chemistry = Chemistry.from_dict(values["chemistry"])
    return TrainedModel(card, chemistry, library, tasks, trained_on)


def _load_trees(path: Path, n_features: int) -> str:
    text = path.read_text("utf-8")
    try:
        check_tree_text(text, n_features)
    except ValueError as error:
        raise FileFormatError(f"{path}: {error}") from error
    return text


def _check_positions(folder: Path, arrays: dict[str, np.ndarray], n_compounds: int) -> None:
    """Every array of positions points into the library and is as long as its weights."""
    for name, values in arrays.items():
        if name.rpartition("/")[2] != "rows" and not name.endswith(".rows"):
            continue
        if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
            raise FileFormatError(f"{folder}: '{name}' holds no positions")
        if len(values) and not 0 <= values.min() <= values.max() < n_compounds:
            raise FileFormatError(f"{folder}: '{name}' points outside the library")
        weights = arrays.get(name.removesuffix("rows") + "weights", values)
        if weights.shape != values.shape:
            raise FileFormatError(f"{folder}: '{name}' and its weights differ in length")


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


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except DAMAGED as error:
        raise FileFormatError(f"{path}: cannot be decoded") from error


def _task_model(
    described: dict[str, Any], arrays: dict[str, np.ndarray], texts: dict[str, str]
) -> TaskModel:
    members = [
        FoldModel(
            int(member["repeat"]),
            int(member["fold"]),
            [revive(_state(entry, arrays, texts)) for entry in member["estimators"]],
            [Platt(float(slope), float(cut)) for slope, cut in member["calibrations"]],
            ReliabilityMap(*map(float, member["reliability"])),
        )
        for member in described["members"]
    ]
    domains: dict[str, Domain] = {
        kind: revive_domain(
            kind, entry["params"], {key: arrays[at] for key, at in entry["arrays"].items()}
        )
        for kind, entry in described["domains"].items()
    }
    return TaskModel(
        Task.from_dict(described["task"]),
        members,
        bool(described["in_logits"]),
        arrays[described["rows"]].astype(np.int64),
        domains,
        float(described["threshold"]),
    )


def _state(entry: dict[str, Any], arrays: dict[str, np.ndarray], texts: dict[str, str]) -> State:
    return State(
        entry["kind"],
        entry["params"],
        {key: arrays[at] for key, at in entry["arrays"].items()},
        {key: texts[at] for key, at in entry["texts"].items()},
        {key: _state(part, arrays, texts) for key, part in entry["parts"].items()},
    )
