"""The own-row promise on tables at the edge of what can be trained.

One compound (by framework: one series) is taken out of a small, degenerate table, the teacher is
trained again with the same secret, and the labels of what was taken out are compared to the byte.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import fluid.learn.estimators
from fluid.base.errors import TrainingError
from fluid.base.run import Run
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.exchange.annotation import open_annotation
from fluid.exchange.federation import Federation, load_federation
from fluid.exchange.noise_mechanism import Mechanism
from fluid.exchange.policy import DisclosurePolicy
from fluid.exchange.public_set import open_public_set
from fluid.learn.calibration import Platt
from fluid.learn.crossfit import FoldModel
from fluid.learn.estimators import KernelRidge
from fluid.learn.folds import fold_keys
from fluid.learn.labels import merge_measurements
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.own_fold import empty_labels, folds_of_repeats
from fluid.learn.reliability import ReliabilityMap
from fluid.learn.storage import load_measured, load_trained
from fluid.learn.task import Task
from fluid.partner.annotate import annotate
from fluid.partner.disclosure_guard import disclose
from fluid.partner.dp.pate import SubTeachers, fit_sub_teachers
from fluid.partner.table import LabelledCompounds
from fluid.partner.teacher import residuals
from fluid.partner.teacher.fit import FittedTeacher, TrainingOptions, fit_model
from fluid.partner.teacher.labeler import TeacherLabeler, teacher_folds
from fluid.partner.teacher.residuals import ResidualLabeler
from fluid.partner.teacher.train import train_teacher
from fluid.public.prepare import prepare_public
from tests.conftest import make_federation, write_public

ONE = Run(jobs=1)
CLASSES = ("low", "middle", "high")
TASKS = (
    Task("active", "binary"),
    Task("size", "regression", low=-50, high=50),
    Task("grade", "multiclass", classes=CLASSES),
)
RINGS = ("c1ccccc1", "n1ccccc1", "C1CCNCC1", "c1ccc2ccccc2c1", "s1cccc1", "C1CCCC1", "")
CHAINS = ("CC", "CCC(=O)O", "CC(=O)NC", "CCN", "CC(F)(F)F", "CCO", "CC(=O)OCC", "CC#N", "CCSC")
# What a fold needs of the others: numbers, or compounds of each class.
NEEDED = {"regression": 16, "binary": 8, "multiclass": 8}


@functools.cache
def _pool() -> tuple[Compounds, Chemistry]:
    """63 compounds in the order of a private table; some series, some without a ring."""
    spec, features = StandardizerSpec(), FeatureSpec(bits=256)
    made = [standardize(ring + chain, spec) for ring in RINGS for chain in CHAINS]
    made = sorted({one.inchikey: one for one in made}.values(), key=lambda one: one.inchikey)
    compounds = featurize(made, [f"c{row}" for row in range(len(made))], features)
    return compounds, Chemistry.here(spec, features)


@dataclass(frozen=True)
class Case:
    """A degenerate table, and how it is trained and annotated.

    Attributes
    ----------
    table, federation, secret, options
        What the teacher is trained from.
    left_out
        Rows of the table that share a fold key and are taken out together.
    round_two
        Whether a student's residuals are labelled.
    """

    table: LabelledCompounds
    federation: Federation
    secret: bytes
    options: TrainingOptions
    left_out: np.ndarray
    round_two: bool

    def without(self) -> Case:
        kept = np.setdiff1d(np.arange(len(self.table.compounds)), self.left_out)
        return replace(self, table=self.table.take(kept))


def _label(rng: np.random.Generator, task: Task, number: int, how: str) -> float:
    """A label of the number-th labelled compound of a task."""
    if task.kind == "regression":
        return 1.5 if how == "constant" else float(np.round(rng.normal(0, 10), 2).clip(-50, 50))
    n_classes = max(2, len(task.classes))
    # In turn, so that all classes are near the number that is needed; or one class only.
    return 0.0 if how == "constant" else float(number % n_classes)


def _table(rng: np.random.Generator, tasks: tuple[Task, ...]) -> LabelledCompounds:
    """Labels whose number in each task is about what the other folds need."""
    pool, _ = _pool()
    rows, index, values, signs = [], [], [], []
    for position, task in enumerate(tasks):
        n_classes = 1 if task.kind == "regression" else max(2, len(task.classes))
        least = NEEDED[task.kind] * n_classes
        n = int(rng.integers(least - 1, least + 5 if rng.random() < 0.5 else 2 * least))
        if rng.random() < 0.1:
            n = int(rng.integers(1, least))
        how = "constant" if rng.random() < 0.1 else "usual"
        bounds = 0.0 if task.kind != "regression" else rng.choice([0.0, 0.03, 0.2, 0.5])
        for number, row in enumerate(rng.permutation(len(pool))[:n]):
            # Replicates, ties without a majority, and numbers with bounds only.
            for _ in range(1 + int(rng.random() < 0.1) * int(rng.integers(1, 3))):
                other = rng.integers(0, 7) if rng.random() < 0.1 else number
                rows.append(int(row))
                index.append(position)
                values.append(_label(rng, task, int(other), how))
                signs.append(int(rng.choice([-1, 1])) if rng.random() < bounds else 0)
    used, merged_rows = np.unique(rows, return_inverse=True)
    labels = merge_measurements(
        tasks, merged_rows, np.array(index), np.array(values), np.array(signs), len(used)
    ).labels
    return LabelledCompounds(pool.take(used), labels, [], len(rows), [], "table")


def _alone(table: LabelledCompounds, secret: bytes, options: TrainingOptions) -> tuple[int, int]:
    """The smallest group of labelled compounds that share a fold in one task, and one of them."""
    folds = folds_of_repeats(
        table.compounds, secret, options.repeats, options.folds, options.folds_by
    )
    best = (len(table.compounds) + 1, 0)
    for task in range(table.labels.shape[1]):
        rows, _ = table.labels.column(task)
        for own in folds[:, rows]:
            counts = np.bincount(own, minlength=options.folds)
            for fold in np.flatnonzero(counts):
                best = min(best, (int(counts[fold]), int(rows[own == fold][0])))
    return best


def make_case(seed: int, learner: str = "") -> Case:
    """A case drawn at random; half of them have a fold that holds as few compounds as can be."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(TASKS))[: 1 + int(rng.integers(0, 3)) * int(rng.random() < 0.5)]
    tasks = tuple(TASKS[one] for one in sorted(chosen))
    options = TrainingOptions(
        learner or str(rng.choice(["auto", "logistic"], p=[0.9, 0.1])),
        folds=int(rng.choice([3, 4, 5], p=[0.5, 0.3, 0.2])),
        repeats=1 + int(rng.random() < 0.3),
        seed=int(rng.integers(0, 3)),
        folds_by=str(rng.choice(["compound", "framework"])),
    )
    agreed = DisclosurePolicy()
    own = replace(
        agreed,
        folds_by=options.folds_by,
        abstain_below=float(rng.choice([0.0, 0.0, 0.1, 0.3])),
        neighbourhood=int(rng.choice([5, 5, 8])),
    )
    federation = Federation("trial", 1, tasks, _pool()[1], agreed, own_policy=own)
    table = _table(rng, tasks)
    secrets = [rng.bytes(32) for _ in range(40 if rng.random() < 0.6 else 1)]
    secret = min(secrets, key=lambda one: _alone(table, one, options))
    row = _alone(table, secret, options)[1]
    if rng.random() < 0.3:
        row = int(rng.integers(len(table.compounds)))
    keys = fold_keys(table.compounds, options.folds_by)
    left_out = np.flatnonzero(keys == keys[row])
    has_numbers = any(task.kind == "regression" for task in tasks)
    return Case(table, federation, secret, options, left_out, has_numbers and rng.random() < 0.4)


