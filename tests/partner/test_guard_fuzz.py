"""The guard under all policies: nothing private gets out, and a stricter policy tells no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fluid.base.errors import FileFormatError
from fluid.chem.chemistry import Chemistry
from fluid.chem.compounds import Compounds
from fluid.chem.features import FeatureSpec, featurize
from fluid.chem.standardize import StandardizerSpec, standardize
from fluid.exchange.annotation import AnnotationHeader, open_annotation, write_annotation
from fluid.exchange.federation import Federation
from fluid.exchange.policy import SHAREABLE, DisclosurePolicy, is_on_step
from fluid.exchange.release import Release
from fluid.exchange.shared_statistics import SHARED_METRICS, check_shared_statistics
from fluid.exchange.strictness import looser_than
from fluid.learn.crossfit import CrossFitting, LabelledTask, cross_fit
from fluid.learn.folds import FOLDS_BY
from fluid.learn.model import Card, TaskModel, TrainedModel
from fluid.learn.own_fold import OwnFoldLabels, folds_of_repeats
from fluid.learn.task import Task
from fluid.partner.annotate import _shared_statistics
from fluid.partner.disclosure_guard import disclose
from fluid.partner.teacher import labeler as labeler_module
from fluid.partner.teacher.labeler import TeacherLabeler

SECRET = bytes(range(32))
FOLDS, REPEATS = 3, 2
TASKS = (
    Task("act", "binary", classes=("no", "yes")),
    Task("pic", "regression", unit="nM", low=-3.0, high=9.7),
    Task("cls", "multiclass", classes=("a", "b", "c")),
)
# Rings and chains that are private, or public, or both.
RINGS = ("n1ccccc1", "c1ccc2ncccc2c1", "C1CCNCC1", "c1ccccc1", "C1CCCCC1", "s1cccc1")
CHAINS = ("CCC", "CC(=O)O", "C(=O)NC", "CCN", "CC#N", "CN(C)C", "CCOC", "CCS")
HOSTILE = (
    "<script>alert(1)</script>",
    "'; DROP TABLE x; --",
    "=cmd|' /C calc'!A0",
    "../../etc/passwd",
    "\u202egnp.exe",
    "nan",
    "PRIVATE-0001",
    "{{7*7}}",
    "FLUIDSEAL1:",
    "CC(=O)Oc1ccccc1C(=O)O",
)
CHEMISTRY = Chemistry.here(StandardizerSpec(), FeatureSpec(bits=256, descriptors="none"))

STEPS = st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.25])
POLICIES = st.builds(
    DisclosurePolicy,
    probability_step=STEPS,
    probability_clip=st.sampled_from([0.0, 0.01, 0.1, 0.25]),
    value_step=st.sampled_from([1e-3, 0.01, 0.3, 1.0]),
    uncertainty_step=STEPS,
    reliability_step=STEPS,
    neighbourhood=st.integers(5, 12),
    abstain_below=st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.95]),
    share=st.lists(st.sampled_from(SHAREABLE), unique=True).map(tuple),
)


@st.composite
def stricter(draw: st.DrawFn, agreed: DisclosurePolicy) -> DisclosurePolicy:
    """A policy that a partner may have under the agreed one."""
    steps = ("probability_step", "value_step", "uncertainty_step", "reliability_step")
    for _ in range(20):
        values: dict[str, Any] = {
            name: getattr(agreed, name) * draw(st.sampled_from([1, 2, 5])) for name in steps
        }
        values["probability_clip"] = agreed.probability_clip + draw(st.sampled_from([0.0, 0.05]))
        values["abstain_below"] = min(
            0.95, agreed.abstain_below + draw(st.sampled_from([0.0, 0.1, 0.5]))
        )
        values["share"] = agreed.share[: draw(st.integers(0, len(agreed.share)))]
        try:
            own = replace(agreed, **values)
        except ValueError:
            continue
        assert looser_than(agreed, own) is None
        return own
    return agreed


def _labels(kind: int, n: int) -> list[np.ndarray]:
    """Measurements of three tasks: near together, spread, cut off at the range."""
    random = np.random.default_rng(kind)
    wide = (0.1234567, 2.7182818, 3141.5926535)[kind]
    numbers = np.clip(random.normal(3.1415927, wide, n), -2.987654, 9.654321)
    return [
        random.permutation(np.arange(n) % 2).astype(float),
        numbers,
        random.permutation(np.arange(n) % 3).astype(float),
    ]


def _compounds(ids: list[str], smiles: list[str]) -> Compounds:
    return featurize(
        [standardize(text, CHEMISTRY.standardizer) for text in smiles], ids, CHEMISTRY.features
    )


EVERY = [ring + chain for ring in RINGS for chain in CHAINS]


@pytest.fixture(scope="module")
def everything() -> Compounds:
    return _compounds([f"E{row}" for row in range(len(EVERY))], EVERY)


@pytest.fixture(scope="module")
def teachers(everything: Compounds) -> list[TrainedModel]:
    """One for each kind of labels, with folds by compound and by framework; 32 compounds."""
    library = everything.take(np.arange(32))
    return [_teacher(library, _labels(kind, 32), by) for by in FOLDS_BY for kind in range(3)]


def _teacher(library: Compounds, values: list[np.ndarray], folds_by: str) -> TrainedModel:
    folds = folds_of_repeats(library, SECRET, REPEATS, FOLDS, folds_by)
    rows = np.arange(len(library))
    models, counts, metrics = [], {}, {}
    for task, measured in zip(TASKS, values, strict=True):
        labelled = LabelledTask(library, task, rows, measured)
        fitted = cross_fit(labelled, folds, CrossFitting(FOLDS, "logistic", 0))
        if not fitted.models:
            continue
        models.append(TaskModel(task, fitted.models, False, rows, {}))
        counts[task.name] = {"compounds": len(rows)}
        if task.is_classification:
            names = task.classes
            counts[task.name] |= {name: int((measured == k).sum()) for k, name in enumerate(names)}
        metrics[task.name] = {
            "roc_auc": 0.73210987,
            "rmse": 1.2345678,
            "r2": -7.654321,
            "mcc": None,
        }
    training = {"folds": FOLDS, "folds_by": folds_by, "repeats": REPEATS, "labels": counts}
    card = Card("teacher", "aurora", "trial", 1, "0" * 64, training, metrics)
    return TrainedModel(card, CHEMISTRY, library, models)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(POLICIES, st.data())
def test_nothing_private_is_in_an_export_under_any_policy(
    everything: Compounds,
    teachers: list[TrainedModel],
    tmp_path_factory: pytest.TempPathFactory,
    policy: DisclosurePolicy,
    data: st.DataObject,
) -> None:
    shared = data.draw(st.integers(0, 6))
    public = np.arange(32 - shared, 48)
    kind, shift = data.draw(st.integers(0, 2)), data.draw(st.integers(0, len(HOSTILE) - 1))
    names = [f"{HOSTILE[(row + shift) % len(HOSTILE)]} {row}" for row in range(32)]
    library = replace(teachers[kind].library, ids=np.array(names, object))
    values = _labels(kind, 32)
    by = data.draw(st.sampled_from(FOLDS_BY))
    model = replace(teachers[kind + 3 * FOLDS_BY.index(by)], library=library)
    compounds = everything.take(public)
    own = replace(data.draw(stricter(policy)), folds_by=by)
    path = tmp_path_factory.mktemp("export") / "a.parquet"
    export(path, model, policy, own, compounds)
    nothing_private(path, library, values[1], compounds, own)


def export(
    path: Path,
    model: TrainedModel,
    agreed: DisclosurePolicy,
    own: DisclosurePolicy,
    compounds: Compounds,
) -> None:
    """What the command does, without a folder."""
    federation = Federation("trial", 1, TASKS, CHEMISTRY, agreed, own_policy=own)
    disclosed = TeacherLabeler(model, SECRET, federation).label(compounds)
    release = Release("0" * 32, 1, 1)
    shared = _shared_statistics(model, own)
    header = AnnotationHeader(federation, "1" * 64, "aurora", own, release, shared)
    write_annotation(path, header, iter([(compounds.inchikeys, disclosed)]))


def nothing_private(
    path: Path, library: Compounds, numbers: np.ndarray, public: Compounds, own: DisclosurePolicy
) -> None:
    """Look for everything private in a file: its bytes, and what is decoded from them."""
    annotation = open_annotation(path)
    check_shared_statistics(annotation)
    table = pq.read_table(path)
    told = (
        path.read_bytes()
        + repr(table.to_pydict()).encode()
        + repr(annotation.sealed.manifest).encode()
        + repr(pq.read_metadata(path).metadata).encode()
    )
    public_keys = set(public.inchikeys)
    for row, key in enumerate(library.inchikeys):
        if key not in public_keys:
            assert str(key)[:14].encode() not in told
        assert str(library.ids[row]).encode() not in told
    # Not even the SMILES of public compounds; short ones occur in any text by chance.
    structures = {str(text) for text in [*library.smiles, *public.smiles] if len(str(text)) > 8}
    assert not any(text.encode() in told for text in structures)
    assert SECRET.hex().encode() not in told
    assert SECRET not in told
    figures = {float(value) for value in numbers} | {1.2345678, 0.73210987, 7.654321}
    assert not any(f"{value:.6g}".encode() in told for value in figures)
    _only_rounded(table, own)
    shared = annotation.sealed.manifest["shared"]
    assert set(shared) <= {item.replace("-", "_") for item in own.share}
    for stated in shared.get("metrics", {}).values():
        assert set(stated) <= set(SHARED_METRICS)


def _only_rounded(table: Any, policy: DisclosurePolicy) -> None:
    """Every number is on its step and in its bounds: none is a raw similarity or measurement."""
    for name in table.column_names[1:]:
        values = np.array(
            [value for value in table[name].to_pylist() if value is not None], np.float32
        )
        task = next(task for task in TASKS if name.startswith(task.name))
        step = {
            "prediction": policy.prediction_step(task.is_classification),
            "uncertainty": policy.uncertainty_step,
            "reliability": policy.reliability_step,
        }[name.rsplit(".", 1)[1]]
        assert is_on_step(values, step).all(), name
        if name.endswith("reliability"):
            assert len(np.unique(values)) <= policy.reliability_levels
            assert (values >= policy.abstain_below - 1e-6).all()


FLOATS = st.floats(-20.0, 20.0, width=32)


@st.composite
def labels(draw: st.DrawFn, task: Task) -> OwnFoldLabels:
    """What a teacher might say: anything, silence included."""
    n = draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    low, high = (0.0, 1.0) if task.is_classification else (-5.0, 12.0)
    prediction = random.uniform(low, high, (n, len(task.outputs)))
    trust = random.uniform(0.0, 1.0, n) ** draw(st.sampled_from([1, 3]))
    silent = random.random(n) < 0.2
    prediction[silent], trust[silent] = np.nan, np.nan
    spread = random.uniform(0.0, 0.4, prediction.shape)
    if draw(st.booleans()):
        spread[:] = np.nan
    return OwnFoldLabels(prediction, spread, trust, random.random(n))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(TASKS), POLICIES, st.data())
def test_a_stricter_policy_never_tells_more(
    task: Task, agreed: DisclosurePolicy, data: st.DataObject
) -> None:
    own = data.draw(stricter(agreed))
    assume(own.neighbourhood == agreed.neighbourhood)
    found = data.draw(labels(task))
    loose = disclose(task, agreed, found)
    strict = disclose(task, own, found, agreed)
    for name in ("prediction", "uncertainty", "reliability"):
        one = getattr(loose, name).reshape(len(found.reliability), -1)
        two = getattr(strict, name).reshape(len(found.reliability), -1)
        # Rows that are told are a part of those told before.
        assert not np.any(np.isfinite(two) & ~np.isfinite(one))
        for column in range(one.shape[1]):
            known = np.isfinite(two[:, column])
            a, b = one[known, column], two[known, column]
            # What is told now follows from what was told before: equal values stay equal.
            pairs = {(float(x), float(y)) for x, y in zip(a, b, strict=True)}
            assert len(pairs) == len({x for x, _ in pairs})
            assert len(np.unique(b)) <= len(np.unique(a))
    again = disclose(task, own, found, agreed)
    assert again.prediction.tobytes() == strict.prediction.tobytes()
    # Similarity has no part in it.
    blind = replace(found, similarity=np.full_like(found.similarity, 0.5))
    assert disclose(task, own, blind, agreed).reliability.tobytes() == strict.reliability.tobytes()


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(5, 20), st.integers(0, 10), st.sampled_from([0.0, 0.1, 0.2]))
def test_a_larger_neighbourhood_labels_no_compound_more(
    everything: Compounds, teachers: list[TrainedModel], k: int, more: int, below: float
) -> None:
    model = teachers[0]
    compounds = everything.take(np.arange(26, 48))
    agreed = DisclosurePolicy(neighbourhood=k, abstain_below=below)
    federation = Federation("trial", 1, TASKS, CHEMISTRY, agreed)
    one = TeacherLabeler(model, SECRET, federation).label(compounds)
    own = replace(agreed, neighbourhood=k + more)
    two = TeacherLabeler(model, SECRET, replace(federation, own_policy=own)).label(compounds)
    for task in TASKS:
        a, b = one[task.name].reliability, two[task.name].reliability
        assert not np.any(np.isfinite(b) & ~np.isfinite(a))
        known = np.isfinite(b)
        assert (b[known] <= a[known] + 1e-6).all()


@pytest.mark.parametrize("leak", ["similarity", "measurement", "key", "structure", "metadata"])
def test_what_the_fuzz_looks_for_is_found(
    everything: Compounds,
    teachers: list[TrainedModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    leak: str,
) -> None:
    """Each of these would be a hole in the guard, made on purpose."""
    policy, numbers = DisclosurePolicy(), _labels(1, 32)[1]
    compounds = everything.take(np.arange(30, 48))
    library = teachers[1].library

    def disclose_raw(task, policy, found, agreed=None):  # type: ignore[no-untyped-def]
        said = disclose(task, policy, found, agreed)
        if leak == "similarity":
            return replace(said, reliability=found.similarity.astype(np.float32))
        if leak == "measurement" and not task.is_classification:
            said.prediction[:, 0] = numbers[: len(said.prediction)]
        return said

    monkeypatch.setattr(labeler_module, "disclose", disclose_raw)
    if leak in ("key", "structure"):
        keys = compounds.inchikeys.copy()
        keys[0] = library.inchikeys[0] if leak == "key" else max(library.smiles, key=len)
        compounds = replace(compounds, inchikeys=keys)
        public = everything.take(np.arange(32, 48))
    else:
        public = compounds
    if leak == "metadata":
        told = {"of": max(library.smiles, key=len)}
        monkeypatch.setattr("fluid.exchange.annotation.software_versions", lambda: told)
    path = tmp_path / "a.parquet"
    export(path, teachers[1], policy, policy, compounds)
    # Opening the file finds some of them.
    with pytest.raises((AssertionError, FileFormatError)):
        nothing_private(path, library, numbers, public, policy)
