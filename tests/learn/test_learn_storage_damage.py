"""A model folder that is not right runs nothing and is refused."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

import fluid
from fluid.base.errors import FileFormatError
from fluid.learn.storage import load_model, load_trained
from tests.learn.folders import change, replace_arrays


@pytest.mark.parametrize("position", [0.0, 0.5, 1.0])
def test_a_changed_byte_in_any_listed_file_is_refused(folder, position):
    names = json.loads((folder / "model.json").read_text())["files"]
    found = {path for path in folder.rglob("*") if path.is_file()}
    assert {folder / name for name in names} == found - {folder / "model.json"}
    for name in names:
        original = (folder / name).read_bytes()
        changed = bytearray(original)
        changed[int(position * (len(changed) - 1))] ^= 1
        (folder / name).write_bytes(changed)
        with pytest.raises(FileFormatError, match="does not match its digest"):
            load_model(folder)
        (folder / name).write_bytes(original)
    load_model(folder)


def test_a_truncated_or_missing_file_is_refused(folder):
    names = json.loads((folder / "model.json").read_text())["files"]
    for name in [*names, "model.json"]:
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(original[:-3])
        with pytest.raises(FileFormatError, match=r"digest|not readable JSON"):
            load_model(folder)
        (folder / name).unlink()
        with pytest.raises(FileFormatError, match="no such file"):
            load_model(folder)
        (folder / name).write_bytes(original)


@pytest.mark.parametrize("part", ["own", "student"])
@pytest.mark.parametrize("name", ["model.json", "arrays.npz", "library.parquet"])
def test_a_changed_byte_in_a_part_of_a_hybrid_is_refused(hybrid_folder, part, name):
    path = hybrid_folder / part / name
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    with pytest.raises(FileFormatError, match="does not match its digest"):
        load_model(hybrid_folder)


class Bomb:
    """Pickles to a call that leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("key", ["ringn/rows", "ringn/0.0.0.weights", "unused"])
def test_an_object_array_is_refused_and_nothing_of_it_is_run(folder, tmp_path, key):
    trace = tmp_path / "executed"
    replace_arrays(folder, **{key: np.array([Bomb(trace)], dtype=object)})
    with pytest.raises(FileFormatError, match=r"arrays\.npz: cannot be decoded"):
        load_model(folder)
    assert not trace.exists()
    with np.load(folder / "arrays.npz", allow_pickle=True) as stored:
        stored[key]
    assert trace.exists()  # it would have run


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\x80\x04K\x01.", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(40)],
    ids=["empty", "garbage", "pickle", "empty-zip", "cut-zip"],
)
def test_arrays_that_cannot_be_decoded_are_refused(folder, content):
    (folder / "arrays.npz").write_bytes(content)
    change(folder, lambda values: None)
    with pytest.raises(FileFormatError, match=r"cannot be decoded|is incomplete"):
        load_model(folder)


def test_a_single_array_in_place_of_the_archive_is_refused(folder):
    with (folder / "arrays.npz").open("wb") as handle:
        np.save(handle, np.arange(3))
    change(folder, lambda values: None)
    with pytest.raises(FileFormatError, match="cannot be decoded"):
        load_model(folder)


def test_damage_inside_the_archive_is_refused_even_with_a_forged_digest(folder):
    original = (folder / "arrays.npz").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(20):
        changed = bytearray(original)
        for place in random.integers(0, len(changed), 3):
            changed[place] = random.integers(256)
        (folder / "arrays.npz").write_bytes(changed)
        change(folder, lambda values: None)
        try:
            load_model(folder)
        except FileFormatError:
            refused += 1
    assert refused > 15


def spoil(*path, value=None):
    """An edit of model.json: set what lies at `path`, or delete it."""

    def edit(values):
        for step in path[:-1]:
            values = values[step]
        if value is None:
            del values[path[-1]]
        else:
            values[path[-1]] = value

    return edit


