"""One network of all tasks: what it learns, what it may depend on, and how it is stored."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.metrics import r2_score, roc_auc_score

from fluid.base.errors import FileFormatError, FluidError
from fluid.learn.censored import censored_weights
from fluid.learn.crossfit import CrossFitting, LabelledTask, cross_fit_all
from fluid.learn.domain import fit_domains
from fluid.learn.estimators import revive, revive_shared
from fluid.learn.estimators.multitask import training
from fluid.learn.estimators.multitask.head import Head, against_rest
from fluid.learn.estimators.multitask.network import Network, network_input
from fluid.learn.estimators.multitask.training import (
    NetworkSettings,
    column_ranges,
    fit_network,
)
from fluid.learn.estimators.together import score_together
from fluid.learn.labels import LabelMatrix
from fluid.learn.model import TaskModel, TrainedModel
from fluid.learn.own_fold import folds_of_repeats
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.storage import load_model, save_model
from fluid.learn.task import Task
from tests.learn.folders import change
from tests.learn.learners import needs_torch

KINDS = ("binary", "multiclass", "regression")
FOLDS = 3
SECRET = bytes(range(32))


def matrix(columns, n):
    """Labels of several tasks from (rows, values, signs) of each."""
    return LabelMatrix(
        rows=np.concatenate([rows for rows, _, _ in columns]),
        tasks=np.repeat(np.arange(len(columns)), [len(rows) for rows, _, _ in columns]),
        values=np.concatenate([values for _, values, _ in columns]).astype(float),
        qualifiers=np.concatenate([signs for _, _, signs in columns]).astype(np.int8),
        weights=np.ones(sum(len(rows) for rows, _, _ in columns)),
        shape=(n, len(columns)),
    )


def labelled(problems, library, parts):
    """Tasks of all kinds, each with labels for some compounds only."""
    return [
        LabelledTask(library, problems[kind][0], rows, problems[kind][1][rows])
        for kind, rows in zip(KINDS, parts, strict=True)
    ]


@pytest.fixture(scope="module")
def made():
    """A network of 8 + 2 inputs with numbers that a test can compute by hand."""
    random = np.random.default_rng(0)

    def run(bits, n_descriptors, n_hidden=3, n_columns=4):
        def draw(*shape):
            return random.normal(size=shape).astype(np.float32)

        scaling = random.normal(size=n_descriptors), random.uniform(1, 2, n_descriptors)
        trunk = draw(bits + n_descriptors, n_hidden), draw(n_hidden)
        return Network(scaling, trunk, (draw(n_hidden, n_columns), draw(n_columns)))

    return run


# --- without PyTorch --------------------------------------------------------------------------


def test_the_forward_pass_is_the_textbooks(library, made):
    network = made(library.bits, library.descriptors.shape[1])
    counts = library.feature_matrix(True).toarray()[:, : library.bits]
    scaled = np.clip((library.descriptors - network.mean_) / network.scale_, -5, 5)
    inputs = np.hstack([np.log1p(counts), scaled])
    hidden = np.maximum(inputs @ network.trunk_ + network.trunk_bias_, 0)
    expected = hidden @ network.heads_ + network.heads_bias_
    np.testing.assert_allclose(network.scores(library), expected, rtol=1e-4, atol=1e-4)
    one = Head(network, 0).score(library, library)
    np.testing.assert_allclose(one, expected[:, 0], rtol=1e-4, atol=1e-4)
    third = Head(network, 1, 3, 2).score(library, library)
    share = np.exp(log_softmax(expected[:, 1:], axis=1))[:, 2]
    np.testing.assert_allclose(expit(third), share, rtol=1e-3, atol=1e-4)


def test_heads_scored_together_are_scored_as_alone(library, made):
    network, other = (made(library.bits, library.descriptors.shape[1]) for _ in range(2))
    heads = [Head(network, 0), Head(other, 0), Head(network, 1, 3, 2)]
    found = score_together(heads, library, library)
    for head, scores in zip(heads, found, strict=True):
        assert np.array_equal(scores, head.score(library, library))


def test_log_odds_against_the_rest():
    logits = np.log([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]) + [[3.0], [-7.0]]
    np.testing.assert_allclose(expit(against_rest(logits, 1)), [0.3, 0.1])


def test_a_state_comes_back(library, made):
    network = made(library.bits, library.descriptors.shape[1])
    again = revive_shared(network.to_state())
    assert np.array_equal(again.scores(library), network.scores(library))
    head = Head(network, 1, 3, 2)
    state = head.to_state()
    assert state.shared is network
    assert np.array_equal(revive(state).score(library, library), head.score(library, library))
    state.shared = None
    with pytest.raises(FileFormatError, match="network is missing"):
        revive(state)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("trunk", lambda array: array[:-1]),
        ("trunk", lambda array: array * np.float32(np.nan)),
        ("trunk", lambda array: array.astype(np.float64)),
        ("heads", lambda array: array[:-1]),
        ("heads", lambda array: array[:, 0]),
        ("heads_bias", lambda array: array[:-1]),
        ("scale", lambda array: array * 0),
        ("mean", lambda array: array[:-1]),
    ],
)
def test_layers_that_do_not_fit_are_refused(library, made, name, spoil):
    state = made(library.bits, library.descriptors.shape[1]).to_state()
    state.arrays[name] = spoil(state.arrays[name])
    with pytest.raises((FileFormatError, ValueError)):
        revive_shared(state).check(library)


@pytest.mark.parametrize("place", [(-1, 1, 0), (4, 1, 0), (2, 3, 0), (0, 0, 0), (0, 2, 2)])
def test_a_head_beyond_its_network_is_refused(library, made, place):
    head = Head(made(library.bits, library.descriptors.shape[1]), *place)
    with pytest.raises(ValueError, match="head"):
        head.check(library)


def test_a_line_names_what_to_install(library, problems, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    _, values = problems["binary"]
    with pytest.raises(FluidError, match=r"pip install 'fluid-federated\[torch\]'"):
        Head().fit(library, np.arange(160), values, True, 0)


# --- learning ---------------------------------------------------------------------------------


@needs_torch
def test_all_kinds_are_learned_together(library, problems):
    rows, held = np.arange(0, 160, 2), np.arange(1, 160, 2)
    tasks = [problems[kind][0] for kind in KINDS]
    columns = [(np.arange(80), problems[kind][1][rows], np.zeros(80)) for kind in KINDS]
    network = fit_network(library.take(rows), matrix(columns, 80), tasks, 1)
    assert column_ranges(tasks) == [(0, 1), (1, 3), (4, 1)]
    scores = network.scores(library.take(held))
    assert roc_auc_score(problems["binary"][1][held], scores[:, 0]) > 0.9
    assert np.mean(scores[:, 1:4].argmax(axis=1) == problems["multiclass"][1][held]) > 0.8
    assert r2_score(problems["regression"][1][held], scores[:, 4]) > 0.5


@needs_torch
def test_the_loss_is_the_sum_over_the_labels_that_there_are():
    import torch

    tasks = [Task("a", "binary", weight=2.0), Task("b", "multiclass", classes=("x", "y", "z"))]
    tasks.append(Task("c", "regression"))
    columns = [
        ([0, 2], [1, 0], [0, 0]),
        ([1], [2], [0]),
        # 21 exact values of mean 0 and deviation 1, and a bound of each kind.
        (np.arange(23), [0, -1, 1, *[-1, 1] * 9, 0.5, 0.5], [0, 0, 0, *[0] * 18, 1, -1]),
    ]
    labels = matrix([tuple(np.array(part) for part in one) for one in columns], 23)
    targets = training._Targets(labels, tasks)
    exact = labels.values[labels.tasks == 2][:21]
    spread = exact.std()
    out = np.zeros((4, 5), dtype=np.float32)
    out[:, 0] = [0.3, -0.2, 0.7, 0.0]
    out[1, 1:4] = [0.1, 0.2, -0.4]
    out[:, 4] = [0.5, 0.5, 5.0, 2.0]
    rows = np.array([0, 1, 2, 22])
    found = training._loss(torch, torch.from_numpy(out), targets, rows)
    binary = 2.0 * (np.log1p(np.exp(-0.3)) + np.log1p(np.exp(0.7)))
    several = -log_softmax(out[1, 1:4].astype(float))[2]
    share = censored_weights(np.array([0] * 21 + [1, -1]))[-1]
    # Compound 22 has the upper bound 0.5, above which it is predicted.
    squares = (0.0 - 0.5) ** 2 + (-1 / spread - 0.5) ** 2 + (1 / spread - 5.0) ** 2
    bound = share * (0.5 / spread - 2.0) ** 2
    assert float(found) == pytest.approx(binary + several + squares + bound, rel=1e-5)
    out[3, 4] = 0.2
    kept = training._loss(torch, torch.from_numpy(out), targets, rows)
    assert float(kept) == pytest.approx(binary + several + squares, rel=1e-5)


@needs_torch
def test_bounds_pull_only_where_they_are_violated(library, problems):
    """Half of the values are stated as lower bounds far below, or far above, what is there."""
    task, values = problems["regression"]
    rows = np.arange(160)
    bound = np.arange(160) % 2 == 1
    kept = matrix([(rows, np.where(bound, values.min() - 50, values), bound)], 160)
    exact = matrix([(rows[~bound], values[~bound], np.zeros(80))], 160)
    broken = matrix([(rows, np.where(bound, values.max() + 50, values), bound)], 160)
    scores = [fit_network(library, one, [task], 3).scores(library)[:, 0] for one in (kept, exact)]
    # Bounds that every prediction keeps teach nothing, though they are seen.
    np.testing.assert_allclose(scores[0], scores[1], atol=0.2 * values.std())
    assert fit_network(library, broken, [task], 3).scores(library).mean() > values.mean() + 3


@needs_torch
def test_the_same_seed_gives_the_same_bytes(library, problems):
    task, values = problems["binary"]
    labels = matrix([(np.arange(160), values, np.zeros(160))], 160)
    first, second, other = (fit_network(library, labels, [task], seed) for seed in (5, 5, 6))
    assert first.trunk_.tobytes() == second.trunk_.tobytes()
    assert first.heads_.tobytes() == second.heads_.tobytes()
    assert first.trunk_.tobytes() != other.trunk_.tobytes()


@needs_torch
def test_the_order_of_labels_does_not_matter(library, problems):
    task, values = problems["binary"]
    labels = matrix([(np.arange(160), values, np.zeros(160))] * 2, 160)
    order = np.random.default_rng(2).permutation(320)
    mixed = replace(
        labels,
        rows=labels.rows[order],
        tasks=labels.tasks[order],
        values=labels.values[order],
    )
    first, second = (fit_network(library, one, [task, task], 5) for one in (labels, mixed))
    assert first.trunk_.tobytes() == second.trunk_.tobytes()


@needs_torch
def test_settings_of_the_process_are_put_back(library, problems):
    import torch

    task, values = problems["binary"]
    labels = matrix([(np.arange(160), values, np.zeros(160))], 160)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    state = torch.get_rng_state()
    fit_network(library, labels, [task], 0, NetworkSettings(epochs=1))
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert torch.equal(torch.get_rng_state(), state)


@needs_torch
def test_the_weight_of_a_task_counts(library, problems):
    """Two tasks that contradict each other: the trunk follows the heavier one."""
    _, values = problems["binary"]
    labels = matrix([(np.arange(160), values, np.zeros(160))] * 2, 160)
    light = [Task("a", "binary", weight=1e-6), Task("b", "binary")]
    scores = fit_network(library, labels, light, 0).scores(library)
    assert roc_auc_score(values, scores[:, 1]) > 0.95
    assert np.abs(scores[:, 0]).mean() < np.abs(scores[:, 1]).mean()


# --- cross-fitting and storage ----------------------------------------------------------------


@pytest.fixture(scope="module")
def joint(library, problems, svm):
    """A cross-fitted model of tasks of all kinds."""
    pytest.importorskip("torch")
    parts = [np.arange(0, 150), np.arange(10, 160), np.arange(5, 155)]
    data = labelled(problems, library, parts)
    folds = folds_of_repeats(library, SECRET, 2, FOLDS)
    fitted = cross_fit_all(data, folds, CrossFitting(FOLDS, "multitask", 7))
    curve = ReliabilityMap(0.5)
    models = [
        TaskModel(one.task, found.models, False, one.rows, fit_domains(library, one.rows, curve))
        for one, found in zip(data, fitted, strict=True)
    ]
    training = {"learner": "multitask", "folds": FOLDS, "repeats": 2, "seed": 7}
    labels = {one.task.name: {"compounds": len(one.rows)} for one in data}
    card = replace(svm.card, training=training | {"labels": labels})
    return data, fitted, TrainedModel(card, svm.chemistry, library, models)


@needs_torch
def test_every_task_is_learned_out_of_fold(joint):
    data, fitted, _ = joint
    for one, found in zip(data, fitted, strict=True):
        assert len(found.models) == 2 * FOLDS
        if one.task.kind == "binary":
            assert roc_auc_score(one.values, found.predictions[:, 0]) > 0.85
        elif one.task.kind == "regression":
            assert r2_score(one.values, found.predictions[:, 0]) > 0.5
        else:
            assert np.mean(found.predictions.argmax(axis=1) == one.values) > 0.8


@needs_torch
def test_the_tasks_of_a_fold_share_one_network(joint):
    _, fitted, model = joint
    heads = [head for found in fitted for member in found.models for head in member.estimators]
    assert len(heads) == 5 * 2 * FOLDS
    assert len({id(head.network) for head in heads}) == 2 * FOLDS
    for member in model.task_models[0].members:
        assert member.estimators[0].network.heads_.shape[1] == 5


@needs_torch
def test_jobs_change_nothing(joint, library):
    data, fitted, _ = joint
    folds = folds_of_repeats(library, SECRET, 2, FOLDS)
    again = cross_fit_all(data, folds, CrossFitting(FOLDS, "multitask", 7), 3)
    for left, right in zip(fitted, again, strict=True):
        assert np.array_equal(left.predictions, right.predictions)


@needs_torch
def test_a_fold_model_depends_on_the_other_folds_alone(joint, library, problems):
    """Labels of one fold are taken away, task by task: its models and their calibration stay."""
    data, fitted, _ = joint
    folds = folds_of_repeats(library, SECRET, 2, FOLDS)
    for fold in range(FOLDS):
        away = [replace_rows(one, folds[0][one.rows] != fold) for one in data]
        again = cross_fit_all(away, folds[:1], CrossFitting(FOLDS, "multitask", 7))
        for left, right in zip(fitted, again, strict=True):
            (before,) = [m for m in left.models if (m.repeat, m.fold) == (0, fold)]
            (after,) = [m for m in right.models if m.fold == fold]
            assert before.calibrations == after.calibrations
            assert before.reliability == after.reliability
            for old, new in zip(before.estimators, after.estimators, strict=True):
                assert old.network.trunk_.tobytes() == new.network.trunk_.tobytes()
                assert old.network.heads_.tobytes() == new.network.heads_.tobytes()
                assert old.network.mean_.tobytes() == new.network.mean_.tobytes()


def replace_rows(one, kept):
    return LabelledTask(one.library, one.task, one.rows[kept], one.values[kept])


@needs_torch
def test_a_task_with_too_few_labels_is_left_out(library, problems):
    data = labelled(problems, library, [np.arange(160), np.arange(6), np.arange(160)])
    folds = folds_of_repeats(library, SECRET, 1, FOLDS)
    fitted = cross_fit_all(data, folds, CrossFitting(FOLDS, "multitask", 7))
    assert [len(found.models) for found in fitted] == [FOLDS, 0, FOLDS]
    assert fitted[0].models[0].estimators[0].network.heads_.shape[1] == 2
    none = labelled(problems, library, [np.arange(3)] * 3)
    assert not any(f.models for f in cross_fit_all(none, folds, CrossFitting(3, "multitask", 7)))


@pytest.fixture
def stored(joint, tmp_path):
    save_model(joint[2], tmp_path)
    return tmp_path


@needs_torch
def test_a_folder_holds_each_network_once(stored, joint, library):
    values = json.loads((stored / "model.json").read_text())
    assert len(values["shared"]) == 2 * FOLDS
    size = (stored / "networks.safetensors").stat().st_size
    heads = joint[2].task_models[0].members[0].estimators[0].network
    assert size < 2 * FOLDS * (heads.trunk_.nbytes + heads.heads_.nbytes) * 1.05
    again = load_model(stored)
    before, after = joint[2].predict(library), again.predict(library)
    for name, found in before.by_task.items():
        assert np.array_equal(found.values, after.by_task[name].values)
    members = [model.members[0] for model in again.task_models]
    assert len({id(member.estimators[0].network) for member in members}) == 1


@needs_torch
def test_prediction_needs_no_pytorch(stored, library, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert len(load_model(stored).predict(library).by_task) == 3


@needs_torch
@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ((0, 0), 99, "shared part 99 does not exist"),
        ((0, 0), -1, "shared part -1 does not exist"),
        ((0, 1), 400, "columns that its network"),
        ((0, 1), -1, "columns that its network"),
        ((0, 3), 1, "not among its columns"),
        ((slice(None), 0), 0, "used by no estimator"),
    ],
)
def test_a_forged_table_is_refused(stored, place, value, reason):
    with np.load(stored / "arrays.npz") as file:
        arrays = dict(file)
    arrays["0.multitask.uses"][place] = value
    np.savez_compressed(stored / "arrays.npz", **arrays)
    change(stored, lambda values: None)
    with pytest.raises(FileFormatError, match=reason):
        load_model(stored)


@needs_torch
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda shared: shared.append(shared[0]), "missing, or used twice"),
        (lambda shared: shared.pop(), "belongs to no part"),
        (lambda shared: shared[0].update(kind="multitask"), "unknown kind"),
    ],
)
def test_a_forged_folder_is_refused(stored, spoil, reason):
    change(stored, lambda values: spoil(values["shared"]))
    with pytest.raises(FileFormatError, match=reason):
        load_model(stored)


def test_the_input_is_sparse_and_finite(library):
    n_descriptors = library.descriptors.shape[1]
    found = network_input(library, np.zeros(n_descriptors), np.full(n_descriptors, 1e-3))
    assert found.dtype == np.float32
    assert np.abs(found.data).max() <= 5.0
    assert found.shape == (160, library.bits + n_descriptors)
