"""Model folders that were changed at random load and predict, or are refused in one line."""

from __future__ import annotations

import io
import json
import selectors
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from fluid.base.arrays import read_array, read_arrays
from fluid.base.errors import FluidError
from fluid.base.files import read_json, sha256_file
from fluid.learn.calibration import Platt
from fluid.learn.crossfit import FoldModel
from fluid.learn.domain import fit_domains
from fluid.learn.estimators import LEARNERS, Estimator, KernelRidge, Mixture
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.measured import Measured
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.storage import save_model
from fluid.learn.task import Task
from tests.learn import hostile_child
from tests.learn.folders import decided

SECONDS = 20.0
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 4, 255, 256, 10**6, 2**31, 2**63, -(2**63), 0.5, -0.5, 1.5,
    1e-320, 1e308, -1e308, "", "0", "svm", "lightgbm", "mixture", "average", "student", "hybrid",
    "ringn", "../model.json", "\x9b\u202e", "x" * 500, [], {}, [[]], [0.0, 1.0], [1, "a"],
    {"a": 1}, [[1.0, 0.0]] * 3, {"name": "a", "kind": "regression"},
]  # fmt: skip
TEXTS = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, '"\\ud800"', "[" * 500 + "]" * 500]
NUMBERS = [
    0, 1, -1, 2, 5, 159, 160, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 0.5, 1e-320,
    1e308, -1e308, np.inf, -np.inf, np.nan,
]  # fmt: skip
TYPES = ["<f8", "<f4", "<i8", "<i4", "<u8", "<u4", "|u1", "|b1", ">f8", "<U3", "<c16"]


class Child:
    """The process that takes the risk; it is started again when a folder ended it."""

    def __init__(self, good: Path) -> None:
        self.good = good
        self.process: subprocess.Popen[str] | None = None

    def answer(self, folder: Path) -> str:
        """How loading and predicting ended."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.learn.hostile_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(hostile_child.__file__).parents[2],
            )
            first = self._ask(self.good, 120.0)
            assert first == "ok", first
        return self._ask(folder, SECONDS)

    def _ask(self, folder: Path, seconds: float) -> str:
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if ready.select(seconds) else "took too long"
        if not line.endswith("\n"):
            self.close()
        return line.strip() or "ended the process"

    def close(self) -> None:
        """End the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def every_kind(library: Any, problems: Any, svm: Any, train: Any) -> TrainedModel:
    """A model with every kind of task and of estimator."""
    rows = np.arange(len(library))
    trees = train(library, *problems["regression"], "lightgbm")
    linear = train(library, *problems["multiclass"], "logistic")
    values = problems["binary"][1]

    def fitted(name: str) -> Estimator:
        made = KernelRidge() if name == "kernel-ridge" else LEARNERS[name]()
        return made.fit(library, rows, values, True, 0)

    mixed = Mixture(
        {n: fitted(n) for n in ("svm", "kernel-ridge")}, {"svm": 1, "kernel-ridge": 1}, 0
    )
    others = []
    for name, estimator in (("mixed", mixed), ("averaged", fitted("average"))):
        member = FoldModel(0, 0, [estimator], [Platt()], ReliabilityMap(0.7))
        domains = fit_domains(library, rows, ReliabilityMap(0.7))
        others.append(TaskModel(Task(name, "binary"), [member], True, rows, domains))
    models = [*svm.task_models, *trees.task_models, *linear.task_models, *others]
    labels = {model.task.name: {"compounds": len(rows)} for model in models}
    card = replace(svm.card, training=svm.card.training | {"labels": labels})
    trained_on = np.arange(20, dtype=np.uint64)
    return TrainedModel(card, svm.chemistry, library, models, trained_on)


@pytest.fixture(scope="module")
def folders(every_kind: TrainedModel, svm: Any, tmp_path_factory: Any) -> tuple[Path, Path]:
    place: Path = tmp_path_factory.mktemp("fuzz")
    n = len(every_kind.library)
    measured = {"ringn": Measured(np.full((n, 1), 0.5), np.ones(n), np.ones(n))}
    hybrid = HybridModel(Card("hybrid", "a", "demo", 1, "0" * 64), svm, svm, decided(svm))
    for name, model in (("trained", every_kind), ("hybrid", hybrid)):
        (place / name).mkdir()
        save_model(model, place / name, measured)
    return place / "trained", place / "hybrid"


@pytest.fixture(scope="module")
def child(folders: tuple[Path, Path]) -> Iterator[Child]:
    made = Child(folders[0])
    yield made
    made.close()


def _places(values: Any) -> list[tuple[Any, Any]]:
    """Every table or list of a JSON value, with each of its keys."""
    found: list[tuple[Any, Any]] = []
    left = [values]
    while left:
        value = left.pop()
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        found += [(value, key) for key in keys]
        left += [value[key] for key in keys if isinstance(value[key], dict | list)]
    return found


def _change_json(data: st.DataObject, path: Path) -> None:
    values = json.loads(path.read_text())
    places = _places(values)
    owner, key = places[data.draw(st.integers(0, len(places) - 1))]
    what = data.draw(st.sampled_from(["set", "set", "text", "delete", "swap", "repeat", "rename"]))
    text = None
    if what == "set":
        owner[key] = data.draw(st.sampled_from(VALUES))
    elif what == "text":
        text = data.draw(st.sampled_from(TEXTS))
        owner[key] = "@@"
    elif what == "delete":
        del owner[key]
    elif what == "swap":
        other, place = places[data.draw(st.integers(0, len(places) - 1))]
        owner[key], other[place] = other[place], owner[key]
    elif isinstance(owner, list):
        owner += owner * data.draw(st.integers(1, 3))
    else:
        owner[data.draw(st.sampled_from(["a", "ringn", "kind", "own", key]))] = (
            owner[key] if what == "repeat" else owner.pop(key)
        )
    try:
        content = json.dumps(values)
    except ValueError:
        return  # swapped into itself
    path.write_text(content if text is None else content.replace('"@@"', text, 1))