# Of a task whose members are trees; kernel machines are in a table.
MEMBER = ("tasks", 1, "members", 0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (spoil(*MEMBER, "estimators", 0, "kind", value="oracle"), "unknown kind of estimator 'or"),
        (spoil(*MEMBER, "estimators", 0, "params"), "is incomplete"),
        (spoil(*MEMBER, "estimators", 0, "arrays", "leaves", value="none"), "is incomplete"),
        (spoil(*MEMBER, "estimators", 0, "arrays", "offsets"), "estimator '.*' is incomplete"),
        (spoil("tasks", 0, "table", value=""), "members are in no table"),
        (spoil("tasks", 0, "table", value="oracle"), "no table of members 'oracle'"),
        (spoil("tasks", 0, "in_table", value=10**9), "there are no 1000000000 more members"),
        (spoil("tasks", 0, "in_table", value=1), "a member belongs to no task"),
        (spoil("tasks", 0, "in_table", value=-1), "there are no -1 more members"),
        (spoil("tasks", 0, "members", value=[{}]), "no table of members 'svm' alone"),
        (spoil(*MEMBER, "calibrations", value=[["a", 1]]), "is incomplete"),
        (spoil(*MEMBER, "reliability"), "is incomplete"),
        (spoil("tasks", 1, "members", 0, "estimators", 0, "arrays", "leaves"), "is incomplete"),
        (spoil("tasks", 0, "domains", "neighbours", "params", "threshold"), "is incomplete"),
        (spoil("tasks", 0, "domains", "reliability"), "has no applicability domain 'reliability'"),
        (spoil("tasks", 0, "domains", "reliability", "params", "threshold", value=3), "is incompl"),
        (spoil("tasks", 0, "domains", "reliability", "arrays", "knots"), "is incomplete"),
        (spoil("tasks", 0, "domains", value=3), "is incomplete"),
        (spoil("tasks", 0, "domains", "oracle", value={"params": {}, "arrays": {}}), "is incompl"),
        (spoil("tasks", 0, "task", "kind", value="ordinal"), "is incomplete"),
        (spoil("tasks", value=3), "is incomplete"),
        (spoil("chemistry", "rdkit"), "is incomplete"),
        (spoil("chemistry", "features", "bits", value=100), "is incomplete"),
        (spoil("card", "colour", value="red"), "is incomplete"),
        (spoil("card"), "is incomplete"),
        (spoil("files"), "is incomplete"),
        (spoil("files", "arrays.npz"), r"files: 'arrays\.npz' is missing"),
        (spoil("schema", value="fluid.model/2"), "has the older format .*: train or distill"),
        (spoil("schema", value="fluid.model/99"), "has the newer format 'fluid.model/99'"),
        (spoil("schema"), "is a 'None' file, but a 'fluid.model/4' file is needed"),
    ],
)  # fmt: skip
def test_a_model_file_that_is_not_right_is_refused(folder, edit, message):
    change(folder, edit)
    with pytest.raises(FileFormatError, match=message):
        load_model(folder)


FITTED = ("domains", "ringn")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (spoil("domains"), "is incomplete"),
        (spoil("domains", value=[1]), "is incomplete"),
        (spoil(*FITTED, "params", "stated_error", value=1.5), "is incomplete"),
        (spoil(*FITTED, "params", "threshold", value="low"), "is incomplete"),
        (spoil(*FITTED, "arrays", "knots", value=[0.0, 2.0]), "is incomplete"),
        (spoil(*FITTED, "arrays", "knots", value=[[0.0], [0.5, 1.0]]), "is incomplete"),
        (spoil(*FITTED, "arrays", "correct", value={"a": 1}), "is incomplete"),
        (spoil(*FITTED, "arrays", "correct"), "is incomplete"),
    ],
)
def test_a_domain_of_a_hybrid_that_is_not_right_is_refused(hybrid_folder, edit, message):
    path = hybrid_folder / "model.json"
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))
    with pytest.raises(FileFormatError, match=message):
        load_model(hybrid_folder)