@functools.cache
def _student() -> TrainedModel:
    """A student of the regression task, some way off the labels."""
    pool, chemistry = _pool()
    rows, task = np.arange(0, len(pool), 2), TASKS[1]
    target = np.sin(np.arange(len(rows))) * 8.0
    ridge = KernelRidge().fit(pool, rows, target, False, 0)
    member = FoldModel(0, 0, [ridge], [Platt()], ReliabilityMap(1.0))
    card = Card("student", "trial", "trial", 1, "0" * 64)
    return TrainedModel(card, chemistry, pool, [TaskModel(task, [member], False, rows, {})])


def _train(case: Case) -> FittedTeacher | None:
    try:
        return fit_model(
            case.table, case.federation, "one", case.secret, options=case.options, run=ONE
        )
    except TrainingError:
        return None


def _rows(case: Case, fitted: FittedTeacher | None, queries: Compounds) -> list[bytes]:
    """What the labels of each compound are made of, before and after the guard, in all tasks.

    A partner that cannot train says nothing.
    """
    tasks = case.federation.tasks
    nothing = [empty_labels(len(queries), len(task.outputs)) for task in tasks]
    raw = dict(zip([task.name for task in tasks], nothing, strict=True))
    released = {
        task.name: disclose(task, case.federation.in_force, raw[task.name]) for task in tasks
    }
    if fitted is not None:
        labeler = TeacherLabeler(fitted.model, case.secret, case.federation)
        if case.round_two:
            truth = {
                name: residuals.MeasuredLabels(one.truth, one.signs)
                for name, one in fitted.measured.items()
            }
            labeler = ResidualLabeler.fit(labeler, truth, _student())
        released = labeler.label(queries)
        folds = teacher_folds(fitted.model, case.secret, queries)
        for model in fitted.model.task_models:
            raw[model.task.name] = labeler.label_task(model, queries, folds, 1)
    assert list(released) == list(raw)
    labels = [*released.values(), *raw.values()]
    return [
        b"".join(
            getattr(one, column)[row].tobytes()
            for one in labels
            for column in ("prediction", "uncertainty", "reliability")
        )
        for row in range(len(queries))
    ]