def _change_array(data: st.DataObject, array: np.ndarray) -> np.ndarray:
    what = data.draw(st.sampled_from(["number", "number", "number", "type", "shape", "length"]))
    if what == "number" and array.size:
        changed = array.copy()
        place = data.draw(st.integers(0, array.size - 1))
        with np.errstate(all="ignore"):
            number = np.array(data.draw(st.sampled_from(NUMBERS)))
            changed.flat[place] = number.astype(array.dtype)
        return changed
    if what == "type":
        return array.astype(data.draw(st.sampled_from(TYPES)))
    if what == "shape":
        shape = data.draw(st.sampled_from([(-1,), (1, -1), (-1, 1), (1, 1, -1)]))
        return array.reshape(shape)
    length = data.draw(st.integers(0, 3))
    return data.draw(st.sampled_from([array[:length], array[length:], np.concatenate([array] * 2)]))


def _change_arrays(data: st.DataObject, path: Path) -> None:
    if path.suffix == ".npy":
        np.save(path, _change_array(data, read_array(path)))
        return
    arrays = read_arrays(path)
    key = data.draw(st.sampled_from(sorted(arrays)))
    what = data.draw(st.sampled_from(["change", "change", "change", "swap", "delete", "add"]))
    if what == "change":
        arrays[key] = _change_array(data, arrays[key])
    elif what == "swap":
        other = data.draw(st.sampled_from(sorted(arrays)))
        arrays[key], arrays[other] = arrays[other], arrays[key]
    elif what == "delete":
        del arrays[key]
    else:
        arrays["more"] = arrays[key]
    np.savez(path, **arrays)


def _change_library(data: st.DataObject, path: Path) -> None:
    table = pq.read_table(path)
    name = data.draw(st.sampled_from(table.column_names))
    place = table.column_names.index(name)
    what = data.draw(st.sampled_from(["drop", "rows", "type", "nan", "turn"]))
    if what == "drop":
        table = table.drop_columns([name])
    elif what == "rows":
        table = table.slice(0, data.draw(st.integers(0, len(table))))
    elif what == "type":
        table = table.set_column(place, name, pa.array(range(len(table))))
    elif what == "nan":
        place, width = table.column_names.index("descriptors"), table["descriptors"].type.list_size
        flat = np.full(len(table) * width, data.draw(st.sampled_from([np.nan, np.inf, 1e38])))
        lists = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), width)
        table = table.set_column(place, "descriptors", lists)
    else:
        order = np.arange(len(table))[::-1]
        table = table.set_column(place, name, table[name].take(pa.array(order)))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    path.write_bytes(sink.getvalue())


def _change_bytes(data: st.DataObject, path: Path) -> None:
    content = bytearray(path.read_bytes() or b"0")
    place = data.draw(st.integers(0, len(content) - 1))
    what = data.draw(st.sampled_from(["flip", "cut", "insert", "remove", "zeros"]))
    if what == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif what == "cut":
        del content[place:]
    elif what == "insert":
        content[place:place] = data.draw(st.binary(min_size=1, max_size=8))
    elif what == "remove":
        del content[place : place + data.draw(st.integers(1, 8))]
    else:
        content[place : place + 8] = bytes(8)
    path.write_bytes(content)


CHANGES: dict[str, Callable[[st.DataObject, Path], None]] = {
    ".json": _change_json,
    ".npz": _change_arrays,
    ".npy": _change_arrays,
    ".parquet": _change_library,
}


def _forge(folder: Path) -> None:
    """Bring digests up to date, as a forger would."""
    for part in (folder / "own", folder / "student", folder):
        path = part / "model.json"
        with suppress(FluidError, KeyError, TypeError, ValueError, AttributeError):
            for name, digest in dict(read_json(path)["files"]).items():
                # A part of a hybrid is named by its folder.
                file = part / str(name)[:99]
                file = file / "model.json" if file.is_dir() else file
                if file.is_file() and isinstance(digest, str) and digest:
                    path.write_text(path.read_text().replace(digest, sha256_file(file)))


def _fuzz(folders: tuple[Path, Path], child: Child, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(folders))
    folder = source.parent / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.*"))
    kinds = st.sampled_from(sorted({Path(name).suffix for name in names}))
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(kinds)
        path = folder / data.draw(st.sampled_from([n for n in names if Path(n).suffix == kind]))
        if data.draw(st.integers(0, 4)):
            # An earlier change may have left nothing to change.
            with suppress(FluidError, ValueError, OSError, KeyError, TypeError):
                CHANGES[kind](data, path)
        else:
            _change_bytes(data, path)
    _forge(folder)
    found = child.answer(folder)
    event(found.partition(" ")[0])
    assert found.startswith(("ok", "refused ")), found
    # Escaped by the child, so that a line end in a message shows.
    assert "\\n" not in found, found


FUZZ = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(FUZZ, max_examples=150)
@given(data=st.data())
def test_changed_folders_predict_or_are_refused(
    folders: tuple[Path, Path], child: Child, data: st.DataObject
) -> None:
    _fuzz(folders, child, data)


@pytest.mark.long
@settings(FUZZ, max_examples=20_000)
@given(data=st.data())
def test_twenty_thousand_changed_folders_predict_or_are_refused(
    folders: tuple[Path, Path], child: Child, data: st.DataObject
) -> None:
    _fuzz(folders, child, data)
