"""Out-of-fold predictions beside measured labels survive; a student's folder never has any."""

import json

import numpy as np
import pytest

from fluid.base.errors import FileFormatError
from fluid.base.files import sha256_file
from fluid.learn.hybrid_model import HybridModel
from fluid.learn.measured import MEASURED_FILE, Measured, read_measured, write_measured
from fluid.learn.model import Card
from fluid.learn.storage import load_measured, load_model, save_model
from fluid.learn.task import Task

BINARY = Task("b", "binary")
NUMBER = Task("n", "regression", low=-4.0, high=4.0)


def some(task, n=12, seed=0):
    generator = np.random.default_rng(seed)
    values, truth = generator.random((n, 1)), (generator.random(n) > 0.5).astype(float)
    values[3] = np.nan
    return Measured(values, truth, generator.random(n))


def same(left, right):
    return all(
        np.array_equal(getattr(left, part), getattr(right, part), equal_nan=True)
        for part in ("values", "truth", "similarity")
    )


def test_what_is_written_comes_back(tmp_path):
    made = {"b": some(BINARY), "n": some(NUMBER, 7, 1)}
    write_measured(tmp_path / "one.npz", made)
    found = read_measured(tmp_path / "one.npz", {BINARY: 12, NUMBER: 7, Task("x", "binary"): 3})
    assert set(found) == {"b", "n"}
    assert all(same(found[name], made[name]) for name in made)
    write_measured(tmp_path / "other.npz", dict(reversed(made.items())))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


@pytest.mark.parametrize(
    "spoil",
    [
        {"values": np.full((12, 1), 1.5)},
        {"values": np.full((12, 2), 0.5)},
        {"values": np.full((11, 1), 0.5)},
        {"values": np.full((12, 1), np.inf)},
        {"truth": np.full(12, 2.0)},
        {"truth": np.full(12, np.nan)},
        {"similarity": np.full(12, 1.1)},
        {"similarity": np.full(12, np.nan)},
    ],
    ids=lambda spoil: next(iter(spoil)),
)
def test_what_does_not_fit_the_model_is_refused(tmp_path, spoil):
    good = some(BINARY)
    parts = {"values": good.values, "truth": good.truth, "similarity": good.similarity}
    path = tmp_path / "m.npz"
    write_measured(path, {"b": Measured(**(parts | spoil))})
    with pytest.raises(FileFormatError, match="task 'b' does not fit the model"):
        read_measured(path, {BINARY: 12})


def test_what_cannot_be_decoded_or_is_incomplete_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    path.write_bytes(b"PK\x03\x04 no")
    with pytest.raises(FileFormatError, match="cannot be decoded"):
        read_measured(path, {BINARY: 12})
    np.savez(path, **{"b/values": np.zeros((12, 1))})
    with pytest.raises(FileFormatError, match="incomplete"):
        read_measured(path, {BINARY: 12})
    np.savez(path, **{"b/values": np.array([{}], dtype=object)})
    with pytest.raises(FileFormatError, match="cannot be decoded"):
        read_measured(path, {BINARY: 12})


@pytest.fixture
def teacher(library, problems, train):
    task, values = problems["binary"]
    model = train(library, task, values, "svm")
    generator = np.random.default_rng(1)
    return model, {task.name: Measured(generator.random((160, 1)), values, generator.random(160))}


def test_a_model_folder_keeps_them(teacher, tmp_path):
    model, measured = teacher
    save_model(model, tmp_path, measured)
    found = load_measured(tmp_path, load_model(tmp_path))
    assert same(found["ringn"], measured["ringn"])
    files = json.loads((tmp_path / "model.json").read_text())["files"]
    assert files[MEASURED_FILE] == sha256_file(tmp_path / MEASURED_FILE)


def test_a_hybrid_folder_keeps_them_and_its_parts_do_not(teacher, tmp_path):
    model, measured = teacher
    hybrid = HybridModel(Card("hybrid", "aurora", "demo", 1, "0" * 64), model, model, {})
    save_model(hybrid, tmp_path, measured)
    assert [path.parent for path in tmp_path.rglob(MEASURED_FILE)] == [tmp_path]
    assert same(load_measured(tmp_path, load_model(tmp_path))["ringn"], measured["ringn"])


def test_a_changed_or_missing_file_is_refused_and_predictions_need_none(teacher, tmp_path):
    model, measured = teacher
    save_model(model, tmp_path, measured)
    path = tmp_path / MEASURED_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    loaded = load_model(tmp_path)
    with pytest.raises(FileFormatError, match="does not match its digest"):
        load_measured(tmp_path, loaded)
    path.unlink()
    with pytest.raises(FileFormatError, match="no such file"):
        load_measured(tmp_path, loaded)


def test_an_older_folder_has_none(teacher, tmp_path):
    save_model(teacher[0], tmp_path)
    assert not (tmp_path / MEASURED_FILE).exists()
    assert load_measured(tmp_path, load_model(tmp_path)) == {}


def test_a_student_is_never_given_any(library, problems, train, tmp_path):
    task, values = problems["binary"]
    student = train(library, task, values, "svm", kind="student")
    with pytest.raises(ValueError, match="no measured labels"):
        save_model(student, tmp_path, {task.name: some(task)})
    assert list(tmp_path.iterdir()) == []