def check(case: Case) -> bool:
    """Check the promise in one case; whether the row of another compound changed."""
    pool, _ = _pool()
    keys = fold_keys(pool, case.options.folds_by)
    key = fold_keys(case.table.compounds, case.options.folds_by)[case.left_out[0]]
    # By framework all public compounds of the series, in the private table or not.
    own, others = np.flatnonzero(keys == key), np.flatnonzero(keys != key)[:20]
    queries = pool.take(np.concatenate([own, others]))
    less = case.without()
    whole, part = _train(case), (_train(less) if len(less.table.labels.rows) else None)
    # More labels train no fewer models.
    assert whole is not None or part is None
    one, other = _rows(case, whole, queries), _rows(less, part, queries)
    assert one[: len(own)] == other[: len(own)]
    if not case.round_two and whole is not None and part is not None:
        _check_votes(case, whole, part, queries.take(np.arange(len(own))))
    return one[len(own) :] != other[len(own) :]


def _check_votes(case: Case, whole: FittedTeacher, part: FittedTeacher, own: Compounds) -> None:
    """With a noise mechanism: the votes on what was left out, in tasks of both teachers."""
    clip = tuple((t.name, t.low, t.high) for t in case.federation.tasks if not t.is_classification)
    mechanism = Mechanism("pate", epsilon=1.0, sub_teachers=2, sigma=1.0, clip=clip)
    votes = []
    for made, fitted in ((case, whole), (case.without(), part)):
        federation = replace(made.federation, mechanism=mechanism)
        model = fit_sub_teachers(made.table, fitted.model, federation, made.secret)
        votes.append(SubTeachers(model, made.secret).predict(own))
    for name in votes[0].keys() & votes[1].keys():
        assert votes[0][name].tobytes() == votes[1][name].tobytes()


def test_a_compound_leaves_its_own_row_as_it_is() -> None:
    # The test can see a difference: the rows of others do change.
    assert sum(check(make_case(seed)) for seed in range(60)) > 10


@pytest.mark.long
@pytest.mark.parametrize("part", range(10))
def test_no_degenerate_table_breaks_the_promise(part: int) -> None:
    for seed in range(1000 + 250 * part, 1250 + 250 * part):
        check(make_case(seed))


@pytest.mark.long
@pytest.mark.parametrize("learner", ["lightgbm", "random-forest", "average"])
def test_no_learner_breaks_the_promise(learner: str) -> None:
    for seed in range(5000, 5015):
        check(make_case(seed, learner))


