"""Models survive their folder exactly."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from fluid.base.errors import FileFormatError
from fluid.chem.chemistry import Chemistry
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec
from fluid.learn.calibration import Platt
from fluid.learn.correctness import ReliabilityDomain
from fluid.learn.crossfit import FoldModel
from fluid.learn.domain import DOMAINS, fit_domains
from fluid.learn.estimators import LEARNERS, KernelRidge
from fluid.learn.hybrid_model import BlendWeight, HybridModel
from fluid.learn.judgement import HeldOut
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.storage import load_model, save_model
from tests.learn.folders import decided
from tests.learn.learners import marked

KINDS = ("binary", "multiclass", "regression")


def assert_same_predictions(left, right, compounds):
    for domain in DOMAINS:
        before, after = (model.predict(compounds, domain) for model in (left, right))
        assert [task.to_dict() for task in before.tasks] == [task.to_dict() for task in after.tasks]
        for name, expected in before.by_task.items():
            found = after.by_task[name]
            for field in ("values", "uncertainty", "reliability"):
                assert np.array_equal(
                    getattr(found, field), getattr(expected, field), equal_nan=True
                )
            assert np.array_equal(found.domain.score, expected.domain.score)
            assert np.array_equal(found.domain.inside, expected.domain.inside)
            assert found.domain.reasons == expected.domain.reasons
            assert found.threshold == expected.threshold


# what is saved comes back


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learner", marked(LEARNERS))
def test_every_learner_predicts_the_same_after_a_round_trip(
    library, problems, train, tmp_path, learner, kind
):
    task, values = problems[kind]
    half = np.arange(0, 160, 2)
    model = train(library.take(half), task, values[half], learner)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, TrainedModel)
    assert again.card == model.card
    assert again.chemistry == model.chemistry
    assert again.tasks == model.tasks
    assert_same_predictions(model, again, library)


def test_a_student_predicts_the_same_after_a_round_trip(svm, library, problems, tmp_path):
    task, values = problems["regression"]
    rows = np.arange(len(library))
    estimator = KernelRidge().fit(library, rows, values, False, 1)
    curve = ReliabilityMap(0.7)
    member = FoldModel(0, 0, [estimator], [Platt(1.5, -0.25)], curve)
    made = TaskModel(task, [member], True, rows, fit_domains(library, rows, curve), 0.31)
    model = TrainedModel(svm.card, svm.chemistry, library, [made])
    save_model(model, tmp_path)
    assert_same_predictions(model, load_model(tmp_path), library)


def test_a_model_without_descriptors_survives(structures, problems, train, tmp_path):
    spec = FeatureSpec(bits=512, descriptors="none")
    bare = featurize(structures, [""] * len(structures), spec)
    task, values = problems["binary"]
    model = replace(
        train(bare, task, values, "svm"), chemistry=Chemistry.here(StandardizerSpec(), spec)
    )
    save_model(model, tmp_path)
    assert_same_predictions(model, load_model(tmp_path), bare)


def test_a_useless_model_survives(svm, library, tmp_path):
    """Its domain is empty: the threshold that none reaches must be a number in JSON."""
    made = svm.task_models[0]
    rows = made.rows
    guesses = HeldOut(
        np.linspace(0, 1, 60)[:, None], 0.5, np.ones(60), np.arange(60) % 2, np.ones(60), True
    )
    useless = TaskModel(
        made.task, made.members, False, rows,
        fit_domains(library, rows, ReliabilityMap(0.0), guesses),
    )  # fmt: skip
    model = TrainedModel(svm.card, svm.chemistry, library, [useless])
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert_same_predictions(model, again, library)
    for kind in ("reliability", "neighbours"):
        assert not again.predict(library, kind).by_task["ringn"].domain.inside.any()


def test_a_hybrid_survives(svm, hybrid_folder, library):
    again = load_model(hybrid_folder)
    assert isinstance(again, HybridModel)
    assert again.card.kind == "hybrid"
    assert_same_predictions(HybridModel(again.card, svm, svm, decided(svm)), again, library)
    assert isinstance(again.decisions["ringn"].domain, ReliabilityDomain)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_the_blend_weight_of_a_hybrid_has_four_numbers(hybrid_folder, tmp_path, count):
    folder = shutil.copytree(hybrid_folder, tmp_path / "copy")
    values = json.loads((folder / "model.json").read_text())
    for stated in values["decisions"].values():
        stated[3:] = [16.0, 0.2, 0.6, 1.0, 1.0][:count]
    (folder / "model.json").write_text(json.dumps(values))
    if count == 4:
        weight = load_model(folder).decisions["ringn"].blend_weight
        assert weight == BlendWeight(16.0, 0.2, 0.6, 1.0)
    else:
        with pytest.raises(FileFormatError, match="is incomplete"):
            load_model(folder)


def test_the_same_model_gives_the_same_bytes(model, saved, tmp_path):
    save_model(model, tmp_path)
    names = sorted(path.relative_to(saved) for path in saved.rglob("*") if path.is_file())
    assert [str(name) for name in names] == ["arrays.npz", "library.parquet", "model.json"]
    assert names == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    for name in names:
        assert (saved / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_folder_holds_json_arrays_text_and_parquet_only(saved):
    for path in saved.rglob("*"):
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                assert all(stored[key].dtype.kind in "fiu" for key in stored.files)
        elif path.suffix == ".parquet":
            assert pq.read_metadata(path).num_rows == 160
        elif path.is_file():
            assert path.suffix in (".json", ".txt")
            path.read_text(encoding="utf-8")


# what is not right is refused