def test_knots_that_do_not_rise_are_refused(folder):
    with np.load(folder / "arrays.npz") as stored:
        knots = stored["ringn/domain.reliability.knots"]
    replace_arrays(folder, **{"ringn/domain.reliability.knots": knots[::-1]})
    with pytest.raises(FileFormatError, match="knots of a domain do not rise"):
        load_model(folder)


@pytest.mark.parametrize("rows", [[160], [-1], [5, 10**9]])
def test_positions_outside_the_library_are_refused(folder, rows):
    replace_arrays(folder, **{"ringn/rows": np.array(rows)})
    with pytest.raises(FileFormatError, match="a position is outside the library"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("uses", lambda found: found + 10**6, "uses rows or a scaling that there is not"),
        ("uses", lambda found: found - 1, "uses rows or a scaling that there is not"),
        ("uses", lambda found: found[:-1], "no fitting 'uses'"),
        ("machines", lambda found: found * np.inf, "not finite"),
        ("machines", lambda found: found[:, :2], "no fitting 'machines'"),
        ("places", lambda found: -found - 1, "repeat and fold are 0 or above"),
        ("places", lambda found: found * 0, "two members are of the same repeat and fold"),
        ("places", lambda found: found.astype(np.float64), "no fitting 'places'"),
        ("reliability", lambda found: -found - 1, "out of range"),
        ("set_ends", lambda found: found[::-1], "do not fill"),
        ("set_ends", lambda found: found + 1, "do not fill"),
        ("rows", lambda found: found + 160, "a position is outside the library"),
        ("rows", lambda found: found[:-1], "do not fill"),
        ("weights", lambda found: found[:-1], "do not fill"),
        ("weights", lambda found: found * np.nan, "not finite"),
        ("scales", lambda found: found * 0, "scales above 0"),
        ("means", lambda found: found[:, :-1], "no fitting 'scales'"),
    ],
)
def test_a_table_of_members_that_does_not_fit_is_refused(folder, name, edit, message):
    with np.load(folder / "arrays.npz") as stored:
        found = stored[f"0.svm.{name}"]
    with np.errstate(all="ignore"):
        replace_arrays(folder, **{f"0.svm.{name}": edit(found)})
    with pytest.raises(FileFormatError, match=message):
        load_model(folder)


def test_what_is_no_model_folder_is_refused(tmp_path):
    with pytest.raises(FileFormatError, match="no such model folder"):
        load_model(tmp_path / "none")
    with pytest.raises(FileFormatError, match=r"model\.json: no such file"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text("[]")
    with pytest.raises(FileFormatError, match=r"model\.json: is not a table of values"):
        load_model(tmp_path)


def test_a_model_of_another_kind_than_asked_for_is_refused(folder, hybrid_folder):
    assert load_trained(folder, "teacher").card.name == "aurora"
    with pytest.raises(FileFormatError, match="holds a teacher, but a student is needed"):
        load_trained(folder, "student")
    with pytest.raises(FileFormatError, match="holds a hybrid, but a teacher is needed"):
        load_trained(hybrid_folder, "teacher")


# nothing in fluid can unpickle


def modules_named(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_no_module_of_fluid_imports_pickle_or_runs_text():
    sources = sorted(Path(fluid.__file__).parent.rglob("*.py"))
    assert len(sources) > 40
    unsafe = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "skops"}
    for path in sources:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not unsafe & set(modules_named(tree)), path
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "joblib.load", "pd.read_pickle"), path
                for keyword in node.keywords:
                    if keyword.arg == "allow_pickle":
                        assert ast.unparse(keyword.value) == "False", path
                if called in ("np.load", "numpy.load"):
                    assert "allow_pickle" in {keyword.arg for keyword in node.keywords}, path