@pytest.mark.long
def test_no_choice_by_size_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds near the sizes where `auto` takes another learner, and a ridge takes landmarks."""
    monkeypatch.setattr(fluid.learn.estimators, "KERNEL_LIMIT", 18)
    monkeypatch.setattr(residuals, "_MOST_EXACT", 18)
    for seed in range(6000, 6020):
        check(make_case(seed, "auto"))


@pytest.mark.parametrize("round_two", [False, True])
@pytest.mark.parametrize("learner", ["svm", "lightgbm", "logistic", "random-forest", "average"])
@pytest.mark.parametrize("others", [0, 12])
def test_a_bound_leaves_its_own_row_as_it_is(learner: str, others: int, round_two: bool) -> None:
    """The only bound of a table, or one of several, is taken out with its compound.

    Weights of bounds, and whether there are any at all, are those of the other folds.
    """
    pool, chemistry = _pool()
    rng = np.random.default_rng(others)
    n = 45
    values = rng.normal(0, 10, n).round(2).clip(-50, 50)
    signs = np.zeros(n, dtype=np.int64)
    chosen = rng.permutation(n)[: 1 + others]
    signs[chosen] = rng.choice([-1, 1], len(chosen))
    merged = merge_measurements(
        TASKS[1:2], np.arange(n), np.zeros(n, dtype=np.int64), values, signs, n
    )
    table = LabelledCompounds(pool.take(np.arange(n)), merged.labels, [], n, [], "table")
    federation = Federation("trial", 1, TASKS[1:2], chemistry)
    options = TrainingOptions(learner, folds=3, repeats=1)
    left_out = chosen[:1].astype(np.int64)
    case = Case(table, federation, bytes(32), options, left_out, round_two)
    # It is learned from, unless the learner cannot: then the rows of others stay too.
    changed = check(case)
    if not (learner == "random-forest" and not round_two):
        assert changed


def _write_table(path: Path, labels: dict[str, tuple[str, str]]) -> Path:
    lines = ["smiles,bbb,logbb", *(f"{smiles},{a},{b}" for smiles, (a, b) in labels.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("n_classes", [2, 1])
def test_a_task_does_not_hang_on_a_compound_alone_in_its_fold(
    tmp_path: Path, n_classes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """17 numbers, 16 of them in one fold: through the files, with what is stated beside the rows.

    With one class only there is no other task, and the labels hang on the one that is alone.
    """
    path = make_federation(tmp_path, ("aurora",))
    federation = load_federation(path)
    pool, _ = _pool()
    options = TrainingOptions("logistic", folds=3, repeats=1)
    secret = bytes(32)
    folds = folds_of_repeats(pool, secret, 1, 3)[0]
    alone = int(np.flatnonzero(folds == 1)[0])
    measured = [*np.flatnonzero(folds == 0)[:16].tolist(), alone]
    assert len(measured) == 17
    labels = {
        str(pool.smiles[row]): (str(row % n_classes) if row != alone else "", "")
        for row in range(len(pool))
    }
    for number, row in enumerate(measured):
        labels[str(pool.smiles[row])] = (labels[str(pool.smiles[row])][0], str(number / 10))
    overlap = [{"id": f"p{row}", "smiles": str(pool.smiles[row])} for row in range(0, 60, 2)]
    overlap.append({"id": "alone", "smiles": str(pool.smiles[alone])})
    source = write_public(tmp_path / "public.csv", overlap)
    prepare_public([source], federation, tmp_path / "public.parquet", run=ONE)
    public = open_public_set(tmp_path / "public.parquet")
    (tmp_path / "secret").write_text(secret.hex())
    rows, manifests = [], []
    for name in ("with", "without"):
        if name == "without":
            del labels[str(pool.smiles[alone])]
        table = _write_table(tmp_path / f"{name}.csv", labels)
        train_teacher(
            [table],
            path,
            "aurora",
            tmp_path / name,
            options=options,
            secret=tmp_path / "secret",
            run=ONE,
        )
        model = load_trained(tmp_path / name, "teacher")
        assert "logbb" in [task.name for task in model.tasks]
        assert model.predict(public_compounds := next(iter(public.chunks()))).by_task["logbb"]
        assert len(load_measured(tmp_path / name, model)["logbb"]) == 17 - (name == "without")
        target = tmp_path / f"{name}.parquet"
        annotate(tmp_path / name, public, target, run=ONE)
        manifests.append(open_annotation(target).sealed.manifest)
        rows.append({row["inchikey"]: row for row in pq.read_table(target).to_pylist()})
    assert len(public_compounds)
    own = str(pool.inchikeys[alone])
    assert rows[0][own] == rows[1][own]
    assert rows[0][own]["logbb.prediction"] is not None
    assert manifests[0] == manifests[1]
    assert model.card.metrics["logbb"]["rmse"] is None
    assert "16 labelled compounds, none of which the other folds can predict" in caplog.text


def test_a_partner_that_can_train_nothing_without_a_compound_says_nothing_of_it() -> None:
    """Whether there is a teacher at all is outside the promise; what it says of the row is not."""
    pool, chemistry = _pool()
    options = TrainingOptions("logistic", folds=3, repeats=1)
    folds = folds_of_repeats(pool, bytes(32), 1, 3)[0]
    rows = np.sort(
        np.concatenate([np.flatnonzero(folds == 0)[:15], np.flatnonzero(folds == 1)[:1]])
    )
    labels = merge_measurements(
        TASKS[1:2],
        np.arange(16),
        np.zeros(16, dtype=np.int64),
        np.arange(16.0),
        np.zeros(16, dtype=np.int64),
        16,
    ).labels
    table = LabelledCompounds(pool.take(rows), labels, [], 16, [], "table")
    federation = Federation("trial", 1, TASKS[1:2], chemistry)
    case = Case(table, federation, bytes(32), options, np.flatnonzero(folds[rows] == 1), False)
    assert _train(case) is not None
    assert _train(case.without()) is None
    assert check(case)


def test_a_quorum_counts_the_labels_of_the_other_folds_only() -> None:
    """Of tables near the quorum: whether a row is labelled does not hang on its own compound."""
    changed, trained = 0, 0
    for seed in range(7000, 7016):
        rng = np.random.default_rng(seed)
        case = make_case(seed)
        tasks = []
        for task in case.federation.tasks:
            quorum = NEEDED[task.kind] + int(rng.integers(0, 3))
            exact = quorum - 2 if task.kind == "regression" else 0
            tasks.append(replace(task, quorum=quorum, quorum_exact=exact))
        case = replace(case, federation=replace(case.federation, tasks=tuple(tasks)))
        changed += check(case)
        trained += _train(case) is not None and _train(case.without()) is not None
    assert changed > 1
    assert trained > 1
